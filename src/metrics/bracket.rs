//! Bounds of every figure, from counts too coarse to tell all scores apart.

use serde::{Deserialize, Serialize};

use super::counts::{KEYS, MATCHING, NON_MATCHING, key_of, score_of};
use super::pairs::PairCounts;
use super::roc::{EerMethod, OperatingPoint, infinity_as_null, require_rate};
use crate::MetricError;

/// Keys of the grid that one bin holds: steps of 2⁻¹², whose counters fit in a first-level cache.
const BIN: usize = 1 << 10;
const BINS: usize = KEYS.div_ceil(BIN);

/// Two bounds of a figure; the exact one is one of them or lies between. In JSON `+∞` is `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bracket {
    /// At least this.
    #[serde(with = "infinity_as_null")]
    pub low: f64,
    /// At most this.
    #[serde(with = "infinity_as_null")]
    pub high: f64,
}

impl Bracket {
    /// Bounds of a share, a few last places apart from it: quotients of counts beyond 2⁵³ are rounded
    /// more than once, there and here.
    fn outward(low: f64, high: f64) -> Self {
        const ROUNDINGS: f64 = 4.0 * f64::EPSILON;
        Self { low: low * (1.0 - ROUNDINGS), high: (high * (1.0 + ROUNDINGS)).min(1.0) }
    }

    /// Whether the value lies between the bounds, they included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// How far the bounds lie apart.
    #[must_use]
    pub fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// Bounds at an asked false accept rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FarBracket {
    /// The rate asked for.
    pub target_far: f64,
    /// The true accept rate of the point of the largest TAR with `FAR <= target_far`.
    pub tar: Bracket,
    /// That point's threshold; `+∞` where nothing may be accepted.
    pub threshold: Bracket,
    /// Whether one false accept is within the target, as [`FarPoint::resolvable`](super::FarPoint::resolvable).
    pub resolvable: bool,
}

/// Certified bounds of what a [`ScoreHistogram`](super::ScoreHistogram) of the same pairs gives.
///
/// Counted in steps of 2⁻¹²: the curve is known where one step ends and the next begins, and between
/// two such points it cannot leave their rectangle. Bounds are of all curves that run so, hence no estimate
/// and no level of confidence. Counting takes 128 KiB a thread.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl::{metrics::{EerMethod, EmbeddingSet}, verify::AllPairs};
///
/// let embeddings = array![[1.0f32, 0.0], [3.0, 0.1], [-0.2, 1.0], [0.9, 1.0]];
/// let set = EmbeddingSet::new(embeddings.view(), &[7, 7, 4, 4])?;
/// let (exact, bounds) = (AllPairs::default().count(&set)?, AllPairs::default().bracket(&set)?);
/// assert!(bounds.auc().contains(exact.auc()));
/// assert!(bounds.eer(EerMethod::Linear).contains(exact.eer(EerMethod::Linear)));
/// assert!(bounds.at_far(0.0)?.tar.contains(exact.at_far(0.0)?.point.tar()));
/// # Ok::<(), soft_lmccl::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ScoreBrackets {
    counts: PairCounts,
    /// The start of the curve, then the end of every bin that is not empty, highest first.
    ends: Vec<End>,
}

/// The point after all pairs of a bin are accepted.
#[derive(Debug, Clone, Copy)]
struct End {
    bin: usize,
    point: OperatingPoint,
}

impl ScoreBrackets {
    pub(crate) fn new(tallies: &[CoarseTally]) -> Result<Self, MetricError> {
        let sum = |kind: usize, bin: usize| tallies.iter().map(|tally| tally.counters[kind][bin]).sum::<u64>();
        let all = |kind| (0..BINS).map(|bin| sum(kind, bin)).sum();
        let counts = PairCounts { matching: all(MATCHING), non_matching: all(NON_MATCHING) };
        counts.require_both()?;

        let mut point = OperatingPoint::nothing_accepted(counts);
        let mut ends = vec![End { bin: BINS, point }];
        for bin in (0..BINS).rev() {
            let (matching, non_matching) = (sum(MATCHING, bin), sum(NON_MATCHING, bin));
            if matching + non_matching > 0 {
                point.threshold = score_of(bin * BIN);
                point.true_accepts += matching;
                point.false_accepts += non_matching;
                ends.push(End { bin, point });
            }
        }
        Ok(Self { counts, ends })
    }

    /// How many pairs there are of each kind, at least one of both.
    #[must_use]
    pub fn counts(&self) -> PairCounts {
        self.counts
    }

    /// Bounds of the area under the curve: pairs of one bin all in the wrong order, or all in the right one.
    #[must_use]
    pub fn auc(&self) -> Bracket {
        let (mut low, mut high) = (0u128, 0u128);
        for (before, after) in self.bins() {
            let non_matching = u128::from(after.false_accepts - before.false_accepts);
            low += non_matching * u128::from(before.true_accepts);
            high += non_matching * u128::from(after.true_accepts);
        }
        let couples = u128::from(self.counts.matching) * u128::from(self.counts.non_matching);
        Bracket::outward(low as f64 / couples as f64, high as f64 / couples as f64)
    }

    /// Bounds of the equal error rate, read off either way.
    #[must_use]
    pub fn eer(&self, method: EerMethod) -> Bracket {
        // The curve runs from FAR 0, FRR 1 to FAR 1, FRR 0: there is an end on either side.
        let crossing = self.ends.partition_point(|end| end.point.accepts_less_than_it_rejects());
        let (before, after) = (self.ends[crossing - 1].point, self.ends[crossing].point);
        match method {
            EerMethod::Linear => Bracket::outward(before.far().max(after.frr()), after.far().min(before.frr())),
            EerMethod::MinDifference => {
                Bracket::outward(f64::midpoint(before.far(), after.frr()), f64::midpoint(after.far(), before.frr()))
            }
        }
    }

    /// Bounds of the largest TAR with `FAR <= target_far`, and of the threshold there.
    ///
    /// # Errors
    /// [`MetricError::Rate`] if `target_far` is NaN or outside `[0, 1]`.
    pub fn at_far(&self, target_far: f64) -> Result<FarBracket, MetricError> {
        require_rate("target_far", target_far)?;
        // The first has FAR 0, so that there is one within.
        let within = self.ends.partition_point(|end| end.point.far() <= target_far);
        let (last, next) = (self.ends[within - 1], self.ends.get(within));
        let lowest = next.unwrap_or(&last);
        let highest = if last.bin == BINS { f64::INFINITY } else { score_of(((last.bin + 1) * BIN).min(KEYS) - 1) };
        Ok(FarBracket {
            target_far,
            tar: Bracket { low: last.point.tar(), high: lowest.point.tar() },
            threshold: Bracket { low: lowest.point.threshold, high: highest },
            resolvable: 1.0 / self.counts.non_matching as f64 <= target_far,
        })
    }

    /// Bounds of the accuracy at the most accurate point.
    #[must_use]
    pub fn best_accuracy(&self) -> Bracket {
        let share = |correct: u64| correct as f64 / self.counts.total() as f64;
        let low = self.ends.iter().map(|end| end.point.correct()).max().unwrap_or(0);
        // The best order within a bin: all its matching pairs first.
        let high = self.bins().map(|(before, after)| before.correct() + (after.true_accepts - before.true_accepts));
        Bracket { low: share(low), high: share(high.max().unwrap_or(low)) }
    }

    fn bins(&self) -> impl Iterator<Item = (OperatingPoint, OperatingPoint)> {
        self.ends.windows(2).map(|ends| (ends[0].point, ends[1].point))
    }
}

/// The counters of one thread, by kind and bin.
#[derive(Debug)]
pub(crate) struct CoarseTally {
    counters: [Vec<u64>; 2],
}

impl CoarseTally {
    /// What one takes, in bytes.
    pub(crate) const BYTES: u64 = (2 * BINS * size_of::<u64>()) as u64;

    pub(crate) fn new() -> Self {
        Self { counters: [vec![0; BINS], vec![0; BINS]] }
    }

    /// Counts scores of pairs of one kind.
    pub(crate) fn take(&mut self, scores: &[f32], same: bool) {
        const AT_A_TIME: usize = 64;
        let counters = &mut self.counters[if same { MATCHING } else { NON_MATCHING }];
        let mut keys = [0; AT_A_TIME];
        for scores in scores.chunks(AT_A_TIME) {
            for (key, &score) in keys.iter_mut().zip(scores) {
                *key = key_of(score);
            }
            for &key in &keys[..scores.len()] {
                counters[key as usize / BIN] += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::counts::ScoreCounts;
    use super::*;

    #[test]
    fn a_tally_takes_what_it_says() {
        let held: usize = CoarseTally::new().counters.iter().map(|counters| size_of_val(&counters[..])).sum();
        assert_eq!(CoarseTally::BYTES, held as u64);
    }

    /// Their products pass 2⁵³, so that the exact rates are rounded more than once.
    #[test]
    fn bounds_hold_the_rates_of_very_many_pairs() {
        let mut state = 1u64;
        let mut count = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 24
        };
        for _ in 0..300 {
            let mut tally = CoarseTally::new();
            let mut entries = Vec::new();
            for bin in [10, 11, 12, 13] {
                let [matching, non_matching] = if count() % 3 == 0 { [count(), 0] } else { [count() >> 20, count()] };
                tally.counters[MATCHING][bin] = matching;
                tally.counters[NON_MATCHING][bin] = non_matching;
                entries.push((bin * BIN, matching, non_matching));
            }
            let (bounds, json) = (ScoreBrackets::new(&[tally]), serde_json::to_string(&entries).unwrap());
            let exact = serde_json::from_str::<ScoreCounts>(&json).unwrap().histogram();
            let (Ok(bounds), Ok(exact)) = (bounds, exact) else { continue };
            for method in [EerMethod::Linear, EerMethod::MinDifference] {
                let (bounds, exact) = (bounds.eer(method), exact.eer(method));
                assert!(bounds.contains(exact) && bounds.high <= 1.0, "{method:?} {bounds:?} {exact}");
            }
            assert!(bounds.auc().contains(exact.auc()) && bounds.auc().high <= 1.0);
        }
    }
}
