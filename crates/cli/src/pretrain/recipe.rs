//! How the network that ships is trained.

use soft_lmccl::{
    cect::{RandomizationConfig, Template, catalogue, catalogue::Role, invent},
    loss::{LmclConfig, SoftLmcclConfig},
    model::{CompactNetConfig, NetworkConfig, Trained},
    train::{FitConfig, Schedule},
};

use super::args::Args;
use crate::carryover::SIDE;

/// The parts of a recipe.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Classes made of the known ones.
    pub invented: usize,
    /// Simulations that samples are made in.
    pub simulations: usize,
    /// Subtomograms of a class in an epoch.
    pub each: usize,
    pub randomization: RandomizationConfig,
    pub trained: Trained,
    pub loss: SoftLmcclConfig,
    pub fit: FitConfig,
    /// Subtomograms of each class in the sets that it is tested on.
    pub tested: usize,
}

impl Recipe {
    pub fn of(args: &Args) -> Self {
        let compact = CompactNetConfig { channels: vec![12, 32, 64], whitened: true, ..Default::default() };
        let full = Self {
            invented: 483,
            simulations: 256,
            each: 63,
            randomization: RandomizationConfig { side: SIDE, ..Default::default() },
            trained: Trained {
                network: NetworkConfig::Compact(compact.clone()),
                side: SIDE,
                voxel_size: Some(10.0),
                half_turns: true,
            },
            // More classes than the 17 for which s = 8 was the best need a larger sphere to be told apart.
            loss: SoftLmcclConfig { lmcl: LmclConfig { scale: 16.0, ..Default::default() }, ..Default::default() },
            fit: FitConfig {
                epochs: args.epochs,
                learning_rate: 2e-3,
                schedule: Schedule::Constant,
                seed: args.seed,
                ..Default::default()
            },
            tested: 150,
        };
        if !args.smoke {
            return full;
        }
        let compact = CompactNetConfig { channels: vec![4, 8], embedding_dim: 8, ..compact };
        Self {
            invented: 3,
            simulations: 4,
            each: 2,
            trained: Trained { network: NetworkConfig::Compact(compact), ..full.trained },
            fit: FitConfig { batch_size: 8, ..full.fit },
            tested: 4,
            ..full
        }
    }

    /// The classes that are trained on.
    ///
    /// # Errors
    /// As inventing.
    pub fn templates(&self, seed: u64) -> soft_lmccl::Result<Vec<Template>> {
        let known = |role| matches!(role, Role::Known | Role::ExtraKnown);
        let mut templates: Vec<Template> =
            catalogue::extended().iter().filter(|entry| known(entry.role())).map(|entry| entry.template()).collect();
        let more = invent(&templates, self.invented, Default::default(), seed)?;
        templates.extend(more);
        Ok(templates)
    }
}

/// The rate as a factor of its peak, at the part of a run that is done.
pub fn factor(done: f64, steps: f64, hold: bool) -> f64 {
    const RISE: f64 = 100.0;
    const FALL: f64 = 1.0 / 16.0;
    let rise = ((done * steps + 1.0) / RISE).min(1.0);
    if hold || done < 1.0 - FALL { rise } else { rise * (1.0 - done) / FALL }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::factor;

    #[test]
    fn the_rate_rises_stays_and_falls() {
        assert_abs_diff_eq!(factor(0.0, 1000.0, false), 0.01);
        for (done, expected) in [(0.099, 1.0), (0.9375, 1.0), (0.96875, 0.5), (0.999, 0.016)] {
            assert_abs_diff_eq!(factor(done, 1000.0, false), expected, epsilon = 1e-9);
        }
        assert_abs_diff_eq!(factor(0.999, 1000.0, true), 1.0);
    }
}
