//! Cross entropy by the log-odds of the true class, with the gradient in closed form.
//!
//! With `z` the logits of a sample and `y` its class,
//!
//! ```text
//! ℓ = z_y − ln Σ_{j≠y} exp z_j          − ln softmax(z)[y] = − ln σ(ℓ)
//! ∂ℓ/∂z_y = 1,  ∂ℓ/∂z_j = −q_j          q the softmax over the classes other than y
//! ```
//!
//! Whatever acts on the true class' logit alone acts on ℓ: a margin is `− ln σ(ℓ − s·m)`, and the
//! plain softmax on the same logits comes free. One pass over the logits, in the memory of the
//! logits, gives ℓ and its slope; the slope times the logits is then a linear functional with the
//! same gradient, which autograd differentiates in two products.

use serde::{Deserialize, Serialize};
use tch::{Tensor, autocast, no_grad_guard};

use super::{
    Reduction,
    functional::{NORM_FLOOR, cross_entropy, l2_normalize, less_margin},
};

/// How a softmax over classes is differentiated.
///
/// Loss and gradient are the same within rounding, whatever the way.
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
    /// Every step of the formula recorded by autograd: can be differentiated any number of times.
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

/// ℓ of each sample, with its gradient.
fn log_odds(features: &Tensor, rows: &Tensor, bias: Option<&Tensor>, labels: &Tensor) -> Tensor {
    let Slope { value, slope, others } = {
        let _frozen = no_grad_guard();
        Slope::of(&logits(features, rows, bias), labels)
    };
    // A view is tracked if its base is and gradients are on.
    let tracked = |tensor: &Tensor| tensor.view_as(tensor).requires_grad();
    if ![Some(features), Some(rows), bias].into_iter().flatten().any(tracked) {
        return value.squeeze_dim(1);
    }
    // Σ_c slope[c]·z[c], without the logits: (slope · rows) · features.
    let functional = (slope.mm(rows) * features).sum_dim_intlist([-1i64].as_slice(), true, None);
    let functional = match bias {
        Some(bias) => functional + slope.mm(&bias.unsqueeze(1)),
        None => functional,
    };
    let log_odds = functional / -others;
    // The functional has the slope of ℓ but not its value: that is written over it.
    {
        let _frozen = no_grad_guard();
        log_odds.detach().copy_(&value);
    }
    log_odds.squeeze_dim(1)
}

fn logits(features: &Tensor, rows: &Tensor, bias: Option<&Tensor>) -> Tensor {
    match bias {
        Some(bias) => bias.addmm(features, &rows.tr()),
        None => features.mm(&rows.tr()),
    }
}

struct Slope {
    /// ℓ, `[B, 1]`.
    value: Tensor,
    /// `−others · ∂ℓ/∂z`, `[B, C]`: not divided by, since that would be one more pass.
    slope: Tensor,
    /// `Σ_{j≠y} exp(z_j − max)`, `[B, 1]`.
    others: Tensor,
}

impl Slope {
    /// Overwrites the logits.
    fn of(logits: &Tensor, labels: &Tensor) -> Self {
        let mut slope = logits.shallow_clone();
        let labels = labels.unsqueeze(1);
        let own = slope.gather(1, &labels, false);
        let _ = slope.scatter_value_(1, &labels, f64::NEG_INFINITY);
        let top = slope.amax([-1i64].as_slice(), true);
        let _ = slope.g_sub_(&top);
        let _ = slope.exp_();
        let others = slope.sum_dim_intlist([-1i64].as_slice(), true, None);
        let _ = slope.scatter_(1, &labels, &-&others);
        Self { value: own - top - others.log(), slope, others }
    }
}

/// `length · x/‖x‖` of each row, as [`l2_normalize`], forward and backward in one pass each.
///
/// Where a row is under the floor, or so long that its square overflows, [`l2_normalize`] does it in
/// more passes.
pub(super) fn unit_rows(rows: &Tensor, length: f64) -> Tensor {
    let lengths = Tensor::full([rows.size()[0], 1], length, (rows.kind(), rows.device()));
    let (unit, norms) = Tensor::internal_weight_norm_interface(&rows.contiguous(), &lengths, 0);
    let (shortest, longest) = norms.detach().aminmax(None, false);
    if shortest.double_value(&[]) > NORM_FLOOR && longest.double_value(&[]).is_finite() {
        return unit;
    }
    const SAFE: f64 = 1e15;
    // The length of a long row does not count: first make it one whose square is finite.
    let excess = rows.detach().abs().amax([-1i64].as_slice(), true).clamp_min(SAFE) / SAFE;
    l2_normalize(&(rows / excess), NORM_FLOOR) * length
}
