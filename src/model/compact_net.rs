//! The small network of the main example.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::layers::{BatchNorm, Conv3d, ConvOptions, Linear, PRelu, at_least_one, flattened, halved, input};
use super::whitening::Whitening;
#[cfg(doc)]
use crate::Error;
use crate::Result;

/// Hyper-parameters of [`CompactNet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompactNetConfig {
    /// Channels of the blocks; each block halves the side. Default 16, 32, 64, which two cores train in about a
    /// minute.
    pub channels: Vec<i64>,
    /// `D`, the length of an embedding. Default 128.
    pub embedding_dim: i64,
    /// Whether the network sees beside the volume the same with a flat spectrum, as a second channel: noise of any color
    /// is white there. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whitened: bool,
}

impl Default for CompactNetConfig {
    fn default() -> Self {
        Self { channels: vec![16, 32, 64], embedding_dim: 128, whitened: false }
    }
}

impl CompactNetConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`] for no block, or a size below 1.
    pub fn validate(&self) -> Result<()> {
        let least = self.channels.iter().copied().min().unwrap_or(0);
        at_least_one([("channels", least), ("embedding_dim", self.embedding_dim)])
    }
}

/// Blocks of two 3³ convolutions, the first of stride 2, each with batch normalization and PReLU;
/// then one linear layer.
///
/// The last block is flattened, not averaged: the place of a feature in the box tells one particle from another.
///
/// The embedding is batch-normalized, as in the authors' network (`fc_bn`). Every dimension starts with unit
/// variance, so that the center term starts at `D/2`.
///
/// # Shapes
/// `[B, 1, side, side, side]` → `[B, embedding_dim]`.
///
/// # Variables
///
/// `C_N` are the channels of block `N`, from 1; `C_0` is 1, or 2 if `whitened`; `D` is the embedding dimension, `F` the number of features that the layer takes.
///
/// | name | shape |
/// |---|---|
/// | `blockN.down.conv.weight` | `[C_N, C_(N-1), 3, 3, 3]` |
/// | `blockN.same.conv.weight` | `[C_N, C_N, 3, 3, 3]` |
/// | `blockN.down.bn.weight`, `blockN.down.bn.bias`, `blockN.down.bn.running_mean`, `blockN.down.bn.running_var`, `blockN.same.bn.weight`, `blockN.same.bn.bias`, `blockN.same.bn.running_mean`, `blockN.same.bn.running_var` | `[C_N]` |
/// | `blockN.down.prelu.slope`, `blockN.same.prelu.slope` | `[C_N]` |
/// | `fc.weight` | `[D, F]` |
/// | `fc_bn.weight`, `fc_bn.bias`, `fc_bn.running_mean`, `fc_bn.running_var` | `[D]` |
#[derive(Debug)]
pub struct CompactNet {
    side: i64,
    whitening: Option<Whitening>,
    layers: Vec<Layer>,
    fc: Linear,
    fc_bn: BatchNorm,
}

#[derive(Debug)]
struct Layer {
    conv: Conv3d,
    bn: BatchNorm,
    prelu: PRelu,
}

impl Layer {
    fn init(path: &nn::Path<'_>, from: i64, to: i64, stride: i64) -> Result<Self> {
        Ok(Self {
            conv: Conv3d::init(&(path / "conv"), from, to, ConvOptions { stride, ..Default::default() })?,
            bn: BatchNorm::init(&(path / "bn"), to, BatchNorm::MOMENTUM)?,
            prelu: PRelu::init(&(path / "prelu"), to)?,
        })
    }

    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        self.prelu.forward(&self.bn.forward_t(&self.conv.forward(x), train))
    }
}

/// Creates a [`CompactNet`] for volumes of `side³` voxels.
///
/// # Errors
/// As [`CompactNetConfig::validate`]; [`Error::Config`] for a side below 1 or one that gives
/// the linear layer more than 2³⁰ weights;
/// [`Error::NameTaken`].
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{model::compact_net, tch::{Device, Kind, Tensor, nn, nn::ModuleT}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = compact_net(&(vs.root() / "net"), 32, Default::default())?;
/// let volumes = Tensor::randn([2, 1, 32, 32, 32], (Kind::Float, Device::Cpu));
/// assert_eq!(net.forward_t(&volumes, true).size(), [2, 128]);
/// # Ok(()) }
/// ```
pub fn compact_net(path: &nn::Path<'_>, side: i64, config: CompactNetConfig) -> Result<CompactNet> {
    config.validate()?;
    let reduced = config.channels.iter().fold(side, |side, _| halved(side));
    let features =
        flattened(side, 1, config.channels.last().copied().unwrap_or(0), [reduced; 3], config.embedding_dim)?;
    let whitening = config.whitened.then(|| Whitening::new(side, path.device()));
    let mut from = if config.whitened { 2 } else { 1 };
    let mut layers = Vec::with_capacity(2 * config.channels.len());
    for (index, &to) in config.channels.iter().enumerate() {
        let block = path / format!("block{}", index + 1);
        layers.push(Layer::init(&(&block / "down"), from, to, 2)?);
        layers.push(Layer::init(&(&block / "same"), to, to, 1)?);
        from = to;
    }
    Ok(CompactNet {
        side,
        whitening,
        layers,
        fc: Linear::init(&(path / "fc"), features, config.embedding_dim, false)?,
        fc_bn: BatchNorm::init(&(path / "fc_bn"), config.embedding_dim, BatchNorm::MOMENTUM)?,
    })
}

impl nn::ModuleT for CompactNet {
    /// # Panics
    /// With the sizes, unless `volumes` is `[B, 1, side, side, side]`. Training needs a `B` of at least 2: batch
    /// normalization divides by a variance.
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        let volumes = input(volumes, self.side);
        let seen = match &self.whitening {
            Some(whitening) => Tensor::cat(&[&volumes, &whitening.forward(&volumes)], 1),
            None => volumes,
        };
        let features = self.layers.iter().fold(seen, |features, layer| layer.forward_t(&features, train));
        self.fc_bn.forward_t(&self.fc.forward(&features.flatten(1, -1)), train)
    }
}
