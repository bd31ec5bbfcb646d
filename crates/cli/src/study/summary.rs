//! From records to cells: means, spreads, intervals, differences.

use std::collections::BTreeMap;

use serde::Serialize;
use soft_lmccl::metrics::Interval;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{
    evaluate::{Evaluation, FewShot},
    paper_grid::PaperGridReport,
    plan::{Column, Roles},
    printed::{FIGURES, Figure, printed},
    train::{Outcome, Record},
};

/// Level of all intervals.
pub const LEVEL: f64 = 0.95;
/// Unknown classes that it takes to draw classes anew.
pub const CLASSES_FOR_DRAWS: usize = 6;

/// What an interval was drawn over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Clustering {
    /// Unknown classes, drawn with replacement.
    Classes,
    /// The runs themselves, by Student's t: too few classes to draw from.
    Runs,
}

/// One figure of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub mean: f64,
    /// Over seeds: the sample standard deviation within a split, pooled over splits; none of one seed.
    pub sd: Option<f64>,
    pub interval: Option<(f64, f64)>,
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
    /// Draws repeated because they held one class only, over all runs.
    pub redrawn: u64,
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
        redrawn: entries.0.iter().map(|(_, evaluation)| evaluation.redrawn).sum(),
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
        runs: common.len(),
    })
}

fn clustering(entries: &Entries<'_>) -> Clustering {
    let enough = entries.0.iter().all(|(_, evaluation)| evaluation.classes.len() >= CLASSES_FOR_DRAWS);
    if enough { Clustering::Classes } else { Clustering::Runs }
}

/// The interval of a mean, or of the mean difference to entries in the same order.
///
/// Within the range of the figure.
fn interval(entries: &Entries<'_>, minus: Option<&Entries<'_>>, figure: usize) -> Option<(f64, f64)> {
    let values: Vec<f64> = (0..entries.0.len())
        .map(|run| {
            let other = minus.map_or(0.0, |minus| minus.0[run].1.figures()[figure]);
            entries.0[run].1.figures()[figure] - other
        })
        .collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (low, high) = match clustering(entries) {
        Clustering::Runs => students_t(&values, mean),
        Clustering::Classes => drawn_over_classes(entries, minus, figure, mean),
    }?;
    // Figures are rates: what lies beyond them is no candidate.
    let least = if minus.is_some() { -1.0 } else { 0.0 };
    Some((low.max(least), high.min(1.0)))
}

/// Draw `k` takes the same classes in all runs of a split, so that their mean over its seeds is a draw of the
/// mean; splits have classes of their own, whose draws are independent.
fn drawn_over_classes(
    entries: &Entries<'_>,
    minus: Option<&Entries<'_>>,
    figure: usize,
    mean: f64,
) -> Option<(f64, f64)> {
    let mut splits: BTreeMap<Roles, Vec<usize>> = BTreeMap::new();
    for (run, (record, _)) in entries.0.iter().enumerate() {
        splits.entry(record.run.roles).or_default().push(run);
    }
    let draws = entries.0.iter().map(|(_, evaluation)| evaluation.deviations.len()).min()?;
    let drawn: Vec<f64> = (0..draws)
        .map(|draw| {
            // Another draw in each split: the same numbers would tie classes of different splits together.
            let of_split = splits.values().enumerate().map(|(split, runs)| {
                let draw = (draw + split * draws / splits.len()) % draws;
                let deviation = |run: &usize| {
                    let other = minus.map_or(0.0, |minus| minus.0[*run].1.deviations[draw][figure]);
                    entries.0[*run].1.deviations[draw][figure] - other
                };
                runs.iter().map(deviation).sum::<f64>()
            });
            mean + of_split.sum::<f64>() / entries.0.len() as f64
        })
        .collect();
    let Interval { low, high, .. } = Interval::percentile(drawn, LEVEL).ok()?;
    Some((low, high))
}

/// `mean ± t·sd/√n`; none of one run.
fn students_t(values: &[f64], mean: f64) -> Option<(f64, f64)> {
    let freedom = values.len().checked_sub(1).filter(|freedom| *freedom > 0)? as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / freedom;
    let t = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf((1.0 + LEVEL) / 2.0);
    let half = t * (variance / values.len() as f64).sqrt();
    Some((mean - half, mean + half))
}

/// Spread over seeds, from splits with two seeds at least.
fn pooled_sd(entries: &Entries<'_>, figure: usize) -> Option<f64> {
    let mut splits: BTreeMap<Roles, Vec<f64>> = BTreeMap::new();
    for (record, evaluation) in &entries.0 {
        splits.entry(record.run.roles).or_default().push(evaluation.figures()[figure]);
    }
    let (mut squares, mut freedom) = (0.0, 0);
    for values in splits.values() {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        squares += values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        freedom += values.len() - 1;
    }
    (freedom > 0).then(|| (squares / freedom as f64).sqrt())
}
