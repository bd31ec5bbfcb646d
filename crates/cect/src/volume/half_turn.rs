//! Half turns, which keep a missing wedge and move no voxel off the grid.

use super::Volume;

/// A turn that maps every missing wedge about a coordinate axis onto itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfTurn {
    /// No turn.
    None,
    /// 180° about x: y and z are flipped.
    X,
    /// 180° about y: x and z are flipped.
    Y,
    /// 180° about z: x and y are flipped.
    Z,
}

impl HalfTurn {
    /// All four; they form a group.
    pub const ALL: [Self; 4] = [Self::None, Self::X, Self::Y, Self::Z];

    /// Turns a volume about its center, index `side / 2`. An even box has one plane more on one side of the center:
    /// that plane stays where it is, as for a Fourier transform. No voxel is lost, and turning twice is no turn.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::{HalfTurn, Volume};
    ///
    /// let mut voxels = vec![0.0; 64];
    /// voxels[(1 * 4 + 3) * 4 + 2] = 1.0;
    /// let volume = Volume::new(4, voxels)?;
    /// assert_eq!(HalfTurn::X.of(&volume).get(3, 1, 2), Some(1.0));
    /// assert_eq!(HalfTurn::X.of(&HalfTurn::X.of(&volume)), volume);
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn of(self, volume: &Volume) -> Volume {
        let flipped = match self {
            Self::None => return volume.clone(),
            Self::X => [true, true, false],
            Self::Y => [true, false, true],
            Self::Z => [false, true, true],
        };
        let side = volume.side();
        rearranged(volume, |axis, index| if flipped[axis] { (2 * (side / 2) + side - index) % side } else { index })
    }
}

/// Moves the voxel at `[from(0, z), from(1, y), from(2, x)]` to `[z, y, x]`.
pub(crate) fn rearranged(volume: &Volume, from: impl Fn(usize, usize) -> usize) -> Volume {
    let side = volume.side();
    let sources: [Vec<usize>; 3] = std::array::from_fn(|axis| (0..side).map(|index| from(axis, index)).collect());
    let mut voxels = Vec::with_capacity(side.pow(3));
    for &z in &sources[0] {
        for &y in &sources[1] {
            let row = &volume.voxels()[(z * side + y) * side..][..side];
            voxels.extend(sources[2].iter().map(|&x| row[x]));
        }
    }
    Volume::from_finite(side, voxels)
}
