//! A number that is none moves nothing, and is traced to where it came from.

use std::ops::ControlFlow;

use soft_lmccl::{
    Error, Result,
    loss::{Loss, LossTerms, SoftLmcclConfig},
    model::{CompactNetConfig, compact_net},
    tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig},
    train::{AdamWConfig, FitConfig, Optimizer, backward_step, fit},
};

use super::waves;

fn bits(vs: &nn::VarStore) -> Vec<(String, Vec<f64>)> {
    let mut all: Vec<_> = vs
        .variables()
        .into_iter()
        .map(|(name, v)| (name, Vec::try_from(v.detach().to_kind(Kind::Double).flatten(0, -1)).unwrap()))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn one_nan_among_the_inputs_moves_nothing() {
    let own: fn(&nn::VarStore) -> Box<dyn Optimizer> = |vs| Box::new(AdamWConfig::default().build(vs).unwrap());
    let theirs: fn(&nn::VarStore) -> Box<dyn Optimizer> = |vs| Box::new(nn::Adam::default().build(vs, 0.1).unwrap());
    for build in [own, theirs] {
        for bad in [f64::NAN, f64::INFINITY] {
            let vs = nn::VarStore::new(Device::Cpu);
            let net = nn::linear(vs.root() / "net", 8, 4, Default::default());
            let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 5, 4).unwrap();
            let mut optimizer = build(&vs);
            let labels = Tensor::arange(400, (Kind::Int64, Device::Cpu)).remainder(5);
            let good = waves(&[400, 8], 0.3);
            backward_step(&mut loss, optimizer.as_mut(), &good.apply(&net), &labels).unwrap();
            let before = bits(&vs);
            let inputs = good.copy();
            let _ = inputs.get(17).get(3).fill_(bad);
            let error = backward_step(&mut loss, optimizer.as_mut(), &inputs.apply(&net), &labels).unwrap_err();
            assert!(matches!(error, Error::NotFinite(_)), "{error}");
            let message = error.to_string();
            assert!(message.contains("the term `lmcl` is NaN") && message.ends_with("nothing has moved"), "{message}");
            assert_eq!(bits(&vs), before);
            // It goes on as if nothing had been.
            backward_step(&mut loss, optimizer.as_mut(), &good.apply(&net), &labels).unwrap();
        }
    }
}

#[test]
fn a_bad_sample_is_named_and_running_statistics_stay() {
    for (bad, said) in [(f64::NAN, "NaN"), (f64::NEG_INFINITY, "-inf")] {
        let vs = nn::VarStore::new(Device::Cpu);
        let config = CompactNetConfig { channels: vec![2], embedding_dim: 4, ..Default::default() };
        let net = compact_net(&(vs.root() / "net"), 4, config).unwrap();
        let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 3, 4).unwrap();
        let volumes = waves(&[12, 1, 4, 4, 4], 0.2);
        let _ = volumes.get(7).flatten(0, -1).get(5).fill_(bad);
        let labels = Tensor::arange(12, (Kind::Int64, Device::Cpu)).remainder(3);
        let config = FitConfig { epochs: 1, batch_size: 12, ..Default::default() };
        let before = bits(&vs);
        let error = fit(&net, &mut loss, &vs, (&volumes, &labels), config, |_| panic!("no step")).unwrap_err();
        let expected = format!(
            "inputs: expected finite numbers, got {said} in sample 7, number 5 of it, met in step 1; nothing has moved"
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(bits(&vs), before);
    }
}

/// Finite, and yet no numbers to train on: their squares are none.
#[test]
fn inputs_far_from_all_others_are_named_where_the_loss_is_none() {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = nn::seq_t().add(nn::linear(vs.root() / "net", 8, 4, Default::default()));
    let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 3, 4).unwrap();
    let inputs = waves(&[12, 8], 0.2);
    let _ = inputs.get(4).fill_(1e30);
    let labels = Tensor::arange(12, (Kind::Int64, Device::Cpu)).remainder(3);
    let config = FitConfig { epochs: 1, batch_size: 12, ..Default::default() };
    let before = bits(&vs);
    let error = fit(&net, &mut loss, &vs, (&inputs, &labels), config, |_| panic!("no step")).unwrap_err().to_string();
    assert!(error.contains("the term `center` is inf") && error.contains("in sample 4"), "{error}");
    assert!(!error.contains("learning rate"), "{error}");
    assert_eq!(bits(&vs), before);
}

/// `√x` at 0: a value of 0, a slope without end.
#[derive(Debug)]
struct Root;

impl Loss for Root {
    fn forward(&self, embeddings: &Tensor, _: &Tensor) -> Result<LossTerms> {
        Ok(LossTerms::single("root", (embeddings * 0.0).sqrt().sum(Kind::Float)))
    }

    fn check(&self, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn update(&mut self, _: &Tensor, _: &Tensor) -> Result<()> {
        panic!("nothing moves");
    }
}

#[test]
fn a_gradient_that_is_none_behind_a_finite_loss_moves_nothing() {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = nn::linear(vs.root() / "net", 8, 4, Default::default());
    let before = bits(&vs);
    let mut optimizer = nn::AdamW::default().build(&vs, 0.1).unwrap();
    let labels = Tensor::zeros([6], (Kind::Int64, Device::Cpu));
    let inputs = waves(&[6, 8], 0.3);
    let error = backward_step(&mut Root, &mut optimizer, &inputs.apply(&net), &labels).unwrap_err().to_string();
    assert!(
        error.starts_with("the gradient of a variable of shape [4") && error.ends_with("nothing has moved"),
        "{error}"
    );
    let config = FitConfig { epochs: 1, batch_size: 6, ..Default::default() };
    let error = fit(&net, &mut Root, &vs, (&inputs, &labels), config, |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.to_string(), "training diverged at step 1: the gradient of `net.bias` is NaN or infinite");
    assert_eq!(bits(&vs), before);
}

/// Gradients whose squares single precision does not hold are large, not infinite.
#[test]
fn a_huge_gradient_is_a_gradient() {
    let vs = nn::VarStore::new(Device::Cpu);
    let weight = vs.root().ones("w", &[2]);
    let mut optimizer = nn::Sgd::default().build(&vs, 1e-25).unwrap();
    #[derive(Debug)]
    struct Sum;
    impl Loss for Sum {
        fn forward(&self, embeddings: &Tensor, _: &Tensor) -> Result<LossTerms> {
            Ok(LossTerms::single("sum", embeddings.sum(Kind::Float)))
        }
        fn check(&self, _: &Tensor, _: &Tensor) -> Result<()> {
            Ok(())
        }
        fn update(&mut self, _: &Tensor, _: &Tensor) -> Result<()> {
            Ok(())
        }
    }
    let labels = Tensor::zeros([1], (Kind::Int64, Device::Cpu));
    backward_step(&mut Sum, &mut optimizer, &(&weight * 1e25), &labels).unwrap();
    assert!(weight.double_value(&[0]).abs() < 1e-6);
}
