//! Whether the embeddings still use their space, cheap enough to ask every epoch.

use std::collections::BTreeMap;
use std::fmt;

use ndarray::{Array1, Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Lengths, cosines and rank of raw embeddings.
///
/// Center loss pulls each class to a point; weighted too strongly it pulls all classes to one. The loss then looks
/// excellent and verification is chance. Three signs tell: norms that go to zero, a cosine between classes as high as
/// within them, an effective rank that shrinks.
///
/// Costs `O(N·D·min(N, D))`; no pair is listed.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::CollapseReport;
///
/// let healthy = array![[2.0f32, 0.0], [4.0, 0.0], [0.0, 3.0], [0.0, 3.0]];
/// let report = CollapseReport::of(healthy.view(), &[0, 0, 1, 1])?;
/// assert_eq!(report.intra_class_cosine, Some(1.0));
/// assert_eq!(report.inter_class_cosine, Some(0.0));
/// assert_eq!(report.norm_mean, 3.0);
/// assert!((report.effective_rank - 1.0).abs() < 1e-12); // two points lie on one line
///
/// let collapsed = array![[0.1f32, 0.2], [0.1, 0.2], [0.1, 0.2], [0.1, 0.2]];
/// let report = CollapseReport::of(collapsed.view(), &[0, 0, 1, 1])?;
/// assert_eq!(report.effective_rank, 0.0);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CollapseReport {
    /// Number of embeddings.
    pub embeddings: u64,
    /// Embeddings that are zero in every column; they have no direction and count in the norms only.
    pub zero_rows: u64,
    /// Mean Euclidean length.
    pub norm_mean: f64,
    /// Population standard deviation of the lengths.
    pub norm_std: f64,
    /// Shortest length.
    pub norm_min: f64,
    /// Greatest length.
    pub norm_max: f64,
    /// Mean cosine over all pairs of one class; `None` if there are no such pairs.
    pub intra_class_cosine: Option<f64>,
    /// Mean cosine over all pairs of two classes; `None` if there are no such pairs.
    pub inter_class_cosine: Option<f64>,
    /// How many dimensions the directions fill: the participation ratio
    /// ```text
    /// (Σ λᵢ)² / Σ λᵢ²      λ: eigenvalues of the covariance of the unit embeddings
    /// ```
    /// It is `k` if the directions spread evenly over `k` dimensions and not at all over the others, at most
    /// `min(D, N − 1)`. It is 0 if all directions are equal to within the rounding of `f32`.
    ///
    /// It does not say how far they spread: a collapse with a little noise in all dimensions looks like full rank.
    /// Only the cosines tell.
    pub effective_rank: f64,
}

impl CollapseReport {
    /// Measures a batch of embeddings as the network gives them, of any lengths.
    ///
    /// # Shapes
    /// * `embeddings`: `[N, D]`
    /// * `labels`: `[N]`, any class numbers
    ///
    /// [`Error::NoEmbeddings`] if `N` or `D` is 0, [`Error::EmbeddingLength`] if there are not `N` labels,
    /// [`Error::EmbeddingNotFinite`] if a value is NaN or infinite.
    pub fn of(embeddings: ArrayView2<'_, f32>, labels: &[i64]) -> Result<Self, Error> {
        let (rows, dim) = embeddings.dim();
        if rows == 0 || dim == 0 {
            return Err(Error::NoEmbeddings { rows, dim });
        }
        if labels.len() != rows {
            return Err(Error::EmbeddingLength { embeddings: rows, labels: labels.len() });
        }
        if let Some(((row, column), &value)) = embeddings.indexed_iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::EmbeddingNotFinite { row, column, value });
        }
        let values = embeddings.mapv(f64::from);
        let norms = values.map_axis(Axis(1), |row| row.dot(&row).sqrt());
        let directed: Vec<usize> = (0..rows).filter(|&row| norms[row] > 0.0).collect();
        let mut units = values.select(Axis(0), &directed);
        for (mut unit, &row) in units.outer_iter_mut().zip(&directed) {
            unit /= norms[row];
        }
        let (intra_class_cosine, inter_class_cosine) = mean_cosines(&units, directed.iter().map(|&row| labels[row]));
        Ok(Self {
            embeddings: rows as u64,
            zero_rows: (rows - directed.len()) as u64,
            norm_mean: norms.sum() / rows as f64,
            norm_std: norms.std(0.0),
            norm_min: norms.iter().copied().fold(f64::INFINITY, f64::min),
            norm_max: norms.iter().copied().fold(0.0, f64::max),
            intra_class_cosine,
            inter_class_cosine,
            effective_rank: participation_ratio(units),
        })
    }
}

impl fmt::Display for CollapseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cosine = |value: Option<f64>| value.map_or_else(|| "undefined".to_owned(), |value| format!("{value:.3}"));
        write!(
            f,
            "norm {:.3} ± {:.3} ({:.3} to {:.3}), cosine {} within classes and {} between, effective rank {:.1}",
            self.norm_mean,
            self.norm_std,
            self.norm_min,
            self.norm_max,
            cosine(self.intra_class_cosine),
            cosine(self.inter_class_cosine),
            self.effective_rank
        )?;
        if self.zero_rows > 0 {
            write!(f, ", {} of {} embeddings are zero", self.zero_rows, self.embeddings)?;
        }
        Ok(())
    }
}

/// Mean cosine within and between classes, from sums of unit rows. The squared length of a class's sum is the sum of
/// the cosines of all its ordered pairs, each row with itself included.
fn mean_cosines(units: &Array2<f64>, labels: impl Iterator<Item = i64>) -> (Option<f64>, Option<f64>) {
    let mut classes: BTreeMap<i64, (f64, Array1<f64>)> = BTreeMap::new();
    for (unit, label) in units.outer_iter().zip(labels) {
        let (count, sum) = classes.entry(label).or_insert_with(|| (0.0, Array1::zeros(unit.len())));
        *count += 1.0;
        *sum += &unit;
    }
    let total = units.sum_axis(Axis(0));
    let count = units.nrows() as f64;
    let within: f64 = classes.values().map(|(_, sum)| sum.dot(sum)).sum();
    let ordered_pairs: f64 = classes.values().map(|(count, _)| count * (count - 1.0)).sum();
    let mean = |sum: f64, pairs: f64| (pairs > 0.0).then(|| (sum / pairs).clamp(-1.0, 1.0));
    let intra = mean(within - count, ordered_pairs);
    let inter = mean(total.dot(&total) - within, count * (count - 1.0) - ordered_pairs);
    (intra, inter)
}

/// `tr(C)² / ‖C‖²` of the covariance `C`, from the smaller of `XᵀX` and `XXᵀ`: both have the same nonzero
/// eigenvalues.
fn participation_ratio(mut units: Array2<f64>) -> f64 {
    // The remainder of equal unit rows of `f32`, squared: half a last place of each value, and as much again.
    const NOTHING: f64 = (f32::EPSILON as f64) * (f32::EPSILON as f64);
    let Some(mean) = units.mean_axis(Axis(0)) else { return 0.0 };
    units -= &mean;
    let scatter = if units.ncols() <= units.nrows() { units.t().dot(&units) } else { units.dot(&units.t()) };
    let trace = scatter.diag().sum();
    if trace <= NOTHING * units.nrows() as f64 {
        return 0.0;
    }
    trace * trace / scatter.iter().map(|x| x * x).sum::<f64>()
}
