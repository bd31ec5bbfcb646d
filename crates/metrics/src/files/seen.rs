//! Which pairs of samples a list has had before.

use std::collections::HashMap;

use crate::Result;

/// Up to so many samples, every two of them have a bit: 256 MiB at most, of which the system gives those pages that are
/// touched.
const MOST_BY_BITS: usize = 1 << 16;
/// Pairs with one number above these bits are kept together: few enough to be sorted in less than a second.
const BITS_TOGETHER: u32 = 24;

/// The pairs that have come, and how many came again.
#[derive(Debug)]
pub(super) struct Seen {
    pairs: Pairs,
    duplicates: u64,
}

#[derive(Debug)]
enum Pairs {
    /// A bit for each two samples.
    Bits(Vec<u64>),
    /// The low bits of the pairs' numbers by their high bits: a sorted list without repetitions, and what came after it.
    Sorted(HashMap<u64, Vec<u32>>),
}

impl Seen {
    /// Nothing yet of so many samples.
    pub(super) fn of(samples: usize) -> Self {
        let pairs = match samples {
            0..=MOST_BY_BITS => Pairs::Bits(vec![0; (number(samples, 0) as usize).div_ceil(u64::BITS as usize)]),
            _ => Pairs::Sorted(HashMap::new()),
        };
        Self { pairs, duplicates: 0 }
    }

    /// Adds a pair of two different samples, in either order.
    pub(super) fn add(&mut self, a: usize, b: usize) {
        let number = number(a.max(b), a.min(b));
        match &mut self.pairs {
            Pairs::Bits(bits) => {
                let (word, bit) = ((number / u64::from(u64::BITS)) as usize, 1 << (number % u64::from(u64::BITS)));
                self.duplicates += u64::from(bits[word] & bit > 0);
                bits[word] |= bit;
            }
            Pairs::Sorted(lists) => {
                let list = lists.entry(number >> BITS_TOGETHER).or_default();
                if list.len() == list.capacity() {
                    self.duplicates += without_repetitions(list);
                    // Pairs that come again and again take no memory.
                    if list.len() >= list.capacity() / 2 {
                        list.reserve_exact((list.len() / 2).max(4));
                    }
                }
                list.push((number & ((1 << BITS_TOGETHER) - 1)) as u32);
            }
        }
    }

    /// How many pairs had come before; `go_on` is asked between pieces of the work.
    pub(super) fn duplicates(mut self, mut go_on: impl FnMut() -> Result<()>) -> Result<u64> {
        if let Pairs::Sorted(lists) = self.pairs {
            for mut list in lists.into_values() {
                self.duplicates += without_repetitions(&mut list);
                go_on()?;
            }
        }
        Ok(self.duplicates)
    }
}

/// The number of a pair, `low < high`, among those of all samples.
fn number(high: usize, low: usize) -> u64 {
    let high = high as u64;
    high * high.saturating_sub(1) / 2 + low as u64
}

/// Sorts a list and says how many it has lost.
fn without_repetitions(list: &mut Vec<u32>) -> u64 {
    let before = list.len();
    list.sort_unstable();
    list.dedup();
    (before - list.len()) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn both_ways_tell_the_same_duplicates() {
        let mut state = 1u64;
        let mut below = |most: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % most as u64) as usize
        };
        // Neighbors on either side of the border, dense lists and sparse ones.
        for (samples, among) in
            [(2, 2), (60, 60), (MOST_BY_BITS, 150), (MOST_BY_BITS + 1, 150), (9_000_000, 9_000_000), (70_000, 70_000)]
        {
            let (mut seen, mut expected, mut pairs) = (Seen::of(samples), 0, HashSet::new());
            let first = samples - among;
            for _ in 0..20_000 {
                let (a, b) = (first + below(among), first + below(among));
                if a != b {
                    seen.add(a, b);
                    expected += u64::from(!pairs.insert((a.min(b), a.max(b))));
                }
            }
            assert_eq!(seen.duplicates(|| Ok(())).unwrap(), expected, "{samples}");
        }
    }

    #[test]
    fn every_two_samples_have_a_number_of_their_own() {
        let numbers = (0..50).flat_map(|high| (0..high).map(move |low| number(high, low)));
        assert!(numbers.eq(0..50 * 49 / 2));
    }

    #[test]
    fn a_pair_that_comes_again_takes_no_memory() {
        let mut seen = Seen::of(MOST_BY_BITS + 1);
        for _ in 0..100_000 {
            seen.add(5, 9);
        }
        let Pairs::Sorted(lists) = &seen.pairs else { panic!("more samples than have bits") };
        assert!(lists.values().map(Vec::capacity).sum::<usize>() < 16);
        assert_eq!(seen.duplicates(|| Ok(())).unwrap(), 99_999);
    }
}
