//! Center loss: class centers that run after the embeddings.

use serde::{Deserialize, Serialize};
use tch::{
    Kind, Tensor,
    nn::{self, Init},
    no_grad_guard,
};

use super::{
    Loss, LossKind, LossTerms, Reduction,
    forgotten::SinceUpdate,
    functional::{
        ClassResiduals, NORM_FLOOR, center_distance, center_distance_euclidean, column, l2_normalize, residuals,
    },
    gate::{CheckedBatch, Gate, Labels, placed},
};
use crate::{
    Error, Result,
    distributed::{Classes, Part, Shard},
    params,
};

/// How a center moves when [`Loss::update`] shows it the `n` embeddings of its class in a batch.
///
/// With `x̄` their mean; classes absent from the batch never move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CenterUpdate {
    /// `c ← c − α·Σ(c − xᵢ)/(1 + n)`: Wen et al., Eq. 4, and the authors' code. A step of
    /// `αn/(1 + n) < 1` towards `x̄`, smaller for classes that are rare in the batch.
    #[default]
    Wen,
    /// `c ← (1 − α)·c + α·x̄`: the same step for every class present.
    Ema,
    /// The mean of every embedding seen so far; α is not used. Suits a warm start, not a long run:
    /// it never forgets the untrained network.
    ClassMean,
    /// `c ← c − α·Σ(c − xᵢ)`: the Soft LMCCL paper as printed, with no denominator. With `α·n > 2`
    /// the centers diverge.
    Literal,
    /// The centers are trainable parameters; the optimizer moves them along the loss' gradient and
    /// `update` only counts. Their step then depends on λ, on the reduction and on the learning rate.
    Gradient,
}

/// How the distance of an embedding from its center enters the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CenterDistance {
    /// `½‖x − c‖²` (Wen et al., Eq. 2; the authors' code).
    #[default]
    Squared,
    /// `½‖x − c‖`, the Soft LMCCL paper as printed: a pull of the same force at any distance.
    Euclidean,
}

/// Where embeddings and centers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CenterSpace {
    /// The embedding as the network gives it (the authors' code).
    #[default]
    Raw,
    /// The embedding scaled to unit length, so that the term cannot be lowered by shrinking.
    UnitSphere,
}

/// Hyper-parameters of [`CenterLoss`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CenterLossConfig {
    /// `α` in 0..=1, how far a center moves towards its batch. Default 0.5 (Wen et al.; the authors'
    /// code has 0.05).
    pub rate: f64,
    /// Which rule moves the centers. Default [`CenterUpdate::Wen`].
    pub rule: CenterUpdate,
    /// Default [`CenterDistance::Squared`].
    pub distance: CenterDistance,
    /// Default [`CenterSpace::Raw`].
    pub space: CenterSpace,
    /// Default [`Reduction::Mean`], so that λ does not depend on the batch size; the authors' code
    /// sums, which at λ = 1 outweighs every other term by orders of magnitude.
    pub reduction: Reduction,
    /// The label of samples that give no term and move no center. Default: none. Within
    /// [`SoftLmccl`](super::SoftLmccl) that of the margin term counts.
    pub ignore: Option<i64>,
}

impl Default for CenterLossConfig {
    fn default() -> Self {
        Self {
            rate: 0.5,
            rule: CenterUpdate::default(),
            distance: CenterDistance::default(),
            space: CenterSpace::default(),
            reduction: Reduction::default(),
            ignore: None,
        }
    }
}

impl CenterLossConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`] unless `0 ≤ rate ≤ 1`.
    pub fn validate(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.rate) {
            return Ok(());
        }
        Err(Error::config("rate", "a number in 0..=1", self.rate))
    }

    /// Creates the loss with its centers at the origin.
    ///
    /// They are registered at `path` as *buffers*: saved with the weights, invisible to the optimizer
    /// (no gradient, no momentum, no weight decay). Under [`CenterUpdate::Gradient`] they are a
    /// parameter in [`NO_DECAY_GROUP`](crate::params::NO_DECAY_GROUP).
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`Error::Config`] for no class or no dimension;
    /// [`Error::NameTaken`].
    pub fn init(self, path: &nn::Path<'_>, num_classes: impl Into<Classes>, embedding_dim: i64) -> Result<CenterLoss> {
        self.validate()?;
        let classes = num_classes.into();
        let gate = Gate::new(classes.number(), 1, embedding_dim)?.ignoring(self.ignore);
        let held = classes.held().end - classes.held().start;
        let dims = [held, embedding_dim];
        let centers = match self.rule {
            CenterUpdate::Gradient => {
                params::trainable(&path.set_group(params::NO_DECAY_GROUP), "centers", &dims, Init::Const(0.0))?
            }
            _ => params::buffer(path, "centers", &dims, params::at_least_single(path.kind()))?,
        };
        let updates = params::buffer(path, "updates", &[held], Kind::Int64)?;
        let samples = params::buffer(path, "samples", &[held], Kind::Int64)?;
        let (part, since_update) = (classes.part(), SinceUpdate::default());
        Ok(CenterLoss { config: self, gate, centers, updates, samples, since_update, part })
    }
}

/// Center loss with running class centers.
///
/// # Formula
/// ```text
/// L = ½ · meanᵢ ‖xᵢ − c[yᵢ]‖²                                forward: c is a constant, so ∂L/∂xᵢ = (xᵢ − c[yᵢ])/N
/// c[j] ← c[j] − α · Σ_{i: yᵢ=j} (c[j] − xᵢ) / (1 + n[j])     update: outside the graph
/// ```
/// An update moves the center of a class present to `(1 − β)·c + β·x̄` with `β = α·n/(1+n) < 1`, a
/// convex combination, so that centers cannot diverge; absent classes stay as they are to the last
/// bit. [`CenterUpdate`] names the other rules, [`CenterDistance`] the other distance.
///
/// Only rows of classes in the batch are read or written: the cost does not depend on C.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{CenterLossConfig, Loss}, tch::{Device, Tensor, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let mut center = CenterLossConfig { rate: 0.5, ..Default::default() }.init(&vs.root(), 3, 2)?;
/// let embeddings = Tensor::from_slice2(&[[2.0f32, 0.0], [4.0, 0.0]]);
/// let labels = Tensor::from_slice(&[1i64, 1]);
/// // ½·(4 + 16)/2 = 5 from the origin.
/// assert_eq!(center.forward(&embeddings, &labels)?.report()?.total, 5.0);
/// center.update(&embeddings, &labels)?;
/// // A step of αn/(1 + n) = 1/3 towards the mean (3, 0).
/// assert_eq!(center.centers().double_value(&[1, 0]), 1.0);
/// assert_eq!(Vec::<i64>::try_from(center.updates())?, [0, 1, 0]);
/// # Ok(()) }
/// ```
///
/// # References
/// Y. Wen et al., *A Discriminative Feature Learning Approach for Deep Face Recognition*, ECCV 2016,
/// Eqs. 2–4.
///
/// # See also
/// [`SoftLmccl`](super::SoftLmccl), of which it is a term; [`CenterUpdate`], how its centers move.
#[derive(Debug)]
pub struct CenterLoss {
    config: CenterLossConfig,
    gate: Gate,
    centers: Tensor,
    updates: Tensor,
    samples: Tensor,
    since_update: SinceUpdate,
    /// The classes held, where the others are held by other ranks.
    part: Option<Part>,
}

impl CenterLoss {
    /// The name of its term.
    pub const NAME: &'static str = "center";

    /// The centers, detached, `[C, D]`: `Float` (`Double` after `VarStore::double`) whatever the
    /// embeddings' precision.
    pub fn centers(&self) -> Tensor {
        self.centers.detach().copy()
    }

    /// How many batches have updated each class, `[C]`, `Int64`.
    ///
    /// All zero after an epoch means that nobody called [`Loss::update`].
    pub fn updates(&self) -> Tensor {
        self.updates.to_dtype(Kind::Int64, false, true)
    }

    /// The hyper-parameters in force.
    pub fn config(&self) -> CenterLossConfig {
        self.config
    }

    /// Sets the centers of the classes present to the means of a labeled set (a warm start), which count as seen
    /// for [`CenterUpdate::ClassMean`].
    ///
    /// Absent classes stay as they are. Takes the embeddings once more in double precision, in which the means of
    /// any number are right.
    ///
    /// # Errors
    /// As [`Loss::forward`].
    pub fn reset_to_means(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        let Some(batch) = self.held(self.gate.batch(embeddings, labels, &self.centers)?) else { return Ok(()) };
        let _frozen = no_grad_guard();
        let present = residuals(&self.place(&batch).to_kind(Kind::Double), &self.centers, &batch.labels.on_host);
        self.since_update.updated();
        let _ = self.samples.index_copy_(0, &present.classes, &self.counted(&present));
        self.step(&present, |n| 1.0 / n);
        Ok(())
    }

    /// The embeddings where they are compared with the centers.
    fn place(&self, batch: &CheckedBatch) -> Tensor {
        // The head of a joint loss that checked the batch may have been cast to another precision than the centers.
        let embeddings = batch.embeddings.to_kind(self.centers.kind());
        match self.config.space {
            CenterSpace::Raw => embeddings,
            CenterSpace::UnitSphere => l2_normalize(&embeddings, NORM_FLOOR),
        }
    }

    /// The samples of a batch whose classes are held, if there are any.
    fn held(&self, batch: CheckedBatch) -> Option<CheckedBatch> {
        let Some(part) = &self.part else { return Some(batch) };
        let CheckedBatch { embeddings, labels } = batch;
        let here = |&(_, label): &(i64, i64)| part.held.contains(&label);
        let (samples, labels): (Vec<_>, Vec<_>) =
            (0..).zip(labels.on_host).filter(here).map(|(sample, label)| (sample, label - part.held.start)).unzip();
        let samples = Tensor::from_slice(&samples).to_device(embeddings.device());
        let labels = Labels::new(labels, embeddings.device());
        (!labels.on_host.is_empty()).then(|| CheckedBatch { embeddings: embeddings.index_select(0, &samples), labels })
    }

    pub(super) fn term(&self, batch: &CheckedBatch) -> Result<LossTerms> {
        let reduction = self.config.reduction;
        let value = match &self.part {
            None => self.distance(batch, reduction),
            Some(part) => {
                let labels = Labels::new(batch.labels.on_host.clone(), batch.embeddings.device());
                let embeddings = part.group.in_parts(&batch.embeddings)?;
                // Also of no sample, so that the way back leads over all ranks, and trained centers have a gradient.
                let nothing = embeddings.narrow(0, 0, 1).sum(embeddings.kind()) * 0.0;
                let nothing = match self.centers.requires_grad() {
                    true => nothing + self.centers.sum(self.centers.kind()) * 0.0,
                    false => nothing,
                };
                let of_held =
                    self.held(CheckedBatch { embeddings, labels }).map(|held| self.distance(&held, Reduction::Sum));
                let sum = part.group.sum(&of_held.map_or_else(|| nothing.shallow_clone(), |sum| sum + &nothing))?;
                match reduction {
                    Reduction::Mean => sum / batch.labels.on_host.len() as f64,
                    Reduction::Sum => sum,
                }
            }
        };
        if self.config.rule != CenterUpdate::Gradient {
            self.since_update.evaluated(&value);
        }
        Ok(LossTerms::single(Self::NAME, value))
    }

    fn distance(&self, batch: &CheckedBatch, reduction: Reduction) -> Tensor {
        let (embeddings, labels) = (self.place(batch), &batch.labels.tensor);
        match self.config.distance {
            CenterDistance::Squared => center_distance(&embeddings, &self.centers, labels, reduction),
            CenterDistance::Euclidean => {
                reduction.apply(&center_distance_euclidean(&embeddings, &self.centers, labels))
            }
        }
    }

    /// Moves the centers towards the batch.
    pub(super) fn follow(&mut self, batch: CheckedBatch) -> Result<()> {
        let _frozen = no_grad_guard();
        self.since_update.updated();
        let Some(batch) = self.held(batch) else { return Ok(()) };
        let present = residuals(&self.place(&batch), &self.centers, &batch.labels.on_host);
        let rate = self.config.rate;
        let counted = self.counted(&present);
        match self.config.rule {
            CenterUpdate::Wen => self.step(&present, |n| rate / (1.0 + n)),
            CenterUpdate::Ema => self.step(&present, |n| rate / n),
            CenterUpdate::ClassMean => {
                let seen = self.samples.index_select(0, &present.classes) + &counted;
                self.step_by(&present, &seen.to_kind(present.sums.kind()).reciprocal().unsqueeze(1));
            }
            CenterUpdate::Literal => self.step(&present, |_| rate),
            CenterUpdate::Gradient => {}
        }
        let _ = self.samples.index_add_(0, &present.classes, &counted);
        let _ = self.updates.index_add_(0, &present.classes, &counted.ones_like());
        Ok(())
    }

    /// Adds to each center present a share of the residuals' sum, by how many samples it has.
    fn step(&mut self, present: &ClassResiduals, share: impl Fn(f64) -> f64) {
        self.step_by(present, &column(&present.counts, &present.sums, share));
    }

    /// The same with the shares as a column, `[P, 1]`.
    fn step_by(&mut self, present: &ClassResiduals, shares: &Tensor) {
        let moved = present.centers.addcmul(&present.sums, shares);
        // Every class, in order: rows put back by their numbers take several times as long.
        if moved.size() == self.centers.size() {
            self.centers.copy_(&moved);
        } else {
            let _ = self.centers.index_copy_(0, &present.classes, &moved.to_kind(self.centers.kind()));
        }
    }

    /// The samples of each class present, as the counters hold them: `VarStore::double` casts those too.
    fn counted(&self, present: &ClassResiduals) -> Tensor {
        let counts: Vec<_> = present.counts.iter().map(|&count| count as i64).collect();
        placed(&counts, self.samples.device()).to_kind(self.samples.kind())
    }
}

impl Loss for CenterLoss {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        self.term(&self.gate.batch(embeddings, labels, &self.centers)?)
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.gate.batch(embeddings, labels, &self.centers).map(drop)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.follow(self.gate.batch(embeddings, labels, &self.centers)?)
    }

    fn kind(&self) -> LossKind {
        LossKind::of(Self::NAME, &self.config).with_rows(serde_json::json!({ "space": self.config.space }))
    }

    fn variables(&self) -> Vec<(String, Tensor)> {
        [("center.centers", &self.centers), ("center.updates", &self.updates), ("center.samples", &self.samples)]
            .map(|(name, variable)| (name.to_owned(), variable.shallow_clone()))
            .into()
    }

    fn num_classes(&self) -> Option<i64> {
        Some(self.gate.num_classes)
    }

    fn shards(&self) -> Vec<Shard> {
        let Some(part) = &self.part else { return Vec::new() };
        [&self.centers, &self.updates, &self.samples].map(|variable| part.shard(variable, 1)).into()
    }
}
