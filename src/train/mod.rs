//! Training: one step, a run over volumes in memory, embedding a held-out set.

mod embed;
mod step;
mod trainer;

pub use embed::embed;
pub use step::{backward_step, set_weight_decay};
pub use trainer::{FitConfig, Step, fit};
