//! One program at a time in a directory.

use std::{fs::File, io::ErrorKind, path::Path};

use fd_lock::{RwLock, RwLockWriteGuard};
use soft_lmccl::{Error, Result};

/// The file that is locked, which stays: where it is, one of these programs has written.
pub const LOCK: &str = ".lock";

/// Held until the program ends, however it does.
pub type Lock = RwLockWriteGuard<'static, File>;

/// Keeps other programs that ask for it out of `directory`: two that write the same files would leave a mixture.
///
/// # Errors
/// [`Error::Config`] if another program has it; [`Error::Io`].
pub fn lock(directory: &Path) -> Result<Option<Lock>> {
    let path = directory.join(LOCK);
    let file = File::create(&path).map_err(|source| Error::Io { action: "create", path, source })?;
    // The guard borrows what it guards, and both are for the rest of the program.
    match Box::leak(Box::new(RwLock::new(file))).try_write() {
        Ok(guard) => Ok(Some(guard)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Error::Config {
            field: "--out",
            expected: "a directory that no other program is writing to".into(),
            got: directory.display().to_string(),
        }),
        // Some network disks have no locks; most programs never meet there.
        Err(_) => Ok(None),
    }
}
