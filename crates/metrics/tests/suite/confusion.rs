//! Acceptance by class.

use approx::assert_abs_diff_eq;
use ndarray::Array2;
use proptest::prelude::*;
use soft_lmccl_metrics::{EmbeddingSet, PairProtocol, ThresholdRule, VerificationThreshold};

use super::{F64_REL, noise};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counts_are_those_of_all_pairs(rows in 8usize..20, seed in any::<u64>(), target_far in 0.1..1.0f64) {
        let mut noise = noise(seed);
        let values = Array2::from_shape_simple_fn((rows, 3), || (noise() - 0.3) as f32);
        // Class 40 has one row only.
        let labels: Vec<i64> = (0..rows).map(|row| if row == 2 { 40 } else { [7, 1, 7, 5][row % 4] }).collect();
        let set = EmbeddingSet::new(values.view(), &labels).unwrap();
        let pairs = set.pair_scores(PairProtocol::All).unwrap();
        let Ok(threshold) = VerificationThreshold::fit(&pairs, ThresholdRule::AtFar { target_far }) else {
            return Ok(()); // the highest score is a non-matching pair, and no other is allowed
        };
        let confusion = set.confusion(&threshold);
        let (tar, far) = (confusion.tar(), confusion.most_confused());
        prop_assert_eq!(tar.iter().map(|pair| pair.first).collect::<Vec<_>>(), [1, 5, 7]);
        prop_assert_eq!(far.len(), 6);
        let total = |pairs: &[soft_lmccl_metrics::ClassPair]| {
            (pairs.iter().map(|pair| pair.accepted).sum::<u64>(), pairs.iter().map(|pair| pair.pairs).sum::<u64>())
        };
        let rates = threshold.rates_on(&pairs);
        prop_assert_eq!(total(&tar), (rates.true_accepts, rates.matching));
        prop_assert_eq!(total(&far), (rates.false_accepts, rates.non_matching));
        // Weighed by their pairs, the classes' rates are those of all.
        let mean = |pairs: &[soft_lmccl_metrics::ClassPair]| {
            let accepted: f64 = pairs.iter().map(|pair| pair.rate() * pair.pairs as f64).sum();
            accepted / pairs.iter().map(|pair| pair.pairs as f64).sum::<f64>()
        };
        assert_abs_diff_eq!(mean(&tar), rates.tar(), epsilon = F64_REL);
        assert_abs_diff_eq!(mean(&far), rates.far(), epsilon = F64_REL);
        for pair in &far {
            prop_assert!(pair.first < pair.second);
            let of = |row: usize| labels[row] as u32;
            let accepted = set.pairs(PairProtocol::All).unwrap().into_iter().filter(|&(i, j)| {
                (of(i).min(of(j)), of(i).max(of(j))) == (pair.first, pair.second) && threshold.accepts(set.cosine(i, j))
            });
            prop_assert_eq!(accepted.count() as u64, pair.accepted);
        }
        for two in far.windows(2) {
            prop_assert!(two[0].rate() >= two[1].rate());
        }
    }
}
