//! Makes the runs that are left, some at a time, until all are made or time is up.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use soft_lmccl::train::Step;

use super::{
    args::Args,
    data::Domains,
    plan::{Domain, Roles, Run},
    recipe::Supply,
    settings::Settings,
    store::Store,
    train::{self, Observer, Record, Shared},
    worker::{RemoteObserver, Worker},
};
use crate::program::{interrupted, say};

/// How a run that was begun ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    Made,
    Stopped,
}

/// What training on so many volumes costs, learned from the runs that are finished.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    volumes: f64,
    seconds: f64,
}

impl Pace {
    fn learn(&mut self, volumes: usize, seconds: f64) {
        self.volumes += volumes as f64;
        self.seconds += seconds;
    }

    /// `None` before anything was learned.
    fn seconds(&self, volumes: usize) -> Option<f64> {
        (self.volumes > 0.0).then(|| volumes as f64 * self.seconds / self.volumes)
    }
}

/// How many volumes runs train on; looked up once for each set.
struct Volumes<'a> {
    domains: &'a Domains,
    /// Volumes and known classes.
    sets: HashMap<(Domain, Roles, Supply), (usize, usize)>,
}

impl Volumes<'_> {
    fn of(&mut self, run: &Run) -> Result<usize> {
        let key = (run.train, run.roles, run.recipe.supply);
        if !self.sets.contains_key(&key) {
            let source = self.domains.source(run.train, run.roles, run.seed, run.recipe.supply)?;
            self.sets.insert(key, (source.sizes().0, source.known().len()));
        }
        let (volumes, classes) = self.sets[&key];
        Ok(volumes * run.recipe.known.unwrap_or(classes) / classes)
    }
}

/// The runs that are left.
struct Queue {
    left: Vec<(Run, usize)>,
    pace: Pace,
    /// Groups that workers have rendered the data of.
    groups: Vec<Option<(Roles, u64, Domain)>>,
    deadline: Option<Instant>,
    out_of_time: bool,
}

impl Queue {
    /// The next run for a worker: of its own group if there is one, else of a group that nobody is on.
    fn next(&mut self, worker: usize) -> Option<(Run, usize)> {
        let group = |run: &Run| (run.roles, run.seed, run.train);
        let own = self.groups[worker];
        let position = self
            .left
            .iter()
            .position(|(run, _)| Some(group(run)) == own)
            .or_else(|| self.left.iter().position(|(run, _)| !self.groups.contains(&Some(group(run)))))
            .or(if self.left.is_empty() { None } else { Some(0) })?;
        let expected = Duration::from_secs_f64(self.pace.seconds(self.left[position].1).unwrap_or(0.0));
        if self.deadline.is_some_and(|deadline| Instant::now() + expected > deadline) {
            self.out_of_time = true;
            return None;
        }
        let next = self.left.remove(position);
        self.groups[worker] = Some(group(&next.0));
        Some(next)
    }
}

/// The runs of `runs` that have no record yet.
///
/// # Errors
/// As [`Store::load`].
pub fn left(runs: &[Run], store: &Store) -> Result<Vec<Run>> {
    let mut left = Vec::new();
    for run in runs {
        if store.load(run)?.is_none() {
            left.push(run.clone());
        }
    }
    Ok(left)
}

/// Makes all runs of `runs` that have no record; says whether all have one now.
///
/// # Errors
/// What a run lacks; the first error of a run, where those finished before it are kept.
pub fn execute(args: &Args, domains: &Domains, runs: &[Run], store: &Store) -> Result<bool> {
    let left = left(runs, store)?;
    let (made, total) = (runs.len() - left.len(), runs.len());
    if made > 0 {
        say(format_args!("{made} of {total} runs are there already"));
        let unkept = runs.iter().filter(|run| !left.contains(run) && store.lacks_network(run)).count();
        if unkept > 0 {
            say(format_args!(
                "the networks of {unkept} of them were not kept; remove their records in {} to have them trained again",
                args.out.join("runs").display()
            ));
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    domains.require_subtomograms(&left)?;
    let mut volumes = Volumes { domains, sets: HashMap::new() };
    let left = left
        .into_iter()
        .map(|run| Ok((volumes.of(&run)?, run)))
        .map(|sized: Result<_>| sized.map(|(volumes, run)| (run, volumes)))
        .collect::<Result<Vec<_>>>()?;
    let jobs = affordable_jobs(args.jobs, &left, domains.settings()).clamp(1, left.len().max(1));
    let threads = args.threads.unwrap_or(cores / jobs).max(1);
    let mut pace = Pace::default();
    for record in store.all()? {
        pace.learn(volumes.of(&record.run)?, record.seconds);
    }
    let queue = Mutex::new(Queue {
        left,
        pace,
        groups: vec![None; jobs],
        deadline: args.time_limit.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes.max(0.0) * 60.0)),
        out_of_time: false,
    });
    let bars = Bars::new(made, total);
    let results: Vec<Result<()>> = if jobs == 1 {
        let mut shared = Shared::default();
        let make = |run: &Run, bar: &RunBar| {
            let sitting = store.sitting(run);
            let record = train::run(run, domains, args.device.device, (&sitting, args.resume), &mut shared, bar)?;
            let Some(record) = record else { return Ok(Finished::Stopped) };
            store.save(&record)?;
            Ok(Finished::Made)
        };
        limit_threads(threads);
        vec![drive(0, &queue, &bars, store, make)]
    } else {
        std::thread::scope(|scope| {
            let start = |worker| {
                let (queue, bars) = (&queue, &bars);
                scope.spawn(move || {
                    let mut process = Worker::start(args, threads)?;
                    drive(worker, queue, bars, store, |run, bar| process.make(run, bar))
                })
            };
            let handles: Vec<_> = (0..jobs).map(start).collect();
            handles.into_iter().map(|handle| handle.join().expect("a thread that drives a worker has a bug")).collect()
        })
    };
    bars.finish();
    results.into_iter().collect::<Result<()>>()?;
    let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if queue.out_of_time {
        say(format_args!("{} runs are left for want of time; the same command goes on", queue.left.len()));
    }
    Ok(queue.left.is_empty() && !interrupted())
}

/// Threads of libtorch and of our own work in this process.
pub fn limit_threads(threads: usize) {
    soft_lmccl::tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
    // Fails if something has used the pool before, which then is as large as the machine.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
}

fn drive(
    worker: usize,
    queue: &Mutex<Queue>,
    bars: &Bars,
    store: &Store,
    mut make: impl FnMut(&Run, &RunBar) -> Result<Finished>,
) -> Result<()> {
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if interrupted() {
            return Ok(());
        }
        let Some((run, volumes)) = lock().next(worker) else { return Ok(()) };
        let bar = bars.run(&run);
        let made = make(&run, &bar);
        bar.bar.finish_and_clear();
        match made {
            Ok(Finished::Stopped) => return Ok(()),
            Ok(Finished::Made) => {}
            Err(error) => {
                // The other workers need not go on with a study that is broken.
                lock().left.clear();
                return Err(error);
            }
        }
        if let Some(record) = store.load(&run)? {
            lock().pace.learn(volumes, record.seconds);
            bars.made(&record);
        }
    }
}

/// Bars of the study and of the runs in progress, and a line for each that is made.
struct Bars {
    bars: MultiProgress,
    study: ProgressBar,
}

impl Bars {
    fn new(made: usize, total: usize) -> Self {
        let bars = MultiProgress::new();
        let study = bars.add(ProgressBar::new(total as u64).with_prefix("study"));
        study.set_style(style("{prefix:>12} [{bar:32}] {pos}/{len} runs, {eta} left"));
        study.set_position(made as u64);
        // The time left is that of the runs made now.
        study.reset_eta();
        Self { bars, study }
    }

    fn run(&self, run: &Run) -> RunBar {
        let bar = self.bars.insert_before(&self.study, ProgressBar::new(0).with_prefix(run.id()));
        bar.set_style(style("{prefix} [{bar:32}] {pos}/{len} {eta:>4} {wide_msg}"));
        bar.enable_steady_tick(Duration::from_millis(500));
        RunBar { bar }
    }

    fn made(&self, record: &Record) {
        self.study.inc(1);
        let what = match &record.outcome {
            train::Outcome::Failed(problem) => format!("failed: {problem}"),
            train::Outcome::Tested(evaluations) => {
                let auc = |e: &super::evaluate::Evaluation| format!("{} AUC {:.3}", e.test, e.report.auc);
                evaluations.iter().map(auc).collect::<Vec<_>>().join(", ")
            }
        };
        let (done, total) = (self.study.position(), self.study.length().unwrap_or(0));
        let line = format!("{done:>4}/{total} {:<44} {what} ({:.0} s)", record.run.id(), record.seconds);
        self.bars.suspend(|| say(format_args!("{line}")));
    }

    fn finish(&self) {
        self.study.finish_and_clear();
    }
}

/// The bar of one run.
struct RunBar {
    bar: ProgressBar,
}

impl Observer for RunBar {
    fn simulating(&self, domain: Domain, samples: usize) {
        self.bar.reset();
        self.bar.set_length(samples as u64);
        self.bar.set_message(format!("simulating {domain}"));
    }

    fn simulated(&self, done: usize) {
        self.bar.set_position(done as u64);
    }

    fn step(&self, step: &Step) -> ControlFlow<()> {
        self.stepped(step.step, step.steps, step.loss.to_string());
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn testing(&self, domain: Domain) {
        self.bar.set_message(format!("testing on {domain}"));
    }
}

impl RemoteObserver for RunBar {
    fn stepped(&self, step: usize, steps: usize, loss: String) {
        if step == 1 {
            self.bar.reset();
            self.bar.set_length(steps as u64);
        }
        self.bar.set_position(step as u64);
        self.bar.set_message(loss);
    }
}

fn style(template: &str) -> ProgressStyle {
    // A template that indicatif cannot read leaves its own, which is a progress bar too.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// As many jobs as fit into memory, at least one.
fn affordable_jobs(asked: usize, left: &[(Run, usize)], settings: &Settings) -> usize {
    /// libtorch, the code, what training needs beside its data.
    const PROCESS: u64 = 700 << 20;
    let volume = 4 * (settings.side as u64).pow(3);
    let mut largest = 0;
    for (run, volumes) in left {
        let tests = run.tests.len() as u64 * 6 * settings.per_class as u64;
        let kept = if run.recipe.supply.streamed { 0 } else { *volumes as u64 };
        largest = largest.max(kept + tests);
    }
    // While a batch is made, its samples are held thrice.
    let each = PROCESS + 3 * volume * largest;
    let Some(free) = available_memory() else { return asked };
    let jobs = asked.min(usize::try_from(free / each).unwrap_or(asked)).max(1);
    if jobs < asked {
        say(format_args!(
            "{jobs} of {asked} jobs: each takes up to {:.1} GiB, and {:.1} GiB are free",
            each as f64 / f64::from(1 << 30),
            free as f64 / f64::from(1 << 30)
        ));
    }
    jobs
}

/// Bytes that can be had without swapping, where the system tells (Linux).
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes << 10)
}
