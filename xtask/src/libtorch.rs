//! Which libtorch is there, and is it the right one?

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::platform::Platform;
use crate::release::Release;
use crate::surroundings::Surroundings;
use crate::wheel;

/// A libtorch that can be built against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Libtorch {
    /// The folder with `include` and `lib`.
    pub dir: PathBuf,
    /// As it says itself, such as `2.11.0+cu130`.
    pub version: String,
    /// Who chose it.
    pub source: Source,
}

/// Who chose a [`Libtorch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The variable `LIBTORCH_USE_PYTORCH`.
    PyTorch,
    /// The variable `LIBTORCH`.
    Variable,
    /// It is visible as `target/libtorch`.
    Target,
    /// It lies in the user's cache, not yet visible in this repository.
    Cache,
}

impl Libtorch {
    /// Whether `torch-sys` would link CUDA with it.
    pub fn has_cuda(&self) -> bool {
        self.dir.join("lib/libtorch_cuda.so").exists()
    }
}

impl fmt::Display for Libtorch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = if self.has_cuda() { "CUDA build" } else { "CPU build" };
        write!(f, "libtorch {} ({build}) in {}, {}", self.version, self.dir.display(), self.source)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PyTorch => "chosen by LIBTORCH_USE_PYTORCH",
            Self::Variable => "chosen by LIBTORCH",
            Self::Target => "by way of target/libtorch",
            Self::Cache => "from the user's cache",
        })
    }
}

/// Looks where `torch-sys` will look, in its order, and then in the cache.
///
/// # Errors
/// If the user chose one that cannot be used, or `target/libtorch` is in the way.
pub fn find(around: &Surroundings) -> Result<Option<Libtorch>> {
    if let Some(python) = around.pytorch {
        return of_pytorch(around, python).map(Some);
    }
    if let Some(dir) = &around.libtorch {
        return of_variable(around, dir).map(Some);
    }
    if let Some(found) = in_target(around)? {
        return Ok(Some(found));
    }
    let Ok(platform) = Platform::host() else {
        return Ok(None);
    };
    let dir = cached(around, &platform);
    Ok(inspect(&dir, around.release).ok().map(|version| Libtorch { dir, version, source: Source::Cache }))
}

/// Where a libtorch for this machine lies in the cache, if it was ever provided.
pub fn cached(around: &Surroundings, platform: &Platform) -> PathBuf {
    around.cache.join(format!("libtorch-{}-{}", around.release, platform.name))
}

fn of_pytorch(around: &Surroundings, python: &str) -> Result<Libtorch> {
    const ASK: &str = "import os, torch\n\
                       print(torch.__version__)\n\
                       print(os.path.dirname(torch.__file__))";
    let chosen = "LIBTORCH_USE_PYTORCH is set";
    let needed = around.release;
    let ways = format!(
        "run `{python} -m pip install torch=={needed}`, or unset LIBTORCH_USE_PYTORCH and run \
         `cargo xtask libtorch`"
    );
    let answer = around.command(python).args(["-c", ASK]).output();
    let answer = answer.with_context(|| format!("{chosen} but `{python}` cannot be run: {ways}"))?;
    let lines: Vec<String> = String::from_utf8_lossy(&answer.stdout).lines().map(str::to_owned).collect();
    let [version, dir] = lines.as_slice() else {
        let last = String::from_utf8_lossy(&answer.stderr);
        let last = last.lines().last().unwrap_or("it printed nothing").to_owned();
        return Err(anyhow!(last).context(format!("{chosen} but `{python}` has no torch: {ways}")));
    };
    if !needed.fits(version) && !around.any_version {
        let other = Release::way_to(version);
        bail!("{chosen} but `{python}` has torch {version}, and {needed} is needed: {ways}{other}");
    }
    Ok(Libtorch { dir: dir.into(), version: version.clone(), source: Source::PyTorch })
}

fn of_variable(around: &Surroundings, dir: &Path) -> Result<Libtorch> {
    let shown = dir.display();
    let needed = around.release;
    let ways = format!(
        "set LIBTORCH to the folder of a libtorch {needed}, or unset it and run \
         `cargo xtask libtorch`"
    );
    if dir.is_relative() {
        bail!("LIBTORCH is `{shown}`, which is not an absolute path: {ways}");
    }
    let version = match inspect_any(dir) {
        Ok(version) => version,
        Err(flaw) => {
            return Err(flaw.context(format!("LIBTORCH is {shown}, where no libtorch is: {ways}")));
        }
    };
    if !needed.fits(&version) && !around.any_version {
        let other = Release::way_to(&version);
        bail!("LIBTORCH is {shown}, a libtorch {version}, and {needed} is needed: {ways}{other}");
    }
    Ok(Libtorch { dir: dir.to_path_buf(), version, source: Source::Variable })
}

fn in_target(around: &Surroundings) -> Result<Option<Libtorch>> {
    let link = around.link();
    let Ok(metadata) = link.symlink_metadata() else {
        return Ok(None);
    };
    match inspect(&link, around.release) {
        Ok(version) => {
            let dir = link.canonicalize().unwrap_or(link);
            Ok(Some(Libtorch { dir, version, source: Source::Target }))
        }
        // Links are ours to replace.
        Err(_) if metadata.is_symlink() => Ok(None),
        Err(flaw) => Err(flaw.context(format!(
            "{} is in the way, and it is not a libtorch {}: move it elsewhere and run \
             `cargo xtask libtorch`",
            link.display(),
            around.release
        ))),
    }
}

/// The version of the complete libtorch of the right version in `dir`.
///
/// # Errors
/// What is wrong with it.
pub fn inspect(dir: &Path, needed: Release) -> Result<String> {
    let version = inspect_any(dir)?;
    if !needed.fits(&version) {
        bail!("{} holds libtorch {version}, not {needed}", dir.display());
    }
    wheel::check_contents(dir)?;
    Ok(version)
}

fn inspect_any(dir: &Path) -> Result<String> {
    let library = if cfg!(target_os = "macos") { "libtorch_cpu.dylib" } else { "libtorch_cpu.so" };
    for needed in [Path::new("include/torch/csrc/api/include/torch/torch.h"), &Path::new("lib").join(library)] {
        if !dir.join(needed).is_file() {
            bail!("{} has no {}", dir.display(), needed.display());
        }
    }
    // The archives of pytorch.org bring `build-version`; a Python package says it in a header.
    if let Ok(text) = fs::read_to_string(dir.join("build-version")) {
        return Ok(text.trim().to_owned());
    }
    ["include/torch/headeronly/version.h", "include/torch/version.h"]
        .iter()
        .find_map(|header| version_in_header(&fs::read_to_string(dir.join(header)).ok()?))
        .with_context(|| format!("{} does not say its version", dir.display()))
}

fn version_in_header(text: &str) -> Option<String> {
    let part = |name: &str| {
        text.lines().find_map(|line| {
            let value = line.strip_prefix("#define TORCH_VERSION_")?.strip_prefix(name)?.trim();
            value.parse::<u32>().ok()
        })
    };
    Some(format!("{}.{}.{}", part("MAJOR")?, part("MINOR")?, part("PATCH")?))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::release::RELEASES;

    /// The libtorch that the tests need.
    pub const NEEDED: &str = RELEASES[0].libtorch;

    /// A folder with just enough in it to pass for a libtorch.
    pub fn fake(dir: &Path, version: &str) {
        let library = if cfg!(target_os = "macos") { "libtorch_cpu.dylib" } else { "libtorch_cpu.so" };
        let api = dir.join("include/torch/csrc/api/include/torch");
        fs::create_dir_all(&api).unwrap();
        fs::create_dir_all(dir.join("lib")).unwrap();
        fs::write(api.join("torch.h"), "").unwrap();
        fs::write(dir.join("lib").join(library), "").unwrap();
        fs::write(dir.join("build-version"), format!("{version}\n")).unwrap();
    }

    /// An empty repository and cache, and no programs.
    pub fn nothing(dir: &Path) -> Surroundings {
        fs::create_dir_all(dir.join("repo/target")).unwrap();
        Surroundings {
            root: dir.join("repo"),
            cache: dir.join("cache/soft-lmccl"),
            libtorch: None,
            pytorch: None,
            any_version: false,
            release: RELEASES[0],
            path: dir.join("bin").into(),
        }
    }

    #[cfg(unix)]
    pub fn program(around: &Surroundings, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let bin = PathBuf::from(&around.path);
        fs::create_dir_all(&bin).unwrap();
        let file = bin.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn versions() {
        let header = "#pragma once\n#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n\
                      #define TORCH_VERSION_PATCH 0\n#define TORCH_VERSION \\\n  \"x\"\n";
        assert_eq!(version_in_header(header).as_deref(), Some("2.11.0"));
        assert_eq!(version_in_header("#define TORCH_VERSION_MAJOR 2\n"), None);
    }

    #[test]
    #[cfg(unix)]
    fn order_of_the_search() {
        let dir = tempfile::tempdir().unwrap();
        let mut around = nothing(dir.path());
        assert_eq!(find(&around).unwrap(), None);

        let Ok(platform) = Platform::host() else {
            return;
        };
        fake(&cached(&around, &platform), NEEDED);
        assert_eq!(find(&around).unwrap().unwrap().source, Source::Cache);

        fake(&around.link(), NEEDED);
        assert_eq!(find(&around).unwrap().unwrap().source, Source::Target);

        let own = dir.path().join("own");
        fake(&own, "2.13.0+cu130");
        around.libtorch = Some(own.clone());
        let found = find(&around).unwrap().unwrap();
        assert_eq!((found.source, found.dir), (Source::Variable, own));

        let package = dir.path().join("torch").display().to_string();
        program(&around, "python3", &format!("echo 2.13.0; echo {package}"));
        around.pytorch = Some("python3");
        let found = find(&around).unwrap().unwrap();
        assert_eq!((found.source, found.dir), (Source::PyTorch, package.into()));
    }

    #[test]
    fn a_wrong_choice_is_said_and_never_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut around = nothing(dir.path());
        fake(&around.link(), NEEDED);
        let mut said = |libtorch: &Path| {
            around.libtorch = Some(libtorch.to_path_buf());
            find(&around).unwrap_err().to_string()
        };

        let old = dir.path().join("old");
        fake(&old, "2.8.0+cpu");
        let text = said(&old);
        assert!(text.contains("a libtorch 2.8.0+cpu, and 2.13.0 is needed"), "{text}");
        assert!(text.contains("or unset it"), "{text}");
        let locked_once = dir.path().join("locked once");
        fake(&locked_once, "2.11.0");
        let text = said(&locked_once);
        assert!(text.ends_with("or run `cargo xtask libtorch 2.11`, which locks tch 0.24.0"), "{text}");
        let text = said(&dir.path().join("none"));
        assert!(text.contains("where no libtorch is"), "{text}");
        let text = said(Path::new("libtorch"));
        assert!(text.contains("not an absolute path"), "{text}");

        around.libtorch = Some(old);
        around.any_version = true;
        assert_eq!(find(&around).unwrap().unwrap().version, "2.8.0+cpu");
    }

    #[test]
    #[cfg(unix)]
    fn a_python_without_torch_or_with_another_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut around = nothing(dir.path());
        around.pytorch = Some("python3");
        let text = find(&around).unwrap_err().to_string();
        assert!(text.contains("`python3` cannot be run"), "{text}");
        program(&around, "python3", "echo 'No module named torch' >&2; exit 1");
        let error = find(&around).unwrap_err();
        assert!(error.to_string().contains("`python3` has no torch"), "{error}");
        assert_eq!(error.root_cause().to_string(), "No module named torch");
        program(&around, "python3", "echo 2.10.0+cpu; echo /x");
        let text = find(&around).unwrap_err().to_string();
        assert!(text.contains("has torch 2.10.0+cpu, and 2.13.0 is needed"), "{text}");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_of_another_version_is_passed_over_a_folder_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let around = nothing(dir.path());
        let old = dir.path().join("old");
        fake(&old, "2.8.0");
        std::os::unix::fs::symlink(&old, around.link()).unwrap();
        assert_eq!(find(&around).unwrap(), None);
        fs::remove_dir_all(&old).unwrap();
        assert_eq!(find(&around).unwrap(), None, "dangling");
        fs::remove_file(around.link()).unwrap();
        fs::create_dir(around.link()).unwrap();
        let text = find(&around).unwrap_err().to_string();
        assert!(text.contains("is in the way"), "{text}");
    }
}
