//! The example network against the same network written out.

use std::collections::HashMap;

use soft_lmccl::{
    loss::{CenterLossConfig, CenterUpdate, LmclConfig},
    model::{CompactNetConfig, compact_net},
    tch::{self, Device, Kind, Tensor, nn, nn::ModuleT, nn::OptimizerConfig, no_grad_guard},
    train::set_weight_decay,
};

const SIDE: i64 = 7;
const F64_REL: f64 = 1e-9;
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

fn config() -> CompactNetConfig {
    CompactNetConfig { channels: vec![3, 5], embedding_dim: 4, ..Default::default() }
}

/// `(x − mean)/√(var + 1e-5)·weight + bias`; statistics of the batch, or the running ones.
fn normalized(x: &Tensor, at: &HashMap<String, Tensor>, name: &str, train: bool) -> Tensor {
    let mut shape = vec![1; x.dim()];
    shape[1] = -1;
    let of = |what: &str| at[&format!("{name}.{what}")].view(shape.as_slice());
    let (mean, var) = match train {
        true => {
            let axes: Vec<i64> = (0..x.dim() as i64).filter(|&axis| axis != 1).collect();
            let mean = x.mean_dim(axes.as_slice(), true, Kind::Double);
            (mean.shallow_clone(), (x - mean).square().mean_dim(axes.as_slice(), true, Kind::Double))
        }
        false => (of("running_mean"), of("running_var")),
    };
    (x - mean) / (var + 1e-5).sqrt() * of("weight") + of("bias")
}

fn written_out(volumes: &Tensor, at: &HashMap<String, Tensor>, train: bool) -> Tensor {
    let mut x = volumes.shallow_clone();
    for (layer, stride) in [("block1.down", 2), ("block1.same", 1), ("block2.down", 2), ("block2.same", 1)] {
        let kernel = &at[&format!("{layer}.conv.weight")];
        x = x.conv3d(kernel, None::<Tensor>, [stride; 3], [1; 3], [1; 3], 1);
        x = normalized(&x, at, &format!("{layer}.bn"), train);
        let slope = at[&format!("{layer}.prelu.slope")].view([1, -1, 1, 1, 1]);
        x = x.clamp_min(0.0) + x.clamp_max(0.0) * slope;
    }
    normalized(&x.flatten(1, -1).matmul(&at["fc.weight"].tr()), at, "fc_bn", train)
}

#[test]
fn the_network_is_what_its_description_says() {
    tch::set_num_threads(1);
    tch::manual_seed(2);
    let mut vs = nn::VarStore::new(Device::Cpu);
    let net = compact_net(&vs.root(), SIDE, config()).unwrap();
    vs.double();
    let _frozen = no_grad_guard();
    let volumes = Tensor::randn([3, 1, SIDE, SIDE, SIDE], (Kind::Double, Device::Cpu));
    // A fresh network in evaluation mode, then one whose scales, biases and slopes are no longer alike.
    let fresh: HashMap<_, _> = vs.variables().into_iter().map(|(name, v)| (name, v.copy())).collect();
    assert!(fresh["block1.down.bn.running_var"].allclose(
        &Tensor::ones([3], FLOAT).to_kind(Kind::Double),
        0.0,
        0.0,
        false
    ));
    assert!((fresh["block2.same.prelu.slope"].double_value(&[4]) - 0.25).abs() < F64_REL);
    for (name, variable) in vs.variables() {
        if !name.contains("running") && variable.dim() == 1 {
            let _ = variable.shallow_clone().g_add_(&(variable.rand_like() * 0.5));
        }
    }
    for train in [false, true, false] {
        let want = written_out(&volumes, &vs.variables(), train);
        let got = net.forward_t(&volumes, train);
        assert_eq!(got.size(), [3, 4]);
        assert!(got.allclose(&want, F64_REL, F64_REL, false), "train {train}: {got} is not {want}");
    }
    // One batch moved the running mean by a tenth of the way from 0.
    let first = volumes.conv3d(&fresh["block1.down.conv.weight"], None::<Tensor>, [2; 3], [1; 3], [1; 3], 1);
    let tenth = first.mean_dim([0i64, 2, 3, 4].as_slice(), false, Kind::Double) * 0.1;
    assert!(vs.variables()["block1.down.bn.running_mean"].allclose(&tenth, F64_REL, F64_REL, false));
}

#[test]
fn first_weights_have_the_spread_of_their_source() {
    tch::manual_seed(4);
    let vs = nn::VarStore::new(Device::Cpu);
    let config = CompactNetConfig { channels: vec![16, 32], ..Default::default() };
    let _net = compact_net(&vs.root(), 8, config).unwrap();
    let std = vs.variables()["block2.down.conv.weight"].std(true).double_value(&[]);
    // He et al.: 2 over the 16·3³ inputs of a sum.
    assert!((std / (2.0f64 / (16.0 * 27.0)).sqrt() - 1.0).abs() < 0.05, "{std}");
    // Glorot and Bengio: uniform to √(6/(inputs + outputs)).
    let lmcl = LmclConfig::default().init(&(vs.root() / "lmcl"), 40, 60).unwrap();
    let largest = lmcl.prototypes().abs().max().double_value(&[]);
    let bound = 0.06f64.sqrt();
    assert!(largest <= bound && largest > 0.98 * bound, "{largest} of {bound}");
}

/// Kernels, slopes and the linear layer decay; normalization layers and centers do not.
#[test]
fn weight_decay_reaches_what_it_should() {
    let vs = nn::VarStore::new(Device::Cpu);
    let _net = compact_net(&(vs.root() / "net"), SIDE, config()).unwrap();
    let center = CenterLossConfig { rule: CenterUpdate::Gradient, ..Default::default() };
    let _center = center.init(&(vs.root() / "center"), 3, 4).unwrap();
    let mut optimizer = nn::AdamW::default().build(&vs, 0.1).unwrap();
    set_weight_decay(&mut optimizer, &vs, 0.5).unwrap();
    {
        let _frozen = no_grad_guard();
        for variable in vs.trainable_variables() {
            let _ = variable.shallow_clone().fill_(1.0);
        }
    }
    let sum = vs.trainable_variables().iter().fold(Tensor::zeros([], FLOAT), |sum, v| sum + v.sum(Kind::Float));
    (sum * 0.0).backward();
    optimizer.step();
    for (name, variable) in vs.variables().into_iter().filter(|(_, v)| v.requires_grad()) {
        let decays = ["conv.weight", "slope", "fc.weight"].iter().any(|end| name.ends_with(end));
        let want = if decays { 1.0 - 0.1 * 0.5 } else { 1.0 };
        assert!((variable.min().double_value(&[]) - want).abs() < 1e-6, "{name}: {variable}");
    }
}

#[test]
fn sizes_that_make_no_network_are_refused() {
    let refused = |channels: &[i64], embedding_dim: i64, side: i64| {
        let vs = nn::VarStore::new(Device::Cpu);
        let config = CompactNetConfig { channels: channels.to_vec(), embedding_dim, ..Default::default() };
        let error = compact_net(&vs.root(), side, config).map(drop).unwrap_err();
        assert!(vs.is_empty());
        error.to_string()
    };
    assert_eq!(refused(&[], 4, 8), "invalid `channels`: expected at least 1, got 0");
    assert_eq!(refused(&[4, 0], 4, 8), "invalid `channels`: expected at least 1, got 0");
    assert_eq!(refused(&[4], 0, 8), "invalid `embedding_dim`: expected at least 1, got 0");
    assert_eq!(refused(&[4], 4, 0), "invalid `side`: expected at least 1, got 0");
    let vs = nn::VarStore::new(Device::Cpu);
    compact_net(&vs.root(), SIDE, config()).unwrap();
    let error = compact_net(&vs.root(), SIDE, config()).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "variable `block1.down.conv.weight` already exists in this VarStore");
}

#[test]
fn volumes_of_bytes_are_numbers_too() {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = compact_net(&vs.root(), SIDE, config()).unwrap();
    let bytes = Tensor::randint(200, [2, 1, SIDE, SIDE, SIDE], FLOAT).to_kind(Kind::Uint8);
    assert_eq!(net.forward_t(&bytes, false), net.forward_t(&bytes.to_kind(Kind::Float), false));
}

#[test]
#[should_panic(expected = "volumes: expected [B, 1, 7, 7, 7], got [2, 1, 7, 7, 8]")]
fn volumes_of_another_size_are_named() {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = compact_net(&vs.root(), SIDE, config()).unwrap();
    let _ = net.forward_t(&Tensor::zeros([2, 1, 7, 7, 8], FLOAT), false);
}
