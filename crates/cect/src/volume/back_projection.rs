//! A volume of the images of a tilt series.
//!
//! The transform of an image is a plane through the center of the volume's transform, along the axes that the image has in the
//! volume. Planes are added up on a grid of half the spacing, each value shared between its eight neighbors, and divided by
//! how much came to each place. Where nothing came there is nothing: the missing wedge.

use rustfft::{FftPlanner, num_complex::Complex32};

use super::Volume;

/// The axes of an image in the volume, `[x, y, z]` each, of length 1 and at right angles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ImageAxes {
    pub(crate) x: [f64; 3],
    pub(crate) y: [f64; 3],
}

/// The grid is finer than the image's by this.
const FINER: usize = 2;

/// Places that less than this came to are left empty: a share of one image.
const LEAST: f32 = 0.1;

/// Of images `[n][y][x]` of one side, one for each entry of `axes`.
pub(crate) fn back_projected(images: &[f32], side: usize, axes: &[ImageAxes]) -> Volume {
    let grid = FINER * side;
    let mut sum = vec![Complex32::default(); grid.pow(3)];
    let mut came = vec![0f32; grid.pow(3)];
    let wrapped = |place: i64| place.rem_euclid(grid as i64) as usize;
    let signed = |index: usize| if 2 * index < grid { index as f64 } else { index as f64 - grid as f64 };
    for (image, axes) in images.chunks_exact(side * side).zip(axes) {
        let plane = transformed(image, side, grid);
        for (index, value) in plane.into_iter().enumerate() {
            let (v, u) = (signed(index / grid), signed(index % grid));
            if u.hypot(v) >= (grid / 2) as f64 {
                continue;
            }
            let at: [f64; 3] = std::array::from_fn(|axis| u * axes.x[axis] + v * axes.y[axis]);
            let low = at.map(f64::floor);
            for corner in 0..8usize {
                let step: [usize; 3] = std::array::from_fn(|axis| corner >> axis & 1);
                let share: f64 = (0..3)
                    .map(|axis| {
                        let above = at[axis] - low[axis];
                        if step[axis] == 1 { above } else { 1.0 - above }
                    })
                    .product();
                let [x, y, z] = std::array::from_fn(|axis| wrapped(low[axis] as i64 + step[axis] as i64));
                let place = (z * grid + y) * grid + x;
                sum[place] += value * share as f32;
                came[place] += share as f32;
            }
        }
    }
    for (value, came) in sum.iter_mut().zip(came) {
        *value = if came > LEAST { *value / came } else { Complex32::default() };
    }
    let inverse = FftPlanner::new().plan_fft_inverse(grid);
    along_each_axis(&mut sum, grid, 3, |line| inverse.process(line));
    // Sharing between neighbors dims the volume away from its center by the square of a sinc along each axis.
    let dimmed = |index: usize| {
        let distance = std::f64::consts::PI * (index as f64 - (side / 2) as f64) / grid as f64;
        if distance.abs() < 1e-9 { 1.0 } else { (distance.sin() / distance).powi(2) }
    };
    let scale = 1.0 / grid.pow(3) as f64;
    let mut voxels = Vec::with_capacity(side.pow(3));
    for z in 0..side {
        for y in 0..side {
            for x in 0..side {
                let place = |index: usize| (index + grid - side / 2) % grid;
                let value = sum[(place(z) * grid + place(y)) * grid + place(x)].re;
                voxels.push((f64::from(value) * scale / (dimmed(z) * dimmed(y) * dimmed(x))) as f32);
            }
        }
    }
    Volume::from_finite(side, voxels)
}

/// The transform of an image in a box of `grid²`, its center, index `side / 2`, at the origin.
fn transformed(image: &[f32], side: usize, grid: usize) -> Vec<Complex32> {
    let mut plane = vec![Complex32::default(); grid * grid];
    for (index, &value) in image.iter().enumerate() {
        let place = |index: usize| (index + grid - side / 2) % grid;
        plane[place(index / side) * grid + place(index % side)] = value.into();
    }
    let forward = FftPlanner::new().plan_fft_forward(grid);
    along_each_axis(&mut plane, grid, 2, |line| forward.process(line));
    plane
}

/// Calls `change` for each line of a box of `dims` dimensions along each axis.
fn along_each_axis(values: &mut [Complex32], side: usize, dims: u32, change: impl Fn(&mut [Complex32])) {
    let mut line = vec![Complex32::default(); side];
    for axis in 0..dims {
        let stride = side.pow(axis);
        for first in (0..values.len()).filter(|index| (index / stride).is_multiple_of(side)) {
            line.iter_mut().enumerate().for_each(|(step, value)| *value = values[first + step * stride]);
            change(&mut line);
            line.iter().enumerate().for_each(|(step, value)| values[first + step * stride] = *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A volume without any symmetry: five Gaussian blobs.
    fn blobs(side: usize) -> Vec<([f64; 3], f64)> {
        let s = side as f64 / 16.0;
        [
            ([3.0, 0.0, 0.0], 1.0),
            ([0.0, -4.0, 1.0], 0.7),
            ([-2.0, 2.0, 3.0], 0.8),
            ([1.0, 3.0, -4.0], 0.5),
            ([-4.0, -1.0, -2.0], 0.6),
        ]
        .map(|(at, weight)| (at.map(|c| c * s), weight))
        .to_vec()
    }

    const SIGMA: f64 = 1.3;

    fn gaussian(squared: f64) -> f64 {
        (-squared / (2.0 * SIGMA * SIGMA)).exp()
    }

    fn volume(side: usize) -> Vec<f64> {
        let half = (side / 2) as f64;
        (0..side.pow(3))
            .map(|index| {
                let at = [index % side, index / side % side, index / (side * side)].map(|c| c as f64 - half);
                blobs(side).iter().map(|(b, w)| w * gaussian((0..3).map(|k| (at[k] - b[k]).powi(2)).sum())).sum()
            })
            .collect()
    }

    /// Line integrals are known: of a Gaussian they are one.
    fn image(side: usize, axes: &ImageAxes) -> Vec<f32> {
        let half = (side / 2) as f64;
        let dot = |a: &[f64; 3], b: &[f64; 3]| (0..3).map(|k| a[k] * b[k]).sum::<f64>();
        (0..side * side)
            .map(|index| {
                let (u, v) = ((index % side) as f64 - half, (index / side) as f64 - half);
                let integral = |(b, w): &([f64; 3], f64)| {
                    let (x, y) = (u - dot(b, &axes.x), v - dot(b, &axes.y));
                    w * gaussian(x * x + y * y) * SIGMA * (2.0 * std::f64::consts::PI).sqrt()
                };
                blobs(side).iter().map(integral).sum::<f64>() as f32
            })
            .collect()
    }

    fn correlation(a: &[f32], b: &[f64]) -> f64 {
        let mean_a = a.iter().copied().map(f64::from).sum::<f64>() / a.len() as f64;
        let mean_b = b.iter().sum::<f64>() / b.len() as f64;
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for (&a, b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a) - mean_a, b - mean_b);
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        ab / (aa * bb).sqrt()
    }

    fn tilts(most: i32) -> Vec<ImageAxes> {
        let tilt = |degrees: i32| {
            let (sin, cos) = f64::from(degrees).to_radians().sin_cos();
            ImageAxes { x: [cos, 0.0, sin], y: [0.0, 1.0, 0.0] }
        };
        (-most..=most).step_by(3).map(tilt).collect()
    }

    #[test]
    fn a_volume_comes_back_from_its_projections() {
        const SIDE: usize = 16;
        let images = |axes: &[ImageAxes]| axes.iter().flat_map(|axes| image(SIDE, axes)).collect::<Vec<_>>();
        let all = tilts(87);
        let whole = back_projected(&images(&all), SIDE, &all);
        let truth = volume(SIDE);
        let alike = correlation(whole.voxels(), &truth);
        assert!(alike > 0.99, "{alike}");
        // Not its size alone, but its density.
        let (sum, expected) = (whole.voxels().iter().copied().map(f64::from).sum::<f64>(), truth.iter().sum::<f64>());
        assert!((sum / expected - 1.0).abs() < 0.1, "{sum} {expected}");

        // A missing wedge costs some of it, and the tilts of the mirror image most.
        let some = tilts(60);
        let wedge = correlation(back_projected(&images(&some), SIDE, &some).voxels(), &truth);
        let mirrored: Vec<ImageAxes> = some.iter().rev().copied().collect();
        let wrong = correlation(back_projected(&images(&some), SIDE, &mirrored).voxels(), &truth);
        assert!(wedge > 0.85 && wedge < alike && wrong < wedge - 0.1, "{wedge} {wrong}");
    }
}
