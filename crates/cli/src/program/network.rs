//! The network that a program was told, or the one that it comes with.

use std::path::Path;

use anyhow::{Result, anyhow};
use soft_lmccl::{
    model::{Embedder, Pretrained, Trained, pretrained},
    tch::{Device, Tensor, nn, nn::ModuleT},
    train::Weights,
    train::checkpoint,
};

/// A network with its weights.
#[derive(Debug)]
pub enum ShippedOr {
    Shipped(Pretrained),
    Given { trained: Trained, net: Embedder },
}

impl ShippedOr {
    /// # Errors
    /// As reading the file.
    pub fn open(file: Option<&Path>, device: Device) -> Result<Self> {
        let Some(path) = file else { return Ok(Self::Shipped(pretrained(device)?)) };
        let trained: Trained = checkpoint::describe(path)?.config;
        let mut vs = nn::VarStore::new(device);
        let net = trained.init(&vs)?;
        // One that was kept in half precision is as good as any.
        Weights::of(path).part(Trained::PATH).convert(true).load(&mut vs)?;
        Ok(Self::Given { trained, net })
    }

    pub fn trained(&self) -> &Trained {
        match self {
            Self::Shipped(network) => network.trained(),
            Self::Given { trained, .. } => trained,
        }
    }

    /// Edge in Å of the voxels that it was trained on.
    ///
    /// # Errors
    /// Where its file does not say.
    pub fn voxel_size(&self) -> Result<f64> {
        self.trained()
            .voxel_size
            .ok_or_else(|| anyhow!("the network's file does not say on voxels of which size it was trained"))
    }
}

impl ModuleT for ShippedOr {
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        match self {
            Self::Shipped(network) => network.forward_t(volumes, train),
            Self::Given { net, .. } => net.forward_t(volumes, train),
        }
    }
}
