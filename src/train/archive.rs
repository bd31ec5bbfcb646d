//! Tensors and their description as a safetensors file.

use std::{
    borrow::Cow,
    collections::HashMap,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, View};
use serde::{Serialize, de::DeserializeOwned};
use tch::{Device, Kind, Tensor};

use super::{Origin, held::Held};
use crate::{Error, Result};

/// The key of the description in the file's header.
const META_KEY: &str = "soft-lmccl";

/// Writes `tensors`, and `description` as JSON in the header.
pub(super) fn write(path: &Path, tensors: Vec<(String, Stored)>, description: &impl Serialize) -> Result<()> {
    let refuse = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
    let json = serde_json::to_string(description).map_err(|error| refuse(format!("configuration: {error}")))?;
    let bytes = safetensors::serialize(tensors, Some(HashMap::from([(META_KEY.to_owned(), json)])))
        .map_err(|error| refuse(error.to_string()))?;
    soft_lmccl_files::write(path, &bytes).map_err(Error::io("write", path))
}

/// The bytes of a safetensors file with a checked header.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    bytes: Cow<'static, [u8]>,
}

impl Archive {
    pub(super) fn read(path: &Path) -> Result<Self> {
        Self::read_held(path, &Held::default())
    }

    /// Of rows that are shared out over ranks those of this one.
    pub(super) fn read_held(path: &Path, held: &Held) -> Result<Self> {
        Ok(Self { path: path.to_owned(), bytes: held.read(path)?.into() })
    }

    /// A file that is in the program; `name` is for messages.
    pub(super) fn embedded(name: &str, bytes: &'static [u8]) -> Self {
        Self { path: name.into(), bytes: bytes.into() }
    }

    pub(super) fn tensors(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| self.error(format!("not a safetensors file: {error}")))
    }

    pub(super) fn description<T: DeserializeOwned>(&self) -> Result<T> {
        let (_, header) = SafeTensors::read_metadata(&self.bytes)
            .map_err(|error| self.error(format!("not a safetensors file: {error}")))?;
        let json =
            header.metadata().as_ref().and_then(|entries| entries.get(META_KEY)).ok_or_else(|| {
                self.error(format!("no `{META_KEY}` entry in its header; weights of another program?"))
            })?;
        serde_json::from_str(json).map_err(|error| self.error(format!("its description: {error}")))
    }

    /// What the file says of its loss and its network; nothing if it is of another program.
    pub(super) fn origin(&self) -> Result<Origin> {
        let (_, header) = SafeTensors::read_metadata(&self.bytes)
            .map_err(|error| self.error(format!("not a safetensors file: {error}")))?;
        match header.metadata().as_ref().is_some_and(|entries| entries.contains_key(META_KEY)) {
            true => self.description(),
            false => Ok(Origin::default()),
        }
    }

    /// The file, for notices.
    pub(super) fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    pub(super) fn error(&self, problem: String) -> Error {
        Error::Checkpoint { path: self.path.clone(), problem }
    }

    /// # Errors
    /// [`Error::Checkpoint`] with all problems, if there are any.
    pub(super) fn refuse(&self, problems: &[String]) -> Result<()> {
        if problems.is_empty() { Ok(()) } else { Err(self.error(problems.join("; "))) }
    }
}

/// The tensor of that name, if it has that kind and shape.
pub(super) fn tensor_like(
    file: &SafeTensors<'_>,
    name: &str,
    kind: Kind,
    size: &[i64],
) -> Result<Result<Tensor, String>> {
    let Ok(stored) = file.tensor(name) else { return Ok(Err(format!("`{name}` is missing"))) };
    let shape: Vec<i64> = stored.shape().iter().map(|&extent| extent as i64).collect();
    Ok(match dtype(kind) {
        Some(dtype) if shape == size && dtype == stored.dtype() => {
            Ok(Tensor::f_from_data_size(stored.data(), &shape, kind)?)
        }
        _ => Err(format!("`{name}` is {:?} {shape:?}, expected {:?} {:?}", stored.dtype(), kind, size)),
    })
}

/// The tensor of that name in its own precision, if it is floating and of that shape.
pub(super) fn floating_tensor(file: &SafeTensors<'_>, name: &str, size: &[i64]) -> Result<Option<Tensor>> {
    let Ok(stored) = file.tensor(name) else { return Ok(None) };
    let kind = match stored.dtype() {
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        _ => return Ok(None),
    };
    let shape: Vec<i64> = stored.shape().iter().map(|&extent| extent as i64).collect();
    if shape != size {
        return Ok(None);
    }
    Ok(Some(Tensor::f_from_data_size(stored.data(), &shape, kind)?))
}

/// The numbers of an `Int64` vector.
pub(super) fn integers(file: &SafeTensors<'_>, name: &str) -> Result<Vec<i64>, String> {
    match file.tensor(name) {
        Ok(stored) if stored.dtype() == Dtype::I64 => Ok(stored
            .data()
            .chunks_exact(8)
            .map(|bytes| i64::from_le_bytes(bytes.try_into().expect("eight bytes")))
            .collect()),
        Ok(stored) => Err(format!("`{name}` is {:?}, expected I64", stored.dtype())),
        Err(_) => Err(format!("`{name}` is missing")),
    }
}

fn dtype(kind: Kind) -> Option<Dtype> {
    match kind {
        Kind::Float => Some(Dtype::F32),
        Kind::Double => Some(Dtype::F64),
        Kind::Half => Some(Dtype::F16),
        Kind::BFloat16 => Some(Dtype::BF16),
        Kind::Int64 => Some(Dtype::I64),
        Kind::Int => Some(Dtype::I32),
        Kind::Uint8 => Some(Dtype::U8),
        Kind::Bool => Some(Dtype::BOOL),
        _ => None,
    }
}

/// A tensor's bytes on the host.
pub(super) struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    pub(super) fn of(tensor: &Tensor) -> Result<Self> {
        let on_host = tensor.detach().f_to_device(Device::Cpu)?.f_contiguous()?;
        let dtype = dtype(on_host.kind()).ok_or_else(|| Error::Tensor {
            what: "checkpoint",
            expected: "floating, integer or boolean tensors".into(),
            got: format!("{:?}", on_host.kind()),
        })?;
        let count = on_host.numel();
        let mut bytes = vec![0; count * on_host.kind().elt_size_in_bytes()];
        on_host.f_copy_data_u8(&mut bytes, count)?;
        let shape = on_host.size().into_iter().map(|extent| extent as usize).collect();
        Ok(Self { dtype, shape, bytes })
    }

    pub(super) fn bytes_of_row(&self) -> usize {
        self.shape.iter().skip(1).product::<usize>() * self.dtype.bitsize() / 8
    }

    /// Takes the bytes of so many rows in place of its own.
    pub(super) fn grow(&mut self, rows: usize, bytes: Vec<u8>) {
        self.shape[0] = rows;
        self.bytes = bytes;
    }

    pub(super) fn integers(numbers: &[i64]) -> Self {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { dtype: Dtype::I64, shape: vec![numbers.len()], bytes }
    }
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
