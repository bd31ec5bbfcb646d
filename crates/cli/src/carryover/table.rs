//! The table of a network.

use std::path::Path;

use anyhow::Result;
use soft_lmccl::{
    cect::{Batch, Contrast, catalogue},
    tch::{Device, nn::ModuleT},
};

use super::{
    figures::{Figure, PROFILE, embedded, measure, profile_set},
    sets::{Particles, SIDE, TestSet, simulated},
};

/// What a network is tested on.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Subtomograms of each class of the simulated sets.
    pub per_class: usize,
    /// Tables of real particles and the background beside them, and the label of the particles.
    pub real: &'a [(&'a Path, &'a str)],
    pub device: Device,
}

/// The table as Markdown: a row for each set, columns for the network and for radial profiles.
///
/// # Errors
/// As making the sets and measuring.
pub fn table(net: &impl ModuleT, asked: Asked<'_>) -> Result<String> {
    let mut sets = simulated(&catalogue::split(), asked.per_class, SIDE)?;
    for &(path, particle) in asked.real {
        sets.push(TestSet::of_files(path, particle, Contrast::DarkProtein)?);
    }
    let mut text = format!("| test set | what it is | subtomograms | network | {PROFILE} |\n|---|---|---|---|---|\n");
    for set in &sets {
        let network = measure(set, &embedded(net, asked.device, &set.samples)?)?;
        let radial = measure(set, &profile_set(&Batch::of(&set.samples)?)?)?;
        let cells = [set.name.clone(), what(set), count(set), told(network), told(radial)];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    Ok(text)
}

fn what(set: &TestSet) -> String {
    let figure = match set.particles {
        Particles::OfClasses(_) => "AUC of all pairs, classes drawn anew",
        Particles::AndBackground { .. } => "AUC of particle against background, samples drawn anew",
    };
    format!("{}; {figure}", if set.is_real { "real" } else { "simulated" })
}

fn count(set: &TestSet) -> String {
    match set.particles {
        Particles::OfClasses(classes) => format!("{} of {classes} unknown classes", set.samples.len()),
        Particles::AndBackground { particles, background, .. } => {
            format!("{particles} particles, {background} beside them")
        }
    }
}

fn told(Figure { auc, interval }: Figure) -> String {
    format!("{auc:.3} [{:.3}, {:.3}]", interval.low, interval.high)
}
