#![cfg_attr(feature = "torch", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "torch"),
    doc = "Exact open-set verification metrics, and with `cect` a subtomogram simulator."
)]
#![allow(clippy::needless_doctest_main, reason = "the README shows a whole build.rs")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod files;
#[cfg(feature = "torch")]
pub mod params;

pub mod metrics;
pub mod verify;

#[cfg(feature = "cect")]
pub mod cect;

#[cfg(feature = "report")]
pub mod report;

#[cfg(feature = "torch")]
pub mod loss;
#[cfg(feature = "torch")]
pub mod model;
#[cfg(feature = "torch")]
pub mod train;

pub use error::{Error, MetricError, Result};
// What the metrics and pictures take and give; like `tch`, it must be the same version on both sides.
pub use ndarray;
#[cfg(feature = "torch")]
pub use tch;
