//! What a run can be told: clipping, accumulation, rates, schedules, optimizers, patience, labels, frozen parts.

use std::{cell::RefCell, ops::ControlFlow};

use approx::assert_relative_eq;
use soft_lmccl::{
    Result,
    loss::{CenterLossConfig, LmclConfig, Loss, LossTerms, SoftLmccl, SoftLmcclConfig},
    model::{CompactNetConfig, NetworkConfig, compact_net},
    tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig},
    train::{
        AdamWConfig, End, FitConfig, InMemory, Optimizer, Schedule, Step, Trainer, backward_step, checkpoint, fit,
    },
};
use tempfile::TempDir;

use super::waves;

const SINGLE: f64 = 1e-5;

/// `Σ x / B`, a slope that does not change.
#[derive(Debug)]
struct Slope;

impl Loss for Slope {
    fn forward(&self, embeddings: &Tensor, _: &Tensor) -> Result<LossTerms> {
        Ok(LossTerms::single("slope", embeddings.mean(Kind::Float)))
    }

    fn check(&self, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn update(&mut self, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }
}

fn on(_: &Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn labels(count: i64, classes: i64) -> Tensor {
    Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(classes)
}

/// A network with weights that are no random numbers, and a Soft LMCCL of four classes.
fn made() -> (nn::VarStore, nn::Linear, SoftLmccl) {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = nn::linear(vs.root() / "net", 6, 4, Default::default());
    let loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 4, 4).unwrap();
    for (mut variable, seed) in vs.trainable_variables().into_iter().zip(1..) {
        let _frozen = soft_lmccl::tch::no_grad_guard();
        variable.copy_(&(waves(&variable.size(), f64::from(seed)) * 0.3));
    }
    (vs, net, loss)
}

fn variables(vs: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut all: Vec<_> = vs.variables().into_iter().map(|(name, v)| (name, v.detach().copy())).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn a_head_that_no_optimizer_has_is_named() {
    let (vs, elsewhere) = (nn::VarStore::new(Device::Cpu), nn::VarStore::new(Device::Cpu));
    let net = nn::linear(vs.root() / "net", 6, 4, Default::default());
    let center = CenterLossConfig::default().init(&(vs.root() / "center"), 3, 4).unwrap();
    let head = LmclConfig { bias: true, ..Default::default() }.init(&elsewhere.root(), 3, 4).unwrap();
    let mut loss: Box<dyn Loss> = Box::new(head + 0.1 * center);
    let before = variables(&vs);
    let expected = "loss: expected every variable that takes a gradient in the store of the optimizer, got `lmcl.weight`, \
                    `lmcl.bias`, which no optimizer has: make the head in the same VarStore, or freeze it";
    let mut optimizer = AdamWConfig::default().build(&vs).unwrap();
    let inputs = waves(&[6, 6], 0.2);
    let step = |loss: &mut dyn Loss, optimizer: &mut dyn Optimizer| {
        backward_step(loss, optimizer, &inputs.apply(&net), &labels(6, 3))
    };
    assert_eq!(step(loss.as_mut(), &mut optimizer).unwrap_err().to_string(), expected);
    let config = FitConfig { epochs: 1, batch_size: 6, ..Default::default() };
    let error = fit(&net, loss.as_mut(), &vs, (&inputs, &labels(6, 3)), config, on).unwrap_err().to_string();
    assert_eq!(error, expected);
    assert_eq!(variables(&vs), before);

    // With an optimizer of its own, or frozen, it is meant to be there.
    let mut both = (AdamWConfig::default().build(&vs).unwrap(), nn::Sgd::default().build(&elsewhere, 0.1).unwrap());
    let prototypes = variables(&elsewhere);
    step(loss.as_mut(), &mut both).unwrap();
    assert_ne!(variables(&elsewhere), prototypes);
    let mut elsewhere = elsewhere;
    elsewhere.freeze();
    step(loss.as_mut(), &mut optimizer).unwrap();
}

#[test]
fn gradients_are_shortened_to_the_norm() {
    for (clip_norm, moved) in [(None, 3.0), (Some(100.0), 3.0), (Some(0.5), 0.5)] {
        let vs = nn::VarStore::new(Device::Cpu);
        let weight = vs.root().zeros("w", &[1, 1]);
        let config = FitConfig {
            epochs: 1,
            batch_size: 2,
            learning_rate: 1.0,
            schedule: Schedule::Constant,
            clip_norm,
            ..Default::default()
        };
        let inputs = Tensor::from_slice2(&[[3.0f32], [3.0]]);
        let net = nn::func({
            let weight = weight.shallow_clone();
            move |x| x.matmul(&weight)
        });
        let data = InMemory::new(&inputs, &labels(2, 2)).map(|data| (data, ())).unwrap().0;
        Trainer::new(config)
            .unwrap()
            .optimizer(|vs| Ok(Box::new(nn::Sgd::default().build(vs, 1.0)?)))
            .run(&net, &mut Slope, &vs, &data, on)
            .unwrap();
        assert_relative_eq!(weight.double_value(&[0, 0]), -moved, max_relative = SINGLE);
    }
}

/// Without batch statistics the mean gradient of two halves is that of the whole.
#[test]
fn two_batches_of_half_the_size_make_the_same_step() {
    let run = |batch_size, accumulate| {
        let (vs, net, mut loss) = made();
        let config = FitConfig { epochs: 6, batch_size, accumulate, ..Default::default() };
        let outcome = fit(&net, &mut loss, &vs, (&waves(&[24, 6], 0.4), &labels(24, 4)), config, on).unwrap();
        (outcome.steps, variables(&vs))
    };
    let ((steps, whole), (steps_in_parts, parts)) = (run(12, 1), run(4, 3));
    assert_eq!((steps, steps_in_parts), (12, 12));
    for ((name, whole), (_, part)) in whole.iter().zip(&parts) {
        let apart = (whole - part).abs().max().double_value(&[]);
        assert!(apart < 1e-4, "{name}: {apart}");
    }
    assert_eq!(
        FitConfig { accumulate: 0, ..Default::default() }.validate().unwrap_err().to_string(),
        "invalid `accumulate`: expected at least 1 batch a step, got 0"
    );
    assert_eq!(
        FitConfig { clip_norm: Some(0.0), ..Default::default() }.validate().unwrap_err().to_string(),
        "invalid `clip_norm`: expected a finite number > 0, got 0"
    );
}

/// With a slope that does not change AdamW moves a weight by its learning rate in every step.
#[test]
fn learning_rates_are_those_of_the_path_and_the_schedule() {
    let vs = nn::VarStore::new(Device::Cpu);
    let slow = (vs.root() / "net").zeros("w", &[1]);
    let fast = (vs.root() / "loss").zeros("w", &[1]);
    let still = (vs.root() / "loss" / "part").zeros("w", &[1]);
    let net = nn::func({
        let variables = [slow.shallow_clone(), fast.shallow_clone(), still.shallow_clone()];
        move |x| x * (&variables[0] + &variables[1] + &variables[2])
    });
    let config = FitConfig { epochs: 4, batch_size: 2, learning_rate: 0.01, weight_decay: 0.0, ..Default::default() };
    let inputs = Tensor::ones([2, 1], (Kind::Float, Device::Cpu));
    let (labels, mut rates) = (labels(2, 2), Vec::new());
    let data = InMemory::new(&inputs, &labels).unwrap();
    let trainer = || Trainer::new(config).unwrap().schedule(|done| if done < 0.5 { 1.0 } else { 0.5 });
    trainer()
        .rate_of("loss", 10.0)
        .rate_of("loss.part", 0.0)
        .run(&net, &mut Slope, &vs, &data, |step| {
            rates.push(step.learning_rate);
            on(step)
        })
        .unwrap();
    assert_eq!(rates, [0.01, 0.01, 0.005, 0.005]);
    for (variable, moved) in [(slow, 0.03), (fast, 0.3), (still, 0.0)] {
        assert_relative_eq!(variable.double_value(&[0]), -moved, epsilon = SINGLE);
    }
    for (part, factor, message) in [
        ("nowhere", 2.0, "invalid `rate_of`: expected a path with trainable variables, got `nowhere`"),
        ("lo", 2.0, "invalid `rate_of`: expected a path with trainable variables, got `lo`"),
        ("loss", f64::NAN, "invalid `rate_of`: expected a finite number >= 0, got NaN"),
    ] {
        let error = trainer().rate_of(part, factor).run(&net, &mut Slope, &vs, &data, on).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn an_optimizer_whose_state_is_not_saved_is_not_resumed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run.safetensors");
    let (vs, net, mut loss) = made();
    let (inputs, labels) = (waves(&[24, 6], 0.4), labels(24, 4));
    let data = InMemory::new(&inputs, &labels).unwrap();
    let config = FitConfig { epochs: 1, batch_size: 12, ..Default::default() };
    let trainer = || {
        Trainer::new(config)
            .unwrap()
            .checkpoint(&path, 1)
            .optimizer(|vs| Ok(Box::new(nn::Adam::default().build(vs, 0.1)?)))
    };
    trainer().run(&net, &mut loss, &vs, &data, on).unwrap();
    let saved = variables(&vs);
    let (mut other, _net, _loss) = made();
    checkpoint::load_weights(&path, &mut other).unwrap();
    assert_eq!(variables(&other), saved);
    let error = trainer().resume(true).run(&net, &mut loss, &vs, &data, on).unwrap_err().to_string();
    assert_eq!(error, "invalid `resume`: expected AdamW, whose state can be saved, got an optimizer of one's own");
}

#[test]
fn a_validation_sees_the_loss() {
    let (vs, net, mut loss) = made();
    let (inputs, labels) = (waves(&[24, 6], 0.4), labels(24, 4));
    let data = InMemory::new(&inputs, &labels).unwrap();
    let config = FitConfig { epochs: 3, batch_size: 12, ..Default::default() };
    let scores = RefCell::new(Vec::new());
    let outcome = Trainer::new(config)
        .unwrap()
        .validate_loss(|loss: &SoftLmccl| {
            let _frozen = soft_lmccl::tch::no_grad_guard();
            let score = -loss.forward(&inputs.apply(&net), &labels)?.report()?.total;
            scores.borrow_mut().push(score);
            Ok(score)
        })
        .run(&net, &mut loss, &vs, &data, on)
        .unwrap();
    let scores = scores.into_inner();
    assert!(scores.len() == 3 && scores.is_sorted(), "{scores:?}");
    assert_eq!(outcome.best.unwrap().score.to_bits(), scores[2].to_bits());
}

#[test]
fn epochs_of_a_warm_up_do_not_end_a_run() {
    let run = |least_epochs| {
        let (vs, net, mut loss) = made();
        let (inputs, labels) = (waves(&[24, 6], 0.4), labels(24, 4));
        let config = FitConfig { epochs: 9, batch_size: 12, patience: Some(2), least_epochs, ..Default::default() };
        let mut epoch = 0;
        let trainer = Trainer::new(config).unwrap().validate(move || {
            epoch += 1;
            Ok(-f64::from(epoch))
        });
        let outcome = trainer.run(&net, &mut loss, &vs, &InMemory::new(&inputs, &labels).unwrap(), on).unwrap();
        (outcome.end, outcome.steps / 2)
    };
    assert_eq!(run(0), (End::Early, 3));
    assert_eq!(run(4), (End::Early, 6));
    assert_eq!(run(8), (End::Finished, 9));
}

#[test]
fn labels_are_checked_before_the_first_step() {
    for (bad, position) in [(4, 23), (-1, 5)] {
        let (vs, net, loss) = made();
        let mut loss: Box<dyn Loss> = Box::new(0.5 * loss);
        let labels = labels(24, 4);
        let _ = labels.get(position).fill_(bad);
        let before = variables(&vs);
        let config = FitConfig { epochs: 1, batch_size: 6, ..Default::default() };
        let error = fit(&net, loss.as_mut(), &vs, (&waves(&[24, 6], 0.4), &labels), config, |_| panic!("a step"));
        assert_eq!(error.unwrap_err().to_string(), format!("label {bad} at position {position} is outside 0..4"));
        assert_eq!(variables(&vs), before);
    }
}

#[test]
fn a_run_goes_on_for_more_epochs() {
    let directory = TempDir::new().unwrap();
    let run = |name: &str, epochs, schedule| {
        let (vs, net, mut loss) = made();
        let (inputs, labels) = (waves(&[22, 6], 0.4), labels(22, 4));
        let config = FitConfig { epochs, batch_size: 6, schedule, ..Default::default() };
        Trainer::new(config)
            .unwrap()
            .checkpoint(directory.path().join(name), 100)
            .resume(true)
            .run(&net, &mut loss, &vs, &InMemory::new(&inputs, &labels).unwrap(), on)
            .map(|outcome| (outcome.steps, variables(&vs)))
    };
    let whole = run("whole", 5, Schedule::Constant).unwrap();
    assert_eq!(run("longer", 2, Schedule::Constant).unwrap().0, 7);
    assert_eq!(run("longer", 5, Schedule::Constant).unwrap(), whole);
    // Again, and then it is a run of five epochs.
    assert_eq!(run("longer", 5, Schedule::Constant).unwrap(), whole);
    let error = run("longer", 4, Schedule::Constant).unwrap_err().to_string();
    assert!(error.contains("`fit.epochs` is 5, expected 4"), "{error}");
    let error = run("longer", 6, Schedule::Cosine).unwrap_err().to_string();
    assert!(error.contains("`fit.schedule` is \"constant\", expected \"cosine\""), "{error}");

    run("cosine", 2, Schedule::Cosine).unwrap();
    assert_ne!(run("cosine", 5, Schedule::Cosine).unwrap().1, run("cosine whole", 5, Schedule::Cosine).unwrap().1);
}

#[test]
fn a_frozen_part_keeps_its_statistics_too() {
    let (inputs, labels) = (waves(&[24, 1, 4, 4, 4], 0.4) + 1.0, labels(24, 4));
    let config = FitConfig { epochs: 2, batch_size: 12, ..Default::default() };
    let still = |before: &[(String, Tensor)], after: &[(String, Tensor)], part: &str| {
        for ((name, before), (_, after)) in before.iter().zip(after) {
            assert_eq!(before == after, name.starts_with(part), "{name}");
        }
    };
    let vs = nn::VarStore::new(Device::Cpu);
    let channels = CompactNetConfig { channels: vec![2, 2], embedding_dim: 4, ..Default::default() };
    let net = compact_net(&(vs.root() / "net"), 4, channels).unwrap();
    let mut loss = LmclConfig::default().init(&(vs.root() / "loss"), 4, 4).unwrap();
    let before = variables(&vs);
    let data = InMemory::new(&inputs, &labels).unwrap();
    Trainer::new(config).unwrap().freeze("net.block1").run(&net, &mut loss, &vs, &data, on).unwrap();
    still(&before, &variables(&vs), "net.block1.");

    // Layers of `tch`, which do not know that they are frozen.
    let vs = nn::VarStore::new(Device::Cpu);
    let net = nn::seq_t()
        .add_fn(|x| x.flatten(1, -1))
        .add(nn::batch_norm1d(vs.root() / "net" / "norm", 64, Default::default()))
        .add(nn::linear(vs.root() / "net" / "linear", 64, 4, Default::default()));
    let mut loss = LmclConfig::default().init(&(vs.root() / "loss"), 4, 4).unwrap();
    let before = variables(&vs);
    Trainer::new(config).unwrap().freeze("net.norm").run(&net, &mut loss, &vs, &data, on).unwrap();
    still(&before, &variables(&vs), "net.norm.");

    let error = Trainer::new(config).unwrap().freeze("net.no").run(&net, &mut loss, &vs, &data, on).unwrap_err();
    assert_eq!(error.to_string(), "invalid `freeze`: expected a path with variables, got `net.no`");
}

#[test]
fn two_heads_of_one_kind_have_names_of_their_own() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.csv");
    let vs = nn::VarStore::new(Device::Cpu);
    let net = nn::linear(vs.root() / "net", 6, 4, Default::default());
    let head = |name: &str| LmclConfig::default().init(&(vs.root() / name), 4, 4).unwrap();
    let mut loss = head("coarse") + 0.5 * head("fine") + 0.1 * head("finest");
    let (inputs, labels) = (waves(&[24, 6], 0.4), labels(24, 4));
    let config = FitConfig { epochs: 1, batch_size: 12, ..Default::default() };
    let mut names = Vec::new();
    Trainer::new(config)
        .unwrap()
        .log(&path)
        .run(&net, &mut loss, &vs, &InMemory::new(&inputs, &labels).unwrap(), |step| {
            names = step.loss.terms.iter().map(|term| term.name.clone()).collect();
            on(step)
        })
        .unwrap();
    assert_eq!(names, ["lmcl", "lmcl_2", "lmcl_3"]);
    let log = std::fs::read_to_string(path).unwrap();
    assert!(log.starts_with("step,epoch,learning_rate,validation,total,lmcl,lmcl_2,lmcl_3\n"), "{log}");
}

#[test]
fn a_volume_of_single_precision_fits_every_network() {
    // Also where a network was made in double precision.
    let mut vs = nn::VarStore::new(Device::Cpu);
    let net = NetworkConfig::default().with_embedding_dim(4).init(&(vs.root() / "net"), 4).unwrap();
    let mut loss = LmclConfig::default().init(&(vs.root() / "loss"), 4, 4).unwrap();
    vs.double();
    let config = FitConfig { epochs: 1, batch_size: 12, ..Default::default() };
    fit(&net, &mut loss, &vs, (&waves(&[24, 1, 4, 4, 4], 0.4), &labels(24, 4)), config, on).unwrap();
}
