//! What a network needs to be loaded again.

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn, nn::ModuleT};

use super::{HalfTurnMean, Network, NetworkConfig};
#[cfg(doc)]
use crate::Error;
use crate::Result;

/// How to make a trained network and what it wants to see: what its checkpoint says, so that another program can load it.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{model::{NetworkConfig, Trained}, tch::{Device, nn}};
/// use soft_lmccl::train::checkpoint::{self, Meta, Origin};
///
/// # let path = std::env::temp_dir().join(format!("soft-lmccl-trained-{}.safetensors", std::process::id()));
/// let network = NetworkConfig::default().with_embedding_dim(8);
/// let trained = Trained { network, side: 8, voxel_size: Some(13.48), half_turns: true };
/// let vs = nn::VarStore::new(Device::Cpu);
/// let _net = trained.init(&vs)?; // and then it is trained
/// let meta = Meta { config: trained.clone(), classes: vec![] };
/// checkpoint::save_of(&path, &vs, &meta, &Origin::default().network(&trained)?)?;
///
/// let found: Trained = checkpoint::describe(&path)?.config;
/// let mut vs = nn::VarStore::new(Device::Cpu);
/// let _net = found.init(&vs)?;
/// checkpoint::load_network(&path, &mut vs, Trained::PATH, &found)?;
/// # std::fs::remove_file(&path).ok();
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// The network, by name.
    pub network: NetworkConfig,
    /// Side of a subtomogram in voxels.
    pub side: usize,
    /// Edge of a voxel in Å, where it is known.
    pub voxel_size: Option<f64>,
    /// Whether an embedding is the mean over the half turns of a subtomogram.
    pub half_turns: bool,
}

impl Trained {
    /// Where the variables of the network are in its store.
    pub const PATH: &'static str = "net";

    /// Makes the network, with its variables at [`PATH`](Self::PATH).
    ///
    /// # Errors
    /// As [`NetworkConfig::init`]; [`Error::Config`] for a side that no number of libtorch's is.
    pub fn init(&self, vs: &nn::VarStore) -> Result<Embedder> {
        let net = self.network.init(&(vs.root() / Self::PATH), i64::try_from(self.side).unwrap_or(i64::MAX))?;
        Ok(if self.half_turns { Embedder::HalfTurns(HalfTurnMean(net)) } else { Embedder::Once(net) })
    }
}

/// A network, asked as often as it should be.
///
/// # Shapes
/// `[B, 1, side, side, side]` → `[B, embedding_dim]`.
#[derive(Debug)]
pub enum Embedder {
    /// The volume as it is.
    Once(Network),
    /// The volume and its half turns.
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
