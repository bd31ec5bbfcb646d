//! Steps, runs, checkpoints, embedding.

mod adamw;
mod checkpoint;
mod learning;
mod network;
mod resume;
mod step;
