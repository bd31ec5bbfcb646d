//! Weights, heads and centers with what they mean, and all that a run needs to go on, in one file.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tch::{Tensor, nn, no_grad_guard};

use super::{
    AdamW, FitConfig, Sampler,
    adamw::Moments,
    archive::{Archive, Stored, integers, tensor_like, write},
    sampler::Position,
};
use crate::{Error, Result};

/// Counts up when an older reader would misunderstand.
const FORMAT: u32 = 1;

/// How names of tensors begin that are not variables.
const RUN_PREFIX: &str = "@";
const DRAWN: &str = "@sampler.drawn";
const ORDER: &str = "@sampler.order";
const LABELS: &str = "@sampler.labels";

fn first_moment(name: &str) -> String {
    format!("@adamw.first.{name}")
}

fn second_moment(name: &str) -> String {
    format!("@adamw.second.{name}")
}

/// What the tensors of a checkpoint mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta<C> {
    /// The configuration that made the network and the loss, verbatim.
    pub config: C,
    /// Class names in the order of their training labels.
    pub classes: Vec<String>,
}

/// A training run at one moment: with the variables of its store, everything that a resumed run needs to equal
/// one that was never interrupted.
///
/// libtorch's generator is not among it, for it cannot be read through `tch`;
/// [`Trainer`](super::Trainer) seeds it anew in each step.
#[derive(Debug)]
pub struct RunState {
    /// Moments and steps of every parameter.
    pub optimizer: AdamW,
    /// Generator, order of the samples and position.
    pub sampler: Sampler,
    /// Hyper-parameters, steps done, best score.
    pub progress: Progress,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The hyper-parameters, on which the schedule depends.
    pub fit: FitConfig,
    /// Steps done.
    pub step: usize,
    /// Epochs since the validation score was last bettered.
    pub stale_epochs: usize,
    /// The best validation score so far.
    pub best: Option<Best>,
    /// Seconds of training, all sittings together.
    pub seconds: f64,
}

/// The best epoch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Counted from 1.
    pub epoch: usize,
    /// Its validation score.
    pub score: f64,
}

/// What every format of a header has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Header<C> {
    format: u32,
    version: String,
    config: C,
    classes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunHeader>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunHeader {
    progress: Progress,
    /// Steps of each parameter that had a gradient.
    optimizer_steps: BTreeMap<String, u32>,
    sampler: Position,
}

/// Writes every variable of `vs`, buffers included, and `meta` as one safetensors file.
///
/// The description is JSON in the file's header under `soft-lmccl`, so that any safetensors reader
/// opens the tensors, PyTorch's among them. Written to a sibling, synced and renamed: a crash leaves the
/// last good file.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] if `config` cannot be written as JSON, or for a variable whose name
/// begins with `@`; [`Error::Tensor`] for a variable of a kind that is not written, such as a complex one;
/// [`Error::Torch`] if one cannot be copied from its device.
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
pub fn save<C: Serialize>(path: impl AsRef<Path>, vs: &nn::VarStore, meta: &Meta<C>) -> Result<()> {
    save_with(path.as_ref(), vs, meta, None)
}

/// Reads what [`save`] or [`save_run`] wrote into `vs`, if names, shapes, kinds and classes match one to one;
/// the state of a run is left out.
///
/// `tch`'s own `VarStore::load` broadcasts, casts and ignores what does not match.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] listing every difference, with `vs` unchanged.
pub fn load<C: DeserializeOwned>(path: impl AsRef<Path>, vs: &mut nn::VarStore, classes: &[String]) -> Result<Meta<C>> {
    let archive = Archive::read(path.as_ref())?;
    let file = archive.tensors()?;
    let header: Header<C> = header(&archive)?;
    let mut problems = Vec::new();
    header.check_classes(classes, &mut problems);
    let values = variables(&file, vs, &Scope::Whole, &mut problems)?;
    archive.refuse(&problems)?;
    apply(values)?;
    Ok(Meta { config: header.config, classes: header.classes })
}

/// Reads the variables of `vs` from any safetensors file, such as PyTorch writes, if names, shapes and kinds
/// match one to one.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] listing every difference, with `vs` unchanged.
pub fn load_weights(path: impl AsRef<Path>, vs: &mut nn::VarStore) -> Result<()> {
    let archive = Archive::read(path.as_ref())?;
    let mut problems = Vec::new();
    let values = variables(&archive.tensors()?, vs, &Scope::Whole, &mut problems)?;
    archive.refuse(&problems)?;
    apply(values)
}

/// What the tensors of a file mean, without reading them into anything: what to make before [`load_part`] or [`load`].
///
/// `C` may have fewer fields than the configuration that was saved, unless it denies unknown ones as the configurations
/// of this crate do: put those into a type of yours.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] if the file is no checkpoint, or its configuration is no `C`.
///
/// # Examples
/// See [`load_part`].
pub fn describe<C: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Meta<C>> {
    let archive = Archive::read(path.as_ref())?;
    archive.tensors()?;
    let Header { config, classes, .. } = header(&archive)?;
    Ok(Meta { config, classes })
}

/// Reads one part of a store, such as a network without the heads that it was trained with: from any safetensors
/// file, if all that it and `vs` hold under the path `part` match one to one in name, shape and kind.
///
/// Whatever lies elsewhere, in the file as in `vs`, is left alone: to embed with a trained network, or to go on with
/// new heads on other classes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] listing every difference, or if `vs` has no variable under that path, with `vs`
/// unchanged.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::SoftLmcclConfig, model::NetworkConfig, train::checkpoint, tch::{Device, nn}};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Recipe { network: NetworkConfig, side: i64 }
///
/// # let path = std::env::temp_dir().join(format!("soft-lmccl-part-{}.safetensors", std::process::id()));
/// // A network for 17 classes, with its heads and centers.
/// let vs = nn::VarStore::new(Device::Cpu);
/// let config = Recipe { network: NetworkConfig::default().with_embedding_dim(16), side: 8 };
/// let _net = config.network.init(&(vs.root() / "net"), config.side)?;
/// let _loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 17, 16)?;
/// let classes = (0..17).map(|class| class.to_string()).collect();
/// checkpoint::save(&path, &vs, &checkpoint::Meta { config, classes })?;
///
/// // The same network for two other classes.
/// let Recipe { network, side } = checkpoint::describe(&path)?.config;
/// let mut other = nn::VarStore::new(Device::Cpu);
/// let _net = network.init(&(other.root() / "net"), side)?;
/// let _loss = SoftLmcclConfig::default().init(&(other.root() / "loss"), 2, 16)?;
/// checkpoint::load_part(&path, &mut other, "net")?;
/// assert_eq!(other.variables()["net.fc.weight"], vs.variables()["net.fc.weight"]);
/// # std::fs::remove_file(&path).ok();
/// # Ok(()) }
/// ```
pub fn load_part(path: impl AsRef<Path>, vs: &mut nn::VarStore, part: &str) -> Result<()> {
    let archive = Archive::read(path.as_ref())?;
    let mut problems = Vec::new();
    let values = variables(&archive.tensors()?, vs, &Scope::Under(part), &mut problems)?;
    if values.is_empty() && problems.is_empty() {
        problems.push(format!("neither it nor the store has anything under `{part}`"));
    }
    archive.refuse(&problems)?;
    apply(values)
}

/// Writes the variables of `vs` and the state of a run as one file, like [`save`].
///
/// # Errors
/// As [`save`].
pub fn save_run<C: Serialize>(path: impl AsRef<Path>, vs: &nn::VarStore, meta: &Meta<C>, run: &RunState) -> Result<()> {
    save_with(path.as_ref(), vs, meta, Some(run))
}

/// Reads what [`save_run`] wrote into `vs` and `run`, if all of it is of the same run: names, shapes, kinds,
/// classes, configuration, hyper-parameters and samples.
///
/// `run` comes as the run would begin, and its `progress.fit` is what the file's must equal.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] listing every difference, with `vs` and `run` unchanged.
pub fn load_run<C: Serialize>(
    path: impl AsRef<Path>,
    vs: &nn::VarStore,
    meta: &Meta<C>,
    run: &mut RunState,
) -> Result<()> {
    let archive = Archive::read(path.as_ref())?;
    let file = archive.tensors()?;
    let header: Header<Value> = header(&archive)?;
    let json_failed = |error: serde_json::Error| archive.error(format!("configuration: {error}"));
    let mut problems = Vec::new();
    header.check_classes(&meta.classes, &mut problems);
    // Through text, as the file's has gone: single precision has another number there than in a `Value`.
    let config =
        serde_json::to_string(&meta.config).and_then(|json| serde_json::from_str(&json)).map_err(json_failed)?;
    list_differences("config", &header.config, &config, &mut problems);
    let values = variables(&file, vs, &Scope::Whole, &mut problems)?;
    let Some(saved) = header.run else {
        problems.push("it holds weights, but not the state of a run".into());
        return archive.refuse(&problems);
    };
    let [found, expected] =
        [saved.progress.fit, run.progress.fit].map(|fit| serde_json::to_value(fit).map_err(json_failed));
    list_differences("fit", &found?, &expected?, &mut problems);
    let (step, steps) = (saved.progress.step, run.progress.fit.steps(run.sampler.samples()));
    if step > steps {
        problems.push(format!("step {step} of {steps}"));
    }
    let ahead = saved.optimizer_steps.iter().filter(|&(_, &taken)| taken as usize > step);
    problems.extend(ahead.map(|(name, taken)| format!("{taken} steps of `{name}` in a run of {step}")));
    let moments = moments(&file, &run.optimizer, &saved.optimizer_steps, &mut problems)?;
    let sampler = integers(&file, DRAWN)
        .and_then(|drawn| run.sampler.at(&saved.sampler, &drawn, &integers(&file, ORDER)?, &integers(&file, LABELS)?))
        .map_err(|problem| problems.push(problem));
    archive.refuse(&problems)?;
    let Ok(sampler) = sampler else { unreachable!("a sampler that was refused is a problem") };
    apply(values)?;
    run.optimizer.restore(moments);
    run.sampler = sampler;
    run.progress = saved.progress;
    Ok(())
}

fn save_with<C: Serialize>(path: &Path, vs: &nn::VarStore, meta: &Meta<C>, run: Option<&RunState>) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, variable) in vs.variables() {
        if name.starts_with(RUN_PREFIX) {
            let problem = format!("`{name}` begins with {RUN_PREFIX}, like what is no variable");
            return Err(Error::Checkpoint { path: path.to_owned(), problem });
        }
        tensors.push((name, Stored::of(&variable)?));
    }
    let run = run.map(|RunState { optimizer, sampler, progress }| -> Result<_> {
        let mut optimizer_steps = BTreeMap::new();
        for (name, _, moments) in optimizer.entries() {
            if let Some(Moments { steps, first, second }) = moments {
                tensors.push((first_moment(&name), Stored::of(first)?));
                tensors.push((second_moment(&name), Stored::of(second)?));
                optimizer_steps.insert(name, *steps);
            }
        }
        let (position, drawn, order) = sampler.state();
        tensors.push((DRAWN.to_owned(), Stored::integers(&drawn)));
        tensors.push((ORDER.to_owned(), Stored::integers(&order)));
        tensors.push((LABELS.to_owned(), Stored::integers(sampler.labels())));
        Ok(RunHeader { progress: *progress, optimizer_steps, sampler: position })
    });
    let header = Header {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: &meta.config,
        classes: meta.classes.clone(),
        run: run.transpose()?,
    };
    write(path, tensors, &header)
}

/// The description of a file, if it is in this version's format.
fn header<C: DeserializeOwned>(archive: &Archive) -> Result<Header<C>> {
    let Format { format } = archive.description()?;
    if format != FORMAT {
        return Err(archive.error(format!("format {format}, this version reads {FORMAT}")));
    }
    archive.description()
}

impl<C> Header<C> {
    fn check_classes(&self, classes: &[String], problems: &mut Vec<String>) {
        if self.classes != classes {
            problems.push(format!("classes {:?}, expected {classes:?}", self.classes));
        }
    }
}

/// Which variables are read.
enum Scope<'a> {
    Whole,
    /// Those whose names begin with this path.
    Under(&'a str),
}

impl Scope<'_> {
    fn holds(&self, name: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::Under(path) => name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')),
        }
    }
}

/// Every variable with its new value, as far as the file fits.
fn variables(
    file: &SafeTensors<'_>,
    vs: &nn::VarStore,
    scope: &Scope<'_>,
    problems: &mut Vec<String>,
) -> Result<Vec<(Tensor, Tensor)>> {
    let mut variables: Vec<_> = vs.variables().into_iter().filter(|(name, _)| scope.holds(name)).collect();
    variables.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut values = Vec::with_capacity(variables.len());
    for (name, variable) in &variables {
        match tensor_like(file, name, variable)? {
            Ok(value) => values.push((variable.shallow_clone(), value)),
            Err(problem) => problems.push(problem),
        }
    }
    let expected = |name: &str| variables.binary_search_by(|(known, _)| known.as_str().cmp(name)).is_ok();
    let variable = |name: &str| scope.holds(name) && !name.starts_with(RUN_PREFIX);
    let mut extra: Vec<_> = file.names().into_iter().filter(|name| variable(name) && !expected(name)).collect();
    extra.sort_unstable();
    problems.extend(extra.into_iter().map(|name| format!("`{name}` is not expected")));
    Ok(values)
}

fn apply(values: Vec<(Tensor, Tensor)>) -> Result<()> {
    let _frozen = no_grad_guard();
    for (mut variable, value) in values {
        variable.f_copy_(&value)?;
    }
    Ok(())
}

/// The moments of every parameter that the file has steps of.
fn moments(
    file: &SafeTensors<'_>,
    optimizer: &AdamW,
    saved: &BTreeMap<String, u32>,
    problems: &mut Vec<String>,
) -> Result<HashMap<String, Moments>> {
    let mut moments = HashMap::new();
    let entries = optimizer.entries();
    for (name, variable, _) in &entries {
        let Some(&steps) = saved.get(name) else { continue };
        let like = |name: String| tensor_like(file, &name, variable);
        match (like(first_moment(name))?, like(second_moment(name))?) {
            (Ok(first), Ok(second)) => {
                let on_device = |moment: Tensor| moment.f_to_device(variable.device());
                moments.insert(name.clone(), Moments { steps, first: on_device(first)?, second: on_device(second)? });
            }
            (first, second) => problems.extend([first.err(), second.err()].into_iter().flatten()),
        }
    }
    let unknown = saved.keys().filter(|name| !entries.iter().any(|(known, ..)| known == *name));
    problems.extend(unknown.map(|name| format!("the optimizer has steps of `{name}`, which is no parameter here")));
    Ok(moments)
}

/// Names every leaf in which two JSON values differ.
fn list_differences(path: &str, found: &Value, expected: &Value, problems: &mut Vec<String>) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
            for key in keys {
                let [found, expected] = [found, expected].map(|object| object.get(key).unwrap_or(&Value::Null));
                list_differences(&format!("{path}.{key}"), found, expected, problems);
            }
        }
        _ if found == expected => {}
        _ => problems.push(format!("`{path}` is {found}, expected {expected}")),
    }
}
