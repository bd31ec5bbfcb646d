//! The connection of a rank to the others: one operation at a time, with a deadline, and a sentence for what went wrong.

use std::{
    fmt, mem,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use tch::{Device, Tensor};

use super::{
    GroupConfig,
    backend::{Backend, Store},
    watch::Watch,
};
use crate::{Error, Result};

/// How long a wait for an operation goes on before the watch is asked.
const SLICE: Duration = Duration::from_millis(20);

/// Which rank this is, and where the others are met.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub rank: usize,
    pub size: usize,
    pub local_rank: usize,
    pub master: String,
    pub port: u16,
    /// In front of all keys of the store; empty in the first attempt.
    pub attempt: String,
    /// Whether torchrun's agent holds the store, and not rank 0.
    pub agent_store: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(c10d), allow(dead_code, reason = "nothing is ever begun"))]
pub(super) enum Poll {
    Done,
    Pending,
}

/// What all ranks do at once. Tensors are contiguous.
#[cfg_attr(not(c10d), allow(dead_code, reason = "nobody takes them over"))]
pub(super) enum Operation<'a> {
    Sum(&'a Tensor),
    Max(&'a Tensor),
    /// `output` has the rows of `input` for each rank.
    Gather {
        output: &'a Tensor,
        input: &'a Tensor,
    },
    /// Rows of `input` go to the ranks, so many to each; `output` takes what they send.
    Exchange {
        output: &'a Tensor,
        input: &'a Tensor,
        counts_out: &'a [i64],
        counts_in: &'a [i64],
    },
    Broadcast {
        tensor: &'a Tensor,
        root: usize,
    },
}

impl Operation<'_> {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Sum(_) | Self::Max(_) => "all_reduce",
            Self::Gather { .. } => "all_gather",
            Self::Exchange { .. } => "reduce_scatter",
            Self::Broadcast { .. } => "broadcast",
        }
    }

    /// What is handed over on this rank.
    pub(super) fn input(&self) -> &Tensor {
        match self {
            Self::Sum(tensor) | Self::Max(tensor) | Self::Broadcast { tensor, .. } => tensor,
            Self::Gather { input, .. } | Self::Exchange { input, .. } => input,
        }
    }
}

pub(super) struct Wire {
    /// Dropped first: it waits for ranks that need the store.
    watch: Watch,
    place: Place,
    config: GroupConfig,
    store: Store,
    cpu: Option<Backend>,
    cuda: OnceLock<Backend>,
    /// Held during an operation, since all ranks must have the same order. What went wrong, from then on.
    broken: Mutex<Option<String>>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("place", &self.place).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Wire {
    /// Meets the other ranks.
    pub(super) fn open(place: Place, config: GroupConfig) -> Result<Self> {
        let Place { rank, master, port, agent_store, .. } = &place;
        let serves = *rank == 0 && !agent_store;
        let holder = if *agent_store { "torchrun's agent" } else { "rank 0" };
        let timeout = config.timeout;
        let connect = |serves| {
            Store::open(master, *port, serves, timeout).map_err(|problem| match serves {
                true => Error::Group(format!("rank 0 cannot hold the store at {master}:{port}: {problem}")),
                false => Error::Group(format!("rank {rank} does not reach {holder} at {master}:{port}: {problem}")),
            })
        };
        let (store, watched) = (connect(serves)?, connect(false)?);
        let watch = Watch::start(&place, config, watched);
        let here = |rank: usize| format!("{}/soft-lmccl/here/{rank}", place.attempt);
        let failed = |problem: String| {
            let missing: Vec<_> =
                (0..place.size).filter(|&rank| !matches!(store.get(&here(rank)), Ok(Some(_)))).collect();
            let missing = if missing.is_empty() { String::new() } else { format!("{} not come; ", have(&missing)) };
            Error::Group(format!("rank {rank} cannot join the group: {missing}{problem}"))
        };
        store.set(&here(place.rank), "yes").map_err(failed)?;
        // c10d's own deadline comes later than ours, which has a sentence for it.
        let cpu = Backend::open(&store, &place, timeout + config.silence * 2, false).map_err(failed)?;
        Ok(Self { place, config, store, cpu: Some(cpu), cuda: OnceLock::new(), watch, broken: Mutex::new(None) })
    }

    fn backend(&self, device: Device) -> Result<&Backend, String> {
        if device == Device::Cpu {
            return self.cpu.as_ref().ok_or_else(|| "no connection".to_owned());
        }
        if self.cuda.get().is_none() {
            let timeout = self.config.timeout + self.config.silence * 2;
            let opened = Backend::open(&self.store, &self.place, timeout, true)?;
            // The lock of `run` is held: nobody was faster.
            let _ = self.cuda.set(opened);
        }
        self.cuda.get().ok_or_else(|| "no connection for tensors on a GPU".to_owned())
    }

    fn broken(&self) -> MutexGuard<'_, Option<String>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does it together with the other ranks, or says which of them it was that did not.
    pub(super) fn run(&self, operation: &Operation<'_>) -> Result<()> {
        let mut broken = self.broken();
        if let Some(problem) = &*broken {
            return Err(Error::Group(problem.clone()));
        }
        self.try_run(operation).map_err(|problem| {
            self.watch.told(&problem);
            *broken = Some(problem.clone());
            Error::Group(problem)
        })
    }

    fn try_run(&self, operation: &Operation<'_>) -> Result<(), String> {
        let (name, started) = (operation.name(), Instant::now());
        self.watch.count();
        let work = match self.backend(operation.input().device()).and_then(|backend| backend.start(operation)) {
            Ok(work) => work,
            Err(problem) => return Err(self.cause(name, &problem)),
        };
        loop {
            match work.wait(SLICE) {
                Ok(Poll::Done) => return Ok(()),
                Ok(Poll::Pending) => {}
                Err(problem) => return Err(self.cause(name, &problem)),
            }
            if let Some(problem) = self.watch.verdict(false) {
                return Err(problem);
            }
            if started.elapsed() > self.config.timeout {
                return Err(self.late(name));
            }
        }
    }

    /// Why an operation failed: connections break some time before the watch misses a rank.
    fn cause(&self, name: &str, problem: &str) -> String {
        let deadline = Instant::now() + self.config.silence + 4 * self.config.beat();
        while Instant::now() < deadline {
            if let Some(problem) = self.watch.verdict(true) {
                return problem;
            }
            sleep(SLICE);
        }
        format!("{name} failed on rank {}: {problem}", self.place.rank)
    }

    /// Who kept the others waiting.
    fn late(&self, name: &str) -> String {
        let seconds = self.config.timeout.as_secs_f64();
        let behind = match self.watch.behind(&self.store) {
            Ok(ranks) if !ranks.is_empty() => ranks,
            _ => return format!("{name} was not done within {seconds} s"),
        };
        format!("{} not come to {name} number {} within {seconds} s", have(&behind), self.watch.counted())
    }

    /// Why the ranks are to end, as far as it is known.
    pub(super) fn fault(&self) -> Option<String> {
        self.watch.verdict(false)
    }

    /// Tells the others why this rank ends.
    pub(super) fn fail(&self, why: &str) {
        let mut broken = self.broken();
        if broken.is_none() {
            *broken = Some(format!("rank {}: {why}", self.place.rank));
            self.watch.fail(why);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Closing a backend waits for its threads, and one of a stuck operation may never end.
        if self.broken().is_some() {
            mem::forget((self.cpu.take(), self.cuda.take()));
        }
    }
}

/// `ranks 1, 2 have`.
fn have(ranks: &[usize]) -> String {
    let names: Vec<_> = ranks.iter().map(usize::to_string).collect();
    let (ranks, have) = if names.len() == 1 { ("rank", "has") } else { ("ranks", "have") };
    format!("{ranks} {} {have}", names.join(", "))
}
