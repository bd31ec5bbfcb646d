//! What a user should know though nothing failed: one line each.

use std::sync::{PoisonError, RwLock};

type Hear = Box<dyn Fn(&str) + Send + Sync>;

static HEAR: RwLock<Option<Hear>> = RwLock::new(None);

/// Hands notices of this crate to `hear` from now on, where they are otherwise lines on the standard error.
///
/// A notice says what is likely a mistake and yet not an error: centers that nobody updates, a checkpoint that does not
/// say which loss its head is of.
///
/// # Examples
/// ```
/// soft_lmccl::on_notice(|line| println!("training: {line}"));
/// ```
pub fn on_notice(hear: impl Fn(&str) + Send + Sync + 'static) {
    *HEAR.write().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hear));
}

pub(crate) fn notice(line: &str) {
    match &*HEAR.read().unwrap_or_else(PoisonError::into_inner) {
        Some(hear) => hear(line),
        None => eprintln!("soft-lmccl: {line}"),
    }
}
