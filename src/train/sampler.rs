//! Which samples come next: a seeded order whose position can be saved.

use std::collections::BTreeMap;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a batch is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sampling {
    /// Every sample once an epoch, in a new order each time.
    #[default]
    Plain,
    /// P-K batches: as many classes as fit, K = `samples_per_class` samples of each. Every class present moves its
    /// center by the mean of several. Classes take turns, and so do the samples of a class. A sample comes twice in a
    /// batch only if its class has fewer than K.
    Balanced {
        /// K, which divides the batch size; 4 is usual (Hermans et al., 2017).
        samples_per_class: usize,
    },
}

/// Batches of sample indices without end, a pure function of the seed.
///
/// # Examples
/// ```
/// use soft_lmccl::train::{Sampler, Sampling};
///
/// let labels = [0, 0, 0, 1, 1, 2, 2, 2, 2];
/// let mut sampler = Sampler::new(&labels, Sampling::Balanced { samples_per_class: 2 }, 4, 7)?;
/// let batch: Vec<i64> = sampler.next_batch().into_iter().map(|index| labels[index]).collect();
/// assert!(batch[0] == batch[1] && batch[2] == batch[3] && batch[0] != batch[2]);
/// # Ok::<(), soft_lmccl::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    rng: ChaCha8Rng,
    sampling: Sampling,
    batch_size: usize,
    labels: Vec<i64>,
    /// Plain: one deck of all samples. Balanced: one of the other decks, then one for each class.
    decks: Vec<Deck>,
}

/// Cards that are drawn to the last before they are shuffled again.
#[derive(Debug, Clone, PartialEq)]
struct Deck {
    cards: Vec<i64>,
    drawn: usize,
}

impl Deck {
    /// All cards drawn, so that the first draw shuffles.
    fn new(cards: Vec<i64>) -> Self {
        Self { drawn: cards.len(), cards }
    }

    fn draw(&mut self, rng: &mut ChaCha8Rng) -> usize {
        if self.drawn == self.cards.len() {
            self.cards.shuffle(rng);
            self.drawn = 0;
        }
        self.drawn += 1;
        self.cards[self.drawn - 1] as usize
    }

    /// Deals `count` cards; while there are as many, no card comes twice.
    fn deal(&mut self, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let left = &self.cards[self.drawn..];
        let missing = count.saturating_sub(left.len());
        if missing == 0 {
            return (0..count).map(|_| self.draw(rng)).collect();
        }
        // The rest of this round comes now, and last in the next.
        let left = left.to_vec();
        self.cards.shuffle(rng);
        self.cards.sort_by_key(|card| left.contains(card));
        self.drawn = 0;
        let mut dealt: Vec<_> = left.into_iter().map(|card| card as usize).collect();
        dealt.extend((0..missing).map(|_| self.draw(rng)));
        dealt
    }
}

/// Where a sampler stands, without the order of its decks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    seed: [u8; 32],
    stream: u64,
    /// Words that the generator has given.
    words: u64,
}

impl Sampler {
    /// A sampler of `labels.len()` samples.
    ///
    /// # Errors
    /// [`Error::Config`] for a batch of no samples, or of more than there are. A balanced batch also needs a size
    /// that `samples_per_class` divides, and no more classes than there are.
    pub fn new(labels: &[i64], sampling: Sampling, batch_size: usize, seed: u64) -> Result<Self> {
        let bad = |field, expected: String, got: usize| Err(Error::config(field, expected, got));
        if !(1..=labels.len()).contains(&batch_size) {
            return bad("batch_size", format!("from 1 to the number of samples, {}", labels.len()), batch_size);
        }
        let decks = match sampling {
            Sampling::Plain => vec![Deck::new((0..).take(labels.len()).collect())],
            Sampling::Balanced { samples_per_class } => {
                sampling.validate(batch_size)?;
                let mut classes = BTreeMap::<i64, Vec<i64>>::new();
                for (&label, index) in labels.iter().zip(0..) {
                    classes.entry(label).or_default().push(index);
                }
                if batch_size / samples_per_class > classes.len() {
                    let expected = format!("at most {} classes of {samples_per_class}", classes.len());
                    return bad("batch_size", expected, batch_size);
                }
                let turns = Deck::new((0..).take(classes.len()).collect());
                std::iter::once(turns).chain(classes.into_values().map(Deck::new)).collect()
            }
        };
        Ok(Self { rng: ChaCha8Rng::seed_from_u64(seed), sampling, batch_size, labels: labels.to_vec(), decks })
    }

    /// The samples of the next batch.
    pub fn next_batch(&mut self) -> Vec<usize> {
        let Self { rng, decks, batch_size, .. } = self;
        match (self.sampling, decks.as_mut_slice()) {
            (Sampling::Balanced { samples_per_class }, [turns, classes @ ..]) => {
                let of_batch = turns.deal(*batch_size / samples_per_class, rng);
                of_batch.into_iter().flat_map(|class| classes[class].deal(samples_per_class, rng)).collect()
            }
            (_, decks) => (0..*batch_size).map(|_| decks[0].draw(rng)).collect(),
        }
    }

    /// For a checkpoint: the generator, then the cards drawn and the order of every deck.
    pub(super) fn state(&self) -> (Position, Vec<i64>, Vec<i64>) {
        let words = u64::try_from(self.rng.get_word_pos()).expect("2⁶⁴ random words take centuries");
        let position = Position { seed: self.rng.get_seed(), stream: self.rng.get_stream(), words };
        let drawn = self.decks.iter().map(|deck| deck.drawn as i64).collect();
        (position, drawn, self.decks.iter().flat_map(|deck| deck.cards.iter().copied()).collect())
    }

    /// The class of each sample.
    pub(super) fn labels(&self) -> &[i64] {
        &self.labels
    }

    pub(super) fn samples(&self) -> usize {
        self.labels.len()
    }

    /// The sampler at a saved position, if the position is one of these samples.
    pub(super) fn at(&self, position: &Position, drawn: &[i64], cards: &[i64], labels: &[i64]) -> Result<Self, String> {
        if labels != self.labels {
            return Err("the sampler's position is of other samples or labels".into());
        }
        let expected: usize = self.decks.iter().map(|deck| deck.cards.len()).sum();
        if drawn.len() != self.decks.len() || cards.len() != expected {
            return Err("the sampler's position is of other samples".into());
        }
        let (mut rest, mut decks) = (cards, Vec::with_capacity(drawn.len()));
        for (deck, &drawn) in self.decks.iter().zip(drawn) {
            let (cards, after) = rest.split_at(deck.cards.len());
            rest = after;
            let sorted = |cards: &[i64]| {
                let mut sorted = cards.to_vec();
                sorted.sort_unstable();
                sorted
            };
            let drawn = usize::try_from(drawn).ok().filter(|&drawn| drawn <= cards.len());
            match drawn {
                Some(drawn) if sorted(cards) == sorted(&deck.cards) => {
                    decks.push(Deck { cards: cards.to_vec(), drawn });
                }
                _ => return Err("the sampler's position is of other samples or labels".into()),
            }
        }
        let mut rng = ChaCha8Rng::from_seed(position.seed);
        rng.set_stream(position.stream);
        rng.set_word_pos(position.words.into());
        Ok(Self { rng, decks, ..self.clone() })
    }
}

impl Sampling {
    /// # Errors
    /// [`Error::Config`] unless a balanced batch is made of whole classes.
    pub(super) fn validate(self, batch_size: usize) -> Result<()> {
        match self {
            Self::Balanced { samples_per_class }
                if samples_per_class < 1 || !batch_size.is_multiple_of(samples_per_class) =>
            {
                Err(Error::Config {
                    field: "samples_per_class",
                    expected: format!("a divisor of the batch size {batch_size}"),
                    got: samples_per_class.to_string(),
                })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sampler, Sampling};

    #[test]
    fn every_sample_comes_once_an_epoch() {
        let mut sampler = Sampler::new(&[0; 7], Sampling::Plain, 2, 1).unwrap();
        let drawn: Vec<usize> = (0..7).flat_map(|_| sampler.next_batch()).collect();
        for epoch in drawn.chunks(7) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(drawn[..7], drawn[7..]);
    }

    /// Eleven classes of 1, 2, … 11 samples, three classes of four samples a batch.
    #[test]
    fn balanced_batches_have_distinct_classes_that_take_turns() {
        let labels: Vec<i64> = (1..=11).flat_map(|label| vec![label * 10; label as usize]).collect();
        let mut sampler = Sampler::new(&labels, Sampling::Balanced { samples_per_class: 4 }, 12, 5).unwrap();
        let mut round = Vec::new();
        for _ in 0..3 {
            let batch = sampler.next_batch();
            for class in batch.chunks(4) {
                assert!(class.iter().all(|&index| labels[index] == labels[class[0]]));
                let mut distinct = class.to_vec();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!(distinct.len(), 4.min(labels[class[0]] as usize / 10));
                round.push(labels[class[0]]);
            }
        }
        round.sort_unstable();
        round.dedup();
        assert_eq!(round.len(), 9, "no class comes twice in a round");
    }

    /// Two classes of five, four samples of each a batch: every hand crosses the end of a round.
    #[test]
    fn a_hand_across_two_rounds_has_no_sample_twice() {
        let labels: Vec<i64> = (0..10).map(|index| index / 5).collect();
        let mut sampler = Sampler::new(&labels, Sampling::Balanced { samples_per_class: 4 }, 8, 3).unwrap();
        let mut drawn = [0; 10];
        for _ in 0..100 {
            let mut batch = sampler.next_batch();
            batch.iter().for_each(|&index| drawn[index] += 1);
            batch.sort_unstable();
            batch.dedup();
            assert_eq!(batch.len(), 8);
        }
        assert_eq!(drawn, [80; 10], "samples take turns");
    }

    /// 16 of 31 classes a batch: no class waits longer than its turn.
    #[test]
    fn more_than_half_of_the_classes_take_turns() {
        let labels: Vec<i64> = (0..31).collect();
        let mut sampler = Sampler::new(&labels, Sampling::Balanced { samples_per_class: 1 }, 16, 3).unwrap();
        let mut drawn = [0; 31];
        for batch in 1..=310 {
            let mut classes = sampler.next_batch();
            classes.iter().for_each(|&class| drawn[class] += 1);
            classes.sort_unstable();
            classes.dedup();
            assert_eq!(classes.len(), 16);
            let (least, most) = (drawn.iter().min(), drawn.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 2), "after {batch}: {drawn:?}");
        }
        assert_eq!(drawn, [160; 31]);
    }

    #[test]
    fn a_saved_position_continues() {
        let labels: Vec<i64> = (0..30).map(|index| index % 4).collect();
        for sampling in [Sampling::Plain, Sampling::Balanced { samples_per_class: 3 }] {
            let fresh = Sampler::new(&labels, sampling, 6, 3).unwrap();
            let mut sampler = fresh.clone();
            for _ in 0..9 {
                sampler.next_batch();
                let (position, drawn, cards) = sampler.state();
                let mut restored = fresh.at(&position, &drawn, &cards, &labels).unwrap();
                let mut original = sampler.clone();
                for _ in 0..9 {
                    assert_eq!(restored.next_batch(), original.next_batch());
                }
                let mut twice = cards.clone();
                twice[0] = twice[1];
                for (drawn, cards) in [
                    (&drawn[1..], &cards[..]),
                    (&drawn, &cards[1..]),
                    (&drawn, &twice),
                    (&vec![99; drawn.len()], &cards),
                ] {
                    assert!(fresh.at(&position, drawn, cards, &labels).is_err());
                }
                let others: Vec<i64> = labels.iter().map(|label| (label + 1) % 4).collect();
                assert!(fresh.at(&position, &drawn, &cards, &others).is_err());
            }
        }
    }
}
