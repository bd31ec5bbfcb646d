//! Operations with a gradient of their own, which `tch` has no way to write: a node of libtorch's graph that calls a
//! closure.
//!
//! The node is compiled from C++ against the headers of the libtorch that torch-sys found, with whatever compiler built
//! torch-sys; on Windows, where torch-sys passes no folder on, `LIBTORCH` or `LIBTORCH_INCLUDE` must name it.

#![allow(unsafe_code, reason = "the graph is libtorch's, behind a C interface of ours")]

mod node;

use tch::{Tensor, no_grad_guard};

use crate::Result;

/// An operation whose gradient is a closure, for values that are cheaper or steadier to differentiate by hand.
///
/// `forward` runs at once, outside the graph, and returns the outputs and `backward`. The outputs are then ordinary
/// tensors of the graph: `backward` runs whenever a gradient reaches one of them, and returns a gradient for each input
/// ([`None`] stands for zero; that of an input that [needs](Backward::needs) none is not looked at). Where no input
/// takes a gradient, or gradients are off, `backward` is dropped at once.
///
/// The inputs are saved as libtorch saves those of its own operations: `backward` finds them in
/// [`Backward::inputs`], and one that was changed in place since is an error. `backward` may hold any other tensor; it
/// must not hold an input, or an output that is changed in place later, since nothing would notice. It is called
/// once for each backward, several times where the graph is kept, and dropped with the graph.
///
/// # Second derivatives
/// Under `create_graph` ([`Backward::create_graph`]) gradients are on while `backward` runs: what it computes of the
/// inputs and of the gradients of the outputs by recorded operations can be differentiated again. A backward that works
/// outside the graph must compute its gradients by a differentiable formula then, or return an error; [`gradients`]
/// differentiates such a formula. Do not differentiate a product with the gradients of the outputs in its place: those
/// may themselves come from the inputs, by way of this very operation.
///
/// # Errors
/// As `forward`; [`Error::Torch`](crate::Error::Torch) of libtorch. What `backward` returns as an error, and what it
/// panics with, becomes the error of `f_backward`.
///
/// # Examples
/// The softplus `ln(1 + exp x)`, which overflows as written; its gradient is the sigmoid of `x`.
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{autograd::{Backward, function}, tch::Tensor};
///
/// let softplus = |x: &Tensor| {
///     function(&[x], || {
///         let value = x.clamp_min(0.0) + (-x.abs()).exp().log1p();
///         let backward = |backward: &Backward<'_>| {
///             // Of recorded operations alone, so it can be differentiated again.
///             let [x] = backward.inputs() else { unreachable!("one input") };
///             Ok(vec![backward.gradient(0).map(|gradient| gradient * x.sigmoid())])
///         };
///         Ok((vec![value], backward))
///     })
/// };
/// let x = Tensor::from_slice(&[0f64, 1000.0]).set_requires_grad(true);
/// let y = softplus(&x)?.remove(0);
/// assert_eq!(Vec::<f64>::try_from(&y)?, [2f64.ln(), 1000.0]);
/// y.sum(y.kind()).f_backward()?;
/// assert_eq!(Vec::<f64>::try_from(x.grad())?, [0.5, 1.0]);
/// # Ok(()) }
/// ```
///
/// # References
/// PyTorch's `torch.autograd.Function`.
pub fn function<B>(inputs: &[&Tensor], forward: impl FnOnce() -> Result<(Vec<Tensor>, B)>) -> Result<Vec<Tensor>>
where
    B: Fn(&Backward<'_>) -> Result<Vec<Option<Tensor>>> + Send + 'static,
{
    let (mut outputs, backward) = {
        let _outside_the_graph = no_grad_guard();
        forward()?
    };
    node::attach(inputs, &mut outputs, Box::new(backward))?;
    Ok(outputs)
}

/// The gradients of `Σ outputs·gradients` by the inputs, in the graph.
///
/// `gradients` count as constants of the sum. The result can be differentiated again, by `gradients` and by the inputs.
/// [`None`] stands for an input that no output depends on. The graph of the outputs is kept.
///
/// What `tch`'s `run_backward` lacks: the gradients by the outputs.
///
/// # Errors
/// [`Error::Torch`](crate::Error::Torch) of libtorch, for instance for an output without a gradient.
///
/// # Panics
/// Unless there is a gradient for each output.
///
/// # Examples
/// ```
/// # use soft_lmccl::{autograd::gradients, tch::Tensor};
/// # fn main() -> soft_lmccl::Result<()> {
/// let x = Tensor::from_slice(&[3.0, -1.0]).set_requires_grad(true);
/// let found = gradients(&[&x.square()], &[&Tensor::from_slice(&[1.0, 10.0])], &[&x])?.remove(0);
/// assert_eq!(Vec::<f64>::try_from(found.expect("x² depends on x"))?, [6.0, -20.0]);
/// # Ok(()) }
/// ```
pub fn gradients(outputs: &[&Tensor], gradients: &[&Tensor], inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    node::gradients(outputs, gradients, inputs)
}

/// What a backward is given.
#[derive(Debug)]
pub struct Backward<'a> {
    gradients: Vec<Option<Tensor>>,
    inputs: Vec<Tensor>,
    needed: &'a [bool],
    create_graph: bool,
}

impl Backward<'_> {
    /// The gradient by an output; [`None`] for one that the differentiated value does not depend on.
    pub fn gradient(&self, output: usize) -> Option<&Tensor> {
        self.gradients.get(output)?.as_ref()
    }

    /// The inputs, in the graph, as they were at the forward.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// Whether the gradient by an input is asked for.
    pub fn needs(&self, input: usize) -> bool {
        self.needed.get(input).copied().unwrap_or(false)
    }

    /// Whether the gradients are to be differentiated again.
    pub fn create_graph(&self) -> bool {
        self.create_graph
    }
}
