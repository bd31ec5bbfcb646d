//! Which classes are mistaken for which, at one threshold.

use rayon::prelude::*;
use serde::Serialize;

use super::classes::ClassCounts;
use super::embeddings::EmbeddingSet;
use super::pairs::PairIndex;
use super::threshold::VerificationThreshold;

/// The pairs of one class, or of two, at a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClassPair {
    /// The class of the lower number.
    pub first: u32,
    /// The other class, or the same one.
    pub second: u32,
    /// Pairs accepted.
    pub accepted: u64,
    /// Pairs in all, at least 1.
    pub pairs: u64,
}

impl ClassPair {
    /// Share of the pairs that are accepted: the TAR of one class, the FAR of two classes.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.pairs as f64
    }
}

/// Acceptance by class: the TAR of each, the FAR of every two.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::{EmbeddingSet, PairProtocol, ThresholdRule, VerificationThreshold};
///
/// // Classes 1 and 2 are nearly the same direction, class 3 is another one.
/// let values = array![[1.0f32, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [0.0, 1.0], [0.1, 1.0]];
/// let set = EmbeddingSet::new(values.view(), &[1, 1, 2, 2, 3, 3])?;
/// let pairs = set.pair_scores(PairProtocol::All)?;
/// let threshold = VerificationThreshold::fit(&pairs, ThresholdRule::AtFar { target_far: 0.3 })?;
///
/// let confusion = set.confusion(&threshold);
/// assert_eq!(confusion.tar().len(), 3);
/// let worst = confusion.most_confused()[0];
/// assert_eq!((worst.first, worst.second), (1, 2));
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    pairs: Vec<ClassPair>,
}

impl Confusion {
    /// Each class against itself, in order; a class of one embedding has no pairs and is left out.
    #[must_use]
    pub fn tar(&self) -> Vec<ClassPair> {
        self.pairs.iter().filter(|pair| pair.first == pair.second).copied().collect()
    }

    /// Every two classes by FAR, highest first; equal rates in the order of the classes.
    #[must_use]
    pub fn most_confused(&self) -> Vec<ClassPair> {
        let mut pairs: Vec<_> = self.pairs.iter().filter(|pair| pair.first != pair.second).copied().collect();
        // As products, since quotients of different counts may round to one number. The sort is stable.
        let product = |a: &ClassPair, b: &ClassPair| u128::from(a.accepted) * u128::from(b.pairs);
        pairs.sort_by(|a, b| product(b, a).cmp(&product(a, b)));
        pairs
    }
}

impl EmbeddingSet {
    /// Counts the accepted pairs of every class and of every two, over all pairs.
    ///
    /// Takes up to 64 bytes for every two classes: 32 MB for 1,000 classes, 3.2 GB for 10,000.
    #[must_use]
    pub fn confusion(&self, threshold: &VerificationThreshold) -> Confusion {
        let index = PairIndex::new(self.labels());
        let classes: Vec<&[usize]> = index.classes().collect();
        let couples: Vec<_> = (0..classes.len()).flat_map(|a| (a..classes.len()).map(move |b| (a, b))).collect();
        let pairs = couples.into_par_iter().filter_map(|(a, b)| {
            let (mut accepted, mut pairs) = (0, 0);
            for (k, &i) in classes[a].iter().enumerate() {
                let others = if a == b { &classes[a][k + 1..] } else { classes[b] };
                accepted += others.iter().filter(|&&j| threshold.accepts(self.cosine(i, j))).count() as u64;
                pairs += others.len() as u64;
            }
            let label = |class: usize| self.labels()[classes[class][0]];
            (pairs > 0).then(|| ClassPair { first: label(a), second: label(b), accepted, pairs })
        });
        Confusion { pairs: pairs.collect() }
    }
}

impl ClassCounts {
    /// Which classes are mistaken for which at a cut: the TAR of each class, the FAR of every two of those that are
    /// followed pair by pair: all of up to 256 classes, 128 of more.
    ///
    /// # Panics
    /// If there are not so many cuts.
    #[must_use]
    pub fn confusion(&self, cut: usize) -> Confusion {
        let Self { classes, accepted } = self;
        let label = |class: usize| classes.labels[class];
        let within = (0..classes.len()).map(|class| {
            let (accepted, pairs) = (accepted.matching(class)[cut], classes.matching[class]);
            ClassPair { first: label(class), second: label(class), accepted, pairs }
        });
        let between = classes.followed_pairs().enumerate().map(|(pair, (a, b))| {
            let (accepted, pairs) = (accepted.of_two(pair)[cut], classes.of_two[pair]);
            ClassPair { first: label(a.min(b)), second: label(a.max(b)), accepted, pairs }
        });
        Confusion { pairs: within.chain(between).filter(|pair| pair.pairs > 0).collect() }
    }
}
