//! How well do these embeddings verify? Exact figures over all pairs, from files of NumPy.
//!
//! ```text
//! cargo run --release --example verify_embeddings -- --embeddings E.npy --labels L.npy
//! cargo run --release --example verify_embeddings -- --scores S.npy --same B.npy --far 1e-3 --json
//! ```
//!
//! Embeddings are `[N, D]` of f16, f32 or f64, labels `[N]` of integers; scores `[P]` of f16, f32 or f64, higher for
//! pairs that are more alike, and `same` `[P]` of bool or integers (0 or 1). Memory does not grow with the number
//! of pairs of embeddings.

#[path = "verify_embeddings/args.rs"]
mod args;
#[path = "../benches/ratios/bare.rs"]
mod bare;
#[path = "program/device.rs"]
mod device;
#[path = "verify_embeddings/npy.rs"]
mod npy;
#[path = "verify_embeddings/run.rs"]
mod run;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

/// Set by Ctrl-C; the count looks at it after each tile, the bootstrap at each draw.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let args = args::Args::parse();
    // Only the first handler counts, and this is the first.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // Asked twice: at once.
            std::process::exit(130);
        }
    });
    match run::run(&args, &INTERRUPTED) {
        Ok(run::Outcome { output, unsaved }) => {
            let printed = writeln!(io::stdout(), "{output}");
            // A reader that has seen enough is no failure.
            let unprinted = printed.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
            let unprinted = unprinted.map(|error| anyhow::Error::new(error).context("cannot write to standard output"));
            let Some(error) = unprinted.or(unsaved) else { return ExitCode::SUCCESS };
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            if INTERRUPTED.load(Ordering::Relaxed) { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}
