//! Subtomograms as an electron microscope would show them.
//!
//! A sample is made in this order: the template is turned by a uniformly random rotation and
//! shifted, in one interpolation that reads the template straight into the final box; signal and
//! noise pass the same filter, contrast transfer function times missing wedge; the noise is scaled
//! to the signal-to-noise ratio and added.
//!
//! # Conventions
//!
//! Simulated sets of the field differ in what they call the same. What the paper's authors' toolbox
//! (AITom, `reconstruction__simple_convolution.py`) does, and what is done here:
//!
//! | | AITom | here | why |
//! |---|---|---|---|
//! | density | Situs `pdb2vol`, masses, 10 Å | electrons, Gaussians integrated over the voxel | electrons scatter; no dependence on where the grid lies |
//! | rotation | random matrix, ZYZ angles | unit quaternion | uniform over all rotations |
//! | shift | ±20 % of the box, rounded (demo), ±5 % (tutorial) | uniform in ±1 voxel, not rounded | what template matching leaves |
//! | SNR | var(CTF × wedge × signal) / var(noise), the noise counted as after CTF and wedge | the same, over all voxels of the final box, met in each sample | one definition, testable |
//! | noise | half before the CTF, half after it through a soft low-pass | all of it through CTF and wedge ([`NoiseColor::ThroughOptics`]); also [`NoiseColor::White`], [`NoiseColor::HalfHalf`] | nothing in the wedge that the signal does not have |
//! | low-pass | soft sphere of radius N/8 of Nyquist, before and after | none but the envelope | it would remove what the classes differ in |
//! | CTF | sin((π/2)(Cs λ³ k⁴ − 2 Δz λ k²)), Δz < 0 | −sin(π λ Δz k² − (π/2) Cs λ³ k⁴ + asin w), Δz > 0 is underfocus | the sign of textbooks; at 10 Å voxels the Cs term stays below 0.01 rad |
//! | envelope | exp(−(k/(σ·Nyquist))²), σ = 0.4: 0.2 cycles a voxel | exp(−(k/0.4)²), k in cycles a voxel | twice as wide |
//! | wedge | keeps \|kx\| ≥ tan 30°·\|kz\| | keeps \|kz\| ≤ tan 60°·\|kx\|: tilts within ±60° about y | the same |
//! | contrast | protein dark (demo) | protein dark | as in tomograms |
//!
//! Their evaluation script estimates an SNR as `2ρ/(1−ρ)` from the correlation ρ of two noisy copies,
//! which is twice the ratio of variances `ρ/(1−ρ)` that is meant here.
//!
//! # Randomness
//!
//! A sample is a pure function of `(seed, index)`: its numbers come from ChaCha8 with that seed, on
//! the stream of that index. Neither the order nor the number of threads matters.

use std::cell::RefCell;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rustfft::num_complex::Complex32;
use serde::{Deserialize, Serialize};

use super::{
    Template, VOXEL_SIZE, Volume,
    density::ATOM_REACH,
    fourier::{Filter, Fourier, Scratch},
    pose::Pose,
};
use crate::{Error, Result};

/// What the noise went through before it reached the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseColor {
    /// All noise passes the CTF and the wedge with the signal.
    #[default]
    ThroughOptics,
    /// White noise, also inside the wedge.
    White,
    /// Half of the variance passes CTF and wedge, half the wedge alone, as in AITom but for its
    /// low-pass filters.
    HalfHalf,
}

/// How subtomograms are simulated.
///
/// # Examples
/// ```
/// use soft_lmccl::cect::SimulationConfig;
///
/// let config = SimulationConfig { side: 40, ..SimulationConfig::s1() };
/// assert_eq!(config.snr, 0.03);
/// let message = SimulationConfig { snr: -1.0, ..config }.validate().unwrap_err().to_string();
/// assert_eq!(message, "invalid `snr`: expected a number above 0 and up to 1e6, got -1");
/// # Ok::<(), soft_lmccl::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulationConfig {
    /// var(signal) / var(noise) over all voxels of the final box. Default 0.05, the paper's set S2.
    pub snr: f64,
    /// Side of the final box in voxels. Default 32; the paper's is 40.
    pub side: usize,
    /// Edge of a voxel in Angstrom. Default 10, as the paper; templates are sampled at 10 Å, so
    /// from 8 to 16.
    pub voxel_size: f64,
    /// Acceleration voltage in kV. Default 300 (AITom).
    pub voltage: f64,
    /// Spherical aberration in mm. Default 2.7 (AITom's demo).
    pub spherical_aberration: f64,
    /// Underfocus in µm; negative is overfocus. Default 5 (AITom's tutorial and packed set).
    pub underfocus: f64,
    /// Part of the contrast that is amplitude contrast. Default 0 (AITom); 0.07 to 0.1 is usual
    /// for ice.
    pub amplitude_contrast: f64,
    /// Frequency in cycles per voxel at which the envelope has fallen to 1/e. Default 0.4.
    pub envelope: f64,
    /// Largest tilt about the y axis in degrees. Default 60, a missing wedge of 30° (AITom).
    pub max_tilt: f64,
    /// Largest shift along each axis in voxels, either way. Default 1.
    pub max_shift: f64,
    /// Default [`NoiseColor::ThroughOptics`].
    pub noise: NoiseColor,
}

impl Default for SimulationConfig {
    fn default() -> Self {
        Self {
            snr: 0.05,
            side: 32,
            voxel_size: VOXEL_SIZE,
            voltage: 300.0,
            spherical_aberration: 2.7,
            underfocus: 5.0,
            amplitude_contrast: 0.0,
            envelope: 0.4,
            max_tilt: 60.0,
            max_shift: 1.0,
            noise: NoiseColor::ThroughOptics,
        }
    }
}

impl SimulationConfig {
    /// The paper's set S1: SNR 0.03.
    pub fn s1() -> Self {
        Self { snr: 0.03, ..Self::default() }
    }

    /// The paper's set S2: SNR 0.05, which is the default.
    pub fn s2() -> Self {
        Self::default()
    }

    /// # Errors
    /// [`Error::Config`] for the first field out of its range.
    pub fn validate(&self) -> Result<()> {
        let check = |field, valid: bool, expected: &str, got: &dyn std::fmt::Display| {
            if valid {
                Ok(())
            } else {
                Err(Error::Config { field, expected: expected.to_owned(), got: got.to_string() })
            }
        };
        let Self {
            snr,
            side,
            voxel_size,
            voltage,
            spherical_aberration,
            underfocus,
            amplitude_contrast,
            envelope,
            max_tilt,
            max_shift,
            noise: _,
        } = *self;
        // Written so that NaN fails each of them.
        check("snr", snr > 0.0 && snr <= 1e6, "a number above 0 and up to 1e6", &snr)?;
        check("side", (8..=128).contains(&side), "8 to 128 voxels", &side)?;
        check("voxel_size", (8.0..=16.0).contains(&voxel_size), "8 to 16 Å", &voxel_size)?;
        check("voltage", (10.0..=2000.0).contains(&voltage), "10 to 2000 kV", &voltage)?;
        check(
            "spherical_aberration",
            (0.0..=20.0).contains(&spherical_aberration),
            "0 to 20 mm",
            &spherical_aberration,
        )?;
        check("underfocus", (-50.0..=50.0).contains(&underfocus), "-50 to 50 µm", &underfocus)?;
        check("amplitude_contrast", (0.0..=1.0).contains(&amplitude_contrast), "0 to 1", &amplitude_contrast)?;
        check("envelope", (0.01..=100.0).contains(&envelope), "0.01 to 100 cycles per voxel", &envelope)?;
        check("max_tilt", max_tilt > 0.0 && max_tilt <= 90.0, "a number of degrees above 0 and up to 90", &max_tilt)?;
        let largest_shift = side as f64 / 4.0;
        check(
            "max_shift",
            (0.0..=largest_shift).contains(&max_shift),
            "0 to a quarter of the side, in voxels",
            &max_shift,
        )
    }

    /// The contrast transfer function, envelope included, at a frequency in cycles per voxel.
    ///
    /// # Formula
    /// ```text
    /// −sin(π λ Δz k² − (π/2) Cs λ³ k⁴ + asin w) · exp(−(k/e)²)
    /// ```
    /// with `k` in cycles per Angstrom in the sine and per voxel in the envelope `e`, `Δz` underfocus
    /// and `w` amplitude contrast. Negative at low frequencies, so that protein is dark.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl::cect::SimulationConfig;
    ///
    /// let config = SimulationConfig::default();
    /// assert_eq!(config.contrast_transfer(0.0), 0.0);
    /// assert!(config.contrast_transfer(0.1) < 0.0);
    /// // 5 µm of underfocus cross zero first near 1/√(λ Δz) = 1/31 Å.
    /// assert!(config.contrast_transfer(0.31) * config.contrast_transfer(0.33) < 0.0);
    /// ```
    pub fn contrast_transfer(&self, frequency: f64) -> f64 {
        use std::f64::consts::PI;
        let wavelength = electron_wavelength(self.voltage);
        let k2 = (frequency / self.voxel_size).powi(2);
        let underfocus = self.underfocus * 1e4;
        let aberration = self.spherical_aberration * 1e7;
        let phase = PI * wavelength * underfocus * k2 - 0.5 * PI * aberration * wavelength.powi(3) * k2 * k2
            + self.amplitude_contrast.asin();
        -phase.sin() * (-(frequency / self.envelope).powi(2)).exp()
    }

    /// Whether tilting sees the frequency `[z, y, x]`: the beam is along z, the tilt axis is y.
    pub fn in_wedge(&self, [z, _, x]: [f64; 3]) -> bool {
        // The plane of the largest tilt is seen, although its sine and cosine round.
        let (sine, cosine) = self.max_tilt.to_radians().sin_cos();
        z.abs() * cosine <= x.abs() * sine + 1e-9
    }
}

/// Relativistic wavelength in Angstrom of electrons accelerated by so many kV (0.0197 at 300 kV).
fn electron_wavelength(kilovolts: f64) -> f64 {
    let volts = 1e3 * kilovolts;
    12.264_259 / (volts * (1.0 + 0.978_475_6e-6 * volts)).sqrt()
}

/// Names of the classes whose particles can reach the border of the box when they are turned and
/// shifted: radius + largest shift + 9 Å passes half the side.
///
/// # Examples
/// ```
/// use soft_lmccl::cect::{SimulationConfig, catalogue, cramped};
///
/// let config = SimulationConfig { side: 40, ..Default::default() };
/// assert!(cramped(&catalogue::templates(), &config).is_empty());
/// let config = SimulationConfig { side: 24, ..config };
/// assert!(cramped(&catalogue::templates(), &config).contains(&"4v5d"));
/// ```
pub fn cramped<'a>(templates: &'a [Template], config: &SimulationConfig) -> Vec<&'a str> {
    let half = config.side as f64 / 2.0 * config.voxel_size;
    templates
        .iter()
        .filter(|template| template.radius() + config.max_shift * config.voxel_size + ATOM_REACH > half)
        .map(Template::name)
        .collect()
}

/// A simulated subtomogram in its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Subtomogram {
    /// The particle alone, after CTF and wedge.
    pub signal: Volume,
    /// The noise alone, scaled to the SNR.
    pub noise: Volume,
    /// How the particle lies.
    pub pose: Pose,
}

/// Simulates subtomograms of one configuration. Making one tabulates the filters; using it costs
/// two small Fourier transforms a sample.
///
/// # Examples
/// ```
/// use soft_lmccl::cect::{SimulationConfig, Simulator, catalogue};
///
/// let template = catalogue::entries()[0].template();
/// let simulator = Simulator::new(SimulationConfig::s2())?;
/// let volume = simulator.simulate(&template, 1, 7)?;
/// assert_eq!(volume, simulator.simulate(&template, 1, 7)?);
///
/// let parts = simulator.parts(&template, 1, 7)?;
/// let variance = |volume: &soft_lmccl::cect::Volume| volume.statistics().std.powi(2);
/// assert!((variance(&parts.signal) / variance(&parts.noise) - 0.05).abs() < 1e-4);
/// # Ok::<(), soft_lmccl::Error>(())
/// ```
#[derive(Debug)]
pub struct Simulator {
    config: SimulationConfig,
    fourier: Fourier,
    /// CTF and wedge.
    optics: Filter,
    /// The wedge alone, for the half of the noise that comes after the CTF.
    wedge: Option<Filter>,
}

/// What a thread keeps between samples, so that it allocates only the result.
#[derive(Default)]
struct Buffers {
    voxels: Vec<Complex32>,
    late_noise: Vec<Complex32>,
    scratch: Scratch,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

impl Simulator {
    /// Tabulates the filters.
    ///
    /// # Errors
    /// As [`SimulationConfig::validate`].
    pub fn new(config: SimulationConfig) -> Result<Self> {
        config.validate()?;
        let fourier = Fourier::new(config.side);
        let seen = |k: [f64; 3]| f64::from(u8::from(config.in_wedge(k)));
        let optics = fourier.filter(|k| {
            let [z, y, x] = k;
            let frequency = (z * z + y * y + x * x).sqrt();
            seen(k) * config.contrast_transfer(frequency)
        });
        let wedge = (config.noise == NoiseColor::HalfHalf).then(|| fourier.filter(seen));
        Ok(Self { config, fourier, optics, wedge })
    }

    /// The configuration in force.
    pub fn config(&self) -> &SimulationConfig {
        &self.config
    }

    /// One noisy subtomogram, a pure function of its arguments.
    ///
    /// # Errors
    /// [`Error::Volume`] if no signal is left to scale the noise by.
    pub fn simulate(&self, template: &Template, seed: u64, index: u64) -> Result<Volume> {
        self.with_parts(template, seed, index, |voxels, scale, _| {
            let noisy = voxels.iter().map(|v| v.re + scale * v.im);
            Volume::from_finite(self.config.side, noisy.collect())
        })
    }

    /// The same subtomogram in its parts: their sum is what [`simulate`](Self::simulate) returns.
    ///
    /// # Errors
    /// As [`simulate`](Self::simulate).
    pub fn parts(&self, template: &Template, seed: u64, index: u64) -> Result<Subtomogram> {
        self.with_parts(template, seed, index, |voxels, scale, pose| {
            let side = self.config.side;
            let signal = voxels.iter().map(|v| v.re);
            let noise = voxels.iter().map(|v| scale * v.im);
            Subtomogram {
                signal: Volume::from_finite(side, signal.collect()),
                noise: Volume::from_finite(side, noise.collect()),
                pose,
            }
        })
    }

    /// Hands signal (real), noise (imaginary), the factor that brings the noise to the SNR, and the
    /// pose to `finish`.
    fn with_parts<T>(
        &self,
        template: &Template,
        seed: u64,
        index: u64,
        finish: impl FnOnce(&[Complex32], f32, Pose) -> T,
    ) -> Result<T> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        let pose = Pose::random(self.config.max_shift, &mut rng);
        BUFFERS.with_borrow_mut(|buffers| {
            let Buffers { voxels, late_noise, scratch } = buffers;
            voxels.clear();
            voxels.resize(self.config.side.pow(3), Complex32::default());
            pose.place(template, self.config.side, self.config.voxel_size, voxels);
            match self.config.noise {
                NoiseColor::ThroughOptics => {
                    add_noise(voxels, &mut rng);
                    self.fourier.apply(&self.optics, voxels, scratch);
                }
                NoiseColor::White => {
                    self.fourier.apply(&self.optics, voxels, scratch);
                    add_noise(voxels, &mut rng);
                }
                NoiseColor::HalfHalf => {
                    add_noise(voxels, &mut rng);
                    self.fourier.apply(&self.optics, voxels, scratch);
                    late_noise.clear();
                    late_noise.resize(voxels.len(), Complex32::default());
                    add_noise(late_noise, &mut rng);
                    let wedge = self.wedge.as_ref().expect("made with this noise color");
                    self.fourier.apply(wedge, late_noise, scratch);
                    let (early, late) = (variance(voxels, |v| v.im), variance(late_noise, |v| v.im));
                    let balance = (early / late).sqrt() as f32;
                    for (voxel, late) in voxels.iter_mut().zip(late_noise.iter()) {
                        voxel.im += balance * late.im;
                    }
                }
            }
            let signal = variance(voxels, |v| v.re);
            let noise = variance(voxels, |v| v.im);
            let scale = (signal / (self.config.snr * noise)).sqrt() as f32;
            if !scale.is_normal() {
                return Err(Error::Volume(format!(
                    "class {}: the signal has variance {signal:e} and the noise {noise:e}, so no \
                     signal-to-noise ratio can be set",
                    template.name()
                )));
            }
            Ok(finish(voxels, scale, pose))
        })
    }
}

/// Puts white noise of unit variance into the imaginary part.
fn add_noise(voxels: &mut [Complex32], rng: &mut impl Rng) {
    for voxel in voxels {
        voxel.im = StandardNormal.sample(rng);
    }
}

fn variance(voxels: &[Complex32], part: impl Fn(&Complex32) -> f32) -> f64 {
    let count = voxels.len() as f64;
    let (mut sum, mut squares) = (0.0, 0.0);
    for voxel in voxels {
        let value = f64::from(part(voxel));
        sum += value;
        squares += value * value;
    }
    // Both parts have a mean near zero, so nothing cancels.
    squares / count - (sum / count).powi(2)
}
