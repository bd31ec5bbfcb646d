//! Training: one step, checkpoints, embedding a held-out set.

mod step;

pub use step::{backward_step, set_weight_decay};
