//! How rates at a threshold vary from class to class, from counts by class alone.

use crate::classes::ClassCounts;
use crate::intervals::ClassEstimate;
use crate::shares::{Shares, interval, trials};
use crate::{Error, OperatingPoint};

/// Counts by class with what their sizes say, see [`Intervals`](crate::Intervals) for the formulas.
#[derive(Debug)]
pub(crate) struct Spread<'a> {
    counts: &'a ClassCounts,
    level: f64,
    pub(crate) matching: Shares,
    non_matching: Shares,
    /// What the pairs of two followed classes stand for.
    pairs: Vec<(usize, usize)>,
}

/// A weight of the TAR and one of the FAR at a cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight {
    pub(crate) cut: usize,
    pub(crate) tar: f64,
    pub(crate) far: f64,
}

impl<'a> Spread<'a> {
    pub(crate) fn new(counts: &'a ClassCounts, level: f64) -> Self {
        let classes = &counts.classes;
        Self {
            counts,
            level,
            matching: Shares::of_one(&classes.matching),
            non_matching: Shares::of_two(&classes.non_matching),
            pairs: classes.followed_pairs().collect(),
        }
    }

    pub(crate) fn classes(&self) -> usize {
        self.counts.labels().len()
    }

    pub(crate) fn cuts(&self) -> &[f64] {
        self.counts.cuts()
    }

    /// The interval of a TAR, which is given.
    pub(crate) fn tar(&self, threshold: f64, value: f64) -> Result<ClassEstimate, Error> {
        self.require_matching()?;
        let trials = self.trials_at(threshold, |cut| (self.at(cut).tar(), vec![Weight { cut, tar: 1.0, far: 0.0 }]));
        self.estimate(value, trials.map(|n| n.min(self.matching.pairs)), true, false)
    }

    /// The interval of a FAR, which is given.
    pub(crate) fn far(&self, threshold: f64, value: f64) -> Result<ClassEstimate, Error> {
        self.require_non_matching()?;
        let trials = self.trials_at(threshold, |cut| (self.at(cut).far(), vec![Weight { cut, tar: 0.0, far: 1.0 }]));
        self.estimate(value, trials.map(|n| n.min(self.non_matching.pairs)), false, true)
    }

    /// Counts at a cut, all classes together.
    pub(crate) fn at(&self, cut: usize) -> OperatingPoint {
        let ClassCounts { classes, accepted } = self.counts;
        let counts = classes.counts();
        OperatingPoint {
            threshold: self.counts.cuts()[cut],
            true_accepts: (0..classes.len()).map(|class| accepted.matching(class)[cut]).sum(),
            false_accepts: (0..classes.len()).map(|class| accepted.non_matching(class)[cut]).sum::<u64>() / 2,
            matching: counts.matching,
            non_matching: counts.non_matching,
        }
    }

    /// Independent trials that tell as much as the counts at a threshold do; `None` if nothing varies at any cut.
    ///
    /// * `figure`: what is asked at a cut, and its weights there
    pub(crate) fn trials_at(&self, threshold: f64, figure: impl Fn(usize) -> (f64, Vec<Weight>)) -> Option<f64> {
        let cuts = self.counts.cuts();
        let trials = |cut: usize| {
            let (value, weights) = figure(cut);
            Some((cuts[cut], trials(value, self.variance(&weights))?))
        };
        let not_above = cuts.partition_point(|&cut| cut > threshold);
        let below = (not_above..cuts.len()).find_map(trials);
        // At a cut of its own there is nothing to interpolate.
        let above = match below {
            Some((cut, trials)) if cut >= threshold => return Some(trials),
            _ => (0..not_above).rev().find_map(trials),
        };
        match (below, above) {
            (Some((low, of_low)), Some((high, of_high))) => {
                let share = (threshold.clamp(low, high) - low) / (high - low);
                Some((of_low.ln() * (1.0 - share) + of_high.ln() * share).exp())
            }
            (one, other) => one.or(other).map(|(_, trials)| trials),
        }
    }

    /// The variance of a weighted sum of rates.
    pub(crate) fn variance(&self, weights: &[Weight]) -> f64 {
        let ClassCounts { classes, accepted } = self.counts;
        let points: Vec<OperatingPoint> = weights.iter().map(|weight| self.at(weight.cut)).collect();
        // By how much counts differ from what the rates let expect.
        let of_matching = |pairs: u64, counts: &[u64]| {
            let terms = weights.iter().zip(&points);
            let terms = terms.map(|(by, at)| by.tar * (counts[by.cut] as f64 - at.tar() * pairs as f64));
            terms.sum::<f64>() / self.matching.pairs
        };
        let of_others = |pairs: u64, counts: &[u64]| {
            let terms = weights.iter().zip(&points);
            let terms = terms.map(|(by, at)| by.far * (counts[by.cut] as f64 - at.far() * pairs as f64));
            terms.sum::<f64>() / self.non_matching.pairs
        };
        let (mut variance, mut matching_alone) = (0.0, 0.0);
        for class in 0..classes.len() {
            let u = of_matching(classes.matching[class], accepted.matching(class)) * self.matching.leaving_out(class);
            let z = of_others(classes.non_matching[class], accepted.non_matching(class));
            variance += (u + z * self.non_matching.leaving_out(class)).powi(2);
            matching_alone += u * u;
        }
        if weights.iter().all(|weight| weight.far.abs() <= 0.0) {
            return variance;
        }
        // What is counted for both classes of a pair, and what is left if pairs of classes are independent.
        let (mut twice, mut independent, mut followed) = (0.0, 0.0, 0u64);
        for (pair, &(a, b)) in self.pairs.iter().enumerate() {
            let z = of_others(classes.of_two[pair], accepted.of_two(pair));
            followed += weights.iter().map(|weight| accepted.of_two(pair)[weight.cut]).sum::<u64>();
            independent += z * z;
            let leave_out = self.non_matching.leave_out[a] * self.non_matching.leave_out[b];
            twice += z * z * leave_out * self.non_matching.correction;
        }
        // The pairs of classes that are followed stand for all, by their accepts.
        let all: u64 = points.iter().map(|point| point.false_accepts).sum();
        let stand_for = if followed == 0 { 0.0 } else { all as f64 / followed as f64 };
        (variance - stand_for * twice).max(matching_alone + stand_for * independent)
    }

    /// A figure with its interval; without trials those of the classes.
    pub(crate) fn estimate(
        &self,
        value: f64,
        trials: Option<f64>,
        of_matching: bool,
        of_non_matching: bool,
    ) -> Result<ClassEstimate, Error> {
        let shares = [of_matching.then_some(&self.matching), of_non_matching.then_some(&self.non_matching)];
        let shares = shares.into_iter().flatten();
        let fewest = |(df, classes): (f64, usize), shares: &Shares| {
            (df.min(shares.degrees_of_freedom), classes.min(shares.classes))
        };
        let (degrees_of_freedom, classes) = shares.fold((f64::INFINITY, usize::MAX), fewest);
        let trials = trials.unwrap_or(classes as f64);
        interval(value, trials, degrees_of_freedom, self.level)
    }

    pub(crate) fn require_matching(&self) -> Result<(), Error> {
        require_classes("at least 2 with matching pairs", self.matching.classes, 2)
    }

    pub(crate) fn require_non_matching(&self) -> Result<(), Error> {
        require_classes("at least 4", self.non_matching.classes, 4)?;
        if self.non_matching.leave_out.iter().all(|factor| factor.is_finite()) {
            return Ok(());
        }
        let expected = "no class that takes part in every non-matching pair".to_owned();
        Err(Error::config("classes", expected, "one"))
    }
}

fn require_classes(expected: &str, got: usize, least: usize) -> Result<(), Error> {
    if got >= least {
        return Ok(());
    }
    Err(Error::config("classes", expected, got))
}
