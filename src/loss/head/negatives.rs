//! A random share of the negative classes.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, nn, no_grad_guard};

use crate::{
    Error, Result,
    loss::gate::{Labels, placed},
    params,
};

/// How many of the classes that a batch does not show take part in its softmax.
///
/// The classes of the batch always do. With millions of classes a tenth of the others trains as well
/// at a tenth of the cost; only the rows drawn have a gradient. The draw depends on the seed and on
/// how often [`Loss::update`](crate::loss::Loss::update) has been called, nothing else: a draw stays until
/// then, and a checkpoint goes on where it was.
///
/// # References
/// X. An et al., *Partial FC: Training 10 Million Identities on a Single Machine*, ICCVW 2021,
/// [arXiv:2010.05222](https://arxiv.org/abs/2010.05222).
#[doc(alias = "PartialFC")]
#[doc(alias = "Partial FC")]
#[doc(alias = "sample_rate")]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Negatives {
    /// The share of the negative classes, rounded up; in 0..=1, not 0. Default 1: all of them, the
    /// full loss. Partial FC uses 0.1.
    pub share: f64,
    /// Seed of the draws. Default 0; any will do.
    pub seed: u64,
    /// Whether the gradient of the rows is sparse: a step then takes time and memory for the rows drawn, not for all
    /// classes. Default false. [`train::AdamW`](crate::train::AdamW) takes such gradients and moves the rows drawn alone. So
    /// does SGD of tch without momentum and weight decay; a step of tch's other optimizers is an error.
    pub sparse: bool,
}

impl Default for Negatives {
    fn default() -> Self {
        Self { share: 1.0, seed: 0, sparse: false }
    }
}

impl Negatives {
    pub(in super::super) fn validate(&self) -> Result<()> {
        if self.share > 0.0 && self.share <= 1.0 {
            return Ok(());
        }
        Err(Error::config("negatives.share", "a number in 0..=1, not 0", self.share))
    }
}

/// Draws classes; the count of draws is a buffer, which stays on the host, where it is read without waiting for a device.
#[derive(Debug)]
pub(super) struct NegativeSampler {
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

impl NegativeSampler {
    /// `None` where every class takes part.
    pub(super) fn init(path: &nn::Path<'_>, negatives: Negatives, num_classes: i64) -> Result<Option<Self>> {
        if negatives.share >= 1.0 {
            return Ok(None);
        }
        let num_classes = usize::try_from(num_classes).expect("the gate wants a positive number of classes");
        let draws = params::host_buffer(path, "draws", &[1], Kind::Int64)?;
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
        let drawn = sample(&mut rng, others, count);
        let classes = merge(&shown, &drawn);
        let place = |label: &i64| classes.partition_point(|class| class < label) as i64;
        let device = labels.tensor.device();
        let labels = Labels::new(labels.on_host.iter().map(place).collect(), device);
        Draw { classes: placed(&classes, device), labels }
    }

    /// The next draw will be another one.
    pub(super) fn advance(&mut self) {
        let _frozen = no_grad_guard();
        let _ = self.draws.g_add_scalar_(1);
    }
}

/// The classes shown, and of the others those with the ranks `drawn`; all ascending.
fn merge(shown: &[i64], drawn: &[i64]) -> Vec<i64> {
    let mut classes = Vec::with_capacity(shown.len() + drawn.len());
    let mut shown = shown.iter().copied().peekable();
    let mut before = 0;
    for &rank in drawn {
        while let Some(class) = shown.next_if(|&class| class <= rank + before) {
            classes.push(class);
            before += 1;
        }
        classes.push(rank + before);
    }
    classes.extend(shown);
    classes
}

/// The rows of classes that have so many each.
pub(super) fn rows(classes: &Tensor, centers: i64) -> Tensor {
    (classes.unsqueeze(1) * centers + Tensor::arange(centers, (Kind::Int64, classes.device()))).view([-1])
}

/// So many of the numbers below `length`, ascending, every set as likely as any other.
///
/// Time and memory go by `count`, not by `length`: what is missing is drawn until enough differ.
fn sample(rng: &mut impl Rng, length: usize, count: usize) -> Vec<i64> {
    if count > length / 2 {
        let left_out = sample(rng, length, length - count);
        let mut left_out = left_out.iter().copied().peekable();
        return (0..length as i64).filter(|&number| left_out.next_if_eq(&number).is_none()).collect();
    }
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        let missing = count - drawn.len();
        drawn.extend((0..missing).map(|_| rng.random_range(0..length as i64)));
        drawn.sort_unstable();
        drawn.dedup();
    }
    drawn
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::{merge, sample};

    #[test]
    fn every_number_is_drawn_as_often_as_any_other() {
        const TIMES: usize = 4000;
        for (length, count) in [(5, 1), (5, 2), (5, 4), (5, 5), (40, 13), (7, 0)] {
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            let mut seen = vec![0usize; length];
            for _ in 0..TIMES {
                let drawn = sample(&mut rng, length, count);
                assert_eq!(drawn.len(), count);
                assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]), "{drawn:?}");
                drawn.iter().for_each(|&number| seen[number as usize] += 1);
            }
            // Six standard deviations of a binomial.
            let share = count as f64 / length as f64;
            let within = 6.0 * (TIMES as f64 * share * (1.0 - share)).sqrt();
            for seen in seen {
                assert!((seen as f64 - TIMES as f64 * share).abs() <= within, "{seen} of {TIMES} at {share}");
            }
        }
    }

    #[test]
    fn ranks_skip_what_is_shown() {
        // Without 0, 3 and 4 the classes 0..8 are 1, 2, 5, 6, 7.
        assert_eq!(merge(&[0, 3, 4], &[0, 1, 2, 3, 4]), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(merge(&[0, 3, 4], &[1, 4]), [0, 2, 3, 4, 7]);
        assert_eq!(merge(&[0, 3, 4], &[]), [0, 3, 4]);
        assert_eq!(merge(&[], &[0, 2]), [0, 2]);
    }
}
