//! Half precision: what moves variables is single.

use std::{fs, ops::ControlFlow};

use safetensors::SafeTensors;

use soft_lmccl::{
    loss::SoftLmcclConfig,
    tch::{Device, Kind, Tensor, nn},
    train::{
        AdamWConfig, FitConfig, Optimizer, Progress, RunState, Sampler, Sampling,
        checkpoint::{Meta, load, load_run, save_run},
        fit,
    },
};
use tempfile::TempDir;

use super::waves;

fn one(kind: Kind) -> (nn::VarStore, Tensor) {
    let mut vs = nn::VarStore::new(Device::Cpu);
    let weight = vs.root().ones("w", &[1]);
    vs.set_kind(kind);
    (vs, weight)
}

fn after_one_step(kind: Kind, gradient: f64) -> f64 {
    let (vs, weight) = one(kind);
    let mut optimizer = AdamWConfig { weight_decay: 0.0, ..Default::default() }.build(&vs).unwrap();
    optimizer.zero_grad();
    (&weight * gradient).sum(kind).backward();
    optimizer.step().unwrap();
    assert_eq!(weight.kind(), kind);
    weight.double_value(&[0])
}

#[test]
fn no_gradient_and_a_small_one_move_as_in_single_precision() {
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double] {
        assert!((after_one_step(kind, 0.0) - 1.0).abs() < 1e-12, "{kind:?}");
    }
    assert!((after_one_step(Kind::Half, 1e-4) - 0.99902).abs() < 1e-5);
    assert!((after_one_step(Kind::Half, 1e-7) - 0.99902).abs() < 1e-3);
}

/// A step of 1e-3 is less than half of what `bf16` resolves below 1, which is 1/256.
#[test]
fn steps_too_small_for_the_variable_add_up() {
    let (vs, weight) = one(Kind::BFloat16);
    let config = AdamWConfig { weight_decay: 0.0, ..Default::default() };
    let mut optimizer = config.build(&vs).unwrap();
    for _ in 0..100 {
        optimizer.zero_grad();
        (&weight * 5.0).sum(Kind::BFloat16).backward();
        optimizer.step().unwrap();
    }
    assert!((weight.double_value(&[0]) - 0.9).abs() < 2e-3, "{weight:?}");

    // A value given from outside counts.
    {
        let _frozen = soft_lmccl::tch::no_grad_guard();
        let _ = weight.shallow_clone().fill_(4.0);
    }
    optimizer.zero_grad();
    (&weight * 5.0).sum(Kind::BFloat16).backward();
    optimizer.step().unwrap();
    assert!((weight.double_value(&[0]) - 4.0).abs() < 0.02, "{weight:?}");
}

#[test]
fn the_copy_in_single_precision_is_part_of_a_checkpoint() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run.safetensors");
    let meta = Meta { config: (), classes: vec![] };
    let labels = [0i64, 1];
    let begin = || {
        let (vs, weight) = one(Kind::BFloat16);
        let fit = FitConfig { batch_size: 2, epochs: 40, ..Default::default() };
        let run = RunState {
            optimizer: AdamWConfig::default().build(&vs).unwrap(),
            sampler: Sampler::new(&labels, Sampling::Plain, 2, 0).unwrap(),
            progress: Progress { fit, step: 0, stale_epochs: 0, best: None, seconds: 0.0 },
        };
        (vs, weight, run)
    };
    let step = |weight: &Tensor, run: &mut RunState| {
        run.optimizer.zero_grad();
        (weight * 5.0).sum(Kind::BFloat16).backward();
        run.optimizer.step().unwrap();
        run.progress.step += 1;
    };
    let (vs, weight, mut run) = begin();
    (0..7).for_each(|_| step(&weight, &mut run));
    save_run(&path, &vs, &meta, &run).unwrap();
    let (other, restored, mut resumed) = begin();
    load_run(&path, &other, &meta, &mut resumed).unwrap();
    for _ in 0..20 {
        step(&weight, &mut run);
        step(&restored, &mut resumed);
        assert_eq!(weight, restored);
    }
    assert!(weight.double_value(&[0]) < 0.99);
}

#[test]
fn a_network_in_half_precision_trains() {
    for (kind, whole) in [(Kind::Half, false), (Kind::BFloat16, false), (Kind::Half, true), (Kind::BFloat16, true)] {
        let mut vs = nn::VarStore::new(Device::Cpu);
        let net = nn::linear(vs.root() / "net", 6, 4, Default::default());
        let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 3, 4).unwrap();
        match whole {
            true => vs.set_kind(kind),
            false => (vs.root() / "net").set_kind(kind),
        }
        let labels = Tensor::arange(24, (Kind::Int64, Device::Cpu)).remainder(3);
        let inputs = waves(&[3, 6], 1.0).index_select(0, &labels) + waves(&[24, 6], 2.0) * 0.1;
        let config = FitConfig { epochs: 40, batch_size: 12, learning_rate: 0.02, ..Default::default() };
        let (mut first, mut last) = (None, 0.0);
        fit(&net, &mut loss, &vs, (&inputs, &labels), config, |step| {
            first.get_or_insert(step.loss.total);
            last = step.loss.total;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(last < 0.3 * first.unwrap(), "{kind:?}: {first:?} to {last}");
        assert_eq!(net.ws.kind(), kind);
    }
}

/// Before there were copies in single precision, moments had the precision of the variable.
#[test]
fn moments_in_half_precision_are_refused_in_one_sentence() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run.safetensors");
    let meta = Meta { config: (), classes: vec![] };
    let begin = || {
        let mut vs = nn::VarStore::new(Device::Cpu);
        let weights = [vs.root().ones("a", &[1]), vs.root().ones("b", &[1])];
        vs.set_kind(Kind::BFloat16);
        let fit = FitConfig { batch_size: 2, ..Default::default() };
        let run = RunState {
            optimizer: AdamWConfig::default().build(&vs).unwrap(),
            sampler: Sampler::new(&[0, 1], Sampling::Plain, 2, 0).unwrap(),
            progress: Progress { fit, step: 0, stale_epochs: 0, best: None, seconds: 0.0 },
        };
        (vs, weights, run)
    };
    let (vs, [a, b], mut run) = begin();
    (&a * 5.0 + &b).sum(Kind::BFloat16).backward();
    run.optimizer.step().unwrap();
    run.progress.step = 1;
    save_run(&path, &vs, &meta, &run).unwrap();

    // The file as it was written then: moments in half, and no copies.
    let bytes = fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = Tensor::read_safetensors(&path).unwrap();
    let old = tensors.into_iter().filter(|(name, _)| !name.starts_with("@adamw.master"));
    let old: Vec<_> = old
        .map(|(name, tensor)| match name.starts_with("@adamw") {
            true => (name, tensor.to_kind(Kind::BFloat16)),
            false => (name, tensor),
        })
        .collect();
    let plain = directory.path().join("plain.safetensors");
    Tensor::write_safetensors(&old, &plain).unwrap();
    let bytes = fs::read(&plain).unwrap();
    let views = SafeTensors::deserialize(&bytes).unwrap();
    fs::write(&path, safetensors::serialize(views.tensors(), header.metadata().clone()).unwrap()).unwrap();

    let (other, [weight, _], mut begun) = begin();
    let before = weight.detach().copy();
    let error = load_run(&path, &other, &meta, &mut begun).unwrap_err().to_string();
    let expected = "its moments of AdamW are in half precision, of 2 parameters beginning with `a`, as earlier versions \
                    wrote them, and no run goes on from there: `load` reads the weights alone";
    assert_eq!(error, format!("checkpoint {}: {expected}", path.display()));
    assert_eq!(weight, before);

    let (mut other, [weight, _], _) = begin();
    load::<()>(&path, &mut other, &[]).unwrap();
    assert_eq!(weight, a);
}
