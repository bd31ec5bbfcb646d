//! What makes no network.

use std::panic::{AssertUnwindSafe, catch_unwind};

use soft_lmccl::{
    model::{Cb3dConfig, Dsrf3dConfig, NetworkConfig, Rb3dConfig, SphereNetConfig, SphereStage},
    tch::{Device, Kind, Tensor, nn, nn::ModuleT},
};

use super::small;

fn refused(config: &NetworkConfig, side: i64) -> String {
    let vs = nn::VarStore::new(Device::Cpu);
    let error = config.init(&vs.root(), side).map(drop).unwrap_err();
    assert!(vs.is_empty(), "{error}: a refused network leaves nothing behind");
    error.to_string()
}

#[test]
fn values_out_of_range_are_named() {
    let sphere = |stages: &[(i64, i64)]| {
        let stages = stages.iter().map(|&(channels, units)| SphereStage { channels, units }).collect();
        NetworkConfig::Sphere20(SphereNetConfig { stages, ..Default::default() })
    };
    let (dsrf3d, rb3d, cb3d) = (Dsrf3dConfig::default(), Rb3dConfig::default(), Cb3dConfig::default());
    for (config, message) in [
        (sphere(&[]), "invalid `stages`: expected at least 1, got 0"),
        (sphere(&[(4, 1), (0, 1)]), "invalid `channels`: expected at least 1, got 0"),
        (sphere(&[(4, -1)]), "invalid `units`: expected at least 0, got -1"),
        (
            NetworkConfig::Sphere20(SphereNetConfig { batch_norm: Some(0.0), ..Default::default() }),
            "invalid `batch_norm`: expected a momentum above 0 and up to 1, or none, got 0",
        ),
        (
            NetworkConfig::Sphere20(SphereNetConfig { batch_norm: Some(f64::NAN), ..Default::default() }),
            "invalid `batch_norm`: expected a momentum above 0 and up to 1, or none, got NaN",
        ),
        (
            NetworkConfig::Dsrf3dV2(Dsrf3dConfig { channels: vec![], ..dsrf3d.clone() }),
            "invalid `channels`: expected at least 1, got 0",
        ),
        (
            NetworkConfig::Dsrf3dV2(Dsrf3dConfig { hidden: 0, ..dsrf3d.clone() }),
            "invalid `hidden`: expected at least 1, got 0",
        ),
        (
            NetworkConfig::Dsrf3dV2(Dsrf3dConfig { dropout: 1.0, ..dsrf3d }),
            "invalid `dropout`: expected a rate from 0 up to, but not, 1, got 1",
        ),
        (
            NetworkConfig::Rb3d(Rb3dConfig { channels: 31, ..rb3d.clone() }),
            "invalid `channels`: expected an even number, got 31",
        ),
        (
            NetworkConfig::Rb3d(Rb3dConfig { unit_dropout: -0.1, ..rb3d.clone() }),
            "invalid `unit_dropout`: expected a rate from 0 up to, but not, 1, got -0.1",
        ),
        (NetworkConfig::Rb3d(Rb3dConfig { units: 0, ..rb3d }), "invalid `units`: expected at least 1, got 0"),
        (
            NetworkConfig::Cb3d(Cb3dConfig { channels: [1, 1, 1, 1, 0], ..cb3d.clone() }),
            "invalid `channels`: expected at least 1, got 0",
        ),
        (
            NetworkConfig::Cb3d(Cb3dConfig { embedding_dim: -3, ..cb3d }),
            "invalid `embedding_dim`: expected at least 1, got -3",
        ),
    ] {
        assert_eq!(refused(&config, 40), message);
        assert_eq!(config.validate().unwrap_err().to_string(), message);
    }
}

#[test]
fn sides_too_small_or_too_large_are_refused() {
    let large = "a side that gives the first linear layer at most 1073741824 weights";
    for (config, least) in small().into_iter().zip([1, 1, 4, 2, 16]) {
        let (config, _) = config;
        assert_eq!(
            refused(&config, least - 1),
            format!("invalid `side`: expected at least {least}, got {}", least - 1)
        );
        let vs = nn::VarStore::new(Device::Cpu);
        let net = config.init(&vs.root(), least).unwrap();
        let volumes = Tensor::randn([2, 1, least, least, least], (Kind::Float, Device::Cpu));
        assert_eq!(net.forward_t(&volumes, false).size(), [2, config.embedding_dim()]);
    }
    for (config, _) in small() {
        assert_eq!(refused(&config, 40_000), format!("invalid `side`: expected {large}, got 40000"));
        assert_eq!(refused(&config, i64::MAX), format!("invalid `side`: expected {large}, got {}", i64::MAX));
    }
}

#[test]
fn taken_names_are_refused() {
    for (config, side) in small() {
        let vs = nn::VarStore::new(Device::Cpu);
        config.init(&vs.root(), side).unwrap();
        let message = config.init(&vs.root(), side).map(drop).unwrap_err().to_string();
        assert!(message.ends_with("already exists in this VarStore"), "{message}");
    }
}

fn panic_of(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

/// A batch of one has no variance: libtorch would answer with zeros and an infinite running variance.
#[test]
fn a_batch_of_one_is_refused_in_training_only() {
    for (config, side) in small() {
        let vs = nn::VarStore::new(Device::Cpu);
        let net = config.init(&vs.root(), side).unwrap();
        let one = Tensor::randn([1, 1, side, side, side], (Kind::Float, Device::Cpu));
        let dim = config.embedding_dim();
        let message = panic_of(|| drop(net.forward_t(&one, true)));
        let wanted = "expected a batch of two or more in training, where batch normalization needs a variance";
        assert_eq!(message, format!("volumes: {wanted}, got [1, {dim}]"));
        for (name, variable) in vs.variables() {
            assert_eq!(variable.isfinite().all().int64_value(&[]), 1, "{name}");
        }
        assert_eq!(net.forward_t(&one, false).size(), [1, dim]);
    }
}

#[test]
fn volumes_of_another_size_are_named() {
    for (config, side) in small() {
        let vs = nn::VarStore::new(Device::Cpu);
        let net = config.init(&vs.root(), side).unwrap();
        let wrong = Tensor::zeros([2, 1, side, side, side + 1], (Kind::Float, Device::Cpu));
        let message = panic_of(|| drop(net.forward_t(&wrong, false)));
        let (s, t) = (side, side + 1);
        assert_eq!(message, format!("volumes: expected [B, 1, {s}, {s}, {s}], got [2, 1, {s}, {s}, {t}]"));
    }
}
