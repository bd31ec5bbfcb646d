//! Error rates against the threshold.

use std::path::Path;

use soft_lmccl_metrics::{CostPoint, ThresholdRow, ThresholdTable};

use crate::{LineAxes, LinePanel, Result, line_panels};

/// Draws FAR and FRR with their intervals against the threshold, on a logarithmic axis, and names the one that costs least.
///
/// # Errors
/// As [`line_panels`].
///
/// # Examples
/// ```
/// use ndarray::Array2;
/// use soft_lmccl_metrics::{ClassCounts, DetectionCost, EmbeddingSet, PairProtocol, ThresholdTable};
/// use soft_lmccl_report::threshold_curves;
///
/// let embeddings = Array2::from_shape_fn((40, 5), |(row, column)| {
///     if row % 5 == column { 1.0 } else { (row * (column + 3) % 7) as f32 / 5.0 }
/// });
/// let labels: Vec<i64> = (0..40).map(|row| row % 5).collect();
/// let set = EmbeddingSet::new(embeddings.view(), &labels)?;
/// let (roc, counts) = (set.pair_scores(PairProtocol::All)?.roc(), ClassCounts::across(&set, &[])?);
/// let table = ThresholdTable::of(&roc, &counts, 0.95, DetectionCost::default())?;
/// let path = std::env::temp_dir().join("soft-lmccl-doc-thresholds.svg");
/// threshold_curves(&path, "Validation", &table)?;
///
/// assert!(std::fs::read_to_string(&path)?.contains("FAR, interval"));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn threshold_curves(path: impl AsRef<Path>, title: &str, table: &ThresholdTable) -> Result<()> {
    let line = |name: &str, rate: &dyn Fn(&ThresholdRow) -> Option<f64>| {
        let points = table.rows.iter().rev().filter_map(|row| Some((row.cost.point.threshold, rate(row)?)));
        (name.to_owned(), points.collect())
    };
    let lines = vec![
        line("FAR", &|row| Some(row.cost.point.far())),
        line("FAR, interval", &|row| row.far.map(|interval| interval.low)),
        line("FAR, interval", &|row| row.far.map(|interval| interval.high)),
        line("FRR", &|row| Some(row.cost.point.frr())),
        line("FRR, interval", &|row| row.tar.map(|interval| 1.0 - interval.high)),
        line("FRR, interval", &|row| row.tar.map(|interval| 1.0 - interval.low)),
    ];
    let CostPoint { point, cost, .. } = table.best();
    let subtitle = format!(
        "least cost {cost:.2e} at {:.4}, there FAR {:.1e}, FRR {:.1e}",
        point.threshold,
        point.far(),
        point.frr()
    );
    let axes = LineAxes { x: "threshold", y: "rate", logarithmic: true, filled: false };
    line_panels(path, title, &subtitle, axes, &[LinePanel { title: "errors".to_owned(), lines }])
}
