//! Counting all pairs tile by tile equals sorting all their scores.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::Array2;
use proptest::prelude::*;
use soft_lmccl::Error;
use soft_lmccl::metrics::{EerMethod, EmbeddingSet, PairProtocol, PairScores, RocCurve, ScoreHistogram};
use soft_lmccl::verify::AllPairs;

/// Every run that a test makes may take this much: two threads' worth.
const BUDGET: u64 = 256 << 20;

/// Rows of 16 entries of ±1/4, of length 1: their cosines are multiples of 1/8, exact in any order, and
/// tie all the time. A row is given by its signs; few distinct ones, so that rows repeat.
fn exact_set() -> impl Strategy<Value = (Vec<u16>, Vec<i64>)> {
    let row = prop_oneof![0u16..6, any::<u16>()];
    prop::collection::vec((row, 0i64..4), 3..40).prop_map(|rows| rows.into_iter().unzip()).prop_filter(
        "both kinds of pair",
        |(rows, labels): &(Vec<u16>, Vec<i64>)| {
            let counts = set(rows, labels).pair_counts();
            counts.matching > 0 && counts.non_matching > 0
        },
    )
}

fn set(rows: &[u16], labels: &[i64]) -> EmbeddingSet {
    let values =
        Array2::from_shape_fn((rows.len(), 16), |(row, bit)| if rows[row] >> bit & 1 == 1 { 0.25 } else { -0.25 });
    EmbeddingSet::new(values.view(), labels).unwrap()
}

fn count(set: &EmbeddingSet, tile: usize) -> ScoreHistogram {
    AllPairs { memory_budget: BUDGET, tile }.count(set).unwrap()
}

/// The curve from all scores, rounded to the grid by plain arithmetic and sorted.
fn sorted(set: &EmbeddingSet) -> RocCurve {
    let pairs = set.pair_scores(PairProtocol::All).unwrap();
    let steps = f64::from(1 << 22);
    let scores =
        pairs.scores().iter().map(|score| (score.clamp(-1.0, 1.0) * steps).round_ties_even() / steps).collect();
    PairScores::new(scores, pairs.same().to_vec()).unwrap().roc()
}

fn figures(roc: &RocCurve, fars: &[f64]) -> String {
    let at_far: Vec<_> = fars.iter().map(|&far| roc.at_far(far).unwrap()).collect();
    let eer = [EerMethod::Linear, EerMethod::MinDifference].map(|method| roc.eer(method));
    format!("{:?}", (roc.counts(), roc.auc(), eer, roc.eer_point(), roc.best_accuracy(), at_far))
}

fn counted_figures(histogram: &ScoreHistogram, fars: &[f64]) -> String {
    let at_far: Vec<_> = fars.iter().map(|&far| histogram.at_far(far).unwrap()).collect();
    let eer = [EerMethod::Linear, EerMethod::MinDifference].map(|method| histogram.eer(method));
    let (counts, auc) = (histogram.counts(), histogram.auc());
    format!("{:?}", (counts, auc, eer, histogram.eer_point(), histogram.best_accuracy(), at_far))
}

const FARS: [f64; 6] = [0.0, 1e-3, 0.02, 0.1, 0.5, 1.0];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tiled_equals_sorted((rows, labels) in exact_set(), tile in 1usize..50, far in 0.0..=1.0f64) {
        let set = set(&rows, &labels);
        let expected = sorted(&set);
        let histogram = count(&set, tile);
        prop_assert_eq!(&histogram.roc(), &expected);
        let fars = [&FARS[..], &[far]].concat();
        prop_assert_eq!(counted_figures(&histogram, &fars), figures(&expected, &fars));
    }

    #[test]
    fn order_and_names_change_nothing((rows, labels) in exact_set(), turn in 0usize..40, tile in 1usize..50) {
        let expected = count(&set(&rows, &labels), tile).roc();
        let turn = turn % rows.len();
        let (mut turned_rows, mut renamed) = (rows, labels);
        turned_rows.rotate_left(turn);
        renamed.rotate_left(turn);
        for label in &mut renamed {
            *label = [70, 3, 900, 12][usize::try_from(*label).unwrap()];
        }
        prop_assert_eq!(count(&set(&turned_rows, &renamed), tile).roc(), expected);
    }
}

/// Rows of any direction: scores fill many blocks of the grid, and the figures of the histogram are read
/// off other blocks than its curve's.
fn random_set(rows: usize, dim: usize, seed: u64) -> EmbeddingSet {
    let mut state = seed;
    let values = Array2::from_shape_simple_fn((rows, dim), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.45
    });
    let labels: Vec<i64> = (0..rows as i64).map(|row| row * row % 7).collect();
    EmbeddingSet::new(values.view(), &labels).unwrap()
}

#[test]
fn figures_are_those_of_the_curve() {
    for (rows, dim, seed) in [(300, 3, 1), (200, 8, 2), (120, 33, 3)] {
        let histogram = count(&random_set(rows, dim, seed), 64);
        assert_eq!(counted_figures(&histogram, &FARS), figures(&histogram.roc(), &FARS));
    }
}

/// Two ways of summing `dim` products differ by less than this, `dim · 2⁻²³` at the most.
fn rounding(dim: usize) -> f64 {
    dim as f64 * f64::from(f32::EPSILON)
}

#[test]
fn counts_differ_only_within_the_rounding_error() {
    let dim = 33;
    let set = random_set(150, dim, 4);
    let scores = set.pair_scores(PairProtocol::All).unwrap();
    let margin = rounding(dim) + f64::powi(2.0, -23);
    let accepted = |threshold: f64| {
        let accepted = scores.scores().iter().zip(scores.same()).filter(|&(&score, &same)| same && score >= threshold);
        accepted.count() as u64
    };
    for point in &count(&set, 32).roc().points()[1..] {
        let bounds = accepted(point.threshold + margin)..=accepted(point.threshold - margin);
        assert!(bounds.contains(&point.true_accepts), "{} is outside {bounds:?}", point.true_accepts);
    }
}

#[test]
fn progress_reaches_the_end_once() {
    let set = random_set(100, 4, 5);
    let (sum, ends) = (AtomicU64::new(0), AtomicU64::new(0));
    let all_pairs = AllPairs { memory_budget: BUDGET, tile: 16 };
    let counted = all_pairs.count_with(&set, |progress| {
        assert!(progress.done <= progress.total);
        sum.fetch_add(1, Ordering::Relaxed);
        ends.fetch_add(u64::from(progress.done == progress.total), Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    assert_eq!(counted.unwrap().counts().total(), 4950);
    assert_eq!((sum.into_inner(), ends.into_inner()), (28, 1));
}

#[test]
fn stops_when_told() {
    let set = random_set(100, 4, 5);
    let all_pairs = AllPairs { memory_budget: BUDGET, tile: 8 };
    let stopped = all_pairs.count_with(&set, |progress| {
        if progress.done < 1000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let Err(Error::Stopped { done, total: 4950 }) = stopped else { panic!("{stopped:?}") };
    assert!((1000..4950).contains(&done), "{done}");
}

#[test]
fn refusals() {
    let set = random_set(20, 4, 6);
    let message = |all_pairs: AllPairs, set: &EmbeddingSet| all_pairs.count(set).unwrap_err().to_string();
    let tile = AllPairs { tile: 0, ..Default::default() };
    assert_eq!(message(tile, &set), "invalid `tile`: expected from 1 to 4096, got 0");
    let poor = message(AllPairs { memory_budget: 1000, ..Default::default() }, &set);
    assert!(poor.starts_with("invalid `memory_budget`: expected at least "), "{poor}");
    assert!(poor.ends_with(" bytes for these embeddings, got 1000"), "{poor}");
    for (labels, expected) in [
        ([1, 1, 1], "need matching and non-matching pairs, got 3 and 0"),
        ([1, 2, 3], "need matching and non-matching pairs, got 0 and 3"),
    ] {
        let one_kind = EmbeddingSet::new(Array2::<f32>::eye(3).view(), &labels).unwrap();
        assert_eq!(message(AllPairs::default(), &one_kind), expected);
    }
}
