//! Forward and backward in chunks of classes, for more classes than their logits have room.

use std::ops::{Add, Mul};

use tch::Tensor;

use super::{
    ArcFace, CenterLoss, Guarded, Lmcl, LmclConfig, Loss, LossReport, LossTerms, NormalizedSoftmax, Reduction, Scaled,
    SoftLmccl, SoftmaxHead, Sum,
    chunked_head::{Chunks, PassedHead},
    gate::require_finite,
    scores::Scores,
};
use crate::{Result, error::require_gradient};

/// A loss that can be evaluated and differentiated in chunks of classes. Sums and multiples of such losses can.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::*, tch::{Device, Kind, Tensor, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let lmcl = LmclConfig::default().init(&(vs.root() / "lmcl"), 1_000, 16)?;
/// let center = CenterLossConfig::default().init(&(vs.root() / "center"), 1_000, 16)?;
/// let loss = lmcl + 0.3 * center;
/// let embeddings = Tensor::randn([8, 16], (Kind::Float, Device::Cpu)).set_requires_grad(true);
/// let labels = Tensor::from_slice(&[0i64, 1, 2, 3, 4, 5, 6, 999]);
/// // In place of `loss.forward(..)?.total().backward()`:
/// let report = loss.forward_backward(&embeddings, &labels, Chunks { classes: 128, ..Default::default() })?;
/// let whole = loss.forward(&embeddings, &labels)?.report()?;
/// assert!((report.total - whole.total).abs() < 1e-4 * whole.total);
/// assert_eq!(loss.left.prototypes().grad().size(), [1_000, 16]);
/// # Ok(()) }
/// ```
pub trait Chunked: Loss {
    /// The first of two passes over the classes: every term. What of the logits is kept for the second goes off
    /// `chunks.keep`, which the parts of a loss share.
    ///
    /// # Errors
    /// As [`forward`](Loss::forward); [`Error::Config`](crate::Error::Config) for chunks of no class.
    fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, chunks: &mut Chunks) -> Result<FirstPass>;

    /// [`forward`](Loss::forward) and `backward` in one call, exact, in bounded memory.
    ///
    /// Gradients are added to those of the head's variables chunk by chunk, and flow into the graph
    /// of the embeddings, as `backward` does; call the optimizer's `zero_grad` before,
    /// [`update`](Loss::update) and the optimizer's `step` after. Beside inputs, weights and gradients
    /// it takes [`Chunks::keep`] and a few chunks.
    ///
    /// # Errors
    /// As [`first_pass`](Self::first_pass). No gradient has changed then.
    fn forward_backward(&self, embeddings: &Tensor, labels: &Tensor, mut chunks: Chunks) -> Result<LossReport> {
        self.first_pass(embeddings, labels, &mut chunks)?.backward()
    }
}

/// The terms of one evaluation, and what leads back from them to every gradient.
#[derive(Debug)]
#[must_use = "call `.backward()`"]
pub struct FirstPass {
    /// Made of the log-odds of `heads`, but for those of `in_graph`, which are detached.
    terms: LossTerms,
    heads: Vec<PassedHead>,
    /// The total of what is in the graph of the embeddings.
    in_graph: Option<Tensor>,
}

impl FirstPass {
    /// Of a loss without classes to go through, or with few: all of its graph is kept.
    ///
    /// # Examples
    /// A loss of your own, which then goes into sums with chunked ones:
    /// ```
    /// # use soft_lmccl::{Result, loss::{Chunked, Chunks, FirstPass, Loss, LossTerms}, tch::Tensor};
    /// # #[derive(Debug)]
    /// # struct SmallNorms;
    /// # impl Loss for SmallNorms {
    /// #     fn forward(&self, embeddings: &Tensor, _: &Tensor) -> Result<LossTerms> {
    /// #         Ok(LossTerms::single("norms", embeddings.square().mean(embeddings.kind())))
    /// #     }
    /// #     fn check(&self, _: &Tensor, _: &Tensor) -> Result<()> { Ok(()) }
    /// #     fn update(&mut self, _: &Tensor, _: &Tensor) -> Result<()> { Ok(()) }
    /// # }
    /// impl Chunked for SmallNorms {
    ///     fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, _: &mut Chunks) -> Result<FirstPass> {
    ///         Ok(FirstPass::whole(self.forward(embeddings, labels)?))
    ///     }
    /// }
    /// # let x = Tensor::from_slice2(&[[3f32, 1.0]]).set_requires_grad(true);
    /// # let report = SmallNorms.forward_backward(&x, &Tensor::from_slice(&[0i64]), Chunks::default())?;
    /// # assert_eq!((report.total, x.grad().double_value(&[0, 0])), (5.0, 3.0));
    /// # Ok::<(), soft_lmccl::Error>(())
    /// ```
    pub fn whole(terms: LossTerms) -> Self {
        let in_graph = Some(terms.total());
        Self { terms: terms.detached(), heads: Vec::new(), in_graph }
    }

    fn of(terms: LossTerms, heads: impl IntoIterator<Item = PassedHead>) -> Self {
        Self { terms, heads: heads.into_iter().collect(), in_graph: None }
    }

    /// Goes through the classes again and adds to every gradient.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) where nothing takes a gradient.
    pub fn backward(self) -> Result<LossReport> {
        let total = self.terms.total();
        let by_heads = total.requires_grad() && self.heads.iter().any(PassedHead::takes_gradient);
        let mut functional = self.in_graph.filter(Tensor::requires_grad);
        require_gradient(by_heads || functional.is_some())?;
        if total.requires_grad() {
            total.f_backward()?;
        }
        for head in self.heads {
            functional = sum(functional, head.second_pass()?);
        }
        if let Some(functional) = functional {
            functional.f_backward()?;
        }
        self.terms.report()
    }
}

fn sum(left: Option<Tensor>, right: Option<Tensor>) -> Option<Tensor> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (left, right) => left.or(right),
    }
}

impl Add for FirstPass {
    type Output = Self;

    fn add(self, right: Self) -> Self {
        let heads = self.heads.into_iter().chain(right.heads).collect();
        Self { terms: self.terms + right.terms, heads, in_graph: sum(self.in_graph, right.in_graph) }
    }
}

impl Mul<FirstPass> for f64 {
    type Output = FirstPass;

    fn mul(self, FirstPass { terms, heads, in_graph }: FirstPass) -> FirstPass {
        FirstPass { terms: self * terms, heads, in_graph: in_graph.map(|total| total * self) }
    }
}

impl Chunked for Lmcl {
    fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, chunks: &mut Chunks) -> Result<FirstPass> {
        let head = self.chunked_head(&self.batch(embeddings, labels)?, true).first_pass(chunks)?;
        Ok(FirstPass::of(self.term(&Scores::LogOdds(head.log_odds())), [head]))
    }
}

impl Chunked for ArcFace {
    fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, chunks: &mut Chunks) -> Result<FirstPass> {
        let head = self.chunked_head(embeddings, labels)?.first_pass(chunks)?;
        let log_odds = head.log_odds_with(|own| self.with_margin(own));
        Ok(FirstPass::of(LossTerms::single(Self::NAME, log_loss(log_odds, self.config().reduction)), [head]))
    }
}

impl Chunked for NormalizedSoftmax {
    fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, chunks: &mut Chunks) -> Result<FirstPass> {
        let head = self.chunked_head(embeddings, labels)?.first_pass(chunks)?;
        let terms = LossTerms::single(Self::NAME, log_loss(head.log_odds(), self.config().reduction));
        Ok(FirstPass::of(terms, [head]))
    }
}

impl Chunked for SoftmaxHead {
    fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, chunks: &mut Chunks) -> Result<FirstPass> {
        let head = self.chunked_head(&self.batch(embeddings, labels)?).first_pass(chunks)?;
        let terms = LossTerms::single(Self::NAME, log_loss(head.log_odds(), self.config().reduction));
        Ok(FirstPass::of(terms, [head]))
    }
}

/// As a whole: centers are gathered, so that time and memory do not depend on the number of classes.
impl Chunked for CenterLoss {
    fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, _: &mut Chunks) -> Result<FirstPass> {
        Ok(FirstPass::whole(self.forward(embeddings, labels)?))
    }
}

impl Chunked for SoftLmccl {
    fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, chunks: &mut Chunks) -> Result<FirstPass> {
        let batch = self.batch(embeddings, labels)?;
        let lmcl = self.lmcl().chunked_head(&batch, true).first_pass(chunks)?;
        let lmcl_odds = lmcl.log_odds();
        let LmclConfig { reduction, bias, .. } = self.lmcl().config();
        let (softmax_odds, softmax_reduction, softmax_head) = match self.softmax() {
            // The shared head: the same logits, unless a bias sets them apart.
            None if !bias => (lmcl_odds.shallow_clone(), reduction, None),
            None => {
                let head = self.lmcl().chunked_head(&batch, false).first_pass(chunks)?;
                (head.log_odds(), reduction, Some(head))
            }
            Some(own) => {
                let head = own.chunked_head(&batch).first_pass(chunks)?;
                (head.log_odds(), own.config().reduction, Some(head))
            }
        };
        let softmax = LossTerms::single(SoftmaxHead::NAME, log_loss(softmax_odds, softmax_reduction));
        Ok(FirstPass::of(self.lmcl().term(&Scores::LogOdds(lmcl_odds)), [lmcl])
            + FirstPass::whole(self.center_term(&batch))
            + self.config().softmax_weight * FirstPass::of(softmax, softmax_head))
    }
}

impl<L: Chunked> Chunked for Scaled<L> {
    fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, chunks: &mut Chunks) -> Result<FirstPass> {
        self.require_finite()?;
        Ok(self.weight * self.inner.first_pass(embeddings, labels, chunks)?)
    }
}

impl<A: Chunked, B: Chunked> Chunked for Sum<A, B> {
    fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, chunks: &mut Chunks) -> Result<FirstPass> {
        let left = self.left.first_pass(embeddings, labels, chunks)?;
        Ok(left + self.right.first_pass(embeddings, labels, chunks)?)
    }
}

impl<L: Chunked> Chunked for Guarded<L> {
    fn first_pass(&self, embeddings: &Tensor, labels: &Tensor, chunks: &mut Chunks) -> Result<FirstPass> {
        require_finite(embeddings)?;
        self.inner.first_pass(embeddings, labels, chunks)
    }
}

/// The cross entropy, without a margin.
fn log_loss(log_odds: Tensor, reduction: Reduction) -> Tensor {
    Scores::LogOdds(log_odds).cross_entropy(0.0, reduction)
}
