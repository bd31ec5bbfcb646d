//! What the cross entropies of one head are made of, by how many logits they have.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, autocast};

use super::{
    Reduction,
    few_logits::FewLogits,
    functional::{cross_entropy, less_margin, logits},
    gate::Labels,
    log_odds::log_odds,
};

/// How a softmax over classes is differentiated.
///
/// Loss and gradient are the same within rounding, whatever the way, for rows whose squares single precision holds:
/// beyond a length of 1e19 only [`BySize`](Self::BySize) and [`ClosedForm`](Self::ClosedForm) see more than zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GradientPath {
    /// The fastest way for the size of the batch, with rows that are normalized in one pass. Up to 2¹² logits on the
    /// CPU: in closed form, a few loops over the logits. Up to 2²⁰: by autograd. Beyond:
    /// [`ClosedForm`](Self::ClosedForm). First derivatives only, as there.
    #[default]
    BySize,
    /// In closed form, in the memory of the logits and in time close to the three matrix products. First derivatives
    /// only: what differentiates the gradient again (a gradient penalty) is not an error, but wrong.
    ClosedForm,
    /// Every step of the formula recorded by autograd: can be differentiated any number of times, but at an
    /// embedding of zeros only once.
    Plain,
}

/// Up to so many logits on the CPU, loops of one thread take less than the calls of libtorch.
const FEW_LOGITS: i64 = 1 << 12;

/// More logits than this, 4 MiB of them, and the passes that the closed form saves outweigh its further steps.
const MANY_LOGITS: i64 = 1 << 20;

/// The variants of [`Scores`].
enum Way {
    Few,
    Logits,
    LogOdds,
}

impl GradientPath {
    fn way(self, features: &Tensor, rows: &Tensor) -> Way {
        let count = features.size()[0].saturating_mul(rows.size()[0]);
        let on_host = features.device() == Device::Cpu && matches!(features.kind(), Kind::Float | Kind::Double);
        match self {
            Self::BySize if count <= FEW_LOGITS && on_host => Way::Few,
            Self::BySize if count <= MANY_LOGITS => Way::Logits,
            Self::BySize | Self::ClosedForm => Way::LogOdds,
            Self::Plain => Way::Logits,
        }
    }
}

/// What the cross entropies of one head are made of, whatever margin they have.
#[derive(Debug)]
pub(super) enum Scores {
    /// Read on the host.
    Few(FewLogits),
    /// `[B, K]`, with the labels, `[B]`.
    Logits { logits: Tensor, labels: Tensor },
    /// ℓ of each sample, `[B]`.
    LogOdds(Tensor),
}

impl Scores {
    /// Of the logits `features · rowsᵀ + bias`.
    ///
    /// # Shapes
    /// `[B, D]`, `[K, D]`, `[K]`, `[B]`.
    pub(super) fn of(
        features: &Tensor,
        rows: &Tensor,
        bias: Option<&Tensor>,
        labels: Labels,
        gradient: GradientPath,
    ) -> Self {
        // Logits are single precision at least, under autocast as well.
        autocast(false, || match gradient.way(features, rows) {
            Way::Few => Self::Few(FewLogits::of(features, rows, bias, &labels.on_host)),
            Way::Logits => Self::Logits { logits: logits(features, rows, bias), labels: labels.tensor },
            Way::LogOdds => Self::LogOdds(log_odds(features, rows, bias, &labels.tensor)),
        })
    }

    /// The cross entropy with `margin` taken off the logit of the true class.
    pub(super) fn cross_entropy(&self, margin: f64, reduction: Reduction) -> Tensor {
        match self {
            Self::Few(few) => few.cross_entropy(margin, reduction),
            Self::Logits { logits, labels } if margin > 0.0 => {
                cross_entropy(&less_margin(logits, labels, margin), labels, reduction)
            }
            Self::Logits { logits, labels } => cross_entropy(logits, labels, reduction),
            Self::LogOdds(log_odds) => reduction.apply(&-(log_odds - margin).log_sigmoid()),
        }
    }
}
