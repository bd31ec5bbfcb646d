//! Thresholds at which classes are counted.

use crate::{Error, RocCurve};

/// Thresholds, strictly decreasing, without NaN. Two thresholds are equal if their bits are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cuts(Vec<f64>);

impl Eq for Cuts {}

impl Cuts {
    /// Takes thresholds in any order; one may come more than once.
    ///
    /// # Errors
    /// [`Error::Config`] for no thresholds, or for NaN.
    pub(crate) fn new(mut thresholds: Vec<f64>) -> Result<Self, Error> {
        if thresholds.is_empty() || thresholds.iter().any(|threshold| threshold.is_nan()) {
            let got = if thresholds.is_empty() { "none" } else { "NaN" };
            return Err(Error::config("cuts", "thresholds", got));
        }
        for threshold in &mut thresholds {
            *threshold += 0.0; // -0.0 and 0.0 are one threshold
        }
        thresholds.sort_unstable_by(|a, b| b.total_cmp(a));
        thresholds.dedup_by(|a, b| a.total_cmp(b).is_eq());
        Ok(Self(thresholds))
    }

    pub(crate) fn as_slice(&self) -> &[f64] {
        &self.0
    }

    /// Thresholds at which both rates of a curve run from 0 to 1, closest together at low false accept rates. The area and
    /// the equal error rate are computed from them, and any other threshold has a neighbor among them.
    ///
    /// * `non_matching`: the number of non-matching pairs; its reciprocal is the lowest false accept rate that is asked for.
    ///   Below the lowest rate that `roc` resolves, thresholds follow an exponential tail
    /// * `also`: further thresholds
    pub(crate) fn across(roc: &RocCurve, non_matching: u64, also: &[f64]) -> Self {
        const FAR: [f64; 4] = [0.5, 0.15, 0.04, 0.01];
        const TAR: [f64; 7] = [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98];
        /// Accepts that tell a rate well enough to place a threshold.
        const TOLD_BY: f64 = 4.0;
        let points = roc.points();
        let at_far =
            |far: f64| points[points.partition_point(|point| point.far() < far).min(points.len() - 1)].threshold;
        let at_tar =
            |tar: f64| points[points.partition_point(|point| point.tar() < tar).min(points.len() - 1)].threshold;
        let told = TOLD_BY / roc.counts().non_matching as f64;
        let mut thresholds: Vec<f64> = FAR.into_iter().filter(|&far| far >= told).map(at_far).collect();
        thresholds.extend(TAR.map(at_tar));
        thresholds.extend(also);
        // By a factor of √10, down to a single false accept.
        let tail = (1..).map(|step| 0.01 * 0.1f64.powf(f64::from(step) / 2.0));
        let (near, far) = (at_far((told * 10.0).min(0.5)), at_far(told.min(0.05)));
        let decade = far - near;
        for rate in tail.take_while(|rate| *rate >= 0.5 / non_matching as f64) {
            thresholds.push(if rate >= told { at_far(rate) } else { far + decade * (told / rate).log10() });
        }
        thresholds.retain(|threshold| threshold.is_finite());
        Self::new(thresholds).expect("the lowest score of a curve is finite")
    }
}
