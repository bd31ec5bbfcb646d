//! Tensors of a safetensors file.

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use ndarray::Array2;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{format, narrow};
use crate::{Error, Result};

/// A whole file.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// `[N, D]` of floating numbers; `None` if there is no tensor of that name.
    pub(super) fn rows(&self, name: &str) -> Result<Option<Array2<f32>>> {
        self.with(name, |tensor| {
            let &[rows, columns] = tensor.shape() else {
                return Err(format!("expected 2 dimensions, [N, D], got shape {:?}", tensor.shape()));
            };
            let data = tensor.data();
            let values = match tensor.dtype() {
                Dtype::F32 => numbers(data, f32::from_le_bytes),
                Dtype::F16 => numbers(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
                Dtype::BF16 => numbers(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
                Dtype::F64 => numbers(data, f64::from_le_bytes).into_iter().map(narrow).collect::<Result<_, _>>()?,
                other => return Err(format!("expected floating numbers, got {other:?}")),
            };
            Array2::from_shape_vec((rows, columns), values).map_err(|problem| problem.to_string())
        })
    }

    /// `[N]` of integers; `None` if there is no tensor of that name.
    pub(super) fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        self.with(name, |tensor| {
            if tensor.shape().len() != 1 {
                return Err(format!("expected 1 dimension, got shape {:?}", tensor.shape()));
            }
            let data = tensor.data();
            Ok(match tensor.dtype() {
                Dtype::I64 => numbers(data, i64::from_le_bytes),
                Dtype::I32 => numbers(data, |bytes| i32::from_le_bytes(bytes).into()),
                Dtype::I16 => numbers(data, |bytes| i16::from_le_bytes(bytes).into()),
                Dtype::I8 => numbers(data, |bytes| i8::from_le_bytes(bytes).into()),
                Dtype::U32 => numbers(data, |bytes| u32::from_le_bytes(bytes).into()),
                Dtype::U16 => numbers(data, |bytes| u16::from_le_bytes(bytes).into()),
                Dtype::U8 => numbers(data, |bytes| u8::from_le_bytes(bytes).into()),
                other => return Err(format!("expected integers, got {other:?}")),
            })
        })
    }

    fn with<T>(&self, name: &str, read: impl FnOnce(TensorView<'_>) -> Result<T, String>) -> Result<Option<T>> {
        let file = SafeTensors::deserialize(&self.bytes)
            .map_err(|problem| format(&self.path, format!("it is no safetensors file ({problem})")))?;
        let tensor = file.iter().find(|(other, _)| *other == name).map(|(_, tensor)| read(tensor));
        tensor.transpose().map_err(|problem| format(&self.path, format!("tensor `{name}`: {problem}")))
    }
}

fn numbers<const SIZE: usize, T>(data: &[u8], number: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    data.as_chunks::<SIZE>().0.iter().map(|&bytes| number(bytes)).collect()
}
