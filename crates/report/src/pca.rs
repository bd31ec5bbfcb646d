//! The first two principal components, to look at embeddings.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Error, Result};

/// Directions iterated together. More than the two that are asked for, since convergence goes with
/// the ratio of the first eigenvalue left out to the second one.
const BLOCK: usize = 8;
const MAX_ITERATIONS: usize = 1000;
/// Of the residual against the largest eigenvalue; the result is `f32`.
const TOLERANCE: f64 = 1e-9;

/// Projects the rows on their first two principal components.
///
/// The components are the eigenvectors of the covariance matrix with the two largest eigenvalues,
/// found in `f64` by orthogonal iteration. The sign of each is such that its largest loading is
/// positive, so that the same rows give the same picture.
///
/// # Shapes
/// - `embeddings`: `[N, D]`, `N >= 2`, `D >= 2`, finite
/// - returns `[N, 2]`, centered; the first column has the larger variance
///
/// # Errors
/// [`Error::Config`] if there are fewer than two rows or columns, or a value is not finite.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_report::pca_2d;
///
/// // A plane in three dimensions: 3 long along y, 1 long along x, nothing along z.
/// let rows = array![[5.0, 3.0, 7.0], [5.0, -3.0, 7.0], [6.0, 0.0, 7.0], [4.0, 0.0, 7.0]];
/// let flat = pca_2d(rows.view())?;
/// let expected = array![[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
/// assert!(flat.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
/// # Ok::<(), soft_lmccl_report::Error>(())
/// ```
pub fn pca_2d(embeddings: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
    let (rows, columns) = embeddings.dim();
    if rows < 2 || columns < 2 {
        return Err(Error::config("embeddings", "at least two rows and two columns", format!("[{rows}, {columns}]")));
    }
    if let Some(((row, column), value)) = embeddings.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Err(Error::config("embeddings", "finite values", format!("{value} in row {row}, column {column}")));
    }
    let mut centered = embeddings.mapv(f64::from);
    let mean = centered.sum_axis(Axis(0)) / rows as f64;
    centered -= &mean;
    let covariance = centered.t().dot(&centered) / rows as f64;
    let components = leading_directions(&covariance);
    Ok(centered.dot(&components).mapv(|value| value as f32))
}

/// The two leading eigenvectors of a symmetric positive semidefinite matrix, as columns.
fn leading_directions(matrix: &Array2<f64>) -> Array2<f64> {
    let dim = matrix.nrows();
    let block = BLOCK.min(dim);
    // Any start that is not at right angles to the answer will do; a seeded one gives the same
    // picture every time.
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut basis = Array2::from_shape_simple_fn((dim, block), || rng.random_range(-1.0..1.0));
    for _ in 0..MAX_ITERATIONS {
        orthonormalize(&mut basis);
        let image = matrix.dot(&basis);
        let (values, rotation) = jacobi(basis.t().dot(&image));
        let image = image.dot(&rotation);
        basis = basis.dot(&rotation);
        let residual = |k: usize| {
            let difference = &image.column(k) - &(&basis.column(k) * values[k]);
            norm(difference.view())
        };
        if residual(0).max(residual(1)) <= TOLERANCE * values[0] {
            break;
        }
        basis = image;
    }
    orthonormalize(&mut basis);
    let mut leading = basis.select(Axis(1), &[0, 1]);
    for mut direction in leading.columns_mut() {
        let largest = direction.iter().copied().fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
        if largest < 0.0 {
            direction.mapv_inplace(|value| -value);
        }
    }
    leading
}

fn norm(vector: ArrayView1<'_, f64>) -> f64 {
    vector.dot(&vector).sqrt()
}

/// Gram and Schmidt, twice, which is enough. A column that adds no direction becomes zero.
fn orthonormalize(basis: &mut Array2<f64>) {
    for k in 0..basis.ncols() {
        let mut column = basis.column(k).to_owned();
        let before = norm(column.view());
        for _ in 0..2 {
            for earlier in 0..k {
                let direction = basis.column(earlier);
                let overlap = direction.dot(&column);
                column.scaled_add(-overlap, &direction);
            }
        }
        let after = norm(column.view());
        let scale = if after > before * f64::EPSILON { after.recip() } else { 0.0 };
        basis.column_mut(k).assign(&(column * scale));
    }
}

/// Eigenvalues, largest first, and eigenvectors (columns) of a small symmetric matrix, by Jacobi's
/// rotations.
fn jacobi(mut a: Array2<f64>) -> (Array1<f64>, Array2<f64>) {
    let n = a.nrows();
    let mut vectors = Array2::<f64>::eye(n);
    for _ in 0..50 {
        let scale = a.diag().iter().map(|value| value.abs()).sum::<f64>();
        let mut off_diagonal = 0.0;
        for p in 0..n {
            for q in p + 1..n {
                off_diagonal += a[[p, q]].abs();
                if a[[p, q]].abs() <= f64::MIN_POSITIVE {
                    continue;
                }
                let theta = (a[[q, q]] - a[[p, p]]) / (2.0 * a[[p, q]]);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let cos = t.hypot(1.0).recip();
                let sin = t * cos;
                for k in 0..n {
                    let (x, y) = (a[[k, p]], a[[k, q]]);
                    a[[k, p]] = cos * x - sin * y;
                    a[[k, q]] = sin * x + cos * y;
                }
                for k in 0..n {
                    let (x, y) = (a[[p, k]], a[[q, k]]);
                    a[[p, k]] = cos * x - sin * y;
                    a[[q, k]] = sin * x + cos * y;
                    let (x, y) = (vectors[[k, p]], vectors[[k, q]]);
                    vectors[[k, p]] = cos * x - sin * y;
                    vectors[[k, q]] = sin * x + cos * y;
                }
            }
        }
        if off_diagonal <= f64::EPSILON * scale {
            break;
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[[j, j]].total_cmp(&a[[i, i]]));
    let values = order.iter().map(|&i| a[[i, i]]).collect();
    (values, vectors.select(Axis(1), &order))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn eigenvalues_of_a_known_matrix() {
        // The second difference matrix of order 3: 2 + sqrt 2, 2, 2 - sqrt 2.
        let matrix = array![[2.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]];
        let (values, vectors) = jacobi(matrix.clone());
        let root = std::f64::consts::SQRT_2;
        for (value, expected) in values.iter().zip([2.0 + root, 2.0, 2.0 - root]) {
            approx::assert_relative_eq!(*value, expected, max_relative = 1e-14);
        }
        let rebuilt = vectors.dot(&Array2::from_diag(&values)).dot(&vectors.t());
        for (got, expected) in rebuilt.iter().zip(&matrix) {
            approx::assert_abs_diff_eq!(got, expected, epsilon = 1e-14);
        }
    }

    #[test]
    fn more_columns_than_the_block() {
        // Eigenvalues 1, 1/2, 1/3, ... in a basis turned by a reflection.
        let dim = 40;
        let normal = Array1::from_iter((0..dim).map(|i| ((i * i) as f64).cos()));
        let normal = &normal / norm(normal.view());
        let outer = Array2::from_shape_fn((dim, dim), |(i, j)| normal[i] * normal[j]);
        let reflection = Array2::eye(dim) - 2.0 * outer;
        let spectrum = Array2::from_diag(&Array1::from_iter((1..=dim).map(|i| 1.0 / i as f64)));
        let directions = leading_directions(&reflection.dot(&spectrum).dot(&reflection));
        for k in 0..2 {
            let overlap = directions.column(k).dot(&reflection.column(k)).abs();
            approx::assert_abs_diff_eq!(overlap, 1.0, epsilon = 1e-12);
        }
    }
}
