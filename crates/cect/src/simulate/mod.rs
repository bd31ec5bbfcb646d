//! Subtomograms as an electron microscope would show them.
//!
//! A sample is made in this order: the template is turned by a uniformly random rotation and
//! shifted, in one interpolation that reads the template straight into the final box; signal and
//! noise pass the same filter, contrast transfer function times missing wedge; the noise is scaled
//! to the signal-to-noise ratio and added. In place of that noise there may be a patch of a real
//! tomogram ([`Background`]), and beside the particle there may be others
//! ([`CrowdedDataset`](crate::CrowdedDataset)).
//!
//! # Conventions
//!
//! Simulated sets of the field differ in what they call the same. What the paper's authors' toolbox
//! (AITom, `reconstruction__simple_convolution.py`) does, and what is done here by default;
//! [`SimulationConfig::aitom`] does what the toolbox does, from the row "SNR" on, but for the sign of Cs:
//!
//! | | AITom | here | why |
//! |---|---|---|---|
//! | density | Situs `pdb2vol`, masses, 10 Å | electrons, Gaussians integrated over the voxel | electrons scatter; no dependence on where the grid lies |
//! | rotation | random matrix, ZYZ angles | unit quaternion | uniform over all rotations |
//! | shift | ±20 % of the box, rounded (demo), ±5 % (tutorial) | uniform in ±1 voxel, not rounded | what template matching leaves |
//! | SNR | var(CTF × wedge × signal) / var(noise), the noise counted as white noise behind CTF and wedge, no low-pass counted | var(signal) / var(noise) over all voxels of the final box, met in each sample | one definition, testable |
//! | noise | half before the CTF, half after it through a soft low-pass of its own | all of it through CTF and wedge ([`NoiseColor::ThroughOptics`]); also [`NoiseColor::White`], [`NoiseColor::HalfHalf`] and [`NoiseColor::Ice`] | nothing in the wedge that the signal does not have |
//! | low-pass | soft sphere of a quarter of the side in Fourier space, before and after | none but the envelope | it would remove what the classes differ in |
//! | sphere in Fourier space | touches the faces of the spectrum | none | corners are detail like the rest |
//! | CTF | sin((π/2)(Cs λ³ k⁴ − 2 Δz λ k²)), Δz < 0 | −sin(π λ Δz k² − (π/2) Cs λ³ k⁴ + asin w), Δz > 0 is underfocus | the sign of textbooks; at 10 Å voxels the Cs term is 0.002 rad at the Nyquist frequency and 0.018 in the corners of the spectrum |
//! | envelope | exp(−(k/(σ·Nyquist))²), σ = 0.4: 0.2 cycles a voxel | exp(−(k/0.4)²), k in cycles a voxel | twice as wide |
//! | tilts | a wedge | a wedge ([`SimulationConfig::tilt_step`] `None`), or single tilts with gaps and radiation damage | both exist |
//! | wedge | keeps \|kx\| ≥ tan 30°·\|kz\| | keeps \|kz\| ≤ tan 60°·\|kx\|: tilts within ±60° about y | the same |
//! | contrast | protein dark (demo) | protein dark | as in tomograms |
//! | "without noise" | one low-pass, before | none | |
//!
//! So an "SNR of 0.05" is not one thing. Of the 20S proteasome in a box of 32 voxels of 10 Å, var(signal) / var(noise)
//! by frequency of the box:
//!
//! | frequencies | [`SimulationConfig::aitom`]`(0.05)` | [`SimulationConfig::s2`] | |
//! |---|---|---|---|
//! | 1 to 3 | 0.028 | 0.98 | white noise behind a CTF leaves low frequencies clean; the toolbox's late half is not behind it |
//! | 4 to 6 | 0.032 | 0.18 | |
//! | 7 to 9 | 0.0056 | 0.029 | here the CTF has its first zero and the toolbox its low-pass |
//! | above 11 | nothing | detail and noise | |
//!
//! Their evaluation script estimates an SNR as `2ρ/(1−ρ)` from the correlation ρ of two noisy copies,
//! which is twice the ratio of variances `ρ/(1−ρ)` that is meant here.
//!
//! # Randomness
//!
//! A sample is a pure function of `(seed, index)`: its numbers come from ChaCha8 with that seed, on
//! the stream of that index. Neither the order nor the number of threads matters.

mod aitom;
mod background;
mod config;
mod developed;
mod ice;
pub(crate) mod membrane;
mod randomization;
mod tilt_images;

pub use background::Background;
pub use config::{LowNoise, NoiseColor, SimulationConfig, SnrScaling};
pub use membrane::Membrane;
pub use randomization::RandomizationConfig;
pub use tilt_images::{CtfCorrection, TiltImages};

use std::cell::RefCell;

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rustfft::num_complex::Complex32;

use crate::{
    Error, Result,
    stream::stream,
    structure::ATOM_REACH,
    template::Template,
    volume::fourier::{Filter, Fourier, RadialFilter, Scratch},
    volume::{Pose, Volume},
};
use aitom::{Aitom, inscribed_sphere};
use config::TiltSeries;
pub(crate) use developed::Developed;
use tilt_images::Reconstruction;

/// Names of the classes whose particles can reach the border of the box when they are turned and
/// shifted: radius + largest shift + 9 Å passes half the side.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{SimulationConfig, catalogue, cramped};
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
    /// The particle alone, after CTF and wedge; in a crowded field, with its neighbors.
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
/// use soft_lmccl_cect::{SimulationConfig, Simulator, catalogue};
///
/// let template = catalogue::entries()[0].template();
/// let simulator = Simulator::new(SimulationConfig::s2())?;
/// let volume = simulator.simulate(&template, 1, 7)?;
/// assert_eq!(volume, simulator.simulate(&template, 1, 7)?);
///
/// let parts = simulator.parts(&template, 1, 7)?;
/// let variance = |volume: &soft_lmccl_cect::Volume| volume.statistics().std.powi(2);
/// assert!((variance(&parts.signal) / variance(&parts.noise) - 0.05).abs() < 1e-4);
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug)]
pub struct Simulator {
    config: SimulationConfig,
    fourier: Fourier,
    optics: Optics,
    /// What noise passes that does not come through the CTF: the tilts, and under [`NoiseColor::Ice`] a spectrum.
    late: Option<Filter>,
    /// What the toolbox of the paper's authors has beside them.
    aitom: Option<Aitom>,
    /// How large [`LowNoise`] is, and what of white noise is in it.
    low: Option<(f64, Filter)>,
    /// What stands for optics and tilts if there are images.
    images: Option<Reconstruction>,
}

/// CTF and tilts.
#[derive(Debug)]
enum Optics {
    Fixed(Filter),
    /// One CTF a sample, by the square of the frequency.
    Spread(RadialFilter),
}

/// What a thread keeps between samples, so that it allocates only the result.
#[derive(Default)]
struct Buffers {
    voxels: Vec<Complex32>,
    late_noise: Vec<Complex32>,
    ctf: Vec<f32>,
    filter: Filter,
    scratch: Scratch,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// What noise a sample gets.
#[derive(Clone, Copy)]
pub(crate) enum Noise<'a> {
    /// Simulated, in this ratio of variances.
    Snr(f64),
    /// Simulated, with this variance.
    Variance(f64),
    /// A patch of a tomogram, in this ratio of variances.
    Patch(&'a Background, f64),
}

impl Simulator {
    /// Tabulates the filters.
    ///
    /// # Errors
    /// As [`SimulationConfig::validate`].
    pub fn new(config: SimulationConfig) -> Result<Self> {
        config.validate()?;
        let fourier = Fourier::new(config.side);
        let tilts = TiltSeries::of(&config);
        let optics = if config.underfocus_spread > 0.0 {
            Optics::Spread(fourier.radial_filter(|k| mask(&config, &tilts, k)))
        } else {
            Optics::Fixed(fixed_optics(&config, &fourier, &tilts))
        };
        let aitom =
            (config.noise == NoiseColor::Aitom).then(|| Aitom::new(&config, &fourier, |k| mask(&config, &tilts, k)));
        let late = match config.noise {
            NoiseColor::HalfHalf => Some(fourier.filter(|k| tilts.transmission(k))),
            NoiseColor::Ice => Some(fourier.filter(|k| tilts.transmission(k) * ice::amplitude(k, config.voxel_size))),
            _ => None,
        };
        let low = config.low_noise.map(|low| {
            let passed = |k| tilts.transmission(k) * low.amplitude(k, config.voxel_size);
            (low.deviation, fourier.filter(passed))
        });
        let images = Reconstruction::of(&config);
        Ok(Self { config, fourier, optics, late, aitom, low, images })
    }

    /// The configuration in force.
    pub fn config(&self) -> &SimulationConfig {
        &self.config
    }

    /// One noisy subtomogram, a pure function of its arguments.
    ///
    /// # Errors
    /// [`Error::Volume`] if no signal is left to scale the noise by; [`Error::Config`] if the SNR goes
    /// by mass and the template's is not known.
    pub fn simulate(&self, template: &Template, seed: u64, index: u64) -> Result<Volume> {
        self.particle(template, Noise::Snr(self.snr_of(template)?), seed, index, |developed, _| developed.noisy())
    }

    /// The same subtomogram in its parts: their sum is what [`simulate`](Self::simulate) returns.
    ///
    /// # Errors
    /// As [`simulate`](Self::simulate).
    pub fn parts(&self, template: &Template, seed: u64, index: u64) -> Result<Subtomogram> {
        self.particle(template, Noise::Snr(self.snr_of(template)?), seed, index, |developed, pose| {
            developed.parts(pose)
        })
    }

    /// One subtomogram whose noise is a patch of a tomogram, a pure function of its arguments.
    ///
    /// # Errors
    /// As [`simulate`](Self::simulate); [`Error::Config`] if the tomogram's voxels are larger than the
    /// configured ones or a patch does not fit into it; [`Error::Volume`] if its patches have no contrast.
    pub fn simulate_on(&self, background: &Background, template: &Template, seed: u64, index: u64) -> Result<Volume> {
        let noise = Noise::Patch(background, self.snr_of(template)?);
        self.particle(template, noise, seed, index, |developed, _| developed.noisy())
    }

    /// The same subtomogram in its parts.
    ///
    /// # Errors
    /// As [`simulate_on`](Self::simulate_on).
    pub fn parts_on(&self, background: &Background, template: &Template, seed: u64, index: u64) -> Result<Subtomogram> {
        let noise = Noise::Patch(background, self.snr_of(template)?);
        self.particle(template, noise, seed, index, |developed, pose| developed.parts(pose))
    }

    /// var(signal) / var(noise) for a class.
    pub(crate) fn snr_of(&self, template: &Template) -> Result<f64> {
        let SnrScaling::ByMass { kilodaltons } = self.config.snr_scaling else {
            return Ok(self.config.snr);
        };
        match template.kilodaltons() {
            Some(mass) => Ok(self.config.snr * mass / kilodaltons),
            None => Err(Error::config(
                "snr_scaling",
                "`every_class` where a class's mass is not known, as of density maps",
                format!("by mass, of class {}", template.name()),
            )),
        }
    }

    fn particle<T>(
        &self,
        template: &Template,
        noise: Noise<'_>,
        seed: u64,
        index: u64,
        finish: impl FnOnce(Developed<'_>, Pose) -> T,
    ) -> Result<T> {
        let mut rng = stream(seed, index);
        let pose = Pose::random(self.config.max_shift, &mut rng);
        let place = |voxels: &mut [Complex32]| template.place(&pose, self.config.side, self.config.voxel_size, voxels);
        self.develop(template.name(), noise, &mut rng, place, |developed| finish(developed, pose))
    }

    /// Lets `fill` put density into the real parts of an empty box, then does what microscope and
    /// detector do. `name` is for the error.
    pub(crate) fn develop<T>(
        &self,
        name: &str,
        noise: Noise<'_>,
        rng: &mut ChaCha8Rng,
        fill: impl FnOnce(&mut [Complex32]),
        finish: impl FnOnce(Developed<'_>) -> T,
    ) -> Result<T> {
        BUFFERS.with_borrow_mut(|buffers| {
            let Buffers { voxels, late_noise, ctf, filter, scratch } = buffers;
            voxels.clear();
            voxels.resize(self.config.side.pow(3), Complex32::default());
            fill(voxels);
            let mut underfocus = self.config.underfocus;
            let optics = match &self.optics {
                Optics::Fixed(filter) => filter,
                Optics::Spread(tilts) => {
                    let spread = self.config.underfocus_spread;
                    underfocus += rng.random_range(-spread..=spread);
                    ctf.clear();
                    ctf.extend(tilts.frequencies().map(|k| self.config.contrast_transfer_at(underfocus, k) as f32));
                    tilts.times(ctf, filter);
                    &*filter
                }
            };
            let mut by_toolbox = None;
            match (noise, self.config.noise) {
                (Noise::Patch(background, _), _) => {
                    match &self.images {
                        Some(images) => images.develop(voxels, underfocus, Some(rng)),
                        None => self.fourier.apply(optics, voxels, scratch),
                    }
                    if let Some(aitom) = &self.aitom {
                        aitom.smooth(&self.fourier, voxels, scratch);
                        aitom.smooth(&self.fourier, voxels, scratch);
                    }
                    let patch = background.patch(self.config.side, self.config.voxel_size, rng)?;
                    for (voxel, &value) in voxels.iter_mut().zip(patch.voxels()) {
                        voxel.im = value;
                    }
                }
                _ if self.images.is_some() => {
                    let images = self.images.as_ref().expect("just seen");
                    images.develop(voxels, underfocus, Some(rng));
                }
                (_, NoiseColor::ThroughOptics) => {
                    add_noise(voxels, rng);
                    self.fourier.apply(optics, voxels, scratch);
                }
                (_, NoiseColor::White) => {
                    self.fourier.apply(optics, voxels, scratch);
                    add_noise(voxels, rng);
                }
                (_, NoiseColor::HalfHalf) => {
                    add_noise(voxels, rng);
                    self.fourier.apply(optics, voxels, scratch);
                    late_noise.clear();
                    late_noise.resize(voxels.len(), Complex32::default());
                    add_noise(late_noise, rng);
                    let late = self.late.as_ref().expect("made with this noise color");
                    self.fourier.apply(late, late_noise, scratch);
                    let (early, late) = (variance(voxels, |v| v.im), variance(late_noise, |v| v.im));
                    let balance = (early / late).sqrt() as f32;
                    for (voxel, late) in voxels.iter_mut().zip(late_noise.iter()) {
                        voxel.im += balance * late.im;
                    }
                }
                (_, NoiseColor::Ice) => {
                    self.fourier.apply(optics, voxels, scratch);
                    late_noise.clear();
                    late_noise.resize(voxels.len(), Complex32::default());
                    add_noise(late_noise, rng);
                    let late = self.late.as_ref().expect("made with this noise color");
                    self.fourier.apply(late, late_noise, scratch);
                    for (voxel, late) in voxels.iter_mut().zip(late_noise.iter()) {
                        voxel.im = late.im;
                    }
                }
                (_, NoiseColor::Aitom) => {
                    let aitom = self.aitom.as_ref().expect("made with this noise color");
                    by_toolbox = Some(aitom.develop(&self.fourier, optics, voxels, late_noise, scratch, rng));
                }
            }
            let unscaled = variance(voxels, |v| v.im);
            if let (Noise::Snr(_) | Noise::Variance(_), Some((deviation, low))) = (noise, &self.low) {
                late_noise.clear();
                late_noise.resize(voxels.len(), Complex32::default());
                add_noise(late_noise, rng);
                self.fourier.apply(low, late_noise, scratch);
                let factor = (deviation * (unscaled / variance(late_noise, |v| v.im)).sqrt()) as f32;
                for (voxel, low) in voxels.iter_mut().zip(late_noise.iter()) {
                    voxel.im += factor * low.im;
                }
            }
            let signal = by_toolbox.unwrap_or_else(|| variance(voxels, |v| v.re));
            let wanted = match noise {
                Noise::Snr(snr) | Noise::Patch(_, snr) => signal / snr,
                Noise::Variance(variance) => variance,
            };
            let scale = match by_toolbox {
                Some(_) => Aitom::scale(wanted, &self.fourier, optics),
                None => (wanted / unscaled).sqrt(),
            } as f32;
            if !scale.is_normal() {
                return Err(Error::Volume(format!(
                    "class {name}: the signal has variance {signal:e} and the noise {unscaled:e}, so no \
                     signal-to-noise ratio can be set"
                )));
            }
            Ok(finish(Developed { voxels, scale, side: self.config.side }))
        })
    }

    /// What `fill` puts into the box, after the optics at the configured underfocus and without noise.
    pub(crate) fn signal(&self, fill: impl FnOnce(&mut [Complex32])) -> Volume {
        let mut voxels = vec![Complex32::default(); self.config.side.pow(3)];
        fill(&mut voxels);
        if let Some(images) = &self.images {
            images.develop(&mut voxels, self.config.underfocus, None::<&mut ChaCha8Rng>);
            return Volume::from_finite(self.config.side, voxels.iter().map(|v| v.re).collect());
        }
        let filter = match &self.optics {
            Optics::Fixed(filter) => filter,
            Optics::Spread(_) => &fixed_optics(&self.config, &self.fourier, &TiltSeries::of(&self.config)),
        };
        self.fourier.apply(filter, &mut voxels, &mut Scratch::default());
        Volume::from_finite(self.config.side, voxels.iter().map(|v| v.re).collect())
    }
}

/// What of a frequency comes through the tilts.
fn mask(config: &SimulationConfig, tilts: &TiltSeries, k: [f64; 3]) -> f64 {
    let sphere = if config.noise == NoiseColor::Aitom { inscribed_sphere(k, config.side) } else { 1.0 };
    tilts.transmission(k) * sphere
}

/// CTF at the configured underfocus, and tilts.
fn fixed_optics(config: &SimulationConfig, fourier: &Fourier, tilts: &TiltSeries) -> Filter {
    fourier.filter(|k| {
        let [z, y, x] = k;
        mask(config, tilts, k) * config.contrast_transfer((z * z + y * y + x * x).sqrt())
    })
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
