//! Writing files so that a reader, or a crash, never meets half of one.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// Writes `bytes` to a sibling of `path`, syncs it, renames it over `path` and syncs the directory, so that
/// a crash of the process or of the machine leaves the old file or the new one.
///
/// # Errors
/// [`Error::Io`]; whatever was at `path` is still there then.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = partial(path);
    let written = File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| {
        // The error that matters is the first; a leftover sibling does no harm.
        let _ = fs::remove_file(&partial);
        Error::Io { action: "write", path: path.to_owned(), source }
    })?;
    sync_directory(path).map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })
}

/// Whether a file can be written at `path`, asked before the work whose result it is to hold.
///
/// # Errors
/// [`Error::Io`]; nothing is left behind.
#[cfg(feature = "torch")]
pub(crate) fn require_writable(path: &Path) -> Result<()> {
    let partial = partial(path);
    let made = File::create(&partial).and_then(|_| fs::remove_file(&partial));
    made.map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })
}

/// The sibling that a file is written to first: one for each write, so that two threads that write to one path
/// leave one file or the other.
fn partial(path: &Path) -> PathBuf {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{}.partial", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

/// Until its directory is synced, a rename may be forgotten with a power failure.
fn sync_directory(path: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened as a file.
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// A process and one of its writes; before these were counted, a process.
#[cfg(feature = "torch")]
fn is_writer(text: &str) -> bool {
    let (process, write) = text.split_once('-').unwrap_or((text, "0"));
    process.parse::<u32>().is_ok() && write.parse::<u64>().is_ok()
}

/// Removes what killed processes left beside `path` when they were writing it.
#[cfg(feature = "torch")]
pub(crate) fn remove_partials(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let sibling = entry.file_name();
        let writer = sibling
            .to_str()
            .and_then(|sibling| sibling.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".partial"));
        if writer.is_some_and(is_writer) {
            // Clearing up is not what was asked for: nothing depends on it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes a record as JSON, as [`write_atomically`] writes.
pub(crate) fn save_json(path: &Path, record: &impl Serialize) -> Result<()> {
    let mut json = serde_json::to_string_pretty(record).expect("a record of finite numbers is JSON");
    json.push('\n');
    write_atomically(path, json.as_bytes())
}

/// Reads a record of JSON.
pub(crate) fn load_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let json =
        fs::read_to_string(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
    serde_json::from_str(&json).map_err(|problem| Error::Format { path: path.to_owned(), problem: problem.to_string() })
}

#[cfg(test)]
mod tests {
    use super::write_atomically;

    #[cfg(feature = "torch")]
    #[test]
    fn what_killed_processes_left_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let names = ["file.12.partial", "file.12-3.partial", "file.partial", "file.x-1.partial", "other.12-3.partial"];
        for name in names {
            std::fs::write(directory.path().join(name), "").expect("an empty file");
        }
        super::remove_partials(&directory.path().join("file"));
        let left = names.map(|name| directory.path().join(name).exists());
        assert_eq!(left, [false, false, true, true, true]);
    }

    #[test]
    fn threads_that_write_one_path_do_not_meet() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        std::thread::scope(|scope| {
            for writer in 0u8..4 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..10 {
                        write_atomically(path, &vec![writer; 100_000]).expect("no other has taken its sibling away");
                    }
                });
            }
        });
        let bytes = std::fs::read(&path).expect("one of them");
        assert!(bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == bytes[0]), "the file of one writer");
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }
}
