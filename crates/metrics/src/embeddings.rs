//! Unit-length embeddings and the cosines between them.

use ndarray::{ArrayView1, ArrayView2, aview1};
use rayon::prelude::*;

use super::pairs::{PairCounts, PairIndex, PairProtocol, PairScores};
use crate::Error;

/// Unit-length embeddings and their labels, row by row on the host.
///
/// The score of a pair is the cosine of its two rows, defined to the last bit. Rows are normalized in `f64` and
/// rounded to `f32`. Products and sums are `f32`, in an order that depends on the dimension alone; the result is
/// promoted to `f64`.
///
/// The score is therefore the same on every machine, for any number of threads, for `(i, j)` and `(j, i)`, and for
/// every [`PairProtocol`]. It is not clamped: two equal rows score 1 to within rounding, on either side.
///
/// This holds for [`cosine`](Self::cosine) and everything made of it, such as [`pair_scores`](Self::pair_scores).
/// [`AllPairs`](crate::verify::AllPairs) sums in another order: before rounding, its scores may differ in the last
/// bits.
///
/// Rounding may equate or swap cosines that differ by less than about 2·10⁻⁷. Only embeddings collapsed to nearly one
/// direction, with distances below 10⁻³, come so close together; [`CollapseReport`](super::CollapseReport) shows
/// them.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::EmbeddingSet;
///
/// let set = EmbeddingSet::new(array![[3.0f32, 4.0], [0.0, -2.0]].view(), &[0, 1])?;
/// assert_eq!(set.row(0), [0.6, 0.8]);
/// assert_eq!(set.cosine(0, 1), f64::from(-0.8f32));
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingSet {
    dim: usize,
    values: Vec<f32>,
    labels: Vec<u32>,
}

impl EmbeddingSet {
    /// Checks and normalizes the rows.
    ///
    /// # Shapes
    /// * `embeddings`: `[N, D]`, any memory layout, any lengths but zero; a view of the [`ndarray`](crate::ndarray)
    ///   that this crate re-exports
    /// * `labels`: `[N]`, class numbers from 0 to `u32::MAX`; they need not be contiguous
    ///
    /// # Errors
    /// * [`Error::NoEmbeddings`] if `N` or `D` is 0
    /// * [`Error::EmbeddingLength`] if there are not `N` labels
    /// * [`Error::EmbeddingNotFinite`], [`Error::ZeroEmbedding`] or
    ///   [`Error::EmbeddingLabel`], naming the first row that cannot be used
    pub fn new(embeddings: ArrayView2<'_, f32>, labels: &[i64]) -> Result<Self, Error> {
        let (rows, dim) = embeddings.dim();
        if rows == 0 || dim == 0 {
            return Err(Error::NoEmbeddings { rows, dim });
        }
        if labels.len() != rows {
            return Err(Error::EmbeddingLength { embeddings: rows, labels: labels.len() });
        }
        let mut values = Vec::with_capacity(rows * dim);
        let mut classes = Vec::with_capacity(rows);
        for (row, (embedding, &label)) in embeddings.outer_iter().zip(labels).enumerate() {
            let norm = norm(row, embedding)?;
            let class = u32::try_from(label).map_err(|_| Error::EmbeddingLabel { row, label })?;
            values.extend(embedding.iter().map(|&x| (f64::from(x) / norm) as f32));
            classes.push(class);
        }
        Ok(Self { dim, values, labels: classes })
    }

    /// Number of embeddings, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Always false: a set without embeddings cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of dimensions, at least 1.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The `index`-th embedding, of length 1.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..][..self.dim]
    }

    /// All embeddings, `[N, D]`.
    #[must_use]
    pub fn view(&self) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((self.len(), self.dim), &self.values).expect("as many values as rows of `dim`")
    }

    /// The class of each embedding.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// How many matching and non-matching pairs the embeddings make.
    #[must_use]
    pub fn pair_counts(&self) -> PairCounts {
        PairIndex::new(&self.labels).counts()
    }

    /// The score of the pair `(i, j)`, see [`EmbeddingSet`].
    ///
    /// # Panics
    /// If `i` or `j` is not below [`len`](Self::len).
    #[must_use]
    pub fn cosine(&self, i: usize, j: usize) -> f64 {
        f64::from(dot(self.row(i), self.row(j)))
    }

    /// The pairs `(i, j)`, `i < j`, that the protocol names, in increasing order.
    ///
    /// # Errors
    /// [`Error::TooFewPairs`] if more pairs of a kind are asked for than there are.
    ///
    /// # Examples
    /// ```
    /// use ndarray::array;
    /// use soft_lmccl_metrics::{EmbeddingSet, PairProtocol};
    ///
    /// let set = EmbeddingSet::new(array![[1.0f32], [2.0], [3.0]].view(), &[5, 8, 5])?;
    /// assert_eq!(set.pairs(PairProtocol::All)?, [(0, 1), (0, 2), (1, 2)]);
    /// let sampled = PairProtocol::Sampled { matching: 2, non_matching: 0, seed: 1 };
    /// assert_eq!(
    ///     set.pairs(sampled).unwrap_err().to_string(),
    ///     "asked for 2 distinct matching pairs, but the set has 1"
    /// );
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn pairs(&self, protocol: PairProtocol) -> Result<Vec<(usize, usize)>, Error> {
        match protocol {
            PairProtocol::All => {
                let n = self.len();
                Ok((0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).collect())
            }
            PairProtocol::Sampled { matching, non_matching, seed } => {
                PairIndex::new(&self.labels).sample(matching, non_matching, seed)
            }
        }
    }

    /// The score of every pair that the protocol names, in the order of [`pairs`](Self::pairs).
    ///
    /// Holds 9 bytes a pair: 3.6 MB for all pairs of 900 embeddings, 4.5 GB for 32,000.
    ///
    /// # Errors
    /// [`Error::OneClass`] if the pairs lack a kind, and as [`pairs`](Self::pairs).
    pub fn pair_scores(&self, protocol: PairProtocol) -> Result<PairScores, Error> {
        match protocol {
            PairProtocol::All => {
                self.pair_counts().require_both()?;
                Ok(PairScores::trusted(self.upper_triangle(), self.upper_triangle_matches()))
            }
            PairProtocol::Sampled { .. } => {
                let pairs = self.pairs(protocol)?;
                let scores = pairs.par_iter().map(|&(i, j)| self.cosine(i, j)).collect();
                let same = pairs.iter().map(|&(i, j)| self.labels[i] == self.labels[j]).collect();
                PairScores::new(scores, same)
            }
        }
    }

    /// Rows that have length 1 already, taken to the last bit.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::Config`] for a row of another length.
    pub(super) fn of_unit_rows(rows: ArrayView2<'_, f32>, labels: &[u32]) -> Result<Self, Error> {
        /// More than the rounding of a row to `f32`, for any dimension in use.
        const ROUNDING: f64 = 1e-4;
        let as_given: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
        let checked = Self::new(rows, &as_given)?;
        for (row, embedding) in rows.outer_iter().enumerate() {
            let length = norm(row, embedding)?;
            if (length - 1.0).abs() > ROUNDING {
                let got = format!("{length} in row {row}");
                return Err(Error::config("prototypes", "rows of length 1", got));
            }
        }
        Ok(Self { values: rows.iter().copied().collect(), ..checked })
    }

    /// Some of the rows, in the order given.
    pub(super) fn subset(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|&row| self.row(row)).copied().collect();
        let labels = rows.iter().map(|&row| self.labels[row]).collect();
        Self { dim: self.dim, values, labels }
    }

    /// Cosines of all pairs, row by row; each row of the triangle has one writer.
    fn upper_triangle(&self) -> Vec<f64> {
        let n = self.len();
        let mut scores = vec![0.0; n * (n - 1) / 2];
        let mut rest = scores.as_mut_slice();
        let mut triangle = Vec::with_capacity(n);
        for i in 0..n {
            let (row, below) = rest.split_at_mut(n - 1 - i);
            triangle.push(row);
            rest = below;
        }
        triangle.into_par_iter().enumerate().for_each(|(i, row)| {
            for (score, j) in row.iter_mut().zip(i + 1..) {
                *score = self.cosine(i, j);
            }
        });
        scores
    }

    fn upper_triangle_matches(&self) -> Vec<bool> {
        let mut same = Vec::with_capacity(self.len() * (self.len() - 1) / 2);
        for (i, label) in self.labels.iter().enumerate() {
            same.extend(self.labels[i + 1..].iter().map(|other| other == label));
        }
        same
    }
}

/// The cosine of two rows of any length, each scaled to length 1 first.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> Result<f64, Error> {
    if a.len() != b.len() {
        return Err(Error::Dimension { left: a.len(), right: b.len() });
    }
    Ok(f64::from(dot(&unit(0, a)?, &unit(1, b)?)))
}

/// A row scaled to length 1, as every row of a set.
pub(super) fn unit(row: usize, values: &[f32]) -> Result<Vec<f32>, Error> {
    let norm = norm(row, aview1(values))?;
    Ok(values.iter().map(|&x| (f64::from(x) / norm) as f32).collect())
}

/// Length of a nonzero row. In `f64` no square of a nonzero `f32` underflows, and no sum of squares overflows.
fn norm(row: usize, embedding: ArrayView1<'_, f32>) -> Result<f64, Error> {
    if let Some((column, &value)) = embedding.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(Error::EmbeddingNotFinite { row, column, value });
    }
    let norm = embedding.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 { Ok(norm) } else { Err(Error::ZeroEmbedding { row }) }
}

/// Sixteen running sums, added from first to last at the end. They fill vector registers; their order is written
/// here, not chosen by a library or a machine.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    for (sum, (x, y)) in sums.iter_mut().zip(a_tail.iter().zip(b_tail)) {
        *sum += x * y;
    }
    sums.iter().sum()
}
