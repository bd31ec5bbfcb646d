//! Rotations and shifts.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

/// How a particle lies in its box: turned about the center, then shifted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// The rotation as a unit quaternion `[w, x, y, z]`.
    pub rotation: [f64; 4],
    /// The shift `[x, y, z]` in voxels.
    pub shift: [f64; 3],
}

impl Pose {
    /// Draws a rotation uniformly from all rotations (a normal four-vector has no preferred
    /// direction) and a shift uniformly from `±max_shift` voxels on each axis.
    ///
    /// # Panics
    /// If `max_shift` is negative or not finite.
    ///
    /// # Examples
    /// ```
    /// use rand::SeedableRng;
    /// use rand_chacha::ChaCha8Rng;
    /// use soft_lmccl_cect::Pose;
    ///
    /// let pose = Pose::random(1.5, &mut ChaCha8Rng::seed_from_u64(1));
    /// assert!(pose.shift.iter().all(|shift| shift.abs() <= 1.5));
    /// let length: f64 = pose.rotation.iter().map(|q| q * q).sum();
    /// assert!((length - 1.0).abs() < 1e-12);
    /// ```
    pub fn random(max_shift: f64, rng: &mut impl Rng) -> Self {
        let rotation = loop {
            let quaternion: [f64; 4] = std::array::from_fn(|_| StandardNormal.sample(rng));
            let norm = quaternion.iter().map(|q| q * q).sum::<f64>().sqrt();
            // Too short to be normalized without loss; almost never happens.
            if norm > 1e-6 {
                break quaternion.map(|q| q / norm);
            }
        };
        let shift = std::array::from_fn(|_| rng.random_range(-max_shift..=max_shift));
        Self { rotation, shift }
    }

    /// The rotation matrix: it maps `[x, y, z]` of the template to those of the box.
    pub fn matrix(&self) -> [[f64; 3]; 3] {
        let [w, x, y, z] = self.rotation;
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    }
}
