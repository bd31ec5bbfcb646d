//! Opening files that may be compressed with gzip, whatever they are called.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufReader, Read, Seek},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use crate::{Error, Result};

/// The largest text that is read as a structure: five times the largest entry of the PDB.
const MAX_TEXT_BYTES: u64 = 1 << 31;

/// What to do about files that are packed or spelled otherwise.
const PLAIN: &str = "only gzip is unpacked, and text is UTF-8";
/// What to do about volumes in other formats.
const VOLUMES: &str = "volumes are read from MRC and EM files";

/// How files begin that people have and nothing here reads, what they are, and what is read.
const OTHERS: [(&[u8], &str, &str); 12] = [
    (b"BZh", "compressed with bzip2", PLAIN),
    (&[0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd", PLAIN),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "compressed with xz", PLAIN),
    (&[b'P', b'K', 3, 4], "a zip archive", PLAIN),
    (&[0xff, 0xfe], "UTF-16", PLAIN),
    (&[0xfe, 0xff], "UTF-16", PLAIN),
    (&[0x89, b'H', b'D', b'F'], "an HDF5 file", VOLUMES),
    (b"\x93NUMPY", "an array of NumPy", VOLUMES),
    (b"II*\0", "a TIFF image", VOLUMES),
    (b"MM\0*", "a TIFF image", VOLUMES),
    (&[0x89, b'P', b'N', b'G'], "a PNG image", VOLUMES),
    (b"MATLAB", "a MATLAB file", VOLUMES),
];

/// Of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes behind the voxels of a compressed file that are unpacked, and thrown away, to check the whole of it.
pub(super) const MOST_BEHIND: u64 = 1 << 30;

/// A readable file and, where it is not compressed, its length.
pub(crate) struct Input {
    pub(crate) reader: Box<dyn Read>,
    pub(crate) length: Option<u64>,
}

/// Why a file is not read.
pub(super) enum Failure {
    Io(std::io::Error),
    Format(String),
}

impl Failure {
    pub(super) fn of_file(self, path: &Path) -> Error {
        match self {
            Self::Io(source) => read_error(path, source),
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

/// Opens a file, decompressing it if it starts as gzip does.
pub(crate) fn open(path: &Path) -> Result<Input> {
    let mut file = File::open(path).map_err(|source| read_error(path, source))?;
    let metadata = file.metadata().map_err(|source| read_error(path, source))?;
    if metadata.is_dir() {
        let is_zarr = [".zarray", ".zgroup", "zarr.json"].iter().any(|name| path.join(name).exists());
        if is_zarr {
            return Err(Error::Format { path: path.to_owned(), problem: format!("is a Zarr store; {VOLUMES}") });
        }
        let source = std::io::ErrorKind::IsADirectory.into();
        return Err(read_error(path, source));
    }
    let mut magic = Vec::new();
    file.by_ref().take(8).read_to_end(&mut magic).map_err(|source| read_error(path, source))?;
    file.rewind().map_err(|source| read_error(path, source))?;
    let compressed = magic.starts_with(&[0x1f, 0x8b]);
    if let Some((_, name, read)) = OTHERS.iter().find(|(start, ..)| magic.starts_with(start)) {
        let problem = format!("is {name}; {read}");
        return Err(Error::Format { path: path.to_owned(), problem });
    }
    let reader = BufReader::new(file);
    Ok(if compressed {
        Input { reader: Box::new(MultiGzDecoder::new(reader)), length: None }
    } else {
        Input { reader: Box::new(reader), length: Some(metadata.len()) }
    })
}

/// Reads a whole text file, without the byte order mark that some programs begin it with. Bytes that are not UTF-8
/// (old PDB remarks hold Latin-1 names) become replacement characters.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    open(path)?.reader.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(|source| read_error(path, source))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(Error::Format {
            path: path.to_owned(),
            problem: format!("more than {MAX_TEXT_BYTES} bytes of text"),
        });
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// `4v5d` and `cif` of `some/4v5d.cif.gz`.
pub(crate) fn name_and_kind(path: &Path) -> (String, String) {
    let lower = |text: Option<&OsStr>| text.map(|text| text.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let mut path = path.to_owned();
    if lower(path.extension()) == "gz" {
        path.set_extension("");
    }
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    (name, lower(path.extension()))
}

/// Whether `pdb1`, `pdb2`, …: how the PDB calls its files of assemblies.
pub(crate) fn is_assembly_kind(kind: &str) -> bool {
    let number = kind.strip_prefix("pdb").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

pub(crate) fn read_error(path: &Path, source: std::io::Error) -> Error {
    Error::Io { action: "read", path: path.to_owned(), source }
}
