//! Networks that one program trains and another uses.

use serde::{Deserialize, Serialize};
use soft_lmccl::Result;
use soft_lmccl::{
    model::{HalfTurnMean, Network, NetworkConfig},
    tch::{Tensor, nn, nn::ModuleT},
};

/// Where the network's variables are in its store.
pub const NETWORK: &str = "net";

/// How to make the network and what it wants to see, as its checkpoint says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    pub network: NetworkConfig,
    /// Side of a subtomogram in voxels.
    pub side: usize,
    /// Edge of a voxel in Angstrom, where it is known.
    pub voxel_size: Option<f64>,
    /// Whether an embedding is the mean over the half turns of a subtomogram.
    pub half_turns: bool,
}

impl Trained {
    /// Makes the network, with its variables where checkpoints have them.
    ///
    /// # Errors
    /// As [`NetworkConfig::init`].
    pub fn init(&self, vs: &nn::VarStore) -> Result<Embedder> {
        let net = self.network.init(&(vs.root() / NETWORK), self.side as i64)?;
        Ok(if self.half_turns { Embedder::HalfTurns(HalfTurnMean(net)) } else { Embedder::Once(net) })
    }
}

/// A network, asked as it should be.
#[derive(Debug)]
pub enum Embedder {
    Once(Network),
    HalfTurns(HalfTurnMean<Network>),
}

impl ModuleT for Embedder {
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        match self {
            Self::Once(net) => net.forward_t(volumes, train),
            Self::HalfTurns(net) => net.forward_t(volumes, train),
        }
    }
}
