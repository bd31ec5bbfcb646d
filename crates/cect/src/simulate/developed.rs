//! What microscope and detector leave.

use rustfft::num_complex::Complex32;

use super::Subtomogram;
use crate::volume::{Pose, Volume};

/// A sample before its parts are added: signal in the real parts, noise in the imaginary ones, to be
/// multiplied by `scale`.
pub(crate) struct Developed<'a> {
    pub(super) voxels: &'a [Complex32],
    pub(super) scale: f32,
    pub(super) side: usize,
}

impl Developed<'_> {
    pub(crate) fn noisy(&self) -> Volume {
        Volume::from_finite(self.side, self.voxels.iter().map(|v| v.re + self.scale * v.im).collect())
    }

    pub(crate) fn parts(&self, pose: Pose) -> Subtomogram {
        let signal = self.voxels.iter().map(|v| v.re).collect();
        let noise = self.voxels.iter().map(|v| self.scale * v.im).collect();
        let (signal, noise) = (Volume::from_finite(self.side, signal), Volume::from_finite(self.side, noise));
        Subtomogram { signal, noise, pose }
    }
}
