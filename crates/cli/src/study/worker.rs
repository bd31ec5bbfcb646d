//! A process that makes runs for another: runs come as lines of JSON, so does what happens.
//!
//! Processes, not threads: libtorch draws the first weights from one generator a process, and two
//! trainings that share it would not be repeatable.

use std::{
    io::{self, BufRead, BufReader, Write},
    ops::ControlFlow,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use soft_lmccl::train::Step;

use super::{
    args::Args,
    data::Domains,
    execute::Finished,
    plan::{Domain, Run},
    store::{Store, to_json},
    train::{self, Observer, Shared},
};
use crate::program::interrupted;

/// What a worker tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Simulating(Domain, usize),
    Simulated(usize),
    Step(usize, usize, String),
    Testing(Domain),
    /// The record is written.
    Done,
    /// By Ctrl-C.
    Stopped,
    Failed(String),
}

/// Writes events; asks to stop when nobody reads them any more.
struct Teller {
    out: Mutex<io::Stdout>,
}

impl Teller {
    fn tell(&self, event: &Event) -> ControlFlow<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        match out.write_all(&to_json(event)).and_then(|()| out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

impl Observer for Teller {
    fn simulating(&self, domain: Domain, samples: usize) {
        let _ = self.tell(&Event::Simulating(domain, samples));
    }

    fn simulated(&self, done: usize) {
        // A line for each sample would be more work than the sample.
        if done.is_multiple_of(50) {
            let _ = self.tell(&Event::Simulated(done));
        }
    }

    fn step(&self, step: &Step) -> ControlFlow<()> {
        let told = self.tell(&Event::Step(step.step, step.steps, step.loss.to_string()));
        if interrupted() { ControlFlow::Break(()) } else { told }
    }

    fn testing(&self, domain: Domain) {
        let _ = self.tell(&Event::Testing(domain));
    }
}

/// The worker's side: runs until there are no more lines.
///
/// # Errors
/// Reading from the other process; what a run fails with is told to it.
pub fn serve(args: &Args, domains: &Domains) -> Result<()> {
    let store = Store::open(&args.out, domains.settings(), args.keep_networks)?;
    let teller = Teller { out: Mutex::new(io::stdout()) };
    let mut shared = Shared::default();
    for line in io::stdin().lines() {
        let read = |problem: String| anyhow!("standard input: {problem}");
        let line = line.map_err(|error| read(error.to_string()))?;
        let run: Run = serde_json::from_str(&line).map_err(|error| read(error.to_string()))?;
        let keeping = (&store.sitting(&run), args.resume);
        let made = train::run(&run, domains, args.device.device, keeping, &mut shared, &teller).and_then(|record| {
            let Some(record) = record else { return Ok(Event::Stopped) };
            store.save(&record)?;
            Ok(Event::Done)
        });
        let event = made.unwrap_or_else(|error| Event::Failed(format!("{error:#}")));
        if teller.tell(&event).is_break() || interrupted() {
            break;
        }
    }
    Ok(())
}

/// The other side: a process that makes runs.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    lines: io::Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts one more of this program.
    ///
    /// # Errors
    /// As the system says.
    pub fn start(args: &Args, threads: usize) -> Result<Self> {
        let failed = "cannot start a worker process";
        let program = std::env::current_exe().context(failed)?;
        let mut child = Command::new(program)
            .args(["study", "--worker", "--threads", &threads.to_string()])
            .args(args.for_worker())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context(failed)?;
        let out = child.stdout.take().context(failed)?;
        Ok(Self { child, lines: BufReader::new(out).lines() })
    }

    /// Has a run made, telling `observer` what happens.
    ///
    /// # Errors
    /// What the run fails with, in words; the process ends before it has told.
    pub fn make(&mut self, run: &Run, observer: &impl RemoteObserver) -> Result<Finished> {
        let lost = |problem: String| anyhow!("worker of {}: {problem}", run.id());
        let stdin = self.child.stdin.as_mut().ok_or_else(|| lost("takes no more runs".into()))?;
        stdin.write_all(&to_json(run)).and_then(|()| stdin.flush()).map_err(|error| lost(error.to_string()))?;
        loop {
            if interrupted() {
                return Ok(Finished::Stopped);
            }
            let line = match self.lines.next() {
                Some(line) => line.map_err(|error| lost(error.to_string()))?,
                // Ctrl-C reaches all processes of a terminal, this one perhaps last.
                None if interrupted() => return Ok(Finished::Stopped),
                None => return Err(lost("ended before the run was finished; out of memory? fewer --jobs help".into())),
            };
            match serde_json::from_str(&line).map_err(|error| lost(error.to_string()))? {
                Event::Simulating(domain, samples) => observer.simulating(domain, samples),
                Event::Simulated(done) => observer.simulated(done),
                Event::Step(step, steps, loss) => observer.stepped(step, steps, loss),
                Event::Testing(domain) => observer.testing(domain),
                Event::Done => return Ok(Finished::Made),
                Event::Stopped => return Ok(Finished::Stopped),
                Event::Failed(problem) => return Err(lost(problem)),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without its input it ends after its run; what is not finished then is not wanted any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An [`Observer`] that hears of steps from afar.
pub trait RemoteObserver: Observer {
    /// A training step was made elsewhere.
    fn stepped(&self, step: usize, steps: usize, loss: String);
}
