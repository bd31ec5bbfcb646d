//! Additive angular margin loss.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::{
    Chunks, Loss, LossKind, LossTerms, Negatives, Reduction, Targets,
    functional::additive_angular_margin,
    head::{Head, HeadConfig},
};
use crate::{
    Error, Result,
    distributed::{Classes, Shard},
};

/// Hyper-parameters of [`ArcFace`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArcFaceConfig {
    /// `s`, the radius of the hypersphere, finite and > 0. Default 64 (the paper).
    pub scale: f64,
    /// `m` in radians, added to the angle of the true class; 0 ≤ m ≤ π/2. Default 0.5 (the paper).
    pub margin: f64,
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

impl Default for ArcFaceConfig {
    fn default() -> Self {
        Self {
            scale: 64.0,
            margin: 0.5,
            subcenters: 1,
            reduction: Reduction::Mean,
            negatives: Negatives::default(),
            targets: Targets::default(),
            chunks: Chunks::default(),
        }
    }
}

impl ArcFaceConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`] unless `scale` is finite and positive and `margin` lies in 0..=π/2.
    pub fn validate(&self) -> Result<()> {
        self.head().validate()?;
        // From 2.33 on the continuation would lie above the cosine, and the largest angles be rewarded.
        if (0.0..=std::f64::consts::FRAC_PI_2).contains(&self.margin) {
            return Ok(());
        }
        Err(Error::config("margin", "an angle in 0..=pi/2 radians", self.margin))
    }

    fn head(&self) -> HeadConfig {
        let Self { scale, subcenters, reduction, negatives, targets, chunks, .. } = *self;
        HeadConfig { scale: Some(scale), centers: subcenters, bias: false, reduction, negatives, targets, chunks }
    }

    /// Creates the loss; its prototypes `weight: [num_classes, embedding_dim]` are trainable at
    /// `path`, in [`NO_DECAY_GROUP`](crate::params::NO_DECAY_GROUP), Glorot-uniform at first.
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`Error::Config`] for fewer than two classes;
    /// [`Error::NameTaken`].
    pub fn init(self, path: &nn::Path<'_>, num_classes: impl Into<Classes>, embedding_dim: i64) -> Result<ArcFace> {
        self.validate()?;
        Ok(ArcFace { config: self, head: self.head().init(path, num_classes, embedding_dim)? })
    }
}

/// Additive angular margin loss (ArcFace).
///
/// # Formula
/// ```text
/// L = − 1/N Σᵢ log softmax(s·cos(θ[i,j] + m·1[j = yᵢ]))[yᵢ]
/// ```
/// Beyond `θ + m > π`, where the cosine would rise again, the true class' logit continues as
/// `s·(cos θ − m·sin m)`.
///
/// # Gradient
/// Orthogonal to the embedding. The derivative of `cos(θ + m)` by `cos θ` grows without bound at
/// `θ = 0` and `θ = π`; within 1e-6 rad of those its singular part is cut off, in single precision wherever the
/// cosine rounds to 1 or −1: within 2.4e-4 rad.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{ArcFaceConfig, Loss}, tch::{Device, Tensor, nn, no_grad_guard}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let loss = ArcFaceConfig { scale: 1.0, margin: 0.5, ..Default::default() }.init(&vs.root(), 2, 2)?;
/// {
///     let _frozen = no_grad_guard();
///     loss.prototypes().shallow_clone().copy_(&Tensor::from_slice2(&[[1.0f32, 0.0], [0.0, 1.0]]));
/// }
/// // θ = 90° to the true class, 0° to the other.
/// let terms = loss.forward(&Tensor::from_slice2(&[[0.0f32, 2.0]]), &Tensor::from_slice(&[0i64]))?;
/// let logits = [(std::f64::consts::FRAC_PI_2 + 0.5).cos(), 1.0];
/// let expected = (logits[0].exp() + logits[1].exp()).ln() - logits[0];
/// assert!((terms.report()?.total - expected).abs() < 1e-6);
/// # Ok(()) }
/// ```
///
/// # References
/// J. Deng et al., *ArcFace: Additive Angular Margin Loss for Deep Face Recognition*, CVPR 2019,
/// [arXiv:1801.07698](https://arxiv.org/abs/1801.07698), Eq. 3. Sibling: pytorch-metric-learning's
/// `ArcFaceLoss`, whose margin is in degrees.
///
/// # See also
/// [`Lmcl`](super::Lmcl) with its margin on the cosine; [`CombinedMargin`](super::CombinedMargin) with both.
#[doc(alias = "SubCenterArcFace")]
#[doc(alias = "AdditiveAngularMargin")]
#[derive(Debug)]
pub struct ArcFace {
    config: ArcFaceConfig,
    head: Head,
}

impl ArcFace {
    /// The name of its term.
    pub const NAME: &'static str = "arcface";

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
    pub fn config(&self) -> ArcFaceConfig {
        self.config
    }

    /// Changes the margin, for a warm-up.
    ///
    /// # Errors
    /// [`Error::Config`] as in [`ArcFaceConfig::validate`]; the margin stays as it was.
    pub fn set_margin(&mut self, margin: f64) -> Result<()> {
        let config = ArcFaceConfig { margin, ..self.config };
        config.validate()?;
        self.config = config;
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
}

impl Loss for ArcFace {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        let ArcFaceConfig { scale, margin, .. } = self.config;
        let scores = self.head.scores(&self.head.batch(embeddings, labels)?, 1)?;
        let value = self.head.cross_entropy(&scores, |own| additive_angular_margin(&(own / scale), margin) * scale);
        Ok(LossTerms::single(Self::NAME, value))
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
