//! What can be asked for, and whether it makes sense, before any work.

use std::{fmt, path::PathBuf};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use soft_lmccl::{
    cect::{SimulationConfig, catalogue},
    loss::{LmclConfig, Loss, SoftLmcclConfig, SoftmaxHeadConfig},
    tch::{Device, nn},
    train::FitConfig,
};

use crate::program::refused;

/// Open-set verification of macromolecules that the network never saw.
///
/// Simulates subtomograms of 17 known structures, trains a small network for each loss on them, and verifies pairs of
/// subtomograms of 6 structures that were in no training set. Writes results.json, results.md, a checkpoint and the course
/// of the loss for each run, and pictures. The defaults take some minutes on two cores.
#[derive(Debug, Parser)]
pub struct Args {
    /// Losses to train, in this order.
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1.., default_values_t = LossName::ALL)]
    pub losses: Vec<LossName>,

    /// Seeds of the simulation, the first weights and the order of the samples; a run for each.
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values_t = [1])]
    pub seeds: Vec<u64>,

    /// Passes over the training set [default: 8].
    #[arg(long)]
    pub epochs: Option<usize>,

    /// Subtomograms of each class, for training as for testing [default: 150].
    #[arg(long)]
    pub per_class: Option<usize>,

    /// Side of a subtomogram in voxels of 10 Å, 16 to 40; the paper's is 40 [default: 32].
    #[arg(long)]
    pub side: Option<usize>,

    /// Signal-to-noise ratio of the training set: 0.03 is the paper's S1, 0.05 its S2.
    #[arg(long, allow_negative_numbers = true, default_value_t = SimulationConfig::s2().snr)]
    pub snr_train: f64,

    /// Signal-to-noise ratio of the test set.
    #[arg(long, allow_negative_numbers = true, default_value_t = SimulationConfig::s2().snr)]
    pub snr_test: f64,

    /// λ, the weight of the center term in `lmcl-center` and `soft-lmccl`.
    #[arg(long, allow_negative_numbers = true, default_value_t = SoftLmcclConfig::default().center_weight)]
    pub center_weight: f64,

    /// m, the cosine margin.
    #[arg(long, allow_negative_numbers = true, default_value_t = LmclConfig::default().margin)]
    pub margin: f64,

    /// s, the radius of the hypersphere; 8 was the best on validation classes, more known classes need more.
    #[arg(long, allow_negative_numbers = true, default_value_t = 8.0)]
    pub scale: f64,

    /// Where to train: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = soft_lmccl::device)]
    pub device: Device,

    /// Directory of results, checkpoints and pictures; made if it is not there.
    #[arg(long, default_value = "target/experiment")]
    pub out: PathBuf,

    /// Go on with an interrupted `--out`: what is trained is not trained again, and the run that was broken off
    /// continues from its last checkpoint, to the same weights on the CPU.
    #[arg(long)]
    pub resume: bool,

    /// Your own structures as the unknown classes, two or more: .pdb, .cif, or .mrc density, each
    /// also with .gz.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub unknown: Vec<PathBuf>,

    /// A small run of everything, to see that it works; the figures mean nothing.
    #[arg(long)]
    pub smoke: bool,
}

/// The losses compared by the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LossName {
    /// Softmax cross entropy on a linear head.
    Softmax,
    /// Large-margin cosine loss (CosFace).
    Lmcl,
    /// Center loss alone.
    Center,
    /// LMCL + λ·center.
    LmclCenter,
    /// LMCL + λ·center + softmax.
    SoftLmccl,
}

impl LossName {
    const ALL: [Self; 5] = [Self::Softmax, Self::Lmcl, Self::Center, Self::LmclCenter, Self::SoftLmccl];
}

impl fmt::Display for LossName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Softmax => "softmax",
            Self::Lmcl => "lmcl",
            Self::Center => "center",
            Self::LmclCenter => "lmcl-center",
            Self::SoftLmccl => "soft-lmccl",
        })
    }
}

/// Arguments that have been checked, with the sizes that `--smoke` changes filled in.
#[derive(Debug, Clone)]
pub struct Plan {
    pub losses: Vec<LossName>,
    pub seeds: Vec<u64>,
    pub per_class: usize,
    pub fit: FitConfig,
    pub train: SimulationConfig,
    pub test: SimulationConfig,
    pub soft_lmccl: SoftLmcclConfig,
    pub device: Device,
    pub out: PathBuf,
    pub resume: bool,
    pub unknown: Vec<PathBuf>,
}

impl Args {
    /// # Errors
    /// The first argument out of range.
    pub fn plan(&self) -> Result<Plan> {
        let refuse = |field, expected, got: String| Err(refused(field, expected, got));
        let (epochs, per_class, side) = if self.smoke { (2, 12, 24) } else { (8, 150, 32) };
        let side = self.side.unwrap_or(side);
        if !(16..=40).contains(&side) {
            return refuse("--side", "16 to 40 voxels", side.to_string());
        }
        let per_class = self.per_class.unwrap_or(per_class);
        if !(4..=100_000).contains(&per_class) {
            return refuse("--per-class", "4 to 100000 subtomograms", per_class.to_string());
        }
        for (list, field, length) in [
            (&self.losses.len(), "--losses", distinct(&self.losses)),
            (&self.seeds.len(), "--seeds", distinct(&self.seeds)),
        ] {
            if *list != length {
                return refuse(field, "each once", format!("{list} of which {length} differ"));
            }
        }
        if self.unknown.len() == 1 {
            return refuse("--unknown", "two structures or more to tell apart", "one".into());
        }
        let simulation = |snr| SimulationConfig { snr, side, ..Default::default() };
        let plan = Plan {
            losses: self.losses.clone(),
            seeds: self.seeds.clone(),
            per_class,
            fit: FitConfig { epochs: self.epochs.unwrap_or(epochs), ..Default::default() },
            train: simulation(self.snr_train),
            test: simulation(self.snr_test),
            soft_lmccl: SoftLmcclConfig {
                lmcl: LmclConfig { scale: self.scale, margin: self.margin, ..Default::default() },
                center_weight: self.center_weight,
                ..Default::default()
            },
            device: self.device,
            out: self.out.clone(),
            resume: self.resume,
            unknown: self.unknown.clone(),
        };
        plan.fit.validate()?;
        plan.train.validate()?;
        plan.test.validate()?;
        plan.soft_lmccl.validate()?;
        // The bound of the margin depends on the number of classes: let the loss itself decide.
        let scratch = nn::VarStore::new(Device::Cpu);
        let known = catalogue::split().num_known() as i64;
        plan.loss(LossName::SoftLmccl, &scratch.root(), known, 1)?;
        Ok(plan)
    }
}

impl Plan {
    /// Makes a loss with its variables at `path`.
    ///
    /// # Errors
    /// As the `init` of the loss.
    pub fn loss(&self, name: LossName, path: &nn::Path<'_>, classes: i64, dim: i64) -> Result<Box<dyn Loss>> {
        let SoftLmcclConfig { lmcl, center, center_weight, .. } = self.soft_lmccl;
        Ok(match name {
            LossName::Softmax => Box::new(SoftmaxHeadConfig::default().init(path, classes, dim)?),
            LossName::Lmcl => Box::new(lmcl.init(path, classes, dim)?),
            LossName::Center => Box::new(center.init(path, classes, dim)?),
            LossName::LmclCenter => {
                let lmcl = lmcl.init(&(path / "lmcl"), classes, dim)?;
                Box::new(lmcl + center_weight * center.init(&(path / "center"), classes, dim)?)
            }
            LossName::SoftLmccl => Box::new(self.soft_lmccl.init(path, classes, dim)?),
        })
    }
}

fn distinct<T: PartialEq>(items: &[T]) -> usize {
    items.iter().enumerate().filter(|(index, item)| !items[..*index].contains(item)).count()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Args;

    #[test]
    fn help_tells_what_the_program_does() {
        let about = Args::command().get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.starts_with("Open-set verification of macromolecules"), "{about}");
    }
}
