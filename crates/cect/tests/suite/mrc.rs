//! MRC files, good and bad.

use std::fs;

use approx::assert_abs_diff_eq;
use proptest::prelude::*;
use soft_lmccl_cect::{Background, Contrast, Map, Template, Volume};

use super::{gzip, told};

/// A header with 10 Å voxels in either byte order; tests then spoil it.
struct File {
    words: [[u8; 4]; 256],
    extended: Vec<u8>,
    data: Vec<u8>,
    big_endian: bool,
}

impl File {
    fn new(extents: [i32; 3], mode: i32, data: Vec<u8>, big_endian: bool) -> Self {
        let mut file = Self { words: [[0; 4]; 256], extended: Vec::new(), data, big_endian };
        for (axis, extent) in extents.into_iter().enumerate() {
            file = file
                .int(axis, extent)
                .int(7 + axis, extent)
                .float(10 + axis, 10.0 * extent as f32)
                .int(16 + axis, axis as i32 + 1);
        }
        file.words[52] = *b"MAP ";
        file.int(3, mode)
    }

    fn int(mut self, word: usize, value: i32) -> Self {
        self.words[word] = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self
    }

    fn float(self, word: usize, value: f32) -> Self {
        self.int(word, value.to_bits() as i32)
    }

    fn bytes(&self) -> Vec<u8> {
        [self.words.concat(), self.extended.clone(), self.data.clone()].concat()
    }

    fn open(&self) -> soft_lmccl_cect::Result<Map> {
        open(&self.bytes())
    }
}

fn open(bytes: &[u8]) -> soft_lmccl_cect::Result<Map> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.mrc");
    fs::write(&path, bytes).unwrap();
    Map::open(&path)
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// `-2, -1, 0, 1, …`: what mode 6 cannot hold wraps, so it starts at 0 there.
fn data(mode: i32, count: i32, big_endian: bool) -> (Vec<u8>, Vec<f32>) {
    let first = if mode == 6 { 0 } else { -2 };
    let values: Vec<i32> = (first..first + count).collect();
    let order = |mut bytes: Vec<u8>| {
        if big_endian {
            bytes.reverse();
        }
        bytes
    };
    let half = |value: i32| -> u16 {
        // Small whole numbers in half precision, the long way round.
        let single = (value as f32).to_bits();
        if value == 0 {
            return 0;
        }
        let exponent = (single >> 23 & 0xff) as i32 - 127 + 15;
        ((single >> 16 & 0x8000) | (exponent as u32) << 10 | (single >> 13 & 0x3ff)) as u16
    };
    let bytes = values
        .iter()
        .flat_map(|&value| {
            order(match mode {
                0 => (value as i8).to_le_bytes().to_vec(),
                1 => (value as i16).to_le_bytes().to_vec(),
                2 => (value as f32).to_le_bytes().to_vec(),
                6 => (value as u16).to_le_bytes().to_vec(),
                _ => half(value).to_le_bytes().to_vec(),
            })
        })
        .collect();
    (bytes, values.iter().map(|&value| value as f32).collect())
}

#[test]
fn every_mode_is_read_in_both_byte_orders() {
    for big_endian in [false, true] {
        for mode in [0, 1, 2, 6, 12] {
            let (bytes, values) = data(mode, 24, big_endian);
            let map = File::new([2, 3, 4], mode, bytes, big_endian).open().unwrap();
            assert_eq!(map.shape(), [4, 3, 2], "mode {mode}");
            assert_abs_diff_eq!(map.voxel_size()[..], [10.0; 3][..]);
            assert_eq!(map.voxels(), values, "mode {mode}, big endian {big_endian}");
        }
    }
}

#[test]
fn bytes_are_signed_where_the_header_says_so() {
    const IMOD: i32 = 1_146_047_817;
    let (signed, unsigned) = ([1.0, 127.0, -128.0, -1.0], [1.0, 127.0, 128.0, 255.0]);
    for big_endian in [false, true] {
        let file = || File::new([4, 1, 1], 0, vec![1, 127, 128, 255], big_endian);
        for (file, values) in [
            (file(), signed),
            (file().int(38, IMOD), unsigned),
            (file().int(38, IMOD).int(39, 4 + 1), signed),
            // The stamp is believed, not the range.
            (file().int(38, IMOD).int(39, 1).float(20, 255.0), signed),
            (file().float(20, 255.0), unsigned),
            (file().float(20, 127.0), signed),
            (file().float(19, -128.0).float(20, 255.0), signed),
        ] {
            assert_eq!(file.open().unwrap().voxels(), values, "big endian {big_endian}");
        }
    }
}

#[test]
fn axes_are_put_in_order() {
    // Stored fastest along z, then x, then y: x has 2, y 3 and z 4 voxels.
    let stored: Vec<f32> = (0..24).map(|v| v as f32).collect();
    let mut file = File::new([4, 2, 3], 2, floats(&stored), false);
    for (word, axis) in [(16, 3), (17, 1), (18, 2)] {
        file = file.int(word, axis);
    }
    // The cell is given along x, y and z whatever the order of storage.
    for (axis, (count, edge)) in [(2, 8.0), (3, 18.0), (4, 40.0)].into_iter().enumerate() {
        file = file.int(7 + axis, count).float(10 + axis, edge);
    }
    let map = file.open().unwrap();
    assert_eq!(map.shape(), [4, 3, 2]);
    assert_abs_diff_eq!(map.voxel_size()[..], [10.0, 6.0, 4.0][..]);
    let at = |z: usize, y: usize, x: usize| map.voxels()[(z * 3 + y) * 2 + x];
    for (z, y, x) in [(0, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 1), (2, 1, 1)] {
        let expected = (y * 2 + x) * 4 + z;
        assert_eq!(at(z, y, x).to_bits(), (expected as f32).to_bits(), "{z} {y} {x}");
    }
}

/// Whichever axis is stored fastest, each voxel is found at its place.
#[test]
fn every_order_of_axes_is_read() {
    let extents = [2, 3, 4];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let stored = order.map(|axis: usize| extents[axis]);
        // The voxel at x, y, z is 100 z + 10 y + x.
        let values: Vec<f32> = (0..24)
            .map(|index| {
                let place = [index % stored[0], index / stored[0] % stored[1], index / (stored[0] * stored[1])];
                (0..3).map(|k| place[k] * [1, 10, 100][order[k]]).sum::<i32>() as f32
            })
            .collect();
        let mut file = File::new(stored, 2, floats(&values), false);
        for (word, axis) in order.into_iter().enumerate() {
            file = file.int(16 + word, axis as i32 + 1);
        }
        let map = file.open().unwrap();
        assert_eq!(map.shape(), [4, 3, 2]);
        let expected = (0..24).map(|index| (100 * (index / 6) + 10 * (index / 2 % 3) + index % 2) as f32);
        assert!(map.voxels().iter().copied().eq(expected), "{order:?}: {:?}", map.voxels());
    }
}

#[test]
fn a_header_without_intervals_knows_no_voxel_size() {
    let file = File::new([2, 2, 2], 2, floats(&[1.0; 8]), false).int(7, 0);
    assert_abs_diff_eq!(file.open().unwrap().voxel_size()[..], [10.0, 10.0, 0.0][..]);
}

#[test]
fn extended_headers_are_skipped_and_what_follows_is_let_be() {
    let mut file = File::new([2, 2, 2], 2, floats(&[1.0; 8]), false).int(23, 100);
    file.extended = vec![0xff; 100];
    file.data.extend([0xff; 7]);
    assert_eq!(file.open().unwrap().voxels(), [1.0; 8]);
    let map = open(&gzip(&file.bytes())).unwrap();
    assert_eq!(map.voxels(), [1.0; 8]);
}

#[test]
fn what_is_saved_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let voxels = (0..125).map(|v| (v as f32 - 60.0) * 0.37).collect();
    let volume = Volume::new(5, voxels).unwrap();
    for name in ["plain.mrc", "packed.mrc.gz"] {
        let path = directory.path().join(name);
        Map::from_volume(&volume, 13.68).save(&path).unwrap();
        let map = Map::open(&path).unwrap();
        assert!(map.voxel_size().iter().all(|edge| (edge - 13.68).abs() < 1e-5));
        assert_eq!(map.into_volume().unwrap(), volume);
    }
    let missing = directory.path().join("no/such/place.mrc");
    let message = told(&Map::from_volume(&volume, 1.0).save(&missing).unwrap_err());
    assert!(message.starts_with("cannot write"), "{message}");
}

#[test]
fn only_cubes_become_volumes() {
    let map = File::new([2, 3, 4], 2, floats(&[0.0; 24]), false).open().unwrap();
    let message = map.into_volume().unwrap_err().to_string();
    assert_eq!(message, "volume: expected a cube, got 4 × 3 × 2 voxels");
    for [x, y, z] in [[2, 2, 3], [2, 3, 3], [3, 2, 3]] {
        let map = File::new([x, y, z], 2, floats(&vec![0.0; (x * y * z) as usize]), false).open().unwrap();
        let message = map.into_volume().unwrap_err().to_string();
        assert_eq!(message, format!("volume: expected a cube, got {z} × {y} × {x} voxels"));
    }
}

#[test]
fn bad_files_say_what_is_wrong() {
    let good = || File::new([2, 2, 2], 2, floats(&[0.0; 8]), false);
    let mut nan = good();
    nan.data[20..24].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut short = good();
    short.data.truncate(31);
    let huge = i32::MAX;
    for (bytes, problem) in [
        (vec![], "0 bytes are no MRC file: its header alone has 1024"),
        (vec![7; 1023], "1023 bytes are no MRC file: its header alone has 1024"),
        (short.bytes(), "the header announces 1056 bytes but the file has 1055"),
        (gzip(&short.bytes()), "the header announces 1056 bytes but the file has 1055"),
        (
            // 2^60 voxels in a file of 1 kB.
            good().int(0, 1 << 20).int(1, 1 << 20).int(2, 1 << 20).bytes(),
            "1048576 × 1048576 × 1048576 voxels are more than the 1073741824 that can be read",
        ),
        (
            good().int(0, huge).int(1, huge).int(2, huge).bytes(),
            "2147483647 × 2147483647 × 2147483647 voxels are more than the 1073741824 that can be \
             read",
        ),
        (
            good().int(0, 1024).int(1, 1024).int(2, 1024).bytes(),
            "the header announces 4294968320 bytes but the file has 1056",
        ),
        (
            gzip(&good().int(0, 1024).int(1, 1024).int(2, 1024).bytes()),
            "the header announces 4294968320 bytes but the file has 1056",
        ),
        (good().int(1, 0).bytes(), "NY is 0, not a number of voxels"),
        (good().int(2, -5).bytes(), "NZ is -5, not a number of voxels"),
        (good().int(3, 4).bytes(), "mode 4 cannot be read; expected 0, 1, 2, 6 or 12"),
        (good().int(17, 1).bytes(), "MAPC, MAPR, MAPS are [1, 1, 3], not an order of 1, 2, 3"),
        (good().float(12, f32::NAN).bytes(), "the cell edge along z is NaN Å"),
        (good().float(11, -3.0).bytes(), "the cell edge along y is -3 Å"),
        (
            good().float(13, 90.0).float(14, 90.0).float(15, 120.0).bytes(),
            "expected a cell with right angles, got 90, 90 and 120 degrees",
        ),
        (good().int(23, -1).bytes(), "NSYMBT, the length of the extended header, is -1"),
        (good().int(23, huge).bytes(), "the header announces 2147484703 bytes but the file has 1056"),
        (nan.bytes(), "voxel [1][0][1] is NaN, not a finite number"),
    ] {
        let message = told(&open(&bytes).unwrap_err());
        assert!(message.ends_with(&format!("file.mrc: {problem}")), "{message}\n{problem}");
    }
    let cut = gzip(&good().bytes());
    let message = told(&open(&cut[..cut.len() / 2]).unwrap_err());
    assert!(message.contains("the compressed data is damaged"), "{message}");
    let message = told(&Map::open("no such file.mrc").unwrap_err());
    assert!(message.starts_with("cannot read no such file.mrc: "), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn spoiled_headers_never_panic(word in 0usize..56, value: i32, big_endian: bool) {
        let (bytes, _) = data(1, 27, big_endian);
        let file = File::new([3, 3, 3], 1, bytes, big_endian).int(word, value);
        if let Ok(map) = file.open() {
            let [z, y, x] = map.shape();
            prop_assert_eq!(map.voxels().len(), z * y * x);
        }
    }
}

/// One bit of the packed data, which then unpack to other numbers: only the checksum tells.
#[test]
fn a_flipped_bit_in_compressed_voxels_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.mrc.gz");
    let voxels: Vec<f32> = (0..512).map(|voxel| ((voxel * voxel) as f32).sin()).collect();
    Map::from_volume(&Volume::new(8, voxels).unwrap(), 10.0).save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut noticed = 0;
    // Voxels are stored without change where they do not compress.
    for byte in (whole.len() / 2..whole.len() - 8).step_by(97) {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = told(&Map::open(&path).unwrap_err());
        noticed += usize::from(
            error.ends_with("the compressed data is damaged: corrupt gzip stream does not have a matching checksum"),
        );
    }
    assert!(noticed > 5, "{noticed}");
    fs::write(&path, whole).unwrap();
    assert!(Map::open(&path).is_ok());
}

#[test]
fn what_is_packed_otherwise_is_called_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    for (start, name) in [
        (&b"BZh91AY&SY"[..], "compressed with bzip2"),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0], "compressed with zstd"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "compressed with xz"),
        (b"PK\x03\x04", "a zip archive"),
        (&[0xff, 0xfe, b'd', 0], "UTF-16"),
    ] {
        let path = directory.path().join("a.mrc");
        fs::write(&path, start).unwrap();
        let error = told(&Map::open(&path).unwrap_err());
        assert!(error.ends_with(&format!("a.mrc: is {name}; only gzip is unpacked, and text is UTF-8")), "{error}");
    }
}

/// A tilt series is no tomogram and no particle.
#[test]
fn stacks_are_no_map() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tilts.mrc");
    Map::from_volume(&Volume::new(8, vec![1.0; 512]).unwrap(), 10.0).save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    for (word, value) in [(9, 1i32), (22, 0)] {
        bytes[4 * word..][..4].copy_from_slice(&value.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
    let told_by = [
        told(&Map::open(&path).unwrap_err()),
        told(&Template::open(&path).unwrap_err()),
        told(&Background::open(&path, Contrast::DarkProtein).unwrap_err()),
    ];
    for error in told_by {
        assert!(error.ends_with("a stack of 8 images (ISPG 0, MZ 1); expected one volume"), "{error}");
    }
}
