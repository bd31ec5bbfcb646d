//! MRC2014 maps.
//!
//! Modes 0, 1, 2, 6 and 12 are read in both byte orders, compressed with gzip or not; mode 2 is
//! written. The header is believed only as far as the file bears it out: nothing is allocated for
//! voxels that are not there.
//!
//! Bytes, mode 0, are signed by MRC2014, as IMOD's were not before 4.2.23. A file with IMOD's stamp says which they
//! are; without it they are signed, unless the header's range has a maximum that no signed byte reaches and no minimum
//! below zero.
//!
//! The crate `mrc` (0.8) reads more modes, but allocates what a header claims before it looks for
//! it, leaves axes in the order they are stored, and holds `unsafe` code, which a format of one
//! fixed header does not need.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

use super::{
    em,
    input::{self, Input},
    mrc_header::{Failure, HEADER_BYTES, Header},
};
use crate::{
    Error, Result,
    volume::{Statistics, Volume},
};

/// Bytes behind the voxels of a compressed file that are unpacked, and thrown away, to check the whole of it.
const MOST_BEHIND: u64 = 1 << 30;

/// A density map as an MRC, CCP4 or EM file holds it, not always cubic.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    shape: [usize; 3],
    voxel_size: [f64; 3],
    voxels: Vec<f32>,
    note: Option<&'static str>,
}

/// What is said of bytes whose header contradicts itself.
const DOUBTFUL_BYTES: &str = "bytes taken as signed, though the header has a maximum above 127";

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
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] if the header contradicts
    /// itself or the size of the file or announces a stack of images or of volumes, compressed data are damaged, the mode is not one of 0, 1, 2, 6 and 12, the cell has other
    /// than right angles, a voxel is not finite, or there are more than 2³⁰ of them.
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

    /// Reads a stack of images, `[n][y][x]`.
    ///
    /// # Errors
    /// As [`open`](Self::open), but that the sections are images.
    pub(crate) fn open_images(path: &Path) -> Result<Self> {
        let input = input::open(path)?;
        let mut reader = input.reader;
        let header = Header::read(&mut reader).map_err(|failure| failure.of_file(path))?;
        Self::read_voxels(reader, input.length, header, 0).map_err(|failure| failure.of_file(path))
    }

    /// The shape `[n, y, x]` and the voxel size of a stack of images, in Angstrom.
    pub(crate) fn peek_images(path: &Path) -> Result<([usize; 3], f64)> {
        let mut input = input::open(path)?;
        let header = Header::read(&mut input.reader).map_err(|failure| failure.of_file(path))?;
        header.fits(input.length).map_err(|problem| Failure::Format(problem).of_file(path))?;
        let [x, y, n] = header.extents;
        Ok(([n, y, x], header.voxel_size[0]))
    }

    pub(crate) fn open_place(place: &Place) -> Result<Self> {
        let Place { path, number } = place;
        let (is_em, mut input) = opened(path)?;
        let map = match (is_em, number) {
            (false, _) => Self::read(input.reader, input.length, *number),
            (true, None) => Self::read_em(&mut input.reader, input.length),
            (true, Some(_)) => Err(Failure::Format("an EM file holds one volume".to_owned())),
        };
        map.map_err(|failure| failure.of_file(path))
    }

    /// Reads the header of one volume: extents and voxel size in Angstrom, both `[z, y, x]`.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for what only the voxels tell.
    pub(crate) fn peek(place: &Place) -> Result<([usize; 3], [f64; 3])> {
        let Place { path, number } = place;
        let of_file = |problem| Failure::Format(problem).of_file(path);
        let (is_em, mut input) = opened(path)?;
        if is_em {
            let header = em::Header::read(&mut input.reader).map_err(|failure| failure.of_file(path))?;
            header.fits(input.length).map_err(of_file)?;
            return Ok((header.shape(), [0.0; 3]));
        }
        let header = Header::read(&mut input.reader).map_err(|failure| failure.of_file(path))?;
        header.fits(input.length).map_err(of_file)?;
        let (header, _) = one_volume(header, *number).map_err(of_file)?;
        header.is_upright().map_err(of_file)?;
        let mut extents = [0; 3];
        for (&axis, &extent) in header.axes.iter().zip(&header.extents) {
            extents[axis] = extent;
        }
        let ([x, y, z], [size_x, size_y, size_z]) = (extents, header.voxel_size);
        Ok(([z, y, x], [size_z, size_y, size_x]))
    }

    /// Reads a map from memory.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let result = if bytes.starts_with(&[0x1f, 0x8b]) {
            Self::read(flate2::read::MultiGzDecoder::new(bytes), None, None)
        } else {
            Self::read(bytes, Some(bytes.len() as u64), None)
        };
        result.map_err(|failure| match failure {
            Failure::Io(source) => source.to_string(),
            Failure::Format(problem) => problem,
        })
    }

    fn read(mut reader: impl Read, length: Option<u64>, number: Option<usize>) -> Result<Self, Failure> {
        let header = Header::read(&mut reader)?;
        header.fits(length)?;
        let (header, before) = one_volume(header, number)?;
        header.is_upright()?;
        Self::read_voxels(reader, length, header, before)
    }

    /// The voxels behind the header and as many bytes of other volumes.
    fn read_voxels(mut reader: impl Read, length: Option<u64>, header: Header, before: u64) -> Result<Self, Failure> {
        let (data_bytes, expected) = (header.data_bytes(), header.expected_bytes() + before);
        let skip = header.extended_bytes + before;
        let skipped = std::io::copy(&mut reader.by_ref().take(skip), &mut std::io::sink())?;
        // A compressed file's length is not known beforehand; the buffer grows with what arrives.
        let capacity = length.map_or(0, |_| data_bytes as usize);
        let mut data = Vec::with_capacity(capacity);
        reader.by_ref().take(data_bytes).read_to_end(&mut data)?;
        if length.is_none() {
            // The checksum comes behind the last byte.
            std::io::copy(&mut reader.take(MOST_BEHIND), &mut std::io::sink())?;
        }
        let found = HEADER_BYTES as u64 + skipped + data.len() as u64;
        if found < expected {
            return Err(Failure::Format(format!("the header announces {expected} bytes but the file has {found}")));
        }
        let stored = header.decode(&data);
        let (shape, voxels) = header.in_order(stored);
        require_finite(&voxels, shape)?;
        let [x, y, z] = header.voxel_size;
        let note = header.doubtful_bytes.then_some(DOUBTFUL_BYTES);
        Ok(Self { shape, voxel_size: [z, y, x], voxels, note })
    }

    fn read_em(reader: &mut impl Read, length: Option<u64>) -> Result<Self, Failure> {
        let header = em::Header::read(reader)?;
        header.fits(length)?;
        let expected = header.data_bytes();
        let mut data = Vec::with_capacity(length.map_or(0, |_| expected as usize));
        reader.by_ref().take(expected).read_to_end(&mut data)?;
        if (data.len() as u64) < expected {
            return Err(Failure::Format(format!(
                "the header announces {expected} bytes of voxels, the file has {}",
                data.len()
            )));
        }
        if length.is_none() {
            std::io::copy(&mut reader.take(MOST_BEHIND), &mut std::io::sink())?;
        }
        let (shape, voxels) = (header.shape(), header.decode(&data));
        require_finite(&voxels, shape)?;
        Ok(Self { shape, voxel_size: [0.0; 3], voxels, note: None })
    }

    /// A cubic map ready to be saved; `voxel_size` in Angstrom, 0 if it is not known.
    pub fn from_volume(volume: &Volume, voxel_size: f64) -> Self {
        Self { shape: [volume.side(); 3], voxel_size: [voxel_size; 3], voxels: volume.voxels().to_vec(), note: None }
    }

    /// Writes the map as MRC2014, mode 2, little-endian; compressed if the name ends in `.gz`.
    ///
    /// # Errors
    /// [`Error::Config`] for a voxel size that makes a cell which [`open`](Self::open) refuses;
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if let Some(axis) = (0..3).find(|&axis| !(0.0..f32::INFINITY).contains(&self.cell(axis))) {
            return Err(Error::config(
                "voxel_size",
                "0 Å or more, and a cell that single precision holds",
                self.voxel_size[axis],
            ));
        }
        let packed = path.extension().is_some_and(|extension| extension == "gz");
        let mut bytes = Vec::new();
        let written = if packed {
            let mut encoder = GzEncoder::new(&mut bytes, Compression::best());
            self.write(&mut encoder).and_then(|()| encoder.finish().map(drop))
        } else {
            self.write(&mut bytes)
        };
        written.map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })?;
        soft_lmccl_files::write(path, &bytes).map_err(Error::io("write", path))
    }

    fn write(&self, writer: &mut impl Write) -> std::io::Result<()> {
        let mut header = [0; HEADER_BYTES];
        let mut put = |word: usize, bytes: [u8; 4]| {
            header[4 * word..4 * word + 4].copy_from_slice(&bytes);
        };
        let [z, y, x] = self.shape;
        for (axis, extent) in [x, y, z].into_iter().enumerate() {
            let extent_bytes = (extent as i32).to_le_bytes();
            put(axis, extent_bytes);
            put(7 + axis, extent_bytes);
            put(10 + axis, self.cell(2 - axis).to_le_bytes());
            put(13 + axis, 90f32.to_le_bytes());
            put(16 + axis, (axis as i32 + 1).to_le_bytes());
        }
        put(3, 2i32.to_le_bytes());
        let Statistics { min, max, mean, std } = Statistics::of(&self.voxels);
        put(19, min.to_le_bytes());
        put(20, max.to_le_bytes());
        put(21, (mean as f32).to_le_bytes());
        put(22, 1i32.to_le_bytes());
        put(27, 20_140i32.to_le_bytes());
        put(52, *b"MAP ");
        put(53, [0x44, 0x44, 0, 0]);
        put(54, (std as f32).to_le_bytes());
        writer.write_all(&header)?;
        for voxel in &self.voxels {
            writer.write_all(&voxel.to_le_bytes())?;
        }
        Ok(())
    }

    /// Edge of the box in Angstrom, along an axis of `[z, y, x]`, as a header holds it.
    fn cell(&self, axis: usize) -> f32 {
        (self.shape[axis] as f64 * self.voxel_size[axis]) as f32
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

/// The file, and whether it is of the EM format.
fn opened(path: &Path) -> Result<(bool, Input)> {
    let mut input = input::open(path)?;
    let mut start = Vec::new();
    input.reader.by_ref().take(4).read_to_end(&mut start).map_err(|source| Failure::from(source).of_file(path))?;
    let is_em = em::looks_like(&start, input::name_and_kind(path).1 == "em");
    input.reader = Box::new(std::io::Cursor::new(start).chain(input.reader));
    Ok((is_em, input))
}

/// The header of the volume that is asked for, and the bytes of others before it.
fn one_volume(header: Header, number: Option<usize>) -> Result<(Header, u64), String> {
    match number {
        Some(number) => header.member(number),
        None => header.is_one_volume().map(|()| (header, 0)),
    }
}

fn require_finite(voxels: &[f32], shape: [usize; 3]) -> Result<(), Failure> {
    let Some(index) = voxels.iter().position(|voxel| !voxel.is_finite()) else { return Ok(()) };
    let [_, y, x] = shape;
    Err(Failure::Format(format!(
        "voxel [{}][{}][{}] is {}, not a finite number",
        index / (x * y),
        index / x % y,
        index % x,
        voxels[index]
    )))
}
