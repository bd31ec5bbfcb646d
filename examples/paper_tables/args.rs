//! What can be asked for.

use std::path::PathBuf;

use clap::Parser;
use soft_lmccl::tch::{Cuda, Device};

use crate::{plan::Stage, settings::Size};

/// The tables of the paper, and beyond: many networks, seeds and splits, with intervals and a report.
#[derive(Debug, Clone, Parser)]
#[command(name = "paper_tables", version, about)]
pub struct Args {
    /// How much it may cost: smoke takes a minute or two, cpu some hours on two cores, paper wants a GPU.
    #[arg(long, value_enum, default_value = "cpu")]
    pub size: Size,

    /// Stages to run, or `all`.
    #[arg(long, value_delimiter = ',', num_args = 1.., default_value = "tables", value_parser = parse_stage)]
    pub stage: Vec<StageArg>,

    /// Only runs whose name contains one of these, as `S2-split0` or `soft-lmccl`.
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    pub only: Vec<String>,

    /// Stops before starting a run that would not be finished so many minutes from now.
    #[arg(long, value_name = "MINUTES")]
    pub time_limit: Option<f64>,

    /// Networks trained at the same time, each in a process of its own; fewer where memory is short.
    #[arg(long, default_value_t = 1)]
    pub jobs: usize,

    /// Threads of each [default: the cores divided by --jobs].
    #[arg(long)]
    pub threads: Option<usize>,

    /// Where to train: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = parse_device)]
    pub device: DeviceArg,

    /// Directory of runs, results, pictures and report; what is finished in it is not made again.
    #[arg(long, default_value = "target/paper_tables")]
    pub out: PathBuf,

    /// Print the runs that are left, and stop.
    #[arg(long)]
    pub list: bool,

    /// Write results and report of what is finished, and stop.
    #[arg(long)]
    pub report_only: bool,

    /// Take runs from standard input, as the process that starts the others tells it.
    #[arg(long, hide = true)]
    pub worker: bool,
}

/// A stage, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageArg {
    One(Stage),
    All,
}

impl Args {
    /// The stages asked for, each once, in their own order.
    pub fn stages(&self) -> Vec<Stage> {
        let asked = |stage: &Stage| self.stage.contains(&StageArg::All) || self.stage.contains(&StageArg::One(*stage));
        Stage::ALL.into_iter().filter(asked).collect()
    }
}

/// A device with the words that name it, so that it can be handed on.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceArg {
    pub device: Device,
    pub text: String,
}

fn parse_stage(text: &str) -> Result<StageArg, String> {
    if text == "all" {
        return Ok(StageArg::All);
    }
    <Stage as clap::ValueEnum>::from_str(text, false).map(StageArg::One).map_err(|_| {
        let names: Vec<String> = Stage::ALL.iter().map(Stage::to_string).collect();
        format!("expected {} or all", names.join(", "))
    })
}

fn parse_device(text: &str) -> Result<DeviceArg, String> {
    let device = match text {
        "cpu" => Device::Cpu,
        "cuda" => Device::Cuda(0),
        other => match other.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(index)) => Device::Cuda(index),
            _ => return Err("expected cpu, cuda or cuda:N".into()),
        },
    };
    match device {
        Device::Cuda(index) if index as i64 >= Cuda::device_count() => Err(format!(
            "this libtorch sees {} CUDA devices; `cargo xtask doctor` tells which libtorch is in use",
            Cuda::device_count()
        )),
        device => Ok(DeviceArg { device, text: text.to_owned() }),
    }
}
