//! The arithmetic of cells, tested: means, intervals and differences of records that need no training.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use approx::assert_relative_eq;
use ndarray::Array2;

use super::{
    evaluate::evaluate,
    output::{figure_table, plain},
    plan::{Column, Domain, Roles, Run},
    printed::Figure,
    recipe::{Objective, Recipe},
    settings::{Settings, Size},
    summary::{Clustering, cell, difference},
    train::{Outcome, Record, TrainingCurve},
};

/// Eight samples of each class; the higher `blur`, the less alike the samples of a class.
pub fn record(row: &str, seed: u64, classes: usize, blur: f32) -> Record {
    let labels: Vec<i64> = (0..8 * classes).map(|sample| (sample % classes) as i64).collect();
    let noise =
        |sample: usize, column: usize| ((sample * 31 + column * 17 + seed as usize * 7) % 23) as f32 / 23.0 - 0.5;
    let raw = Array2::from_shape_fn((labels.len(), classes + 1), |(sample, column)| {
        f32::from(u8::from(sample % classes == column)) + blur * noise(sample, column)
    });
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
    assert!(both.redrawn < 10);
    let parts = plain(&both, Figure::Auc);
    assert!(parts[0].contains(" ± ") && parts[1].starts_with('['), "{parts:?}");
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
