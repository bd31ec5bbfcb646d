//! Arrays of NumPy, checked before they are read.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use half::f16;
use npyz::{DType, NpyFile, Order, TypeChar};

/// Rows of floating numbers, row by row.
#[derive(Debug)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<f32>,
}

/// `[N, D]` of f16, f32 or f64, in C or Fortran order.
pub fn matrix(path: &Path) -> Result<Matrix> {
    let array = open(path)?;
    let &[rows, columns] = array.shape() else {
        bail!("{}: expected an array of 2 dimensions, [N, D], got shape {:?}", path.display(), array.shape())
    };
    let (rows, columns, order) = (rows as usize, columns as usize, array.order());
    let exact = floats(array, path)?;
    let place = |row: usize, column: usize| match order {
        Order::C => row * columns + column,
        Order::Fortran => column * rows + row,
    };
    let mut values = Vec::with_capacity(exact.len());
    for row in 0..rows {
        let exact = (0..columns).map(|column| exact[place(row, column)]);
        values.extend(exact.clone().map(|value| value as f32));
        require_single_precision(exact, &values[row * columns..]).map_err(|problem| in_file(path, &problem))?;
    }
    Ok(Matrix { rows, columns, values })
}

/// Refuses numbers that are finite in double precision only, and rows of which nothing else is left.
fn require_single_precision(exact: impl Iterator<Item = f64>, rounded: &[f32]) -> Result<()> {
    let mut largest = 0.0f64;
    for (exact, rounded) in exact.zip(rounded) {
        ensure!(rounded.is_finite() || !exact.is_finite(), "{exact:e} does not fit single precision");
        largest = largest.max(exact.abs());
    }
    let nothing_left = rounded.iter().all(|value| value.abs() <= 0.0);
    ensure!(!(nothing_left && largest > 0.0), "a row of at most {largest:e} does not fit single precision");
    Ok(())
}

/// `[P]` of f16, f32 or f64.
pub fn scores(path: &Path) -> Result<Vec<f64>> {
    floats(vector(path)?, path)
}

/// `[N]` of integers, signed or not.
pub fn labels(path: &Path) -> Result<Vec<i64>> {
    let array = vector(path)?;
    let descr = array.dtype().descr();
    integers(array, path)?.with_context(|| format!("{}: expected integers, got {descr}", path.display()))
}

/// `[P]` of bool, or of integers that are 0 or 1.
pub fn truths(path: &Path) -> Result<Vec<bool>> {
    let array = vector(path)?;
    match kind(&array) {
        Some((TypeChar::Bool, _)) => read(array, path),
        _ => {
            let truth = |(at, value)| match value {
                0 => Ok(false),
                1 => Ok(true),
                other => bail!("{}: expected 0 or 1, got {other} at position {at}", path.display()),
            };
            let descr = array.dtype().descr();
            let values = integers(array, path)?;
            let values =
                values.with_context(|| format!("{}: expected bool or integers, got {descr}", path.display()))?;
            values.into_iter().enumerate().map(truth).collect()
        }
    }
}

/// Numbers of any integer type; none if the array holds something else.
fn integers(array: Array, path: &Path) -> Result<Option<Vec<i64>>> {
    fn widened<T: npyz::Deserialize + Into<i64>>(array: Array, path: &Path) -> Result<Vec<i64>> {
        Ok(read::<T>(array, path)?.into_iter().map(Into::into).collect())
    }
    Ok(Some(match kind(&array) {
        Some((TypeChar::Int, 8)) => read(array, path)?,
        Some((TypeChar::Int, 4)) => widened::<i32>(array, path)?,
        Some((TypeChar::Int, 2)) => widened::<i16>(array, path)?,
        Some((TypeChar::Int, 1)) => widened::<i8>(array, path)?,
        Some((TypeChar::Uint, 4)) => widened::<u32>(array, path)?,
        Some((TypeChar::Uint, 2)) => widened::<u16>(array, path)?,
        Some((TypeChar::Uint, 1)) => widened::<u8>(array, path)?,
        Some((TypeChar::Uint, 8)) => {
            let signed = |value: u64| i64::try_from(value).with_context(|| format!("{}: {value}", path.display()));
            read::<u64>(array, path)?.into_iter().map(signed).collect::<Result<_>>()?
        }
        _ => return Ok(None),
    }))
}

fn in_file(path: &Path, problem: &Error) -> Error {
    anyhow!("{}: {problem:#}", path.display())
}

type Array = NpyFile<BufReader<File>>;

/// Opens a file and makes sure that it is as long as its header says, before anything is allocated.
fn open(path: &Path) -> Result<Array> {
    let cannot = || format!("cannot read {}", path.display());
    let no_npy = || format!("{} is no .npy file", path.display());
    let mut file = BufReader::new(File::open(path).with_context(cannot)?);
    let length = file.get_ref().metadata().with_context(cannot)?.len();
    let (start, described) = header_bytes(&mut file).with_context(no_npy)?;
    let header = start + described;
    ensure!(header <= length, "{} ends within its header", path.display());
    require_countable(&mut file.by_ref().take(described), length).map_err(|problem| in_file(path, &problem))?;
    file.rewind().with_context(cannot)?;
    let array = NpyFile::new(file).with_context(no_npy)?;

    let (shape, kind) = (array.shape(), array.dtype().descr());
    ensure!(!kind.contains('O'), "{}: expected numbers, got objects of Python ({kind})", path.display());
    let numbers: u64 = shape.iter().product();
    let bytes = numbers.saturating_mul(array.dtype().num_bytes().unwrap_or(0) as u64);
    ensure!(
        bytes == length - header,
        "{}: shape {shape:?} of {kind} takes {bytes} bytes, but the file has {}",
        path.display(),
        length - header,
    );
    Ok(array)
}

/// Refuses a shape of more numbers than there are bytes, which the reader would multiply without a look.
fn require_countable(description: &mut impl Read, length: u64) -> Result<()> {
    let mut header = Vec::new();
    description.read_to_end(&mut header)?;
    let header = String::from_utf8_lossy(&header);
    let shape = shape_in(&header)?;
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    // Without zeros, since steps from row to row are products of some of the extents.
    let (mut numbers, mut steps) = (Some(1u64), Some(1u64));
    for extent in extents {
        let extent: Option<u64> = extent.parse().ok();
        numbers = numbers.zip(extent).and_then(|(numbers, extent)| numbers.checked_mul(extent));
        steps = steps.zip(extent).and_then(|(steps, extent)| steps.checked_mul(extent.max(1)));
    }
    ensure!(
        steps.is_some() && numbers.is_some_and(|numbers| numbers <= length),
        "shape ({shape}) needs more than the {length} bytes of the file"
    );
    Ok(())
}

/// What is between the parentheses after the one key `shape`. Whatever could hide another such key is refused: the
/// reader takes the header for a literal of Python, this looks at its text.
fn shape_in(header: &str) -> Result<&str> {
    ensure!(!header.contains('\\'), "its header has a backslash");
    let keys: Vec<usize> = ["'shape'", "\"shape\""]
        .iter()
        .flat_map(|key| header.match_indices(key).map(|(at, key)| at + key.len()))
        .collect();
    let &[after] = keys.as_slice() else { bail!("its header names {} shapes", keys.len()) };
    let value = header[after..].trim_start().strip_prefix(':').and_then(|value| value.trim_start().strip_prefix('('));
    let shape = value.and_then(|value| value.split_once(')'));
    shape.map(|(shape, _)| shape).context("its header names no shape")
}

/// The lengths of what is before the numbers: of a magic string with a version, and of a header as long as it says.
fn header_bytes(file: &mut impl Read) -> Result<(u64, u64)> {
    let mut start = [0; 8];
    file.read_exact(&mut start)?;
    ensure!(start.starts_with(b"\x93NUMPY"), "it does not begin as one");
    let mut short = [0; 2];
    let mut long = [0; 4];
    Ok(match start[6] {
        1 => {
            file.read_exact(&mut short)?;
            (10, u64::from(u16::from_le_bytes(short)))
        }
        _ => {
            file.read_exact(&mut long)?;
            (12, u64::from(u32::from_le_bytes(long)))
        }
    })
}

fn vector(path: &Path) -> Result<Array> {
    let array = open(path)?;
    ensure!(
        array.shape().len() == 1,
        "{}: expected an array of 1 dimension, got shape {:?}",
        path.display(),
        array.shape()
    );
    Ok(array)
}

fn kind(array: &Array) -> Option<(TypeChar, u64)> {
    match array.dtype() {
        DType::Plain(plain) => Some((plain.type_char(), plain.size_field())),
        _ => None,
    }
}

fn floats(array: Array, path: &Path) -> Result<Vec<f64>> {
    match kind(&array) {
        Some((TypeChar::Float, 2)) => Ok(read::<f16>(array, path)?.into_iter().map(f64::from).collect()),
        Some((TypeChar::Float, 4)) => Ok(read::<f32>(array, path)?.into_iter().map(f64::from).collect()),
        Some((TypeChar::Float, 8)) => read(array, path),
        _ => bail!("{}: expected floating numbers, got {}", path.display(), array.dtype().descr()),
    }
}

fn read<T: npyz::Deserialize>(array: Array, path: &Path) -> Result<Vec<T>> {
    array.into_vec().with_context(|| format!("cannot read {}", path.display()))
}
