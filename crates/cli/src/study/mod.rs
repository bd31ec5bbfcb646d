//! The paper's four tables, with seeds, splits and intervals, and what the paper did not ask.
//!
//! Trains a network for each row, domain, seed and split, tests it on every domain, and writes
//! `results.json`, `results.md`, `report.html` and the pictures to `--out`. A run that is finished is
//! never made again: a study that was killed goes on where it was, stage by stage.

mod args;
#[cfg(test)]
mod cell_tests;
mod classes;
mod data;
mod evaluate;
mod execute;
mod output;
mod paper_grid;
#[cfg(test)]
mod paper_grid_tests;
mod plan;
#[cfg(test)]
mod plan_tests;
mod printed;
mod recipe;
mod run;
mod settings;
mod store;
mod summary;
#[cfg(test)]
mod tests;
mod train;
mod webpage;
mod worker;

pub use args::Args;
pub use run::run;
