//! Scores turned into log-likelihood ratios, so that a threshold follows from costs.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{load_json, save_json};
use crate::pairs::PairScores;
use crate::{Error, Result, RocCurve};

/// A map from scores to log-likelihood ratios (natural logarithm) of matching over non-matching, fitted on pairs that are
/// not those it will be used on.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::{Calibration, PairScores};
///
/// let scores = vec![0.9, 0.8, 0.7, 0.4, 0.6, 0.5, 0.3, 0.2, 0.1];
/// let same = vec![true, true, true, true, false, false, false, false, false];
/// let pairs = PairScores::new(scores, same)?;
/// for calibration in [Calibration::logistic(&pairs, 0.5)?, Calibration::isotonic(&pairs.roc())] {
///     let calibrated = pairs.calibrated(&calibration)?.roc();
///     assert!(calibrated.cllr() < pairs.roc().cllr());
///     assert!(calibrated.auc() <= 1.0 && calibration.log_ratio(0.95) >= calibration.log_ratio(0.05));
/// }
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Calibration {
    /// `slope·score + offset`.
    Logistic {
        /// Nats for one unit of score.
        slope: f64,
        /// Nats at a score of 0.
        offset: f64,
    },
    /// Steps, from the highest score down.
    Isotonic {
        /// The lowest score of each step and its log-likelihood ratio.
        steps: Vec<(f64, f64)>,
    },
}

impl Calibration {
    /// Logistic regression, both kinds weighted as if `prior` of the pairs matched.
    ///
    /// # Formula
    /// Minimizes, by Newton's method,
    /// ```text
    /// prior·mean⁺ ln(1 + e^−(l + θ)) + (1 − prior)·mean⁻ ln(1 + e^(l + θ))
    /// l = slope·s + offset        θ = ln(prior/(1 − prior))
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] if `prior` is not strictly between 0 and 1, or no finite slope is the best, as where one
    /// threshold tells both kinds apart.
    ///
    /// # References
    /// N. Brümmer, J. du Preez, *Application-independent evaluation of speaker detection*, Computer Speech & Language 20,
    /// 2006, section 6.
    pub fn logistic(pairs: &PairScores, prior: f64) -> Result<Self> {
        /// Steps that a convex problem of two unknowns never needs.
        const MOST: usize = 100;
        /// Relative change of the objective after which it goes no further.
        const ENOUGH: f64 = 1e-15;
        if !(0.0 < prior && prior < 1.0) {
            return Err(Error::config("prior", "a share strictly between 0 and 1", prior));
        }
        let apart = |refused: &'static str| Error::config("pairs", "scores of both kinds that overlap", refused);
        // Centered and scaled, so that the unknowns are of one size.
        let all = pairs.scores().len() as f64;
        let mean = pairs.scores().iter().sum::<f64>() / all;
        let scale = (pairs.scores().iter().map(|score| (score - mean).powi(2)).sum::<f64>() / all).sqrt();
        if scale <= 0.0 {
            return Err(apart("one score"));
        }
        let log_odds = (prior / (1.0 - prior)).ln();
        let counts = pairs.counts();
        let weights = (prior / counts.matching as f64, (1.0 - prior) / counts.non_matching as f64);
        let objective = |a: f64, b: f64| -> f64 {
            let of_pair = |(score, same): (f64, bool)| {
                let x = a * (score - mean) / scale + b + log_odds;
                let (weight, x) = if same { (weights.0, -x) } else { (weights.1, x) };
                weight * (x.max(0.0) + (-x.abs()).exp().ln_1p())
            };
            pairs.iter().map(of_pair).sum()
        };
        let (mut a, mut b) = (0.0, 0.0);
        let mut cost = objective(a, b);
        for _ in 0..MOST {
            let (mut gradient, mut curvature) = ([0.0; 2], [0.0; 3]);
            for (score, same) in pairs.iter() {
                let s = (score - mean) / scale;
                let share = 1.0 / (1.0 + (-(a * s + b + log_odds)).exp());
                let (weight, residual) = if same { (weights.0, share - 1.0) } else { (weights.1, share) };
                let bend = weight * share * (1.0 - share);
                gradient = [gradient[0] + weight * residual * s, gradient[1] + weight * residual];
                curvature = [curvature[0] + bend * s * s, curvature[1] + bend * s, curvature[2] + bend];
            }
            let determinant = curvature[0] * curvature[2] - curvature[1] * curvature[1];
            if determinant <= f64::MIN_POSITIVE {
                return Err(apart("a slope without bound"));
            }
            let step = [
                (curvature[2] * gradient[0] - curvature[1] * gradient[1]) / determinant,
                (curvature[0] * gradient[1] - curvature[1] * gradient[0]) / determinant,
            ];
            let mut share = 1.0;
            let next = loop {
                let next = objective(a - share * step[0], b - share * step[1]);
                if next <= cost || share < 1e-9 {
                    break next;
                }
                share /= 2.0;
            };
            if cost - next <= ENOUGH * cost.abs() {
                return match (a / scale, b - a * mean / scale) {
                    // A slope grows without bound, at ever smaller cost, where one threshold tells both kinds apart.
                    (slope, offset) if slope.is_finite() && cost > 1e-9 => Ok(Self::Logistic { slope, offset }),
                    _ => Err(apart("a slope without bound")),
                };
            }
            (a, b, cost) = (a - share * step[0], b - share * step[1], next);
        }
        Err(apart("a slope without bound"))
    }

    /// The best map that keeps the order of the scores: isotonic regression by pool-adjacent-violators, whose steps are
    /// the sides of the [convex hull](RocCurve::convex_hull) of the curve. The Cllr of the pairs that it was fitted on is
    /// their [`min_cllr`](RocCurve::min_cllr), where each step has pairs of both kinds.
    ///
    /// A step with pairs of one kind only would have an infinite ratio; one pair of the other kind is added to such a step,
    /// so that every ratio is finite and a wrong one does not cost without bound.
    ///
    /// # Formula
    /// ```text
    /// ln((ΔTA/M) / (ΔFA/N))       with ΔTA or ΔFA of 1 for 0
    /// ```
    #[must_use]
    pub fn isotonic(roc: &RocCurve) -> Self {
        let (hull, counts) = (roc.convex_hull(), roc.counts());
        let steps = hull.windows(2).map(|side| {
            let matching = (side[1].true_accepts - side[0].true_accepts).max(1) as f64 / counts.matching as f64;
            let others = (side[1].false_accepts - side[0].false_accepts).max(1) as f64 / counts.non_matching as f64;
            (side[1].threshold, (matching / others).ln())
        });
        // A pair that was added may put a step above the one before it.
        let mut least = f64::INFINITY;
        let steps = steps.map(|(threshold, ratio)| {
            least = least.min(ratio);
            (threshold, least)
        });
        Self::Isotonic { steps: steps.collect() }
    }

    /// The log-likelihood ratio of a score, in nats. Below the lowest step it is that of the lowest.
    #[must_use]
    pub fn log_ratio(&self, score: f64) -> f64 {
        match self {
            Self::Logistic { slope, offset } => slope * score + offset,
            Self::Isotonic { steps } => {
                let step = steps.partition_point(|(lowest, _)| *lowest > score).min(steps.len().saturating_sub(1));
                steps.get(step).map_or(0.0, |&(_, ratio)| ratio)
            }
        }
    }

    /// Writes it as JSON, beside `path` first and then in its place.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save_json(path.as_ref(), self)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Format`] if it is no calibration.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        load_json(path.as_ref())
    }
}

impl PairScores {
    /// The same pairs with log-likelihood ratios for scores.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if one is not a finite number.
    pub fn calibrated(&self, calibration: &Calibration) -> Result<Self> {
        let scores = self.scores().iter().map(|&score| calibration.log_ratio(score)).collect();
        Self::new(scores, self.same().to_vec())
    }
}
