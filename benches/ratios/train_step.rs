//! One step of the example's training, beside the same step with the cheapest of losses.

use serde_json::{Value, json};
use soft_lmccl::{
    loss::SoftLmcclConfig,
    model::{CompactNetConfig, compact_net},
    tch::{
        Device, Kind, Tensor,
        nn::{self, ModuleT},
    },
    train::{AdamWConfig, Optimizer, backward_step},
};

use super::{compare::with_times, loss::Size, pytorch::Peer, timing::in_turns};

/// At the example's batch, side and number of known classes.
pub fn measure() -> Value {
    const ROUNDS: usize = 5;
    let [(batch, side, classes)] = [(64, 32, 17)];
    eprintln!("train_step: {batch} volumes of {side}³");
    let vs = nn::VarStore::new(Device::Cpu);
    let config = CompactNetConfig::default();
    let dim = config.embedding_dim;
    let net = compact_net(&(vs.root() / "net"), side, config).expect("the default configuration is valid");
    let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), classes, dim).expect("valid");
    let mut optimizer = AdamWConfig::default().build(&vs).expect("the default configuration is valid");
    let bare_vs = nn::VarStore::new(Device::Cpu);
    let bare_net = compact_net(&(bare_vs.root() / "net"), side, CompactNetConfig::default()).expect("valid");
    let mut bare_optimizer = AdamWConfig::default().build(&bare_vs).expect("the default configuration is valid");
    let volumes = Tensor::randn([batch, 1, side, side, side], (Kind::Float, Device::Cpu));
    let labels = Tensor::randint(classes, [batch], (Kind::Int64, Device::Cpu));
    let [seconds, network_seconds] = in_turns(
        ROUNDS,
        [
            &mut || {
                let embeddings = net.forward_t(&volumes, true);
                backward_step(&mut loss, &mut optimizer, &embeddings, &labels).expect("a valid batch");
            },
            &mut || {
                bare_optimizer.zero_grad();
                bare_net.forward_t(&volumes, true).square().mean(Kind::Float).backward();
                bare_optimizer.step().expect("gradients of its own");
            },
        ],
    );
    let mut step = || {
        let embeddings = net.forward_t(&volumes, true);
        backward_step(&mut loss, &mut optimizer, &embeddings, &labels).expect("a valid batch");
    };
    let size = Size { n: batch, d: side, c: classes };
    let peer = Peer::start().and_then(|mut peer| peer.compare("pytorch_train_step", size, ROUNDS, &mut step));
    json!({
        "batch": batch, "side": side, "seconds": seconds, "network_seconds": network_seconds,
        "volumes_per_second": batch as f64 / seconds,
        "peer": with_times(json!({ "name": "pytorch_train_step" }), "train_step", peer),
    })
}
