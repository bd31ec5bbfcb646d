//! What a head is asked for: smoothed, weighted, in part.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::ClassScores;
use crate::{Error, Result, loss::Reduction};

/// What a cross entropy aims at.
///
/// # Formula
/// With `p` the softmax of the logits, margin included, `w` the class weights (1 if none are set) and `ε` the smoothing
/// ```text
/// lᵢ = − (1 − ε)·w[yᵢ]·ln p[i,yᵢ] − ε/C · Σⱼ w[j]·ln p[i,j]          mean: Σ lᵢ / Σ w[yᵢ]
/// ```
/// over the samples whose label is not to be ignored; with sampled negatives `C` counts the classes that take part.
///
/// # References
/// C. Szegedy et al., *Rethinking the Inception Architecture*, CVPR 2016, section 7. Sibling: PyTorch's
/// `cross_entropy(weight, ignore_index, label_smoothing)`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Targets {
    /// `ε` in 0..1, the part of the target that all classes share. Default 0 (PyTorch); Szegedy et al. use 0.1.
    pub smoothing: f64,
    /// The label of samples that give no term and move no center. Default: none; PyTorch ignores −100.
    pub ignore: Option<i64>,
}

impl Targets {
    pub(in super::super) fn validate(&self) -> Result<()> {
        if (0.0..1.0).contains(&self.smoothing) {
            return Ok(());
        }
        Err(Error::config("targets.smoothing", "a number in 0..1", self.smoothing))
    }

    /// Of the logits of the true classes, `[B]`, margin included.
    pub(super) fn cross_entropy(self, own: &Tensor, scores: &ClassScores, reduction: Reduction) -> Tensor {
        let ClassScores { odds, weights, shares } = scores;
        let hits = (own - &odds.others).log_sigmoid();
        let weighted = match weights {
            Some(weights) => &hits * weights,
            None => hits.shallow_clone(),
        };
        let hits = match (shares, &odds.shared) {
            // Σⱼ uⱼ·ln p[j] = Σⱼ uⱼ·z[j] − lse·Σⱼ uⱼ, and the lse of all is z[y] − ln p[y].
            (Some((own_shares, all_shares)), Some(shared)) => {
                let all = shared + own_shares * own - (own - hits) * all_shares;
                weighted * (1.0 - self.smoothing) + all * self.smoothing
            }
            _ => weighted,
        };
        let total = match (reduction, weights) {
            (Reduction::Mean, None) => hits.mean(hits.kind()),
            (Reduction::Mean, Some(weights)) => hits.sum(hits.kind()) / weights.sum(weights.kind()),
            (Reduction::Sum, _) => hits.sum(hits.kind()),
        };
        -total
    }
}
