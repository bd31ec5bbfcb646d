//! The layers that the example networks are built from.
//!
//! As `tch::nn`'s, but a taken name is an error, and normalization layers stay out of weight decay.

use tch::{
    Kind, Tensor,
    nn::{
        self, Init,
        init::{FanInOut, NonLinearity, NormalOrUniform},
    },
};

use crate::{Result, params};

/// 3-D convolution with a cubic kernel, no bias: a normalization layer follows.
#[derive(Debug)]
pub(super) struct Conv3d {
    weight: Tensor,
    stride: i64,
    padding: i64,
}

impl Conv3d {
    pub(super) fn init(path: &nn::Path<'_>, from: i64, to: i64, kernel: i64, stride: i64) -> Result<Self> {
        // He et al. (2015), Eq. 15: keeps the variance of a rectified signal from layer to layer.
        let init =
            Init::Kaiming { dist: NormalOrUniform::Normal, fan: FanInOut::FanIn, non_linearity: NonLinearity::ReLU };
        let path = path.set_group(params::DECAY_GROUP);
        let weight = params::trainable(&path, "weight", &[to, from, kernel, kernel, kernel], init)?;
        Ok(Self { weight, stride, padding: kernel / 2 })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 3], [self.padding; 3]);
        x.conv3d(&self.weight, None::<Tensor>, stride, padding, [1, 1, 1], 1)
    }
}

/// Batch normalization over all axes but the channels'.
#[derive(Debug)]
pub(super) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

impl BatchNorm {
    /// PyTorch's defaults.
    const MOMENTUM: f64 = 0.1;
    const EPS: f64 = 1e-5;

    pub(super) fn init(path: &nn::Path<'_>, channels: i64) -> Result<Self> {
        let path = path.set_group(params::NO_DECAY_GROUP);
        let kind = params::at_least_single(path.kind());
        let mut running_var = params::buffer(&path, "running_var", &[channels], kind)?;
        let _ = running_var.fill_(1.0);
        Ok(Self {
            weight: params::trainable(&path, "weight", &[channels], Init::Const(1.0))?,
            bias: params::trainable(&path, "bias", &[channels], Init::Const(0.0))?,
            running_mean: params::buffer(&path, "running_mean", &[channels], kind)?,
            running_var,
        })
    }

    pub(super) fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        let (mean, var) = (Some(&self.running_mean), Some(&self.running_var));
        x.batch_norm(weight, bias, mean, var, train, Self::MOMENTUM, Self::EPS, true)
    }
}

/// `max(0, x) + a·min(0, x)`, one learned slope `a` for each channel.
#[derive(Debug)]
pub(super) struct PRelu {
    slope: Tensor,
}

impl PRelu {
    /// PyTorch's and the authors' first slope.
    const INITIAL_SLOPE: f64 = 0.25;

    pub(super) fn init(path: &nn::Path<'_>, channels: i64) -> Result<Self> {
        // The authors' code decays the slopes with the weights of the network.
        let path = path.set_group(params::DECAY_GROUP);
        Ok(Self { slope: params::trainable(&path, "slope", &[channels], Init::Const(Self::INITIAL_SLOPE))? })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.prelu(&self.slope)
    }
}

/// `x·Wᵀ`, no bias: a normalization layer follows.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
}

impl Linear {
    pub(super) fn init(path: &nn::Path<'_>, from: i64, to: i64) -> Result<Self> {
        let path = path.set_group(params::DECAY_GROUP);
        Ok(Self { weight: params::trainable(&path, "weight", &[to, from], params::glorot_uniform(to, from))? })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, None::<Tensor>)
    }
}

/// How many voxels a side has after a convolution of stride 2 with half padding.
pub(super) fn halved(side: i64) -> i64 {
    (side + 1) / 2
}

/// The network input in single precision at least, checked to be `[B, 1, side, side, side]`.
///
/// # Panics
/// With the sizes, if it is not: `ModuleT::forward_t` cannot return an error.
pub(super) fn input(x: &Tensor, side: i64) -> Tensor {
    let size = x.size();
    assert!(
        size.len() == 5 && size[1..] == [1, side, side, side],
        "volumes: expected [B, 1, {side}, {side}, {side}], got {size:?}"
    );
    if matches!(x.kind(), Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int) {
        x.to_kind(Kind::Float)
    } else {
        x.shallow_clone()
    }
}
