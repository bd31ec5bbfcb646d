//! Cubic density maps.

mod back_projection;
mod contrast;
pub(crate) mod fourier;
mod half_turn;
mod pose;
mod radial;

pub(crate) use back_projection::{ImageAxes, back_projected};
pub use contrast::Contrast;
pub use half_turn::HalfTurn;
pub(crate) use half_turn::rearranged;
pub use pose::Pose;

use crate::{Error, Result};

/// A cubic density map: `side³` voxels, z-major (`[z][y][x]`), as MRC files store it.
///
/// The center of a volume is the voxel at index `side / 2` on each axis, where a Fourier transform puts the origin.
/// Every operation of this crate keeps to it.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::Volume;
///
/// let volume = Volume::new(2, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])?;
/// assert_eq!(volume.get(1, 0, 1), Some(5.0));
/// assert_eq!(volume.statistics().mean, 3.5);
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    side: usize,
    voxels: Vec<f32>,
}

/// Range, mean and spread of the voxels of a [`Volume`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Smallest voxel.
    pub min: f32,
    /// Largest voxel.
    pub max: f32,
    /// Mean over all voxels.
    pub mean: f64,
    /// Population standard deviation over all voxels.
    pub std: f64,
}

impl Statistics {
    /// Needs one voxel at least.
    pub(crate) fn of(voxels: &[f32]) -> Self {
        let count = voxels.len() as f64;
        let mean = voxels.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        // Two passes: the one-pass formula cancels for densities on a large offset.
        let variance = voxels.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        Self {
            min: voxels.iter().copied().fold(f32::INFINITY, f32::min),
            max: voxels.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            mean,
            std: variance.sqrt(),
        }
    }
}

impl Volume {
    /// Wraps `side³` voxels in `[z][y][x]` order.
    ///
    /// # Errors
    /// [`Error::Volume`] if `side` is zero, the number of voxels is not `side³`, or a voxel is not
    /// finite.
    pub fn new(side: usize, voxels: Vec<f32>) -> Result<Self> {
        let expected = side
            .checked_pow(3)
            .filter(|&count| count > 0)
            .ok_or_else(|| Error::Volume(format!("a side of {side} voxels cannot be used")))?;
        if voxels.len() != expected {
            return Err(Error::Volume(format!("side {side} needs {expected} voxels, got {}", voxels.len())));
        }
        if let Some(index) = voxels.iter().position(|voxel| !voxel.is_finite()) {
            let (z, y, x) = (index / (side * side), index / side % side, index % side);
            return Err(Error::Volume(format!("voxel [{z}][{y}][{x}] is {}, not a finite number", voxels[index])));
        }
        Ok(Self { side, voxels })
    }

    /// Wraps voxels that this crate computed itself.
    pub(crate) fn from_finite(side: usize, voxels: Vec<f32>) -> Self {
        debug_assert_eq!(voxels.len(), side * side * side);
        Self { side, voxels }
    }

    /// Number of voxels along each edge.
    pub fn side(&self) -> usize {
        self.side
    }

    /// All voxels, `[z][y][x]`.
    pub fn voxels(&self) -> &[f32] {
        &self.voxels
    }

    /// Gives the voxels away, `[z][y][x]`.
    pub fn into_voxels(self) -> Vec<f32> {
        self.voxels
    }

    /// One voxel, or `None` outside the box.
    pub fn get(&self, z: usize, y: usize, x: usize) -> Option<f32> {
        (z < self.side && y < self.side && x < self.side).then(|| self.voxels[(z * self.side + y) * self.side + x])
    }

    /// The `side × side` slice at height `z`, `[y][x]`, or `None` outside the box.
    pub fn slice(&self, z: usize) -> Option<&[f32]> {
        let area = self.side * self.side;
        (z < self.side).then(|| &self.voxels[z * area..(z + 1) * area])
    }

    /// Range, mean and population standard deviation, summed in `f64`.
    pub fn statistics(&self) -> Statistics {
        Statistics::of(&self.voxels)
    }

    /// Crops or pads with zeros to another side so that the center stays the center: index
    /// `self.side() / 2` becomes index `side / 2`.
    ///
    /// # Errors
    /// [`Error::Volume`] if `side` is zero or there is no memory for its cube.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::Volume;
    ///
    /// let mut voxels = vec![0.0; 64];
    /// voxels[(2 * 4 + 2) * 4 + 2] = 1.0;
    /// let volume = Volume::new(4, voxels)?;
    /// assert_eq!(volume.centered(7)?.get(3, 3, 3), Some(1.0));
    /// assert_eq!(volume.centered(3)?.get(1, 1, 1), Some(1.0));
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn centered(&self, side: usize) -> Result<Self> {
        let refused = || Error::Volume(format!("a side of {side} voxels cannot be used"));
        let count = side.checked_pow(3).filter(|&count| count > 0).ok_or_else(refused)?;
        let mut voxels = Vec::new();
        voxels.try_reserve_exact(count).map_err(|_| refused())?;
        voxels.resize(count, 0.0);
        let (from, to) = (self.side / 2, side / 2);
        let first = to.saturating_sub(from);
        let last = side.min(to + self.side - from);
        for z in first..last {
            for y in first..last {
                let source = ((z + from - to) * self.side + y + from - to) * self.side;
                let target = (z * side + y) * side;
                voxels[target + first..target + last]
                    .copy_from_slice(&self.voxels[source + first + from - to..source + last + from - to]);
            }
        }
        Ok(Self { side, voxels })
    }

    /// Shifts and scales to zero mean and unit variance, as networks expect.
    ///
    /// # Errors
    /// [`Error::Volume`] if the volume is constant: it has no unit variance.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::Volume;
    ///
    /// let volume = Volume::new(2, (0..8).map(|v| v as f32).collect())?.standardized()?;
    /// let statistics = volume.statistics();
    /// assert!(statistics.mean.abs() < 1e-6 && (statistics.std - 1.0).abs() < 1e-6);
    /// assert!(Volume::new(2, vec![3.0; 8])?.standardized().is_err());
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn standardized(&self) -> Result<Self> {
        let Statistics { min, max, mean, std } = self.statistics();
        // Equality of the extremes, not `std == 0`: the mean of equal voxels rounds.
        if max <= min {
            return Err(Error::Volume(format!("cannot be standardized: every voxel is {min}")));
        }
        let voxels = self.voxels.iter().map(|&voxel| ((f64::from(voxel) - mean) / std) as f32).collect();
        Ok(Self { side: self.side, voxels })
    }
}
