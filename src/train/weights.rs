//! Which tensors of a file become which variables of a store.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use safetensors::{Dtype, SafeTensors};
use tch::{Tensor, nn, no_grad_guard};

use super::{
    Origin,
    archive::{Archive, floating_tensor, tensor_like},
    held::Held,
    origin::compare_parts,
};
use crate::{Result, params::is_under};

/// How names of tensors begin that are not variables.
pub(super) const RUN_PREFIX: &str = "@";

/// What PyTorch's batch normalization counts and nothing here reads.
const COUNTER: &str = "num_batches_tracked";

type Rename<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// Weights of a safetensors file, such as PyTorch writes, with what it takes to fit them into a store.
///
/// A file and a store fit if names, shapes and kinds match one to one. PyTorch's `num_batches_tracked` beside a
/// `running_mean` is passed by.
///
/// # Writing them in PyTorch
/// ```python
/// import torch
/// from safetensors.torch import save_file
///
/// model = torch.load("model.pt", weights_only=False)  # or the model that has just been trained
/// state = {
///     name.removeprefix("module."): tensor.detach().cpu().contiguous().clone()
///     for name, tensor in model.state_dict().items()
/// }
/// for name, tensor in state.items():
///     print(name, tuple(tensor.shape), tensor.dtype)  # compare with the page of the network
/// save_file(state, "model.safetensors")
/// ```
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{train::checkpoint::{Weights, load_weights}, tch::{Device, Kind, Tensor, nn}};
///
/// # let path = std::env::temp_dir().join(format!("soft-lmccl-weights-{}.safetensors", std::process::id()));
/// let half = Tensor::from_slice(&[0.5f32, 2.0]).to_kind(Kind::Half);
/// Tensor::write_safetensors(&[("model.scale", half)], &path)?;
///
/// let mut vs = nn::VarStore::new(Device::Cpu);
/// let scale = (vs.root() / "net").zeros("scale", &[2]);
/// assert!(load_weights(&path, &mut vs).is_err());
/// Weights::of(&path)
///     .rename(|name| name.strip_prefix("model.").map(|name| format!("net.{name}")))
///     .convert(true)
///     .load(&mut vs)?;
/// assert_eq!(Vec::<f32>::try_from(scale.detach())?, [0.5, 2.0]);
/// # std::fs::remove_file(&path).ok();
/// # Ok(()) }
/// ```
#[must_use = "nothing is read until `load`"]
pub struct Weights<'a> {
    path: PathBuf,
    fit: Fit<'a>,
    expected: Origin,
}

impl fmt::Debug for Weights<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, fit, expected } = self;
        let mut fields = f.debug_struct("Weights");
        fields.field("path", path).field("convert", &fit.convert).field("expected", expected).finish_non_exhaustive()
    }
}

impl<'a> Weights<'a> {
    /// Those of a file, as they are.
    pub fn of(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), fit: Fit::default(), expected: Origin::default() }
    }

    /// Gives each tensor of the file the name of the variable that it is for; `None` leaves it out.
    pub fn rename(mut self, name: impl Fn(&str) -> Option<String> + 'a) -> Self {
        self.fit.rename = Some(Box::new(name));
        self
    }

    /// Whether floating tensors of another precision than the variable's are converted. By default they are refused.
    pub fn convert(mut self, convert: bool) -> Self {
        self.fit.convert = convert;
        self
    }

    /// Reads into the variables under this path alone, as [`load_part`](super::checkpoint::load_part) does.
    pub fn part(mut self, part: impl Into<String>) -> Self {
        self.fit.part = Some(part.into());
        self
    }

    /// What the variables are of: a file whose heads are of another loss, or of rows that mean something else, or whose
    /// network is made otherwise, is refused. One that does not say it is read all the same, and a
    /// [notice](crate::on_notice) says so; so it does where nothing is expected.
    pub fn expect(mut self, origin: Origin) -> Self {
        self.expected = origin;
        self
    }

    /// Reads them into `vs`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Checkpoint`](crate::Error::Checkpoint) listing every difference, with `vs` unchanged.
    pub fn load(self, vs: &mut nn::VarStore) -> Result<()> {
        let archive = Archive::read_held(&self.path, &Held::of(vs, &self.expected.shards, &[]))?;
        let file = archive.tensors()?;
        let mut problems = compare_parts(&archive.origin()?, &self.expected, &archive);
        let values = self.fit.variables(&file, vs, &mut problems)?;
        if let (Some(part), true, true) = (&self.fit.part, values.is_empty(), problems.is_empty()) {
            problems.push(format!("neither it nor the store has anything under `{part}`"));
        }
        archive.refuse(&problems)?;
        apply(values)
    }
}

/// What is read, and under which names.
#[derive(Default)]
pub(super) struct Fit<'a> {
    /// All, or what lies under this path.
    part: Option<String>,
    rename: Option<Rename<'a>>,
    convert: bool,
}

impl Fit<'_> {
    /// What lies under a path, of whatever floating precision.
    pub(super) fn converted(part: &str) -> Self {
        Self { part: Some(part.to_owned()), convert: true, rename: None }
    }

    fn holds(&self, name: &str) -> bool {
        self.part.as_deref().is_none_or(|part| name != part && is_under(name, part))
    }

    /// Every variable with its new value, as far as the file fits.
    pub(super) fn variables(
        &self,
        file: &SafeTensors<'_>,
        vs: &nn::VarStore,
        problems: &mut Vec<String>,
    ) -> Result<Vec<(Tensor, Tensor)>> {
        let stored = self.names(file, problems);
        let variables: BTreeMap<_, _> = vs.variables().into_iter().filter(|(name, _)| self.holds(name)).collect();
        if !variables.keys().any(|name| stored.contains_key(name))
            && let Some(problem) = other_prefix(&stored, variables.keys())
        {
            problems.push(problem);
            return Ok(Vec::new());
        }
        let mut values = Vec::with_capacity(variables.len());
        for (name, variable) in &variables {
            let Some(stored) = stored.get(name) else {
                problems.push(format!("`{name}` is missing"));
                continue;
            };
            let converted = if self.convert && variable.is_floating_point() {
                floating_tensor(file, stored, &variable.size())?
            } else {
                None
            };
            match converted {
                Some(value) => values.push((variable.shallow_clone(), value)),
                None => match tensor_like(file, stored, variable.kind(), &variable.size())? {
                    Ok(value) => values.push((variable.shallow_clone(), value)),
                    Err(problem) => problems.push(problem),
                },
            }
        }
        let extra = stored.iter().filter(|&(name, stored_as)| {
            !variables.contains_key(name) && !counts_batches(file, name, stored_as, &stored)
        });
        problems.extend(extra.map(|(_, stored_as)| format!("`{stored_as}` is not expected")));
        Ok(values)
    }

    /// The tensors of the file that may be variables, by the names that they are meant for.
    fn names(&self, file: &SafeTensors<'_>, problems: &mut Vec<String>) -> BTreeMap<String, String> {
        let mut names = BTreeMap::<String, String>::new();
        let mut stored: Vec<_> = file.names().into_iter().filter(|name| !name.starts_with(RUN_PREFIX)).collect();
        stored.sort_unstable();
        for stored_as in stored {
            let name = match &self.rename {
                Some(rename) => rename(stored_as),
                None => Some(stored_as.to_owned()),
            };
            let Some(name) = name.filter(|name| self.holds(name)) else { continue };
            if let Some(other) = names.insert(name.clone(), stored_as.to_owned()) {
                problems.push(format!("`{other}` and `{stored_as}` are both renamed to `{name}`"));
            }
        }
        names
    }
}

/// Whether this is PyTorch's counter beside running statistics.
fn counts_batches(file: &SafeTensors<'_>, name: &str, stored_as: &str, stored: &BTreeMap<String, String>) -> bool {
    let Some(layer) = name.strip_suffix(COUNTER).filter(|layer| layer.is_empty() || layer.ends_with('.')) else {
        return false;
    };
    let is_number = file.tensor(stored_as).is_ok_and(|t| t.dtype() == Dtype::I64 && t.shape().is_empty());
    is_number && stored.contains_key(&format!("{layer}running_mean"))
}

/// One sentence where names differ by what they begin with and by nothing else.
fn other_prefix<'n>(
    stored: &BTreeMap<String, String>,
    variables: impl Iterator<Item = &'n String> + Clone,
) -> Option<String> {
    let all_begin_with = |names: &mut dyn Iterator<Item = &String>| -> Vec<String> {
        let Some(first) = names.next() else { return Vec::new() };
        let mut prefixes: Vec<_> = first.match_indices('.').map(|(at, _)| first[..=at].to_owned()).collect();
        for name in names {
            prefixes.retain(|prefix| name.starts_with(prefix.as_str()));
        }
        prefixes
    };
    let of_file = all_begin_with(&mut stored.keys());
    let of_store = all_begin_with(&mut variables.clone());
    let none = || std::iter::once(String::new());
    for theirs in none().chain(of_file) {
        for ours in none().chain(of_store.iter().cloned()) {
            let renamed = |name: &String| {
                let rest = name.strip_prefix(ours.as_str());
                rest.is_some_and(|rest| stored.contains_key(&format!("{theirs}{rest}")))
            };
            if (theirs.is_empty() && ours.is_empty()) || !variables.clone().any(renamed) {
                continue;
            }
            return Some(
                match (theirs.as_str(), ours.as_str()) {
                    (theirs, "") => format!("all names of the file begin with `{theirs}`, those of the store do not"),
                    ("", ours) => format!("all names of the store begin with `{ours}`, those of the file do not"),
                    (theirs, ours) => {
                        format!(
                            "all names of the file begin with `{theirs}`, where those of the store begin with `{ours}`"
                        )
                    }
                } + ": `Weights::rename` gives them other ones",
            );
        }
    }
    None
}

pub(super) fn apply(values: Vec<(Tensor, Tensor)>) -> Result<()> {
    let _frozen = no_grad_guard();
    for (mut variable, value) in values {
        variable.f_copy_(&value)?;
    }
    Ok(())
}
