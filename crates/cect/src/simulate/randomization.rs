//! Simulations drawn at random, so that a network meets its next data as one more of many.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{LowNoise, NoiseColor, SimulationConfig};
use crate::{Error, Result, stream::stream};

/// From which simulations [`draw`](Self::draw) draws: domain randomization.
///
/// A network that was trained on one kind of noise takes another kind for structure. What no two data sets share is
/// therefore drawn anew for each of many simulations, of which a training set has a few samples each: color and strength
/// of the noise, defocus and its correction, envelope, tilts, how well a box is centered, the size of a voxel.
///
/// Ranges are `[least, most]`. Numbers that span a decade are drawn by their logarithm.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{NoiseColor, RandomizationConfig};
///
/// let drawn = RandomizationConfig::default().draw(200, 1)?;
/// assert_eq!(drawn[..3], RandomizationConfig::default().draw(3, 1)?);
/// let aitom = drawn.iter().filter(|config| config.noise == NoiseColor::Aitom).count();
/// assert!((50..110).contains(&aitom), "{aitom}");
/// let message = RandomizationConfig { aitom: 1.5, ..Default::default() }.validate().unwrap_err().to_string();
/// assert_eq!(message, "invalid `aitom`: expected 0 to 1, got 1.5");
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomizationConfig {
    /// Side of the box in voxels. Default 32.
    pub side: usize,
    /// Voxels are up to this part larger or smaller than 10 Å, as microscopes are calibrated. Default 0.03.
    pub voxel_size: f64,
    /// The share of [`NoiseColor::Aitom`], whose SNR is another quantity. Default 0.4. The other colors have the rest in
    /// equal parts.
    pub aitom: f64,
    /// The SNR of [`NoiseColor::Aitom`]. Default 0.1 to 2.
    pub aitom_snr: [f64; 2],
    /// The SNR of the other colors. Default 0.05 to 0.5.
    pub snr: [f64; 2],
    /// The share of simulations with [`LowNoise`]. Default 0.4.
    pub low_noise: f64,
    /// [`LowNoise::deviation`]. Default 0.1 to 1.
    pub low_deviation: [f64; 2],
    /// [`LowNoise::length`] in Å. Default 60 to 250.
    pub low_length: [f64; 2],
    /// Underfocus in µm. Default 3 to 7.
    pub underfocus: [f64; 2],
    /// The share of simulations with phases flipped. Default 0.25.
    pub phase_flip: f64,
    /// Amplitude contrast. Default 0 to 0.1.
    pub amplitude_contrast: [f64; 2],
    /// The envelope in cycles per voxel. Default 0.18 to 0.45.
    pub envelope: [f64; 2],
    /// The largest tilt in degrees. Default 50 to 66.
    pub max_tilt: [f64; 2],
    /// The largest shift in voxels. Default 0.5 to 2.
    pub max_shift: [f64; 2],
    /// The share of simulations whose tilt series is back-projected image by image ([`TiltImages`](super::TiltImages)),
    /// RELION-like and Warp-like ones in equal parts, with the ranges above and the SNR of `snr`. Default 0: nothing shows
    /// yet that a network gains by them.
    pub tilt_images: f64,
}

impl Default for RandomizationConfig {
    fn default() -> Self {
        Self {
            side: 32,
            voxel_size: 0.03,
            aitom: 0.4,
            aitom_snr: [0.1, 2.0],
            snr: [0.05, 0.5],
            low_noise: 0.4,
            low_deviation: [0.1, 1.0],
            low_length: [60.0, 250.0],
            underfocus: [3.0, 7.0],
            phase_flip: 0.25,
            amplitude_contrast: [0.0, 0.1],
            envelope: [0.18, 0.45],
            max_tilt: [50.0, 66.0],
            max_shift: [0.5, 2.0],
            tilt_images: 0.0,
        }
    }
}

/// The colors beside [`NoiseColor::Aitom`].
const OTHERS: [NoiseColor; 4] = [NoiseColor::ThroughOptics, NoiseColor::White, NoiseColor::HalfHalf, NoiseColor::Ice];

impl RandomizationConfig {
    /// Checks the values without drawing anything.
    ///
    /// # Errors
    /// [`Error::Config`] for a share outside 0 to 1, a range whose ends are not in their order, and for the first end
    /// that [`SimulationConfig::validate`] refuses.
    pub fn validate(&self) -> Result<()> {
        let Self { voxel_size, aitom, low_noise, phase_flip, tilt_images, .. } = *self;
        let shares =
            [("aitom", aitom), ("low_noise", low_noise), ("phase_flip", phase_flip), ("tilt_images", tilt_images)];
        if let Some((field, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(Error::config(field, "0 to 1", share));
        }
        if !(0.0..=0.2).contains(&voxel_size) {
            return Err(Error::config("voxel_size", "0 to 0.2", voxel_size));
        }
        let ranges = [
            ("aitom_snr", self.aitom_snr),
            ("snr", self.snr),
            ("low_deviation", self.low_deviation),
            ("low_length", self.low_length),
            ("underfocus", self.underfocus),
            ("amplitude_contrast", self.amplitude_contrast),
            ("envelope", self.envelope),
            ("max_tilt", self.max_tilt),
            ("max_shift", self.max_shift),
        ];
        if let Some((field, [least, most])) = ranges.into_iter().find(|(_, [least, most])| (least..=most).is_empty()) {
            return Err(Error::config(field, "a range from the least to the most", format!("{least} to {most}")));
        }
        for end in 0..2 {
            for snr in [self.snr[end], self.aitom_snr[end]] {
                let low_noise = Some(LowNoise { deviation: self.low_deviation[end], length: self.low_length[end] });
                self.at(end, snr, low_noise).validate()?;
            }
        }
        Ok(())
    }

    /// The simulation at one end of all ranges.
    fn at(&self, end: usize, snr: f64, low_noise: Option<LowNoise>) -> SimulationConfig {
        SimulationConfig {
            snr,
            side: self.side,
            underfocus: self.underfocus[end],
            amplitude_contrast: self.amplitude_contrast[end],
            envelope: self.envelope[end],
            max_tilt: self.max_tilt[end],
            max_shift: self.max_shift[end],
            low_noise,
            ..Default::default()
        }
    }

    /// Draws `count` simulations, the first of them the same whatever `count` is.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn draw(&self, count: usize, seed: u64) -> Result<Vec<SimulationConfig>> {
        self.validate()?;
        Ok((0..count).map(|index| self.one(&mut stream(seed, index as u64))).collect())
    }

    fn one(&self, rng: &mut impl Rng) -> SimulationConfig {
        let noise =
            if rng.random_bool(self.aitom) { NoiseColor::Aitom } else { OTHERS[rng.random_range(0..OTHERS.len())] };
        let snr = by_logarithm(if noise == NoiseColor::Aitom { self.aitom_snr } else { self.snr }, rng);
        let low_noise = rng.random_bool(self.low_noise).then(|| LowNoise {
            deviation: by_logarithm(self.low_deviation, rng),
            length: by_logarithm(self.low_length, rng),
        });
        let masked = SimulationConfig {
            snr,
            side: self.side,
            voxel_size: SimulationConfig::default().voxel_size
                * (1.0 + between([-self.voxel_size, self.voxel_size], rng)),
            spherical_aberration: if rng.random_bool(0.5) { 2.7 } else { 2.0 },
            underfocus: between(self.underfocus, rng),
            amplitude_contrast: between(self.amplitude_contrast, rng),
            envelope: by_logarithm(self.envelope, rng),
            max_tilt: between(self.max_tilt, rng),
            max_shift: between(self.max_shift, rng),
            noise,
            low_noise,
            phase_flip: rng.random_bool(self.phase_flip),
            ..Default::default()
        };
        // Last, so that the other draws are the same whether there are such simulations or not.
        if !rng.random_bool(self.tilt_images) {
            return masked;
        }
        let named = if rng.random_bool(0.5) { SimulationConfig::relion_like() } else { SimulationConfig::warp_like() };
        SimulationConfig {
            snr: if noise == NoiseColor::Aitom { by_logarithm(self.snr, rng) } else { masked.snr },
            noise: named.noise,
            phase_flip: false,
            tilt_step: named.tilt_step,
            tilt_dose: named.tilt_dose,
            tilt_images: named.tilt_images,
            ..masked
        }
    }
}

fn between([least, most]: [f64; 2], rng: &mut impl Rng) -> f64 {
    rng.random_range(least..=most)
}

fn by_logarithm([least, most]: [f64; 2], rng: &mut impl Rng) -> f64 {
    between([least.ln(), most.ln()], rng).exp()
}
