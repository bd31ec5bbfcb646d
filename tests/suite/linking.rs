//! `src/needs_cuda.cpp`, of which no program here has any need: what links it asks for `libtorch_cuda.so`.

use std::path::Path;
use std::process::Command;

const NEEDED: &str = "libtorch_cuda.so";

/// The C++ compiler, which libtorch's bindings need as well.
fn compile(directory: &Path, arguments: &[&str]) {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let run = Command::new(compiler).current_dir(directory).args(arguments).output().unwrap();
    assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn linkers_do_not_leave_out_the_cuda_part_of_libtorch() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("torch_cuda.cpp", "namespace at::cuda { int warp_size() { return 32; } }");
    write("main.cpp", "int main() { return 0; }");
    write("needs_cuda.cpp", include_str!("../../crates/metrics/src/needs_cuda.cpp"));
    compile(directory.path(), &["-shared", "-fPIC", "-o", NEEDED, "-Wl,-soname,libtorch_cuda.so", "torch_cuda.cpp"]);
    for (sources, is_needed) in [(&["main.cpp"][..], false), (&["main.cpp", "needs_cuda.cpp"], true)] {
        // As rustc links: nothing that is not asked for, and no function that nothing calls.
        let as_rustc = ["-O2", "-ffunction-sections", "-Wl,--gc-sections", "-Wl,--as-needed", "-o", "program"];
        compile(directory.path(), &[&as_rustc, sources, &["-L.", "-ltorch_cuda"]].concat());
        let program = std::fs::read(directory.path().join("program")).unwrap();
        let names_it = program.windows(NEEDED.len()).any(|bytes| bytes == NEEDED.as_bytes());
        assert_eq!(names_it, is_needed, "{sources:?}");
    }
}
