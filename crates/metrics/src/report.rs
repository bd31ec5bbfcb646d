//! One run's numbers: a table for people, a record for scripts.

use std::fmt;
use std::ops::ControlFlow;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::classes::ClassCounts;
use super::confidence::{Interval, require_level};
use super::embeddings::EmbeddingSet;
use super::folds::FoldedAccuracy;
use super::intervals::{ClassEstimate, Intervals};
use super::pairs::{PairCounts, PairProtocol, PairScores};
use crate::operating_point::infinity_as_null;
use crate::roc::require_rate;
use crate::verify::{AllPairs, ClassCuts, CountProgress};
use crate::{Curve, EerMethod, Error, FarPoint};

/// The choices of [`VerificationReport::of`].
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::ReportOptions;
///
/// let options: ReportOptions = serde_json::from_str(r#"{"folds": 5}"#)?;
/// assert_eq!(options, ReportOptions { folds: 5, ..Default::default() });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportOptions {
    /// Matching pairs drawn for the accuracy. Default 6,000: 1,000 for each of six classes, as in the first version
    /// of the authors' code. The spread over folds in the paper's tables fits this number.
    pub matching: usize,
    /// Non-matching pairs drawn for the accuracy. Default 12,000, two for each matching pair, as in the paper:
    /// accepting nothing scores 0.667.
    pub non_matching: usize,
    /// Folds of the accuracy. Default 10, as in the paper and in LFW.
    pub folds: usize,
    /// Seed of the drawn pairs and of the folds. Default 0; any will do.
    pub seed: u64,
    /// False accept rates at which the TAR is measured. Default 0.001 and 0.0001, as in the paper.
    pub far_targets: Vec<f64>,
    /// Level of the intervals. Default 0.95.
    pub level: f64,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { matching: 6_000, non_matching: 12_000, folds: 10, seed: 0, far_targets: vec![1e-3, 1e-4], level: 0.95 }
    }
}

impl ReportOptions {
    /// Checks the values; no embeddings are needed.
    ///
    /// # Errors
    /// * [`Error::OneClass`] if no pairs of a kind are asked for, [`Error::Config`] if the pairs overflow a `u64`
    /// * [`Error::Folds`] if `folds` is below 2 or above the number of pairs
    /// * [`Error::Rate`] if a target is NaN or outside `[0, 1]`
    /// * [`Error::Config`] if `level` is not strictly between 0 and 1
    pub fn validate(&self) -> Result<(), Error> {
        let (matching, non_matching) = (self.matching as u64, self.non_matching as u64);
        if matching == 0 || non_matching == 0 {
            return Err(Error::OneClass { matching, non_matching });
        }
        let Some(pairs) = matching.checked_add(non_matching) else {
            return Err(Error::config(
                "non_matching",
                format!("at most {}, beside {matching} matching pairs", u64::MAX - matching),
                non_matching,
            ));
        };
        if self.folds < 2 || self.folds as u64 > pairs {
            return Err(Error::Folds { folds: self.folds, pairs });
        }
        require_level(self.level)?;
        self.far_targets.iter().try_for_each(|&target| require_rate("far_targets", target))
    }

    /// The pairs that the accuracy is measured on.
    #[must_use]
    pub fn protocol(&self) -> PairProtocol {
        let Self { matching, non_matching, seed, .. } = *self;
        PairProtocol::Sampled { matching, non_matching, seed }
    }

    /// The same mixture of pairs, reduced to the pairs that `set` has; at least one pair of each kind asked for and
    /// there.
    ///
    /// [`VerificationReport::of`] never reduces the pairs by itself: without this call, too small a set is an error.
    ///
    /// # Examples
    /// ```
    /// use ndarray::Array2;
    /// use soft_lmccl_metrics::{EmbeddingSet, ReportOptions};
    ///
    /// // Two classes of ten: 90 matching and 100 non-matching pairs.
    /// let embeddings = Array2::from_shape_fn((20, 2), |(row, _)| 1.0 + row as f32);
    /// let labels: Vec<i64> = (0..20).map(|row| row / 10).collect();
    /// let set = EmbeddingSet::new(embeddings.view(), &labels)?;
    /// let options = ReportOptions::default().limited_to(&set);
    /// assert_eq!((options.matching, options.non_matching), (50, 100));
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    #[must_use]
    pub fn limited_to(mut self, set: &EmbeddingSet) -> Self {
        let PairCounts { matching, non_matching } = set.pair_counts();
        let available = (u128::from(matching), u128::from(non_matching));
        let asked = (self.matching as u128, self.non_matching as u128);
        // The limits are its own kind, and the other kind in the mixture asked for. The result is at most the number
        // asked for, hence a usize.
        let limited =
            |asked: u128, available: u128, in_mixture: u128| asked.min(available).min(in_mixture.max(1)) as usize;
        self.matching = limited(asked.0, available.0, asked.0 * available.1 / asked.1.max(1));
        self.non_matching = limited(asked.1, available.1, asked.1 * available.0 / asked.0.max(1));
        self
    }
}

/// The true accept rate at one false accept rate, as a record.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TarAtFar {
    /// The rate asked for.
    pub target_far: f64,
    /// True accept rate.
    pub tar: f64,
    /// The attained rate, at most `target_far`.
    pub far: f64,
    /// `+∞`, in JSON `null`, if no pair is accepted.
    #[serde(with = "infinity_as_null")]
    pub threshold: f64,
    /// Non-matching pairs accepted.
    pub false_accepts: u64,
    /// Whether one false accept is within the target, see [`FarPoint::resolvable`].
    pub resolvable: bool,
    /// Interval of the TAR, with the threshold's own error, see [`Intervals::tar_at_far`]; `None` if undefined or not
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

impl From<FarPoint> for TarAtFar {
    fn from(FarPoint { point, target_far, resolvable }: FarPoint) -> Self {
        Self {
            target_far,
            tar: point.tar(),
            far: point.far(),
            threshold: point.threshold,
            false_accepts: point.false_accepts,
            resolvable,
            interval: None,
        }
    }
}

/// One run's numbers: `Display` is the table that a person reads, `Serialize` the record that a
/// script keeps.
///
/// AUC, EER and TAR come from all pairs. The accuracy comes from folds over pairs drawn in the paper's mixture, see
/// [`ReportOptions`]. All are fractions; the EER is by [`EerMethod::Linear`].
///
/// # Examples
/// ```
/// use ndarray::Array2;
/// use soft_lmccl_metrics::{EmbeddingSet, ReportOptions, VerificationReport};
///
/// // Three classes of eight directions, a little apart within a class.
/// let embeddings = Array2::from_shape_fn((24, 3), |(row, column)| {
///     if row % 3 == column { 1.0 } else { 0.02 * (row % 5) as f32 }
/// });
/// let labels: Vec<i64> = (0..24).map(|row| row % 3).collect();
/// let set = EmbeddingSet::new(embeddings.view(), &labels)?;
///
/// let options = ReportOptions { matching: 80, non_matching: 160, folds: 4, ..Default::default() };
/// let report = VerificationReport::of(&set, &options)?;
/// assert_eq!((report.embeddings, report.pairs), (24, 276));
/// assert_eq!(
///     report.to_string(),
///     "24 embeddings, 276 pairs\n\
///      Verification accuracy  TAR @ FAR 0.1 %   TAR @ FAR 0.01 %  AUC    EER\n\
///      1.000 ± 0.000          below resolution  below resolution  1.000  0.000"
/// );
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerificationReport {
    /// Number of embeddings.
    pub embeddings: u64,
    /// Number of pairs behind AUC, EER and TAR.
    pub pairs: u64,
    /// Area under the ROC curve.
    pub auc: f64,
    /// Its interval, see [`Intervals`]; `None` with too few classes or if not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc_interval: Option<Interval>,
    /// Equal error rate, a fraction.
    pub eer: f64,
    /// Its interval, as for the AUC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eer_interval: Option<Interval>,
    /// Accuracy over folds.
    pub accuracy: FoldedAccuracy,
    /// Points at the asked false accept rates, in the order asked.
    pub tar_at_far: Vec<TarAtFar>,
}

impl VerificationReport {
    /// Measures a set of embeddings.
    ///
    /// # Errors
    /// As [`ReportOptions::validate`]; [`Error::OneClass`] if the set has one class or no class twice;
    /// [`Error::TooFewPairs`] if it has fewer pairs than `options` asks for ([`ReportOptions::limited_to`] may help);
    /// [`Error::FoldOneClass`] if a fold lacks a kind.
    pub fn of(set: &EmbeddingSet, options: &ReportOptions) -> Result<Self, Error> {
        options.validate()?;
        let drawn = set.pair_scores(options.protocol())?;
        let scores = set.pair_scores(PairProtocol::All)?;
        let curve = scores.roc();
        let counts = ClassCounts::across_scores(set, &scores, &curve, &options.far_targets)?;
        let report = Self::from_curve(set.len() as u64, &curve, &drawn, options)?;
        report.with_intervals(&Intervals::new(&curve, &counts, options.level)?)
    }

    /// Measures rows of embeddings in one call: [`EmbeddingSet::new`], then [`of_set`](Self::of_set).
    ///
    /// # Errors
    /// As [`EmbeddingSet::new`] and [`of_set`](Self::of_set).
    ///
    /// # Examples
    /// ```
    /// use ndarray::Array2;
    /// use soft_lmccl_metrics::{ReportOptions, VerificationReport};
    ///
    /// let embeddings = Array2::from_shape_fn((40, 5), |(row, column)| {
    ///     if row % 5 == column { 1.0 } else { (row * (column + 3) % 7) as f32 / 5.0 }
    /// });
    /// let labels: Vec<i64> = (0..40).map(|row| row % 5).collect();
    /// let report = VerificationReport::of_rows(embeddings.view(), &labels, &ReportOptions::default())?;
    /// assert_eq!(report.pairs, 780);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn of_rows(embeddings: ArrayView2<'_, f32>, labels: &[i64], options: &ReportOptions) -> Result<Self, Error> {
        Self::of_set(&EmbeddingSet::new(embeddings, labels)?, options)
    }

    /// Measures a set of any size: its pairs are counted in bounded memory and held nowhere. If the set has fewer pairs than
    /// the accuracy asks for, all of them are drawn. The figures equal the figures of [`of`](Self::of), except that scores are
    /// rounded to a grid, see [`ScoreHistogram`](crate::ScoreHistogram).
    ///
    /// # Errors
    /// As [`of`](Self::of); a set with too few pairs is no error.
    pub fn of_set(set: &EmbeddingSet, options: &ReportOptions) -> Result<Self, Error> {
        Self::of_set_with(set, options, |_| ControlFlow::Continue(()))
    }

    /// As [`of_set`](Self::of_set), telling and asking as [`AllPairs::count_with`] does.
    ///
    /// # Errors
    /// [`Error::Stopped`] if `progress` breaks, and as [`of_set`](Self::of_set).
    pub fn of_set_with(
        set: &EmbeddingSet,
        options: &ReportOptions,
        progress: impl Fn(CountProgress) -> ControlFlow<()> + Sync,
    ) -> Result<Self, Error> {
        options.validate()?;
        let options = options.clone().limited_to(set);
        let drawn = set.pair_scores(options.protocol())?;
        let counted = AllPairs::default().count_by_class_with(set, &ClassCuts::default(), progress)?;
        let report = Self::from_curve(set.len() as u64, &counted.histogram, &drawn, &options)?;
        report.with_intervals(&Intervals::new(&counted.histogram, &counted.classes, options.level)?)
    }

    /// The same figures with their intervals, where four classes or more define them.
    ///
    /// # Errors
    /// [`Error::Config`] if the intervals are of another curve.
    ///
    /// # Examples
    /// ```
    /// use ndarray::Array2;
    /// use soft_lmccl_metrics::verify::{AllPairs, ClassCuts};
    /// use soft_lmccl_metrics::{EmbeddingSet, Intervals, ReportOptions, VerificationReport};
    ///
    /// let embeddings = Array2::from_shape_fn((40, 5), |(row, column)| {
    ///     if row % 5 == column { 1.0 } else { (row * (column + 3) % 7) as f32 / 5.0 }
    /// });
    /// let labels: Vec<i64> = (0..40).map(|row| row % 5).collect();
    /// let set = EmbeddingSet::new(embeddings.view(), &labels)?;
    ///
    /// let counted = AllPairs::default().count_by_class(&set, &ClassCuts::default())?;
    /// let options = ReportOptions { far_targets: vec![0.1], ..Default::default() }.limited_to(&set);
    /// let drawn = set.pair_scores(options.protocol())?;
    /// let report = VerificationReport::from_curve(40, &counted.histogram, &drawn, &options)?
    ///     .with_intervals(&Intervals::new(&counted.histogram, &counted.classes, 0.9)?)?;
    /// assert!(report.auc_interval.is_some_and(|interval| interval.contains(report.auc)));
    /// assert!(report.tar_at_far[0].interval.is_some_and(|interval| interval.level == 0.9));
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn with_intervals(mut self, intervals: &Intervals<'_, impl Curve>) -> Result<Self, Error> {
        if intervals.counts().total() != self.pairs {
            let got = intervals.counts().total();
            return Err(Error::config("intervals", format!("those of {} pairs", self.pairs), got));
        }
        // From here on only too few classes or too few false accepts around a rate are refused.
        let interval = |estimate: Result<ClassEstimate, Error>| estimate.ok().map(|estimate| estimate.interval);
        (self.auc_interval, self.eer_interval) =
            (interval(intervals.auc()), interval(intervals.eer(EerMethod::Linear)));
        for at in &mut self.tar_at_far {
            at.interval = interval(intervals.tar_at_far(at.target_far));
        }
        Ok(self)
    }

    /// Measures a given curve over all pairs, and an accuracy over given drawn pairs.
    ///
    /// # Errors
    /// [`Error::Rate`] for a target that is not a rate, and as
    /// [`PairScores::cross_validated_accuracy`].
    pub fn from_curve(
        embeddings: u64,
        curve: &impl Curve,
        drawn: &PairScores,
        options: &ReportOptions,
    ) -> Result<Self, Error> {
        let tar_at_far = options
            .far_targets
            .iter()
            .map(|&target| curve.at_far(target).map(TarAtFar::from))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            embeddings,
            pairs: curve.counts().total(),
            auc: curve.auc(),
            auc_interval: None,
            eer: curve.eer(EerMethod::Linear),
            eer_interval: None,
            accuracy: drawn.cross_validated_accuracy(options.folds, options.seed)?,
            tar_at_far,
        })
    }

    /// The cells of a table, heading and value, in the order and with the digits of the paper's tables.
    #[must_use]
    pub fn cells(&self) -> Vec<(String, String)> {
        let FoldedAccuracy { mean, std } = self.accuracy;
        let mut cells = vec![("Verification accuracy".into(), format!("{mean:.3} ± {std:.3}"))];
        cells.extend(self.tar_at_far.iter().map(|at| {
            let value = if at.resolvable { format!("{:.5}", at.tar) } else { "below resolution".into() };
            (format!("TAR @ FAR {}", percent(at.target_far)), value)
        }));
        cells.push(("AUC".into(), format!("{:.3}", self.auc)));
        cells.push(("EER".into(), format!("{:.3}", self.eer)));
        cells
    }
}

impl VerificationReport {
    /// The interval below each of the [`cells`](Self::cells), empty where there is no interval; `None` without any.
    fn interval_cells(&self) -> Option<(f64, Vec<String>)> {
        let mut intervals = vec![None];
        intervals.extend(self.tar_at_far.iter().map(|at| at.interval));
        intervals.extend([self.auc_interval, self.eer_interval]);
        let level = intervals.iter().flatten().next()?.level;
        let cell = |Interval { low, high, .. }| format!("{low:.3} to {high:.3}");
        Some((level, intervals.into_iter().map(|interval| interval.map(cell).unwrap_or_default()).collect()))
    }
}

impl fmt::Display for VerificationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GAP: &str = "  ";
        let (headings, values): (Vec<_>, Vec<_>) = self.cells().into_iter().unzip();
        let mut title = format!("{} embeddings, {} pairs", self.embeddings, self.pairs);
        let mut lines = vec![headings, values];
        if let Some((level, intervals)) = self.interval_cells() {
            title += &format!(", last line: intervals at {}", percent(level));
            lines.push(intervals);
        }
        let columns = 0..lines[0].len();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = columns.map(width).collect();
        write!(f, "{title}")?;
        for line in lines {
            let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            write!(f, "\n{}", cells.collect::<Vec<_>>().join(GAP).trim_end())?;
        }
        low_auc_hint(self.auc).map_or(Ok(()), |hint| write!(f, "\n{hint}"))
    }
}

/// What an AUC far below 1/2 most likely means, in one sentence for people; `None` for any other.
///
/// Worse than a coin by so much is rarely bad luck: below 0.4, as distances of a network that learned anything are.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::{PairScores, low_auc_hint};
///
/// // Distances: 0.1 between samples of one class, 0.9 between others.
/// let roc = PairScores::new(vec![0.1, 0.2, 0.9, 0.8], vec![true, true, false, false])?.roc();
/// let hint = low_auc_hint(roc.auc());
/// assert!(hint.is_some_and(|hint| hint.contains("negate distances")));
/// assert_eq!(low_auc_hint(0.47), None);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[must_use]
pub fn low_auc_hint(auc: f64) -> Option<String> {
    const FAR_BELOW_CHANCE: f64 = 0.4;
    (auc < FAR_BELOW_CHANCE).then(|| {
        format!(
            "hint: an AUC of {auc:.3} is far below 0.5; a higher score has to mean more alike, so negate distances, and \
             check that labels are in the order of the rows"
        )
    })
}

/// A fraction in percent with its own digits. It moves the decimal point of the shortest decimal, since
/// `0.07 * 100.0` is 7.000000000000001.
fn percent(fraction: f64) -> String {
    let scientific = format!("{fraction:e}");
    let shifted = scientific
        .split_once('e')
        .and_then(|(digits, exponent)| format!("{digits}e{}", exponent.parse::<i32>().ok()? + 2).parse::<f64>().ok());
    format!("{} %", shifted.unwrap_or(fraction * 100.0))
}
