//! Exact verification of embeddings over all their pairs, in bounded memory.
//!
//! [`AllPairs`] multiplies tiles of the embeddings. It rounds each cosine to the grid of [`ScoreHistogram`] and
//! counts it at once. No score outlives its tile: memory does not grow with the number of pairs, and no figure is an
//! estimate.
//!
//! ```text
//! EmbeddingSet (host) ──┐
//!                       ├─ Pairs ─ AllPairs::count ──────> ScoreHistogram ─> auc, eer, at_far, best_accuracy, roc
//! DeviceSet (any) ──────┘          AllPairs::count_part ─> ScoreCounts, sums of which make a ScoreHistogram
//! ```
//!
//! # Which score
//! The score of a pair is its cosine in `f32`, rounded to a multiple of 2⁻²².
//!
//! - Where all products and sums of the rows are exact in `f32`, the score is the same for every tile size, number of
//!   threads, device and order of the rows.
//! - Where they round, the host alone still has one score: it sums in the order of the dimensions. Only a processor
//!   without fused multiplication counts otherwise.
//! - A device sums in an order of its own. Its counts differ by at most the pairs within that rounding error of a
//!   step's edge.

mod blocks;
mod by_class;
mod class_tally;
pub(crate) mod counts;
#[cfg(feature = "tch")]
mod device;
mod histogram;
mod host;
mod layout;
mod pages;
mod pairs;
mod part;
mod source;
mod tally;

pub use by_class::{ClassCuts, CountedByClass, PartByClass};
pub use counts::ScoreCounts;
#[cfg(feature = "tch")]
pub use device::DeviceSet;
pub use histogram::ScoreHistogram;
pub use pairs::{Embedded, Pairs};
pub use part::Part;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::Error;

/// How all pairs are counted.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::{EerMethod, EmbeddingSet, verify::AllPairs};
///
/// let embeddings = array![[1.0f32, 0.0], [3.0, 0.1], [-0.2, 1.0], [0.1, 5.0]];
/// let set = EmbeddingSet::new(embeddings.view(), &[7, 7, 4, 4])?;
/// let histogram = AllPairs::default().count(&set)?;
/// assert_eq!(histogram.counts().total(), 6);
/// assert_eq!(histogram.auc(), 1.0);
/// assert_eq!(histogram.eer(EerMethod::Linear), 0.0);
/// assert_eq!(histogram.at_far(0.0)?.point.true_accepts, 2);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllPairs {
    /// Bytes that may be allocated beyond the embedding set, 1 GiB by default. They decide how many threads count:
    /// together they need 145 MiB, and each about 31 MiB more at 128 dimensions.
    ///
    /// If all threads fit, and the embeddings twice (as rows and as columns of a product), the embeddings are put in
    /// order once; otherwise again for each tile.
    pub memory_budget: u64,
    /// Rows and columns of a tile, from 1 to 8192. Default on the host: 480, fewer beyond 2,000 dimensions; it leaves
    /// room in the cache for counters. Blocks are 8 x 48 where vectors have 512 bits, else 6 x 16: a multiple of 48 is
    /// best. Default on a device: up to 4096, as the budget allows.
    pub tile: Option<usize>,
}

impl Default for AllPairs {
    fn default() -> Self {
        Self { memory_budget: 1 << 30, tile: None }
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountProgress {
    /// Pairs counted.
    pub done: u64,
    /// Pairs in all.
    pub total: u64,
}

/// Learns how far a run is, says whether to go on. It is not generic: this crate compiles all of the counting.
type Watch<'a> = &'a (dyn Fn(CountProgress) -> ControlFlow<()> + Sync);

impl CountProgress {
    /// Before the first tile. Without pairs this is also the end, which no tile would tell.
    fn start(total: u64, progress: Watch<'_>) -> Result<(), Error> {
        match total {
            0 if progress(Self { done: 0, total }).is_break() => Err(Error::Stopped { done: 0, total, units: "pairs" }),
            _ => Ok(()),
        }
    }
}

impl AllPairs {
    /// Counts all pairs of a set, or between two sets, by score and kind.
    ///
    /// # Errors
    /// * [`Error::OneClass`] if there are no matching or no
    ///   non-matching pairs
    /// * [`Error::Config`] if `tile` is not from 1 to 8192 or `memory_budget` is too small for one thread; the
    ///   message says how much one needs
    /// * `Error::Torch` for sets on a device, if it lacks the memory, or if the two sets are on different devices
    pub fn count<'a, S: Embedded + 'a>(&self, pairs: impl Into<Pairs<'a, S>>) -> Result<ScoreHistogram, Error> {
        self.count_with(pairs, |_| ControlFlow::Continue(()))
    }

    /// As [`count`](Self::count). After each tile, `progress` learns how far the run is and says whether to go on.
    ///
    /// All threads call `progress`. `done` never exceeds `total` and reaches it once, even if there is nothing to
    /// count.
    ///
    /// # Errors
    /// [`Error::Stopped`] if `progress` breaks, and as [`count`](Self::count).
    ///
    /// # Examples
    /// ```
    /// use std::ops::ControlFlow;
    /// use ndarray::Array2;
    /// use soft_lmccl_metrics::{EmbeddingSet, verify::AllPairs};
    ///
    /// let set = EmbeddingSet::new(Array2::<f32>::eye(4).view(), &[0, 0, 1, 1])?;
    /// let stopped = AllPairs::default().count_with(&set, |_| ControlFlow::Break(()));
    /// assert_eq!(stopped.unwrap_err().to_string(), "stopped by the caller after 6 of 6 pairs");
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn count_with<'a, S: Embedded + 'a>(
        &self,
        pairs: impl Into<Pairs<'a, S>>,
        progress: impl Fn(CountProgress) -> ControlFlow<()> + Sync,
    ) -> Result<ScoreHistogram, Error> {
        let pairs = pairs.into();
        self.validate()?;
        pairs.counts().require_both()?;
        S::count(pairs, self, Part::WHOLE, &progress)?.histogram()
    }

    /// Counts one part of the pairs; the sum of all parts is the whole, see [`ScoreCounts`]. Each part may be counted
    /// in its own way: [`Part`] alone decides its pairs.
    ///
    /// # Errors
    /// As [`count`](Self::count), except that a part may lack a kind of pair.
    pub fn count_part<'a, S: Embedded + 'a>(
        &self,
        pairs: impl Into<Pairs<'a, S>>,
        part: Part,
    ) -> Result<ScoreCounts, Error> {
        self.count_part_with(pairs, part, |_| ControlFlow::Continue(()))
    }

    /// As [`count_part`](Self::count_part), with `progress` as in [`count_with`](Self::count_with).
    ///
    /// # Errors
    /// [`Error::Stopped`] if `progress` breaks, and as [`count_part`](Self::count_part).
    pub fn count_part_with<'a, S: Embedded + 'a>(
        &self,
        pairs: impl Into<Pairs<'a, S>>,
        part: Part,
        progress: impl Fn(CountProgress) -> ControlFlow<()> + Sync,
    ) -> Result<ScoreCounts, Error> {
        self.validate()?;
        S::count(pairs.into(), self, part, &progress)
    }

    fn validate(&self) -> Result<(), Error> {
        match self.tile {
            Some(tile) if !(1..=8192).contains(&tile) => Err(Error::config("tile", "from 1 to 8192", tile)),
            _ => Ok(()),
        }
    }
}
