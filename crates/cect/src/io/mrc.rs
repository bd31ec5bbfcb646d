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

use super::{
    input::{self, Failure, Input, MOST_BEHIND},
    map::{Format, Map, Size},
    mrc_header::{HEADER_BYTES, Header},
};
use crate::{Error, Result, volume::Statistics};

/// The format, of all files that are of no other.
pub(super) const FORMAT: Format =
    Format { is: |_, _| true, read: |input, number| Map::read_mrc(input.reader, input.length, number), peek };

/// What is said of bytes whose header contradicts itself.
const DOUBTFUL_BYTES: &str = "bytes taken as signed, though the header has a maximum above 127";

fn peek(mut input: Input, number: Option<usize>) -> Result<Size, Failure> {
    let header = Header::read(&mut input.reader)?;
    header.fits(input.length)?;
    let (header, _) = one_volume(header, number)?;
    header.is_upright()?;
    let mut extents = [0; 3];
    for (&axis, &extent) in header.axes.iter().zip(&header.extents) {
        extents[axis] = extent;
    }
    let ([x, y, z], [size_x, size_y, size_z]) = (extents, header.voxel_size);
    Ok(([z, y, x], [size_z, size_y, size_x]))
}

impl Map {
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

    /// Reads a map from memory.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let result = if bytes.starts_with(&[0x1f, 0x8b]) {
            Self::read_mrc(flate2::read::MultiGzDecoder::new(bytes), None, None)
        } else {
            Self::read_mrc(bytes, Some(bytes.len() as u64), None)
        };
        result.map_err(|failure| match failure {
            Failure::Io(source) => source.to_string(),
            Failure::Format(problem) => problem,
        })
    }

    fn read_mrc(mut reader: impl Read, length: Option<u64>, number: Option<usize>) -> Result<Self, Failure> {
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
        let [x, y, z] = header.voxel_size;
        let note = header.doubtful_bytes.then_some(DOUBTFUL_BYTES);
        Self { shape, voxel_size: [z, y, x], voxels, note }.finite()
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
}

/// The header of the volume that is asked for, and the bytes of others before it.
fn one_volume(header: Header, number: Option<usize>) -> Result<(Header, u64), String> {
    match number {
        Some(number) => header.member(number),
        None => header.is_one_volume().map(|()| (header, 0)),
    }
}
