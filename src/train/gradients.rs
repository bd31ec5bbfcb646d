//! What a step looks at between the gradients and the parameters that they move.

use std::collections::HashSet;

use tch::{Kind, Tensor, no_grad_guard};

use super::Optimizer;
use crate::{
    Error, Result,
    distributed::{Group, Shard},
    loss::{Loss, LossReport},
};

/// Refuses a loss with a variable that takes a gradient and that no optimizer moves.
pub(super) fn require_trained(loss: &(impl Loss + ?Sized), optimizer: &(impl Optimizer + ?Sized)) -> Result<()> {
    let place = |tensor: &Tensor| (tensor.data_ptr(), tensor.size());
    let told: Vec<_> = loss.variables().into_iter().filter(|(_, variable)| variable.requires_grad()).collect();
    if told.is_empty() {
        return Ok(());
    }
    let moved: HashSet<_> = optimizer.variables().iter().map(place).collect();
    let left: Vec<_> = told
        .iter()
        .filter(|(_, variable)| variable.numel() > 0 && !moved.contains(&place(variable)))
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::Tensor {
        what: "loss",
        expected: "every variable that takes a gradient in the store of the optimizer".into(),
        got: format!("{}, which no optimizer has: make the head in the same VarStore, or freeze it", left.join(", ")),
    })
}

/// Refuses a loss that is NaN or infinite, and says which term is.
pub(super) fn require_finite_loss(report: &LossReport) -> Result<()> {
    if report.total.is_finite() {
        return Ok(());
    }
    let bad: Vec<_> = report
        .terms
        .iter()
        .filter(|term| !term.value.is_finite())
        .map(|term| format!("the term `{}` is {}", term.name, term.value))
        .collect();
    let bad = if bad.is_empty() { "the terms are finite, but not their sum".to_owned() } else { bad.join(", ") };
    Err(Error::NotFinite(format!("the loss is {report}: {bad}")))
}

/// The numbers of a gradient: of a row-sparse one those of its rows, each row once.
fn numbers(gradient: &Tensor) -> Result<Tensor> {
    Ok(match gradient.is_sparse() {
        true => gradient.f_coalesce()?.f_values()?,
        false => gradient.shallow_clone(),
    })
}

/// What the optimizer moves in this step, each with its gradient.
fn gradients(optimizer: &(impl Optimizer + ?Sized)) -> Result<Vec<(Tensor, Tensor)>> {
    let mut gradients = Vec::new();
    for variable in optimizer.variables() {
        let gradient = variable.f_grad()?;
        if gradient.defined() && gradient.numel() > 0 {
            gradients.push((variable, gradient));
        }
    }
    Ok(gradients)
}

/// The length of all gradients together, and refuses one that is NaN or infinite behind a finite loss.
///
/// # Errors
/// [`Error::NotFinite`]; the gradients are forgotten then, and nothing has moved.
fn finite_norm_over(
    group: &Group,
    shards: &[Shard],
    optimizer: &mut (impl Optimizer + ?Sized),
    gradients: &[(Tensor, Tensor)],
) -> Result<f64> {
    if shards.is_empty() || group.size() == 1 {
        return finite_norm(optimizer, gradients);
    }
    let place = |tensor: &Tensor| (tensor.data_ptr(), tensor.size());
    let apart: HashSet<_> = shards.iter().map(|shard| place(shard.variable())).collect();
    let clone = |(variable, gradient): &(Tensor, Tensor)| (variable.shallow_clone(), gradient.shallow_clone());
    let (held, copies): (Vec<_>, Vec<_>) =
        gradients.iter().map(clone).partition(|(variable, _)| apart.contains(&place(variable)));
    // Rows that one rank alone has may be wrong there alone, and all ranks must know.
    let of_held = finite_norm(optimizer, &held);
    let told = of_held.as_ref().map_or([0.0, 1.0], |norm| [norm * norm, 0.0]);
    let [squares, wrong] = group.add_up(told)?;
    let of_held = of_held.map(drop);
    if wrong > 0.0 {
        of_held?;
        optimizer.zero_grad();
        return Err(Error::NotFinite("a gradient of classes that another rank holds is NaN or infinite".into()));
    }
    Ok((squares + finite_norm(optimizer, &copies)?.powi(2)).sqrt())
}

/// As [`finite_norm_over`], on this rank.
fn finite_norm(optimizer: &mut (impl Optimizer + ?Sized), gradients: &[(Tensor, Tensor)]) -> Result<f64> {
    let Some((first, _)) = gradients.first() else { return Ok(0.0) };
    let _frozen = no_grad_guard();
    let lengths = gradients
        .iter()
        .map(|(_, gradient)| {
            let kind = if gradient.kind() == Kind::Double { Kind::Double } else { Kind::Float };
            let norm = numbers(gradient)?.f_norm_scalaropt_dtype(2, kind)?;
            Ok(norm.f_to_kind(Kind::Double)?.f_to_device(first.device())?)
        })
        .collect::<Result<Vec<_>>>()?;
    let norm = f64::try_from(Tensor::f_stack(&lengths, 0)?.f_norm()?)?;
    if norm.is_finite() {
        return Ok(norm);
    }
    // Squares of finite numbers may overflow.
    let mut squares = 0.0;
    for (variable, gradient) in gradients {
        let gradient = numbers(gradient)?;
        if !bool::try_from(gradient.f_isfinite()?.f_all()?)? {
            let name = optimizer.name_of(variable).map(|name| format!("`{name}`"));
            let name = name.unwrap_or_else(|| format!("a variable of shape {:?}", variable.size()));
            optimizer.zero_grad();
            return Err(Error::NotFinite(format!("the gradient of {name} is NaN or infinite")));
        }
        squares += f64::try_from(gradient.f_to_kind(Kind::Double)?.f_norm()?)?.powi(2);
    }
    Ok(squares.sqrt())
}

/// Refuses gradients that are not finite, and shortens them to a common length of `longest`, if one is given.
pub(super) fn clip(
    group: &Group,
    shards: &[Shard],
    optimizer: &mut (impl Optimizer + ?Sized),
    longest: Option<f64>,
) -> Result<()> {
    let gradients = gradients(optimizer)?;
    let norm = finite_norm_over(group, shards, optimizer, &gradients)?;
    let Some(longest) = longest.filter(|&longest| norm > longest) else { return Ok(()) };
    let _frozen = no_grad_guard();
    for (_, gradient) in gradients {
        let mut numbers = if gradient.is_sparse() { gradient.f_internal_values()? } else { gradient };
        let _ = numbers.f_mul_scalar_(longest / norm)?;
    }
    Ok(())
}
