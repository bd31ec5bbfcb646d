//! Batch normalization by the samples of all ranks.

use std::cell::RefCell;

use tch::{Tensor, no_grad_guard};

use super::{Group, Reduce};
use crate::{
    Error, Result,
    autograd::{Backward, function},
};

thread_local! {
    /// The group over which layers of this crate take statistics within [`synchronized`], and what went wrong there.
    static CURRENT: RefCell<Option<(Group, Option<Error>)>> = const { RefCell::new(None) };
}

/// Runs a forward pass in which the batch normalization of this crate's layers goes over the ranks.
///
/// By the thread, since `ModuleT::forward_t` takes no group and returns no error.
pub(crate) fn synchronized(group: &Group, forward: impl FnOnce() -> Tensor) -> Result<Tensor> {
    if group.size() == 1 {
        return Ok(forward());
    }
    struct Restored;
    impl Drop for Restored {
        fn drop(&mut self) {
            CURRENT.with(|current| current.borrow_mut().take());
        }
    }
    CURRENT.with(|current| *current.borrow_mut() = Some((group.clone(), None)));
    let _restored = Restored;
    let output = forward();
    match CURRENT.with(|current| current.borrow_mut().take()) {
        Some((_, Some(error))) => Err(error),
        _ => Ok(output),
    }
}

/// Normalizes by the mean and the variance of the samples of all ranks and moves the running statistics, if a
/// [`synchronized`] pass is on; `None` otherwise.
///
/// # Formula
/// ```text
/// y = w·(x − μ)/√(σ² + ε) + b,    μ, σ² over all axes but the channels', and over the ranks
/// ```
/// The running variance takes `σ²·n/(n − 1)`, as in PyTorch.
pub(crate) fn batch_norm(
    x: &Tensor,
    [weight, bias]: [&Tensor; 2],
    [running_mean, running_var]: [&Tensor; 2],
    momentum: f64,
    epsilon: f64,
) -> Option<Tensor> {
    let group = CURRENT.with(|current| match &*current.borrow() {
        Some((group, None)) => Some(group.clone()),
        _ => None,
    })?;
    let normalized = normalize(&group, x, [weight, bias], [running_mean, running_var], momentum, epsilon);
    normalized.map_err(|error| CURRENT.with(|current| *current.borrow_mut() = Some((group, Some(error))))).ok()
}

fn normalize(
    group: &Group,
    x: &Tensor,
    [weight, bias]: [&Tensor; 2],
    [running_mean, running_var]: [&Tensor; 2],
    momentum: f64,
    epsilon: f64,
) -> Result<Tensor> {
    let kind = weight.kind();
    let axes: Vec<i64> = (0..x.dim() as i64).filter(|&axis| axis != 1).collect();
    let of_channels = move |tensor: &Tensor| tensor.sum_dim_intlist(axes.as_slice(), false, kind);
    let group = group.clone();
    let mut outputs = function(&[x, weight, bias], || {
        let x = x.detach();
        let channels = weight.numel() as i64;
        let mut shape = vec![1; x.dim()];
        shape[1] = channels;
        let own = x.numel() as f64 / channels as f64;
        // The mean first: squares of what has a large mean would cancel.
        let counted = Tensor::f_cat(&[of_channels(&x), weight.detach().new_full([1], own, (kind, x.device()))], 0)?;
        group.all_reduce_(&counted, Reduce::Sum)?;
        let count = counted.double_value(&[channels]);
        if count < 2.0 {
            return Err(Error::Tensor {
                what: "volumes",
                expected: "two values or more for a channel, on all ranks together".into(),
                got: count.to_string(),
            });
        }
        let mean = counted.narrow(0, 0, channels) / count;
        let centered = x.to_kind(kind) - mean.view(shape.as_slice());
        let squares = of_channels(&centered.square());
        group.all_reduce_(&squares, Reduce::Sum)?;
        let variance = squares / count;
        let (mut moving_mean, mut moving_var) = (running_mean.detach(), running_var.detach());
        let _ = moving_mean.lerp_(&mean.to_kind(running_mean.kind()), momentum);
        let unbiased = &variance * (count / (count - 1.0));
        let _ = moving_var.lerp_(&unbiased.to_kind(running_var.kind()), momentum);
        let inverse = (variance + epsilon).rsqrt().view(shape.as_slice());
        let unit = centered * &inverse;
        let (weight, bias) = (weight.detach().view(shape.as_slice()), bias.detach().view(shape.as_slice()));
        let output = (&unit * &weight + bias).to_kind(x.kind());
        let of_channels = of_channels.clone();
        let backward = move |backward: &Backward<'_>| {
            if backward.create_graph() {
                return Err(Error::Group(
                    "second derivatives go over one rank alone, and `create_graph` asks for them".into(),
                ));
            }
            let _frozen = no_grad_guard();
            let Some(gradient) = backward.gradient(0) else { return Ok(vec![None, None, None]) };
            let gradient = gradient.to_kind(kind);
            let (by_bias, by_weight) = (of_channels(&gradient), of_channels(&(&gradient * &unit)));
            // Over all ranks, for what each sample does to mean and variance.
            let sums = Tensor::f_stack(&[by_bias.shallow_clone(), by_weight.shallow_clone()], 0)?;
            group.all_reduce_(&sums, Reduce::Sum)?;
            let means = sums / count;
            let [mean, along] = [0, 1].map(|index| means.get(index).view(shape.as_slice()));
            let by_x = (gradient - mean - &unit * along) * &weight * &inverse;
            Ok(vec![Some(by_x.to_kind(x.kind())), Some(by_weight), Some(by_bias)])
        };
        Ok((vec![output], backward))
    })?;
    Ok(outputs.remove(0))
}
