//! Intervals: known values, laws, and whether they hold the truth as often as they say.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use proptest::prelude::*;
use soft_lmccl_metrics::Error;
use soft_lmccl_metrics::{
    BootstrapOptions, EerMethod, EmbeddingSet, Estimate, Interval, PairProtocol, RocCurve, wilson,
};

use super::F64_REL;

fn population(classes: usize, per_class: usize, seed: u64) -> EmbeddingSet {
    super::population(&vec![per_class; classes], seed)
}

/// Rates at a threshold that is fixed beforehand, so that they are plain shares.
fn figures(roc: &RocCurve) -> Result<[f64; 3], Error> {
    const THRESHOLD: f64 = 0.6;
    let end = roc.points().partition_point(|point| point.threshold >= THRESHOLD);
    let point = roc.points()[end - 1];
    Ok([roc.auc(), point.tar(), point.far()])
}

struct Coverage {
    /// Share of data sets whose interval holds the truth, for AUC, TAR, FAR.
    bootstrap: [f64; 3],
    /// The same of Wilson's interval for the TAR.
    wilson_tar: f64,
    /// Mean width over that of the interval that holds nine of ten estimates.
    width: [f64; 3],
}

fn coverage(classes: usize, data_sets: u64, options: &BootstrapOptions) -> Coverage {
    const PER_CLASS: usize = 4;
    const TRUTH_SETS: u64 = 1_500;
    let mut known: [Vec<f64>; 3] = Default::default();
    for seed in 0..TRUTH_SETS {
        let set = population(classes, PER_CLASS, 1_000_000 + seed);
        let roc = set.pair_scores(PairProtocol::All).unwrap().roc();
        for (known, value) in known.iter_mut().zip(figures(&roc).unwrap()) {
            known.push(value);
        }
    }
    let truth = known.each_ref().map(|values| values.iter().sum::<f64>() / TRUTH_SETS as f64);
    let spread = known.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values[values.len() * 19 / 20] - values[values.len() / 20]
    });
    let (mut held, mut width, mut wilson_held) = ([0.0; 3], [0.0; 3], 0.0);
    for seed in 0..data_sets {
        let set = population(classes, PER_CLASS, seed);
        let found = set.bootstrap(options, figures).unwrap();
        for (figure, estimate) in found.estimates.iter().enumerate() {
            held[figure] += f64::from(estimate.interval.contains(truth[figure])) / data_sets as f64;
            width[figure] += (estimate.interval.high - estimate.interval.low) / spread[figure] / data_sets as f64;
        }
        let matching = set.pair_counts().matching;
        let accepted = (found.estimates[1].value * matching as f64).round() as u64;
        let interval = wilson(accepted, matching, options.level).unwrap();
        wilson_held += f64::from(interval.contains(truth[1])) / data_sets as f64;
    }
    Coverage { bootstrap: held, wilson_tar: wilson_held, width }
}

/// Nominally nine of ten. The class bootstrap holds the truth at least about as often, without being
/// arbitrarily wide; counting pairs as independent, as Wilson's interval does, holds it clearly less.
#[test]
fn class_bootstrap_covers_where_independent_pairs_do_not() {
    const DATA_SETS: u64 = 80;
    let options = BootstrapOptions { draws: 100, level: 0.9, seed: 3 };
    let Coverage { bootstrap, wilson_tar, width } = coverage(12, DATA_SETS, &options);
    // Three standard deviations of a share of 80 at 0.9.
    let slack = 3.0 * (0.9 * 0.1 / DATA_SETS as f64).sqrt();
    for (figure, (held, width)) in bootstrap.iter().zip(width).enumerate() {
        assert!(*held > 0.9 - slack, "figure {figure} held {held}");
        assert!(width > 0.7 && width < 2.0, "figure {figure} is {width} times as wide as needed");
    }
    assert!(wilson_tar < 0.9 - slack, "{wilson_tar}");
}

#[test]
fn wilson_has_its_published_values() {
    // R. G. Newcombe, Statistics in Medicine 17, 1998, table I, method 3.
    for (successes, trials, low, high) in
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
    {
        let interval = wilson(successes, trials, 0.95).unwrap();
        assert_abs_diff_eq!(interval.low, low, epsilon = 5e-5);
        assert_abs_diff_eq!(interval.high, high, epsilon = 5e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The bounds are the shares from which the observed one is exactly z standard errors away.
    #[test]
    fn wilson_inverts_the_score_test(trials in 1u64..5_000, share in 0.0..=1.0f64, level in 0.5..0.999f64) {
        let successes = (share * trials as f64) as u64;
        let p = successes as f64 / trials as f64;
        let interval = wilson(successes, trials, level).unwrap();
        prop_assert!(interval.contains(p));
        let z2 = |bound: f64| (p - bound).powi(2) * trials as f64 / (bound * (1.0 - bound));
        let bounds: Vec<f64> = [interval.low, interval.high].into_iter().filter(|b| 0.0 < *b && *b < 1.0).collect();
        prop_assert!(!bounds.is_empty());
        for pair in bounds.windows(2) {
            assert_relative_eq!(z2(pair[0]), z2(pair[1]), max_relative = 1e-7);
        }
        // The other side of the count mirrors it.
        let mirrored = wilson(trials - successes, trials, level).unwrap();
        assert_abs_diff_eq!(interval.low, 1.0 - mirrored.high, epsilon = F64_REL);
    }

    #[test]
    fn wilson_narrows_with_trials_and_widens_with_level(trials in 1u64..500, level in 0.1..0.9f64) {
        let width = |successes, trials, level| {
            let interval = wilson(successes, trials, level).unwrap();
            interval.high - interval.low
        };
        prop_assert!(width(trials, 2 * trials, level) > width(2 * trials, 4 * trials, level));
        prop_assert!(width(trials, 2 * trials, level) < width(trials, 2 * trials, level + 0.05));
    }
}

/// Rounding would leave 0 just below the lower bound, or 1 just above the upper one.
#[test]
fn none_and_all_of_the_trials_reach_the_end() {
    for trials in 1..200 {
        let (none, all) = (wilson(0, trials, 0.95).unwrap(), wilson(trials, trials, 0.95).unwrap());
        assert_eq!((none.low.to_bits(), all.high.to_bits()), (0f64.to_bits(), 1f64.to_bits()));
        assert_abs_diff_eq!(none.high, 1.0 - all.low, epsilon = F64_REL);
    }
}

#[test]
fn a_point_gives_the_intervals_of_its_counts() {
    let set = population(6, 5, 1);
    let point = set.pair_scores(PairProtocol::All).unwrap().roc().at_far(0.1).unwrap().point;
    assert_eq!(point.tar_interval(0.9).unwrap(), wilson(point.true_accepts, point.matching, 0.9).unwrap());
    assert_eq!(point.far_interval(0.9).unwrap(), wilson(point.false_accepts, point.non_matching, 0.9).unwrap());
}

/// A draw is what it says: rows of each class copied, pairs between copies of one class matching, no
/// sample against its own copy. Shown on the one figure that determines the draws: with three classes
/// there are ten multisets, and every AUC that comes up must be the AUC of one of them, built by hand.
#[test]
fn draws_are_copies_of_classes() {
    let set = population(3, 5, 1);
    let mut by_hand = Vec::new();
    for copies in (0..27).map(|code| [code % 3, code / 3 % 3, code / 9]) {
        let rows: Vec<usize> = copies.iter().flat_map(|&class| (0..15).filter(move |&row| row / 5 == class)).collect();
        let (mut scores, mut same) = (Vec::new(), Vec::new());
        for (k, &i) in rows.iter().enumerate() {
            for &j in rows[k + 1..].iter().filter(|&&j| j != i) {
                scores.push(set.cosine(i, j));
                same.push(set.labels()[i] == set.labels()[j]);
            }
        }
        if let Ok(pairs) = soft_lmccl_metrics::PairScores::new(scores, same) {
            by_hand.push(pairs.roc().auc());
        }
    }
    by_hand.sort_by(f64::total_cmp);
    by_hand.dedup();
    assert_eq!(by_hand.len(), 7); // 1 with all classes, 6 with one of them twice
    let seen = std::sync::Mutex::new(Vec::new());
    let options = BootstrapOptions { draws: 400, ..Default::default() };
    let found = set
        .bootstrap(&options, |roc| {
            seen.lock().unwrap().push(roc.auc());
            Ok([roc.auc()])
        })
        .unwrap();
    let mut seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), 401); // one for the data as they are
    seen.sort_by(f64::total_cmp);
    seen.dedup();
    assert_eq!(seen.len(), by_hand.len());
    for (seen, by_hand) in seen.iter().zip(&by_hand) {
        assert_relative_eq!(seen, by_hand, max_relative = F64_REL);
    }
    // One class three times is one draw of nine, with only matching pairs: one redraw in eight draws.
    assert!(found.redrawn > 25 && found.redrawn < 85, "{}", found.redrawn);
}

/// Of the drawn figures the interval holds its level, with as many beyond one bound as beyond the other.
#[test]
fn interval_holds_its_level_of_the_draws() {
    let set = population(9, 5, 6);
    for level in [0.5, 0.9] {
        let seen = std::sync::Mutex::new(Vec::new());
        let options = BootstrapOptions { draws: 501, level, seed: 1 };
        let found = set.bootstrap(&options, |roc| {
            seen.lock().unwrap().push(roc.auc());
            Ok([roc.auc()])
        });
        let Estimate { value, interval } = found.unwrap().estimates[0];
        let mut drawn = seen.into_inner().unwrap();
        assert_eq!(drawn.remove(0).to_bits(), value.to_bits()); // the data as they are come first
        assert_relative_eq!(interval.level, level);
        let share = |beyond: &dyn Fn(f64) -> bool| drawn.iter().filter(|auc| beyond(**auc)).count() as f64 / 501.0;
        assert_abs_diff_eq!(share(&|auc| auc < interval.low), (1.0 - level) / 2.0, epsilon = 0.003);
        assert_abs_diff_eq!(share(&|auc| auc > interval.high), (1.0 - level) / 2.0, epsilon = 0.003);
    }
}

#[test]
fn a_seed_gives_the_same_intervals_on_any_number_of_threads() {
    let set = population(5, 4, 2);
    let on = |threads, seed| {
        let options = BootstrapOptions { draws: 60, seed, ..Default::default() };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| set.bootstrap(&options, |roc| Ok([roc.auc(), roc.eer(EerMethod::Linear)])).unwrap())
    };
    assert_eq!(on(1, 7), on(4, 7));
    assert_ne!(on(1, 7), on(1, 8));
}

/// Two classes must both be drawn, so that every draw is the data as they are.
#[test]
fn two_classes_are_too_few() {
    let boot = |classes| population(classes, 4, 1).bootstrap(&BootstrapOptions::default(), |roc| Ok([roc.auc()]));
    assert_eq!(
        boot(2).unwrap_err().to_string(),
        "invalid `labels`: expected at least 3 classes to draw from, since draws of two are all alike, got 2"
    );
    let alike = population(2, 4, 1).bootstrap_draws(&BootstrapOptions::default(), |roc| Ok([roc.auc()])).unwrap();
    assert!(alike.draws.iter().all(|draw| draw[0].to_bits() == alike.values[0].to_bits()));
    assert_eq!(boot(1).unwrap_err().to_string(), "need matching and non-matching pairs, got 6 and 0");
    let Interval { low, high, .. } = boot(3).unwrap().estimates[0].interval;
    assert!(low < high);
}

/// As `numpy.percentile` does by default; the order of the draws is no matter.
#[test]
fn percentiles_lie_between_draws() {
    for (level, low, high) in [(0.5, 2.0, 8.0), (0.6, 1.8, 9.6), (0.9, 1.2, 14.4)] {
        let interval = Interval::percentile(vec![4.0, 16.0, 1.0, 8.0, 2.0], level).unwrap();
        assert_abs_diff_eq!(interval.low, low, epsilon = F64_REL * 16.0);
        assert_abs_diff_eq!(interval.high, high, epsilon = F64_REL * 16.0);
    }
}

#[test]
fn infinite_figures_have_infinite_bounds() {
    let set = population(5, 3, 4);
    let options = BootstrapOptions { draws: 41, ..Default::default() };
    for draws in [41, 47] {
        let options = BootstrapOptions { draws, ..options };
        // Infinite in all draws, below zero in all of them, and in some.
        let found = set.bootstrap(&options, |roc| {
            let some = if roc.counts().matching > 15 { f64::INFINITY } else { roc.auc() };
            Ok([f64::INFINITY, f64::NEG_INFINITY, some, -some])
        });
        for (at, estimate) in found.unwrap().estimates.into_iter().enumerate() {
            let Interval { low, high, .. } = estimate.interval;
            assert!(low <= high, "{at}: {low} {high}");
        }
    }
}

#[test]
fn refusals() {
    let set = population(4, 3, 2);
    let boot = |draws, level| set.bootstrap(&BootstrapOptions { draws, level, seed: 0 }, |roc| Ok([roc.auc()]));
    for (result, expected) in [
        (boot(39, 0.95).map(|_| ()), "invalid `draws`: expected at least 40 for a level of 0.95, got 39"),
        (boot(1_000, 1.0).map(|_| ()), "invalid `level`: expected a share strictly between 0 and 1, got 1"),
        (boot(1_000, f64::NAN).map(|_| ()), "invalid `level`: expected a share strictly between 0 and 1, got NaN"),
        (wilson(1, 2, 0.0).map(|_| ()), "invalid `level`: expected a share strictly between 0 and 1, got 0"),
        (wilson(0, 0, 0.9).map(|_| ()), "invalid `trials`: expected at least 1, got 0"),
        (wilson(3, 2, 0.9).map(|_| ()), "invalid `successes`: expected at most 2, the trials, got 3"),
        (boot(19, 0.9).map(|_| ()), "invalid `draws`: expected at least 20 for a level of 0.9, got 19"),
    ] {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    for (draws, level) in [(40, 0.95), (20, 0.9), (10, 0.8), (200, 0.99)] {
        assert!(boot(draws, level).is_ok(), "{draws} draws for {level}");
    }
    let not_a_number = set.bootstrap(&BootstrapOptions::default(), |_| Ok([0.5, f64::NAN]));
    assert_eq!(not_a_number.unwrap_err().to_string(), "invalid `figures`: expected 2 numbers, got [0.5, NaN]");
    let ragged = set.bootstrap(&BootstrapOptions::default(), |roc| {
        Ok(if roc.counts() == set.pair_counts() { vec![0.5] } else { vec![0.5, 0.5] })
    });
    assert_eq!(ragged.unwrap_err().to_string(), "invalid `figures`: expected 1 numbers, got [0.5, 0.5]");
    for (draws, level, message) in [
        (vec![], 0.9, "invalid `draws`: expected numbers, got none"),
        (vec![0.5, f64::NAN], 0.9, "invalid `draws`: expected numbers, got NaN"),
        (vec![0.5], 1.0, "invalid `level`: expected a share strictly between 0 and 1, got 1"),
    ] {
        assert_eq!(Interval::percentile(draws, level).unwrap_err().to_string(), message);
    }
    let stopped = set.bootstrap(&BootstrapOptions::default(), |_| {
        Err::<[f64; 1], _>(Error::Stopped { done: 0, total: 1000, units: "draws" })
    });
    assert_eq!(stopped.unwrap_err().to_string(), "stopped by the caller after 0 of 1000 draws");
    // What the closure refuses comes back.
    let refused = set.bootstrap(&BootstrapOptions::default(), |roc| Ok([roc.at_far(2.0)?.point.tar()]));
    assert_eq!(refused.unwrap_err().to_string(), "`target_far` must be a rate from 0 to 1, got 2");
}
