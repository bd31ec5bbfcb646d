//! Steps, runs, checkpoints, embedding.

mod adamw;
#[cfg(feature = "cect")]
mod batch;
mod checkpoint;
mod learning;
mod network;
mod resume;
mod step;
