//! The paper's four tables, with seeds, splits and intervals, and what the paper did not ask.
//!
//! Trains a network for each row, domain, seed and split, tests it on every domain, and writes
//! `results.json`, `results.md`, `report.html` and the pictures to `--out`. A run that is finished is
//! never made again: a study that was killed goes on where it was, stage by stage.
//!
//! ```text
//! cargo run --release --features cect,report --example paper_tables -- --size smoke
//! cargo run --release --features cect,report --example paper_tables -- --size cpu --jobs 2
//! cargo run --release --features cect,report --example paper_tables -- --size cpu --stage all --time-limit 60
//! ```

#[path = "paper_tables/args.rs"]
mod args;
#[cfg(test)]
#[path = "paper_tables/cell_tests.rs"]
mod cell_tests;
#[path = "paper_tables/classes.rs"]
mod classes;
#[path = "paper_tables/data.rs"]
mod data;
#[path = "paper_tables/evaluate.rs"]
mod evaluate;
#[path = "paper_tables/execute.rs"]
mod execute;
#[path = "paper_tables/output.rs"]
mod output;
#[path = "paper_tables/plan.rs"]
mod plan;
#[path = "paper_tables/printed.rs"]
mod printed;
#[path = "program/mod.rs"]
mod program;
#[path = "paper_tables/recipe.rs"]
mod recipe;
#[path = "paper_tables/settings.rs"]
mod settings;
#[path = "paper_tables/store.rs"]
mod store;
#[path = "paper_tables/study.rs"]
mod study;
#[path = "paper_tables/summary.rs"]
mod summary;
#[cfg(test)]
#[path = "paper_tables/tests.rs"]
mod tests;
#[path = "paper_tables/train.rs"]
mod train;
#[path = "paper_tables/webpage.rs"]
mod webpage;
#[path = "paper_tables/worker.rs"]
mod worker;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    program::run(|| study::run(&args))
}
