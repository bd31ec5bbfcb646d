//! AdaFace: a margin by the norm of the embedding.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, nn, no_grad_guard};

use super::{
    Chunks, Loss, LossKind, LossTerms, Negatives, Reduction, Targets,
    functional::{adaptive_margin, norm_quality},
    gate::CheckedBatch,
    head::{Head, HeadConfig},
};
use crate::{
    Error, Result,
    distributed::{Classes, Shard},
    params,
};

/// Hyper-parameters of [`AdaFace`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaFaceConfig {
    /// `s`, the radius of the hypersphere, finite and > 0. Default 64 (the paper).
    pub scale: f64,
    /// `m` in 0..=1. Default 0.4 (the paper).
    pub margin: f64,
    /// `h`, how many deviations of the norm make the quality ±1, inverted; finite and > 0. Default 0.333 (the paper).
    pub concentration: f64,
    /// How much of a batch's mean and deviation of norms goes into the running ones, in 0..=1. Default 0.01 (the paper's
    /// momentum of 0.99).
    pub rate: f64,
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

impl Default for AdaFaceConfig {
    fn default() -> Self {
        Self {
            scale: 64.0,
            margin: 0.4,
            concentration: 0.333,
            rate: 0.01,
            subcenters: 1,
            reduction: Reduction::Mean,
            negatives: Negatives::default(),
            targets: Targets::default(),
            chunks: Chunks::default(),
        }
    }
}

impl AdaFaceConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`] for a value out of the range that its field names.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("margin", self.margin), ("rate", self.rate)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::config(field, "a number in 0..=1", value));
            }
        }
        if !(self.concentration.is_finite() && self.concentration > 0.0) {
            return Err(Error::config("concentration", "a finite number > 0", self.concentration));
        }
        self.head().validate()
    }

    fn head(&self) -> HeadConfig {
        let Self { scale, subcenters, reduction, negatives, targets, chunks, .. } = *self;
        HeadConfig { scale: Some(scale), centers: subcenters, bias: false, reduction, negatives, targets, chunks }
    }

    /// Creates the loss; its prototypes `weight: [num_classes, embedding_dim]` are trainable at `path`, in
    /// [`NO_DECAY_GROUP`](crate::params::NO_DECAY_GROUP); the running mean and deviation of norms are the buffer `norms`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`Error::Config`] for fewer than two classes; [`Error::NameTaken`].
    pub fn init(self, path: &nn::Path<'_>, num_classes: impl Into<Classes>, embedding_dim: i64) -> Result<AdaFace> {
        // Where the authors' code starts.
        const MEAN_AND_DEVIATION: [f32; 2] = [20.0, 100.0];
        self.validate()?;
        let head = self.head().init(path, num_classes, embedding_dim)?;
        let mut norms = params::buffer(path, "norms", &[2], params::at_least_single(path.kind()))?;
        norms.copy_(&Tensor::from_slice(&MEAN_AND_DEVIATION));
        Ok(AdaFace { config: self, head, norms })
    }
}

/// Quality-adaptive margin loss: hard samples of good quality count more, those beyond recognition less.
///
/// # Formula
/// ```text
/// L = − 1/N Σᵢ log softmax(zᵢ)[yᵢ]      z[i,j] = s·cos θ[i,j],  z[i,yᵢ] = s·(cos(θ[i,yᵢ] − m·ẑᵢ) − (m + m·ẑᵢ))
/// ẑᵢ = clip(h·(‖xᵢ‖ − μ)/(σ + 10⁻³), −1, 1)                      no gradient; ‖xᵢ‖ within 10⁻³..100
/// μ ← a·mean‖xᵢ‖ + (1 − a)·μ,   σ ← a·std‖xᵢ‖ + (1 − a)·σ         a = rate
/// ```
/// `forward` takes the `μ` and `σ` that this batch makes where the embeddings take a gradient, as the authors' training
/// does, and writes nothing; [`update`](Loss::update) writes the same. Without gradients, in validation, it takes them as
/// they are. Neither sees samples to ignore.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{AdaFaceConfig, LmclConfig, Loss}, tch::{Device, Tensor, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let loss = AdaFaceConfig { concentration: 1e-9, ..Default::default() }.init(&(vs.root() / "a"), 3, 2)?;
/// let lmcl = LmclConfig { scale: 64.0, margin: 0.4, ..Default::default() }.init(&(vs.root() / "b"), 3, 2)?;
/// lmcl.prototypes().detach().copy_(&loss.prototypes().detach());
/// // Where every norm is a middling one it is LMCL.
/// let (embeddings, labels) = (Tensor::from_slice2(&[[1.0f32, 2.0], [-3.0, 0.5]]), Tensor::from_slice(&[0i64, 2]));
/// let of = |loss: &dyn Loss| Ok::<_, soft_lmccl::Error>(loss.forward(&embeddings, &labels)?.report()?.total);
/// assert!((of(&loss)? - of(&lmcl)?).abs() < 1e-3);
/// # Ok(()) }
/// ```
///
/// # References
/// M. Kim et al., *AdaFace: Quality Adaptive Margin for Face Recognition*, CVPR 2022,
/// [arXiv:2204.00964](https://arxiv.org/abs/2204.00964), Eqs. 9–14.
///
/// # See also
/// [`Lmcl`](super::Lmcl), what it is at middling quality; [`ArcFace`](super::ArcFace), at low quality.
#[derive(Debug)]
pub struct AdaFace {
    config: AdaFaceConfig,
    head: Head,
    /// Running mean and deviation.
    norms: Tensor,
}

impl AdaFace {
    /// The name of its term.
    pub const NAME: &'static str = "adaface";

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

    /// The running mean and standard deviation of the embeddings' norms, `[2]`.
    pub fn norms(&self) -> Tensor {
        self.norms.detach().copy()
    }

    /// The hyper-parameters in force.
    pub fn config(&self) -> AdaFaceConfig {
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

    fn norms_of(&self, CheckedBatch { embeddings, .. }: &CheckedBatch) -> Tensor {
        let norms = embeddings.detach().norm_scalaropt_dim(2, [-1i64].as_slice(), false);
        norms.clamp(1e-3, 100.0).to_kind(self.norms.kind())
    }

    /// Mean and deviation after a batch with these norms; one norm alone has no deviation.
    fn after(&self, norms: &Tensor) -> Tensor {
        let deviation = match norms.size()[0] {
            1 => self.norms.get(1),
            _ => norms.std(true),
        };
        let batch = Tensor::stack(&[norms.mean(None::<Kind>), deviation], 0);
        batch * self.config.rate + &self.norms * (1.0 - self.config.rate)
    }
}

impl Loss for AdaFace {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        let AdaFaceConfig { scale, margin, concentration, .. } = self.config;
        let batch = self.head.batch(embeddings, labels)?;
        let norms = self.norms_of(&batch);
        // A number made of the embeddings takes a gradient if they do and gradients are on.
        let training = (embeddings.get(0).get(0) * 1.0).requires_grad();
        let running = if training { self.after(&norms) } else { self.norms.shallow_clone() };
        let quality = norm_quality(&norms, &running.get(0), &running.get(1), concentration);
        let scores = self.head.scores(&batch, 1)?;
        let quality = quality.to_kind(self.head.weight.kind());
        let margin = |own: &Tensor| adaptive_margin(&(own / scale), &quality, margin) * scale;
        Ok(LossTerms::single(Self::NAME, self.head.cross_entropy(&scores, margin)))
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.head.batch(embeddings, labels).map(drop)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        let batch = self.head.batch(embeddings, labels)?;
        let _frozen = no_grad_guard();
        let after = self.after(&self.norms_of(&batch));
        self.norms.copy_(&after);
        self.head.advance();
        Ok(())
    }

    fn kind(&self) -> LossKind {
        LossKind::of(Self::NAME, &self.config)
    }

    fn variables(&self) -> Vec<(String, Tensor)> {
        let mut variables = self.head.variables(Self::NAME);
        variables.push((format!("{}.norms", Self::NAME), self.norms.shallow_clone()));
        variables
    }

    fn num_classes(&self) -> Option<i64> {
        Some(self.head.num_classes())
    }

    fn shards(&self) -> Vec<Shard> {
        self.head.shards()
    }
}
