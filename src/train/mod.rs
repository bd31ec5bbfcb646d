//! Training: one step, a run over volumes in memory, checkpoints, embedding a held-out set.

pub mod checkpoint;
mod embed;
mod step;
mod trainer;

pub use embed::embed;
pub use step::{backward_step, set_weight_decay};
pub use trainer::{FitConfig, Step, fit};
