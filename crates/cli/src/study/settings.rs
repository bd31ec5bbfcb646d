//! How large a study is, and what must be equal for its results to be comparable.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use soft_lmccl::{
    cect::{Contrast, Dataset, FilesConfig, LabeledFiles, SimulationConfig, neuron},
    loss::{LmclConfig, SoftLmcclConfig},
    model::{CompactNetConfig, NetworkConfig, SphereNetConfig},
    train::FitConfig,
};

use super::plan::{Domain, Run};

/// Counts up when records mean something else than before.
pub const FORMAT: u32 = 4;

/// How much a study may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// A minute or two, to see that everything works; the figures mean nothing.
    Smoke,
    /// Some hours on two cores, in stages.
    Cpu,
    /// The paper's 1,000 subtomograms of 40³ a class: a GPU.
    Paper,
}

/// Whose simulator makes S1 and S2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Simulator {
    /// This crate's, whose SNR counts the voxels that come out.
    #[default]
    Ours,
    /// That of the paper's authors, AITom, which the paper used.
    Aitom,
}

impl Simulator {
    fn is_ours(&self) -> bool {
        *self == Self::Ours
    }

    /// The paper's set S1 or S2 of this simulator.
    pub fn of(self, domain: Domain) -> SimulationConfig {
        let ours = if domain == Domain::S1 { SimulationConfig::s1() } else { SimulationConfig::s2() };
        match self {
            Self::Ours => ours,
            Self::Aitom => SimulationConfig::aitom(ours.snr),
        }
    }
}

/// What stands in the columns of R1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NeuronData {
    /// The crowd that comes with the crate.
    #[default]
    Simulated,
    /// The catalogue's particles in patches of a real tomogram.
    Background { tomogram: PathBuf, contrast: Contrast, digest: String },
    /// Labeled subtomograms of the user's: the named classes are known, the others are not.
    Subtomograms { table: PathBuf, contrast: Contrast, known: Vec<String>, digest: String },
}

impl NeuronData {
    /// # Errors
    /// The file cannot be read.
    pub fn background(tomogram: &Path, contrast: Contrast) -> Result<Self> {
        Ok(Self::Background { tomogram: tomogram.to_owned(), contrast, digest: hexadecimal(&digest_of(tomogram)?) })
    }

    /// # Errors
    /// As [`open_files`]; a file that the table names cannot be read.
    pub fn subtomograms(table: &Path, contrast: Contrast, known: Vec<String>, side: usize) -> Result<Self> {
        let files = open_files(table, contrast, side)?;
        // The same table may name other data than before.
        let mut all = Sha256::new_with_prefix(digest_of(table)?);
        for path in (0..files.len()).filter_map(|index| files.path(index)) {
            all.update(digest_of(path)?);
        }
        Ok(Self::Subtomograms { table: table.to_owned(), contrast, known, digest: hexadecimal(&all.finalize()) })
    }

    fn is_simulated(&self) -> bool {
        *self == Self::Simulated
    }
}

/// The files of a table of the user's, as a study of this side reads them.
///
/// # Errors
/// As [`LabeledFiles::open`].
pub fn open_files(table: &Path, contrast: Contrast, side: usize) -> Result<LabeledFiles> {
    Ok(LabeledFiles::open(table, FilesConfig { side: Some(side), contrast, ..Default::default() })?)
}

/// A digest of a file's content, so that results of a file that has changed are not taken for those of the file
/// that is there. A tomogram is larger than what should be held for this.
fn digest_of(path: &Path) -> Result<[u8; 32]> {
    let failed = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(failed)?;
    let mut part = vec![0; 1 << 20];
    let mut digest = Sha256::new();
    loop {
        match file.read(&mut part) {
            Ok(0) => return Ok(digest.finalize().into()),
            Ok(count) => digest.update(&part[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(anyhow::Error::new(error).context(failed())),
        }
    }
}

/// The first 16 digits.
fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Everything but the run itself that a result depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub size: Size,
    /// Subtomograms of each class, for training as for testing.
    pub per_class: usize,
    /// Subtomograms of R1 in all, of classes of unequal sizes.
    pub neuron_total: usize,
    /// Whose simulator makes S1 and S2.
    #[serde(default, skip_serializing_if = "Simulator::is_ours")]
    pub simulator: Simulator,
    /// Whether networks see each subtomogram once, see [`Run::fresh`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fresh: bool,
    /// What R1 is made of.
    #[serde(default, skip_serializing_if = "NeuronData::is_simulated")]
    pub neuron: NeuronData,
    /// Side of a subtomogram in voxels.
    pub side: usize,
    pub network: NetworkConfig,
    pub fit: FitConfig,
    /// Soft LMCCL as the tables train it; the other rows take s and α from it.
    pub soft_lmccl: SoftLmcclConfig,
    /// Examples of a class that are enrolled.
    pub few_shot: Vec<usize>,
    /// Random enrolments that a few-shot figure is the mean of.
    pub enrolments: u64,
}

impl Settings {
    pub fn of(size: Size) -> Self {
        // The best on validation classes; 17 classes need no larger s to be told apart.
        let soft_lmccl = SoftLmcclConfig {
            lmcl: LmclConfig { scale: 8.0, ..Default::default() },
            center_weight: 0.3,
            ..Default::default()
        };
        let cpu = Self {
            size,
            per_class: 150,
            neuron_total: neuron::TOTAL,
            simulator: Simulator::Ours,
            fresh: false,
            neuron: NeuronData::Simulated,
            side: 32,
            network: NetworkConfig::default(),
            fit: FitConfig::default(),
            soft_lmccl,
            few_shot: vec![1, 5, 20],
            enrolments: 20,
        };
        match size {
            Size::Cpu => cpu,
            Size::Smoke => Self {
                per_class: 10,
                neuron_total: 144,
                side: 16,
                network: NetworkConfig::Compact(CompactNetConfig {
                    channels: vec![4, 8],
                    embedding_dim: 16,
                    ..Default::default()
                }),
                fit: FitConfig { epochs: 2, batch_size: 16, ..FitConfig::default() },
                few_shot: vec![1, 5],
                enrolments: 3,
                ..cpu
            },
            Size::Paper => Self {
                per_class: 1000,
                side: 40,
                network: NetworkConfig::Sphere20(SphereNetConfig::default()),
                fit: FitConfig { epochs: 20, batch_size: 100, ..FitConfig::default() },
                ..cpu
            },
        }
    }

    /// # Errors
    /// The first hyper-parameter out of range.
    pub fn validate(&self) -> Result<()> {
        self.network.validate()?;
        self.fit.validate()?;
        self.soft_lmccl.validate()?;
        Ok(self.simulation(self.simulator.of(Domain::S1)).validate()?)
    }

    /// A simulation at this study's size.
    pub fn simulation(&self, named: SimulationConfig) -> SimulationConfig {
        SimulationConfig { side: self.side, ..named }
    }

    /// What a result depends on, in 16 hexadecimal digits: results of different fingerprints are never
    /// put into one table.
    pub fn fingerprint(&self, run: &Run) -> String {
        let mut settings = serde_json::to_value(self).expect("settings are plain data with string keys");
        // A run names its loss with every hyper-parameter, whatever the tables' is.
        settings.as_object_mut().and_then(|settings| settings.remove("soft_lmccl"));
        let all = (FORMAT, env!("CARGO_PKG_VERSION"), settings, run);
        let json = serde_json::to_vec(&all).expect("settings and runs are plain data with string keys");
        hexadecimal(&Sha256::digest(json))
    }
}
