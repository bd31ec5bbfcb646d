#![doc = include_str!("../README.md")]
#![allow(clippy::needless_doctest_main, reason = "the README shows a whole build.rs")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod autograd;
mod device;
mod error;
pub mod loss;
pub mod model;
mod notice;
pub mod params;
pub mod train;

pub use device::{device, require_device};
pub use error::{Error, Result};
pub use notice::on_notice;
// What the metrics take and give; like `tch`, it must be the same version on both sides.
pub use ndarray;
pub use soft_lmccl_metrics::{self as metrics, Error as MetricError, verify};
pub use tch;

/// Subtomograms: the crate `soft-lmccl-cect`, and what hands its samples to a network.
#[cfg(feature = "cect")]
pub mod cect {
    pub use soft_lmccl_cect::*;

    pub use crate::train::Batch;
}
