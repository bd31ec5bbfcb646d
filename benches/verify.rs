//! All pairs counted and every figure read off, beside the bare products of the same tiles.

use criterion::{Criterion, Throughput};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use soft_lmccl::metrics::EmbeddingSet;

use crate::ratios::{bare, verification::every_figure};

pub fn benches(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut group = c.benchmark_group("verify");
    group.sample_size(10);
    for (n, d) in [(6_000, 128), (6_000, 512), (20_000, 128)] {
        let values = Array2::from_shape_simple_fn((n, d), || rng.random_range(-1.0f32..1.0));
        let labels: Vec<i64> = (0..n as i64).map(|row| row % 6).collect();
        let set = EmbeddingSet::new(values.view(), &labels).expect("random rows are finite and not zero");
        group.throughput(Throughput::Elements(set.pair_counts().total()));
        group.bench_function(format!("all_pairs/n={n},d={d}"), |b| {
            b.iter(|| every_figure(&set));
        });
        group.bench_function(format!("bare_product/n={n},d={d}"), |b| b.iter(|| bare::by_the_host(values.view())));
    }
    group.finish();
}
