//! pip, of whatever Python there is: it fetches the wheels, nothing is installed.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::platform::Platform;
use crate::surroundings::Surroundings;

const CANDIDATES: [&[&str]; 4] = [&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]];

/// A pip that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pip {
    command: &'static [&'static str],
    /// What `--version` said.
    pub version: String,
}

impl Pip {
    /// The first pip that answers.
    pub fn find(around: &Surroundings) -> Option<Self> {
        CANDIDATES.into_iter().find_map(|command| {
            let (program, args) = command.split_first()?;
            let answer = around.command(program).args(args).arg("--version").output().ok()?;
            let version = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
            answer.status.success().then_some(Self { command, version })
        })
    }

    /// As it would be typed.
    pub fn command(&self) -> String {
        self.command.join(" ")
    }

    /// Downloads the wheels for `platform` to `into`; `scratch` is where pip may put what it has
    /// not finished, so that nothing of it is left elsewhere.
    ///
    /// # Errors
    /// If pip cannot be run or fails; what it had to say went to the terminal.
    pub fn download(&self, around: &Surroundings, platform: &Platform, into: &Path, scratch: &Path) -> Result<()> {
        let (program, args) = self.command.split_first().context("pip has no name")?;
        let mut pip = around.command(program);
        pip.args(args).args([
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--python-version",
            "3.12",
            "--implementation",
            "cp",
        ]);
        for tag in platform.tags {
            pip.args(["--platform", tag]);
        }
        pip.arg("--dest").arg(into).arg(format!("torch=={}", around.release)).args(platform.companions);
        pip.env("TMPDIR", scratch).stdin(Stdio::null());
        let status = pip.status().with_context(|| format!("cannot run `{}`", self.command()))?;
        if !status.success() {
            bail!(
                "`{}` could not fetch the wheels of libtorch ({status}, its own words are above): \
                 see that it reaches its package index and try again, or set LIBTORCH to the \
                 folder of a libtorch {}",
                self.command(),
                around.release
            );
        }
        Ok(())
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::tests::{nothing, program};

    #[test]
    fn the_first_that_answers() {
        let dir = tempfile::tempdir().unwrap();
        let around = nothing(dir.path());
        assert_eq!(Pip::find(&around), None);
        program(&around, "pip", "echo pip 1");
        assert_eq!(Pip::find(&around).unwrap().command(), "pip");
        program(&around, "python3", "echo No module named pip >&2; exit 1");
        assert_eq!(Pip::find(&around).unwrap().command(), "pip");
        program(&around, "python", "echo pip 2");
        let pip = Pip::find(&around).unwrap();
        assert_eq!((pip.command().as_str(), pip.version.as_str()), ("python -m pip", "pip 2"));
    }
}
