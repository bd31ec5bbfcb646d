//! How much memory a call takes at its height, measured in a process of its own.

use std::{
    env, fs,
    process::{Command, Stdio},
};

use serde_json::Value;

/// Asks a new process of this program for the height of one case; what that has to complain of goes to stderr.
///
/// In this process memory that earlier calls have freed would serve the call, unseen. There, what is freed goes back to
/// the system at once (with the allocator of glibc).
pub fn extra_bytes(part: &str, case: &Value) -> Option<u64> {
    const LARGE: &str = "65536";
    let output = Command::new(env::current_exe().ok()?)
        .args([super::PEAK, part, &case.to_string()])
        .envs([("MALLOC_MMAP_THRESHOLD_", LARGE), ("MALLOC_TRIM_THRESHOLD_", LARGE)])
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    serde_json::from_slice(&output.stdout).ok()?
}

/// In that process: by how many bytes its resident memory grows in a second call, at its height, where the system tells
/// (Linux). The first makes what is kept.
pub fn height(mut work: impl FnMut()) -> Option<u64> {
    work();
    // "5" sets the recorded height back to what is resident now.
    fs::write("/proc/self/clear_refs", "5").ok()?;
    let before = resident("VmRSS:")?;
    work();
    Some(resident("VmHWM:")?.saturating_sub(before))
}

fn resident(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
