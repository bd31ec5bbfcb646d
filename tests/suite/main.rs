//! Every integration test of the crate, in one binary.
//!
//! Modules follow the crate's features, so that each leaf is tested on its own as well;
//! `cargo xtask test` names every feature.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod bad_arguments;
#[cfg(feature = "cect")]
mod cect;
mod determinism;
#[cfg(feature = "torch")]
mod devices;
mod hostile;
#[cfg(all(feature = "torch", target_os = "linux"))]
mod linking;
#[cfg(feature = "torch")]
mod loss;
mod metrics;
#[cfg(feature = "torch")]
mod model;
mod public_api;
#[cfg(feature = "report")]
mod report;
#[cfg(feature = "report")]
mod report_page;
mod threads;
#[cfg(feature = "torch")]
mod train;
mod verify;
#[cfg(feature = "torch")]
mod verify_embeddings;
