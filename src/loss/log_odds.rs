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

use tch::{Tensor, no_grad_guard};

use super::functional::logits;

/// ℓ of each sample, with its gradient.
///
/// # Shapes
/// `[B, D]`, `[K, D]`, `[K]`, `[B]` → `[B]`.
pub(super) fn log_odds(features: &Tensor, rows: &Tensor, bias: Option<&Tensor>, labels: &Tensor) -> Tensor {
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
