//! What a run does so that all ranks of a group do the same.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use serde::Serialize;
use tch::{Tensor, nn};

use super::{Progress, RunState, Trainer, checkpoint};
use crate::{Error, Result, distributed::Reduce, loss::Loss};

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::config("config", "what can be written as JSON", error))
}

impl<L: Loss + ?Sized> Trainer<'_, L> {
    /// Refuses ranks that would not do the same, before the first of them waits for another.
    pub(super) fn require_same(&self, labels: &[i64], loss: &L) -> Result<()> {
        let (group, batch) = (&self.group, self.config.batch_size);
        if group.size() == 1 {
            return Ok(());
        }
        if batch < group.size() {
            return Err(Error::config("batch_size", format!("a sample for each of {} ranks", group.size()), batch));
        }
        let classes = loss.num_classes().map_or_else(|| "no number".to_owned(), |classes| classes.to_string());
        group.require_same("classes:", &classes)?;
        group.require_same("the loss", &json(&loss.kind())?)?;
        group.require_same("the configuration", &json(&self.config)?)?;
        group.require_same("the description", &json(&self.meta.config)?)?;
        group.require_same("class names", &json(&self.meta.classes)?)?;
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        group.require_same("samples:", &format!("{} with labels of mark {:x}", labels.len(), hasher.finish()))
    }

    /// One start: the weights of rank 0, where all have read the same checkpoint or none.
    pub(super) fn start_alike(&self, vs: &nn::VarStore, progress: &Progress) -> Result<()> {
        self.group.require_same("steps in its checkpoint:", &progress.step.to_string())?;
        let mut variables: Vec<_> = vs.variables().into_iter().collect();
        variables.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let variables: Vec<_> = variables.into_iter().map(|(_, variable)| variable).collect();
        self.group.broadcast_variables(&variables, &self.origin.shards)
    }

    pub(super) fn any_rank(&self, here: bool) -> Result<bool> {
        match self.group.size() {
            1 => Ok(here),
            _ => Ok(self.group.all_reduce(&Tensor::from(i64::from(here)), Reduce::Max)?.int64_value(&[]) > 0),
        }
    }

    /// Rank 0 writes, with the rows of the others; none goes on before the file is there.
    pub(super) fn write(&self, path: &Path, vs: &nn::VarStore, run: Option<&RunState>) -> Result<()> {
        if self.group.is_first() || !self.origin.shards.is_empty() {
            checkpoint::save_as(path, vs, self.about(), run)?;
        }
        self.group.barrier()
    }
}
