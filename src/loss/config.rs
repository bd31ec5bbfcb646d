//! A loss by its name.

use serde::{Deserialize, Serialize};
use tch::nn;

use super::{
    AdaFaceConfig, ArcFaceConfig, CenterLossConfig, CombinedMarginConfig, LmclConfig, Loss, NormalizedSoftmaxConfig,
    SoftLmcclConfig, SoftmaxHeadConfig,
};
use crate::{Result, distributed::Classes};

macro_rules! losses {
    ($($(#[$doc:meta])* $variant:ident($config:ident) $name:literal),+ $(,)?) => {
        /// The configuration of one loss, whichever it is: what a program reads from a file or a flag.
        ///
        /// # Examples
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use soft_lmccl::{loss::{LmclConfig, LossConfig}, tch::{Device, nn}};
        ///
        /// let config: LossConfig = serde_json::from_str(r#"{"name": "lmcl", "margin": 0.4}"#)?;
        /// assert_eq!(config, LossConfig::Lmcl(LmclConfig { margin: 0.4, ..Default::default() }));
        /// assert_eq!(LossConfig::by_name("lmcl").map(|config| config.name()), Some("lmcl"));
        /// let vs = nn::VarStore::new(Device::Cpu);
        /// let loss = config.init(&vs.root(), 17, 512)?;
        /// # Ok(()) }
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name", rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum LossConfig {
            $($(#[$doc])* $variant($config),)+
        }

        impl LossConfig {
            /// The names that [`by_name`](Self::by_name) knows.
            pub const NAMES: &[&str] = &[$($name),+];

            /// The loss of this name with its defaults.
            pub fn by_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant($config::default())),)+
                    _ => None,
                }
            }

            /// Its name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }

            /// Checks the values without building anything.
            ///
            /// # Errors
            /// [`Error::Config`](crate::Error::Config) as the loss' own configuration.
            pub fn validate(&self) -> Result<()> {
                match self {
                    $(Self::$variant(config) => config.validate(),)+
                }
            }

            /// Creates the loss.
            ///
            /// # Errors
            /// As the `init` of its own configuration.
            pub fn init(self, path: &nn::Path<'_>, num_classes: impl Into<Classes>, embedding_dim: i64) -> Result<Box<dyn Loss>> {
                Ok(match self {
                    $(Self::$variant(config) => Box::new(config.init(path, num_classes, embedding_dim)?),)+
                })
            }
        }

        $(impl From<$config> for LossConfig {
            fn from(config: $config) -> Self {
                Self::$variant(config)
            }
        })+
    };
}

losses! {
    /// [`SoftmaxHead`](super::SoftmaxHead).
    Softmax(SoftmaxHeadConfig) "softmax",
    /// [`NormalizedSoftmax`](super::NormalizedSoftmax).
    NormalizedSoftmax(NormalizedSoftmaxConfig) "normalized_softmax",
    /// [`Lmcl`](super::Lmcl).
    Lmcl(LmclConfig) "lmcl",
    /// [`ArcFace`](super::ArcFace).
    Arcface(ArcFaceConfig) "arcface",
    /// [`CombinedMargin`](super::CombinedMargin).
    CombinedMargin(CombinedMarginConfig) "combined_margin",
    /// [`AdaFace`](super::AdaFace).
    Adaface(AdaFaceConfig) "adaface",
    /// [`CenterLoss`](super::CenterLoss).
    Center(CenterLossConfig) "center",
    /// [`SoftLmccl`](super::SoftLmccl).
    SoftLmccl(SoftLmcclConfig) "soft_lmccl",
}
