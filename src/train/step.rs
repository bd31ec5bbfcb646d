//! One optimization step, in the one right order.

use std::sync::PoisonError;

use tch::{Tensor, nn};

use crate::{
    Error, Result,
    loss::{Loss, LossReport},
    params::{DECAY_GROUP, NO_DECAY_GROUP},
};

/// One optimization step: forward → zero_grad → backward → center update → optimizer step.
///
/// The update comes after backward (no saved tensor is touched) and before the step (it sees the
/// very embeddings that the loss saw). For gradient accumulation call [`Loss::forward`] and
/// [`Loss::update`] yourself.
///
/// # Errors
/// As [`Loss::forward`]; on `Err` neither the weights nor the centers have moved.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::SoftLmcclConfig, train::backward_step};
/// use soft_lmccl::tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = nn::linear(vs.root() / "net", 6, 4, Default::default());
/// let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 3, 4)?;
/// let mut optimizer = nn::AdamW::default().build(&vs, 0.05)?;
/// let (inputs, labels) = (Tensor::randn([9, 6], (Kind::Float, Device::Cpu)), Tensor::arange(9, (Kind::Int64, Device::Cpu)).remainder(3));
/// let mut step = || backward_step(&mut loss, &mut optimizer, &inputs.apply(&net), &labels);
/// let first = step()?.total;
/// for _ in 0..50 { step()?; }
/// assert!(step()?.total < 0.5 * first);
/// # Ok(()) }
/// ```
pub fn backward_step(
    loss: &mut (impl Loss + ?Sized),
    optimizer: &mut nn::Optimizer,
    embeddings: &Tensor,
    labels: &Tensor,
) -> Result<LossReport> {
    let terms = loss.forward(embeddings, labels)?;
    optimizer.zero_grad();
    terms.total().f_backward()?;
    loss.update(embeddings, labels)?;
    optimizer.step();
    terms.report()
}

/// The paper's `L_reg`: weight decay on networks and softmax heads, none on prototypes, biases,
/// centers and normalization layers (see [`params`](crate::params)).
///
/// Call it once everything is in `vs`, the store that `optimizer` was built from. Groups of your own
/// keep what you gave them.
///
/// # Errors
/// [`Error::Config`] unless `weight_decay` is finite and ≥ 0.
pub fn set_weight_decay(optimizer: &mut nn::Optimizer, vs: &nn::VarStore, weight_decay: f64) -> Result<()> {
    if !(weight_decay.is_finite() && weight_decay >= 0.0) {
        return Err(Error::Config {
            field: "weight_decay",
            expected: "a finite number >= 0".into(),
            got: weight_decay.to_string(),
        });
    }
    // A group exists once a variable has joined it or a later one; `tch` panics on the others.
    let variables = vs.variables_.lock().unwrap_or_else(PoisonError::into_inner);
    let last = variables.trainable_variables.iter().map(|variable| variable.group).max().unwrap_or(0);
    drop(variables);
    optimizer.set_weight_decay_group(DECAY_GROUP, weight_decay);
    if NO_DECAY_GROUP <= last {
        optimizer.set_weight_decay_group(NO_DECAY_GROUP, 0.0);
    }
    Ok(())
}
