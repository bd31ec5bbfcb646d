//! Writing files so that a reader, or a crash, never meets half of one.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use crate::{Error, Result};

/// Writes `bytes` to a sibling of `path`, syncs it, and renames it over `path`.
///
/// # Errors
/// [`Error::Io`]; whatever was at `path` is still there then.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let written = File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| {
        // The error that matters is the first; a leftover sibling does no harm.
        let _ = fs::remove_file(&partial);
        Error::Io { action: "write", path: path.to_owned(), source }
    })
}
