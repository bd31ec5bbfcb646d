//! Against scikit-learn. Equivalent python code, for each case:
//!
//! ```python
//! from sklearn.metrics import roc_auc_score, roc_curve
//! far, tar, thresholds = roc_curve(same, scores, drop_intermediate=False)
//! auc = roc_auc_score(same, scores)
//! best_accuracy = ((tar * positives + (1 - far) * negatives) / (positives + negatives)).max()
//! nearest = abs(far - (1 - tar)).argmin()
//! eer_min_diff_average = (far[nearest] + 1 - tar[nearest]) / 2
//! last = (far <= target).nonzero()[0][-1]      # tar[last], far[last]
//! ```

use approx::assert_relative_eq;
use serde::Deserialize;
use soft_lmccl_metrics::EerMethod;

use super::{FIXTURE_REL, pairs};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    scores: Vec<f64>,
    same: Vec<u8>,
    positives: u64,
    negatives: u64,
    auc: f64,
    best_accuracy: f64,
    eer_min_diff_average: f64,
    tar_at_far: Vec<TarAtFar>,
}

#[derive(Deserialize)]
struct TarAtFar {
    far: f64,
    tar: f64,
    attained_far: f64,
    false_accepts: u64,
    resolvable: bool,
}

fn cases() -> Vec<Case> {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/verification.json")).unwrap();
    assert_eq!(fixture.cases.len(), 4);
    fixture.cases
}

#[test]
fn every_figure_equals_scikit_learn() {
    for case in cases() {
        let same: Vec<bool> = case.same.iter().map(|&same| same == 1).collect();
        let roc = pairs(&case.scores, &same).roc();
        let counts = roc.counts();
        assert_eq!((counts.matching, counts.non_matching), (case.positives, case.negatives));
        assert_relative_eq!(roc.auc(), case.auc, max_relative = FIXTURE_REL);
        assert_relative_eq!(roc.best_accuracy().accuracy(), case.best_accuracy, max_relative = FIXTURE_REL);
        assert_relative_eq!(roc.eer(EerMethod::MinDifference), case.eer_min_diff_average, max_relative = FIXTURE_REL);
        assert_eq!(case.tar_at_far.len(), 4);
        for expected in case.tar_at_far {
            let at = roc.at_far(expected.far).unwrap();
            assert_eq!(at.point.false_accepts, expected.false_accepts);
            assert_eq!(at.resolvable, expected.resolvable);
            assert_relative_eq!(at.point.tar(), expected.tar, max_relative = FIXTURE_REL);
            assert_relative_eq!(at.point.far(), expected.attained_far, max_relative = FIXTURE_REL);
        }
    }
}

/// The linear method has no counterpart in scikit-learn; on a fine curve it must come close to the
/// other one, at most one step of the curve away.
#[test]
fn both_equal_error_rates_agree_to_one_step() {
    for case in cases() {
        let same: Vec<bool> = case.same.iter().map(|&same| same == 1).collect();
        let roc = pairs(&case.scores, &same).roc();
        let step = roc.points().windows(2).map(|p| (p[1].far() - p[0].far()).max(p[0].frr() - p[1].frr()));
        let step = step.fold(0.0, f64::max);
        let linear = roc.eer(EerMethod::Linear);
        assert!((linear - case.eer_min_diff_average).abs() <= step, "{linear} {step}");
    }
}
