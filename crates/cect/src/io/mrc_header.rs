//! The header of an MRC file, believed as far as the file bears it out, and what it says of the voxels.

use std::io::Read;

use half::f16;

use super::input::Failure;

pub(super) const HEADER_BYTES: usize = 1024;

/// What to do about stacks of images.
pub(super) const NO_STACKS: &str = "in RELION 5, extract 3-D subtomograms, not 2-D stacks";

/// Where IMOD has written a header.
const IMOD_STAMP: i32 = 1_146_047_817;

/// A map of 1024 voxels on each edge; what is larger is a tomogram, not a structure.
const MAX_VOXELS: u64 = 1 << 30;

/// The numbers of a header that matter here.
pub(super) struct Header {
    mode: Mode,
    pub(super) little_endian: bool,
    /// Columns, rows and sections: extents of the axes as stored, fastest first.
    pub(super) extents: [usize; 3],
    /// Which of x, y, z (0, 1, 2) each stored axis is.
    pub(super) axes: [usize; 3],
    /// `[x, y, z]` in Angstrom; zero where the header does not say.
    pub(super) voxel_size: [f64; 3],
    pub(super) extended_bytes: u64,
    /// ISPG: 0 for images, from 401 on for stacks of volumes.
    pub(super) space_group: i32,
    /// MZ: sections of one volume.
    pub(super) sections: i32,
    /// Angles of the cell in degrees; zero where the header does not say.
    pub(super) angles: [f64; 3],
    /// Whether bytes are taken as signed although the header's range says neither.
    pub(super) doubtful_bytes: bool,
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

impl Header {
    pub(super) fn read(reader: &mut impl Read) -> Result<Self, Failure> {
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

    pub(super) fn data_bytes(&self) -> u64 {
        self.extents.iter().map(|&extent| extent as u64).product::<u64>() * self.mode.bytes() as u64
    }

    /// Bytes of a file with this header.
    pub(super) fn expected_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.extended_bytes + self.data_bytes()
    }

    /// Whether a file of so many bytes, where that is known, holds what the header announces.
    pub(super) fn fits(&self, length: Option<u64>) -> Result<(), String> {
        let expected = self.expected_bytes();
        match length {
            Some(length) if length < expected => {
                Err(format!("the header announces {expected} bytes but the file has {length}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the file holds one volume.
    pub(super) fn is_one_volume(&self) -> Result<(), String> {
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

    /// The header of one volume of a stack of them, counted from 1, and the bytes of the volumes before it.
    pub(super) fn member(mut self, number: usize) -> Result<(Self, u64), String> {
        let all = self.extents[2];
        let is_stack = (401..=630).contains(&self.space_group)
            || usize::try_from(self.sections).is_ok_and(|sections| sections > 1 && sections < all);
        let sections = usize::try_from(self.sections).unwrap_or(0);
        if !is_stack || sections == 0 || !all.is_multiple_of(sections) {
            return Err(format!(
                "expected a stack of volumes, got {all} sections of which {sections} are one (ISPG {}, MZ {sections}); {NO_STACKS}",
                self.space_group
            ));
        }
        let count = all / sections;
        if !(1..=count).contains(&number) {
            return Err(format!("expected a volume from 1 to {count}, got {number}"));
        }
        self.extents[2] = sections;
        let before = self.data_bytes() * (number as u64 - 1);
        Ok((self, before))
    }

    /// Whether the axes are at right angles, as those of a [`Map`] are.
    pub(super) fn is_upright(&self) -> Result<(), String> {
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
            mode if bytes[208..212] != *b"MAP " => {
                return Err(format!("is no MRC file: it has no stamp `MAP `, and {mode} where the mode would be"));
            }
            mode => return Err(format!("mode {mode} cannot be read; expected 0, 1, 2, 6 or 12")),
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
            doubtful_bytes: int(3) == 0 && int(38) != IMOD_STAMP && float(19) < 0.0 && float(20) > 127.0,
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

    pub(super) fn decode(&self, data: &[u8]) -> Vec<f32> {
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

    /// Shape `[z, y, x]` and voxels `[z][y][x]` of what is stored in any order of axes.
    pub(super) fn in_order(&self, stored: Vec<f32>) -> ([usize; 3], Vec<f32>) {
        let mut extents = [0; 3];
        let mut strides = [0; 3];
        let mut stride = 1;
        for (&axis, &extent) in self.axes.iter().zip(&self.extents) {
            extents[axis] = extent;
            strides[axis] = stride;
            stride *= extent;
        }
        let [nx, ny, nz] = extents;
        if self.axes == [0, 1, 2] {
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
}
