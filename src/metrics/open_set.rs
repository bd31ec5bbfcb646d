//! Open-set identification: which enrolled class, if any.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::Array2;
use rand::seq::index;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::embeddings::{EmbeddingSet, dot, unit};
use super::pairs::{PairCounts, PairIndex, PairScores};
use super::roc::{RocCurve, descending, infinity_as_null, require_rate};
use super::threshold::VerificationThreshold;
use super::{Stream, seeded};
use crate::MetricError;

/// What stands for a class in a [`Gallery`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Prototype {
    /// The mean of the unit embeddings, scaled to length 1.
    #[default]
    Mean,
    /// The embedding with the largest sum of cosines to all of its class: one that was really seen.
    /// Ties go to the first.
    Medoid,
}

/// Enrolled classes, one unit vector each, against which probes are searched.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl::metrics::{EmbeddingSet, Gallery, Prototype, ThresholdRule, VerificationThreshold};
///
/// let enrolled = EmbeddingSet::new(array![[1.0f32, 0.1], [1.0, -0.1], [0.1, 1.0]].view(), &[3, 3, 8])?;
/// let gallery = Gallery::enroll(&enrolled, Prototype::Mean)?;
/// assert_eq!(gallery.labels(), [3, 8]);
///
/// // Rejection is calibrated at a FAR of probe against prototype, on probes with known classes.
/// let calibration = EmbeddingSet::new(array![[0.9f32, 0.3], [0.2, 0.7], [-1.0, 0.1]].view(), &[3, 8, 5])?;
/// let rule = ThresholdRule::AtFar { target_far: 0.0 };
/// let threshold = VerificationThreshold::fit(&gallery.pair_scores(&calibration)?, rule)?;
/// assert_eq!(gallery.identify(&[5.0, 0.5], &threshold)?.label, Some(3));
/// assert_eq!(gallery.identify(&[-1.0, -1.0], &threshold)?.label, None);
/// # Ok::<(), soft_lmccl::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Gallery {
    /// One row a class, labels increasing.
    prototypes: EmbeddingSet,
}

/// The answer for one embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Identity {
    /// The nearest class, or `None` if even that is rejected: an unknown.
    pub label: Option<u32>,
    /// The nearest class in any case.
    pub nearest: u32,
    /// The cosine to it.
    pub score: f64,
}

impl Gallery {
    /// Makes one prototype of all embeddings of each class.
    ///
    /// # Errors
    /// [`MetricError::ZeroPrototype`] if the embeddings of a class cancel out and [`Prototype::Mean`] is
    /// asked for.
    pub fn enroll(examples: &EmbeddingSet, prototype: Prototype) -> Result<Self, MetricError> {
        let index = PairIndex::new(examples.labels());
        if prototype == Prototype::Medoid {
            let medoids: Vec<usize> = index.classes().map(|rows| medoid(examples, rows)).collect();
            return Ok(Self { prototypes: examples.subset(&medoids) });
        }
        let mut means = Array2::zeros((index.classes().len(), examples.dim()));
        let mut labels = Vec::with_capacity(index.classes().len());
        for (mut mean, rows) in means.outer_iter_mut().zip(index.classes()) {
            let label = examples.labels()[rows[0]];
            for (mean, &sum) in mean.iter_mut().zip(&sum_of(examples, rows)) {
                *mean = (sum / rows.len() as f64) as f32;
            }
            if mean.iter().all(|x: &f32| x.abs() <= 0.0) {
                return Err(MetricError::ZeroPrototype { label });
            }
            labels.push(i64::from(label));
        }
        Ok(Self { prototypes: EmbeddingSet::new(means.view(), &labels)? })
    }

    /// The enrolled classes, in increasing order.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        self.prototypes.labels()
    }

    /// The unit vector of the `index`-th class.
    ///
    /// # Panics
    /// If there are not so many classes.
    #[must_use]
    pub fn prototype(&self, index: usize) -> &[f32] {
        self.prototypes.row(index)
    }

    /// The score of every probe with every prototype, probe by probe: what a rejection threshold is
    /// calibrated on.
    ///
    /// Its FAR is that of one comparison. A probe of no enrolled class is compared with all `G`
    /// prototypes, and is falsely identified up to `G` times as often.
    ///
    /// # Errors
    /// [`MetricError::Dimension`] if probes and prototypes differ in dimension, [`MetricError::OneClass`]
    /// if no probe is of an enrolled class, or all are of the only one.
    pub fn pair_scores(&self, probes: &EmbeddingSet) -> Result<PairScores, MetricError> {
        self.require_dim(probes.dim())?;
        let rows = 0..probes.len();
        let scores = rows.into_par_iter().flat_map_iter(|row| self.scores(probes.row(row))).collect();
        let same = |label| self.labels().iter().map(move |enrolled| *enrolled == label);
        PairScores::new(scores, probes.labels().iter().flat_map(|&label| same(label)).collect())
    }

    /// The nearest class of one embedding of any length, unless it is farther than the threshold allows.
    ///
    /// # Errors
    /// [`MetricError::Dimension`] if it differs in dimension; [`MetricError::EmbeddingNotFinite`] or
    /// [`MetricError::ZeroEmbedding`] if it has no direction.
    pub fn identify(&self, embedding: &[f32], threshold: &VerificationThreshold) -> Result<Identity, MetricError> {
        self.require_dim(embedding.len())?;
        let (nearest, score) = self.nearest(&self.scores(&unit(0, embedding)?).collect::<Vec<_>>());
        Ok(Identity { label: threshold.accepts(score).then_some(nearest), nearest, score })
    }

    /// Searches every probe. A probe is *known* if its class is enrolled, else *unknown*.
    ///
    /// # Errors
    /// [`MetricError::Dimension`] if probes and prototypes differ in dimension.
    pub fn search(&self, probes: &EmbeddingSet) -> Result<Identification, MetricError> {
        self.require_dim(probes.dim())?;
        let probes = (0..probes.len())
            .into_par_iter()
            .map(|row| {
                let label = probes.labels()[row];
                let scores: Vec<f64> = self.scores(probes.row(row)).collect();
                let (nearest, score) = self.nearest(&scores);
                let rank = self.labels().binary_search(&label).ok().map(|own| {
                    let ahead =
                        |(class, score): (usize, &f64)| *score > scores[own] || class < own && *score >= scores[own];
                    1 + scores.iter().enumerate().filter(|&other| ahead(other)).count()
                });
                Probe { label, nearest, score, rank }
            })
            .collect();
        Ok(Identification { enrolled: self.labels().len(), probes })
    }

    fn require_dim(&self, dim: usize) -> Result<(), MetricError> {
        if dim == self.prototypes.dim() {
            return Ok(());
        }
        Err(MetricError::Dimension { left: dim, right: self.prototypes.dim() })
    }

    fn scores(&self, unit_row: &[f32]) -> impl Iterator<Item = f64> {
        (0..self.prototypes.len()).map(move |class| f64::from(dot(unit_row, self.prototypes.row(class))))
    }

    /// The class of the highest score, the first of equals.
    fn nearest(&self, scores: &[f64]) -> (u32, f64) {
        let mut best = 0;
        for class in 1..scores.len() {
            if scores[class] > scores[best] {
                best = class;
            }
        }
        (self.labels()[best], scores[best])
    }
}

impl EmbeddingSet {
    /// Draws `per_class` examples of each class in `known` to enroll; all other embeddings, those of the
    /// classes that are not in `known` among them, are probes.
    ///
    /// # Errors
    /// [`MetricError::TooFewExamples`] if a class has not more than `per_class` embeddings;
    /// [`MetricError::Argument`] if `per_class` is 0 or no class is named.
    ///
    /// # Examples
    /// ```
    /// use ndarray::Array2;
    /// use soft_lmccl::metrics::EmbeddingSet;
    ///
    /// let set = EmbeddingSet::new(Array2::<f32>::ones((9, 2)).view(), &[1, 1, 1, 2, 2, 2, 3, 3, 3])?;
    /// let (enrolled, probes) = set.split_enrollment(&[1, 3], 2, 7)?;
    /// assert_eq!(enrolled.labels(), [1, 1, 3, 3]);
    /// assert_eq!(probes.labels(), [1, 2, 2, 2, 3]);
    /// # Ok::<(), soft_lmccl::MetricError>(())
    /// ```
    pub fn split_enrollment(&self, known: &[u32], per_class: usize, seed: u64) -> Result<(Self, Self), MetricError> {
        let argument =
            |field, expected: &str| MetricError::Argument { field, expected: expected.to_owned(), got: "0".to_owned() };
        if per_class == 0 {
            return Err(argument("per_class", "at least 1 example"));
        }
        if known.is_empty() {
            return Err(argument("known", "at least 1 class"));
        }
        let mut members: BTreeMap<u32, Vec<usize>> = known.iter().map(|&label| (label, Vec::new())).collect();
        for (row, label) in self.labels().iter().enumerate() {
            if let Some(rows) = members.get_mut(label) {
                rows.push(row);
            }
        }
        let mut rng = seeded(seed, Stream::Enrollment);
        let mut enrolled = BTreeSet::new();
        for (label, rows) in members {
            if rows.len() <= per_class {
                return Err(MetricError::TooFewExamples { label, asked: per_class, available: rows.len() });
            }
            enrolled.extend(index::sample(&mut rng, rows.len(), per_class).into_iter().map(|k| rows[k]));
        }
        let probes: Vec<usize> = (0..self.len()).filter(|row| !enrolled.contains(row)).collect();
        Ok((self.subset(&enrolled.into_iter().collect::<Vec<_>>()), self.subset(&probes)))
    }
}

/// What the search found for one probe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Probe {
    /// Its own class.
    pub label: u32,
    /// The nearest enrolled class; of equals the lowest.
    pub nearest: u32,
    /// The cosine to that.
    pub score: f64,
    /// The place of its own class among the enrolled, 1 if that is the nearest; `None` if its class is
    /// not enrolled.
    pub rank: Option<usize>,
}

/// Which probes count as positive.
///
/// Papers differ, and their FPR@95TPR with them: the area under the curve is the same either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positive {
    /// Probes of enrolled classes: a false positive is an unknown taken for known.
    Known,
    /// Probes of other classes, as in out-of-distribution detection: a false positive is a known taken
    /// for unknown.
    Unknown,
}

/// Detection and identification rate at a false positive identification rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DirPoint {
    /// The rate asked for.
    pub target_fpir: f64,
    /// Share of the known probes that are nearest to their own class and reach the threshold.
    pub dir: f64,
    /// Share of the unknown probes that reach the threshold, at most `target_fpir`.
    pub fpir: f64,
    /// `+∞`, in JSON `null`, if nothing is accepted.
    #[serde(with = "infinity_as_null")]
    pub threshold: f64,
    /// Unknown probes that reach the threshold.
    pub false_alarms: u64,
    /// Whether one false alarm is within the target: `1 / unknown <= target_fpir`.
    pub resolvable: bool,
}

/// A search of probes against a [`Gallery`], from which the open-set figures are read.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl::metrics::{EmbeddingSet, Gallery, Positive, Prototype};
///
/// let enrolled = EmbeddingSet::new(array![[1.0f32, 0.0], [0.0, 1.0]].view(), &[0, 1])?;
/// let probes = array![[0.9f32, 0.1], [0.3, 0.8], [0.8, 0.5], [-1.0, -0.2]];
/// let probes = EmbeddingSet::new(probes.view(), &[0, 1, 1, 2])?;
/// let found = Gallery::enroll(&enrolled, Prototype::Mean)?.search(&probes)?;
///
/// assert_eq!(found.closed_set_accuracy()?, 2.0 / 3.0); // the third probe is nearer to class 0
/// assert_eq!(found.cmc()?, [2.0 / 3.0, 1.0]);
/// assert_eq!(found.auroc()?, 1.0); // the unknown one is the farthest from both
/// assert_eq!(found.oscr()?, 2.0 / 3.0);
/// assert_eq!(found.fpr_at_tpr(0.95, Positive::Known)?, 0.0);
/// # Ok::<(), soft_lmccl::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Identification {
    enrolled: usize,
    probes: Vec<Probe>,
}

impl Identification {
    /// What was found for each probe, in the order of the probes.
    #[must_use]
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// Number of probes of enrolled classes.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.probes.iter().filter(|probe| probe.rank.is_some()).count() as u64
    }

    /// Number of probes of other classes.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.probes.len() as u64 - self.known()
    }

    /// Share of the known probes that are nearest to their own class.
    ///
    /// # Errors
    /// [`MetricError::OpenSet`] if there are no known probes.
    pub fn closed_set_accuracy(&self) -> Result<f64, MetricError> {
        Ok(self.correct() as f64 / self.require(true, false)?.matching as f64)
    }

    /// Cumulative match characteristic: element `r − 1` is the share of the known probes whose own class
    /// is among the `r` nearest. As long as the gallery; the last element is 1.
    ///
    /// # Errors
    /// [`MetricError::OpenSet`] if there are no known probes.
    pub fn cmc(&self) -> Result<Vec<f64>, MetricError> {
        let known = self.require(true, false)?.matching;
        let mut at_rank = vec![0u64; self.enrolled];
        for rank in self.probes.iter().filter_map(|probe| probe.rank) {
            at_rank[rank - 1] += 1;
        }
        let mut within = 0;
        let cumulated = at_rank.into_iter().map(|count| {
            within += count;
            within as f64 / known as f64
        });
        Ok(cumulated.collect())
    }

    /// Chance that a known probe is nearer to its nearest prototype than an unknown one, ties one half.
    ///
    /// # Errors
    /// [`MetricError::OpenSet`] if there are no known or no unknown probes.
    pub fn auroc(&self) -> Result<f64, MetricError> {
        Ok(self.detection(Positive::Known)?.auc())
    }

    /// False positive rate at the first threshold at which the true positive rate reaches `tpr`: with
    /// 0.95 the FPR@95TPR of the out-of-distribution literature.
    ///
    /// # Errors
    /// [`MetricError::Rate`] if `tpr` is NaN or outside `[0, 1]`; [`MetricError::OpenSet`] if there are
    /// no known or no unknown probes.
    pub fn fpr_at_tpr(&self, tpr: f64, positive: Positive) -> Result<f64, MetricError> {
        require_rate("tpr", tpr)?;
        let curve = self.detection(positive)?;
        let first = curve.points().partition_point(|point| point.tar() < tpr);
        Ok(curve.points()[first].far())
    }

    /// Area under the open-set classification rate curve: closed-set accuracy and rejection in one.
    ///
    /// # Formula
    /// ```text
    /// CCR(t) = |{known: nearest is its own class, score ≥ t}| / |known|
    /// FPR(t) = |{unknown: score ≥ t}| / |unknown|
    /// OSCR   = ∫ CCR dFPR
    /// ```
    /// by trapezoids, so that ties count one half; from 0 to the closed-set accuracy.
    ///
    /// # Errors
    /// [`MetricError::OpenSet`] if there are no known or no unknown probes.
    ///
    /// # References
    /// A. R. Dhamija, M. Günther, T. Boult, *Reducing Network Agnostophobia*, NeurIPS 2018,
    /// [arXiv:1811.04110](https://arxiv.org/abs/1811.04110).
    pub fn oscr(&self) -> Result<f64, MetricError> {
        let PairCounts { matching: known, .. } = self.require(true, true)?;
        if self.correct() == 0 {
            return Ok(0.0);
        }
        Ok(self.correct_curve().auc() * self.correct() as f64 / known as f64)
    }

    /// Detection and identification rate at a false positive identification rate, for the nearest class
    /// only (rank 1): the lowest threshold whose FPIR does not pass the target.
    ///
    /// # Errors
    /// [`MetricError::Rate`] if `target_fpir` is NaN or outside `[0, 1]`; [`MetricError::OpenSet`] if
    /// there are no known or no unknown probes.
    ///
    /// # References
    /// P. J. Phillips, P. Grother, R. Micheals, *Evaluation methods in face recognition*, Handbook of Face
    /// Recognition, 2011.
    pub fn dir_at_fpir(&self, target_fpir: f64) -> Result<DirPoint, MetricError> {
        require_rate("target_fpir", target_fpir)?;
        let PairCounts { matching: known, .. } = self.require(true, true)?;
        let at = self.correct_curve().at_far(target_fpir)?;
        Ok(DirPoint {
            target_fpir,
            dir: at.point.true_accepts as f64 / known as f64,
            fpir: at.point.far(),
            threshold: at.point.threshold,
            false_alarms: at.point.false_accepts,
            resolvable: at.resolvable,
        })
    }

    fn correct(&self) -> u64 {
        self.probes.iter().filter(|probe| probe.rank == Some(1)).count() as u64
    }

    /// Known probes as matching, unknown ones as non-matching.
    fn require(&self, known: bool, unknown: bool) -> Result<PairCounts, MetricError> {
        let counts = PairCounts { matching: self.known(), non_matching: self.unknown() };
        if known && counts.matching == 0 || unknown && counts.non_matching == 0 {
            return Err(MetricError::OpenSet { known: counts.matching, unknown: counts.non_matching });
        }
        Ok(counts)
    }

    /// The curve of telling known from unknown; what is positive comes first as the threshold falls.
    fn detection(&self, positive: Positive) -> Result<RocCurve, MetricError> {
        self.require(true, true)?;
        let (scores, same) = self
            .probes
            .iter()
            .map(|probe| match positive {
                Positive::Known => (probe.score, probe.rank.is_some()),
                Positive::Unknown => (-probe.score, probe.rank.is_none()),
            })
            .unzip();
        Ok(PairScores::trusted(scores, same).roc())
    }

    /// Known probes nearest to their own class against unknown ones; the other known ones count nowhere.
    fn correct_curve(&self) -> RocCurve {
        let counts = PairCounts { matching: self.correct(), non_matching: self.unknown() };
        let ranking = descending(self.probes.iter().map(|probe| (probe.score + 0.0, probe.rank)).collect());
        RocCurve::weighted(counts, &ranking, |rank| match rank {
            Some(1) => (true, 1),
            Some(_) => (true, 0),
            None => (false, 1),
        })
    }
}

/// Sum of the unit rows of a class.
fn sum_of(set: &EmbeddingSet, rows: &[usize]) -> Vec<f64> {
    let mut sum = vec![0.0; set.dim()];
    for &row in rows {
        for (sum, &x) in sum.iter_mut().zip(set.row(row)) {
            *sum += f64::from(x);
        }
    }
    sum
}

/// The row of the largest product with the sum of its class: the sum of cosines to all of them, its own
/// 1 included, which changes no comparison.
fn medoid(set: &EmbeddingSet, rows: &[usize]) -> usize {
    let sum = sum_of(set, rows);
    let closeness = |row: usize| set.row(row).iter().zip(&sum).map(|(&x, sum)| f64::from(x) * sum).sum::<f64>();
    let mut best = (rows[0], closeness(rows[0]));
    for &row in &rows[1..] {
        let candidate = (row, closeness(row));
        if candidate.1 > best.1 {
            best = candidate;
        }
    }
    best.0
}
