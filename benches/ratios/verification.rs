//! All pairs counted and every figure read off, beside the bare products of the upper triangle.

use std::time::Duration;

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use soft_lmccl::{
    metrics::{EerMethod, EmbeddingSet},
    tch::Tensor,
    verify::{AllPairs, Embedded},
};

use super::{
    bare,
    peak::{extra_bytes, height},
    timing::in_turns_apart,
};

/// Its name in the object.
pub const NAME: &str = "verification";

/// Classes of the random rows.
const CLASSES: usize = 6;

/// One object for each size.
pub fn measure() -> Value {
    let cases = [(6_000, 128, 31), (6_000, 512, 15), (20_000, 128, 11), (20_000, 512, 5), (100_000, 128, 2)];
    cases.into_iter().map(|(n, d, rounds)| case(n, d, rounds)).collect()
}

fn case(n: usize, d: usize, rounds: usize) -> Value {
    eprintln!("verification: {n} rows of {d}");
    let peak_extra_bytes = extra_bytes(NAME, &json!([n, d]));
    let (values, set) = random_rows(n, d);
    let tensor = Tensor::try_from(values.clone()).expect("an array of ours");
    let [seconds, host, libtorch] = in_turns_apart(
        rounds,
        Duration::from_millis(20),
        [&mut || every_figure(&set), &mut || bare::by_the_host(values.view()), &mut || bare::by_libtorch(&tensor)],
    );
    let bare_gemm_seconds = host.min(libtorch);
    json!({
        "n": n, "d": d, "seconds": seconds, "bare_gemm_seconds": bare_gemm_seconds,
        "ratio": seconds / bare_gemm_seconds, "peak_extra_bytes": peak_extra_bytes,
        "host_gemm_seconds": host, "libtorch_gemm_seconds": libtorch,
    })
}

fn random_rows(n: usize, d: usize) -> (Array2<f32>, EmbeddingSet) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let values = Array2::from_shape_simple_fn((n, d), || rng.random_range(-1.0f32..1.0));
    let labels: Vec<i64> = (0..n).map(|row| (row % CLASSES) as i64).collect();
    let set = EmbeddingSet::new(values.view(), &labels).expect("random rows are finite and not zero");
    (values, set)
}

/// Bytes above the embeddings, for `[n, d]`.
pub fn peak(case: &Value) -> Option<u64> {
    let [n, d] = [&case[0], &case[1]].map(|size| size.as_u64().expect("a size") as usize);
    let (_, set) = random_rows(n, d);
    height(|| every_figure(&set))
}

/// What a ratio stands for.
pub fn every_figure<S: Embedded>(set: &S) {
    let histogram = AllPairs::default().count(set).expect("both kinds of pair");
    let at_far = [1e-2, 1e-3, 1e-4].map(|far| histogram.at_far(far).expect("a rate"));
    std::hint::black_box((histogram.auc(), histogram.eer(EerMethod::Linear), histogram.best_accuracy(), at_far));
}
