//! How much memory a call takes at its height.

use std::fs;

/// Runs `work`; returns by how many bytes the resident memory of the process grew at its height, where
/// the system tells (Linux).
pub fn extra_bytes(work: impl FnOnce()) -> Option<u64> {
    // "5" sets the recorded height back to what is resident now.
    let reset = fs::write("/proc/self/clear_refs", "5");
    let before = resident("VmRSS:");
    work();
    let height = resident("VmHWM:");
    reset.ok()?;
    Some(height?.saturating_sub(before?))
}

fn resident(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
