//! Steps, runs, checkpoints, embedding.

mod checkpoint;
mod learning;
