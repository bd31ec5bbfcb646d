//! Losses: parity with other programs, gradients, properties, refusals.

mod center;
mod closed_form;
mod compose;
mod errors;
mod formulas;
mod gradients;
mod lmcl;
mod margins;
mod parity;
pub(crate) mod precision;

use proptest::prelude::*;
use soft_lmccl::{
    loss::{Loss, Reduction},
    tch::{Device, Kind, Tensor, nn, no_grad_guard},
};

/// Two ways to the same number in `f64`.
const F64_REL: f64 = 1e-12;
/// Two ways to the same number in `f64` through a network's worth of sums and exponentials.
const F64_SUM_REL: f64 = 1e-10;
/// Ours against another program's.
const FIXTURE_REL: f64 = 1e-9;

const SMALL: std::ops::RangeInclusive<usize> = 2..=6;

/// A batch and prototypes to compare it with: B ≠ C ≠ D as a rule, labels unsorted, repeated, absent.
#[derive(Debug, Clone)]
struct Case {
    classes: usize,
    dim: usize,
    embeddings: Vec<f64>,
    weight: Vec<f64>,
    labels: Vec<i64>,
}

impl Case {
    fn embeddings(&self) -> Tensor {
        matrix(&self.embeddings, self.dim)
    }

    fn weight(&self) -> Tensor {
        matrix(&self.weight, self.dim)
    }

    fn labels(&self) -> Tensor {
        Tensor::from_slice(&self.labels)
    }
}

/// Logits with those of the true classes changed.
fn with_own(logits: &Tensor, labels: &Tensor, change: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    let labels = labels.unsqueeze(1);
    let own = logits.gather(1, &labels, false);
    logits.scatter_add(1, &labels, &(change(&own) - own))
}

/// libtorch's, of labels that are all to count.
fn cross_entropy(logits: &Tensor, labels: &Tensor, reduction: Reduction) -> Tensor {
    logits.cross_entropy_loss(labels, None::<Tensor>, reduction.into(), -100, 0.0)
}

/// Numbers away from 0, so that no row is short.
fn coordinate() -> impl Strategy<Value = f64> {
    (prop::bool::ANY, 0.1..2.0f64).prop_map(|(negative, size)| if negative { -size } else { size })
}

fn case() -> impl Strategy<Value = Case> {
    (SMALL, SMALL, SMALL).prop_flat_map(|(batch, classes, dim)| {
        (
            prop::collection::vec(coordinate(), batch * dim),
            prop::collection::vec(coordinate(), classes * dim),
            prop::collection::vec(0..classes as i64, batch),
        )
            .prop_map(move |(embeddings, weight, labels)| Case { classes, dim, embeddings, weight, labels })
    })
}

fn matrix(values: &[f64], columns: usize) -> Tensor {
    Tensor::from_slice(values).view([-1, columns as i64])
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).contiguous().flatten(0, -1)).unwrap()
}

/// A store in double precision: casting after `make` also casts what the losses hold.
fn double<L>(make: impl FnOnce(&nn::Path<'_>) -> soft_lmccl::Result<L>) -> (nn::VarStore, L) {
    tch_on_one_thread();
    let mut vs = nn::VarStore::new(Device::Cpu);
    let loss = make(&vs.root()).unwrap();
    vs.double();
    (vs, loss)
}

/// Small tensors on many test threads: more of libtorch's own would only fight over the cores.
fn tch_on_one_thread() {
    soft_lmccl::tch::set_num_threads(1);
}

/// Overwrites a variable.
fn set(vs: &nn::VarStore, name: &str, values: &Tensor) {
    let _frozen = no_grad_guard();
    let variables = vs.variables();
    let variable = variables.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", variables.keys()));
    assert_eq!(variable.size(), values.size(), "{name}");
    variable.shallow_clone().copy_(values);
}

fn total(loss: &dyn Loss, embeddings: &Tensor, labels: &Tensor) -> f64 {
    loss.forward(embeddings, labels).unwrap().report().unwrap().total
}

/// The gradient of the total by the embeddings.
fn gradient(loss: &dyn Loss, embeddings: &Tensor, labels: &Tensor) -> Tensor {
    let embeddings = embeddings.detach().copy().set_requires_grad(true);
    loss.forward(&embeddings, labels).unwrap().total().backward();
    embeddings.grad()
}

#[track_caller]
fn assert_close(got: &[f64], want: &[f64], rel: f64) {
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(0.0f64, |size, x| size.max(x.abs())).max(1e-30);
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= rel * size, "at {index}: got {got}, want {want}, within {rel} of {size}");
    }
}
