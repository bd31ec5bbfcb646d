//! What a forward pass for training moves besides the graph: running statistics.

use std::collections::{BTreeMap, HashSet};

use tch::{Tensor, nn, no_grad_guard};

use crate::{Result, distributed::Group, loss::Loss, params::is_under};

/// The buffers of the network, which a step that fails puts back, and frozen parts keep in any case.
#[derive(Debug)]
pub(super) struct Buffers {
    moving: Vec<Tensor>,
    frozen: Vec<Tensor>,
}

impl Buffers {
    /// All that `vs` has and neither trains nor belongs to `loss`; frozen are those under one of the paths.
    pub(super) fn of(vs: &nn::VarStore, loss: &(impl Loss + ?Sized), frozen: &[String]) -> Self {
        let place = |tensor: &Tensor| (tensor.data_ptr(), tensor.size());
        let others: HashSet<_> = loss.variables().iter().map(|(_, variable)| place(variable)).collect();
        let mut buffers = Self { moving: Vec::new(), frozen: Vec::new() };
        // A store has no order, but all ranks must have one.
        for (name, variable) in vs.variables().into_iter().collect::<BTreeMap<_, _>>() {
            if variable.requires_grad() || others.contains(&place(&variable)) {
                continue;
            }
            match frozen.iter().any(|part| is_under(&name, part)) {
                true => buffers.frozen.push(variable),
                false => buffers.moving.push(variable),
            }
        }
        buffers
    }

    /// Makes the running statistics their mean over the ranks, which have seen different samples.
    pub(super) fn average(&self, group: &Group) -> Result<()> {
        let floating = self.moving.iter().filter(|buffer| buffer.is_floating_point());
        group.average(&floating.map(Tensor::detach).collect::<Vec<_>>())
    }

    /// Runs `step`; afterwards frozen buffers are what they were before, and the others too if it failed.
    pub(super) fn around<T>(&self, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let copies = |tensors: &[Tensor]| tensors.iter().map(|tensor| tensor.detach().copy()).collect::<Vec<_>>();
        let (moving, frozen) = (copies(&self.moving), copies(&self.frozen));
        let taken = step();
        let _frozen = no_grad_guard();
        let put_back = |tensors: &[Tensor], values: &[Tensor]| {
            for (tensor, value) in tensors.iter().zip(values) {
                tensor.shallow_clone().copy_(value);
            }
        };
        put_back(&self.frozen, &frozen);
        if taken.is_err() {
            put_back(&self.moving, &moving);
        }
        taken
    }
}
