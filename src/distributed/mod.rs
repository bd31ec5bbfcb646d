//! Several processes as one: data parallel training, heads whose classes are shared out, and what both are made of, on
//! c10d, the distributed part of libtorch.
//!
//! A [`Group`] knows its ranks. It takes tensors on the CPU through Gloo and tensors on a GPU through NCCL. Without the
//! feature `distributed` there is [`Group::solo`] alone, a group of one.
//!
//! # How a step goes over the ranks
//! Each rank embeds samples of its own. [`Group::gather`] gives every rank the embeddings and labels of all, in the
//! graph, and every rank evaluates the one loss of the whole batch. A mean is then a mean over the batch, a center is
//! moved by all its samples, and batches may be of unequal size. A loss that was made with
//! [`group.classes(C)`](Group::classes) in place of `C` holds the rows of a part of the classes on each rank, and its
//! softmax is still over all of them.
//!
//! # Gradients
//! The gradient of a parameter is the *mean over the ranks* of what each of them holds after `backward`, as in
//! PyTorch's `DistributedDataParallel`; [`train::backward_step_in`](crate::train::backward_step_in) and
//! [`Trainer`](crate::train::Trainer) take that mean. Rows of classes are on one rank only, and their gradient is the
//! whole one there.
//!
//! # Examples
//! Run by `torchrun --nproc-per-node 2 --no-python ./program`, or alone.
//! ```
//! # fn main() -> soft_lmccl::Result<()> {
//! use soft_lmccl::{distributed::Group, loss::LmclConfig, train::backward_step_in};
//! use soft_lmccl::tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig};
//!
//! let group = Group::from_env()?;
//! let vs = nn::VarStore::new(Device::Cpu);
//! let net = nn::linear(vs.root() / "net", 6, 4, Default::default());
//! let mut loss = LmclConfig::default().init(&(vs.root() / "loss"), group.classes(1000), 4)?;
//! let mut optimizer = nn::AdamW::default().build(&vs, 0.05)?;
//! // Samples of this rank.
//! let inputs = Tensor::randn([9, 6], (Kind::Float, Device::Cpu));
//! let labels = Tensor::arange(9, (Kind::Int64, Device::Cpu)) * 100;
//! let report = backward_step_in(&group, &mut loss, &mut optimizer, &inputs.apply(&net), &labels)?;
//! assert!(report.total > 0.0);
//! # Ok(()) }
//! ```

#[cfg(not(c10d))]
mod absent;
mod collectives;
mod environment;
#[cfg(c10d)]
mod ffi;
mod gather;
mod gradients;
#[cfg(test)]
mod nccl;
mod shards;
mod statistics;
mod verification;
mod watch;
mod wire;

use std::{
    collections::{BTreeMap, VecDeque},
    env,
    iter::successors,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[cfg(not(c10d))]
use absent as backend;
#[cfg(c10d)]
use ffi as backend;
use tch::{Cuda, Device};

pub use collectives::Reduce;
pub(crate) use shards::Part;
pub use shards::{Classes, Shard};
pub(crate) use statistics::{batch_norm, synchronized};
use wire::Wire;

use crate::{Error, Result};

/// Deadlines of a [`Group`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupConfig {
    /// How long an operation may wait for the other ranks. Default 10 minutes, as PyTorch's NCCL.
    pub timeout: Duration,
    /// How long a rank may give no sign of life before the others end. Default 10 seconds; less than `timeout`.
    pub silence: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(600), silence: Duration::from_secs(10) }
    }
}

impl GroupConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] unless `silence` is 200 ms at least and shorter than `timeout`.
    pub fn validate(&self) -> Result<()> {
        if self.silence >= Duration::from_millis(200) && self.silence < self.timeout {
            return Ok(());
        }
        let expected = format!("200 ms at least and less than the timeout of {:?}", self.timeout);
        Err(Error::config("silence", expected, format!("{:?}", self.silence)))
    }
}

/// Which rank this process is among how many, and the way to the others. A clone is the same group.
///
/// Every operation is one that all ranks take part in, in the same order. An error of one says which rank is to blame,
/// and comes on all ranks that are alive, within [`GroupConfig::timeout`]. The group is of no use afterwards.
#[derive(Debug, Clone)]
pub struct Group(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rank: usize,
    size: usize,
    local_rank: usize,
    /// None where there is nobody to talk to.
    wire: Option<Wire>,
    traffic: Mutex<Traffic>,
    /// Labels of the last batches that every rank was given.
    gathered: Mutex<VecDeque<Vec<i64>>>,
}

/// What this rank has handed to the operations of a group, padding included.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Traffic {
    /// Of each operation by its name: calls and bytes.
    pub operations: BTreeMap<&'static str, (u64, u64)>,
    /// Waiting for them.
    pub seconds: f64,
}

impl Traffic {
    /// Bytes handed to all operations together.
    pub fn bytes(&self) -> u64 {
        self.operations.values().map(|(_, bytes)| bytes).sum()
    }
}

impl Group {
    /// A group of one, which every operation leaves as it is.
    pub fn solo() -> Self {
        Self::of(0, 1, 0, None)
    }

    /// The group that the launcher of this process says: torchrun's `RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`,
    /// `LOCAL_RANK` (and where its agent holds the store), or else SLURM's, within `srun`. A group of one where neither
    /// says anything. Waits for the other ranks.
    ///
    /// # Errors
    /// [`Error::Config`] for a variable that is missing or none; [`Error::Group`] if the others do not come, with their
    /// ranks.
    pub fn from_env() -> Result<Self> {
        Self::from_env_with(GroupConfig::default())
    }

    /// As [`from_env`](Self::from_env) with other deadlines.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env) and [`GroupConfig::validate`].
    pub fn from_env_with(config: GroupConfig) -> Result<Self> {
        config.validate()?;
        match environment::place(|name| env::var(name).ok())? {
            Some(place) if place.size > 1 => {
                let (rank, size, local_rank) = (place.rank, place.size, place.local_rank);
                Ok(Self::of(rank, size, local_rank, Some(Wire::open(place, config)?)))
            }
            _ => Ok(Self::solo()),
        }
    }

    fn of(rank: usize, size: usize, local_rank: usize, wire: Option<Wire>) -> Self {
        let (traffic, gathered) = <(Mutex<Traffic>, Mutex<VecDeque<Vec<i64>>>)>::default();
        Self(Arc::new(Inner { rank, size, local_rank, wire, traffic, gathered }))
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.0.rank
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// Whether this is the process that writes logs and prints.
    pub fn is_first(&self) -> bool {
        self.0.rank == 0
    }

    /// A GPU of its own for each process of a machine, or the CPU.
    pub fn device(&self) -> Device {
        if Cuda::is_available() { Device::Cuda(self.0.local_rank) } else { Device::Cpu }
    }

    /// So many classes, of which each rank holds a part: what to give the `init` of a loss in place of their number.
    pub fn classes(&self, num_classes: i64) -> Classes {
        Classes::over(num_classes, self)
    }

    /// Which of so many samples, dealt out in runs, are this rank's.
    pub(crate) fn share_of(&self, samples: usize) -> Range<usize> {
        let share = shards::share(samples as i64, self.rank(), self.size());
        share.start as usize..share.end as usize
    }

    /// Tells the other ranks that this one ends, and why, so that they need not wait for it. After an error of an
    /// operation of the group nothing more is told.
    pub fn fail(&self, why: &impl ToString) {
        if let Some(wire) = &self.0.wire {
            wire.fail(&why.to_string());
        }
    }

    /// As [`fail`](Self::fail), with what an error comes from: the path, and why it could not be written.
    pub(crate) fn fail_of(&self, error: &Error) {
        let causes = successors(std::error::Error::source(error), |cause| cause.source());
        self.fail(&causes.fold(error.to_string(), |sentence, cause| format!("{sentence}: {cause}")));
    }

    /// What has gone wrong with a rank, between operations.
    fn fault(&self) -> Option<String> {
        self.0.wire.as_ref().and_then(Wire::fault)
    }

    /// What this rank has handed over so far.
    pub fn traffic(&self) -> Traffic {
        self.counts().clone()
    }

    fn counts(&self) -> MutexGuard<'_, Traffic> {
        self.0.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
