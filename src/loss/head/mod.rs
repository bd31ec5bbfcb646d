//! A softmax over classes with its variables: what every head is, whatever its margin.

mod chunks;
mod negatives;
mod odds;
mod part;
mod targets;
mod unit;

use tch::{Tensor, autocast, nn};

pub use chunks::{Chunks, Products};
use negatives::NegativeSampler;
pub use negatives::Negatives;
use odds::{Logits, Odds};
pub use targets::Targets;

use super::{
    Reduction,
    functional::{cosine_similarity, linear_logits},
    gate::{CheckedBatch, Gate},
};
use crate::{
    Error, Result,
    distributed::{Classes, Part},
    params,
};

/// What a head is made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadConfig {
    /// `s` of prototypes on the hypersphere; none of a linear head.
    pub scale: Option<f64>,
    /// Prototypes of a class.
    pub centers: i64,
    pub bias: bool,
    pub reduction: Reduction,
    pub negatives: Negatives,
    pub targets: Targets,
    pub chunks: Chunks,
}

impl HeadConfig {
    pub(super) fn validate(&self) -> Result<()> {
        if let Some(scale) = self.scale {
            super::gate::require_scale(scale)?;
        }
        let most = if self.bias { 1 } else { 1000 };
        if !(1..=most).contains(&self.centers) {
            let expected = if self.bias { "1 in a head with a bias".to_owned() } else { format!("1 to {most}") };
            return Err(Error::config("subcenters", expected, self.centers));
        }
        self.negatives.validate()?;
        self.targets.validate()?;
        self.chunks.validate()
    }

    /// Trainable `weight: [C·centers, D]`, under weight decay for a linear head, and `bias: [C]` if there is one.
    pub(super) fn init(self, path: &nn::Path<'_>, classes: impl Into<Classes>, embedding_dim: i64) -> Result<Head> {
        self.validate()?;
        let classes = classes.into();
        let num_classes = classes.number();
        let gate = Gate::new(num_classes, 2, embedding_dim)?.ignoring(self.targets.ignore);
        // Decay would only change the prototypes' lengths, which no cosine sees.
        let group = if self.scale.is_some() { params::NO_DECAY_GROUP } else { params::DECAY_GROUP };
        let init = params::glorot_uniform(num_classes, embedding_dim);
        let (part, held) = (classes.part(), classes.held());
        let dims = [num_classes, self.centers, embedding_dim];
        let weight = params::rows(&path.set_group(group), "weight", dims, held.clone(), init)?;
        let bias = params::bias(path, self.bias, held.end - held.start)?;
        let sampler = NegativeSampler::init(path, self.negatives, num_classes)?;
        Ok(Head { config: self, gate, weight, bias, sampler, class_weights: None, part })
    }
}

#[derive(Debug)]
pub(super) struct Head {
    config: HeadConfig,
    gate: Gate,
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    sampler: Option<NegativeSampler>,
    /// `[C]`.
    class_weights: Option<Tensor>,
    /// The classes held, where the others are held by other ranks.
    part: Option<Part>,
}

/// What cross entropies of a batch are made of, with and without a margin.
#[derive(Debug)]
pub(super) struct ClassScores {
    odds: Odds,
    /// `w_y`, `[B]`.
    weights: Option<Tensor>,
    /// `u_y`, `[B]`, and `Σ_j u_j`.
    shares: Option<(Tensor, Tensor)>,
}

impl Head {
    pub(super) fn num_classes(&self) -> i64 {
        self.gate.num_classes
    }

    /// Gives every class a weight, as [`Targets`] says: the buffer `class_weights` under `path`.
    pub(super) fn set_class_weights(&mut self, path: &nn::Path<'_>, weights: &[f64]) -> Result<()> {
        let fits = weights.len() as i64 == self.gate.num_classes;
        if !fits || !weights.iter().all(|weight| weight.is_finite() && *weight > 0.0) {
            let expected = format!("{} finite numbers > 0, one for each class", self.gate.num_classes);
            return Err(Error::config("class_weights", expected, format!("{} numbers", weights.len())));
        }
        let kind = params::at_least_single(path.kind());
        let mut buffer = params::buffer(path, "class_weights", &[self.gate.num_classes], kind)?;
        buffer.copy_(&Tensor::from_slice(weights));
        self.class_weights = Some(buffer);
        Ok(())
    }

    /// What it has of variables, each with a name for messages.
    pub(super) fn variables(&self, head: &str) -> Vec<(String, Tensor)> {
        let variables = [
            ("weight", Some(&self.weight)),
            ("bias", self.bias.as_ref()),
            ("class_weights", self.class_weights.as_ref()),
        ];
        let named =
            |(name, variable): (&str, Option<&Tensor>)| Some((format!("{head}.{name}"), variable?.shallow_clone()));
        variables.into_iter().filter_map(named).collect()
    }

    /// The batch, checked, without the samples to ignore.
    pub(super) fn batch(&self, embeddings: &Tensor, labels: &Tensor) -> Result<CheckedBatch> {
        self.gate.batch(embeddings, labels, &self.weight)
    }

    /// One pass over the classes. `heads` of the loss share the room for logits.
    pub(super) fn scores(&self, batch: &CheckedBatch, heads: usize) -> Result<ClassScores> {
        self.scores_with(batch, heads, self.bias.as_ref())
    }

    /// The scores with another bias, or with none.
    pub(super) fn scores_with(&self, batch: &CheckedBatch, heads: usize, bias: Option<&Tensor>) -> Result<ClassScores> {
        let HeadConfig { scale, centers, negatives, targets, chunks, .. } = self.config;
        let kind = params::at_least_single(self.weight.kind());
        let weights = self.class_weights.as_ref().map(|weights| weights.to_kind(kind));
        let drawn = self.sampler.as_ref().map(|sampler| sampler.draw(&batch.labels));
        let held = self.held(batch, drawn.as_ref().map(|draw| &draw.classes))?;
        let (rows, bias, weights, labels) = match &drawn {
            None => (self.weight.shallow_clone(), bias.map(Tensor::shallow_clone), weights, &batch.labels),
            Some(draw) => {
                let drawn = held.rows_drawn(&draw.classes);
                let of = |all: &Tensor| rows_of(all, &drawn, negatives.sparse);
                let rows = match centers {
                    1 => of(&self.weight),
                    _ => rows_of(&self.weight, &negatives::rows(&drawn, centers), negatives.sparse),
                };
                (rows, bias.map(of), weights.map(|all| all.index_select(0, &draw.classes)), &draw.labels)
            }
        };
        let classes = held.classes;
        let shares = (targets.smoothing > 0.0).then(|| match &weights {
            Some(weights) => weights / classes as f64,
            None => Tensor::full([classes], 1.0 / classes as f64, (kind, rows.device())),
        });
        let of_labels = |all: &Tensor| all.index_select(0, &labels.tensor);
        let weights = weights.as_ref().map(of_labels);
        let own_shares = shares.as_ref().map(|all| (of_labels(all), all.sum(all.kind())));
        let logits = Logits { scale, centers, chunks, heads, shares };
        // A store that was cast as a whole has its heads in half precision.
        let single = |tensor: &Tensor| tensor.to_kind(params::at_least_single(tensor.kind()));
        let (features, rows, bias) = (single(&batch.embeddings), single(&rows), bias.as_ref().map(single));
        let odds = held.odds(logits, &features, &rows, bias.as_ref(), labels)?;
        Ok(ClassScores { odds, weights, shares: own_shares })
    }

    /// The cross entropy, with `margin` applied to the logits of the true classes, `[B]`.
    pub(super) fn cross_entropy(&self, scores: &ClassScores, margin: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        autocast(false, || {
            let HeadConfig { reduction, targets, .. } = self.config;
            let own = margin(&scores.odds.own);
            targets.cross_entropy(&own, scores, reduction)
        })
    }

    /// Logits without labels and margin, `[B, D]` → `[B, C]`.
    pub(super) fn logits(&self, embeddings: &Tensor) -> Result<Tensor> {
        let embeddings = self.gate.embeddings(embeddings, &self.weight)?;
        let HeadConfig { scale, centers, .. } = self.config;
        self.of_all_classes(autocast(false, || match scale {
            None => linear_logits(&embeddings, &self.weight, self.bias.as_ref()),
            Some(scale) => {
                let cosine = cosine_similarity(&embeddings, &self.weight);
                let best = cosine.view([cosine.size()[0], -1, centers]).amax([2i64].as_slice(), false);
                match &self.bias {
                    Some(bias) => best * scale + bias,
                    None => best * scale,
                }
            }
        }))
    }

    /// Draws other negatives from now on, if it draws any.
    pub(super) fn advance(&mut self) {
        if let Some(sampler) = &mut self.sampler {
            sampler.advance();
        }
    }
}

/// Some rows, in the graph; their gradient holds those rows alone if it is to be sparse.
fn rows_of(all: &Tensor, rows: &Tensor, sparse: bool) -> Tensor {
    match sparse && all.size().len() == 2 {
        true => Tensor::embedding(all, rows, -1, false, true),
        false => all.index_select(0, rows),
    }
}
