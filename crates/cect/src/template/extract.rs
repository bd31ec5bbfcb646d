//! Boxes cut out of a tomogram.

use super::resample::{overlaps, spread_along};
use crate::{Error, Result, io::Map, volume::Volume};

/// The result of [`extract`].
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// The box.
    pub volume: Volume,
    /// The share of its voxels that lie outside the tomogram. They have the mean of the others.
    pub outside: f64,
}

/// Cuts a box of `side³` voxels of `voxel_size` Å out of a tomogram around a place `[z, y, x]`, in voxels of the tomogram
/// from the middle of its first one. A place between voxels is met exactly.
///
/// Each new voxel has the mean of the tomogram, interpolated linearly, over its volume: larger voxels hold no detail that
/// they would fold back, smaller ones none that was not there.
///
/// # Errors
/// [`Error::Volume`] if the header gives no voxel size, or one that differs along the axes by more than a hundredth
/// ([`Map::with_voxel_size`] mends both), or none of the box lies in the tomogram; [`Error::Config`] for a side of 0 or above
/// 1024, a voxel size that is not positive, a place that is not finite.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{Map, Volume, extract};
///
/// let ramp = (0..20usize.pow(3)).map(|voxel| (voxel % 20) as f32).collect();
/// let tomogram = Map::from_volume(&Volume::new(20, ramp)?, 5.0);
/// // Along x the tomogram has 0, 1, 2 … in voxels of 5 Å: around 9.5 voxels of 10 Å have 5.5, 7.5, 9.5, 11.5.
/// let found = extract(&tomogram, [10.0, 10.0, 9.5], 4, 10.0)?;
/// assert_eq!(found.volume.slice(2).map(|slice| slice[8..12].to_vec()), Some(vec![5.5, 7.5, 9.5, 11.5]));
/// assert_eq!(found.outside, 0.0);
/// assert!(extract(&tomogram, [10.0, 10.0, 0.0], 4, 10.0)?.outside > 0.4);
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
pub fn extract(tomogram: &Map, place: [f64; 3], side: usize, voxel_size: f64) -> Result<Extracted> {
    if side == 0 || side > 1024 {
        return Err(Error::config("side", "1 to 1024 voxels", side));
    }
    if !(voxel_size > 0.0 && voxel_size.is_finite()) {
        return Err(Error::config("voxel_size", "a number of Å above 0", voxel_size));
    }
    if let Some(coordinate) = place.iter().find(|coordinate| !coordinate.is_finite()) {
        return Err(Error::config("place", "three finite numbers", coordinate));
    }
    let edge = one_voxel_size(tomogram)?;
    let shape = tomogram.shape();
    // Interpolation reads one voxel beyond the box, and the center of an even one lies half a voxel beside its middle.
    let reach = (side as f64 / 2.0 + 1.0) * voxel_size / edge + 2.0;
    let ranges: [_; 3] = std::array::from_fn(|axis| {
        let first = (place[axis] - reach).floor().max(0.0) as usize;
        let last = ((place[axis] + reach).ceil() + 1.0).clamp(0.0, shape[axis] as f64) as usize;
        first..last.max(first)
    });
    let mut extents = ranges.clone().map(|range| range.len());
    let nothing = || Error::Volume(format!("the box around {place:?} has no part in the tomogram of {shape:?} voxels"));
    if extents.contains(&0) {
        return Err(nothing());
    }
    let [_, height, width] = shape;
    let mut voxels = Vec::with_capacity(extents.iter().product());
    for z in ranges[0].clone() {
        for y in ranges[1].clone() {
            let row = (z * height + y) * width;
            voxels.extend(tomogram.voxels()[row..][ranges[2].clone()].iter().map(|&voxel| f64::from(voxel)));
        }
    }
    // How much of each new voxel the tomogram covers, along each axis.
    let mut covered = [const { Vec::new() }; 3];
    for axis in 0..3 {
        let parts = overlaps(extents[axis], edge, place[axis] - ranges[axis].start as f64, voxel_size, side);
        covered[axis] = vec![0.0; side];
        for &(target, part) in parts.iter().flatten() {
            covered[axis][target] += part * edge / voxel_size;
        }
        voxels = spread_along(&voxels, extents, axis, side, &parts);
        extents[axis] = side;
    }
    let scale = (edge / voxel_size).powi(3);
    let (mut sum, mut inside) = (0.0, 0usize);
    let cover =
        |index: usize| covered[0][index / (side * side)] * covered[1][index / side % side] * covered[2][index % side];
    for (index, voxel) in voxels.iter_mut().enumerate() {
        let cover = cover(index);
        if cover > 0.5 {
            *voxel *= scale / cover;
            sum += *voxel;
            inside += 1;
        }
    }
    if inside == 0 {
        return Err(nothing());
    }
    let mean = sum / inside as f64;
    for (index, voxel) in voxels.iter_mut().enumerate() {
        if cover(index) <= 0.5 {
            *voxel = mean;
        }
    }
    let outside = 1.0 - inside as f64 / voxels.len() as f64;
    Ok(Extracted { volume: Volume::new(side, voxels.into_iter().map(|voxel| voxel as f32).collect())?, outside })
}

/// The edge of a voxel in Å.
fn one_voxel_size(map: &Map) -> Result<f64> {
    let [z, y, x] = map.voxel_size();
    let (least, most) = (z.min(y).min(x), z.max(y).max(x));
    if least > 0.01 && most <= 1.01 * least {
        return Ok((x + y + z) / 3.0);
    }
    Err(Error::Volume(format!(
        "the header gives a voxel size of {x} × {y} × {z} Å; a tomogram needs one, the same along each axis"
    )))
}
