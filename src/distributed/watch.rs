//! Signs of life of every rank, in the store, and who is to blame where they end.
//!
//! Each rank counts up a number of its own. Rank 0 reads all of them, the others that of rank 0; where one stands still
//! for too long, whoever sees it first writes the one sentence that all ranks end with.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{GroupConfig, backend::Store, wire::Place};

/// What a rank adds to its number when it leaves.
const LEFT: i64 = 1 << 40;

#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    _ends_with_this: Sender<()>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    config: GroupConfig,
    store: Store,
    seen: Mutex<Seen>,
    /// Operations that this rank has begun.
    operations: AtomicI64,
    lost: AtomicBool,
}

#[derive(Debug)]
struct Seen {
    /// When the store last answered.
    answered: Instant,
    /// The sentence that the ranks end with.
    fault: Option<String>,
    /// A rank that has left, and since when that is known.
    left: Option<(usize, Instant)>,
}

impl Watch {
    pub(super) fn start(place: &Place, config: GroupConfig, store: Store) -> Self {
        let seen = Mutex::new(Seen { answered: Instant::now(), fault: None, left: None });
        let (operations, lost) = (AtomicI64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { place: place.clone(), config, store, seen, operations, lost });
        let (sender, receiver) = channel();
        let watched = Arc::clone(&shared);
        // Not joined: a store that does not answer would hold up the end of the program.
        thread::spawn(move || {
            let mut others = Others::default();
            loop {
                match watched.round(&mut others) {
                    Ok(()) => watched.seen().answered = Instant::now(),
                    Err(_) => return watched.lost.store(true, Ordering::Release),
                }
                if receiver.recv_timeout(config.beat()) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self { shared, _ends_with_this: sender }
    }

    pub(super) fn count(&self) {
        self.shared.operations.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn counted(&self) -> i64 {
        self.shared.operations.load(Ordering::Acquire)
    }

    /// The sentence to end with, if there is reason to. A connection that has `failed` needs no more proof.
    pub(super) fn verdict(&self, failed: bool) -> Option<String> {
        let Shared { config, lost, .. } = &*self.shared;
        let seen = self.shared.seen();
        let enough = |since: Instant| failed || since.elapsed() > config.silence;
        if let Some(fault) = &seen.fault {
            return Some(fault.clone());
        }
        if lost.load(Ordering::Acquire) && enough(seen.answered) {
            return Some(format!("{} has ended", self.shared.holder()));
        }
        if seen.answered.elapsed() > config.silence + config.beat() {
            let seconds = config.silence.as_secs_f64();
            return Some(format!("{} has not answered for {seconds} s", self.shared.holder()));
        }
        match seen.left {
            Some((rank, since)) if enough(since) => Some(format!("rank {rank} has left the group")),
            _ => None,
        }
    }

    /// The ranks that have begun fewer operations than this one, after so long a wait that they would have been seen to.
    pub(super) fn behind(&self, store: &Store) -> Result<Vec<usize>, String> {
        let own = self.counted();
        let mut behind = Vec::new();
        for rank in 0..self.shared.place.size {
            if rank != self.shared.place.rank && store.add(&self.shared.key("at", rank), 0)? < own {
                behind.push(rank);
            }
        }
        Ok(behind)
    }

    /// Tells the others why this rank ends, and waits until they know it where they would lose the store.
    pub(super) fn fail(&self, why: &str) {
        let shared = &*self.shared;
        if shared.blame(&format!("rank {}: {why}", shared.place.rank)).is_ok() {
            self.linger();
        }
    }

    /// This rank ends with `sentence`. The others shall read it as well before the store goes.
    pub(super) fn told(&self, sentence: &str) {
        if self.shared.lost.load(Ordering::Acquire) {
            return;
        }
        if self.shared.blame(sentence).is_ok() {
            self.linger();
        }
    }

    fn linger(&self) {
        let Shared { place, config, store, .. } = &*self.shared;
        if place.rank != 0 || place.agent_store {
            return;
        }
        let deadline = Instant::now() + config.silence;
        while Instant::now() < deadline {
            // A rank that is gone will not say so.
            match store.add(&self.shared.name("read"), 0) {
                Ok(read) if read + 1 >= place.size as i64 => return,
                Ok(_) => thread::sleep(config.beat() / 4),
                Err(_) => return,
            }
        }
    }
}

/// Says that this rank leaves. The one that holds the store stays until the others have left, or for as long as a rank may
/// be silent.
impl Drop for Watch {
    fn drop(&mut self) {
        let Shared { place, config, store, lost, .. } = &*self.shared;
        let in_order = {
            let seen = self.shared.seen();
            seen.fault.is_none() && seen.answered.elapsed() < config.silence / 2
        };
        if !in_order || lost.load(Ordering::Acquire) || thread::panicking() {
            return;
        }
        let _ = store.add(&self.shared.key("beat", place.rank), LEFT);
        if place.rank != 0 || place.agent_store {
            return;
        }
        let deadline = Instant::now() + config.silence;
        // 0 is a rank of another program, which gives no signs.
        let stays = |rank| matches!(store.add(&self.shared.key("beat", rank), 0), Ok(1..LEFT));
        while (1..place.size).any(stays) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[derive(Debug, Default)]
struct Others {
    /// Of each rank its number and since when it stands there.
    beats: Vec<Option<(i64, Instant)>>,
    told: i64,
    has_read: bool,
}

impl Shared {
    fn name(&self, name: &str) -> String {
        format!("{}/soft-lmccl/{name}", self.place.attempt)
    }

    fn key(&self, name: &str, rank: usize) -> String {
        format!("{}/{rank}", self.name(name))
    }

    fn holder(&self) -> &'static str {
        if self.place.agent_store {
            "torchrun's agent, which holds the store,"
        } else {
            "rank 0, which holds the store,"
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the sentence unless there is one.
    fn blame(&self, sentence: &str) -> Result<(), String> {
        if self.store.add(&self.name("faults"), 1)? == 1 {
            self.store.set(&self.name("fault"), sentence)?;
        }
        Ok(())
    }

    fn round(&self, others: &mut Others) -> Result<(), String> {
        let Place { rank, size, .. } = self.place;
        self.store.add(&self.key("beat", rank), 1)?;
        let operations = self.operations.load(Ordering::Acquire);
        self.store.add(&self.key("at", rank), operations - others.told)?;
        others.told = operations;
        if let Some(fault) = self.store.get(&self.name("fault"))? {
            if !others.has_read && rank != 0 {
                self.store.add(&self.name("read"), 1)?;
            }
            others.has_read = true;
            self.seen().fault.get_or_insert(fault);
            return Ok(());
        }
        others.beats.resize(size, None);
        for other in (0..size).filter(|&other| other != rank && (rank == 0 || other == 0)) {
            let beat = self.store.add(&self.key("beat", other), 0)?;
            if beat >= LEFT {
                self.store.set(&self.name("left"), &other.to_string())?;
            }
            match &mut others.beats[other] {
                Some((last, since)) if *last == beat => {
                    // A rank of another program gives no signs; one that has left, none any more.
                    let silent = since.elapsed() > self.config.silence && beat > 0 && beat < LEFT;
                    if silent {
                        let seconds = self.config.silence.as_secs_f64();
                        self.blame(&format!(
                            "rank {other} has given no sign of life for {seconds} s: killed, stopped or cut off"
                        ))?;
                    }
                }
                seen => *seen = Some((beat, Instant::now())),
            }
        }
        if let Some(left) = self.store.get(&self.name("left"))?.and_then(|rank| rank.parse().ok()) {
            self.seen().left.get_or_insert((left, Instant::now()));
        }
        Ok(())
    }
}

impl GroupConfig {
    /// Between two signs of life.
    pub(super) fn beat(&self) -> Duration {
        (self.silence / 10).clamp(Duration::from_millis(20), Duration::from_secs(2))
    }
}
