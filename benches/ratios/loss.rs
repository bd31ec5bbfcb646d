//! Value and every gradient of our losses, beside the bare products of forward and backward.

use serde_json::{Value, json};
use soft_lmccl::{
    loss::{Chunked, Chunks, LmclConfig, Loss, SoftLmcclConfig, SoftmaxBranch},
    tch::{Device, Kind, Tensor, nn, no_grad_guard},
};

use super::{peak::extra_bytes, timing::in_turns};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Embeddings, dimensions, classes.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Embeddings in the batch.
    pub n: i64,
    /// Embedding dimension.
    pub d: i64,
    /// Classes.
    pub c: i64,
}

impl Size {
    /// A batch of this size; the embeddings want a gradient.
    pub fn batch(self) -> (Tensor, Tensor) {
        soft_lmccl::tch::manual_seed(0);
        let embeddings = Tensor::randn([self.n, self.d], FLOAT).set_requires_grad(true);
        (embeddings, Tensor::randint(self.c, [self.n], (Kind::Int64, Device::Cpu)))
    }
}

/// One object for each loss and size.
pub fn measure() -> Value {
    let mut rows = Vec::new();
    for (n, d, c, rounds) in [(128, 512, 17, 300), (512, 512, 10_000, 15), (512, 512, 100_000, 5)] {
        for name in ["lmcl", "soft_lmccl_shared", "soft_lmccl"] {
            rows.push(case(name, Size { n, d, c }, rounds, None));
        }
    }
    for (n, d, c, rounds) in [(512, 512, 100_000, 3), (256, 256, 1_000_000, 2)] {
        for name in ["lmcl", "soft_lmccl_shared", "soft_lmccl"] {
            rows.push(case(name, Size { n, d, c }, rounds, Some(Chunks::default())));
        }
    }
    rows.into()
}

fn case(name: &str, size: Size, rounds: usize, chunks: Option<Chunks>) -> Value {
    let Size { n, d, c } = size;
    let shown = format!("{name}{}", if chunks.is_some() { "_chunked" } else { "" });
    let vs = nn::VarStore::new(Device::Cpu);
    let mut loss = make(name, &vs.root(), size);
    let (embeddings, labels) = size.batch();
    let mut inputs = vs.trainable_variables();
    inputs.push(embeddings.shallow_clone());
    let mut step = || {
        match chunks {
            // With the gradients in place, as `zero_grad` of the optimizer may leave them.
            Some(chunks) => drop(loss.forward_backward(&embeddings, &labels, chunks).expect("a valid batch")),
            None => {
                let total = loss.forward(&embeddings, &labels).expect("a valid batch").total();
                std::hint::black_box(Tensor::run_backward(&[total], &inputs, false, false));
            }
        }
        loss.update(&embeddings, &labels).expect("a valid batch");
    };
    step();
    let peak_extra_bytes = extra_bytes(&mut step);
    let heads = if name == "soft_lmccl" { 2 } else { 1 };
    let (x, w) = (embeddings.detach(), vs.trainable_variables().swap_remove(0).detach());
    assert_eq!(w.size(), [c, d], "the first trainable variable of a loss is a head");
    let mut bare = || (0..heads).for_each(|_| bare_products(&x, &w));
    let [seconds, bare_gemms_seconds] = in_turns(rounds, [&mut step, &mut bare]);
    eprintln!("loss: {shown}, {n} x {d}, {c} classes: {:.2} times the bare products", seconds / bare_gemms_seconds);
    json!({
        "name": shown, "n": n, "d": d, "c": c, "seconds": seconds, "bare_gemms_seconds": bare_gemms_seconds,
        "ratio": seconds / bare_gemms_seconds, "peak_extra_bytes": peak_extra_bytes,
    })
}

/// A loss by the name that the figures have.
pub fn make(name: &str, path: &nn::Path<'_>, Size { d, c, .. }: Size) -> Box<dyn Chunked> {
    let shared = SoftLmcclConfig { softmax: SoftmaxBranch::SharedCosine, ..Default::default() };
    match name {
        "lmcl" => Box::new(LmclConfig::default().init(path, c, d).expect("valid")),
        "soft_lmccl_shared" => Box::new(shared.init(path, c, d).expect("valid")),
        "soft_lmccl" => Box::new(SoftLmcclConfig::default().init(path, c, d).expect("valid")),
        _ => unreachable!("no other name is asked for"),
    }
}

/// Logits, gradient by the embeddings, gradient by the weights.
pub fn bare_products(embeddings: &Tensor, weight: &Tensor) {
    let _guard = no_grad_guard();
    let logits = embeddings.mm(&weight.tr());
    drop(std::hint::black_box((logits.mm(weight), logits.tr().mm(embeddings))));
}
