//! All pairs counted and every figure read off, beside the bare products of the upper triangle.

use ndarray::{Array2, ArrayView2, Axis, linalg::general_mat_mul};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use soft_lmccl::{
    metrics::{EerMethod, EmbeddingSet},
    tch::{Tensor, no_grad_guard},
    verify::AllPairs,
};

use super::{peak::extra_bytes, timing::in_turns};

/// Classes of the random rows.
const CLASSES: usize = 6;

/// One object for each size.
pub fn measure() -> Value {
    let cases = [(6_000, 128, 15), (6_000, 512, 9), (20_000, 128, 5), (20_000, 512, 3), (100_000, 128, 1)];
    cases.into_iter().map(|(n, d, rounds)| case(n, d, rounds)).collect()
}

fn case(n: usize, d: usize, rounds: usize) -> Value {
    eprintln!("verification: {n} rows of {d}");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let values = Array2::from_shape_simple_fn((n, d), || rng.random_range(-1.0f32..1.0));
    let labels: Vec<i64> = (0..n).map(|row| (row % CLASSES) as i64).collect();
    let set = EmbeddingSet::new(values.view(), &labels).expect("random rows are finite and not zero");
    let peak_extra_bytes = extra_bytes(|| every_figure(&set));
    let tensor = Tensor::try_from(values.clone()).expect("an array of ours");
    let [seconds, host, libtorch] = in_turns(
        rounds,
        [&mut || every_figure(&set), &mut || products_by_the_host(values.view()), &mut || {
            products_by_libtorch(&tensor)
        }],
    );
    let bare_gemm_seconds = host.min(libtorch);
    json!({
        "n": n, "d": d, "seconds": seconds, "bare_gemm_seconds": bare_gemm_seconds,
        "ratio": seconds / bare_gemm_seconds, "peak_extra_bytes": peak_extra_bytes,
        "host_gemm_seconds": host, "libtorch_gemm_seconds": libtorch,
    })
}

fn every_figure(set: &EmbeddingSet) {
    let histogram = AllPairs::default().count(set).expect("both kinds of pair");
    let at_far = [1e-2, 1e-3, 1e-4].map(|far| histogram.at_far(far).expect("a rate"));
    std::hint::black_box((histogram.auc(), histogram.eer(EerMethod::Linear), histogram.best_accuracy(), at_far));
}

/// Tiles that stay in the cache of a core, one thread each.
fn products_by_the_host(values: ArrayView2<'_, f32>) {
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

/// Tiles that are worth the threads of libtorch.
fn products_by_libtorch(values: &Tensor) {
    const TILE: i64 = 1024;
    let _guard = no_grad_guard();
    let rows = values.size()[0];
    let mut product = Tensor::empty([TILE, TILE], (values.kind(), values.device()));
    let span = |start: i64| values.narrow(0, start, TILE.min(rows - start));
    for i in (0..rows).step_by(TILE as usize) {
        for j in (i..rows).step_by(TILE as usize) {
            let (left, right) = (span(i), span(j));
            let mut out = product.narrow(0, 0, left.size()[0]).narrow(1, 0, right.size()[0]);
            let _ = left.matmul_out(&mut out, &right.tr());
            std::hint::black_box(&mut product);
        }
    }
}
