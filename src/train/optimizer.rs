//! What a training step asks of an optimizer, whoever wrote it.

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
};

use tch::{Tensor, nn};

use crate::{
    Error, Result,
    params::{DECAY_GROUP, NO_DECAY_GROUP},
};

/// What a training step asks of an optimizer: [`AdamW`](super::AdamW), whose state can be saved, and every
/// optimizer of `tch`.
pub trait Optimizer: Debug {
    /// What it moves: what clipping looks at, and what tells that a head is missing.
    fn variables(&self) -> Vec<Tensor>;

    /// The name of one of them, if the optimizer knows it.
    fn name_of(&self, _variable: &Tensor) -> Option<String> {
        None
    }

    /// Forgets the gradients of the last step.
    fn zero_grad(&mut self);

    /// Moves every parameter that has a gradient.
    ///
    /// # Errors
    /// [`Error::Torch`] as libtorch reports it; `tch`'s optimizers panic instead.
    fn step(&mut self) -> Result<()>;

    /// Sets the learning rate of all groups.
    fn set_learning_rate(&mut self, rate: f64);

    /// Sets the weight decay of one group, which must have a parameter. Optimizers of `tch` forget their gradients
    /// at that.
    fn set_weight_decay(&mut self, group: usize, weight_decay: f64);
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    fn variables(&self) -> Vec<Tensor> {
        (**self).variables()
    }

    fn name_of(&self, variable: &Tensor) -> Option<String> {
        (**self).name_of(variable)
    }

    fn zero_grad(&mut self) {
        (**self).zero_grad();
    }

    fn step(&mut self) -> Result<()> {
        (**self).step()
    }

    fn set_learning_rate(&mut self, rate: f64) {
        (**self).set_learning_rate(rate);
    }

    fn set_weight_decay(&mut self, group: usize, weight_decay: f64) {
        (**self).set_weight_decay(group, weight_decay);
    }
}

/// Two optimizers that step together, such as one for the network and one for the head, each of a store of its own.
impl<A: Optimizer, B: Optimizer> Optimizer for (A, B) {
    fn variables(&self) -> Vec<Tensor> {
        let mut variables = self.0.variables();
        variables.extend(self.1.variables());
        variables
    }

    fn name_of(&self, variable: &Tensor) -> Option<String> {
        self.0.name_of(variable).or_else(|| self.1.name_of(variable))
    }

    fn zero_grad(&mut self) {
        self.0.zero_grad();
        self.1.zero_grad();
    }

    fn step(&mut self) -> Result<()> {
        self.0.step()?;
        self.1.step()
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.0.set_learning_rate(rate);
        self.1.set_learning_rate(rate);
    }

    fn set_weight_decay(&mut self, group: usize, weight_decay: f64) {
        self.0.set_weight_decay(group, weight_decay);
        self.1.set_weight_decay(group, weight_decay);
    }
}

impl Optimizer for nn::Optimizer {
    fn variables(&self) -> Vec<Tensor> {
        self.trainable_variables()
    }

    fn zero_grad(&mut self) {
        nn::Optimizer::zero_grad(self);
    }

    fn step(&mut self) -> Result<()> {
        let sparse = |variable: &Tensor| {
            let gradient = variable.grad();
            gradient.defined() && gradient.is_sparse()
        };
        if !self.trainable_variables().iter().any(sparse) {
            nn::Optimizer::step(self);
            return Ok(());
        }
        // Which optimizer this is nobody can ask.
        catch_unwind(AssertUnwindSafe(|| nn::Optimizer::step(self))).map_err(|_| {
            let expected = "an optimizer that takes row-sparse gradients, such as train::AdamW";
            Error::config("negatives.sparse", expected, "one of tch that does not")
        })
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.set_lr(rate);
    }

    fn set_weight_decay(&mut self, group: usize, weight_decay: f64) {
        // Variables that joined the store after the optimizer was built have no group in it until this.
        nn::Optimizer::zero_grad(self);
        self.set_weight_decay_group(group, weight_decay);
    }
}

/// The paper's `L_reg`: weight decay on networks and softmax heads, none on prototypes, biases, centers and normalization
/// layers, where this crate made them (see [`params`](crate::params)).
///
/// Variables of `tch`'s own layers all decay, biases included. `path.set_group(params::NO_DECAY_GROUP)` exempts a path.
///
/// Call it once everything is in `vs`, the store that `optimizer` was built from. Groups of your own
/// keep what you gave them. [`AdamW`](super::AdamW) starts this way.
///
/// # Errors
/// [`Error::Config`] unless `weight_decay` is finite and ≥ 0.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::LmclConfig, train::{Optimizer, set_weight_decay}};
/// use soft_lmccl::tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let weight = vs.root().ones("weight", &[1]); // in the group of decay, as all that `tch` makes
/// let lmcl = LmclConfig::default().init(&(vs.root() / "lmcl"), 3, 2)?;
/// let prototypes = lmcl.prototypes().copy();
/// let mut optimizer = nn::AdamW::default().build(&vs, 0.1)?;
/// set_weight_decay(&mut optimizer, &vs, 0.5)?;
/// // Gradients of zero: only the decay moves.
/// ((lmcl.prototypes().sum(Kind::Float) + &weight) * 0.0).backward();
/// Optimizer::step(&mut optimizer)?;
/// assert!((weight.double_value(&[0]) - (1.0 - 0.1 * 0.5)).abs() < 1e-6);
/// assert_eq!(lmcl.prototypes(), &prototypes);
/// # Ok(()) }
/// ```
pub fn set_weight_decay(optimizer: &mut (impl Optimizer + ?Sized), vs: &nn::VarStore, weight_decay: f64) -> Result<()> {
    require_weight_decay(weight_decay)?;
    // A group exists once a variable has joined it or a later one; `tch` panics on the others.
    let variables = vs.variables_.lock().unwrap_or_else(PoisonError::into_inner);
    let last = variables.trainable_variables.iter().map(|variable| variable.group).max().unwrap_or(0);
    drop(variables);
    optimizer.set_weight_decay(DECAY_GROUP, weight_decay);
    if NO_DECAY_GROUP <= last {
        optimizer.set_weight_decay(NO_DECAY_GROUP, 0.0);
    }
    Ok(())
}

pub(super) fn require_weight_decay(weight_decay: f64) -> Result<()> {
    if weight_decay.is_finite() && weight_decay >= 0.0 {
        return Ok(());
    }
    Err(Error::config("weight_decay", "a finite number >= 0", weight_decay))
}
