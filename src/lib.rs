//! Losses and exact figures for networks that must recognize classes they were never trained on.
//!
//! A loss is a configuration, a struct with state, a pure `forward`. Training goes on with any network of [`tch`] and any
//! optimizer; figures are counts over all pairs of embeddings.
//!
//! ```
//! use soft_lmccl::{loss::SoftLmcclConfig, tch::{Device, Kind, Tensor, nn}, train::{AdamWConfig, backward_step}};
//!
//! let vs = nn::VarStore::new(Device::Cpu);
//! let net = nn::linear(vs.root() / "net", 64, 128, Default::default()); // any network
//! let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 17, 128)?;
//! let mut optimizer = AdamWConfig::default().build(&vs)?;
//!
//! let inputs = Tensor::randn([34, 64], (Kind::Float, Device::Cpu));
//! let labels = Tensor::arange(34, (Kind::Int64, Device::Cpu)).remainder(17);
//! let report = backward_step(&mut loss, &mut optimizer, &inputs.apply(&net), &labels)?;
//! assert!(report.total.is_finite() && report.terms.len() == 3);
//! # Ok::<(), soft_lmccl::Error>(())
//! ```
//!
//! | to | use |
//! |---|---|
//! | train with a margin (CosFace, ArcFace, AdaFace, combined) | [`loss::Lmcl`], [`loss::ArcFace`], [`loss::AdaFace`], [`loss::CombinedMargin`] |
//! | pull classes together | [`loss::CenterLoss`] |
//! | do both, as the paper does | [`loss::SoftLmccl`] |
//! | choose a loss by name | [`loss::LossConfig`] |
//! | make one step, one run, a long run | [`train::backward_step`], [`train::fit`], [`train::Trainer`] |
//! | save, resume, take over weights | [`train::checkpoint`], [`train::Weights`] |
//! | embed samples | [`train::embed()`] |
//! | tell how well unseen classes are told apart | [`verify::AllPairs`], [`metrics::RocCurve`] |
//! | say how sure a figure is | [`metrics::Intervals`] |
//! | choose a threshold and ship it | [`metrics::VerificationThreshold`] |
//! | enroll classes and identify probes | [`metrics::Gallery`] |
//! | take a network for volumes | [`model`] |
//! | simulate subtomograms (feature `cect`) | `cect` |
//! | write an operation with a gradient of its own | [`autograd`] |
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `cect` | structures to densities, the simulator, data sets, and training on them |
//! | `download-libtorch` | libtorch, fetched by the build of `torch-sys` |
//! | `doc-only` | documentation without libtorch |
//!
//! The guide is in the repository's folder `docs`.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod autograd;
mod device;
pub mod distributed;
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

/// The code of the README and of the guide, compiled and run as tests.
#[cfg(doctest)]
#[allow(clippy::needless_doctest_main, reason = "they show whole programs")]
mod guide {
    macro_rules! pages {
        ($($name:ident $page:literal),+ $(,)?) => {
            $(#[doc = include_str!($page)] mod $name {})+
        };
    }

    pages! {
        readme "../README.md",
        coming_from_pytorch "../docs/coming-from-pytorch.md",
        extending "../docs/extending.md",
        identification "../docs/identification.md",
        install "../docs/install.md",
        losses "../docs/losses.md",
        many_classes "../docs/many-classes.md",
        quickstart "../docs/quickstart.md",
        training "../docs/training.md",
        verification "../docs/verification.md",
    }
}
