//! Class prototypes on the hypersphere: what LMCL, ArcFace and the normalized softmax share.

use tch::{Tensor, nn};

use super::{functional::cosine_similarity, gate::Gate};
use crate::{Result, params};

/// Trainable prototypes `weight: [C, D]`, compared with embeddings by their cosine.
#[derive(Debug)]
pub(super) struct CosineHead {
    gate: Gate,
    weight: Tensor,
}

/// The cosines of a checked batch.
pub(super) struct Cosines {
    /// `[B, C]`.
    pub cosine: Tensor,
    /// `[B]`, on the device of `cosine`.
    pub labels: Tensor,
}

impl CosineHead {
    pub(super) fn init(path: &nn::Path<'_>, gate: Gate) -> Result<Self> {
        let Gate { num_classes, embedding_dim } = gate;
        let init = params::glorot_uniform(num_classes, embedding_dim);
        // Decay would only change the prototypes' lengths, which no cosine sees.
        let path = path.set_group(params::NO_DECAY_GROUP);
        let weight = params::trainable(&path, "weight", &[num_classes, embedding_dim], init)?;
        Ok(Self { gate, weight })
    }

    pub(super) fn num_classes(&self) -> i64 {
        self.gate.num_classes
    }

    pub(super) fn prototypes(&self) -> &Tensor {
        &self.weight
    }

    pub(super) fn cosines(&self, embeddings: &Tensor, labels: &Tensor) -> Result<Cosines> {
        let (embeddings, labels) = self.gate.batch(embeddings, labels, &self.weight)?;
        Ok(Cosines { cosine: cosine_similarity(&embeddings, &self.weight), labels })
    }

    /// Cosines without labels, `[B, D]` → `[B, C]`.
    pub(super) fn similarity(&self, embeddings: &Tensor) -> Result<Tensor> {
        let embeddings = self.gate.embeddings(embeddings, &self.weight)?;
        Ok(cosine_similarity(&embeddings, &self.weight))
    }

    /// The labels alone, checked, for an `update` that has nothing to move.
    pub(super) fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.gate.batch(embeddings, labels, &self.weight).map(drop)
    }
}
