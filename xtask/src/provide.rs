//! Fetches a CPU build of libtorch where there is none.
//!
//! All is made in a staging folder of the cache and renamed as the last step, so that what has the
//! right name is whole; a list of its files catches what a crash or a broom did to it later.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail};

use crate::doctor;
use crate::libtorch::{self, Libtorch, Source};
use crate::pip::Pip;
use crate::platform::Platform;
use crate::release::Release;
use crate::surroundings::Surroundings;
use crate::wheel;

/// What it takes for a moment: the wheels twice (pip's copy and ours), or the wheels and the
/// unpacked files.
const PEAK_BYTES: u64 = 1_100_000_000;
const PARTIAL: &str = ".partial";

/// Finds libtorch or provides it; afterwards a plain `cargo build` finds it as well.
///
/// # Errors
/// One sentence on what is in the way and how to go on; nothing half written is left.
pub fn ensure(around: &Surroundings) -> Result<Libtorch> {
    let mut libtorch = match libtorch::find(around)? {
        Some(found) => found,
        None => {
            let platform = Platform::host()?;
            let dir = provide(around, &platform).map_err(|error| explain_full_disk(error, around))?;
            Libtorch { dir, version: around.release.to_string(), source: Source::Cache }
        }
    };
    if libtorch.source == Source::Cache {
        show_in_target(around, &libtorch.dir)?;
        libtorch.source = Source::Target;
    }
    Ok(libtorch)
}

fn provide(around: &Surroundings, platform: &Platform) -> Result<PathBuf> {
    let Some(pip) = Pip::find(around) else {
        bail!(
            "libtorch is fetched with pip, and no pip was found: run `{}`, or set LIBTORCH to the \
             folder of a libtorch {}",
            doctor::install_pip(around),
            around.release
        );
    };
    let cache = &around.cache;
    fs::create_dir_all(cache)
        .with_context(|| format!("cannot create {}: set XDG_CACHE_HOME to a folder of yours", cache.display()))?;
    sweep(around);
    if let Some(free) = free_bytes(around, cache)
        && free < PEAK_BYTES
    {
        bail!("{}", full_disk(cache, Some(free)));
    }

    let staging = Staging::new(cache)?;
    let wheels = staging.folder("wheels")?;
    let scratch = staging.folder("scratch")?;
    eprintln!("1/3 fetching libtorch {} with `{}` (once, about 0.55 GB)", around.release, pip.command());
    pip.download(around, platform, &wheels, &scratch)?;

    let tree = staging.folder("libtorch")?;
    let files = assemble(around.release, platform, &wheels, &tree)?;
    let total: u64 = files.iter().map(|file| file.size).sum();
    eprintln!("3/3 checked {} files, {}", files.len(), megabytes(total));
    let dir = libtorch::cached(around, platform);
    publish(around.release, &staging, &tree, &dir)?;
    Ok(dir)
}

/// Makes the libtorch folder out of the wheels.
fn assemble(release: Release, platform: &Platform, wheels: &Path, tree: &Path) -> Result<Vec<wheel::Unpacked>> {
    let mut files = Vec::new();
    let mut archives: Vec<PathBuf> = list(wheels)?;
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "whl"));
    archives.sort();
    for archive in &archives {
        let name = archive.file_name().unwrap_or_default().display().to_string();
        let size = fs::metadata(archive).map_or(0, |metadata| metadata.len());
        eprintln!("2/3 unpacking {name} ({})", megabytes(size));
        files.extend(wheel::unpack(archive, |entry| platform.place(entry), tree)?);
    }
    for library in platform.libraries() {
        if !files.iter().any(|file| file.path == library) {
            bail!(
                "the wheels that pip fetched hold no {library}: set LIBTORCH to the folder of a \
                 libtorch {release} instead"
            );
        }
    }
    finish(release, platform, tree, &files).with_context(|| format!("cannot write to {}", tree.display()))?;
    libtorch::inspect(tree, release).context("the wheels that pip fetched do not hold a libtorch")?;
    Ok(files)
}

fn finish(release: Release, platform: &Platform, tree: &Path, files: &[wheel::Unpacked]) -> io::Result<()> {
    if let Some((name, target)) = platform.alias {
        symlink(Path::new(target), &tree.join("lib").join(name))?;
    }
    fs::write(tree.join("build-version"), format!("{release}\n"))?;
    wheel::write_contents(tree, files)?;
    File::open(tree)?.sync_all()
}

/// Gives the finished folder its name. Where another run was faster, its folder is used.
fn publish(release: Release, staging: &Staging, tree: &Path, dir: &Path) -> Result<()> {
    let rename = || fs::rename(tree, dir);
    if let Err(first) = rename() {
        if libtorch::inspect(dir, release).is_ok() {
            return Ok(());
        }
        // What has the name is damaged: out of the way with it, into what is removed anyway.
        fs::rename(dir, staging.0.join("damaged")).ok();
        rename()
            .map_err(|_| first)
            .with_context(|| format!("cannot rename {} to {}", tree.display(), dir.display()))?;
    }
    if let Some(cache) = dir.parent() {
        File::open(cache).and_then(|cache| cache.sync_all()).ok();
    }
    Ok(())
}

/// Links `target/libtorch`, where `.cargo/config.toml` makes every build look, to `dir`.
fn show_in_target(around: &Surroundings, dir: &Path) -> Result<()> {
    let link = around.link();
    let make = || {
        let target = around.root.join("target");
        fs::create_dir_all(&target)?;
        // A link cannot be replaced in place, a rename can.
        let fresh = target.join(format!(".libtorch.{}", process::id()));
        fs::remove_file(&fresh).ok();
        symlink(dir, &fresh)?;
        fs::rename(&fresh, &link).inspect_err(|_| {
            fs::remove_file(&fresh).ok();
        })
    };
    make().with_context(|| format!("cannot link {} to {}", link.display(), dir.display()))
}

/// A folder beside the final one, gone when dropped.
#[derive(Debug)]
struct Staging(PathBuf);

impl Staging {
    fn new(cache: &Path) -> Result<Self> {
        let dir = cache.join(format!(".libtorch-{}{PARTIAL}", process::id()));
        let make = || fs::create_dir(&dir);
        make().with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self(dir))
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let dir = self.0.join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Removes the staging folders of runs that were killed. Best effort: they are in nobody's way.
fn sweep(around: &Surroundings) {
    for path in list(&around.cache).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let owner = name.strip_prefix(".libtorch-").and_then(|rest| rest.strip_suffix(PARTIAL));
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else {
            continue;
        };
        // Our own number on a folder that we have not made yet is that of an earlier process.
        if owner == process::id() || !is_running(around, owner) {
            fs::remove_dir_all(&path).ok();
        }
    }
}

fn is_running(around: &Surroundings, process: u32) -> bool {
    let signal = format!("kill -0 {process} 2>/dev/null");
    // If it cannot be told, the folder stays.
    around.command("sh").args(["-c", &signal]).status().is_ok_and(|status| status.success())
}

/// What the file system of `dir` has left, if `df` can tell.
fn free_bytes(around: &Surroundings, dir: &Path) -> Option<u64> {
    let answer = around.command("df").arg("-Pk").arg(dir).output().ok()?;
    free_in(&String::from_utf8_lossy(&answer.stdout))
}

fn free_in(df: &str) -> Option<u64> {
    let kilobytes: u64 = df.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn full_disk(cache: &Path, free: Option<u64>) -> String {
    let left = free.map(|free| format!(" ({} left)", megabytes(free))).unwrap_or_default();
    format!(
        "providing libtorch needs about 1.1 GB for a moment and 0.5 GB for good, which the disk of \
         {} does not have{left}: free some space, or set XDG_CACHE_HOME to a folder on another disk",
        cache.display()
    )
}

fn explain_full_disk(error: anyhow::Error, around: &Surroundings) -> anyhow::Error {
    let full = error.chain().any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    });
    if full { error.context(full_disk(&around.cache, None)) } else { error }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>());
    entries.with_context(|| format!("cannot read {}", dir.display()))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::tests::{NEEDED, fake, nothing, program};
    use crate::wheel::tests::make;

    const TORCH_H: &str = "torch/include/torch/csrc/api/include/torch/torch.h";

    /// A pip that copies `wheels` to where it is told to download.
    fn fake_pip(around: &Surroundings, wheels: &Path) {
        let script = format!(
            "case \"$*\" in *--version*) echo pip 1; exit;; esac\n\
             while [ \"$1\" != --dest ]; do shift; done\n\
             /bin/cp {}/*.whl \"$2\"",
            wheels.display()
        );
        program(around, "pip", &script);
    }

    fn fake_wheels(dir: &Path, platform: &Platform, leave_out: &str) -> PathBuf {
        let wheels = dir.join("wheels");
        fs::create_dir_all(&wheels).unwrap();
        let torch: Vec<String> = platform.torch.iter().map(|name| format!("torch/lib/{name}")).collect();
        let cuda: Vec<String> = platform.cuda.iter().map(|name| format!("nvidia/cu13/lib/{name}")).collect();
        let entries = |names: &[String]| {
            let names = names.iter().filter(|name| !name.ends_with(leave_out));
            names.map(|name| (name.clone(), vec![7u8; 3000])).collect::<Vec<_>>()
        };
        let write = |file: &str, names: &[String]| {
            let entries = entries(names);
            let entries: Vec<(&str, &[u8])> =
                entries.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
            make(&wheels.join(file), &entries);
        };
        write("torch-2.13.0.whl", &[torch, vec![TORCH_H.to_owned(), "torch/lib/libtorch_cuda.so".to_owned()]].concat());
        write("nvidia.whl", &cuda);
        wheels
    }

    fn left_in_cache(around: &Surroundings) -> Vec<String> {
        let mut names: Vec<String> = list(&around.cache)
            .unwrap_or_default()
            .iter()
            .map(|path| path.file_name().unwrap().display().to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn provided_once_then_found() {
        let dir = tempfile::tempdir().unwrap();
        let around = nothing(dir.path());
        let Ok(platform) = Platform::host() else {
            return;
        };
        fake_pip(&around, &fake_wheels(dir.path(), &platform, "nothing"));
        // The leftover of a killed run: no process has this number.
        fs::create_dir_all(around.cache.join(".libtorch-999999999.partial/wheels")).unwrap();

        let provided = ensure(&around).unwrap();
        let cached = libtorch::cached(&around, &platform);
        assert_eq!(provided.dir, cached);
        assert_eq!(left_in_cache(&around), [cached.file_name().unwrap().display().to_string()]);
        assert!(!cached.join("lib/libtorch_cuda.so").exists());
        if let Some((name, _)) = platform.alias {
            assert!(cached.join("lib").join(name).is_file());
        }

        // Found again without pip, by way of the link, and linked again where it is gone.
        program(&around, "pip", "exit 1");
        assert_eq!(libtorch::find(&around).unwrap().unwrap().source, Source::Target);
        fs::remove_file(around.link()).unwrap();
        ensure(&around).unwrap();
        assert_eq!(around.link().read_link().unwrap(), cached);

        // A file cut short later: no longer taken for whole.
        fs::write(cached.join("lib").join(platform.torch[0]), "").unwrap();
        assert_eq!(libtorch::find(&around).unwrap(), None);
        fake_pip(&around, &dir.path().join("wheels"));
        ensure(&around).unwrap();
        assert_eq!(left_in_cache(&around).len(), 1);
    }

    #[test]
    fn failures_are_one_sentence_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let around = nothing(dir.path());
        let Ok(platform) = Platform::host() else {
            return;
        };
        let said = || {
            let text = ensure(&around).unwrap_err().to_string();
            assert_eq!(left_in_cache(&around), [""; 0], "{text}");
            assert!(around.link().symlink_metadata().is_err(), "{text}");
            text
        };

        let text = said();
        assert!(text.contains("no pip was found: run `"), "{text}");

        let fails = "case \"$*\" in *--version*) echo pip 1; exit;; esac; exit 3";
        program(&around, "pip", fails);
        let text = said();
        assert!(text.starts_with("`pip` could not fetch the wheels of libtorch"), "{text}");

        let wheels = fake_wheels(dir.path(), &platform, platform.torch[1]);
        fake_pip(&around, &wheels);
        let text = said();
        assert!(text.contains(&format!("hold no lib/{}", platform.torch[1])), "{text}");

        let wheel = fake_wheels(dir.path(), &platform, "nothing").join("torch-2.13.0.whl");
        let whole = fs::read(&wheel).unwrap();
        fs::write(&wheel, &whole[..whole.len() - 100]).unwrap();
        let text = said();
        assert!(text.starts_with("the wheel torch-2.13.0.whl is damaged"), "{text}");

        program(&around, "df", "echo; echo disk 1000000 1 999999 100% /");
        let text = said();
        assert!(text.contains("needs about 1.1 GB for a moment"), "{text}");
        assert!(text.contains("(1024.0 MB left)"), "{text}");
    }

    #[test]
    fn the_slower_of_two_uses_what_the_faster_made() {
        let dir = tempfile::tempdir().unwrap();
        let around = nothing(dir.path());
        fs::create_dir_all(&around.cache).unwrap();
        let staging = Staging::new(&around.cache).unwrap();
        let (tree, final_dir) = (staging.0.join("libtorch"), around.cache.join("libtorch"));
        fake(&tree, NEEDED);
        fs::write(tree.join("mine"), "").unwrap();

        fake(&final_dir, NEEDED);
        publish(around.release, &staging, &tree, &final_dir).unwrap();
        assert!(!final_dir.join("mine").exists(), "the faster one's stays");

        fs::remove_file(final_dir.join("build-version")).unwrap();
        publish(around.release, &staging, &tree, &final_dir).unwrap();
        assert!(final_dir.join("mine").exists(), "a damaged one is replaced");
        drop(staging);
        assert_eq!(left_in_cache(&around), ["libtorch"]);
    }

    #[test]
    fn a_full_disk_is_recognized_in_the_chain() {
        let dir = tempfile::tempdir().unwrap();
        let around = nothing(dir.path());
        let error = anyhow::Error::new(io::Error::from(io::ErrorKind::StorageFull));
        let error = explain_full_disk(error.context("cannot write x"), &around);
        assert!(error.to_string().contains("needs about 1.1 GB"), "{error}");
        assert_eq!(error.chain().nth(1).unwrap().to_string(), "cannot write x");
        assert_eq!(free_in("head\n/dev/a 100 40 60 40% /\n"), Some(61_440));
        assert_eq!(free_in("nonsense"), None);
    }
}
