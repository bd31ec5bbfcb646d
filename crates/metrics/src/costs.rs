//! The cost of errors: detection costs, the convex hull of a curve, and the cost of scores as log-likelihood ratios.

use serde::{Deserialize, Serialize};

use crate::{Error, OperatingPoint, RocCurve};

/// The cost of each kind of error, and how often matching pairs come.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::{DetectionCost, PairScores};
///
/// // Log-likelihood ratios.
/// let roc = PairScores::new(vec![4.0, 2.0, 1.0, 0.5, -1.0, -3.0], vec![true, true, false, true, false, false])?.roc();
/// let cost = DetectionCost { prior: 0.5, ..Default::default() };
/// let (least, actual) = (cost.least(&roc)?, cost.actual(&roc)?);
/// assert_eq!(least.normalized, 1.0 / 3.0);
/// assert_eq!(actual.point.threshold, 0.0);
/// assert!(actual.cost >= least.cost);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionCost {
    /// Cost of a matching pair that is rejected. Default 1, as in the NIST speaker recognition evaluations since 2010.
    pub miss: f64,
    /// Cost of a non-matching pair that is accepted. Default 1, as in the NIST evaluations.
    pub false_alarm: f64,
    /// Share of matching pairs where the threshold will be used. Default 0.01, as in the NIST evaluations.
    pub prior: f64,
}

impl Default for DetectionCost {
    fn default() -> Self {
        Self { miss: 1.0, false_alarm: 1.0, prior: 0.01 }
    }
}

/// A point of a curve and its cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CostPoint {
    /// The point.
    pub point: OperatingPoint,
    /// Expected cost of a trial, in the unit of the costs.
    pub cost: f64,
    /// `cost` over the cost of the better of accepting all pairs and rejecting all. At 1 and above the scores are of no use.
    pub normalized: f64,
}

impl DetectionCost {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] unless both costs are positive and finite and the prior lies strictly between 0 and 1.
    pub fn validate(&self) -> Result<(), Error> {
        for (field, value) in [("miss", self.miss), ("false_alarm", self.false_alarm)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::config(field, "a positive number", value));
            }
        }
        if 0.0 < self.prior && self.prior < 1.0 {
            return Ok(());
        }
        Err(Error::config("prior", "a share strictly between 0 and 1", self.prior))
    }

    /// The detection cost function at a point.
    ///
    /// # Formula
    /// ```text
    /// DCF = miss·prior·FNMR + false_alarm·(1 − prior)·FMR
    /// normalized = DCF / min(miss·prior, false_alarm·(1 − prior))
    /// ```
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    ///
    /// # References
    /// NIST 2016 Speaker Recognition Evaluation Plan, section 3.1.
    pub fn at(&self, point: OperatingPoint) -> Result<CostPoint, Error> {
        self.validate()?;
        Ok(self.of(point))
    }

    fn of(&self, point: OperatingPoint) -> CostPoint {
        let (miss, false_alarm) = (self.miss * self.prior, self.false_alarm * (1.0 - self.prior));
        let cost = miss * point.fnmr() + false_alarm * point.fmr();
        CostPoint { point, cost, normalized: cost / miss.min(false_alarm) }
    }

    /// minDCF: the least cost of any threshold, chosen on these pairs; of equals the highest threshold.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    #[doc(alias = "minDCF")]
    pub fn least(&self, roc: &RocCurve) -> Result<CostPoint, Error> {
        self.validate()?;
        let mut least = self.of(roc.points()[0]);
        for &point in &roc.points()[1..] {
            let next = self.of(point);
            if next.cost < least.cost {
                least = next;
            }
        }
        Ok(least)
    }

    /// The threshold on log-likelihood ratios (natural logarithm) above which accepting costs less:
    /// `ln(false_alarm·(1 − prior) / (miss·prior))`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn bayes_threshold(&self) -> Result<f64, Error> {
        self.validate()?;
        Ok((self.false_alarm * (1.0 - self.prior) / (self.miss * self.prior)).ln())
    }

    /// Actual DCF: the cost at the [Bayes threshold](Self::bayes_threshold), for scores that are log-likelihood ratios.
    /// The difference from [`least`](Self::least) is the cost of bad calibration.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    #[doc(alias = "actDCF")]
    pub fn actual(&self, roc: &RocCurve) -> Result<CostPoint, Error> {
        Ok(self.of(roc.at_threshold(self.bayes_threshold()?)))
    }
}

impl RocCurve {
    /// The corners of the convex hull: the points that are best for some costs. The first corner accepts nothing, the last
    /// everything. A system attains a point on the line between two corners if it chooses between their thresholds at random.
    ///
    /// # References
    /// F. Provost, T. Fawcett, *Robust classification for imprecise environments*, Machine Learning 42, 2001.
    #[must_use]
    pub fn convex_hull(&self) -> Vec<OperatingPoint> {
        let place = |point: &OperatingPoint| (i128::from(point.false_accepts), i128::from(point.true_accepts));
        let mut hull: Vec<OperatingPoint> = Vec::new();
        for &point in self.points() {
            while let [.., a, b] = hull.as_slice() {
                let ((ax, ay), (bx, by), (cx, cy)) = (place(a), place(b), place(&point));
                // On or below the line from the one before it, the last is no corner.
                if (by - ay) * (cx - ax) > (cy - ay) * (bx - ax) {
                    break;
                }
                hull.pop();
            }
            hull.push(point);
        }
        hull
    }

    /// Cllr: the cost of scores that are taken for log-likelihood ratios (natural logarithm), averaged over all thresholds.
    /// Its unit is bits a trial. Scores that are all 0 say nothing and cost 1.
    ///
    /// # Formula
    /// ```text
    /// Cllr = ½·mean⁺ log₂(1 + e⁻ˢ) + ½·mean⁻ log₂(1 + eˢ)
    /// ```
    ///
    /// # References
    /// N. Brümmer, J. du Preez, *Application-independent evaluation of speaker detection*, Computer Speech & Language 20,
    /// 2006.
    #[must_use]
    pub fn cllr(&self) -> f64 {
        let cost = self.points().windows(2).map(|ends| {
            let (matching, non_matching) = between(&ends[0], &ends[1]);
            let score = ends[1].threshold;
            matching * softplus(-score) + non_matching * softplus(score)
        });
        cost.sum::<f64>() / (2.0 * std::f64::consts::LN_2)
    }

    /// The least Cllr of any calibration that keeps the order of the scores: the cost of poor discrimination alone. The
    /// calibration is fitted to these same pairs by the pool-adjacent-violators algorithm. Each of its steps is a side of the
    /// [`convex_hull`](Self::convex_hull).
    ///
    /// # References
    /// As [`cllr`](Self::cllr), section 5.
    #[must_use]
    pub fn min_cllr(&self) -> f64 {
        let hull = self.convex_hull();
        let cost = hull.windows(2).map(|ends| {
            let (matching, non_matching) = between(&ends[0], &ends[1]);
            // A side is a log-likelihood ratio of ln(matching/non_matching); where there are none of a kind it costs nothing.
            let ratio = |other: f64, own: f64| if own > 0.0 { own * (other / own).ln_1p() } else { 0.0 };
            ratio(non_matching, matching) + ratio(matching, non_matching)
        });
        cost.sum::<f64>() / (2.0 * std::f64::consts::LN_2)
    }
}

/// Shares of each kind that lie between two points.
fn between(from: &OperatingPoint, to: &OperatingPoint) -> (f64, f64) {
    let matching = (to.true_accepts - from.true_accepts) as f64 / to.matching as f64;
    (matching, (to.false_accepts - from.false_accepts) as f64 / to.non_matching as f64)
}

/// `ln(1 + eˣ)` for any `x`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The cost of a chosen threshold beside the least cost, see [`DetectionCost::regret`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Regret {
    /// The threshold that was judged.
    pub chosen: CostPoint,
    /// The least cost there is.
    pub least: CostPoint,
}

impl Regret {
    /// How much more the chosen threshold costs than the best one, in the unit of the costs; never negative.
    #[must_use]
    pub fn excess(&self) -> f64 {
        self.chosen.cost - self.least.cost
    }
}

impl DetectionCost {
    /// The cost of a threshold on a curve beside the least cost of any threshold: the price of a wrong choice.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_metrics::{DetectionCost, PairScores};
    ///
    /// let roc = PairScores::new(vec![0.9, 0.8, 0.4, 0.2], vec![true, true, false, false])?.roc();
    /// let cost = DetectionCost { prior: 0.5, ..Default::default() };
    /// assert_eq!(cost.regret(&roc, 0.8)?.excess(), 0.0);
    /// assert_eq!(cost.regret(&roc, 0.3)?.excess(), 0.25); // one of two non-matching pairs, at half the weight
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn regret(&self, roc: &RocCurve, threshold: f64) -> Result<Regret, Error> {
        Ok(Regret { chosen: self.at(roc.at_threshold(threshold))?, least: self.least(roc)? })
    }
}
