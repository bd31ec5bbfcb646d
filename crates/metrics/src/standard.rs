//! Error rates by the names and definitions of ISO/IEC 19795.

use std::fmt;

use crate::{EerMethod, Error, FarPoint, OperatingPoint, RocCurve};
use serde::{Deserialize, Serialize};
use statrs::function::erf::erf_inv;

/// The standard's names. What this crate calls FAR and FRR are rates of comparisons, the standard's FMR and FNMR; the
/// standard's own FAR and FRR are of transactions and count failures to acquire, see [`Failures`].
impl OperatingPoint {
    /// False match rate, the share of non-matching comparisons that are accepted: [`far`](Self::far).
    ///
    /// # References
    /// ISO/IEC 19795-1:2021, false match rate.
    #[must_use]
    pub fn fmr(&self) -> f64 {
        self.far()
    }

    /// False non-match rate, the share of matching comparisons that are rejected: [`frr`](Self::frr).
    ///
    /// # References
    /// ISO/IEC 19795-1:2021, false non-match rate.
    #[must_use]
    pub fn fnmr(&self) -> f64 {
        self.frr()
    }

    /// Half total error rate, `(FAR + FRR)/2`, a fraction: where both errors weigh the same, whatever the mixture of pairs.
    ///
    /// # References
    /// S. Bengio, J. Mariéthoz, *A statistical significance test for person authentication*, Odyssey 2004.
    #[must_use]
    pub fn hter(&self) -> f64 {
        let (far, frr) = self.scaled_errors();
        let couples = u128::from(self.matching) * u128::from(self.non_matching);
        (far + frr) as f64 / (2 * couples) as f64
    }
}

/// Samples of which no embedding came, counted before any comparison.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::{Failures, PairScores};
///
/// let failures = Failures { enrollments: 100, not_enrolled: 2, acquisitions: 200, not_acquired: 10 };
/// let roc = PairScores::new(vec![0.9, 0.8, 0.3, 0.1], vec![true, true, false, true])?.roc();
/// let rates = failures.rates(&roc.at_far(0.0)?.point)?;
/// assert_eq!((rates.fte, rates.fta), (0.02, 0.05));
/// assert!((rates.frr - (0.05 + 0.95 / 3.0)).abs() < 1e-12);
/// assert!((rates.gfrr - (0.02 + 0.98 * rates.frr)).abs() < 1e-12);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failures {
    /// Samples that were to be enrolled.
    pub enrollments: u64,
    /// Those of them that could not be.
    pub not_enrolled: u64,
    /// Samples that were to be compared with an enrolled one.
    pub acquisitions: u64,
    /// Those of them that could not be.
    pub not_acquired: u64,
}

/// Rates of transactions, failures included; fractions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TransactionRates {
    /// Failure-to-enroll rate.
    pub fte: f64,
    /// Failure-to-acquire rate.
    pub fta: f64,
    /// False accept rate of transactions, which a sample that was not acquired cannot be.
    pub far: f64,
    /// False reject rate of transactions: a sample that was not acquired is rejected.
    pub frr: f64,
    /// Generalized false accept rate, failures to enroll counted as well.
    pub gfar: f64,
    /// Generalized false reject rate: whoever could not enroll is rejected.
    pub gfrr: f64,
}

impl Failures {
    /// The rates of transactions at the threshold of a point.
    ///
    /// # Formula
    /// ```text
    /// FTE  = not enrolled / enrollments          FTA  = not acquired / acquisitions
    /// FAR  = FMR·(1 − FTA)                       FRR  = FTA + FNMR·(1 − FTA)
    /// GFAR = FMR·(1 − FTA)·(1 − FTE)             GFRR = FTE + (1 − FTE)·FTA + (1 − FTE)·(1 − FTA)·FNMR
    /// ```
    /// for one attempt a transaction, failures of which are independent of the comparison that would have come.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no enrollments or acquisitions, or more failures than those.
    ///
    /// # References
    /// ISO/IEC 19795-1:2006, 8.3.2 and 8.4.
    pub fn rates(&self, point: &OperatingPoint) -> Result<TransactionRates, Error> {
        let rate = |field, failed: u64, all_field, all: u64| {
            if all == 0 {
                return Err(Error::config(all_field, "at least 1", all));
            }
            if failed > all {
                return Err(Error::config(field, format!("at most {all}"), failed));
            }
            Ok(failed as f64 / all as f64)
        };
        let fte = rate("not_enrolled", self.not_enrolled, "enrollments", self.enrollments)?;
        let fta = rate("not_acquired", self.not_acquired, "acquisitions", self.acquisitions)?;
        let far = point.fmr() * (1.0 - fta);
        let frr = fta + point.fnmr() * (1.0 - fta);
        Ok(TransactionRates { fte, fta, far, frr, gfar: far * (1.0 - fte), gfrr: fte + (1.0 - fte) * frr })
    }
}

/// A point of a detection error tradeoff, on axes on which normal scores make a straight line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DetPoint {
    /// `Φ⁻¹(FMR)`, in standard deviations.
    pub fmr_deviate: f64,
    /// `Φ⁻¹(FNMR)`.
    pub fnmr_deviate: f64,
    /// The counts.
    pub point: OperatingPoint,
}

/// The normal deviate of a rate, `Φ⁻¹`, in standard deviations; infinite for 0 and 1.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::normal_deviate;
///
/// assert_eq!(normal_deviate(0.5), 0.0);
/// assert!((normal_deviate(0.975) - 1.959964).abs() < 1e-6);
/// ```
#[must_use]
pub fn normal_deviate(rate: f64) -> f64 {
    std::f64::consts::SQRT_2 * erf_inv(2.0 * rate - 1.0)
}

impl RocCurve {
    /// The detection error tradeoff on normal-deviate axes: every point but those of a rate of 0 or 1, which have no place
    /// there.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_metrics::PairScores;
    ///
    /// let roc = PairScores::new(vec![0.9, 0.7, 0.6, 0.2], vec![true, false, true, false])?.roc();
    /// let det = roc.det();
    /// assert_eq!(det.len(), 1);
    /// assert_eq!((det[0].fmr_deviate, det[0].fnmr_deviate), (0.0, 0.0)); // a half of both
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    ///
    /// # References
    /// A. Martin et al., *The DET curve in assessment of detection task performance*, Eurospeech 1997; ISO/IEC 19795-1.
    #[must_use]
    pub fn det(&self) -> Vec<DetPoint> {
        let inside =
            |point: &&OperatingPoint| [point.fmr(), point.fnmr()].iter().all(|rate| 0.0 < *rate && *rate < 1.0);
        let place = |&point: &OperatingPoint| DetPoint {
            fmr_deviate: normal_deviate(point.fmr()),
            fnmr_deviate: normal_deviate(point.fnmr()),
            point,
        };
        self.points().iter().filter(inside).map(place).collect()
    }

    /// The decidability index d′: the distance of both kinds' means in units of their spread.
    ///
    /// # Formula
    /// ```text
    /// d′ = |mean⁺ − mean⁻| / √((var⁺ + var⁻)/2)
    /// ```
    /// with the variances of the scores at hand, divided by their number.
    ///
    /// # Errors
    /// [`Error::Config`] if all scores of each kind are one, so that there is no spread.
    ///
    /// # References
    /// J. Daugman, *Biometric decision landscapes*, University of Cambridge, Technical Report 482, 2000.
    #[doc(alias = "d-prime")]
    pub fn decidability(&self) -> Result<f64, Error> {
        let moments = |count: fn(&OperatingPoint) -> u64| {
            let steps =
                || self.points().windows(2).map(|ends| (ends[1].threshold, (count(&ends[1]) - count(&ends[0])) as f64));
            let all: f64 = steps().map(|(_, pairs)| pairs).sum();
            let mean = steps().map(|(score, pairs)| score * pairs).sum::<f64>() / all;
            (mean, steps().map(|(score, pairs)| (score - mean).powi(2) * pairs).sum::<f64>() / all)
        };
        let (matching, non_matching) = (moments(|point| point.true_accepts), moments(|point| point.false_accepts));
        let spread = ((matching.1 + non_matching.1) / 2.0).sqrt();
        if spread > 0.0 {
            return Ok((matching.0 - non_matching.0).abs() / spread);
        }
        Err(Error::config("scores", "some that differ within a kind", "one score of each"))
    }
}

/// The figures that reports by the standard have, each with its definition where it is printed.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::{PairScores, StandardFigures};
///
/// let scores = (0..400).map(|i| f64::from(i) / 400.0).collect();
/// let same = (0..400).map(|i| i >= 200 || i % 100 == 7).collect();
/// let figures = StandardFigures::of(&PairScores::new(scores, same)?.roc())?;
/// assert_eq!(figures.fmr100.point.fnmr(), 2.0 / 202.0);
/// assert_eq!(figures.zero_fmr.fnmr(), 2.0 / 202.0);
/// assert!(figures.to_string().lines().any(|line| line.starts_with("FMR10000  below resolution")));
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandardFigures {
    /// The lowest FNMR with an FMR of at most 1 in 100.
    pub fmr100: FarPoint,
    /// With at most 1 in 1,000.
    pub fmr1000: FarPoint,
    /// With at most 1 in 10,000.
    pub fmr10000: FarPoint,
    /// The lowest FNMR without a false match.
    pub zero_fmr: OperatingPoint,
    /// The lowest FMR without a false non-match.
    pub zero_fnmr: OperatingPoint,
    /// Equal error rate, by [`EerMethod::Linear`].
    pub eer: f64,
    /// The same, by [`EerMethod::SmallestSum`].
    pub eer_fvc: f64,
    /// d′, see [`RocCurve::decidability`]; `None` where it is undefined.
    pub decidability: Option<f64>,
}

impl StandardFigures {
    /// Reads them off a curve.
    ///
    /// # Errors
    /// None that a curve can cause; whatever [`RocCurve::at_far`] may refuse.
    ///
    /// # References
    /// D. Maio et al., *FVC2000: Fingerprint Verification Competition*, IEEE Transactions on Pattern Analysis and Machine
    /// Intelligence 24, 2002: FMR100, FMR1000, ZeroFMR, ZeroFNMR.
    pub fn of(roc: &RocCurve) -> Result<Self, Error> {
        let points = roc.points();
        let all_accepted = points.partition_point(|point| point.true_accepts < point.matching);
        Ok(Self {
            fmr100: roc.at_far(1e-2)?,
            fmr1000: roc.at_far(1e-3)?,
            fmr10000: roc.at_far(1e-4)?,
            zero_fmr: roc.at_far(0.0)?.point,
            zero_fnmr: points[all_accepted],
            eer: roc.eer(EerMethod::Linear),
            eer_fvc: roc.eer(EerMethod::SmallestSum),
            decidability: roc.decidability().ok(),
        })
    }
}

/// One figure a line: name, value, definition.
impl fmt::Display for StandardFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fnmr = |at: &FarPoint| match at.resolvable {
            true => format!("{:.5}", at.point.fnmr()),
            false => "below resolution".to_owned(),
        };
        let lines = [
            ("FMR100", fnmr(&self.fmr100), "lowest FNMR with FMR <= 1/100 (FVC2000)"),
            ("FMR1000", fnmr(&self.fmr1000), "lowest FNMR with FMR <= 1/1000 (FVC2000)"),
            ("FMR10000", fnmr(&self.fmr10000), "lowest FNMR with FMR <= 1/10000 (FVC)"),
            ("ZeroFMR", format!("{:.5}", self.zero_fmr.fnmr()), "lowest FNMR without a false match (FVC2000)"),
            ("ZeroFNMR", format!("{:.5}", self.zero_fnmr.fmr()), "lowest FMR without a false non-match (FVC2000)"),
            ("EER", format!("{:.5}", self.eer), "FMR = FNMR between points of the curve, linearly"),
            (
                "EER (FVC)",
                format!("{:.5}", self.eer_fvc),
                "mean of FMR and FNMR beside the crossing, smallest sum (FVC2000)",
            ),
            (
                "d'",
                self.decidability.map_or_else(|| "undefined".to_owned(), |d| format!("{d:.4}")),
                "distance of the means over the root mean variance (Daugman)",
            ),
        ];
        let width = lines.iter().map(|(_, value, _)| value.len()).max().unwrap_or_default();
        for (number, (name, value, definition)) in lines.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{name:9} {value:width$}  {definition}")?;
        }
        Ok(())
    }
}
