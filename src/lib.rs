//! Soft large-margin centralized cosine loss, center loss and exact open-set verification.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
#[cfg(any(feature = "torch", feature = "cect", feature = "report"))]
mod files;
#[cfg(feature = "torch")]
pub mod params;

pub mod metrics;

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
#[cfg(feature = "torch")]
pub use tch;
