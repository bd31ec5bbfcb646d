//! The layers that the example networks are built from.
//!
//! Unlike `tch::nn`'s, a taken name is an error, and normalization layers stay out of weight decay.

use tch::{
    Kind, Tensor,
    nn::{
        self, Init,
        init::{FanInOut, NonLinearity, NormalOrUniform},
    },
};

use crate::{Error, Result, distributed, params};

/// Options of a [`Conv3d`] besides its channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConvOptions {
    /// Edge of the cubic kernel.
    pub(super) kernel: i64,
    pub(super) stride: i64,
    /// Whether each output channel has a bias; not where a normalization layer follows.
    pub(super) bias: bool,
    pub(super) first: WeightInit,
}

impl Default for ConvOptions {
    fn default() -> Self {
        Self { kernel: 3, stride: 1, bias: false, first: WeightInit::He }
    }
}

/// How kernels are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) enum WeightInit {
    /// He et al. (2015), Eq. 15: keeps the variance of a rectified signal from layer to layer.
    He,
    /// Glorot and Bengio (2010), Eq. 16: Keras' and the authors' first weights.
    Glorot,
    /// Normal with this standard deviation.
    Normal(f64),
}

/// 3-D convolution with a cubic kernel and half padding.
#[derive(Debug)]
pub(super) struct Conv3d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: i64,
    padding: i64,
}

impl Conv3d {
    pub(super) fn init(path: &nn::Path<'_>, from: i64, to: i64, options: ConvOptions) -> Result<Self> {
        let ConvOptions { kernel, stride, bias, first } = options;
        let dims = [to, from, kernel, kernel, kernel];
        require_room(&dims)?;
        let init = match first {
            WeightInit::He => {
                Init::Kaiming { dist: NormalOrUniform::Normal, fan: FanInOut::FanIn, non_linearity: NonLinearity::ReLU }
            }
            WeightInit::Glorot => params::glorot_uniform(to * kernel.pow(3), from * kernel.pow(3)),
            WeightInit::Normal(stdev) => Init::Randn { mean: 0.0, stdev },
        };
        let decayed = path.set_group(params::DECAY_GROUP);
        let weight = params::trainable(&decayed, "weight", &dims, init)?;
        let bias = if bias { Some(zero_bias(path, to)?) } else { None };
        Ok(Self { weight, bias, stride, padding: kernel / 2 })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 3], [self.padding; 3]);
        // A convolution takes the order of its weights and hands it on: with the channels of a voxel side by side it is faster.
        // Stored weights keep theirs, which others can read.
        let weight = self.weight.permute([0, 2, 3, 4, 1]).contiguous().permute([0, 4, 1, 2, 3]);
        x.conv3d(&weight, self.bias.as_ref(), stride, padding, [1, 1, 1], 1)
    }
}

fn zero_bias(path: &nn::Path<'_>, channels: i64) -> Result<Tensor> {
    params::trainable(&path.set_group(params::NO_DECAY_GROUP), "bias", &[channels], Init::Const(0.0))
}

/// Batch normalization over all axes but the channels'.
#[derive(Debug)]
pub(super) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: f64,
}

impl BatchNorm {
    /// PyTorch's default: how far running statistics move towards those of a batch.
    pub(super) const MOMENTUM: f64 = 0.1;
    /// PyTorch's and the authors' default.
    const EPS: f64 = 1e-5;

    pub(super) fn init(path: &nn::Path<'_>, channels: i64, momentum: f64) -> Result<Self> {
        let path = path.set_group(params::NO_DECAY_GROUP);
        let kind = params::at_least_single(path.kind());
        let mut running_var = params::buffer(&path, "running_var", &[channels], kind)?;
        let _ = running_var.fill_(1.0);
        Ok(Self {
            weight: params::trainable(&path, "weight", &[channels], Init::Const(1.0))?,
            bias: params::trainable(&path, "bias", &[channels], Init::Const(0.0))?,
            running_mean: params::buffer(&path, "running_mean", &[channels], kind)?,
            running_var,
            momentum,
        })
    }

    /// # Panics
    /// In training, with a single value for a channel: it has no variance, and libtorch would silently make the
    /// running variance infinite.
    pub(super) fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        // Frozen, it keeps its statistics as they are, and normalizes with them.
        let train = train && self.weight.requires_grad();
        let (parameters, running) = ([&self.weight, &self.bias], [&self.running_mean, &self.running_var]);
        if let Some(normalized) =
            train.then(|| distributed::batch_norm(x, parameters, running, self.momentum, Self::EPS)).flatten()
        {
            return normalized;
        }
        assert!(
            !train || x.numel() as i64 > self.weight.numel() as i64,
            "volumes: expected a batch of two or more in training, where batch normalization needs a variance, got {:?}",
            x.size()
        );
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        let (mean, var) = (Some(&self.running_mean), Some(&self.running_var));
        x.batch_norm(weight, bias, mean, var, train, self.momentum, Self::EPS, true)
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

/// `x·Wᵀ`, plus a bias where no normalization layer follows.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn init(path: &nn::Path<'_>, from: i64, to: i64, bias: bool) -> Result<Self> {
        require_room(&[to, from])?;
        let decayed = path.set_group(params::DECAY_GROUP);
        let weight = params::trainable(&decayed, "weight", &[to, from], params::glorot_uniform(to, from))?;
        Ok(Self { weight, bias: if bias { Some(zero_bias(path, to)?) } else { None } })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}

/// The last layers of the authors' network: linear with bias, then batch normalization (`fc_bn`). Every dimension of
/// an embedding starts with unit variance.
#[derive(Debug)]
pub(super) struct EmbeddingHead {
    fc: Linear,
    fc_bn: Option<BatchNorm>,
}

impl EmbeddingHead {
    /// `momentum` is that of the batch normalization; `None` leaves the embedding as it is.
    pub(super) fn init(path: &nn::Path<'_>, from: i64, to: i64, momentum: Option<f64>) -> Result<Self> {
        let fc = Linear::init(&(path / "fc"), from, to, true)?;
        let fc_bn = momentum.map(|momentum| BatchNorm::init(&(path / "fc_bn"), to, momentum)).transpose()?;
        Ok(Self { fc, fc_bn })
    }

    pub(super) fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let embeddings = self.fc.forward(x);
        match &self.fc_bn {
            Some(fc_bn) => fc_bn.forward_t(&embeddings, train),
            None => embeddings,
        }
    }
}

/// Fully connected layers with ReLU and dropout, as the Xu lab's classifiers end.
#[derive(Debug)]
pub(super) struct Hidden {
    layers: Vec<Linear>,
    dropout: f64,
}

impl Hidden {
    /// `fc1`, `fc2`, … of `sizes`, whose first takes `from` features.
    pub(super) fn init(path: &nn::Path<'_>, mut from: i64, sizes: &[i64], dropout: f64) -> Result<Self> {
        let mut layers = Vec::with_capacity(sizes.len());
        for (index, &to) in sizes.iter().enumerate() {
            layers.push(Linear::init(&(path / format!("fc{}", index + 1)), from, to, true)?);
            from = to;
        }
        Ok(Self { layers, dropout })
    }

    pub(super) fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let x = x.flatten(1, -1);
        self.layers.iter().fold(x, |x, layer| layer.forward(&x).relu().dropout(self.dropout, train))
    }
}

/// The maxima over adjacent windows of so many voxels along each axis.
pub(super) fn max_pooled(x: &Tensor, window: [i64; 3], padding: [i64; 3]) -> Tensor {
    x.max_pool3d(window, window, padding, [1, 1, 1], false)
}

/// How many voxels a side has after a convolution of stride 2 with half padding.
pub(super) fn halved(side: i64) -> i64 {
    side / 2 + side % 2
}

/// The most weights that one layer may have: 4 GiB in single precision, 16 GiB under an optimizer with two moments.
const MAX_WEIGHTS: i64 = 1 << 30;

/// # Errors
/// [`Error::Config`] for a layer of more than 2³⁰ weights.
fn require_room(dims: &[i64]) -> Result<()> {
    match dims.iter().try_fold(1i64, |weights, &extent| weights.checked_mul(extent)) {
        Some(weights) if weights <= MAX_WEIGHTS => Ok(()),
        _ => Err(Error::config(
            "network",
            format!("at most {MAX_WEIGHTS} weights in a layer"),
            format!("a layer of {dims:?}"),
        )),
    }
}

/// The number of features of `channels` maps of `extents`, flattened for a linear layer of `to` outputs.
///
/// # Errors
/// [`Error::Config`] if no voxel is left, naming `least`, the smallest side that leaves one; or if the linear layer
/// would have more than 2³⁰ weights.
pub(super) fn flattened(side: i64, least: i64, channels: i64, extents: [i64; 3], to: i64) -> Result<i64> {
    let refuse = |expected: String| Err(Error::config("side", expected, side));
    if side < least {
        return refuse(format!("at least {least}"));
    }
    let weights = extents.into_iter().chain([channels, to]).try_fold(1i64, i64::checked_mul);
    match weights {
        Some(weights) if weights <= MAX_WEIGHTS => Ok(weights / to),
        _ => refuse(format!("a side that gives the first linear layer at most {MAX_WEIGHTS} weights")),
    }
}

/// # Errors
/// [`Error::Config`] for the first field below 1.
pub(super) fn at_least_one<const N: usize>(fields: [(&'static str, i64); N]) -> Result<()> {
    match fields.into_iter().find(|&(_, value)| value < 1) {
        Some((field, value)) => Err(Error::config(field, "at least 1", value)),
        None => Ok(()),
    }
}

/// # Errors
/// [`Error::Config`] unless `0 ≤ rate < 1`.
pub(super) fn dropout_rate(field: &'static str, rate: f64) -> Result<()> {
    if (0.0..1.0).contains(&rate) {
        return Ok(());
    }
    Err(Error::config(field, "a rate from 0 up to, but not, 1", rate))
}

/// # Errors
/// [`Error::Config`] unless `0 < momentum ≤ 1`.
pub(super) fn momentum(momentum: Option<f64>) -> Result<()> {
    match momentum {
        Some(value) if !(value > 0.0 && value <= 1.0) => {
            Err(Error::config("batch_norm", "a momentum above 0 and up to 1, or none", value))
        }
        _ => Ok(()),
    }
}

/// The network input, integers as `f32`, checked to be `[B, 1, side, side, side]`.
///
/// # Panics
/// With the sizes, if it is not: `ModuleT::forward_t` cannot return an error.
pub(super) fn input(x: &Tensor, side: i64) -> Tensor {
    let size = x.size();
    assert!(
        size.len() == 5 && size[1..] == [1, side, side, side],
        "volumes: expected [B, 1, {side}, {side}, {side}], got {size:?}"
    );
    if matches!(x.kind(), Kind::Bool | Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int | Kind::Int64) {
        x.to_kind(Kind::Float)
    } else {
        x.shallow_clone()
    }
}
