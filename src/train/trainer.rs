//! A training run with all that a long one needs: checkpoints, validation, a log, a way to go on.

use std::{
    fmt::Debug,
    ops::ControlFlow,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;
use soft_lmccl_files::{remove_partials, require_writable};
use tch::{Tensor, nn};

use super::{
    AdamWConfig, Best, FitConfig, Optimizer, Progress, RunState, Sampler, Schedule, Step, TrainingSet,
    buffers::Buffers,
    checkpoint::{self, Meta, Origin},
    log::Log,
    one_step::kind_of_network,
    set_weight_decay,
};
use crate::{Error, Result, distributed::Group, loss::Loss, notice::notice, params, require_device};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum End {
    /// All steps are done.
    Finished,
    /// The validation score has not risen for [`FitConfig::patience`] epochs.
    Early,
    /// The observer stopped it.
    Stopped,
}

/// What is left of a run beside the weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Steps done, by earlier sittings too.
    pub steps: usize,
    /// The best validation score.
    pub best: Option<Best>,
    /// Seconds of training, all sittings together.
    pub seconds: f64,
}

type BeforeStep<'a, L> = Box<dyn FnMut(&mut L, f64) -> Result<()> + 'a>;
type Validate<'a, L> = Box<dyn FnMut(&L) -> Result<f64> + 'a>;
type BuildOptimizer<'a> = Box<dyn FnOnce(&nn::VarStore) -> Result<Box<dyn Optimizer>> + 'a>;

/// A training run that keeps what it has done: [`fit`](super::fit) with checkpoints to continue from, validation
/// on held-out classes, early stop, warm-ups and a log.
///
/// One path belongs to one run at a time. On the CPU, with the same number of threads, a run that was killed at any
/// moment and resumed ends with the same bits as one that was not, [`Progress::seconds`] excepted: batches come from a
/// saved position, moments from the checkpoint, and libtorch's generator is seeded in each step from
/// [`FitConfig::seed`] and the step. That generator is one for the process: networks that draw (dropout) need a process
/// for each run to repeat.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use std::ops::ControlFlow;
/// use soft_lmccl::{loss::SoftLmcclConfig, model::{CompactNetConfig, compact_net}};
/// use soft_lmccl::train::{End, FitConfig, InMemory, Trainer, WarmUp};
/// use soft_lmccl::tch::{self, Device, Kind, Tensor, nn};
///
/// let directory = tempfile::tempdir().expect("a directory for temporary files");
/// let volumes = Tensor::randn([12, 1, 8, 8, 8], (Kind::Float, Device::Cpu));
/// let labels = Tensor::arange(12, (Kind::Int64, Device::Cpu)).remainder(3);
/// let data = InMemory::new(&volumes, &labels)?;
/// let config = FitConfig { epochs: 2, batch_size: 4, ..Default::default() };
/// let target = SoftLmcclConfig::default();
///
/// let sitting = |stop_at: usize| {
///     tch::manual_seed(1);
///     let vs = nn::VarStore::new(Device::Cpu);
///     let net = compact_net(&(vs.root() / "net"), 8, CompactNetConfig { channels: vec![4], embedding_dim: 4, ..Default::default() })?;
///     let mut loss = target.init(&(vs.root() / "loss"), 3, 4)?;
///     let classes = ["1aon", "4v5d", "1bxn"].map(String::from);
///     Trainer::new(config)?
///         .describe(&target, &classes)?
///         .checkpoint(directory.path().join("run.safetensors"), 1)
///         .resume(true)
///         .log(directory.path().join("run.csv"))
///         .before_step(|loss, progress| WarmUp { margin: 0.2, center_weight: 0.2 }.apply(loss, &target, progress))
///         .run(&net, &mut loss, &vs, &data, |step| {
///             if step.step == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
///         })
/// };
/// assert_eq!(sitting(2)?.end, End::Stopped);
/// let outcome = sitting(99)?;
/// assert_eq!((outcome.end, outcome.steps), (End::Finished, 6));
/// # Ok(()) }
/// ```
#[must_use = "nothing is trained until `run`"]
pub struct Trainer<'a, L: ?Sized> {
    pub(super) config: FitConfig,
    pub(super) meta: Meta<Value>,
    /// The type of `meta.config`, if it is one of this crate.
    pub(super) config_type: Option<&'static str>,
    pub(super) origin: Origin,
    pub(super) checkpoint: Option<(PathBuf, usize)>,
    pub(super) resume: bool,
    pub(super) log: Option<PathBuf>,
    pub(super) best: Option<PathBuf>,
    pub(super) validate: Option<Validate<'a, L>>,
    pub(super) before_step: Option<BeforeStep<'a, L>>,
    pub(super) schedule: Option<Box<dyn Fn(f64) -> f64 + 'a>>,
    pub(super) optimizer: Option<BuildOptimizer<'a>>,
    pub(super) rates: Vec<(String, f64)>,
    pub(super) frozen: Vec<String>,
    pub(super) group: Group,
    pub(super) synchronized: bool,
}

impl<L: ?Sized> Debug for Trainer<'_, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { config, checkpoint, resume, log, best, .. } = self;
        f.debug_struct("Trainer")
            .field("config", config)
            .field("checkpoint", checkpoint)
            .field("resume", resume)
            .field("log", log)
            .field("best", best)
            .finish_non_exhaustive()
    }
}

impl<'a, L: Loss + ?Sized> Trainer<'a, L> {
    /// A run that does no more than train.
    ///
    /// # Errors
    /// As [`FitConfig::validate`].
    pub fn new(config: FitConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            meta: Meta { config: Value::Null, classes: Vec::new() },
            checkpoint: None,
            resume: false,
            log: None,
            best: None,
            validate: None,
            config_type: None,
            origin: Origin::default(),
            before_step: None,
            schedule: None,
            optimizer: None,
            rates: Vec::new(),
            frozen: Vec::new(),
            group: Group::solo(),
            synchronized: false,
        })
    }

    /// Trains `net` and `loss`, whose variables live in `vs`.
    ///
    /// `observe` sees every step and stops the run by `ControlFlow::Break`. When resuming, the variables
    /// of `vs` take the values of the checkpoint.
    ///
    /// # Errors
    /// As [`Loss::forward`], [`Sampler::new`], the data and the functions given. In a step that fails nothing has moved.
    ///
    /// * [`Error::Config`] for patience or best weights without validation, for a run to resume without a checkpoint, for two
    ///   kinds of file in one place, and for fewer samples than a batch needs;
    /// * [`Error::Checkpoint`] for a checkpoint of another run, [`Error::Format`] for a log that lacks the steps before it;
    /// * [`Error::Label`] for a label that the loss has no class for;
    /// * [`Error::Tensor`] for inputs that are NaN or infinite, with the sample, and for a head that is not in `vs`;
    /// * [`Error::Diverged`] when the loss, a gradient or a weight is no longer finite;
    /// * [`Error::Io`].
    ///
    /// # Panics
    /// As `net` does, for volumes of a shape that it does not take.
    pub fn run<N: nn::ModuleT>(
        self,
        net: &N,
        loss: &mut L,
        vs: &nn::VarStore,
        data: &(impl TrainingSet + ?Sized),
        observe: impl FnMut(&Step) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        let group = self.group.clone();
        self.train(net, loss, vs, data, observe).inspect_err(|error| group.fail_of(error))
    }

    fn train<N: nn::ModuleT>(
        mut self,
        net: &N,
        loss: &mut L,
        vs: &nn::VarStore,
        data: &(impl TrainingSet + ?Sized),
        mut observe: impl FnMut(&Step) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        let started = Instant::now();
        if let (Some(patience), None) = (self.config.patience, &self.validate) {
            let got = format!("{patience} epochs without one");
            return Err(Error::config("patience", "a validation whose score it waits for", got));
        }
        require_device(vs.device())?;
        self.require_files_apart()?;
        let labels = data.labels();
        require_labels(labels, loss)?;
        let steps = self.config.steps(labels.len());
        self.origin = std::mem::take(&mut self.origin).loss(loss).network_type::<N>();
        self.require_same(labels, loss)?;
        let (mut state, mut own) = self.begin(vs, labels)?;
        self.start_alike(vs, &state.progress)?;
        let buffers = Buffers::of(vs, loss, &self.frozen);
        let to = (vs.device(), kind_of_network(vs, loss));
        let first = state.progress;
        let mut log = match self.log.as_ref().filter(|_| self.group.is_first()) {
            Some(path) => Some(Log::resume(path, first.step)?),
            None => None,
        };
        let mut end = if first.step < steps && self.is_stale(&first) { End::Early } else { End::Finished };
        while state.progress.step < steps && end == End::Finished {
            let step = state.progress.step;
            let done = step as f64 / steps as f64;
            if let Some(change) = &mut self.before_step {
                change(loss, done)?;
            }
            let factor = self.schedule.as_ref().map_or_else(|| self.config.schedule.factor(done), |own| own(done));
            let learning_rate = factor * self.config.learning_rate;
            state.optimizer.set_learning_rate(learning_rate);
            if let Some(own) = &mut own {
                own.set_learning_rate(learning_rate);
            }
            tch::manual_seed(step_seed(self.config.seed.wrapping_add((self.group.rank() as u64) << 32), step));
            let report = buffers.around(|| self.take_one(net, loss, data, &mut state, own.as_mut(), to))?;
            buffers.average(&self.group)?;
            let step = step + 1;
            state.progress.step = step;
            let epoch = self.epoch(step, labels.len());
            let validation = if epoch > self.epoch(step - 1, labels.len()) {
                self.score(epoch, loss, vs, &mut state.progress)?
            } else {
                None
            };
            let sitting = started.elapsed();
            state.progress.seconds = first.seconds + sitting.as_secs_f64();
            let remaining = sitting.as_secs_f64() / (step - first.step) as f64 * (steps - step) as f64;
            let remaining = Duration::try_from_secs_f64(remaining).unwrap_or(Duration::MAX);
            let step = Step { step, steps, epoch, learning_rate, loss: report, validation, remaining };
            if let Some(log) = &mut log {
                log.row(&step)?;
            }
            if self.any_rank(observe(&step).is_break())? {
                end = End::Stopped;
            } else if step.step < steps && self.is_stale(&state.progress) {
                end = End::Early;
            }
            self.save(vs, &state, own.is_some(), log.as_ref(), end != End::Finished || step.step == steps)?;
        }
        let Progress { step, best, seconds, .. } = state.progress;
        Ok(Outcome { end, steps: step, best, seconds })
    }

    /// Whether each file can be what it is for, asked before the first step: otherwise it would come out after an epoch,
    /// or never.
    fn require_files_apart(&self) -> Result<()> {
        let refuse = |field, expected: &str, got: String| Err(Error::config(field, expected, got));
        let checkpoint = self.checkpoint.as_ref().map(|(path, _)| path);
        if self.resume && self.optimizer.is_some() {
            return refuse("resume", "AdamW, whose state can be saved", "an optimizer of one's own".into());
        }
        if self.resume && checkpoint.is_none() {
            return refuse("resume", "a checkpoint to go on from", "none".into());
        }
        const ALONE: &str = "a file that the run writes nothing else to";
        if let Some(log) = self.log.as_ref().filter(|&log| checkpoint == Some(log)) {
            return refuse("log", ALONE, log.display().to_string());
        }
        let Some(best) = &self.best else { return Ok(()) };
        if self.validate.is_none() {
            let got = format!("{} without one", best.display());
            return refuse("keep_best", "a validation that says which weights are best", got);
        }
        if [checkpoint, self.log.as_ref()].contains(&Some(best)) {
            return refuse("keep_best", ALONE, best.display().to_string());
        }
        if !self.group.is_first() {
            return Ok(());
        }
        remove_partials(best);
        require_writable(best).map_err(Error::io("write", best))
    }

    /// The state that the run begins or goes on with.
    fn begin(&mut self, vs: &nn::VarStore, labels: &[i64]) -> Result<(RunState, Option<Box<dyn Optimizer>>)> {
        let FitConfig { learning_rate, weight_decay, sampling, batch_size, seed, .. } = self.config;
        for part in &self.frozen {
            params::freeze(vs, part)?;
        }
        let mut optimizer = AdamWConfig { learning_rate, weight_decay, ..Default::default() }.build(vs)?;
        for (part, factor) in &self.rates {
            optimizer.set_rate_of(part, *factor)?;
        }
        set_weight_decay(&mut optimizer, vs, weight_decay)?;
        let sampler = Sampler::new(labels, sampling, batch_size, seed)?;
        let progress = Progress { fit: self.config, step: 0, stale_epochs: 0, best: None, seconds: 0.0 };
        let mut state = RunState { optimizer, sampler, progress };
        if let Some((path, _)) = &self.checkpoint {
            if self.group.is_first() {
                remove_partials(path);
                require_writable(path).map_err(Error::io("write", path))?;
            }
            self.group.barrier()?;
            if self.resume && path.exists() {
                let before = checkpoint::load_run_as(path, vs, self.about(), &mut state)?;
                let steady = self.schedule.is_none() && self.before_step.is_none();
                say_if_longer(before, &self.config, steady);
            }
        }
        let own = self.optimizer.take().map(|build| build(vs)).transpose()?;
        Ok((state, own))
    }

    /// Epochs finished after `step` steps. The last may be short of less than a batch.
    fn epoch(&self, step: usize, samples: usize) -> usize {
        if step == self.config.steps(samples) {
            return self.config.epochs;
        }
        step * self.config.batch_size * self.config.accumulate / samples
    }

    /// Scores the network; keeps its weights if it is the best so far.
    fn score(&mut self, epoch: usize, loss: &L, vs: &nn::VarStore, progress: &mut Progress) -> Result<Option<f64>> {
        let Some(validate) = &mut self.validate else { return Ok(None) };
        let score = self.group.broadcast(&Tensor::from(validate(loss)?), 0)?.double_value(&[]);
        if !score.is_finite() {
            return Err(Error::Tensor {
                what: "validation",
                expected: format!("a finite score after epoch {epoch}"),
                got: score.to_string(),
            });
        }
        if progress.best.is_none_or(|best| score > best.score) {
            (progress.best, progress.stale_epochs) = (Some(Best { epoch, score }), 0);
            if let Some(path) = &self.best {
                require_finite(vs, progress.step)?;
                self.write(path, vs, None)?;
            }
        } else if epoch > self.config.least_epochs {
            progress.stale_epochs += 1;
        }
        Ok(Some(score))
    }

    fn is_stale(&self, progress: &Progress) -> bool {
        self.config.patience.is_some_and(|patience| progress.stale_epochs >= patience)
    }

    /// What checkpoints say of themselves.
    pub(super) fn about(&self) -> checkpoint::About<'_, Value> {
        let Self { meta, config_type, origin, frozen, .. } = self;
        checkpoint::About { meta, config_type: *config_type, origin, frozen }
    }

    fn save(&self, vs: &nn::VarStore, state: &RunState, own: bool, log: Option<&Log>, last: bool) -> Result<()> {
        let step = state.progress.step;
        let due = self.checkpoint.as_ref().filter(|(_, every)| last || step.is_multiple_of(*every));
        if last || due.is_some() {
            require_finite(vs, step)?;
        }
        let Some((path, _)) = due else { return Ok(()) };
        // The log may run ahead of the checkpoint, but never behind it.
        log.map_or(Ok(()), Log::sync)?;
        self.write(path, vs, (!own).then_some(state))
    }
}

/// Labels that the loss has no class for, found before the first step instead of in the epoch that meets them.
fn require_labels(labels: &[i64], loss: &(impl Loss + ?Sized)) -> Result<()> {
    let Some(num_classes) = loss.num_classes() else { return Ok(()) };
    match labels.iter().position(|label| !(0..num_classes).contains(label)) {
        Some(position) => Err(Error::Label { position, label: labels[position], num_classes }),
        None => Ok(()),
    }
}

/// A run of more epochs than it began with is the run of so many epochs only where nothing depends on its length.
fn say_if_longer(before: usize, config: &FitConfig, steady: bool) {
    let FitConfig { epochs, schedule, .. } = config;
    if before < *epochs && !(steady && *schedule == Schedule::Constant) {
        notice(&format!(
            "a run of {before} epochs goes on to {epochs}: its learning rates and warm-ups are of {epochs} epochs from \
             here on, and it is not the run that had {epochs} from its beginning"
        ));
    }
}

/// A finite loss may have an infinite gradient, and the weights that it moved must not replace good ones.
fn require_finite(vs: &nn::VarStore, step: usize) -> Result<()> {
    let mut variables: Vec<_> = vs.variables().into_iter().collect();
    variables.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    for (name, variable) in variables {
        if !bool::try_from(variable.detach().f_isfinite()?.f_all()?)? {
            return Err(Error::Diverged { step, what: format!("NaN or infinity in `{name}`") });
        }
    }
    Ok(())
}

/// A seed for libtorch in each step: what dropout draws does not depend on where a run was interrupted.
fn step_seed(seed: u64, step: usize) -> i64 {
    // The finalizer of SplitMix64, so that neighboring steps share nothing.
    let mut mixed = seed ^ (step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as i64
}
