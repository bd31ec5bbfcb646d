//! The collapse monitor against its definitions.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use ndarray::{Array2, Axis, array};
use proptest::prelude::*;
use soft_lmccl_metrics::CollapseReport;

use super::{F64_REL, noise};

/// Cosines summed pair by pair in `f64` against sums of rows.
const COSINE_ABS: f64 = 1e-12;

fn embeddings(rows: usize, dim: usize, seed: u64) -> Array2<f32> {
    let mut noise = noise(seed);
    Array2::from_shape_simple_fn((rows, dim), || (3.0 * (noise() - 0.3)) as f32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cosines_are_means_over_pairs(rows in 2usize..12, dim in 1usize..8, classes in 1i64..5, seed in any::<u64>()) {
        let values = embeddings(rows, dim, seed);
        let labels: Vec<i64> = (0..rows as i64).map(|row| -(row * row % classes)).collect();
        let report = CollapseReport::of(values.view(), &labels).unwrap();
        let wide = values.mapv(f64::from);
        let mut sums = [(0.0, 0.0); 2];
        for i in 0..rows {
            for j in i + 1..rows {
                let (a, b) = (wide.row(i), wide.row(j));
                let (sum, pairs) = &mut sums[usize::from(labels[i] == labels[j])];
                *sum += a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt();
                *pairs += 1.0;
            }
        }
        for (ours, (sum, pairs)) in [report.inter_class_cosine, report.intra_class_cosine].into_iter().zip(sums) {
            prop_assert_eq!(ours.is_some(), pairs > 0.0);
            if let Some(ours) = ours {
                assert_abs_diff_eq!(ours, sum / pairs, epsilon = COSINE_ABS);
            }
        }
    }

    #[test]
    fn rank_is_between_one_and_the_most_there_can_be(rows in 2usize..12, dim in 1usize..8, seed in any::<u64>()) {
        let rank = CollapseReport::of(embeddings(rows, dim, seed).view(), &vec![0; rows]).unwrap().effective_rank;
        let most = dim.min(rows - 1) as f64;
        // In one dimension every direction is +1 or -1, and all may be equal.
        prop_assert!(rank <= most + 1e-9 && (rank >= 1.0 - 1e-9 || dim == 1 && rank <= 0.0), "{}", rank);
    }

    /// Columns of zeros make `XXᵀ` the smaller matrix; the rank is the same.
    #[test]
    fn both_ways_to_the_rank_agree(rows in 2usize..12, seed in any::<u64>()) {
        let narrow = embeddings(rows, 2, seed);
        let wide = Array2::from_shape_fn((rows, 20), |(row, column)| match column {
            3 | 4 => narrow[[row, column - 3]],
            _ => 0.0,
        });
        let rank = |values: &Array2<f32>| CollapseReport::of(values.view(), &vec![0; rows]).unwrap().effective_rank;
        assert_relative_eq!(rank(&narrow), rank(&wide), max_relative = 1e-9);
    }

    #[test]
    fn lengths_move_norms_alone(rows in 2usize..12, dim in 1usize..8, seed in any::<u64>()) {
        let values = embeddings(rows, dim, seed);
        let labels: Vec<i64> = (0..rows as i64).map(|row| row % 2).collect();
        let report = CollapseReport::of(values.view(), &labels).unwrap();
        let doubled = CollapseReport::of((&values * 2.0).view(), &labels).unwrap();
        assert_relative_eq!(doubled.norm_mean, 2.0 * report.norm_mean, max_relative = F64_REL);
        assert_relative_eq!(doubled.norm_std, 2.0 * report.norm_std, max_relative = F64_REL);
        prop_assert_eq!(doubled.intra_class_cosine, report.intra_class_cosine);
        prop_assert_eq!(doubled.inter_class_cosine, report.inter_class_cosine);
        prop_assert_eq!(doubled.effective_rank.to_bits(), report.effective_rank.to_bits());
    }
}

/// Rows along plus and minus `k` axes have mean zero and equal variance in `k` dimensions.
#[test]
fn rank_counts_evenly_used_dimensions() {
    for k in 1..=6 {
        let values = Array2::from_shape_fn((2 * k, 6), |(row, column)| {
            if row / 2 == column { if row % 2 == 0 { 3.0f32 } else { -5.0 } } else { 0.0 }
        });
        let report = CollapseReport::of(values.view(), &vec![0; 2 * k]).unwrap();
        assert_relative_eq!(report.effective_rank, k as f64, max_relative = F64_REL);
        assert_relative_eq!(report.norm_mean, 4.0);
        assert_relative_eq!(report.norm_std, 1.0);
        assert_eq!((report.norm_min.to_bits(), report.norm_max.to_bits()), (3f64.to_bits(), 5f64.to_bits()));
    }
}

/// Multiples of one vector point one way; what is left of them is the rounding of their values.
#[test]
fn rounding_is_no_rank() {
    let mut noise = noise(9);
    let direction: Vec<f64> = (0..256).map(|_| noise() - 0.5).collect();
    let lengths: Vec<f64> = (0..300).map(|_| 0.1 + 10.0 * noise()).collect();
    let multiples = Array2::from_shape_fn((300, 256), |(row, column)| (lengths[row] * direction[column]) as f32);
    let report = CollapseReport::of(multiples.view(), &vec![0; 300]).unwrap();
    assert_abs_diff_eq!(report.effective_rank, 0.0);
    // A spread that can be told from it counts.
    let spread = Array2::from_shape_fn((300, 256), |(row, column)| {
        (direction[column] + if column == 3 { 1e-4 * lengths[row] } else { 0.0 }) as f32
    });
    let report = CollapseReport::of(spread.view(), &vec![0; 300]).unwrap();
    assert!((0.9..1.5).contains(&report.effective_rank), "{report}");
}

#[test]
fn collapse_shows() {
    let mut noise = noise(4);
    let mut report = |spread: f64| {
        let values = Array2::from_shape_fn((60, 8), |(row, column)| {
            (1.0 + spread * (f64::from(row % 4 == column) + 0.2 * noise())) as f32
        });
        CollapseReport::of(values.view(), &(0..60).map(|row| row % 4).collect::<Vec<_>>()).unwrap()
    };
    let (healthy, collapsed) = (report(5.0), report(1e-3));
    let gap = |report: &CollapseReport| report.intra_class_cosine.unwrap() - report.inter_class_cosine.unwrap();
    assert!(gap(&healthy) > 0.2, "{healthy}");
    assert!(gap(&collapsed) < 1e-5, "{collapsed}");
}

#[test]
fn zero_rows_are_counted_and_have_no_direction() {
    let values = array![[0.0f32, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 0.0]];
    let report = CollapseReport::of(values.view(), &[1, 1, 2, 2]).unwrap();
    assert_eq!((report.embeddings, report.zero_rows), (4, 2));
    assert_eq!((report.intra_class_cosine, report.inter_class_cosine), (None, Some(0.0)));
    assert_eq!(
        report.to_string(),
        "norm 1.000 ± 1.000 (0.000 to 2.000), cosine undefined within classes and 0.000 between, effective rank 1.0, \
         2 of 4 embeddings are zero"
    );
    let none_is_zero = CollapseReport::of(values.select(Axis(0), &[1, 2]).view(), &[1, 2]).unwrap();
    assert!(none_is_zero.to_string().ends_with("effective rank 1.0"), "{none_is_zero}");
    let nothing = CollapseReport::of(Array2::zeros((3, 2)).view(), &[0, 1, 2]).unwrap();
    assert_abs_diff_eq!(nothing.effective_rank, 0.0);
    assert_eq!((nothing.intra_class_cosine, nothing.inter_class_cosine), (None, None));
}

#[test]
fn refusals() {
    let rows: [(Array2<f32>, &[i64], &str); 3] = [
        (Array2::zeros((0, 2)), &[], "need at least one embedding of at least one dimension, got 0 of 2"),
        (Array2::zeros((2, 2)), &[1], "2 embeddings but 1 labels"),
        (array![[1.0, f32::NAN]], &[1], "embedding 0 has NaN in column 1, not a finite number"),
    ];
    for (values, labels, expected) in rows {
        assert_eq!(CollapseReport::of(values.view(), labels).unwrap_err().to_string(), expected);
    }
}
