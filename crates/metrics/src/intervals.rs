//! Intervals in closed form, for pairs that share classes.

use serde::{Deserialize, Serialize};

use crate::classes::ClassCounts;
use crate::confidence::{Interval, require_level};
use crate::pairs::PairCounts;
use crate::shares::trials;
use crate::spread::{Spread, Weight};
use crate::{Curve, EerMethod, Error};

/// A figure and its interval, with the number of trials and of degrees of freedom behind the interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassEstimate {
    /// The figure, a fraction, as the curve gives it.
    pub value: f64,
    /// Where it may be on other classes of the same kind.
    pub interval: Interval,
    /// How many independent trials would tell as much: `value·(1 − value) / variance`. Seldom near the number of pairs.
    pub trials: f64,
    /// Degrees of freedom of Student's t: one less than the number of classes where all weigh the same, and down to 1
    /// where one class outweighs all others.
    pub degrees_of_freedom: f64,
}

impl ClassEstimate {
    /// The figure's standard deviation over such sets of classes, `√(value·(1 − value) / trials)`; 0 for a figure of 0
    /// or 1, whose interval says more.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        (self.value * (1.0 - self.value) / self.trials).sqrt()
    }

    /// The same of the share that is left, which is given as its own count has it.
    pub(crate) fn of_the_rest(self, value: f64) -> Self {
        let Interval { low, high, level } = self.interval;
        Self { value, interval: Interval { low: 1.0 - high, high: 1.0 - low, level }, ..self }
    }
}

/// Every figure of a curve with an interval, from counts by class: nothing is drawn, and no pair is held.
///
/// # Formula
/// Near the data a figure θ is a weighted sum of the rates at the cuts: `dθ = Σ a[k]·dTAR[k] + b[k]·dFAR[k]`. The weights
/// depend on the figure:
/// * a TAR or a FAR is one of the rates;
/// * a TAR at a FAR has `a = 1`, `b = −dTAR/dFAR`, which brings in the error of the threshold;
/// * the EER has `a = −1/(1 + s)`, `b = s/(1 + s)` with `s = dTAR/dFAR`;
/// * the AUC has the weights of the trapezoid rule.
///
/// Class `i` has `m` matching pairs, of which `t` are accepted, and `n` pairs with other classes, of which `f` are accepted.
/// The class adds `u` and `z` to θ:
/// ```text
/// u[i]   = Σ a[k]·(t[i,k] − TAR[k]·m[i]) / M          g[i] = m[i]/M       M, N: pairs in all
/// z[i,j] = Σ b[k]·(f[i,j,k] − FAR[k]·n[i,j]) / N      h[i] = n[i]/N
/// U[i]   = u[i]/(1 − g[i])                            Z[i] = Σ_j z[i,j]/(1 − h[i])
/// Var    = Σ_i (√c·U[i] + √d·Z[i])² − d·Σ_{i<j} z[i,j]² / ((1 − h[i])·(1 − h[j]))
/// ```
/// The variance is never taken below `Σ c·U² + Σ z²`, the variance of independent pairs of classes.
///
/// This is a jackknife over classes: leaving class `i` out moves the figure by `u/(1 − g)`. A pair of two classes would count
/// in both, and the last sum takes the second count away. The factors `c` and `d` make the variance unbiased where classes
/// differ at random. For C classes of one size `c = (C−1)/C` and `d = (C−1)(C−2)/(C(C−3))`: the matching part is corrected by
/// `C/(C−1)` and the non-matching part by `C(C−1)/((C−2)(C−3))`. For other sizes `c` comes from the expectation of both sides
/// if a class varies in proportion to its pairs. The degrees of freedom of Student's `t` are the degrees of freedom of a
/// quadratic form in such classes: `C − 1` for classes of one size.
///
/// The interval is Wilson's, with `n = θ(1 − θ)/Var` trials and `t` in the place of `z`:
/// ```text
/// (θ + t²/2n ± t·√(θ(1−θ)/n + t²/4n²)) / (1 + t²/n)
/// ```
/// Between two cuts the logarithm of `n` is interpolated. Where a rate is 0 or 1, or does not vary, `n` is taken from the
/// nearest cut at which the rate varies; if it varies at no cut, `n` is the number of classes.
///
/// # How well they hold
/// The table gives the share of 2,000 intervals at 90 % that held the truth, and their mean width as a multiple of the
/// width that holds nine of ten estimates. Classes have a random spread and four embeddings each unless the row says
/// otherwise; TAR and FAR are taken at a cosine of 0.6.
/// `cargo run --release --package soft-lmccl-metrics --example coverage` prints the table:
///
#[doc = include_str!("coverage.md")]
///
/// If one class outweighs the rest, a figure is nearly the figure of that one class. No formula can mend this, and the
/// intervals are wide. The FAR of few classes that differ a lot in their FAR is skewed: its intervals hold less often than
/// they say.
///
/// # Examples
/// ```
/// use ndarray::Array2;
/// use soft_lmccl_metrics::{EmbeddingSet, EerMethod, Intervals};
/// use soft_lmccl_metrics::verify::{AllPairs, ClassCuts};
///
/// let embeddings = Array2::from_shape_fn((40, 5), |(row, column)| {
///     if row % 5 == column { 1.0 } else { (row * (column + 3) % 7) as f32 / 5.0 }
/// });
/// let labels: Vec<i64> = (0..40).map(|row| row % 5).collect();
/// let set = EmbeddingSet::new(embeddings.view(), &labels)?;
///
/// let counted = AllPairs::default().count_by_class(&set, &ClassCuts::default())?;
/// let intervals = Intervals::new(&counted.histogram, &counted.classes, 0.95)?;
/// let auc = intervals.auc()?;
/// assert_eq!(auc.value, counted.histogram.auc());
/// assert!(auc.interval.contains(auc.value));
/// assert!((auc.degrees_of_freedom - 4.0).abs() < 1e-9);
/// let tar = intervals.tar_at_far(0.1)?;
/// assert!(tar.interval.low < tar.value && tar.value < tar.interval.high);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
///
/// # References
/// R. Fogliato, P. Patil, P. Perona, *Confidence Intervals for Error Rates in 1:1 Matching Tasks*, International Journal
/// of Computer Vision, 2024, [arXiv:2306.01198](https://arxiv.org/abs/2306.01198): the variance and Wilson's form, without
/// `1 − g`, `c`, `d` and t. R. M. Bell, D. F. McCaffrey, *Bias reduction in standard errors for linear regression with
/// multi-stage samples*, Survey Methodology 28, 2002: leaving clusters out, and the degrees of freedom.
#[derive(Debug)]
pub struct Intervals<'a, C> {
    curve: &'a C,
    spread: Spread<'a>,
}

impl<'a, C: Curve> Intervals<'a, C> {
    /// Intervals at this level, such as 0.95.
    ///
    /// # Errors
    /// [`Error::Config`] if `level` is not strictly between 0 and 1, or `counts` are not of the curve's pairs.
    pub fn new(curve: &'a C, counts: &'a ClassCounts, level: f64) -> Result<Self, Error> {
        require_level(level)?;
        if counts.counts() != curve.counts() {
            let expected = format!("those of the curve's pairs ({:?})", curve.counts());
            return Err(Error::config("counts", expected, format!("{:?}", counts.counts())));
        }
        Ok(Self { curve, spread: Spread::new(counts, level) })
    }

    /// How many pairs there are of each kind.
    #[must_use]
    pub fn counts(&self) -> PairCounts {
        self.curve.counts()
    }

    /// How many classes there are.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.spread.classes()
    }

    /// The share of matching pairs that are accepted at a threshold.
    ///
    /// # Errors
    /// [`Error::Config`] if fewer than two classes have matching pairs.
    pub fn tar(&self, threshold: f64) -> Result<ClassEstimate, Error> {
        self.spread.tar(threshold, self.curve.at_threshold(threshold).tar())
    }

    /// The share of matching pairs that are rejected at a threshold: 1 less [`tar`](Self::tar), and so are its bounds.
    ///
    /// # Errors
    /// As [`tar`](Self::tar).
    pub fn frr(&self, threshold: f64) -> Result<ClassEstimate, Error> {
        Ok(self.tar(threshold)?.of_the_rest(self.curve.at_threshold(threshold).frr()))
    }

    /// The share of non-matching pairs that are accepted at a threshold.
    ///
    /// # Errors
    /// [`Error::Config`] if there are fewer than four classes, or one takes part in every non-matching pair.
    pub fn far(&self, threshold: f64) -> Result<ClassEstimate, Error> {
        self.spread.far(threshold, self.curve.at_threshold(threshold).far())
    }

    /// The TAR at a target FAR, as [`Curve::at_far`] gives it. The interval allows for the threshold, which was chosen on the
    /// same pairs and would differ on other pairs.
    ///
    /// # Errors
    /// [`Error::Rate`] if the target is not a rate. [`Error::Config`] if the pairs cannot resolve the target, if the curve has
    /// no slope at the target, and as [`tar`](Self::tar) and [`far`](Self::far).
    pub fn tar_at_far(&self, target_far: f64) -> Result<ClassEstimate, Error> {
        let at = self.curve.at_far(target_far)?;
        self.spread.require_matching()?;
        self.spread.require_non_matching()?;
        if !at.resolvable {
            return Err(Error::config(
                "target_far",
                format!("at least 1 in {} non-matching pairs", at.point.non_matching),
                target_far,
            ));
        }
        let slope = self.slope(target_far)?;
        let weights = |cut| vec![Weight { cut, tar: 1.0, far: -slope }];
        let trials = self.spread.trials_at(at.point.threshold, |cut| (self.spread.at(cut).tar(), weights(cut)));
        self.spread.estimate(at.point.tar(), trials.map(|n| n.min(self.spread.matching.pairs)), true, true)
    }

    /// The equal error rate, as [`Curve::eer`].
    ///
    /// # Errors
    /// [`Error::Config`] as [`tar`](Self::tar) and [`far`](Self::far), and if the pairs tell of no slope there.
    pub fn eer(&self, method: EerMethod) -> Result<ClassEstimate, Error> {
        let (value, point) = (self.curve.eer(method), self.curve.eer_point());
        self.spread.require_matching()?;
        self.spread.require_non_matching()?;
        if point.far() <= 0.0 || value <= 0.0 || value >= 1.0 {
            return self.spread.estimate(value, None, true, true);
        }
        let slope = self.slope(point.far())?;
        let (tar, far) = (-1.0 / (1.0 + slope), slope / (1.0 + slope));
        let trials = self.spread.trials_at(point.threshold, |cut| (value, vec![Weight { cut, tar, far }]));
        self.spread.estimate(value, trials, true, true)
    }

    /// The area under the curve, as [`Curve::auc`].
    ///
    /// # Errors
    /// [`Error::Config`] as [`tar`](Self::tar) and [`far`](Self::far), and if the cuts leave more than a fifth of
    /// the square in which the curve runs open, so that they do not say how the area varies.
    pub fn auc(&self) -> Result<ClassEstimate, Error> {
        self.spread.require_matching()?;
        self.spread.require_non_matching()?;
        let value = self.curve.auc();
        let rates = |cut| (self.spread.at(cut).far(), self.spread.at(cut).tar());
        let mut points = vec![(0.0, 0.0)];
        points.extend((0..self.spread.cuts().len()).map(rates));
        points.push((1.0, 1.0));
        let open: f64 = points.windows(2).map(|ends| (ends[1].0 - ends[0].0) * (ends[1].1 - ends[0].1)).sum();
        if open > 0.2 {
            let expected = "enough of them to leave at most 0.2 of the square of both rates open";
            return Err(Error::config("cuts", expected, format!("{} that leave {open:.3}", self.spread.cuts().len())));
        }
        let weights: Vec<Weight> = (points.windows(3).enumerate())
            .map(|(cut, near)| Weight { cut, tar: (near[2].0 - near[0].0) / 2.0, far: -(near[2].1 - near[0].1) / 2.0 })
            .collect();
        let trials = trials(value, self.spread.variance(&weights));
        self.spread.estimate(value, trials, true, true)
    }

    /// `dTAR/dFAR`, between false accept rates to either side, far enough apart to have some false accepts between them.
    fn slope(&self, far: f64) -> Result<f64, Error> {
        const BETWEEN: u64 = 10;
        for factor in [1.5, 2.25, 3.4, 5.0, 7.6, 11.0] {
            let (low, high) =
                (self.curve.at_far(far / factor)?.point, self.curve.at_far((far * factor).min(1.0))?.point);
            let between = high.false_accepts - low.false_accepts;
            if between >= BETWEEN {
                return Ok((high.tar() - low.tar()) / (high.far() - low.far()));
            }
        }
        Err(Error::config("far", format!("a rate with at least {BETWEEN} false accepts around it"), far))
    }
}
