//! Open-set identification: the enrolled class, if any, and how well it is found.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::pairs::{PairCounts, PairScores};
use crate::operating_point::infinity_as_null;
use crate::roc::{descending, require_rate};
use crate::{Error, RocCurve};

/// The result of the search for one probe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Probe {
    /// Its own class.
    pub label: u32,
    /// The nearest enrolled class; ties go to the lowest.
    pub nearest: u32,
    /// The cosine to the nearest class.
    pub score: f64,
    /// The rank of its own class among the enrolled ones, 1 if nearest; `None` if its class is not enrolled.
    pub rank: Option<usize>,
    /// The cosine to its own class, if enrolled.
    pub own: Option<f64>,
}

/// Which probes count as positive.
///
/// Papers differ here, and so does their FPR@95TPR. The area under the curve is the same either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positive {
    /// Probes of enrolled classes: a false positive is an unknown taken for known.
    Known,
    /// Probes of other classes, as in out-of-distribution detection: a false positive is a known taken for unknown.
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
    /// `+∞`, in JSON `null`, if no probe is accepted.
    #[serde(with = "infinity_as_null")]
    pub threshold: f64,
    /// Unknown probes that reach the threshold.
    pub false_alarms: u64,
    /// Whether one false alarm is within the target: `1 / unknown <= target_fpir`.
    pub resolvable: bool,
}

impl fmt::Display for DirPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target_fpir, dir, fpir, threshold, resolvable, .. } = self;
        write!(f, "DIR {dir:.4} at FPIR {fpir:.2e} (asked {target_fpir:.0e}) from score {threshold:.4}")?;
        if *resolvable { Ok(()) } else { f.write_str("; too few unknown probes for that rate") }
    }
}

/// A search of probes against a [`Gallery`](super::Gallery), from which the open-set figures are read.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::{EmbeddingSet, Gallery, Positive, Prototype};
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
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Identification {
    enrolled: usize,
    probes: Vec<Probe>,
}

impl Identification {
    /// `probes` searched in a gallery of `enrolled` classes.
    pub(super) fn new(enrolled: usize, probes: Vec<Probe>) -> Self {
        Self { enrolled, probes }
    }

    /// Takes the results of a search made elsewhere: for each probe its own class, the class that was found, and the score
    /// of the class that was found (higher is more alike).
    ///
    /// A probe whose label is not among `enrolled` is unknown. If a probe was taken for another class, the rank and the score
    /// of its own class are not known. Such a class is ranked last, so that [`cmc`](Self::cmc) is a lower bound beyond its
    /// first entry.
    ///
    /// # Errors
    /// [`Error::Config`] for lists of different lengths, no probe, a score that is not finite, or a class found that is not
    /// enrolled.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_metrics::Identification;
    ///
    /// let found = Identification::from_predictions(&[0, 1], &[0.9, 0.7, 0.8, 0.1], &[0, 1, 0, 1], &[0, 1, 1, 5])?;
    /// assert_eq!(found.closed_set_accuracy()?, 2.0 / 3.0);
    /// assert_eq!(found.auroc()?, 1.0); // the probe of class 5 has the lowest score
    /// assert_eq!((found.known(), found.unknown()), (3, 1));
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn from_predictions(
        enrolled: &[u32],
        scores: &[f64],
        predicted: &[u32],
        labels: &[u32],
    ) -> Result<Self, Error> {
        let enrolled: BTreeSet<u32> = enrolled.iter().copied().collect();
        if scores.is_empty() || scores.len() != predicted.len() || scores.len() != labels.len() {
            let got = format!("{} scores, {} predictions, {} labels", scores.len(), predicted.len(), labels.len());
            return Err(Error::config("probes", "as many scores as predictions and labels, one at least", got));
        }
        let mut probes = Vec::with_capacity(scores.len());
        for (place, ((&score, &nearest), &label)) in scores.iter().zip(predicted).zip(labels).enumerate() {
            if !score.is_finite() {
                return Err(Error::config("scores", "finite numbers", format!("{score} at position {place}")));
            }
            if !enrolled.contains(&nearest) {
                let got = format!("{nearest} at position {place}");
                return Err(Error::config("predicted", "classes that are enrolled", got));
            }
            let (rank, own) = match enrolled.contains(&label) {
                false => (None, None),
                true if nearest == label => (Some(1), Some(score)),
                true => (Some(enrolled.len()), Some(f64::NEG_INFINITY)),
            };
            probes.push(Probe { label, nearest, score, rank, own });
        }
        Ok(Self { enrolled: enrolled.len(), probes })
    }

    /// How many classes are enrolled.
    #[must_use]
    pub fn enrolled(&self) -> usize {
        self.enrolled
    }

    /// The result for each probe, in their order.
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
    /// [`Error::OpenSet`] if there are no known probes.
    pub fn closed_set_accuracy(&self) -> Result<f64, Error> {
        Ok(self.correct() as f64 / self.require(true, false)?.matching as f64)
    }

    /// Cumulative match characteristic: element `r − 1` is the share of the known probes whose own class
    /// is among the `r` nearest. As long as the gallery; the last element is 1.
    ///
    /// # Errors
    /// [`Error::OpenSet`] if there are no known probes.
    pub fn cmc(&self) -> Result<Vec<f64>, Error> {
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

    /// Chance that a known probe scores higher than an unknown one at its nearest prototype; ties count one half.
    ///
    /// # Errors
    /// [`Error::OpenSet`] if there are no known or no unknown probes.
    pub fn auroc(&self) -> Result<f64, Error> {
        Ok(self.detection(Positive::Known)?.auc())
    }

    /// False positive rate at the first threshold at which the true positive rate reaches `tpr`: with
    /// 0.95 the FPR@95TPR of the out-of-distribution literature.
    ///
    /// # Errors
    /// [`Error::Rate`] if `tpr` is NaN or outside `[0, 1]`; [`Error::OpenSet`] if there are
    /// no known or no unknown probes.
    pub fn fpr_at_tpr(&self, tpr: f64, positive: Positive) -> Result<f64, Error> {
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
    /// by trapezoids: ties count one half. It lies between 0 and the closed-set accuracy.
    ///
    /// # Errors
    /// [`Error::OpenSet`] if there are no known or no unknown probes.
    ///
    /// # References
    /// A. R. Dhamija, M. Günther, T. Boult, *Reducing Network Agnostophobia*, NeurIPS 2018,
    /// [arXiv:1811.04110](https://arxiv.org/abs/1811.04110).
    pub fn oscr(&self) -> Result<f64, Error> {
        let PairCounts { matching: known, .. } = self.require(true, true)?;
        if self.correct() == 0 {
            return Ok(0.0);
        }
        Ok(self.correct_curve().auc() * self.correct() as f64 / known as f64)
    }

    /// Detection and identification rate at a false positive identification rate, for the nearest class only (rank
    /// 1). The threshold is the lowest whose FPIR does not pass the target.
    ///
    /// # Errors
    /// [`Error::Rate`] if `target_fpir` is NaN or outside `[0, 1]`; [`Error::OpenSet`] if
    /// there are no known or no unknown probes.
    ///
    /// # References
    /// P. J. Phillips, P. Grother, R. Micheals, *Evaluation methods in face recognition*, Handbook of Face
    /// Recognition, 2011.
    pub fn dir_at_fpir(&self, target_fpir: f64) -> Result<DirPoint, Error> {
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
    fn require(&self, known: bool, unknown: bool) -> Result<PairCounts, Error> {
        let counts = PairCounts { matching: self.known(), non_matching: self.unknown() };
        if known && counts.matching == 0 || unknown && counts.non_matching == 0 {
            return Err(Error::OpenSet { known: counts.matching, unknown: counts.non_matching });
        }
        Ok(counts)
    }

    /// The curve of telling known from unknown; the positive kind comes first as the threshold falls.
    fn detection(&self, positive: Positive) -> Result<RocCurve, Error> {
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

    /// Known probes nearest to their own class against unknown probes; other known probes do not count.
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
