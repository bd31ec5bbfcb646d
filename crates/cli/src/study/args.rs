//! What can be asked for.

use std::{ffi::OsString, path::PathBuf};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use soft_lmccl::{cect::Contrast, tch::Device};

use super::{
    plan::Stage,
    settings::{NeuronData, Settings, Simulator, Size},
};

/// The tables of the paper, and beyond: many networks, seeds and splits, with intervals and a report.
///
/// Trains a network for each row, domain, seed and split, tests it on every domain, and writes results.json, results.md,
/// report.html and pictures. A run that is finished is never made again: a study that was stopped goes on where it was when
/// the same command is given.
#[derive(Debug, Clone, Parser)]
pub struct Args {
    /// How much it may cost: smoke takes a minute or two, cpu some hours on two cores, paper wants a GPU.
    #[arg(long, value_enum, default_value = "cpu")]
    pub size: Size,

    /// Stages to run: tables, seeds, splits, losses, validation, ablations, known, ours, or `all` of these. `carryover` tests
    /// one network that is trained: see --network.
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
    #[arg(long, default_value = "target/study")]
    pub out: PathBuf,

    /// Go on in the middle of a run that was broken off, from its last checkpoint, to the same weights on the
    /// CPU; without it such a run begins anew.
    #[arg(long)]
    pub resume: bool,

    /// Whose simulator makes S1 and S2: ours, or the one of the paper's authors (AITom). One directory holds runs of one.
    #[arg(long, value_enum, default_value = "ours")]
    pub simulator: Simulator,

    /// Train on subtomograms that are made when a batch asks for them and seen once, as many as all passes see otherwise:
    /// small networks learn a set by heart that they see eight times. One directory holds runs of one kind.
    #[arg(long)]
    pub fresh: bool,

    /// Make R1 of the catalogue's particles in patches of a real tomogram, MRC, also with .gz.
    #[arg(long, value_name = "TOMOGRAM", conflicts_with = "subtomograms")]
    pub background: Option<PathBuf>,

    /// Make R1 of your own subtomograms, named in a table.
    ///
    /// The table is a .csv, .tsv or .star file with two columns: `path` (or `rlnImageName`, `image`, `file`), an MRC file of
    /// one subtomogram, also with .gz; `label` (or `rlnClassNumber`, `class`), its class, a number or a word. Relative paths
    /// start at the directory of the table. RELION's .star files name files from the project's directory on: put a copy there.
    #[arg(long, value_name = "TABLE", requires = "known")]
    pub subtomograms: Option<PathBuf>,

    /// Labels of --subtomograms that are trained on; all others are verified.
    #[arg(long, value_name = "LABEL", value_delimiter = ',', num_args = 1.., requires = "subtomograms")]
    pub known: Vec<String>,

    /// Protein is bright in --background or --subtomograms, not dark as microscopes show it.
    #[arg(long)]
    pub bright: bool,

    /// Keep each network that is trained now, with its heads, in `networks` of --out, for `embed` to use.
    #[arg(long)]
    pub keep_networks: bool,

    /// The network that `--stage carryover` tests, on data of several makers [default: the one that comes with the program].
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,

    /// Real subtomograms for `--stage carryover`: a table with columns `path` and `label`, which has two labels, that of
    /// particles and that of the background beside them; and the label of the particles.
    #[arg(long, value_names = ["TABLE", "LABEL"], num_args = 2)]
    pub real: Vec<String>,

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

/// A stage, all of those that train, or the one that tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageArg {
    One(Stage),
    All,
    Carryover,
}

impl Args {
    /// The settings of the study.
    ///
    /// # Errors
    /// A file of R1 that cannot be read.
    pub fn settings(&self) -> Result<Settings> {
        let contrast = if self.bright { Contrast::BrightProtein } else { Contrast::DarkProtein };
        let settings = Settings::of(self.size);
        let neuron = match (&self.background, &self.subtomograms) {
            (Some(tomogram), _) => NeuronData::background(tomogram, contrast)?,
            (None, Some(table)) => NeuronData::subtomograms(table, contrast, self.known.clone(), settings.side)?,
            (None, None) => NeuronData::Simulated,
        };
        Ok(Settings { neuron, simulator: self.simulator, fresh: self.fresh, ..settings })
    }

    /// What a process that works for this one must be told beside its threads.
    pub fn for_worker(&self) -> Vec<OsString> {
        let size = self.size.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let mut args: Vec<OsString> = vec!["--size".into(), size.into()];
        args.extend(["--device".into(), self.device.text.clone().into(), "--out".into(), self.out.clone().into()]);
        let simulator =
            self.simulator.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        args.extend(["--simulator".into(), simulator.into()]);
        args.extend(self.resume.then(|| "--resume".into()));
        args.extend(self.fresh.then(|| "--fresh".into()));
        args.extend(self.bright.then(|| "--bright".into()));
        args.extend(self.keep_networks.then(|| "--keep-networks".into()));
        for (flag, path) in [("--background", &self.background), ("--subtomograms", &self.subtomograms)] {
            args.extend(path.iter().flat_map(|path| [flag.into(), path.clone().into()]));
        }
        if !self.known.is_empty() {
            args.extend(["--known".into(), self.known.join(",").into()]);
        }
        args
    }

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
    match text {
        "all" => return Ok(StageArg::All),
        "carryover" => return Ok(StageArg::Carryover),
        _ => {}
    }
    Stage::from_str(text, false).map(StageArg::One).map_err(|_| {
        let names: Vec<String> = Stage::ALL.iter().map(Stage::to_string).collect();
        format!("expected {}, carryover or all", names.join(", "))
    })
}

fn parse_device(text: &str) -> soft_lmccl::Result<DeviceArg> {
    Ok(DeviceArg { device: soft_lmccl::device(text)?, text: text.to_owned() })
}
