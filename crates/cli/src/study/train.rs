//! One run: train a network, test it on every set it is asked to.

use std::{fs, ops::ControlFlow, path::Path, time::Instant};

use anyhow::{Context, Result, anyhow};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use soft_lmccl::{
    Error, MetricError,
    cect::Batch,
    loss::Loss,
    model::{Embedder, Trained},
    tch::{self, Device, Tensor, nn},
    train::{
        self, Augmented, End, FitConfig, InMemory, Step, Trainer, TrainingSet, WarmUp,
        checkpoint::{self, Meta, Origin},
        embed_raw,
    },
};

use super::{
    data::Domains,
    evaluate::{Evaluation, digits, evaluate},
    plan::{Domain, Roles, Run},
    recipe::{Objective, Regime, Supply},
    store::Sitting,
};
use crate::carryover::profiles;

/// Subtomograms that go through the network together when it only embeds.
const EMBED_BATCH: i64 = 128;
/// Steps between checkpoints: some seconds of work.
const CHECKPOINT_STEPS: usize = 50;
/// Points of a training curve, at most.
const CURVE_POINTS: usize = 200;

/// What a finished run leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub fingerprint: String,
    pub run: Run,
    /// Classes trained on.
    pub known: Vec<String>,
    pub outcome: Outcome,
    pub curve: TrainingCurve,
    pub train_seconds: f64,
    /// With simulating, as far as it was not shared, and evaluating.
    pub seconds: f64,
    /// Threads of libtorch; records of before it was kept lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Tested(Vec<Evaluation>),
    /// The loss left the numbers, or the embeddings have no direction: a result too.
    Failed(String),
}

impl Record {
    /// What was measured on a set, if it was.
    pub fn evaluation(&self, test: Domain) -> Option<&Evaluation> {
        match &self.outcome {
            Outcome::Tested(evaluations) => evaluations.iter().find(|evaluation| evaluation.test == test),
            Outcome::Failed(_) => None,
        }
    }
}

/// The loss over the steps, each point a mean over the steps since the last one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingCurve {
    /// Names of the terms; values are before weighting.
    pub terms: Vec<String>,
    /// Last step of each point, and the mean of the terms.
    pub points: Vec<(usize, Vec<f64>)>,
}

impl TrainingCurve {
    /// Reads the trainer's log, which has the steps of earlier sittings too.
    fn of_log(path: &Path) -> Result<Self> {
        /// Columns before the terms: step, epoch, learning rate, validation, total.
        const OTHERS: usize = 5;
        let refuse = |problem: String| anyhow!("{}: {problem}", path.display());
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut lines = text.lines();
        let terms: Vec<String> = lines.next().unwrap_or_default().split(',').skip(OTHERS).map(str::to_owned).collect();
        let rows = lines
            .map(|line| line.split(',').skip(OTHERS).map(str::parse).collect())
            .collect::<Result<Vec<Vec<f64>>, _>>()
            .map_err(|error| refuse(error.to_string()))?;
        let each = rows.len().div_ceil(CURVE_POINTS).max(1);
        let point = |(index, rows): (usize, &[Vec<f64>])| {
            let mean = |term: usize| digits(rows.iter().map(|row| row[term]).sum::<f64>() / rows.len() as f64, 5);
            (index * each + rows.len(), (0..terms.len()).map(mean).collect())
        };
        if rows.iter().any(|row| row.len() != terms.len()) {
            return Err(refuse(format!("a row has not the {} terms of the first line", terms.len())));
        }
        Ok(Self { points: rows.chunks(each).enumerate().map(point).collect(), terms })
    }
}

/// Rendered sets that the next run may want again: those of one seed and split.
#[derive(Debug, Default)]
pub struct Shared {
    key: Option<(Roles, u64)>,
    train: Option<(Domain, Supply, Batch)>,
    tests: Vec<(Domain, Batch)>,
}

/// What happens while a run goes on; says whether to go on.
pub trait Observer {
    /// A set is about to be simulated.
    fn simulating(&self, domain: Domain, samples: usize);
    /// So many samples of it are there.
    fn simulated(&self, done: usize);
    /// A training step was made.
    fn step(&self, step: &Step) -> ControlFlow<()>;
    /// The network is being tested.
    fn testing(&self, domain: Domain);
}

/// Trains and tests; `None` if the observer stopped it. Until then a checkpoint and a log are kept in `sitting`,
/// and with `resume` the run goes on from there.
///
/// # Errors
/// What simulating and libtorch fail with. A loss that is not finite and embeddings that have no
/// direction are not errors but outcomes.
pub fn run(
    run: &Run,
    domains: &Domains,
    device: Device,
    (sitting, resume): (&Sitting, bool),
    shared: &mut Shared,
    observer: &(impl Observer + Sync),
) -> Result<Option<Record>> {
    let started = Instant::now();
    let settings = domains.settings();
    let key = (run.roles, run.seed);
    if shared.key != Some(key) {
        *shared = Shared { key: Some(key), ..Default::default() };
    }
    let source = domains.source(run.train, run.roles, run.seed, run.recipe.supply)?;
    let supply = run.recipe.supply;
    let wanted = (run.train, supply);
    let is_trained = run.recipe.objective != Objective::RadialProfile;
    if is_trained
        && !supply.streamed
        && !matches!(shared.train, Some((domain, supply, _)) if (domain, supply) == wanted)
    {
        shared.train = None;
        observer.simulating(run.train, source.sizes().0);
        shared.train = Some((wanted.0, wanted.1, source.train(|done| observer.simulated(done))?));
    }
    for &test in &run.tests {
        if !shared.tests.iter().any(|(domain, _)| *domain == test) {
            let source = domains.source(test, run.roles, run.seed, Supply::default())?;
            observer.simulating(test, source.sizes().1);
            shared.tests.push((test, source.test(|done| observer.simulated(done))?));
        }
    }
    if !is_trained {
        let outcome = test_all(run, domains, shared, profiles, observer)?;
        return Ok(Some(Record {
            fingerprint: settings.fingerprint(run),
            run: run.clone(),
            known: Vec::new(),
            outcome,
            curve: TrainingCurve::default(),
            train_seconds: 0.0,
            seconds: started.elapsed().as_secs_f64(),
            threads: usize::try_from(tch::get_num_threads()).ok(),
        }));
    }
    let mut known = source.known();
    known.truncate(run.recipe.known.unwrap_or(known.len()));
    let (volumes, labels);
    let data: Box<dyn TrainingSet> = match &shared.train {
        Some((_, _, batch)) if !supply.streamed => {
            (volumes, labels) = restricted(batch, run.recipe.known)?;
            Box::new(InMemory::new(&volumes, &labels)?)
        }
        _ => Box::new(source.stream(known.len())?),
    };

    let Regime { network, epochs, augment, warm_up, half_turns } = run.recipe.regime.clone();
    let network = network.unwrap_or_else(|| settings.network.clone());
    let fit = FitConfig {
        seed: run.seed,
        sampling: run.recipe.sampling,
        epochs: epochs.unwrap_or(settings.fit.epochs),
        ..settings.fit
    };
    tch::manual_seed(run.seed as i64);
    let vs = nn::VarStore::new(device);
    let trained = Trained { network, side: settings.side, voxel_size: source.voxel_size(), half_turns };
    let net = trained.init(&vs)?;
    let path = &(vs.root() / "loss");
    let (classes, dim) = (known.len() as i64, trained.network.embedding_dim());
    let data = match augment {
        Some(config) => Box::new(Augmented::new(data, config, settings.side, run.seed)?),
        None => data,
    };
    let fingerprint = settings.fingerprint(run);
    let (data, known_names) = (data.as_ref(), known.as_slice());
    let training = Training { net: &net, vs: &vs, data, fit, fingerprint: &fingerprint, known_names, sitting, resume };
    let ended = match run.recipe.objective {
        Objective::SoftLmccl(config) if warm_up != WarmUp::default() => {
            let mut loss = config.init(path, classes, dim)?;
            training.run(&mut loss, |loss, done| warm_up.apply(loss, &config, done), observer)
        }
        objective => {
            let mut loss = objective.init(path, classes, dim)?;
            training.run(loss.as_mut(), |_, _| Ok(()), observer)
        }
    };
    let (outcome, train_seconds) = match ended {
        Ok(end) if end.end == End::Stopped => return Ok(None),
        Ok(end) => {
            if let Some(path) = &sitting.network {
                let origin = Origin::default().network(&trained)?;
                let meta = Meta { config: Kept { trained, run }, classes: known.clone() };
                checkpoint::save_of(path, &vs, &meta, &origin)?;
            }
            // With their lengths, which tell whether a network has collapsed.
            let embed = |batch: &Batch| Ok(embed_raw(&net, batch.chunks(EMBED_BATCH, device))?);
            (test_all(run, domains, shared, embed, observer)?, end.seconds)
        }
        Err(error @ Error::Diverged { .. }) => (Outcome::Failed(error.to_string()), started.elapsed().as_secs_f64()),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Record {
        fingerprint,
        run: run.clone(),
        known,
        outcome,
        curve: TrainingCurve::of_log(&sitting.log)?,
        train_seconds,
        seconds: started.elapsed().as_secs_f64(),
        threads: usize::try_from(tch::get_num_threads()).ok(),
    }))
}

/// What the file of a network that is kept says of it.
#[derive(Serialize)]
struct Kept<'a> {
    #[serde(flatten)]
    trained: Trained,
    run: &'a Run,
}

/// All of a training but its loss.
struct Training<'a> {
    net: &'a Embedder,
    vs: &'a nn::VarStore,
    data: &'a dyn TrainingSet,
    fit: FitConfig,
    fingerprint: &'a str,
    known_names: &'a [String],
    sitting: &'a Sitting,
    resume: bool,
}

impl Training<'_> {
    fn run<L: Loss + ?Sized>(
        &self,
        loss: &mut L,
        before_step: impl FnMut(&mut L, f64) -> soft_lmccl::Result<()>,
        observer: &impl Observer,
    ) -> soft_lmccl::Result<train::Outcome> {
        Trainer::new(self.fit)?
            .describe(&self.fingerprint, self.known_names)?
            .checkpoint(&self.sitting.checkpoint, CHECKPOINT_STEPS)
            .resume(self.resume)
            .log(&self.sitting.log)
            .before_step(before_step)
            .run(self.net, loss, self.vs, self.data, |step| observer.step(step))
    }
}

fn test_all(
    run: &Run,
    domains: &Domains,
    shared: &Shared,
    embed: impl Fn(&Batch) -> Result<(Array2<f32>, Vec<i64>)>,
    observer: &impl Observer,
) -> Result<Outcome> {
    let mut evaluations = Vec::new();
    for &test in &run.tests {
        observer.testing(test);
        let (_, batch) = shared.tests.iter().find(|(domain, _)| *domain == test).expect("rendered before training");
        let classes = domains.source(test, run.roles, run.seed, Supply::default())?.unknown();
        let (raw, labels) = embed(batch)?;
        // Maps are for looking at: one seed of one split, where the network is at home.
        let mapped = run.seed == 1 && run.roles == Roles::Split(0) && test == run.train;
        match evaluate(test, classes, raw.view(), &labels, domains.settings(), mapped) {
            Ok(evaluation) => evaluations.push(evaluation),
            Err(error) => match error.downcast::<MetricError>() {
                Ok(error) => return Ok(Outcome::Failed(format!("tested on {test}: {error}"))),
                Err(error) => return Err(error),
            },
        }
    }
    Ok(Outcome::Tested(evaluations))
}

/// The samples of the first so many known classes.
fn restricted(batch: &Batch, known: Option<usize>) -> Result<(Tensor, Tensor)> {
    let Some(known) = known else {
        return Ok((batch.volumes.shallow_clone(), batch.labels.shallow_clone()));
    };
    let rows = batch.labels.f_lt(known as i64)?.f_nonzero()?.f_flatten(0, -1)?;
    Ok((batch.volumes.f_index_select(0, &rows)?, batch.labels.f_index_select(0, &rows)?))
}
