//! Class prototypes on the hypersphere: what LMCL, ArcFace and the normalized softmax share.

use tch::{Tensor, autocast, nn};

use super::{
    Negatives,
    chunked_head::ChunkedHead,
    functional::{NORM_FLOOR, cosine_similarity, l2_normalize, unit_rows},
    gate::{Batch, Gate, Labels},
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

    /// The batch, checked.
    pub(super) fn batch(&self, embeddings: &Tensor, labels: &Tensor) -> Result<Batch> {
        self.gate.batch(embeddings, labels, &self.weight)
    }

    /// The classes that a batch meets, and its labels among them.
    fn classes(&self, batch: &Batch) -> (Classes, Labels) {
        match &self.sampler {
            None => (Classes::All, batch.labels.shallow_clone()),
            Some(sampler) => {
                let Draw { classes, labels } = sampler.draw(&batch.labels);
                (Classes::Drawn(classes), labels)
            }
        }
    }

    pub(super) fn cosines(&self, batch: &Batch) -> Cosines {
        let (classes, labels) = self.classes(batch);
        let cosine = autocast(false, || cosine_similarity(&batch.embeddings, &classes.of(&self.weight)));
        Cosines { cosine, labels: labels.tensor }
    }

    /// Of the logits `scale · cos θ + bias`.
    pub(super) fn scores(&self, batch: &Batch, scale: f64, bias: Option<&Tensor>, gradient: GradientPath) -> Scores {
        let (classes, labels) = self.classes(batch);
        let unit = |rows: &Tensor, length: f64| match gradient {
            GradientPath::Plain => l2_normalize(rows, NORM_FLOOR) * length,
            GradientPath::BySize | GradientPath::ClosedForm => unit_rows(rows, length),
        };
        let features = unit(&batch.embeddings, scale);
        let rows = unit(&classes.of(&self.weight), 1.0);
        let bias = bias.map(|bias| classes.of(bias));
        Scores::of(&features, &rows, bias.as_ref(), labels, gradient)
    }

    /// The same logits, to be met in chunks.
    pub(super) fn chunked(&self, batch: &Batch, scale: f64, bias: Option<&Tensor>) -> ChunkedHead {
        let (classes, labels) = self.classes(batch);
        ChunkedHead::on_the_sphere(&batch.embeddings, scale, &self.weight, bias, classes, labels.tensor)
    }

    /// Cosines without labels, `[B, D]` → `[B, C]`.
    pub(super) fn similarity(&self, embeddings: &Tensor) -> Result<Tensor> {
        let embeddings = self.gate.embeddings(embeddings, &self.weight)?;
        Ok(autocast(false, || cosine_similarity(&embeddings, &self.weight)))
    }

    pub(super) fn advance(&mut self) {
        if let Some(sampler) = &mut self.sampler {
            sampler.advance();
        }
    }
}
