//! Forward and backward in chunks of classes, for more classes than their logits have room.

use tch::Tensor;

use super::{
    Lmcl, LmclConfig, Loss, LossReport, LossTerms, NormalizedSoftmax, Reduction, SoftLmccl, SoftmaxHead,
    chunked_head::{Chunks, PassedHead},
    scores::Scores,
};
use crate::Result;

/// A loss that can be evaluated and differentiated in chunks of classes.
pub trait Chunked: Loss {
    /// [`forward`](Loss::forward) and `backward` in one call, exact, in bounded memory.
    ///
    /// Gradients are added to those of the head's variables chunk by chunk, and flow into the graph
    /// of the embeddings, as `backward` does; call the optimizer's `zero_grad` before,
    /// [`update`](Loss::update) and the optimizer's `step` after. Beside inputs, weights and gradients
    /// it takes [`Chunks::keep`] and a few chunks.
    ///
    /// # Errors
    /// As [`forward`](Loss::forward); [`Error::Config`](crate::Error::Config) for chunks of no class. No gradient has
    /// changed then.
    fn forward_backward(&self, embeddings: &Tensor, labels: &Tensor, chunks: Chunks) -> Result<LossReport>;
}

impl Chunked for Lmcl {
    fn forward_backward(&self, embeddings: &Tensor, labels: &Tensor, mut chunks: Chunks) -> Result<LossReport> {
        let head = self.chunked_head(&self.batch(embeddings, labels)?, true).first_pass(&mut chunks)?;
        let terms = self.term(&Scores::LogOdds(head.log_odds()));
        finish(&terms, [head], None)
    }
}

impl Chunked for NormalizedSoftmax {
    fn forward_backward(&self, embeddings: &Tensor, labels: &Tensor, mut chunks: Chunks) -> Result<LossReport> {
        let head = self.chunked_head(embeddings, labels)?.first_pass(&mut chunks)?;
        let terms = LossTerms::single(Self::NAME, log_loss(head.log_odds(), self.config().reduction));
        finish(&terms, [head], None)
    }
}

impl Chunked for SoftmaxHead {
    fn forward_backward(&self, embeddings: &Tensor, labels: &Tensor, mut chunks: Chunks) -> Result<LossReport> {
        let head = self.chunked_head(&self.batch(embeddings, labels)?).first_pass(&mut chunks)?;
        let terms = LossTerms::single(Self::NAME, log_loss(head.log_odds(), self.config().reduction));
        finish(&terms, [head], None)
    }
}

impl Chunked for SoftLmccl {
    fn forward_backward(&self, embeddings: &Tensor, labels: &Tensor, mut chunks: Chunks) -> Result<LossReport> {
        let batch = self.batch(embeddings, labels)?;
        let lmcl = self.lmcl().chunked_head(&batch, true).first_pass(&mut chunks)?;
        let lmcl_odds = lmcl.log_odds();
        let mut heads = vec![lmcl];
        let LmclConfig { reduction, bias, .. } = self.lmcl().config();
        let (softmax_odds, softmax_reduction) = match self.softmax() {
            // The shared head: the same logits, unless a bias sets them apart.
            None if !bias => (lmcl_odds.shallow_clone(), reduction),
            None => {
                let head = self.lmcl().chunked_head(&batch, false).first_pass(&mut chunks)?;
                let odds = head.log_odds();
                heads.push(head);
                (odds, reduction)
            }
            Some(own) => {
                let head = own.chunked_head(&batch).first_pass(&mut chunks)?;
                let odds = head.log_odds();
                heads.push(head);
                (odds, own.config().reduction)
            }
        };
        let softmax = LossTerms::single(SoftmaxHead::NAME, log_loss(softmax_odds, softmax_reduction));
        let center = self.center_term(&batch);
        let center_total = center.total();
        let terms =
            self.lmcl().term(&Scores::LogOdds(lmcl_odds)) + center.detached() + self.config().softmax_weight * softmax;
        finish(&terms, heads, Some(center_total))
    }
}

/// The cross entropy, without a margin.
fn log_loss(log_odds: Tensor, reduction: Reduction) -> Tensor {
    Scores::LogOdds(log_odds).cross_entropy(0.0, reduction)
}

/// From the terms, made of the log-odds of `heads`, back to every gradient.
fn finish(
    terms: &LossTerms,
    heads: impl IntoIterator<Item = PassedHead>,
    in_graph: Option<Tensor>,
) -> Result<LossReport> {
    terms.total().f_backward()?;
    let mut functional = in_graph.filter(Tensor::requires_grad);
    for head in heads {
        functional = match (functional, head.second_pass()?) {
            (Some(sum), Some(part)) => Some(sum + part),
            (sum, part) => sum.or(part),
        };
    }
    if let Some(functional) = functional {
        functional.f_backward()?;
    }
    terms.report()
}
