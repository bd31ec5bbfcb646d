//! Sets of subtomograms to be tested on.

use std::path::Path;

use anyhow::{Result, anyhow};
use soft_lmccl::{
    cect::{
        ClassId, Contrast, Dataset, FilesConfig, LabeledFiles, OpenSetSplit, Sample, SimulatedDataset,
        SimulationConfig, catalogue, render,
    },
    model::prepared,
};

/// The side of every set, in voxels of 10 Å.
pub const SIDE: usize = 32;

/// Subtomograms, and what their figure is.
#[derive(Debug)]
pub struct TestSet {
    pub name: String,
    /// Real ones, not simulated.
    pub is_real: bool,
    pub samples: Vec<Sample>,
    pub particles: Particles,
}

/// What tells one sample from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Particles {
    /// Classes of particles: all pairs.
    OfClasses(usize),
    /// One class of particles and a background, which is no class: each sample by its mean cosine to the other particles.
    AndBackground { particle: ClassId, particles: usize, background: usize },
}

/// The seed of the simulated test sets, which no network is trained with.
const SEED: u64 = 20_261_201;

/// The simulated sets, of the classes that `split` has as unknown.
///
/// # Errors
/// As simulating.
pub fn simulated(split: &OpenSetSplit, per_class: usize, side: usize) -> Result<Vec<TestSet>> {
    let kinds = [
        ("our simulator, S2", SimulationConfig::s2()),
        ("AITom's way, its SNR 0.5", SimulationConfig::aitom(0.5)),
        ("AITom's way, its SNR 0.05", SimulationConfig::aitom(0.05)),
        ("RELION-like tilt series, SNR 0.05", SimulationConfig::relion_like()),
        ("Warp-like tilt series, SNR 0.05", SimulationConfig::warp_like()),
    ];
    let set = |(name, config): (&str, SimulationConfig)| {
        let samples = samples(split.unknown(), SimulationConfig { side, ..config }, per_class)?;
        let particles = Particles::OfClasses(split.unknown().len());
        Ok(TestSet { name: name.to_owned(), is_real: false, samples, particles })
    };
    kinds.into_iter().map(set).collect()
}

fn samples(classes: &[ClassId], config: SimulationConfig, per_class: usize) -> Result<Vec<Sample>> {
    let entries = catalogue::extended();
    let templates = classes.iter().map(|class| entries[class.0 as usize].template()).collect();
    let dataset = SimulatedDataset::new(templates, config, per_class, SEED)?;
    Ok(render(&dataset, &(0..dataset.len()).collect::<Vec<_>>(), |_| {})?)
}

impl TestSet {
    /// Real particles of one class and the background beside them, by a table of files with two labels.
    ///
    /// # Errors
    /// As [`LabeledFiles::open`]; unless there are two labels, `particle` one of them, with two samples or more each.
    pub fn of_files(table: &Path, particle: &str, contrast: Contrast) -> Result<Self> {
        let files = LabeledFiles::open(table, FilesConfig { contrast, ..Default::default() })?;
        let refuse = |problem: String| anyhow!("{}: {problem}", table.display());
        let voxel_size =
            files.voxel_size().ok_or_else(|| refuse("its files do not say how large their voxels are".into()))?;
        let names = files.classes();
        let Some(class) = names.iter().position(|name| name == particle).filter(|_| names.len() == 2) else {
            return Err(refuse(format!("expected two labels, one of them `{particle}`, got {}", names.join(", "))));
        };
        let class = ClassId(class as u32);
        let samples = render(&files, &(0..files.len()).collect::<Vec<_>>(), |_| {})?;
        let samples: Vec<Sample> = samples
            .into_iter()
            .map(|sample| Ok(Sample { volume: prepared(&sample.volume, voxel_size)?, ..sample }))
            .collect::<Result<_>>()?;
        let particles = samples.iter().filter(|sample| sample.class == class).count();
        let background = samples.len() - particles;
        if particles < 2 || background < 2 {
            return Err(refuse(format!("expected two of each label, got {particles} and {background}")));
        }
        let name = format!("real: {}", table.display());
        Ok(Self {
            name,
            is_real: true,
            samples,
            particles: Particles::AndBackground { particle: class, particles, background },
        })
    }
}
