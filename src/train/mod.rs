//! Training: one step, a run that can be interrupted, checkpoints, embedding a held-out set.
//!
//! [`backward_step`] is one step with an optimizer of yours; [`fit`] a run in one call; [`Trainer`] a run that
//! keeps checkpoints and continues from them; [`checkpoint`] the files.

mod adamw;
mod archive;
#[cfg(feature = "cect")]
mod batch;
mod buffers;
pub mod checkpoint;
mod embed;
mod fit;
mod gradients;
mod header;
mod held;
mod log;
mod one_step;
mod optimizer;
mod optimizer_state;
mod options;
mod origin;
mod parts;
mod ranks;
mod rows;
mod sampler;
mod samples;
mod schedule;
mod step;
#[cfg(feature = "cect")]
mod subtomograms;
mod trainer;
mod weights;

pub use adamw::{AdamW, AdamWConfig};
#[cfg(feature = "cect")]
pub use batch::Batch;
pub use checkpoint::{Best, Origin, Progress, RunState, Weights};
pub use embed::{embed, embed_raw};
pub use fit::{FitConfig, Step, fit};
pub use optimizer::{Optimizer, set_weight_decay};
pub use sampler::{Sampler, Sampling};
pub use samples::{InMemory, TrainingSet};
pub use schedule::{Schedule, WarmUp};
pub use step::{backward_step, backward_step_in};
#[cfg(feature = "cect")]
pub use subtomograms::{Augmented, Samples};
pub use trainer::{End, Outcome, Trainer};
