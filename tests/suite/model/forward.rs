//! Each network against the same network written out, and what training and evaluation do.

use std::collections::{BTreeMap, HashMap};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use soft_lmccl::{
    model::NetworkConfig,
    tch::{Device, Kind, Tensor, nn, nn::ModuleT, no_grad_guard},
};

use super::{made, small};

const F64_REL: f64 = 1e-9;
const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

type Variables = HashMap<String, Tensor>;

fn conv(x: &Tensor, at: &Variables, name: &str, stride: i64) -> Tensor {
    let kernel = &at[&format!("{name}.weight")];
    let padding = [kernel.size()[2] / 2; 3];
    x.conv3d(kernel, at.get(&format!("{name}.bias")), [stride; 3], padding, [1; 3], 1)
}

fn linear(x: &Tensor, at: &Variables, name: &str) -> Tensor {
    x.matmul(&at[&format!("{name}.weight")].tr()) + &at[&format!("{name}.bias")]
}

fn prelu(x: &Tensor, at: &Variables, name: &str) -> Tensor {
    x.clamp_min(0.0) + x.clamp_max(0.0) * at[&format!("{name}.slope")].view([1, -1, 1, 1, 1])
}

fn head(x: &Tensor, at: &Variables) -> Tensor {
    let x = linear(x, at, "fc");
    let of = |what: &str| &at[&format!("fc_bn.{what}")];
    (x - of("running_mean")) / (of("running_var") + 1e-5).sqrt() * of("weight") + of("bias")
}

fn hidden(x: &Tensor, at: &Variables) -> Tensor {
    let x = linear(&x.flatten(1, -1), at, "hidden.fc1").clamp_min(0.0);
    linear(&x, at, "hidden.fc2").clamp_min(0.0)
}

/// The maximum over windows of `size`, by looking at every voxel of them; the last voxels of an odd
/// extent are left out.
fn maxima(x: &Tensor, size: [i64; 3]) -> Tensor {
    let mut x = x.shallow_clone();
    for (axis, step) in (2..).zip(size) {
        let count = x.size()[axis as usize] / step;
        let pick = |offset: i64| x.slice(axis, offset, (count - 1) * step + offset + 1, step);
        x = (1..step).fold(pick(0), |most, offset| most.maximum(&pick(offset)));
    }
    x
}

fn written_out(config: &NetworkConfig, x: &Tensor, at: &Variables) -> Tensor {
    match config {
        NetworkConfig::Sphere20(config) => {
            let mut x = x.shallow_clone();
            for (stage, index) in config.stages.iter().zip(1..) {
                let layer = |x: &Tensor, name: &str, stride| {
                    let name = format!("stage{index}.{name}");
                    prelu(&conv(x, at, &format!("{name}.conv"), stride), at, &format!("{name}.prelu"))
                };
                x = layer(&x, "down", 2);
                for unit in 1..=stage.units {
                    let first = layer(&x, &format!("unit{unit}.first"), 1);
                    x = &x + layer(&first, &format!("unit{unit}.second"), 1);
                }
            }
            head(&x.flatten(1, -1), at)
        }
        NetworkConfig::Dsrf3dV2(config) => {
            let mut x = x.shallow_clone();
            for group in 1..=config.channels.len() {
                for which in ["first", "second"] {
                    x = conv(&x, at, &format!("group{group}.{which}"), 1).clamp_min(0.0);
                }
                x = maxima(&x, [2, 2, 2]);
            }
            head(&hidden(&x, at), at)
        }
        NetworkConfig::Rb3d(config) => {
            let mut x = maxima(&conv(x, at, "stem", 1).clamp_min(0.0), [2, 2, 2]);
            for unit in 1..=config.units {
                let layer = |x: &Tensor, name: &str| conv(x, at, &format!("unit{unit}.{name}"), 1);
                let left = layer(&x, "shortcut").clamp_min(0.0);
                let right = layer(&layer(&x, "narrow").clamp_min(0.0), "wide").clamp_min(0.0);
                x = Tensor::cat(&[left, layer(&right, "out")], 1).clamp_min(0.0);
            }
            head(&hidden(&x, at), at)
        }
        NetworkConfig::Cb3d(_) => {
            let mut x = x.shallow_clone();
            for names in [&["conv1a"][..], &["conv2a"], &["conv3a", "conv3b"], &["conv4a", "conv4b"]] {
                for name in names {
                    x = conv(&x, at, name, 1).clamp_min(0.0);
                }
                x = maxima(&x, if names[0] == "conv1a" { [1, 2, 2] } else { [2, 2, 2] });
            }
            for name in ["conv5a", "conv5b"] {
                x = conv(&x, at, name, 1).clamp_min(0.0);
            }
            // Zeros at both ends of height and width, none at the depth.
            x = x.constant_pad_nd([1, 1, 1, 1, 0, 0]);
            head(&hidden(&maxima(&x, [2, 2, 2]), at), at)
        }
        // `train::network` has it, in training as well.
        _ => unreachable!("written out elsewhere"),
    }
}

#[test]
fn networks_are_what_their_descriptions_say() {
    let _frozen = no_grad_guard();
    for (config, side) in small().into_iter().skip(1) {
        let (vs, net) = made(&config, side);
        let volumes = Tensor::randn([3, 1, side, side, side], DOUBLE);
        let (got, want) = (net.forward_t(&volumes, false), written_out(&config, &volumes, &vs.variables()));
        assert_eq!(got.size(), [3, config.embedding_dim()]);
        assert!(got.allclose(&want, F64_REL, F64_REL, false), "{}: {got} is not {want}", config.architecture());
        // Not all alike, or the comparison could not fail.
        assert!(got.std(true).double_value(&[]) > 1e-3, "{}: {got}", config.architecture());
    }
}

#[test]
fn evaluation_is_a_pure_function_of_each_volume() {
    let _frozen = no_grad_guard();
    for (config, side) in small() {
        let name = config.architecture();
        let (vs, net) = made(&config, side);
        let before: Variables = vs.variables().into_iter().map(|(name, v)| (name, v.copy())).collect();
        let volumes = Tensor::randn([4, 1, side, side, side], DOUBLE);
        let together = net.forward_t(&volumes, false);
        assert_eq!(together, net.forward_t(&volumes, false), "{name}");
        for index in 0..4 {
            let alone = net.forward_t(&volumes.narrow(0, index, 1), false);
            assert!(alone.allclose(&together.narrow(0, index, 1), F64_REL, F64_REL, false), "{name}");
        }
        for (variable, value) in vs.variables() {
            assert_eq!(before[&variable], value, "{name}: {variable} moved");
        }
    }
}

#[test]
fn training_drops_out_where_there_is_dropout() {
    let _frozen = no_grad_guard();
    for (config, side) in small() {
        let name = config.architecture();
        let (_vs, net) = made(&config, side);
        let volumes = Tensor::randn([5, 1, side, side, side], DOUBLE);
        let (first, second) = (net.forward_t(&volumes, true), net.forward_t(&volumes, true));
        let drops = matches!(config, NetworkConfig::Dsrf3dV2(_) | NetworkConfig::Rb3d(_) | NetworkConfig::Cb3d(_));
        assert_eq!(first != second, drops, "{name}");
        assert!(first.isfinite().all().int64_value(&[]) == 1, "{name}");
    }
}

#[test]
fn every_parameter_has_a_gradient() {
    for (config, side) in small() {
        let (vs, net) = made(&config, side);
        // The same numbers in every run: in so small a network, now and then a drawn unit is off for all volumes.
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |size: &[i64]| {
            let values: Vec<f64> = (0..size.iter().product()).map(|_| rng.random_range(-0.5..0.5)).collect();
            Tensor::from_slice(&values).view(size)
        };
        let variables: BTreeMap<_, _> = vs.variables().into_iter().filter(|(_, v)| v.requires_grad()).collect();
        for variable in variables.values() {
            let _frozen = no_grad_guard();
            variable.shallow_clone().copy_(&draw(&variable.size()));
        }
        let volumes = draw(&[6, 1, side, side, side]);
        // In evaluation mode, so that dropout hides none.
        net.forward_t(&volumes, false).square().sum(Kind::Double).backward();
        for (name, variable) in &variables {
            let gradient = variable.grad();
            assert!(gradient.defined(), "{}: {name}", config.architecture());
            assert!(gradient.abs().sum(Kind::Double).double_value(&[]) > 0.0, "{}: {name}", config.architecture());
        }
    }
}

/// The authors' momentum of .003 leaves a running mean after one batch at .003 of that batch's.
#[test]
fn running_statistics_move_by_the_momentum() {
    use soft_lmccl::model::{SphereNetConfig, SphereStage};
    let _frozen = no_grad_guard();
    let stages = vec![SphereStage { channels: 2, units: 0 }];
    let config = SphereNetConfig { stages, embedding_dim: 3, ..SphereNetConfig::official_code() };
    let vs = nn::VarStore::new(Device::Cpu);
    let net = NetworkConfig::Sphere20(config).init(&vs.root(), 4).unwrap();
    let volumes = Tensor::randn([5, 1, 4, 4, 4], (Kind::Float, Device::Cpu));
    let at = vs.variables();
    let down = prelu(&conv(&volumes, &at, "stage1.down.conv", 2), &at, "stage1.down.prelu");
    let mean = linear(&down.flatten(1, -1), &at, "fc").mean_dim(0i64, false, Kind::Float);
    let _ = net.forward_t(&volumes, true);
    assert!(vs.variables()["fc_bn.running_mean"].allclose(&(mean * 0.003), 1e-5, 1e-7, false));
}
