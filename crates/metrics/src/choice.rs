//! Choosing a threshold: its rates, their intervals, and the price of a wrong choice.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::classes::ClassCounts;
use crate::confidence::Interval;
use crate::costs::{CostPoint, DetectionCost};
use crate::intervals::Intervals;
use crate::{Error, RocCurve};

/// Thresholds all over a curve with their rates, intervals and costs.
///
/// # Examples
/// ```
/// use ndarray::Array2;
/// use soft_lmccl_metrics::{ClassCounts, DetectionCost, EmbeddingSet, PairProtocol, ThresholdTable};
///
/// let embeddings = Array2::from_shape_fn((40, 5), |(row, column)| {
///     if row % 5 == column { 1.0 } else { (row * (column + 3) % 7) as f32 / 5.0 }
/// });
/// let labels: Vec<i64> = (0..40).map(|row| row % 5).collect();
/// let set = EmbeddingSet::new(embeddings.view(), &labels)?;
/// let (roc, counts) = (set.pair_scores(PairProtocol::All)?.roc(), ClassCounts::across(&set, &[])?);
///
/// let table = ThresholdTable::of(&roc, &counts, 0.95, DetectionCost { prior: 0.5, ..Default::default() })?;
/// assert!(table.rows.len() > 5);
/// let best = table.best();
/// assert!(table.rows.iter().all(|row| row.cost.cost >= best.cost));
/// assert!(table.to_string().starts_with("| threshold | TAR |"));
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdTable {
    /// The cost of each kind of error.
    pub cost: DetectionCost,
    /// Highest threshold first.
    pub rows: Vec<ThresholdRow>,
    best: CostPoint,
}

/// One threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ThresholdRow {
    /// Its counts and its cost.
    pub cost: CostPoint,
    /// Its cost above the cost of the best threshold, in the unit of the costs: the price of a wrong choice.
    pub excess: f64,
    /// Interval of its TAR, see [`Intervals::tar`]; `None` with too few classes.
    pub tar: Option<Interval>,
    /// Interval of its FAR, see [`Intervals::far`].
    pub far: Option<Interval>,
}

impl ThresholdTable {
    /// A row for each cut of the counts.
    ///
    /// # Errors
    /// As [`Intervals::new`] and [`DetectionCost::validate`].
    pub fn of(roc: &RocCurve, counts: &ClassCounts, level: f64, cost: DetectionCost) -> Result<Self, Error> {
        let intervals = Intervals::new(roc, counts, level)?;
        let best = cost.least(roc)?;
        let row = |&threshold: &f64| {
            let at = cost.at(roc.at_threshold(threshold))?;
            let excess = at.cost - best.cost;
            let tar = intervals.tar(threshold).ok().map(|tar| tar.interval);
            Ok(ThresholdRow { cost: at, excess, tar, far: intervals.far(threshold).ok().map(|far| far.interval) })
        };
        Ok(Self { cost, rows: counts.cuts().iter().map(row).collect::<Result<_, Error>>()?, best })
    }

    /// The threshold that costs least, which need not be one of the rows.
    #[must_use]
    pub fn best(&self) -> CostPoint {
        self.best
    }
}

/// A table in Markdown.
impl fmt::Display for ThresholdTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = |interval: Option<Interval>| {
            interval.map_or_else(|| "–".to_owned(), |Interval { low, high, .. }| format!("{low:.3e} to {high:.3e}"))
        };
        writeln!(f, "| threshold | TAR | interval | FAR | interval | cost | more than least |")?;
        write!(f, "|---|---|---|---|---|---|---|")?;
        for ThresholdRow { cost: CostPoint { point, cost, .. }, excess, tar, far } in &self.rows {
            let (of_tar, of_far) = (interval(*tar), interval(*far));
            let (tar, far) = (point.tar(), point.far());
            write!(
                f,
                "\n| {:.4} | {tar:.4} | {of_tar} | {far:.3e} | {of_far} | {cost:.3e} | {excess:.3e} |",
                point.threshold
            )?;
        }
        let DetectionCost { miss, false_alarm, prior } = self.cost;
        let (least, at) = (self.best.cost, self.best.point.threshold);
        write!(f, "\n\nCost of a trial: {miss} a miss, {false_alarm} a false alarm, {prior} of the pairs matching; ")?;
        write!(f, "least {least:.3e} at {at:.4}.")
    }
}
