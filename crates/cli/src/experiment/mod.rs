//! Can a network tell apart macromolecules that it never saw?
//!
//! Simulates subtomograms of 17 known structures, trains one small 3-D network for each loss on
//! them, and verifies pairs of 6 structures that were in no training set. The defaults take some
//! minutes on two cores; Soft LMCCL should reach an AUC of 0.86 or more there.

mod args;
mod pictures;
mod results;
mod run;

pub use args::Args;
pub use run::run;
