//! Single precision on a device against double precision on the host: the CPU always, a GPU when asked
//! (`cargo test --features cect,report --test suite devices -- --ignored`).

use std::ops::ControlFlow;

use approx::assert_relative_eq;
use ndarray::Array2;
use soft_lmccl::{
    device,
    loss::{
        ArcFaceConfig, CenterLossConfig, CenterUpdate, Chunks, LmclConfig, Loss, LossConfig, NormalizedSoftmaxConfig,
        SoftLmcclConfig, SoftmaxBranch, SoftmaxHeadConfig,
    },
    metrics::EmbeddingSet,
    model::Architecture,
    require_device,
    tch::{Cuda, Device, Kind, Tensor, autocast, nn, no_grad_guard},
    train::{FitConfig, fit},
    verify::{AllPairs, DeviceSet},
};

use crate::loss::precision::no_nan;

const B: i64 = 9;
const C: i64 = 5;
const D: i64 = 7;

/// What single precision leaves of sums as short as these.
const SINGLE_REL: f64 = 2e-5;

/// Numbers without order, from -1 to 1.
fn waves(size: &[i64], seed: f64) -> Tensor {
    let count = size.iter().product::<i64>();
    (Tensor::arange(count, (Kind::Double, Device::Cpu)).square() * 0.7 + seed).sin().view(size)
}

/// A loss with weights that are the same on every device and in every precision.
fn made<L>(device: Device, kind: Kind, init: impl Fn(&nn::Path<'_>) -> soft_lmccl::Result<L>) -> (nn::VarStore, L) {
    let mut vs = nn::VarStore::new(device);
    if kind == Kind::Double {
        vs.double();
    }
    let loss = init(&vs.root()).unwrap();
    let mut variables: Vec<_> = vs.variables().into_iter().filter(|(_, variable)| variable.dim() == 2).collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    for ((_, mut variable), seed) in variables.into_iter().zip(1..) {
        let _frozen = no_grad_guard();
        variable.copy_(&waves(&variable.size(), f64::from(seed)));
    }
    (vs, loss)
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_device(Device::Cpu).to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

/// Total, gradients and, after an update, every variable.
fn outcome<L: Loss>(
    device: Device,
    kind: Kind,
    init: impl Fn(&nn::Path<'_>) -> soft_lmccl::Result<L>,
    backward: impl Fn(&L, &Tensor, &Tensor) -> f64,
) -> Vec<(String, Vec<f64>)> {
    let (vs, mut loss) = made(device, kind, init);
    let embeddings = waves(&[B, D], 0.2).to_device(device).to_kind(kind).set_requires_grad(true);
    let labels = Tensor::from_slice(&[0i64, 2, 2, 4, 1, 0, 2, 1, 4]);
    let mut outcome = vec![("total".to_owned(), vec![backward(&loss, &embeddings, &labels)])];
    outcome.push(("gradient by the embeddings".into(), numbers(&embeddings.grad())));
    let mut variables: Vec<_> = vs.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, variable) in &variables {
        if variable.requires_grad() && variable.grad().defined() {
            outcome.push((format!("gradient by {name}"), numbers(&variable.grad())));
        }
    }
    loss.update(&embeddings, &labels).unwrap();
    outcome.extend(variables.iter().map(|(name, variable)| (name.clone(), numbers(variable))));
    outcome
}

fn agree<L: Loss>(
    device: Device,
    init: impl Fn(&nn::Path<'_>) -> soft_lmccl::Result<L> + Copy,
    backward: impl Fn(&L, &Tensor, &Tensor) -> f64 + Copy,
) {
    let expected = outcome(Device::Cpu, Kind::Double, init, backward);
    let found = outcome(device, Kind::Float, init, backward);
    for ((name, expected), (_, found)) in expected.iter().zip(&found) {
        assert_relative_eq!(expected[..], found[..], max_relative = SINGLE_REL, epsilon = SINGLE_REL);
        assert!(expected.len() == found.len(), "{name}");
    }
    assert_eq!(expected.len(), found.len());
}

fn whole<L: Loss>(loss: &L, embeddings: &Tensor, labels: &Tensor) -> f64 {
    let terms = loss.forward(embeddings, labels).unwrap();
    terms.total().backward();
    terms.report().unwrap().total
}

fn losses_agree(device: Device) {
    for classes in [None, Some(2)] {
        let chunks = Chunks { classes, ..Default::default() };
        let lmcl = LmclConfig { scale: 8.0, chunks, bias: true, ..Default::default() };
        let softmax = SoftmaxHeadConfig { chunks, ..Default::default() };
        let normalized = NormalizedSoftmaxConfig { scale: 8.0, chunks, ..Default::default() };
        agree(device, move |path| lmcl.init(path, C, D), whole);
        agree(device, move |path| softmax.init(path, C, D), whole);
        agree(device, move |path| normalized.init(path, C, D), whole);
        for softmax in [SoftmaxBranch::Own(softmax), SoftmaxBranch::SharedCosine] {
            let lmcl = LmclConfig { bias: false, ..lmcl };
            let config = SoftLmcclConfig { lmcl, softmax, ..Default::default() };
            agree(device, move |path| config.init(path, C, D), whole);
        }
    }
    let arcface = ArcFaceConfig { scale: 8.0, ..Default::default() };
    agree(device, move |path| arcface.init(path, C, D), whole);
    for rule in [CenterUpdate::Wen, CenterUpdate::Ema, CenterUpdate::ClassMean, CenterUpdate::Gradient] {
        let config = CenterLossConfig { rule, ..Default::default() };
        agree(device, move |path| config.init(path, C, D), whole);
    }
}

/// Rows of 16 entries of ±1/4: products are exact, so that counts agree to the last one.
fn counts_agree(device: Device) {
    const ROWS: usize = 700;
    let bits = |row: usize| (row as u64 * 2_654_435_761) >> 7;
    let values = Array2::from_shape_fn((ROWS, 16), |(row, bit)| if bits(row) >> bit & 1 == 1 { 0.25 } else { -0.25 });
    let labels: Vec<i64> = (0..ROWS as i64).map(|row| row % 7).collect();
    let host = EmbeddingSet::new(values.view(), &labels).unwrap();
    let tensor = Tensor::try_from(values).unwrap().to_kind(Kind::Float).to_device(device);
    let on_device = DeviceSet::new(&tensor, &Tensor::from_slice(&labels)).unwrap();
    for tile in [None, Some(64), Some(300)] {
        let engine = AllPairs { tile, ..Default::default() };
        let (expected, found) = (engine.count(&host).unwrap(), engine.count(&on_device).unwrap());
        assert_eq!(expected.counts(), found.counts());
        for far in [0.0, 1e-3, 0.1, 0.5] {
            assert_eq!(expected.at_far(far).unwrap(), found.at_far(far).unwrap(), "{device:?}, {tile:?}");
        }
    }
}

fn gpu() -> Device {
    assert!(Cuda::is_available(), "this test needs a GPU that libtorch sees");
    Device::Cuda(0)
}

#[test]
fn losses_agree_on_the_cpu() {
    losses_agree(Device::Cpu);
}

#[test]
fn counts_agree_on_the_cpu() {
    counts_agree(Device::Cpu);
}

#[test]
#[ignore = "needs a GPU"]
fn losses_agree_on_a_gpu() {
    losses_agree(gpu());
}

/// Whatever the network is cast to, heads compute as without.
#[test]
#[ignore = "needs a GPU"]
fn autocast_leaves_losses_alone_on_a_gpu() {
    let device = gpu();
    let config = SoftLmcclConfig::default();
    let plain = outcome(device, Kind::Float, |path| config.init(path, C, D), whole);
    let cast =
        outcome(device, Kind::Float, |path| config.init(path, C, D), |loss, x, y| autocast(true, || whole(loss, x, y)));
    assert_eq!(plain, cast);
}

#[test]
#[ignore = "needs a GPU"]
fn counts_agree_on_a_gpu() {
    counts_agree(gpu());
}

#[test]
#[ignore = "needs a GPU"]
fn no_length_kind_or_scale_makes_a_nan_on_a_gpu() {
    no_nan(gpu());
}

/// Whatever can be asked for on a GPU that is not there says it in the same words, and before anything else.
#[test]
fn a_gpu_that_is_not_there_is_one_sentence_everywhere() {
    let found = usize::try_from(Cuda::device_count()).unwrap();
    let absent = Device::Cuda(found + 3);
    let none = if found == 0 { "none".to_owned() } else { found.to_string() };
    let sentence = format!(
        "CUDA device {} is asked for, but libtorch sees {none}: `cargo xtask doctor` tells which libtorch is in use",
        found + 3
    );
    let vs = nn::VarStore::new(absent);
    let path = &vs.root();
    let mut refused = vec![
        require_device(absent).unwrap_err(),
        device(&format!("cuda:{}", found + 3)).unwrap_err(),
        CenterLossConfig::default().init(path, 3, 2).map(drop).unwrap_err(),
    ];
    for config in LossConfig::NAMES.iter().map(|name| LossConfig::by_name(name).unwrap()) {
        refused.push(config.init(path, 3, 2).map(drop).unwrap_err());
    }
    for architecture in Architecture::ALL {
        refused.push(architecture.config().init(path, 32).map(drop).unwrap_err());
    }
    let on_host = nn::VarStore::new(Device::Cpu);
    let net = nn::linear(on_host.root() / "net", 2, 2, Default::default());
    let mut loss = LmclConfig::default().init(&(on_host.root() / "loss"), 2, 2).unwrap();
    let (inputs, labels) = (waves(&[4, 2], 0.3).to_kind(Kind::Float), Tensor::from_slice(&[0i64, 1, 0, 1]));
    let config = FitConfig { batch_size: 2, epochs: 1, ..Default::default() };
    let fitted = fit(&net, &mut loss, &vs, (&inputs, &labels), config, |_| ControlFlow::Continue(()));
    refused.push(fitted.map(drop).unwrap_err());
    for error in refused {
        assert_eq!(error.to_string(), sentence);
    }
}
