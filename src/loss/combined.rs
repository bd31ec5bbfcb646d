//! The combined margin: a factor and a summand of the angle, a summand of the cosine.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::{
    Chunks, Loss, LossKind, LossTerms, Negatives, Reduction, Targets,
    functional::combined_margin,
    gate::require_non_negative,
    head::{Head, HeadConfig},
};
use crate::{
    Error, Result,
    distributed::{Classes, Shard},
};

/// Hyper-parameters of [`CombinedMargin`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CombinedMarginConfig {
    /// `s`, the radius of the hypersphere, finite and > 0. Default 64 (the paper).
    pub scale: f64,
    /// `m₁`, times the angle of the true class; 1 to 10. Default 1 (the paper; SphereFace uses 4).
    pub factor: f64,
    /// `m₂` in radians, added to it; 0 ≤ m₂ ≤ π/2. Default 0.3 (the paper's CM2).
    pub angle: f64,
    /// `m₃`, taken off the cosine, finite and ≥ 0. Default 0.2 (the paper's CM2).
    pub cosine: f64,
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

impl Default for CombinedMarginConfig {
    fn default() -> Self {
        Self {
            scale: 64.0,
            factor: 1.0,
            angle: 0.3,
            cosine: 0.2,
            subcenters: 1,
            reduction: Reduction::Mean,
            negatives: Negatives::default(),
            targets: Targets::default(),
            chunks: Chunks::default(),
        }
    }
}

impl CombinedMarginConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`] for a value out of the range that its field names.
    pub fn validate(&self) -> Result<()> {
        if !(1.0..=10.0).contains(&self.factor) {
            return Err(Error::config("factor", "a number in 1..=10", self.factor));
        }
        if !(0.0..=std::f64::consts::FRAC_PI_2).contains(&self.angle) {
            return Err(Error::config("angle", "an angle in 0..=pi/2 radians", self.angle));
        }
        require_non_negative("cosine", self.cosine)?;
        self.head().validate()
    }

    fn head(&self) -> HeadConfig {
        let Self { scale, subcenters, reduction, negatives, targets, chunks, .. } = *self;
        HeadConfig { scale: Some(scale), centers: subcenters, bias: false, reduction, negatives, targets, chunks }
    }

    /// Creates the loss; its prototypes `weight: [num_classes, embedding_dim]` are trainable at
    /// `path`, in [`NO_DECAY_GROUP`](crate::params::NO_DECAY_GROUP), Glorot-uniform at first.
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`Error::Config`] for fewer than two classes; [`Error::NameTaken`].
    pub fn init(
        self,
        path: &nn::Path<'_>,
        num_classes: impl Into<Classes>,
        embedding_dim: i64,
    ) -> Result<CombinedMargin> {
        self.validate()?;
        Ok(CombinedMargin { config: self, head: self.head().init(path, num_classes, embedding_dim)? })
    }
}

/// Softmax on the hypersphere with the combined margin.
///
/// # Formula
/// ```text
/// L = − 1/N Σᵢ log softmax(zᵢ)[yᵢ]      z[i,j] = s·cos θ[i,j],  z[i,yᵢ] = s·(ψ(m₁·θ[i,yᵢ] + m₂) − m₃)
/// ```
/// with `ψ(φ) = (−1)ᵏ·cos φ − 2k`, `k = ⌊φ/π⌋`: the cosine up to π, falling on beyond. `(m₁, 0, 0)` is SphereFace's
/// margin, `(1, m, 0)` [`ArcFace`](super::ArcFace)'s up to `θ + m = π`, `(1, 0, m)` [`Lmcl`](super::Lmcl)'s.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{CombinedMarginConfig, Loss}, tch::{Device, Tensor, nn, no_grad_guard}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let config = CombinedMarginConfig { scale: 1.0, factor: 1.0, angle: 0.3, cosine: 0.2, ..Default::default() };
/// let loss = config.init(&vs.root(), 2, 2)?;
/// {
///     let _frozen = no_grad_guard();
///     loss.prototypes().shallow_clone().copy_(&Tensor::from_slice2(&[[1.0f32, 0.0], [0.0, 1.0]]));
/// }
/// // θ = 90° to the true class, 0° to the other.
/// let terms = loss.forward(&Tensor::from_slice2(&[[0.0f32, 2.0]]), &Tensor::from_slice(&[0i64]))?;
/// let logits = [(std::f64::consts::FRAC_PI_2 + 0.3).cos() - 0.2, 1.0];
/// let expected = (logits[0].exp() + logits[1].exp()).ln() - logits[0];
/// assert!((terms.report()?.total - expected).abs() < 1e-6);
/// # Ok(()) }
/// ```
///
/// # References
/// J. Deng et al., *ArcFace: Additive Angular Margin Loss for Deep Face Recognition*, CVPR 2019,
/// [arXiv:1801.07698](https://arxiv.org/abs/1801.07698), Eq. 4; W. Liu et al., *SphereFace*, CVPR 2017, Eq. 7.
///
/// # See also
/// [`ArcFace`](super::ArcFace) and [`Lmcl`](super::Lmcl), its special cases; [`AdaFace`](super::AdaFace), whose margin follows the
/// norm.
#[doc(alias = "SphereFace")]
#[doc(alias = "CombinedMarginLoss")]
#[derive(Debug)]
pub struct CombinedMargin {
    config: CombinedMarginConfig,
    head: Head,
}

impl CombinedMargin {
    /// The name of its term.
    pub const NAME: &'static str = "combined_margin";

    /// Margin-free scaled logits `s·cos θ`, for closed-set accuracy. `[B, D]` → `[B, C]`.
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
    pub fn config(&self) -> CombinedMarginConfig {
        self.config
    }

    /// Gives every class a weight, finite and > 0, as [`Targets`] says; a buffer at `path`, as a rule that of `init`.
    ///
    /// # Errors
    /// [`Error::Config`] unless there is one for each class; [`Error::NameTaken`].
    pub fn with_class_weights(mut self, path: &nn::Path<'_>, weights: &[f64]) -> Result<Self> {
        self.head.set_class_weights(path, weights)?;
        Ok(self)
    }
}

impl Loss for CombinedMargin {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        let CombinedMarginConfig { scale, factor, angle, cosine, .. } = self.config;
        let scores = self.head.scores(&self.head.batch(embeddings, labels)?, 1)?;
        let margin = |own: &Tensor| combined_margin(&(own / scale), [factor, angle, cosine]) * scale;
        Ok(LossTerms::single(Self::NAME, self.head.cross_entropy(&scores, margin)))
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
