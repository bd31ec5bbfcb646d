//! From embeddings or scores to one curve, and to counts by class.

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use soft_lmccl::distributed::Group;
use soft_lmccl::metrics::files::{Samples, ScoredPairs, TrialFormat, TrialList, TrialNotes};
use soft_lmccl::metrics::ndarray::Axis;
use soft_lmccl::metrics::{
    Calibration, ClassCounts, CohortScores, EmbeddingSet, Gallery, Identification, PairProtocol, PairScores, Prototype,
    RocCurve, VerificationThreshold,
};
use soft_lmccl::tch::{Device, Tensor};
use soft_lmccl::verify::{AllPairs, ClassCuts, CountProgress, DeviceSet, Pairs};

use super::args::{Args, Calibrate, Listed};
use super::samples::{Loaded, extension_is, load, load_both, load_cohort};
use crate::program::undisturbed;

/// All that figures are read off.
pub struct Scored {
    pub roc: RocCurve,
    /// Where classes are known.
    pub classes: Option<ClassCounts>,
    /// Which pairs these are.
    pub pairs: &'static str,
    /// The files.
    pub files: String,
    /// The samples, if there are any.
    pub samples: Option<Loaded>,
    pub notes: Option<TrialNotes>,
    pub search: Option<Identification>,
    /// Whether scores are log-likelihood ratios.
    pub calibrated: bool,
    pub seconds: f64,
}

/// Reads and compares what is asked for; `None` on the ranks that have only counted for the first.
///
/// Pairs of embeddings are dealt out to the ranks. What is read from a list, or held in memory, is the first one's.
pub fn score(
    args: &Args,
    applied: Option<&VerificationThreshold>,
    group: &Group,
    interrupted: fn() -> bool,
) -> Result<Option<Scored>> {
    let is_held = args.as_norm.is_some() || args.calibrate.is_some() || args.calibration.is_some();
    if !group.is_first() && (args.scores.is_some() || args.trials.is_some() || is_held) {
        return Ok(None);
    }
    if let Some(path) = &args.scores {
        return of_scores(args, path).map(Some);
    }
    let embeddings = args.embeddings.as_deref().context("expected embeddings or --scores, got neither")?;
    if let Some(gallery) = &args.gallery {
        return of_gallery(args, embeddings, gallery, cuts(applied), group, interrupted);
    }
    let loaded = load(args, embeddings)?;
    if group.is_first() {
        warn_of_collapse(&loaded.set);
    }
    match &args.trials {
        Some(list) => of_trials(args, loaded, list, interrupted).map(Some),
        None if is_held => held(args, loaded).map(Some),
        None => {
            of_all(args, loaded, cuts(applied), group, interrupted).map(|scored| group.is_first().then_some(scored))
        }
    }
}

/// A threshold that is given is counted at as it is.
fn cuts(applied: Option<&VerificationThreshold>) -> ClassCuts {
    ClassCuts { thresholds: applied.map(VerificationThreshold::value).into_iter().collect(), ..ClassCuts::default() }
}

fn of_all(args: &Args, loaded: Loaded, cuts: ClassCuts, group: &Group, interrupted: fn() -> bool) -> Result<Scored> {
    let bar = bar_of_first(group, "pairs");
    let start = Instant::now();
    let (roc, classes) = match args.device {
        Device::Cpu => {
            let (how, tell) = (AllPairs::default(), tell(&bar, interrupted));
            let counted = group.count_pairs_by_class(&how, &loaded.set, &cuts, tell);
            let counted = counted.with_context(|| loaded.files.clone())?;
            (counted.histogram.roc(), Some(counted.classes))
        }
        device => {
            let (rows, columns) = loaded.rows.dim();
            let values: Vec<f32> = loaded.rows.iter().copied().collect();
            let tensor = Tensor::from_slice(&values).view([rows as i64, columns as i64]).to_device(device);
            let set =
                DeviceSet::new(&tensor, &Tensor::from_slice(&loaded.labels)).with_context(|| loaded.files.clone())?;
            let counted = group.count_pairs(&AllPairs::default(), &set, tell(&bar, interrupted));
            (counted.with_context(|| loaded.files.clone())?.roc(), None)
        }
    };
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    Ok(Scored { classes, seconds, ..Scored::new(roc, "all pairs", loaded) })
}

/// All pairs in memory, for whatever changes their scores.
fn held(args: &Args, loaded: Loaded) -> Result<Scored> {
    let start = Instant::now();
    let files = || loaded.files.clone();
    let mut scores = loaded.set.pair_scores(PairProtocol::All).with_context(files)?;
    let pairs = loaded.set.pairs(PairProtocol::All).with_context(files)?;
    if let Some(path) = &args.as_norm {
        let cohort = CohortScores::of(&loaded.set, &load_cohort(args, path)?, args.top).with_context(files)?;
        scores = scores.as_norm(&pairs, &cohort).with_context(files)?;
    }
    let (scores, calibrated) = calibrated(args, scores)?;
    let roc = scores.roc();
    let label = |row: usize| loaded.set.labels()[row];
    let trials = pairs.iter().zip(scores.scores()).map(|(&(i, j), &score)| (label(i), label(j), score));
    let classes = Some(ClassCounts::across_trials(&roc, trials).with_context(files)?);
    let seconds = start.elapsed().as_secs_f64();
    Ok(Scored { classes, calibrated, seconds, ..Scored::new(roc, "all pairs", loaded) })
}

fn of_scores(args: &Args, path: &Path) -> Result<Scored> {
    let files = match &args.same {
        Some(same) => format!("{} with {}", path.display(), same.display()),
        None => path.display().to_string(),
    };
    let ScoredPairs { pairs, classes } =
        ScoredPairs::open(path, args.same.as_deref()).with_context(|| files.clone())?;
    let start = Instant::now();
    let (pairs, calibrated) = calibrated(args, pairs)?;
    let roc = pairs.roc();
    let counts = |classes: Vec<[u32; 2]>| {
        let trials = classes.iter().zip(pairs.scores()).map(|(&[a, b], &score)| (a, b, score));
        ClassCounts::across_trials(&roc, trials)
    };
    let classes = classes.map(counts).transpose().with_context(|| files.clone())?;
    let seconds = start.elapsed().as_secs_f64();
    let (samples, notes, search) = (None, None, None);
    Ok(Scored { roc, classes, pairs: "scored pairs", files, samples, notes, search, calibrated, seconds })
}

/// Applies a calibration, or fits and saves one; whether there is one.
fn calibrated(args: &Args, pairs: PairScores) -> Result<(PairScores, bool)> {
    let calibration = match (&args.calibration, args.calibrate, &args.calibration_out) {
        (Some(path), ..) => Calibration::load(path)?,
        (None, Some(kind), Some(path)) => {
            let fitted = match kind {
                Calibrate::Logistic => Calibration::logistic(&pairs, args.prior)?,
                Calibrate::Isotonic => Calibration::isotonic(&pairs.roc()),
            };
            undisturbed(|| fitted.save(path))?;
            fitted
        }
        _ => return Ok((pairs, false)),
    };
    Ok((pairs.calibrated(&calibration)?, true))
}

fn of_trials(args: &Args, loaded: Loaded, list: &Path, interrupted: fn() -> bool) -> Result<Scored> {
    let ids = loaded.ids.clone().with_context(|| {
        format!("{}: expected ids of the samples (--samples with a column `{}`), got none", loaded.files, args.id)
    })?;
    let default = if extension_is(list, "csv") { Listed::Csv } else { Listed::VoxCeleb };
    let format = TrialFormat::from(args.trial_format.unwrap_or(default));
    let samples = Samples::new(loaded.set.clone(), ids).with_context(|| loaded.files.clone())?;
    let bar = progress_bar("bytes of the list");
    let start = Instant::now();
    let tell = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let scored = TrialList::new(list, format).score_with(&samples, tell).with_context(|| list.display().to_string())?;
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let files = format!("{}, {}", loaded.files, list.display());
    let (roc, classes, notes) = (scored.histogram.roc(), scored.classes, Some(scored.notes));
    Ok(Scored { classes, notes, seconds, files, ..Scored::new(roc, "listed pairs", loaded) })
}

fn of_gallery(
    args: &Args,
    embeddings: &Path,
    gallery: &Path,
    cuts: ClassCuts,
    group: &Group,
    interrupted: fn() -> bool,
) -> Result<Option<Scored>> {
    let (probes, gallery) = load_both(args, embeddings, gallery)?;
    let files = format!("{} against {}", probes.files, gallery.files);
    let bar = bar_of_first(group, "pairs");
    let start = Instant::now();
    let pairs = Pairs::between(&probes.set, &gallery.set).with_context(|| files.clone())?;
    let counted = group.count_pairs_by_class(&AllPairs::default(), pairs, &cuts, tell(&bar, interrupted));
    let counted = counted.with_context(|| files.clone())?;
    if !group.is_first() {
        return Ok(None);
    }
    let enrolled = Gallery::enroll(&gallery.set, Prototype::Mean).with_context(|| gallery.files.clone())?;
    let search = Some(enrolled.search(&probes.set).with_context(|| files.clone())?);
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let (roc, classes) = (counted.histogram.roc(), Some(counted.classes));
    Ok(Some(Scored {
        classes,
        search,
        seconds,
        files,
        ..Scored::new(roc, "each probe with each sample of the gallery", probes)
    }))
}

impl Scored {
    fn new(roc: RocCurve, pairs: &'static str, samples: Loaded) -> Self {
        let files = samples.files.clone();
        let (notes, search, samples) = (None, None, Some(samples));
        Self { roc, classes: None, pairs, files, samples, notes, search, calibrated: false, seconds: 0.0 }
    }

    /// A class for people.
    pub fn class_name(&self, label: u32) -> String {
        let names = self.samples.as_ref().and_then(|samples| samples.class_names.as_ref());
        names.and_then(|names| names.get(label as usize)).map_or_else(|| label.to_string(), Clone::clone)
    }
}

/// Where all directions are nearly one, rounding decides which pairs are more alike.
fn warn_of_collapse(set: &EmbeddingSet) {
    /// In multiples of a step of the grid that scores are rounded to.
    const TOO_FEW_STEPS: f64 = 1000.0;
    const STEP: f64 = 1.0 / (1u64 << 22) as f64;
    let sum = set.view().fold_axis(Axis(0), 0.0, |sum, &value| sum + f64::from(value));
    let (rows, squared) = (set.len() as f64, sum.iter().map(|x| x * x).sum::<f64>());
    // The mean over pairs of different rows of unit length.
    let distance = 1.0 - (squared - rows) / (rows * (rows - 1.0));
    if distance < TOO_FEW_STEPS * STEP {
        let _ = writeln!(
            io::stderr(),
            "warning: the embeddings have nearly one direction: cosines are {distance:.1e} below 1 on average, and are told \
             apart in steps of {STEP:.1e}"
        );
    }
}

fn tell(bar: &ProgressBar, interrupted: fn() -> bool) -> impl Fn(CountProgress) -> ControlFlow<()> + Sync + '_ {
    move |CountProgress { done, total }| {
        bar.set_length(total);
        bar.set_position(done);
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Ranks share a terminal.
fn bar_of_first(group: &Group, units: &str) -> ProgressBar {
    if group.is_first() { progress_bar(units) } else { ProgressBar::hidden() }
}

/// On stderr, if that is a terminal.
fn progress_bar(units: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(&format!("{{bar:40}} {{human_pos}} of {{human_len}} {units}, {{eta}} left"));
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
