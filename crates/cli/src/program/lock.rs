//! One program at a time in a directory.

use std::{fs::File, io::ErrorKind, path::Path};

use anyhow::{Context, Result};
use fd_lock::{RwLock, RwLockWriteGuard};

use super::refused;

/// The file that is locked, which stays: where it is, this program has written.
pub const LOCK: &str = ".lock";

/// Held until the program ends, however it does.
pub type Lock = RwLockWriteGuard<'static, File>;

/// Keeps other programs that ask for it out of `directory`: two that write the same files would leave a mixture.
///
/// # Errors
/// Another program has it; the system.
pub fn lock(directory: &Path) -> Result<Option<Lock>> {
    let path = directory.join(LOCK);
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    // The guard borrows what it guards, and both are for the rest of the program.
    match Box::leak(Box::new(RwLock::new(file))).try_write() {
        Ok(guard) => Ok(Some(guard)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(refused("--out", "a directory that no other program is writing to", directory.display()))
        }
        // Some network disks have no locks; most programs never meet there.
        Err(_) => Ok(None),
    }
}
