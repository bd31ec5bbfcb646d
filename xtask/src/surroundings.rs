//! What a task may look at: read from the environment once, so that tests can make their own.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::release::Release;

/// The places and variables that decide which libtorch is used.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The repository.
    pub root: PathBuf,
    /// This project's folder in the user's cache.
    pub cache: PathBuf,
    /// `LIBTORCH`, unless it is only our own default out of `.cargo/config.toml`.
    pub libtorch: Option<PathBuf>,
    /// `LIBTORCH_USE_PYTORCH` is set: the Python that `torch-sys` will ask.
    pub pytorch: Option<&'static str>,
    /// `LIBTORCH_BYPASS_VERSION_CHECK` is set.
    pub any_version: bool,
    /// The libtorch that `Cargo.lock` asks for.
    pub release: Release,
    /// `PATH`, where programs are looked for.
    pub path: OsString,
}

impl Surroundings {
    /// Reads the environment.
    ///
    /// # Errors
    /// If the user's cache cannot be named.
    pub fn from_env() -> Result<Self> {
        let root = root()?;
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let cache = cache_dir(set("XDG_CACHE_HOME"), set("HOME"), cfg!(target_os = "macos"))
            .context("the user's cache cannot be found: set HOME or XDG_CACHE_HOME")?;
        let interpreter = if set("VIRTUAL_ENV").is_some() { "python" } else { "python3" };
        Ok(Self {
            libtorch: set("LIBTORCH").map(PathBuf::from).filter(|dir| !is_default(dir, &root)),
            pytorch: env::var_os("LIBTORCH_USE_PYTORCH").map(|_| interpreter),
            any_version: env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some(),
            path: env::var_os("PATH").unwrap_or_default(),
            release: Release::locked(&root)?,
            root,
            cache,
        })
    }

    /// Where `.cargo/config.toml` makes `torch-sys` look.
    pub fn link(&self) -> PathBuf {
        self.root.join("target/libtorch")
    }

    /// A program found through [`Surroundings::path`].
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", &self.path);
        command
    }
}

/// The repository.
///
/// # Errors
/// If this program was moved out of it.
pub fn root() -> Result<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let manifest = manifest.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    Ok(manifest.parent().context("xtask does not lie in the repository")?.to_path_buf())
}

/// Cargo sets `LIBTORCH` to `target/libtorch` for all that it runs, so that this one value says
/// nothing about the user's wish.
fn is_default(libtorch: &Path, root: &Path) -> bool {
    let same_parent = || {
        let parent = libtorch.parent()?.canonicalize().ok()?;
        Some(parent == root.join("target").canonicalize().ok()?)
    };
    libtorch == root.join("target/libtorch") || libtorch.ends_with("libtorch") && same_parent().unwrap_or(false)
}

fn cache_dir(xdg: Option<OsString>, home: Option<OsString>, macos: bool) -> Option<PathBuf> {
    // The XDG rules: a relative path is to be ignored.
    let xdg = xdg.map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = home.map(PathBuf::from);
    let base = match (xdg, home, macos) {
        (Some(dir), _, _) => dir,
        (None, Some(home), true) => home.join("Library/Caches"),
        (None, Some(home), false) => home.join(".cache"),
        (None, None, _) => return None,
    };
    Some(base.join("soft-lmccl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_follows_the_platform() {
        let some = |path: &str| Some(OsString::from(path));
        let cache = |xdg, home, macos| cache_dir(xdg, home, macos);
        assert_eq!(cache(some("/x"), some("/h"), false), Some("/x/soft-lmccl".into()));
        assert_eq!(cache(some("rel"), some("/h"), false), Some("/h/.cache/soft-lmccl".into()));
        assert_eq!(cache(None, some("/h"), true), Some("/h/Library/Caches/soft-lmccl".into()));
        assert_eq!(cache(None, None, false), None);
    }

    #[test]
    fn only_the_configured_value_is_the_default() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert!(is_default(&root.join("target/libtorch"), root));
        assert!(!is_default(&root.join("libtorch"), root));
        assert!(!is_default(Path::new("/opt/libtorch"), root));
        std::fs::create_dir(root.join("target")).unwrap();
        assert!(is_default(&root.join("target/../target/libtorch"), root));
        assert!(!is_default(&root.join("target/other"), root));
    }
}
