//! Large-margin cosine loss.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::{
    GradientPath, Loss, LossKind, LossTerms, Negatives, Reduction,
    chunked_head::ChunkedHead,
    cosine_head::CosineHead,
    gate::{Batch, Gate, require_non_negative, require_scale},
    scores::Scores,
};
use crate::{Error, Result, params};

/// Hyper-parameters of [`Lmcl`]. Sizes are not here: they come from the data, at [`init`](Self::init).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LmclConfig {
    /// `s`, the radius of the hypersphere, finite and > 0. Default 16: by CosFace's bound (Eq. 6) enough for
    /// 100,000 classes at a probability of 0.98 each. On validation classes of the study, with 17 known ones, 8 did
    /// best, then 16, and 64 (CosFace and the authors' code) worst: see `RESULTS.md`.
    pub scale: f64,
    /// `m`, taken off the cosine of the true class; 0 ≤ m ≤ C/(C−1). Default 0.35 (CosFace, the
    /// authors' code; CosFace saw no convergence above 0.45 on faces, the paper goes to 0.7).
    pub margin: f64,
    /// A learned bias for each class, added after scaling, as the Soft LMCCL paper prints the
    /// formula. Default false: CosFace fixes it to 0, and so does the authors' code.
    pub bias: bool,
    /// Default [`Reduction::Mean`].
    pub reduction: Reduction,
    /// Which of the classes absent from the batch take part. Default: all of them.
    pub negatives: Negatives,
    /// Default [`GradientPath::BySize`].
    pub gradient: GradientPath,
}

impl Default for LmclConfig {
    fn default() -> Self {
        Self {
            scale: 16.0,
            margin: 0.35,
            bias: false,
            reduction: Reduction::Mean,
            negatives: Negatives::default(),
            gradient: GradientPath::default(),
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
        require_scale(self.scale)?;
        require_non_negative("margin", self.margin)?;
        self.negatives.validate()
    }

    /// Creates the loss; its prototypes `weight: [num_classes, embedding_dim]` are trainable at
    /// `path`, in [`NO_DECAY_GROUP`](crate::params::NO_DECAY_GROUP), Glorot-uniform at first.
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`Error::Config`] for fewer than two classes or a margin
    /// that no arrangement of the classes can satisfy; [`Error::NameTaken`].
    pub fn init(self, path: &nn::Path<'_>, num_classes: i64, embedding_dim: i64) -> Result<Lmcl> {
        self.validate()?;
        let gate = Gate::new(num_classes, 2, embedding_dim)?;
        require_margin_within_bound(self.margin, num_classes)?;
        let head = CosineHead::init(path, gate, self.negatives)?;
        let bias = params::bias(path, self.bias, num_classes)?;
        Ok(Lmcl { config: self, head, bias })
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
    Err(Error::Config {
        field: "margin",
        expected: format!("at most C/(C-1) = {bound} for C = {num_classes} classes"),
        got: margin.to_string(),
    })
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
#[derive(Debug)]
pub struct Lmcl {
    config: LmclConfig,
    head: CosineHead,
    bias: Option<Tensor>,
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
        let logits = self.head.similarity(embeddings)? * self.config.scale;
        Ok(match &self.bias {
            Some(bias) => logits + bias,
            None => logits,
        })
    }

    /// The class prototypes `W`, `[C, D]`, of any length.
    pub fn prototypes(&self) -> &Tensor {
        self.head.prototypes()
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

    pub(super) fn batch(&self, embeddings: &Tensor, labels: &Tensor) -> Result<Batch> {
        self.head.batch(embeddings, labels)
    }

    /// What the term, and a softmax on the same prototypes, are made of.
    pub(super) fn scores(&self, batch: &Batch) -> Scores {
        let LmclConfig { scale, gradient, .. } = self.config;
        self.head.scores(batch, scale, self.bias.as_ref(), gradient)
    }

    pub(super) fn term(&self, scores: &Scores) -> LossTerms {
        let LmclConfig { scale, margin, reduction, .. } = self.config;
        LossTerms::single(Self::NAME, scores.cross_entropy(scale * margin, reduction))
    }

    /// Cross entropy of `s·cos θ`, without margin and bias.
    pub(super) fn softmax(&self, scores: &Scores, batch: &Batch) -> Tensor {
        let LmclConfig { scale, reduction, gradient, .. } = self.config;
        match &self.bias {
            None => scores.cross_entropy(0.0, reduction),
            // With a bias the two have no logits in common.
            Some(_) => self.head.scores(batch, scale, None, gradient).cross_entropy(0.0, reduction),
        }
    }

    /// The head in chunks, with its bias if it has one and that is wanted.
    pub(super) fn chunked_head(&self, batch: &Batch, biased: bool) -> ChunkedHead {
        let bias = self.bias.as_ref().filter(|_| biased);
        self.head.chunked(batch, self.config.scale, bias)
    }

    /// Draws other negatives from now on, if it draws any.
    pub(super) fn advance(&mut self) {
        self.head.advance();
    }
}

impl Loss for Lmcl {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        Ok(self.term(&self.scores(&self.batch(embeddings, labels)?)))
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
        let bias = self.bias.as_ref().map(|bias| ("lmcl.bias".to_owned(), bias.shallow_clone()));
        std::iter::once(("lmcl.weight".to_owned(), self.prototypes().shallow_clone())).chain(bias).collect()
    }

    fn num_classes(&self) -> Option<i64> {
        Some(self.head.num_classes())
    }
}
