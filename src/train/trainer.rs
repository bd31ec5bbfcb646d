//! A training run over volumes in memory: shuffled batches, one-cycle learning rate.

use std::ops::ControlFlow;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{
    Device, Tensor,
    nn::{self, OptimizerConfig},
};

use super::{backward_step, set_weight_decay};
use crate::{
    Error, Result,
    loss::{Loss, LossReport},
};

/// Hyper-parameters of [`fit`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitConfig {
    /// Passes over the data. Default 8.
    pub epochs: usize,
    /// Samples in a step; the last, smaller batch of an epoch is carried over into the next, so that
    /// every batch is full. Default 64.
    pub batch_size: usize,
    /// Peak of the one-cycle schedule. Default 3e-3.
    pub learning_rate: f64,
    /// Decoupled weight decay on [`DECAY_GROUP`](crate::params::DECAY_GROUP). Default 0.01 (AdamW's).
    pub weight_decay: f64,
    /// Seed of the order of the samples.
    pub seed: u64,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self { epochs: 8, batch_size: 64, learning_rate: 3e-3, weight_decay: 0.01, seed: 0 }
    }
}

impl FitConfig {
    /// Checks the values before any work.
    ///
    /// # Errors
    /// [`Error::Config`] for no epoch, batches of fewer than two (batch normalization has no
    /// variance to divide by), a learning rate that is not positive, a negative weight decay.
    pub fn validate(&self) -> Result<()> {
        let bad = |field, expected: &str, got: String| Err(Error::Config { field, expected: expected.into(), got });
        if self.epochs < 1 {
            return bad("epochs", "at least 1", self.epochs.to_string());
        }
        if self.batch_size < 2 {
            return bad("batch_size", "at least 2", self.batch_size.to_string());
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad("learning_rate", "a finite number > 0", self.learning_rate.to_string());
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return bad("weight_decay", "a finite number >= 0", self.weight_decay.to_string());
        }
        Ok(())
    }

    /// Steps of a run over `samples` volumes.
    pub fn steps(&self, samples: usize) -> usize {
        self.epochs * samples / self.batch_size
    }
}

/// What [`fit`] tells after each step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Counted from 1.
    pub step: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The terms of the loss.
    pub loss: LossReport,
}

/// Trains `net` and `loss`, whose variables live in `vs`, on volumes held in memory.
///
/// AdamW with a one-cycle learning rate. `observe` sees every step and stops the run by
/// `ControlFlow::Break`; what was learned up to there stays in `vs`.
///
/// # Shapes
/// `volumes`: `[N, 1, S, S, S]`; `labels`: `[N]`, `Int64`; both on any device.
///
/// # Errors
/// As [`FitConfig::validate`] and [`Loss::forward`]; [`Error::Tensor`] when there are fewer volumes
/// than a batch needs, or when the loss is no longer finite.
pub fn fit(
    net: &impl nn::ModuleT,
    loss: &mut (impl Loss + ?Sized),
    vs: &nn::VarStore,
    (volumes, labels): (&Tensor, &Tensor),
    config: FitConfig,
    mut observe: impl FnMut(&Step) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    config.validate()?;
    let samples = labels.size().first().map_or(0, |&n| usize::try_from(n).unwrap_or(0));
    let steps = config.steps(samples);
    if volumes.size().first() != labels.size().first() || samples < config.batch_size {
        return Err(Error::Tensor {
            what: "volumes",
            expected: format!("as many as there are labels, and a batch of {} at least", config.batch_size),
            got: format!("{:?} volumes, {:?} labels", volumes.size(), labels.size()),
        });
    }
    let mut optimizer = nn::AdamW::default().build(vs, config.learning_rate)?;
    set_weight_decay(&mut optimizer, vs, config.weight_decay)?;
    let mut order = SampleStream::new(samples, config.seed);
    for step in 1..=steps {
        let learning_rate = one_cycle((step - 1) as f64 / steps as f64) * config.learning_rate;
        optimizer.set_lr(learning_rate);
        let batch = Tensor::from_slice(&order.take(config.batch_size));
        let rows = |from: &Tensor| from.index_select(0, &batch.to_device(from.device()));
        let embeddings = net.forward_t(&rows(volumes).to_device(vs.device()), true);
        let loss = backward_step(loss, &mut optimizer, &embeddings, &rows(labels).to_device(Device::Cpu))?;
        if !loss.total.is_finite() {
            return Err(Error::Tensor {
                what: "loss",
                expected: format!("a finite number at step {step}; a lower learning rate may help"),
                got: loss.to_string(),
            });
        }
        if observe(&Step { step, steps, learning_rate, loss }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The one-cycle schedule as a factor of the peak, at `progress` in 0..1: a cosine rise from 1/25
/// over the first 30 %, then a cosine fall to 1/250,000 (PyTorch's `OneCycleLR` and its defaults).
///
/// # References
/// L. Smith and N. Topin, *Super-Convergence*, 2019, [arXiv:1708.07120](https://arxiv.org/abs/1708.07120).
fn one_cycle(progress: f64) -> f64 {
    const RISE: f64 = 0.3;
    const FIRST: f64 = 1.0 / 25.0;
    const LAST: f64 = FIRST / 1e4;
    let cosine = |from: f64, to: f64, t: f64| to + (from - to) * (1.0 + (std::f64::consts::PI * t).cos()) / 2.0;
    if progress < RISE {
        cosine(FIRST, 1.0, progress / RISE)
    } else {
        cosine(1.0, LAST, (progress - RISE) / (1.0 - RISE))
    }
}

/// Sample indices without end, each epoch in a new order.
#[derive(Debug)]
struct SampleStream {
    rng: ChaCha8Rng,
    order: Vec<i64>,
    next: usize,
}

impl SampleStream {
    fn new(samples: usize, seed: u64) -> Self {
        let order = (0..).take(samples).collect();
        Self { rng: ChaCha8Rng::seed_from_u64(seed), order, next: samples }
    }

    fn take(&mut self, count: usize) -> Vec<i64> {
        (0..count)
            .map(|_| {
                if self.next == self.order.len() {
                    self.order.shuffle(&mut self.rng);
                    self.next = 0;
                }
                self.next += 1;
                self.order[self.next - 1]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{SampleStream, one_cycle};

    #[test]
    fn one_cycle_matches_pytorch() {
        // torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=...): its ends and its peak.
        approx::assert_relative_eq!(one_cycle(0.0), 0.04, epsilon = 1e-12);
        approx::assert_relative_eq!(one_cycle(0.3), 1.0, epsilon = 1e-12);
        approx::assert_relative_eq!(one_cycle(1.0), 4e-6, epsilon = 1e-12);
        assert!(one_cycle(0.1) < one_cycle(0.2) && one_cycle(0.5) > one_cycle(0.6));
    }

    #[test]
    fn every_sample_comes_once_an_epoch() {
        let mut stream = SampleStream::new(7, 1);
        let drawn: Vec<i64> = (0..7).flat_map(|_| stream.take(2)).collect();
        for epoch in drawn.chunks(7) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(drawn[..7], drawn[7..]);
    }
}
