//! What can be asked for.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use soft_lmccl::{cect::Contrast, tch::Device};

/// Which candidates of a template search are like a few enrolled particles, at a rate of false positives that is measured.
///
/// Cuts a box around each candidate out of the tomogram, embeds it and compares it with the enrolled ones. How near is near
/// enough is told by places that hold no such particle: those of --background, or places drawn at random away from all
/// candidates.
///
/// A table is what RELION 4 and 5, Warp and pytom-match-pick write (.star), or a .csv or .tsv file with columns x, y, z in
/// voxels; `label` or `class` is a class, where there are several. Written to --out: the table with a score and a verdict for
/// each row, and once more with the matches alone; calibration.json; report.html with pictures.
#[derive(Debug, Parser)]
pub struct Args {
    /// The tomogram: MRC, also with .gz.
    #[arg(long, value_name = "FILE")]
    pub tomogram: PathBuf,

    /// The candidates.
    #[arg(long, value_name = "TABLE")]
    pub candidates: PathBuf,

    /// Particles of the kind that is looked for, some.
    #[arg(long, value_name = "TABLE")]
    pub enroll: PathBuf,

    /// The tomogram of --enroll [default: that of the candidates].
    #[arg(long, value_name = "FILE")]
    pub enroll_tomogram: Option<PathBuf>,

    /// Places that hold no such particle: rows of another class than the enrolled ones, if the table has classes.
    #[arg(long, value_name = "TABLE")]
    pub background: Option<PathBuf>,

    /// The tomogram of --background [default: that of the candidates].
    #[arg(long, value_name = "FILE", requires = "background")]
    pub background_tomogram: Option<PathBuf>,

    /// Places drawn at random where there is no --background.
    #[arg(long, value_name = "COUNT", default_value_t = 400, conflicts_with = "background")]
    pub random: usize,

    /// The share of such places that may be taken for a particle.
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, default_value_t = 0.05)]
    pub rate: f64,

    /// The rows of this tomogram alone, where --candidates has several; the others stay as they are.
    #[arg(long, value_name = "NAME")]
    pub tomogram_name: Option<String>,

    /// Å of a pixel in which places are counted, if the tables do not say and it is not the tomogram's voxel.
    #[arg(long, value_name = "ANGSTROM")]
    pub pixel_size: Option<f64>,

    /// Å of a voxel, for tomograms whose header does not say.
    #[arg(long, value_name = "ANGSTROM")]
    pub voxel_size: Option<f64>,

    /// Whether the tomograms show protein dark or bright.
    #[arg(long, value_enum, default_value = "auto")]
    pub contrast: ContrastArg,

    /// The trained network [default: the one that comes with the program].
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,

    /// Where the network runs: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = soft_lmccl::device)]
    pub device: Device,

    /// Seed of the places drawn at random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Directory of what is written; made if it is not there.
    #[arg(long, default_value = "target/candidates")]
    pub out: PathBuf,
}

/// What a tomogram shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ContrastArg {
    /// Found from the enrolled particles.
    Auto,
    /// Protein is dark, as microscopes show it.
    Dark,
    /// Protein is bright.
    Bright,
}

impl ContrastArg {
    pub fn told(self) -> Option<Contrast> {
        match self {
            Self::Auto => None,
            Self::Dark => Some(Contrast::DarkProtein),
            Self::Bright => Some(Contrast::BrightProtein),
        }
    }
}
