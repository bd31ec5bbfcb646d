//! The example networks: what they hold, what they compute, what they refuse.

mod errors;
mod forward;
#[cfg(feature = "cect")]
mod half_turns;
mod names;
mod parameters;
#[cfg(feature = "cect")]
mod pretrained;

use soft_lmccl::{
    model::{
        Cb3dConfig, CompactNetConfig, Dsrf3dConfig, Network, NetworkConfig, Rb3dConfig, SphereNetConfig, SphereStage,
    },
    tch::{self, Device, nn},
};

/// Every network, small, with sizes that all differ, and a side that it takes.
fn small() -> [(NetworkConfig, i64); 5] {
    let stages = vec![SphereStage { channels: 3, units: 1 }, SphereStage { channels: 5, units: 2 }];
    [
        (NetworkConfig::Compact(CompactNetConfig { channels: vec![3, 5], embedding_dim: 4, ..Default::default() }), 7),
        (NetworkConfig::Sphere20(SphereNetConfig { stages, embedding_dim: 4, ..Default::default() }), 7),
        (
            NetworkConfig::Dsrf3dV2(Dsrf3dConfig {
                channels: vec![3, 5],
                hidden: 6,
                embedding_dim: 4,
                ..Default::default()
            }),
            9,
        ),
        (
            NetworkConfig::Rb3d(Rb3dConfig {
                channels: 4,
                units: 2,
                hidden: 6,
                embedding_dim: 5,
                ..Default::default()
            }),
            7,
        ),
        (
            NetworkConfig::Cb3d(Cb3dConfig {
                channels: [2, 3, 4, 5, 3],
                hidden: 6,
                embedding_dim: 4,
                ..Default::default()
            }),
            // 17 halves to 8, 4, 2 and 1: the zeros before the last maximum matter.
            17,
        ),
    ]
}

/// The network in double precision, with biases and slopes that are no longer all alike.
fn made(config: &NetworkConfig, side: i64) -> (nn::VarStore, Network) {
    tch::set_num_threads(1);
    let mut vs = nn::VarStore::new(Device::Cpu);
    let net = config.init(&vs.root(), side).unwrap();
    vs.double();
    let _frozen = tch::no_grad_guard();
    for (name, variable) in vs.variables() {
        if variable.dim() == 1 {
            let scale = if name.contains("running_var") { 1.0 } else { 0.5 };
            let _ = variable.shallow_clone().g_add_(&(variable.rand_like() * scale));
        }
    }
    (vs, net)
}
