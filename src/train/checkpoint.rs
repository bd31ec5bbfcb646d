//! Weights, heads and centers with what they mean, in one file.

use std::{borrow::Cow, collections::HashMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tch::{Device, Kind, Tensor, nn, no_grad_guard};

use crate::{Error, Result, files::write_atomically};

/// The key of the description in the file's header.
const META_KEY: &str = "soft-lmccl";
/// Counts up when an older reader would misunderstand.
const FORMAT: u32 = 1;

/// What the tensors of a checkpoint mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta<C> {
    /// The configuration that made the network and the loss, verbatim.
    pub config: C,
    /// Class names in the order of their training labels.
    pub classes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Header<C> {
    format: u32,
    version: Cow<'static, str>,
    #[serde(flatten)]
    meta: Meta<C>,
}

/// Writes every variable of `vs`, buffers included, and `meta` as one safetensors file.
///
/// The description is JSON in the file's header under `soft-lmccl`, so that any safetensors reader
/// opens the tensors. Written to a sibling, synced and renamed: a crash leaves the last good file.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] if `config` cannot be written as JSON.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{LmclConfig, Loss}, train::checkpoint, tch::{Device, nn}};
///
/// let path = std::env::temp_dir().join(format!("soft-lmccl-doc-{}.safetensors", std::process::id()));
/// let classes = vec!["1aon".to_owned(), "4v5d".to_owned()];
/// let vs = nn::VarStore::new(Device::Cpu);
/// let lmcl = LmclConfig::default().init(&(vs.root() / "lmcl"), 2, 8)?;
/// checkpoint::save(&path, &vs, &checkpoint::Meta { config: lmcl.config(), classes: classes.clone() })?;
///
/// let mut other = nn::VarStore::new(Device::Cpu);
/// let restored = LmclConfig::default().init(&(other.root() / "lmcl"), 2, 8)?;
/// let meta = checkpoint::load::<LmclConfig>(&path, &mut other, &classes)?;
/// assert_eq!(meta.config, lmcl.config());
/// assert_eq!(restored.prototypes(), lmcl.prototypes());
/// # std::fs::remove_file(&path).ok();
/// # Ok(()) }
/// ```
pub fn save<C: Serialize>(path: &Path, vs: &nn::VarStore, meta: &Meta<C>) -> Result<()> {
    let header = Header {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        meta: Meta { config: &meta.config, classes: meta.classes.clone() },
    };
    let refuse = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
    let json = serde_json::to_string(&header).map_err(|error| refuse(format!("configuration: {error}")))?;
    let tensors = vs
        .variables()
        .into_iter()
        .map(|(name, tensor)| Ok((name, Stored::of(&tensor)?)))
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(tensors, Some(HashMap::from([(META_KEY.to_owned(), json)])))
        .map_err(|error| refuse(error.to_string()))?;
    write_atomically(path, &bytes)
}

/// Reads what [`save`] wrote into `vs`, if names, shapes, kinds and classes match one to one.
///
/// `tch`'s own `VarStore::load` broadcasts, casts and ignores what does not match.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] listing every difference, with `vs` unchanged.
pub fn load<C: DeserializeOwned>(path: &Path, vs: &mut nn::VarStore, classes: &[String]) -> Result<Meta<C>> {
    let refuse = |problem: String| Error::Checkpoint { path: path.to_owned(), problem };
    let bytes = fs::read(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| refuse(format!("not a safetensors file: {error}")))?;
    let (_, description) = SafeTensors::read_metadata(&bytes).map_err(|error| refuse(error.to_string()))?;
    let json = description
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(META_KEY))
        .ok_or_else(|| refuse(format!("no `{META_KEY}` entry in its header; weights of another program?")))?;
    let Header { format, meta, .. } =
        serde_json::from_str::<Header<C>>(json).map_err(|error| refuse(format!("its description: {error}")))?;
    let mut problems = Vec::new();
    if format != FORMAT {
        problems.push(format!("format {format}, this version reads {FORMAT}"));
    }
    if meta.classes != classes {
        problems.push(format!("classes {:?}, expected {classes:?}", meta.classes));
    }
    let mut variables: Vec<_> = vs.variables().into_iter().collect();
    variables.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut found = Vec::with_capacity(variables.len());
    for (name, variable) in variables {
        let Ok(stored) = file.tensor(&name) else {
            problems.push(format!("`{name}` is missing"));
            continue;
        };
        let shape: Vec<i64> = stored.shape().iter().map(|&extent| extent as i64).collect();
        match dtype(variable.kind()) {
            Some(dtype) if shape == variable.size() && dtype == stored.dtype() => {
                found.push((variable, shape, stored.data()));
            }
            _ => problems.push(format!(
                "`{name}` is {:?} {shape:?}, expected {:?} {:?}",
                stored.dtype(),
                variable.kind(),
                variable.size()
            )),
        }
    }
    let expected = vs.variables();
    let mut extra: Vec<_> = file.names().into_iter().filter(|name| !expected.contains_key(*name)).collect();
    extra.sort_unstable();
    problems.extend(extra.into_iter().map(|name| format!("`{name}` is not expected")));
    if !problems.is_empty() {
        return Err(refuse(problems.join("; ")));
    }
    let values = found
        .into_iter()
        .map(|(variable, shape, data)| Ok((Tensor::f_from_data_size(data, &shape, variable.kind())?, variable)))
        .collect::<Result<Vec<_>>>()?;
    let _frozen = no_grad_guard();
    for (value, mut variable) in values {
        variable.f_copy_(&value)?;
    }
    Ok(meta)
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
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn of(tensor: &Tensor) -> Result<Self> {
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
