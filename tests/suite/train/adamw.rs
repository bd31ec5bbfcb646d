//! Our AdamW against libtorch's own.

use soft_lmccl::{
    params::NO_DECAY_GROUP,
    tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig},
    train::{AdamWConfig, Optimizer, set_weight_decay},
};

use super::waves;

/// Forty steps leave so much of single and of double precision: an ulp or two a step.
const SINGLE: f64 = 2e-6;
const DOUBLE: f64 = 1e-14;

/// Three parameters in both groups, one of which has a gradient in every third step only.
fn store(kind: Kind) -> (nn::VarStore, Vec<Tensor>) {
    let mut vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let parameters = vec![
        root.var_copy("decays", &waves(&[7, 5], 1.0)),
        root.set_group(NO_DECAY_GROUP).var_copy("keeps", &waves(&[6], 2.0)),
        root.var_copy("rarely", &waves(&[2, 3], 3.0)),
    ];
    vs.set_kind(kind);
    (vs, parameters)
}

/// Runs forty steps whose gradients depend on the parameters, so that a difference would grow.
fn descend(parameters: &[Tensor], optimizer: &mut dyn Optimizer) {
    for step in 0..40 {
        optimizer.set_learning_rate(0.02 * f64::from(1 + step % 7));
        optimizer.zero_grad();
        let active = if step % 3 == 1 { 3 } else { 2 };
        let total: Tensor = parameters[..active]
            .iter()
            .map(|p| ((p * 1.7 + 0.3 * f64::from(step)).sin() * 10f64.powi(step % 4)).sum(p.kind()))
            .sum();
        total.backward();
        optimizer.step().unwrap();
    }
}

fn furthest(ours: &[Tensor], theirs: &[Tensor]) -> f64 {
    let apart = |(a, b): (&Tensor, &Tensor)| (a - b).abs().max().double_value(&[]);
    ours.iter().zip(theirs).map(apart).fold(0.0, f64::max)
}

#[test]
fn steps_are_those_of_libtorch() {
    for (kind, tolerance) in [(Kind::Float, SINGLE), (Kind::Double, DOUBLE)] {
        let (vs, ours) = store(kind);
        let mut optimizer = AdamWConfig { weight_decay: 0.3, ..Default::default() }.build(&vs).unwrap();
        descend(&ours, &mut optimizer);

        let (vs, theirs) = store(kind);
        let mut optimizer = nn::AdamW::default().build(&vs, 1.0).unwrap();
        set_weight_decay(&mut optimizer, &vs, 0.3).unwrap();
        let start: Vec<_> = theirs.iter().map(Tensor::copy).collect();
        descend(&theirs, &mut optimizer);

        assert!(furthest(&start, &theirs) > 0.5, "they have moved");
        let apart = furthest(&ours, &theirs);
        assert!(apart < tolerance, "{kind:?}: {apart:e} apart");
    }
}

#[test]
fn parameters_that_come_later_are_trained_and_frozen_ones_rest() {
    let mut vs = nn::VarStore::new(Device::Cpu);
    let first = vs.root().ones("first", &[2]);
    let mut optimizer = AdamWConfig::default().build(&vs).unwrap();
    let later = vs.root().ones("later", &[2]);
    let mut step = |tensors: &[&Tensor]| {
        optimizer.zero_grad();
        tensors.iter().map(|tensor| tensor.sum(Kind::Float)).sum::<Tensor>().backward();
        optimizer.step().unwrap();
    };
    step(&[&first, &later]);
    assert!(first.double_value(&[0]) < 1.0 && later.double_value(&[1]) < 1.0);
    let before = first.copy();
    step(&[&later]);
    assert_eq!(first, before, "no gradient, no weight decay, no momentum");
    vs.freeze();
    let before = later.copy();
    let outside = Tensor::ones([1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    step(&[&outside]);
    assert_eq!(later, before);
}

/// What a warm-up in single precision has learned goes on in double: with one gradient a weight moves by the
/// learning rate in every step.
#[test]
fn moments_follow_a_store_that_was_cast() {
    let mut vs = nn::VarStore::new(Device::Cpu);
    let weight = vs.root().ones("weight", &[2]);
    let config = AdamWConfig { learning_rate: 0.1, weight_decay: 0.0, ..Default::default() };
    let mut optimizer = config.build(&vs).unwrap();
    for (step, kind) in [Kind::Float, Kind::Double, Kind::Float].into_iter().enumerate() {
        match kind {
            Kind::Double => vs.double(),
            _ => vs.float(),
        }
        optimizer.zero_grad();
        (&weight * 5.0).sum(kind).backward();
        optimizer.step().unwrap();
        assert_eq!(weight.kind(), kind);
        assert!((weight.double_value(&[1]) - (0.9 - 0.1 * step as f64)).abs() < 1e-6, "step {step}: {weight:?}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let vs = nn::VarStore::new(Device::Cpu);
    let good = AdamWConfig::default();
    for (config, message) in [
        (
            AdamWConfig { learning_rate: -0.1, ..good },
            "invalid `learning_rate`: expected a finite number >= 0, got -0.1",
        ),
        (AdamWConfig { beta1: 1.0, ..good }, "invalid `beta1`: expected a number in 0..1, got 1"),
        (AdamWConfig { beta2: f64::NAN, ..good }, "invalid `beta2`: expected a number in 0..1, got NaN"),
        (AdamWConfig { eps: 0.0, ..good }, "invalid `eps`: expected a finite number > 0, got 0"),
        (
            AdamWConfig { weight_decay: f64::INFINITY, ..good },
            "invalid `weight_decay`: expected a finite number >= 0, got inf",
        ),
    ] {
        assert_eq!(config.build(&vs).unwrap_err().to_string(), message);
    }
    assert!(AdamWConfig { learning_rate: 0.0, beta1: 0.0, beta2: 0.0, ..good }.build(&vs).is_ok());
}

/// `tch` gives a group to an optimizer only when it next looks for new variables.
#[test]
fn weight_decay_finds_variables_that_came_after_the_optimizer() {
    let vs = nn::VarStore::new(Device::Cpu);
    let decayed = vs.root().ones("decayed", &[1]);
    let mut optimizer = nn::Sgd::default().build(&vs, 0.1).unwrap();
    let spared = vs.root().set_group(NO_DECAY_GROUP).ones("spared", &[1]);
    set_weight_decay(&mut optimizer, &vs, 0.5).unwrap();
    ((&decayed + &spared).sum(Kind::Float) * 0.0).backward();
    optimizer.step();
    assert!((decayed.double_value(&[0]) - 0.95).abs() < 1e-6);
    assert_eq!(Vec::<f32>::try_from(spared.detach()).unwrap(), [1.0]);
}

/// Rows that have a gradient move as in a dense step of theirs alone; the others keep weights and moments to the bit.
#[test]
fn a_sparse_gradient_moves_its_rows() {
    let config = AdamWConfig { learning_rate: 0.1, ..Default::default() };
    let start = Tensor::from_slice2(&[[1.0f32, -2.0], [3.0, 4.0], [-5.0, 6.0], [0.5, 0.25]]);
    let made = |rows: &[i64]| {
        let vs = nn::VarStore::new(Device::Cpu);
        let values = start.index_select(0, &Tensor::from_slice(rows));
        let weight = vs.root().var_copy("weight", &values);
        (config.build(&vs).unwrap(), weight)
    };
    let (mut sparse, all) = made(&[0, 1, 2, 3]);
    let (mut dense, some) = made(&[1, 3]);
    let slopes = Tensor::from_slice2(&[[2.0f32, -1.0], [0.3, 0.7]]);
    for step in 1..4 {
        sparse.zero_grad();
        dense.zero_grad();
        // Accumulated over two backwards, the rows named in another order in the second.
        for [order, back] in [[[1i64, 3], [0, 1]], [[3, 1], [1, 0]]] {
            let rows = Tensor::embedding(&all, &Tensor::from_slice(&order), -1, false, true);
            (rows * slopes.index_select(0, &Tensor::from_slice(&back)) * step)
                .sum(None::<soft_lmccl::tch::Kind>)
                .backward();
            (&some * &slopes * step).sum(None::<soft_lmccl::tch::Kind>).backward();
        }
        assert!(all.grad().is_sparse());
        sparse.step().unwrap();
        dense.step().unwrap();
    }
    let [moved, still] = [[1i64, 3], [0, 2]].map(|rows| all.detach().index_select(0, &Tensor::from_slice(&rows)));
    assert!(moved.allclose(&some.detach(), 1e-6, 0.0, false), "{moved:?}");
    assert_eq!(still, start.index_select(0, &Tensor::from_slice(&[0i64, 2])));
    sparse.zero_grad();
    assert!(!all.grad().defined());
}

/// A step of a whole loss with row-sparse gradients: checked, clipped and stepped as a dense one.
#[test]
fn a_step_with_sampled_negatives() {
    use soft_lmccl::loss::{LmclConfig, Loss, Negatives};
    let labels = Tensor::from_slice(&[3i64, 150, 3]);
    let embeddings = Tensor::from_slice2(&[[0.3f32, -1.2, 0.8], [1.0, 0.4, -0.1], [-0.5, 0.2, 0.9]]);
    let vs = nn::VarStore::new(Device::Cpu);
    let negatives = Negatives { share: 0.1, seed: 1, sparse: true };
    let mut loss = LmclConfig { negatives, ..Default::default() }.init(&vs.root(), 200, 3).unwrap();
    let mut optimizer = AdamWConfig { learning_rate: 0.05, ..Default::default() }.build(&vs).unwrap();
    let before = loss.prototypes().detach().copy();
    let first = soft_lmccl::train::backward_step(&mut loss, &mut optimizer, &embeddings, &labels).unwrap();
    assert!(loss.prototypes().grad().is_sparse());
    let moved = (loss.prototypes().detach() - before).abs().amax([1i64].as_slice(), false).gt(0.0);
    // 2 shown, a tenth of 198 others.
    assert_eq!(moved.sum(soft_lmccl::tch::Kind::Int64).int64_value(&[]), 22);
    for _ in 0..50 {
        soft_lmccl::train::backward_step(&mut loss, &mut optimizer, &embeddings, &labels).unwrap();
    }
    let last = loss.forward(&embeddings, &labels).unwrap().report().unwrap();
    assert!(last.total < 0.5 * first.total, "{first}, {last}");
    let bad = embeddings.copy();
    let _ = bad.get(0).fill_(f64::NAN);
    let weights = loss.prototypes().detach().copy();
    soft_lmccl::train::backward_step(&mut loss, &mut optimizer, &bad, &labels).unwrap_err();
    assert_eq!(loss.prototypes().detach(), weights);
}
