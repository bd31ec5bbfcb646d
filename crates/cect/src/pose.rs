//! Rotations and shifts.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use rustfft::num_complex::Complex32;

use super::{Template, density::ATOM_REACH};

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
            // Too short to be normalized without loss; happens about never.
            if norm > 1e-6 {
                break quaternion.map(|q| q / norm);
            }
        };
        let shift = std::array::from_fn(|_| rng.random_range(-max_shift..=max_shift));
        Self { rotation, shift }
    }

    /// The rotation matrix, which takes `[x, y, z]` of the template to those of the box.
    pub fn matrix(&self) -> [[f64; 3]; 3] {
        let [w, x, y, z] = self.rotation;
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    }

    /// Adds the template, turned and shifted, to the real parts of a box of `side³` voxels of
    /// `voxel_size`, by trilinear interpolation. What lies outside the box is left out.
    pub(super) fn place(&self, template: &Template, side: usize, voxel_size: f64, voxels: &mut [Complex32]) {
        self.place_weighted(1.0, template, side, voxel_size, voxels);
    }

    /// The same with every electron in its voxel: the template is read at the density of its own voxels, and
    /// those of the box hold less where they are smaller. Beside a density that knows its voxels, as a
    /// membrane's, that matters.
    pub(super) fn place_electrons(&self, template: &Template, side: usize, voxel_size: f64, voxels: &mut [Complex32]) {
        let weight = (voxel_size / template.voxel_size()).powi(3);
        self.place_weighted(weight as f32, template, side, voxel_size, voxels);
    }

    fn place_weighted(&self, weight: f32, template: &Template, side: usize, voxel_size: f64, voxels: &mut [Complex32]) {
        let source = template.volume();
        let (edge, from) = (source.side(), source.voxels());
        let scale = voxel_size / template.voxel_size();
        let matrix = self.matrix();
        // The inverse rotation, from the box to the template, in voxels of each.
        let inverse = |offset: [f64; 3]| -> [f64; 3] {
            std::array::from_fn(|k| scale * (0..3).map(|row| matrix[row][k] * offset[row]).sum::<f64>())
        };
        let [step_x, step_y, step_z] = inverse([1.0, 0.0, 0.0]).map(|s| s as f32);
        // Outside this sphere, in voxels of the box, the turned template is empty: atoms reach so
        // far, voxels are centered up to √3/2 away and interpolation reads the next one.
        let reach = ((template.radius() + ATOM_REACH) / template.voxel_size() + 3.0) / scale;
        let middle = (side / 2) as f64;
        let template_middle = (edge / 2) as f64;
        let last = (edge - 2) as f32;
        for z in 0..side {
            let offset_z = z as f64 - middle - self.shift[2];
            for y in 0..side {
                let offset_y = y as f64 - middle - self.shift[1];
                let left = reach * reach - offset_z * offset_z - offset_y * offset_y;
                if left < 0.0 {
                    continue;
                }
                let (center, half) = (middle + self.shift[0], left.sqrt());
                let start = (center - half).ceil().max(0.0) as usize;
                let end = ((center + half).floor() + 1.0).clamp(0.0, side as f64) as usize;
                let [x0, y0, z0] =
                    inverse([-middle - self.shift[0], offset_y, offset_z]).map(|c| (c + template_middle) as f32);
                let row = &mut voxels[(z * side + y) * side..][..side];
                for (x, voxel) in row.iter_mut().enumerate().take(end).skip(start) {
                    let x = x as f32;
                    let tx = x0 + x * step_x;
                    let ty = y0 + x * step_y;
                    let tz = z0 + x * step_z;
                    let inside = |t: f32| t >= 0.0 && t <= last + 1.0;
                    if !(inside(tx) && inside(ty) && inside(tz)) {
                        continue;
                    }
                    let (fx, fy, fz) = (tx.floor().min(last), ty.floor().min(last), tz.floor().min(last));
                    let index = (fz as usize * edge + fy as usize) * edge + fx as usize;
                    let (ax, ay, az) = (tx - fx, ty - fy, tz - fz);
                    let line = |at: usize| {
                        let pair = &from[at..at + 2];
                        pair[0] + ax * (pair[1] - pair[0])
                    };
                    let plane = |at: usize| {
                        let (near, far) = (line(at), line(at + edge));
                        near + ay * (far - near)
                    };
                    let (near, far) = (plane(index), plane(index + edge * edge));
                    voxel.re += weight * (near + az * (far - near));
                }
            }
        }
    }
}
