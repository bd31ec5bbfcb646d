//! With the feature `tch`: lets our own tests and doctests find libtorch without an environment
//! variable: the rpath that `tch` sets does not reach the crates that depend on it.
//!
//! And binds the CUDA part of libtorch, where there is one, to every program that uses the crate.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "tch")]
    if let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.to_string_lossy());
        bind_cuda(lib.as_ref());
    }
}

/// No symbol of `libtorch_cuda.so` is asked for by the CPU's part or by `tch`, so linkers leave it out (`--as-needed`) and
/// libtorch sees no GPU. What asks for it goes into this crate, since linker flags would not reach programs that use it.
#[cfg(feature = "tch")]
fn bind_cuda(lib: &std::path::Path) {
    const SOURCE: &str = "src/needs_cuda.cpp";
    println!("cargo:rerun-if-changed={SOURCE}");
    if lib.join("libtorch_cuda.so").exists() {
        // Nothing in turn asks for the archive's only member.
        cc::Build::new().cpp(true).file(SOURCE).link_lib_modifier("+whole-archive").compile("soft_lmccl_needs_cuda");
    }
}
