//! Forward and backward in chunks of classes, for more classes than their logits have room.

use tch::Tensor;

use super::{
    Lmcl, LmclConfig, Loss, LossReport, LossTerms, NormalizedSoftmax, Reduction, SoftLmccl, SoftmaxHead,
    chunked_head::{ChunkedHead, Chunks},
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
        let mut head = self.chunked_head(&self.batch(embeddings, labels)?, true);
        let log_odds = head.first_pass(&mut chunks)?;
        let terms = self.term(&Scores::LogOdds(log_odds.shallow_clone()));
        finish(&terms, [(head, log_odds)], None)
    }
}

impl Chunked for NormalizedSoftmax {
    fn forward_backward(&self, embeddings: &Tensor, labels: &Tensor, mut chunks: Chunks) -> Result<LossReport> {
        let mut head = self.chunked_head(embeddings, labels)?;
        let log_odds = head.first_pass(&mut chunks)?;
        let terms = LossTerms::single(Self::NAME, log_loss(&log_odds, self.config().reduction));
        finish(&terms, [(head, log_odds)], None)
    }
}

impl Chunked for SoftmaxHead {
    fn forward_backward(&self, embeddings: &Tensor, labels: &Tensor, mut chunks: Chunks) -> Result<LossReport> {
        let mut head = self.chunked_head(&self.batch(embeddings, labels)?);
        let log_odds = head.first_pass(&mut chunks)?;
        let terms = LossTerms::single(Self::NAME, log_loss(&log_odds, self.config().reduction));
        finish(&terms, [(head, log_odds)], None)
    }
}

impl Chunked for SoftLmccl {
    fn forward_backward(&self, embeddings: &Tensor, labels: &Tensor, mut chunks: Chunks) -> Result<LossReport> {
        let batch = self.batch(embeddings, labels)?;
        let mut lmcl = self.lmcl().chunked_head(&batch, true);
        let lmcl_odds = lmcl.first_pass(&mut chunks)?;
        let mut heads = Vec::from([(lmcl, lmcl_odds.shallow_clone())]);
        let LmclConfig { reduction, bias, .. } = self.lmcl().config();
        let (softmax_odds, softmax_reduction) = match self.softmax() {
            // The shared head: the same logits, unless a bias sets them apart.
            None if !bias => (lmcl_odds.shallow_clone(), reduction),
            None => {
                let mut head = self.lmcl().chunked_head(&batch, false);
                let odds = head.first_pass(&mut chunks)?;
                heads.push((head, odds.shallow_clone()));
                (odds, reduction)
            }
            Some(own) => {
                let mut head = own.chunked_head(&batch);
                let odds = head.first_pass(&mut chunks)?;
                heads.push((head, odds.shallow_clone()));
                (odds, own.config().reduction)
            }
        };
        let softmax = LossTerms::single(SoftmaxHead::NAME, log_loss(&softmax_odds, softmax_reduction));
        let center = self.center_term(&batch);
        let center_total = center.total();
        let terms =
            self.lmcl().term(&Scores::LogOdds(lmcl_odds)) + center.detached() + self.config().softmax_weight * softmax;
        finish(&terms, heads, Some(center_total))
    }
}

/// The cross entropy, without a margin.
fn log_loss(log_odds: &Tensor, reduction: Reduction) -> Tensor {
    Scores::LogOdds(log_odds.shallow_clone()).cross_entropy(0.0, reduction)
}

/// From the terms, made of log-odds that are leaves, back to every gradient.
fn finish(
    terms: &LossTerms,
    heads: impl IntoIterator<Item = (ChunkedHead, Tensor)>,
    in_graph: Option<Tensor>,
) -> Result<LossReport> {
    terms.total().f_backward()?;
    let mut functional = in_graph.filter(Tensor::requires_grad);
    for (mut head, log_odds) in heads {
        let pulled = head.second_pass(&log_odds.grad())?;
        if head.features.requires_grad() {
            let part = (&head.features * pulled).sum(head.features.kind());
            functional = Some(match functional {
                Some(sum) => sum + part,
                None => part,
            });
        }
    }
    if let Some(functional) = functional {
        functional.f_backward()?;
    }
    terms.report()
}
