//! Electrons in space to voxels.

use std::path::Path;

use super::atoms::FARTHEST;
use crate::{Error, Result, io::input, volume::Volume};

/// Edge of a voxel of every template, in Angstrom.
pub const VOXEL_SIZE: f64 = 10.0;

/// Side of the box of every template, in voxels: 400 Å, so that ribosomes and small capsids fit.
pub const TEMPLATE_SIDE: usize = 40;

/// Standard deviation along each axis of the Gaussian that each atom becomes, in Angstrom:
/// `10 / (2·√3)`, the width that has the variance of a 10 Å wide box.
pub const ATOM_SIGMA: f64 = 2.886_751_345_948_129;

/// How far from an atom its density counts, in Angstrom: three sigma, rounded up.
pub(crate) const ATOM_REACH: f64 = 9.0;

/// More electrons than any structure has; sums of so many stay finite in `f32` as well.
const MOST_ELECTRONS: f64 = 1e12;

/// A point that carries electrons: an atom, a residue, a bead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scatterer {
    /// `[x, y, z]` in Angstrom, each less than a million either way.
    pub position: [f64; 3],
    /// Number of electrons, from zero to 10¹².
    pub electrons: f64,
}

impl Scatterer {
    /// Whether the numbers are such as a structure has; NaN is none of them.
    fn is_plausible(&self) -> bool {
        self.position.iter().all(|c| c.abs() < FARTHEST) && (0.0..=MOST_ELECTRONS).contains(&self.electrons)
    }
}

/// Where scatterers lie, by electrons.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// Electron-weighted center of mass, `[x, y, z]` in Angstrom.
    pub center: [f64; 3],
    /// Distance from the center to the farthest scatterer, in Angstrom.
    pub radius: f64,
    /// Largest distance from the center along one axis, in Angstrom.
    pub reach: f64,
    /// All electrons.
    pub electrons: f64,
}

impl Extent {
    /// Measures scatterers.
    ///
    /// # Errors
    /// [`Error::Volume`] if there are none, one is not within the bounds of [`Scatterer`], or all together have no
    /// electrons or more than 10¹².
    pub fn of(scatterers: &[Scatterer]) -> Result<Self> {
        Self::of_each(scatterers.iter().copied())
    }

    pub(crate) fn of_each(scatterers: impl Iterator<Item = Scatterer> + Clone) -> Result<Self> {
        let mut electrons = 0.0;
        let mut moment = [0.0; 3];
        for (index, scatterer) in scatterers.clone().enumerate() {
            let Scatterer { position, electrons: weight } = scatterer;
            if !scatterer.is_plausible() {
                return Err(Error::Volume(format!("scatterer {index} lies at {position:?} with {weight} electrons")));
            }
            electrons += weight;
            for (sum, coordinate) in moment.iter_mut().zip(position) {
                *sum += weight * coordinate;
            }
        }
        if electrons <= 0.0 {
            return Err(Error::Volume("no electrons, so no density".to_owned()));
        }
        if electrons > MOST_ELECTRONS {
            return Err(Error::Volume(format!("{electrons:e} electrons are more than any structure has")));
        }
        let center = moment.map(|sum| sum / electrons);
        let mut radius: f64 = 0.0;
        let mut reach: f64 = 0.0;
        for scatterer in scatterers {
            let offset: [f64; 3] = std::array::from_fn(|k| scatterer.position[k] - center[k]);
            radius = radius.max(offset.iter().map(|c| c * c).sum());
            reach = offset.iter().fold(reach, |reach, c| reach.max(c.abs()));
        }
        Ok(Self { center, radius: radius.sqrt(), reach, electrons })
    }

    /// The smallest even side of a box of [`VOXEL_SIZE`] voxels that holds the whole density.
    pub fn side_needed(&self) -> usize {
        side_needed(self.reach + ATOM_REACH)
    }
}

/// The smallest even side whose upper half, which ends half a voxel earlier, holds `reach`.
pub(crate) fn side_needed(reach: f64) -> usize {
    2 * (reach / VOXEL_SIZE + 0.5).ceil().max(1.0) as usize
}

/// Computes the density of scatterers: electrons in each voxel of [`VOXEL_SIZE`], with the center of
/// mass at index `side / 2` of each axis.
///
/// # Formula
/// ```text
/// ρ[z][y][x] = Σₐ eₐ · w(z − zₐ) · w(y − yₐ) · w(x − xₐ)
/// w(d) = ½ · erf((d + h)/(σ√2)) − ½ · erf((d − h)/(σ√2))
/// ```
/// with `e` electrons, `h` half a voxel and `σ` = [`ATOM_SIGMA`]. Each Gaussian is integrated over
/// the voxel, not sampled at its center, so no electron is lost between voxels and the density
/// does not depend on where the grid happens to lie.
///
/// # Errors
/// [`Error::Volume`] as [`Extent::of`]; [`Error::Config`] with the side needed if `side` is too
/// small for the structure.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{Scatterer, density};
///
/// let atoms = [[0.0, 0.0, 0.0], [30.0, 0.0, 0.0]]
///     .map(|position| Scatterer { position, electrons: 6.0 });
/// let volume = density(&atoms, 8)?;
/// let electrons: f32 = volume.voxels().iter().sum();
/// assert!((electrons - 12.0).abs() < 1e-4);
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
pub fn density(scatterers: &[Scatterer], side: usize) -> Result<Volume> {
    let scatterers = scatterers.iter().copied();
    density_of_each(scatterers.clone(), &Extent::of_each(scatterers)?, side)
}

/// Of scatterers whose extent is known, so that what does not fit is refused before anything is made.
pub(crate) fn density_of_each(
    scatterers: impl Iterator<Item = Scatterer>,
    extent: &Extent,
    side: usize,
) -> Result<Volume> {
    let needed = extent.side_needed();
    if side < needed || side > 1024 {
        return Err(Error::config(
            "side",
            format!("{needed} or more voxels of {VOXEL_SIZE} Å for this structure, 1024 at most"),
            side,
        ));
    }
    let mut sums = vec![0.0f64; side.pow(3)];
    for scatterer in scatterers {
        let [x, y, z] = std::array::from_fn(|axis| weights(scatterer.position[axis] - extent.center[axis], side));
        for (z, along_z) in z.indices() {
            for (y, along_y) in y.indices() {
                let plane = scatterer.electrons * along_z * along_y;
                let row = (z * side + y) * side;
                for (x, along_x) in x.indices() {
                    sums[row + x] += plane * along_x;
                }
            }
        }
    }
    Ok(Volume::from_finite(side, sums.into_iter().map(|sum| sum as f32).collect()))
}

/// How much of a Gaussian falls into each of the voxels around it, along one axis.
struct Weights {
    first: usize,
    values: [f64; Self::COUNT],
    count: usize,
}

impl Weights {
    /// Voxels within five sigma on both sides, beyond which lies less than 1e-6 of the Gaussian.
    const COUNT: usize = 5;

    fn indices(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let range = self.first..self.first + self.count;
        range.zip(self.values.iter().copied())
    }
}

fn weights(offset: f64, side: usize) -> Weights {
    // In voxels, from the center of the first one.
    let position = offset / VOXEL_SIZE + (side / 2) as f64;
    let nearest = position.round();
    let scale = VOXEL_SIZE / (ATOM_SIGMA * std::f64::consts::SQRT_2);
    let below = |edge: f64| 0.5 * libm::erf((edge - position) * scale);
    let lowest = (nearest as usize).saturating_sub(Weights::COUNT / 2);
    let highest = (nearest as usize + Weights::COUNT / 2).min(side - 1);
    let mut values = [0.0; Weights::COUNT];
    let mut lower = below(lowest as f64 - 0.5);
    for (value, index) in values.iter_mut().zip(lowest..=highest) {
        let upper = below(index as f64 + 0.5);
        *value = upper - lower;
        lower = upper;
    }
    Weights { first: lowest, values, count: highest + 1 - lowest }
}

/// Reads a bead table: `x y z electrons` on each line, in Angstrom, separated by white space; `#`
/// starts a comment. It may be compressed with gzip.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Format`] naming the first line that is not
/// four numbers that a [`Scatterer`] may have, or if there is none.
pub fn read_beads(path: impl AsRef<Path>) -> Result<Vec<Scatterer>> {
    let path = path.as_ref();
    let text = input::read_text(path)?;
    parse_beads(&text).map_err(|problem| Error::Format { path: path.to_owned(), problem })
}

fn parse_beads(text: &str) -> Result<Vec<Scatterer>, String> {
    let mut beads = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let values: Vec<f64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        match values.as_slice() {
            &[x, y, z, electrons]
                if line.split_whitespace().count() == 4
                    && (Scatterer { position: [x, y, z], electrons }).is_plausible() =>
            {
                beads.push(Scatterer { position: [x, y, z], electrons });
            }
            _ => {
                // A file that is no table may be one line of gigabytes.
                let start: String = line.chars().take(60).collect();
                return Err(format!("line {}: expected `x y z electrons`, got `{start}`", number + 1));
            }
        }
    }
    if beads.is_empty() {
        return Err("holds no beads".to_owned());
    }
    Ok(beads)
}
