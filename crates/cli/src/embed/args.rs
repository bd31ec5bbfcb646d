//! What can be asked for.

use std::path::PathBuf;

use clap::Parser;
use soft_lmccl::tch::Device;

/// Embeddings of your own subtomograms by a trained network, and the enrolled class that each is nearest to.
///
/// Each table is a .csv, .tsv or .star file that names subtomograms. Column `path` (or `rlnImageName`, `image`, `file`) is an
/// MRC file of one subtomogram, also with .gz; column `label` (or `rlnClassNumber`, `class`) is its class, a number or a word.
///
/// Written to --out: embeddings.npy and, where there are labels, labels.npy, which `soft-lmccl verify` reads; particles.csv;
/// of a .star file the same file with what was found (rlnClassNumber is the number of the enrolled class, 0 where none is near
/// enough); calibration.json with the threshold.
#[derive(Debug, Parser)]
pub struct Args {
    /// The trained network: a checkpoint of `experiment`, or one that `study --keep-networks` kept [default: the one that
    /// comes with the program, to whose 32³ voxels of 10 Å subtomograms of any size are resampled].
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,

    /// The subtomograms: a table with column `path`, and `label` if the classes are known. Larger subtomograms than the
    /// network takes are cropped around their center.
    #[arg(long, value_name = "TABLE")]
    pub particles: PathBuf,

    /// Labeled subtomograms to enroll, some of each class, whose mean embedding stands for the class: a table with columns
    /// `path` and `label`.
    #[arg(long, value_name = "TABLE")]
    pub enroll: Option<PathBuf>,

    /// Other labeled subtomograms, of enrolled classes and of others, that tell how near is near enough: a table with
    /// columns `path` and `label`.
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

    /// Take voxels of another size than the network was trained on, or of unknown size, as if they were of that size.
    #[arg(long)]
    pub any_voxel_size: bool,

    /// Subtomograms that go through the network together.
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub batch: u16,

    /// Where the network runs: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = soft_lmccl::device)]
    pub device: Device,

    /// Directory of what is written; made if it is not there.
    #[arg(long, default_value = "target/embed")]
    pub out: PathBuf,
}
