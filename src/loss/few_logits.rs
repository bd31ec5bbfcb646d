//! The cross entropies of few logits, in closed form on the host.
//!
//! A batch against a dozen classes is some thousand logits: libtorch's calls, forward and backward, take longer than
//! their arithmetic. Here they are read once, and every cross entropy is one linear functional of them. With ℓ and
//! `q` as in [`log_odds`](super::log_odds) and a margin `m` taken off the true class,
//!
//! ```text
//! L = −ln σ(ℓ − m) = ln(1 + exp x),  x = m − ℓ        ∂L/∂z_j = σ(x)·q_j,  ∂L/∂z_y = −σ(x)
//! ```

use num_traits::{AsPrimitive, Float};
use tch::{Kind, Tensor, kind::Element, no_grad_guard};

use super::Reduction;

/// Logits on the CPU and what their cross entropies have in common.
#[derive(Debug)]
pub(super) enum FewLogits {
    Single(Odds<f32>),
    Double(Odds<f64>),
}

impl FewLogits {
    /// Of the logits `features · rowsᵀ + bias`, a row for each class: what is done to every sample is done to rows.
    ///
    /// # Shapes
    /// `[B, D]`, `[K, D]`, `[K]`, `[B]`.
    pub(super) fn of(features: &Tensor, rows: &Tensor, bias: Option<&Tensor>, labels: &[i64]) -> Self {
        let logits = &match bias {
            Some(bias) => bias.unsqueeze(1).addmm(rows, &features.tr()),
            None => rows.mm(&features.tr()),
        };
        match logits.kind() {
            Kind::Double => Self::Double(Odds::of(logits, labels)),
            _ => Self::Single(Odds::of(logits, labels)),
        }
    }

    pub(super) fn cross_entropy(&self, margin: f64, reduction: Reduction) -> Tensor {
        match self {
            Self::Single(odds) => odds.cross_entropy(margin, reduction),
            Self::Double(odds) => odds.cross_entropy(margin, reduction),
        }
    }
}

#[derive(Debug)]
pub(super) struct Odds<T> {
    /// In the graph of the embeddings, `[K·B]`.
    logits: Tensor,
    /// ℓ of each sample.
    log_odds: Vec<T>,
    /// `−others · ∂ℓ/∂z`, as `logits`: `exp(z_j − max)`, and `−others` at the true class.
    slope: Vec<T>,
    /// `Σ_{j≠y} exp(z_j − max)` of each sample.
    others: Vec<T>,
}

impl<T> Odds<T>
where
    T: Float + Element + Into<f64> + 'static,
    f64: AsPrimitive<T>,
{
    fn of(logits: &Tensor, labels: &[i64]) -> Self {
        let batch = labels.len();
        let logits = logits.flatten(0, -1);
        let mut slope = vec![T::zero(); logits.numel()];
        logits.copy_data(&mut slope, logits.numel());
        let true_class = |(sample, &label): (usize, &i64)| label as usize * batch + sample;
        let own: Vec<_> = labels.iter().enumerate().map(true_class).collect();
        let mut log_odds: Vec<_> = own.iter().map(|&at| std::mem::replace(&mut slope[at], T::neg_infinity())).collect();
        let mut top = vec![T::neg_infinity(); batch];
        for row in slope.chunks_exact(batch) {
            for (top, &logit) in top.iter_mut().zip(row) {
                *top = top.max(logit);
            }
        }
        let mut others = vec![T::zero(); batch];
        for row in slope.chunks_exact_mut(batch) {
            for ((power, &top), others) in row.iter_mut().zip(&top).zip(&mut others) {
                *power = (*power - top).exp();
                *others = *others + *power;
            }
        }
        for (((at, log_odds), &top), &others) in own.into_iter().zip(&mut log_odds).zip(&top).zip(&others) {
            slope[at] = -others;
            *log_odds = *log_odds - top - others.ln();
        }
        Self { logits, log_odds, slope, others }
    }

    fn cross_entropy(&self, margin: f64, reduction: Reduction) -> Tensor {
        let batch = self.log_odds.len();
        let weight = match reduction {
            Reduction::Mean => 1.0 / batch as f64,
            Reduction::Sum => 1.0,
        };
        let (margin, share): (T, T) = (margin.as_(), weight.as_());
        let mut total = 0.0;
        // σ(x)/others: by its slope, the gradient by the logits.
        let pull: Vec<_> = self
            .log_odds
            .iter()
            .zip(&self.others)
            .map(|(&log_odds, &others)| {
                let behind = margin - log_odds;
                let small = (-behind.abs()).exp();
                total += (behind.max(T::zero()) + small.ln_1p()).into();
                let larger = if behind < T::zero() { small } else { T::one() };
                larger / (T::one() + small) / others * share
            })
            .collect();
        let value = total * weight;
        if !self.logits.requires_grad() {
            return Tensor::from(value).to_kind(self.logits.kind());
        }
        let mut gradient = self.slope.clone();
        for row in gradient.chunks_exact_mut(batch) {
            for (gradient, &pull) in row.iter_mut().zip(&pull) {
                *gradient = *gradient * pull;
            }
        }
        let functional = self.logits.dot(&Tensor::from_slice(&gradient));
        // The functional has the slope of the cross entropy but not its value: that is written over it.
        let _frozen = no_grad_guard();
        let _ = functional.detach().fill_(value);
        functional
    }
}
