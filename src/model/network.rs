//! A network chosen by name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::{
    Cb3d, Cb3dConfig, CompactNet, CompactNetConfig, Dsrf3d, Dsrf3dConfig, Rb3d, Rb3dConfig, SphereNet, SphereNetConfig,
    cb3d, compact_net, dsrf3d, rb3d, sphere_net,
};
use crate::{Error, Result};

/// The networks of this module, by name.
///
/// # Examples
/// ```
/// use soft_lmccl::model::{Architecture, NetworkConfig};
///
/// let architecture: Architecture = "dsrf3d_v2".parse()?;
/// assert_eq!(architecture, Architecture::Dsrf3dV2);
/// assert_eq!(architecture.config().embedding_dim(), 1024);
/// let message = "resnet".parse::<Architecture>().unwrap_err().to_string();
/// assert!(message.ends_with("expected one of compact, sphere20, dsrf3d_v2, rb3d, cb3d, got resnet"), "{message}");
/// # Ok::<(), soft_lmccl::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Architecture {
    /// [`CompactNet`], for two cores.
    Compact,
    /// [`SphereNet`], the authors'.
    Sphere20,
    /// [`Dsrf3d`] in its second version.
    #[serde(rename = "dsrf3d_v2")]
    Dsrf3dV2,
    /// [`Rb3d`].
    Rb3d,
    /// [`Cb3d`].
    Cb3d,
}

impl Architecture {
    /// Every network.
    pub const ALL: [Self; 5] = [Self::Compact, Self::Sphere20, Self::Dsrf3dV2, Self::Rb3d, Self::Cb3d];

    /// The name, as it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Sphere20 => "sphere20",
            Self::Dsrf3dV2 => "dsrf3d_v2",
            Self::Rb3d => "rb3d",
            Self::Cb3d => "cb3d",
        }
    }

    /// Its default configuration.
    pub fn config(self) -> NetworkConfig {
        match self {
            Self::Compact => NetworkConfig::Compact(CompactNetConfig::default()),
            Self::Sphere20 => NetworkConfig::Sphere20(SphereNetConfig::default()),
            Self::Dsrf3dV2 => NetworkConfig::Dsrf3dV2(Dsrf3dConfig::default()),
            Self::Rb3d => NetworkConfig::Rb3d(Rb3dConfig::default()),
            Self::Cb3d => NetworkConfig::Cb3d(Cb3dConfig::default()),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Architecture {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] with all names, for any other name.
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == name).ok_or_else(|| {
            Error::config("architecture", format!("one of {}", Self::ALL.map(Self::name).join(", ")), name.to_owned())
        })
    }
}

/// A network by name, with its hyper-parameters.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use soft_lmccl::{model::{Architecture, NetworkConfig}, tch::{Device, Kind, Tensor, nn, nn::ModuleT}};
///
/// let text = r#"{ "architecture": "dsrf3d_v2", "channels": [4, 8], "hidden": 16, "embedding_dim": 32 }"#;
/// let config: NetworkConfig = serde_json::from_str(text)?;
/// assert_eq!(config.architecture(), Architecture::Dsrf3dV2);
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = config.init(&(vs.root() / "net"), 12)?;
/// let volumes = Tensor::randn([2, 1, 12, 12, 12], (Kind::Float, Device::Cpu));
/// assert_eq!(net.forward_t(&volumes, false).size(), [2, config.embedding_dim()]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NetworkConfig {
    /// [`CompactNet`].
    Compact(CompactNetConfig),
    /// [`SphereNet`].
    Sphere20(SphereNetConfig),
    /// [`Dsrf3d`].
    #[serde(rename = "dsrf3d_v2")]
    Dsrf3dV2(Dsrf3dConfig),
    /// [`Rb3d`].
    Rb3d(Rb3dConfig),
    /// [`Cb3d`].
    Cb3d(Cb3dConfig),
}

impl Default for NetworkConfig {
    /// [`CompactNet`], which two cores can train.
    fn default() -> Self {
        Architecture::Compact.config()
    }
}

impl NetworkConfig {
    /// Which network this is.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::Compact(_) => Architecture::Compact,
            Self::Sphere20(_) => Architecture::Sphere20,
            Self::Dsrf3dV2(_) => Architecture::Dsrf3dV2,
            Self::Rb3d(_) => Architecture::Rb3d,
            Self::Cb3d(_) => Architecture::Cb3d,
        }
    }

    /// `D`, the length of an embedding.
    pub fn embedding_dim(&self) -> i64 {
        match self {
            Self::Compact(config) => config.embedding_dim,
            Self::Sphere20(config) => config.embedding_dim,
            Self::Dsrf3dV2(config) => config.embedding_dim,
            Self::Rb3d(config) => config.embedding_dim,
            Self::Cb3d(config) => config.embedding_dim,
        }
    }

    /// The same network with embeddings of another length.
    #[must_use]
    pub fn with_embedding_dim(mut self, dim: i64) -> Self {
        match &mut self {
            Self::Compact(config) => config.embedding_dim = dim,
            Self::Sphere20(config) => config.embedding_dim = dim,
            Self::Dsrf3dV2(config) => config.embedding_dim = dim,
            Self::Rb3d(config) => config.embedding_dim = dim,
            Self::Cb3d(config) => config.embedding_dim = dim,
        }
        self
    }

    /// Checks the values without building anything.
    ///
    /// # Errors
    /// As `validate` of the configuration inside.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Compact(config) => config.validate(),
            Self::Sphere20(config) => config.validate(),
            Self::Dsrf3dV2(config) => config.validate(),
            Self::Rb3d(config) => config.validate(),
            Self::Cb3d(config) => config.validate(),
        }
    }

    /// Creates the network for volumes of `side³` voxels, with its variables at `path`.
    ///
    /// # Errors
    /// As the function that creates the network: [`compact_net`], [`sphere_net`], [`dsrf3d`],
    /// [`rb3d`], [`cb3d`].
    pub fn init(&self, path: &nn::Path<'_>, side: i64) -> Result<Network> {
        Ok(match self.clone() {
            Self::Compact(config) => Network::Compact(compact_net(path, side, config)?),
            Self::Sphere20(config) => Network::Sphere20(sphere_net(path, side, config)?),
            Self::Dsrf3dV2(config) => Network::Dsrf3dV2(dsrf3d(path, side, config)?),
            Self::Rb3d(config) => Network::Rb3d(rb3d(path, side, config)?),
            Self::Cb3d(config) => Network::Cb3d(cb3d(path, side, config)?),
        })
    }
}

/// A network that [`NetworkConfig::init`] made.
///
/// # Shapes
/// `[B, 1, side, side, side]` → `[B, embedding_dim]`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Network {
    /// See [`CompactNet`].
    Compact(CompactNet),
    /// See [`SphereNet`].
    Sphere20(SphereNet),
    /// See [`Dsrf3d`].
    Dsrf3dV2(Dsrf3d),
    /// See [`Rb3d`].
    Rb3d(Rb3d),
    /// See [`Cb3d`].
    Cb3d(Cb3d),
}

impl nn::ModuleT for Network {
    /// # Panics
    /// As the network inside: with the sizes, unless `volumes` is `[B, 1, side, side, side]`. Training with batch
    /// normalization needs a `B` of at least 2.
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        match self {
            Self::Compact(net) => net.forward_t(volumes, train),
            Self::Sphere20(net) => net.forward_t(volumes, train),
            Self::Dsrf3dV2(net) => net.forward_t(volumes, train),
            Self::Rb3d(net) => net.forward_t(volumes, train),
            Self::Cb3d(net) => net.forward_t(volumes, train),
        }
    }
}
