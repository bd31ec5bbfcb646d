//! Arrays of NumPy, alone or in an archive, checked before they are read.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use half::f16;
use ndarray::{Array2, ShapeBuilder};
use npyz::npz::NpzArchive;
use npyz::{DType, NpyFile, Order, TypeChar};

use super::{format, narrow};
use crate::{Error, Result};

/// A header of which nothing longer is read.
const LONGEST_HEADER: u64 = 1 << 20;

/// Bytes that one byte of an archive can stand for, at most (deflate).
const MOST_PER_BYTE: u64 = 1032;

/// An array of which the numbers have not been read yet.
pub(super) type Array<'a> = Option<NpyFile<Box<dyn Read + 'a>>>;

/// Opens a file and makes sure that it is as long as its header says, before anything is allocated.
pub(super) fn open(path: &Path) -> Result<Array<'static>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    checked(BufReader::new(file), length).map(Some).map_err(|problem| format(path, problem))
}

/// An array of an archive by its name, given to `read`; `None` if there is none of that name.
pub(super) fn of_archive<T>(
    path: &Path,
    name: &str,
    read: impl FnOnce(&mut Array<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let most = file.metadata().map_err(Error::io("read", path))?.len().saturating_mul(MOST_PER_BYTE);
    let no_archive = |problem: String| format(path, format!("it is no archive of arrays ({problem})"));
    let mut archive = NpzArchive::new(BufReader::new(file)).map_err(|problem| no_archive(problem.to_string()))?;
    if !archive.array_names().any(|other| other == name) {
        return Ok(None);
    }
    let entry = archive.zip_archive().by_name(&npyz::npz::file_name_from_array_name(name));
    let entry = entry.map_err(|problem| no_archive(problem.to_string()))?;
    let length = entry.size();
    if length > most {
        return Err(format(path, format!("array `{name}`: {length} bytes are more than a file of this size can hold")));
    }
    let array = checked(entry, length).map_err(|problem| format(path, format!("array `{name}`: {problem}")))?;
    read(&mut Some(array)).map(Some)
}

fn checked<'a>(mut file: impl Read + 'a, length: u64) -> Result<NpyFile<Box<dyn Read + 'a>>, String> {
    let (mut start, described) = start(&mut file)?;
    let header = start.len() as u64 + described;
    if header > length || described > LONGEST_HEADER {
        return Err("it ends within its header".to_owned());
    }
    let before = start.len();
    file.by_ref().take(described).read_to_end(&mut start).map_err(|problem| problem.to_string())?;
    require_countable(&String::from_utf8_lossy(&start[before..]), length)?;
    let whole: Box<dyn Read + 'a> = Box::new(Cursor::new(start).chain(file));
    let array = NpyFile::new(whole).map_err(|problem| format!("it is no .npy array ({problem})"))?;
    let (shape, kind) = (array.shape(), array.dtype().descr());
    if kind.contains('O') {
        return Err(format!("expected numbers, got objects of Python ({kind})"));
    }
    let bytes = shape.iter().product::<u64>().saturating_mul(array.dtype().num_bytes().unwrap_or(0) as u64);
    if bytes != length - header {
        let has = length - header;
        return Err(format!("shape {shape:?} of {kind} takes {bytes} bytes, but there are {has}"));
    }
    Ok(array)
}

/// What is before the description, and how long that is: a magic string, a version, a length.
fn start(file: &mut impl Read) -> Result<(Vec<u8>, u64), String> {
    let mut start = vec![0; 8];
    let mut read = |bytes: &mut [u8]| file.read_exact(bytes).map_err(|_| "it is no .npy array".to_owned());
    read(&mut start)?;
    if !start.starts_with(b"\x93NUMPY") {
        return Err("it is no .npy array".to_owned());
    }
    let (mut short, mut long) = ([0; 2], [0; 4]);
    let described = if start[6] == 1 {
        read(&mut short)?;
        start.extend(short);
        u64::from(u16::from_le_bytes(short))
    } else {
        read(&mut long)?;
        start.extend(long);
        u64::from(u32::from_le_bytes(long))
    };
    Ok((start, described))
}

/// Refuses a shape of more numbers than there are bytes, which the reader would multiply without a look.
fn require_countable(header: &str, length: u64) -> Result<(), String> {
    let shape = shape_in(header)?;
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    // Without zeros, since steps from row to row are products of some of the extents.
    let (mut numbers, mut steps) = (Some(1u64), Some(1u64));
    for extent in extents {
        let extent: Option<u64> = extent.parse().ok();
        numbers = numbers.zip(extent).and_then(|(numbers, extent)| numbers.checked_mul(extent));
        steps = steps.zip(extent).and_then(|(steps, extent)| steps.checked_mul(extent.max(1)));
    }
    if steps.is_some() && numbers.is_some_and(|numbers| numbers <= length) {
        return Ok(());
    }
    Err(format!("shape ({shape}) needs more than the {length} bytes that there are"))
}

/// What is between the parentheses after the one key `shape`. Whatever could hide another such key is refused: the
/// reader takes the header for a literal of Python, this looks at its text.
fn shape_in(header: &str) -> Result<&str, String> {
    if header.contains('\\') {
        return Err("its header has a backslash".to_owned());
    }
    let keys: Vec<usize> = ["'shape'", "\"shape\""]
        .iter()
        .flat_map(|key| header.match_indices(key).map(|(at, key)| at + key.len()))
        .collect();
    let &[after] = keys.as_slice() else { return Err(format!("its header names {} shapes", keys.len())) };
    let value = header[after..].trim_start().strip_prefix(':').and_then(|value| value.trim_start().strip_prefix('('));
    let shape = value.and_then(|value| value.split_once(')'));
    shape.map(|(shape, _)| shape).ok_or_else(|| "its header names no shape".to_owned())
}

/// `[N, D]` of floating numbers.
pub(super) fn rows(array: &mut Array<'_>, path: &Path) -> Result<Array2<f32>> {
    let array = taken(array);
    let &[rows, columns] = array.shape() else {
        return Err(format(path, format!("expected 2 dimensions, [N, D], got shape {:?}", array.shape())));
    };
    let fortran = array.order() == Order::Fortran;
    let values: Vec<f32> = match kind(&array) {
        Some((TypeChar::Float, 4)) => read(array, path)?,
        Some((TypeChar::Float, 2)) => read::<f16>(array, path)?.into_iter().map(f32::from).collect(),
        Some((TypeChar::Float, 8)) => {
            let narrowed = read::<f64>(array, path)?.into_iter().map(narrow).collect();
            let narrowed: Result<Vec<f32>, String> = narrowed;
            narrowed.map_err(|problem| format(path, problem))?
        }
        _ => return Err(format(path, format!("expected floating numbers, got {}", array.dtype().descr()))),
    };
    let shape = (rows as usize, columns as usize).set_f(fortran);
    Array2::from_shape_vec(shape, values).map_err(|problem| format(path, problem.to_string()))
}

/// `[P]` of floating numbers.
pub(super) fn scores(array: &mut Array<'_>, path: &Path) -> Result<Vec<f64>> {
    let array = vector(taken(array), path)?;
    match kind(&array) {
        Some((TypeChar::Float, 2)) => Ok(read::<f16>(array, path)?.into_iter().map(f64::from).collect()),
        Some((TypeChar::Float, 4)) => widened::<f32, f64>(array, path),
        Some((TypeChar::Float, 8)) => read(array, path),
        _ => Err(format(path, format!("expected floating numbers, got {}", array.dtype().descr()))),
    }
}

/// `[N]` of integers, signed or not.
pub(super) fn integers(array: &mut Array<'_>, path: &Path) -> Result<Vec<i64>> {
    let array = vector(taken(array), path)?;
    match kind(&array) {
        Some((TypeChar::Int, 8)) => read(array, path),
        Some((TypeChar::Int, 4)) => widened::<i32, i64>(array, path),
        Some((TypeChar::Int, 2)) => widened::<i16, i64>(array, path),
        Some((TypeChar::Int, 1)) => widened::<i8, i64>(array, path),
        Some((TypeChar::Uint, 4)) => widened::<u32, i64>(array, path),
        Some((TypeChar::Uint, 2)) => widened::<u16, i64>(array, path),
        Some((TypeChar::Uint, 1)) => widened::<u8, i64>(array, path),
        Some((TypeChar::Uint, 8)) => {
            let signed = |value: u64| {
                i64::try_from(value)
                    .map_err(|_| format(path, format!("expected labels up to {}, got {value}", i64::MAX)))
            };
            read::<u64>(array, path)?.into_iter().map(signed).collect()
        }
        _ => Err(format(path, format!("expected integers, got {}", array.dtype().descr()))),
    }
}

/// `[P]` of bool, or of integers that are 0 or 1.
pub(super) fn truths(array: &mut Array<'_>, path: &Path) -> Result<Vec<bool>> {
    if let Some((TypeChar::Bool, _)) = array.as_ref().and_then(kind) {
        return read(vector(taken(array), path)?, path);
    }
    let truth = |(at, value)| match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(format(path, format!("expected 0 or 1, got {other} at position {at}"))),
    };
    integers(array, path)?.into_iter().enumerate().map(truth).collect()
}

type Opened<'a> = NpyFile<Box<dyn Read + 'a>>;

fn taken<'a>(array: &mut Array<'a>) -> Opened<'a> {
    array.take().expect("an array is read once")
}

fn vector<'a>(array: Opened<'a>, path: &Path) -> Result<Opened<'a>> {
    if array.shape().len() == 1 {
        return Ok(array);
    }
    Err(format(path, format!("expected 1 dimension, got shape {:?}", array.shape())))
}

fn kind(array: &Opened<'_>) -> Option<(TypeChar, u64)> {
    match array.dtype() {
        DType::Plain(plain) => Some((plain.type_char(), plain.size_field())),
        _ => None,
    }
}

fn widened<T: npyz::Deserialize + Into<W>, W>(array: Opened<'_>, path: &Path) -> Result<Vec<W>> {
    Ok(read::<T>(array, path)?.into_iter().map(Into::into).collect())
}

fn read<T: npyz::Deserialize>(array: Opened<'_>, path: &Path) -> Result<Vec<T>> {
    array.into_vec().map_err(|problem| format(path, problem.to_string()))
}
