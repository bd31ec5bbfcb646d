//! The densities that the simulator rotates, one a class.

pub mod catalogue;
mod extract;
mod invent;
mod placing;
mod resample;

pub use extract::{Extracted, extract};
pub use invent::{InventConfig, invent};
pub(crate) use resample::averaged;
pub use resample::{Resampled, resample};

use std::path::Path;

use crate::{
    Error, Result,
    io::{Map, input},
    structure::{
        ATOM_REACH, AssemblyChoice, Extent, Scatterer, Structure, TEMPLATE_SIDE, VOXEL_SIZE, density_of_each,
        read_beads, side_needed,
    },
    volume::Volume,
};

/// The density of one class, its center of mass at the center of the box. It has [`TEMPLATE_SIDE`]³ voxels of
/// [`VOXEL_SIZE`] unless asked for otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    name: String,
    volume: Volume,
    voxel_size: f64,
    radius: f64,
    kilodaltons: Option<f64>,
    source: String,
}

/// Electrons in a kilodalton of protein; nucleic acids have 520.
const ELECTRONS_PER_KILODALTON: f64 = 530.0;

impl Template {
    /// Computes the density of a structure.
    ///
    /// # Errors
    /// As [`density`](crate::density); a structure that does not fit is refused with the side it needs.
    pub fn new(name: impl Into<String>, scatterers: &[Scatterer]) -> Result<Self> {
        Self::with_side(name, scatterers, TEMPLATE_SIDE)
    }

    /// The same in a box of `side³` voxels, for structures that do not fit the usual one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_side(name: impl Into<String>, scatterers: &[Scatterer], side: usize) -> Result<Self> {
        Self::of_each(name.into(), scatterers.iter().copied(), side)
    }

    fn of_each(name: String, scatterers: impl Iterator<Item = Scatterer> + Clone, side: usize) -> Result<Self> {
        let extent = Extent::of_each(scatterers.clone())?;
        let source = format!("{} scatterers", scatterers.clone().count());
        Ok(Self {
            name,
            volume: density_of_each(scatterers, &extent, side)?,
            voxel_size: VOXEL_SIZE,
            radius: extent.radius,
            kilodaltons: Some(extent.electrons / ELECTRONS_PER_KILODALTON),
            source,
        })
    }

    /// Reads a structure of the user's: a PDB or mmCIF file, a density map in MRC format, or a bead
    /// table, each also compressed with gzip. The class gets the file's name.
    ///
    /// | extensions, each also with `.gz` | read as |
    /// |---|---|
    /// | `.pdb` `.ent` `.cif` `.mmcif` | atoms, see [`Structure`]; assembly 1 where named |
    /// | `.pdb1` `.pdb2` … | the same; all models where no assembly is named |
    /// | `.mrc` `.map` `.ccp4` `.rec` | density, see [`resample`] |
    /// | `.tsv` | beads, see [`read_beads`] |
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] if its extension is not in the table, its content
    /// is not what the extension says, or the particle does not fit, with the side that it needs.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::Template;
    ///
    /// let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/structures/dimer.cif");
    /// let template = Template::open(path)?;
    /// assert_eq!(template.name(), "dimer");
    /// assert!(template.source().contains("assembly 1, 2 operators"));
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (name, kind) = input::name_and_kind(path);
        // Here the file decides the size of a particle, so the message names it.
        let of_file = |error| match error {
            Error::Config { expected, got, .. } => Error::Format {
                path: path.to_owned(),
                problem: format!("does not fit a box of {got} voxels; it needs {expected}"),
            },
            Error::Volume(problem) => Error::Format { path: path.to_owned(), problem },
            other => other,
        };
        match kind.as_str() {
            kind if matches!(kind, "pdb" | "ent" | "cif" | "mmcif") || input::is_assembly_kind(kind) => {
                let structure = Structure::open(path, AssemblyChoice::First)?;
                let template = Self::of_each(name, structure.copies(), TEMPLATE_SIDE).map_err(of_file)?;
                let kilodaltons = Some(structure.kilodaltons());
                Ok(Self { kilodaltons, ..template }.with_source(format!(
                    "{} atoms, {:.0} kDa; {}",
                    structure.atoms(),
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
                    voxel_size: VOXEL_SIZE,
                    radius: resampled.radius,
                    kilodaltons: None,
                    source: format!(
                        "map of {z} × {y} × {x} voxels of {:.2} Å{}",
                        map.voxel_size()[2],
                        map.note().map(|note| format!("; {note}")).unwrap_or_default()
                    ),
                })
            }
            "tsv" => {
                let beads = read_beads(path)?;
                let template = Self::new(name, &beads).map_err(of_file)?;
                Ok(template.with_source(format!("{} beads", beads.len())))
            }
            _ => Err(Error::Format {
                path: path.to_owned(),
                problem: "expected .pdb, .pdb1 and the like, .ent, .cif, .mmcif, .mrc, .map, .ccp4, .rec or .tsv, \
                          each also with .gz"
                    .to_owned(),
            }),
        }
    }

    /// A template of [`VOXEL_SIZE`] that was computed before.
    pub(crate) fn from_parts(name: &str, volume: Volume, radius: f64, kilodaltons: f64, source: String) -> Self {
        let kilodaltons = Some(kilodaltons);
        Self { name: name.to_owned(), volume, voxel_size: VOXEL_SIZE, radius, kilodaltons, source }
    }

    /// The same density under another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same density averaged over voxels of another size, in Angstrom: a simulation with larger voxels then folds
    /// back no detail that they cannot hold. Each new voxel receives the integral of the density, interpolated
    /// linearly, over its volume. The box grows to an even side that holds the old one.
    ///
    /// # Errors
    /// [`Error::Config`] for a voxel size below 1 Å or above the edge of the box, or one that gives an edge more than
    /// 1024 voxels.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::catalogue;
    ///
    /// let template = catalogue::entries()[0].template();
    /// let coarse = template.resampled(13.68)?;
    /// assert_eq!((coarse.volume().side(), coarse.voxel_size()), (32, 13.68));
    /// let electrons = |t: &soft_lmccl_cect::Template| t.volume().voxels().iter().sum::<f32>();
    /// assert!((electrons(&coarse) / electrons(&template) - 1.0).abs() < 1e-4);
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn resampled(&self, voxel_size: f64) -> Result<Self> {
        let edge = self.voxel_size * self.volume.side() as f64;
        // Below 1 Å the side would overflow; it is not used.
        let side = 2 * ((edge / voxel_size.max(1.0) / 2.0).ceil() as usize + 1);
        if !((1.0..=edge).contains(&voxel_size) && side <= 1024) {
            return Err(Error::config(
                "voxel_size",
                format!("1 Å to the {edge} Å of the box, and 1024 voxels of an edge at most"),
                voxel_size,
            ));
        }
        let volume = averaged(&self.volume, self.voxel_size, voxel_size, side);
        Ok(Self { volume, voxel_size, ..self.clone() })
    }

    pub(crate) fn with_source(self, source: String) -> Self {
        Self { source, ..self }
    }

    /// The class's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The density: electrons in each voxel, or the map's own unit.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Edge of a voxel in Angstrom.
    pub fn voxel_size(&self) -> f64 {
        self.voxel_size
    }

    /// Mass in kilodalton: of the modeled residues, or by the electrons of beads; `None` for a density map, whose
    /// unit is unknown.
    pub fn kilodaltons(&self) -> Option<f64> {
        self.kilodaltons
    }

    /// Distance from the center of mass to the farthest atom, bead or occupied voxel, in Angstrom.
    pub fn radius(&self) -> f64 {
        self.radius
    }

    /// One line on where the density comes from, with the assembly that was built.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The smallest even side of a cube, in voxels of [`VOXEL_SIZE`], that holds the particle in every orientation.
    /// It is at least [`Extent::side_needed`], which looks at one orientation.
    pub fn side_needed(&self) -> usize {
        side_needed(self.radius + ATOM_REACH)
    }
}
