//! What counting all pairs takes, beside the bare product of the same pairs and with accepted pairs by class; in turns.
//!
//! ```sh
//! cargo bench --package soft-lmccl-metrics --bench by_class
//! cargo bench --package soft-lmccl-metrics --bench by_class -- 100000 128 6 # N, D, classes
//! ```

use std::hint::black_box;
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use soft_lmccl_metrics::{
    EmbeddingSet, Error,
    ndarray::{Array2, ArrayView2, Axis, linalg::general_mat_mul},
    verify::{AllPairs, ClassCuts},
};

fn main() -> Result<(), Error> {
    // Cargo adds an argument of its own, which is no number.
    let asked: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let cases = match asked[..] {
        [n, dim, ..] => vec![(n, dim, (300_000_000_000 / (n * n * dim)).clamp(1, 31))],
        _ => vec![(6_000, 128, 31), (6_000, 512, 15), (6_000, 8_192, 3), (20_000, 128, 9), (20_000, 512, 5)],
    };
    println!(
        "{:>8} {:>5} {:>8} {:>11} {:>9} {:>12} {:>7} {:>9}",
        "N", "D", "classes", "product, s", "count, s", "by class, s", "count/", "by class/"
    );
    println!("{:>8} {:>5} {:>8} {:>11} {:>9} {:>12} {:>7} {:>9}", "", "", "", "", "", "", "product", "count");
    for (n, dim, rounds) in cases {
        let classes = if asked.len() > 2 { asked[2..].to_vec() } else { vec![6, 60, n / 10, n / 3] };
        for classes in classes {
            let (values, set) = random_classes(n, dim, classes)?;
            let mut times = [const { Vec::new() }; 3];
            for _ in 0..rounds {
                times[0].push(seconds(|| {
                    bare_product(values.view());
                    Ok(())
                })?);
                times[1].push(seconds(|| AllPairs::default().count(&set).map(drop))?);
                times[2].push(seconds(|| AllPairs::default().count_by_class(&set, &ClassCuts::default()).map(drop))?);
            }
            let [product, count, by_class] = times.map(median);
            println!(
                "{n:>8} {dim:>5} {classes:>8} {product:>11.4} {count:>9.4} {by_class:>12.4} {:>7.2} {:>9.2}",
                count / product,
                by_class / count
            );
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

/// The products of the upper triangle by a library: tiles that stay in the cache of a core, one thread each.
fn bare_product(values: ArrayView2<'_, f32>) {
    const TILE: usize = 256;
    let blocks: Vec<_> = values.axis_chunks_iter(Axis(0), TILE).collect();
    let pairs: Vec<_> = (0..blocks.len()).flat_map(|j| (0..=j).map(move |i| (i, j))).collect();
    pairs.into_par_iter().for_each_init(
        || Array2::zeros((TILE, TILE)),
        |scores, (i, j)| {
            let mut product = scores.slice_axis_mut(Axis(0), (..blocks[i].nrows()).into());
            product.slice_axis_inplace(Axis(1), (..blocks[j].nrows()).into());
            general_mat_mul(1.0, &blocks[i], &blocks[j].t(), 0.0, &mut product);
            black_box(&product);
        },
    );
}

/// Embeddings around their class's center, so that scores are spread as a network's are.
fn random_classes(n: usize, dim: usize, classes: usize) -> Result<(Array2<f32>, EmbeddingSet), Error> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let centers = Array2::from_shape_simple_fn((classes, dim), || rng.random_range(-1.0f32..1.0));
    let values =
        Array2::from_shape_fn((n, dim), |(row, k)| centers[[row % classes, k]] + rng.random_range(-1.2f32..1.2));
    let labels: Vec<i64> = (0..n).map(|row| (row % classes) as i64).collect();
    let set = EmbeddingSet::new(values.view(), &labels)?;
    Ok((values, set))
}
