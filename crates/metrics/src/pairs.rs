//! Pairs: which pairs are compared, how pairs are drawn, and their scores with the truth.

use rand::seq::index;
use serde::{Deserialize, Serialize};

use super::{Stream, seeded};
use crate::Error;

/// Which pairs of an [`EmbeddingSet`](super::EmbeddingSet) are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PairProtocol {
    /// Every unordered pair `i < j`.
    All,
    /// Distinct pairs drawn with equal chances from all pairs of their kind.
    ///
    /// The mixture decides what an accuracy means. The paper draws 1 matching pair to 2 non-matching pairs: accepting
    /// nothing is right in two cases of three.
    Sampled {
        /// Number of pairs of one class.
        matching: usize,
        /// Number of pairs of two classes.
        non_matching: usize,
        /// The same seed draws the same pairs.
        seed: u64,
    },
}

/// How many pairs there are of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCounts {
    /// Pairs of one class.
    pub matching: u64,
    /// Pairs of two classes.
    pub non_matching: u64,
}

impl PairCounts {
    /// Pairs of both kinds.
    #[must_use]
    pub fn total(self) -> u64 {
        self.matching + self.non_matching
    }

    pub(crate) fn require_both(self) -> Result<(), Error> {
        if self.matching == 0 || self.non_matching == 0 {
            return Err(Error::OneClass { matching: self.matching, non_matching: self.non_matching });
        }
        Ok(())
    }
}

/// Scores of pairs with their truth.
///
/// It holds at least one pair of each kind and only finite scores, so that every metric of it is defined. `-0.0` is
/// stored as `0.0`: the two are one threshold.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::PairScores;
///
/// let pairs = PairScores::new(vec![0.9, 0.4, 0.4, -0.2], vec![true, true, false, false])?;
/// assert_eq!(pairs.counts().matching, 2);
/// assert_eq!(pairs.roc().auc(), 0.875); // one of the four comparisons is a tie
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PairScores {
    scores: Vec<f64>,
    same: Vec<bool>,
    counts: PairCounts,
}

impl PairScores {
    /// Takes the score of each pair, and whether the pair matches.
    ///
    /// # Errors
    /// * [`Error::Length`] if there are not as many truths as scores
    /// * [`Error::NotFinite`], naming the first score that is NaN or infinite
    /// * [`Error::OneClass`] if a kind of pair is missing
    pub fn new(scores: Vec<f64>, same: Vec<bool>) -> Result<Self, Error> {
        if scores.len() != same.len() {
            return Err(Error::Length { scores: scores.len(), labels: same.len() });
        }
        if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
            return Err(Error::NotFinite { index, value: scores[index] });
        }
        let pairs = Self::trusted(scores, same);
        pairs.counts.require_both()?;
        Ok(pairs)
    }

    /// For callers in this crate that have just made sure of the conditions of [`new`](Self::new).
    pub(super) fn trusted(mut scores: Vec<f64>, same: Vec<bool>) -> Self {
        for score in &mut scores {
            *score += 0.0; // turns -0.0 into 0.0 and nothing else into anything else
        }
        let matching = same.iter().filter(|&&same| same).count();
        let counts = PairCounts { matching: matching as u64, non_matching: (same.len() - matching) as u64 };
        Self { scores, same, counts }
    }

    /// The scores, in the order given.
    #[must_use]
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Whether each pair is a matching one, in the order given.
    #[must_use]
    pub fn same(&self) -> &[bool] {
        &self.same
    }

    /// How many pairs there are of each kind, at least one of both.
    #[must_use]
    pub fn counts(&self) -> PairCounts {
        self.counts
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (f64, bool)> {
        self.scores.iter().copied().zip(self.same.iter().copied())
    }
}

/// Numbers all pairs of a set, kind by kind, without listing them.
///
/// Rows are kept class by class. Take a class of `n` rows that ends at position `e` of `N`. Its matching pairs are a
/// triangle of `n(n−1)/2`; its non-matching pairs with later classes are a rectangle of `n × (N − e)`. Running totals
/// of both turn a rank into a pair by one binary search.
#[derive(Debug)]
pub(super) struct PairIndex {
    rows: Vec<usize>,
    classes: Vec<ClassSpan>,
    counts: PairCounts,
}

#[derive(Debug)]
struct ClassSpan {
    start: usize,
    end: usize,
    matching_before: u64,
    non_matching_before: u64,
}

impl PairIndex {
    pub(super) fn new(labels: &[u32]) -> Self {
        let mut rows: Vec<usize> = (0..labels.len()).collect();
        rows.sort_by_key(|&row| labels[row]);
        let mut classes = Vec::new();
        let (mut start, mut matching, mut non_matching) = (0, 0, 0);
        for class in rows.chunk_by(|&a, &b| labels[a] == labels[b]) {
            let end = start + class.len();
            classes.push(ClassSpan { start, end, matching_before: matching, non_matching_before: non_matching });
            let size = class.len() as u64;
            matching += size * (size - 1) / 2;
            non_matching += size * (rows.len() - end) as u64;
            start = end;
        }
        Self { rows, classes, counts: PairCounts { matching, non_matching } }
    }

    pub(super) fn counts(&self) -> PairCounts {
        self.counts
    }

    /// The rows of each class; classes and rows increase.
    pub(super) fn classes(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        self.classes.iter().map(|class| &self.rows[class.start..class.end])
    }

    /// Distinct pairs of each kind, in increasing order.
    pub(super) fn sample(&self, matching: usize, non_matching: usize, seed: u64) -> Result<Vec<(usize, usize)>, Error> {
        let mut rng = seeded(seed, Stream::Pairs);
        let mut draw = |kind, asked: usize, available: u64| {
            if asked as u64 > available {
                return Err(Error::TooFewPairs { kind, asked: asked as u64, available });
            }
            let available =
                usize::try_from(available).expect("the pairs of rows that fit in memory can be numbered by a usize");
            Ok(index::sample(&mut rng, available, asked))
        };
        let matching = draw("matching", matching, self.counts.matching)?;
        let non_matching = draw("non-matching", non_matching, self.counts.non_matching)?;
        let mut pairs: Vec<_> = matching.into_iter().map(|rank| self.matching(rank as u64)).collect();
        pairs.extend(non_matching.into_iter().map(|rank| self.non_matching(rank as u64)));
        pairs.sort_unstable();
        Ok(pairs)
    }

    fn matching(&self, rank: u64) -> (usize, usize) {
        let class = self.class_holding(rank, |class| class.matching_before);
        let rank = rank - class.matching_before;
        // Rank r of a triangle is (a, b), a < b, with r = b(b−1)/2 + a.
        let b = (1 + 8 * rank).isqrt().div_ceil(2);
        let a = rank - b * (b - 1) / 2;
        self.ordered(class.start + a as usize, class.start + b as usize)
    }

    fn non_matching(&self, rank: u64) -> (usize, usize) {
        let class = self.class_holding(rank, |class| class.non_matching_before);
        let rank = rank - class.non_matching_before;
        let later = (self.rows.len() - class.end) as u64;
        self.ordered(class.start + (rank / later) as usize, class.end + (rank % later) as usize)
    }

    /// The last class whose ranks start at or before `rank`. Classes without pairs of the kind share their start with
    /// the next class and are skipped.
    fn class_holding(&self, rank: u64, before: impl Fn(&ClassSpan) -> u64) -> &ClassSpan {
        &self.classes[self.classes.partition_point(|class| before(class) <= rank) - 1]
    }

    fn ordered(&self, a: usize, b: usize) -> (usize, usize) {
        let (a, b) = (self.rows[a], self.rows[b]);
        (a.min(b), a.max(b))
    }
}
