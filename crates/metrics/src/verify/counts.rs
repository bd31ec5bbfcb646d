//! Scores of pairs counted on a fixed-point grid, kind by kind, before any figure is read off.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, grid::KEYS};

/// Keys that are summed up as one: few enough to look through at once, so many that blocks are few.
pub(super) const BLOCK: usize = 1 << 12;

/// The place of each kind where each kind has one.
pub(super) const MATCHING: usize = 0;
pub(super) const NON_MATCHING: usize = 1;

/// Pairs by score and kind: one part of a large count, to be added to the other parts.
///
/// The parts may be counted anywhere; each serializes as the list of its distinct scores. Sums are of integers: the
/// whole is the same however it was cut and its parts were counted. The caller ensures that every part is added once.
///
/// Holds 16 MiB, and at most 128 MiB more where scores repeat, however many pairs there are.
///
/// # Examples
/// ```
/// use ndarray::Array2;
/// use soft_lmccl_metrics::{EmbeddingSet, verify::{AllPairs, Part}};
///
/// let set = EmbeddingSet::new(Array2::<f32>::eye(9).view(), &[0, 0, 0, 1, 1, 1, 2, 2, 2])?;
/// let (coarse, fine) = (AllPairs::default(), AllPairs { tile: Some(2), ..Default::default() });
/// let mut sum = coarse.count_part(&set, Part::new(0, 2)?)?;
/// sum.add(&fine.count_part(&set, Part::new(1, 2)?)?)?;
/// assert_eq!(sum.histogram()?.roc(), coarse.count(&set)?.roc());
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
pub struct ScoreCounts {
    /// Each has a lock of its own: a thread brings many scores at once and seldom meets another.
    regions: Vec<Mutex<Region>>,
}

impl Clone for ScoreCounts {
    fn clone(&self) -> Self {
        Self { regions: (0..REGIONS).map(|region| Mutex::new(self.region(region).clone())).collect() }
    }
}

impl ScoreCounts {
    /// The most bytes that it takes.
    pub(crate) const BYTES: u64 =
        (REGIONS * (size_of::<Mutex<Region>>() + 2 * REGION * (size_of::<u8>() + size_of::<u64>()))) as u64;

    pub(crate) fn empty() -> Self {
        Self { regions: (0..REGIONS).map(|_| Mutex::default()).collect() }
    }

    /// Adds the pairs of neighboring keys of one kind.
    #[cfg(feature = "tch")]
    pub(crate) fn put_all(&self, same: bool, mut first: usize, mut counts: &[i64]) {
        let kind = if same { MATCHING } else { NON_MATCHING };
        while !counts.is_empty() {
            let place = first % REGION;
            let (of_region, others) = counts.split_at(counts.len().min(REGION - place));
            let mut region = self.region(first / REGION);
            for (place, &count) in (place..).zip(of_region).filter(|&(_, &count)| count > 0) {
                region.add(kind, place, count.unsigned_abs());
            }
            (first, counts) = (first + of_region.len(), others);
        }
    }

    /// Adds another part.
    ///
    /// # Errors
    /// [`Error::Config`] if the sum would be more pairs than a `u64` holds; nothing is added then.
    pub fn add(&mut self, other: &Self) -> Result<(), Error> {
        let (held, pairs) = (self.total(), other.total());
        if held.checked_add(pairs).is_none() {
            return Err(Error::config(
                "other",
                format!("at most {} pairs, to be added to {held}", u64::MAX - held),
                pairs,
            ));
        }
        for block in other.occupied_blocks() {
            for (key, counts) in other.counts_in(block) {
                for kind in [MATCHING, NON_MATCHING] {
                    self.put(kind, key, counts[kind]);
                }
            }
        }
        Ok(())
    }

    /// Pairs of both kinds. Every constructor ensures that the sum fits.
    fn total(&self) -> u64 {
        self.occupied_blocks().flat_map(|block| self.counts_in(block)).map(|(_, counts)| counts[0] + counts[1]).sum()
    }

    /// Notes that a counter of one thread has gone round.
    pub(super) fn turn(&self, kind: usize, key: usize) {
        self.region(key / REGION).turn(kind, key % REGION, 1);
    }

    pub(super) fn put(&self, kind: usize, key: usize, count: u64) {
        if count > 0 {
            self.region(key / REGION).add(kind, key % REGION, count);
        }
    }

    /// Adds one pair.
    #[cfg(feature = "files")]
    pub(crate) fn count(&self, same: bool, key: u32) {
        self.put(if same { MATCHING } else { NON_MATCHING }, key as usize, 1);
    }

    /// No panic leaves a region half written: a poisoned lock still guards right counts.
    pub(super) fn region(&self, region: usize) -> MutexGuard<'_, Region> {
        self.regions[region].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blocks that may hold pairs, lowest scores first. The other blocks were never touched; reading them would
    /// be the longest part of a short run.
    pub(super) fn occupied_blocks(&self) -> impl Iterator<Item = usize> {
        (0..REGIONS)
            .filter(|&region| self.region(region).is_occupied())
            .flat_map(|region| region * BLOCKS..((region + 1) * BLOCKS).min(KEYS.div_ceil(BLOCK)))
    }

    /// The keys of a block, highest first, each with its matching and non-matching pairs.
    pub(super) fn counts_in(&self, block: usize) -> impl Iterator<Item = (usize, [u64; 2])> {
        let mut counts = vec![[0; 2]; BLOCK];
        let region = self.region(block / BLOCKS);
        for kind in [MATCHING, NON_MATCHING] {
            for (sum, &count) in counts.iter_mut().zip(within(block, &region.counters[kind])) {
                sum[kind] += u64::from(count);
            }
            for (sum, &turns) in counts.iter_mut().zip(within(block, &region.turns[kind])) {
                sum[kind] += TURN * turns;
            }
        }
        (block * BLOCK..(block + 1) * BLOCK).zip(counts).rev()
    }

    /// The pairs of a block by kind and key, for a quick read; `None` if a counter has gone round.
    pub(super) fn small_counts_in(&self, block: usize) -> Option<[Vec<u8>; 2]> {
        let region = self.region(block / BLOCKS);
        let counts = |kind: usize| match within(block, &region.counters[kind]) {
            [] => vec![0; BLOCK],
            counts => counts.to_vec(),
        };
        region.turns.iter().all(Vec::is_empty).then(|| [MATCHING, NON_MATCHING].map(counts))
    }

    /// Every score that occurs, lowest first: its key, matching and non-matching pairs.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, u64, u64)> {
        self.occupied_blocks().flat_map(|block| {
            let mut entries: Vec<_> = self
                .counts_in(block)
                .filter(|(_, [matching, non_matching])| matching + non_matching > 0)
                .map(|(key, [matching, non_matching])| (key as u32, matching, non_matching))
                .collect();
            entries.reverse();
            entries
        })
    }
}

/// Sums only: there are millions of counters.
impl fmt::Debug for ScoreCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut scores, mut matching, mut non_matching) = (0u64, 0, 0);
        for (_, of_one_class, of_two) in self.entries() {
            scores += 1;
            matching += of_one_class;
            non_matching += of_two;
        }
        f.debug_struct("ScoreCounts")
            .field("scores", &scores)
            .field("matching", &matching)
            .field("non_matching", &non_matching)
            .finish_non_exhaustive()
    }
}

/// As `[[key, matching, non_matching], ..]`, the key being `(score + 1)·2²²`.
impl Serialize for ScoreCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.entries())
    }
}

impl<'de> Deserialize<'de> for ScoreCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (sum, mut total) = (Self::empty(), 0u64);
        for (key, matching, non_matching) in Vec::<(u32, u64, u64)>::deserialize(deserializer)? {
            if key as usize >= KEYS {
                return Err(D::Error::custom(format!("a key must be at most {}, got {key}", KEYS - 1)));
            }
            total = matching
                .checked_add(non_matching)
                .and_then(|pairs| total.checked_add(pairs))
                .ok_or_else(|| D::Error::custom(format!("there must be at most {} pairs in all", u64::MAX)))?;
            sum.put(MATCHING, key as usize, matching);
            sum.put(NON_MATCHING, key as usize, non_matching);
        }
        Ok(sum)
    }
}

/// Pairs after which a counter starts again from 0.
const TURN: u64 = 1 << 8;
/// Neighboring keys that are made, locked and added together.
pub(super) const REGION: usize = 1 << 14;
pub(super) const REGIONS: usize = KEYS.div_ceil(REGION);
/// Blocks of a region.
const BLOCKS: usize = REGION / BLOCK;

/// The counters of neighboring keys by kind, made when needed.
#[derive(Debug, Clone, Default)]
pub(super) struct Region {
    counters: [Vec<u8>; 2],
    /// How often each counter has gone round; empty until the first does.
    turns: [Vec<u64>; 2],
}

impl Region {
    fn is_occupied(&self) -> bool {
        // Counters may be missing where all have gone round to 0.
        let Self { counters, turns } = self;
        counters.iter().any(|counters| !counters.is_empty()) || turns.iter().any(|turns| !turns.is_empty())
    }

    fn add(&mut self, kind: usize, place: usize, count: u64) {
        self.counters[kind].resize(REGION, 0);
        let sum = u64::from(self.counters[kind][place]) + count;
        self.counters[kind][place] = (sum % TURN) as u8;
        self.turn(kind, place, sum / TURN);
    }

    pub(super) fn add_all(&mut self, kind: usize, counts: &[u8]) {
        let counters = &mut self.counters[kind];
        counters.resize(REGION, 0);
        let mut turned = false;
        for (sum, &count) in counters.iter_mut().zip(counts) {
            *sum = sum.wrapping_add(count);
            turned |= *sum < count;
        }
        if turned {
            for (place, &count) in counts.iter().enumerate() {
                let turns = u64::from(self.counters[kind][place] < count);
                self.turn(kind, place, turns);
            }
        }
    }

    fn turn(&mut self, kind: usize, place: usize, times: u64) {
        if times > 0 {
            self.turns[kind].resize(REGION, 0);
            self.turns[kind][place] += times;
        }
    }
}

/// The block's part of a region's numbers; empty if there are none yet.
fn within<T>(block: usize, of_region: &[T]) -> &[T] {
    of_region.chunks(BLOCK).nth(block % BLOCKS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PairCounts;

    #[test]
    fn a_key_off_the_grid_is_refused() {
        let refused = serde_json::from_str::<ScoreCounts>("[[8388609, 1, 0]]").unwrap_err();
        assert!(refused.to_string().starts_with("a key must be at most 8388608, got 8388609"), "{refused}");
    }

    #[test]
    fn more_pairs_than_are_counted_are_refused() {
        let read = |json: &str| serde_json::from_str::<ScoreCounts>(json);
        for parts in ["[[1, 18446744073709551615, 1], [2, 18446744073709551615, 1]]", "[[1, 18446744073709551615, 1]]"]
        {
            let refused = read(parts).unwrap_err().to_string();
            assert!(refused.starts_with("there must be at most 18446744073709551615 pairs in all"), "{refused}");
        }
        let mut most = read("[[1, 18446744073709551613, 1]]").unwrap();
        most.add(&read("[[7, 1, 0]]").unwrap()).unwrap();
        let refused = most.add(&read("[[8, 0, 2]]").unwrap()).unwrap_err().to_string();
        assert_eq!(refused, "invalid `other`: expected at most 0 pairs, to be added to 18446744073709551615, got 2");
        let histogram = most.histogram().unwrap();
        assert_eq!(histogram.counts(), PairCounts { matching: u64::MAX - 1, non_matching: 1 });
        assert!((0.0..=1.0).contains(&histogram.auc()));
        assert_eq!(histogram.best_accuracy().false_accepts, 1);
    }

    #[test]
    fn counts_take_at_most_what_they_say() {
        let mut region = Region::default();
        for kind in [MATCHING, NON_MATCHING] {
            region.add(kind, 0, TURN);
        }
        let counters: usize = region.counters.iter().map(|counters| size_of_val(&counters[..])).sum();
        let turns: usize = region.turns.iter().map(|turns| size_of_val(&turns[..])).sum();
        assert_eq!(ScoreCounts::BYTES, (REGIONS * (size_of::<Mutex<Region>>() + counters + turns)) as u64);
    }

    /// All of a region at once, so that from the second time on none was 0 before.
    #[test]
    fn counters_that_all_go_round_lose_nothing() {
        let counts = ScoreCounts::empty();
        for _ in 0..3 {
            counts.region(0).add_all(MATCHING, &vec![200; REGION]);
        }
        assert!(counts.entries().eq((0..REGION as u32).map(|key| (key, 600, 0))));
    }

    #[test]
    fn debug_output_is_one_line() {
        let mut counts = serde_json::from_str::<ScoreCounts>("[[7, 1, 0], [9, 300, 40]]").unwrap();
        counts.add(&ScoreCounts::empty()).unwrap();
        assert_eq!(format!("{counts:?}"), "ScoreCounts { scores: 2, matching: 301, non_matching: 40, .. }");
        let histogram = counts.histogram().unwrap();
        assert_eq!(
            format!("{histogram:?}"),
            "ScoreHistogram { counts: PairCounts { matching: 301, non_matching: 40 }, blocks: 1, .. }"
        );
    }
}
