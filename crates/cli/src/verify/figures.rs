//! Every figure, once: what the table, the report and the JSON say.

use anyhow::{Context, Result};
use serde::Serialize;
use soft_lmccl::MetricError;
use soft_lmccl::metrics::files::TrialNotes;
use soft_lmccl::metrics::{
    BootstrapOptions, ClassEstimate, ClassPair, CohortMatrix, CostPoint, DirPoint, EerMethod, FittedOn,
    IdentificationErrors, Interval, Intervals, OperatingPoint, RocCurve, StandardFigures, TarAtFar, ThresholdTable,
    TransactionRates, VerificationThreshold, low_auc_hint,
};

use super::args::Args;
use super::scored::Scored;

/// Everything that is printed. Keys of the JSON are these names.
#[derive(Serialize)]
pub struct Figures {
    pub data: String,
    pub compared: &'static str,
    pub embeddings: Option<usize>,
    pub dim: Option<usize>,
    /// Classes of the pairs, where they are known.
    pub classes: Option<usize>,
    pub pairs: u64,
    pub positives: u64,
    pub negatives: u64,
    /// How intervals came about, or why there are none.
    pub intervals: String,
    pub level: f64,
    pub auc: f64,
    pub auc_interval: Option<Interval>,
    pub eer: f64,
    pub eer_interval: Option<Interval>,
    /// Null where nothing is accepted there.
    pub eer_threshold: Option<f64>,
    pub best_accuracy: f64,
    pub tar_at_far: Vec<TarAtFar>,
    pub standard: StandardFigures,
    pub min_dcf: CostPoint,
    /// Of scores that are log-likelihood ratios.
    pub actual_dcf: Option<CostPoint>,
    pub cllr: Option<f64>,
    pub min_cllr: f64,
    pub threshold: Option<Judged>,
    /// Why there is none.
    pub no_threshold: Option<String>,
    pub transactions: Option<TransactionRates>,
    pub choosing: Option<ThresholdTable>,
    pub by_class: Option<ByClass>,
    pub cohorts: Option<CohortMatrix>,
    pub identification: Option<Search>,
    pub trials: Option<TrialNotes>,
    pub hint: Option<String>,
    pub seconds: f64,
}

/// A threshold, and what it attains on these pairs.
#[derive(Serialize)]
pub struct Judged {
    pub value: f64,
    /// "chosen" on these pairs, or "applied": on others.
    pub origin: &'static str,
    pub fitted_on: Option<FittedOn>,
    pub here: OperatingPoint,
    pub hter: f64,
    pub fmr_interval: Option<Interval>,
    pub fnmr_interval: Option<Interval>,
    #[serde(skip)]
    pub threshold: VerificationThreshold,
}

/// Errors of each class at one of the thresholds that are counted by class.
#[derive(Serialize)]
pub struct ByClass {
    pub threshold: f64,
    /// The TAR of each class, lowest first.
    pub tar: Vec<ClassPair>,
    /// Two classes each, most confused first; those without a false accept are left out.
    pub confused: Vec<ClassPair>,
}

/// A search of the gallery.
#[derive(Serialize)]
pub struct Search {
    pub rank_1: Option<f64>,
    pub auroc: Option<f64>,
    pub dir_at_fpir: Vec<DirPoint>,
    pub at: IdentificationErrors,
}

/// Reads all figures off.
pub fn read(
    args: &Args,
    scored: &Scored,
    judged: Result<VerificationThreshold, String>,
    stop: fn() -> bool,
) -> Result<Figures> {
    let Scored { roc, classes, .. } = scored;
    let files = || scored.files.clone();
    let counts = roc.counts();
    let closed = classes.as_ref().map(|classes| Intervals::new(roc, classes, args.level)).transpose()?;
    let (judged, no_threshold) = match judged {
        Ok(threshold) => (Some(threshold), None),
        Err(reason) => (None, Some(reason)),
    };
    let origin = if args.threshold.is_some() { "applied" } else { "chosen" };
    let mut figures = Figures {
        data: files(),
        compared: scored.pairs,
        embeddings: scored.samples.as_ref().map(|samples| samples.set.len()),
        dim: scored.samples.as_ref().map(|samples| samples.set.dim()),
        classes: closed.as_ref().map(Intervals::classes),
        pairs: counts.total(),
        positives: counts.matching,
        negatives: counts.non_matching,
        intervals: String::new(),
        level: args.level,
        auc: roc.auc(),
        auc_interval: None,
        eer: roc.eer(EerMethod::Linear),
        eer_interval: None,
        eer_threshold: Some(roc.eer_point().threshold).filter(|threshold| threshold.is_finite()),
        best_accuracy: roc.best_accuracy().accuracy(),
        tar_at_far: args.far.iter().map(|&far| Ok(roc.at_far(far)?.into())).collect::<Result<_>>()?,
        standard: StandardFigures::of(roc)?,
        min_dcf: args.cost().least(roc)?,
        actual_dcf: scored.calibrated.then(|| args.cost().actual(roc)).transpose()?,
        cllr: scored.calibrated.then(|| roc.cllr()),
        min_cllr: roc.min_cllr(),
        threshold: judged.map(|threshold| judge(threshold, origin, roc, closed.as_ref())),
        no_threshold,
        transactions: None,
        choosing: None,
        by_class: None,
        cohorts: None,
        identification: None,
        trials: scored.notes.clone(),
        hint: low_auc_hint(roc.auc()),
        seconds: scored.seconds,
    };
    match (args.bootstrap, &closed) {
        (Some(draws), _) => bootstrap(args, scored, draws, &mut figures, stop).with_context(files)?,
        (None, Some(intervals)) => closed_form(intervals, &mut figures),
        (None, None) => {
            figures.intervals = "none: no classes are known, and pairs that share a sample are not independent".into();
        }
    }
    if let Some(classes) = &classes.as_ref().filter(|classes| classes.labels().len() > 1) {
        figures.choosing = Some(ThresholdTable::of(roc, classes, args.level, args.cost())?);
    }
    let Some(Judged { value, here, .. }) = figures.threshold else { return finish(args, scored, figures) };
    figures.transactions = args.failures().map(|failures| failures.rates(&here)).transpose()?;
    figures.by_class = classes.as_ref().map(|classes| {
        let far = |cut: usize| (classes.cuts()[cut] - value).abs();
        let nearest = (0..classes.cuts().len()).min_by(|&a, &b| far(a).total_cmp(&far(b))).unwrap_or(0);
        let confusion = classes.confusion(nearest);
        let mut tar = confusion.tar();
        tar.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
        let mut confused = confusion.most_confused();
        confused.retain(|pair| pair.accepted > 0);
        ByClass { threshold: classes.cuts()[nearest], tar, confused }
    });
    if let Some((samples, cohorts)) = scored.samples.as_ref().and_then(|s| Some((s, s.cohorts.as_ref()?))) {
        figures.cohorts = Some(CohortMatrix::of(&samples.set, cohorts, value, args.level)?);
    }
    finish(args, scored, figures)
}

fn finish(args: &Args, scored: &Scored, mut figures: Figures) -> Result<Figures> {
    let Some(search) = &scored.search else { return Ok(figures) };
    let dir = args.far.iter().filter_map(|&far| search.dir_at_fpir(far).ok()).collect::<Vec<_>>();
    // A saved threshold; else that of the lowest rate that the probes resolve; else every candidate counts.
    let resolved = dir.iter().rfind(|point| point.resolvable && point.threshold.is_finite());
    let at = match &figures.threshold {
        Some(judged) if judged.origin == "applied" => judged.value,
        _ => resolved.map_or(-1.0, |point| point.threshold),
    };
    figures.identification = Some(Search {
        rank_1: search.closed_set_accuracy().ok(),
        auroc: search.auroc().ok(),
        at: search.errors(args.rank, at, args.level)?,
        dir_at_fpir: dir,
    });
    Ok(figures)
}

fn judge(
    threshold: VerificationThreshold,
    origin: &'static str,
    roc: &RocCurve,
    intervals: Option<&Intervals<'_, RocCurve>>,
) -> Judged {
    let here = threshold.rates_of(roc);
    let interval = |estimate: Result<ClassEstimate, MetricError>| Some(estimate.ok()?.interval);
    Judged {
        value: threshold.value(),
        origin,
        fitted_on: threshold.fitted_on().cloned(),
        here,
        hter: here.hter(),
        fmr_interval: intervals.and_then(|intervals| interval(intervals.far(threshold.value()))),
        fnmr_interval: intervals.and_then(|intervals| interval(intervals.frr(threshold.value()))),
        threshold,
    }
}

fn closed_form(intervals: &Intervals<'_, RocCurve>, figures: &mut Figures) {
    let found = |estimate: Result<ClassEstimate, MetricError>| Some(estimate.ok()?.interval);
    (figures.auc_interval, figures.eer_interval) = (found(intervals.auc()), found(intervals.eer(EerMethod::Linear)));
    for at in &mut figures.tar_at_far {
        at.interval = found(intervals.tar_at_far(at.target_far));
    }
    let classes = intervals.classes();
    figures.intervals = match classes {
        0..4 => format!("too few classes for most: {classes}, and four are needed"),
        _ => format!("in closed form, over {classes} classes (Fogliato et al. 2024, with Student's t)"),
    };
}

/// Percentile intervals over classes that are drawn again and again.
fn bootstrap(args: &Args, scored: &Scored, draws: u32, figures: &mut Figures, stop: fn() -> bool) -> Result<()> {
    let samples = scored.samples.as_ref().context("expected embeddings for --bootstrap, got scores")?;
    let options = BootstrapOptions { draws, level: args.level, ..Default::default() };
    let found = samples.set.bootstrap(&options, |roc| {
        if stop() {
            return Err(MetricError::Stopped { done: 0, total: draws.into(), units: "draws" });
        }
        let tar = args.far.iter().map(|&far| Ok(roc.at_far(far)?.point.tar()));
        [Ok(roc.auc()), Ok(roc.eer(EerMethod::Linear))].into_iter().chain(tar).collect::<Result<Vec<_>, _>>()
    })?;
    let mut intervals = found.estimates.iter().map(|estimate| estimate.interval);
    (figures.auc_interval, figures.eer_interval) = (intervals.next(), intervals.next());
    for at in &mut figures.tar_at_far {
        at.interval = intervals.next();
    }
    figures.intervals = format!("percentiles of {draws} draws of classes (bootstrap; Bolle et al. 2004)");
    if found.redrawn > 0 {
        figures.intervals += &format!("; {} draws had one kind of pair only and were drawn again", found.redrawn);
    }
    Ok(())
}
