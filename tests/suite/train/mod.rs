//! Steps, runs, checkpoints, embedding.

mod adamw;
#[cfg(feature = "cect")]
mod batch;
mod checkpoint;
mod forgotten;
mod half;
mod learning;
mod network;
mod nonfinite;
mod options;
mod origin;
mod resume;
mod sparse;
mod step;
#[cfg(feature = "cect")]
mod subtomograms;
mod weights;

use soft_lmccl::tch::{Device, Kind, Tensor};

/// Numbers without order, from -1 to 1, for what has to be alike: libtorch has one generator for the tests of all
/// threads.
fn waves(size: &[i64], seed: f64) -> Tensor {
    let count = size.iter().product::<i64>();
    (Tensor::arange(count, (Kind::Float, Device::Cpu)).square() * 0.7 + seed).sin().view(size)
}
