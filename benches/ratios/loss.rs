//! Value and every gradient of our losses, beside the bare products of forward and backward.

use serde_json::{Value, json};
use soft_lmccl::{
    loss::{ArcFaceConfig, LmclConfig, Loss, SoftLmcclConfig, SoftmaxBranch},
    tch::{Device, Kind, Tensor, nn, no_grad_guard},
};

use super::{
    peak::{extra_bytes, height},
    timing::in_turns,
};

/// Its name in the object.
pub const NAME: &str = "loss";

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
    let sizes = [(128, 512, 17, 300), (512, 512, 10_000, 15), (512, 512, 100_000, 5), (256, 256, 1_000_000, 3)];
    for (n, d, c, rounds) in sizes {
        for name in ["lmcl", "soft_lmccl_shared", "soft_lmccl", "arcface"] {
            rows.push(measured(Case { name, size: Size { n, d, c } }, rounds));
        }
    }
    rows.into()
}

/// One loss at one size.
#[derive(Clone, Copy)]
struct Case<'a> {
    name: &'a str,
    size: Size,
}

impl Case<'_> {
    /// A step of it, the embeddings that it takes and a head.
    fn made(self) -> (impl FnMut(), Tensor, Tensor) {
        let vs = nn::VarStore::new(Device::Cpu);
        let mut loss = make(self.name, &vs.root(), self.size);
        let (embeddings, labels) = self.size.batch();
        let mut inputs = vs.trainable_variables();
        inputs.push(embeddings.shallow_clone());
        let (x, w) = (embeddings.detach(), inputs[0].detach());
        assert_eq!(w.size(), [self.size.c, self.size.d], "the first trainable variable of a loss is a head");
        let step = move || {
            let total = loss.forward(&embeddings, &labels).expect("a valid batch").total();
            std::hint::black_box(Tensor::run_backward(&[total], &inputs, false, false));
            loss.update(&embeddings, &labels).expect("a valid batch");
        };
        (step, x, w)
    }
}

fn measured(case: Case<'_>, rounds: usize) -> Value {
    let Case { name, size: Size { n, d, c } } = case;
    let peak_extra_bytes = extra_bytes(NAME, &json!([name, n, d, c]));
    let (mut step, x, w) = case.made();
    step();
    let heads = if name == "soft_lmccl" { 2 } else { 1 };
    let mut bare = || (0..heads).for_each(|_| bare_products(&x, &w));
    let [seconds, bare_gemms_seconds] = in_turns(rounds, [&mut step, &mut bare]);
    eprintln!("loss: {name}, {n} x {d}, {c} classes: {:.2} times the bare products", seconds / bare_gemms_seconds);
    json!({
        "name": name, "n": n, "d": d, "c": c, "seconds": seconds, "bare_gemms_seconds": bare_gemms_seconds,
        "ratio": seconds / bare_gemms_seconds, "peak_extra_bytes": peak_extra_bytes,
    })
}

/// Bytes above inputs, weights and gradients, from undefined gradients, for `[name, n, d, c]`.
pub fn peak(case: &Value) -> Option<u64> {
    let (name, n, d, c): (String, i64, i64, i64) = serde_json::from_value(case.clone()).expect("this program wrote it");
    let case = Case { name: &name, size: Size { n, d, c } };
    let (step, x, w) = case.made();
    let heads = if name == "soft_lmccl" { 2 } else { 1 };
    let gradients = 4 * (x.numel() + heads * w.numel()) as u64;
    height(step).map(|bytes| bytes.saturating_sub(gradients))
}

/// A loss by the name that the figures have.
pub fn make(name: &str, path: &nn::Path<'_>, Size { d, c, .. }: Size) -> Box<dyn Loss> {
    let shared = SoftLmcclConfig { softmax: SoftmaxBranch::SharedCosine, ..Default::default() };
    match name {
        "lmcl" => Box::new(LmclConfig::default().init(path, c, d).expect("valid")),
        "soft_lmccl_shared" => Box::new(shared.init(path, c, d).expect("valid")),
        "soft_lmccl" => Box::new(SoftLmcclConfig::default().init(path, c, d).expect("valid")),
        "arcface" => Box::new(ArcFaceConfig::default().init(path, c, d).expect("valid")),
        _ => unreachable!("no other name is asked for"),
    }
}

/// Logits, gradient by the embeddings, gradient by the weights.
pub fn bare_products(embeddings: &Tensor, weight: &Tensor) {
    let _guard = no_grad_guard();
    let logits = embeddings.mm(&weight.tr());
    drop(std::hint::black_box((logits.mm(weight), logits.tr().mm(embeddings))));
}
