//! One step of a run: its batches, and what is wrong with them if a number in them is none.

use tch::{Device, Kind, Tensor, nn, no_grad_guard};

use super::{AdamW, Optimizer, RunState, Trainer, TrainingSet, step::accumulate};
use crate::{
    Error, Result,
    distributed::synchronized,
    loss::{Loss, LossReport},
};

/// Inputs beyond this are worth a word where a loss has become infinite.
const LARGE: f64 = 1e4;

/// The samples of a batch, as the network takes them.
struct Drawn {
    indices: Vec<usize>,
    inputs: Tensor,
}

impl<L: Loss + ?Sized> Trainer<'_, L> {
    /// Takes the step that `state` stands before. Where it fails, neither parameters nor centers have moved.
    pub(super) fn take_one(
        &mut self,
        net: &impl nn::ModuleT,
        loss: &mut L,
        data: &(impl TrainingSet + ?Sized),
        state: &mut RunState,
        own: Option<&mut Box<dyn Optimizer>>,
        to: (Device, Option<Kind>),
    ) -> Result<LossReport> {
        let (parts, group) = (self.config.accumulate, self.group.clone());
        let RunState { optimizer, sampler, progress } = state;
        let step = progress.step;
        let mut last = None;
        let part = |index: usize| {
            let whole = sampler.next_batch();
            let indices = whole[group.share_of(whole.len())].to_vec();
            let labels: Vec<i64> = indices.iter().map(|&index| data.labels()[index]).collect();
            let inputs = data.inputs(&indices, step * parts + index)?.f_to_device(to.0)?;
            require_finite(&inputs, &indices, step)?;
            let inputs_of_kind = cast(&inputs, to.1)?;
            let embeddings = match self.synchronized {
                true => synchronized(&group, || net.forward_t(&inputs_of_kind, true))?,
                false => net.forward_t(&inputs_of_kind, true),
            };
            last = Some(Drawn { indices, inputs });
            Ok((embeddings, Tensor::f_from_slice(&labels)?))
        };
        let taken = match own {
            Some(own) => accumulate(&group, loss, own.as_mut(), parts, self.config.clip_norm, part),
            None => accumulate(&group, loss, optimizer as &mut AdamW, parts, self.config.clip_norm, part),
        };
        let taken = taken.and_then(|report| match report.total.is_finite() {
            true => Ok(report),
            false => Err(Error::NotFinite(format!("the loss is {report}"))),
        });
        taken.map_err(|error| match error {
            Error::NotFinite(what) => Error::Diverged { step: step + 1, what: what + &large_inputs(last.as_ref()) },
            error => error,
        })
    }
}

/// Floating inputs in the kind of the network.
fn cast(inputs: &Tensor, kind: Option<Kind>) -> Result<Tensor> {
    Ok(match kind {
        Some(kind) if inputs.is_floating_point() => inputs.f_to_kind(kind)?,
        _ => inputs.shallow_clone(),
    })
}

/// The kind of a network all of whose floating variables are of one kind, which its inputs then have to be of too.
pub(super) fn kind_of_network(vs: &nn::VarStore, loss: &(impl Loss + ?Sized)) -> Option<Kind> {
    let of_loss: Vec<_> = loss.variables().iter().map(|(_, variable)| variable.data_ptr()).collect();
    let variables = vs.variables().into_values().filter(|v| v.is_floating_point() && !of_loss.contains(&v.data_ptr()));
    let mut kinds = variables.map(|variable| variable.kind());
    let first = kinds.next()?;
    kinds.all(|kind| kind == first).then_some(first)
}

/// Refuses inputs with a NaN or an infinity, and says which sample has it.
fn require_finite(inputs: &Tensor, indices: &[usize], step: usize) -> Result<()> {
    if !inputs.is_floating_point() || bool::try_from(inputs.f_isfinite()?.f_all()?)? {
        return Ok(());
    }
    let rows = inputs.f_reshape([inputs.size()[0], -1])?.f_isfinite()?.f_all_dim(1, false)?;
    let row = rows.f_logical_not()?.f_to_kind(Kind::Int64)?.f_argmax(0, false)?.int64_value(&[]);
    let flat = inputs.f_select(0, row)?.f_flatten(0, -1)?.f_to_kind(Kind::Double)?;
    let place = flat.f_isfinite()?.f_logical_not()?.f_to_kind(Kind::Int64)?.f_argmax(0, false)?.int64_value(&[]);
    let sample = indices.get(row as usize).map_or_else(|| "no sample".to_owned(), |index| format!("sample {index}"));
    Err(Error::Tensor {
        what: "inputs",
        expected: "finite numbers".into(),
        got: format!(
            "{} in {sample}, number {place} of it, met in step {}; nothing has moved",
            flat.double_value(&[place]),
            step + 1
        ),
    })
}

/// Says which sample has a number that is far from all that a network is made for.
fn large_inputs(drawn: Option<&Drawn>) -> String {
    let Some(Drawn { indices, inputs }) = drawn.filter(|drawn| drawn.inputs.is_floating_point()) else {
        return String::new();
    };
    let _frozen = no_grad_guard();
    let Ok(flat) = inputs.f_to_kind(Kind::Double).and_then(|inputs| inputs.f_abs()?.f_reshape([inputs.size()[0], -1]))
    else {
        return String::new();
    };
    let of_rows = flat.amax([1], false);
    let row = of_rows.argmax(0, false).int64_value(&[]);
    match (of_rows.double_value(&[row]), indices.get(row as usize)) {
        (largest, Some(sample)) if largest > LARGE => {
            format!("; inputs go up to {largest:e}, in sample {sample}: are they standardized?")
        }
        _ => String::new(),
    }
}
