//! Files that are whole or absent: neither a reader nor a crash ever meets half of one.
//!
//! ```
//! # let directory = tempfile::tempdir()?;
//! let path = directory.path().join("report.json");
//! soft_lmccl_files::write(&path, b"{}")?;
//! assert_eq!(std::fs::read(&path)?, b"{}");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Long runs are killed and resumed many times. [`remove_partials`] knows the names of the files that a killed
//! process was writing: that is why this crate exists.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Writes `bytes` beside `path`, syncs them, renames them over `path` and syncs the directory.
///
/// # Errors
/// The system's error. `path` is then unchanged, unless only the last sync failed; nothing is left beside it.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Written::beside(path, bytes)?.place()
}

/// Checks that a file can be written at `path`, before the work whose result it will hold.
///
/// # Errors
/// The system's error; nothing is left behind.
pub fn require_writable(path: &Path) -> io::Result<()> {
    Written::beside(path, &[]).map(drop)
}

/// A file that is written but not in its place yet. If it never gets there, it is removed.
///
/// With several files, all are written before the first is put in its place.
#[derive(Debug)]
pub struct Written {
    partial: PathBuf,
    path: PathBuf,
}

impl Written {
    /// Writes a sibling of `path` and syncs it.
    ///
    /// # Errors
    /// The system's error; the file at `path` is then unchanged.
    pub fn beside(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let written = Self { partial: partial(path), path: path.to_owned() };
        File::create(&written.partial).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))?;
        Ok(written)
    }

    /// Renames it and syncs the directory: before that, a power failure may undo the rename.
    ///
    /// # Errors
    /// The system's error. If renaming failed, the old file is still in its place.
    pub fn place(self) -> io::Result<()> {
        fs::rename(&self.partial, &self.path)?;
        // Only Unix opens a directory as a file.
        if cfg!(unix) {
            File::open(directory(&self.path))?.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // Once in its place there is nothing to remove; otherwise nobody reads it.
        let _ = fs::remove_file(&self.partial);
    }
}

/// Removes the unfinished files that killed processes left beside `path`.
pub fn remove_partials(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    for entry in fs::read_dir(directory(path)).into_iter().flatten().flatten() {
        let sibling = entry.file_name();
        let writer = sibling
            .to_str()
            .and_then(|sibling| sibling.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".partial"));
        if writer.is_some_and(is_writer) {
            // Nobody asked for clearing up: nothing depends on it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The sibling that a file is written to first. Each write has its own, so that two threads writing to one path leave
/// one whole file.
fn partial(path: &Path) -> PathBuf {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{}.partial", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

/// A process and one of its writes; in earlier versions a process alone.
fn is_writer(text: &str) -> bool {
    let (process, write) = text.split_once('-').unwrap_or((text, "0"));
    process.parse::<u32>().is_ok() && write.parse::<u64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_killed_processes_left_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let names = ["file.12.partial", "file.12-3.partial", "file.partial", "file.x-1.partial", "other.12-3.partial"];
        for name in names {
            fs::write(directory.path().join(name), "").expect("an empty file");
        }
        remove_partials(&directory.path().join("file"));
        let left = names.map(|name| directory.path().join(name).exists());
        assert_eq!(left, [false, false, true, true, true]);
    }

    #[test]
    fn what_cannot_be_placed_leaves_nothing_beside() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("taken");
        fs::create_dir(&path).expect("a directory in the way");
        assert!(write(&path, b"text").is_err());
        drop(Written::beside(&directory.path().join("never"), b"text").expect("it can be written"));
        require_writable(&directory.path().join("asked")).expect("it can be written");
        assert_eq!(names(directory.path()), ["taken"]);
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
                        write(path, &vec![writer; 100_000]).expect("no other has taken its sibling away");
                    }
                });
            }
        });
        let bytes = fs::read(&path).expect("one of them");
        assert!(bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == bytes[0]), "the file of one writer");
        assert_eq!(names(directory.path()), ["file"]);
    }
}
