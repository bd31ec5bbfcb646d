//! Writing files so that a reader, or a crash, never meets half of one.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

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

/// The sibling that a file is written to first.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
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

/// Removes what killed processes left beside `path` when they were writing it.
#[cfg(feature = "torch")]
pub(crate) fn remove_partials(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let sibling = entry.file_name();
        let process = sibling
            .to_str()
            .and_then(|sibling| sibling.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".partial"));
        if process.is_some_and(|process| process.parse::<u32>().is_ok()) {
            // Clearing up is not what was asked for: nothing depends on it.
            let _ = fs::remove_file(entry.path());
        }
    }
}
