//! Lets our own tests, examples, benches and doctests find libtorch without an environment
//! variable: the rpath that `tch` sets does not reach the crates that depend on it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.to_string_lossy());
    }
}
