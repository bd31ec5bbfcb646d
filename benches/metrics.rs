//! From embeddings to pairs, from pairs to the curve.

use criterion::{Criterion, Throughput};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use soft_lmccl::metrics::{BootstrapOptions, EerMethod, EmbeddingSet, PairProtocol, PairScores};

pub fn benches(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut group = c.benchmark_group("metrics");

    let n = 1_000_000;
    let scores: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    let same = scores.iter().map(|score| rng.random_bool(0.5 + 0.4 * score)).collect();
    let pairs = PairScores::new(scores, same).expect("both kinds of pair are drawn a million times");
    group.throughput(Throughput::Elements(n));
    group.bench_function("roc/n=1e6", |b| b.iter_with_large_drop(|| pairs.roc()));

    let (n, d) = (900, 128);
    let values = Array2::from_shape_simple_fn((n, d), || rng.random_range(-1.0f32..1.0));
    let labels: Vec<i64> = (0..900).map(|row| row % 6).collect();
    let set = EmbeddingSet::new(values.view(), &labels).expect("random rows are finite and not zero");
    group.throughput(Throughput::Elements(set.pair_counts().total()));
    group.bench_function("pairs/n=900,d=128", |b| b.iter_with_large_drop(|| set.pair_scores(PairProtocol::All)));

    let draws = 100;
    let options = BootstrapOptions { draws, ..Default::default() };
    group.throughput(Throughput::Elements(u64::from(draws)));
    group.sample_size(10);
    group.bench_function("bootstrap/n=900,draws=100", |b| {
        b.iter(|| set.bootstrap(&options, |roc| Ok([roc.auc(), roc.eer(EerMethod::Linear)])));
    });

    group.finish();
}
