//! Identification errors by the standard: of N enrolled classes, R candidates and a threshold T.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::intervals::ClassEstimate;
use crate::open_set::{Identification, Probe};
use crate::shares::share_by_class;

/// Errors of a search that lists candidates above a threshold. Errors are counted; each rate is one division.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IdentificationErrors {
    /// N, the enrolled classes.
    pub enrolled: usize,
    /// R, the candidates looked at.
    pub rank: usize,
    /// T, the lowest cosine of a candidate.
    pub threshold: f64,
    /// Probes of enrolled classes whose own class is not among the `rank` first, or below the threshold.
    pub misses: u64,
    /// Probes of enrolled classes.
    pub known: u64,
    /// Probes of other classes with a candidate at or above the threshold.
    pub false_alarms: u64,
    /// Probes of other classes.
    pub unknown: u64,
    /// False negative identification rate with its interval; `None` if fewer than two enrolled classes have probes.
    pub fnir: Option<ClassEstimate>,
    /// False positive identification rate with its interval; `None` if fewer than two other classes have probes.
    pub fpir: Option<ClassEstimate>,
}

impl Identification {
    /// FNIR and FPIR at (N, R, T), N being the classes enrolled.
    ///
    /// # Formula
    /// ```text
    /// FNIR(N, R, T) = |{known: rank of its own class > R, or its cosine to that < T}| / |known|
    /// FPIR(N, T)    = |{unknown: highest cosine ≥ T}| / |unknown|
    /// ```
    /// The intervals are for other classes of probes, as in [`Intervals`](crate::Intervals). They take the gallery as given
    /// and say nothing of other galleries.
    ///
    /// # Errors
    /// [`Error::Config`] if `rank` is 0, `threshold` is NaN or `level` is not strictly between 0 and 1;
    /// [`Error::OpenSet`] if there are neither known nor unknown probes.
    ///
    /// # Examples
    /// ```
    /// use ndarray::array;
    /// use soft_lmccl_metrics::{EmbeddingSet, Gallery, Prototype};
    ///
    /// let enrolled = EmbeddingSet::new(array![[1.0f32, 0.0], [0.0, 1.0]].view(), &[0, 1])?;
    /// let probes = array![[0.9f32, 0.1], [0.3, 0.8], [0.8, 0.5], [0.9, 0.4]];
    /// let probes = EmbeddingSet::new(probes.view(), &[0, 1, 1, 2])?;
    /// let found = Gallery::enroll(&enrolled, Prototype::Mean)?.search(&probes)?;
    /// let errors = found.errors(1, 0.7, 0.95)?;
    /// assert_eq!((errors.misses, errors.known), (1, 3)); // the third probe is nearer to class 0
    /// assert_eq!((errors.false_alarms, errors.unknown), (1, 1));
    /// assert_eq!(found.errors(2, 0.5, 0.95)?.misses, 0);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    ///
    /// # References
    /// ISO/IEC 19795-1:2021, false-negative and false-positive identification rates; P. Grother, M. Ngan, K. Hanaoka,
    /// *Face Recognition Vendor Test Part 2: Identification*, NIST IR 8271, 2019, section 4.
    pub fn errors(&self, rank: usize, threshold: f64, level: f64) -> Result<IdentificationErrors, Error> {
        crate::confidence::require_level(level)?;
        if rank == 0 {
            return Err(Error::config("rank", "at least 1", rank));
        }
        if threshold.is_nan() {
            return Err(Error::config("threshold", "a number", threshold));
        }
        let (known, unknown) = (self.known(), self.unknown());
        if known + unknown == 0 {
            return Err(Error::OpenSet { known, unknown });
        }
        let misses = |probe: &Probe| {
            let own = probe.rank.zip(probe.own)?;
            Some(own.0 > rank || own.1 < threshold)
        };
        let alarms = |probe: &Probe| probe.rank.is_none().then_some(probe.score >= threshold);
        let (of_known, of_unknown) = (self.by_class(misses), self.by_class(alarms));
        let count = |classes: &[(u64, u64)]| classes.iter().map(|&(count, _)| count).sum();
        Ok(IdentificationErrors {
            enrolled: self.enrolled(),
            rank,
            threshold,
            misses: count(&of_known),
            known,
            false_alarms: count(&of_unknown),
            unknown,
            fnir: share_by_class(&of_known, level).ok(),
            fpir: share_by_class(&of_unknown, level).ok(),
        })
    }

    /// Of each class of probes that the question concerns: how many say yes, and of how many.
    fn by_class(&self, answer: impl Fn(&Probe) -> Option<bool>) -> Vec<(u64, u64)> {
        let mut classes = BTreeMap::<u32, (u64, u64)>::new();
        for (probe, yes) in self.probes().iter().filter_map(|probe| Some((probe, answer(probe)?))) {
            let (count, all) = classes.entry(probe.label).or_default();
            *count += u64::from(yes);
            *all += 1;
        }
        classes.into_values().collect()
    }
}
