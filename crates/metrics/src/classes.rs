//! Accepted pairs by class and by pair of classes, at a few thresholds: what intervals are made of.

use rayon::prelude::*;

use crate::cuts::Cuts;
use crate::embeddings::EmbeddingSet;
use crate::pairs::{PairCounts, PairProtocol, PairScores};
use crate::{Error, RocCurve};

/// Up to so many classes are all followed: pairs of each two are counted.
const ALL_FOLLOWED: usize = 256;
/// Of more classes so many are followed, and their pairs stand for the rest.
const FOLLOWED: usize = 128;
/// They are chosen as so many neighbors at a time, all over the labels: few blocks of scores then have any of them.
const NEIGHBORS: usize = 32;
/// A class that is not among those.
const NOT_FOLLOWED: u32 = u32::MAX;

/// How many pairs of each class, and of each pair of classes, are accepted at each of a few thresholds.
///
/// Pairs that share a class are not independent: how far a rate may be off is decided by how much it differs from class
/// to class. These counts say so, and [`Intervals`](crate::Intervals) reads it off. They come from
/// [`of`](Self::of), where all pairs are held, or from
/// [`AllPairs::count_by_class`](crate::verify::AllPairs::count_by_class), where they are streamed.
///
/// Holds 16 bytes a class and threshold. Up to 256 classes are counted pair by pair, in at most 256 KiB a threshold; of
/// more classes 128 are, from all over the labels.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::{ClassCounts, EmbeddingSet};
///
/// let embeddings = array![[1.0f32, 0.1], [2.0, -0.1], [0.1, 3.0], [-0.2, 1.0], [-1.0, 0.0], [-1.0, -0.1]];
/// let set = EmbeddingSet::new(embeddings.view(), &[7, 7, 4, 4, 5, 5])?;
/// let counts = ClassCounts::of(&set, &[0.5])?;
/// assert_eq!(counts.cuts(), [0.5]);
/// assert_eq!(counts.labels(), [4, 5, 7]);
/// assert_eq!(counts.true_accepts(0), [1, 1, 1]);
/// assert_eq!(counts.false_accepts(0), [0, 0, 0]);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    pub(super) classes: Classes,
    pub(super) accepted: Accepted,
}

/// The classes of the pairs: what does not depend on any score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Classes {
    pub(super) cuts: Cuts,
    /// Ascending.
    pub(super) labels: Vec<u32>,
    /// Where each class is among those that are followed.
    slots: Vec<u32>,
    /// Pairs within each class.
    pub(super) matching: Vec<u64>,
    /// Pairs of each class with others: those of two classes count for both.
    pub(super) non_matching: Vec<u64>,
    /// Pairs of each two classes that are followed.
    pub(super) of_two: Vec<u64>,
}

impl Classes {
    /// Nothing but classes, without pairs yet.
    pub(super) fn new(cuts: Cuts, mut labels: Vec<u32>) -> Self {
        labels.sort_unstable();
        labels.dedup();
        let all = labels.len();
        let followed = if all <= ALL_FOLLOWED { all } else { FOLLOWED };
        let mut slots = vec![NOT_FOLLOWED; all];
        for slot in 0..followed {
            let (group, place) = (slot / NEIGHBORS, slot % NEIGHBORS);
            let class = if followed == all { slot } else { group * NEIGHBORS * all / FOLLOWED + place };
            slots[class] = slot as u32;
        }
        Self {
            cuts,
            slots,
            matching: vec![0; all],
            non_matching: vec![0; all],
            of_two: vec![0; pairs_among(followed)],
            labels,
        }
    }

    /// Those of all pairs within one set, or between two.
    pub(crate) fn of_sets(cuts: Cuts, rows: &[u32], columns: Option<&[u32]>) -> Self {
        let mut labels = rows.to_vec();
        labels.extend(columns.unwrap_or_default());
        let mut classes = Self::new(cuts, labels);
        let sizes = |members: &[u32]| {
            let mut sizes = vec![0u64; classes.labels.len()];
            members.iter().for_each(|label| sizes[classes.number(*label)] += 1);
            sizes
        };
        let (of_rows, of_columns) = (sizes(rows), columns.map(sizes));
        // Within one set each pair is there once.
        let of_two = |a: usize, b: usize| match &of_columns {
            None => of_rows[a] * of_rows[b],
            Some(of_columns) => of_rows[a] * of_columns[b] + of_rows[b] * of_columns[a],
        };
        let all = (rows.len() as u64, columns.map_or(rows.len(), <[u32]>::len) as u64);
        for class in 0..classes.labels.len() {
            let size = of_rows[class];
            (classes.matching[class], classes.non_matching[class]) = match &of_columns {
                None => (size * size.saturating_sub(1) / 2, size * (all.0 - size)),
                Some(of_columns) => {
                    let other = of_columns[class];
                    (size * other, size * (all.1 - other) + other * (all.0 - size))
                }
            };
        }
        classes.of_two = classes.followed_pairs().map(|(a, b)| of_two(a, b)).collect();
        classes
    }

    /// The place of a label that is there.
    pub(crate) fn number(&self, label: u32) -> usize {
        self.labels.partition_point(|&other| other < label)
    }

    pub(crate) fn thresholds(&self) -> &[f64] {
        self.cuts.as_slice()
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// How many classes are followed, before each and in all.
    pub(crate) fn followed_before(&self) -> Vec<u32> {
        let mut before = vec![0];
        before.extend(self.slots.iter().scan(0, |sum, &slot| {
            *sum += u32::from(slot != NOT_FOLLOWED);
            Some(*sum)
        }));
        before
    }

    /// Where the counts of two different classes are, if both are followed.
    pub(crate) fn pair(&self, a: usize, b: usize) -> Option<usize> {
        let (a, b) = (self.slots[a], self.slots[b]);
        (a != NOT_FOLLOWED && b != NOT_FOLLOWED).then(|| pair_of_slots(a.min(b) as usize, a.max(b) as usize))
    }

    /// Every two followed classes, in the order of [`of_two`](Self::of_two).
    pub(super) fn followed_pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let followed = |&class: &usize| self.slots[class] != NOT_FOLLOWED;
        let classes = move || (0..self.len()).filter(followed);
        classes().flat_map(move |b| classes().take_while(move |&a| a < b).map(move |a| (a, b)))
    }

    /// Adds pairs of two classes, maybe the same.
    pub(super) fn add(&mut self, (a, b): (usize, usize), pairs: u64) {
        if a == b {
            self.matching[a] += pairs;
            return;
        }
        self.non_matching[a] += pairs;
        self.non_matching[b] += pairs;
        if let Some(pair) = self.pair(a, b) {
            self.of_two[pair] += pairs;
        }
    }

    /// What [`Accepted`] takes for so many classes and cuts, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        ((2 * self.len() + self.of_two.len()) * self.thresholds().len() * size_of::<u64>()) as u64
    }

    pub(super) fn counts(&self) -> PairCounts {
        PairCounts { matching: self.matching.iter().sum(), non_matching: self.non_matching.iter().sum::<u64>() / 2 }
    }
}

fn pairs_among(members: usize) -> usize {
    members * members.saturating_sub(1) / 2
}

/// `a < b`.
fn pair_of_slots(a: usize, b: usize) -> usize {
    pairs_among(b) + a
}

/// Accepted pairs: for each class, or pair of followed classes, one number a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    cuts: usize,
    matching: Vec<u64>,
    non_matching: Vec<u64>,
    of_two: Vec<u64>,
}

impl Accepted {
    pub(crate) fn none(classes: &Classes) -> Self {
        let cuts = classes.thresholds().len();
        let zeros = |number: usize| vec![0; number * cuts];
        Self {
            cuts,
            matching: zeros(classes.len()),
            non_matching: zeros(classes.len()),
            of_two: zeros(classes.of_two.len()),
        }
    }

    /// Adds pairs of two classes, maybe the same: so many at each cut, from this one on.
    #[inline(always)]
    pub(crate) fn add(&mut self, classes: &Classes, (a, b): (usize, usize), first: usize, pairs: &[u64]) {
        if a == b {
            add_all(&mut self.matching[a * self.cuts + first..], pairs);
            return;
        }
        self.add_half(a, first, pairs.iter().copied());
        self.add_half(b, first, pairs.iter().copied());
        if let Some(pair) = classes.pair(a, b) {
            add_all(&mut self.of_two[pair * self.cuts + first..], pairs);
        }
    }

    /// Adds pairs of a class with others that are not followed with it; whoever adds those of the one class also adds those
    /// of the others.
    #[inline(always)]
    pub(crate) fn add_half(&mut self, class: usize, first: usize, pairs: impl IntoIterator<Item = u64>) {
        let sums = &mut self.non_matching[class * self.cuts + first..];
        sums.iter_mut().zip(pairs).for_each(|(sum, pairs)| *sum += pairs);
    }

    /// Adds what another thread has counted.
    pub(crate) fn merge(mut self, other: &Self) -> Self {
        let sums = [&mut self.matching, &mut self.non_matching, &mut self.of_two];
        for (sums, counts) in sums.into_iter().zip([&other.matching, &other.non_matching, &other.of_two]) {
            const AT_A_TIME: usize = 1 << 14;
            let parts = sums.par_chunks_mut(AT_A_TIME).zip(counts.par_chunks(AT_A_TIME));
            parts.for_each(|(sums, counts)| add_all(sums, counts));
        }
        self
    }

    /// From pairs between a cut and the one above to pairs from each cut on.
    pub(super) fn cumulate(&mut self) {
        for counts in [&mut self.matching, &mut self.non_matching, &mut self.of_two] {
            for counts in counts.chunks_exact_mut(self.cuts) {
                let mut sum = 0;
                counts.iter_mut().for_each(|count| {
                    sum += *count;
                    *count = sum;
                });
            }
        }
    }

    pub(super) fn matching(&self, class: usize) -> &[u64] {
        &self.matching[class * self.cuts..][..self.cuts]
    }

    pub(super) fn non_matching(&self, class: usize) -> &[u64] {
        &self.non_matching[class * self.cuts..][..self.cuts]
    }

    /// By the place of [`Classes::pair`].
    pub(super) fn of_two(&self, pair: usize) -> &[u64] {
        &self.of_two[pair * self.cuts..][..self.cuts]
    }
}

#[inline(always)]
fn add_all(sums: &mut [u64], pairs: &[u64]) {
    sums.iter_mut().zip(pairs).for_each(|(sum, pairs)| *sum += pairs);
}

impl ClassCounts {
    pub(crate) fn new(classes: Classes, accepted: Accepted) -> Self {
        Self { classes, accepted }
    }

    /// Counts all pairs of a set at these thresholds; a pair is accepted when `score >= threshold`.
    ///
    /// Holds 9 bytes a pair meanwhile; where that is too much, [`AllPairs`](crate::verify::AllPairs) counts as well.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no thresholds or one is NaN; [`Error::OneClass`] if the set lacks a
    /// kind of pair.
    pub fn of(set: &EmbeddingSet, thresholds: &[f64]) -> Result<Self, Error> {
        let cuts = Cuts::new(thresholds.to_vec())?;
        let scores = set.pair_scores(PairProtocol::All)?;
        Ok(Self::of_scores(set, scores.scores(), cuts))
    }

    /// Counts all pairs of a set at thresholds all over the curve, and at those that the figures of a report are read off:
    /// the equal error rate and these false accept rates.
    ///
    /// # Errors
    /// [`Error::Rate`] for a rate that is not one, and as [`of`](Self::of).
    ///
    /// # Examples
    /// ```
    /// use ndarray::Array2;
    /// use soft_lmccl_metrics::{ClassCounts, EmbeddingSet, Intervals, PairProtocol};
    ///
    /// let embeddings = Array2::from_shape_fn((40, 5), |(row, column)| {
    ///     if row % 5 == column { 1.0 } else { (row * (column + 3) % 7) as f32 / 5.0 }
    /// });
    /// let labels: Vec<i64> = (0..40).map(|row| row % 5).collect();
    /// let set = EmbeddingSet::new(embeddings.view(), &labels)?;
    /// let (roc, counts) = (set.pair_scores(PairProtocol::All)?.roc(), ClassCounts::across(&set, &[0.05])?);
    /// assert!(Intervals::new(&roc, &counts, 0.9)?.tar_at_far(0.05)?.trials > 10.0);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn across(set: &EmbeddingSet, far_targets: &[f64]) -> Result<Self, Error> {
        let scores = set.pair_scores(PairProtocol::All)?;
        Self::across_scores(set, &scores, &scores.roc(), far_targets)
    }

    /// As [`across`](Self::across), of all pairs, whose curve is there.
    pub(super) fn across_scores(
        set: &EmbeddingSet,
        scores: &PairScores,
        roc: &RocCurve,
        far_targets: &[f64],
    ) -> Result<Self, Error> {
        let at_far = |&target: &f64| Ok(roc.at_far(target)?.point.threshold);
        let mut also = far_targets.iter().map(at_far).collect::<Result<Vec<_>, Error>>()?;
        also.push(roc.eer_point().threshold);
        let cuts = Cuts::across(roc, roc.counts().non_matching, &also);
        Ok(Self::of_scores(set, scores.scores(), cuts))
    }

    /// `scores` are those of all pairs, in the order `i < j`.
    pub(super) fn of_scores(set: &EmbeddingSet, scores: &[f64], cuts: Cuts) -> Self {
        let classes = Classes::of_sets(cuts, set.labels(), None);
        let class_of: Vec<usize> = set.labels().iter().map(|&label| classes.number(label)).collect();
        let pairs = class_of.iter().enumerate();
        let pairs = pairs.flat_map(|(i, &a)| class_of[i + 1..].iter().map(move |&b| (a, b)));
        let mut accepted = Accepted::none(&classes);
        for (of_classes, &score) in pairs.zip(scores) {
            let cut = classes.thresholds().partition_point(|&threshold| threshold > score);
            if cut < classes.thresholds().len() {
                accepted.add(&classes, of_classes, cut, &[1]);
            }
        }
        accepted.cumulate();
        Self { classes, accepted }
    }

    /// Whether both are counts of the same pairs of classes at the same cuts.
    pub(crate) fn is_of_the_pairs_of(&self, other: &Self) -> bool {
        self.classes == other.classes
    }

    /// Every number of accepted pairs, in an order that classes and cuts alone decide: all that the parts of one count
    /// differ in.
    #[must_use]
    pub fn accepts(&self) -> Vec<u64> {
        let Accepted { matching, non_matching, of_two, .. } = &self.accepted;
        [matching.as_slice(), non_matching, of_two].concat()
    }

    /// Adds what [`accepts`](Self::accepts) says of another part of the same pairs.
    ///
    /// # Errors
    /// [`Error::Config`] for numbers of other classes or cuts; nothing is added then.
    pub fn add_accepts(&mut self, accepts: &[u64]) -> Result<(), Error> {
        let Accepted { matching, non_matching, of_two, .. } = &mut self.accepted;
        let sums = [matching, non_matching, of_two];
        let all: usize = sums.iter().map(|sums| sums.len()).sum();
        if accepts.len() != all {
            return Err(Error::config("accepts", format!("{all} numbers"), accepts.len()));
        }
        let mut rest = accepts;
        for sums in sums {
            let (theirs, after) = rest.split_at(sums.len());
            add_all(sums, theirs);
            rest = after;
        }
        Ok(())
    }

    /// The thresholds, highest first.
    #[must_use]
    pub fn cuts(&self) -> &[f64] {
        self.classes.thresholds()
    }

    /// The classes, lowest label first.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.classes.labels
    }

    /// Pairs of each kind.
    #[must_use]
    pub fn counts(&self) -> PairCounts {
        self.classes.counts()
    }

    /// Matching pairs of each class that are accepted at a cut.
    ///
    /// # Panics
    /// If there are not so many cuts.
    #[must_use]
    pub fn true_accepts(&self, cut: usize) -> Vec<u64> {
        (0..self.classes.len()).map(|class| self.accepted.matching(class)[cut]).collect()
    }

    /// Pairs of each class with others that are accepted at a cut; a pair counts for both of its classes.
    ///
    /// # Panics
    /// If there are not so many cuts.
    #[must_use]
    pub fn false_accepts(&self, cut: usize) -> Vec<u64> {
        (0..self.classes.len()).map(|class| self.accepted.non_matching(class)[cut]).collect()
    }
}
