//! One optimization step, in the one right order.

use tch::Tensor;

use super::{
    Optimizer,
    gradients::{clip, require_finite_loss, require_trained},
};
use crate::{
    Result,
    distributed::Group,
    error::require_gradient,
    loss::{Loss, LossReport},
};

/// One optimization step: forward → zero_grad → backward → center update → optimizer step.
///
/// The update comes after backward (no saved tensor is touched) and before the step (it sees the
/// very embeddings that the loss saw). For gradient accumulation call [`Loss::forward`] and
/// [`Loss::update`] yourself. `optimizer` is any of `tch`'s, or [`AdamW`](super::AdamW), whose state can be saved.
///
/// # Errors
/// As [`Loss::forward`] and [`Loss::update`], and [`Error::Tensor`](crate::Error::Tensor) where nothing takes a gradient: neither the
/// weights nor the centers have moved then. [`Error::NotFinite`](crate::Error::NotFinite) for a loss, or a gradient,
/// that is NaN or infinite, and [`Error::Tensor`](crate::Error::Tensor) for a head that takes a gradient and that
/// `optimizer` does not have: neither has moved then either. As [`Optimizer::step`].
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
    optimizer: &mut (impl Optimizer + ?Sized),
    embeddings: &Tensor,
    labels: &Tensor,
) -> Result<LossReport> {
    backward_step_in(&Group::solo(), loss, optimizer, embeddings, labels)
}

/// As [`backward_step`], of the samples of all ranks: each gives embeddings and labels of its own, and the loss is that
/// of the whole batch.
///
/// All ranks take the same step: the gradients of what they have copies of are averaged, in buckets.
///
/// # Errors
/// As [`backward_step`]; [`Error::Group`](crate::Error::Group), with the rank that is to blame. A rank that fails alone
/// [tells the others](Group::fail).
///
/// # Examples
/// See [`distributed`](crate::distributed).
pub fn backward_step_in(
    group: &Group,
    loss: &mut (impl Loss + ?Sized),
    optimizer: &mut (impl Optimizer + ?Sized),
    embeddings: &Tensor,
    labels: &Tensor,
) -> Result<LossReport> {
    let part = |_| Ok((embeddings.shallow_clone(), labels.shallow_clone()));
    accumulate(group, loss, optimizer, 1, None, part).inspect_err(|error| group.fail_of(error))
}

/// One step along the mean gradient of several batches, shortened to a norm of `longest`; running state moves once, by
/// all of them together.
pub(super) fn accumulate(
    group: &Group,
    loss: &mut (impl Loss + ?Sized),
    optimizer: &mut (impl Optimizer + ?Sized),
    parts: usize,
    longest: Option<f64>,
    mut part: impl FnMut(usize) -> Result<(Tensor, Tensor)>,
) -> Result<LossReport> {
    let (mut embeddings, mut labels, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..parts {
        let (of_part, labels_of_part) = part(index)?;
        let (of_part, labels_of_part) = group.gather(&of_part, &labels_of_part)?;
        let terms = loss.forward(&of_part, &labels_of_part)?;
        let total = terms.total();
        require_gradient(total.requires_grad())?;
        let report = terms.report()?;
        require_finite_loss(&report)?;
        if index == 0 {
            require_trained(loss, optimizer)?;
            optimizer.zero_grad();
        }
        let share = if parts > 1 { total / parts as f64 } else { total };
        share.f_backward()?;
        embeddings.push(of_part.detach());
        labels.push(labels_of_part);
        reports.push(report);
    }
    let shards = loss.shards();
    group.average_gradients(&optimizer.variables(), &shards)?;
    clip(group, &shards, optimizer, longest)?;
    match (embeddings.as_slice(), labels.as_slice()) {
        ([embeddings], [labels]) => loss.update(embeddings, labels)?,
        _ => loss.update(&Tensor::f_cat(&embeddings, 0)?, &Tensor::f_cat(&labels, 0)?)?,
    }
    optimizer.step()?;
    Ok(LossReport::mean(reports).expect("a step has at least one batch"))
}
