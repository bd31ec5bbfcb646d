//! One run: train a network, test it on every set it is asked to.

use std::{ops::ControlFlow, time::Instant};

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use soft_lmccl::{
    Error, Result,
    cect::Batch,
    model::Network,
    tch::{self, Device, Kind, Tensor, nn, nn::ModuleT, no_grad_guard},
    train::{FitConfig, Step, fit},
};

use crate::{
    data::Source,
    evaluate::{Evaluation, evaluate},
    plan::{Domain, Roles, Run},
    recipe::Supply,
    settings::Settings,
};

/// Subtomograms that go through the network together when it only embeds.
const EMBED_BATCH: i64 = 128;
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

/// Sums steps until a point is full.
#[derive(Debug, Default)]
struct CurveRecorder {
    curve: TrainingCurve,
    sums: Vec<f64>,
    count: usize,
}

impl CurveRecorder {
    fn record(&mut self, step: &Step) {
        let terms = &step.loss.terms;
        if self.curve.terms.is_empty() {
            self.curve.terms = terms.iter().map(|(name, _, _)| name.clone()).collect();
        }
        self.sums.resize(terms.len(), 0.0);
        for (sum, (_, _, value)) in self.sums.iter_mut().zip(terms) {
            *sum += value;
        }
        self.count += 1;
        if self.count == step.steps.div_ceil(CURVE_POINTS) || step.step == step.steps {
            let count = self.count as f64;
            self.curve.points.push((step.step, self.sums.drain(..).map(|sum| sum / count).collect()));
            self.count = 0;
        }
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

/// Trains and tests; `None` if the observer stopped it.
///
/// # Errors
/// What simulating and libtorch fail with. A loss that is not finite and embeddings that have no
/// direction are not errors but outcomes.
pub fn run(
    run: &Run,
    settings: &Settings,
    device: Device,
    shared: &mut Shared,
    observer: &(impl Observer + Sync),
) -> Result<Option<Record>> {
    let started = Instant::now();
    let key = (run.roles, run.seed);
    if shared.key != Some(key) {
        *shared = Shared { key: Some(key), ..Default::default() };
    }
    let source = Source::open(run.train, run.roles, settings, run.seed, run.recipe.supply)?;
    let wanted = (run.train, run.recipe.supply);
    if !matches!(shared.train, Some((domain, supply, _)) if (domain, supply) == wanted) {
        shared.train = None;
        observer.simulating(run.train, source.sizes().0);
        shared.train = Some((wanted.0, wanted.1, source.train(|done| observer.simulated(done))?));
    }
    for &test in &run.tests {
        if !shared.tests.iter().any(|(domain, _)| *domain == test) {
            let source = Source::open(test, run.roles, settings, run.seed, Supply::default())?;
            observer.simulating(test, source.sizes().1);
            shared.tests.push((test, source.test(|done| observer.simulated(done))?));
        }
    }
    let (_, _, batch) = shared.train.as_ref().expect("rendered above");
    let mut known = source.known();
    let (volumes, labels) = restricted(batch, run.recipe.known)?;
    known.truncate(run.recipe.known.unwrap_or(known.len()));

    let training = Instant::now();
    tch::manual_seed(run.seed as i64);
    let vs = nn::VarStore::new(device);
    let net = settings.network.init(&(vs.root() / "net"), settings.side as i64)?;
    let mut loss =
        run.recipe.objective.init(&(vs.root() / "loss"), known.len() as i64, settings.network.embedding_dim())?;
    let config = FitConfig { seed: run.seed, sampling: run.recipe.sampling, ..settings.fit };
    let mut recorder = CurveRecorder::default();
    let fitted = fit(&net, loss.as_mut(), &vs, (&volumes, &labels), config, |step| {
        recorder.record(step);
        observer.step(step)
    });
    let train_seconds = training.elapsed().as_secs_f64();
    let outcome = match fitted {
        Ok(ControlFlow::Break(())) => return Ok(None),
        Ok(ControlFlow::Continue(())) => test_all(run, settings, device, &net, shared, observer)?,
        Err(error @ Error::Tensor { what: "loss", .. }) => Outcome::Failed(error.to_string()),
        Err(error) => return Err(error),
    };
    Ok(Some(Record {
        fingerprint: settings.fingerprint(run),
        run: run.clone(),
        known,
        outcome,
        curve: recorder.curve,
        train_seconds,
        seconds: started.elapsed().as_secs_f64(),
    }))
}

fn test_all(
    run: &Run,
    settings: &Settings,
    device: Device,
    net: &Network,
    shared: &Shared,
    observer: &impl Observer,
) -> Result<Outcome> {
    let mut evaluations = Vec::new();
    for &test in &run.tests {
        observer.testing(test);
        let (_, batch) = shared.tests.iter().find(|(domain, _)| *domain == test).expect("rendered before training");
        let classes = Source::open(test, run.roles, settings, run.seed, Supply::default())?.unknown();
        let (raw, labels) = embed_raw(net, batch, device)?;
        // Maps are for looking at: one seed of one split, where the network is at home.
        let mapped = run.seed == 1 && run.roles == Roles::Split(0) && test == run.train;
        match evaluate(test, classes, raw.view(), &labels, settings, mapped) {
            Ok(evaluation) => evaluations.push(evaluation),
            Err(Error::Metric(error)) => return Ok(Outcome::Failed(format!("tested on {test}: {error}"))),
            Err(error) => return Err(error),
        }
    }
    Ok(Outcome::Tested(evaluations))
}

/// Embeddings with their lengths, which tell whether a network has collapsed.
fn embed_raw(net: &Network, batch: &Batch, device: Device) -> Result<(Array2<f32>, Vec<i64>)> {
    let _frozen = no_grad_guard();
    let mut pieces = Vec::new();
    for piece in batch.chunks(EMBED_BATCH, device) {
        pieces.push(net.forward_t(&piece?.0, false).to_device(Device::Cpu).to_kind(Kind::Float));
    }
    let all = Tensor::f_cat(&pieces, 0)?.contiguous();
    let dim = all.size()[1] as usize;
    let values = Vec::<f32>::try_from(all.flatten(0, -1))?;
    let rows = Array2::from_shape_vec((values.len() / dim, dim), values).expect("rows of one length");
    Ok((rows, Vec::<i64>::try_from(&batch.labels)?))
}

/// The samples of the first so many known classes.
fn restricted(batch: &Batch, known: Option<usize>) -> Result<(Tensor, Tensor)> {
    let Some(known) = known else {
        return Ok((batch.volumes.shallow_clone(), batch.labels.shallow_clone()));
    };
    let rows = batch.labels.f_lt(known as i64)?.f_nonzero()?.f_flatten(0, -1)?;
    Ok((batch.volumes.f_index_select(0, &rows)?, batch.labels.f_index_select(0, &rows)?))
}
