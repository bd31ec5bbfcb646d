//! Other ways to the same losses: the plain path, naive heads, sampled negatives, peers.

use serde_json::{Value, json};
use soft_lmccl::{
    loss::{GradientPath, LmclConfig, Loss, Negatives, SoftLmcclConfig, SoftmaxBranch, functional::cosine_similarity},
    tch::{Device, Kind, Tensor, nn},
};

use super::{
    loss::{Size, bare_products},
    timing::in_turns,
};

/// One object for each way and size.
pub fn measure() -> Value {
    let mut rows = Vec::new();
    for (n, d, c, rounds) in [(128, 512, 17, 300), (512, 512, 10_000, 7), (512, 512, 100_000, 3)] {
        rows.extend(case(Size { n, d, c }, rounds));
    }
    for name in ["pytorch_handwritten_cosface", "pytorch_metric_learning_cosface"] {
        rows.push(json!({
            "name": name, "seconds": null,
            "reason": "this command runs no Python: libtorch is provided without the interpreter's torch",
        }));
    }
    rows.into()
}

fn case(size: Size, rounds: usize) -> Vec<Value> {
    let Size { n, d, c } = size;
    eprintln!("compare: {n} x {d}, {c} classes");
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let plain = LmclConfig { gradient: GradientPath::Plain, ..Default::default() };
    let sampled = LmclConfig { negatives: Negatives { share: 0.1, seed: 0 }, ..Default::default() };
    let shared = |lmcl| SoftLmcclConfig { lmcl, softmax: SoftmaxBranch::SharedCosine, ..Default::default() };
    let losses: [(&str, Box<dyn Loss>); 4] = [
        ("lmcl_plain", Box::new(plain.init(&(&root / "a"), c, d).expect("valid"))),
        ("lmcl_negatives_0.1", Box::new(sampled.init(&(&root / "b"), c, d).expect("valid"))),
        ("soft_lmccl_shared", Box::new(shared(LmclConfig::default()).init(&(&root / "c"), c, d).expect("valid"))),
        ("soft_lmccl_shared_plain", Box::new(shared(plain).init(&(&root / "d"), c, d).expect("valid"))),
    ];
    let (embeddings, labels) = size.batch();
    let weight = Tensor::randn([c, d], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let mut rows = Vec::new();
    let mut record = |name: &str, arm: &mut dyn FnMut()| {
        let (x, w) = (embeddings.detach(), weight.detach());
        let [seconds, bare] = in_turns(rounds, [arm, &mut || bare_products(&x, &w)]);
        rows.push(json!({
            "name": name, "n": n, "d": d, "c": c, "seconds": seconds, "bare_gemms_seconds": bare, "ratio": seconds / bare,
        }));
    };
    for ((name, mut loss), part) in losses.into_iter().zip(["a", "b", "c", "d"]) {
        let mut inputs: Vec<Tensor> = vs
            .variables()
            .into_iter()
            .filter(|(name, variable)| name.starts_with(part) && variable.requires_grad())
            .map(|(_, variable)| variable)
            .collect();
        inputs.push(embeddings.shallow_clone());
        record(name, &mut || {
            let total = loss.forward(&embeddings, &labels).expect("a valid batch").total();
            std::hint::black_box(Tensor::run_backward(&[total], &inputs, false, false));
            loss.update(&embeddings, &labels).expect("a valid batch");
        });
    }
    let inputs = [&embeddings, &weight];
    record("naive_lmcl_one_hot", &mut || {
        let total = naive_lmcl(&embeddings, &weight, &labels).0;
        std::hint::black_box(Tensor::run_backward(&[total], &inputs, false, false));
    });
    let mut centers = Tensor::zeros([c, d], (Kind::Float, Device::Cpu));
    record("naive_soft_lmccl_shared", &mut || {
        let (lmcl, cosine) = naive_lmcl(&embeddings, &weight, &labels);
        let difference = &embeddings - centers.index_select(0, &labels);
        let center = difference.square().sum(Kind::Float) * (0.5 / n as f64);
        let total = lmcl + center * 0.1 + (cosine * 64.0).cross_entropy_for_logits(&labels);
        std::hint::black_box(Tensor::run_backward(&[total], &inputs, false, false));
        naive_update(&mut centers, &embeddings.detach(), &labels);
    });
    rows
}

/// Cosines, a one-hot matrix of margins, cross entropy: how it is written by hand.
fn naive_lmcl(embeddings: &Tensor, weight: &Tensor, labels: &Tensor) -> (Tensor, Tensor) {
    let cosine = cosine_similarity(embeddings, weight);
    let margins = labels.one_hot(weight.size()[0]).to_kind(Kind::Float) * 0.35;
    (((&cosine - margins) * 64.0).cross_entropy_for_logits(labels), cosine)
}

/// Counts by a one-hot matrix over all the classes.
fn naive_update(centers: &mut Tensor, embeddings: &Tensor, labels: &Tensor) {
    let one_hot = labels.one_hot(centers.size()[0]).to_kind(Kind::Float);
    let counts = one_hot.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>).unsqueeze(1);
    let pull = one_hot.tr().mm(embeddings) - &*centers * &counts;
    let _ = centers.g_add_(&(pull * 0.5 / (counts + 1.0)));
}
