//! Accepted pairs by class where pairs are listed: they come one by one, some of them or all.

use crate::classes::{Accepted, ClassCounts, Classes};
use crate::cuts::Cuts;
use crate::{Error, RocCurve};

/// Sums over the pairs that have come so far; no pair is held.
#[derive(Debug)]
pub(crate) struct Listed {
    classes: Classes,
    accepted: Accepted,
}

impl Listed {
    /// * `labels`: those of the classes, in any order, each once or more often
    pub(crate) fn new(cuts: Cuts, labels: Vec<u32>) -> Self {
        let classes = Classes::new(cuts, labels);
        Self { accepted: Accepted::none(&classes), classes }
    }

    /// The number of a class by its label.
    pub(crate) fn number(&self, label: u32) -> usize {
        self.classes.number(label)
    }

    /// Adds a pair of two classes, given by their numbers.
    pub(crate) fn add(&mut self, of: (usize, usize), score: f64) {
        self.classes.add(of, 1);
        let cut = self.classes.thresholds().partition_point(|&threshold| threshold > score);
        if cut < self.classes.thresholds().len() {
            self.accepted.add(&self.classes, of, cut, &[1]);
        }
    }

    /// Adds pairs of two classes: in all, and those between each cut and the one above.
    pub(crate) fn add_all(&mut self, of: (usize, usize), pairs: u64, accepted: &[u64]) {
        self.classes.add(of, pairs);
        self.accepted.add(&self.classes, of, 0, accepted);
    }

    pub(crate) fn counts(mut self) -> ClassCounts {
        self.accepted.cumulate();
        ClassCounts::new(self.classes, self.accepted)
    }
}

impl ClassCounts {
    /// Counts listed pairs: two classes and a score each, matching where the classes are one. Pairs may be missing, and
    /// may be there more than once.
    ///
    /// Holds 16 bytes a pair meanwhile.
    ///
    /// # Errors
    /// As [`of`](Self::of), and [`Error::NotFinite`] for a score that is no number.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_metrics::ClassCounts;
    ///
    /// let trials = [(3, 3, 0.9), (3, 8, 0.4), (8, 8, 0.2), (8, 9, 0.6)];
    /// let counts = ClassCounts::of_trials(trials, &[0.5])?;
    /// assert_eq!(counts.true_accepts(0), [1, 0, 0]);
    /// assert_eq!(counts.false_accepts(0), [0, 1, 1]);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn of_trials(trials: impl IntoIterator<Item = (u32, u32, f64)>, thresholds: &[f64]) -> Result<Self, Error> {
        let cuts = Cuts::new(thresholds.to_vec())?;
        let trials: Vec<_> = trials.into_iter().collect();
        let mut listed = Listed::new(cuts, trials.iter().flat_map(|&(a, b, _)| [a, b]).collect());
        for (index, (a, b, score)) in trials.into_iter().enumerate() {
            if !score.is_finite() {
                return Err(Error::NotFinite { index, value: score });
            }
            listed.add((listed.number(a), listed.number(b)), score);
        }
        let counts = listed.counts();
        counts.counts().require_both()?;
        Ok(counts)
    }

    /// As [`of_trials`](Self::of_trials), at thresholds all over the curve of these trials and at its equal error rate.
    ///
    /// # Errors
    /// As [`of_trials`](Self::of_trials).
    pub fn across_trials(roc: &RocCurve, trials: impl IntoIterator<Item = (u32, u32, f64)>) -> Result<Self, Error> {
        let cuts = Cuts::across(roc, roc.counts().non_matching, &[roc.eer_point().threshold]);
        Self::of_trials(trials, cuts.as_slice())
    }
}
