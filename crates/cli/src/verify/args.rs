//! What can be asked for.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use soft_lmccl::metrics::files::TrialFormat;
use soft_lmccl::metrics::{DetectionCost, Failures, Pooling, ThresholdRule};
use soft_lmccl::tch::Device;

/// What the tables need, below the options.
const TABLES: &str = "\
Tables, each with a line of headings:
  EMBEDDINGS.csv        a number in each column, but for `labels` (a class: number or name), `id`, and the columns
                        that --template, --medium and --cohort name
  LABELS.csv            column `labels`, a row for each embedding
  --samples TABLE.csv   a row for each embedding: whatever --id, --label, --template, --medium, --cohort name
  --scores S.csv        column `score`; `same` (0 or 1), or `first_class` and `second_class`, with which intervals come
  --trials LIST.csv     columns `first`, `second` (ids) and `same`

Names: FMR and FNMR are the rates of comparisons of ISO/IEC 19795; FAR = FMR and TAR = 1 - FNMR here.";

/// How well do these embeddings or scores verify? Exact figures with intervals, thresholds, errors by class.
///
/// Compares all pairs of embeddings by their cosine, or only those of a list, or probes with a gallery; or takes scores of
/// pairs from another program. Every figure is printed with its interval and its definition, and comes from one set of
/// counts; memory does not grow with the number of pairs, but for --bootstrap, --as-norm and calibration.
#[derive(Debug, Parser)]
#[command(after_long_help = TABLES)]
pub struct Args {
    /// Embeddings, one a row: .npy, .npz, .safetensors or .csv.
    #[arg(required_unless_present = "scores", conflicts_with = "scores")]
    pub embeddings: Option<PathBuf>,

    /// Their classes: .npy, .npz, .safetensors, .csv or .tsv; none where they are with the embeddings or in --samples.
    #[arg(requires = "embeddings")]
    pub labels: Option<PathBuf>,

    /// Name of the array or tensor of embeddings.
    #[arg(long, value_name = "NAME", default_value = "embeddings", help_heading = "Samples")]
    pub array: String,

    /// Name of the array, tensor or column of labels; with --samples the column of its table [default: labels].
    #[arg(long, value_name = "NAME", help_heading = "Samples")]
    pub label: Option<String>,

    /// A table with a row for each embedding, .csv or .tsv; without it the columns are those of EMBEDDINGS.csv.
    #[arg(long, value_name = "TABLE", help_heading = "Samples", requires = "embeddings")]
    pub samples: Option<PathBuf>,

    /// Column that names each sample, as lists of trials do.
    #[arg(long, value_name = "COLUMN", default_value = "id", help_heading = "Samples")]
    pub id: String,

    /// Column of templates: samples of one are averaged and compared as one. Lists of trials then name templates.
    #[arg(long, value_name = "COLUMN", help_heading = "Samples")]
    pub template: Option<String>,

    /// Column of media, such as videos: of a template, each counts the same.
    #[arg(long, value_name = "COLUMN", help_heading = "Samples", requires = "template")]
    pub medium: Option<String>,

    /// What of a template is averaged.
    #[arg(long, value_enum, default_value = "unit-rows", help_heading = "Samples", requires = "template")]
    pub pool: Pool,

    /// Column whose values are compared with one another: FMR and FNMR of each two, at one threshold.
    #[arg(long, value_name = "COLUMN", help_heading = "Samples", conflicts_with_all = ["template", "trials", "gallery"])]
    pub cohort: Option<String>,

    /// Compare the pairs of this list only.
    #[arg(long, value_name = "LIST", help_heading = "Pairs", requires = "embeddings", conflicts_with = "gallery")]
    pub trials: Option<PathBuf>,

    /// How the list is written [default: csv for .csv, else vox-celeb].
    #[arg(long, value_enum, help_heading = "Pairs", requires = "trials")]
    pub trial_format: Option<Listed>,

    /// Compare with these embeddings, enrolled by class, and search them (identification).
    #[arg(long, value_name = "G", help_heading = "Pairs", requires = "embeddings", conflicts_with_all = ["template", "samples"])]
    pub gallery: Option<PathBuf>,

    /// Classes of the gallery.
    #[arg(long, value_name = "GL", help_heading = "Pairs", requires = "gallery")]
    pub gallery_labels: Option<PathBuf>,

    /// Scores of pairs instead of embeddings, higher is more alike: .csv, .tsv, .npz (`scores`, `same`), or .npy with --same.
    #[arg(long, value_name = "S", help_heading = "Pairs")]
    pub scores: Option<PathBuf>,

    /// Whether each pair of --scores S.npy matches, .npy of bool or of 0 and 1.
    #[arg(long, value_name = "B.npy", help_heading = "Pairs", requires = "scores")]
    pub same: Option<PathBuf>,

    /// False accept rates (FMR) at which the TAR is asked, from 0 to 1.
    #[arg(long, value_delimiter = ',', num_args = 1.., value_parser = rate, default_values_t = [1e-2, 1e-3, 1e-4], help_heading = "Figures")]
    pub far: Vec<f64>,

    /// Level of the intervals.
    #[arg(long, default_value_t = 0.95, help_heading = "Figures")]
    pub level: f64,

    /// Intervals by so many draws of classes instead of the closed form, for few pairs; holds all pairs in memory.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(50..), help_heading = "Figures",
          conflicts_with_all = ["scores", "trials", "gallery", "as_norm", "calibration"])]
    pub bootstrap: Option<u32>,

    /// Cost of a matching pair that is rejected.
    #[arg(long, default_value_t = DetectionCost::default().miss, help_heading = "Figures")]
    pub miss_cost: f64,

    /// Cost of a non-matching pair that is accepted.
    #[arg(long, default_value_t = DetectionCost::default().false_alarm, help_heading = "Figures")]
    pub false_alarm_cost: f64,

    /// Share of matching pairs where the threshold will be used.
    #[arg(long, default_value_t = DetectionCost::default().prior, help_heading = "Figures")]
    pub prior: f64,

    /// Candidates looked at in a search of the gallery (R).
    #[arg(long, default_value_t = 1, help_heading = "Figures", requires = "gallery")]
    pub rank: usize,

    /// Samples that failed to enroll, of how many were to be: 2/100 (FTE).
    #[arg(long, value_name = "FAILED/ALL", value_parser = share, help_heading = "Figures")]
    pub not_enrolled: Option<Share>,

    /// Samples that could not be acquired for a comparison, of how many: 10/200 (FTA).
    #[arg(long, value_name = "FAILED/ALL", value_parser = share, help_heading = "Figures")]
    pub not_acquired: Option<Share>,

    /// Normalize scores by those against a cohort of other classes (AS-norm): a file of embeddings; holds all pairs.
    #[arg(long, value_name = "C", help_heading = "Scores", requires = "embeddings", conflicts_with_all = ["trials", "gallery"])]
    pub as_norm: Option<PathBuf>,

    /// Highest cohort scores that are kept of each sample.
    #[arg(long, default_value_t = 300, help_heading = "Scores", requires = "as_norm")]
    pub top: usize,

    /// Fit a calibration to log-likelihood ratios on these pairs; holds all pairs.
    #[arg(long, value_enum, help_heading = "Scores", requires = "calibration_out", conflicts_with_all = ["trials", "gallery", "calibration"])]
    pub calibrate: Option<Calibrate>,

    /// Where the fitted calibration is saved, as JSON.
    #[arg(long, value_name = "F", help_heading = "Scores", requires = "calibrate")]
    pub calibration_out: Option<PathBuf>,

    /// Apply a saved calibration, fitted on other data; holds all pairs.
    #[arg(long, value_name = "F", help_heading = "Scores", conflicts_with_all = ["trials", "gallery"])]
    pub calibration: Option<PathBuf>,

    /// What the threshold is chosen for: a FAR such as 1e-3, `eer` or `accuracy` [default: the first of --far].
    #[arg(long, value_name = "RULE", value_parser = rule, help_heading = "Threshold")]
    pub threshold_for: Option<ThresholdRule>,

    /// Save the threshold as JSON, with its data, date and intervals.
    #[arg(long, value_name = "F", help_heading = "Threshold")]
    pub threshold_out: Option<PathBuf>,

    /// Judge by a saved threshold instead of choosing one on these pairs.
    #[arg(long, value_name = "F", help_heading = "Threshold", conflicts_with_all = ["threshold_out", "threshold_for"])]
    pub threshold: Option<PathBuf>,

    /// Print one JSON object and nothing else to stdout.
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Write a report with curves and tables, one HTML file.
    #[arg(long, value_name = "F.html", help_heading = "Output")]
    pub report: Option<PathBuf>,

    /// Where the pairs are multiplied and counted: cpu, cuda or cuda:N. Intervals are counted on the CPU.
    #[arg(long, default_value = "cpu", value_parser = soft_lmccl::device, conflicts_with = "scores", help_heading = "Output")]
    pub device: Device,
}

impl Args {
    pub fn cost(&self) -> DetectionCost {
        DetectionCost { miss: self.miss_cost, false_alarm: self.false_alarm_cost, prior: self.prior }
    }

    pub fn rule(&self) -> ThresholdRule {
        self.threshold_for.unwrap_or(ThresholdRule::AtFar { target_far: self.far[0] })
    }

    /// Failures to enroll and to acquire, if either is given.
    pub fn failures(&self) -> Option<Failures> {
        if self.not_enrolled.is_none() && self.not_acquired.is_none() {
            return None;
        }
        let none = Share { failed: 0, all: 1 };
        let (enrolled, acquired) = (self.not_enrolled.unwrap_or(none), self.not_acquired.unwrap_or(none));
        Some(Failures {
            enrollments: enrolled.all,
            not_enrolled: enrolled.failed,
            acquisitions: acquired.all,
            not_acquired: acquired.failed,
        })
    }
}

/// So many of so many.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    failed: u64,
    all: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Pool {
    /// Rows of length 1: each sample counts the same.
    UnitRows,
    /// Rows as they are: longer ones count for more.
    RawRows,
}

impl From<Pool> for Pooling {
    fn from(pool: Pool) -> Self {
        match pool {
            Pool::UnitRows => Self::UnitRows,
            Pool::RawRows => Self::RawRows,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Calibrate {
    /// A straight line from scores to log-likelihood ratios.
    Logistic,
    /// Steps that never fall (pool adjacent violators).
    Isotonic,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Listed {
    /// `name n m` or `name n other m`, tabs between: pairs.txt of Labeled Faces in the Wild; ids are `name_0001`.
    Lfw,
    /// `1 first second` or `0 first second`.
    VoxCeleb,
    /// `first second 1`, as the matches of IJB-B and IJB-C.
    TruthLast,
    /// Columns `first`, `second`, `same`.
    Csv,
}

impl From<Listed> for TrialFormat {
    fn from(listed: Listed) -> Self {
        match listed {
            Listed::Lfw => Self::Lfw,
            Listed::VoxCeleb => Self::VoxCeleb,
            Listed::TruthLast => Self::TruthLast,
            Listed::Csv => Self::Csv,
        }
    }
}

fn share(text: &str) -> Result<Share, String> {
    let parts = text.split_once('/').and_then(|(failed, all)| Some((failed.parse().ok()?, all.parse().ok()?)));
    match parts {
        Some((failed, all)) if failed <= all && all > 0 => Ok(Share { failed, all }),
        _ => Err("expected FAILED/ALL such as 2/100".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("expected a rate from 0 to 1".to_owned()),
    }
}

fn rule(text: &str) -> Result<ThresholdRule, String> {
    match text {
        "eer" => Ok(ThresholdRule::EqualErrors),
        "accuracy" => Ok(ThresholdRule::Accuracy),
        _ => match rate(text) {
            Ok(target_far) => Ok(ThresholdRule::AtFar { target_far }),
            Err(_) => Err("expected a rate from 0 to 1, `eer` or `accuracy`".to_owned()),
        },
    }
}
