//! The low-pass filters and the noise of the paper's authors' toolbox.

use rand_chacha::ChaCha8Rng;
use rustfft::num_complex::Complex32;

use super::{SimulationConfig, add_noise, variance};
use crate::volume::fourier::{Filter, Fourier, Scratch};

/// How wide the low-pass falls off, in frequencies of the box.
const LOW_PASS_SMOOTH: f64 = 2.0;
/// The low-pass of the late noise: its radius in frequencies of the box, and how wide it falls off, in sides.
const LATE_RADIUS: f64 = 1.0;
const LATE_SMOOTH: f64 = 0.2;

/// What [`NoiseColor::Aitom`](super::NoiseColor::Aitom) has beside the optics.
#[derive(Debug)]
pub(super) struct Aitom {
    low_pass: Filter,
    /// What the noise of the detector passes: its own low-pass and the mask of the tilts.
    late: Filter,
}

impl Aitom {
    pub(super) fn new(config: &SimulationConfig, fourier: &Fourier, mask: impl Fn([f64; 3]) -> f64) -> Self {
        let side = config.side as f64;
        let radius = low_pass_radius(config.side, config.voxel_size);
        Self {
            low_pass: fourier.filter(|k| soft_sphere(side * length(k), radius, LOW_PASS_SMOOTH)),
            late: fourier.filter(|k| mask(k) * soft_sphere(side * length(k), LATE_RADIUS, LATE_SMOOTH * side)),
        }
    }

    /// The low-pass, to be applied before the optics and after them.
    pub(super) fn smooth(&self, fourier: &Fourier, voxels: &mut [Complex32], scratch: &mut Scratch) {
        fourier.apply(&self.low_pass, voxels, scratch);
    }

    /// Takes the density in the real parts to what is seen of it, beside noise in the imaginary parts that is to be
    /// scaled. Returns the variance of the density after the optics alone, by which the toolbox scales it.
    pub(super) fn develop(
        &self,
        fourier: &Fourier,
        optics: &Filter,
        voxels: &mut [Complex32],
        spare: &mut Vec<Complex32>,
        scratch: &mut Scratch,
        rng: &mut ChaCha8Rng,
    ) -> f64 {
        spare.clear();
        spare.extend_from_slice(voxels);
        fourier.apply(optics, spare, scratch);
        let signal = variance(spare, |v| v.re);

        self.smooth(fourier, voxels, scratch);
        add_noise(voxels, rng);
        fourier.apply(optics, voxels, scratch);
        spare.fill(Complex32::default());
        add_noise(spare, rng);
        fourier.apply(&self.late, spare, scratch);
        for (voxel, late) in voxels.iter_mut().zip(spare.iter()) {
            voxel.im += late.im;
        }
        self.smooth(fourier, voxels, scratch);
        signal
    }

    /// What the noise of [`develop`](Self::develop) is multiplied by: each half had unit variance, has to have half of
    /// `wanted`, and that is corrected for what the optics take from white noise, though not for the low-pass filters.
    pub(super) fn scale(wanted: f64, fourier: &Fourier, optics: &Filter) -> f64 {
        (0.5 * wanted / fourier.mean_square(optics)).sqrt()
    }
}

/// Radius of the low-pass in frequencies of the box: an eighth of the side over the Nyquist frequency in cycles per
/// nanometer, which is a quarter of the side at 10 Å.
fn low_pass_radius(side: usize, voxel_size: f64) -> f64 {
    let nyquist = 0.5 / (voxel_size / 10.0);
    (side as f64 / 8.0 / nyquist + 1e-9).floor()
}

/// 1 up to `radius`, from there a Gaussian `exp(−((k − radius) / smooth)²)`, and 0 where that has fallen below `e⁻³`.
fn soft_sphere(k: f64, radius: f64, smooth: f64) -> f64 {
    let beyond = ((k - radius) / smooth).max(0.0).powi(2);
    if beyond > 3.0 { 0.0 } else { (-beyond).exp() }
}

/// The sphere that touches the faces of the spectrum. The toolbox puts its center half an entry beside the zero
/// frequency if the side is even and takes the real part of what comes out, so the rim passes by half.
pub(super) fn inscribed_sphere(frequency: [f64; 3], side: usize) -> f64 {
    let side_length = side as f64;
    let off = if side.is_multiple_of(2) { 0.5 } else { 0.0 };
    let inside = |sign: f64| {
        let distance = length(frequency.map(|k| sign * k * side_length + off));
        f64::from(u8::from(distance <= side_length / 2.0))
    };
    (inside(1.0) + inside(-1.0)) / 2.0
}

fn length([z, y, x]: [f64; 3]) -> f64 {
    (z * z + y * y + x * x).sqrt()
}

#[cfg(test)]
mod tests {
    use super::{inscribed_sphere, low_pass_radius, soft_sphere};

    #[test]
    fn the_low_pass_goes_by_side_and_voxel_size() {
        // By hand: floor((32/8)/0.5), floor((40/8)/0.5), floor((32/8)/(1/2.4)) = floor(9.6), floor(33/4).
        for (side, voxel_size, radius) in [(32, 10.0, 8.0), (40, 10.0, 10.0), (32, 12.0, 9.0), (33, 10.0, 8.0)] {
            assert!((low_pass_radius(side, voxel_size) - radius).abs() < 1e-12, "{side} {voxel_size}");
        }
    }

    #[test]
    fn soft_spheres_end() {
        let value = |k: f64| soft_sphere(k, 8.0, 2.0);
        assert!((value(8.0) - 1.0).abs() < 1e-12);
        assert!((value(10.0) - (-1f64).exp()).abs() < 1e-12);
        // 8 + 2√3 = 11.46.
        assert!(value(11.4) > 0.04 && value(11.5) == 0.0);
    }

    #[test]
    fn the_sphere_leans_by_half_an_entry() {
        // In halves.
        let at = |k: f64, side: usize| (2.0 * inscribed_sphere([0.0, 0.0, k / side as f64], side)) as u8;
        assert_eq!([at(15.0, 32), at(16.0, 32), at(17.0, 32)], [2, 1, 0]);
        assert_eq!([at(16.0, 33), at(17.0, 33)], [2, 0]);
    }
}
