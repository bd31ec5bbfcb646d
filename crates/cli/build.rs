//! Lets the program find libtorch without an environment variable, also when it is installed: by the folder that
//! libtorch is really in, since `target/libtorch` is a link that `cargo clean` removes.

use std::{fs, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") {
        let lib = Path::new(&lib);
        let resolved = fs::canonicalize(lib).unwrap_or_else(|_| lib.to_owned());
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", resolved.display());
    }
}
