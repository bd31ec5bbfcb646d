//! The authors' network: SphereFace-20 in three dimensions.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::layers::{
    BatchNorm, Conv3d, ConvOptions, EmbeddingHead, PRelu, WeightInit, at_least_one, flattened, halved, input, momentum,
};
use crate::{Error, Result};

/// One stage of a [`SphereNet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SphereStage {
    /// Channels of every convolution of the stage.
    pub channels: i64,
    /// Residual units of two convolutions each, behind the one that halves the side.
    pub units: i64,
}

/// Hyper-parameters of [`SphereNet`]. Except `batch_norm`, the defaults are those of the authors' code
/// (`sphere_network.py` and `main.py` of AITom's `openset`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SphereNetConfig {
    /// Default 64, 128, 256, 512 channels with 1, 2, 4, 1 residual units: 20 layers with the last.
    pub stages: Vec<SphereStage>,
    /// `D`, the length of an embedding. Default 1024.
    pub embedding_dim: i64,
    /// Momentum of the batch normalization of the embedding; `None` leaves it out. Default 0.1,
    /// PyTorch's. The authors' 0.003 needs more than a thousand steps before evaluation sees the
    /// statistics of training.
    pub batch_norm: Option<f64>,
}

impl Default for SphereNetConfig {
    fn default() -> Self {
        let stages = [(64, 1), (128, 2), (256, 4), (512, 1)];
        Self {
            stages: stages.map(|(channels, units)| SphereStage { channels, units }).to_vec(),
            embedding_dim: 1024,
            batch_norm: Some(BatchNorm::MOMENTUM),
        }
    }
}

impl SphereNetConfig {
    /// The authors' code to the letter: batch normalization keeps 0.997 of its running statistics.
    pub fn official_code() -> Self {
        Self { batch_norm: Some(0.003), ..Self::default() }
    }

    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`] for no stage, a size below 1, a negative number of residual units, or a momentum
    /// that is not above 0 and up to 1.
    pub fn validate(&self) -> Result<()> {
        let channels = self.stages.iter().map(|stage| stage.channels).min().unwrap_or(1);
        let stages = i64::from(!self.stages.is_empty());
        at_least_one([("stages", stages), ("channels", channels), ("embedding_dim", self.embedding_dim)])?;
        if let Some(stage) = self.stages.iter().find(|stage| stage.units < 0) {
            return Err(Error::config("units", "at least 0", stage.units));
        }
        momentum(self.batch_norm)
    }
}

/// Residual network without normalization in its trunk, with PReLU.
///
/// Each stage halves the side by a 3³ convolution of stride 2 with bias and PReLU. It then adds residual units
/// `x + PReLU(conv(PReLU(conv(x))))` of 3³ convolutions without bias. A linear layer takes the flattened last stage;
/// its output is batch-normalized.
///
/// At 40³ voxels it has 49,113,280 parameters. Convolutions of stride 2 pad both ends, TensorFlow's pad only the end:
/// the sizes are the same, the grid is shifted by one voxel.
///
/// # Shapes
/// `[B, 1, side, side, side]` → `[B, embedding_dim]`; any side from 1.
///
/// # Variables
///
/// `C_N` are the channels of stage `N`, from 1, and units count from 1; `C_0` is 1; `D` is the embedding dimension, `F` the number of features that the layer takes. Without batch normalization there is no `fc_bn`.
///
/// | name | shape |
/// |---|---|
/// | `stageN.down.conv.weight` | `[C_N, C_(N-1), 3, 3, 3]` |
/// | `stageN.down.conv.bias`, `stageN.down.prelu.slope` | `[C_N]` |
/// | `stageN.unitN.first.conv.weight`, `stageN.unitN.second.conv.weight` | `[C_N, C_N, 3, 3, 3]` |
/// | `stageN.unitN.first.prelu.slope`, `stageN.unitN.second.prelu.slope` | `[C_N]` |
/// | `fc.weight` | `[D, F]` |
/// | `fc.bias` | `[D]` |
/// | `fc_bn.weight`, `fc_bn.bias`, `fc_bn.running_mean`, `fc_bn.running_var` | `[D]` |
///
/// # References
/// W. Liu et al., *SphereFace: Deep Hypersphere Embedding for Face Recognition*, CVPR 2017,
/// [arXiv:1704.08063](https://arxiv.org/abs/1704.08063), Table 2.
#[derive(Debug)]
pub struct SphereNet {
    side: i64,
    stages: Vec<Stage>,
    head: EmbeddingHead,
}

#[derive(Debug)]
struct Stage {
    down: Layer,
    units: Vec<[Layer; 2]>,
}

#[derive(Debug)]
struct Layer {
    conv: Conv3d,
    prelu: PRelu,
}

impl Layer {
    fn init(path: &nn::Path<'_>, from: i64, to: i64, options: ConvOptions) -> Result<Self> {
        Ok(Self {
            conv: Conv3d::init(&(path / "conv"), from, to, options)?,
            prelu: PRelu::init(&(path / "prelu"), to)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.prelu.forward(&self.conv.forward(x))
    }
}

impl Stage {
    /// The authors' spread of the first weights of residual units: they start near the identity.
    const UNIT_STDEV: f64 = 0.01;

    fn init(path: &nn::Path<'_>, from: i64, SphereStage { channels, units }: SphereStage) -> Result<Self> {
        let down = ConvOptions { stride: 2, bias: true, first: WeightInit::Glorot, ..Default::default() };
        let same = ConvOptions { first: WeightInit::Normal(Self::UNIT_STDEV), ..Default::default() };
        let unit = |index: i64| -> Result<[Layer; 2]> {
            let path = path / format!("unit{}", index + 1);
            Ok([
                Layer::init(&(&path / "first"), channels, channels, same)?,
                Layer::init(&(&path / "second"), channels, channels, same)?,
            ])
        };
        Ok(Self {
            down: Layer::init(&(path / "down"), from, channels, down)?,
            units: (0..units).map(unit).collect::<Result<_>>()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let down = self.down.forward(x);
        self.units.iter().fold(down, |x, [first, second]| &x + second.forward(&first.forward(&x)))
    }
}

/// Creates a [`SphereNet`] for volumes of `side³` voxels.
///
/// # Errors
/// As [`SphereNetConfig::validate`]; [`Error::Config`] for a side below 1 or one that gives the
/// linear layer more than 2³⁰ weights; [`Error::NameTaken`].
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{model::{SphereNetConfig, SphereStage, sphere_net}, tch::{Device, Kind, Tensor, nn, nn::ModuleT}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let stages = vec![SphereStage { channels: 8, units: 1 }, SphereStage { channels: 16, units: 2 }];
/// let config = SphereNetConfig { stages, embedding_dim: 32, ..Default::default() };
/// let net = sphere_net(&(vs.root() / "net"), 20, config)?;
/// let volumes = Tensor::randn([2, 1, 20, 20, 20], (Kind::Float, Device::Cpu));
/// assert_eq!(net.forward_t(&volumes, true).size(), [2, 32]);
/// # Ok(()) }
/// ```
pub fn sphere_net(path: &nn::Path<'_>, side: i64, config: SphereNetConfig) -> Result<SphereNet> {
    config.validate()?;
    let mut reduced = side;
    for _ in &config.stages {
        reduced = halved(reduced);
    }
    let channels = config.stages.last().map_or(0, |stage| stage.channels);
    let features = flattened(side, 1, channels, [reduced; 3], config.embedding_dim)?;
    let mut from = 1;
    let mut stages = Vec::with_capacity(config.stages.len());
    for (index, &stage) in config.stages.iter().enumerate() {
        stages.push(Stage::init(&(path / format!("stage{}", index + 1)), from, stage)?);
        from = stage.channels;
    }
    let head = EmbeddingHead::init(path, features, config.embedding_dim, config.batch_norm)?;
    Ok(SphereNet { side, stages, head })
}

impl nn::ModuleT for SphereNet {
    /// # Panics
    /// With the sizes, unless `volumes` is `[B, 1, side, side, side]`. Training with batch normalization needs a `B`
    /// of at least 2.
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        let features = self.stages.iter().fold(input(volumes, self.side), |features, stage| stage.forward(&features));
        self.head.forward_t(&features.flatten(1, -1), train)
    }
}
