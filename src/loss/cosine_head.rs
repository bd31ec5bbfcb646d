//! Class prototypes on the hypersphere: what LMCL, ArcFace and the normalized softmax share.

use tch::{Tensor, autocast, nn};

use super::{
    Negatives,
    chunked_head::ChunkedHead,
    functional::{NORM_FLOOR, cosine_similarity, l2_normalize, unit_rows},
    gate::Gate,
    negatives::{Classes, Draw, Sampler},
    scores::{GradientPath, Scores},
};
use crate::{Result, params};

/// Trainable prototypes `weight: [C, D]`, compared with embeddings by their cosine.
#[derive(Debug)]
pub(super) struct CosineHead {
    gate: Gate,
    weight: Tensor,
    sampler: Option<Sampler>,
}

/// The cosines of a checked batch.
pub(super) struct Cosines {
    /// `[B, K]`.
    pub cosine: Tensor,
    /// `[B]`, in `0..K`, on the device of `cosine`.
    pub labels: Tensor,
}

/// A checked batch and the classes that it meets.
pub(super) struct Batch {
    /// `[B, D]`, in the kind of the prototypes.
    pub embeddings: Tensor,
    /// `[B]`, among `classes`.
    pub labels: Tensor,
    pub classes: Classes,
}

impl CosineHead {
    pub(super) fn init(path: &nn::Path<'_>, gate: Gate, negatives: Negatives) -> Result<Self> {
        let Gate { num_classes, embedding_dim } = gate;
        let init = params::glorot_uniform(num_classes, embedding_dim);
        // Decay would only change the prototypes' lengths, which no cosine sees.
        let decayless = path.set_group(params::NO_DECAY_GROUP);
        let weight = params::trainable(&decayless, "weight", &[num_classes, embedding_dim], init)?;
        let sampler = Sampler::init(path, negatives, num_classes)?;
        Ok(Self { gate, weight, sampler })
    }

    pub(super) fn num_classes(&self) -> i64 {
        self.gate.num_classes
    }

    pub(super) fn prototypes(&self) -> &Tensor {
        &self.weight
    }

    pub(super) fn batch(&self, embeddings: &Tensor, labels: &Tensor) -> Result<Batch> {
        let (embeddings, labels) = self.gate.batch(embeddings, labels, &self.weight)?;
        Ok(match &self.sampler {
            None => Batch { embeddings, labels, classes: Classes::All },
            Some(sampler) => {
                let Draw { classes, labels } = sampler.draw(&labels)?;
                Batch { embeddings, labels, classes: Classes::Drawn(classes) }
            }
        })
    }

    pub(super) fn cosines(&self, embeddings: &Tensor, labels: &Tensor) -> Result<Cosines> {
        let Batch { embeddings, labels, classes } = self.batch(embeddings, labels)?;
        let cosine = autocast(false, || cosine_similarity(&embeddings, &classes.of(&self.weight)));
        Ok(Cosines { cosine, labels })
    }

    /// Of the logits `scale · cos θ + bias`.
    pub(super) fn scores(
        &self,
        embeddings: &Tensor,
        labels: &Tensor,
        scale: f64,
        bias: Option<&Tensor>,
        gradient: GradientPath,
    ) -> Result<Scores> {
        let Batch { embeddings, labels, classes } = self.batch(embeddings, labels)?;
        let unit = |rows: &Tensor, length: f64| match gradient {
            GradientPath::Plain => l2_normalize(rows, NORM_FLOOR) * length,
            GradientPath::BySize | GradientPath::ClosedForm => unit_rows(rows, length),
        };
        let features = unit(&embeddings, scale);
        let rows = unit(&classes.of(&self.weight), 1.0);
        let bias = bias.map(|bias| classes.of(bias));
        Ok(Scores::of(&features, &rows, bias.as_ref(), labels, gradient))
    }

    /// The same logits, to be met in chunks.
    pub(super) fn chunked(
        &self,
        embeddings: &Tensor,
        labels: &Tensor,
        scale: f64,
        bias: Option<&Tensor>,
    ) -> Result<ChunkedHead> {
        let Batch { embeddings, labels, classes } = self.batch(embeddings, labels)?;
        Ok(ChunkedHead::on_the_sphere(&embeddings, scale, &self.weight, bias, classes, labels))
    }

    /// Cosines without labels, `[B, D]` → `[B, C]`.
    pub(super) fn similarity(&self, embeddings: &Tensor) -> Result<Tensor> {
        let embeddings = self.gate.embeddings(embeddings, &self.weight)?;
        Ok(autocast(false, || cosine_similarity(&embeddings, &self.weight)))
    }

    /// The labels alone, checked, for an `update` that has nothing to move.
    pub(super) fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.gate.batch(embeddings, labels, &self.weight).map(drop)
    }

    pub(super) fn advance(&mut self) {
        if let Some(sampler) = &mut self.sampler {
            sampler.advance();
        }
    }
}
