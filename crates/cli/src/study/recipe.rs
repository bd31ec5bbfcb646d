//! What is trained: a loss, and how much data of how many classes it gets.

use serde::{Deserialize, Serialize};
use soft_lmccl::{
    cect::AugmentConfig,
    loss::{ArcFaceConfig, CenterLossConfig, LmclConfig, Loss, LossConfig, SoftLmcclConfig, SoftmaxHeadConfig},
    model::NetworkConfig,
    tch::nn,
    train::{Sampling, WarmUp},
};

use crate::program;

/// How much data a network is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Supply {
    /// Subtomograms of a class, in multiples of what the study's size says.
    pub times: usize,
    /// Whether the catalogue's extra known classes are trained on as well.
    pub extra_classes: bool,
    /// Whether a subtomogram is made when a batch asks for it and not kept, so that there may be any number of them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub streamed: bool,
    /// So many classes made of the known ones are trained on as well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub invented: usize,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl Default for Supply {
    fn default() -> Self {
        Self { times: 1, extra_classes: false, streamed: false, invented: 0 }
    }
}

/// How a network is trained and asked beyond what the paper does: by default, nothing of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Regime {
    /// Another network than the study's.
    pub network: Option<NetworkConfig>,
    /// Another number of passes than the study's.
    pub epochs: Option<usize>,
    /// Each pass sees each subtomogram changed in another way.
    pub augment: Option<AugmentConfig>,
    /// Of Soft LMCCL; other losses have nothing to warm up.
    pub warm_up: WarmUp,
    /// Whether an embedding is the mean of those of the four half turns of a subtomogram, all of which have the
    /// wedge where it was.
    pub half_turns: bool,
}

impl Regime {
    fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Part of a file's name.
    pub name: String,
    /// What a table calls it.
    pub title: String,
    pub objective: Objective,
    pub supply: Supply,
    /// How batches are put together.
    pub sampling: Sampling,
    /// Trained on the first so many known classes only.
    pub known: Option<usize>,
    #[serde(default, skip_serializing_if = "Regime::is_plain")]
    pub regime: Regime,
}

impl Recipe {
    pub fn new(name: impl Into<String>, title: impl Into<String>, objective: Objective) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            objective,
            supply: Supply::default(),
            sampling: Sampling::Plain,
            known: None,
            regime: Regime::default(),
        }
    }

    /// The same on the first `known` known classes; `None` leaves it as it is.
    pub fn with_known(self, known: Option<usize>) -> Self {
        match known {
            None => self,
            Some(count) => Self {
                name: format!("{}-known-{count}", self.name),
                title: format!("{}, {count} known classes", self.title),
                known,
                ..self
            },
        }
    }
}

/// A loss, with all its hyper-parameters, in the words of the records.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Nothing is trained: the radial profile of a subtomogram stands for it.
    RadialProfile,
    Softmax,
    Center(CenterLossConfig),
    Lmcl(LmclConfig),
    ArcFace(ArcFaceConfig),
    LmclCenter {
        lmcl: LmclConfig,
        center: CenterLossConfig,
        weight: f64,
    },
    SoftmaxCenter {
        center: CenterLossConfig,
        weight: f64,
    },
    SoftLmccl(SoftLmcclConfig),
}

impl Objective {
    /// Makes the loss with its variables at `path`.
    ///
    /// # Errors
    /// As the `init` of its parts.
    ///
    /// # Panics
    /// For a radial profile, which has no loss: it is never trained.
    pub fn init(self, path: &nn::Path<'_>, classes: i64, dim: i64) -> soft_lmccl::Result<Box<dyn Loss>> {
        let softmax = SoftmaxHeadConfig::default();
        let (loss, center): (LossConfig, _) = match self {
            Self::RadialProfile => unreachable!("a radial profile is never trained"),
            Self::Softmax => (softmax.into(), None),
            Self::Center(center) => (center.into(), None),
            Self::Lmcl(lmcl) => (lmcl.into(), None),
            Self::ArcFace(arcface) => (arcface.into(), None),
            Self::LmclCenter { lmcl, center, weight } => (lmcl.into(), Some((weight, center))),
            Self::SoftmaxCenter { center, weight } => (softmax.into(), Some((weight, center))),
            Self::SoftLmccl(config) => (config.into(), None),
        };
        program::loss::init(loss, center, path, classes, dim)
    }
}
