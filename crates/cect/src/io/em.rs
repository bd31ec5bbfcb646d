//! Volumes in the EM format, as Dynamo, PyTom and the TOM toolbox write them.
//!
//! A header of 512 bytes: the machine (byte 0: 6 for little-endian, 3 and 5 for big-endian, 0 likewise), the kind of number
//! (byte 3), then columns, rows and sections as 32-bit integers. The header has no field for the size of a voxel that all
//! programs fill, so that it is not known.
//!
//! Reference: R. Hegerl, *The EM Program Package*, J. Struct. Biol. 116, 1996, and the TOM toolbox' `tom_emread`.

use std::io::Read;

use super::{
    input::{Failure, Input, MOST_BEHIND},
    map::{Format, Map, Size},
};

const HEADER_BYTES: usize = 512;

/// As for MRC.
const MAX_VOXELS: u64 = 1 << 30;

/// The format, of files that begin as one of it.
pub(super) const FORMAT: Format = Format { is, read, peek };

fn is(start: &[u8], kind: &str) -> bool {
    match *start {
        // No MRC file has so many columns as these bytes would be.
        [3 | 5 | 6, _, _, 1 | 2 | 4 | 5 | 8 | 9, ..] => true,
        [machine, ..] => kind == "em" && machine <= 6,
        [] => false,
    }
}

fn read(mut input: Input, number: Option<usize>) -> Result<Map, Failure> {
    require_one(number)?;
    let header = Header::read(&mut input.reader)?;
    header.fits(input.length)?;
    let expected = header.data_bytes();
    let mut data = Vec::with_capacity(input.length.map_or(0, |_| expected as usize));
    input.reader.by_ref().take(expected).read_to_end(&mut data)?;
    let found = data.len();
    if (found as u64) < expected {
        return Err(format!("the header announces {expected} bytes of voxels, the file has {found}").into());
    }
    if input.length.is_none() {
        std::io::copy(&mut input.reader.take(MOST_BEHIND), &mut std::io::sink())?;
    }
    Map { shape: header.shape(), voxel_size: UNKNOWN, voxels: header.decode(&data), note: None }.finite()
}

fn peek(mut input: Input, number: Option<usize>) -> Result<Size, Failure> {
    require_one(number)?;
    let header = Header::read(&mut input.reader)?;
    header.fits(input.length)?;
    Ok((header.shape(), UNKNOWN))
}

fn require_one(number: Option<usize>) -> Result<(), Failure> {
    match number {
        None => Ok(()),
        Some(_) => Err("an EM file holds one volume".to_owned().into()),
    }
}

/// The size of a voxel.
const UNKNOWN: [f64; 3] = [0.0; 3];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Byte,
    Short,
    Int,
    Float,
    Double,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Short => 2,
            Self::Int | Self::Float => 4,
            Self::Double => 8,
        }
    }
}

/// What the header says.
struct Header {
    little_endian: bool,
    kind: Kind,
    /// `[x, y, z]`.
    extents: [usize; 3],
}

impl Header {
    fn read(reader: &mut impl Read) -> Result<Self, Failure> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        reader.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut bytes)?;
        if bytes.len() < HEADER_BYTES {
            return Err(format!("{} bytes are no EM file: its header alone has {HEADER_BYTES}", bytes.len()).into());
        }
        let little_endian = match bytes[0] {
            6 => true,
            0 | 3 | 5 => false,
            machine => return Err(format!("EM machine {machine} cannot be read; expected 0, 3, 5 or 6").into()),
        };
        let kind = match bytes[3] {
            1 => Kind::Byte,
            2 => Kind::Short,
            4 => Kind::Int,
            5 => Kind::Float,
            9 => Kind::Double,
            kind => return Err(format!("EM numbers of kind {kind} cannot be read; expected 1, 2, 4, 5 or 9").into()),
        };
        let mut extents = [0; 3];
        for (word, (extent, name)) in (1..).zip(extents.iter_mut().zip(["columns", "rows", "sections"])) {
            let raw = [0, 1, 2, 3].map(|byte| bytes[4 * word + byte]);
            let number = if little_endian { i32::from_le_bytes(raw) } else { i32::from_be_bytes(raw) };
            *extent = usize::try_from(number)
                .ok()
                .filter(|&extent| extent > 0)
                .ok_or_else(|| format!("the number of {name} is {number}"))?;
        }
        let count = extents.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent as u64));
        if count.is_none_or(|count| count > MAX_VOXELS) {
            let [x, y, z] = extents;
            return Err(format!("{x} × {y} × {z} voxels are more than the {MAX_VOXELS} that can be read").into());
        }
        Ok(Self { little_endian, kind, extents })
    }

    /// `[z, y, x]`.
    fn shape(&self) -> [usize; 3] {
        let [x, y, z] = self.extents;
        [z, y, x]
    }

    fn data_bytes(&self) -> u64 {
        self.extents.iter().map(|&extent| extent as u64).product::<u64>() * self.kind.bytes() as u64
    }

    /// Whether a file of so many bytes, where that is known, holds what the header announces.
    fn fits(&self, length: Option<u64>) -> Result<(), String> {
        let expected = HEADER_BYTES as u64 + self.data_bytes();
        match length {
            Some(length) if length < expected => {
                Err(format!("the header announces {expected} bytes but the file has {length}"))
            }
            _ => Ok(()),
        }
    }

    fn decode(&self, data: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(data: &[u8], little_endian: bool, number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            let chunks = data.as_chunks::<N>().0.iter();
            chunks
                .map(|&(mut bytes)| {
                    if !little_endian {
                        bytes.reverse();
                    }
                    number(bytes)
                })
                .collect()
        }
        let little_endian = self.little_endian;
        match self.kind {
            Kind::Byte => data.iter().copied().map(f32::from).collect(),
            Kind::Short => each(data, little_endian, |bytes| f32::from(i16::from_le_bytes(bytes))),
            Kind::Int => each(data, little_endian, |bytes| i32::from_le_bytes(bytes) as f32),
            Kind::Float => each(data, little_endian, f32::from_le_bytes),
            Kind::Double => each(data, little_endian, |bytes| f64::from_le_bytes(bytes) as f32),
        }
    }
}
