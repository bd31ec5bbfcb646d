//! Says what this machine has, and the exact way to what it lacks.

use std::env;
use std::fs;
use std::io::Write as _;
use std::process::{ExitCode, Stdio};
use std::thread;

use crate::libtorch;
use crate::pip::Pip;
use crate::platform::Platform;
use crate::surroundings::Surroundings;

/// The oldest Rust that builds the crate.
const MSRV: &str = env!("CARGO_PKG_RUST_VERSION");

/// One line of the report.
enum Finding {
    Good(String),
    /// Worth knowing, nothing to mend.
    Note(String),
    /// What is wrong, and the command that mends it.
    Bad(String, String),
}

/// Prints the report; success if nothing has to be mended.
pub fn run(around: &Surroundings) -> ExitCode {
    let pip = Pip::find(around);
    let findings = [
        ("libtorch", libtorch(around, pip.as_ref())),
        ("CUDA", cuda(around)),
        ("threads", threads()),
        ("Rust", rust(around)),
        ("C++", compiler(around)),
        ("pip", pip_finding(around, pip)),
    ];
    let mut mend = Vec::new();
    for (what, finding) in findings {
        match finding {
            Finding::Good(text) => println!("ok       {what:<9} {text}"),
            Finding::Note(text) => println!("note     {what:<9} {text}"),
            Finding::Bad(text, fix) => {
                println!("MISSING  {what:<9} {text}");
                mend.push((what, fix));
            }
        }
    }
    if mend.is_empty() {
        println!("\nAll is well.");
        return ExitCode::SUCCESS;
    }
    println!("\nTo mend it:");
    // libtorch needs the others, so that it comes last.
    mend.sort_by_key(|(what, _)| *what == "libtorch");
    for (what, fix) in mend {
        println!("  {what:<9} {fix}");
    }
    ExitCode::FAILURE
}

fn libtorch(around: &Surroundings, pip: Option<&Pip>) -> Finding {
    match libtorch::find(around) {
        Ok(Some(found)) if found.source == libtorch::Source::Cache => {
            Finding::Bad(format!("{found}, but not yet visible as target/libtorch"), "cargo xtask libtorch".to_owned())
        }
        Ok(Some(found)) => Finding::Good(found.to_string()),
        Ok(None) if Platform::host().is_err() => Finding::Bad(
            format!("none found, and none is ready-made for {}-{}", env::consts::OS, env::consts::ARCH),
            format!("export LIBTORCH=/path/to/libtorch   # a libtorch {}, with include/ and lib/", around.release),
        ),
        Ok(None) => Finding::Bad(
            format!("none found; {} is needed", around.release),
            match pip {
                Some(_) => "cargo xtask libtorch   # fetches about 0.55 GB, once".to_owned(),
                None => "cargo xtask libtorch   # once pip is there".to_owned(),
            },
        ),
        Err(error) => {
            let (problem, fix) = sentence_and_fix(&error.to_string());
            Finding::Bad(problem, fix)
        }
    }
}

/// Our errors read `problem: what to do`.
fn sentence_and_fix(error: &str) -> (String, String) {
    let (problem, fix) = error.rsplit_once(": ").unwrap_or((error, "cargo xtask libtorch"));
    (problem.to_owned(), fix.to_owned())
}

fn cuda(around: &Surroundings) -> Finding {
    let libtorch = libtorch::find(around).ok().flatten();
    let driver = fs::read_to_string("/proc/driver/nvidia/version");
    let driver = driver.ok().and_then(|text| Some(text.lines().next()?.to_owned()));
    match (libtorch.is_some_and(|found| found.has_cuda()), driver) {
        (true, Some(driver)) => Finding::Good(format!("libtorch_cuda.so is there; driver: {driver}")),
        (true, None) => {
            Finding::Note("libtorch_cuda.so is there, but no NVIDIA driver: all runs on the CPU".to_owned())
        }
        (false, Some(_)) => Finding::Note(format!(
            "there is an NVIDIA driver, but no libtorch_cuda.so: for the GPU, run `python3 -m pip \
             install torch=={}` and set LIBTORCH_USE_PYTORCH=1",
            around.release
        )),
        (false, None) => Finding::Note("none; all runs on the CPU".to_owned()),
    }
}

fn threads() -> Finding {
    match thread::available_parallelism() {
        Ok(threads) => Finding::Good(threads.to_string()),
        Err(error) => Finding::Note(format!("cannot be counted: {error}")),
    }
}

fn rust(around: &Surroundings) -> Finding {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let answer = around.command(&rustc).arg("--version").output();
    let text = answer.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned());
    let fix = || "rustup update stable".to_owned();
    match text {
        Ok(text) => match rust_version(&text) {
            Some(found) if Some(found) >= rust_version(&format!("rustc {MSRV}")) => {
                Finding::Good(format!("{text} (at least {MSRV} is needed)"))
            }
            Some(_) => Finding::Bad(format!("{text}, at least {MSRV} is needed"), fix()),
            None => Finding::Note(format!("`{rustc} --version` says `{text}`")),
        },
        Err(error) => Finding::Bad(format!("`{rustc}` cannot be run: {error}"), fix()),
    }
}

/// `rustc 1.88.0-nightly (...)` as `(1, 88)`.
fn rust_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("rustc ")?.split(['.', '-', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn compiler(around: &Surroundings) -> Finding {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let answer = around.command(&compiler).arg("--version").output();
    let version = answer
        .ok()
        .filter(|answer| answer.status.success())
        .and_then(|answer| Some(String::from_utf8_lossy(&answer.stdout).lines().next()?.to_owned()));
    match version {
        None => Finding::Bad(format!("no compiler found as `{compiler}`"), install_compiler(around)),
        Some(version) if compiles(around, &compiler) => Finding::Good(version),
        Some(version) => Finding::Bad(
            format!("{version} cannot compile a file that includes <optional> as C++17"),
            install_compiler(around),
        ),
    }
}

/// A compiler without its standard library answers `--version` as well.
fn compiles(around: &Surroundings, compiler: &str) -> bool {
    let child = around
        .command(compiler)
        .args(["-x", "c++", "-std=c++17", "-fsyntax-only", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let program = "#include <optional>\nint main() { return std::optional<int>(0).value(); }\n";
    if let Some(mut input) = child.stdin.take() {
        input.write_all(program.as_bytes()).ok();
    }
    child.wait().is_ok_and(|status| status.success())
}

fn install_compiler(around: &Surroundings) -> String {
    if cfg!(target_os = "macos") {
        return "xcode-select --install".to_owned();
    }
    install(around, ["g++", "gcc-c++", "gcc", "gcc-c++"])
}

fn pip_finding(around: &Surroundings, pip: Option<Pip>) -> Finding {
    match pip {
        Some(pip) => Finding::Good(format!("`{}`: {}", pip.command(), pip.version)),
        // Only used to fetch libtorch.
        None if matches!(libtorch::find(around), Ok(Some(_))) => {
            Finding::Note("none found, and not needed: libtorch is there".to_owned())
        }
        None => Finding::Bad("none found".to_owned(), install_pip(around)),
    }
}

/// The command that brings pip to this machine.
pub fn install_pip(around: &Surroundings) -> String {
    if cfg!(target_os = "macos") {
        return "python3 -m ensurepip".to_owned();
    }
    install(around, ["python3-pip", "python3-pip", "python-pip", "python3-pip"])
}

/// The command of the package manager that is there; names for apt, dnf, pacman and zypper.
fn install(around: &Surroundings, [apt, dnf, pacman, zypper]: [&str; 4]) -> String {
    let has = |program: &str| env::split_paths(&around.path).any(|dir| dir.join(program).is_file());
    if has("dnf") {
        format!("sudo dnf install {dnf}")
    } else if has("pacman") {
        format!("sudo pacman -S {pacman}")
    } else if has("zypper") {
        format!("sudo zypper install {zypper}")
    } else {
        format!("sudo apt-get install {apt}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_versions() {
        assert_eq!(rust_version("rustc 1.88.0 (6b00bc388 2025-06-23)"), Some((1, 88)));
        assert_eq!(rust_version("rustc 1.97.0-nightly (x)"), Some((1, 97)));
        assert_eq!(rust_version("rustc 1.88"), Some((1, 88)));
        assert_eq!(rust_version("clang 1.88"), None);
    }

    #[test]
    fn the_crate_and_its_tasks_agree_on_the_oldest_rust() {
        let manifest = include_str!("../../Cargo.toml");
        assert!(manifest.contains(&format!("\nrust-version = \"{MSRV}\"\n")));
    }

    #[test]
    fn an_error_is_split_into_problem_and_fix() {
        let (problem, fix) = sentence_and_fix("LIBTORCH is /a: b, which is wrong: unset it");
        assert_eq!((problem.as_str(), fix.as_str()), ("LIBTORCH is /a: b, which is wrong", "unset it"));
    }
}
