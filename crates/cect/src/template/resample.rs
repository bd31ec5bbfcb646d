//! Density maps at any sampling to templates.

use crate::{
    Error, Result,
    io::Map,
    structure::{VOXEL_SIZE, side_needed},
    volume::Volume,
};

/// The result of [`resample`].
#[derive(Debug, Clone, PartialEq)]
pub struct Resampled {
    /// The particle, centered.
    pub volume: Volume,
    /// Distance from the center of mass to the farthest voxel of the particle, in Angstrom.
    pub radius: f64,
}

/// How far above the background a voxel of the particle must lie, in spreads of the background.
const THRESHOLD: f64 = 3.0;

/// How many spreads the brightest voxel must rise: in a box of noise it rises a little over four.
const CLEAREST: f64 = 5.0;

/// A voxel below this part of the maximum is not of the particle, even without noise.
const FAINTEST: f64 = 0.01;

/// Pieces smaller than this part of the largest one are noise.
const SMALLEST_PIECE: f64 = 0.05;

/// Resamples a density map to [`VOXEL_SIZE`], centered on its center of mass.
///
/// The map must show the particle brighter than the background, as single-particle maps and subtomogram averages do.
///
/// - The background is the median of the faces of the box.
/// - Its spread is the root mean square of all voxels below it: these are noise even where the faces are padded with
///   zeros. The spread of the faces, by their median absolute deviation, counts if it is more.
/// - Voxels less than three spreads or a hundredth of the maximum above the background become zero, and so do pieces
///   smaller than a twentieth of the largest.
/// - Each new voxel receives the integral of the map, interpolated linearly, over its volume. All density arrives;
///   detail finer than the new voxels is averaged out, not folded back.
///
/// # Errors
/// [`Error::Volume`] if the header gives no voxel size, nothing rises five spreads above the
/// background, or the contrast is inverted; [`Error::Config`] with the side needed if `side` is too small.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{Map, Volume, resample};
///
/// // A block of 4³ voxels of 5 Å fills 2³ voxels of 10 Å.
/// let mut voxels = vec![0.0; 16 * 16 * 16];
/// for (z, y, x) in (0..64).map(|i| (6 + i / 16, 6 + i / 4 % 4, 6 + i % 4)) {
///     voxels[(z * 16 + y) * 16 + x] = 1.0;
/// }
/// let map = Map::from_volume(&Volume::new(16, voxels)?, 5.0);
/// let resampled = resample(&map, 12)?;
/// let sum: f32 = resampled.volume.voxels().iter().sum();
/// assert!((sum - 64.0).abs() < 1e-3);
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
pub fn resample(map: &Map, side: usize) -> Result<Resampled> {
    let voxel_size = map.voxel_size();
    if !voxel_size.iter().all(|&edge| edge > 0.01 && edge < 1000.0) {
        let [z, y, x] = voxel_size;
        return Err(Error::Volume(format!(
            "the header gives a voxel size of {x} × {y} × {z} Å; it must be known for resampling"
        )));
    }
    let shape = map.shape();
    let particle = particle(map)?;
    let Moments { center, radius, reach } = Moments::of(&particle, shape, voxel_size);
    let needed = side_needed(reach + VOXEL_SIZE / 2.0);
    if side < needed || side > 1024 {
        return Err(Error::config(
            "side",
            format!("{needed} or more voxels of {VOXEL_SIZE} Å for this map, 1024 at most"),
            side,
        ));
    }
    let mut extents = shape;
    let mut voxels = particle;
    for axis in 0..3 {
        let spread = overlaps(extents[axis], voxel_size[axis], center[axis], VOXEL_SIZE, side);
        voxels = spread_along(&voxels, extents, axis, side, &spread);
        extents[axis] = side;
    }
    Ok(Resampled { volume: Volume::new(side, voxels.into_iter().map(|v| v as f32).collect())?, radius })
}

/// The map minus its background, zero outside the particle.
fn particle(map: &Map) -> Result<Vec<f64>> {
    let shape @ [depth, height, width] = map.shape();
    let mut faces = Vec::new();
    for (index, &voxel) in map.voxels().iter().enumerate() {
        let [z, y, x] = coordinates(index, shape);
        if z == 0 || y == 0 || x == 0 || z + 1 == depth || y + 1 == height || x + 1 == width {
            faces.push(voxel);
        }
    }
    let background = median(&mut faces);
    for face in &mut faces {
        *face = (*face - background).abs();
    }
    // 1.4826: the standard deviation of a normal distribution over its median absolute deviation.
    let face_spread = 1.4826 * f64::from(median(&mut faces));
    let mut voxels: Vec<f64> = map.voxels().iter().map(|&voxel| f64::from(voxel) - f64::from(background)).collect();
    let lowest = voxels.iter().copied().fold(0.0, f64::min);
    let highest = voxels.iter().copied().fold(0.0, f64::max);
    if -lowest > highest {
        return Err(Error::Volume(format!(
            "the particle seems darker than the background ({lowest:.3} below it, {highest:.3} \
             above): invert the contrast of the map"
        )));
    }
    let (mut squares, mut count) = (0.0, 0.0);
    for &below in voxels.iter().filter(|&&voxel| voxel < 0.0) {
        squares += below * below;
        count += 1.0;
    }
    let spread = face_spread.max((squares / f64::max(count, 1.0)).sqrt());
    if highest <= f64::EPSILON * f64::from(background.abs()) || highest < CLEAREST * spread {
        return Err(Error::Volume(format!(
            "no particle stands out: the brightest voxel is {highest:.3} above a background that \
             varies by {spread:.3}"
        )));
    }
    let floor = (THRESHOLD * spread).max(FAINTEST * highest);
    for voxel in &mut voxels {
        if *voxel <= floor {
            *voxel = 0.0;
        }
    }
    drop_specks(&mut voxels, shape);
    Ok(voxels)
}

fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

fn coordinates(index: usize, [_, height, width]: [usize; 3]) -> [usize; 3] {
    [index / (width * height), index / width % height, index % width]
}

/// Clears pieces, connected through faces, that are small beside the largest.
fn drop_specks(voxels: &mut [f64], shape: [usize; 3]) {
    let [depth, height, width] = shape;
    let mut piece_of = vec![0u32; voxels.len()];
    let mut sizes = vec![0usize];
    let mut open = Vec::new();
    for start in 0..voxels.len() {
        if voxels[start] <= 0.0 || piece_of[start] != 0 {
            continue;
        }
        let piece = sizes.len() as u32;
        sizes.push(0);
        piece_of[start] = piece;
        open.push(start);
        while let Some(index) = open.pop() {
            sizes[piece as usize] += 1;
            let [z, y, x] = coordinates(index, shape);
            let neighbors = [
                (z > 0, index.wrapping_sub(width * height)),
                (z + 1 < depth, index + width * height),
                (y > 0, index.wrapping_sub(width)),
                (y + 1 < height, index + width),
                (x > 0, index.wrapping_sub(1)),
                (x + 1 < width, index + 1),
            ];
            for (inside, neighbor) in neighbors {
                if inside && voxels[neighbor] > 0.0 && piece_of[neighbor] == 0 {
                    piece_of[neighbor] = piece;
                    open.push(neighbor);
                }
            }
        }
    }
    let largest = sizes.iter().copied().max().unwrap_or(0) as f64;
    for (voxel, &piece) in voxels.iter_mut().zip(&piece_of) {
        if (sizes[piece as usize] as f64) < SMALLEST_PIECE * largest {
            *voxel = 0.0;
        }
    }
}

/// Where the density lies: the center in indices, distances in Angstrom.
struct Moments {
    center: [f64; 3],
    radius: f64,
    reach: f64,
}

impl Moments {
    fn of(voxels: &[f64], shape: [usize; 3], voxel_size: [f64; 3]) -> Self {
        let occupied = || {
            voxels
                .iter()
                .enumerate()
                .filter(|&(_, &voxel)| voxel > 0.0)
                .map(|(index, &voxel)| (coordinates(index, shape).map(|c| c as f64), voxel))
        };
        let mass: f64 = occupied().map(|(_, voxel)| voxel).sum();
        let mut center = [0.0; 3];
        for (position, voxel) in occupied() {
            for (sum, coordinate) in center.iter_mut().zip(position) {
                *sum += voxel * coordinate / mass;
            }
        }
        let mut radius: f64 = 0.0;
        let mut reach: f64 = 0.0;
        for (position, _) in occupied() {
            let offset: [f64; 3] = std::array::from_fn(|k| (position[k] - center[k]) * voxel_size[k]);
            radius = radius.max(offset.iter().map(|c| c * c).sum());
            reach = offset.iter().zip(voxel_size).fold(reach, |reach, (c, edge)| reach.max(c.abs() + edge));
        }
        Self { center, radius: radius.sqrt(), reach }
    }
}

/// Averages a volume of `from` Å voxels over a box of `side³` voxels of `to` Å around the same center, as
/// [`resample`] does: all density inside the box arrives.
pub(crate) fn averaged(volume: &Volume, from: f64, to: f64, side: usize) -> Volume {
    let edge = volume.side();
    let spread = overlaps(edge, from, (edge / 2) as f64, to, side);
    let mut extents = [edge; 3];
    let mut voxels: Vec<f64> = volume.voxels().iter().map(|&voxel| f64::from(voxel)).collect();
    for axis in 0..3 {
        voxels = spread_along(&voxels, extents, axis, side, &spread);
        extents[axis] = side;
    }
    Volume::from_finite(side, voxels.into_iter().map(|voxel| voxel as f32).collect())
}

/// For each old voxel along an axis, the new voxels that receive it and their parts, which sum to one. The parts
/// integrate a tent, as wide as two old voxels.
pub(super) fn overlaps(count: usize, edge: f64, center: f64, new_edge: f64, side: usize) -> Vec<Vec<(usize, f64)>> {
    // The integral of the unit tent up to `t`.
    let below = |t: f64| {
        if t < 0.0 { 0.5 * (t.max(-1.0) + 1.0).powi(2) } else { 1.0 - 0.5 * (1.0 - t.min(1.0)).powi(2) }
    };
    let scale = new_edge / edge;
    (0..count)
        .map(|index| {
            let position = (index as f64 - center) / scale + (side / 2) as f64;
            let first = (position - 1.0 / scale + 0.5).floor().max(0.0) as usize;
            let last = ((position + 1.0 / scale + 0.5).floor() + 1.0).clamp(0.0, side as f64) as usize;
            (first..last)
                .map(|target| {
                    let start = (target as f64 - 0.5 - position) * scale;
                    (target, below(start + scale) - below(start))
                })
                .filter(|&(_, part)| part > 0.0)
                .collect()
        })
        .collect()
}

/// Moves the density of a `[z][y][x]` array along one axis.
pub(super) fn spread_along(
    voxels: &[f64],
    extents: [usize; 3],
    axis: usize,
    side: usize,
    spread: &[Vec<(usize, f64)>],
) -> Vec<f64> {
    let inner: usize = extents[axis + 1..].iter().product();
    let outer: usize = extents[..axis].iter().product();
    let count = extents[axis];
    let mut moved = vec![0.0; outer * side * inner];
    for block in 0..outer {
        for (index, parts) in spread.iter().enumerate() {
            let from = &voxels[(block * count + index) * inner..][..inner];
            for &(target, part) in parts {
                let to = &mut moved[(block * side + target) * inner..][..inner];
                for (to, from) in to.iter_mut().zip(from) {
                    *to += part * from;
                }
            }
        }
    }
    moved
}
