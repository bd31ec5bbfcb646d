//! Large-margin cosine loss.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::{
    Chunks, Loss, LossKind, LossTerms, Negatives, Reduction, Targets,
    gate::{CheckedBatch, require_non_negative},
    head::{ClassScores, Head, HeadConfig},
};
use crate::{
    Error, Result,
    distributed::{Classes, Shard},
};

/// Hyper-parameters of [`Lmcl`]. Sizes are not here: they come from the data, at [`init`](Self::init).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LmclConfig {
    /// `s`, the radius of the hypersphere, finite and > 0. Default 16: by CosFace's bound (Eq. 6) enough for
    /// 100,000 classes at a probability of 0.98 each. On validation classes of the study, with 17 known ones, 8 did
    /// best, then 16, and 64 (CosFace and the authors' code) worst: see `docs/study.md`.
    pub scale: f64,
    /// `m`, taken off the cosine of the true class; 0 ≤ m ≤ C/(C−1). Default 0.35 (CosFace, the
    /// authors' code; CosFace saw no convergence above 0.45 on faces, the paper goes to 0.7).
    pub margin: f64,
    /// A learned bias for each class, added after scaling, as the Soft LMCCL paper prints the
    /// formula. Default false: CosFace fixes it to 0, and so does the authors' code.
    pub bias: bool,
    /// Prototypes of a class, of which the closest counts, 1 to 1000. Default 1; 3 makes it a sub-center loss (J. Deng
    /// et al., *Sub-center ArcFace*, ECCV 2020).
    pub subcenters: i64,
    /// Default [`Reduction::Mean`].
    pub reduction: Reduction,
    /// Which of the classes absent from the batch take part. Default: all of them.
    pub negatives: Negatives,
    /// Smoothing, and labels to ignore. Default: neither.
    pub targets: Targets,
    /// How much of the logits is held at a time.
    pub chunks: Chunks,
}

impl Default for LmclConfig {
    fn default() -> Self {
        Self {
            scale: 16.0,
            margin: 0.35,
            bias: false,
            subcenters: 1,
            reduction: Reduction::Mean,
            negatives: Negatives::default(),
            targets: Targets::default(),
            chunks: Chunks::default(),
        }
    }
}

impl LmclConfig {
    /// Checks the values without building anything: call it before loading an hour of data.
    ///
    /// # Errors
    /// [`Error::Config`] unless `scale` is finite and positive, `margin` finite and ≥ 0 and the share
    /// of negatives a number in 0..=1, not 0;
    /// [`init`](Self::init), which knows C, also refuses a margin above C/(C−1).
    pub fn validate(&self) -> Result<()> {
        require_non_negative("margin", self.margin)?;
        self.head().validate()
    }

    fn head(&self) -> HeadConfig {
        let Self { scale, subcenters, bias, reduction, negatives, targets, chunks, .. } = *self;
        HeadConfig { scale: Some(scale), centers: subcenters, bias, reduction, negatives, targets, chunks }
    }

    /// Creates the loss; its prototypes `weight: [num_classes, embedding_dim]` are trainable at
    /// `path`, in [`NO_DECAY_GROUP`](crate::params::NO_DECAY_GROUP), Glorot-uniform at first.
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`Error::Config`] for fewer than two classes or a margin
    /// that no arrangement of the classes can satisfy; [`Error::NameTaken`].
    pub fn init(self, path: &nn::Path<'_>, num_classes: impl Into<Classes>, embedding_dim: i64) -> Result<Lmcl> {
        self.validate()?;
        let classes = num_classes.into();
        if classes.number() > 1 {
            require_margin_within_bound(self.margin, classes.number())?;
        }
        Ok(Lmcl { config: self, head: self.head().init(path, classes, embedding_dim)? })
    }
}

/// CosFace's bound (Eq. 7): the cosine between the closest of C prototypes is at least −1/(C−1), so
/// that no embedding can be ahead of every other class by more than C/(C−1).
fn require_margin_within_bound(margin: f64, num_classes: i64) -> Result<()> {
    let classes = num_classes as f64;
    let bound = classes / (classes - 1.0);
    if margin <= bound {
        return Ok(());
    }
    Err(Error::config("margin", format!("at most C/(C-1) = {bound} for C = {num_classes} classes"), margin))
}

/// Large-margin cosine loss (CosFace).
///
/// # Formula
/// ```text
///            1        exp(s·(cos θ[i,yᵢ] − m))
/// L = −  ─── Σᵢ log ────────────────────────────────────────────
///            N        exp(s·(cos θ[i,yᵢ] − m)) + Σ_{j≠yᵢ} exp(s·cos θ[i,j])
/// ```
/// with `cos θ[i,j] = x̂ᵢ·ŵⱼ`, both L2-normalized. With [`bias`](LmclConfig::bias), `bⱼ` is added to
/// every exponent. At `m = 0` without bias it is the [`NormalizedSoftmax`](super::NormalizedSoftmax).
///
/// # Gradient
/// `∂L/∂cos θ[i,y] = −s(1 − p_y)/N` and `∂L/∂cos θ[i,j] = s·p_j/N`. Orthogonal to the embedding
/// (`x·∂L/∂x = 0`: only its direction matters) and `O(1/‖x‖)`, finite at `x = 0`.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{LmclConfig, Loss}, tch::{Device, Kind, Tensor, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let lmcl = LmclConfig { margin: 0.4, ..Default::default() }.init(&(vs.root() / "lmcl"), 17, 512)?;
/// let embeddings = Tensor::randn([8, 512], (Kind::Float, Device::Cpu));
/// let labels = Tensor::from_slice(&[0i64, 1, 2, 3, 4, 5, 6, 7]);
/// let terms = lmcl.forward(&embeddings, &labels)?;
/// terms.total().backward();
/// // An untrained head is behind by the margin: about ln(1 + 16·e^(16·0.4)) = 9.2.
/// assert!((terms.report()?.total - 9.2).abs() < 2.0);
/// # Ok(()) }
/// ```
///
/// # References
/// H. Wang et al., *CosFace: Large Margin Cosine Loss for Deep Face Recognition*, CVPR 2018,
/// [arXiv:1801.09414](https://arxiv.org/abs/1801.09414), Eq. 4. Sibling: pytorch-metric-learning's
/// `CosFaceLoss`, which stores the prototypes as `[D, C]`.
///
/// # See also
/// [`SoftLmccl`](super::SoftLmccl), of which it is a term; [`ArcFace`](super::ArcFace) with its margin on the angle;
/// [`CenterLoss`](super::CenterLoss), which draws embeddings together.
#[doc(alias = "CosFace")]
#[doc(alias = "AM-Softmax")]
#[doc(alias = "AMSoftmax")]
#[doc(alias = "LargeMarginCosineLoss")]
#[derive(Debug)]
pub struct Lmcl {
    config: LmclConfig,
    head: Head,
}

impl Lmcl {
    /// The name of its term.
    pub const NAME: &'static str = "lmcl";

    /// Margin-free scaled logits `s·cos θ` (with the bias, if there is one), for closed-set accuracy.
    ///
    /// # Shapes
    /// `[B, D]` → `[B, C]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the embeddings do not fit.
    pub fn logits(&self, embeddings: &Tensor) -> Result<Tensor> {
        self.head.logits(embeddings)
    }

    /// The class prototypes `W`, `[C, D]` (those of a class one after the other, `[C·k, D]`), of any length.
    pub fn prototypes(&self) -> &Tensor {
        &self.head.weight
    }

    /// The hyper-parameters in force.
    pub fn config(&self) -> LmclConfig {
        self.config
    }

    /// Changes the margin, for a warm-up.
    ///
    /// # Errors
    /// [`Error::Config`] as in [`LmclConfig::init`]; the margin stays as it was.
    pub fn set_margin(&mut self, margin: f64) -> Result<()> {
        require_non_negative("margin", margin)?;
        require_margin_within_bound(margin, self.head.num_classes())?;
        self.config.margin = margin;
        Ok(())
    }

    /// Gives every class a weight, finite and > 0, as [`Targets`] says; a buffer at `path`, as a rule that of `init`.
    ///
    /// # Errors
    /// [`Error::Config`] unless there is one for each class; [`Error::NameTaken`].
    pub fn with_class_weights(mut self, path: &nn::Path<'_>, weights: &[f64]) -> Result<Self> {
        self.head.set_class_weights(path, weights)?;
        Ok(self)
    }

    pub(super) fn set_class_weights(&mut self, path: &nn::Path<'_>, weights: &[f64]) -> Result<()> {
        self.head.set_class_weights(path, weights)
    }

    pub(super) fn batch(&self, embeddings: &Tensor, labels: &Tensor) -> Result<CheckedBatch> {
        self.head.batch(embeddings, labels)
    }

    /// What the term, and a softmax on the same prototypes, are made of.
    pub(super) fn scores(&self, batch: &CheckedBatch, heads: usize) -> Result<ClassScores> {
        self.head.scores(batch, heads)
    }

    pub(super) fn term(&self, scores: &ClassScores) -> LossTerms {
        let LmclConfig { scale, margin, .. } = self.config;
        LossTerms::single(Self::NAME, self.head.cross_entropy(scores, |own| own - scale * margin))
    }

    /// Cross entropy of `s·cos θ`, without margin and bias.
    pub(super) fn softmax(&self, scores: &ClassScores, batch: &CheckedBatch) -> Result<Tensor> {
        // With a bias the two have no logits in common.
        let unbiased = self.config.bias.then(|| self.head.scores_with(batch, 2, None)).transpose()?;
        Ok(self.head.cross_entropy(unbiased.as_ref().unwrap_or(scores), Tensor::shallow_clone))
    }

    /// Draws other negatives from now on, if it draws any.
    pub(super) fn advance(&mut self) {
        self.head.advance();
    }
}

impl Loss for Lmcl {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        Ok(self.term(&self.scores(&self.batch(embeddings, labels)?, 1)?))
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.batch(embeddings, labels).map(drop)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.check(embeddings, labels)?;
        self.advance();
        Ok(())
    }

    fn kind(&self) -> LossKind {
        LossKind::of(Self::NAME, &self.config)
    }

    fn variables(&self) -> Vec<(String, Tensor)> {
        self.head.variables(Self::NAME)
    }

    fn num_classes(&self) -> Option<i64> {
        Some(self.head.num_classes())
    }

    fn shards(&self) -> Vec<Shard> {
        self.head.shards()
    }
}
