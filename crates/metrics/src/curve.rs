//! What every curve of exact counts answers, whether it is held by points or by scores.

use serde::{Deserialize, Serialize};

use crate::{Error, FarPoint, OperatingPoint, PairCounts, RocCurve};

/// How the equal error rate is read off a curve of finitely many points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EerMethod {
    /// Where `FAR = FRR` on the straight lines between the points, as facenet and the paper's authors do.
    #[default]
    Linear,
    /// `(FAR + FRR) / 2` at the point of smallest `|FAR − FRR|`, as torchmetrics does. If two points tie, one on
    /// either side, the higher threshold counts.
    MinDifference,
    /// `(FAR + FRR) / 2` at the crossing point, if `FAR = FRR` there. Otherwise the smaller such mean of the last
    /// point with `FAR < FRR` and the next, as the Fingerprint Verification Competition and pyeer do.
    SmallestSum,
}

/// A curve of exact counts, held by points in a [`RocCurve`] or by scores in a
/// [`ScoreHistogram`](super::ScoreHistogram).
pub trait Curve {
    /// Number of pairs of each kind, at least one of both.
    fn counts(&self) -> PairCounts;
    /// Area under the curve, see [`RocCurve::auc`].
    fn auc(&self) -> f64;
    /// Equal error rate, see [`RocCurve::eer`].
    fn eer(&self, method: EerMethod) -> f64;
    /// The point of smallest `|FAR − FRR|`, see [`RocCurve::eer_point`].
    fn eer_point(&self) -> OperatingPoint;
    /// The point of the largest TAR with `FAR <= target_far`, see [`RocCurve::at_far`].
    ///
    /// # Errors
    /// [`Error::Rate`] if `target_far` is NaN or outside `[0, 1]`.
    fn at_far(&self, target_far: f64) -> Result<FarPoint, Error>;
    /// The most accurate point, see [`RocCurve::best_accuracy`].
    fn best_accuracy(&self) -> OperatingPoint;
    /// The counts at a threshold, see [`RocCurve::at_threshold`].
    fn at_threshold(&self, threshold: f64) -> OperatingPoint;
    /// Whether its scores were rounded to the grid of a [`ScoreHistogram`](super::ScoreHistogram). If so, a score
    /// must be rounded before it is compared with a threshold of this curve. False by default.
    fn on_grid(&self) -> bool {
        false
    }
}

/// Each trait method calls the inherent one of the same name.
macro_rules! impl_curve {
    ($curve:ty) => {
        impl Curve for $curve {
            fn counts(&self) -> PairCounts {
                self.counts()
            }
            fn auc(&self) -> f64 {
                self.auc()
            }
            fn eer(&self, method: EerMethod) -> f64 {
                self.eer(method)
            }
            fn eer_point(&self) -> OperatingPoint {
                self.eer_point()
            }
            fn at_far(&self, target_far: f64) -> Result<FarPoint, Error> {
                self.at_far(target_far)
            }
            fn best_accuracy(&self) -> OperatingPoint {
                self.best_accuracy()
            }
            fn at_threshold(&self, threshold: f64) -> OperatingPoint {
                self.at_threshold(threshold)
            }
            fn on_grid(&self) -> bool {
                self.on_grid()
            }
        }
    };
}
pub(crate) use impl_curve;

impl_curve!(RocCurve);
