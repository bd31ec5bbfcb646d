//! How subtomograms are simulated: the numbers, their ranges, and the optics that follow from them.

use serde::{Deserialize, Serialize};

use super::TiltImages;
use crate::{Error, Result, structure::VOXEL_SIZE};

/// What the noise went through before it reached the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoiseColor {
    /// All noise passes the CTF and the wedge with the signal.
    #[default]
    ThroughOptics,
    /// White noise, also inside the wedge.
    White,
    /// Half of the variance passes CTF and wedge, half the wedge alone.
    HalfHalf,
    /// Noise with the spectrum of real background, ice beside microtubules, inside the wedge and not behind a CTF:
    ///
    /// ```text
    /// P(f) ∝ exp(−(f / 0.0370)²) + (0.00742 / f)²      f in cycles per Å
    /// ```
    /// The first term is what detector and reconstruction leave of white noise, the second solvent and neighbors. One
    /// tomogram decided the two numbers; a fuller specimen has more of the second.
    Ice,
    /// As the paper's authors' toolbox has it, low-pass filters of the signal included. The toolbox draws white noise
    /// to estimate the mean below, and centers the CTF half an entry off if the side is odd; here both are exact.
    ///
    /// ```text
    /// L·M·(C·(L·density + n₁) + D·n₂)      var n₁ = var n₂ = var(C·M·density) / (2·SNR·mean (C·M)²)
    /// ```
    /// with filters of the frequency: `C` the CTF with its envelope, `M` the mask of the tilts inside the sphere that
    /// the spectrum's faces touch, `L` a soft sphere of a quarter of the side (at 10 Å; ⌊side·nm/4⌋), `D` a Gaussian
    /// of 0.2 sides beyond frequency 1; `n` white. `SNR` is thus not met by the voxels that come out, whose high
    /// frequencies are gone and whose low ones are noisier than the CTF would leave them.
    Aitom,
}

/// What has the signal-to-noise ratio that [`SimulationConfig::snr`] says.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum SnrScaling {
    /// Every sample of every class, as in the paper's sets.
    #[default]
    EveryClass,
    /// A class of this mass; the others in proportion to theirs. One tomogram has one noise, and the
    /// variance that a particle brings into its box grows with its volume.
    ByMass {
        /// The mass in kilodalton.
        kilodaltons: f64,
    },
}

/// How subtomograms are simulated.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::SimulationConfig;
///
/// let config = SimulationConfig { side: 40, ..SimulationConfig::s1() };
/// assert_eq!(config.snr, 0.03);
/// let message = SimulationConfig { snr: -1.0, ..config }.validate().unwrap_err().to_string();
/// assert_eq!(message, "invalid `snr`: expected a number above 0 and up to 1e6, got -1");
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulationConfig {
    /// var(signal) / var(noise) over all voxels of the final box, except as [`NoiseColor::Aitom`] counts. Default 0.05,
    /// the paper's set S2.
    pub snr: f64,
    /// Side of the final box in voxels. Default 32; the paper's is 40.
    pub side: usize,
    /// Default [`SnrScaling::EveryClass`].
    pub snr_scaling: SnrScaling,
    /// Edge of a voxel in Angstrom, 8 to 20. Default 10, as the paper and as templates are sampled;
    /// data sets average templates over larger voxels first ([`Template::resampled`](crate::Template::resampled)).
    pub voxel_size: f64,
    /// Acceleration voltage in kV. Default 300 (AITom).
    pub voltage: f64,
    /// Spherical aberration in mm. Default 2.7 (AITom's demo).
    pub spherical_aberration: f64,
    /// Underfocus in µm; negative is overfocus. Default 5 (AITom's tutorial and packed set).
    pub underfocus: f64,
    /// How far the underfocus of a sample lies from that at most, in µm: drawn uniformly, as a tilted
    /// or thick specimen spreads it. Default 0.
    pub underfocus_spread: f64,
    /// Part of the contrast that is amplitude contrast. Default 0 (AITom); 0.07 to 0.1 is usual
    /// for ice.
    pub amplitude_contrast: f64,
    /// Frequency in cycles per voxel at which the envelope has fallen to 1/e. Default 0.4.
    pub envelope: f64,
    /// Largest tilt about the y axis in degrees. Default 60, a missing wedge of 30° (AITom).
    pub max_tilt: f64,
    /// Degrees between tilts; `None` (the default, and AITom's mask) sees every angle up to
    /// `max_tilt`. With a step, each tilt fills a slab of Fourier space as thick as one over the box,
    /// with gaps between them at high frequencies.
    pub tilt_step: Option<f64>,
    /// Electrons per Å² that each tilt takes, weighted by what radiation damage leaves of each
    /// frequency; tilts are taken from 0° outwards, the positive first. Default 0, no damage; needs a
    /// `tilt_step`. 2 to 3 is usual.
    pub tilt_dose: f64,
    /// Largest shift along each axis in voxels, either way. Default 1.
    pub max_shift: f64,
    /// Default [`NoiseColor::ThroughOptics`].
    pub noise: NoiseColor,
    /// Noise of solvent and neighbors beside `noise`. Default `None`.
    pub low_noise: Option<LowNoise>,
    /// Whether the phases that the CTF inverts were flipped back, as users' pipelines correct for it: the signal passes
    /// `−|CTF|`, so that protein is dark at every frequency. Default false.
    pub phase_flip: bool,
    /// Images of a tilt series, back-projected, in place of a mask of the tilts. Default `None`; needs a `tilt_step`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tilt_images: Option<TiltImages>,
}

/// Noise at low frequencies, which solvent, neighbors and uneven ice leave in a tomogram: inside the wedge, not behind a
/// CTF.
///
/// ```text
/// P(f) ∝ exp(−(length · f)²)      f in cycles per Å
/// ```
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{LowNoise, SimulationConfig, Simulator, catalogue};
///
/// let low_noise = Some(LowNoise { deviation: 0.5, length: 100.0 });
/// let simulator = Simulator::new(SimulationConfig { low_noise, ..Default::default() })?;
/// let parts = simulator.parts(&catalogue::entries()[0].template(), 1, 7)?;
/// let variance = |volume: &soft_lmccl_cect::Volume| volume.statistics().std.powi(2);
/// // An SNR of 0.05 is 0.05 / (1 + 0.5²) with it.
/// assert!((variance(&parts.signal) / variance(&parts.noise) - 0.04).abs() < 0.002);
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LowNoise {
    /// Its standard deviation as a part of that of the other noise, which alone [`SimulationConfig::snr`] counts.
    pub deviation: f64,
    /// Above one over this length, in Å, there is less than 1/e of its power.
    pub length: f64,
}

impl LowNoise {
    /// Root of the power at a frequency in cycles per voxel, and nothing at 0, since a mean is no noise.
    pub(super) fn amplitude(&self, frequency: [f64; 3], voxel_size: f64) -> f64 {
        let f2 = frequency.iter().map(|k| (k / voxel_size).powi(2)).sum::<f64>();
        if f2 > 0.0 { (-0.5 * self.length.powi(2) * f2).exp() } else { 0.0 }
    }
}

impl Default for SimulationConfig {
    fn default() -> Self {
        Self {
            snr: 0.05,
            side: 32,
            snr_scaling: SnrScaling::EveryClass,
            voxel_size: VOXEL_SIZE,
            voltage: 300.0,
            spherical_aberration: 2.7,
            underfocus: 5.0,
            underfocus_spread: 0.0,
            amplitude_contrast: 0.0,
            envelope: 0.4,
            max_tilt: 60.0,
            tilt_step: None,
            tilt_dose: 0.0,
            max_shift: 1.0,
            noise: NoiseColor::ThroughOptics,
            low_noise: None,
            phase_flip: false,
            tilt_images: None,
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

    /// As the paper's authors' toolbox, AITom, makes subtomograms at what it calls this SNR: [`NoiseColor::Aitom`] with
    /// the numbers of its tutorial (10 Å, 5 µm, 300 kV, Cs 2 mm, envelope at 0.4 of the Nyquist frequency, a wedge of
    /// 30°, shifts within ±5 % of the box, here of 32). The paper's sets S1 and S2 are at 0.03 and 0.05, in a box of 40.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::{SimulationConfig, Simulator, catalogue};
    ///
    /// let simulator = Simulator::new(SimulationConfig { side: 16, ..SimulationConfig::aitom(0.05) })?;
    /// let parts = simulator.parts(&catalogue::entries()[0].template(), 1, 7)?;
    /// let variance = |volume: &soft_lmccl_cect::Volume| volume.statistics().std.powi(2);
    /// // Counted in the voxels that come out, its 0.05 is far less.
    /// assert!(variance(&parts.signal) / variance(&parts.noise) < 0.03);
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn aitom(snr: f64) -> Self {
        Self {
            snr,
            spherical_aberration: 2.0,
            envelope: 0.2,
            max_shift: 1.6,
            noise: NoiseColor::Aitom,
            ..Self::default()
        }
    }

    /// Checks the values without making anything.
    ///
    /// # Errors
    /// [`Error::Config`] for the first field out of its range.
    pub fn validate(&self) -> Result<()> {
        let check = |field, valid: bool, expected: &str, got: &dyn std::fmt::Display| {
            if valid { Ok(()) } else { Err(Error::config(field, expected, got)) }
        };
        let Self {
            snr,
            side,
            snr_scaling,
            voxel_size,
            voltage,
            spherical_aberration,
            underfocus,
            underfocus_spread,
            amplitude_contrast,
            envelope,
            max_tilt,
            tilt_step,
            tilt_dose,
            max_shift,
            noise: _,
            low_noise,
            phase_flip: _,
            tilt_images,
        } = *self;
        // Written so that NaN fails each of them.
        check("snr", snr > 0.0 && snr <= 1e6, "a number above 0 and up to 1e6", &snr)?;
        check("side", (8..=128).contains(&side), "8 to 128 voxels", &side)?;
        check("voxel_size", (8.0..=20.0).contains(&voxel_size), "8 to 20 Å", &voxel_size)?;
        if let SnrScaling::ByMass { kilodaltons } = snr_scaling {
            let valid = kilodaltons > 0.0 && kilodaltons <= 1e6;
            check("snr_scaling", valid, "a mass above 0 and up to 1e6 kDa", &kilodaltons)?;
        }
        check("voltage", (10.0..=2000.0).contains(&voltage), "10 to 2000 kV", &voltage)?;
        check(
            "spherical_aberration",
            (0.0..=20.0).contains(&spherical_aberration),
            "0 to 20 mm",
            &spherical_aberration,
        )?;
        check("underfocus", (-50.0..=50.0).contains(&underfocus), "-50 to 50 µm", &underfocus)?;
        check("underfocus_spread", (0.0..=10.0).contains(&underfocus_spread), "0 to 10 µm", &underfocus_spread)?;
        check("amplitude_contrast", (0.0..=1.0).contains(&amplitude_contrast), "0 to 1", &amplitude_contrast)?;
        check("envelope", (0.01..=100.0).contains(&envelope), "0.01 to 100 cycles per voxel", &envelope)?;
        check("max_tilt", max_tilt > 0.0 && max_tilt <= 90.0, "a number of degrees above 0 and up to 90", &max_tilt)?;
        if let Some(step) = tilt_step {
            check("tilt_step", (0.1..=30.0).contains(&step), "0.1 to 30 degrees, or none", &step)?;
        }
        check("tilt_dose", (0.0..=100.0).contains(&tilt_dose), "0 to 100 electrons per Å²", &tilt_dose)?;
        check(
            "tilt_dose",
            tilt_dose <= 0.0 || tilt_step.is_some(),
            "0 where no `tilt_step` says how many tilts there are",
            &tilt_dose,
        )?;
        if let Some(LowNoise { deviation, length }) = low_noise {
            check("low_noise", deviation > 0.0 && deviation <= 100.0, "a deviation above 0 and up to 100", &deviation)?;
            check("low_noise", (10.0..=1000.0).contains(&length), "a length of 10 to 1000 Å", &length)?;
        }
        if let Some(images) = tilt_images {
            images.validate(self)?;
        }
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
    /// and `w` amplitude contrast. Negative at low frequencies, so that protein is dark. With `phase_flip` the sine is
    /// taken without its sign.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::SimulationConfig;
    ///
    /// let config = SimulationConfig::default();
    /// assert_eq!(config.contrast_transfer(0.0), 0.0);
    /// assert!(config.contrast_transfer(0.1) < 0.0);
    /// // 5 µm of underfocus cross zero first near 1/√(λ Δz) = 1/31 Å.
    /// assert!(config.contrast_transfer(0.31) * config.contrast_transfer(0.33) < 0.0);
    /// ```
    pub fn contrast_transfer(&self, frequency: f64) -> f64 {
        self.contrast_transfer_at(self.underfocus, frequency)
    }

    /// The same at another underfocus, in µm.
    pub(crate) fn contrast_transfer_at(&self, underfocus: f64, frequency: f64) -> f64 {
        use std::f64::consts::PI;
        let wavelength = electron_wavelength(self.voltage);
        let k2 = (frequency / self.voxel_size).powi(2);
        let underfocus = underfocus * 1e4;
        let aberration = self.spherical_aberration * 1e7;
        let phase = PI * wavelength * underfocus * k2 - 0.5 * PI * aberration * wavelength.powi(3) * k2 * k2
            + self.amplitude_contrast.asin();
        let sine = if self.phase_flip { phase.sin().abs() } else { phase.sin() };
        -sine * (-(frequency / self.envelope).powi(2)).exp()
    }

    /// Whether tilting sees the frequency `[z, y, x]`, else it is in the missing wedge: the beam is along z, the tilt
    /// axis is y.
    pub fn is_sampled(&self, [z, _, x]: [f64; 3]) -> bool {
        // The plane of the largest tilt is seen, although its sine and cosine round.
        let (sine, cosine) = self.max_tilt.to_radians().sin_cos();
        z.abs() * cosine <= x.abs() * sine + 1e-9
    }

    /// How much of a frequency `[z, y, x]`, in cycles per voxel, the tilt series passes, 0 to 1: the
    /// missing wedge, the gaps between tilts and radiation damage, but not the CTF.
    ///
    /// # Formula
    /// ```text
    /// T(k) = Σₜ wₜ(k)·qₜ(k) / max(1, Σₜ wₜ(k))          wₜ(k) = max(0, 1 − side·|kz cos θₜ − kx sin θₜ|)
    /// qₜ(k) = exp(−Nₜ / 2Nₑ(k))                          Nₑ(k) = 0.245·k^(−1.665) + 2.81
    /// ```
    /// with `θₜ` the tilts, `Nₜ` the electrons per Å² taken up to the middle of tilt `t` and `Nₑ` the
    /// critical exposure at `k` in cycles per Å. Without a `tilt_step`, 1 within `max_tilt` and 0
    /// beyond.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::SimulationConfig;
    ///
    /// let config = SimulationConfig { tilt_step: Some(3.0), tilt_dose: 3.0, ..Default::default() };
    /// assert_eq!(config.tilts().len(), 41);
    /// assert_eq!(config.transmission([0.0, 0.0, 0.0]), 1.0);
    /// assert_eq!(config.transmission([0.4, 0.0, 0.0]), 0.0); // in the missing wedge
    /// // Damage takes the fine detail first.
    /// assert!(config.transmission([0.0, 0.4, 0.0]) < config.transmission([0.0, 0.1, 0.0]));
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    ///
    /// # References
    /// T. Grant and N. Grigorieff, *Measuring the optimal exposure for single particle cryo-EM using a
    /// 2.6 Å reconstruction of rotavirus VP6*, eLife 4:e06980, 2015, Eq. 3, fitted at 300 kV.
    pub fn transmission(&self, frequency: [f64; 3]) -> f64 {
        TiltSeries::of(self).transmission(frequency)
    }

    /// What radiation leaves of a frequency in cycles per voxel after so many electrons per Å².
    pub(super) fn undamaged(&self, frequency: f64, exposure: f64) -> f64 {
        (-exposure / (2.0 * critical_exposure(frequency / self.voxel_size))).exp()
    }

    /// The tilts in the order in which they are taken, in degrees, each with the electrons per Å²
    /// taken up to its middle: 0°, then one step out, the positive side first. Empty without a
    /// `tilt_step`.
    pub fn tilts(&self) -> Vec<(f64, f64)> {
        let Some(step) = self.tilt_step else { return Vec::new() };
        // A range that the step divides keeps its last tilt, although the division rounds.
        let each_side = (self.max_tilt / step + 1e-9).floor() as usize;
        std::iter::once(0.0)
            .chain((1..=each_side).flat_map(|count| [count as f64 * step, -(count as f64 * step)]))
            .enumerate()
            .map(|(order, tilt)| (tilt, (order as f64 + 0.5) * self.tilt_dose))
            .collect()
    }
}

/// The tilts of a configuration, tabulated.
pub(crate) struct TiltSeries {
    config: SimulationConfig,
    /// Sine and cosine of each tilt, and the electrons per Å² taken up to its middle.
    tilts: Vec<[f64; 3]>,
}

impl TiltSeries {
    pub(crate) fn of(config: &SimulationConfig) -> Self {
        let tabulated = |(tilt, exposure): (f64, f64)| {
            let (sine, cosine) = tilt.to_radians().sin_cos();
            [sine, cosine, exposure]
        };
        Self { config: *config, tilts: config.tilts().into_iter().map(tabulated).collect() }
    }

    /// As [`SimulationConfig::transmission`].
    pub(crate) fn transmission(&self, frequency @ [z, y, x]: [f64; 3]) -> f64 {
        if self.tilts.is_empty() {
            return f64::from(u8::from(self.config.is_sampled(frequency)));
        }
        let k = (z * z + y * y + x * x).sqrt() / self.config.voxel_size;
        let critical = critical_exposure(k);
        let (mut passed, mut covered) = (0.0, 0.0);
        for &[sine, cosine, exposure] in &self.tilts {
            let weight = (1.0 - self.config.side as f64 * (z * cosine - x * sine).abs()).max(0.0);
            if weight > 0.0 {
                covered += weight;
                passed += weight * (-exposure / (2.0 * critical)).exp();
            }
        }
        passed / covered.max(1.0)
    }
}

/// Electrons per Å² that leave 1/e of the power of a frequency in cycles per Å.
fn critical_exposure(k: f64) -> f64 {
    if k > 0.0 { 0.244_99 * k.powf(-1.664_9) + 2.814_1 } else { f64::INFINITY }
}

/// Relativistic wavelength in Angstrom of electrons accelerated by so many kV (0.0197 at 300 kV).
fn electron_wavelength(kilovolts: f64) -> f64 {
    let volts = 1e3 * kilovolts;
    12.264_259 / (volts * (1.0 + 0.978_475_6e-6 * volts)).sqrt()
}
