//! Pairs counted by score on a fixed-point grid: every figure of the exact curve, without the pairs.

use rayon::prelude::*;

use super::pairs::PairCounts;
use super::roc::{EerMethod, FarPoint, OperatingPoint, RocCurve};
use crate::MetricError;

/// Steps of the grid from a score of 0 to a score of 1.
const STEPS: u32 = 1 << 22;
/// Keys of the grid: scores from -1 to 1, both included.
const KEYS: usize = 2 * STEPS as usize + 1;
/// Keys that are summed up as one. Small enough to look into in no time, large enough to be few.
const BLOCK: usize = 1 << 12;

/// How many pairs of each kind have each score, on a grid of 2⁻²² from -1 to 1.
///
/// A score is an `f32` cosine rounded to the nearest multiple of 2⁻²² (ties to even) and clamped to
/// `[-1, 1]`; that is the score, so that counting by it loses nothing: every figure equals, to the last
/// count, what sorting these scores would give. The step of 2.4·10⁻⁷ is that of `f32` just above 1 and
/// of the order of the rounding error of an `f32` cosine.
///
/// Holds 64 MiB for each counting thread, and 128 MiB more beyond 2³² pairs, however many pairs there are.
#[derive(Debug)]
pub struct ScoreHistogram {
    counts: PairCounts,
    tallies: Vec<Tally<u32>>,
    carried: Option<Tally<u64>>,
    blocks: Vec<Block>,
    /// Twice the area under the curve, in couples of a matching and a non-matching pair.
    twice_area: u128,
}

/// What there is to know of `BLOCK` keys without looking into them.
#[derive(Debug, Clone, Copy)]
struct Block {
    index: usize,
    /// The point of the lowest score above the block.
    before: OperatingPoint,
    /// The point of the lowest score in the block.
    end: OperatingPoint,
    /// Pairs judged right at the most accurate point of the block or just before it.
    most_correct: u64,
}

/// One block by itself, as if there were nothing above it.
struct Partial {
    index: usize,
    lowest: usize,
    matching: u64,
    non_matching: u64,
    twice_area: u128,
    /// The largest gain of correct pairs over the block's start.
    gain: i128,
}

impl ScoreHistogram {
    /// Joins what was counted side by side.
    pub(crate) fn new(tallies: Vec<Tally<u32>>, carried: Option<Tally<u64>>) -> Result<Self, MetricError> {
        let mut histogram = Self {
            counts: PairCounts { matching: 0, non_matching: 0 },
            tallies,
            carried,
            blocks: Vec::new(),
            twice_area: 0,
        };
        let partials: Vec<Partial> =
            (0..KEYS.div_ceil(BLOCK)).into_par_iter().rev().filter_map(|index| histogram.partial(index)).collect();
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
            let most_correct = i128::from(before.correct()) + partial.gain;
            let most_correct = u64::try_from(most_correct).expect("correct pairs are counted in u64");
            histogram.blocks.push(Block { index: partial.index, before, end: point, most_correct });
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

    /// The point of the largest TAR among those with `FAR <= target_far`, as [`RocCurve::at_far`].
    ///
    /// # Errors
    /// [`MetricError::Rate`] if `target_far` is NaN or outside `[0, 1]`.
    pub fn at_far(&self, target_far: f64) -> Result<FarPoint, MetricError> {
        // A target that is no rate is refused by the curve, whichever part of it is asked.
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

    /// The whole curve, for plotting and for everything else that a [`RocCurve`] is good for.
    ///
    /// Holds 40 bytes for each distinct score, of which there are at most 2²³ + 1.
    #[must_use]
    pub fn roc(&self) -> RocCurve {
        let mut points = vec![OperatingPoint::nothing_accepted(self.counts)];
        for block in &self.blocks {
            self.push_points(block, &mut points);
        }
        RocCurve::from_points(points)
    }

    /// The part of the curve on which `FAR − FRR` changes sign.
    fn around_equal_errors(&self) -> RocCurve {
        let crossing = self.blocks.partition_point(|block| block.end.accepts_less_than_it_rejects());
        self.curve_in(&self.blocks[crossing])
    }

    /// The part of the curve in one block, from the point before it on.
    fn curve_in(&self, block: &Block) -> RocCurve {
        let mut points = vec![block.before];
        self.push_points(block, &mut points);
        RocCurve::from_points(points)
    }

    fn push_points(&self, block: &Block, points: &mut Vec<OperatingPoint>) {
        let mut point = block.before;
        for key in keys_of(block.index).rev() {
            let (matching, non_matching) = self.at(key);
            if matching + non_matching > 0 {
                point.threshold = score_of(key);
                point.true_accepts += matching;
                point.false_accepts += non_matching;
                points.push(point);
            }
        }
    }

    fn at(&self, key: usize) -> (u64, u64) {
        let carried = self.carried.as_ref().map_or((0, 0), |tally| (tally.matching[key], tally.non_matching[key]));
        self.tallies.iter().fold(carried, |(matching, non_matching), tally| {
            (matching + u64::from(tally.matching[key]), non_matching + u64::from(tally.non_matching[key]))
        })
    }

    /// Sums up one block; none if no pair has a score in it.
    fn partial(&self, index: usize) -> Option<Partial> {
        let mut sums = Partial { index, lowest: KEYS, matching: 0, non_matching: 0, twice_area: 0, gain: 0 };
        for key in keys_of(index).rev() {
            let (matching, non_matching) = self.at(key);
            if matching + non_matching == 0 {
                continue;
            }
            sums.lowest = key;
            sums.twice_area += u128::from(non_matching) * (2 * u128::from(sums.matching) + u128::from(matching));
            sums.matching += matching;
            sums.non_matching += non_matching;
            sums.gain = sums.gain.max(i128::from(sums.matching) - i128::from(sums.non_matching));
        }
        (sums.lowest < KEYS).then_some(sums)
    }
}

fn keys_of(block: usize) -> std::ops::Range<usize> {
    block * BLOCK..((block + 1) * BLOCK).min(KEYS)
}

/// The score that a key stands for, exactly.
fn score_of(key: usize) -> f64 {
    (key as f64 - f64::from(STEPS)) / f64::from(STEPS)
}

/// Rounds a score to the grid.
///
/// Above 2²³ an `f32` holds integers only, so that adding 1.5·2²³ rounds a number of steps to the
/// nearest integer, ties to even, and leaves it in the low bits. Scaling by a power of two is exact.
fn key_of(score: f32) -> u32 {
    const ROUND: f32 = 12_582_912.0;
    const LOWEST: u32 = (ROUND - STEPS as f32).to_bits();
    (score.clamp(-1.0, 1.0) * STEPS as f32 + ROUND).to_bits() - LOWEST
}

/// The counters of one thread.
#[derive(Debug)]
pub(crate) struct Tally<C> {
    matching: Vec<C>,
    non_matching: Vec<C>,
}

impl<C: Clone + Default> Tally<C> {
    /// What one takes, in bytes.
    pub(crate) const BYTES: u64 = 2 * (KEYS * size_of::<C>()) as u64;
}

impl Tally<u32> {
    pub(crate) fn new() -> Self {
        Self { matching: vec![0; KEYS], non_matching: vec![0; KEYS] }
    }

    /// Counts scores of pairs of one kind. No more than `u32::MAX` may be counted before [`Tally::carry`].
    pub(crate) fn count(&mut self, scores: &[f32], same: bool) {
        // Rounded a few at a time: the first loop is made of vector instructions, the second cannot be.
        const AT_A_TIME: usize = 64;
        let counters = if same { &mut self.matching } else { &mut self.non_matching };
        let mut keys = [0; AT_A_TIME];
        for scores in scores.chunks(AT_A_TIME) {
            for (key, &score) in keys.iter_mut().zip(scores) {
                *key = key_of(score);
            }
            for &key in &keys[..scores.len()] {
                counters[key as usize] += 1;
            }
        }
    }
}

impl Tally<u64> {
    pub(crate) fn new() -> Self {
        Self { matching: vec![0; KEYS], non_matching: vec![0; KEYS] }
    }

    /// Moves counts over before they can overflow.
    pub(crate) fn carry(&mut self, from: &mut Tally<u32>) {
        let kinds = [(&mut self.matching, &mut from.matching), (&mut self.non_matching, &mut from.non_matching)];
        for (to, from) in kinds {
            for (to, from) in to.iter_mut().zip(from) {
                *to += u64::from(std::mem::take(from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_nearest_steps() {
        let step = 1.0 / STEPS as f32;
        let cases = [
            (-1.0, 0),
            (-1.5, 0),
            (-1.0 + step, 1),
            (-0.0, STEPS),
            (0.0, STEPS),
            (0.5 * step, STEPS),
            (0.75 * step, STEPS + 1),
            (1.5 * step, STEPS + 2),
            (-0.75 * step, STEPS - 1),
            (1.0 - step / 4.0, 2 * STEPS),
            (1.0 - step, 2 * STEPS - 1),
            (1.0, 2 * STEPS),
            (1.0 + step, 2 * STEPS),
        ];
        for (score, key) in cases {
            assert_eq!(key_of(score), key, "{score}");
        }
    }

    #[test]
    fn carried_counts_are_counted_once() {
        let mut narrow = Tally::<u32>::new();
        narrow.count(&[0.5, 0.5, -0.25], true);
        narrow.count(&[0.25], false);
        let mut wide = Tally::<u64>::new();
        wide.carry(&mut narrow);
        wide.matching[key_of(0.5) as usize] += u64::from(u32::MAX);
        narrow.count(&[0.5], true);
        let histogram = ScoreHistogram::new(vec![narrow], Some(wide)).unwrap();
        let matching = 4 + u64::from(u32::MAX);
        assert_eq!(histogram.counts(), PairCounts { matching, non_matching: 1 });
        assert_eq!(histogram.at_far(0.0).unwrap().point.true_accepts, matching - 1);
    }
}
