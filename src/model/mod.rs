//! Example 3-D networks: `[B, 1, S, S, S]` subtomograms to `[B, D]` embeddings.
//!
//! The losses take embeddings from any network; these are the ones that the examples train.

mod compact_net;
mod layers;

pub use compact_net::{CompactNet, CompactNetConfig, compact_net};
