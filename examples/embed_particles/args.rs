//! What can be asked for.

use std::path::PathBuf;

use clap::Parser;
use soft_lmccl::tch::Device;

use crate::program;

/// Embeddings of your own subtomograms by a trained network, and the enrolled class that each is nearest to.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// The trained network: a checkpoint of open_set_cect, or one that paper_tables kept.
    #[arg(long, value_name = "FILE")]
    pub network: PathBuf,

    /// The subtomograms: a .csv, .tsv or .star file that names MRC files, and their labels if they are known. Larger ones
    /// than the network takes are cropped around their center.
    #[arg(long, value_name = "TABLE")]
    pub particles: PathBuf,

    /// Labeled subtomograms to enroll, some of each class: their mean embedding stands for it.
    #[arg(long, value_name = "TABLE")]
    pub enroll: Option<PathBuf>,

    /// Other labeled subtomograms, of enrolled classes and of others, that tell how near is near enough.
    #[arg(long, value_name = "TABLE", requires = "enroll")]
    pub calibrate: Option<PathBuf>,

    /// Share of the subtomograms of other classes that may be taken for an enrolled one [default: 0.05].
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, requires = "calibrate")]
    pub fpir: Option<f64>,

    /// Where relative paths in the tables start; RELION's start at the project's directory [default: that of each table].
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Protein is bright in the subtomograms, not dark as microscopes show it.
    #[arg(long)]
    pub bright: bool,

    /// Take voxels of another size than the network was trained on.
    #[arg(long)]
    pub any_voxel_size: bool,

    /// Subtomograms that go through the network together.
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub batch: u16,

    /// Where the network runs: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = program::device::parse)]
    pub device: Device,

    /// Directory of what is written; made if it is not there.
    #[arg(long, default_value = "target/embed_particles")]
    pub out: PathBuf,
}
