//! The program `soft-lmccl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    soft_lmccl_cli::run()
}
