//! How much of the classes is held at a time.

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::{Error, Result};

/// How much of the logits a head holds; it changes memory, time and the last bits of rounding, nothing else.
///
/// Classes are met a chunk at a time, forward and backward, so that the logits of a chunk stay in the processor's caches.
/// Logits that are kept from the forward to the backward save one of four matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chunks {
    /// Classes at a time, at least 1. Default: 2,048 on the CPU, 65,536 on a GPU.
    pub classes: Option<i64>,
    /// Up to so many bytes, the logits of all heads of the loss together are kept. Default 512 MiB.
    pub whole: usize,
    /// Beyond that, so many bytes of them are, and the others computed again. Default 128 MiB.
    pub keep: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { classes: None, whole: 512 << 20, keep: 128 << 20 }
    }
}

impl Chunks {
    pub(in super::super) fn validate(&self) -> Result<()> {
        match self.classes {
            Some(classes) if classes < 1 => Err(Error::config("chunks.classes", "at least 1", classes)),
            _ => Ok(()),
        }
    }

    pub(super) fn at_a_time(&self, device: Device) -> i64 {
        self.classes.unwrap_or(if device == Device::Cpu { 2048 } else { 1 << 16 })
    }

    /// Bytes of logits that one of so many heads may keep.
    pub(super) fn room(&self, features: &Tensor, classes: i64, heads: usize) -> usize {
        let bytes = features.size()[0] as usize * classes as usize * features.kind().elt_size_in_bytes();
        if bytes.saturating_mul(heads) <= self.whole { bytes } else { self.keep / heads }
    }
}
