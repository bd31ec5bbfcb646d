//! Center loss, gradient and update: the cost must not depend on the number of classes.

use serde_json::{Value, json};
use soft_lmccl::{
    loss::{CenterLossConfig, Loss},
    tch::{Device, Tensor, nn},
};

use super::{loss::Size, timing::in_turns};

/// One object for each number of classes.
pub fn measure() -> Value {
    const ROUNDS: usize = 200;
    let [(n, d)] = [(512, 512)];
    [100, 10_000, 100_000]
        .into_iter()
        .map(|c| {
            eprintln!("center: {n} x {d}, {c} classes");
            let vs = nn::VarStore::new(Device::Cpu);
            let mut center = CenterLossConfig::default().init(&vs.root(), c, d).expect("valid");
            let (embeddings, labels) = Size { n, d, c }.batch();
            let [seconds] = in_turns(
                ROUNDS,
                [&mut || {
                    let total = center.forward(&embeddings, &labels).expect("a valid batch").total();
                    std::hint::black_box(Tensor::run_backward(&[total], &[&embeddings], false, false));
                    center.update(&embeddings, &labels).expect("a valid batch");
                }],
            );
            json!({ "n": n, "d": d, "c": c, "seconds": seconds })
        })
        .collect()
}
