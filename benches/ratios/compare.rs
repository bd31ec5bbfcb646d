//! Other ways to the same losses: the formula by autograd, naive heads, sampled negatives, peers.

use serde_json::{Value, json};
use soft_lmccl::{
    loss::{LmclConfig, Loss, Negatives, functional::cosine_similarity},
    tch::{Device, Kind, Tensor, nn},
};

use super::{
    loss::{Size, bare_products},
    pytorch::{Peer, Times},
    timing::in_turns,
};

/// One object for each way and size.
pub fn measure() -> Value {
    let mut rows = Vec::new();
    for (n, d, c, rounds) in [(128, 512, 17, 300), (512, 512, 10_000, 7), (512, 512, 100_000, 3)] {
        rows.extend(case(Size { n, d, c }, rounds));
    }
    rows.extend(peers());
    rows.into()
}

/// Ours beside PyTorch's, in turns; `ours_ratio` is ours to theirs.
fn peers() -> Vec<Value> {
    let sizes = [(Size { n: 128, d: 512, c: 17 }, 100), (Size { n: 512, d: 512, c: 10_000 }, 3)];
    let arms = [
        ("pytorch_soft_lmccl_shared", "soft_lmccl_shared"),
        ("pytorch_handwritten_cosface", "lmcl"),
        ("pytorch_metric_learning_cosface", "lmcl"),
    ];
    let mut peer = Peer::start();
    let mut rows = Vec::new();
    for (size, rounds) in sizes {
        for (name, ours) in arms {
            let Size { n, d, c } = size;
            eprintln!("compare: {name}, {n} x {d}, {c} classes");
            let vs = nn::VarStore::new(Device::Cpu);
            let mut loss = super::loss::make(ours, &vs.root(), size);
            let (embeddings, labels) = size.batch();
            let mut inputs = vs.trainable_variables();
            inputs.push(embeddings.shallow_clone());
            let mut step = || {
                let total = loss.forward(&embeddings, &labels).expect("a valid batch").total();
                std::hint::black_box(Tensor::run_backward(&[total], &inputs, false, false));
                loss.update(&embeddings, &labels).expect("a valid batch");
            };
            let times = peer.as_mut().map_err(|reason| reason.clone());
            let times = times.and_then(|peer| peer.compare(name, size, rounds, &mut step));
            let named = json!({ "name": name, "n": n, "d": d, "c": c });
            rows.push(with_times(named, ours, times));
        }
    }
    rows
}

/// Adds the times to an object, or why there are none.
pub fn with_times(mut row: Value, ours: &str, times: Result<Times, String>) -> Value {
    match times {
        Ok(Times { ours: ours_seconds, peer, version }) => {
            row["seconds"] = peer.into();
            row["ours"] = ours.into();
            row["ours_seconds"] = ours_seconds.into();
            row["ours_ratio"] = (ours_seconds / peer).into();
            row["version"] = version.into();
        }
        Err(reason) => {
            row["seconds"] = Value::Null;
            row["reason"] = reason.into();
        }
    }
    row
}

fn case(size: Size, rounds: usize) -> Vec<Value> {
    let Size { n, d, c } = size;
    eprintln!("compare: {n} x {d}, {c} classes");
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
    for (name, sparse) in [("lmcl_negatives_0.1", false), ("lmcl_negatives_0.1_sparse", true)] {
        let vs = nn::VarStore::new(Device::Cpu);
        let sampled = LmclConfig { negatives: Negatives { share: 0.1, seed: 0, sparse }, ..Default::default() };
        let mut loss = sampled.init(&vs.root(), c, d).expect("valid");
        let inputs = [loss.prototypes().shallow_clone(), embeddings.shallow_clone()];
        record(name, &mut || {
            let total = loss.forward(&embeddings, &labels).expect("a valid batch").total();
            std::hint::black_box(Tensor::run_backward(&[total], &inputs, false, false));
            loss.update(&embeddings, &labels).expect("a valid batch");
        });
    }
    let inputs = [&embeddings, &weight];
    record("lmcl_by_autograd", &mut || {
        let margins = Tensor::full([n, 1], -0.35, (Kind::Float, Device::Cpu));
        let cosine = cosine_similarity(&embeddings, &weight).scatter_add(1, &labels.unsqueeze(1), &margins);
        let total = (cosine * 16.0).cross_entropy_for_logits(&labels);
        std::hint::black_box(Tensor::run_backward(&[total], &inputs, false, false));
    });
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
