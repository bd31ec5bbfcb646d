//! What a run can be told before it begins.

use std::path::PathBuf;

use serde::Serialize;
use tch::nn;

use super::{Optimizer, Trainer, checkpoint::Meta, origin::own_type_name};
use crate::{Error, Result, distributed::Group, loss::Loss};

impl<'a, L: Loss + ?Sized> Trainer<'a, L> {
    /// What checkpoints say of themselves: the configuration that made network, loss and data, and the class names in the order
    /// of their labels. A run goes on only if both agree, as all of [`FitConfig`](super::FitConfig) and the labels must.
    ///
    /// # Errors
    /// [`Error::Config`] if `config` cannot be written as JSON.
    pub fn describe<C: Serialize>(mut self, config: &C, classes: &[String]) -> Result<Self> {
        self.config_type = own_type_name::<C>();
        let config = serde_json::to_value(config)
            .map_err(|error| Error::config("config", "what can be written as JSON", error))?;
        self.meta = Meta { config, classes: classes.to_vec() };
        Ok(self)
    }

    /// What checkpoints say of the network: how it is made, such as a [`NetworkConfig`](crate::model::NetworkConfig) or
    /// a [`Trained`](crate::model::Trained). [`load_network`](super::checkpoint::load_network) compares it, and so does
    /// a run that is resumed. Without it they say the name of the network's type.
    ///
    /// # Errors
    /// [`Error::Config`] if it cannot be written as JSON.
    pub fn network(mut self, network: &impl Serialize) -> Result<Self> {
        self.origin = self.origin.network(network)?;
        Ok(self)
    }

    /// Writes a checkpoint after every `every` steps (at least 1), and when the run ends or is stopped.
    pub fn checkpoint(mut self, path: impl Into<PathBuf>, every: usize) -> Self {
        self.checkpoint = Some((path.into(), every.max(1)));
        self
    }

    /// Trains on the ranks of a group: each takes its part of every batch, all take the same steps, and rank 0 writes the
    /// files. `batch_size` is that of all ranks together, so that a run on several ranks is the run on one but for rounding.
    ///
    /// All ranks call [`run`](Trainer::run) with the same configuration, and see one end: what any rank's observer stops is
    /// stopped on all. Weights begin as rank 0 has them. Running statistics of batch normalization become their mean over
    /// the ranks after each step.
    pub fn group(mut self, group: &Group) -> Self {
        self.group = group.clone();
        self
    }

    /// Whether the batch normalization of this crate's networks takes mean and variance of the samples of all ranks.
    /// By default each rank takes those of its own.
    pub fn synchronize_batch_norm(mut self, synchronize: bool) -> Self {
        self.synchronized = synchronize;
        self
    }

    /// Whether to go on where the checkpoint stands, if there is one. Otherwise, and by default, the run begins
    /// anew and replaces it.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Writes each step's learning rate and terms as a row of CSV, and the validation score of each epoch. A run that is
    /// resumed goes on with the log of its earlier steps, which has to be there.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Scores the network after each epoch (once, where a step ends two) on classes that it does not train on.
    ///
    /// Higher is better: for instance the AUC of held-out volumes, [`embed`](super::embed)ded.
    pub fn validate(self, mut score: impl FnMut() -> Result<f64> + 'a) -> Self {
        self.validate_loss(move |_| score())
    }

    /// As [`validate`](Self::validate), for a score that asks the loss too: its value on held-out samples (taken
    /// negatively, since higher is better), or the accuracy of its logits.
    pub fn validate_loss(mut self, score: impl FnMut(&L) -> Result<f64> + 'a) -> Self {
        self.validate = Some(Box::new(score));
        self
    }

    /// Writes the weights of the epoch with the highest validation score, to be [`load`](super::checkpoint::load)ed: a file
    /// of their own, and [`validate`](Self::validate) has to be there.
    pub fn keep_best(mut self, path: impl Into<PathBuf>) -> Self {
        self.best = Some(path.into());
        self
    }

    /// Calls `change` before each step with the part of the run that is done, for a warm-up. It must be a
    /// pure function of that part, or a resumed run will differ.
    pub fn before_step(mut self, change: impl FnMut(&mut L, f64) -> Result<()> + 'a) -> Self {
        self.before_step = Some(Box::new(change));
        self
    }

    /// A schedule of yours in the place of [`FitConfig::schedule`](super::FitConfig::schedule): the factor of the learning
    /// rate at the part of the run that is done, in 0..1.
    pub fn schedule(mut self, factor: impl Fn(f64) -> f64 + 'a) -> Self {
        self.schedule = Some(Box::new(factor));
        self
    }

    /// Another learning rate for what lies under a path, as a factor of the run's: `rate_of("loss", 10.0)` for a head
    /// that learns ten times as fast as the network. Of several paths that hold a variable the last counts.
    pub fn rate_of(mut self, part: impl Into<String>, factor: f64) -> Self {
        self.rates.push((part.into(), factor));
        self
    }

    /// Keeps what lies under a path as it is: parameters by [`params::freeze`](crate::params::freeze), and running
    /// statistics too, of whatever layers. It stays frozen after the run.
    pub fn freeze(mut self, part: impl Into<String>) -> Self {
        self.frozen.push(part.into());
        self
    }

    /// An optimizer of yours in the place of [`AdamW`](super::AdamW), with the run's learning rates; weight decay is its
    /// own matter. Its state cannot be saved: checkpoints hold weights, and such a run cannot be resumed.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> soft_lmccl::Result<()> {
    /// use soft_lmccl::{loss::Lmcl, train::{FitConfig, Trainer}, tch::{nn, nn::OptimizerConfig}};
    ///
    /// let momentum = nn::Sgd { momentum: 0.9, ..Default::default() };
    /// let _trainer = Trainer::<Lmcl>::new(FitConfig::default())?
    ///     .optimizer(move |vs| Ok(Box::new(momentum.build(vs, 0.1)?)))
    ///     .schedule(|done| if done < 0.5 { 1.0 } else { 0.1 });
    /// # Ok(()) }
    /// ```
    pub fn optimizer(mut self, build: impl FnOnce(&nn::VarStore) -> Result<Box<dyn Optimizer>> + 'a) -> Self {
        self.optimizer = Some(Box::new(build));
        self
    }
}
