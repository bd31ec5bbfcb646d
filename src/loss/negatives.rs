//! A random share of the negative classes.

use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, nn, no_grad_guard};

use super::gate::Labels;
use crate::{Error, Result, params};

/// How many of the classes that a batch does not show take part in its softmax.
///
/// The classes of the batch always do. With millions of classes a tenth of the others trains as well
/// at a tenth of the cost; only the rows drawn have a gradient. The draw depends on the seed and on
/// how often [`Loss::update`](super::Loss::update) has been called, nothing else: a draw stays until
/// then, and a checkpoint goes on where it was.
///
/// # References
/// X. An et al., *Partial FC: Training 10 Million Identities on a Single Machine*, ICCVW 2021,
/// [arXiv:2010.05222](https://arxiv.org/abs/2010.05222).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Negatives {
    /// The share of the negative classes, rounded up; in 0..=1, not 0. Default 1: all of them, the
    /// full loss. Partial FC uses 0.1.
    pub share: f64,
    /// Seed of the draws. Default 0; any will do.
    pub seed: u64,
}

impl Default for Negatives {
    fn default() -> Self {
        Self { share: 1.0, seed: 0 }
    }
}

impl Negatives {
    pub(super) fn validate(&self) -> Result<()> {
        if self.share > 0.0 && self.share <= 1.0 {
            return Ok(());
        }
        Err(Error::Config {
            field: "negatives.share",
            expected: "a number in 0..=1, not 0".into(),
            got: self.share.to_string(),
        })
    }
}

/// Draws classes; the count of draws is a buffer.
#[derive(Debug)]
pub(super) struct Sampler {
    negatives: Negatives,
    num_classes: usize,
    draws: Tensor,
}

/// The classes that take part, and what the labels are among them.
pub(super) struct Draw {
    /// Ascending, `[K]`.
    pub classes: Tensor,
    /// In `0..K`.
    pub labels: Labels,
}

impl Sampler {
    /// `None` where every class takes part.
    pub(super) fn init(path: &nn::Path<'_>, negatives: Negatives, num_classes: i64) -> Result<Option<Self>> {
        if negatives.share >= 1.0 {
            return Ok(None);
        }
        let num_classes = usize::try_from(num_classes).expect("the gate wants a positive number of classes");
        let draws = params::buffer(path, "draws", &[1], Kind::Int64)?;
        Ok(Some(Self { negatives, num_classes, draws }))
    }

    pub(super) fn draw(&self, labels: &Labels) -> Draw {
        let mut shown = labels.on_host.clone();
        shown.sort_unstable();
        shown.dedup();
        let others = self.num_classes - shown.len();
        let count = ((self.negatives.share * others as f64).ceil() as usize).min(others);
        let mut rng = ChaCha8Rng::seed_from_u64(self.negatives.seed);
        rng.set_stream(self.draws.int64_value(&[0]).cast_unsigned());
        let mut drawn = index::sample(&mut rng, others, count).into_vec();
        drawn.sort_unstable();
        let classes = merge(&shown, &drawn);
        let place = |label: &i64| classes.partition_point(|class| class < label) as i64;
        let device = labels.tensor.device();
        let labels = Labels::new(labels.on_host.iter().map(place).collect(), device);
        Draw { classes: Tensor::from_slice(&classes).to_device(device), labels }
    }

    /// The next draw will be another one.
    pub(super) fn advance(&mut self) {
        let _frozen = no_grad_guard();
        let _ = self.draws.g_add_scalar_(1);
    }
}

/// The classes shown, and of the others those with the ranks `drawn`; all ascending.
fn merge(shown: &[i64], drawn: &[usize]) -> Vec<i64> {
    let mut classes = Vec::with_capacity(shown.len() + drawn.len());
    let mut shown = shown.iter().copied().peekable();
    let mut before = 0;
    for &rank in drawn {
        while let Some(class) = shown.next_if(|&class| class <= rank as i64 + before) {
            classes.push(class);
            before += 1;
        }
        classes.push(rank as i64 + before);
    }
    classes.extend(shown);
    classes
}

/// The classes that take part in a batch.
#[derive(Debug)]
pub(super) enum Classes {
    All,
    /// Ascending.
    Drawn(Tensor),
}

impl Classes {
    /// What belongs to these classes, of a tensor with an entry for each class.
    pub(super) fn of(&self, all: &Tensor) -> Tensor {
        match self {
            Self::All => all.shallow_clone(),
            Self::Drawn(classes) => all.index_select(0, classes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::merge;

    #[test]
    fn ranks_skip_what_is_shown() {
        // Without 0, 3 and 4 the classes 0..8 are 1, 2, 5, 6, 7.
        assert_eq!(merge(&[0, 3, 4], &[0, 1, 2, 3, 4]), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(merge(&[0, 3, 4], &[1, 4]), [0, 2, 3, 4, 7]);
        assert_eq!(merge(&[0, 3, 4], &[]), [0, 3, 4]);
        assert_eq!(merge(&[], &[0, 2]), [0, 2]);
    }
}
