//! Runs cargo in our place.

use std::env;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::release::{RELEASES, Release};
use crate::surroundings::{self, Surroundings};

/// The main example.
pub const DEMO: [&str; 7] = ["run", "--release", "--features", "cect", "--example", "open_set_cect", "--"];
/// Every test and doctest of what is linked to libtorch.
pub const TEST_TORCH: [&str; 9] = [
    "test",
    "--package",
    "soft-lmccl",
    "--package",
    "soft-lmccl-metrics",
    "--package",
    "soft-lmccl-cli",
    "--features",
    "soft-lmccl/cect,soft-lmccl/distributed,soft-lmccl-metrics/files",
];
/// Every test and doctest of what is not.
pub const TEST_PLAIN: [&str; 7] =
    ["test", "--package", "soft-lmccl-files", "--package", "soft-lmccl-cect", "--package", "soft-lmccl-report"];
/// The criterion binary.
pub const BENCH: [&str; 6] = ["bench", "--features", "cect,distributed", "--bench", "main", "--"];
/// The embedded densities.
pub const CATALOGUE: [&str; 6] = ["run", "--release", "--package", "soft-lmccl-cli", "--", "catalogue"];

/// Runs `cargo task args` in the repository and hands on its exit code.
///
/// On Unix this process becomes cargo, so that signals, the terminal and the exit code are its own.
///
/// # Errors
/// If cargo cannot be started.
pub fn run(around: &Surroundings, task: &[&str], args: &[String]) -> Result<ExitCode> {
    hand_over(command(around, task, args)).context("cannot run cargo")
}

/// Runs `cargo task args` in the repository, waits for it and says whether it succeeded.
///
/// # Errors
/// If cargo cannot be started.
pub fn succeeds(around: &Surroundings, task: &[&str], args: &[String]) -> Result<bool> {
    Ok(command(around, task, args).status().context("cannot run cargo")?.success())
}

/// Locks the bindings that are made for the libtorch that the user names.
///
/// # Errors
/// If the project is not tested with it, or cargo does not take them.
pub fn lock(name: &str) -> Result<()> {
    let Some(release) = Release::named(name) else {
        let known = RELEASES.map(Release::short).join(" and ");
        bail!("this project is tested with libtorch {known}, not with `{name}`");
    };
    let root = surroundings::root()?;
    if Release::locked(&root).is_ok_and(|locked| locked == release) {
        return Ok(());
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["update", "tch", "--precise", release.bindings])
        .current_dir(&root)
        .status()
        .context("cannot run cargo")?;
    if !status.success() || Release::locked(&root)? != release {
        bail!("cargo could not lock tch {}: its own words are above", release.bindings);
    }
    Ok(())
}

fn command(around: &Surroundings, task: &[&str], args: &[String]) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(task).args(args).current_dir(&around.root);
    forget_own_variables(&mut command, around);
    eprintln!("Running `cargo {}`", [task, &args.iter().map(String::as_str).collect::<Vec<_>>()].concat().join(" "));
    command
}

/// Takes out what cargo set for this very process: the child then sees what a plain `cargo` typed
/// by the user sees, and neither of the two rebuilds what the other built.
fn forget_own_variables(command: &mut Command, around: &Surroundings) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    if around.libtorch.is_none() {
        command.env_remove("LIBTORCH");
    }
    let hint = around.root.join(".cargo/libtorch-missing");
    if env::var_os("CPLUS_INCLUDE_PATH").is_some_and(|path| path == hint) {
        command.env_remove("CPLUS_INCLUDE_PATH");
    }
}

#[cfg(unix)]
fn hand_over(mut command: Command) -> std::io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

#[cfg(not(unix))]
fn hand_over(mut command: Command) -> std::io::Result<ExitCode> {
    let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
