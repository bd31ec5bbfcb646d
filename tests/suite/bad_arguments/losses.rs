//! Losses, steps and optimizers with tensors of every kind.

use soft_lmccl::{
    loss::{
        ArcFaceConfig, CenterLossConfig, CenterSpace, Guarded, LmclConfig, Loss, NormalizedSoftmaxConfig,
        SoftLmcclConfig, SoftmaxBranch, SoftmaxHeadConfig, functional,
    },
    tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig, no_grad_guard},
    train::{AdamWConfig, FitConfig, InMemory, Sampler, Sampling, Trainer, WarmUp, backward_step},
};

use super::spoiled;

const C: i64 = 5;
const D: i64 = 3;
const SINGLE_REL: f64 = 1e-6;
/// Half precision has three digits, and a loss adds several.
const HALF_REL: f64 = 0.05;

fn losses(path: &nn::Path<'_>) -> Vec<Box<dyn Loss>> {
    let at = |name: &str| path / name;
    let shared = SoftLmcclConfig { softmax: SoftmaxBranch::SharedCosine, ..Default::default() };
    let sphere = CenterLossConfig { space: CenterSpace::UnitSphere, ..Default::default() };
    vec![
        Box::new(SoftmaxHeadConfig::default().init(&at("softmax"), C, D).unwrap()),
        Box::new(NormalizedSoftmaxConfig::default().init(&at("nsl"), C, D).unwrap()),
        Box::new(LmclConfig::default().init(&at("lmcl"), C, D).unwrap()),
        Box::new(ArcFaceConfig::default().init(&at("arcface"), C, D).unwrap()),
        Box::new(CenterLossConfig::default().init(&at("center"), C, D).unwrap()),
        Box::new(sphere.init(&at("sphere"), C, D).unwrap()),
        Box::new(SoftLmcclConfig::default().init(&at("soft"), C, D).unwrap()),
        Box::new(shared.init(&at("shared"), C, D).unwrap()),
        Box::new(
            LmclConfig::default().init(&at("a"), C, D).unwrap()
                + 0.1 * CenterLossConfig::default().init(&at("b"), C, D).unwrap(),
        ),
    ]
}

fn embeddings() -> Tensor {
    Tensor::from_slice2(&[[0.5f32, -1.0, 2.0], [1.5, 0.25, -0.5], [-2.0, 1.0, 0.75], [0.1, 0.2, -0.3]])
}

fn labels() -> Tensor {
    Tensor::from_slice(&[4i64, 0, 4, 2])
}

/// The total, the gradient and the center's movement do not matter to these tests, but that they are numbers does.
fn step(loss: &mut dyn Loss, embeddings: &Tensor, labels: &Tensor) -> (f64, Tensor) {
    let leaf = embeddings.detach().set_requires_grad(true);
    let terms = loss.forward(&leaf, labels).unwrap();
    let total = terms.total();
    total.backward();
    loss.update(&leaf, labels).unwrap();
    (total.double_value(&[]), leaf.grad())
}

fn all_finite(tensor: &Tensor) -> bool {
    tensor.isfinite().all().int64_value(&[]) == 1
}

#[test]
fn strided_views_and_gradients_change_nothing() {
    let vs = nn::VarStore::new(Device::Cpu);
    for loss in losses(&vs.root()) {
        let value = |e: &Tensor, y: &Tensor| loss.forward(e, y).unwrap().total().double_value(&[]);
        let expected = value(&embeddings(), &labels());
        assert!(expected.is_finite());
        let transposed = embeddings().tr().contiguous().tr();
        let every_second = Tensor::stack(&[labels(), labels() + 1], 1).select(1, 0);
        assert!(!transposed.is_contiguous() && !every_second.is_contiguous());
        // A product of strided matrices may add in another order.
        approx::assert_relative_eq!(value(&transposed, &every_second), expected, max_relative = SINGLE_REL);
        assert_eq!(value(&embeddings().set_requires_grad(true), &labels()).to_bits(), expected.to_bits());
        let _frozen = no_grad_guard();
        assert_eq!(value(&embeddings(), &labels()).to_bits(), expected.to_bits());
    }
}

#[test]
fn every_precision_has_a_value_and_a_gradient_of_its_own_kind() {
    let vs = nn::VarStore::new(Device::Cpu);
    for mut loss in losses(&vs.root()) {
        let (expected, _) = step(loss.as_mut(), &embeddings(), &labels());
        for kind in [Kind::Half, Kind::BFloat16, Kind::Double] {
            let (total, gradient) = step(loss.as_mut(), &embeddings().to_kind(kind), &labels());
            // Centers have moved towards the batch in between, so that the second total is a little lower.
            assert!(total.is_finite() && total < expected * (1.0 + HALF_REL), "{kind:?}: {total}, {expected}");
            assert_eq!(gradient.kind(), kind);
            assert!(all_finite(&gradient));
        }
    }
}

#[test]
fn a_batch_of_one_of_one_class_or_without_most_classes_is_a_batch() {
    let vs = nn::VarStore::new(Device::Cpu);
    for mut loss in losses(&vs.root()) {
        for classes in [vec![3i64], vec![1; 4], vec![0, 4], vec![2, 2, 3]] {
            let rows = embeddings().narrow(0, 0, classes.len() as i64);
            let (total, gradient) = step(loss.as_mut(), &rows, &Tensor::from_slice(&classes));
            assert!(total.is_finite() && all_finite(&gradient), "{loss:?}, {classes:?}: {total}");
        }
    }
}

#[test]
fn hardly_any_number_is_a_number() {
    let vs = nn::VarStore::new(Device::Cpu);
    for mut loss in losses(&vs.root()) {
        for value in [0.0f64, -0.0, 1e-45, -1e-40, 1e-30, 1e18] {
            let rows = embeddings() * value;
            let (total, gradient) = step(loss.as_mut(), &rows, &labels());
            assert!(!total.is_nan() && all_finite(&gradient), "{loss:?}, {value:e}: {total}, {gradient:?}");
        }
        let zeros = Tensor::zeros([4, D], (Kind::Float, Device::Cpu));
        let value = |e: &Tensor| loss.forward(e, &labels()).unwrap().total().double_value(&[]);
        assert_eq!(value(&zeros).to_bits(), value(&zeros.neg()).to_bits(), "-0 is 0");
    }
}

#[test]
fn infinity_is_never_hidden() {
    let vs = nn::VarStore::new(Device::Cpu);
    for loss in losses(&vs.root()) {
        for value in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let bad = embeddings();
            let _ = bad.get(1).get(2).fill_(value);
            let total = loss.forward(&bad, &labels()).unwrap().total().double_value(&[]);
            assert!(!total.is_finite(), "{loss:?} makes {total} of {value}");
        }
    }
    let mut guarded = Guarded { inner: LmclConfig::default().init(&(vs.root() / "guarded"), C, D).unwrap() };
    let bad = embeddings();
    let _ = bad.get(3).get(0).fill_(f64::NEG_INFINITY);
    for error in [guarded.forward(&bad, &labels()).map(drop), guarded.update(&bad, &labels())] {
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "embeddings: expected finite numbers, got -inf in row 3, column 0");
    }
}

/// Whatever a configuration says, it is refused or makes numbers.
#[test]
fn every_configuration_is_refused_or_works() {
    let (mut refused, mut made) = (0, 0);
    let mut configs = spoiled(&SoftLmcclConfig::default());
    configs.extend(spoiled(&SoftLmcclConfig::as_printed()));
    for (what, config) in configs {
        let vs = nn::VarStore::new(Device::Cpu);
        match config.init(&vs.root(), C, D) {
            Ok(mut loss) => {
                let (total, _) = step(&mut loss, &embeddings(), &labels());
                assert!(total.is_finite(), "{what}: {total}");
                made += 1;
            }
            Err(error) => {
                assert!(error.to_string().starts_with("invalid `"), "{what}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 20 && made > 20, "{refused} refused, {made} made");
    for (what, config) in spoiled(&AdamWConfig::default()) {
        let vs = nn::VarStore::new(Device::Cpu);
        let weight = vs.root().ones("weight", &[2]);
        let Ok(mut optimizer) = config.build(&vs) else { continue };
        let mut loss = CenterLossConfig::default().init(&(vs.root() / "center"), 1, 2).unwrap();
        backward_step(&mut loss, &mut optimizer, &weight.unsqueeze(0), &Tensor::from_slice(&[0i64])).unwrap();
        assert!(weight.isnan().any().int64_value(&[]) == 0, "{what}: {weight:?}");
    }
    for (what, config) in spoiled(&FitConfig::default()) {
        if let Ok(()) = config.validate() {
            assert!(config.epochs > 0 && config.batch_size > 1, "{what}");
            let _ = config.steps(usize::MAX);
        }
    }
    for (what, warm_up) in spoiled(&WarmUp { margin: 0.1, center_weight: 0.1 }) {
        let Ok(()) = warm_up.validate() else { continue };
        let vs = nn::VarStore::new(Device::Cpu);
        let target = SoftLmcclConfig::default();
        let mut loss = target.init(&vs.root(), C, D).unwrap();
        for progress in [0.0, 0.3, 1.0] {
            warm_up.apply(&mut loss, &target, progress).unwrap();
            assert!(loss.config().lmcl.margin <= target.lmcl.margin, "{what}");
        }
    }
}

#[test]
fn samplers_and_sets_refuse_what_they_cannot_serve() {
    let balanced = |samples_per_class| Sampling::Balanced { samples_per_class };
    for (labels, sampling, batch_size, message) in [
        (vec![], Sampling::Plain, 1, "invalid `batch_size`: expected from 1 to the number of samples, 0, got 1"),
        (vec![0; 3], Sampling::Plain, 4, "invalid `batch_size`: expected from 1 to the number of samples, 3, got 4"),
        (vec![0; 3], Sampling::Plain, 0, "invalid `batch_size`: expected from 1 to the number of samples, 3, got 0"),
        (vec![0, 1, 2], balanced(2), 3, "invalid `samples_per_class`: expected a divisor of the batch size 3, got 2"),
        (vec![0, 1, 2], balanced(0), 3, "invalid `samples_per_class`: expected a divisor of the batch size 3, got 0"),
        (vec![0, 1, 1], balanced(1), 3, "invalid `batch_size`: expected at most 2 classes of 1, got 3"),
    ] {
        assert_eq!(Sampler::new(&labels, sampling, batch_size, 0).unwrap_err().to_string(), message);
    }
    let volumes = Tensor::zeros([3, 1, 2, 2, 2], (Kind::Float, Device::Cpu));
    for labels in [Tensor::from_slice(&[0i64, 1]), Tensor::from_slice(&[0i32, 1, 2]), Tensor::from(3i64)] {
        let error = InMemory::new(&volumes, &labels).unwrap_err().to_string();
        assert!(
            error.starts_with("volumes: expected as many as there are labels, which are Int64 [N], got"),
            "{error}"
        );
    }
    let labels = Tensor::from_slice(&[0i64, 1, 2]);
    for (volumes, labels, what) in [(&Tensor::new(), &labels, "volumes"), (&volumes, &Tensor::new(), "labels")] {
        let error = InMemory::new(volumes, labels).unwrap_err().to_string();
        assert_eq!(error, format!("{what}: expected values, got an undefined tensor"));
    }
    for (config, message) in [
        (FitConfig { patience: Some(0), ..Default::default() }, "invalid `patience`: expected at least 1 epoch, got 0"),
        (
            FitConfig { sampling: balanced(5), ..Default::default() },
            "invalid `samples_per_class`: expected a divisor of the batch size 64, got 5",
        ),
    ] {
        assert_eq!(Trainer::<dyn Loss>::new(config).unwrap_err().to_string(), message);
    }
    for (warm_up, message) in [
        (WarmUp { margin: -0.1, center_weight: 0.0 }, "invalid `margin`: expected a part from 0 to 1, got -0.1"),
        (WarmUp { margin: 0.0, center_weight: 1.1 }, "invalid `center_weight`: expected a part from 0 to 1, got 1.1"),
    ] {
        assert_eq!(warm_up.validate().unwrap_err().to_string(), message);
    }
    // Over twenty runs, where a fifth of one was meant, the margin would never be what it should rise to.
    let vs = nn::VarStore::new(Device::Cpu);
    let target = SoftLmcclConfig::default();
    let mut loss = target.init(&vs.root(), C, D).unwrap();
    let error = WarmUp { margin: 20.0, center_weight: 0.0 }.apply(&mut loss, &target, 1.0).unwrap_err();
    assert_eq!(error.to_string(), "invalid `margin`: expected a part from 0 to 1, got 20");
    assert_eq!(loss.config(), target);
}

/// A batch that is refused has moved nothing, whichever optimizer would have stepped.
#[test]
fn a_refused_step_moves_nothing() {
    let vs = nn::VarStore::new(Device::Cpu);
    let mut loss = SoftLmcclConfig::default().init(&vs.root(), C, D).unwrap();
    let mut ours = AdamWConfig::default().build(&vs).unwrap();
    let mut theirs = nn::Adam::default().build(&vs, 0.1).unwrap();
    let before: Vec<_> = vs.variables().into_iter().map(|(name, v)| (name, v.detach().copy())).collect();
    for (embeddings, labels) in [(embeddings(), labels() + 1), (embeddings().tr(), labels())] {
        backward_step(&mut loss, &mut ours, &embeddings, &labels).unwrap_err();
        backward_step(&mut loss, &mut theirs, &embeddings, &labels).unwrap_err();
    }
    for (name, value) in before {
        assert_eq!(vs.variables()[&name], value, "{name}");
    }
}

/// What a loss says of itself is what it was made with.
#[test]
fn configurations_are_told_as_they_were_given() {
    let vs = nn::VarStore::new(Device::Cpu);
    let center = CenterLossConfig { rate: 0.25, space: CenterSpace::UnitSphere, ..Default::default() };
    assert_eq!(center.init(&(vs.root() / "center"), C, D).unwrap().config(), center);
    let softmax = SoftmaxBranch::SharedCosine;
    let soft = SoftLmcclConfig { center, center_weight: 0.7, softmax, softmax_weight: 0.3, ..Default::default() };
    assert_eq!(soft.init(&(vs.root() / "soft"), C, D).unwrap().config(), soft);
    let adamw = AdamWConfig { beta1: 0.5, eps: 1e-3, ..Default::default() };
    assert_eq!(adamw.build(&vs).unwrap().config(), adamw);
}

/// Rows are what lies along the last dimension, however many there are before it.
#[test]
fn rows_of_any_rank_are_normalized() {
    let rows = embeddings().view([2, 2, D]);
    let apart = functional::l2_normalize(&rows, 1e-5) - functional::l2_normalize(&embeddings(), 1e-5).view([2, 2, D]);
    assert!(apart.abs().max().double_value(&[]) < SINGLE_REL);
}
