//! Exact verification of embeddings over all their pairs, in bounded memory.
//!
//! [`AllPairs`] multiplies tiles of the embeddings, rounds each cosine to the grid of
//! [`ScoreHistogram`] and counts it there and then: no score outlives its tile, so that memory does not
//! grow with the number of pairs, and no figure is an estimate.
//!
//! ```text
//! EmbeddingSet ── AllPairs::count ─> ScoreHistogram ─> auc, eer, at_far, best_accuracy, roc
//! ```
//!
//! # Which score
//! The score of a pair is its cosine in `f32`, rounded to a multiple of 2⁻²². Where all products and
//! sums of the rows are exact in `f32`, it is the same for every tile size, number of threads and order of
//! the rows. Elsewhere sums in another order differ in the last bits, and counts differ by no more than
//! the pairs that lie within that rounding error of a step's edge.

mod host;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::metrics::{EmbeddingSet, ScoreHistogram};

/// How all pairs are counted.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl::{metrics::{EerMethod, EmbeddingSet}, verify::AllPairs};
///
/// let embeddings = array![[1.0f32, 0.0], [3.0, 0.1], [-0.2, 1.0], [0.1, 5.0]];
/// let set = EmbeddingSet::new(embeddings.view(), &[7, 7, 4, 4])?;
/// let histogram = AllPairs::default().count(&set)?;
/// assert_eq!(histogram.counts().total(), 6);
/// assert_eq!(histogram.auc(), 1.0);
/// assert_eq!(histogram.eer(EerMethod::Linear), 0.0);
/// assert_eq!(histogram.at_far(0.0)?.point.true_accepts, 2);
/// # Ok::<(), soft_lmccl::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllPairs {
    /// Bytes that may be allocated beyond the embedding set, 1 GiB by default. It decides how many threads
    /// count: together they need 128 MiB, and each about 20 MiB more.
    pub memory_budget: u64,
    /// Rows and columns of a tile, 256 by default: its scores and both its operands stay in the
    /// second-level cache of a core up to about 256 dimensions.
    pub tile: usize,
}

impl Default for AllPairs {
    fn default() -> Self {
        Self { memory_budget: 1 << 30, tile: 256 }
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Pairs counted.
    pub done: u64,
    /// Pairs in all.
    pub total: u64,
}

impl AllPairs {
    /// Counts all unordered pairs of the set by score and kind.
    ///
    /// # Errors
    /// * [`MetricError::OneClass`](crate::MetricError::OneClass) if there are no matching or no
    ///   non-matching pairs
    /// * [`Error::Config`] if `tile` is not from 1 to 4096 or `memory_budget` is too small for one thread;
    ///   the message says how much that takes
    pub fn count(&self, set: &EmbeddingSet) -> Result<ScoreHistogram, Error> {
        self.count_with(set, |_| ControlFlow::Continue(()))
    }

    /// As [`count`](Self::count), telling after each tile how far it is and asking whether to go on.
    ///
    /// `progress` is called by all threads; `done` never exceeds `total`, and reaches it once.
    ///
    /// # Errors
    /// [`Error::Stopped`] if `progress` breaks, and as [`count`](Self::count).
    ///
    /// # Examples
    /// ```
    /// use std::ops::ControlFlow;
    /// use ndarray::Array2;
    /// use soft_lmccl::{metrics::EmbeddingSet, verify::AllPairs};
    ///
    /// let set = EmbeddingSet::new(Array2::<f32>::eye(4).view(), &[0, 0, 1, 1])?;
    /// let stopped = AllPairs::default().count_with(&set, |_| ControlFlow::Break(()));
    /// assert_eq!(stopped.unwrap_err().to_string(), "stopped by the caller after 6 of 6 pairs");
    /// # Ok::<(), soft_lmccl::MetricError>(())
    /// ```
    pub fn count_with(
        &self,
        set: &EmbeddingSet,
        progress: impl Fn(Progress) -> ControlFlow<()> + Sync,
    ) -> Result<ScoreHistogram, Error> {
        let counts = set.pair_counts();
        counts.require_both()?;
        let workers = self.workers(set)?;
        host::count(set, self.tile, workers, counts.total(), &progress)
    }

    /// How many threads the budget allows, at most one for each thread of the pool.
    fn workers(&self, set: &EmbeddingSet) -> Result<usize, Error> {
        if !(1..=4096).contains(&self.tile) {
            let got = self.tile.to_string();
            return Err(Error::Config { field: "tile", expected: "from 1 to 4096".to_owned(), got });
        }
        let shared = host::shared_bytes(set.len());
        let each = host::worker_bytes(self.tile, set.dim());
        let affordable = self.memory_budget.saturating_sub(shared) / each;
        if affordable == 0 {
            return Err(Error::Config {
                field: "memory_budget",
                expected: format!("at least {} bytes for these embeddings", shared + each),
                got: self.memory_budget.to_string(),
            });
        }
        let threads = rayon::current_num_threads();
        Ok(usize::try_from(affordable).map_or(threads, |affordable| affordable.min(threads)))
    }
}
