//! The arithmetic of cells, tested: means, intervals and differences of records that need no training.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use approx::assert_relative_eq;
use ndarray::{Array2, Axis};
use soft_lmccl::metrics::{EmbeddingSet, PairProtocol};

use super::{
    evaluate::evaluate,
    output::{figure_table, plain},
    plan::{Column, Domain, Roles, Run},
    printed::Figure,
    recipe::{Objective, Recipe},
    settings::{Settings, Size},
    summary::{Clustering, Estimate, cell, difference},
    train::{Outcome, Record, TrainingCurve},
};

/// Eight samples of each class; the higher `blur`, the less alike the samples of a class.
fn samples(seed: u64, classes: usize, blur: f32) -> (Array2<f32>, Vec<i64>) {
    let labels: Vec<i64> = (0..8 * classes).map(|sample| (sample % classes) as i64).collect();
    let noise =
        |sample: usize, column: usize| ((sample * 31 + column * 17 + seed as usize * 7) % 23) as f32 / 23.0 - 0.5;
    let raw = Array2::from_shape_fn((labels.len(), classes + 1), |(sample, column)| {
        f32::from(u8::from(sample % classes == column)) + blur * noise(sample, column)
    });
    (raw, labels)
}

/// What a run on [`samples`] leaves.
pub fn record(row: &str, seed: u64, classes: usize, blur: f32) -> Record {
    let (raw, labels) = samples(seed, classes, blur);
    let settings = Settings::of(Size::Smoke);
    let names = (0..classes).map(|class| format!("class {class}")).collect();
    let evaluation = evaluate(Domain::S2, names, raw.view(), &labels, &settings, false).unwrap();
    let recipe = Recipe::new(row, row, Objective::Softmax);
    let run = Run { train: Domain::S2, roles: Roles::Split(0), seed, recipe, tests: vec![Domain::S2] };
    Record {
        fingerprint: settings.fingerprint(&run),
        run,
        known: Vec::new(),
        outcome: Outcome::Tested(vec![evaluation]),
        curve: TrainingCurve::default(),
        train_seconds: 1.0,
        seconds: 1.0,
        threads: None,
    }
}

const S2: Column = Column::new(Domain::S2, Domain::S2);
const AUC: usize = 3;

fn auc(record: &Record) -> f64 {
    record.evaluation(Domain::S2).unwrap().report.auc
}

#[test]
fn cells_of_few_classes_have_students_interval_over_runs() {
    let records = [record("a", 1, 3, 2.0), record("a", 2, 3, 2.6), record("b", 1, 3, 1.0)];
    let (first, second) = (auc(&records[0]), auc(&records[1]));
    assert!((first - second).abs() > 1e-3, "{first} {second}");
    let cell = cell(&records, S2, "a").unwrap();
    assert_eq!((cell.runs, cell.seeds, cell.splits, cell.clustering), (2, 2, 1, Clustering::Runs));
    let figure = cell.figures.unwrap()[AUC];
    assert_relative_eq!(figure.mean, (first + second) / 2.0, epsilon = 1e-12);
    assert_relative_eq!(figure.sd.unwrap(), (first - second).abs() / 2f64.sqrt(), epsilon = 1e-12);
    // t of one degree of freedom is 12.706; the sd of a mean of two is half their distance.
    let half = 12.706_204_736 * (first - second).abs() / 2.0;
    let (low, high) = figure.interval.unwrap();
    assert_relative_eq!(low, figure.mean - half, max_relative = 1e-6);
    // No AUC is above 1.
    assert!(figure.mean + half > 1.0);
    assert_relative_eq!(high, 1.0);
}

#[test]
fn cells_of_six_classes_have_intervals_over_classes() {
    let records = [record("a", 1, 6, 2.0), record("a", 2, 6, 2.2)];
    let both = cell(&records, S2, "a").unwrap();
    assert_eq!(both.clustering, Clustering::Classes);
    let figure = both.figures.as_ref().unwrap()[AUC];
    let (low, high) = figure.interval.unwrap();
    assert!(low < figure.mean && figure.mean < high, "{figure:?}");
    // Seeds share the classes of a draw: their mean is not as narrow as two independent ones would be.
    let alone = cell(&records[..1], S2, "a").unwrap().figures.unwrap()[AUC];
    assert!(alone.sd.is_none());
    let (alone_low, alone_high) = alone.interval.unwrap();
    assert!(high - low > 0.5 * (alone_high - alone_low));
    let parts = plain(&both, Figure::Auc);
    assert!(parts[0].contains(" ± ") && parts[1].starts_with('['), "{parts:?}");
}

/// The interval is what a jackknife over the six classes gives by hand, and rounding in the record does not show in it.
#[test]
fn intervals_over_classes_are_a_jackknife() {
    const ROUNDED: f64 = 1e-5;
    let made = record("a", 1, 6, 2.0);
    let without: Vec<f64> = made.evaluation(Domain::S2).unwrap().without.iter().map(|figures| figures[AUC]).collect();
    assert_eq!(without.len(), 6);
    // Without class 2, counted again from the samples of the others.
    let (raw, labels) = samples(1, 6, 2.0);
    let others: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] != 2).collect();
    let kept: Vec<i64> = others.iter().map(|&row| labels[row]).collect();
    let set = EmbeddingSet::new(raw.select(Axis(0), &others).view(), &kept).unwrap();
    let expected = set.pair_scores(PairProtocol::All).unwrap().roc().auc();
    assert_relative_eq!(without[2], expected, epsilon = ROUNDED);
    let mean = without.iter().sum::<f64>() / 6.0;
    let squares: f64 = without.iter().map(|value| (value - mean).powi(2)).sum();
    // t of five degrees of freedom is 2.5706.
    let half = 2.570_581_836 * (5.0 / 6.0 * squares).sqrt();
    let (low, high) = cell(std::slice::from_ref(&made), S2, "a").unwrap().figures.unwrap()[AUC].interval.unwrap();
    assert!(auc(&made) + half < 1.0);
    assert_relative_eq!(low, auc(&made) - half, epsilon = ROUNDED);
    assert_relative_eq!(high, auc(&made) + half, epsilon = ROUNDED);
}

/// Two splits of equal variance: the mean's is half of it, with twice the degrees of freedom. Three have an interval of
/// their own.
#[test]
fn splits_are_independent() {
    let of_split = |split, seed, blur| {
        let mut made = record("a", seed, 6, blur);
        made.run.roles = Roles::Split(split);
        made
    };
    let interval = |records: &[Record]| cell(records, S2, "a").unwrap().figures.unwrap()[AUC];
    let twice = [of_split(0, 1, 2.0), of_split(1, 1, 2.0)];
    let (one, two) = (interval(&twice[..1]), interval(&twice));
    let width = |estimate: Estimate| estimate.interval.map(|(low, high)| high - low).unwrap();
    // t of ten degrees of freedom is 2.2281.
    assert_relative_eq!(width(two) / width(one), 2.228_138_852 / 2.570_581_836 / 2f64.sqrt(), max_relative = 1e-6);
    assert!(one.over_splits.is_none() && two.over_splits.is_none());
    let thrice = [of_split(0, 1, 2.0), of_split(0, 2, 2.0), of_split(1, 1, 2.2), of_split(2, 1, 2.4)];
    let [first, second, third] = [(auc(&thrice[0]) + auc(&thrice[1])) / 2.0, auc(&thrice[2]), auc(&thrice[3])];
    let middle = (first + second + third) / 3.0;
    let variance = [first, second, third].map(|value| (value - middle).powi(2)).iter().sum::<f64>() / 2.0;
    let (low, high) = interval(&thrice).over_splits.unwrap();
    // t of two degrees of freedom is 4.3027.
    assert_relative_eq!(
        high.min(1.0) - middle,
        (4.302_652_73 * (variance / 3.0).sqrt()).min(1.0 - middle),
        max_relative = 1e-6
    );
    assert!(low < middle);
    let parts = plain(&cell(&thrice, S2, "a").unwrap(), Figure::Auc);
    assert!(parts[2].ends_with("] over splits"), "{parts:?}");
}

#[test]
fn differences_are_paired() {
    let records = [record("a", 1, 6, 1.6), record("b", 1, 6, 1.6), record("c", 1, 6, 3.2), record("b", 2, 6, 1.6)];
    let same = difference(&records, S2, "a", "b").unwrap();
    assert_eq!((same.difference, same.interval, same.runs), (0.0, Some((0.0, 0.0)), 1));
    assert_eq!(same.verdict(), "not told apart");
    let better = difference(&records, S2, "a", "c").unwrap();
    assert_relative_eq!(better.difference, auc(&records[0]) - auc(&records[2]), epsilon = 1e-12);
    assert_eq!(better.verdict(), "better", "{better:?}");
    assert_eq!(difference(&records, S2, "c", "a").unwrap().verdict(), "worse");
    assert!(difference(&records, S2, "a", "d").is_none());
}

#[test]
fn a_failed_run_is_shown_as_such() {
    let mut failed = record("a", 1, 6, 1.0);
    failed.outcome = Outcome::Failed("loss: not finite".to_owned());
    let cell = cell(&[failed], S2, "a").unwrap();
    assert_eq!(cell.failures, ["S2-split0-seed1-a: loss: not finite"]);
    assert_eq!(figure_table(&[cell], Figure::Auc)[1], ["a", "failed"]);
}
