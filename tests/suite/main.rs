//! Every integration test of the crate, in one binary. The member crates have their own.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod autograd;
mod bad_arguments;
mod determinism;
mod devices;
mod hostile;
#[cfg(target_os = "linux")]
mod linking;
mod loss;
mod model;
mod public_api;
mod threads;
mod train;
