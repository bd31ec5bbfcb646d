//! Files that are whole or not there.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use soft_lmccl::{Error, Result};

/// A file that is written but not in its place yet; it goes if it never gets there.
#[derive(Debug)]
pub struct Written {
    partial: PathBuf,
    path: PathBuf,
}

impl Written {
    /// Writes a sibling of `path` and syncs it.
    ///
    /// # Errors
    /// [`Error::Io`]; what was at `path` is still there then.
    pub fn beside(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut partial = path.to_owned().into_os_string();
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(partial);
        let written = Self { partial, path: path.to_owned() };
        File::create(&written.partial)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })?;
        Ok(written)
    }

    /// Renames it: a reader, or a crash, never meets half a file.
    ///
    /// # Errors
    /// [`Error::Io`]; what was there before is still there then.
    pub fn place(self) -> Result<()> {
        let rename = fs::rename(&self.partial, &self.path);
        rename.map_err(|source| Error::Io { action: "write", path: self.path.clone(), source })
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // In its place there is nothing left to remove; else nobody reads it.
        let _ = fs::remove_file(&self.partial);
    }
}
