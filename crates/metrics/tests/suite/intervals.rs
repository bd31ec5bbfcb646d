//! Intervals from counts by class: against other programs, against pairs counted one by one, and whether they hold.

use std::collections::BTreeMap;

use approx::{assert_abs_diff_eq, assert_relative_eq};
use ndarray::{Array2, aview1};
use proptest::prelude::*;
use serde::Deserialize;
use soft_lmccl_metrics::Error;
use soft_lmccl_metrics::verify::{AllPairs, ClassCuts, Pairs};
use soft_lmccl_metrics::{
    ClassCounts, ClassEstimate, Curve, EerMethod, EmbeddingSet, Interval, Intervals, PairProtocol, wilson,
};

use super::{F64_REL, FIXTURE_REL, noise, population};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    embeddings: Vec<Vec<f32>>,
    labels: Vec<i64>,
    cuts: Vec<f64>,
    level: f64,
    cimat: Vec<Cimat>,
    by_hand: ByHand,
}

#[derive(Deserialize)]
struct Cimat {
    var_frr: f64,
    var_far: f64,
}

#[derive(Deserialize)]
struct ByHand {
    tar: Vec<Expected>,
    far: Vec<Expected>,
    auc: Expected,
}

#[derive(Deserialize)]
struct Expected {
    value: f64,
    low: f64,
    high: f64,
    trials: f64,
    df: f64,
}

fn cases() -> Vec<Case> {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/intervals.json")).unwrap();
    assert_eq!(fixture.cases.len(), 2);
    fixture.cases
}

fn set(case: &Case) -> EmbeddingSet {
    let mut rows = Array2::zeros((0, case.embeddings[0].len()));
    case.embeddings.iter().for_each(|row| rows.push_row(aview1(row)).unwrap());
    EmbeddingSet::new(rows.view(), &case.labels).unwrap()
}

/// Student's quantiles by another program.
const QUANTILE_REL: f64 = 1e-6;

fn assert_expected(found: ClassEstimate, expected: &Expected, pairs: u64) {
    assert_relative_eq!(found.value, expected.value, max_relative = FIXTURE_REL);
    assert_relative_eq!(found.degrees_of_freedom, expected.df, max_relative = FIXTURE_REL);
    // Never more trials than pairs.
    if expected.trials <= pairs as f64 {
        assert_relative_eq!(found.trials, expected.trials, max_relative = FIXTURE_REL);
        assert_relative_eq!(found.interval.low, expected.low, max_relative = QUANTILE_REL);
        assert_relative_eq!(found.interval.high, expected.high, max_relative = QUANTILE_REL);
    }
}

#[test]
fn intervals_are_those_of_whole_matrices() {
    for case in cases() {
        let set = set(&case);
        let roc = set.pair_scores(PairProtocol::All).unwrap().roc();
        let counts = ClassCounts::of(&set, &case.cuts).unwrap();
        let intervals = Intervals::new(&roc, &counts, case.level).unwrap();
        let pairs = roc.counts();
        for (cut, &threshold) in case.cuts.iter().enumerate() {
            assert_expected(intervals.tar(threshold).unwrap(), &case.by_hand.tar[cut], pairs.matching);
            assert_expected(intervals.far(threshold).unwrap(), &case.by_hand.far[cut], pairs.non_matching);
            let (tar, frr) = (intervals.tar(threshold).unwrap(), intervals.frr(threshold).unwrap());
            assert_abs_diff_eq!(frr.value, 1.0 - tar.value, epsilon = F64_REL);
            assert_abs_diff_eq!(frr.interval.low, 1.0 - tar.interval.high, epsilon = F64_REL);
            assert_abs_diff_eq!(frr.standard_error(), tar.standard_error(), epsilon = F64_REL);
        }
        assert_expected(intervals.auc().unwrap(), &case.by_hand.auc, u64::MAX);
    }
}

/// With classes of one size the corrections are one factor, by which this differs from the plug-in estimator.
#[test]
fn variances_are_those_of_cimat_with_their_correction() {
    let case = &cases()[0];
    let set = set(case);
    let roc = set.pair_scores(PairProtocol::All).unwrap().roc();
    let counts = ClassCounts::of(&set, &case.cuts).unwrap();
    let intervals = Intervals::new(&roc, &counts, case.level).unwrap();
    let (c, mut compared) = (counts.labels().len() as f64, 0);
    for (&threshold, cimat) in case.cuts.iter().zip(&case.cimat) {
        let tar = intervals.tar(threshold).unwrap();
        // Never more trials than pairs, of which cimat knows nothing.
        if tar.trials < roc.counts().matching as f64 {
            assert_relative_eq!(
                tar.standard_error().powi(2),
                cimat.var_frr * c / (c - 1.0),
                max_relative = FIXTURE_REL
            );
        }
        let far = intervals.far(threshold).unwrap();
        let corrected = cimat.var_far * c * (c - 1.0) / ((c - 2.0) * (c - 3.0));
        let variance = far.standard_error().powi(2);
        // Where pairs of classes vary as if they were independent, both have that, and no correction.
        if (variance / corrected - 1.0).abs() < FIXTURE_REL {
            compared += 1;
        } else {
            assert!(variance < corrected, "{threshold}: {variance} {corrected}");
        }
    }
    assert!(compared >= 3, "{compared} of {}", case.cuts.len());
}

/// Accepted pairs by class, one by one: matching and with others.
fn by_class(labels: [&[u32]; 2], accepts: impl Fn(usize, usize) -> Option<bool>) -> BTreeMap<u32, [u64; 2]> {
    let mut found: BTreeMap<u32, [u64; 2]> = labels.concat().into_iter().map(|label| (label, [0; 2])).collect();
    for (i, &a) in labels[0].iter().enumerate() {
        for (j, &b) in labels[1].iter().enumerate().filter(|&(j, _)| accepts(i, j) == Some(true)) {
            let _ = j;
            if a == b {
                found.get_mut(&a).unwrap()[0] += 1;
            } else {
                found.get_mut(&a).unwrap()[1] += 1;
                found.get_mut(&b).unwrap()[1] += 1;
            }
        }
    }
    found
}

/// Signs only, so that every cosine is exact; many of them are equal to a cut.
fn signs(members: usize, seed: u64) -> Array2<f32> {
    let mut noise = noise(seed);
    Array2::from_shape_simple_fn((members, 16), || if noise() < 0.5 { -1.0 } else { 1.0 })
}

/// Sizes of all kinds: blocks of one class each way, of many, across the ends of tiles, with classes that are followed and,
/// beyond 256, that are not.
#[test]
fn streamed_counts_are_those_of_pairs_one_by_one() {
    let cuts = [0.75, 0.5, 0.25, 0.0, -0.25, -0.5];
    for (members, classes, gallery, tile) in [
        (150, 3, None, 480),
        (150, 3, None, 48),
        (150, 7, Some(90), 48),
        (300, 40, None, 96),
        (301, 299, None, 48),
        (700, 350, None, 48),
        (400, 300, Some(300), 35),
    ] {
        let label = |member: usize| ((member * member + 3 * member) % classes) as i64;
        let make = |members: usize, seed| {
            EmbeddingSet::new(signs(members, seed).view(), &(0..members).map(label).collect::<Vec<_>>()).unwrap()
        };
        let rows = make(members, 5);
        let columns = gallery.map(|members| make(members, 6));
        let pairs = match &columns {
            Some(columns) => Pairs::between(&rows, columns).unwrap(),
            None => Pairs::among(&rows),
        };
        let how = AllPairs { tile: Some(tile), ..Default::default() };
        let counted = how.count_by_class(pairs, &ClassCuts { across: false, thresholds: cuts.to_vec() }).unwrap();
        assert_eq!(counted.histogram.roc(), how.count(pairs).unwrap().roc());
        assert_eq!(counted.classes.counts(), counted.histogram.counts());
        assert_eq!(counted.classes.cuts(), cuts);
        for (cut, &threshold) in cuts.iter().enumerate() {
            let among = columns.is_none();
            let columns = columns.as_ref().unwrap_or(&rows);
            let score =
                |i: usize, j: usize| -> f32 { rows.row(i).iter().zip(columns.row(j)).map(|(a, b)| a * b).sum() };
            let accepts = |i: usize, j: usize| (!among || i < j).then(|| f64::from(score(i, j)) >= threshold);
            let expected = by_class([rows.labels(), columns.labels()], accepts);
            assert_eq!(counted.classes.labels(), expected.keys().copied().collect::<Vec<_>>());
            let of_kind = |kind: usize| expected.values().map(|counts| counts[kind]).collect::<Vec<_>>();
            assert_eq!(counted.classes.true_accepts(cut), of_kind(0), "{members} {classes} {threshold}");
            assert_eq!(counted.classes.false_accepts(cut), of_kind(1), "{members} {classes} {threshold}");
        }
    }
}

/// Pairs of two classes as well, which are only seen through intervals; from held pairs, trials and streams.
#[test]
fn held_streamed_and_listed_pairs_give_the_same_intervals() {
    let labels: Vec<i64> = (0..90).map(|member| (member * member + member) % 23).collect();
    let set = EmbeddingSet::new(signs(90, 3).view(), &labels).unwrap();
    let cuts = vec![0.5, 0.25, 0.0, -0.25];
    let held = ClassCounts::of(&set, &cuts).unwrap();
    let how = AllPairs { tile: Some(48), ..Default::default() };
    let streamed = how.count_by_class(&set, &ClassCuts { across: false, thresholds: cuts.clone() }).unwrap();
    assert_eq!(held, streamed.classes);
    let label = |member: usize| set.labels()[member];
    let trials = (0..90).flat_map(|i| (0..i).map(move |j| (i, j)));
    let trials = trials.map(|(i, j)| (label(i), label(j), set.cosine(i, j)));
    assert_eq!(ClassCounts::of_trials(trials, &cuts).unwrap(), held);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))] // each counts in 150 MB
    /// Scores that lie at, just above and just below a cut, rounded as they are counted.
    #[test]
    fn cuts_accept_what_the_histogram_accepts(seed in 0u64..1_000, cut in -1.2..1.2f64) {
        let mut noise = noise(seed);
        let labels: Vec<i64> = (0..40).map(|member| member % 5).collect();
        let rows = Array2::from_shape_simple_fn((40, 3), || noise() as f32 - 0.5);
        let set = EmbeddingSet::new(rows.view(), &labels).unwrap();
        let plain = AllPairs::default().count(&set).unwrap();
        // Scores themselves, and what lies between.
        let at = plain.at_far(noise()).unwrap().point.threshold.min(1.0);
        let thresholds = vec![cut, at, at + 1e-8, at - 1e-8, at + 1.2e-7, at - 1.2e-7];
        let cuts = ClassCuts { across: false, thresholds };
        let counted = AllPairs::default().count_by_class(&set, &cuts).unwrap();
        for (number, &threshold) in counted.classes.cuts().iter().enumerate() {
            let point = counted.histogram.at_threshold(threshold);
            prop_assert_eq!(counted.classes.true_accepts(number).iter().sum::<u64>(), point.true_accepts);
            prop_assert_eq!(counted.classes.false_accepts(number).iter().sum::<u64>(), 2 * point.false_accepts);
        }
    }
}

/// Between cuts an interval is nearly that of a cut of its own.
#[test]
fn intervals_between_cuts_are_near_to_exact_ones() {
    for (sizes, seed) in [(vec![6; 40], 1), (vec![3; 120], 2), ((2..26).collect(), 3)] {
        let set = population(&sizes, seed);
        let across = AllPairs::default().count_by_class(&set, &ClassCuts::default()).unwrap();
        let streamed = Intervals::new(&across.histogram, &across.classes, 0.9).unwrap();
        for far in [0.05, 0.01, 0.003] {
            let threshold = across.histogram.at_far(far).unwrap().point.threshold;
            let exact = ClassCuts { across: false, thresholds: vec![threshold] };
            let exact = AllPairs::default().count_by_class(&set, &exact).unwrap();
            let exact = Intervals::new(&exact.histogram, &exact.classes, 0.9).unwrap();
            for (found, exact) in [
                (streamed.tar(threshold), exact.tar(threshold)),
                (streamed.far(threshold), exact.far(threshold)),
                (streamed.tar_at_far(far), exact.tar_at_far(far)),
            ] {
                let (found, exact) = (found.unwrap(), exact.unwrap());
                assert_eq!(found.value.to_bits(), exact.value.to_bits());
                let ratio = (found.interval.high - found.interval.low) / (exact.interval.high - exact.interval.low);
                assert!((0.8..1.25).contains(&ratio), "{far}: {found:?} {exact:?}");
            }
        }
    }
}

/// Share of intervals that hold the truth: TAR and FAR at 0.6, TAR at a FAR of 5 %, EER, AUC.
fn held(sizes: &[usize], sets: u64) -> [f64; 5] {
    const TRUTH_SETS: u64 = 150;
    const THRESHOLD: f64 = 0.6;
    let figures = |seed: u64| {
        let set = population(sizes, seed);
        let (roc, counts) =
            (set.pair_scores(PairProtocol::All).unwrap().roc(), ClassCounts::across(&set, &[0.05]).unwrap());
        let intervals = Intervals::new(&roc, &counts, 0.9).unwrap();
        [
            intervals.tar(THRESHOLD),
            intervals.far(THRESHOLD),
            intervals.tar_at_far(0.05),
            intervals.eer(EerMethod::Linear),
            intervals.auc(),
        ]
        .map(|figure| figure.unwrap_or_else(|refused| panic!("{sizes:?}, seed {seed}: {refused}")))
    };
    let mut truth = [0.0; 5];
    for seed in 0..TRUTH_SETS {
        let values = figures(1_000_000 + seed).map(|figure| figure.value);
        truth.iter_mut().zip(values).for_each(|(truth, value)| *truth += value / TRUTH_SETS as f64);
    }
    let mut held = [0.0; 5];
    for seed in 0..sets {
        for ((held, figure), truth) in held.iter_mut().zip(figures(seed)).zip(truth) {
            *held += f64::from(figure.interval.contains(truth)) / sets as f64;
        }
    }
    held
}

/// Nominally nine of ten, and no less within three standard deviations of such a share. The longer course with more classes
/// is `examples/coverage.rs`.
#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    const SETS: u64 = 60;
    let slack = 3.0 * (0.9 * 0.1 / SETS as f64).sqrt();
    let large = [vec![12], vec![3; 8]].concat();
    for sizes in [vec![4; 6], vec![2, 2, 3, 3, 4, 4, 5, 6], large] {
        for (figure, held) in held(&sizes, SETS).into_iter().enumerate() {
            assert!(held > 0.9 - slack, "figure {figure} of {sizes:?} held {held}");
        }
    }
}

/// No error says nothing of how errors vary: the nearest threshold that has some does.
#[test]
fn without_errors_the_nearest_ones_tell_of_the_trials() {
    let set = population(&[5; 20], 4);
    let counted = AllPairs::default().count_by_class(&set, &ClassCuts::default()).unwrap();
    let intervals = Intervals::new(&counted.histogram, &counted.classes, 0.95).unwrap();
    let none = intervals.far(0.999_999).unwrap();
    assert_eq!((none.value.to_bits(), none.interval.low.to_bits()), (0, 0));
    let as_independent = wilson(0, counted.histogram.counts().non_matching, 0.95).unwrap();
    assert!(none.interval.high > as_independent.high && none.interval.high < 0.2, "{none:?}");
    // Where no cut has an error, each class is one trial.
    let apart = EmbeddingSet::new(Array2::<f32>::eye(20).view(), &(0..20).map(|row| row / 2).collect::<Vec<_>>());
    let (apart, cut) = (apart.unwrap(), [0.5]);
    let counts = ClassCounts::of(&apart, &cut).unwrap();
    let roc = apart.pair_scores(PairProtocol::All).unwrap().roc();
    let far = Intervals::new(&roc, &counts, 0.95).unwrap().far(0.5).unwrap();
    assert_relative_eq!(far.trials, 10.0);
    let Interval { low, high, .. } = far.interval;
    assert!(low <= 0.0 && high > wilson(0, 10, 0.95).unwrap().high);
}

#[test]
fn refusals() {
    let set = population(&[4; 5], 1);
    let roc = set.pair_scores(PairProtocol::All).unwrap().roc();
    let counts = ClassCounts::of(&set, &[0.5]).unwrap();
    let intervals = Intervals::new(&roc, &counts, 0.95).unwrap();
    let message = |result: Result<ClassEstimate, Error>| result.unwrap_err().to_string();
    assert_eq!(message(intervals.tar_at_far(1.5)), "`target_far` must be a rate from 0 to 1, got 1.5");
    assert_eq!(
        message(intervals.tar_at_far(0.001)),
        "invalid `target_far`: expected at least 1 in 160 non-matching pairs, got 0.001"
    );
    assert!(message(intervals.auc()).starts_with(
        "invalid `cuts`: expected enough of them to leave at most 0.2 of the square of both rates open, got 1 that leave "
    ));
    for level in [0.0, 1.0, f64::NAN] {
        let refused = Intervals::new(&roc, &counts, level).unwrap_err().to_string();
        assert!(refused.starts_with("invalid `level`: expected a share strictly between 0 and 1"), "{refused}");
    }
    let other = population(&[4; 6], 1).pair_scores(PairProtocol::All).unwrap().roc();
    assert!(
        Intervals::new(&other, &counts, 0.9).unwrap_err().to_string().starts_with("invalid `counts`: expected those")
    );
    let three = population(&[4; 3], 1);
    let (roc, counts) = (three.pair_scores(PairProtocol::All).unwrap().roc(), ClassCounts::of(&three, &[0.5]).unwrap());
    let intervals = Intervals::new(&roc, &counts, 0.9).unwrap();
    assert!(intervals.tar(0.5).is_ok());
    assert_eq!(message(intervals.far(0.5)), "invalid `classes`: expected at least 4, got 3");
    let singles = population(&[4, 1, 1, 1, 1], 1);
    let (roc, counts) =
        (singles.pair_scores(PairProtocol::All).unwrap().roc(), ClassCounts::of(&singles, &[0.5]).unwrap());
    let intervals = Intervals::new(&roc, &counts, 0.9).unwrap();
    assert_eq!(message(intervals.tar(0.5)), "invalid `classes`: expected at least 2 with matching pairs, got 1");
    for (thresholds, got) in [(vec![], "none"), (vec![0.5, f64::NAN], "NaN")] {
        let expected = format!("invalid `cuts`: expected thresholds, got {got}");
        assert_eq!(ClassCounts::of(&set, &thresholds).unwrap_err().to_string(), expected);
        let cuts = ClassCuts { across: false, thresholds };
        assert_eq!(AllPairs::default().count_by_class(&set, &cuts).unwrap_err().to_string(), expected);
    }
    let trials = [(1, 1, 0.5), (1, 2, f64::NAN)];
    let refused = ClassCounts::of_trials(trials, &[0.5]).unwrap_err();
    assert_eq!(refused.to_string(), "score 1 is NaN, not a finite number");
}

#[test]
fn a_sample_that_misses_a_kind_still_places_cuts() {
    // Two matching pairs among two thousand samples of as many classes.
    let labels: Vec<i64> = (0..2_000).map(|member| if member < 2 { 0 } else { member.min(1_998) }).collect();
    let mut noise = noise(3);
    let rows = Array2::from_shape_simple_fn((2_000, 4), || noise() as f32 - 0.5);
    let set = EmbeddingSet::new(rows.view(), &labels).unwrap();
    let counted = AllPairs::default().count_by_class(&set, &ClassCuts::default()).unwrap();
    assert_eq!(counted.classes.counts().matching, 2);
    assert!(counted.classes.cuts().len() > 10);
    assert_eq!(Curve::counts(&counted.histogram), counted.classes.counts());
}
