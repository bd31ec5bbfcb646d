//! Cross entropy over classes: on a linear head, and on the hypersphere.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::{
    Chunks, Loss, LossKind, LossTerms, Negatives, Reduction, Targets,
    gate::CheckedBatch,
    head::{Head, HeadConfig},
};
use crate::{
    Result,
    distributed::{Classes, Shard},
};

/// Hyper-parameters of [`SoftmaxHead`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoftmaxHeadConfig {
    /// Whether each class has a bias. Default true (the paper's formula, the authors' code).
    pub bias: bool,
    /// Default [`Reduction::Mean`].
    pub reduction: Reduction,
    /// Which of the classes absent from the batch take part. Default: all of them.
    pub negatives: Negatives,
    /// Smoothing, and labels to ignore. Default: neither.
    pub targets: Targets,
    /// How much of the logits is held at a time.
    pub chunks: Chunks,
}

impl Default for SoftmaxHeadConfig {
    fn default() -> Self {
        Self {
            bias: true,
            reduction: Reduction::Mean,
            negatives: Negatives::default(),
            targets: Targets::default(),
            chunks: Chunks::default(),
        }
    }
}

impl SoftmaxHeadConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a share of negatives, a smoothing or chunks out of range.
    pub fn validate(&self) -> Result<()> {
        self.head().validate()
    }

    fn head(&self) -> HeadConfig {
        let Self { bias, reduction, negatives, targets, chunks, .. } = *self;
        HeadConfig { scale: None, centers: 1, bias, reduction, negatives, targets, chunks }
    }

    /// Creates the loss; `weight: [num_classes, embedding_dim]` (Glorot-uniform at first) is
    /// trainable at `path` under weight decay, `bias: [num_classes]` (zero at first) without.
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`Error::Config`](crate::Error::Config) for fewer than two classes;
    /// [`Error::NameTaken`](crate::Error::NameTaken).
    pub fn init(self, path: &nn::Path<'_>, num_classes: impl Into<Classes>, embedding_dim: i64) -> Result<SoftmaxHead> {
        Ok(SoftmaxHead { config: self, head: self.head().init(path, num_classes, embedding_dim)? })
    }
}

/// Softmax cross entropy on a linear head: the classic loss, and the "Soft" in Soft LMCCL.
///
/// # Formula
/// ```text
/// L = − 1/N Σᵢ log softmax(W·xᵢ + b)[yᵢ]
/// ```
/// on the raw embedding: lengths count here, unlike in the cosine losses.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{Loss, SoftmaxHeadConfig}, tch::{Device, Kind, Tensor, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let loss = SoftmaxHeadConfig::default().init(&vs.root(), 5, 3)?;
/// let terms = loss.forward(&Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)), &Tensor::from_slice(&[4i64, 0]))?;
/// assert!((terms.report()?.total - 5f64.ln()).abs() < 1e-6); // every class alike
/// # Ok(()) }
/// ```
///
/// # See also
/// [`NormalizedSoftmax`], to which lengths do not count; [`SoftLmccl`](super::SoftLmccl), of which it is a term.
#[doc(alias = "CrossEntropyLoss")]
#[derive(Debug)]
pub struct SoftmaxHead {
    config: SoftmaxHeadConfig,
    head: Head,
}

impl SoftmaxHead {
    /// The name of its term.
    pub const NAME: &'static str = "softmax";

    /// `W·x + b`, for closed-set accuracy. `[B, D]` → `[B, C]`.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if the embeddings do not fit.
    pub fn logits(&self, embeddings: &Tensor) -> Result<Tensor> {
        self.head.logits(embeddings)
    }

    /// `W`, `[C, D]`.
    pub fn weight(&self) -> &Tensor {
        &self.head.weight
    }

    /// `b`, `[C]`, if the head has one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.head.bias.as_ref()
    }

    /// The hyper-parameters in force.
    pub fn config(&self) -> SoftmaxHeadConfig {
        self.config
    }

    /// Gives every class a weight, finite and > 0, as [`Targets`] says; a buffer at `path`, as a rule that of `init`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) unless there is one for each class;
    /// [`Error::NameTaken`](crate::Error::NameTaken).
    pub fn with_class_weights(mut self, path: &nn::Path<'_>, weights: &[f64]) -> Result<Self> {
        self.head.set_class_weights(path, weights)?;
        Ok(self)
    }

    pub(super) fn set_class_weights(&mut self, path: &nn::Path<'_>, weights: &[f64]) -> Result<()> {
        self.head.set_class_weights(path, weights)
    }

    /// Of a checked batch. `heads` of the loss share the room for logits.
    pub(super) fn term(&self, batch: &CheckedBatch, heads: usize) -> Result<LossTerms> {
        let scores = self.head.scores(batch, heads)?;
        Ok(LossTerms::single(Self::NAME, self.head.cross_entropy(&scores, Tensor::shallow_clone)))
    }

    /// Draws other negatives from now on, if it draws any.
    pub(super) fn advance(&mut self) {
        self.head.advance();
    }
}

impl Loss for SoftmaxHead {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        self.term(&self.head.batch(embeddings, labels)?, 1)
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.head.batch(embeddings, labels).map(drop)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.check(embeddings, labels)?;
        self.head.advance();
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

/// Hyper-parameters of [`NormalizedSoftmax`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NormalizedSoftmaxConfig {
    /// `s`, the radius of the hypersphere, finite and > 0. Default 16, as for LMCL.
    pub scale: f64,
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

impl Default for NormalizedSoftmaxConfig {
    fn default() -> Self {
        Self {
            scale: 16.0,
            subcenters: 1,
            reduction: Reduction::Mean,
            negatives: Negatives::default(),
            targets: Targets::default(),
            chunks: Chunks::default(),
        }
    }
}

impl NormalizedSoftmaxConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) unless `scale` is finite and positive.
    pub fn validate(&self) -> Result<()> {
        self.head().validate()
    }

    fn head(&self) -> HeadConfig {
        let Self { scale, subcenters, reduction, negatives, targets, chunks, .. } = *self;
        HeadConfig { scale: Some(scale), centers: subcenters, bias: false, reduction, negatives, targets, chunks }
    }

    /// Creates the loss; its prototypes `weight: [num_classes, embedding_dim]` are trainable at
    /// `path`, in [`NO_DECAY_GROUP`](crate::params::NO_DECAY_GROUP).
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`Error::Config`](crate::Error::Config) for fewer than two
    /// classes; [`Error::NameTaken`](crate::Error::NameTaken).
    pub fn init(
        self,
        path: &nn::Path<'_>,
        num_classes: impl Into<Classes>,
        embedding_dim: i64,
    ) -> Result<NormalizedSoftmax> {
        self.validate()?;
        Ok(NormalizedSoftmax { config: self, head: self.head().init(path, num_classes, embedding_dim)? })
    }
}

/// Softmax cross entropy of scaled cosines: the paper's second formula, LMCL without its margin.
///
/// # Formula
/// ```text
/// L = − 1/N Σᵢ log softmax(s·cos θ[i,·])[yᵢ]
/// ```
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{Loss, NormalizedSoftmaxConfig}, tch::{Device, Kind, Tensor, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let loss = NormalizedSoftmaxConfig { scale: 30.0, ..Default::default() }.init(&vs.root(), 5, 3)?;
/// let embeddings = Tensor::randn([4, 3], (Kind::Float, Device::Cpu));
/// let labels = Tensor::from_slice(&[4i64, 0, 0, 2]);
/// let once = loss.forward(&embeddings, &labels)?.report()?.total;
/// let longer = loss.forward(&(embeddings * 7.0), &labels)?.report()?.total;
/// assert!((once - longer).abs() < 1e-4 * once); // lengths do not count
/// # Ok(()) }
/// ```
///
/// # References
/// F. Wang et al., *NormFace*, ACM MM 2017, [arXiv:1704.06369](https://arxiv.org/abs/1704.06369), Eq. 7.
///
/// # See also
/// [`Lmcl`](super::Lmcl), the same with a margin.
#[doc(alias = "NormFace")]
#[doc(alias = "NormalizedSoftmaxLoss")]
#[doc(alias = "NSL")]
#[derive(Debug)]
pub struct NormalizedSoftmax {
    config: NormalizedSoftmaxConfig,
    head: Head,
}

impl NormalizedSoftmax {
    /// The name of its term.
    pub const NAME: &'static str = "normalized_softmax";

    /// `s·cos θ`, for closed-set accuracy. `[B, D]` → `[B, C]`.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if the embeddings do not fit.
    pub fn logits(&self, embeddings: &Tensor) -> Result<Tensor> {
        self.head.logits(embeddings)
    }

    /// The class prototypes `W`, `[C, D]` (those of a class one after the other, `[C·k, D]`), of any length.
    pub fn prototypes(&self) -> &Tensor {
        &self.head.weight
    }

    /// The hyper-parameters in force.
    pub fn config(&self) -> NormalizedSoftmaxConfig {
        self.config
    }

    /// Gives every class a weight, finite and > 0, as [`Targets`] says; a buffer at `path`, as a rule that of `init`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) unless there is one for each class;
    /// [`Error::NameTaken`](crate::Error::NameTaken).
    pub fn with_class_weights(mut self, path: &nn::Path<'_>, weights: &[f64]) -> Result<Self> {
        self.head.set_class_weights(path, weights)?;
        Ok(self)
    }
}

impl Loss for NormalizedSoftmax {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        let scores = self.head.scores(&self.head.batch(embeddings, labels)?, 1)?;
        Ok(LossTerms::single(Self::NAME, self.head.cross_entropy(&scores, Tensor::shallow_clone)))
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.head.batch(embeddings, labels).map(drop)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.check(embeddings, labels)?;
        self.head.advance();
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
