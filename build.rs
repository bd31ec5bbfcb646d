//! Compiles the node of libtorch's graph that calls a closure (`src/autograd/node.cpp`), and lets our own tests,
//! examples, benches and doctests find libtorch without an environment variable: the rpath that `tch` sets does not
//! reach the crates that depend on it.

use std::{
    env,
    path::{Path, PathBuf},
};

const NODE: &str = "src/autograd/node.cpp";

fn main() {
    for path in ["build.rs", NODE] {
        println!("cargo:rerun-if-changed={path}");
    }
    if env::var_os("CARGO_FEATURE_DOC_ONLY").is_some() {
        return;
    }
    let lib = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from);
    if let Some(lib) = &lib {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
    compile_node(&libtorch(lib.as_deref()).join("include"));
}

/// The folder of libtorch's `include`: as torch-sys finds it, else beside the `lib` that torch-sys passes on (which it
/// does not on Windows).
fn libtorch(lib: Option<&Path>) -> PathBuf {
    let named = |name: &str| {
        println!("cargo:rerun-if-env-changed={name}");
        env::var_os(name).map(PathBuf::from)
    };
    named("LIBTORCH_INCLUDE")
        .or_else(|| lib.and_then(Path::parent).map(Path::to_owned))
        .or_else(|| named("LIBTORCH"))
        .expect("torch-sys names no libtorch: set LIBTORCH or LIBTORCH_INCLUDE to the folder of its `include`")
}

/// With the standard and the ABI of torch-sys, whose tensors cross over.
fn compile_node(include: &Path) {
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".into());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .include(include)
        .include(include.join("torch/csrc/api/include"))
        .file(NODE)
        .compile("soft_lmccl_autograd");
}
