//! What goes over the ranks and back again in the graph.

use std::sync::PoisonError;

use tch::{Kind, Tensor, no_grad_guard};

use super::{Group, Reduce};
use crate::{
    Error, Result,
    autograd::{Backward, function},
};

/// So many batches are remembered: those of one step that accumulates.
const REMEMBERED: usize = 64;

impl Group {
    /// The embeddings and labels of all ranks, those of rank 0 first, on every rank: what a loss is given.
    ///
    /// In the graph: the gradients by the embeddings are added up over the ranks, and each rank takes those of its own.
    ///
    /// # Shapes
    /// `[B_r, D]`, `[B_r]` → `[Σ B_r, D]`, `[Σ B_r]`
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    pub fn gather(&self, embeddings: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor)> {
        if self.size() == 1 {
            return Ok((embeddings.shallow_clone(), labels.shallow_clone()));
        }
        let (labels, _) = self.all_gather(labels)?;
        let gathered = self.gather_rows(embeddings)?;
        self.remember(&labels)?;
        Ok((gathered, labels))
    }

    /// The rows of all ranks, in the graph.
    fn gather_rows(&self, rows: &Tensor) -> Result<Tensor> {
        let takes_gradient = rows.view_as(rows).requires_grad();
        let group = self.clone();
        let mut outputs = function(&[rows], || {
            let (all, counts) = self.all_gather_of(rows, takes_gradient)?;
            let backward = move |backward: &Backward<'_>| {
                refuse_second(backward)?;
                let Some(gradient) = backward.gradient(0) else { return Ok(vec![None]) };
                Ok(vec![Some(group.reduce_scatter(gradient, &counts)?)])
            };
            Ok((vec![all], backward))
        })?;
        Ok(outputs.remove(0))
    }

    fn remember(&self, labels: &Tensor) -> Result<()> {
        let labels = Vec::<i64>::try_from(labels)?;
        let mut gathered = self.0.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.len() == REMEMBERED {
            gathered.pop_front();
        }
        gathered.push_back(labels);
        Ok(())
    }

    /// Adds up over the ranks what each has of the numbers, in the graph. The gradient of all is that of each.
    pub(crate) fn sum(&self, numbers: &Tensor) -> Result<Tensor> {
        let mut outputs = function(&[numbers], || {
            let sum = self.all_reduce(numbers, Reduce::Sum)?;
            Ok((vec![sum], |backward: &Backward<'_>| {
                refuse_second(backward)?;
                Ok(vec![backward.gradient(0).map(Tensor::shallow_clone)])
            }))
        })?;
        Ok(outputs.remove(0))
    }

    /// `Σ_r s_r` and `ln Σ_r exp(x_r)` over the ranks, in the graph, by the largest `x_r` and one sum.
    ///
    /// # Shapes
    /// `[K, B]` and `[B]`, twice.
    pub(crate) fn sums_and_log_sum_exp(&self, terms: &Tensor, exponents: &Tensor) -> Result<(Tensor, Tensor)> {
        let mut outputs = function(&[terms, exponents], || {
            // A rank without a class has no term: its exponent is −∞, and where all are, so is the result.
            let lowest = if exponents.kind() == Kind::Double { f64::MIN } else { f64::from(f32::MIN) };
            let top = self.all_reduce(exponents, Reduce::Max)?.clamp_min(lowest);
            let powers = (exponents - &top).exp().unsqueeze(0);
            let packed = Tensor::f_cat(&[&terms.detach(), &powers], 0)?;
            self.all_reduce_(&packed, Reduce::Sum)?;
            let last = terms.size()[0];
            let all = packed.f_get(last)?.log() + top;
            let (own, of_all) = (exponents.detach(), all.shallow_clone());
            let backward = move |backward: &Backward<'_>| {
                refuse_second(backward)?;
                let _frozen = no_grad_guard();
                let share = (&own - &of_all).exp().masked_fill(&of_all.isneginf(), 0.0);
                Ok(vec![
                    backward.gradient(0).map(Tensor::shallow_clone),
                    backward.gradient(1).map(|gradient| gradient * share),
                ])
            };
            Ok((vec![packed.f_narrow(0, 0, last)?, all], backward))
        })?;
        let exponent = outputs.remove(1);
        Ok((outputs.remove(0), exponent))
    }

    /// The tensor as it is, where each rank adds a part to its gradient: the mean over the ranks of so many times the
    /// part is the sum of the parts.
    pub(crate) fn in_parts(&self, tensor: &Tensor) -> Result<Tensor> {
        let ranks = self.size() as f64;
        let mut outputs = function(&[tensor], || {
            Ok((vec![tensor.detach()], move |backward: &Backward<'_>| {
                Ok(vec![backward.gradient(0).map(|gradient| gradient * ranks)])
            }))
        })?;
        Ok(outputs.remove(0))
    }

    /// Refuses a batch, labels to ignore left out, that this rank may have alone: the others would wait for it.
    pub(crate) fn require_gathered(&self, labels: &[i64], ignore: Option<i64>) -> Result<()> {
        let gathered = self.0.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = |all: &Vec<i64>| all.iter().filter(|&&label| Some(label) != ignore).eq(labels);
        if self.size() == 1 || gathered.iter().rev().any(kept) {
            return Ok(());
        }
        Err(Error::Tensor {
            what: "labels",
            expected: "a batch that `Group::gather` gave to all ranks".into(),
            got: format!("{} labels that it did not", labels.len()),
        })
    }
}

fn refuse_second(backward: &Backward<'_>) -> Result<()> {
    match backward.create_graph() {
        true => Err(Error::Group("second derivatives go over one rank alone, and `create_graph` asks for them".into())),
        false => Ok(()),
    }
}
