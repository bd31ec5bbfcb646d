//! Checkpoints of variables whose rows are shared out over ranks: one file, as one process would write it.
//!
//! Rank 0 collects the rows and writes; every rank reads its own. A file is therefore of no number of ranks.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use safetensors::{View, tensor::Metadata};
use tch::{Kind, Tensor, nn};

use super::archive::Stored;
use crate::{
    Error, Result,
    distributed::{Group, Shard},
};

/// Which tensors of a file have rows on other ranks, by name.
#[derive(Debug, Default)]
pub(super) struct Held {
    group: Option<Group>,
    /// The rows of this rank, and how many there are.
    rows: HashMap<String, (Range<usize>, usize)>,
}

impl Held {
    /// Of the variables of `vs`; what `also` calls what belongs to one of them has the same rows.
    pub(super) fn of(vs: &nn::VarStore, shards: &[Shard], also: &[fn(&str) -> String]) -> Self {
        let mut held = Self { group: shards.first().map(|shard| shard.group().clone()), rows: HashMap::new() };
        if shards.is_empty() {
            return held;
        }
        let place = |tensor: &Tensor| (tensor.data_ptr(), tensor.size());
        for (name, variable) in vs.variables() {
            // A rank without a class has variables without a place, which the shape alone tells apart from none.
            let Some(shard) = shards.iter().find(|shard| place(shard.variable()) == place(&variable)) else { continue };
            let rows = shard.rows();
            let rows = (rows.start as usize..rows.end as usize, shard.of() as usize);
            held.rows.extend(also.iter().map(|also| (also(&name), rows.clone())));
            held.rows.insert(name, rows);
        }
        held
    }

    /// Makes tensors whole on rank 0; `None` on the other ranks, which write nothing.
    pub(super) fn collect(&self, mut tensors: Vec<(String, Stored)>) -> Result<Option<Vec<(String, Stored)>>> {
        let Some(group) = &self.group else { return Ok(Some(tensors)) };
        // Variables come in any order, but all ranks must go by one.
        tensors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, stored) in &mut tensors {
            let Some((rows, all)) = self.rows.get(name) else { continue };
            let size = [rows.len() as i64, stored.bytes_of_row() as i64];
            let own = Tensor::f_from_data_size(&stored.data(), &size, Kind::Uint8)?;
            if let Some(whole) = group.gather_to_first(&own)? {
                let mut bytes = vec![0u8; whole.numel()];
                whole.f_copy_data_u8(&mut bytes, whole.numel())?;
                stored.grow(*all, bytes);
            }
        }
        Ok(group.is_first().then_some(tensors))
    }

    /// What a rank needs of a file, as a file of its own.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let io = |source| Error::Io { action: "read", path: path.to_owned(), source };
        if self.rows.is_empty() {
            return std::fs::read(path).map_err(io);
        }
        let refuse = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
        let not_one = |error: &dyn std::fmt::Display| refuse(format!("not a safetensors file: {error}"));
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(io)?;
        let header = u64::from_le_bytes(size);
        if header > length.saturating_sub(8) {
            return Err(not_one(&"its header is longer than the file"));
        }
        let mut bytes = size.to_vec();
        file.by_ref().take(header).read_to_end(&mut bytes).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&bytes[8..]).map_err(|error| not_one(&error))?;
        let start = header + 8;
        let end = metadata.tensors().values().map(|info| info.data_offsets.1).max().unwrap_or(0);
        if start + end as u64 != length {
            return Err(not_one(&"its length is not what its header says"));
        }
        let mut tensors = Vec::new();
        for (name, info) in metadata.tensors() {
            let (mut from, mut to) = info.data_offsets;
            let mut shape = info.shape.clone();
            if let Some((rows, all)) = self.rows.get(&name)
                && shape.first() == Some(all)
            {
                let of_row = (to - from) / (*all).max(1);
                (from, to) = (from + rows.start * of_row, from + rows.end * of_row);
                shape[0] = rows.len();
            }
            let mut data = vec![0; to - from];
            file.seek(SeekFrom::Start(start + from as u64)).map_err(io)?;
            file.read_exact(&mut data).map_err(io)?;
            tensors.push((name, Rows { dtype: info.dtype, shape, data }));
        }
        serialize(tensors, &metadata).map_err(|error| not_one(&error))
    }
}

fn serialize(tensors: Vec<(String, Rows)>, metadata: &Metadata) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    safetensors::serialize(tensors, metadata.metadata().clone())
}

struct Rows {
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for Rows {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}
