//! RB3D: a network of residual bottlenecks that are concatenated, not added.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::layers::{
    BatchNorm, Conv3d, ConvOptions, EmbeddingHead, Hidden, WeightInit, at_least_one, dropout_rate, flattened, input,
    max_pooled, momentum,
};
use crate::{Error, Result};

/// Hyper-parameters of [`Rb3d`]. The defaults are those of the Xu lab's code (`Cresnet` in
/// `improved_classification/subdivide.py`) up to the classifier, which the embedding replaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rb3dConfig {
    /// Channels between units, an even number: each branch gives half of them. Default 32.
    pub channels: i64,
    /// Number of units. Default 4.
    pub units: i64,
    /// Part of the bottleneck's outputs that training drops. Default 0.7.
    pub unit_dropout: f64,
    /// Outputs of each of the two hidden linear layers. Default 1024.
    pub hidden: i64,
    /// Part of the hidden outputs that training drops. Default 0.5.
    pub dropout: f64,
    /// `D`, the length of an embedding. Default 1024, the authors' for SphereFace-20.
    pub embedding_dim: i64,
    /// Momentum of the batch normalization of the embedding; `None` leaves it out. Default 0.1.
    pub batch_norm: Option<f64>,
}

impl Default for Rb3dConfig {
    fn default() -> Self {
        Self {
            channels: 32,
            units: 4,
            unit_dropout: 0.7,
            hidden: 1024,
            dropout: 0.5,
            embedding_dim: 1024,
            batch_norm: Some(BatchNorm::MOMENTUM),
        }
    }
}

impl Rb3dConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`] for a size below 1, an odd number of channels, a dropout rate outside
    /// `0..1`, or a momentum that is not above 0 and up to 1.
    pub fn validate(&self) -> Result<()> {
        let Self { channels, units, unit_dropout, hidden, dropout, embedding_dim, batch_norm } = *self;
        at_least_one([("channels", channels), ("units", units), ("hidden", hidden), ("embedding_dim", embedding_dim)])?;
        if channels % 2 != 0 {
            return Err(Error::config("channels", "an even number", channels));
        }
        dropout_rate("unit_dropout", unit_dropout)?;
        dropout_rate("dropout", dropout)?;
        momentum(batch_norm)
    }
}

/// Stem, units, two hidden linear layers, embedding.
///
/// The stem is a 3³ convolution with ReLU and a maximum over 2³ voxels. Units concatenate a 3³ convolution with ReLU
/// and a bottleneck (1³, 3³, 1³ with dropout) and rectify both. The hidden layers have ReLU and dropout.
///
/// Only the stem pools, so the first hidden layer is large. At 40³ voxels it has 262,145,024 of 264,362,176
/// parameters: 1 GiB, which training with Adam makes 4. A `hidden` of 64 makes 63 MiB.
///
/// # Shapes
/// `[B, 1, side, side, side]` → `[B, embedding_dim]`; a side of 2 at least. Pooling leaves out the
/// last voxel of an odd side.
///
/// # Variables
///
/// `C` is `channels`, `H` is `hidden`, units count from 1; `D` is the embedding dimension, `F` the number of features that the layer takes. Without batch normalization there is no `fc_bn`.
///
/// | name | shape |
/// |---|---|
/// | `stem.weight` | `[C, 1, 3, 3, 3]` |
/// | `stem.bias` | `[C]` |
/// | `unitN.shortcut.weight` | `[C/2, C, 3, 3, 3]` |
/// | `unitN.narrow.weight` | `[C/2, C, 1, 1, 1]` |
/// | `unitN.wide.weight` | `[C, C/2, 3, 3, 3]` |
/// | `unitN.out.weight` | `[C/2, C, 1, 1, 1]` |
/// | `unitN.shortcut.bias`, `unitN.narrow.bias`, `unitN.out.bias` | `[C/2]` |
/// | `unitN.wide.bias` | `[C]` |
/// | `hidden.fcN.weight` | `[H, F]` |
/// | `hidden.fcN.bias` | `[H]` |
/// | `fc.weight` | `[D, F]` |
/// | `fc.bias` | `[D]` |
/// | `fc_bn.weight`, `fc_bn.bias`, `fc_bn.running_mean`, `fc_bn.running_var` | `[D]` |
///
/// # References
/// C. Che et al., *Improved Deep Learning-Based Macromolecules Structure Classification from
/// Electron Cryo-Tomograms*, Machine Vision and Applications 29, 2018,
/// [arXiv:1707.04885](https://arxiv.org/abs/1707.04885).
#[derive(Debug)]
pub struct Rb3d {
    side: i64,
    stem: Conv3d,
    units: Vec<Unit>,
    hidden: Hidden,
    head: EmbeddingHead,
}

#[derive(Debug)]
struct Unit {
    shortcut: Conv3d,
    narrow: Conv3d,
    wide: Conv3d,
    out: Conv3d,
    dropout: f64,
}

impl Unit {
    fn init(path: &nn::Path<'_>, channels: i64, dropout: f64) -> Result<Self> {
        let half = channels / 2;
        Ok(Self {
            shortcut: Conv3d::init(&(path / "shortcut"), channels, half, rectified(3))?,
            narrow: Conv3d::init(&(path / "narrow"), channels, half, rectified(1))?,
            wide: Conv3d::init(&(path / "wide"), half, channels, rectified(3))?,
            out: Conv3d::init(&(path / "out"), channels, half, rectified(1))?,
            dropout,
        })
    }

    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let shortcut = self.shortcut.forward(x).relu();
        let bottleneck = self.wide.forward(&self.narrow.forward(x).relu()).relu();
        let bottleneck = self.out.forward(&bottleneck).dropout(self.dropout, train);
        Tensor::cat(&[shortcut, bottleneck], 1).relu()
    }
}

fn rectified(kernel: i64) -> ConvOptions {
    ConvOptions { kernel, bias: true, first: WeightInit::Glorot, ..Default::default() }
}

/// Creates an [`Rb3d`] for volumes of `side³` voxels.
///
/// # Errors
/// As [`Rb3dConfig::validate`]; [`Error::Config`] for a side below 2 or one that gives a linear layer
/// more than 2³⁰ weights; [`Error::NameTaken`].
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{model::{Rb3dConfig, rb3d}, tch::{Device, Kind, Tensor, nn, nn::ModuleT}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let config = Rb3dConfig { channels: 8, hidden: 16, embedding_dim: 32, ..Default::default() };
/// let net = rb3d(&(vs.root() / "net"), 9, config)?;
/// let volumes = Tensor::randn([2, 1, 9, 9, 9], (Kind::Float, Device::Cpu));
/// assert_eq!(net.forward_t(&volumes, true).size(), [2, 32]);
///
/// let error = rb3d(&vs.root(), 200, Rb3dConfig::default()).map(drop).unwrap_err();
/// let expected = "a side that gives the first linear layer at most 1073741824 weights";
/// assert_eq!(error.to_string(), format!("invalid `side`: expected {expected}, got 200"));
/// # Ok(()) }
/// ```
pub fn rb3d(path: &nn::Path<'_>, side: i64, config: Rb3dConfig) -> Result<Rb3d> {
    config.validate()?;
    let features = flattened(side, 2, config.channels, [side / 2; 3], config.hidden)?;
    let unit = |index: i64| Unit::init(&(path / format!("unit{}", index + 1)), config.channels, config.unit_dropout);
    Ok(Rb3d {
        side,
        stem: Conv3d::init(&(path / "stem"), 1, config.channels, rectified(3))?,
        units: (0..config.units).map(unit).collect::<Result<_>>()?,
        hidden: Hidden::init(&(path / "hidden"), features, &[config.hidden; 2], config.dropout)?,
        head: EmbeddingHead::init(path, config.hidden, config.embedding_dim, config.batch_norm)?,
    })
}

impl nn::ModuleT for Rb3d {
    /// # Panics
    /// With the sizes, unless `volumes` is `[B, 1, side, side, side]`. Training with batch normalization needs a `B`
    /// of at least 2.
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        let stem = max_pooled(&self.stem.forward(&input(volumes, self.side)).relu(), [2; 3], [0; 3]);
        let features = self.units.iter().fold(stem, |x, unit| unit.forward_t(&x, train));
        self.head.forward_t(&self.hidden.forward_t(&features, train), train)
    }
}
