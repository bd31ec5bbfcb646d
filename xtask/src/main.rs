//! The project's own commands: `cargo xtask help` lists them.
//!
//! What a newcomer compiles first, hence the two dependencies and nothing more.

mod cargo;
mod doctor;
mod libtorch;
mod pip;
mod platform;
mod provide;
mod release;
mod surroundings;
mod wheel;

use std::process::ExitCode;

use anyhow::Result;

use crate::surroundings::Surroundings;

const HELP: &str = "\
Usage: cargo xtask <command>

  demo [-- ARGS]   provide libtorch if there is none, then run examples/open_set_cect.rs
                   (ARGS go to the example; `cargo xtask demo -- --help` lists them)
  test [ARGS]      provide libtorch if there is none, then run every test and doctest
  bench [ARGS]     provide libtorch if there is none, then run the benches
  libtorch [VERSION]
                   provide libtorch only, and say where it is; with a VERSION (2.13 or 2.11), lock the
                   bindings made for it first
  doctor           say what was found on this machine, and how to get what was not
  catalogue DIR    provide libtorch if there is none, then rebuild the embedded densities from the structures in DIR
  help             this text

libtorch is taken from LIBTORCH, from LIBTORCH_USE_PYTORCH=1, from target/libtorch or from the
user's cache, whichever comes first; where there is none, a CPU build is fetched with pip (about
0.55 GB) and kept in the cache. Nothing is installed.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    let (command, rest) = match args {
        [] => ("help", args),
        [command, rest @ ..] => (command.as_str(), rest),
    };
    let program_args = match rest {
        [dashes, rest @ ..] if dashes == "--" => rest,
        rest => rest,
    };
    match (command, rest) {
        ("demo", _) => with_libtorch(&cargo::DEMO, program_args),
        ("test", _) => test(rest),
        ("bench", _) => with_libtorch(&cargo::BENCH, program_args),
        ("catalogue", [_]) => with_libtorch(&cargo::CATALOGUE, rest),
        ("libtorch", [] | [_]) => {
            if let [name] = rest {
                cargo::lock(name)?;
            }
            let libtorch = provide::ensure(&Surroundings::from_env()?)?;
            println!("{libtorch}");
            Ok(ExitCode::SUCCESS)
        }
        ("doctor", []) => Ok(doctor::run(&Surroundings::from_env()?)),
        ("help" | "--help" | "-h", _) => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("error: `{}` is not a command of this project\n\n{HELP}", args.join(" "));
            Ok(ExitCode::from(2))
        }
    }
}

/// In two parts, since one build has one set of features: `soft-lmccl-report` with metrics that ask for libtorch would not
/// find it at run time.
fn test(args: &[String]) -> Result<ExitCode> {
    let around = Surroundings::from_env()?;
    provide::ensure(&around)?;
    match cargo::succeeds(&around, &cargo::TEST_TORCH, args)? {
        true => cargo::run(&around, &cargo::TEST_PLAIN, args),
        false => Ok(ExitCode::FAILURE),
    }
}

fn with_libtorch(task: &[&str], args: &[String]) -> Result<ExitCode> {
    let around = Surroundings::from_env()?;
    provide::ensure(&around)?;
    cargo::run(&around, task, args)
}
