//! All pairs counted and every figure read off, beside the bare products of the same tiles.

use criterion::{Criterion, Throughput};
use ndarray::{Array2, Axis, linalg::general_mat_mul};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use soft_lmccl::{
    metrics::{EerMethod, EmbeddingSet},
    verify::AllPairs,
};

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
            b.iter(|| {
                let histogram = AllPairs::default().count(&set).expect("both kinds of pair");
                let at_far = [1e-2, 1e-3, 1e-4].map(|far| histogram.at_far(far).expect("a rate"));
                (histogram.auc(), histogram.eer(EerMethod::Linear), histogram.best_accuracy(), at_far)
            });
        });
        group.bench_function(format!("bare_product/n={n},d={d}"), |b| b.iter(|| bare_product(&values)));
    }
    group.finish();
}

/// The products alone, of the tiles on and above the diagonal.
fn bare_product(values: &Array2<f32>) {
    const TILE: usize = 256;
    let blocks: Vec<_> = values.axis_chunks_iter(Axis(0), TILE).collect();
    let pairs: Vec<_> = (0..blocks.len()).flat_map(|j| (0..=j).map(move |i| (i, j))).collect();
    pairs.into_par_iter().for_each_init(
        || Array2::zeros((TILE, TILE)),
        |scores, (i, j)| {
            let mut product = scores.slice_axis_mut(Axis(0), (..blocks[i].nrows()).into());
            product.slice_axis_inplace(Axis(1), (..blocks[j].nrows()).into());
            general_mat_mul(1.0, &blocks[i], &blocks[j].t(), 0.0, &mut product);
            std::hint::black_box(&product);
        },
    );
}
