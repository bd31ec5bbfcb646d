//! Errors of searches and of transactions: against `identification.py`, which goes through them one by one.

use approx::assert_relative_eq;
use ndarray::{Array2, aview1};
use serde::Deserialize;
use soft_lmccl_metrics::{ClassEstimate, EmbeddingSet, Failures, Gallery, Prototype};

use super::{FIXTURE_REL, pairs};

/// Student's quantiles by another program.
const QUANTILE_REL: f64 = 1e-6;

#[derive(Deserialize)]
struct Fixture {
    searches: Vec<Search>,
    transactions: Vec<Transactions>,
}

#[derive(Deserialize)]
struct Search {
    enrolled: Vec<Vec<f32>>,
    enrolled_labels: Vec<i64>,
    probes: Vec<Vec<f32>>,
    probe_labels: Vec<i64>,
    level: f64,
    errors: Vec<Errors>,
}

#[derive(Deserialize)]
struct Errors {
    rank: usize,
    threshold: f64,
    misses: u64,
    known: u64,
    false_alarms: u64,
    unknown: u64,
    fnir: Expected,
    fpir: Expected,
}

#[derive(Deserialize)]
struct Expected {
    value: f64,
    low: f64,
    high: f64,
    trials: f64,
    df: f64,
}

#[derive(Deserialize)]
struct Transactions {
    positive: Vec<f64>,
    negative: Vec<f64>,
    threshold: f64,
    not_enrolled: u64,
    enrollments: u64,
    not_acquired: u64,
    acquisitions: u64,
    fte: f64,
    fta: f64,
    far: f64,
    frr: f64,
    gfar: f64,
    gfrr: f64,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/identification.json")).unwrap()
}

fn set(rows: &[Vec<f32>], labels: &[i64]) -> EmbeddingSet {
    let mut values = Array2::zeros((0, rows[0].len()));
    rows.iter().for_each(|row| values.push_row(aview1(row)).unwrap());
    EmbeddingSet::new(values.view(), labels).unwrap()
}

fn assert_expected(found: &ClassEstimate, expected: &Expected) {
    assert_relative_eq!(found.value, expected.value, max_relative = FIXTURE_REL);
    assert_relative_eq!(found.trials, expected.trials, max_relative = FIXTURE_REL);
    assert_relative_eq!(found.degrees_of_freedom, expected.df, max_relative = FIXTURE_REL);
    for (found, expected) in [(found.interval.low, expected.low), (found.interval.high, expected.high)] {
        // At a rate of 0 or 1 a bound is that rate but for rounding.
        assert_relative_eq!(found, expected, max_relative = QUANTILE_REL, epsilon = FIXTURE_REL);
    }
}

#[test]
fn errors_of_searches_and_their_intervals() {
    let searches = fixture().searches;
    assert_eq!(searches.len(), 2);
    for search in searches {
        let gallery = Gallery::enroll(&set(&search.enrolled, &search.enrolled_labels), Prototype::Mean).unwrap();
        let found = gallery.search(&set(&search.probes, &search.probe_labels)).unwrap();
        assert_eq!(search.errors.len(), 5);
        for expected in search.errors {
            let errors = found.errors(expected.rank, expected.threshold, search.level).unwrap();
            assert_eq!((errors.misses, errors.known), (expected.misses, expected.known));
            assert_eq!((errors.false_alarms, errors.unknown), (expected.false_alarms, expected.unknown));
            assert_expected(&errors.fnir.unwrap(), &expected.fnir);
            assert_expected(&errors.fpir.unwrap(), &expected.fpir);
        }
    }
}

#[test]
fn rates_of_transactions_with_failures() {
    let transactions = fixture().transactions;
    assert_eq!(transactions.len(), 3);
    for expected in transactions {
        let scores = [&expected.positive[..], &expected.negative].concat();
        let same = [vec![true; expected.positive.len()], vec![false; expected.negative.len()]].concat();
        let point = pairs(&scores, &same).roc().at_threshold(expected.threshold);
        let Transactions { not_enrolled, enrollments, not_acquired, acquisitions, .. } = expected;
        let rates = Failures { enrollments, not_enrolled, acquisitions, not_acquired }.rates(&point).unwrap();
        for (found, expected) in [
            (rates.fte, expected.fte),
            (rates.fta, expected.fta),
            (rates.far, expected.far),
            (rates.frr, expected.frr),
            (rates.gfar, expected.gfar),
            (rates.gfrr, expected.gfrr),
        ] {
            assert_relative_eq!(found, expected, max_relative = FIXTURE_REL, epsilon = f64::EPSILON);
        }
    }
}
