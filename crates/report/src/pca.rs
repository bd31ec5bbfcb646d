//! The first two principal components, to look at embeddings.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array2, ArrayView2};

use crate::{Error, Result};

/// Projects the rows on their first two principal components.
///
/// The components are the eigenvectors of the covariance matrix with the two largest eigenvalues, in `f64`. With
/// fewer rows than columns they come from the products of the rows, which have the same eigenvalues. Each component
/// has the sign that makes its largest loading positive: the same rows give the same picture.
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
    let mut centered = DMatrix::from_fn(rows, columns, |row, column| f64::from(embeddings[[row, column]]));
    for mut column in centered.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    let wide = rows < columns;
    let products = if wide { &centered * centered.transpose() } else { centered.tr_mul(&centered) };
    let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new(products);
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|&i, &j| eigenvalues[j].total_cmp(&eigenvalues[i]));

    let mut flat = Array2::zeros((rows, 2));
    for (mut place, &which) in flat.columns_mut().into_iter().zip(&order) {
        let vector = eigenvectors.column(which);
        // The component, and where the rows lie along it.
        let (loadings, along) = if wide {
            let loadings = centered.tr_mul(&vector);
            let length = loadings.norm();
            (loadings, vector * length)
        } else {
            (vector.into_owned(), &centered * vector)
        };
        let sign = loadings[loadings.icamax()].signum();
        place.iter_mut().zip(&along).for_each(|(place, along)| *place = (sign * along) as f32);
    }
    Ok(flat)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The projection is `f32`.
    const F32_ABS: f32 = 1e-6;

    /// Rows that stretch by 5, 3 and 1 along three directions at right angles, in `columns` dimensions.
    fn stretched(columns: usize) -> Array2<f32> {
        Array2::from_shape_fn((6, columns), |(row, column)| {
            let stretch = [5.0, 3.0, 1.0][row / 2] * if row % 2 == 0 { 1.0 } else { -1.0 };
            if column == 2 - row / 2 { stretch } else { 0.0 }
        })
    }

    #[test]
    fn rows_and_columns_give_the_same_picture() {
        for columns in [3, 6, 7, 40] {
            let flat = pca_2d(stretched(columns).view()).expect("finite rows");
            let expected = [[5.0, 0.0], [-5.0, 0.0], [0.0, 3.0], [0.0, -3.0], [0.0, 0.0], [0.0, 0.0]];
            for (got, expected) in flat.iter().zip(expected.as_flattened()) {
                approx::assert_abs_diff_eq!(got, expected, epsilon = F32_ABS);
            }
        }
    }

    #[test]
    fn one_direction_leaves_the_other_component_empty() {
        let rows = Array2::from_shape_fn((4, 9), |(row, column)| row as f32 * column as f32);
        let flat = pca_2d(rows.view()).expect("finite rows");
        assert!(flat.column(1).iter().all(|value| value.abs() < F32_ABS), "{flat}");
        assert!(flat.column(0).windows(2).into_iter().all(|pair| pair[0] < pair[1]), "{flat}");
    }
}
