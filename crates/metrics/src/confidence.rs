//! How far a figure can be trusted: intervals for counts, and for anything read off a curve.

use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::function::erf::erf_inv;

use super::embeddings::EmbeddingSet;
use super::pairs::{PairCounts, PairIndex, PairProtocol};
use super::{Stream, seeded};
use crate::roc::descending;
use crate::{Error, OperatingPoint, RocCurve};

/// A two-sided confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// The share of such intervals that hold the true value: 0.95 for 95 %.
    pub level: f64,
}

impl Interval {
    /// Whether the value lies in the interval, bounds included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The interval between two percentiles of draws, `(1 − level)/2` and `(1 + level)/2`, interpolated linearly
    /// between order statistics (type 7 of Hyndman and Fan).
    ///
    /// # Errors
    /// [`Error::Config`] if `level` is not strictly between 0 and 1, there are no draws, or one is NaN.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_metrics::Interval;
    ///
    /// let interval = Interval::percentile((0..=100).map(f64::from).collect(), 0.9)?;
    /// assert!((interval.low - 5.0).abs() < 1e-9 && (interval.high - 95.0).abs() < 1e-9);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn percentile(mut draws: Vec<f64>, level: f64) -> Result<Self, Error> {
        require_level(level)?;
        if draws.is_empty() || draws.iter().any(|draw| draw.is_nan()) {
            let got = if draws.is_empty() { "none" } else { "NaN" };
            return Err(Error::config("draws", "numbers", got));
        }
        draws.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - level) / 2.0;
        Ok(Self { low: quantile(&draws, tail), high: quantile(&draws, 1.0 - tail), level })
    }
}

/// Wilson's score interval for a share: `successes` of `trials` that are independent.
///
/// Made for small counts: 0 of 50 at 95 % gives 0 to 0.071, not 0 to 0. Pairs that share samples or
/// classes are not independent, and for their rates this interval is too narrow:
/// [`EmbeddingSet::bootstrap`] is the one to quote, this one a lower limit on its width.
///
/// # Formula
/// ```text
/// (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)      p = successes/n, z = Φ⁻¹((1 + level)/2)
/// ```
///
/// # Errors
/// [`Error::Config`] if there are no trials, more successes than trials, or `level` is not
/// strictly between 0 and 1.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::wilson;
///
/// let interval = wilson(0, 50, 0.95)?;
/// assert_eq!(interval.low, 0.0);
/// assert!((interval.high - 0.0713).abs() < 1e-4);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
///
/// # References
/// E. B. Wilson, *Probable inference, the law of succession, and statistical inference*, Journal of
/// the American Statistical Association 22, 1927.
pub fn wilson(successes: u64, trials: u64, level: f64) -> Result<Interval, Error> {
    require_level(level)?;
    if trials == 0 {
        return Err(Error::config("trials", "at least 1", trials));
    }
    if successes > trials {
        return Err(Error::config("successes", format!("at most {trials}, the trials"), successes));
    }
    let z = std::f64::consts::SQRT_2 * erf_inv(level);
    let (low, high) = score_interval(successes as f64 / trials as f64, trials as f64, z);
    Ok(Interval { low, high, level })
}

/// Wilson's form, for any number of trials and any quantile.
pub(super) fn score_interval(share: f64, trials: f64, quantile: f64) -> (f64, f64) {
    let (n, p, z) = (trials, share, quantile);
    let middle = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    // At none and at all of the trials a bound is 0 or 1 exactly, which rounding may miss.
    let low = if p <= 0.0 { 0.0 } else { (middle - half) / scale };
    let high = if p >= 1.0 { 1.0 } else { (middle + half) / scale };
    (low, high)
}

impl OperatingPoint {
    /// [`wilson`] for the TAR at this threshold, as if pairs were independent.
    ///
    /// # Errors
    /// As [`wilson`].
    pub fn tar_interval(&self, level: f64) -> Result<Interval, Error> {
        wilson(self.true_accepts, self.matching, level)
    }

    /// [`wilson`] for the FAR at this threshold, as if pairs were independent.
    ///
    /// # Errors
    /// As [`wilson`].
    pub fn far_interval(&self, level: f64) -> Result<Interval, Error> {
        wilson(self.false_accepts, self.non_matching, level)
    }
}

/// How [`EmbeddingSet::bootstrap`] draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootstrapOptions {
    /// Number of draws. Default 1,000, the usual least for percentile intervals (Efron and Tibshirani,
    /// *An Introduction to the Bootstrap*, 1993).
    pub draws: u32,
    /// Default 0.95.
    pub level: f64,
    /// Default 0; any will do.
    pub seed: u64,
}

impl Default for BootstrapOptions {
    fn default() -> Self {
        Self { draws: 1_000, level: 0.95, seed: 0 }
    }
}

impl BootstrapOptions {
    /// Checks the values without drawing anything.
    ///
    /// # Errors
    /// [`Error::Config`] if `level` is not strictly between 0 and 1, or `draws` are so few that
    /// not one is expected beyond either bound.
    pub fn validate(&self) -> Result<(), Error> {
        require_level(self.level)?;
        // Binary cannot hold a level such as 0.9: its quotient may lie just above a whole number.
        const ROUNDING: f64 = 1e-9;
        let least = (2.0 / (1.0 - self.level) * (1.0 - ROUNDING)).ceil();
        if f64::from(self.draws) < least {
            return Err(Error::config("draws", format!("at least {least} for a level of {}", self.level), self.draws));
        }
        Ok(())
    }
}

/// One figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure on the data as they are.
    pub value: f64,
    /// Where it falls in repeated draws of classes.
    pub interval: Interval,
}

/// What [`EmbeddingSet::bootstrap`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    /// The figures, in the order in which the closure gave them.
    pub estimates: Vec<Estimate>,
    /// Draws that were thrown away and repeated, because they held only matching or only non-matching
    /// pairs: many of them mean that there are too few classes for an interval.
    pub redrawn: u64,
}

/// What [`EmbeddingSet::bootstrap_draws`] drew.
#[derive(Debug, Clone, PartialEq)]
pub struct BootstrapDraws<F> {
    /// The figures on the data as they are.
    pub values: F,
    /// The figures in each draw.
    pub draws: Vec<F>,
    /// As in [`Bootstrap`].
    pub redrawn: u64,
}

impl EmbeddingSet {
    /// Percentile intervals for any figures of the ROC curve, by drawing **classes** anew.
    ///
    /// Pairs share samples and samples share classes, so that neither can be drawn one by one; what is
    /// independent here are the classes. Each draw takes as many classes as there are, with
    /// replacement. Two copies of one class are one class: pairs between them are matching. A pair of
    /// classes drawn `a` and `b` times thus counts `a·b` times, and a matching pair of a class drawn `a`
    /// times `a²` times; no sample is compared with its own copy. The weights are whole numbers, so
    /// that each draw has an exact [`RocCurve`], made in one pass over pairs that are sorted once.
    ///
    /// The intervals lean to the wide side. Measured on simulated classes of random spread, four
    /// embeddings each, the share of 200 intervals at 90 % that held the truth, and how many times as
    /// wide they were as needed:
    ///
    /// | classes | AUC | TAR | FAR | TAR by [`wilson`] |
    /// |---|---|---|---|---|
    /// | 6 | 0.90, 1.2× | 0.91, 1.2× | 0.94, 1.5× | 0.68 |
    /// | 12 | 0.95, 1.3× | 0.96, 1.4× | 0.98, 1.5× | 0.68 |
    /// | 25 | 0.98, 1.5× | 0.97, 1.5× | 1.00, 1.6× | 0.60 |
    ///
    /// Holds 25 bytes a pair, and each thread up to 80 bytes a pair more for the curve of its draw: for 1,000
    /// embeddings 12 MB and 40 MB a thread.
    ///
    /// # Errors
    /// As [`BootstrapOptions::validate`]; [`Error::OneClass`] if the set lacks a kind of pair;
    /// [`Error::Config`] if it has fewer than three classes, since two must be drawn once each and every draw
    /// is the same, if a figure is NaN or if there are not as many in each draw; and whatever `figures` returns, such as [`Error::Stopped`] to stop.
    ///
    /// # Examples
    /// ```
    /// use ndarray::Array2;
    /// use soft_lmccl_metrics::{BootstrapOptions, EerMethod, EmbeddingSet};
    ///
    /// let embeddings = Array2::from_shape_fn((30, 5), |(row, column)| {
    ///     if row % 5 == column { 1.0 } else { (row * (column + 3) % 7) as f32 / 7.0 }
    /// });
    /// let labels: Vec<i64> = (0..30).map(|row| row % 5).collect();
    /// let set = EmbeddingSet::new(embeddings.view(), &labels)?;
    ///
    /// let options = BootstrapOptions { draws: 200, ..Default::default() };
    /// let found = set.bootstrap(&options, |roc| {
    ///     Ok([roc.auc(), roc.eer(EerMethod::Linear), roc.at_far(0.1)?.point.tar()])
    /// })?;
    /// assert_eq!(found.estimates.len(), 3); // any number, in an array or in a `Vec`
    /// assert!(found.estimates.iter().all(|figure| figure.interval.contains(figure.value)));
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    ///
    /// # References
    /// R. M. Bolle, N. K. Ratha, S. Pankanti, *Error analysis of pattern recognition systems: the subsets
    /// bootstrap*, Computer Vision and Image Understanding 93, 2004.
    pub fn bootstrap<F: AsRef<[f64]> + Send>(
        &self,
        options: &BootstrapOptions,
        figures: impl Fn(&RocCurve) -> Result<F, Error> + Sync,
    ) -> Result<Bootstrap, Error> {
        self.require_classes_to_draw()?;
        let BootstrapDraws { values, draws, redrawn } = self.bootstrap_draws(options, figures)?;
        let of_figure = |(figure, &value): (usize, &f64)| {
            let drawn = draws.iter().map(|values| values.as_ref()[figure]).collect();
            Ok(Estimate { value, interval: Interval::percentile(drawn, options.level)? })
        };
        let estimates = values.as_ref().iter().enumerate().map(of_figure).collect::<Result<_, Error>>()?;
        Ok(Bootstrap { estimates, redrawn })
    }

    /// The draws behind [`bootstrap`](Self::bootstrap), for intervals of what several sets have in common.
    ///
    /// Which classes a draw takes depends on the seed, the number of the draw and the sizes of the classes
    /// alone. Two networks that embed the same samples therefore see the same classes in draw `k`, so that
    /// the mean or the difference of their figures has draws of its own: paired, and much narrower for a
    /// difference than two intervals side by side suggest.
    ///
    /// Draws of two classes are all alike; it is left to the caller what to make of them.
    ///
    /// # Errors
    /// As [`bootstrap`](Self::bootstrap), but for the number of classes.
    ///
    /// # Examples
    /// ```
    /// use ndarray::Array2;
    /// use soft_lmccl_metrics::{BootstrapOptions, EmbeddingSet};
    ///
    /// let labels: Vec<i64> = (0..30).map(|row| row % 5).collect();
    /// let embed = |blur: f32| {
    ///     let values = Array2::from_shape_fn((30, 5), |(row, column)| {
    ///         if row % 5 == column { 1.0 } else { blur * (row * (column + 3) % 7) as f32 }
    ///     });
    ///     EmbeddingSet::new(values.view(), &labels)
    /// };
    /// let options = BootstrapOptions { draws: 200, ..Default::default() };
    /// let [sharp, blurred] = [embed(0.1)?, embed(0.2)?].map(|set| set.bootstrap_draws(&options, |roc| Ok([roc.auc()])));
    /// let (sharp, blurred) = (sharp?, blurred?);
    /// let better = sharp.draws.iter().zip(&blurred.draws).filter(|(a, b)| a[0] > b[0]).count();
    /// assert!(sharp.values[0] > blurred.values[0] && better > 190);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn bootstrap_draws<F: AsRef<[f64]> + Send>(
        &self,
        options: &BootstrapOptions,
        figures: impl Fn(&RocCurve) -> Result<F, Error> + Sync,
    ) -> Result<BootstrapDraws<F>, Error> {
        options.validate()?;
        let scores = self.pair_scores(PairProtocol::All)?;
        let values = figures(&scores.roc())?;
        let count = values.as_ref().len();
        require_numbers(count, values.as_ref())?;
        let resampler = Resampler::new(self, scores.scores());
        let (draws, redrawn): (Vec<F>, Vec<u64>) = (0..options.draws)
            .into_par_iter()
            .map(|draw| {
                let (curve, redrawn) = resampler.draw(options.seed, draw);
                let values = figures(&curve)?;
                require_numbers(count, values.as_ref())?;
                Ok((values, redrawn))
            })
            .collect::<Result<Vec<_>, Error>>()?
            .into_iter()
            .unzip();
        Ok(BootstrapDraws { values, draws, redrawn: redrawn.iter().sum() })
    }

    fn require_classes_to_draw(&self) -> Result<(), Error> {
        const LEAST: usize = 3;
        let index = PairIndex::new(self.labels());
        index.counts().require_both()?;
        if index.classes().len() >= LEAST {
            return Ok(());
        }
        Err(Error::config(
            "labels",
            format!("at least {LEAST} classes to draw from, since draws of two are all alike"),
            index.classes().len(),
        ))
    }
}

/// All pairs by score, each with its two classes, so that a draw is one pass.
struct Resampler {
    class_sizes: Vec<u64>,
    ranking: Vec<(f64, [u32; 2])>,
}

impl Resampler {
    /// `scores` are those of all pairs, in the order `i < j`.
    fn new(set: &EmbeddingSet, scores: &[f64]) -> Self {
        let index = PairIndex::new(set.labels());
        let mut class_of = vec![0u32; set.len()];
        for (class, rows) in (0u32..).zip(index.classes()) {
            for &row in rows {
                class_of[row] = class;
            }
        }
        let classes = class_of.iter().enumerate();
        let classes = classes.flat_map(|(i, &a)| class_of[i + 1..].iter().map(move |&b| [a, b]));
        let ranking = descending(scores.iter().copied().zip(classes).collect());
        Self { class_sizes: index.classes().map(|rows| rows.len() as u64).collect(), ranking }
    }

    /// The curve of one draw of classes, and how many draws before it had only one kind of pair.
    fn draw(&self, seed: u64, draw: u32) -> (RocCurve, u64) {
        let mut rng = seeded(seed, Stream::Bootstrap { draw });
        let mut redrawn = 0;
        loop {
            let mut copies = vec![0u64; self.class_sizes.len()];
            for _ in 0..copies.len() {
                copies[rng.random_range(0..self.class_sizes.len())] += 1;
            }
            let counts = self.counts(&copies);
            if counts.require_both().is_ok() {
                let curve = RocCurve::weighted(counts, &self.ranking, |&[a, b]| {
                    (a == b, copies[a as usize] * copies[b as usize])
                });
                return (curve, redrawn);
            }
            // The set has both kinds of pair, so that a draw that has them comes up.
            redrawn += 1;
        }
    }

    fn counts(&self, copies: &[u64]) -> PairCounts {
        let (mut matching, mut non_matching, mut before) = (0, 0, 0);
        for (size, copies) in self.class_sizes.iter().zip(copies) {
            matching += copies * copies * (size * (size - 1) / 2);
            non_matching += before * copies * size;
            before += copies * size;
        }
        PairCounts { matching, non_matching }
    }
}

/// `(n − 1)·q` from the first.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = (sorted.len() - 1) as f64 * q;
    let (below, above) = (position.floor(), position.ceil());
    let (low, high) = (sorted[below as usize], sorted[above as usize]);
    // From an infinite figure there is no way towards another one, nor between two that are the same.
    if low.is_infinite() || below >= above { low } else { low + (high - low) * (position - below) }
}

fn require_numbers(count: usize, figures: &[f64]) -> Result<(), Error> {
    if figures.len() == count && !figures.iter().any(|figure| figure.is_nan()) {
        return Ok(());
    }
    let expected = format!("{count} numbers");
    Err(Error::config("figures", expected, format!("{figures:?}")))
}

pub(crate) fn require_level(level: f64) -> Result<(), Error> {
    if 0.0 < level && level < 1.0 {
        return Ok(());
    }
    Err(Error::config("level", "a share strictly between 0 and 1", level))
}
