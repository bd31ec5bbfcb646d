//! Three-dimensional Fourier filters.

use std::sync::Arc;

use rustfft::{Fft, FftPlanner, num_complex::Complex32};

/// Transforms of cubic volumes of one side.
///
/// A transform is three passes along the fastest axis, with a rotation of the axes between passes. A spectrum
/// therefore comes out as `[y][x][z]`. Filters are made in that order, which saves turning the spectrum.
pub(crate) struct Fourier {
    side: usize,
    forward: Arc<dyn Fft<f32>>,
    inverse: Arc<dyn Fft<f32>>,
}

impl std::fmt::Debug for Fourier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fourier").field("side", &self.side).finish()
    }
}

/// A real, even filter in the order of the spectrum; it includes the `1/side³` of the transforms.
#[derive(Debug, Default)]
pub(crate) struct Filter(Vec<f32>);

/// A filter without its radial factor, which depends on the length of the frequency alone.
#[derive(Debug)]
pub(crate) struct RadialFilter {
    side: usize,
    fixed: Filter,
    /// For each entry of the spectrum the square of its frequency, in units of `1/side²`.
    squares: Vec<u16>,
}

impl RadialFilter {
    /// The lengths of the frequencies, in cycles per voxel, in the order in which [`times`](Self::times) takes the
    /// missing factors.
    pub(crate) fn frequencies(&self) -> impl Iterator<Item = f64> + use<> {
        let side = self.side as f64;
        let half = self.side / 2;
        (0..=3 * half * half).map(move |square| (square as f64).sqrt() / side)
    }

    /// Writes the whole filter into `filter`.
    pub(crate) fn times(&self, factors: &[f32], Filter(whole): &mut Filter) {
        whole.clear();
        whole.extend(
            self.fixed.0.iter().zip(&self.squares).map(|(fixed, &square)| fixed * factors[usize::from(square)]),
        );
    }
}

/// Buffers that a thread uses again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    turned: Vec<Complex32>,
    fft: Vec<Complex32>,
}

impl Fourier {
    pub(crate) fn new(side: usize) -> Self {
        let mut planner = FftPlanner::new();
        Self { side, forward: planner.plan_fft_forward(side), inverse: planner.plan_fft_inverse(side) }
    }

    /// Tabulates a filter over frequencies `[z, y, x]` in cycles per voxel. `value` must be the same for `k` and
    /// `-k`, or a filtered volume would not stay real.
    ///
    /// At the highest frequency of an even side, `½` and `-½` share one entry.
    pub(crate) fn filter(&self, value: impl Fn([f64; 3]) -> f64) -> Filter {
        let (side, scale) = (self.side as f64, 1.0 / self.side.pow(3) as f64);
        let value = |k: [i32; 3]| value(k.map(|k| f64::from(k) / side));
        let is_highest = |k: i32| 2 * k == self.side as i32;
        let of_entry = |k: [i32; 3]| match k.into_iter().any(is_highest) {
            true => (value(k) + value(k.map(|k| if is_highest(k) { k } else { -k }))) / 2.0,
            false => value(k),
        };
        Filter(self.spectrum().map(|k| (scale * of_entry(k)) as f32).collect())
    }

    /// As [`filter`](Self::filter), to be multiplied by a function of the length of the frequency.
    pub(crate) fn radial_filter(&self, value: impl Fn([f64; 3]) -> f64) -> RadialFilter {
        let squares = self.spectrum().map(|k| k.into_iter().map(|k| k * k).sum::<i32>());
        // Sides are at most 128, so squares at most 3 · 64².
        let squares = squares.map(|square| u16::try_from(square).expect("a side of at most 256")).collect();
        RadialFilter { side: self.side, fixed: self.filter(value), squares }
    }

    /// The variance that white noise of unit variance keeps behind a filter.
    pub(crate) fn mean_square(&self, Filter(filter): &Filter) -> f64 {
        let count = self.side.pow(3) as f64;
        filter.iter().map(|&factor| (count * f64::from(factor)).powi(2)).sum::<f64>() / count
    }

    /// The frequency `[z, y, x]` of each entry of the spectrum, in cycles per side.
    fn spectrum(&self) -> impl Iterator<Item = [i32; 3]> + use<> {
        let side = self.side as i32;
        let signed = move |index: i32| if 2 * index <= side { index } else { index - side };
        (0..side)
            .flat_map(move |y| (0..side).flat_map(move |x| (0..side).map(move |z| [signed(z), signed(y), signed(x)])))
    }

    /// Filters the real and the imaginary part of `[z][y][x]` voxels separately. A real, even filter does not mix
    /// them, so two volumes cost one transform.
    pub(crate) fn apply(&self, filter: &Filter, voxels: &mut [Complex32], scratch: &mut Scratch) {
        let side = self.side;
        let needed = self.forward.get_inplace_scratch_len().max(self.inverse.get_inplace_scratch_len());
        scratch.fft.resize(needed, Complex32::default());
        scratch.turned.resize(voxels.len(), Complex32::default());
        let Scratch { turned, fft } = scratch;
        // [z][y][x] → [x][z][y] → [y][x][z], and back.
        self.forward.process_with_scratch(voxels, fft);
        transpose(voxels, turned, side * side, side);
        self.forward.process_with_scratch(turned, fft);
        transpose(turned, voxels, side * side, side);
        self.forward.process_with_scratch(voxels, fft);
        for (voxel, &factor) in voxels.iter_mut().zip(&filter.0) {
            *voxel *= factor;
        }
        self.inverse.process_with_scratch(voxels, fft);
        transpose(voxels, turned, side, side * side);
        self.inverse.process_with_scratch(turned, fft);
        transpose(turned, voxels, side, side * side);
        self.inverse.process_with_scratch(voxels, fft);
    }
}

/// Writes the `rows × columns` matrix `from` as `columns × rows` into `to`, tile by tile so that
/// both sides stay in the cache.
pub(crate) fn transpose(from: &[Complex32], to: &mut [Complex32], rows: usize, columns: usize) {
    const TILE: usize = 16;
    for row in (0..rows).step_by(TILE) {
        for column in (0..columns).step_by(TILE) {
            for c in column..columns.min(column + TILE) {
                for r in row..rows.min(row + TILE) {
                    to[c * rows + r] = from[r * columns + c];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustfft::num_complex::Complex32;

    use super::{Fourier, Scratch};

    fn wave(side: usize, [kz, ky, kx]: [i32; 3]) -> Vec<f32> {
        let turn = std::f32::consts::TAU / side as f32;
        (0..side.pow(3))
            .map(|index| {
                let [z, y, x] = [index / (side * side), index / side % side, index % side].map(|c| c as i32);
                (turn * (kz * z + ky * y + kx * x) as f32).cos()
            })
            .collect()
    }

    /// Two volumes share one transform: a filter that is not even would mix them.
    #[test]
    fn filters_that_lean_to_one_side_keep_volumes_apart() {
        for side in [5, 6, 8] {
            let fourier = Fourier::new(side);
            // The same for k and -k, but not for a change of one sign.
            let filter = fourier.filter(|[z, y, x]| 1.0 + z * x + 2.0 * (y * x).abs() - y * z);
            let voxels: Vec<f32> = (0..side.pow(3)).map(|voxel| (voxel * voxel % 31) as f32).collect();
            let mut real: Vec<_> = voxels.iter().map(|&re| Complex32::new(re, 0.0)).collect();
            fourier.apply(&filter, &mut real, &mut Scratch::default());
            let leaked = real.iter().map(|voxel| voxel.im.abs()).fold(0.0, f32::max);
            assert!(leaked < 1e-4, "{side}: {leaked}");
        }
    }

    #[test]
    fn each_wave_meets_its_own_factor() {
        // Different on every axis, so that a mix-up of axes cannot pass; odd and even sides.
        let gain = |[z, y, x]: [f64; 3]| 1.0 + z.abs() + 10.0 * y.abs() + 100.0 * x.abs();
        for side in [5, 6, 8] {
            let fourier = Fourier::new(side);
            let filter = fourier.filter(gain);
            for k in [[1, 0, 0], [0, 2, 0], [0, 0, 1], [1, -2, 1], [0, 0, 0]] {
                let (real, imaginary) = (wave(side, k), wave(side, [k[2], k[0], k[1]]));
                let mut voxels: Vec<_> = real.iter().zip(&imaginary).map(|(&re, &im)| Complex32::new(re, im)).collect();
                fourier.apply(&filter, &mut voxels, &mut Scratch::default());
                let expected = |k: [i32; 3]| gain(k.map(|k| f64::from(k) / side as f64)) as f32;
                for (index, voxel) in voxels.iter().enumerate() {
                    let re = real[index] * expected(k);
                    let im = imaginary[index] * expected([k[2], k[0], k[1]]);
                    assert!((voxel.re - re).abs() < 2e-3, "{side} {k:?} {voxel} {re}");
                    assert!((voxel.im - im).abs() < 2e-3, "{side} {k:?} {voxel} {im}");
                }
            }
        }
    }
}
