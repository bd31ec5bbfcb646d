//! What counting by class adds: the time of `count_by_class` over that of `count`, in turns.
//!
//! ```sh
//! cargo bench --package soft-lmccl-metrics --bench by_class
//! ```

use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use soft_lmccl_metrics::{
    EmbeddingSet, Error,
    ndarray::Array2,
    verify::{AllPairs, ClassCuts},
};

fn main() -> Result<(), Error> {
    println!("{:>8} {:>5} {:>8} {:>10} {:>10} {:>7}", "N", "D", "classes", "count, s", "by class", "ratio");
    for (n, dim, rounds) in [(6_000, 128, 31), (6_000, 512, 15), (20_000, 128, 9), (20_000, 512, 5)] {
        for classes in [6, 60, n / 10, n / 3] {
            let set = random_classes(n, dim, classes)?;
            let (mut plain, mut by_class) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                plain.push(seconds(|| AllPairs::default().count(&set).map(drop))?);
                by_class.push(seconds(|| AllPairs::default().count_by_class(&set, &ClassCuts::default()).map(drop))?);
            }
            let [plain, by_class] = [plain, by_class].map(median);
            println!("{n:>8} {dim:>5} {classes:>8} {plain:>10.4} {by_class:>10.4} {:>7.2}", by_class / plain);
        }
    }
    Ok(())
}

fn seconds(run: impl FnOnce() -> Result<(), Error>) -> Result<f64, Error> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64())
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Embeddings around their class's center, so that scores are spread as a network's are.
fn random_classes(n: usize, dim: usize, classes: usize) -> Result<EmbeddingSet, Error> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let centers = Array2::from_shape_simple_fn((classes, dim), || rng.random_range(-1.0f32..1.0));
    let values =
        Array2::from_shape_fn((n, dim), |(row, k)| centers[[row % classes, k]] + rng.random_range(-1.2f32..1.2));
    let labels: Vec<i64> = (0..n).map(|row| (row % classes) as i64).collect();
    EmbeddingSet::new(values.view(), &labels)
}
