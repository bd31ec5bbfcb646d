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
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use half::f16;

use super::{Statistics, Volume, input};
use crate::{Error, Result};

const HEADER_BYTES: usize = 1024;

/// A map of 1024 voxels on each edge; what is larger is a tomogram, not a structure.
const MAX_VOXELS: u64 = 1 << 30;

/// Bytes behind the voxels of a compressed file that are unpacked, and thrown away, to check the whole of it.
const MOST_BEHIND: u64 = 1 << 30;

/// A density map as an MRC or CCP4 file holds it, not always cubic.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    shape: [usize; 3],
    voxel_size: [f64; 3],
    voxels: Vec<f32>,
}

/// The numbers of a header that matter here.
struct Header {
    mode: Mode,
    little_endian: bool,
    /// Columns, rows and sections: extents of the axes as stored, fastest first.
    extents: [usize; 3],
    /// Which of x, y, z (0, 1, 2) each stored axis is.
    axes: [usize; 3],
    /// `[x, y, z]` in Angstrom; zero where the header does not say.
    voxel_size: [f64; 3],
    extended_bytes: u64,
    /// ISPG: 0 for images, from 401 on for stacks of volumes.
    space_group: i32,
    /// MZ: sections of one volume.
    sections: i32,
    /// Angles of the cell in degrees; zero where the header does not say.
    angles: [f64; 3],
}

#[derive(Clone, Copy)]
enum Mode {
    Int8,
    Uint8,
    Int16,
    Float32,
    Uint16,
    Float16,
}

impl Mode {
    fn bytes(self) -> usize {
        match self {
            Self::Int8 | Self::Uint8 => 1,
            Self::Int16 | Self::Uint16 | Self::Float16 => 2,
            Self::Float32 => 4,
        }
    }
}

impl Map {
    /// Reads an MRC or CCP4 map, also compressed with gzip. Axes stored in another order than
    /// x, y, z are put in order. Bytes (mode 0) are signed, unless IMOD's stamp says otherwise or, where there is none,
    /// the header's range goes from zero or more to above 127.
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
        let path = path.as_ref();
        let input = input::open(path)?;
        Self::read(input.reader, input.length).map_err(|failure| failure.of_file(path))
    }

    /// Reads the header of one volume: extents and voxel size in Angstrom, both `[z, y, x]`.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for what only the voxels tell; [`Error::Format`] for a stack of images or of
    /// volumes.
    pub(super) fn peek(path: &Path) -> Result<([usize; 3], [f64; 3])> {
        let mut input = input::open(path)?;
        let header = Header::read(&mut input.reader).map_err(|failure| failure.of_file(path))?;
        header
            .fits(input.length)
            .and_then(|()| header.is_one_volume())
            .and_then(|()| header.is_upright())
            .map_err(|problem| Failure::Format(problem).of_file(path))?;
        let mut extents = [0; 3];
        for (&axis, &extent) in header.axes.iter().zip(&header.extents) {
            extents[axis] = extent;
        }
        let ([x, y, z], [size_x, size_y, size_z]) = (extents, header.voxel_size);
        Ok(([z, y, x], [size_z, size_y, size_x]))
    }

    /// Reads a map from memory.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let result = if bytes.starts_with(&[0x1f, 0x8b]) {
            Self::read(flate2::read::MultiGzDecoder::new(bytes), None)
        } else {
            Self::read(bytes, Some(bytes.len() as u64))
        };
        result.map_err(|failure| match failure {
            Failure::Io(source) => source.to_string(),
            Failure::Format(problem) => problem,
        })
    }

    fn read(mut reader: impl Read, length: Option<u64>) -> Result<Self, Failure> {
        let header = Header::read(&mut reader)?;
        header.fits(length)?;
        header.is_one_volume()?;
        header.is_upright()?;
        let (data_bytes, expected) = (header.data_bytes(), header.expected_bytes());
        let skipped = std::io::copy(&mut reader.by_ref().take(header.extended_bytes), &mut std::io::sink())?;
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
        let (shape, voxels) = in_order(&header, stored);
        if let Some(index) = voxels.iter().position(|voxel| !voxel.is_finite()) {
            let [_, y, x] = shape;
            return Err(Failure::Format(format!(
                "voxel [{}][{}][{}] is {}, not a finite number",
                index / (x * y),
                index / x % y,
                index % x,
                voxels[index]
            )));
        }
        let [x, y, z] = header.voxel_size;
        Ok(Self { shape, voxel_size: [z, y, x], voxels })
    }

    /// A cubic map ready to be saved; `voxel_size` in Angstrom, 0 if it is not known.
    pub fn from_volume(volume: &Volume, voxel_size: f64) -> Self {
        Self { shape: [volume.side(); 3], voxel_size: [voxel_size; 3], voxels: volume.voxels().to_vec() }
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

enum Failure {
    Io(std::io::Error),
    Format(String),
}

impl Failure {
    fn of_file(self, path: &Path) -> Error {
        match self {
            Self::Io(source) => input::read_error(path, source),
            Self::Format(problem) => Error::Format { path: path.to_owned(), problem },
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A file cut short in the middle of its compressed data is a bad file, not a bad disk.
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
                Self::Format(format!("the compressed data is damaged: {error}"))
            }
            _ => Self::Io(error),
        }
    }
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self::Format(problem)
    }
}

impl Header {
    fn read(reader: &mut impl Read) -> Result<Self, Failure> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        reader.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut bytes)?;
        let Ok(bytes) = <[u8; HEADER_BYTES]>::try_from(bytes.as_slice()) else {
            return Err(Failure::Format(format!(
                "{} bytes are no MRC file: its header alone has {HEADER_BYTES}",
                bytes.len()
            )));
        };
        Ok(Self::parse(&bytes)?)
    }

    fn data_bytes(&self) -> u64 {
        self.extents.iter().map(|&extent| extent as u64).product::<u64>() * self.mode.bytes() as u64
    }

    /// Bytes of a file with this header.
    fn expected_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.extended_bytes + self.data_bytes()
    }

    /// Whether a file of so many bytes, where that is known, holds what the header announces.
    fn fits(&self, length: Option<u64>) -> Result<(), String> {
        let expected = self.expected_bytes();
        match length {
            Some(length) if length < expected => {
                Err(format!("the header announces {expected} bytes but the file has {length}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the file holds one volume.
    fn is_one_volume(&self) -> Result<(), String> {
        let sections = self.extents[2];
        if self.space_group == 0 && sections > 1 && self.sections == 1 {
            return Err(format!("a stack of {sections} images (ISPG 0, MZ 1); expected one volume"));
        }
        if (401..=630).contains(&self.space_group) && usize::try_from(self.sections) != Ok(sections) {
            return Err(format!(
                "a stack of volumes of {} sections, {sections} in all (ISPG {}); expected one volume",
                self.sections, self.space_group
            ));
        }
        Ok(())
    }

    /// Whether the axes are at right angles, as those of a [`Map`] are.
    fn is_upright(&self) -> Result<(), String> {
        // Some programs leave the angles out.
        let right = |angle: f64| angle.abs() < 1e-3 || (angle - 90.0).abs() < 0.1;
        if !self.angles.into_iter().all(right) {
            let [alpha, beta, gamma] = self.angles;
            return Err(format!("expected a cell with right angles, got {alpha}, {beta} and {gamma} degrees"));
        }
        Ok(())
    }

    /// Whether bytes are signed: IMOD says it where it has left its stamp; else they are, as MRC2014 has it, unless
    /// no signed byte is as large as the maximum.
    fn signed_bytes(int: impl Fn(usize) -> i32, float: impl Fn(usize) -> f64) -> bool {
        const IMOD_STAMP: i32 = 1_146_047_817;
        if int(38) == IMOD_STAMP { int(39) & 1 == 1 } else { !(float(19) >= 0.0 && float(20) > 127.0) }
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, String> {
        let raw = |word: usize| -> [u8; 4] { std::array::from_fn(|k| bytes[4 * word + k]) };
        // The machine stamp is wrong in too many files. A mode that makes sense in one byte order
        // does not in the other, but for 0; there, nor does the number of columns.
        let little_endian = match i32::from_le_bytes(raw(3)) {
            0 => (1..=0xffff).contains(&i32::from_le_bytes(raw(0))),
            mode => (1..=127).contains(&mode),
        };
        let int = |word: usize| {
            if little_endian { i32::from_le_bytes(raw(word)) } else { i32::from_be_bytes(raw(word)) }
        };
        let float = |word: usize| f64::from(f32::from_bits(int(word) as u32));
        let mode = match int(3) {
            0 if Self::signed_bytes(int, float) => Mode::Int8,
            0 => Mode::Uint8,
            1 => Mode::Int16,
            2 => Mode::Float32,
            6 => Mode::Uint16,
            12 => Mode::Float16,
            mode => {
                return Err(format!("mode {mode} cannot be read; expected 0, 1, 2, 6 or 12 (or this is no MRC file)"));
            }
        };
        let mut extents = [0; 3];
        for (word, (extent, name)) in extents.iter_mut().zip(["NX", "NY", "NZ"]).enumerate() {
            *extent = usize::try_from(int(word))
                .ok()
                .filter(|&extent| extent > 0)
                .ok_or_else(|| format!("{name} is {}, not a number of voxels", int(word)))?;
        }
        let count = extents
            .iter()
            .try_fold(1u64, |product, &extent| product.checked_mul(extent as u64))
            .filter(|&count| count <= MAX_VOXELS);
        if count.is_none() {
            let [x, y, z] = extents;
            return Err(format!("{x} × {y} × {z} voxels are more than the {MAX_VOXELS} that can be read"));
        }
        let axes = Self::axes([int(16), int(17), int(18)])?;
        let mut voxel_size = [0.0; 3];
        for axis in 0..3 {
            let (intervals, cell) = (int(7 + axis), float(10 + axis));
            let name = ["x", "y", "z"][axis];
            if !cell.is_finite() || cell < 0.0 {
                return Err(format!("the cell edge along {name} is {cell} Å"));
            }
            if intervals > 0 {
                voxel_size[axis] = cell / f64::from(intervals);
            }
        }
        let extended_bytes =
            u64::try_from(int(23)).map_err(|_| format!("NSYMBT, the length of the extended header, is {}", int(23)))?;
        Ok(Self {
            mode,
            little_endian,
            extents,
            axes,
            voxel_size,
            extended_bytes,
            space_group: int(22),
            sections: int(9),
            angles: [13, 14, 15].map(float),
        })
    }

    fn axes(stored: [i32; 3]) -> Result<[usize; 3], String> {
        // Old files leave the order out.
        if stored == [0; 3] {
            return Ok([0, 1, 2]);
        }
        let mut sorted = stored;
        sorted.sort_unstable();
        if sorted != [1, 2, 3] {
            return Err(format!("MAPC, MAPR, MAPS are {stored:?}, not an order of 1, 2, 3"));
        }
        Ok(stored.map(|axis| axis as usize - 1))
    }

    fn decode(&self, data: &[u8]) -> Vec<f32> {
        let halves = |data: &[u8]| -> Vec<u16> {
            let pairs = data.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
            if self.little_endian {
                pairs.map(u16::from_le_bytes).collect()
            } else {
                pairs.map(u16::from_be_bytes).collect()
            }
        };
        match self.mode {
            Mode::Int8 => data.iter().map(|&byte| f32::from(byte as i8)).collect(),
            Mode::Uint8 => data.iter().copied().map(f32::from).collect(),
            Mode::Int16 => halves(data).into_iter().map(|half| f32::from(half as i16)).collect(),
            Mode::Uint16 => halves(data).into_iter().map(f32::from).collect(),
            Mode::Float16 => halves(data).into_iter().map(|bits| f16::from_bits(bits).to_f32()).collect(),
            Mode::Float32 => data
                .chunks_exact(4)
                .map(|word| [word[0], word[1], word[2], word[3]])
                .map(|word| if self.little_endian { f32::from_le_bytes(word) } else { f32::from_be_bytes(word) })
                .collect(),
        }
    }
}

/// Shape `[z, y, x]` and voxels `[z][y][x]` of what is stored in any order of axes.
fn in_order(header: &Header, stored: Vec<f32>) -> ([usize; 3], Vec<f32>) {
    let mut extents = [0; 3];
    let mut strides = [0; 3];
    let mut stride = 1;
    for (&axis, &extent) in header.axes.iter().zip(&header.extents) {
        extents[axis] = extent;
        strides[axis] = stride;
        stride *= extent;
    }
    let [nx, ny, nz] = extents;
    if header.axes == [0, 1, 2] {
        return ([nz, ny, nx], stored);
    }
    let mut voxels = Vec::with_capacity(stored.len());
    for z in 0..nz {
        for y in 0..ny {
            let row = z * strides[2] + y * strides[1];
            voxels.extend((0..nx).map(|x| stored[row + x * strides[0]]));
        }
    }
    ([nz, ny, nx], voxels)
}
