//! Row-sparse gradients in whole steps: clipped, accumulated, checked and forgotten as dense ones.

use std::ops::ControlFlow;

use soft_lmccl::{
    Error,
    loss::{Lmcl, LmclConfig, Negatives},
    params,
    tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig, no_grad_guard},
    train::{AdamWConfig, FitConfig, InMemory, Optimizer, Step, Trainer, backward_step},
};

use super::waves;

/// Single precision, in which two orders of a sum differ.
const SINGLE: f64 = 1e-6;

const CLASSES: i64 = 60;

fn on(_: &Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn made(sparse: bool) -> (nn::VarStore, nn::Linear, Lmcl) {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = nn::linear(vs.root() / "net", 6, 4, Default::default());
    let negatives = Negatives { share: 0.1, seed: 3, sparse };
    let loss = LmclConfig { negatives, ..Default::default() }.init(&(vs.root() / "loss"), CLASSES, 4).unwrap();
    for name in ["net.weight", "net.bias", "loss.weight"] {
        let _frozen = no_grad_guard();
        let mut variable = vs.variables()[name].shallow_clone();
        variable.copy_(&waves(&variable.size(), name.len() as f64));
    }
    (vs, net, loss)
}

fn data() -> (Tensor, Tensor) {
    (waves(&[8, 6], 0.2), Tensor::from_slice(&[3i64, 41, 3, 7, 59, 7, 0, 3]))
}

fn apart(a: &nn::VarStore, b: &nn::VarStore) -> f64 {
    let (a, b) = (a.variables(), b.variables());
    a.iter().map(|(name, x)| (x - &b[name]).abs().max().double_value(&[])).fold(0.0, f64::max)
}

/// Rows of the prototypes that differ.
fn moved(before: &Tensor, after: &Tensor) -> Vec<i64> {
    let differs = (before - after).abs().amax([1i64].as_slice(), false).gt(0.0).nonzero().squeeze_dim(1);
    Vec::try_from(differs).unwrap()
}

/// Along a gradient of two batches, shortened: plain descent shows its length, which AdamW would not.
#[test]
fn accumulation_and_clipping_are_those_of_dense_gradients() {
    let run = |sparse: bool, clip_norm: Option<f64>| {
        let (vs, net, mut loss) = made(sparse);
        let (inputs, labels) = data();
        let config = FitConfig { epochs: 2, batch_size: 4, accumulate: 2, clip_norm, ..Default::default() };
        let trainer = Trainer::new(config).unwrap().optimizer(|vs| Ok(Box::new(nn::Sgd::default().build(vs, 0.1)?)));
        trainer.run(&net, &mut loss, &vs, &InMemory::new(&inputs, &labels).unwrap(), on).unwrap();
        assert_eq!(loss.prototypes().grad().is_sparse(), sparse);
        vs
    };
    let [dense, sparse] = [false, true].map(|sparse| run(sparse, Some(0.05)));
    assert!(apart(&dense, &sparse) < SINGLE, "{}", apart(&dense, &sparse));
    assert!(apart(&dense, &run(true, None)) > 100.0 * SINGLE, "clipping has shortened something");
}

/// AdamW by rows differs from dense AdamW in rows that a step did not draw, and in no other way.
#[test]
fn a_lazy_step_leaves_absent_rows_where_they_are() {
    let (inputs, labels) = data();
    // Decay, to see it too: prototypes have none of their own.
    let config = AdamWConfig { learning_rate: 0.1, ..Default::default() };
    let [(dense_vs, ..), (sparse_vs, ..)] = [false, true].map(|sparse| {
        let (vs, net, mut loss) = made(sparse);
        let mut optimizer = config.build(&vs).unwrap();
        optimizer.set_weight_decay(params::NO_DECAY_GROUP, 0.5);
        let mut steps = Vec::new();
        for _ in 0..2 {
            let before = loss.prototypes().detach().copy();
            backward_step(&mut loss, &mut optimizer, &inputs.apply(&net), &labels).unwrap();
            let taken = loss.prototypes().grad().to_dense(None, false).abs().amax([1i64].as_slice(), false);
            let drawn: Vec<i64> = Vec::try_from(taken.gt(0.0).nonzero().squeeze_dim(1)).unwrap();
            let moved = moved(&before, &loss.prototypes().detach());
            match sparse {
                true => assert_eq!(moved, drawn),
                // Weight decay reaches every row.
                false => assert_eq!(moved.len() as i64, CLASSES),
            }
            steps.push(drawn);
        }
        // Five shown, a tenth of the others, not the same twice.
        assert_eq!(steps[0].len(), 5 + 6);
        assert_ne!(steps[0], steps[1]);
        (vs, steps)
    });
    assert!(apart(&dense_vs, &sparse_vs) > 100.0 * SINGLE);
}

/// One step from the start is the dense one in every row that has a gradient.
#[test]
fn the_first_lazy_step_is_the_dense_one() {
    let (inputs, labels) = data();
    let [dense, sparse] = [false, true].map(|sparse| {
        let (vs, net, mut loss) = made(sparse);
        let mut optimizer = AdamWConfig { learning_rate: 0.1, ..Default::default() }.build(&vs).unwrap();
        backward_step(&mut loss, &mut optimizer, &inputs.apply(&net), &labels).unwrap();
        vs
    });
    assert!(apart(&dense, &sparse) < SINGLE);
}

/// A finite loss with an infinite gradient moves nothing, and is forgotten.
#[test]
fn an_infinite_sparse_gradient_is_refused() {
    let (inputs, labels) = data();
    let (vs, net, loss) = made(true);
    {
        let _frozen = no_grad_guard();
        let _ = loss.prototypes().shallow_clone().g_mul_scalar_(1e-4);
    }
    let mut loss = 1e37 * loss;
    let mut optimizer = AdamWConfig::default().build(&vs).unwrap();
    let before = vs.variables()["loss.weight"].detach().copy();
    let error = backward_step(&mut loss, &mut optimizer, &inputs.apply(&net), &labels).unwrap_err();
    assert!(matches!(error, Error::NotFinite(_)), "{error}");
    let message = error.to_string();
    assert!(message.contains("the gradient of `loss.weight` is NaN or infinite"), "{message}");
    assert_eq!(vs.variables()["loss.weight"].detach(), before);
    assert!(!vs.variables()["loss.weight"].grad().defined());
}

/// An optimizer of `tch` that takes no such gradients says so in one sentence.
#[test]
fn others_of_tch_refuse_in_one_sentence() {
    let (inputs, labels) = data();
    let (vs, net, mut loss) = made(true);
    let mut optimizer = nn::Adam::default().build(&vs, 0.1).unwrap();
    let error = backward_step(&mut loss, &mut optimizer, &inputs.apply(&net), &labels).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid `negatives.sparse`: expected an optimizer that takes row-sparse gradients, such as train::AdamW, got one of tch \
         that does not"
    );
    let mut optimizer = nn::Sgd::default().build(&vs, 0.1).unwrap();
    backward_step(&mut loss, &mut optimizer, &inputs.apply(&net), &labels).unwrap();
    Optimizer::zero_grad(&mut optimizer);
    let gradient = loss.prototypes().grad();
    assert!(
        !gradient.defined() || f64::try_from(gradient.to_dense(None, false).abs().sum(Kind::Double)).unwrap() < SINGLE
    );
}
