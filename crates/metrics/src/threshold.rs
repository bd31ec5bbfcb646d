//! A threshold to ship: fitted on one set, saved with its origin, applied to others.

use std::path::Path;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    Curve, Error, OperatingPoint, Result,
    confidence::Interval,
    embeddings::cosine,
    error::{load_json, save_json},
    grid::{is_on_grid, lowest_rounded_to},
    intervals::Intervals,
    pairs::{PairCounts, PairScores},
    roc::require_rate,
};

/// The aim of fitting a [`VerificationThreshold`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ThresholdRule {
    /// The largest TAR with a FAR of at most this, see [`RocCurve::at_far`](super::RocCurve::at_far).
    AtFar {
        /// The false accept rate that must not be passed.
        target_far: f64,
    },
    /// Errors of both kinds equally frequent, see [`RocCurve::eer_point`](super::RocCurve::eer_point).
    EqualErrors,
    /// The most pairs judged right, for a mixture of pairs as in fitting, see
    /// [`RocCurve::best_accuracy`](super::RocCurve::best_accuracy).
    Accuracy,
}

/// One comparison of two embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Verdict {
    /// Their cosine.
    pub score: f64,
    /// Whether the score reaches the threshold, see [`VerificationThreshold::accepts`]: taken as one class.
    pub accepted: bool,
}

/// A threshold on the cosine of two embeddings, and how it came about.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::{PairScores, ThresholdRule, VerificationThreshold};
///
/// let validation = PairScores::new(vec![0.9, 0.7, 0.6, 0.2, 0.1], vec![true, true, false, true, false])?;
/// let threshold = VerificationThreshold::fit(&validation, ThresholdRule::AtFar { target_far: 0.0 })?;
/// assert_eq!(threshold.value(), 0.7);
/// assert!(threshold.verify(&[3.0, 1.0], &[2.0, 1.0])?.accepted);
/// assert!(!threshold.verify(&[3.0, 1.0], &[-1.0, 3.0])?.accepted);
///
/// // On other data it attains other rates.
/// let test = PairScores::new(vec![0.8, 0.75, 0.3], vec![true, false, false])?;
/// assert_eq!(threshold.rates_on(&test).far(), 0.5);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SavedThreshold", into = "SavedThreshold")]
pub struct VerificationThreshold {
    rule: ThresholdRule,
    fitted: OperatingPoint,
    on_grid: bool,
    fitted_on: Option<FittedOn>,
}

/// The data and the day of fitting a threshold, and how far to trust it: to be read before use elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedOn {
    /// The data, in the caller's words: a file, a data set and its version.
    pub data: String,
    /// The day, by UTC, as in 2026-12-01.
    pub date: String,
    /// Classes in the data.
    pub classes: u64,
    /// Interval of the TAR. With a target FAR it includes the threshold's own error, see [`Intervals::tar_at_far`].
    pub tar: Option<Interval>,
    /// Interval of the FAR at this threshold, see [`Intervals::far`].
    pub far: Option<Interval>,
}

impl FittedOn {
    fn checked(self, fitted: &OperatingPoint) -> Result<Self, String> {
        for (field, interval, rate) in [("tar", self.tar, fitted.tar()), ("far", self.far, fitted.far())] {
            let Some(Interval { low, high, level }) = interval else { continue };
            if !(0.0 <= low && low <= rate && rate <= high && high <= 1.0 && 0.0 < level && level < 1.0) {
                return Err(format!("the interval of `{field}` must hold {rate}, got {low} to {high} at {level}"));
            }
        }
        Ok(self)
    }
}

impl VerificationThreshold {
    /// Chooses the threshold on pairs that it will not be judged on.
    ///
    /// A `target_far` below `1 / non_matching` gives the threshold of no false accept on these pairs.
    /// [`is_resolvable`](Self::is_resolvable) then says that the target was not measured.
    ///
    /// # Errors
    /// * [`Error::Rate`] if a target FAR is NaN or outside `[0, 1]`
    /// * [`Error::NoThreshold`] if accepting nothing keeps the rule best
    pub fn fit(pairs: &PairScores, rule: ThresholdRule) -> Result<Self, Error> {
        Self::fit_curve(&pairs.roc(), rule)
    }

    /// As [`fit`](Self::fit), on a given curve, even of billions of pairs.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    ///
    /// # Examples
    /// ```
    /// use ndarray::array;
    /// use soft_lmccl_metrics::{EmbeddingSet, ThresholdRule, VerificationThreshold};
    /// use soft_lmccl_metrics::verify::AllPairs;
    ///
    /// let set = EmbeddingSet::new(array![[1.0f32, 0.1], [2.0, -0.1], [0.1, 3.0], [-0.2, 1.0]].view(), &[7, 7, 4, 4])?;
    /// let histogram = AllPairs::default().count(&set)?;
    /// let threshold = VerificationThreshold::fit_curve(&histogram, ThresholdRule::Accuracy)?;
    /// assert_eq!(threshold.rates_of(&histogram).accuracy(), 1.0);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn fit_curve(curve: &impl Curve, rule: ThresholdRule) -> Result<Self, Error> {
        let (fitted, reason) = match rule {
            ThresholdRule::AtFar { target_far } => (
                curve.at_far(target_far)?.point,
                "more non-matching pairs than the target FAR allows share the highest score",
            ),
            ThresholdRule::EqualErrors => {
                (curve.eer_point(), "errors of both kinds are nearest to equal where nothing is accepted")
            }
            ThresholdRule::Accuracy => {
                (curve.best_accuracy(), "no threshold judges more pairs right than accepting nothing")
            }
        };
        if fitted.threshold.is_finite() {
            Ok(Self { rule, fitted, on_grid: curve.on_grid(), fitted_on: None })
        } else {
            Err(Error::NoThreshold { reason })
        }
    }

    /// Notes the data, the day and the intervals of the rates, to be saved with the threshold.
    ///
    /// * `data`: the fitted data, in words that will be understood later
    /// * `intervals`: the intervals of the fitted curve
    ///
    /// # Errors
    /// [`Error::Config`] if the intervals are of other pairs.
    ///
    /// # Examples
    /// ```
    /// use ndarray::Array2;
    /// use soft_lmccl_metrics::{Intervals, EmbeddingSet, ThresholdRule, VerificationThreshold};
    /// use soft_lmccl_metrics::verify::{AllPairs, ClassCuts};
    ///
    /// let embeddings = Array2::from_shape_fn((40, 5), |(row, column)| {
    ///     if row % 5 == column { 1.0 } else { (row * (column + 3) % 7) as f32 / 5.0 }
    /// });
    /// let labels: Vec<i64> = (0..40).map(|row| row % 5).collect();
    /// let set = EmbeddingSet::new(embeddings.view(), &labels)?;
    /// let counted = AllPairs::default().count_by_class(&set, &ClassCuts::default())?;
    ///
    /// let intervals = Intervals::new(&counted.histogram, &counted.classes, 0.95)?;
    /// let threshold = VerificationThreshold::fit_curve(&counted.histogram, ThresholdRule::AtFar { target_far: 0.1 })?
    ///     .noting("validation classes of run 7", &intervals)?;
    /// let on = threshold.fitted_on().expect("noted");
    /// assert_eq!((on.data.as_str(), on.classes), ("validation classes of run 7", 5));
    /// assert!(on.tar.is_some_and(|interval| interval.contains(threshold.fitted().tar())));
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn noting(mut self, data: impl Into<String>, intervals: &Intervals<'_, impl Curve>) -> Result<Self, Error> {
        let OperatingPoint { matching, non_matching, .. } = self.fitted;
        if intervals.counts() != (PairCounts { matching, non_matching }) {
            let expected = format!("those of {matching} matching and {non_matching} non-matching pairs");
            return Err(Error::config("intervals", expected, format!("{:?}", intervals.counts())));
        }
        let tar = match self.rule {
            ThresholdRule::AtFar { target_far } => intervals.tar_at_far(target_far),
            ThresholdRule::EqualErrors | ThresholdRule::Accuracy => intervals.tar(self.value()),
        };
        let far = intervals.far(self.value());
        self.fitted_on = Some(FittedOn {
            data: data.into(),
            date: OffsetDateTime::now_utc().date().to_string(),
            classes: intervals.classes() as u64,
            tar: tar.ok().map(|tar| tar.interval),
            far: far.ok().map(|far| far.interval),
        });
        Ok(self)
    }

    /// The data it was fitted on, if [noted](Self::noting).
    #[must_use]
    pub fn fitted_on(&self) -> Option<&FittedOn> {
        self.fitted_on.as_ref()
    }

    /// The lowest accepted score; a rounded score, if fitted on [rounded scores](Self::on_grid).
    #[must_use]
    pub fn value(&self) -> f64 {
        self.fitted.threshold
    }

    /// Whether it was fitted on scores rounded to the grid of a [`ScoreHistogram`](super::ScoreHistogram).
    ///
    /// If so, any other score is rounded in the same way before it is compared. The pairs of the fit are then judged
    /// as they were there, with one exception: a cosine summed in another order may round to the neighboring step
    /// (see [`verify`](crate::verify)). With random embeddings, [`verify`](Self::verify) and
    /// [`rates_on`](Self::rates_on) judge one pair differently for one threshold in twenty.
    #[must_use]
    pub fn on_grid(&self) -> bool {
        self.on_grid
    }

    /// The lowest score that is accepted, before rounding.
    fn lowest(&self) -> f64 {
        if self.on_grid { lowest_rounded_to(self.value()) } else { self.value() }
    }

    /// The aim of fitting.
    #[must_use]
    pub fn rule(&self) -> ThresholdRule {
        self.rule
    }

    /// The counts, hence the rates, on the fitted pairs.
    #[must_use]
    pub fn fitted(&self) -> OperatingPoint {
        self.fitted
    }

    /// False if it was fitted at a FAR below `1 / non_matching`, too low for those pairs to measure.
    #[must_use]
    pub fn is_resolvable(&self) -> bool {
        match self.rule {
            ThresholdRule::AtFar { target_far } => 1.0 / self.fitted.non_matching as f64 <= target_far,
            ThresholdRule::EqualErrors | ThresholdRule::Accuracy => true,
        }
    }

    /// Whether a score is accepted, rounded first if the threshold is [on the grid](Self::on_grid).
    #[must_use]
    pub fn accepts(&self, score: f64) -> bool {
        score >= self.lowest()
    }

    /// Compares two embeddings of any length by the score of [`EmbeddingSet`](super::EmbeddingSet).
    ///
    /// # Errors
    /// [`Error::Dimension`] if they differ in dimension; [`Error::EmbeddingNotFinite`] or [`Error::ZeroEmbedding`]
    /// for an embedding without a direction: 0 is the first, 1 the second.
    pub fn verify(&self, a: &[f32], b: &[f32]) -> Result<Verdict, Error> {
        let score = cosine(a, b)?;
        Ok(Verdict { score, accepted: self.accepts(score) })
    }

    /// The rates that this threshold attains on other pairs.
    #[must_use]
    pub fn rates_on(&self, pairs: &PairScores) -> OperatingPoint {
        let mut point = OperatingPoint::nothing_accepted(pairs.counts());
        for (_, same) in pairs.iter().filter(|(score, _)| self.accepts(*score)) {
            point.accept(self.value(), same, 1);
        }
        OperatingPoint { threshold: self.value(), ..point }
    }

    /// The rates that this threshold attains on other pairs, given as a curve.
    #[must_use]
    pub fn rates_of(&self, curve: &impl Curve) -> OperatingPoint {
        OperatingPoint { threshold: self.value(), ..curve.at_threshold(self.lowest()) }
    }

    /// Writes it as JSON, first beside `path` and then in its place: no half file is left.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save_json(path.as_ref(), self)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Format`] if it is no such record, its counts contradict one
    /// another or [`fit`](Self::fit) refuses its rule.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        load_json(path.as_ref())
    }
}

/// The file: every field that a reader needs to judge the threshold.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedThreshold {
    threshold: f64,
    rule: ThresholdRule,
    /// Missing in files from before the grid.
    #[serde(default)]
    on_grid: bool,
    resolvable: bool,
    tar: f64,
    far: f64,
    true_accepts: u64,
    false_accepts: u64,
    matching: u64,
    non_matching: u64,
    /// Missing in files from before intervals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fitted_on: Option<FittedOn>,
}

impl From<VerificationThreshold> for SavedThreshold {
    fn from(threshold: VerificationThreshold) -> Self {
        let fitted = threshold.fitted;
        Self {
            threshold: fitted.threshold,
            rule: threshold.rule,
            on_grid: threshold.on_grid,
            resolvable: threshold.is_resolvable(),
            tar: fitted.tar(),
            far: fitted.far(),
            true_accepts: fitted.true_accepts,
            false_accepts: fitted.false_accepts,
            matching: fitted.matching,
            non_matching: fitted.non_matching,
            fitted_on: threshold.fitted_on,
        }
    }
}

impl TryFrom<SavedThreshold> for VerificationThreshold {
    type Error = String;

    /// Rates and `resolvable` are for people: both are derived again from the counts.
    fn try_from(record: SavedThreshold) -> Result<Self, String> {
        let SavedThreshold {
            threshold,
            rule,
            on_grid,
            true_accepts,
            false_accepts,
            matching,
            non_matching,
            fitted_on,
            ..
        } = record;
        if !threshold.is_finite() {
            return Err(format!("`threshold` must be finite, got {threshold}"));
        }
        if on_grid && !is_on_grid(threshold) {
            return Err(format!("`threshold` must be a multiple of 2^-22 from -1 to 1 if `on_grid`, got {threshold}"));
        }
        if let ThresholdRule::AtFar { target_far } = rule {
            require_rate("target_far", target_far).map_err(|refused| refused.to_string())?;
        }
        let fitted = OperatingPoint { threshold, true_accepts, false_accepts, matching, non_matching }.checked()?;
        let fitted_on = fitted_on.map(|on| on.checked(&fitted)).transpose()?;
        Ok(Self { rule, fitted, on_grid, fitted_on })
    }
}
