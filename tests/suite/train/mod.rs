//! Steps, runs, checkpoints, embedding.

mod checkpoint;
mod learning;
mod network;
mod step;
