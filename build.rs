//! Compiles the node of libtorch's graph that calls a closure (`src/autograd/node.cpp`), and lets our own tests,
//! examples, benches and doctests find libtorch without an environment variable: the rpath that `tch` sets does not
//! reach the crates that depend on it.

use std::{
    env,
    path::{Path, PathBuf},
    process::exit,
};

#[path = "src/distributed/nccl.rs"]
mod nccl;

const NODE: &str = "src/autograd/node.cpp";
/// c10d, with the feature `distributed`.
const C10D: &str = "src/distributed/c10d.cpp";
/// Names of Gloo, whose own headers libtorch leaves out.
const GLOO: &str = "src/distributed/headers";

fn main() {
    println!("cargo:rustc-check-cfg=cfg(c10d)");
    for path in ["build.rs", "src/distributed/nccl.rs", NODE, C10D, GLOO] {
        println!("cargo:rerun-if-changed={path}");
    }
    if env::var_os("CARGO_FEATURE_DOC_ONLY").is_some() {
        return;
    }
    let lib = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from);
    if let Some(lib) = &lib {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
    let include = libtorch(lib.as_deref()).join("include");
    page(&include).file(NODE).compile("soft_lmccl_autograd");
    if env::var_os("CARGO_FEATURE_DISTRIBUTED").is_some() {
        compile_c10d(&include, lib.as_deref());
    }
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
fn page(include: &Path) -> cc::Build {
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".into());
    let mut page = cc::Build::new();
    page.cpp(true)
        .std("c++17")
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .include(include)
        .include(include.join("torch/csrc/api/include"));
    page
}

/// The distributed part of libtorch: Gloo, which every build for Linux and macOS has, and NCCL where libtorch's CUDA part
/// and the headers are there.
fn compile_c10d(include: &Path, lib: Option<&Path>) {
    const HEADER: &str = "torch/csrc/distributed/c10d/ProcessGroupGloo.hpp";
    if !include.join(HEADER).exists() {
        eprintln!(
            "the feature `distributed` needs a libtorch with c10d, and {} is not there",
            include.join(HEADER).display()
        );
        exit(1);
    }
    println!("cargo:rustc-cfg=c10d");
    let mut page = page(include);
    // Searched last: a libtorch that brings Gloo's own headers uses those.
    page.flag("-idirafter").flag(GLOO).file(C10D).debug(false);
    for name in nccl::VARIABLES {
        println!("cargo:rerun-if-env-changed={name}");
    }
    match nccl::folders(include, lib, |name| env::var_os(name).map(PathBuf::from)) {
        Ok(folders) => drop(page.define("SOFT_LMCCL_NCCL", None).includes(folders)),
        Err(missing) => {
            if missing != nccl::LIBRARY {
                let places = nccl::VARIABLES.join(", ");
                println!(
                    "cargo:warning=groups take no tensors on a GPU, since `{missing}` is in none of the usual folders nor \
                     in those that {places} name"
                );
            }
            page.define("SOFT_LMCCL_MISSING", format!("\"{missing}\"").as_str());
        }
    }
    page.compile("soft_lmccl_c10d");
}
