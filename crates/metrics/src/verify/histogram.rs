//! Every figure of the exact curve, read off counts by score, without the pairs.

use std::fmt;

use rayon::prelude::*;

use super::counts::{BLOCK, ScoreCounts};
use crate::{
    Curve, EerMethod, Error, FarPoint, OperatingPoint, RocCurve, curve::impl_curve, grid::score_of, pairs::PairCounts,
};

impl_curve!(ScoreHistogram);

impl ScoreCounts {
    /// The histogram, which gives every figure.
    ///
    /// # Errors
    /// [`Error::OneClass`] if there are no pairs of a kind.
    pub fn histogram(self) -> Result<ScoreHistogram, Error> {
        ScoreHistogram::new(self)
    }
}

/// How many pairs of each kind have each score, on a grid of 2⁻²² from -1 to 1.
///
/// A score is an `f32` cosine, rounded to the nearest multiple of 2⁻²² (ties to even) and clamped to `[-1, 1]`.
/// Counting by it loses nothing: every figure equals, to the last count, the figure from sorting these scores. The
/// step of 2.4·10⁻⁷ is that of `f32` just above 1 and of the order of the rounding error of an `f32` cosine.
///
/// Holds 16 MiB, and at most 128 MiB more where scores repeat, however many pairs there are.
#[derive(Clone)]
pub struct ScoreHistogram {
    counts: PairCounts,
    by_score: ScoreCounts,
    blocks: Vec<KeyBlock>,
    /// Twice the area under the curve, in couples of a matching and a non-matching pair.
    twice_area: u128,
}

/// Sizes only: there are millions of counters.
impl fmt::Debug for ScoreHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScoreHistogram")
            .field("counts", &self.counts)
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

/// The summary of a block of keys.
#[derive(Debug, Clone, Copy)]
struct KeyBlock {
    index: usize,
    /// The point of the lowest score above the block.
    before: OperatingPoint,
    /// The point of the lowest score in the block.
    end: OperatingPoint,
    /// Pairs judged right at the most accurate point of the block or just before it.
    most_correct: u64,
}

/// One block by itself, as if it were the highest.
struct Partial {
    index: usize,
    lowest: usize,
    matching: u64,
    non_matching: u64,
    twice_area: u128,
    /// The largest gain of correct pairs over the block's start.
    gain: u64,
}

impl ScoreHistogram {
    fn new(by_score: ScoreCounts) -> Result<Self, Error> {
        let mut histogram =
            Self { counts: PairCounts { matching: 0, non_matching: 0 }, by_score, blocks: Vec::new(), twice_area: 0 };
        let blocks: Vec<usize> = histogram.by_score.occupied_blocks().collect();
        let partials: Vec<Partial> =
            blocks.into_par_iter().rev().filter_map(|index| histogram.partial(index)).collect();
        histogram.counts = PairCounts {
            matching: partials.iter().map(|partial| partial.matching).sum(),
            non_matching: partials.iter().map(|partial| partial.non_matching).sum(),
        };
        histogram.counts.require_both()?;

        let mut point = OperatingPoint::nothing_accepted(histogram.counts);
        for partial in partials {
            let before = point;
            point.threshold = score_of(partial.lowest);
            point.true_accepts += partial.matching;
            point.false_accepts += partial.non_matching;
            let most_correct = before.correct() + partial.gain;
            histogram.blocks.push(KeyBlock { index: partial.index, before, end: point, most_correct });
            histogram.twice_area +=
                partial.twice_area + 2 * u128::from(before.true_accepts) * u128::from(partial.non_matching);
        }
        Ok(histogram)
    }

    /// How many pairs there are of each kind, at least one of both.
    #[must_use]
    pub fn counts(&self) -> PairCounts {
        self.counts
    }

    /// Area under the curve, as [`RocCurve::auc`].
    #[must_use]
    pub fn auc(&self) -> f64 {
        let couples = u128::from(self.counts.matching) * u128::from(self.counts.non_matching);
        self.twice_area as f64 / (2 * couples) as f64
    }

    /// Equal error rate, as [`RocCurve::eer`].
    #[must_use]
    pub fn eer(&self, method: EerMethod) -> f64 {
        self.around_equal_errors().eer(method)
    }

    /// The point of smallest `|FAR − FRR|`, as [`RocCurve::eer_point`].
    #[must_use]
    pub fn eer_point(&self) -> OperatingPoint {
        self.around_equal_errors().eer_point()
    }

    /// The point of the largest TAR with `FAR <= target_far`, as [`RocCurve::at_far`].
    ///
    /// # Errors
    /// [`Error::Rate`] if `target_far` is NaN or outside `[0, 1]`.
    pub fn at_far(&self, target_far: f64) -> Result<FarPoint, Error> {
        // The curve refuses a target that is no rate, whichever part of it is asked.
        let within = self.blocks.partition_point(|block| block.before.far() <= target_far);
        self.curve_in(&self.blocks[within.saturating_sub(1)]).at_far(target_far)
    }

    /// The most accurate point, as [`RocCurve::best_accuracy`].
    #[must_use]
    pub fn best_accuracy(&self) -> OperatingPoint {
        let mut best = &self.blocks[0];
        for block in &self.blocks[1..] {
            if block.most_correct > best.most_correct {
                best = block;
            }
        }
        self.curve_in(best).best_accuracy()
    }

    /// The counts if scores of at least `threshold` are accepted, as [`RocCurve::at_threshold`].
    #[must_use]
    pub fn at_threshold(&self, threshold: f64) -> OperatingPoint {
        let within = self.blocks.partition_point(|block| block.before.threshold >= threshold);
        self.curve_in(&self.blocks[within.saturating_sub(1)]).at_threshold(threshold)
    }

    pub(super) fn on_grid(&self) -> bool {
        true
    }

    /// The whole curve, for plotting and every other use of a [`RocCurve`].
    ///
    /// Holds 40 bytes for each distinct score, of which there are at most 2²³ + 1.
    #[must_use]
    pub fn roc(&self) -> RocCurve {
        let mut points = vec![OperatingPoint::nothing_accepted(self.counts)];
        for block in &self.blocks {
            self.push_points(block, &mut points);
        }
        RocCurve::of_grid(points)
    }

    /// The part of the curve on which `FAR − FRR` changes sign.
    fn around_equal_errors(&self) -> RocCurve {
        let crossing = self.blocks.partition_point(|block| block.end.accepts_less_than_it_rejects());
        self.curve_in(&self.blocks[crossing])
    }

    /// The part of the curve in one block, from the point before it on.
    fn curve_in(&self, block: &KeyBlock) -> RocCurve {
        let mut points = vec![block.before];
        self.push_points(block, &mut points);
        RocCurve::of_grid(points)
    }

    fn push_points(&self, block: &KeyBlock, points: &mut Vec<OperatingPoint>) {
        let mut point = block.before;
        for (key, [matching, non_matching]) in self.by_score.counts_in(block.index) {
            if matching + non_matching > 0 {
                point.threshold = score_of(key);
                point.true_accepts += matching;
                point.false_accepts += non_matching;
                points.push(point);
            }
        }
    }

    /// Sums up one block; `None` if no pair has a score in it.
    fn partial(&self, index: usize) -> Option<Partial> {
        let Some([matching, non_matching]) = self.by_score.small_counts_in(index) else {
            return self.partial_of_many(index);
        };
        // No count is as large as 2^8, and no sum over a block overflows.
        let (mut true_accepts, mut false_accepts, mut twice_area, mut gain) = (0u64, 0u64, 0u64, 0i64);
        for (&matching, &non_matching) in matching.iter().zip(non_matching.iter()).rev() {
            let (matching, non_matching) = (u64::from(matching), u64::from(non_matching));
            twice_area += non_matching * (2 * true_accepts + matching);
            true_accepts += matching;
            false_accepts += non_matching;
            gain = gain.max(true_accepts as i64 - false_accepts as i64);
        }
        let lowest = matching.iter().zip(non_matching.iter()).position(|(&a, &b)| (a, b) != (0, 0))?;
        Some(Partial {
            index,
            lowest: index * BLOCK + lowest,
            matching: true_accepts,
            non_matching: false_accepts,
            twice_area: u128::from(twice_area),
            gain: gain.unsigned_abs(),
        })
    }

    /// As [`partial`](Self::partial), where a counter has gone round.
    fn partial_of_many(&self, index: usize) -> Option<Partial> {
        let mut sums = Partial { index, lowest: usize::MAX, matching: 0, non_matching: 0, twice_area: 0, gain: 0 };
        for (key, [matching, non_matching]) in self.by_score.counts_in(index) {
            if matching + non_matching == 0 {
                continue;
            }
            sums.lowest = key;
            sums.twice_area += u128::from(non_matching) * (2 * u128::from(sums.matching) + u128::from(matching));
            sums.matching += matching;
            sums.non_matching += non_matching;
            sums.gain = sums.gain.max(sums.matching.saturating_sub(sums.non_matching));
        }
        (sums.lowest < usize::MAX).then_some(sums)
    }
}
