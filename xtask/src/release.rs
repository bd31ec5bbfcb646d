//! Which libtorch goes with which release of the bindings `tch` and `torch-sys`.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A release of libtorch, and the bindings that are made for it: their build script refuses any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// Of libtorch.
    pub libtorch: &'static str,
    /// Of `tch` and `torch-sys`.
    pub bindings: &'static str,
}

/// What the project is tested with; the first is the one that is locked in the repository.
pub const RELEASES: [Release; 2] =
    [Release { libtorch: "2.13.0", bindings: "0.26.0" }, Release { libtorch: "2.11.0", bindings: "0.24.0" }];

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.libtorch)
    }
}

impl Release {
    /// The release for the `torch-sys` that `root/Cargo.lock` names.
    ///
    /// # Errors
    /// If there is no such line, or none of [`RELEASES`] goes with it.
    pub fn locked(root: &Path) -> Result<Self> {
        let path = root.join("Cargo.lock");
        let lock = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::in_lock(&lock)
    }

    fn in_lock(lock: &str) -> Result<Self> {
        let entry = lock.split_once("name = \"torch-sys\"\nversion = \"");
        let (version, _) = entry.and_then(|(_, rest)| rest.split_once('"')).context("Cargo.lock names no torch-sys")?;
        let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
        match RELEASES.into_iter().find(|release| minor(release.bindings) == minor(version)) {
            Some(release) => Ok(release),
            None => bail!(
                "Cargo.lock has torch-sys {version}, which this project is not tested with: run `cargo xtask libtorch {}`",
                RELEASES[0].short()
            ),
        }
    }

    /// The release that a user names, such as `2.11` or `2.11.0`.
    pub fn named(name: &str) -> Option<Self> {
        RELEASES.into_iter().find(|release| release.libtorch == name || release.short() == name)
    }

    /// `2.11` for 2.11.0.
    pub fn short(self) -> &'static str {
        self.libtorch.rsplit_once('.').map_or(self.libtorch, |(short, _)| short)
    }

    /// Whether a version such as `2.11.0+cu130` is this one; what comes after `+` is the build.
    pub fn fits(self, version: &str) -> bool {
        version.split('+').next() == Some(self.libtorch)
    }

    /// How to go on where a libtorch of `version` is there and this one is needed: a clause after `or`, empty where the
    /// project is not tested with `version`.
    pub fn way_to(version: &str) -> String {
        match RELEASES.into_iter().find(|release| release.fits(version)) {
            Some(release) => {
                format!(", or run `cargo xtask libtorch {}`, which locks tch {}", release.short(), release.bindings)
            }
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_decides() {
        let lock = |version: &str| format!("[[package]]\nname = \"torch-sys\"\nversion = \"{version}\"\n");
        assert_eq!(Release::in_lock(&lock("0.24.1")).unwrap().libtorch, "2.11.0");
        assert_eq!(Release::in_lock(&lock("0.26.0")).unwrap().libtorch, "2.13.0");
        let text = Release::in_lock(&lock("0.25.0")).unwrap_err().to_string();
        assert!(text.contains("torch-sys 0.25.0") && text.ends_with("`cargo xtask libtorch 2.13`"), "{text}");
        assert_eq!(Release::in_lock("").unwrap_err().to_string(), "Cargo.lock names no torch-sys");
    }

    #[test]
    fn names_and_builds() {
        assert_eq!(Release::named("2.11"), Release::named("2.11.0"));
        assert_eq!(Release::named("2.12"), None);
        let newest = RELEASES[0];
        for (version, expected) in [("2.13.0", true), ("2.13.0+cu130", true), ("2.13.01", false), ("2.8.0", false)] {
            assert_eq!(newest.fits(version), expected, "{version}");
        }
        assert_eq!(Release::way_to("2.8.0"), "");
        assert_eq!(Release::way_to("2.11.0+cpu"), ", or run `cargo xtask libtorch 2.11`, which locks tch 0.24.0");
    }
}
