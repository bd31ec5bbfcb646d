//! t-SNE, to look at neighborhoods of embeddings.

use bhtsne::{Neighbor, tSNE};
use ndarray::{Array2, ArrayView2, CowArray, Ix2, Zip};
use rayon::prelude::*;

use super::pca_2d;
use crate::{Error, Result};

/// The fewest rows that have neighborhoods.
const LEAST: usize = 10;
/// The rough number of neighbors that count: the default of scikit-learn.
const PERPLEXITY: f32 = 30.0;
/// Accuracy of the Barnes-Hut approximation; 0 would be exact.
const THETA: f32 = 0.5;

/// Maps the rows to the plane so that neighbors stay neighbors: t-distributed stochastic neighbor
/// embedding, by the crate `bhtsne`.
///
/// Groups mean something. Distances between groups and the sizes of groups do not: [`pca_2d`] shows them. The map
/// starts at the principal components, so that the same rows give the same picture.
///
/// # Shapes
/// - `embeddings`: `[N, D]`, `N >= 10`, `D >= 2`, finite
/// - returns `[N, 2]`
///
/// # Errors
/// [`Error::Config`] if there are too few rows or columns, or a value is not finite.
///
/// # Examples
/// ```
/// use ndarray::Array2;
/// use soft_lmccl_report::tsne_2d;
///
/// // Two clusters, far apart along the first axis.
/// let rows = Array2::from_shape_fn((40, 3), |(row, column)| {
///     (row % 2 * 50) as f32 * (column == 0) as u8 as f32 + (row * (column + 2) % 7) as f32 / 7.0
/// });
/// let flat = tsne_2d(rows.view())?;
/// let nearest = |row: usize| (0..40).filter(|&other| other != row).min_by(|&a, &b| {
///     let distance = |other: usize| (&flat.row(row) - &flat.row(other)).mapv(|x| x * x).sum();
///     distance(a).total_cmp(&distance(b))
/// });
/// assert!((0..40).all(|row| nearest(row).is_some_and(|other| other % 2 == row % 2)));
/// # Ok::<(), soft_lmccl_report::Error>(())
/// ```
///
/// # References
/// L. van der Maaten, *Accelerating t-SNE using Tree-Based Algorithms*, JMLR 15, 2014.
pub fn tsne_2d(embeddings: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
    let rows = embeddings.nrows();
    if rows < LEAST {
        return Err(Error::config("embeddings", format!("at least {LEAST} rows"), rows));
    }
    let scaled = scaled(embeddings);
    let embeddings = scaled.view();
    // Checks the columns and the values as well.
    let start = pca_2d(embeddings)?;
    let spread = start.column(0).mapv(|x| x * x).mean().unwrap_or(0.0).sqrt();
    if spread <= 0.0 {
        // Equal rows have no neighborhoods: one point.
        return Ok(start);
    }
    // A start of this spread is usual.
    let scale = 1e-4 / spread;
    // `bhtsne` looks at three times as many neighbors as the perplexity.
    let perplexity = PERPLEXITY.min((rows - 1) as f32 / 3.0);
    let neighbors = nearest(embeddings, (3.0 * perplexity) as usize);
    let data: Vec<usize> = (0..rows).collect();
    let start: Vec<f32> = start.iter().map(|x| x * scale).collect();
    let map = || {
        let mut map = tSNE::<f32, usize, 2>::new(&data);
        map.perplexity(perplexity).initial_embedding(start.as_slice());
        map.barnes_hut_with_neighbors(THETA, &neighbors).embedding()
    };
    // Sums over several threads have no fixed order, and the map must be repeatable.
    let flat = match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
        Ok(alone) => alone.install(map),
        Err(_) => map(),
    };
    Ok(Array2::from_shape_vec((rows, 2), flat).expect("two coordinates for each row"))
}

/// The rows, rescaled only if single precision could not hold their squares. The map does not depend on their scale.
fn scaled(embeddings: ArrayView2<'_, f32>) -> CowArray<'_, f32, Ix2> {
    let largest = embeddings.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
    if largest <= 0.0 || !largest.is_finite() || (1e-9..=1e9).contains(&largest) {
        return embeddings.into();
    }
    embeddings.mapv(|value| (f64::from(value) / f64::from(largest)) as f32).into()
}

/// The nearest rows of each row, nearest first; equally near rows keep their order. The tree of `bhtsne` is grown at
/// random.
fn nearest(embeddings: ArrayView2<'_, f32>, count: usize) -> Vec<Vec<Neighbor<f32>>> {
    let rows = embeddings.nrows();
    let neighbors_of = |row: usize| {
        let distance = |other: usize| {
            let squares = Zip::from(embeddings.row(row)).and(embeddings.row(other));
            squares.fold(0.0, |sum: f32, a, b| sum + (a - b) * (a - b)).sqrt()
        };
        let others = (0..rows).filter(|&other| other != row);
        let mut others: Vec<_> = others.map(|index| Neighbor { index, distance: distance(index) }).collect();
        others.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        others.truncate(count.max(1));
        others
    };
    (0..rows).into_par_iter().map(neighbors_of).collect()
}
