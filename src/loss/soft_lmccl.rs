//! Soft large-margin centralized cosine loss.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::{
    CenterDistance, CenterLoss, CenterLossConfig, CenterUpdate, Lmcl, LmclConfig, Loss, LossKind, LossTerms, Reduction,
    Scaled, SoftmaxHead, SoftmaxHeadConfig,
    gate::{CheckedBatch, require_non_negative},
};
use crate::{
    Result,
    distributed::{Classes, Shard},
};

/// Where the softmax term of [`SoftLmccl`] takes its logits from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SoftmaxBranch {
    /// Its own linear head on the raw embedding, as in the authors' code. The default.
    Own(SoftmaxHeadConfig),
    /// `s·cos θ` on the prototypes of the margin term: one product and no further parameters.
    SharedCosine,
}

impl Default for SoftmaxBranch {
    fn default() -> Self {
        Self::Own(SoftmaxHeadConfig::default())
    }
}

/// Hyper-parameters of [`SoftLmccl`]: one level for each ingredient, every field with a default.
///
/// # Examples
/// ```
/// # use soft_lmccl::loss::*;
/// let config = SoftLmcclConfig {
///     lmcl: LmclConfig { margin: 0.4, ..Default::default() },
///     center_weight: 0.3,
///     ..Default::default()
/// };
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoftLmcclConfig {
    /// The margin term.
    pub lmcl: LmclConfig,
    /// The center term.
    pub center: CenterLossConfig,
    /// `λ`, the weight of the center term, finite and ≥ 0. Default 0.3, within the paper's sweep (0.01 to 1)
    /// and meant for the mean-reduced center term: with a small `s` the best on validation classes of the study,
    /// with 17 known ones; see `docs/study.md`.
    pub center_weight: f64,
    /// The softmax term. Default: its own biased head on the raw embedding.
    pub softmax: SoftmaxBranch,
    /// The weight of the softmax term, finite and ≥ 0. Default 1 (the paper's formula).
    pub softmax_weight: f64,
}

impl Default for SoftLmcclConfig {
    fn default() -> Self {
        Self {
            lmcl: LmclConfig::default(),
            center: CenterLossConfig::default(),
            center_weight: 0.3,
            softmax: SoftmaxBranch::default(),
            softmax_weight: 1.0,
        }
    }
}

impl SoftLmcclConfig {
    /// What the authors' released code computes: s = 64, center term summed over the batch, λ = 1, α = 0.05.
    ///
    /// The center term then outweighs the others by far (about 51,000 against 28 at the first step
    /// with 1,024 dimensions and a batch of 100) and embeddings tend to collapse. Its other settings
    /// are not the loss': Adam with ε = 0.1, weight decay 1e-4 on [`DECAY_GROUP`](crate::params::DECAY_GROUP).
    pub fn official_code() -> Self {
        Self {
            lmcl: LmclConfig { scale: 64.0, ..Default::default() },
            center: CenterLossConfig { rate: 0.05, reduction: Reduction::Sum, ..Default::default() },
            center_weight: 1.0,
            ..Default::default()
        }
    }

    /// The formulas as the paper prints them, with the s = 64 of the authors' code and λ = 0.1 of its
    /// sweep: a bias in LMCL, added after scaling; the center distance not squared and summed over the
    /// batch; the update without a denominator.
    ///
    /// With more than two samples of a class in a batch such a center overshoots and diverges: for
    /// study, not for use.
    pub fn as_printed() -> Self {
        Self {
            lmcl: LmclConfig { scale: 64.0, bias: true, ..Default::default() },
            center: CenterLossConfig {
                rate: 1.0,
                rule: CenterUpdate::Literal,
                distance: CenterDistance::Euclidean,
                reduction: Reduction::Sum,
                ..Default::default()
            },
            center_weight: 0.1,
            ..Default::default()
        }
    }

    /// Checks every level without building anything.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config), as the parts do, and unless both weights are finite
    /// and ≥ 0.
    pub fn validate(&self) -> Result<()> {
        self.lmcl.validate()?;
        self.center.validate()?;
        if let SoftmaxBranch::Own(softmax) = &self.softmax {
            softmax.validate()?;
        }
        require_non_negative("center_weight", self.center_weight)?;
        require_non_negative("softmax_weight", self.softmax_weight)
    }

    /// Creates the loss under `path`: `lmcl.weight`, `center.centers`, `softmax.weight`, …
    ///
    /// # Errors
    /// As [`validate`](Self::validate) and the `init` of the parts.
    pub fn init(self, path: &nn::Path<'_>, num_classes: impl Into<Classes>, embedding_dim: i64) -> Result<SoftLmccl> {
        self.validate()?;
        let classes = num_classes.into();
        let lmcl = self.lmcl.init(&(path / Lmcl::NAME), classes.clone(), embedding_dim)?;
        let center = self.center.init(&(path / CenterLoss::NAME), classes.clone(), embedding_dim)?;
        let softmax = match self.softmax {
            SoftmaxBranch::Own(config) => {
                Softmax::Own(Box::new(config.init(&(path / SoftmaxHead::NAME), classes, embedding_dim)?))
            }
            SoftmaxBranch::SharedCosine => Softmax::SharedCosine,
        };
        Ok(SoftLmccl {
            lmcl,
            center: Scaled { weight: self.center_weight, inner: center },
            softmax: Scaled { weight: self.softmax_weight, inner: softmax },
        })
    }
}

/// Soft large-margin centralized cosine loss: LMCL + λ·center + softmax.
///
/// # Formula
/// ```text
/// L = L_LMCL + λ·L_Center + L_Softmax
/// ```
/// with [`Lmcl`], [`CenterLoss`] and, as the "Soft" of its name, the joint softmax term on
/// [`SoftmaxHead`] (or on the cosines of LMCL, see [`SoftmaxBranch`]). Exactly
/// `lmcl + center_weight * center + softmax_weight * softmax`. The paper's fourth term, `L_reg`, is
/// weight decay in the optimizer: see [`params`](crate::params).
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{Loss, SoftLmcclConfig}, tch::{Device, Kind, Tensor, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let loss = SoftLmcclConfig { center_weight: 0.3, ..Default::default() }.init(&vs.root(), 3, 4)?;
/// let embeddings = Tensor::ones([2, 4], (Kind::Float, Device::Cpu));
/// let report = loss.forward(&embeddings, &Tensor::from_slice(&[2i64, 0]))?.report()?;
/// let (names, weights): (Vec<_>, Vec<_>) = report.terms.iter().map(|term| (term.name.as_str(), term.weight)).unzip();
/// assert_eq!(names, ["lmcl", "center", "softmax"]);
/// assert_eq!(weights, [1.0, 0.3, 1.0]);
/// assert_eq!(report.terms[1].value, 2.0); // ½·4 from centers at the origin
/// # Ok(()) }
/// ```
///
/// # References
/// X. Du et al., *Open-set Recognition of Unseen Macromolecules in Cellular Electron Cryo-Tomograms
/// by Soft Large Margin Centralized Cosine Loss*, BMVC 2019, `L_all`.
///
/// # See also
/// [`Lmcl`](super::Lmcl), [`CenterLoss`](super::CenterLoss) and [`SoftmaxHead`](super::SoftmaxHead), its terms;
/// sums of one's own add up the same way, `lmcl + 0.3 * center`.
#[doc(alias = "SoftLMCCL")]
#[doc(alias = "LMCCL")]
#[derive(Debug)]
pub struct SoftLmccl {
    lmcl: Lmcl,
    center: Scaled<CenterLoss>,
    softmax: Scaled<Softmax>,
}

#[derive(Debug)]
enum Softmax {
    Own(Box<SoftmaxHead>),
    SharedCosine,
}

impl SoftLmccl {
    /// The margin term.
    pub fn lmcl(&self) -> &Lmcl {
        &self.lmcl
    }

    /// The center term.
    pub fn center(&self) -> &CenterLoss {
        &self.center.inner
    }

    /// Moves the centers of the classes in this batch to their means, see [`CenterLoss::reset_to_means`].
    ///
    /// # Errors
    /// As [`Loss::forward`].
    pub fn reset_centers_to_means(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.center.inner.reset_to_means(embeddings, labels)
    }

    /// The softmax term's own head, if it has one.
    pub fn softmax(&self) -> Option<&SoftmaxHead> {
        match &self.softmax.inner {
            Softmax::Own(head) => Some(head),
            Softmax::SharedCosine => None,
        }
    }

    /// Gives every class a weight in the margin term and in the softmax term, as [`Targets`](super::Targets) says; buffers
    /// under `path`, as a rule that of `init`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) unless there is one for each class, finite and > 0;
    /// [`Error::NameTaken`](crate::Error::NameTaken).
    pub fn with_class_weights(mut self, path: &nn::Path<'_>, weights: &[f64]) -> Result<Self> {
        self.lmcl.set_class_weights(&(path / Lmcl::NAME), weights)?;
        if let Softmax::Own(head) = &mut self.softmax.inner {
            head.set_class_weights(&(path / SoftmaxHead::NAME), weights)?;
        }
        Ok(self)
    }

    /// Checked once for all parts, which `init` made alike; labels to ignore are those of the margin term.
    pub(super) fn batch(&self, embeddings: &Tensor, labels: &Tensor) -> Result<CheckedBatch> {
        self.lmcl.batch(embeddings, labels)
    }

    pub(super) fn center_term(&self, batch: &CheckedBatch) -> Result<LossTerms> {
        Ok(self.center.weight * self.center.inner.term(batch)?)
    }

    /// The hyper-parameters in force.
    pub fn config(&self) -> SoftLmcclConfig {
        SoftLmcclConfig {
            lmcl: self.lmcl.config(),
            center: self.center.inner.config(),
            center_weight: self.center.weight,
            softmax: match &self.softmax.inner {
                Softmax::Own(head) => SoftmaxBranch::Own(head.config()),
                Softmax::SharedCosine => SoftmaxBranch::SharedCosine,
            },
            softmax_weight: self.softmax.weight,
        }
    }

    /// Changes the margin, for a warm-up.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) as in [`LmclConfig::init`]; the margin stays as it was.
    pub fn set_margin(&mut self, margin: f64) -> Result<()> {
        self.lmcl.set_margin(margin)
    }

    /// Changes λ, for a warm-up.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) unless finite and ≥ 0; λ stays as it was.
    pub fn set_center_weight(&mut self, weight: f64) -> Result<()> {
        require_non_negative("center_weight", weight)?;
        self.center.weight = weight;
        Ok(())
    }

    /// Changes the weight of the softmax term.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) unless finite and ≥ 0; the weight stays as it was.
    pub fn set_softmax_weight(&mut self, weight: f64) -> Result<()> {
        require_non_negative("softmax_weight", weight)?;
        self.softmax.weight = weight;
        Ok(())
    }
}

impl Loss for SoftLmccl {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        let batch = self.batch(embeddings, labels)?;
        let shared = matches!(self.softmax.inner, Softmax::SharedCosine) && !self.lmcl.config().bias;
        let heads = if shared { 1 } else { 2 };
        let scores = self.lmcl.scores(&batch, heads)?;
        let softmax = match &self.softmax.inner {
            Softmax::Own(head) => head.term(&batch, heads)?,
            Softmax::SharedCosine => LossTerms::single(SoftmaxHead::NAME, self.lmcl.softmax(&scores, &batch)?),
        };
        Ok(self.lmcl.term(&scores) + self.center_term(&batch)? + self.softmax.weight * softmax)
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.batch(embeddings, labels).map(drop)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        let batch = self.batch(embeddings, labels)?;
        self.center.inner.follow(batch)?;
        self.lmcl.advance();
        if let Softmax::Own(head) = &mut self.softmax.inner {
            head.advance();
        }
        Ok(())
    }

    fn kind(&self) -> LossKind {
        let softmax = match &self.softmax.inner {
            Softmax::Own(head) => head.kind(),
            Softmax::SharedCosine => LossKind::new("softmax_of_cosines", serde_json::Value::Null),
        };
        self.lmcl.kind() + self.center.kind() + self.softmax.weight * softmax
    }

    fn variables(&self) -> Vec<(String, Tensor)> {
        let softmax = self.softmax().map(Loss::variables).unwrap_or_default();
        self.lmcl.variables().into_iter().chain(self.center.variables()).chain(softmax).collect()
    }

    fn num_classes(&self) -> Option<i64> {
        self.lmcl.num_classes()
    }

    fn shards(&self) -> Vec<Shard> {
        let softmax = self.softmax().map(Loss::shards).unwrap_or_default();
        self.lmcl.shards().into_iter().chain(self.center.shards()).chain(softmax).collect()
    }
}
