//! Held-out thresholds: what they may know, and what is made of them.

use approx::assert_abs_diff_eq;
use proptest::prelude::*;
use soft_lmccl_metrics::PairScores;

use super::{F64_REL, noise};

/// Scores that know nothing of the truth, half of the pairs matching.
fn uninformed(pairs: usize, seed: u64) -> PairScores {
    let mut noise = noise(seed);
    let scores = (0..pairs).map(|_| noise()).collect();
    PairScores::new(scores, (0..pairs).map(|pair| pair % 2 == 0).collect()).unwrap()
}

/// On noise a threshold chosen on the very fold of 20 pairs that it is judged on would be right in
/// about two thirds of them; one chosen elsewhere is right in half.
#[test]
fn accuracy_on_noise_is_that_of_a_coin() {
    let pairs = uninformed(2_000, 1);
    let held_out = pairs.cross_validated_accuracy(100, 5).unwrap();
    assert!((held_out.mean - 0.5).abs() < 0.04, "{held_out:?}");
    // The spread of the share of heads in 20 throws.
    assert!((held_out.std - (0.25f64 / 20.0).sqrt()).abs() < 0.03, "{held_out:?}");
}

/// All non-matching pairs score 0, the matching ones lie above, one by one. No false accept is
/// allowed, so that the threshold is the lowest matching score among the others: the fold of the lowest
/// of all must lose it. A threshold between two scores of the others would have kept it.
#[test]
fn threshold_is_a_score_of_the_other_folds() {
    let matching = 40usize;
    let scores: Vec<f64> = (0..2 * matching).map(|pair| pair.saturating_sub(matching - 1) as f64).collect();
    let same = (0..2 * matching).map(|pair| pair >= matching).collect();
    let tar = PairScores::new(scores, same).unwrap().cross_validated_tar(0.0, 4, 9).unwrap();
    assert!(tar.mean < 1.0 && tar.std > 0.0, "{tar:?}");
    assert!(tar.mean > 0.95, "{tar:?}");
    assert_abs_diff_eq!(tar.far, 0.0);
}

/// Two folds of equal size with x and y right: mean = (x + y)/n, and sd·n = |x − y| is a whole number,
/// where a sample standard deviation would be √2 times that.
#[test]
fn spread_is_the_population_standard_deviation() {
    let n = 400;
    let mut unequal = 0;
    for seed in 0..10 {
        let accuracy = uninformed(n, seed).cross_validated_accuracy(2, seed).unwrap();
        let (sum, difference) = (accuracy.mean * n as f64, accuracy.std * n as f64);
        assert_abs_diff_eq!(sum, sum.round(), epsilon = 1e-9);
        assert_abs_diff_eq!(difference, difference.round(), epsilon = 1e-9);
        assert_eq!(sum.round() as i64 % 2, difference.round() as i64 % 2);
        unequal += u32::from(difference > 0.5);
    }
    assert!(unequal > 5);
}

#[test]
fn a_seed_gives_the_same_folds_on_any_number_of_threads() {
    let pairs = uninformed(500, 3);
    let on = |threads, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| pairs.cross_validated_accuracy(10, seed).unwrap())
    };
    assert_eq!(on(1, 7), on(4, 7));
    assert_ne!(on(1, 7), on(1, 8));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tar_never_falls_as_the_target_rises(seed in any::<u64>(), a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
        let pairs = uninformed(200, seed);
        let low = pairs.cross_validated_tar(a.min(b), 5, seed).unwrap();
        let high = pairs.cross_validated_tar(a.max(b), 5, seed).unwrap();
        prop_assert!(low.mean <= high.mean + F64_REL);
        prop_assert!(low.far <= high.far + F64_REL);
    }

    #[test]
    fn everything_may_be_accepted(seed in any::<u64>()) {
        let tar = uninformed(200, seed).cross_validated_tar(1.0, 5, seed).unwrap();
        // The lowest score of the others lets nearly all of the fold pass.
        prop_assert!(tar.mean > 0.9 && tar.far > 0.9, "{:?}", tar);
    }
}
