//! What can be asked for.

use std::path::PathBuf;

use clap::Parser;
use soft_lmccl::tch::Device;

/// Trains the network that comes with the program: particles, noise and optics at random, no subtomogram twice.
///
/// The classes are the catalogue's known ones and invented ones; the six unknown ones are in no part of it. Written to
/// --out: network.safetensors, in half precision; carryover.md, its figures on data of several makers; run.safetensors and
/// log.csv, from which --resume goes on.
#[derive(Debug, Clone, Parser)]
pub struct Args {
    /// Passes of some 500 steps. The rate rises in the first 100 steps, and falls to nothing in the last sixteenth.
    #[arg(long, default_value_t = 2)]
    pub epochs: usize,

    /// Keep the rate to the end, for a run that more epochs are going to follow.
    #[arg(long)]
    pub hold: bool,

    /// Seed of the invented particles, the simulations, the first weights and the order of the classes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Threads.
    #[arg(long, default_value_t = 2)]
    pub threads: usize,

    /// Where to train: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = soft_lmccl::device)]
    pub device: Device,

    /// Directory of what is written; made if it is not there.
    #[arg(long, default_value = "target/pretrain")]
    pub out: PathBuf,

    /// Go on with an interrupted run.
    #[arg(long)]
    pub resume: bool,

    /// A small run of everything, to see that it works; the figures mean nothing.
    #[arg(long)]
    pub smoke: bool,
}
