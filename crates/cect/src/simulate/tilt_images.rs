//! Weighted back-projection of a simulated tilt series.

use std::{f64::consts::PI, sync::Arc};

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use rustfft::{Fft, FftPlanner, num_complex::Complex32};
use serde::{Deserialize, Serialize};

use super::{NoiseColor, SimulationConfig};
use crate::{Error, Result, volume::fourier::transpose};

/// Columns of an image per voxel: between them values are interpolated, and halves leave less to undo.
const FINER: usize = 2;
/// Sides that an image is wide: a turned cube is 1.42 sides wide, and a CTF spreads what it holds.
const WIDER: usize = 2;
/// Mean free path of electrons of 300 kV between inelastic collisions in ice, in nm.
const MEAN_FREE_PATH: f64 = 395.0;
/// Below this part of the Nyquist frequency a deconvolution takes no signal for given.
const HIGH_PASS: f64 = 0.02;

/// How each image of a tilt series is corrected for its CTF `c` before it is back-projected.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum CtfCorrection {
    /// Not at all.
    #[default]
    None,
    /// Times the sign of `c`.
    PhaseFlip,
    /// Times `c`.
    Premultiply,
    /// The Wiener-like filter of Warp and IsoNet, with `f` a part of the Nyquist frequency and `a` the voxel in Å:
    ///
    /// ```text
    /// c / (c² + 1/SNR(f))      SNR(f) = 10^(3·strength) · exp(−100·falloff·f / a) · (1 − cos(π·min(1, f / 0.02)))
    /// ```
    Deconvolve {
        /// 1 in Warp and IsoNet.
        strength: f64,
        /// 1 in IsoNet's manual; 1 to 1.2 in the function's own text.
        falloff: f64,
    },
}

impl CtfCorrection {
    /// What an image is multiplied by at a frequency in cycles per voxel where the CTF is thought to be `ctf`, negative
    /// where protein is dark, so that protein stays dark.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::CtfCorrection;
    ///
    /// assert_eq!(CtfCorrection::PhaseFlip.factor(0.7, 0.1, 10.0), -1.0);
    /// assert_eq!(CtfCorrection::Premultiply.factor(-0.7, 0.1, 10.0), 0.7);
    /// // f = 0.2 of Nyquist: 1000 · exp(−2) · 2 = 270.67 is the SNR.
    /// let deconvolve = CtfCorrection::Deconvolve { strength: 1.0, falloff: 1.0 };
    /// assert!((deconvolve.factor(-0.5, 0.1, 10.0) - 0.5 / (0.25 + 1.0 / 270.67)).abs() < 1e-4);
    /// ```
    pub fn factor(self, ctf: f64, frequency: f64, voxel_size: f64) -> f64 {
        match self {
            Self::None => 1.0,
            Self::PhaseFlip => {
                if ctf > 0.0 {
                    -1.0
                } else {
                    1.0
                }
            }
            Self::Premultiply => -ctf,
            Self::Deconvolve { strength, falloff } => {
                let nyquist = 2.0 * frequency;
                let passed = 1.0 - (PI * (nyquist / HIGH_PASS).min(1.0)).cos();
                let snr = 10f64.powf(3.0 * strength) * (-100.0 * falloff * nyquist / voxel_size).exp() * passed;
                // Without a division by an SNR of 0.
                -ctf * snr / (ctf * ctf * snr + 1.0)
            }
        }
    }
}

/// A tilt series that is projected image by image and back-projected, in place of a mask in Fourier space.
///
/// # Formula
/// ```text
/// volume(x, y, z) = Σₜ (wₜ ∗ imageₜ)(x cos θₜ + z sin θₜ, y)
/// imageₜ(k) = cₜ(k)·qₜ(k)·exp(−2πi k·dₜ)·projectionₜ(k) + nₜ(k)      wₜ(k) = corrₜ(k)·max(Δθ·|k_u|, 1/(tilts·side))
/// ```
/// with `c` the CTF at `underfocus + offset·sin θ`, where `offset` is the sample's distance from the tilt axis, `q` the
/// radiation damage of [`SimulationConfig::transmission`], `d` the error of alignment and `n` noise whose variance
/// grows as `exp(thickness / (395 nm·cos θ))`, since that part of the electrons is lost to an energy filter. An error
/// of alignment takes `exp(−2π² σ² k²)` of the signal on the mean.
///
/// [`NoiseColor::White`] is noise of the detector, not behind the CTF; [`NoiseColor::ThroughOptics`] noise of the
/// specimen, before it; [`NoiseColor::HalfHalf`] half of the variance each in an image at 0°.
///
/// # References
/// W. J. Rice et al., *Routine determination of ice thickness for cryo-EM grids*, J. Struct. Biol. 204:38–44, 2018: the
/// mean free path. `tom_deconv` of D. Tegunov (Warp), which IsoNet took over: the deconvolution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TiltImages {
    /// Default [`CtfCorrection::None`].
    pub correction: CtfCorrection,
    /// Particles lie within this distance of the tilt axis, in µm, either way. Default 0.3, a fairly wide field of view.
    pub off_axis: f64,
    /// Standard deviation of the defocus that the correction takes for given, in µm, drawn for each tilt. Default 0.
    pub defocus_error: f64,
    /// Standard deviation of the error of alignment along either axis of an image, in voxels, drawn for each tilt.
    /// Default 0.
    pub alignment_error: f64,
    /// Thickness of the specimen at 0° in nm. Default 0, noise that is the same at every tilt.
    pub thickness: f64,
}

impl Default for TiltImages {
    fn default() -> Self {
        let correction = CtfCorrection::None;
        Self { correction, off_axis: 0.3, defocus_error: 0.0, alignment_error: 0.0, thickness: 0.0 }
    }
}

impl TiltImages {
    pub(super) fn validate(&self, config: &SimulationConfig) -> Result<()> {
        let Self { correction, off_axis, defocus_error, alignment_error, thickness } = *self;
        let within = |field, value: f64, [least, most]: [f64; 2], unit: &str| {
            let fits = (least..=most).contains(&value);
            if fits { Ok(()) } else { Err(Error::config(field, format!("{least} to {most} {unit}"), value)) }
        };
        within("off_axis", off_axis, [0.0, 5.0], "µm")?;
        within("defocus_error", defocus_error, [0.0, 5.0], "µm")?;
        within("alignment_error", alignment_error, [0.0, 8.0], "voxels")?;
        within("thickness", thickness, [0.0, 1000.0], "nm")?;
        if let CtfCorrection::Deconvolve { strength, falloff } = correction {
            within("strength", strength, [0.0, 5.0], "of a deconvolution")?;
            within("falloff", falloff, [0.0, 10.0], "of a deconvolution")?;
        }
        if config.tilt_step.is_none() {
            return Err(Error::config("tilt_step", "degrees between the images of `tilt_images`", "none"));
        }
        if config.phase_flip {
            return Err(Error::config("phase_flip", "false where `tilt_images` says the correction", true));
        }
        match config.noise {
            NoiseColor::ThroughOptics | NoiseColor::White | NoiseColor::HalfHalf => Ok(()),
            other => {
                let got = format!("{other:?}");
                Err(Error::config("noise", "through_optics, white or half_half with `tilt_images`", got))
            }
        }
    }
}

impl SimulationConfig {
    /// As RELION 5 makes pseudo-subtomograms: 41 tilts to ±60° of 3 electrons per Å², amplitude contrast 0.1, images
    /// multiplied by their CTF before they are put together (RELION's tutorial of subtomogram averaging, EMPIAR-10164,
    /// 3 µm). Thickness 150 nm, alignment to 0.3 voxels and defocus to 0.1 µm are choices, no figures of RELION.
    pub fn relion_like() -> Self {
        Self::reconstructed(CtfCorrection::Premultiply, 0.1, 3.0)
    }

    /// Subtomograms of a tomogram that Warp's deconvolution filtered, at its defaults: strength 1, falloff 1; amplitude
    /// contrast 0.07. The tilt series, thickness and errors are those of [`relion_like`](Self::relion_like).
    pub fn warp_like() -> Self {
        Self::reconstructed(CtfCorrection::Deconvolve { strength: 1.0, falloff: 1.0 }, 0.07, 3.0)
    }

    fn reconstructed(correction: CtfCorrection, amplitude_contrast: f64, underfocus: f64) -> Self {
        let errors = TiltImages { defocus_error: 0.1, alignment_error: 0.3, thickness: 150.0, ..Default::default() };
        Self {
            underfocus,
            amplitude_contrast,
            tilt_step: Some(3.0),
            tilt_dose: 3.0,
            noise: NoiseColor::HalfHalf,
            tilt_images: Some(TiltImages { correction, ..errors }),
            ..Self::default()
        }
    }
}

/// Transforms of the images of one configuration.
pub(super) struct Reconstruction {
    config: SimulationConfig,
    images: TiltImages,
    /// Sine and cosine of each tilt, and the electrons per Å² taken up to its middle.
    tilts: Vec<[f64; 3]>,
    along: [Arc<dyn Fft<f32>>; 2],
    across: [Arc<dyn Fft<f32>>; 2],
}

impl std::fmt::Debug for Reconstruction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconstruction").field("images", &self.images).finish_non_exhaustive()
    }
}

impl Reconstruction {
    pub(super) fn of(config: &SimulationConfig) -> Option<Self> {
        let mut planner = FftPlanner::new();
        let (width, side) = (FINER * WIDER * config.side, config.side);
        let tilt = |(tilt, exposure): (f64, f64)| {
            let (sine, cosine) = tilt.to_radians().sin_cos();
            [sine, cosine, exposure]
        };
        config.tilt_images.map(|images| Self {
            config: *config,
            images,
            tilts: config.tilts().into_iter().map(tilt).collect(),
            along: [planner.plan_fft_forward(width), planner.plan_fft_inverse(width)],
            across: [planner.plan_fft_forward(side), planner.plan_fft_inverse(side)],
        })
    }

    /// Takes the density in the real parts to what is reconstructed of it, and with `rng` noise into the imaginary parts;
    /// without, there is neither noise nor error.
    pub(super) fn develop(&self, voxels: &mut [Complex32], underfocus: f64, mut rng: Option<&mut impl Rng>) {
        let Self { config, images, .. } = self;
        let (side, width) = (config.side, FINER * WIDER * config.side);
        let normal = |rng: &mut Option<&mut _>| rng.as_mut().map_or(0.0, |rng| StandardNormal.sample(*rng));
        let offset = match &mut rng {
            Some(rng) => rng.random_range(-images.off_axis..=images.off_axis),
            None => 0.0,
        };
        // An image holds this much more of the specimen's noise than of one voxel's, so that both halves are alike.
        let [specimen, detector] = match config.noise {
            NoiseColor::White => [0.0, 1.0],
            NoiseColor::HalfHalf => [1.0, (side as f64).sqrt()],
            _ => [1.0, 0.0],
        };
        if rng.is_some() && specimen > 0.0 {
            voxels.iter_mut().for_each(|voxel| voxel.im = normal(&mut rng) as f32);
        }
        let density = voxels.to_vec();
        voxels.fill(Complex32::default());
        let (mut image, mut noise) = (vec![Complex32::default(); side * width], Vec::new());
        let mut turned = image.clone();
        for &[sine, cosine, exposure] in &self.tilts {
            let true_defocus = underfocus + offset * sine;
            let taken_defocus = true_defocus + images.defocus_error * normal(&mut rng);
            let [dy, du] = [(); 2].map(|()| images.alignment_error * normal(&mut rng));
            image.fill(Complex32::default());
            self.each_voxel(sine, cosine, |voxel, column, share| {
                // Per voxel of width, so that the sum over columns of half a voxel is the integral.
                let value = density[voxel] * FINER as f32;
                image[column] += value * (1.0 - share);
                image[column + 1] += value * share;
            });
            self.transform(&mut image, &mut turned);
            noise.clear();
            if rng.is_some() && detector > 0.0 {
                let lost = (images.thickness / MEAN_FREE_PATH / cosine.max(1e-3)).min(20.0);
                let deviation = detector * (lost / 2.0).exp() * (FINER as f64).sqrt();
                noise.resize_with(image.len(), || Complex32::new(0.0, (deviation * normal(&mut rng)) as f32));
                self.transform(&mut noise, &mut turned);
            }
            for (entry, value) in image.iter_mut().enumerate() {
                let [u, v] = [entry / side, entry % side];
                let signed = |index: usize, count: usize| {
                    if 2 * index > count { index as f64 - count as f64 } else { index as f64 }
                };
                let (ku, kv) = (signed(u, width) / (WIDER * side) as f64, signed(v, side) / side as f64);
                if ku.abs() >= 0.5 {
                    *value = Complex32::default();
                    continue;
                }
                let k = ku.hypot(kv);
                let ctf = config.contrast_transfer_at(true_defocus, k);
                let taken = config.contrast_transfer_at(taken_defocus, k);
                let envelope = (-(k / config.envelope).powi(2)).exp();
                let correction = images.correction.factor(taken / envelope.max(1e-30), k, config.voxel_size);
                let ramp = (self.step() * ku.abs()).max(1.0 / (self.tilts.len() * side) as f64);
                // Sharing between two columns, once, costs the square of a sinc.
                let shared = PI * ku / FINER as f64;
                let shared = if shared.abs() < 1e-9 { 1.0 } else { (shared.sin() / shared).powi(2) };
                let scale = correction * ramp / shared / (side * width) as f64;
                // A shift of half an entry would not stay real at the highest frequency of an even side.
                let along_y = if 2 * v == side { 0.0 } else { kv * dy };
                let phase = -2.0 * PI * (ku * du + along_y);
                let passed = scale * ctf * config.undamaged(k, exposure) / shared;
                *value *= Complex32::new((passed * phase.cos()) as f32, (passed * phase.sin()) as f32);
                if let Some(noise) = noise.get(entry) {
                    *value += *noise * scale as f32;
                }
            }
            self.transform_back(&mut image, &mut turned);
            self.each_voxel(sine, cosine, |voxel, column, share| {
                voxels[voxel] += image[column] * (1.0 - share) + image[column + 1] * share;
            });
        }
    }

    /// Radians between tilts.
    fn step(&self) -> f64 {
        self.config.tilt_step.unwrap_or_default().to_radians()
    }

    /// Each voxel with the column that it is seen in, in an image `[y][u]`, and how far it is beyond it.
    fn each_voxel(&self, sine: f64, cosine: f64, mut see: impl FnMut(usize, usize, f32)) {
        let (side, width) = (self.config.side, FINER * WIDER * self.config.side);
        let at = |index: usize| (FINER * index) as f64 - (FINER * (side / 2)) as f64;
        for z in 0..side {
            for x in 0..side {
                let u = at(x) * cosine + at(z) * sine + (width / 2) as f64;
                let column = u.floor();
                let (share, column) = ((u - column) as f32, column as usize);
                (0..side).for_each(|y| see((z * side + y) * side + x, y * width + column, share));
            }
        }
    }

    /// `[y][u]` to a spectrum `[u][y]`.
    fn transform(&self, image: &mut Vec<Complex32>, turned: &mut Vec<Complex32>) {
        let side = self.config.side;
        self.along[0].process(image);
        transpose(image, turned, side, image.len() / side);
        self.across[0].process(turned);
        std::mem::swap(image, turned);
    }

    /// The reverse of [`transform`](Self::transform).
    fn transform_back(&self, image: &mut Vec<Complex32>, turned: &mut Vec<Complex32>) {
        let side = self.config.side;
        self.across[1].process(image);
        transpose(image, turned, image.len() / side, side);
        self.along[1].process(turned);
        std::mem::swap(image, turned);
    }
}

#[cfg(test)]
mod tests;
