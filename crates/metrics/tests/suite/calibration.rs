//! Normalization and calibration: against scikit-learn and definitions written out.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use ndarray::{Array2, aview1};
use proptest::prelude::*;
use serde::Deserialize;
use soft_lmccl_metrics::{Calibration, CohortScores, EmbeddingSet, PairProtocol, PairScores};

use super::{F64_REL, noise, pairs, population, tied_pairs};

#[derive(Deserialize)]
struct Fixture {
    positive: Vec<f64>,
    negative: Vec<f64>,
    logistic: Vec<Logistic>,
    rows: Vec<Vec<f32>>,
    cohort: Vec<Vec<f32>>,
    top: usize,
    as_norm: Vec<f64>,
}

#[derive(Deserialize)]
struct Logistic {
    prior: f64,
    slope: f64,
    offset: f64,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/calibration.json")).unwrap()
}

fn set(rows: &[Vec<f32>]) -> EmbeddingSet {
    let mut values = Array2::zeros((0, rows[0].len()));
    rows.iter().for_each(|row| values.push_row(aview1(row)).unwrap());
    let labels: Vec<i64> = (0..rows.len() as i64).map(|row| row / 2).collect();
    EmbeddingSet::new(values.view(), &labels).unwrap()
}

/// Two optimizers of one function.
const OPTIMUM_REL: f64 = 1e-6;
/// Cosines in single and in double precision, in units of a spread of about a tenth.
const SINGLE: f64 = 1e-5;

#[test]
fn logistic_calibration_is_that_of_scikit_learn() {
    let fixture = fixture();
    let scores = [&fixture.positive[..], &fixture.negative].concat();
    let same = [vec![true; fixture.positive.len()], vec![false; fixture.negative.len()]].concat();
    let pairs = PairScores::new(scores, same).unwrap();
    assert_eq!(fixture.logistic.len(), 3);
    for expected in fixture.logistic {
        let Calibration::Logistic { slope, offset } = Calibration::logistic(&pairs, expected.prior).unwrap() else {
            panic!("logistic")
        };
        assert_relative_eq!(slope, expected.slope, max_relative = OPTIMUM_REL);
        assert_relative_eq!(offset, expected.offset, max_relative = OPTIMUM_REL);
    }
}

#[test]
fn normalization_is_its_definition() {
    let fixture = fixture();
    let (set, cohort) = (set(&fixture.rows), set(&fixture.cohort));
    let scores = set.pair_scores(PairProtocol::All).unwrap();
    let cohort = CohortScores::of(&set, &cohort, fixture.top).unwrap();
    let found = scores.as_norm(&set.pairs(PairProtocol::All).unwrap(), &cohort).unwrap();
    for (found, expected) in found.scores().iter().zip(&fixture.as_norm) {
        assert_abs_diff_eq!(found, expected, epsilon = SINGLE);
    }
    assert_eq!(found.scores().len(), fixture.as_norm.len());
}

/// Scores that are log-likelihood ratios already: nothing is to be done.
#[test]
fn calibrated_scores_stay_as_they_are() {
    let mut noise = noise(4);
    // Normal scores with means of ±2 and a variance of 4 are their own log-likelihood ratios.
    let mut draw = |mean: f64| mean + 2.0 * super::gaussian(&mut noise);
    let (scores, same): (Vec<f64>, Vec<bool>) =
        (0..40_000).map(|pair| (draw(if pair % 2 == 0 { 2.0 } else { -2.0 }), pair % 2 == 0)).unzip();
    let pairs = PairScores::new(scores, same).unwrap();
    let calibration = Calibration::logistic(&pairs, 0.5).unwrap();
    for score in [-3.0, -1.0, 0.0, 2.0] {
        // Four standard deviations of what 40,000 pairs tell of two numbers.
        assert_abs_diff_eq!(calibration.log_ratio(score), score, epsilon = 0.2);
    }
}

proptest! {
    /// Where each step has both kinds the cost is the least there is; elsewhere one pair more is paid for.
    #[test]
    fn isotonic_calibration_costs_the_least((scores, same) in tied_pairs()) {
        let pairs = pairs(&scores, &same);
        let roc = pairs.roc();
        let calibration = Calibration::isotonic(&roc);
        let calibrated = pairs.calibrated(&calibration).unwrap();
        let cost = calibrated.roc().cllr();
        prop_assert!(cost >= roc.min_cllr() - F64_REL);
        let both = roc.convex_hull().windows(2).all(|side| {
            side[1].true_accepts > side[0].true_accepts && side[1].false_accepts > side[0].false_accepts
        });
        if both {
            prop_assert!((cost - roc.min_cllr()).abs() < F64_REL, "{cost} {}", roc.min_cllr());
        }
        // No order is turned round.
        let mut ordered: Vec<(f64, f64)> = scores.iter().copied().zip(calibrated.scores().iter().copied()).collect();
        ordered.sort_by(|a, b| a.0.total_cmp(&b.0));
        prop_assert!(ordered.windows(2).all(|two| two[0].1 <= two[1].1));
        let sent: Calibration = serde_json::from_str(&serde_json::to_string(&calibration).unwrap()).unwrap();
        prop_assert_eq!(sent, calibration);
    }

    /// No other slope or offset near by costs less.
    #[test]
    fn logistic_calibration_is_a_minimum((scores, same) in tied_pairs(), prior in 0.05..0.95f64) {
        let pairs = pairs(&scores, &same);
        let Ok(calibration) = Calibration::logistic(&pairs, prior) else { return Ok(()) };
        let Calibration::Logistic { slope, offset } = calibration else { panic!("logistic") };
        let log_odds = (prior / (1.0 - prior)).ln();
        let cost = |slope: f64, offset: f64| -> f64 {
            let counts = pairs.counts();
            let of_pair = |(score, same): (&f64, &bool)| {
                let x = slope * score + offset + log_odds;
                if *same { prior / counts.matching as f64 * (-x).exp().ln_1p() } else { (1.0 - prior) / counts.non_matching as f64 * x.exp().ln_1p() }
            };
            pairs.scores().iter().zip(pairs.same()).map(of_pair).sum()
        };
        let least = cost(slope, offset);
        for (a, b) in [(0.01, 0.0), (-0.01, 0.0), (0.0, 0.01), (0.0, -0.01), (0.01, -0.01), (-0.01, 0.01)] {
            prop_assert!(cost(slope + a, offset + b) >= least - 1e-9, "{slope} {offset} {a} {b}");
        }
    }
}

#[test]
fn refusals() {
    let apart = pairs(&[0.9, 0.8, 0.2, 0.1], &[true, true, false, false]);
    let refused = Calibration::logistic(&apart, 0.5).unwrap_err().to_string();
    assert_eq!(refused, "invalid `pairs`: expected scores of both kinds that overlap, got a slope without bound");
    let flat = Calibration::logistic(&pairs(&[0.5, 0.5], &[true, false]), 0.5).unwrap_err().to_string();
    assert_eq!(flat, "invalid `pairs`: expected scores of both kinds that overlap, got one score");
    let prior = Calibration::logistic(&apart, 1.0).unwrap_err().to_string();
    assert_eq!(prior, "invalid `prior`: expected a share strictly between 0 and 1, got 1");

    let (samples, cohort) = (population(&[3; 4], 1), population(&[2; 5], 2));
    for (top, got) in [(1, "got 1"), (11, "got 11")] {
        let refused = CohortScores::of(&samples, &cohort, top).unwrap_err().to_string();
        assert_eq!(refused, format!("invalid `top`: expected from 2 to 10, the size of the cohort, {got}"));
    }
    let scores = samples.pair_scores(PairProtocol::All).unwrap();
    let found = CohortScores::of(&samples, &cohort, 4).unwrap();
    assert_eq!(scores.as_norm(&[(0, 1)], &found).unwrap_err().to_string(), "66 scores but 1 labels");
    let beyond = vec![(0, 12); 66];
    assert_eq!(
        scores.as_norm(&beyond, &found).unwrap_err().to_string(),
        "invalid `pairs`: expected samples below 12, of which there are cohort scores, got 12"
    );
    let one = EmbeddingSet::new(Array2::<f32>::ones((4, 6)).view(), &[0, 1, 2, 3]).unwrap();
    assert!(CohortScores::of(&samples, &one, 3).unwrap_err().to_string().starts_with("invalid `cohort`: expected"));
}
