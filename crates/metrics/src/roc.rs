//! The exact receiver operating characteristic: integer counts once, every rate derived.

use rayon::prelude::*;

use crate::{EerMethod, Error, FarPoint, OperatingPoint, PairCounts, PairScores};

/// Receiver operating characteristic, one point for each distinct score. Thresholds strictly decrease from `+∞`,
/// where nothing is accepted, to the lowest score, where everything is.
///
/// Two curves are equal if their points are.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::{EerMethod, PairScores};
///
/// let scores = vec![0.9, 0.8, 0.7, 0.6, 0.5, 0.4];
/// let roc = PairScores::new(scores, vec![true, true, false, true, false, false])?.roc();
/// assert_eq!(roc.points().len(), 7);
/// assert_eq!(roc.auc(), 8.0 / 9.0);
/// assert_eq!(roc.eer(EerMethod::Linear), 1.0 / 3.0);
///
/// let no_false_accept = roc.at_far(0.1)?;
/// assert_eq!(no_false_accept.point.threshold, 0.8);
/// assert_eq!(no_false_accept.point.tar(), 2.0 / 3.0);
/// assert!(!no_false_accept.resolvable); // three non-matching pairs cannot tell 0.1 from 0
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RocCurve {
    points: Vec<OperatingPoint>,
    on_grid: bool,
}

impl PartialEq for RocCurve {
    fn eq(&self, other: &Self) -> bool {
        self.points == other.points
    }
}

impl PairScores {
    /// The exact curve: one point per distinct score, ties merged. `O(n log n)`, on all threads.
    #[must_use]
    pub fn roc(&self) -> RocCurve {
        RocCurve::weighted(self.counts(), &descending(self.iter().collect()), |&same| (same, 1))
    }
}

impl RocCurve {
    /// The curve of a ranking: each item has a kind and counts a number of times, possibly zero. `counts` are the
    /// sums of both kinds.
    pub(super) fn weighted<T>(counts: PairCounts, ranking: &[(f64, T)], weigh: impl Fn(&T) -> (bool, u64)) -> Self {
        let mut point = OperatingPoint::nothing_accepted(counts);
        let mut points = vec![point];
        for tied in ranking.chunk_by(tied) {
            let before = point;
            for (score, item) in tied {
                let (same, weight) = weigh(item);
                point.accept(*score, same, weight);
            }
            if point.true_accepts > before.true_accepts || point.false_accepts > before.false_accepts {
                points.push(point);
            }
        }
        Self { points, on_grid: false }
    }

    /// The curve, or a part of it, of a histogram.
    pub(super) fn of_grid(points: Vec<OperatingPoint>) -> Self {
        Self { points, on_grid: true }
    }

    pub(super) fn on_grid(&self) -> bool {
        self.on_grid
    }

    /// Area under the curve: the chance that a matching pair scores higher than a non-matching one.
    ///
    /// # Formula
    /// ```text
    /// AUC = P(s⁺ > s⁻) + ½·P(s⁺ = s⁻)
    /// ```
    /// over all couples of a matching and a non-matching pair, counted in integers; only the final division rounds.
    /// It is the trapezoid area of the curve and the Mann-Whitney statistic.
    ///
    /// # References
    /// J. A. Hanley, B. J. McNeil, *The meaning and use of the area under a receiver operating
    /// characteristic (ROC) curve*, Radiology 143, 1982. The same number as
    /// `sklearn.metrics.roc_auc_score`.
    #[doc(alias = "AUROC")]
    #[doc(alias = "area under the curve")]
    #[must_use]
    pub fn auc(&self) -> f64 {
        let twice_area: u128 = self
            .segments()
            .map(|(from, to)| {
                let width = to.false_accepts - from.false_accepts;
                let heights = to.true_accepts + from.true_accepts;
                u128::from(width) * u128::from(heights)
            })
            .sum();
        let end = self.points[0];
        let couples = u128::from(end.matching) * u128::from(end.non_matching);
        twice_area as f64 / (2 * couples) as f64
    }

    /// Equal error rate: the share of non-matching pairs accepted equals the share of matching pairs rejected,
    /// `FAR = FRR`. It is a fraction, also where the paper's heading says percent.
    ///
    /// # Formula
    /// [`EerMethod::MinDifference`] is the mean of both errors at [`eer_point`](Self::eer_point).
    /// [`EerMethod::Linear`], on the segment from point `p` to point `q` on which `FAR − FRR` changes
    /// sign, with `FA`, `FR` false accepts and rejects, `M`, `N` matching and non-matching pairs:
    /// ```text
    /// EER = (FA[p]·ΔTA + FR[p]·ΔFA) / (M·ΔFA + N·ΔTA)      ΔTA = TA[q] − TA[p], ΔFA = FA[q] − FA[p]
    /// ```
    /// in integers up to the division.
    #[doc(alias = "equal error rate")]
    #[must_use]
    pub fn eer(&self, method: EerMethod) -> f64 {
        let (before, after) = self.equal_errors();
        match method {
            EerMethod::Linear => {
                let true_accepts = u128::from(after.true_accepts - before.true_accepts);
                let false_accepts = u128::from(after.false_accepts - before.false_accepts);
                let numerator = u128::from(before.false_accepts) * true_accepts
                    + u128::from(before.false_rejects()) * false_accepts;
                let denominator =
                    u128::from(before.matching) * false_accepts + u128::from(before.non_matching) * true_accepts;
                numerator as f64 / denominator as f64
            }
            EerMethod::MinDifference => self.eer_point().hter(),
            EerMethod::SmallestSum => {
                let [of_before, of_after] = [before, after].map(|point| point.scaled_errors());
                let meets = of_after.0 == of_after.1;
                let smaller = of_after.0 + of_after.1 <= of_before.0 + of_before.1;
                if meets || smaller { after.hter() } else { before.hter() }
            }
        }
    }

    /// The point of smallest `|FAR − FRR|`, for a threshold with both errors equal. Of two such points the one of the
    /// higher threshold.
    #[must_use]
    pub fn eer_point(&self) -> OperatingPoint {
        let (before, after) = self.equal_errors();
        let difference = |point: &OperatingPoint| {
            let (far, frr) = point.scaled_errors();
            far.abs_diff(frr)
        };
        if difference(&after) < difference(&before) { after } else { before }
    }

    /// The points between which `FAR − FRR` changes sign: negative at the first, zero or positive at the second.
    fn equal_errors(&self) -> (OperatingPoint, OperatingPoint) {
        let crossing = self.points.partition_point(OperatingPoint::accepts_less_than_it_rejects);
        // The curve runs from FAR 0, FRR 1 to FAR 1, FRR 0: there is a point on either side.
        (self.points[crossing - 1], self.points[crossing])
    }

    /// The point of the largest TAR with `FAR <= target_far`.
    ///
    /// The threshold is achievable, without interpolation: on these pairs the target is never passed. It is the
    /// lowest such threshold, even if the last steps accept only non-matching pairs.
    ///
    /// Rates are compared as printed, as correctly rounded quotients. 3 false accepts of 10 are within a target of
    /// `0.3`, though the `f64` nearest to 0.3 lies below three tenths.
    ///
    /// # Errors
    /// [`Error::Rate`] if `target_far` is NaN or outside `[0, 1]`.
    #[doc(alias = "TAR@FAR")]
    #[doc(alias = "TPR@FPR")]
    #[doc(alias = "tar_at_far")]
    pub fn at_far(&self, target_far: f64) -> Result<FarPoint, Error> {
        require_rate("target_far", target_far)?;
        let end = self.points.partition_point(|point| point.far() <= target_far);
        // The first point has FAR 0, so that `end` is at least 1.
        let point = self.points[end - 1];
        let resolvable = 1.0 / point.non_matching as f64 <= target_far;
        Ok(FarPoint { point, target_far, resolvable })
    }

    /// The most accurate point for this mixture of pairs; ties go to the highest threshold.
    ///
    /// It is chosen and measured on the same pairs, so it flatters; [`PairScores::cross_validated_accuracy`] does
    /// not.
    #[must_use]
    pub fn best_accuracy(&self) -> OperatingPoint {
        let mut best = self.points[0];
        for &point in &self.points[1..] {
            if point.correct() > best.correct() {
                best = point;
            }
        }
        best
    }

    /// The counts if scores of at least `threshold` are accepted; the point has this threshold.
    #[must_use]
    pub fn at_threshold(&self, threshold: f64) -> OperatingPoint {
        let end = self.points.partition_point(|point| point.threshold >= threshold);
        // The first point accepts nothing, whatever the threshold; NaN accepts no score either.
        OperatingPoint { threshold, ..self.points[end.saturating_sub(1)] }
    }

    /// Every point, for plotting; the first accepts nothing, the last everything.
    #[must_use]
    pub fn points(&self) -> &[OperatingPoint] {
        &self.points
    }

    /// The number of pairs of each kind behind the curve.
    #[must_use]
    pub fn counts(&self) -> PairCounts {
        let OperatingPoint { matching, non_matching, .. } = self.points[0];
        PairCounts { matching, non_matching }
    }

    fn segments(&self) -> impl Iterator<Item = (OperatingPoint, OperatingPoint)> {
        self.points.iter().copied().zip(self.points[1..].iter().copied())
    }
}

/// Sorts by score, highest first. Equal scores stay in no particular order: read them together, with [`tied`].
pub(crate) fn descending<T: Send>(mut items: Vec<(f64, T)>) -> Vec<(f64, T)> {
    items.par_sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    items
}

/// Whether two scores are one threshold. They are finite and never -0.0, so bits decide.
pub(crate) fn tied<T>(a: &(f64, T), b: &(f64, T)) -> bool {
    a.0.total_cmp(&b.0).is_eq()
}

/// Refuses NaN and values outside `[0, 1]`.
pub(crate) fn require_rate(field: &'static str, value: f64) -> Result<(), Error> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(Error::Rate { field, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_for_nothing_is_no_point() {
        let ranking = [(0.9, (true, 2)), (0.7, (false, 0)), (0.5, (false, 3)), (0.2, (true, 0))];
        let counts = PairCounts { matching: 2, non_matching: 3 };
        let curve = RocCurve::weighted(counts, &ranking, |&(same, times)| (same, times));
        let found: Vec<_> = curve.points().iter().map(|p| (p.threshold, p.true_accepts, p.false_accepts)).collect();
        assert_eq!(found, [(f64::INFINITY, 0, 0), (0.9, 2, 0), (0.5, 2, 3)]);
    }
}
