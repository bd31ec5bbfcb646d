//! What a step, a run and an embedding do in which order, seen from inside.

use std::ops::ControlFlow;

use approx::assert_relative_eq;
use soft_lmccl::{
    Error, Result,
    loss::{Loss, LossTerms},
    tch::{Device, Kind, Tensor, nn, nn::ModuleT, nn::OptimizerConfig, no_grad_guard},
    train::{End, FitConfig, backward_step, embed, embed_raw, fit},
};

/// `Σ x`; notes the parameter and its gradient as `update` finds them.
#[derive(Debug)]
struct Watch {
    parameter: Tensor,
    seen: Vec<[f64; 2]>,
    refuses: bool,
}

impl Loss for Watch {
    fn forward(&self, embeddings: &Tensor, _: &Tensor) -> Result<LossTerms> {
        Ok(LossTerms::single("watch", embeddings.sum(Kind::Float)))
    }

    fn check(&self, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn update(&mut self, _: &Tensor, _: &Tensor) -> Result<()> {
        self.seen.push([self.parameter.double_value(&[]), self.parameter.grad().double_value(&[])]);
        match self.refuses {
            true => Err(Error::Label { position: 0, label: 9, num_classes: 3 }),
            false => Ok(()),
        }
    }
}

/// A parameter of 2, an optimizer of it, what watches it, and the labels of a batch.
fn watched() -> (Tensor, nn::Optimizer, Watch, Tensor) {
    let vs = nn::VarStore::new(Device::Cpu);
    let parameter = vs.root().var("parameter", &[], nn::Init::Const(2.0));
    let optimizer = nn::Sgd::default().build(&vs, 0.5).unwrap();
    let watch = Watch { parameter: parameter.shallow_clone(), seen: vec![], refuses: false };
    (parameter, optimizer, watch, Tensor::from_slice(&[0i64]))
}

#[test]
fn the_update_sees_fresh_gradients_and_weights_that_have_not_moved() {
    let (parameter, mut optimizer, mut watch, labels) = watched();
    for value in [6.0, 1.5] {
        let report = backward_step(&mut watch, &mut optimizer, &(&parameter * 3.0), &labels).unwrap();
        assert_relative_eq!(report.total, value);
    }
    assert_eq!(watch.seen, [[2.0, 3.0], [0.5, 3.0]]);
    watch.refuses = true;
    backward_step(&mut watch, &mut optimizer, &(&parameter * 3.0), &labels).unwrap_err();
    assert_relative_eq!(parameter.double_value(&[]), -1.0);
}

#[test]
fn a_step_that_nothing_takes_part_in_is_refused() {
    let message = "embeddings: expected a gradient that reaches the network or a head of the loss, \
                   got none: all of them are frozen, or gradients are off";
    let (parameter, mut optimizer, mut watch, labels) = watched();
    let frozen = Tensor::from_slice(&[1.0f32]);
    assert_eq!(backward_step(&mut watch, &mut optimizer, &frozen, &labels).unwrap_err().to_string(), message);
    let _frozen = no_grad_guard();
    let moved = &parameter * 3.0;
    assert_eq!(backward_step(&mut watch, &mut optimizer, &moved, &labels).unwrap_err().to_string(), message);
    assert!(watch.seen.is_empty());
}

/// `x·w` on the network's side; nothing to learn on the loss', which notes the labels of each batch.
#[derive(Debug, Default)]
struct Idle(Vec<Vec<i64>>);

impl Loss for Idle {
    fn forward(&self, embeddings: &Tensor, _: &Tensor) -> Result<LossTerms> {
        Ok(LossTerms::single("idle", embeddings.sum(Kind::Float) * 0.0))
    }

    fn check(&self, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn update(&mut self, _: &Tensor, labels: &Tensor) -> Result<()> {
        self.0.push(Vec::try_from(labels)?);
        Ok(())
    }
}

#[derive(Debug)]
struct Line {
    weight: Tensor,
    trains: bool,
}

impl ModuleT for Line {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let y = x * &self.weight;
        assert_eq!((train, y.requires_grad()), (self.trains, self.trains));
        y
    }
}

fn line(vs: &nn::VarStore, trains: bool) -> Line {
    Line { weight: vs.root().var("weight", &[], nn::Init::Const(1.0)), trains }
}

fn batches(config: FitConfig) -> Vec<Vec<i64>> {
    let vs = nn::VarStore::new(Device::Cpu);
    let labels = Tensor::arange(12, (Kind::Int64, Device::Cpu));
    let mut loss = Idle::default();
    let volumes = labels.to_kind(Kind::Float).view([12, 1]);
    let outcome =
        fit(&line(&vs, true), &mut loss, &vs, (&volumes, &labels), config, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(outcome.end, End::Finished);
    loss.0
}

#[test]
fn the_seed_names_the_order_of_the_samples() {
    let config = FitConfig { epochs: 2, batch_size: 4, seed: 1, ..Default::default() };
    let one = batches(config);
    assert_eq!(one, batches(config));
    assert_ne!(one, batches(FitConfig { seed: 2, ..config }));
    let mut epochs: Vec<Vec<i64>> = one.chunks(3).map(<[_]>::concat).collect();
    assert_ne!(epochs[0], epochs[1]);
    for epoch in &mut epochs {
        assert!(!epoch.is_sorted());
        epoch.sort_unstable();
        assert_eq!(*epoch, (0..12).collect::<Vec<_>>());
    }
    // As many volumes as a batch needs are enough.
    assert_eq!(batches(FitConfig { epochs: 1, batch_size: 12, ..config }).len(), 1);
}

/// Without a gradient AdamW shrinks a weight by `1 − rate·decay` in each step.
#[test]
fn a_run_follows_its_schedule_and_decays_its_weights() {
    const DECAY: f64 = 20.0;
    const SINGLE_REL: f64 = 1e-5;
    let vs = nn::VarStore::new(Device::Cpu);
    let net = line(&vs, true);
    let labels = Tensor::arange(10, (Kind::Int64, Device::Cpu));
    let config = FitConfig { epochs: 2, batch_size: 2, learning_rate: 0.01, weight_decay: DECAY, ..Default::default() };
    let (mut rates, mut shrunk) = (vec![], 1.0);
    let end =
        fit(&net, &mut Idle::default(), &vs, (&labels.to_kind(Kind::Float).view([10, 1]), &labels), config, |step| {
            rates.push(step.learning_rate);
            shrunk *= 1.0 - step.learning_rate * DECAY;
            assert_relative_eq!(net.weight.double_value(&[]), shrunk, max_relative = SINGLE_REL);
            ControlFlow::Continue(())
        });
    assert_eq!(end.unwrap().end, End::Finished);
    assert_eq!(rates.len(), 10);
    assert_relative_eq!(rates[0], 0.01 / 25.0, max_relative = 1e-12);
    // Half-way up a cosine at 15 %: between the steps at 10 % and 20 %, which lie evenly about it.
    assert_relative_eq!(rates[1] + rates[2], 0.01 * (1.0 + 1.0 / 25.0), max_relative = 1e-12);
    assert_relative_eq!(rates[3], 0.01, max_relative = 1e-12);
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let vs = nn::VarStore::new(Device::Cpu);
    let labels = Tensor::from_slice(&[0i64, 1]);
    let volumes = Tensor::from_slice(&[1.0f32, f32::NAN]);
    let config = FitConfig { batch_size: 2, ..Default::default() };
    let error =
        fit(&line(&vs, true), &mut Idle::default(), &vs, (&volumes, &labels), config, |_| panic!("no such step"))
            .unwrap_err();
    assert_eq!(
        error.to_string(),
        "inputs: expected finite numbers, got NaN in sample 1, number 0 of it, met in step 1; nothing has moved"
    );
}

#[test]
fn rates_that_are_no_rates_are_refused() {
    let good = FitConfig::default();
    for (config, message) in [
        (
            FitConfig { learning_rate: f64::INFINITY, ..good },
            "invalid `learning_rate`: expected a finite number > 0, got inf",
        ),
        (FitConfig { weight_decay: -0.5, ..good }, "invalid `weight_decay`: expected a finite number >= 0, got -0.5"),
        (
            FitConfig { weight_decay: f64::INFINITY, ..good },
            "invalid `weight_decay`: expected a finite number >= 0, got inf",
        ),
    ] {
        assert_eq!(config.validate().unwrap_err().to_string(), message);
    }
    assert!(FitConfig { weight_decay: 0.0, epochs: 1, batch_size: 2, ..good }.validate().is_ok());
}

#[test]
fn embedding_is_evaluation_without_a_graph() {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = line(&vs, false);
    let batch = |shape: &[i64], labels: &[i64]| {
        Ok((Tensor::ones(shape, (Kind::Float, Device::Cpu)), Tensor::from_slice(labels)))
    };
    assert_eq!(embed(&net, [batch(&[2, 3], &[0, 1]), batch(&[1, 3], &[1])]).unwrap().len(), 3);
    // As they are, with labels that no set takes; none as well.
    let (raw, labels) = embed_raw(&net, [batch(&[2, 3], &[-1, 1]), batch(&[1, 3], &[7])]).unwrap();
    assert_eq!((raw.dim(), labels), ((3, 3), vec![-1, 1, 7]));
    let frozen = no_grad_guard();
    let forwarded = net.forward_t(&Tensor::ones([1, 3], (Kind::Float, Device::Cpu)), false);
    drop(frozen);
    assert_eq!(raw.row(0).to_vec(), Vec::<f32>::try_from(forwarded.get(0)).unwrap());
    assert_eq!(embed_raw(&net, []).unwrap().0.dim(), (0, 0));
    assert!(embed(&net, []).is_err());
    let refused = |batches: Vec<Result<(Tensor, Tensor)>>| embed(&net, batches).unwrap_err().to_string();
    assert_eq!(
        refused(vec![batch(&[2, 3, 1], &[0, 1])]),
        "embeddings: expected the network to give [B, D], got [2, 3, 1]"
    );
    let unlabeled = (Tensor::ones([1, 3], (Kind::Float, Device::Cpu)), Tensor::new());
    assert_eq!(refused(vec![Ok(unlabeled)]), "labels: expected values, got an undefined tensor");
    // Six numbers: three rows of two, if nobody looks at the batches they came in.
    assert_eq!(
        refused(vec![batch(&[1, 3], &[0]), batch(&[1, 1], &[1]), batch(&[1, 2], &[2])]),
        "embeddings: expected every batch to give 3 columns, got [1, 1]"
    );
    // Five labels of five embeddings, if nobody looks at the batches they came in.
    assert_eq!(
        refused(vec![batch(&[3, 3], &[0, 0]), batch(&[2, 3], &[1, 1, 1])]),
        "labels: expected [3], one for each embedding of the batch, got [2]"
    );
    assert_eq!(
        refused(vec![Ok((Tensor::ones([2, 3], (Kind::Float, Device::Cpu)), Tensor::from_slice2(&[[0i64], [1]])))]),
        "labels: expected [2], one for each embedding of the batch, got [2, 1]"
    );
    assert_eq!(
        refused(vec![Err(Error::NameTaken("of a batch".into()))]),
        Error::NameTaken("of a batch".into()).to_string(),
        "what a batch brings"
    );
}
