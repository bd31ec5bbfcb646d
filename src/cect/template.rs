//! What the simulator rotates: one density a class.

use std::{ffi::OsStr, path::Path};

use super::{
    AssemblyChoice, Extent, Map, Scatterer, Structure, TEMPLATE_SIDE, VOXEL_SIZE, Volume, density, read_beads, resample,
};
use crate::{Error, Result};

/// The density of one class, [`TEMPLATE_SIDE`]³ voxels of [`VOXEL_SIZE`], its center of mass at the
/// center of the box.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    name: String,
    volume: Volume,
    radius: f64,
    source: String,
}

impl Template {
    /// Computes the density of a structure.
    ///
    /// # Errors
    /// As [`density`]; a structure that does not fit is refused with the side it needs.
    pub fn new(name: impl Into<String>, scatterers: &[Scatterer]) -> Result<Self> {
        Ok(Self {
            name: name.into(),
            volume: density(scatterers, TEMPLATE_SIDE)?,
            radius: Extent::of(scatterers)?.radius,
            source: format!("{} scatterers", scatterers.len()),
        })
    }

    /// Reads a structure of the user's: a PDB or mmCIF file, a density map in MRC format, or a bead
    /// table, each also compressed with gzip. The class gets the file's name.
    ///
    /// | extensions, each also with `.gz` | read as |
    /// |---|---|
    /// | `.pdb` `.pdb1` `.ent` `.cif` `.mmcif` | atoms, see [`Structure`]; assembly 1 where named |
    /// | `.mrc` `.map` `.ccp4` `.rec` | density, see [`resample`] |
    /// | `.tsv` | beads, see [`read_beads`] |
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] if its extension is none of
    /// these, its content is not what the extension says, or the particle does not fit, with the
    /// side that it needs.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl::cect::Template;
    ///
    /// let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/structures/dimer.cif");
    /// let template = Template::open(path)?;
    /// assert_eq!(template.name(), "dimer");
    /// assert!(template.source().contains("assembly 1, 2 operators"));
    /// # Ok::<(), soft_lmccl::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (name, kind) = name_and_kind(path);
        // What does not fit is a property of the file here, so the message names it.
        let of_file = |error| match error {
            Error::Config { expected, got, .. } => Error::Format {
                path: path.to_owned(),
                problem: format!("does not fit a box of {got} voxels; it needs {expected}"),
            },
            Error::Volume(problem) => Error::Format { path: path.to_owned(), problem },
            other => other,
        };
        match kind.as_str() {
            "pdb" | "pdb1" | "ent" | "cif" | "mmcif" => {
                let structure = Structure::open(path, AssemblyChoice::First)?;
                let template = Self::new(name, structure.scatterers()).map_err(of_file)?;
                Ok(template.with_source(format!(
                    "{} atoms, {:.0} kDa; {}",
                    structure.scatterers().len(),
                    structure.kilodaltons(),
                    structure.assembly()
                )))
            }
            "mrc" | "map" | "ccp4" | "rec" => {
                let map = Map::open(path)?;
                let resampled = resample(&map, TEMPLATE_SIDE).map_err(of_file)?;
                let [z, y, x] = map.shape();
                Ok(Self {
                    name,
                    volume: resampled.volume,
                    radius: resampled.radius,
                    source: format!("map of {z} × {y} × {x} voxels of {:.2} Å", map.voxel_size()[2]),
                })
            }
            "tsv" => {
                let beads = read_beads(path)?;
                let template = Self::new(name, &beads).map_err(of_file)?;
                Ok(template.with_source(format!("{} beads", beads.len())))
            }
            _ => Err(Error::Format {
                path: path.to_owned(),
                problem: "expected .pdb, .ent, .cif, .mmcif, .mrc, .map, .ccp4, .rec or .tsv, \
                          each also with .gz"
                    .to_owned(),
            }),
        }
    }

    pub(super) fn from_parts(name: &str, volume: Volume, radius: f64, source: String) -> Self {
        Self { name: name.to_owned(), volume, radius, source }
    }

    fn with_source(self, source: String) -> Self {
        Self { source, ..self }
    }

    /// The class's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The density: electrons in each voxel, or for a map in whatever unit it came.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Distance from the center of mass to the farthest atom, bead or occupied voxel, in Angstrom.
    pub fn radius(&self) -> f64 {
        self.radius
    }

    /// One line on where the density comes from, with the assembly that was built.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Side of the smallest cube, in voxels of [`VOXEL_SIZE`], that holds the particle in every
    /// orientation.
    pub fn side_needed(&self) -> usize {
        2 * ((self.radius + super::density::ATOM_REACH) / VOXEL_SIZE).ceil() as usize
    }
}

/// `4v5d` and `cif` of `some/4v5d.cif.gz`.
fn name_and_kind(path: &Path) -> (String, String) {
    let lower = |text: Option<&OsStr>| text.map(|text| text.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let mut path = path.to_owned();
    if lower(path.extension()) == "gz" {
        path.set_extension("");
    }
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    (name, lower(path.extension()))
}
