//! Cross entropy over classes: on a linear head, and on the hypersphere.

use serde::{Deserialize, Serialize};
use tch::{Tensor, autocast, nn};

use super::{
    GradientPath, Loss, LossKind, LossTerms, Negatives, Reduction,
    chunked_head::ChunkedHead,
    cosine_head::CosineHead,
    gate::{Batch, Gate, require_scale},
    negatives::Classes,
    scores::Scores,
};
use crate::{Result, params};

/// Hyper-parameters of [`SoftmaxHead`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoftmaxHeadConfig {
    /// Whether each class has a bias. Default true (the paper's formula, the authors' code).
    pub bias: bool,
    /// Default [`Reduction::Mean`].
    pub reduction: Reduction,
    /// Default [`GradientPath::BySize`].
    pub gradient: GradientPath,
}

impl Default for SoftmaxHeadConfig {
    fn default() -> Self {
        Self { bias: true, reduction: Reduction::Mean, gradient: GradientPath::default() }
    }
}

impl SoftmaxHeadConfig {
    /// Creates the loss; `weight: [num_classes, embedding_dim]` (Glorot-uniform at first) is
    /// trainable at `path` under weight decay, `bias: [num_classes]` (zero at first) without.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for fewer than two classes;
    /// [`Error::NameTaken`](crate::Error::NameTaken).
    pub fn init(self, path: &nn::Path<'_>, num_classes: i64, embedding_dim: i64) -> Result<SoftmaxHead> {
        let gate = Gate::new(num_classes, 2, embedding_dim)?;
        let init = params::glorot_uniform(num_classes, embedding_dim);
        let decayed = path.set_group(params::DECAY_GROUP);
        let weight = params::trainable(&decayed, "weight", &[num_classes, embedding_dim], init)?;
        let bias = params::bias(path, self.bias, num_classes)?;
        Ok(SoftmaxHead { config: self, gate, weight, bias })
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
#[derive(Debug)]
pub struct SoftmaxHead {
    config: SoftmaxHeadConfig,
    gate: Gate,
    weight: Tensor,
    bias: Option<Tensor>,
}

impl SoftmaxHead {
    /// The name of its term.
    pub const NAME: &'static str = "softmax";

    /// `W·x + b`, for closed-set accuracy. `[B, D]` → `[B, C]`.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if the embeddings do not fit.
    pub fn logits(&self, embeddings: &Tensor) -> Result<Tensor> {
        Ok(self.linear(&self.gate.embeddings(embeddings, &self.weight)?))
    }

    /// `W`, `[C, D]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `b`, `[C]`, if the head has one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The hyper-parameters in force.
    pub fn config(&self) -> SoftmaxHeadConfig {
        self.config
    }

    pub(super) fn batch(&self, embeddings: &Tensor, labels: &Tensor) -> Result<Batch> {
        self.gate.batch(embeddings, labels, &self.weight)
    }

    pub(super) fn term(&self, Batch { embeddings, labels, .. }: &Batch) -> LossTerms {
        let SoftmaxHeadConfig { reduction, gradient, .. } = self.config;
        let scores = Scores::of(embeddings, &self.weight, self.bias.as_ref(), labels.shallow_clone(), gradient);
        LossTerms::single(Self::NAME, scores.cross_entropy(0.0, reduction))
    }

    pub(super) fn chunked_head(&self, Batch { embeddings, labels, .. }: &Batch) -> ChunkedHead {
        let (embeddings, labels) = (embeddings.shallow_clone(), labels.tensor.shallow_clone());
        ChunkedHead::new(embeddings, &self.weight, self.bias.as_ref(), Classes::All, labels, false)
    }

    fn linear(&self, embeddings: &Tensor) -> Tensor {
        autocast(false, || embeddings.linear(&self.weight, self.bias.as_ref()))
    }
}

impl Loss for SoftmaxHead {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        Ok(self.term(&self.batch(embeddings, labels)?))
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.batch(embeddings, labels).map(drop)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.check(embeddings, labels)
    }

    fn kind(&self) -> LossKind {
        LossKind::of(Self::NAME, &self.config)
    }

    fn variables(&self) -> Vec<(String, Tensor)> {
        let bias = self.bias.as_ref().map(|bias| ("softmax.bias".to_owned(), bias.shallow_clone()));
        std::iter::once(("softmax.weight".to_owned(), self.weight.shallow_clone())).chain(bias).collect()
    }

    fn num_classes(&self) -> Option<i64> {
        Some(self.gate.num_classes)
    }
}

/// Hyper-parameters of [`NormalizedSoftmax`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NormalizedSoftmaxConfig {
    /// `s`, the radius of the hypersphere, finite and > 0. Default 16, as for LMCL.
    pub scale: f64,
    /// Default [`Reduction::Mean`].
    pub reduction: Reduction,
    /// Default [`GradientPath::BySize`].
    pub gradient: GradientPath,
}

impl Default for NormalizedSoftmaxConfig {
    fn default() -> Self {
        Self { scale: 16.0, reduction: Reduction::Mean, gradient: GradientPath::default() }
    }
}

impl NormalizedSoftmaxConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) unless `scale` is finite and positive.
    pub fn validate(&self) -> Result<()> {
        require_scale(self.scale)
    }

    /// Creates the loss; its prototypes `weight: [num_classes, embedding_dim]` are trainable at
    /// `path`, in [`NO_DECAY_GROUP`](crate::params::NO_DECAY_GROUP).
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`Error::Config`](crate::Error::Config) for fewer than two
    /// classes; [`Error::NameTaken`](crate::Error::NameTaken).
    pub fn init(self, path: &nn::Path<'_>, num_classes: i64, embedding_dim: i64) -> Result<NormalizedSoftmax> {
        self.validate()?;
        let gate = Gate::new(num_classes, 2, embedding_dim)?;
        Ok(NormalizedSoftmax { config: self, head: CosineHead::init(path, gate, Negatives::default())? })
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
#[derive(Debug)]
pub struct NormalizedSoftmax {
    config: NormalizedSoftmaxConfig,
    head: CosineHead,
}

impl NormalizedSoftmax {
    /// The name of its term.
    pub const NAME: &'static str = "normalized_softmax";

    /// `s·cos θ`, for closed-set accuracy. `[B, D]` → `[B, C]`.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if the embeddings do not fit.
    pub fn logits(&self, embeddings: &Tensor) -> Result<Tensor> {
        Ok(self.head.similarity(embeddings)? * self.config.scale)
    }

    /// The class prototypes `W`, `[C, D]`, of any length.
    pub fn prototypes(&self) -> &Tensor {
        self.head.prototypes()
    }

    /// The hyper-parameters in force.
    pub fn config(&self) -> NormalizedSoftmaxConfig {
        self.config
    }

    pub(super) fn chunked_head(&self, embeddings: &Tensor, labels: &Tensor) -> Result<ChunkedHead> {
        Ok(self.head.chunked(&self.head.batch(embeddings, labels)?, self.config.scale, None))
    }
}

impl Loss for NormalizedSoftmax {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        let NormalizedSoftmaxConfig { scale, reduction, gradient } = self.config;
        let scores = self.head.scores(&self.head.batch(embeddings, labels)?, scale, None, gradient);
        Ok(LossTerms::single(Self::NAME, scores.cross_entropy(0.0, reduction)))
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.head.batch(embeddings, labels).map(drop)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.check(embeddings, labels)
    }

    fn kind(&self) -> LossKind {
        LossKind::of(Self::NAME, &self.config)
    }

    fn variables(&self) -> Vec<(String, Tensor)> {
        vec![(format!("{}.weight", Self::NAME), self.prototypes().shallow_clone())]
    }

    fn num_classes(&self) -> Option<i64> {
        Some(self.prototypes().size()[0])
    }
}
