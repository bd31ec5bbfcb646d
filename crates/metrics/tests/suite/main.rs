//! Verification metrics, from pair scores to the report.

#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod all_pairs;
mod bad_arguments;
mod calibration;
mod cohorts;
mod collapse;
mod confidence;
mod confusion;
mod embeddings;
mod errors;
mod folds;
mod identification;
mod intervals;
mod open_set;
mod parity;
mod properties;
mod report;
mod standard;
mod threshold;

use ndarray::{Array2, aview1};
use proptest::prelude::*;
use soft_lmccl_metrics::{EmbeddingSet, PairScores};

/// Two ways to the same rational number in `f64`.
const F64_REL: f64 = 1e-12;
/// Ours against another program's.
const FIXTURE_REL: f64 = 1e-9;

/// Scores from few levels, hence with many ties, and a truth that leans on them; both kinds of pair.
fn tied_pairs() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
    prop::collection::vec((-4i32..=4, 0i32..=5), 2..40)
        .prop_map(|draws| draws.into_iter().map(|(level, luck)| (f64::from(level) / 4.0, luck < 2 + level / 2)).unzip())
        .prop_filter("both kinds of pair", |(_, same): &(Vec<f64>, Vec<bool>)| {
            same.contains(&true) && same.contains(&false)
        })
}

fn pairs(scores: &[f64], same: &[bool]) -> PairScores {
    PairScores::new(scores.to_vec(), same.to_vec()).unwrap()
}

/// A small linear congruential generator: noise for tests that need thousands of numbers at once.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Normal with variance 1 to within what tests need: the sum of twelve uniform numbers.
fn gaussian(noise: &mut impl FnMut() -> f64) -> f64 {
    (0..12).map(|_| noise()).sum::<f64>() - 6.0
}

/// Classes of these sizes with centers and spreads of their own, as one draw from a population of classes.
fn population(sizes: &[usize], seed: u64) -> EmbeddingSet {
    const DIM: usize = 6;
    let mut noise = noise(seed);
    let mut values = Array2::zeros((0, DIM));
    let mut labels = Vec::new();
    for (class, &size) in sizes.iter().enumerate() {
        let center: [f64; DIM] = std::array::from_fn(|_| gaussian(&mut noise));
        let spread = 0.8 * (0.5 * gaussian(&mut noise)).exp();
        for _ in 0..size {
            let row = center.map(|x| (x + spread * gaussian(&mut noise)) as f32);
            values.push_row(aview1(&row)).unwrap();
            labels.push(i64::try_from(class).unwrap());
        }
    }
    EmbeddingSet::new(values.view(), &labels).unwrap()
}
