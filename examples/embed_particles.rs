//! What are these particles? Embeddings of your own subtomograms by a trained network, and the enrolled class that
//! each is nearest to, if any.
//!
//! ```text
//! cargo xtask demo    # or paper_tables --keep-networks: trains networks
//! cargo run --release --features cect,report --example embed_particles -- \
//!     --network target/open_set_cect/checkpoints/soft-lmccl-seed1.safetensors --particles particles.star
//! ```
//!
//! A table names subtomograms in MRC files, as `cect::LabeledFiles` reads it; of `--particles` the labels may be
//! missing. With `--enroll`, labeled subtomograms of classes that the network need never have seen become a prototype a
//! class; with `--calibrate`, others tell which particles are of none of them. Written to `--out`: `embeddings.npy`,
//! `labels.npy` for `verify_embeddings` where there are labels, `particles.csv`, the STAR file with what was found
//! (`rlnClassNumber` by the order of the enrolled classes, 0 where none is near enough, beside name and score), and
//! `calibration.json` with the threshold.

#[path = "embed_particles/args.rs"]
mod args;
#[path = "program/bar.rs"]
mod bar;
#[path = "embed_particles/output.rs"]
mod output;
#[path = "program/mod.rs"]
mod program;
#[path = "embed_particles/run.rs"]
mod run;
#[path = "embed_particles/subtomograms.rs"]
mod subtomograms;
#[cfg(test)]
#[path = "embed_particles/tests.rs"]
mod tests;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    program::run(|| run::run(&args))
}
