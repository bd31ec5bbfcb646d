//! From records to cells: means, spreads, intervals, differences.

use std::collections::BTreeMap;

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{
    evaluate::{CLASSES_FOR_JACKKNIFE, Evaluation, FewShot},
    paper_grid::PaperGridReport,
    plan::{Column, Roles},
    printed::{FIGURES, Figure, printed},
    train::{Outcome, Record},
};

/// Level of all intervals.
pub const LEVEL: f64 = 0.95;
/// Splits that it takes for an interval over them.
pub const SPLITS_FOR_INTERVAL: usize = 3;

/// What an interval is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Clustering {
    /// Unknown classes, each left out once.
    Classes,
    /// The runs themselves, by Student's t: too few classes to leave one out.
    Runs,
}

/// One figure of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub mean: f64,
    /// Over seeds: the sample standard deviation within a split, pooled over splits; none of one seed.
    pub sd: Option<f64>,
    pub interval: Option<(f64, f64)>,
    /// Student's t over the means of splits, where there are [`SPLITS_FOR_INTERVAL`]: what other classes to train on and to
    /// verify, and other seeds, do together.
    pub over_splits: Option<(f64, f64)>,
    /// False if some run has too few pairs to tell so low a rate.
    pub resolvable: bool,
    /// The paper's figure.
    pub printed: Option<f64>,
}

/// One row in one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    pub column: String,
    pub row: String,
    pub title: String,
    pub runs: usize,
    pub seeds: usize,
    pub splits: usize,
    /// Runs that ended without figures, in words.
    pub failures: Vec<String>,
    pub figures: Option<[Estimate; FIGURES]>,
    pub clustering: Clustering,
    pub few_shot: Vec<FewShot>,
    /// Means over runs: norm, cosine within and between classes, effective rank.
    pub collapse: Option<[f64; 4]>,
    /// Means over runs of the figures as the code of the paper's authors computes them.
    pub paper_grid: Option<[f64; FIGURES]>,
}

/// A figure of two rows in one column, run by run on the same samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub column: String,
    pub row: String,
    pub other: String,
    /// `row − other`, in AUC.
    pub difference: f64,
    pub interval: Option<(f64, f64)>,
    /// As [`Estimate::over_splits`].
    pub over_splits: Option<(f64, f64)>,
    pub runs: usize,
}

impl Difference {
    /// What the interval says, in a word.
    pub fn verdict(&self) -> &'static str {
        match self.interval {
            Some((low, _)) if low > 0.0 => "better",
            Some((_, high)) if high < 0.0 => "worse",
            Some(_) => "not told apart",
            None => "one run",
        }
    }
}

/// Evaluations of one row in one column, with where they come from.
struct Entries<'a>(Vec<(&'a Record, &'a Evaluation)>);

impl<'a> Entries<'a> {
    fn of(records: &'a [Record], column: Column, row: &str) -> Self {
        let at = records.iter().filter(|record| record.run.train == column.train && record.run.recipe.name == row);
        Self(at.filter_map(|record| Some((record, record.evaluation(column.test)?))).collect())
    }

    fn mean(&self, value: impl Fn(&Evaluation) -> f64) -> f64 {
        self.0.iter().map(|(_, evaluation)| value(evaluation)).sum::<f64>() / self.0.len() as f64
    }
}

/// A row in a column, over the records of some roles; `None` if there are none.
pub fn cell(records: &[Record], column: Column, row: &str) -> Option<Cell> {
    let entries = Entries::of(records, column, row);
    let failures: Vec<String> = records
        .iter()
        .filter(|record| record.run.train == column.train && record.run.recipe.name == row)
        .filter(|record| record.run.tests.contains(&column.test))
        .filter_map(|record| match &record.outcome {
            Outcome::Failed(problem) => Some(format!("{}: {problem}", record.run.id())),
            Outcome::Tested(_) => None,
        })
        .collect();
    let title = records.iter().find(|record| record.run.recipe.name == row)?.run.recipe.title.clone();
    if entries.0.is_empty() && failures.is_empty() {
        return None;
    }
    let distinct = |key: &dyn Fn(&Record) -> (Roles, u64)| {
        let mut keys: Vec<_> = entries.0.iter().map(|(record, _)| key(record)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    };
    let clustering = clustering(&entries);
    let figures = (!entries.0.is_empty()).then(|| {
        std::array::from_fn(|index| {
            let figure = Figure::ALL[index];
            Estimate {
                mean: entries.mean(|evaluation| evaluation.figures()[index]),
                sd: pooled_sd(&entries, index),
                interval: interval(&entries, None, index),
                over_splits: over_splits(&entries, None, index),
                resolvable: entries.0.iter().all(|(_, evaluation)| evaluation.resolvable(figure)),
                printed: printed(column, row).map(|figures| figures[index]),
            }
        })
    });
    let collapse = (!entries.0.is_empty()).then(|| {
        [
            entries.mean(|e| e.collapse.norm_mean),
            entries.mean(|e| e.collapse.intra_class_cosine.unwrap_or(0.0)),
            entries.mean(|e| e.collapse.inter_class_cosine.unwrap_or(0.0)),
            entries.mean(|e| e.collapse.effective_rank),
        ]
    });
    let shots = entries.0.first().map_or(0, |(_, evaluation)| evaluation.few_shot.len());
    let few_shot = (0..shots).map(|k| FewShot {
        examples: entries.0[0].1.few_shot[k].examples,
        accuracy: entries.mean(|e| e.few_shot[k].accuracy),
        oscr: entries.mean(|e| e.few_shot[k].oscr),
    });
    Some(Cell {
        column: column.to_string(),
        row: row.to_owned(),
        title,
        runs: entries.0.len() + failures.len(),
        seeds: distinct(&|record| (Roles::Validation, record.run.seed)),
        splits: distinct(&|record| (record.run.roles, 0)),
        failures,
        figures,
        clustering,
        few_shot: few_shot.collect(),
        collapse,
        paper_grid: paper_grid(&entries),
    })
}

/// `None` if a run has none.
fn paper_grid(entries: &Entries<'_>) -> Option<[f64; FIGURES]> {
    let reports: Option<Vec<_>> = entries.0.iter().map(|(_, evaluation)| evaluation.paper_grid.as_ref()).collect();
    let reports = reports.filter(|reports| !reports.is_empty())?;
    let mean = |value: &dyn Fn(&PaperGridReport) -> f64| {
        reports.iter().map(|report| value(report)).sum::<f64>() / reports.len() as f64
    };
    Some(Figure::ALL.map(|figure| match figure {
        Figure::Accuracy => mean(&|report| report.accuracy.mean),
        Figure::TarAtMille => mean(&|report| report.tar_at_far[0].mean),
        Figure::TarAtTenthMille => mean(&|report| report.tar_at_far[1].mean),
        Figure::Auc => mean(&|report| report.auc),
        Figure::Eer => mean(&|report| report.eer),
    }))
}

/// AUC of `row` minus that of `other`, over the seeds and splits that both have.
pub fn difference(records: &[Record], column: Column, row: &str, other: &str) -> Option<Difference> {
    let (mut ours, mut theirs) = (Entries::of(records, column, row), Entries::of(records, column, other));
    let key = |(record, _): &(&Record, &Evaluation)| (record.run.roles, record.run.seed);
    let common: Vec<_> = ours.0.iter().map(key).filter(|k| theirs.0.iter().any(|entry| key(entry) == *k)).collect();
    ours.0.retain(|entry| common.contains(&key(entry)));
    theirs.0.retain(|entry| common.contains(&key(entry)));
    if common.is_empty() {
        return None;
    }
    ours.0.sort_by_key(key);
    theirs.0.sort_by_key(key);
    let auc = |evaluation: &Evaluation| evaluation.report.auc;
    let index = Figure::ALL.iter().position(|figure| *figure == Figure::Auc).unwrap_or_default();
    Some(Difference {
        column: column.to_string(),
        row: row.to_owned(),
        other: other.to_owned(),
        difference: ours.mean(auc) - theirs.mean(auc),
        interval: interval(&ours, Some(&theirs), index),
        over_splits: over_splits(&ours, Some(&theirs), index),
        runs: common.len(),
    })
}

fn clustering(entries: &Entries<'_>) -> Clustering {
    let enough = entries.0.iter().all(|(_, evaluation)| evaluation.classes.len() >= CLASSES_FOR_JACKKNIFE);
    if enough { Clustering::Classes } else { Clustering::Runs }
}

/// The figure of each run, or its difference to that of the run in the same place.
fn values(entries: &Entries<'_>, minus: Option<&Entries<'_>>, figure: usize) -> Vec<f64> {
    let value = |run: usize| {
        let other = minus.map_or(0.0, |minus| minus.0[run].1.figures()[figure]);
        entries.0[run].1.figures()[figure] - other
    };
    (0..entries.0.len()).map(value).collect()
}

/// Runs of each split, by their place.
fn splits(entries: &Entries<'_>) -> BTreeMap<Roles, Vec<usize>> {
    let mut splits: BTreeMap<Roles, Vec<usize>> = BTreeMap::new();
    for (run, (record, _)) in entries.0.iter().enumerate() {
        splits.entry(record.run.roles).or_default().push(run);
    }
    splits
}

/// The interval of a mean, or of the mean difference to entries in the same order.
fn interval(entries: &Entries<'_>, minus: Option<&Entries<'_>>, figure: usize) -> Option<(f64, f64)> {
    let values = values(entries, minus, figure);
    let interval = match clustering(entries) {
        Clustering::Runs => students_t(&values),
        Clustering::Classes => over_classes(entries, minus, figure, mean(&values)),
    };
    within_range(interval?, minus.is_some())
}

/// The interval of the same over splits, which have other known and unknown classes each.
fn over_splits(entries: &Entries<'_>, minus: Option<&Entries<'_>>, figure: usize) -> Option<(f64, f64)> {
    let values = values(entries, minus, figure);
    let of_split = |runs: Vec<usize>| mean(&runs.iter().map(|&run| values[run]).collect::<Vec<_>>());
    let means: Vec<f64> = splits(entries).into_values().map(of_split).collect();
    let interval = (means.len() >= SPLITS_FOR_INTERVAL).then(|| students_t(&means))?;
    within_range(interval?, minus.is_some())
}

/// Figures are rates: what lies beyond their range is no candidate.
fn within_range((low, high): (f64, f64), is_difference: bool) -> Option<(f64, f64)> {
    let least = if is_difference { -1.0 } else { 0.0 };
    Some((low.max(least), high.min(1.0)))
}

/// A jackknife over the unknown classes: `v = (C − 1)/C · Σ_c (f_c − f̄)²` within a split, where `f_c` is the mean over the
/// split's seeds without class `c`, since seeds share the classes. Splits have classes of their own: the variance of the
/// mean over all runs is `Σ w²·v` with the split's share `w` of the runs, its degrees of freedom those of Welch and
/// Satterthwaite.
fn over_classes(
    entries: &Entries<'_>,
    minus: Option<&Entries<'_>>,
    figure: usize,
    mean_of_all: f64,
) -> Option<(f64, f64)> {
    let (mut variance, mut over_freedom) = (0.0, 0.0);
    for runs in splits(entries).into_values() {
        let classes = runs.iter().map(|&run| entries.0[run].1.without.len()).min().filter(|&classes| classes > 1)?;
        let without = |class: usize| {
            let of_run = |&run: &usize| {
                let other = minus.map_or(0.0, |minus| minus.0[run].1.without[class][figure]);
                entries.0[run].1.without[class][figure] - other
            };
            runs.iter().map(of_run).sum::<f64>() / runs.len() as f64
        };
        let left_out: Vec<f64> = (0..classes).map(without).collect();
        let middle = mean(&left_out);
        let freedom = (classes - 1) as f64;
        let squares = left_out.iter().map(|value| (value - middle).powi(2)).sum::<f64>();
        let share = runs.len() as f64 / entries.0.len() as f64;
        let of_split = share * share * squares * freedom / classes as f64;
        variance += of_split;
        over_freedom += of_split * of_split / freedom;
    }
    if variance == 0.0 {
        return Some((mean_of_all, mean_of_all));
    }
    let half = quantile(variance * variance / over_freedom)? * variance.sqrt();
    Some((mean_of_all - half, mean_of_all + half))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of Student's t, two-sided at [`LEVEL`].
fn quantile(freedom: f64) -> Option<f64> {
    Some(StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf((1.0 + LEVEL) / 2.0))
}

/// `mean ± t·sd/√n`; none of one value.
fn students_t(values: &[f64]) -> Option<(f64, f64)> {
    let freedom = values.len().checked_sub(1).filter(|freedom| *freedom > 0)? as f64;
    let mean = mean(values);
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / freedom;
    let half = quantile(freedom)? * (variance / values.len() as f64).sqrt();
    Some((mean - half, mean + half))
}

/// Spread over seeds, from splits with two seeds at least.
fn pooled_sd(entries: &Entries<'_>, figure: usize) -> Option<f64> {
    let values = values(entries, None, figure);
    let (mut squares, mut freedom) = (0.0, 0);
    for runs in splits(entries).into_values() {
        let of_split: Vec<f64> = runs.iter().map(|&run| values[run]).collect();
        let middle = mean(&of_split);
        squares += of_split.iter().map(|value| (value - middle).powi(2)).sum::<f64>();
        freedom += runs.len() - 1;
    }
    (freedom > 0).then(|| (squares / freedom as f64).sqrt())
}
