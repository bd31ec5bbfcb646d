//! From the files to the figures.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::{ArrayView2, Axis};
use serde_json::{Value, json};
use soft_lmccl::MetricError;
use soft_lmccl::metrics::{
    BootstrapOptions, Curve, EerMethod, EmbeddingSet, Estimate, PairScores, TarAtFar, ThresholdRule,
    VerificationThreshold,
};
use soft_lmccl::tch::{Device, Tensor};
use soft_lmccl::verify::{AllPairs, CountProgress, DeviceSet};

use super::args::Args;
use super::npy;

/// What is to be printed, and why there is no threshold if one was asked for.
pub struct Outcome {
    pub output: String,
    pub unsaved: Option<anyhow::Error>,
}

/// Reads, measures, saves the threshold if one is asked for.
pub fn run(args: &Args, interrupted: fn() -> bool) -> Result<Outcome> {
    let measured = match (&args.embeddings, &args.labels, &args.scores, &args.same) {
        (Some(embeddings), Some(labels), ..) => of_embeddings(args, embeddings, labels, interrupted)?,
        (_, _, Some(scores), Some(same)) => of_scores(args, scores, same)?,
        _ => anyhow::bail!("expected --embeddings with --labels, or --scores with --same"),
    };
    let output = if args.json { measured.json().to_string() } else { measured.table() };
    Ok(Outcome { output, unsaved: measured.threshold.and_then(Result::err) })
}

fn of_embeddings(args: &Args, embeddings: &Path, labels: &Path, interrupted: fn() -> bool) -> Result<Measured> {
    let npy::Matrix { rows, columns, values } = npy::matrix(embeddings)?;
    let classes = npy::labels(labels)?;
    let view = ArrayView2::from_shape((rows, columns), &values).with_context(|| embeddings.display().to_string())?;
    let files = || format!("{} with {}", embeddings.display(), labels.display());
    let set = EmbeddingSet::new(view, &classes).with_context(files)?;
    warn_of_collapse(&set);

    let bar = progress_bar();
    let tell = |CountProgress { done, total }| {
        bar.set_length(total);
        bar.set_position(done);
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let start = Instant::now();
    let histogram = match args.device {
        Device::Cpu => AllPairs::default().count_with(&set, tell),
        device => {
            let tensor = Tensor::from_slice(&values).view([rows as i64, columns as i64]).to_device(device);
            let on_device = DeviceSet::new(&tensor, &Tensor::from_slice(&classes)).with_context(files)?;
            AllPairs::default().count_with(&on_device, tell)
        }
    }
    .with_context(files)?;
    bar.finish_and_clear();

    let mut measured = Measured::of(args, &histogram, start)?;
    measured.embeddings = Some((rows, columns));
    if let Some(draws) = args.bootstrap {
        measured.intervals = Some(intervals(args, &set, draws, interrupted).with_context(files)?);
    }
    Ok(measured)
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

fn of_scores(args: &Args, scores: &Path, same: &Path) -> Result<Measured> {
    let (values, truths) = (npy::scores(scores)?, npy::truths(same)?);
    let start = Instant::now();
    let pairs =
        PairScores::new(values, truths).with_context(|| format!("{} with {}", scores.display(), same.display()))?;
    Measured::of(args, &pairs.roc(), start)
}

/// Percentile intervals; `redrawn` is there only if draws had to be repeated.
pub fn intervals(args: &Args, set: &EmbeddingSet, draws: u32, interrupted: fn() -> bool) -> Result<Value> {
    let options = BootstrapOptions { draws, ..Default::default() };
    let found = set.bootstrap(&options, |roc| {
        if interrupted() {
            return Err(MetricError::Stopped { done: 0, total: draws.into(), units: "draws" });
        }
        let tar = args.far.iter().map(|&far| Ok(roc.at_far(far)?.point.tar()));
        [Ok(roc.auc()), Ok(roc.eer(EerMethod::Linear))].into_iter().chain(tar).collect::<Result<Vec<_>, _>>()
    })?;
    let mut intervals = found.estimates.iter().map(|Estimate { interval, .. }| json!([interval.low, interval.high]));
    let mut next = || intervals.next().expect("an estimate of each figure");
    let (auc, eer) = (next(), next());
    let tar: Vec<Value> = args.far.iter().map(|&far| json!({ "target_far": far, "tar": next() })).collect();
    let mut intervals = json!({ "level": options.level, "draws": draws, "auc": auc, "eer": eer, "tar_at_far": tar });
    if found.redrawn > 0 {
        intervals["redrawn"] = found.redrawn.into();
    }
    Ok(intervals)
}

/// Everything that is printed.
struct Measured {
    /// How many, and of how many dimensions.
    embeddings: Option<(usize, usize)>,
    positives: u64,
    negatives: u64,
    auc: f64,
    eer: f64,
    eer_threshold: f64,
    best_accuracy: f64,
    tar_at_far: Vec<TarAtFar>,
    seconds: f64,
    intervals: Option<Value>,
    /// If one was asked for; a failure to fit or to save it takes nothing from the other figures.
    threshold: Option<Result<VerificationThreshold>>,
}

impl Measured {
    /// Reads the figures off; `start` is when work on the pairs began.
    fn of(args: &Args, curve: &impl Curve, start: Instant) -> Result<Self> {
        let counts = curve.counts();
        let tar_at_far = args.far.iter().map(|&far| Ok(curve.at_far(far)?.into())).collect::<Result<_>>()?;
        let mut measured = Self {
            embeddings: None,
            positives: counts.matching,
            negatives: counts.non_matching,
            auc: curve.auc(),
            eer: curve.eer(EerMethod::Linear),
            eer_threshold: curve.eer_point().threshold,
            best_accuracy: curve.best_accuracy().accuracy(),
            tar_at_far,
            seconds: start.elapsed().as_secs_f64(),
            intervals: None,
            threshold: None,
        };
        if let Some(path) = &args.threshold_out {
            let rule = args.threshold_for.unwrap_or(ThresholdRule::AtFar { target_far: args.far[0] });
            measured.threshold = Some(saved_threshold(curve, rule, path));
        }
        Ok(measured)
    }

    fn json(&self) -> Value {
        // JSON has no infinity: a threshold at which nothing is accepted is null, as everywhere.
        let mut object = json!({
            "embeddings": self.embeddings.map(|(rows, _)| rows),
            "dim": self.embeddings.map(|(_, columns)| columns),
            "pairs": self.positives + self.negatives,
            "positives": self.positives,
            "negatives": self.negatives,
            "auc": self.auc,
            "eer": self.eer,
            "eer_threshold": self.eer_threshold.is_finite().then_some(self.eer_threshold),
            "best_accuracy": self.best_accuracy,
            "tar_at_far": self.tar_at_far,
            "seconds": self.seconds,
        });
        if let Some(intervals) = &self.intervals {
            object["intervals"] = intervals.clone();
        }
        object
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<20}{value}"); // a String takes everything
        };
        if let Some((rows, columns)) = self.embeddings {
            line("embeddings", format!("{rows} of {columns} dimensions"));
        }
        line("pairs", format!("{} matching, {} non-matching", self.positives, self.negatives));
        let interval = |value: &Value| match (&value[0], &value[1]) {
            (Value::Number(low), Value::Number(high)) => {
                format!("  ({:.5} to {:.5})", low.as_f64().unwrap_or(f64::NAN), high.as_f64().unwrap_or(f64::NAN))
            }
            _ => String::new(),
        };
        let intervals = self.intervals.clone().unwrap_or_default();
        line("AUC", format!("{:.6}{}", self.auc, interval(&intervals["auc"])));
        line("EER", format!("{:.6} at {:.6}{}", self.eer, self.eer_threshold, interval(&intervals["eer"])));
        line("best accuracy", format!("{:.6}", self.best_accuracy));
        for (number, at) in self.tar_at_far.iter().enumerate() {
            let value = match at.resolvable {
                true => format!("{:.6} at {:.6}, {} false accepts", at.tar, at.threshold, at.false_accepts),
                false => "below resolution".to_owned(),
            };
            let interval = interval(&intervals["tar_at_far"][number]["tar"]);
            line(&format!("TAR @ FAR {:e}", at.target_far), value + &interval);
        }
        if let Some(redrawn) = intervals["redrawn"].as_u64() {
            line("redrawn", format!("{redrawn} draws had one kind of pair only"));
        }
        if let Some(Ok(threshold)) = &self.threshold {
            line("threshold", format!("{:.6}", threshold.value()));
        }
        line("seconds", format!("{:.3}", self.seconds));
        text.trim_end().to_owned()
    }
}

fn saved_threshold(curve: &impl Curve, rule: ThresholdRule, path: &Path) -> Result<VerificationThreshold> {
    let unsaved = || format!("no threshold in {}", path.display());
    let threshold = VerificationThreshold::fit_curve(curve, rule).with_context(unsaved)?;
    threshold.save(path)?;
    Ok(threshold)
}

/// On stderr, if that is a terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} pairs, {eta} left");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
