//! A particle put into a box of other voxels.

use rustfft::num_complex::Complex32;

use super::Template;
use crate::{structure::ATOM_REACH, volume::Pose};

impl Template {
    /// Adds the particle, turned and shifted, to the real parts of a box of `side³` voxels of `voxel_size`, by
    /// trilinear interpolation. Density outside the box is left out.
    pub(crate) fn place(&self, pose: &Pose, side: usize, voxel_size: f64, voxels: &mut [Complex32]) {
        self.place_weighted(1.0, pose, side, voxel_size, voxels);
    }

    /// As [`place`](Self::place), but the sum of the electrons stays the same: smaller voxels hold less. This matters
    /// beside a density that knows its voxels, such as a membrane's.
    pub(crate) fn place_electrons(&self, pose: &Pose, side: usize, voxel_size: f64, voxels: &mut [Complex32]) {
        let weight = (voxel_size / self.voxel_size()).powi(3);
        self.place_weighted(weight as f32, pose, side, voxel_size, voxels);
    }

    fn place_weighted(&self, weight: f32, pose: &Pose, side: usize, voxel_size: f64, voxels: &mut [Complex32]) {
        let source = self.volume();
        let (edge, from) = (source.side(), source.voxels());
        let scale = voxel_size / self.voxel_size();
        let matrix = pose.matrix();
        // The inverse rotation, from the box to the template, in voxels of each.
        let inverse = |offset: [f64; 3]| -> [f64; 3] {
            std::array::from_fn(|k| scale * (0..3).map(|row| matrix[row][k] * offset[row]).sum::<f64>())
        };
        let [step_x, step_y, step_z] = inverse([1.0, 0.0, 0.0]).map(|s| s as f32);
        // Outside this sphere, in voxels of the box, the turned template is empty: atoms reach so
        // far, voxels are centered up to √3/2 away and interpolation reads the next one.
        let reach = ((self.radius() + ATOM_REACH) / self.voxel_size() + 3.0) / scale;
        let middle = (side / 2) as f64;
        let template_middle = (edge / 2) as f64;
        let last = (edge - 2) as f32;
        for z in 0..side {
            let offset_z = z as f64 - middle - pose.shift[2];
            for y in 0..side {
                let offset_y = y as f64 - middle - pose.shift[1];
                let left = reach * reach - offset_z * offset_z - offset_y * offset_y;
                if left < 0.0 {
                    continue;
                }
                let (center, half) = (middle + pose.shift[0], left.sqrt());
                let start = (center - half).ceil().max(0.0) as usize;
                let end = ((center + half).floor() + 1.0).clamp(0.0, side as f64) as usize;
                let [x0, y0, z0] =
                    inverse([-middle - pose.shift[0], offset_y, offset_z]).map(|c| (c + template_middle) as f32);
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
