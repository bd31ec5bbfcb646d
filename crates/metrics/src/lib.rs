//! Exact verification metrics: from embeddings or scores of pairs to rates, thresholds and a report.
//!
//! ```text
//! EmbeddingSet ── pair_scores(PairProtocol) ─> PairScores ── roc() ─> RocCurve ─> auc, eer, at_far, best_accuracy
//!        │                                         └── cross_validated_accuracy, cross_validated_tar
//!        ├── bootstrap ─> Bootstrap                └── VerificationThreshold::fit ─> verify, rates_on
//!        ├── verify::AllPairs ─> ScoreHistogram: the same figures without the pairs (Curve is both)
//!        ├── ClassCounts, AllPairs::count_by_class ─> Intervals ─> tar, far, tar_at_far, eer, auc with their intervals
//!        └── Gallery::enroll ─> search ─> Identification ─> closed_set_accuracy, auroc, oscr, dir_at_fpir, cmc
//! RocCurve ─> StandardFigures, det, DetectionCost, cllr, convex_hull, ThresholdTable
//! files (feature) ─> EmbeddingTable, TrialList, verify
//! ```
//!
//! # Conventions
//! * A **score** is higher the more alike two samples are; no metric takes a direction. For embeddings
//!   it is the cosine. A pair is **accepted** when `score >= threshold`.
//! * A **pair** is unordered, of two different samples: `i < j`. N embeddings make `N(N−1)/2` pairs.
//!   It is *matching* when both are of one class.
//! * **TAR** (true accept rate) is the share of matching pairs that are accepted, **FAR** (false
//!   accepted rate) the share of non-matching pairs that are, **FRR** `= 1 − TAR`.
//! * Rates are **fractions**: 0.001 is 0.1 %. Only tables for people show percent, and say so.
//! * **Counts** are `u64`; every rate is one division of two counts. Nothing is binned, no threshold
//!   comes from a grid, and equal scores move together, so that the order of the input changes nothing.
//! * With `n` non-matching pairs the smallest FAR above zero is `1/n`. A smaller target is **below
//!   resolution**: the answer would only say that no false accept was seen, and [`FarPoint`] says so.
//! * What is **undefined** is an [`Error`], never a NaN and never a made-up 0.5.
//!   Inputs are checked once, in [`EmbeddingSet::new`] and [`PairScores::new`].
//! * What is **random** takes a seed and is the same for every number of threads.
//!
//! # Examples
//! ```
//! use ndarray::array;
//! use soft_lmccl_metrics::{EerMethod, EmbeddingSet, PairProtocol};
//!
//! let embeddings = array![[1.0f32, 0.1], [2.0, -0.1], [0.1, 3.0], [-0.2, 1.0]];
//! let set = EmbeddingSet::new(embeddings.view(), &[7, 7, 4, 4])?;
//! let roc = set.pair_scores(PairProtocol::All)?.roc();
//! assert_eq!(roc.auc(), 1.0);
//! assert_eq!(roc.eer(EerMethod::Linear), 0.0);
//!
//! let best = roc.best_accuracy();
//! assert_eq!((best.true_accepts, best.false_accepts), (2, 0));
//! # Ok::<(), soft_lmccl_metrics::Error>(())
//! ```

mod calibrate;
mod choice;
mod classes;
mod cohorts;
mod collapse;
mod confidence;
mod confusion;
mod costs;
mod curve;
mod cuts;
mod embeddings;
mod error;
#[cfg(feature = "files")]
pub mod files;
mod folds;
mod gallery;
mod grid;
mod identification;
mod intervals;
mod listed;
mod normalize;
mod open_set;
mod operating_point;
mod pairs;
mod report;
mod roc;
mod shares;
mod spread;
mod standard;
mod templates;
#[cfg(feature = "tch")]
mod tensor;
mod threshold;
pub mod verify;

pub use calibrate::Calibration;
pub use choice::{ThresholdRow, ThresholdTable};
pub use classes::ClassCounts;
pub use cohorts::{CohortCell, CohortMatrix};
pub use collapse::CollapseReport;
pub use confidence::{Bootstrap, BootstrapDraws, BootstrapOptions, Estimate, Interval, wilson};
pub use confusion::{ClassPair, Confusion};
pub use costs::{CostPoint, DetectionCost, Regret};
pub use curve::{Curve, EerMethod};
pub use embeddings::EmbeddingSet;
pub use error::{Error, Result};
pub use folds::{FoldedAccuracy, FoldedTar};
pub use gallery::{Gallery, Identity, Prototype};
pub use identification::IdentificationErrors;
pub use intervals::{ClassEstimate, Intervals};
pub use normalize::CohortScores;
pub use open_set::{DirPoint, Identification, Positive, Probe};
pub use operating_point::{FarPoint, OperatingPoint};
pub use pairs::{PairCounts, PairProtocol, PairScores};
pub use report::{ReportOptions, TarAtFar, VerificationReport, low_auc_hint};
pub use roc::RocCurve;
pub use standard::{DetPoint, Failures, StandardFigures, TransactionRates, normal_deviate};
pub use templates::{Pooling, Templates};
pub use threshold::{FittedOn, ThresholdRule, Verdict, VerificationThreshold};

// What the sets and curves take and give: it must be the same version on both sides.
pub use ndarray;
#[cfg(feature = "tch")]
pub use tch;
pub use verify::{ScoreCounts, ScoreHistogram};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a seed is used for: each purpose reads its own stream of the generator, so that one seed can
/// serve a whole report without the draws of one step repeating in the next.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Pairs,
    Folds,
    Enrollment,
    Bootstrap { draw: u32 },
}

/// The one generator of this module: ChaCha8, the same numbers on every platform.
fn seeded(seed: u64, stream: Stream) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(match stream {
        Stream::Pairs => 0,
        Stream::Folds => 1,
        Stream::Enrollment => 2,
        Stream::Bootstrap { draw } => (1 << 32) + u64::from(draw),
    });
    rng
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::Rng;

    use super::*;

    #[test]
    fn no_two_uses_of_a_seed_draw_the_same_numbers() {
        let draws = (0..5).chain([u32::MAX]).map(|draw| Stream::Bootstrap { draw });
        let streams = [Stream::Pairs, Stream::Folds, Stream::Enrollment].into_iter().chain(draws);
        let first: BTreeSet<u64> = streams.map(|stream| seeded(7, stream).next_u64()).collect();
        assert_eq!(first.len(), 9);
    }
}
