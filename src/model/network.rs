//! A network chosen by name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

#[allow(clippy::wildcard_imports, reason = "every network of the list, which stands beside their modules alone")]
use super::*;
use crate::{Error, Result};

/// Everything that differs by network; `each_network` of `mod.rs` has the list.
macro_rules! networks {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $network:ident, $config:ident, $init:ident;)*) => {
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
        /// assert!(message.contains("expected one of compact, sphere20, ") && message.ends_with(", got resnet"), "{message}");
        /// # Ok::<(), soft_lmccl::Error>(())
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Architecture {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Architecture {
            /// Every network.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name, as it is written in a configuration.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Its default configuration.
            pub fn config(self) -> NetworkConfig {
                match self {
                    $(Self::$variant => NetworkConfig::$variant($config::default()),)*
                }
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
        #[serde(tag = "architecture")]
        #[non_exhaustive]
        pub enum NetworkConfig {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant($config),)*
        }

        impl NetworkConfig {
            /// Which network this is.
            pub fn architecture(&self) -> Architecture {
                match self {
                    $(Self::$variant(_) => Architecture::$variant,)*
                }
            }

            /// `D`, the length of an embedding.
            pub fn embedding_dim(&self) -> i64 {
                match self {
                    $(Self::$variant(config) => config.embedding_dim,)*
                }
            }

            /// The same network with embeddings of another length.
            #[must_use]
            pub fn with_embedding_dim(mut self, dim: i64) -> Self {
                match &mut self {
                    $(Self::$variant(config) => config.embedding_dim = dim,)*
                }
                self
            }

            /// Checks the values without building anything.
            ///
            /// # Errors
            /// As `validate` of the configuration inside.
            pub fn validate(&self) -> Result<()> {
                match self {
                    $(Self::$variant(config) => config.validate(),)*
                }
            }

            /// Creates the network for volumes of `side³` voxels, with its variables at `path`.
            ///
            /// # Errors
            /// As the function that creates the network, such as [`compact_net`].
            pub fn init(&self, path: &nn::Path<'_>, side: i64) -> Result<Network> {
                Ok(match self.clone() {
                    $(Self::$variant(config) => Network::$variant($init(path, side, config)?),)*
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
            $($(#[doc = $doc])* $variant($network),)*
        }

        impl nn::ModuleT for Network {
            /// # Panics
            /// As the network inside: with the sizes, unless `volumes` is `[B, 1, side, side, side]`, in
            /// training with batch normalization and a `B` below 2.
            fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
                match self {
                    $(Self::$variant(net) => net.forward_t(volumes, train),)*
                }
            }
        }
    };
}

each_network!(networks);

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

impl Default for NetworkConfig {
    /// [`CompactNet`], which two cores can train.
    fn default() -> Self {
        Architecture::Compact.config()
    }
}
