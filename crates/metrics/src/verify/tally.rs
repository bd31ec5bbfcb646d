//! The counts of one thread, before they are added to the common counts.

use std::ops::Range;

use super::blocks;
use super::counts::{MATCHING, NON_MATCHING, REGION, REGIONS, ScoreCounts};
use super::pages::Pages;
use crate::grid::{KEYS, LOWEST, ROUND, STEPS, rounded as to_the_grid};

/// The counts of one thread.
///
/// Pairs arrive in no order of their scores, so each counter is far from the one before. A thread has byte counters
/// of its own: they take no lock and mostly stay in the second-level cache. A byte that overflows goes to the common
/// counts before the next scores come.
///
/// Counting mostly waits for memory. Scores are therefore only rounded when they come, and counted [by the
/// way](Self::waiting) while the next ones are multiplied.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    counts: &'a ScoreCounts,
    counters: [Counters; 2],
    waiting: Waiting,
}

impl<'a> Tally<'a> {
    /// The most bytes of a tally: the counters of both kinds, and those of one again while they grow.
    pub(crate) const BYTES: u64 = 3 * Pages::bytes(REGIONS * REGION) as u64;
    /// How many scores wait for their turn.
    pub(crate) const AT_A_TIME: usize = blocks::MOST;

    pub(crate) fn new(counts: &'a ScoreCounts) -> Self {
        Self { counts, counters: Default::default(), waiting: Waiting::NONE }
    }

    /// Takes scores of pairs of one kind, after counting those still waiting.
    #[inline(always)] // the caller may have wider vectors than this crate is built for
    pub(crate) fn take(&mut self, scores: &[f32], same: bool) {
        let kind = if same { MATCHING } else { NON_MATCHING };
        for scores in scores.chunks(Self::AT_A_TIME) {
            self.waiting()(Self::AT_A_TIME);
            if self.waiting.late > 0 {
                self.count_late();
            }
            for (rounded, &score) in self.waiting.rounded.iter_mut().zip(scores) {
                *rounded = to_the_grid(score);
            }
            (self.waiting.kind, self.waiting.next, self.waiting.end) = (kind, 0, scores.len());
        }
    }

    /// Counts the scores taken last, as many at a time as each call says.
    #[inline(always)] // between the instructions of a product
    pub(crate) fn waiting(&mut self) -> impl FnMut(usize) {
        let Self { counters, waiting, .. } = self;
        let Counters { regions, pairs, .. } = &mut counters[waiting.kind];
        let lowest = LOWEST + (regions.start * REGION) as u32;
        let pairs = &mut **pairs;
        move |at_most| {
            let end = waiting.end.min(waiting.next.saturating_add(at_most));
            for &rounded in &waiting.rounded[waiting.next..end] {
                let counted = pairs.get_mut(rounded.wrapping_sub(lowest) as usize).is_some_and(|counter| {
                    *counter = counter.wrapping_add(1);
                    *counter > 0
                });
                // No call is made here: all sums of a product would go to memory and back.
                if !counted {
                    waiting.of_late[waiting.late] = rounded;
                    waiting.late += 1;
                }
            }
            waiting.next = end;
        }
    }

    /// Counts what has no counter here, or has gone round.
    #[cold]
    #[inline(never)]
    fn count_late(&mut self) {
        let Self { counts, counters, waiting } = self;
        let Counters { regions, pairs, missing, off_grid } = &mut counters[waiting.kind];
        let first = (regions.start * REGION) as u32;
        for &rounded in &waiting.of_late[..waiting.late] {
            let place = rounded.wrapping_sub(LOWEST + first);
            if (place as usize) < pairs.len() {
                counts.turn(waiting.kind, (first + place) as usize);
            } else {
                count_outside(counts, waiting.kind, rounded, missing, off_grid);
            }
        }
        waiting.late = 0;
        counters[waiting.kind].cover_missing();
    }

    /// Adds its counts to the common counts.
    pub(crate) fn settle(mut self) {
        self.waiting()(Self::AT_A_TIME);
        self.count_late();
        for (kind, Counters { regions, pairs, off_grid, .. }) in self.counters.into_iter().enumerate() {
            for (region, counts) in regions.zip(pairs.chunks(REGION)) {
                // Not `any`, which would look at one byte at a time.
                if counts.iter().fold(0, |all, count| all | count) > 0 {
                    self.counts.region(region).add_all(kind, counts);
                }
            }
            for (key, pairs) in ENDS.into_iter().zip(off_grid) {
                self.counts.put(kind, key, pairs);
            }
        }
    }
}

/// Scores of one kind, rounded but not counted yet.
#[derive(Debug)]
struct Waiting {
    kind: usize,
    rounded: [u32; Tally::AT_A_TIME],
    /// Scores `next..end` have not been counted.
    next: usize,
    end: usize,
    /// Of the scores counted, those that its counters do not tell: there is none, or it has gone round.
    of_late: [u32; Tally::AT_A_TIME],
    late: usize,
}

impl Waiting {
    const NONE: Self = Self {
        kind: MATCHING,
        rounded: [0; Tally::AT_A_TIME],
        next: 0,
        end: 0,
        of_late: [0; Tally::AT_A_TIME],
        late: 0,
    };
}

/// The first and the last key of the grid.
const ENDS: [usize; 2] = [0, KEYS - 1];

/// Counts a score that a thread has no counter for.
fn count_outside(counts: &ScoreCounts, kind: usize, rounded: u32, missing: &mut Range<usize>, off_grid: &mut [u64; 2]) {
    let steps = f32::from_bits(rounded) - ROUND;
    if steps < -(STEPS as f32) {
        off_grid[0] += 1;
    } else if steps > STEPS as f32 {
        off_grid[1] += 1;
    } else {
        let key = (rounded - LOWEST) as usize;
        let region = key / REGION;
        counts.put(kind, key, 1);
        *missing = hull(missing, &(region..region + 1));
    }
}

/// A counter a key for the regions with scores, and those between.
#[derive(Debug, Default)]
struct Counters {
    regions: Range<usize>,
    /// No more than there are keys: a score above 1 has no place here.
    pairs: Pages,
    /// Regions in which there were scores but no counters.
    missing: Range<usize>,
    /// Pairs rounded to below -1 or above 1: few, unless all embeddings have become one, or two opposite.
    off_grid: [u64; 2],
}

impl Counters {
    /// Grows to the missing regions, and as far again either way: growing clears and copies.
    fn cover_missing(&mut self) {
        let regions = std::mem::take(&mut self.missing);
        let held = &self.regions;
        if hull(held, &regions) == *held {
            return;
        }
        let ahead = regions.len().max(held.len());
        let grown = hull(held, &(regions.start.saturating_sub(ahead)..(regions.end + ahead).min(REGIONS)));
        let keys = grown.start * REGION..(grown.end * REGION).min(KEYS);
        let mut pairs = Pages::zeroed(keys.len());
        pairs[held.start.saturating_sub(grown.start) * REGION..][..self.pairs.len()].copy_from_slice(&self.pairs);
        (self.regions, self.pairs) = (grown, pairs);
    }
}

/// The shortest range that has both.
fn hull(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{key_of, score_of};
    use crate::pairs::PairCounts;

    #[test]
    fn counters_that_go_round_lose_nothing() {
        let mut sum = ScoreCounts::empty();
        for pairs in [255, 70_001] {
            let mut tally = Tally::new(&sum);
            tally.take(&vec![0.5; pairs], true);
            tally.take(&vec![0.25; 2 * pairs], false);
            tally.settle();
        }
        let mut tally = Tally::new(&sum);
        tally.take(&[-0.25], true);
        tally.settle();
        let sent: ScoreCounts = serde_json::from_str(&serde_json::to_string(&sum).unwrap()).unwrap();
        for times in 1..=3 {
            let histogram = sum.clone().histogram().unwrap();
            let counts = PairCounts { matching: times * 70_257, non_matching: times * 140_512 };
            assert_eq!(histogram.counts(), counts);
            assert_eq!(histogram.at_far(0.0).unwrap().point.true_accepts, times * 70_256);
            assert_eq!(histogram.at_far(1.0).unwrap().point.true_accepts, times * 70_257);
            sum.add(&sent).unwrap();
        }
    }

    #[test]
    fn counters_that_end_at_zero_lose_nothing() {
        let counts = ScoreCounts::empty();
        let mut tally = Tally::new(&counts);
        tally.take(&[0.5; 512], true);
        tally.take(&[-0.5; 256], false);
        // Next to a region with scores, so that all of these are counted here and none in common.
        let quarter = STEPS / 4;
        let beside = STEPS + quarter + REGION as u32;
        tally.take(&[0.25], true);
        tally.take(&[0.25], false);
        tally.take(&[score_of(beside as usize) as f32; 256], true);
        tally.take(&[score_of(beside as usize) as f32; 512], false);
        tally.settle();
        let half = STEPS / 2;
        let expected = [(half, 0, 256), (STEPS + quarter, 1, 1), (beside, 256, 512), (STEPS + half, 512, 0)];
        assert_eq!(counts.entries().collect::<Vec<_>>(), expected);
        assert_eq!(counts.histogram().unwrap().counts(), PairCounts { matching: 769, non_matching: 769 });
    }

    #[test]
    fn counters_that_grow_lose_nothing() {
        let counts = ScoreCounts::empty();
        let mut tally = Tally::new(&counts);
        let scores = [0.1, 0.11, 0.09, 0.3, -0.2, -0.9, 0.1, 1.0, 0.1, -1.0];
        for scores in scores.chunks(1).chain([&scores[2..6], &[]]) {
            tally.take(scores, true);
        }
        tally.settle();
        let counted: Vec<_> = counts.entries().map(|(key, pairs, _)| (score_of(key as usize) as f32, pairs)).collect();
        let nearest = |score: f32| score_of(key_of(score) as usize) as f32;
        let expected = [(-1.0, 1), (-0.9, 2), (-0.2, 2), (0.09, 2), (0.1, 3), (0.11, 1), (0.3, 2), (1.0, 1)];
        assert_eq!(counted, expected.map(|(score, pairs)| (nearest(score), pairs)));
    }

    /// If it began at 0 for an empty range, it would cover the grid.
    #[test]
    fn nothing_adds_nothing_to_a_range() {
        assert_eq!(hull(&(0..0), &(5..7)), 5..7);
        assert_eq!(hull(&(5..7), &(0..0)), 5..7);
        assert_eq!(hull(&(5..7), &(2..3)), 2..7);
    }

    #[test]
    fn a_tally_takes_at_most_what_it_says() {
        let counts = ScoreCounts::empty();
        let mut tally = Tally::new(&counts);
        // Both ends of the grid, so that all of it is covered when the next scores come.
        for same in [true, false, true, false] {
            tally.take(&[-1.0, 1.0], same);
        }
        let [matching, non_matching] = tally.counters.map(|kind| Pages::bytes(kind.pairs.len()) as u64);
        // The counters of one kind are held twice while they grow.
        assert_eq!(Tally::BYTES, matching + non_matching + matching.max(non_matching));
    }

    #[test]
    fn scores_off_the_grid_are_counted_at_its_ends() {
        let counts = ScoreCounts::empty();
        let mut tally = Tally::new(&counts);
        let off = [-1.5, -1.0 - f32::EPSILON, -1.0, 1.0, 1.0 + f32::EPSILON, 1.0 + 3.0 * f32::EPSILON, 1.5, 700.0];
        tally.take(&off, true);
        tally.take(&[0.0; 300], true);
        tally.take(&off.repeat(100), true);
        tally.take(&off[6..], false);
        tally.settle();
        let last = 2 * STEPS;
        assert_eq!(counts.entries().collect::<Vec<_>>(), [(0, 303, 0), (STEPS, 300, 0), (last, 505, 2)]);
    }
}
