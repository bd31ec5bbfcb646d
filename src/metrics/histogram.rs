//! Pairs counted by score on a fixed-point grid: every figure of the exact curve, without the pairs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

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
/// Holds 16 MiB for each thread that counted and at most 128 MiB for all, however many pairs there are.
#[derive(Debug)]
pub struct ScoreHistogram {
    counts: PairCounts,
    tallies: Vec<Tally>,
    overflow: Overflow,
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
    gain: u64,
}

impl ScoreHistogram {
    /// Joins what was counted side by side.
    pub(crate) fn new(tallies: Vec<Tally>, overflow: Overflow) -> Result<Self, MetricError> {
        let mut histogram = Self {
            counts: PairCounts { matching: 0, non_matching: 0 },
            tallies,
            overflow,
            blocks: Vec::new(),
            twice_area: 0,
        };
        let partials: Vec<Partial> =
            histogram.occupied_blocks().into_par_iter().rev().filter_map(|index| histogram.partial(index)).collect();
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
        for (key, [matching, non_matching]) in self.counts_in(block.index) {
            if matching + non_matching > 0 {
                point.threshold = score_of(key);
                point.true_accepts += matching;
                point.false_accepts += non_matching;
                points.push(point);
            }
        }
    }

    /// From the block of the lowest score to that of the highest: counters elsewhere were never touched,
    /// and reading them would be the longest part of a short run.
    fn occupied_blocks(&self) -> std::ops::Range<usize> {
        let keys = self.tallies.iter().map(|tally| tally.keys).fold(KeyRange::NONE, KeyRange::join);
        keys.lowest as usize / BLOCK..(keys.highest as usize + 1).div_ceil(BLOCK)
    }

    /// The keys of a block, highest first, each with its matching and non-matching pairs.
    fn counts_in(&self, index: usize) -> impl Iterator<Item = (usize, [u64; 2])> {
        let keys = keys_of(index);
        let mut counts = vec![[0; 2]; keys.len()];
        for kind in [MATCHING, NON_MATCHING] {
            for tally in &self.tallies {
                for (sum, &count) in counts.iter_mut().zip(&tally.counters[kind][keys.clone()]) {
                    sum[kind] += u64::from(count);
                }
            }
            if let Some(turns) = self.overflow.turns[kind][index].get() {
                for (sum, turns) in counts.iter_mut().zip(turns) {
                    sum[kind] += TURN * turns.load(Ordering::Relaxed);
                }
            }
        }
        keys.zip(counts).rev()
    }

    /// Sums up one block; none if no pair has a score in it.
    fn partial(&self, index: usize) -> Option<Partial> {
        let mut sums = Partial { index, lowest: KEYS, matching: 0, non_matching: 0, twice_area: 0, gain: 0 };
        for (key, [matching, non_matching]) in self.counts_in(index) {
            if matching + non_matching == 0 {
                continue;
            }
            sums.lowest = key;
            sums.twice_area += u128::from(non_matching) * (2 * u128::from(sums.matching) + u128::from(matching));
            sums.matching += matching;
            sums.non_matching += non_matching;
            sums.gain = sums.gain.max(sums.matching.saturating_sub(sums.non_matching));
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

/// The lowest and the highest key that were counted.
#[derive(Debug, Clone, Copy)]
struct KeyRange {
    lowest: u32,
    highest: u32,
}

impl KeyRange {
    const NONE: Self = Self { lowest: 2 * STEPS, highest: 0 };

    fn join(self, other: Self) -> Self {
        Self { lowest: self.lowest.min(other.lowest), highest: self.highest.max(other.highest) }
    }
}

const MATCHING: usize = 0;
const NON_MATCHING: usize = 1;
/// Pairs after which a counter of a thread starts again from 0.
const TURN: u64 = 1 << 8;

/// The counters of one thread, by kind and key.
///
/// Pairs arrive in no order of their scores, so that the speed of counting is that of the cache which
/// holds the counters. Hence they are bytes, and how often each has gone round is kept elsewhere.
#[derive(Debug)]
pub(crate) struct Tally {
    keys: KeyRange,
    counters: [Vec<u8>; 2],
}

impl Tally {
    /// What one takes, in bytes.
    pub(crate) const BYTES: u64 = 2 * KEYS as u64;

    pub(crate) fn new() -> Self {
        Self { keys: KeyRange::NONE, counters: [vec![0; KEYS], vec![0; KEYS]] }
    }

    /// Counts scores of pairs of one kind.
    pub(crate) fn count(&mut self, scores: &[f32], same: bool, overflow: &Overflow) {
        // Rounded a few at a time: the first loop is made of vector instructions, the second cannot be.
        const AT_A_TIME: usize = 64;
        let kind = if same { MATCHING } else { NON_MATCHING };
        let counters = self.counters[kind].as_mut_slice();
        let mut keys = [0; AT_A_TIME];
        let KeyRange { mut lowest, mut highest } = self.keys;
        for scores in scores.chunks(AT_A_TIME) {
            for (key, &score) in keys.iter_mut().zip(scores) {
                *key = key_of(score);
                lowest = lowest.min(*key);
                highest = highest.max(*key);
            }
            for &key in &keys[..scores.len()] {
                let counter = &mut counters[key as usize];
                *counter = counter.wrapping_add(1);
                if *counter == 0 {
                    overflow.turn(kind, key as usize);
                }
            }
        }
        self.keys = KeyRange { lowest, highest };
    }
}

/// How often the counters of all threads have gone round, in blocks that are made when needed.
#[derive(Debug)]
pub(crate) struct Overflow {
    turns: [Vec<OnceLock<Vec<AtomicU64>>>; 2],
}

impl Overflow {
    /// What one takes at most, in bytes.
    pub(crate) const BYTES: u64 = (2 * KEYS.next_multiple_of(BLOCK) * size_of::<AtomicU64>()
        + 2 * KEYS.div_ceil(BLOCK) * size_of::<OnceLock<Vec<AtomicU64>>>()) as u64;

    pub(crate) fn new() -> Self {
        let none = || (0..KEYS.div_ceil(BLOCK)).map(|_| OnceLock::new()).collect();
        Self { turns: [none(), none()] }
    }

    #[cold]
    fn turn(&self, kind: usize, key: usize) {
        let block = self.turns[kind][key / BLOCK].get_or_init(|| (0..BLOCK).map(|_| AtomicU64::new(0)).collect());
        block[key % BLOCK].fetch_add(1, Ordering::Relaxed);
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
    fn counters_that_go_round_lose_nothing() {
        let overflow = Overflow::new();
        let mut tallies = [Tally::new(), Tally::new()];
        for (tally, pairs) in tallies.iter_mut().zip([255, 70_001]) {
            tally.count(&vec![0.5; pairs], true, &overflow);
            tally.count(&vec![0.25; 2 * pairs], false, &overflow);
        }
        tallies[0].count(&[-0.25], true, &overflow);
        let histogram = ScoreHistogram::new(tallies.into(), overflow).unwrap();
        assert_eq!(histogram.counts(), PairCounts { matching: 70_257, non_matching: 140_512 });
        assert_eq!(histogram.at_far(0.0).unwrap().point.true_accepts, 70_256);
        assert_eq!(histogram.at_far(1.0).unwrap().point.true_accepts, 70_257);
    }
}
