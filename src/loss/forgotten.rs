//! Centers that stay where they are because nobody moves them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tch::Tensor;

use crate::notice::notice;

/// After so many evaluations for training, an update has been forgotten rather than put off.
const MANY: u32 = 100;

/// Counts evaluations for training since the last update.
#[derive(Debug, Default)]
pub(super) struct SinceUpdate {
    evaluations: AtomicU32,
    said: AtomicBool,
}

impl SinceUpdate {
    /// An evaluation whose value is `term`: one without a gradient trains nothing.
    pub(super) fn evaluated(&self, term: &Tensor) {
        if !term.requires_grad() {
            return;
        }
        let evaluations = self.evaluations.fetch_add(1, Ordering::Relaxed) + 1;
        if evaluations == MANY && !self.said.swap(true, Ordering::Relaxed) {
            notice(&format!(
                "the center loss was evaluated {MANY} times with a gradient and never updated: its centers stand still; \
                 call `Loss::update` after `backward`, or `train::backward_step`, which does"
            ));
        }
    }

    pub(super) fn updated(&mut self) {
        *self.evaluations.get_mut() = 0;
    }
}
