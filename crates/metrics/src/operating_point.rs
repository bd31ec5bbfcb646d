//! One threshold and what it accepts: integer counts, every rate derived from them.

use serde::{Deserialize, Serialize};

use crate::PairCounts;

/// Counts at one threshold; a pair is accepted when `score >= threshold`.
///
/// Counts are integers, and rates are derived from them: an `f32` counter stops at 2²⁴ pairs, which 5,800 embeddings
/// make. In JSON the threshold `+∞` is `null`. A threshold of `-∞` or NaN is refused, and so are contradictory
/// counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct OperatingPoint {
    /// `+∞` if no pair is accepted.
    #[serde(with = "infinity_as_null")]
    pub threshold: f64,
    /// Matching pairs accepted.
    pub true_accepts: u64,
    /// Non-matching pairs accepted.
    pub false_accepts: u64,
    /// Matching pairs in all.
    pub matching: u64,
    /// Non-matching pairs in all.
    pub non_matching: u64,
}

/// An [`OperatingPoint`] as it is read; nothing in it is checked yet.
#[derive(Deserialize)]
struct Unchecked {
    #[serde(with = "infinity_as_null")]
    threshold: f64,
    true_accepts: u64,
    false_accepts: u64,
    matching: u64,
    non_matching: u64,
}

impl TryFrom<Unchecked> for OperatingPoint {
    type Error = String;

    fn try_from(unchecked: Unchecked) -> Result<Self, String> {
        let Unchecked { threshold, true_accepts, false_accepts, matching, non_matching } = unchecked;
        Self { threshold, true_accepts, false_accepts, matching, non_matching }.checked()
    }
}

impl std::fmt::Display for OperatingPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TAR {:.4}, FAR {:.2e} from score {:.4}", self.tar(), self.far(), self.threshold)
    }
}

impl std::fmt::Display for FarPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (asked {:.0e})", self.point, self.target_far)?;
        if self.resolvable { Ok(()) } else { f.write_str("; too few non-matching pairs for that rate") }
    }
}

impl OperatingPoint {
    /// Refuses counts that no pairs have, or so many that their sum overflows.
    pub(crate) fn checked(self) -> Result<Self, String> {
        let Self { true_accepts, false_accepts, matching, non_matching, .. } = self;
        for (field, accepted, kind, all) in [
            ("true_accepts", true_accepts, "matching", matching),
            ("false_accepts", false_accepts, "non_matching", non_matching),
        ] {
            if all == 0 {
                return Err(format!("`{kind}` must be at least 1, got 0"));
            }
            if accepted > all {
                return Err(format!("`{field}` must be at most `{kind}` ({all}), got {accepted}"));
            }
        }
        if matching.checked_add(non_matching).is_none() {
            let most = u64::MAX - matching;
            return Err(format!("`non_matching` must be at most {most} beside {matching}, got {non_matching}"));
        }
        Ok(self)
    }

    /// The start of a curve: no pair is accepted.
    pub(crate) fn nothing_accepted(counts: PairCounts) -> Self {
        Self {
            threshold: f64::INFINITY,
            true_accepts: 0,
            false_accepts: 0,
            matching: counts.matching,
            non_matching: counts.non_matching,
        }
    }

    /// Lowers the threshold past a pair that counts `weight` times.
    pub(crate) fn accept(&mut self, threshold: f64, same: bool, weight: u64) {
        self.threshold = threshold;
        if same {
            self.true_accepts += weight;
        } else {
            self.false_accepts += weight;
        }
    }

    /// True accept rate (true-positive rate, recall).
    #[doc(alias = "TPR")]
    #[doc(alias = "GAR")]
    #[doc(alias = "recall")]
    #[doc(alias = "sensitivity")]
    #[must_use]
    pub fn tar(&self) -> f64 {
        self.true_accepts as f64 / self.matching as f64
    }

    /// False accept rate (false-positive rate).
    #[doc(alias = "FPR")]
    #[doc(alias = "FMR")]
    #[must_use]
    pub fn far(&self) -> f64 {
        self.false_accepts as f64 / self.non_matching as f64
    }

    /// False reject rate, `1 − TAR`, from its own count.
    #[doc(alias = "FNR")]
    #[doc(alias = "FNMR")]
    #[must_use]
    pub fn frr(&self) -> f64 {
        self.false_rejects() as f64 / self.matching as f64
    }

    /// Fraction of all pairs judged right.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / (self.matching + self.non_matching) as f64
    }

    /// Pairs judged right: matching ones accepted and non-matching ones rejected.
    #[must_use]
    pub fn correct(&self) -> u64 {
        self.true_accepts + (self.non_matching - self.false_accepts)
    }

    pub(crate) fn false_rejects(&self) -> u64 {
        self.matching - self.true_accepts
    }

    /// Whether `FAR < FRR`.
    pub(crate) fn accepts_less_than_it_rejects(&self) -> bool {
        let (far, frr) = self.scaled_errors();
        far < frr
    }

    /// `FAR` and `FRR` over their common denominator, so that they compare without rounding.
    pub(crate) fn scaled_errors(&self) -> (u128, u128) {
        let far = u128::from(self.false_accepts) * u128::from(self.matching);
        let frr = u128::from(self.false_rejects()) * u128::from(self.non_matching);
        (far, frr)
    }
}

/// The point at an asked false accept rate, and whether the pairs can resolve the rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FarPoint {
    /// The lowest threshold whose FAR does not pass the target; its TAR is the largest possible.
    pub point: OperatingPoint,
    /// The rate asked for; the attained rate `point.far()` is at most this.
    pub target_far: f64,
    /// Whether one false accept is within the target: `1 / non_matching <= target_far`. If not, the TAR is that of no
    /// false accept at all and says little about so low a rate.
    pub resolvable: bool,
}

/// JSON has no infinity: the threshold `+∞`, at which nothing is accepted, is `null`, and only that one.
pub(crate) mod infinity_as_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error as _};

    pub(crate) fn serialize<S: Serializer>(threshold: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if threshold.is_nan() || *threshold < f64::MIN {
            return Err(S::Error::custom(format!("expected a finite number or +∞, which is null, got {threshold}")));
        }
        threshold.is_finite().then_some(threshold).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
    }
}
