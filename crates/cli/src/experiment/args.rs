//! What can be asked for, and whether it makes sense, before any work.

use std::{fmt, path::PathBuf};

use anyhow::Result;
use clap::{
    Parser,
    builder::{PossibleValuesParser, TypedValueParser},
};
use soft_lmccl::{
    cect::{SimulationConfig, catalogue},
    loss::{LmclConfig, Loss, LossConfig, SoftLmcclConfig},
    tch::{Device, nn},
    train::FitConfig,
};

use crate::program::{self, refused};

/// Open-set verification of macromolecules that the network never saw.
///
/// Simulates subtomograms of 17 known structures, trains a small network for each loss on them, and verifies pairs of
/// subtomograms of 6 structures that were in no training set. Writes results.json, results.md, a checkpoint and the course
/// of the loss for each run, and pictures. The defaults take some minutes on two cores.
#[derive(Debug, Parser)]
pub struct Args {
    /// Losses to train, in this order; `NAME-center` is a loss plus λ times the center loss.
    #[arg(
        long,
        value_delimiter = ',',
        num_args = 1..,
        default_values = LossName::PAPER,
        value_parser = PossibleValuesParser::new(LossName::all()).map(LossName),
    )]
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

    /// λ, the weight of the center term in `soft-lmccl` and in sums with the center loss.
    #[arg(long, allow_negative_numbers = true, default_value_t = SoftLmcclConfig::default().center_weight)]
    pub center_weight: f64,

    /// m, the cosine margin of `lmcl`, `lmcl-center` and `soft-lmccl`; margins of other losses have their defaults.
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

/// A loss of the library by its name, with hyphens, or a softmax over classes with λ·center: `lmcl-center`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossName(String);

impl LossName {
    /// The losses that the paper compares.
    const PAPER: [&str; 5] = ["softmax", "lmcl", "center", "lmcl-center", "soft-lmccl"];
    const WITH_CENTER: &str = "-center";

    fn all() -> Vec<String> {
        let names: Vec<_> = LossConfig::NAMES.iter().map(|name| name.replace('_', "-")).collect();
        let has_center = |name: &&String| ["center", "soft-lmccl"].contains(&name.as_str());
        let sums: Vec<_> =
            names.iter().filter(|name| !has_center(name)).map(|name| format!("{name}{}", Self::WITH_CENTER)).collect();
        names.into_iter().chain(sums).collect()
    }

    /// The loss with its defaults, and whether λ·center is added to it.
    fn parts(&self) -> (LossConfig, bool) {
        let head = self.0.strip_suffix(Self::WITH_CENTER);
        let loss = LossConfig::by_name(&head.unwrap_or(&self.0).replace('-', "_"));
        (loss.expect("names are those of the library"), head.is_some())
    }
}

impl fmt::Display for LossName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
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
    pub smoke: bool,
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
            smoke: self.smoke,
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
        // The bound of the margin depends on the number of classes: let the losses themselves decide.
        let scratch = nn::VarStore::new(Device::Cpu);
        let known = catalogue::split().num_known() as i64;
        for name in &plan.losses {
            plan.loss(name, &(scratch.root() / name.to_string()), known, 1)?;
        }
        Ok(plan)
    }
}

impl Plan {
    /// Makes a loss with its variables at `path`.
    ///
    /// # Errors
    /// As the `init` of the loss.
    pub fn loss(&self, name: &LossName, path: &nn::Path<'_>, classes: i64, dim: i64) -> Result<Box<dyn Loss>> {
        let SoftLmcclConfig { lmcl, center, center_weight, .. } = self.soft_lmccl;
        let (mut loss, with_center) = name.parts();
        match &mut loss {
            LossConfig::Lmcl(config) => *config = lmcl,
            LossConfig::Center(config) => *config = center,
            LossConfig::SoftLmccl(config) => *config = self.soft_lmccl,
            LossConfig::NormalizedSoftmax(config) => config.scale = lmcl.scale,
            LossConfig::Arcface(config) => config.scale = lmcl.scale,
            LossConfig::CombinedMargin(config) => config.scale = lmcl.scale,
            LossConfig::Adaface(config) => config.scale = lmcl.scale,
            _ => {}
        }
        Ok(program::loss::init(loss, with_center.then_some((center_weight, center)), path, classes, dim)?)
    }
}

fn distinct<T: PartialEq>(items: &[T]) -> usize {
    items.iter().enumerate().filter(|(index, item)| !items[..*index].contains(item)).count()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use soft_lmccl::{
        loss::LossConfig,
        tch::{Device, nn},
    };

    use super::{Args, LossName};

    #[test]
    fn help_tells_what_the_program_does() {
        let about = Args::command().get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.starts_with("Open-set verification of macromolecules"), "{about}");
    }

    #[test]
    fn every_loss_of_the_library_can_be_trained() {
        let plan = Args::parse_from(["experiment", "--scale", "9", "--losses", &LossName::all().join(",")])
            .plan()
            .expect("names and defaults are right");
        assert_eq!(plan.losses.len(), 2 * LossConfig::NAMES.len() - 2);
        let variables = |loss: &str| {
            let vs = nn::VarStore::new(Device::Cpu);
            plan.loss(&LossName(loss.to_owned()), &vs.root(), 17, 4).expect("a loss");
            let mut names: Vec<_> = vs.variables().into_keys().collect();
            names.sort();
            names
        };
        // Names that checkpoints have had since before there were names of losses.
        let center = ["center.centers", "center.samples", "center.updates"];
        assert_eq!(variables("lmcl"), ["weight"]);
        assert_eq!(variables("lmcl-center"), [&center[..], &["lmcl.weight"]].concat());
        assert_eq!(variables("combined-margin-center"), [&center[..], &["combined_margin.weight"]].concat());
    }

    #[test]
    fn a_loss_of_no_name_is_told_the_names() {
        let error = Args::try_parse_from(["experiment", "--losses", "center-center"]).expect_err("no such loss");
        let message = error.to_string();
        assert!(message.contains("invalid value 'center-center'") && message.contains("lmcl-center"), "{message}");
    }
}
