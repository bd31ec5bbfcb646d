//! What can be asked for.

use std::path::PathBuf;

use clap::Parser;
use soft_lmccl::metrics::ThresholdRule;
use soft_lmccl::tch::Device;

/// Exact verification figures over all pairs of embeddings, or over scores of pairs.
///
/// Reads arrays of NumPy (.npy). Prints AUC, EER, best accuracy and the TAR at each FAR. Memory does not grow with the number
/// of pairs of embeddings, but for --bootstrap.
#[derive(Debug, Parser)]
pub struct Args {
    /// Embeddings, [N, D] of f16, f32 or f64.
    #[arg(
        long,
        value_name = "E.npy",
        requires = "labels",
        required_unless_present = "scores",
        conflicts_with = "scores"
    )]
    pub embeddings: Option<PathBuf>,

    /// Their classes, [N] of integers.
    #[arg(long, value_name = "L.npy", requires = "embeddings")]
    pub labels: Option<PathBuf>,

    /// Scores of pairs instead, [P] of f16, f32 or f64; higher is more alike.
    #[arg(long, value_name = "S.npy", requires = "same")]
    pub scores: Option<PathBuf>,

    /// Whether each pair is of one class, [P] of bool or integers (0 or 1).
    #[arg(long, value_name = "B.npy", requires = "scores")]
    pub same: Option<PathBuf>,

    /// False accept rates at which the TAR is asked, from 0 to 1.
    #[arg(long, value_delimiter = ',', num_args = 1.., value_parser = rate, default_values_t = [1e-2, 1e-3, 1e-4])]
    pub far: Vec<f64>,

    /// Where the pairs are multiplied and counted: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = soft_lmccl::device, conflicts_with = "scores")]
    pub device: Device,

    /// Draws of a bootstrap over classes, for 95 % intervals; holds all pairs in memory.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(50..), conflicts_with = "scores")]
    pub bootstrap: Option<u32>,

    /// Fit a threshold and save it as JSON.
    #[arg(long, value_name = "F")]
    pub threshold_out: Option<PathBuf>,

    /// What the threshold is fitted for: a FAR such as 1e-3, `eer` or `accuracy` [default: the first of --far].
    #[arg(long, value_name = "RULE", value_parser = rule, requires = "threshold_out")]
    pub threshold_for: Option<ThresholdRule>,

    /// Print one JSON object and nothing else to stdout.
    #[arg(long)]
    pub json: bool,
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
