//! Figures of the standard and costs: against pyeer, scikit-learn and definitions written out.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use proptest::prelude::*;
use serde::Deserialize;
use soft_lmccl_metrics::{
    DetectionCost, EerMethod, EmbeddingSet, Failures, Gallery, OperatingPoint, PairScores, Prototype, RocCurve,
    StandardFigures, ndarray::Array2,
};

use super::{F64_REL, FIXTURE_REL, gaussian, noise, pairs, population, tied_pairs};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    positive: Vec<f64>,
    negative: Vec<f64>,
    pyeer: Pyeer,
    det: Vec<[f64; 2]>,
    hull: Vec<[f64; 2]>,
    costs: Vec<Costs>,
    cllr: f64,
    min_cllr: f64,
    hter_at: f64,
    hter: f64,
}

#[derive(Deserialize)]
struct Pyeer {
    fmr0: f64,
    fmr100: f64,
    fmr1000: f64,
    fnmr0: f64,
    eer: f64,
    auc: f64,
    decidability: f64,
}

#[derive(Deserialize)]
struct Costs {
    miss: f64,
    false_alarm: f64,
    prior: f64,
    least: f64,
    actual: f64,
    bayes_threshold: f64,
    scale: f64,
}

fn cases() -> Vec<(Case, RocCurve)> {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/standard.json")).unwrap();
    assert_eq!(fixture.cases.len(), 2);
    let with_curve = |case: Case| {
        let scores = [&case.positive[..], &case.negative].concat();
        let same = [vec![true; case.positive.len()], vec![false; case.negative.len()]].concat();
        let roc = PairScores::new(scores, same).unwrap().roc();
        (case, roc)
    };
    fixture.cases.into_iter().map(with_curve).collect()
}

#[test]
fn figures_equal_those_of_pyeer() {
    for (case, roc) in cases() {
        let figures = StandardFigures::of(&roc).unwrap();
        for (found, expected) in [
            (figures.zero_fmr.fnmr(), case.pyeer.fmr0),
            (figures.fmr100.point.fnmr(), case.pyeer.fmr100),
            (figures.fmr1000.point.fnmr(), case.pyeer.fmr1000),
            (figures.zero_fnmr.fmr(), case.pyeer.fnmr0),
            (figures.eer_fvc, case.pyeer.eer),
            (roc.auc(), case.pyeer.auc),
            (figures.decidability.unwrap(), case.pyeer.decidability),
        ] {
            assert_relative_eq!(found, expected, max_relative = FIXTURE_REL);
        }
        assert!(figures.fmr1000.resolvable && !figures.fmr10000.resolvable); // of 1,000 non-matching pairs
        let printed = figures.to_string();
        assert_eq!(printed.lines().count(), 8);
        assert!(printed.contains(&format!("FMR100    {:.5}", case.pyeer.fmr100)), "{printed}");
        assert!(printed.lines().all(|line| line.ends_with(')') || line.ends_with("linearly")), "{printed}");
    }
}

#[test]
fn tradeoff_has_the_points_of_scikit_learn() {
    for (case, roc) in cases() {
        let det = roc.det();
        let mut ours = det.iter().rev();
        for [fmr, fnmr] in &case.det {
            // In the same order; scikit-learn leaves out what lies on an edge.
            let same = |point: &&soft_lmccl_metrics::DetPoint| {
                (point.fmr_deviate - fmr).abs() < FIXTURE_REL && (point.fnmr_deviate - fnmr).abs() < FIXTURE_REL
            };
            assert!(ours.any(|point| same(&point)) || det.iter().any(|point| same(&point)), "{fmr} {fnmr}");
        }
        let all = roc.points().iter().filter(|p| p.fmr() * p.fnmr() > 0.0 && p.fmr() < 1.0 && p.fnmr() < 1.0).count();
        assert_eq!(det.len(), all);
        assert!(case.det.len() > 200);
    }
}

#[test]
fn hull_has_the_corners_of_qhull() {
    for (case, roc) in cases() {
        let hull = roc.convex_hull();
        let found: Vec<[f64; 2]> = hull.iter().map(|point| [point.far(), point.tar()]).collect();
        assert_eq!(found.len(), case.hull.len(), "{found:?} {:?}", case.hull);
        for (found, expected) in found.iter().flatten().zip(case.hull.iter().flatten()) {
            assert_abs_diff_eq!(found, expected, epsilon = FIXTURE_REL);
        }
    }
}

#[test]
fn costs_are_their_definitions() {
    for (case, roc) in cases() {
        for costs in &case.costs {
            let cost = DetectionCost { miss: costs.miss, false_alarm: costs.false_alarm, prior: costs.prior };
            let (least, actual) = (cost.least(&roc).unwrap(), cost.actual(&roc).unwrap());
            assert_relative_eq!(least.cost, costs.least, max_relative = FIXTURE_REL);
            assert_relative_eq!(least.normalized, costs.least / costs.scale, max_relative = FIXTURE_REL);
            assert_relative_eq!(actual.cost, costs.actual, max_relative = FIXTURE_REL);
            assert_relative_eq!(cost.bayes_threshold().unwrap(), costs.bayes_threshold, max_relative = FIXTURE_REL);
            let regret = cost.regret(&roc, costs.bayes_threshold).unwrap();
            assert_abs_diff_eq!(regret.excess(), costs.actual - costs.least, epsilon = FIXTURE_REL);
        }
        assert_relative_eq!(roc.cllr(), case.cllr, max_relative = FIXTURE_REL);
        assert_relative_eq!(roc.min_cllr(), case.min_cllr, max_relative = FIXTURE_REL);
        assert_relative_eq!(roc.at_threshold(case.hter_at).hter(), case.hter, max_relative = FIXTURE_REL);
    }
}

#[test]
fn extreme_scores_cost_what_they_are() {
    let roc = pairs(&[800.0, -800.0], &[true, false]).roc();
    assert_eq!((roc.cllr().to_bits(), roc.min_cllr().to_bits()), (0, 0));
    // Wrong by 800 nats each way.
    let wrong = pairs(&[-800.0, 800.0], &[true, false]).roc();
    assert_relative_eq!(wrong.cllr(), 800.0 / std::f64::consts::LN_2, max_relative = F64_REL);
    let nothing = pairs(&[0.0, 0.0], &[true, false]).roc();
    assert_relative_eq!(nothing.cllr(), 1.0, max_relative = F64_REL);
    assert_relative_eq!(nothing.min_cllr(), 1.0, max_relative = F64_REL);
}

proptest! {
    /// Every point lies below the hull, its corners are points, and it turns one way only.
    #[test]
    fn hull_is_the_least_concave_curve_above((scores, same) in tied_pairs()) {
        let roc = pairs(&scores, &same).roc();
        let hull = roc.convex_hull();
        let slope = |a: &OperatingPoint, b: &OperatingPoint| {
            (b.true_accepts - a.true_accepts) as f64 / (b.false_accepts - a.false_accepts) as f64
        };
        for corners in hull.windows(3) {
            prop_assert!(slope(&corners[0], &corners[1]) > slope(&corners[1], &corners[2]));
        }
        for point in roc.points() {
            let above = hull.windows(2).any(|side| {
                let (a, b) = (&side[0], &side[1]);
                let width = b.false_accepts - a.false_accepts;
                let within = a.false_accepts <= point.false_accepts && point.false_accepts <= b.false_accepts;
                within && (point.true_accepts - a.true_accepts.min(point.true_accepts)) * width
                    <= (b.true_accepts - a.true_accepts) * (point.false_accepts - a.false_accepts)
                    || within && width == 0 && point.true_accepts <= b.true_accepts
            });
            prop_assert!(above, "{point:?} {hull:?}");
            prop_assert!(hull.iter().all(|corner| roc.points().contains(corner)));
        }
        prop_assert!(roc.min_cllr() <= roc.cllr() + F64_REL && roc.min_cllr() <= 1.0 + F64_REL);
    }

    /// Whatever a constant factor does to the scores, the least cost is that of their order.
    #[test]
    fn least_costs_depend_on_the_order_alone((scores, same) in tied_pairs(), prior in 0.01..0.99f64) {
        let cost = DetectionCost { prior, ..Default::default() };
        let [plain, other] = [1.0, 7.0].map(|factor| {
            let scores: Vec<f64> = scores.iter().map(|score| score * factor).collect();
            let roc = pairs(&scores, &same).roc();
            (cost.least(&roc).unwrap().cost, roc.min_cllr(), roc.decidability().ok())
        });
        prop_assert!((plain.0 - other.0).abs() < F64_REL && (plain.1 - other.1).abs() < F64_REL);
        if let (Some(plain), Some(other)) = (plain.2, other.2) {
            prop_assert!((plain - other).abs() < 1e-9 * plain.max(1.0));
        }
        prop_assert!(plain.0 <= cost.miss * prior.min(1.0 - prior) + F64_REL);
    }
}

/// Searches of single samples, one by one.
#[test]
fn identification_errors_are_those_of_each_search() {
    let set = population(&[6; 12], 5);
    let mut noise = noise(1);
    let rows = Array2::from_shape_fn((30, 6), |_| gaussian(&mut noise) as f32);
    let known: Vec<i64> = (0..30).map(|row| row % 15).collect();
    let probes = EmbeddingSet::new(rows.view(), &known).unwrap();
    let gallery = Gallery::enroll(&set, Prototype::Mean).unwrap();
    let found = gallery.search(&probes).unwrap();
    for (rank, threshold) in [(1, 0.3), (3, 0.3), (12, -1.0), (1, 0.9)] {
        let errors = found.errors(rank, threshold, 0.9).unwrap();
        let (mut misses, mut alarms) = (0, 0);
        for probe in found.probes() {
            match (probe.rank, probe.own) {
                (Some(place), Some(own)) => misses += u64::from(place > rank || own < threshold),
                _ => alarms += u64::from(probe.score >= threshold),
            }
        }
        assert_eq!((errors.misses, errors.known), (misses, 24));
        assert_eq!((errors.false_alarms, errors.unknown), (alarms, 6));
        assert_eq!((errors.enrolled, errors.rank), (12, rank));
        let fnir = errors.fnir.unwrap();
        assert_relative_eq!(fnir.value, misses as f64 / 24.0, max_relative = F64_REL);
        // Twelve classes of two probes each, so that the plain correction holds.
        let by_class: Vec<f64> = (0..12u32)
            .map(|label| {
                let of_class = found.probes().iter().filter(|probe| probe.label == label);
                of_class.filter(|probe| probe.rank.unwrap() > rank || probe.own.unwrap() < threshold).count() as f64
            })
            .collect();
        let variance = by_class.iter().map(|misses| (misses - 2.0 * fnir.value).powi(2)).sum::<f64>() / (24.0 * 24.0);
        let variance = variance * 12.0 / 11.0;
        let trials = fnir.value * (1.0 - fnir.value) / variance;
        let expected = if variance > 0.0 { trials.min(24.0) } else { 12.0 };
        assert_relative_eq!(fnir.trials, expected, max_relative = F64_REL);
        assert_relative_eq!(fnir.degrees_of_freedom, 11.0, max_relative = F64_REL);
    }
    assert_eq!(found.errors(0, 0.5, 0.9).unwrap_err().to_string(), "invalid `rank`: expected at least 1, got 0");
    assert!(found.errors(1, f64::NAN, 0.9).is_err() && found.errors(1, 0.5, 1.0).is_err());
}

#[test]
fn refusals() {
    let point = pairs(&[1.0, 0.0], &[true, false]).roc().points()[1];
    let good = Failures { enrollments: 3, not_enrolled: 0, acquisitions: 3, not_acquired: 0 };
    for (failures, expected) in [
        (Failures { enrollments: 0, ..good }, "invalid `enrollments`: expected at least 1, got 0"),
        (Failures { not_enrolled: 4, ..good }, "invalid `not_enrolled`: expected at most 3, got 4"),
        (Failures { acquisitions: 0, ..good }, "invalid `acquisitions`: expected at least 1, got 0"),
        (Failures { not_acquired: 9, ..good }, "invalid `not_acquired`: expected at most 3, got 9"),
    ] {
        assert_eq!(failures.rates(&point).unwrap_err().to_string(), expected);
    }
    let roc = pairs(&[1.0, 0.0], &[true, false]).roc();
    let cost = DetectionCost::default();
    for (cost, expected) in [
        (DetectionCost { miss: 0.0, ..cost }, "invalid `miss`: expected a positive number, got 0"),
        (DetectionCost { false_alarm: f64::NAN, ..cost }, "invalid `false_alarm`: expected a positive number, got NaN"),
        (DetectionCost { prior: 1.0, ..cost }, "invalid `prior`: expected a share strictly between 0 and 1, got 1"),
    ] {
        assert_eq!(cost.least(&roc).unwrap_err().to_string(), expected);
        assert_eq!(cost.actual(&roc).unwrap_err().to_string(), expected);
    }
    let flat = roc.decidability().unwrap_err().to_string();
    assert_eq!(flat, "invalid `scores`: expected some that differ within a kind, got one score of each");
    assert_eq!(StandardFigures::of(&roc).unwrap().decidability, None);
    assert_eq!(roc.eer(EerMethod::SmallestSum).to_bits(), 0);
}
