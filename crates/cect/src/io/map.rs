//! Density maps, of whatever format.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    FORMATS,
    input::{self, Failure, Input},
};
use crate::{Error, Result, volume::Volume};

/// Extents, and edges of a voxel in Angstrom, both `[z, y, x]`.
pub(crate) type Size = ([usize; 3], [f64; 3]);

/// A format that maps come in.
pub(super) struct Format {
    /// Whether a file is of it, by its first four bytes and by what its name ends with.
    pub(super) is: fn(&[u8], &str) -> bool,
    /// Reads the volume of a file, or one of its volumes, counted from 1.
    pub(super) read: fn(Input, Option<usize>) -> Result<Map, Failure>,
    /// Reads the header of such a volume.
    pub(super) peek: fn(Input, Option<usize>) -> Result<Size, Failure>,
}

/// A density map as an MRC, CCP4 or EM file holds it, not always cubic.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    pub(super) shape: [usize; 3],
    pub(super) voxel_size: [f64; 3],
    pub(super) voxels: Vec<f32>,
    pub(super) note: Option<&'static str>,
}

/// A file, or one volume of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// Counted from 1.
    pub(crate) number: Option<usize>,
}

impl Map {
    /// Reads an MRC or CCP4 map or an EM volume (Dynamo, PyTom), also compressed with gzip. Axes stored in another order than
    /// x, y, z are put in order. Bytes (mode 0) are signed, unless IMOD's stamp says otherwise or, where there is none,
    /// the header's range goes from zero or more to above 127; [`note`](Self::note) says where the header contradicts itself.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] if the header contradicts itself or the size of the file,
    /// or announces a stack of images or of volumes, if compressed data are damaged, if the mode is not one of 0, 1, 2, 6 and
    /// 12, if the cell has other than right angles, if a voxel is not finite, and beyond 2³⁰ voxels.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::{Map, Volume};
    ///
    /// let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("ramp.mrc.gz");
    /// let ramp = Volume::new(2, (0..8).map(|v| v as f32).collect())?;
    /// Map::from_volume(&ramp, 10.0).save(&path)?;
    /// let map = Map::open(&path)?;
    /// assert_eq!(map.voxel_size(), [10.0; 3]);
    /// assert_eq!(map.into_volume()?, ramp);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_place(&Place { path: path.as_ref().to_owned(), number: None })
    }

    pub(crate) fn open_place(place: &Place) -> Result<Self> {
        let Place { path, number } = place;
        let (format, input) = opened(path)?;
        (format.read)(input, *number).map_err(|failure| failure.of_file(path))
    }

    /// Reads the header of one volume.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for what only the voxels tell.
    pub(crate) fn peek(place: &Place) -> Result<Size> {
        let Place { path, number } = place;
        let (format, input) = opened(path)?;
        (format.peek)(input, *number).map_err(|failure| failure.of_file(path))
    }

    /// The map, if every voxel of it is a number.
    pub(super) fn finite(self) -> Result<Self, Failure> {
        let Some(index) = self.voxels.iter().position(|voxel| !voxel.is_finite()) else { return Ok(self) };
        let [_, y, x] = self.shape;
        Err(Failure::Format(format!(
            "voxel [{}][{}][{}] is {}, not a finite number",
            index / (x * y),
            index / x % y,
            index % x,
            self.voxels[index]
        )))
    }

    /// A cubic map ready to be saved; `voxel_size` in Angstrom, 0 if it is not known.
    pub fn from_volume(volume: &Volume, voxel_size: f64) -> Self {
        Self { shape: [volume.side(); 3], voxel_size: [voxel_size; 3], voxels: volume.voxels().to_vec(), note: None }
    }

    /// `[z, y, x]` extents.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// `[z, y, x]` edges of a voxel in Angstrom; zero where the header does not say.
    pub fn voxel_size(&self) -> [f64; 3] {
        self.voxel_size
    }

    /// All voxels, `[z][y][x]`.
    pub fn voxels(&self) -> &[f32] {
        &self.voxels
    }

    /// The same map with voxels of another size, in Angstrom, for headers that give none or a wrong one.
    #[must_use]
    pub fn with_voxel_size(self, voxel_size: f64) -> Self {
        Self { voxel_size: [voxel_size; 3], ..self }
    }

    /// What a reader should know of how the file was taken, such as bytes whose sign the header leaves open.
    pub fn note(&self) -> Option<&str> {
        self.note
    }

    /// Gives the voxels away, `[z][y][x]`.
    pub fn into_voxels(self) -> Vec<f32> {
        self.voxels
    }

    /// Turns a cubic map into a [`Volume`].
    ///
    /// # Errors
    /// [`Error::Volume`] if the extents differ.
    pub fn into_volume(self) -> Result<Volume> {
        let [z, y, x] = self.shape;
        if z != y || y != x {
            return Err(Error::Volume(format!("expected a cube, got {z} × {y} × {x} voxels")));
        }
        Volume::new(x, self.voxels)
    }
}

/// The file, and what it is.
fn opened(path: &Path) -> Result<(&'static Format, Input)> {
    let mut input = input::open(path)?;
    let mut start = Vec::new();
    input.reader.by_ref().take(4).read_to_end(&mut start).map_err(|source| Failure::from(source).of_file(path))?;
    let kind = input::name_and_kind(path).1;
    let [others @ .., last] = FORMATS;
    let format = others.iter().find(|format| (format.is)(&start, &kind)).unwrap_or(last);
    input.reader = Box::new(std::io::Cursor::new(start).chain(input.reader));
    Ok((format, input))
}
