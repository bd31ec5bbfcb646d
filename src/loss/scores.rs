//! What the cross entropies of one head are made of: logits while they are few, log-odds beyond.

use serde::{Deserialize, Serialize};
use tch::{Tensor, autocast};

use super::{
    Reduction,
    functional::{cross_entropy, less_margin, logits},
    log_odds::log_odds,
};

/// How a softmax over classes is differentiated.
///
/// Loss and gradient are the same within rounding, whatever the way, for rows whose squares single precision holds:
/// beyond a length of 1e19 only [`BySize`](Self::BySize) and [`ClosedForm`](Self::ClosedForm) see more than zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientPath {
    /// The fastest way for the size of the batch: up to 2²⁰ logits by autograd on the logits of rows that are
    /// normalized in one pass, beyond as [`ClosedForm`](Self::ClosedForm). First derivatives only, as there.
    #[default]
    BySize,
    /// In closed form, in the memory of the logits and in time close to the three matrix products. First derivatives
    /// only: what differentiates the gradient again (a gradient penalty) is not an error, but wrong.
    ClosedForm,
    /// Every step of the formula recorded by autograd: can be differentiated any number of times, a
    /// zero embedding once.
    Plain,
}

/// More logits than this, 4 MiB of them, and the passes that the closed form saves outweigh its further steps.
const MANY_LOGITS: i64 = 1 << 20;

impl GradientPath {
    fn is_closed(self, batch: i64, classes: i64) -> bool {
        match self {
            Self::BySize => batch.saturating_mul(classes) > MANY_LOGITS,
            Self::ClosedForm => true,
            Self::Plain => false,
        }
    }
}

/// What the cross entropies of one head are made of, whatever margin they have.
#[derive(Debug)]
pub(super) enum Scores {
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
        labels: Tensor,
        gradient: GradientPath,
    ) -> Self {
        // Logits are single precision at least, under autocast as well.
        autocast(false, || match gradient.is_closed(features.size()[0], rows.size()[0]) {
            true => Self::LogOdds(log_odds(features, rows, bias, &labels)),
            false => Self::Logits { logits: logits(features, rows, bias), labels },
        })
    }

    /// The cross entropy with `margin` taken off the logit of the true class.
    pub(super) fn cross_entropy(&self, margin: f64, reduction: Reduction) -> Tensor {
        match self {
            Self::Logits { logits, labels } if margin > 0.0 => {
                cross_entropy(&less_margin(logits, labels, margin), labels, reduction)
            }
            Self::Logits { logits, labels } => cross_entropy(logits, labels, reduction),
            Self::LogOdds(log_odds) => reduction.apply(&-(log_odds - margin).log_sigmoid()),
        }
    }
}
