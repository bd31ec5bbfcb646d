//! More of the same: changes to a subtomogram that leave its class as it is.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal, UnitSphere};
use rustfft::num_complex::Complex32;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    simulate::SimulationConfig,
    stream::stream,
    volume::fourier::{Filter, Fourier, Scratch},
    volume::{HalfTurn, Pose, Volume, rearranged},
};

/// What [`Augmenter`] does to a subtomogram, in the order of the fields.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::AugmentConfig;
///
/// let config = AugmentConfig { noise: 0.5, ..Default::default() };
/// assert!(config.half_turns && config.max_shift == 1);
/// let message = AugmentConfig { noise: -0.5, ..config }.validate().unwrap_err().to_string();
/// assert_eq!(message, "invalid `noise`: expected 0 to 10 standard deviations, got -0.5");
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Half turns about x, y or z, each as likely as no turn: flips of two axes. They map a missing wedge about y and
    /// any CTF onto themselves and keep handedness: a turned subtomogram is as real as it was. A flip of one axis
    /// would make the mirror image of a molecule. Default true.
    pub half_turns: bool,
    /// Largest shift along each axis in whole voxels, either way. Voxels that leave the box on one side come in on
    /// the other, so that noise and wedge stay the same. Default 1.
    pub max_shift: usize,
    /// Largest rotation in degrees, uniform among the rotations up to it; 180 is any. The wedge of the subtomogram
    /// turns with it, and interpolation softens the noise. Default 0, no rotation.
    pub max_rotation: f64,
    /// Largest tilt in degrees of the missing wedge that is imposed after a rotation or noise, where other
    /// subtomograms have theirs. A turned wedge stays missing as well. Default 60; `None` imposes no wedge.
    pub max_tilt: Option<f64>,
    /// White noise of up to so many standard deviations of the subtomogram, drawn uniformly. With a `max_tilt`, the
    /// noise has the missing wedge. Default 0.
    pub noise: f64,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self { half_turns: true, max_shift: 1, max_rotation: 0.0, max_tilt: Some(60.0), noise: 0.0 }
    }
}

impl AugmentConfig {
    /// No change at all.
    pub fn none() -> Self {
        Self { half_turns: false, max_shift: 0, max_rotation: 0.0, max_tilt: None, noise: 0.0 }
    }

    /// Checks the values without making anything.
    ///
    /// # Errors
    /// [`Error::Config`] for the first field out of its range.
    pub fn validate(&self) -> Result<()> {
        let Self { half_turns: _, max_shift, max_rotation, max_tilt, noise } = *self;
        // Written so that NaN fails each of them.
        if max_shift > 64 {
            return Err(Error::config("max_shift", "0 to 64 voxels", max_shift));
        }
        if !(0.0..=180.0).contains(&max_rotation) {
            return Err(Error::config("max_rotation", "0 to 180 degrees", max_rotation));
        }
        if let Some(max_tilt) = max_tilt
            && !(max_tilt > 0.0 && max_tilt <= 90.0)
        {
            return Err(Error::config("max_tilt", "a number of degrees above 0 and up to 90, or none", max_tilt));
        }
        if !(0.0..=10.0).contains(&noise) {
            return Err(Error::config("noise", "0 to 10 standard deviations", noise));
        }
        Ok(())
    }
}

/// Keeps the noise apart from that of a simulation with the same seed, which draws from the same kind of stream: a
/// sample's own noise must not be added again. (The first digits of the square root of 2.)
const NOISE_DOMAIN: u64 = 0x6a09_e667_f3bc_c908;

/// Augments subtomograms of one side: the result is a pure function of volume, seed and index.
///
/// Half turns and whole shifts only move voxels (20 µs at 40³). A rotation interpolates. The wedge or noise that
/// follows costs two Fourier transforms.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{AugmentConfig, Augmenter, Simulator, SimulationConfig, catalogue};
///
/// let config = SimulationConfig { side: 16, ..Default::default() };
/// let volume = Simulator::new(config)?.simulate(&catalogue::entries()[0].template(), 1, 7)?;
/// let augmenter = Augmenter::new(AugmentConfig::default(), 16)?;
/// let augmented = augmenter.augment(&volume, 1, 0)?;
/// assert_eq!(augmented, augmenter.augment(&volume, 1, 0)?);
/// // Half turns and shifts keep every voxel.
/// assert!((augmented.statistics().std - volume.statistics().std).abs() < 1e-9);
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug)]
pub struct Augmenter {
    config: AugmentConfig,
    side: usize,
    fourier: Fourier,
    wedge: Option<Filter>,
}

impl Augmenter {
    /// Tabulates the wedge for volumes of `side³` voxels.
    ///
    /// # Errors
    /// As [`AugmentConfig::validate`]; [`Error::Config`] for a side below 1, or above 1024.
    pub fn new(config: AugmentConfig, side: usize) -> Result<Self> {
        config.validate()?;
        if !(1..=1024).contains(&side) {
            return Err(Error::config("side", "1 to 1024 voxels", side));
        }
        let fourier = Fourier::new(side);
        let wedge = config.max_tilt.filter(|_| config.max_rotation > 0.0 || config.noise > 0.0).map(|max_tilt| {
            let seen = SimulationConfig { max_tilt, ..Default::default() };
            fourier.filter(|k| f64::from(u8::from(seen.is_sampled(k))))
        });
        Ok(Self { config, side, fourier, wedge })
    }

    /// The configuration in force.
    pub fn config(&self) -> &AugmentConfig {
        &self.config
    }

    /// One augmented copy.
    ///
    /// # Errors
    /// [`Error::Volume`] if the volume has another side.
    pub fn augment(&self, volume: &Volume, seed: u64, index: u64) -> Result<Volume> {
        if volume.side() != self.side {
            return Err(Error::Volume(format!(
                "expected {} voxels along each edge to augment, got {}",
                self.side,
                volume.side()
            )));
        }
        let AugmentConfig { half_turns, max_shift, max_rotation, noise, .. } = self.config;
        let mut rng = stream(seed, index);
        let mut augmented = volume.clone();
        if half_turns {
            augmented = HalfTurn::ALL[rng.random_range(0..HalfTurn::ALL.len())].of(&augmented);
        }
        if max_shift > 0 {
            let (side, reach) = (self.side as i64, max_shift as i64);
            let shift: [i64; 3] = std::array::from_fn(|_| rng.random_range(-reach..=reach));
            augmented = rearranged(&augmented, |axis, index| (index as i64 - shift[axis]).rem_euclid(side) as usize);
        }
        if max_rotation > 0.0 {
            let rotation = rotation_up_to(max_rotation.to_radians(), &mut rng);
            augmented = rotated(&augmented, &Pose { rotation, shift: [0.0; 3] }.matrix());
        }
        if max_rotation > 0.0 || noise > 0.0 {
            let spread = if noise > 0.0 { rng.random_range(0.0..=noise) } else { 0.0 };
            augmented = self.with_noise(&augmented, spread, &mut stream(seed ^ NOISE_DOMAIN, index));
        }
        Ok(augmented)
    }

    /// Adds noise of so many standard deviations, then imposes the wedge on both.
    fn with_noise(&self, volume: &Volume, deviations: f64, rng: &mut impl Rng) -> Volume {
        let spread = deviations * volume.statistics().std;
        let noisy = |value: f32, normal: f32| value + spread as f32 * normal;
        let Some(wedge) = &self.wedge else {
            let voxels = volume.voxels().iter().map(|&value| noisy(value, StandardNormal.sample(rng)));
            return Volume::from_finite(self.side, voxels.collect());
        };
        // The noise goes through the wedge in the imaginary part, so that its spread can be set after.
        let draw = |value: &f32| {
            Complex32::new(*value, if self.config.noise > 0.0 { StandardNormal.sample(rng) } else { 0.0 })
        };
        let mut voxels: Vec<Complex32> = volume.voxels().iter().map(draw).collect();
        self.fourier.apply(wedge, &mut voxels, &mut Scratch::default());
        let passed = voxels.iter().map(|v| f64::from(v.im).powi(2)).sum::<f64>() / voxels.len() as f64;
        let scale = if passed > 0.0 { (1.0 / passed.sqrt()) as f32 } else { 0.0 };
        let voxels = voxels.into_iter().map(|v| noisy(v.re, scale * v.im));
        Volume::from_finite(self.side, voxels.collect())
    }
}

/// A rotation by at most `largest` radians, drawn uniformly, as a unit quaternion.
fn rotation_up_to(largest: f64, rng: &mut impl Rng) -> [f64; 4] {
    let [x, y, z]: [f64; 3] = UnitSphere.sample(rng);
    // Angles of uniform rotations are distributed as θ − sin θ.
    let below = |angle: f64| angle - angle.sin();
    let wanted = rng.random_range(0.0..=1.0) * below(largest);
    let (mut low, mut high) = (0.0, largest);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if below(middle) < wanted { low = middle } else { high = middle }
    }
    let (sine, cosine) = (low / 2.0).sin_cos();
    [cosine, sine * x, sine * y, sine * z]
}

/// Turns a volume about its center by trilinear interpolation, as if it went on periodically: noise comes in from
/// outside, not emptiness.
fn rotated(volume: &Volume, matrix: &[[f64; 3]; 3]) -> Volume {
    let side = volume.side();
    let middle = (side / 2) as f64;
    let from = volume.voxels();
    let mut voxels = Vec::with_capacity(side.pow(3));
    for z in 0..side {
        for y in 0..side {
            for x in 0..side {
                let offset = [x as f64 - middle, y as f64 - middle, z as f64 - middle];
                let mut near = [0; 3];
                let mut part = [0.0; 3];
                for axis in 0..3 {
                    let place: f64 = (0..3).map(|row| matrix[row][axis] * offset[row]).sum::<f64>() + middle;
                    let floor = place.floor();
                    near[axis] = (floor as isize).rem_euclid(side as isize) as usize;
                    part[axis] = (place - floor) as f32;
                }
                let [ax, ay, az] = part;
                let [x0, y0, z0] = near;
                let [x1, y1, z1] = near.map(|index| (index + 1) % side);
                let line = |z: usize, y: usize| {
                    let row = (z * side + y) * side;
                    from[row + x0] + ax * (from[row + x1] - from[row + x0])
                };
                let plane = |z: usize| line(z, y0) + ay * (line(z, y1) - line(z, y0));
                voxels.push(plane(z0) + az * (plane(z1) - plane(z0)));
            }
        }
    }
    Volume::from_finite(side, voxels)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::{rotated, rotation_up_to};
    use crate::{Pose, Volume};

    /// Rotations by at most an angle are uniform ones that are no larger: the angle has their distribution, cut off,
    /// and no axis is preferred.
    #[test]
    fn rotations_up_to_an_angle_are_uniform_among_those() {
        const DRAWS: usize = 4000;
        for largest in [0.2f64, 1.0, std::f64::consts::PI] {
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            let mut parts = Vec::new();
            let mut axes = [0.0; 3];
            for _ in 0..DRAWS {
                let [cosine, x, y, z] = rotation_up_to(largest, &mut rng);
                let sine = (x * x + y * y + z * z).sqrt();
                assert!((cosine * cosine + sine * sine - 1.0).abs() < 1e-12);
                let angle = 2.0 * sine.atan2(cosine);
                parts.push((angle - angle.sin()) / (largest - largest.sin()));
                for (sum, c) in axes.iter_mut().zip([x, y, z]) {
                    *sum += c / sine / DRAWS as f64;
                }
            }
            parts.sort_by(f64::total_cmp);
            // Kolmogorov and Smirnov; the 1e-6 point of the statistic is 2.7/√n.
            let apart = parts.iter().enumerate().map(|(rank, part)| (part - rank as f64 / DRAWS as f64).abs());
            let apart = apart.fold(0.0, f64::max);
            assert!(apart < 2.7 / (DRAWS as f64).sqrt(), "{largest}: {apart}");
            // Means of numbers of variance 1/3; five standard errors.
            assert!(axes.iter().all(|mean| mean.abs() < 5.0 / (3.0 * DRAWS as f64).sqrt()), "{axes:?}");
        }
    }

    /// Linear interpolation is exact for a linear gradient.
    #[test]
    fn a_gradient_turns_with_the_box() {
        for side in [12, 13] {
            let middle = (side / 2) as f64;
            let gradient = |[x, y, z]: [f64; 3]| 3.0 + 0.5 * x - 0.7 * y + 1.1 * z;
            let place =
                |index: usize| [index % side, index / side % side, index / (side * side)].map(|c| c as f64 - middle);
            let voxels = (0..side.pow(3)).map(|index| gradient(place(index)) as f32);
            let volume = Volume::new(side, voxels.collect()).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            for _ in 0..5 {
                let matrix = Pose::random(0.0, &mut rng).matrix();
                let mut compared = 0;
                for (index, &voxel) in rotated(&volume, &matrix).voxels().iter().enumerate() {
                    let at = place(index);
                    let source: [f64; 3] = std::array::from_fn(|k| (0..3).map(|row| matrix[row][k] * at[row]).sum());
                    // Farther out, interpolation reads the other side.
                    if source.iter().all(|c| c.abs() < middle - 1.0) {
                        assert!((f64::from(voxel) - gradient(source)).abs() < 1e-4, "{at:?}");
                        compared += 1;
                    }
                }
                assert!(compared > 500, "{compared}");
            }
        }
    }
}
