//! CB3D: the video network C3D on volumes.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::layers::{
    BatchNorm, Conv3d, ConvOptions, EmbeddingHead, Hidden, WeightInit, at_least_one, dropout_rate, flattened, input,
    max_pooled, momentum,
};
#[cfg(doc)]
use crate::Error;
use crate::Result;

/// Hyper-parameters of [`Cb3d`]. The defaults are those of the Xu lab's code (`c3d` in
/// `improved_classification/subdivide.py`) up to the classifier, which the embedding replaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cb3dConfig {
    /// Channels of the five groups: one convolution in each of the first two, two in the others.
    /// Default 64, 128, 256, 512, 512.
    pub channels: [i64; 5],
    /// Outputs of each of the two hidden linear layers. Default 4096.
    pub hidden: i64,
    /// Part of the hidden outputs that training drops. Default 0.5.
    pub dropout: f64,
    /// `D`, the length of an embedding. Default 1024, the authors' for SphereFace-20.
    pub embedding_dim: i64,
    /// Momentum of the batch normalization of the embedding; `None` leaves it out. Default 0.1.
    pub batch_norm: Option<f64>,
}

impl Default for Cb3dConfig {
    fn default() -> Self {
        Self {
            channels: [64, 128, 256, 512, 512],
            hidden: 4096,
            dropout: 0.5,
            embedding_dim: 1024,
            batch_norm: Some(BatchNorm::MOMENTUM),
        }
    }
}

impl Cb3dConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`] for a size below 1, a dropout rate outside `0..1`, or a momentum that is
    /// not above 0 and up to 1.
    pub fn validate(&self) -> Result<()> {
        let least = self.channels.into_iter().min().unwrap_or(0);
        at_least_one([("channels", least), ("hidden", self.hidden), ("embedding_dim", self.embedding_dim)])?;
        dropout_rate("dropout", self.dropout)?;
        momentum(self.batch_norm)
    }
}

/// Eight 3³ convolutions with ReLU in five groups, each of which ends in a maximum; two hidden linear
/// layers with ReLU and dropout; then the embedding.
///
/// The first maximum keeps the depth, as C3D keeps the frames of a video; the others are over 2³ voxels. Before the
/// last, height and width are padded by a zero at both ends. At 40³ voxels the network has 65,412,480 parameters.
///
/// # Shapes
/// `[B, 1, side, side, side]` → `[B, embedding_dim]`; a side of 16 at least. Maxima leave out the last
/// voxel of an odd extent.
///
/// # Variables
///
/// `C_N` are the channels of group `N`, from 1, of which the first two have no `b`; `C_0` is 1; `H` is `hidden`; `D` is the embedding dimension, `F` the number of features that the layer takes. Without batch normalization there is no `fc_bn`.
///
/// | name | shape |
/// |---|---|
/// | `convNa.weight` | `[C_N, C_(N-1), 3, 3, 3]` |
/// | `convNb.weight` | `[C_N, C_N, 3, 3, 3]` |
/// | `convNa.bias`, `convNb.bias` | `[C_N]` |
/// | `hidden.fcN.weight` | `[H, F]` |
/// | `hidden.fcN.bias` | `[H]` |
/// | `fc.weight` | `[D, F]` |
/// | `fc.bias` | `[D]` |
/// | `fc_bn.weight`, `fc_bn.bias`, `fc_bn.running_mean`, `fc_bn.running_var` | `[D]` |
///
/// # References
/// D. Tran et al., *Learning Spatiotemporal Features with 3D Convolutional Networks*, ICCV 2015,
/// [arXiv:1412.0767](https://arxiv.org/abs/1412.0767), Fig. 3; as a subtomogram classifier in C. Che et al.,
/// [arXiv:1707.04885](https://arxiv.org/abs/1707.04885).
#[derive(Debug)]
pub struct Cb3d {
    side: i64,
    groups: Vec<Vec<Conv3d>>,
    hidden: Hidden,
    head: EmbeddingHead,
}

/// Convolutions in each group.
const CONVOLUTIONS: [usize; 5] = [1, 1, 2, 2, 2];

/// Creates a [`Cb3d`] for volumes of `side³` voxels.
///
/// # Errors
/// As [`Cb3dConfig::validate`]; [`Error::Config`] for a side below 16 or one that gives a linear layer
/// more than 2³⁰ weights; [`Error::NameTaken`].
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{model::{Cb3dConfig, cb3d}, tch::{Device, Kind, Tensor, nn, nn::ModuleT}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let config = Cb3dConfig { channels: [2, 4, 4, 8, 8], hidden: 16, embedding_dim: 32, ..Default::default() };
/// let net = cb3d(&(vs.root() / "net"), 16, config)?;
/// let volumes = Tensor::randn([2, 1, 16, 16, 16], (Kind::Float, Device::Cpu));
/// assert_eq!(net.forward_t(&volumes, true).size(), [2, 32]);
///
/// let error = cb3d(&vs.root(), 15, Cb3dConfig::default()).map(drop).unwrap_err();
/// assert_eq!(error.to_string(), "invalid `side`: expected at least 16, got 15");
/// # Ok(()) }
/// ```
pub fn cb3d(path: &nn::Path<'_>, side: i64, config: Cb3dConfig) -> Result<Cb3d> {
    config.validate()?;
    let depth = side / 2 / 2 / 2 / 2;
    let breadth = (side / 2 / 2 / 2 / 2 + 2) / 2;
    let features = flattened(side, 16, config.channels[4], [depth, breadth, breadth], config.hidden)?;
    let options = ConvOptions { bias: true, first: WeightInit::Glorot, ..Default::default() };
    let mut from = 1;
    let mut groups = Vec::with_capacity(CONVOLUTIONS.len());
    for (index, (count, to)) in CONVOLUTIONS.into_iter().zip(config.channels).enumerate() {
        let mut convs = Vec::with_capacity(count);
        for letter in ["a", "b"].iter().take(count) {
            convs.push(Conv3d::init(&(path / format!("conv{}{letter}", index + 1)), from, to, options)?);
            from = to;
        }
        groups.push(convs);
    }
    Ok(Cb3d {
        side,
        groups,
        hidden: Hidden::init(&(path / "hidden"), features, &[config.hidden; 2], config.dropout)?,
        head: EmbeddingHead::init(path, config.hidden, config.embedding_dim, config.batch_norm)?,
    })
}

impl nn::ModuleT for Cb3d {
    /// # Panics
    /// With the sizes, unless `volumes` is `[B, 1, side, side, side]`. Training with batch normalization needs a `B`
    /// of at least 2.
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        let mut x = input(volumes, self.side);
        for (index, convs) in self.groups.iter().enumerate() {
            x = convs.iter().fold(x, |x, conv| conv.forward(&x).relu());
            let window = if index == 0 { [1, 2, 2] } else { [2, 2, 2] };
            // Padding cannot win after ReLU; it only shifts the windows.
            let padding = if index + 1 == self.groups.len() { [0, 1, 1] } else { [0, 0, 0] };
            x = max_pooled(&x, window, padding);
        }
        self.head.forward_t(&self.hidden.forward_t(&x, train), train)
    }
}
