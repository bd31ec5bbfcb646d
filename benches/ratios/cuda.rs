//! The same on a GPU, where there is one: pairs a second, losses beside their products, training steps.

use std::time::Instant;

use serde_json::{Value, json};
use soft_lmccl::{
    loss::SoftLmcclConfig,
    model::{CompactNetConfig, compact_net},
    tch::{
        Cuda, Device, Kind, Tensor, autocast,
        nn::{self, ModuleT},
    },
    train::{AdamWConfig, backward_step},
    verify::DeviceSet,
};

use super::{bare, loss, verification::every_figure};

/// One object for the first GPU; null where libtorch sees none.
pub fn measure() -> Value {
    if !Cuda::is_available() {
        eprintln!("cuda: libtorch sees no GPU");
        return Value::Null;
    }
    on(Device::Cuda(0))
}

fn on(device: Device) -> Value {
    let verification = [(20_000, 128), (20_000, 512), (100_000, 128), (100_000, 512)];
    let sizes = [(128, 512, 17), (512, 512, 10_000), (512, 512, 100_000)];
    let losses = sizes.into_iter().flat_map(|(n, d, c)| {
        ["lmcl", "soft_lmccl_shared", "soft_lmccl"].map(|name| loss_case(device, name, loss::Size { n, d, c }))
    });
    let steps = [(64, 32), (256, 32), (64, 40)]
        .into_iter()
        .flat_map(|(batch, side)| [false, true].map(|mixed| train_case(device, batch, side, mixed)));
    json!({
        "verification": verification.map(|(n, d)| verification_case(device, n, d)),
        "loss": losses.collect::<Vec<_>>(),
        "train_step": steps.collect::<Vec<_>>(),
    })
}

/// The best of so many rounds after one that warms up, in seconds; the device has finished when the clock stops.
fn best(device: Device, rounds: usize, mut work: impl FnMut()) -> f64 {
    let mut once = || {
        let start = Instant::now();
        work();
        if let Device::Cuda(number) = device {
            Cuda::synchronize(number as i64);
        }
        start.elapsed().as_secs_f64()
    };
    once();
    (0..rounds).map(|_| once()).fold(f64::INFINITY, f64::min)
}

fn verification_case(device: Device, n: i64, d: i64) -> Value {
    const CLASSES: i64 = 6;
    eprintln!("cuda: verification of {n} rows of {d}");
    let embeddings = Tensor::randn([n, d], (Kind::Float, device));
    let labels = Tensor::arange(n, (Kind::Int64, device)).remainder(CLASSES);
    let set = DeviceSet::new(&embeddings, &labels).expect("random rows are finite and not zero");
    let seconds = best(device, 3, || every_figure(&set));
    let bare_gemm_seconds = best(device, 3, || bare::by_libtorch(&embeddings));
    let pairs = n * (n - 1) / 2;
    json!({
        "n": n, "d": d, "pairs": pairs, "seconds": seconds, "pairs_per_second": pairs as f64 / seconds,
        "bare_gemm_seconds": bare_gemm_seconds, "ratio": seconds / bare_gemm_seconds,
    })
}

fn loss_case(device: Device, name: &str, size: loss::Size) -> Value {
    let loss::Size { n, d, c } = size;
    eprintln!("cuda: {name}, {n} x {d}, {c} classes");
    let vs = nn::VarStore::new(device);
    let mut target = loss::make(name, &vs.root(), size);
    let embeddings = Tensor::randn([n, d], (Kind::Float, device)).set_requires_grad(true);
    let labels = Tensor::randint(c, [n], (Kind::Int64, Device::Cpu));
    let mut inputs = vs.trainable_variables();
    inputs.push(embeddings.shallow_clone());
    let seconds = best(device, 20, || {
        let total = target.forward(&embeddings, &labels).expect("a valid batch").total();
        std::hint::black_box(Tensor::run_backward(&[total], &inputs, false, false));
        target.update(&embeddings, &labels).expect("a valid batch");
    });
    let heads = if name == "soft_lmccl" { 2 } else { 1 };
    let (x, w) = (embeddings.detach(), Tensor::randn([c, d], (Kind::Float, device)));
    let bare_gemms_seconds = best(device, 20, || (0..heads).for_each(|_| loss::bare_products(&x, &w)));
    json!({
        "name": name, "n": n, "d": d, "c": c, "seconds": seconds, "bare_gemms_seconds": bare_gemms_seconds,
        "ratio": seconds / bare_gemms_seconds,
    })
}

/// A step of the example on volumes from pinned memory, in single or in mixed precision.
fn train_case(device: Device, batch: i64, side: i64, mixed: bool) -> Value {
    const CLASSES: i64 = 17;
    eprintln!("cuda: step of {batch} volumes of {side}³, mixed precision: {mixed}");
    let vs = nn::VarStore::new(device);
    let config = CompactNetConfig::default();
    let dim = config.embedding_dim;
    let net = compact_net(&(vs.root() / "net"), side, config).expect("the default configuration is valid");
    let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), CLASSES, dim).expect("valid");
    let mut optimizer = AdamWConfig::default().build(&vs).expect("the default configuration is valid");
    let volumes = Tensor::randn([batch, 1, side, side, side], (Kind::Float, Device::Cpu));
    let volumes = if device.is_cuda() { volumes.pin_memory(device) } else { volumes };
    let labels = Tensor::randint(CLASSES, [batch], (Kind::Int64, Device::Cpu));
    let seconds = best(device, 20, || {
        let volumes = volumes.to_device_(device, Kind::Float, true, false);
        let embeddings = autocast(mixed, || net.forward_t(&volumes, true));
        backward_step(&mut loss, &mut optimizer, &embeddings, &labels).expect("a valid batch");
    });
    json!({
        "batch": batch, "side": side, "mixed_precision": mixed,
        "seconds": seconds, "volumes_per_second": batch as f64 / seconds,
    })
}
