//! Can a network tell apart macromolecules that it never saw?
//!
//! Simulates subtomograms of 17 known structures, trains one small 3-D network for each loss on
//! them, and verifies pairs of 6 structures that were in no training set. The defaults take some
//! minutes on two cores; Soft LMCCL should reach an AUC of 0.86 or more there.
//!
//! ```text
//! cargo xtask demo                              # provides libtorch first, if there is none
//! cargo xtask demo -- --smoke                   # seconds, to see that everything runs
//! cargo xtask demo -- --unknown a.pdb b.cif.gz  # your own structures as the unknown classes
//! ```

#[path = "open_set_cect/args.rs"]
mod args;
#[path = "open_set_cect/experiment.rs"]
mod experiment;
#[path = "open_set_cect/pictures.rs"]
mod pictures;
#[path = "open_set_cect/results.rs"]
mod results;

use std::{
    error::Error as _,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use clap::Parser;

/// Set by Ctrl-C; long work looks at it and stops between steps.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let args = args::Args::parse();
    // Only the first handler counts, and this is the first.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // Asked twice: at once.
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; once more to stop at once");
    });
    match experiment::run(&args) {
        Ok(()) if INTERRUPTED.load(Ordering::Relaxed) => ExitCode::from(130),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(source) = cause {
                eprintln!("  because: {source}");
                cause = source.source();
            }
            ExitCode::FAILURE
        }
    }
}
