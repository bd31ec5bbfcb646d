//! From rows to pairs: which pairs, which scores, in which order.

use std::collections::HashSet;

use approx::assert_abs_diff_eq;
use ndarray::{Array2, ShapeBuilder};
use proptest::prelude::*;
use soft_lmccl_metrics::{EmbeddingSet, PairProtocol, PairScores};

use super::noise;

/// Cosines are sums of at most 40 products rounded in `f32`.
const COSINE_ABS: f64 = 2e-6;

fn embeddings(rows: usize, dim: usize, seed: u64) -> Array2<f32> {
    let mut noise = noise(seed);
    Array2::from_shape_simple_fn((rows, dim), || (noise() - 0.4) as f32)
}

/// Rows of three unequal classes with gaps between their numbers, out of order.
fn labels(rows: usize) -> Vec<i64> {
    (0..rows).map(|row| [9, 2, 2, 700, 2, 9][row * row % 6]).collect()
}

fn set(rows: usize, dim: usize, seed: u64) -> EmbeddingSet {
    EmbeddingSet::new(embeddings(rows, dim, seed).view(), &labels(rows)).unwrap()
}

fn sorted(pairs: &PairScores) -> Vec<(u64, bool)> {
    let bits = pairs.scores().iter().map(|score| score.to_bits());
    let mut sorted: Vec<_> = bits.zip(pairs.same().iter().copied()).collect();
    sorted.sort_unstable();
    sorted
}

/// Whatever version of it a program names beside this crate.
#[test]
fn rows_are_of_the_ndarray_that_comes_with_the_crate() {
    let rows = soft_lmccl_metrics::ndarray::array![[3.0f32, 4.0], [0.0, 2.0]];
    assert_eq!(EmbeddingSet::new(rows.view(), &[0, 1]).unwrap().row(0), [0.6, 0.8]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_pairs_are_all_cosines(rows in 4usize..14, dim in 1usize..40, seed in any::<u64>()) {
        let (values, labels) = (embeddings(rows, dim, seed).mapv(f64::from), labels(rows));
        let set = set(rows, dim, seed);
        let scores = set.pair_scores(PairProtocol::All).unwrap();
        let pairs = set.pairs(PairProtocol::All).unwrap();
        prop_assert_eq!(pairs.len(), rows * (rows - 1) / 2);
        prop_assert_eq!(scores.counts(), set.pair_counts());
        for (k, (i, j)) in pairs.into_iter().enumerate() {
            prop_assert!(i < j);
            let (a, b) = (values.row(i), values.row(j));
            let cosine = a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt();
            assert_abs_diff_eq!(scores.scores()[k], cosine, epsilon = COSINE_ABS);
            prop_assert_eq!(scores.same()[k], labels[i] == labels[j]);
        }
    }

    #[test]
    fn order_of_the_rows_changes_no_bit(rows in 4usize..14, dim in 1usize..40, seed in any::<u64>(), turn in 1usize..9) {
        let values = embeddings(rows, dim, seed);
        let order: Vec<usize> = (0..rows).map(|row| (row + turn) % rows).rev().collect();
        let turned = Array2::from_shape_fn((rows, dim), |(row, column)| values[[order[row], column]]);
        let labels = labels(rows);
        let renamed: Vec<i64> = order.iter().map(|&row| 1000 - labels[row]).collect();
        let turned = EmbeddingSet::new(turned.view(), &renamed).unwrap();
        prop_assert_eq!(
            sorted(&set(rows, dim, seed).pair_scores(PairProtocol::All).unwrap()),
            sorted(&turned.pair_scores(PairProtocol::All).unwrap())
        );
    }

    #[test]
    fn length_of_the_rows_changes_nothing(rows in 4usize..14, dim in 1usize..9, seed in any::<u64>()) {
        let mut values = embeddings(rows, dim, seed);
        for (row, mut embedding) in values.outer_iter_mut().enumerate() {
            embedding *= [1e-30f32, 2.0, 1e30][row % 3];
        }
        let scaled = EmbeddingSet::new(values.view(), &labels(rows)).unwrap();
        let set = set(rows, dim, seed);
        for row in 0..rows {
            for (a, b) in set.row(row).iter().zip(scaled.row(row)) {
                assert_abs_diff_eq!(a, b, epsilon = 2.0 * f32::EPSILON);
            }
        }
    }

    #[test]
    fn memory_layout_changes_nothing(rows in 4usize..14, dim in 1usize..9, seed in any::<u64>()) {
        let values = embeddings(rows, dim, seed);
        let mut by_columns = Array2::zeros((rows, dim).f());
        by_columns.assign(&values);
        prop_assert_eq!(EmbeddingSet::new(by_columns.view(), &labels(rows)).unwrap(), set(rows, dim, seed));
    }

    #[test]
    fn drawn_pairs_are_distinct_and_as_many_as_asked(
        rows in 4usize..14, seed in any::<u64>(), m in 0.0..=1.0f64, n in 0.0..=1.0f64,
    ) {
        let set = set(rows, 3, 5);
        let counts = set.pair_counts();
        let matching = (m * counts.matching as f64) as usize;
        let non_matching = (n * counts.non_matching as f64) as usize;
        let protocol = PairProtocol::Sampled { matching, non_matching, seed };
        let pairs = set.pairs(protocol).unwrap();
        prop_assert_eq!(&pairs, &set.pairs(protocol).unwrap());
        prop_assert_eq!(pairs.iter().collect::<HashSet<_>>().len(), matching + non_matching);
        prop_assert!(pairs.is_sorted());
        let same = pairs.iter().filter(|(i, j)| i < j && set.labels()[*i] == set.labels()[*j]).count();
        prop_assert_eq!(same, matching);
    }
}

/// To ask for as many as there are of both kinds is to ask for all, bit for bit and in the same order.
#[test]
fn a_sample_of_everything_is_everything() {
    for rows in [4, 7, 30] {
        let set = set(rows, 5, 3);
        let counts = set.pair_counts();
        let everything = PairProtocol::Sampled {
            matching: counts.matching as usize,
            non_matching: counts.non_matching as usize,
            seed: 11,
        };
        assert_eq!(set.pairs(everything).unwrap(), set.pairs(PairProtocol::All).unwrap());
        assert_eq!(set.pair_scores(everything).unwrap(), set.pair_scores(PairProtocol::All).unwrap());
    }
}

/// One pair of each kind from each of many seeds: every pair comes up, each about equally often.
#[test]
fn every_pair_has_the_same_chance() {
    const SEEDS: u64 = 4_000;
    let set = set(8, 2, 1);
    let counts = set.pair_counts();
    let mut drawn = std::collections::BTreeMap::new();
    for seed in 0..SEEDS {
        for pair in set.pairs(PairProtocol::Sampled { matching: 1, non_matching: 1, seed }).unwrap() {
            *drawn.entry(pair).or_insert(0u32) += 1;
        }
    }
    assert_eq!(drawn.len() as u64, counts.total());
    for ((i, j), times) in drawn {
        let kind = if set.labels()[i] == set.labels()[j] { counts.matching } else { counts.non_matching };
        let expected = SEEDS as f64 / kind as f64;
        // Five standard deviations of a binomial count.
        let allowed = 5.0 * (expected * (1.0 - 1.0 / kind as f64)).sqrt();
        assert!((f64::from(times) - expected).abs() < allowed, "({i}, {j}) {times} times, expected {expected}");
    }
}

#[test]
fn different_seeds_draw_different_pairs() {
    let set = set(40, 2, 1);
    let draw = |seed| set.pairs(PairProtocol::Sampled { matching: 20, non_matching: 40, seed }).unwrap();
    assert_ne!(draw(1), draw(2));
}

#[test]
fn threads_change_no_bit() {
    let set = set(60, 33, 8);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let sampled = PairProtocol::Sampled { matching: 50, non_matching: 100, seed: 4 };
            let all = set.pair_scores(PairProtocol::All).unwrap();
            let roc = all.roc();
            (all, roc, set.pair_scores(sampled).unwrap())
        })
    };
    assert_eq!(on(1), on(5));
}

/// A hundred thousand rows make 5·10⁹ pairs, more than 32 bits number: drawing a few must not list them.
#[test]
fn drawing_from_many_rows_lists_no_pairs() {
    let labels: Vec<i64> = (0..100_000).map(|row| row % 100).collect();
    let values = Array2::from_elem((labels.len(), 1), 1.0f32);
    let set = EmbeddingSet::new(values.view(), &labels).unwrap();
    assert_eq!(set.pair_counts().matching, 100 * 499_500);
    assert_eq!(set.pair_counts().total(), 4_999_950_000);
    let pairs = set.pairs(PairProtocol::Sampled { matching: 100, non_matching: 200, seed: 0 }).unwrap();
    assert_eq!(pairs.iter().filter(|(i, j)| i % 100 == j % 100).count(), 100);
    assert_eq!(pairs.len(), 300);
}

#[test]
fn accessors_give_back_what_went_in() {
    let set = set(5, 4, 2);
    assert_eq!((set.len(), set.dim(), set.is_empty()), (5, 4, false));
    assert_eq!(set.labels().iter().copied().map(i64::from).collect::<Vec<_>>(), labels(5));
    for row in 0..5 {
        let norm: f64 = set.row(row).iter().map(|&x| f64::from(x).powi(2)).sum();
        assert_abs_diff_eq!(norm, 1.0, epsilon = 1e-6);
    }
}

/// The largest and smallest finite values normalize like any others.
#[test]
fn extreme_rows_have_a_direction() {
    let values = ndarray::array![[f32::MAX, f32::MAX], [1e-45, 1e-45], [f32::MIN, f32::MAX], [2.0, 2.0]];
    let set = EmbeddingSet::new(values.view(), &[0, 0, 1, 1]).unwrap();
    let half = 0.5f32.sqrt();
    assert_eq!(set.row(0), [half, half]);
    assert_eq!(set.row(1), [half, half]);
    assert_eq!(set.row(2), [-half, half]);
}
