//! Weights, heads and centers with what they mean, and all that a run needs to go on, in one file.

use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tch::nn;

use super::{
    AdamW, FitConfig, Sampler,
    archive::{Archive, Stored, integers, write},
    header::{FORMAT, Header, RunHeader, header},
    held::Held,
    optimizer_state::{self, BESIDE, compare_frozen, frozen, moments},
    origin::{compare_origins, list_differences, own_type_name},
    weights::{Fit, RUN_PREFIX, apply},
};
pub use super::{
    origin::Origin,
    parts::{load_classes, load_head, load_network, load_part},
    weights::Weights,
};
use crate::{Error, Result, distributed::Shard, notice::notice};

const DRAWN: &str = "@sampler.drawn";
const ORDER: &str = "@sampler.order";
const LABELS: &str = "@sampler.labels";

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
    save_of(path, vs, meta, &Origin::default())
}

/// As [`save`], and says which loss and which network the variables are of, which [`load_head`], [`load_network`] and
/// [`load_classes`] compare. [`Trainer`](super::Trainer) says it in all of its checkpoints. Where the classes of the loss are
/// shared out over ranks, all ranks call it, and rank 0 writes the file that one process with all classes would write.
///
/// # Errors
/// As [`save`].
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{ArcFaceConfig, LmclConfig}, model::NetworkConfig};
/// use soft_lmccl::{train::checkpoint::{self, Meta, Origin}, tch::{Device, nn}};
///
/// # let path = std::env::temp_dir().join(format!("soft-lmccl-origin-{}.safetensors", std::process::id()));
/// let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
/// let network = NetworkConfig::default().with_embedding_dim(8);
/// let vs = nn::VarStore::new(Device::Cpu);
/// let _net = network.init(&(vs.root() / "net"), 8)?;
/// let head = LmclConfig::default().init(&(vs.root() / "head"), 2, 8)?;
/// let meta = Meta { config: (), classes: names(&["1aon", "4v5d"]) };
/// checkpoint::save_of(&path, &vs, &meta, &Origin::default().loss(&head).network(&network)?)?;
///
/// let mut other = nn::VarStore::new(Device::Cpu);
/// let _net = network.init(&(other.root() / "net"), 8)?;
/// checkpoint::load_network(&path, &mut other, "net", &network)?;
/// let arcface = ArcFaceConfig::default().init(&(other.root() / "head"), 2, 8)?;
/// let error = checkpoint::load_head(&path, &mut other, "head", &arcface).unwrap_err().to_string();
/// assert!(error.ends_with("its heads are of `lmcl`, expected `arcface`"), "{error}");
///
/// // Three classes, two of which the file has.
/// let mut more = nn::VarStore::new(Device::Cpu);
/// let grown = LmclConfig::default().init(&(more.root() / "head"), 3, 8)?;
/// let classes = names(&["4v5d", "1bxn", "1aon"]);
/// assert_eq!(checkpoint::load_classes(&path, &mut more, "head", &grown, &classes)?, 2);
/// assert_eq!(grown.prototypes().get(0), head.prototypes().get(1));
/// # std::fs::remove_file(&path).ok();
/// # Ok(()) }
/// ```
pub fn save_of<C: Serialize>(path: impl AsRef<Path>, vs: &nn::VarStore, meta: &Meta<C>, origin: &Origin) -> Result<()> {
    let Some(group) = origin.shards.first().map(Shard::group) else {
        return save_as(path.as_ref(), vs, About::of(meta, origin), None);
    };
    // Rank 0 alone may fail.
    save_as(path.as_ref(), vs, About::of(meta, origin), None).inspect_err(|error| group.fail_of(error))?;
    group.barrier()
}

/// Reads what [`save`] or [`save_run`] wrote into `vs`, if names, shapes, kinds and classes match one to one;
/// the state of a run is left out.
///
/// `tch`'s own `VarStore::load` broadcasts, casts and ignores what does not match.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] listing every difference, with `vs` unchanged.
pub fn load<C: DeserializeOwned>(path: impl AsRef<Path>, vs: &mut nn::VarStore, classes: &[String]) -> Result<Meta<C>> {
    load_of(path, vs, classes, &Origin::default())
}

/// As [`load`], of what [`save_of`] wrote with the classes of `origin`'s loss shared out over ranks or not, into a loss
/// whose classes are shared out over ranks, as many or others: each rank reads its rows.
///
/// # Errors
/// As [`load`].
pub fn load_of<C: DeserializeOwned>(
    path: impl AsRef<Path>,
    vs: &mut nn::VarStore,
    classes: &[String],
    origin: &Origin,
) -> Result<Meta<C>> {
    let archive = Archive::read_held(path.as_ref(), &Held::of(vs, &origin.shards, BESIDE))?;
    let file = archive.tensors()?;
    let header: Header<C> = header(&archive)?;
    let mut problems = Vec::new();
    header.check_classes(classes, &mut problems);
    if let (None, Some(expected)) = (&header.config_type, own_type_name::<C>()) {
        let file = archive.name();
        notice(&format!("{file} does not say of which type its configuration is: it is taken as `{expected}`"));
    }
    let values = Fit::default().variables(&file, vs, &mut problems)?;
    archive.refuse(&problems)?;
    apply(values)?;
    Ok(Meta { config: header.config, classes: header.classes })
}

/// Reads the variables of `vs` from any safetensors file, such as PyTorch writes, if names, shapes and kinds
/// match one to one. [`Weights`] reads files of other names and precisions too, and compares what they are of; here a
/// [notice](crate::on_notice) says that nothing was.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] listing every difference, with `vs` unchanged.
pub fn load_weights(path: impl AsRef<Path>, vs: &mut nn::VarStore) -> Result<()> {
    Weights::of(path.as_ref()).load(vs)
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

/// A checkpoint that is in the program: what it describes, made by `make` in `vs` from the description, with the tensors
/// under `part`, of whatever floating precision. `name` is for messages.
pub(crate) fn embedded<C: DeserializeOwned, N>(
    name: &str,
    bytes: &'static [u8],
    vs: &mut nn::VarStore,
    part: &str,
    make: impl FnOnce(&C, &nn::VarStore) -> Result<N>,
) -> Result<(N, Meta<C>)> {
    let archive = Archive::embedded(name, bytes);
    let Header { config, classes, .. } = header(&archive)?;
    let made = make(&config, vs)?;
    let mut problems = Vec::new();
    let values = Fit::converted(part).variables(&archive.tensors()?, vs, &mut problems)?;
    archive.refuse(&problems)?;
    apply(values)?;
    Ok((made, Meta { config, classes }))
}

/// Writes the variables of `vs` and the state of a run as one file, like [`save`].
///
/// # Errors
/// As [`save`].
pub fn save_run<C: Serialize>(path: impl AsRef<Path>, vs: &nn::VarStore, meta: &Meta<C>, run: &RunState) -> Result<()> {
    save_as(path.as_ref(), vs, About::of(meta, &Origin::default()), Some(run))
}

/// Reads what [`save_run`] wrote into `vs` and `run`, if all of it is of the same run: names, shapes, kinds,
/// classes, configuration, hyper-parameters and samples.
///
/// `run` is the run as it would begin. The file's hyper-parameters must equal `run.progress.fit`. Only the number of epochs may
/// be larger in `run`: the run then goes on for longer. If its schedule is constant, it ends with the bits of a run that had
/// so many epochs from its beginning.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] listing every difference, with `vs` and `run` unchanged.
pub fn load_run<C: Serialize>(
    path: impl AsRef<Path>,
    vs: &nn::VarStore,
    meta: &Meta<C>,
    run: &mut RunState,
) -> Result<()> {
    load_run_as(path.as_ref(), vs, About::of(meta, &Origin::default()), run).map(drop)
}

/// As [`load_run`], also comparing loss and network; the epochs that the run had before.
pub(super) fn load_run_as<C: Serialize>(
    path: &Path,
    vs: &nn::VarStore,
    About { meta, config_type, origin, frozen: paths }: About<'_, C>,
    run: &mut RunState,
) -> Result<usize> {
    let archive = Archive::read_held(path, &Held::of(vs, &origin.shards, BESIDE))?;
    let file = archive.tensors()?;
    let header: Header<Value> = header(&archive)?;
    let json_failed = |error: serde_json::Error| archive.error(format!("configuration: {error}"));
    let mut problems = Vec::new();
    header.check_classes(&meta.classes, &mut problems);
    // Through text, as the file's has gone: single precision has another number there than in a `Value`.
    let config =
        serde_json::to_string(&meta.config).and_then(|json| serde_json::from_str(&json)).map_err(json_failed)?;
    list_differences("config", &header.config, &config, &mut problems);
    if let (Some(found), Some(expected)) = (&header.config_type, config_type)
        && found != expected
    {
        problems.push(format!("its configuration is of `{found}`, expected `{expected}`"));
    }
    compare_origins(&header.origin, origin, &archive, &mut problems)?;
    let values = Fit::default().variables(&file, vs, &mut problems)?;
    let Some(saved) = header.run else {
        problems.push("it holds weights, but not the state of a run".into());
        return archive.refuse(&problems).map(|()| 0);
    };
    let fit = run.progress.fit;
    let [found, expected] = [saved.progress.fit, fit].map(|fit| serde_json::to_value(fit).map_err(json_failed));
    let mut of_fit = Vec::new();
    list_differences("fit", &found?, &expected?, &mut of_fit);
    if saved.rates != run.optimizer.rates() {
        of_fit.push(format!("learning rates by path are {:?}, expected {:?}", saved.rates, run.optimizer.rates()));
    }
    // A run may go on for longer than it was meant to; where something else is wrong, that is told with it.
    let longer = saved.progress.fit.epochs < fit.epochs && of_fit.len() == 1;
    if !longer || !problems.is_empty() {
        problems.extend(of_fit);
    }
    compare_frozen(saved.frozen.as_deref(), &frozen(vs, &run.optimizer, paths), &archive, &mut problems);
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
    run.progress = Progress { fit, ..saved.progress };
    Ok(saved.progress.fit.epochs)
}

/// What a checkpoint says of itself: its description, the type of the configuration if it is one of this crate, and what
/// its variables are of.
pub(super) struct About<'a, C> {
    pub(super) meta: &'a Meta<C>,
    pub(super) config_type: Option<&'a str>,
    pub(super) origin: &'a Origin,
    /// Paths that rest, of a run.
    pub(super) frozen: &'a [String],
}

impl<'a, C> About<'a, C> {
    fn of(meta: &'a Meta<C>, origin: &'a Origin) -> Self {
        Self { meta, config_type: own_type_name::<C>(), origin, frozen: &[] }
    }
}

pub(super) fn save_as<C: Serialize>(
    path: &Path,
    vs: &nn::VarStore,
    About { meta, config_type, origin, frozen: paths }: About<'_, C>,
    run: Option<&RunState>,
) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, variable) in vs.variables() {
        if name.starts_with(RUN_PREFIX) {
            let problem = format!("`{name}` begins with {RUN_PREFIX}, like what is no variable");
            return Err(Error::Checkpoint { path: path.to_owned(), problem });
        }
        tensors.push((name, Stored::of(&variable)?));
    }
    let run = run.map(|RunState { optimizer, sampler, progress }| -> Result<_> {
        let optimizer_steps = optimizer_state::store(optimizer, &mut tensors)?;
        let frozen = Some(frozen(vs, optimizer, paths));
        let (position, drawn, order) = sampler.state();
        tensors.push((DRAWN.to_owned(), Stored::integers(&drawn)));
        tensors.push((ORDER.to_owned(), Stored::integers(&order)));
        tensors.push((LABELS.to_owned(), Stored::integers(sampler.labels())));
        let rates = optimizer.rates().to_vec();
        Ok(RunHeader { progress: *progress, optimizer_steps, rates, frozen, sampler: position })
    });
    let header = Header {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: &meta.config,
        config_type: config_type.map(str::to_owned),
        classes: meta.classes.clone(),
        origin: origin.clone(),
        run: run.transpose()?,
    };
    match Held::of(vs, &origin.shards, BESIDE).collect(tensors)? {
        Some(tensors) => write(path, tensors, &header),
        None => Ok(()),
    }
}
