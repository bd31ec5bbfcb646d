//! How the logits are made: how many at a time, and of what numbers.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// How a head makes its logits; but for `products` it changes memory, time and the last bits of rounding, nothing else.
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
    /// Default [`Products::Whole`], which files do not name: those of runs from before there was a choice are the same.
    #[serde(skip_serializing_if = "Products::are_whole")]
    pub products: Products,
}

/// What the matrix products of a head multiply; they sum up in the precision of the head, single at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Products {
    /// The numbers as they are. libtorch can be told to round them to TF32 on a GPU, for the whole process, by
    /// `TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1` in the environment.
    #[default]
    Whole,
    /// In single-precision heads the numbers rounded to `bf16`, which has eight bits: a logit is off by up to `s/250`, a
    /// gradient by up to a hundredth of its size. For GPUs that multiply such numbers faster; a CPU gains nothing. A gradient
    /// under `create_graph` is of whole numbers.
    Bf16,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { classes: None, whole: 512 << 20, keep: 128 << 20, products: Products::Whole }
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

impl Products {
    fn are_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// `left·right`, where `out` says if it says so.
    pub(super) fn of(self, left: &Tensor, right: &Tensor, out: Option<&Tensor>) -> Tensor {
        if self == Self::Whole || left.kind() != Kind::Float {
            return match out {
                Some(out) => left.mm_out(out, right),
                None => left.mm(right),
            };
        }
        let [left, right] = [left, right].map(|numbers| numbers.to_kind(Kind::BFloat16));
        let product = match left.device() {
            // The product of two such numbers has a place in single precision.
            Device::Cpu => left.to_kind(Kind::Float).mm(&right.to_kind(Kind::Float)),
            _ => left.mm_dtype(&right, Kind::Float),
        };
        match out {
            Some(out) => {
                out.shallow_clone().copy_(&product);
                out.shallow_clone()
            }
            None => product,
        }
    }
}
