//! One optimization step, in the one right order.

use tch::Tensor;

use super::Optimizer;
use crate::{
    Result,
    error::require_gradient,
    loss::{Chunked, Chunks, Loss, LossReport},
};

/// One optimization step: forward → zero_grad → backward → center update → optimizer step.
///
/// The update comes after backward (no saved tensor is touched) and before the step (it sees the
/// very embeddings that the loss saw). For gradient accumulation call [`Loss::forward`] and
/// [`Loss::update`] yourself. `optimizer` is any of `tch`'s, or [`AdamW`](super::AdamW), whose state can be saved.
///
/// # Errors
/// As [`Loss::forward`] and [`Loss::update`], and [`Error::Tensor`](crate::Error::Tensor) where nothing takes a gradient: neither the
/// weights nor the centers have moved then. As [`Optimizer::step`].
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
    let terms = loss.forward(embeddings, labels)?;
    let total = terms.total();
    require_gradient(total.requires_grad())?;
    optimizer.zero_grad();
    total.f_backward()?;
    loss.update(embeddings, labels)?;
    optimizer.step()?;
    terms.report()
}

/// [`backward_step`] for a loss of so many classes that their logits have no room.
///
/// # Errors
/// As [`backward_step`]; [`Error::Config`](crate::Error::Config) for chunks of no class.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::*, train::backward_step_in_chunks};
/// use soft_lmccl::tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = nn::linear(vs.root() / "net", 6, 4, Default::default());
/// let lmcl = LmclConfig::default().init(&(vs.root() / "lmcl"), 20_000, 4)?;
/// let mut loss = lmcl + 0.3 * CenterLossConfig::default().init(&(vs.root() / "center"), 20_000, 4)?;
/// let mut optimizer = nn::AdamW::default().build(&vs, 0.05)?;
/// let (inputs, labels) = (Tensor::randn([9, 6], (Kind::Float, Device::Cpu)), Tensor::arange(9, (Kind::Int64, Device::Cpu)) * 2_000);
/// let mut step = || backward_step_in_chunks(&mut loss, &mut optimizer, &inputs.apply(&net), &labels, Chunks::default());
/// let first = step()?.total;
/// for _ in 0..50 { step()?; }
/// assert!(step()?.total < 0.5 * first);
/// # Ok(()) }
/// ```
pub fn backward_step_in_chunks(
    loss: &mut (impl Chunked + ?Sized),
    optimizer: &mut (impl Optimizer + ?Sized),
    embeddings: &Tensor,
    labels: &Tensor,
    mut chunks: Chunks,
) -> Result<LossReport> {
    let pass = loss.first_pass(embeddings, labels, &mut chunks)?;
    optimizer.zero_grad();
    let report = pass.backward()?;
    loss.update(embeddings, labels)?;
    optimizer.step()?;
    Ok(report)
}
