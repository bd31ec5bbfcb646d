//! DSRF3D-v2: a deep network of small receptive fields.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::layers::{
    BatchNorm, Conv3d, ConvOptions, EmbeddingHead, Hidden, WeightInit, at_least_one, dropout_rate, flattened, input,
    max_pooled, momentum,
};
#[cfg(doc)]
use crate::Error;
use crate::Result;

/// Hyper-parameters of [`Dsrf3d`]. The defaults are those of the Xu lab's code (`Cgg` in
/// `improved_classification/subdivide.py`) up to the classifier, which the embedding replaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dsrf3dConfig {
    /// Channels of the groups; each has two convolutions and ends in pooling. Default 32, 64, 128; 32, 64 is the
    /// first DSRF3D.
    pub channels: Vec<i64>,
    /// Outputs of each of the two hidden linear layers. Default 1024.
    pub hidden: i64,
    /// Part of the hidden outputs that training drops. Default 0.7.
    pub dropout: f64,
    /// `D`, the length of an embedding. Default 1024, the authors' for SphereFace-20.
    pub embedding_dim: i64,
    /// Momentum of the batch normalization of the embedding; `None` leaves it out. Default 0.1.
    pub batch_norm: Option<f64>,
}

impl Default for Dsrf3dConfig {
    fn default() -> Self {
        Self {
            channels: vec![32, 64, 128],
            hidden: 1024,
            dropout: 0.7,
            embedding_dim: 1024,
            batch_norm: Some(BatchNorm::MOMENTUM),
        }
    }
}

impl Dsrf3dConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`] for no group, a size below 1, a dropout rate outside `0..1`, or a momentum
    /// that is not above 0 and up to 1.
    pub fn validate(&self) -> Result<()> {
        let least = self.channels.iter().copied().min().unwrap_or(0);
        at_least_one([("channels", least), ("hidden", self.hidden), ("embedding_dim", self.embedding_dim)])?;
        dropout_rate("dropout", self.dropout)?;
        momentum(self.batch_norm)
    }
}

/// Groups of two 3³ convolutions with ReLU and one maximum over 2³ voxels, then two hidden linear
/// layers with ReLU and dropout, then the embedding.
///
/// At 40³ voxels it has 19,344,672 parameters, 16,385,024 of them in the first linear layer.
///
/// # Shapes
/// `[B, 1, side, side, side]` → `[B, embedding_dim]`; a side of at least 2 to the power of the number of groups, 8 by
/// default. Pooling leaves out the last voxel of an odd side.
///
/// # Variables
///
/// `C_N` are the channels of group `N`, from 1; `C_0` is 1; `H` is `hidden`; `D` is the embedding dimension, `F` the number of features that the layer takes. Without batch normalization there is no `fc_bn`.
///
/// | name | shape |
/// |---|---|
/// | `groupN.first.weight` | `[C_N, C_(N-1), 3, 3, 3]` |
/// | `groupN.second.weight` | `[C_N, C_N, 3, 3, 3]` |
/// | `groupN.first.bias`, `groupN.second.bias` | `[C_N]` |
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
pub struct Dsrf3d {
    side: i64,
    groups: Vec<[Conv3d; 2]>,
    hidden: Hidden,
    head: EmbeddingHead,
}

/// Creates a [`Dsrf3d`] for volumes of `side³` voxels.
///
/// # Errors
/// As [`Dsrf3dConfig::validate`]; [`Error::Config`] for a side that pooling reduces to nothing, or one that gives a
/// linear layer more than 2³⁰ weights; [`Error::NameTaken`].
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{model::{Dsrf3dConfig, dsrf3d}, tch::{Device, Kind, Tensor, nn, nn::ModuleT}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let config = Dsrf3dConfig { channels: vec![4, 8], hidden: 16, embedding_dim: 32, ..Default::default() };
/// let net = dsrf3d(&(vs.root() / "net"), 12, config)?;
/// let volumes = Tensor::randn([2, 1, 12, 12, 12], (Kind::Float, Device::Cpu));
/// assert_eq!(net.forward_t(&volumes, true).size(), [2, 32]);
/// // Without dropout, the same volumes have the same embeddings.
/// assert_eq!(net.forward_t(&volumes, false), net.forward_t(&volumes, false));
///
/// let error = dsrf3d(&vs.root(), 7, Dsrf3dConfig::default()).map(drop).unwrap_err();
/// assert_eq!(error.to_string(), "invalid `side`: expected at least 8, got 7");
/// # Ok(()) }
/// ```
pub fn dsrf3d(path: &nn::Path<'_>, side: i64, config: Dsrf3dConfig) -> Result<Dsrf3d> {
    config.validate()?;
    let least = i64::try_from(config.channels.len()).ok().and_then(|groups| 2i64.checked_pow(groups as u32));
    let least = least.unwrap_or(i64::MAX);
    let (channels, reduced) = (config.channels.last().copied().unwrap_or(0), side / least);
    let features = flattened(side, least, channels, [reduced; 3], config.hidden)?;
    let options = ConvOptions { bias: true, first: WeightInit::Glorot, ..Default::default() };
    let mut from = 1;
    let mut groups = Vec::with_capacity(config.channels.len());
    for (index, &to) in config.channels.iter().enumerate() {
        let path = path / format!("group{}", index + 1);
        groups.push([
            Conv3d::init(&(&path / "first"), from, to, options)?,
            Conv3d::init(&(&path / "second"), to, to, options)?,
        ]);
        from = to;
    }
    Ok(Dsrf3d {
        side,
        groups,
        hidden: Hidden::init(&(path / "hidden"), features, &[config.hidden; 2], config.dropout)?,
        head: EmbeddingHead::init(path, config.hidden, config.embedding_dim, config.batch_norm)?,
    })
}

impl nn::ModuleT for Dsrf3d {
    /// # Panics
    /// With the sizes, unless `volumes` is `[B, 1, side, side, side]`. Training with batch normalization needs a `B`
    /// of at least 2.
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        let features = self.groups.iter().fold(input(volumes, self.side), |x, convs| {
            max_pooled(&convs.iter().fold(x, |x, conv| conv.forward(&x).relu()), [2; 3], [0; 3])
        });
        self.head.forward_t(&self.hidden.forward_t(&features, train), train)
    }
}
