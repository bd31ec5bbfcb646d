//! A training run in one call.

use std::{fmt, ops::ControlFlow, time::Duration};

use serde::{Deserialize, Serialize, Serializer};
use tch::{Tensor, nn};

use super::{InMemory, Outcome, Sampling, Schedule, Trainer, optimizer::require_weight_decay};
use crate::{
    Error, Result,
    loss::{Loss, LossReport},
};

/// Hyper-parameters of a training run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitConfig {
    /// Passes over the data. Default 8.
    pub epochs: usize,
    /// Samples in a step; the last, smaller batch of an epoch is carried over into the next, so that
    /// every batch is full. Default 64.
    pub batch_size: usize,
    /// Peak of the schedule. Default 3e-3.
    pub learning_rate: f64,
    /// How the learning rate moves. Default [`Schedule::OneCycle`].
    pub schedule: Schedule,
    /// Decoupled weight decay of every group but [`NO_DECAY_GROUP`](crate::params::NO_DECAY_GROUP). Default 0.01
    /// (AdamW's).
    pub weight_decay: f64,
    /// How a batch is put together. Default [`Sampling::Plain`].
    pub sampling: Sampling,
    /// Epochs without a better validation score after which the run ends. Default `None`: never.
    pub patience: Option<usize>,
    /// Epochs that [`patience`](Self::patience) does not count, such as those of a warm-up. Default 0.
    pub least_epochs: usize,
    /// The length to which all gradients together are shortened where they are longer. Default `None`: never.
    pub clip_norm: Option<f64>,
    /// Batches whose mean gradient makes one step, each forwarded on its own: a batch that has no room, in parts. Default 1.
    pub accumulate: usize,
    /// Seed of the order of the samples and of what the network draws (dropout). Default 0; any will do.
    pub seed: u64,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            epochs: 8,
            batch_size: 64,
            learning_rate: 3e-3,
            schedule: Schedule::default(),
            weight_decay: 0.01,
            sampling: Sampling::default(),
            patience: None,
            least_epochs: 0,
            clip_norm: None,
            accumulate: 1,
            seed: 0,
        }
    }
}

impl FitConfig {
    /// Checks the values before any work.
    ///
    /// # Errors
    /// [`Error::Config`] for no epoch, batches of fewer than two (batch normalization has no
    /// variance to divide by), a learning rate that is not positive, a negative weight decay, balanced
    /// batches that do not divide into whole classes, a patience of no epoch, steps of no batch, a clipping norm that is
    /// not positive.
    pub fn validate(&self) -> Result<()> {
        let bad = |field, expected: &str, got: String| Err(Error::config(field, expected, got));
        if self.epochs < 1 {
            return bad("epochs", "at least 1", self.epochs.to_string());
        }
        if self.batch_size < 2 {
            return bad("batch_size", "at least 2", self.batch_size.to_string());
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad("learning_rate", "a finite number > 0", self.learning_rate.to_string());
        }
        if self.patience == Some(0) {
            return bad("patience", "at least 1 epoch", "0".into());
        }
        if self.accumulate < 1 {
            return bad("accumulate", "at least 1 batch a step", "0".into());
        }
        if let Some(longest) = self.clip_norm.filter(|longest| !(longest.is_finite() && *longest > 0.0)) {
            return bad("clip_norm", "a finite number > 0", longest.to_string());
        }
        require_weight_decay(self.weight_decay)?;
        self.sampling.validate(self.batch_size)
    }

    /// Steps of a run over `samples` volumes; none in batches of none.
    pub fn steps(&self, samples: usize) -> usize {
        let samples_of_step = self.batch_size.saturating_mul(self.accumulate);
        self.epochs.saturating_mul(samples).checked_div(samples_of_step).unwrap_or(0)
    }
}

/// What a run tells after each step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// Counted from 1.
    pub step: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// Epochs finished by this step.
    pub epoch: usize,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The terms of the loss.
    pub loss: LossReport,
    /// The validation score, after the last step of an epoch.
    pub validation: Option<f64>,
    /// Time left at the pace so far; in JSON `remaining_seconds`.
    #[serde(rename = "remaining_seconds", serialize_with = "in_seconds")]
    pub remaining: Duration,
}

fn in_seconds<S: Serializer>(time: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    time.as_secs_f64().serialize(serializer)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, {:.0} s left: {}", self.step, self.steps, self.remaining.as_secs_f64(), self.loss)?;
        self.validation.map_or(Ok(()), |score| write!(f, "; validation {score:.4}"))
    }
}

/// Trains `net` and `loss`, whose variables live in `vs`, on volumes held in memory.
///
/// AdamW with the schedule and the sampling of `config`. `observe` sees every step and stops the run by
/// `ControlFlow::Break`; what was learned up to there stays in `vs`. [`Trainer`] does the same with
/// checkpoints, validation, a log and volumes that need not fit in memory.
///
/// # Shapes
/// `volumes`: `[N, …]` as `net` takes them; `labels`: `[N]`, `Int64`; both on any device.
///
/// # Errors
/// As [`FitConfig::validate`], [`InMemory::new`] and [`Trainer::run`]; patience has nothing to wait for here, and is
/// refused.
///
/// # Panics
/// As `net` does, for volumes of a shape that it does not take.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use std::ops::ControlFlow;
/// use soft_lmccl::{loss::SoftLmcclConfig, model::{CompactNetConfig, compact_net}, train::{End, FitConfig, fit}};
/// use soft_lmccl::tch::{Device, Kind, Tensor, nn};
///
/// let volumes = Tensor::randn([12, 1, 8, 8, 8], (Kind::Float, Device::Cpu));
/// let labels = Tensor::arange(12, (Kind::Int64, Device::Cpu)).remainder(3);
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = compact_net(&(vs.root() / "net"), 8, CompactNetConfig { channels: vec![4], embedding_dim: 4, ..Default::default() })?;
/// let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 3, 4)?;
/// let config = FitConfig { epochs: 2, batch_size: 6, ..Default::default() };
/// let mut seen = 0;
/// let outcome = fit(&net, &mut loss, &vs, (&volumes, &labels), config, |step| {
///     println!("{step}"); // 1/4, 1 s left: 17.426 = lmcl 15.371 + 0.3·center 2.000 + softmax 1.455
///     seen += 1;
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!((outcome.end, outcome.steps, seen), (End::Finished, 4, 4));
/// # Ok(()) }
/// ```
pub fn fit(
    net: &impl nn::ModuleT,
    loss: &mut (impl Loss + ?Sized),
    vs: &nn::VarStore,
    (volumes, labels): (&Tensor, &Tensor),
    config: FitConfig,
    observe: impl FnMut(&Step) -> ControlFlow<()>,
) -> Result<Outcome> {
    Trainer::new(config)?.run(net, loss, vs, &InMemory::new(volumes, labels)?, observe)
}
