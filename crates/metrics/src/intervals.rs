//! Intervals in closed form, for pairs that share classes.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::classes::ClassCounts;
use crate::confidence::{Interval, require_level};
use crate::pairs::PairCounts;
use crate::roc::{Curve, EerMethod, OperatingPoint};
use crate::shares::{Shares, interval, trials};

/// A figure, its interval, and what the interval was made of.
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
}

/// Every figure of a curve with an interval, from counts by class: nothing is drawn, and no pair is held.
///
/// # Formula
/// A figure θ is, near the data, a weighted sum of the rates at the cuts: `dθ = Σ a[k]·dTAR[k] + b[k]·dFAR[k]`. A TAR or a
/// FAR is one of them. A TAR at a FAR has `a = 1`, `b = −dTAR/dFAR`, by which the error of the threshold is taken in; the
/// EER has `a = −1/(1 + s)`, `b = s/(1 + s)` with `s = dTAR/dFAR`; the AUC has the trapezoid rule. What class `i` adds to
/// θ, from its `m` matching pairs and its `n` with others, of which `t` and `f` are accepted:
/// ```text
/// u[i]   = Σ a[k]·(t[i,k] − TAR[k]·m[i]) / M          g[i] = m[i]/M       M, N: pairs in all
/// z[i,j] = Σ b[k]·(f[i,j,k] − FAR[k]·n[i,j]) / N      h[i] = n[i]/N
/// U[i]   = u[i]/(1 − g[i])                            Z[i] = Σ_j z[i,j]/(1 − h[i])
/// Var    = Σ_i (√c·U[i] + √d·Z[i])² − d·Σ_{i<j} z[i,j]² / ((1 − h[i])·(1 − h[j]))
/// ```
/// and at least what it would be if pairs of classes were independent, `Σ c·U² + Σ z²`. `u/(1 − g)` is what leaving the
/// class out moves the figure by, so that this is a jackknife over classes, less what it counts twice because a pair has
/// two of them. `c` and `d` make it unbiased where classes differ at random: `c = (C−1)/C` and
/// `d = (C−1)(C−2)/(C(C−3))` for C classes of one size, so that `C/(C−1)` corrects the matching part and
/// `C(C−1)/((C−2)(C−3))` the other. For other sizes `c` is the quotient of both sides' expectation where a class varies in
/// proportion to its pairs; the degrees of freedom of Student's `t` are those of a quadratic form in such classes, `C − 1`
/// for one size. The interval is Wilson's with `n = θ(1 − θ)/Var` trials and `t` for `z`:
/// ```text
/// (θ + t²/2n ± t·√(θ(1−θ)/n + t²/4n²)) / (1 + t²/n)
/// ```
/// Between two cuts `n` is interpolated, in its logarithm; where a rate is 0 or 1, or does not vary, it is that of the
/// nearest cut where it does, and if there is none as many as there are classes.
///
/// # How well they hold
/// Share of 2,000 intervals at 90 % that held the truth, and mean width over that of the interval that holds nine of ten
/// estimates; classes of random spread, four embeddings each but where it says otherwise, TAR and FAR at a cosine of 0.6.
/// `cargo run --release --package soft-lmccl-metrics --example coverage` prints it:
///
#[doc = include_str!("coverage.md")]
///
/// Where one class outweighs the rest, a figure is nearly that of one class, which no formula can mend: the intervals are
/// wide and say so. Where classes differ in their FAR a lot and are few, the FAR of a dozen classes is skewed, and its
/// intervals hold less than they say.
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
    counts: &'a ClassCounts,
    level: f64,
    matching: Shares,
    non_matching: Shares,
    /// What the pairs of two followed classes stand for.
    pairs: Vec<(usize, usize)>,
}

/// A weight of the TAR and one of the FAR at a cut.
#[derive(Debug, Clone, Copy)]
struct Weight {
    cut: usize,
    tar: f64,
    far: f64,
}

impl<'a, C: Curve> Intervals<'a, C> {
    /// Intervals at this level, such as 0.95.
    ///
    /// # Errors
    /// [`Error::Config`] if `level` is not strictly between 0 and 1, or `counts` are not of the curve's pairs.
    pub fn new(curve: &'a C, counts: &'a ClassCounts, level: f64) -> Result<Self, Error> {
        require_level(level)?;
        let classes = &counts.classes;
        if classes.counts() != curve.counts() {
            let expected = format!("those of the curve's pairs ({:?})", curve.counts());
            return Err(Error::config("counts", expected, format!("{:?}", classes.counts())));
        }
        Ok(Self {
            curve,
            counts,
            level,
            matching: Shares::of_one(&classes.matching),
            non_matching: Shares::of_two(&classes.non_matching),
            pairs: classes.followed_pairs().collect(),
        })
    }

    /// How many pairs there are of each kind.
    #[must_use]
    pub fn counts(&self) -> PairCounts {
        self.curve.counts()
    }

    /// The share of matching pairs that are accepted at a threshold.
    ///
    /// # Errors
    /// [`Error::Config`] if fewer than two classes have matching pairs.
    pub fn tar(&self, threshold: f64) -> Result<ClassEstimate, Error> {
        let point = self.curve.at_threshold(threshold);
        self.require_matching()?;
        let trials = self.trials_at(threshold, |cut| (self.at(cut).tar(), vec![Weight { cut, tar: 1.0, far: 0.0 }]));
        self.estimate(point.tar(), trials.map(|n| n.min(self.matching.pairs)), true, false)
    }

    /// The share of matching pairs that are rejected at a threshold: what is left of [`tar`](Self::tar), bounds included.
    ///
    /// # Errors
    /// As [`tar`](Self::tar).
    pub fn frr(&self, threshold: f64) -> Result<ClassEstimate, Error> {
        let ClassEstimate { interval: Interval { low, high, level }, trials, degrees_of_freedom, .. } =
            self.tar(threshold)?;
        Ok(ClassEstimate {
            value: self.curve.at_threshold(threshold).frr(),
            interval: Interval { low: 1.0 - high, high: 1.0 - low, level },
            trials,
            degrees_of_freedom,
        })
    }

    /// The share of non-matching pairs that are accepted at a threshold.
    ///
    /// # Errors
    /// [`Error::Config`] if there are fewer than four classes, or one takes part in every non-matching pair.
    pub fn far(&self, threshold: f64) -> Result<ClassEstimate, Error> {
        let point = self.curve.at_threshold(threshold);
        self.require_non_matching()?;
        let trials = self.trials_at(threshold, |cut| (self.at(cut).far(), vec![Weight { cut, tar: 0.0, far: 1.0 }]));
        self.estimate(point.far(), trials.map(|n| n.min(self.non_matching.pairs)), false, true)
    }

    /// The TAR at a target FAR, as [`Curve::at_far`]: that the threshold is chosen on the same pairs, and would be another
    /// on others, is taken in.
    ///
    /// # Errors
    /// [`Error::Rate`] if the target is not a rate; [`Error::Config`] if it is below what the pairs resolve,
    /// if they tell of no slope there, and as [`tar`](Self::tar) and [`far`](Self::far).
    pub fn tar_at_far(&self, target_far: f64) -> Result<ClassEstimate, Error> {
        let at = self.curve.at_far(target_far)?;
        self.require_matching()?;
        self.require_non_matching()?;
        if !at.resolvable {
            return Err(Error::config(
                "target_far",
                format!("at least 1 in {} non-matching pairs", at.point.non_matching),
                target_far,
            ));
        }
        let slope = self.slope(target_far)?;
        let weights = |cut| vec![Weight { cut, tar: 1.0, far: -slope }];
        let trials = self.trials_at(at.point.threshold, |cut| (self.at(cut).tar(), weights(cut)));
        self.estimate(at.point.tar(), trials.map(|n| n.min(self.matching.pairs)), true, true)
    }

    /// The equal error rate, as [`Curve::eer`].
    ///
    /// # Errors
    /// [`Error::Config`] as [`tar`](Self::tar) and [`far`](Self::far), and if the pairs tell of no slope there.
    pub fn eer(&self, method: EerMethod) -> Result<ClassEstimate, Error> {
        let (value, point) = (self.curve.eer(method), self.curve.eer_point());
        self.require_matching()?;
        self.require_non_matching()?;
        if point.far() <= 0.0 || value <= 0.0 || value >= 1.0 {
            return self.estimate(value, None, true, true);
        }
        let slope = self.slope(point.far())?;
        let (tar, far) = (-1.0 / (1.0 + slope), slope / (1.0 + slope));
        let trials = self.trials_at(point.threshold, |cut| (value, vec![Weight { cut, tar, far }]));
        self.estimate(value, trials, true, true)
    }

    /// The area under the curve, as [`Curve::auc`].
    ///
    /// # Errors
    /// [`Error::Config`] as [`tar`](Self::tar) and [`far`](Self::far), and if the cuts leave more than a fifth of
    /// the square in which the curve runs open, so that they do not say how the area varies.
    pub fn auc(&self) -> Result<ClassEstimate, Error> {
        self.require_matching()?;
        self.require_non_matching()?;
        let value = self.curve.auc();
        let rates = |cut| (self.at(cut).far(), self.at(cut).tar());
        let mut points = vec![(0.0, 0.0)];
        points.extend((0..self.counts.cuts().len()).map(rates));
        points.push((1.0, 1.0));
        let open: f64 = points.windows(2).map(|ends| (ends[1].0 - ends[0].0) * (ends[1].1 - ends[0].1)).sum();
        if open > 0.2 {
            let expected = "enough of them to leave at most 0.2 of the square of both rates open";
            return Err(Error::config("cuts", expected, format!("{} that leave {open:.3}", self.counts.cuts().len())));
        }
        let weights: Vec<Weight> = (points.windows(3).enumerate())
            .map(|(cut, near)| Weight { cut, tar: (near[2].0 - near[0].0) / 2.0, far: -(near[2].1 - near[0].1) / 2.0 })
            .collect();
        let trials = trials(value, self.variance(&weights));
        self.estimate(value, trials, true, true)
    }

    /// Counts at a cut, all classes together.
    fn at(&self, cut: usize) -> OperatingPoint {
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

    /// Independent trials that tell as much as the counts at a threshold do; `None` if nothing varies at any cut.
    ///
    /// * `figure`: what is asked at a cut, and its weights there
    fn trials_at(&self, threshold: f64, figure: impl Fn(usize) -> (f64, Vec<Weight>)) -> Option<f64> {
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
    fn variance(&self, weights: &[Weight]) -> f64 {
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
    fn estimate(
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

    fn require_matching(&self) -> Result<(), Error> {
        require_classes("at least 2 with matching pairs", self.matching.classes, 2)
    }

    fn require_non_matching(&self) -> Result<(), Error> {
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
