//! Where `SOFT_LMCCL_PYTHON` names a Python with torch: its launcher starts and restarts our ranks, and one of its ranks
//! is in a group with one of ours.

use std::{
    ffi::OsString,
    fs,
    ops::ControlFlow,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use soft_lmccl::{
    distributed::{Group, Reduce},
    tch::Tensor,
    train::FitConfig,
};
use tempfile::TempDir;

use super::{
    AS_RANK, DEADLINE, SCENARIO, finish, free_port, said, start,
    training::{self, DIRECTORY},
};

/// A Python with torch, or a line that says that the test was left out.
fn python(test: &str) -> Option<OsString> {
    let python = std::env::var_os("SOFT_LMCCL_PYTHON");
    if python.is_none() {
        println!("{test}: left out, since SOFT_LMCCL_PYTHON names no Python with torch");
    }
    python
}

/// Two ranks by torchrun, whose agent holds the store.
fn torchrun(python: &OsString, scenario: &str, restarts: usize, directory: &Path) -> Child {
    Command::new(python)
        // Which may name our libtorch, where Python has its own.
        .env_remove("LD_LIBRARY_PATH")
        .args(["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"])
        .args(["--max-restarts", &restarts.to_string()])
        .arg(std::env::current_exe().unwrap())
        .args(AS_RANK)
        .env(SCENARIO, scenario)
        .env(DIRECTORY, directory)
        .env("OMP_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[track_caller]
fn assert_success(children: Vec<Child>) {
    let outputs = finish(children);
    let all: String = outputs.iter().map(said).collect();
    assert!(outputs.iter().all(|output| output.status.success()), "{all}");
}

#[test]
fn ranks_of_torchrun_are_a_group() {
    let Some(python) = python("ranks_of_torchrun_are_a_group") else { return };
    let directory = TempDir::new().unwrap();
    assert_success(vec![torchrun(&python, "operations", 0, directory.path())]);
}

/// What a Python rank does that meets one of ours.
const MIXED: &str = "
import torch, torch.distributed as dist
dist.init_process_group('gloo')
numbers = torch.tensor([dist.get_rank() + 1.0, 10.0])
dist.all_reduce(numbers)
assert numbers.tolist() == [3.0, 110.0], numbers
dist.destroy_process_group()
";

/// The same of ours.
pub(super) fn mixed(group: &Group) {
    let numbers = Tensor::from_slice(&[group.rank() as f32 + 1.0, 100.0]);
    let sum = Vec::<f32>::try_from(group.all_reduce(&numbers, Reduce::Sum).unwrap()).unwrap();
    assert_eq!(sum, [3.0, 110.0]);
}

#[test]
fn a_rank_of_python_and_one_of_ours_sum_one_tensor() {
    let Some(python) = python("a_rank_of_python_and_one_of_ours_sum_one_tensor") else { return };
    for ours in [0, 1] {
        let port = free_port().to_string();
        let start = |command: &mut Command, rank: usize| {
            command
                .env(SCENARIO, "mixed")
                .env("RANK", rank.to_string())
                .env("WORLD_SIZE", "2")
                .env("MASTER_ADDR", "127.0.0.1")
                .env("MASTER_PORT", &port)
                .env("GLOO_SOCKET_IFNAME", "lo")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let rust = start(Command::new(std::env::current_exe().unwrap()).args(AS_RANK), ours);
        let theirs = start(Command::new(&python).args(["-c", MIXED]).env_remove("LD_LIBRARY_PATH"), 1 - ours);
        assert_success(vec![rust, theirs]);
    }
}

const KILLS: usize = 5;

/// Between two steps, so that ranks are killed in the midst of a run.
const PAUSE: Duration = Duration::from_millis(60);

/// So that the test finds this process before it has joined a group.
pub(super) fn note_process() {
    let attempt = std::env::var("TORCHELASTIC_RESTART_COUNT").unwrap_or_default();
    let rank = std::env::var("RANK").unwrap();
    let path = training::directory().join(format!("process-{attempt}-{rank}"));
    let partial = path.with_extension("partial");
    fs::write(&partial, std::process::id().to_string()).unwrap();
    fs::rename(partial, path).unwrap();
}

/// A run with a checkpoint after each step, from the last one on.
pub(super) fn restarts(group: &Group) {
    let config = FitConfig { epochs: 80, ..training::config() };
    training::train_on(group, &training::directory(), false, config, |_| {
        sleep(PAUSE);
        ControlFlow::Continue(())
    })
    .unwrap();
}

#[test]
fn a_run_whose_ranks_are_killed_ends_with_the_same_bits() {
    let Some(python) = python("a_run_whose_ranks_are_killed_ends_with_the_same_bits") else { return };
    let (whole, killed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    assert_success(start(2, "restarts", &[(DIRECTORY, whole.path().to_str().unwrap())]));
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    println!("moments of seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut run = torchrun(&python, "restarts", KILLS, killed.path());
    let started = Instant::now();
    for attempt in 0..KILLS {
        let process = killed.path().join(format!("process-{attempt}-{}", rng.random_range(0..2)));
        let id = loop {
            if let Ok(id) = fs::read_to_string(&process) {
                break id;
            }
            let early = run.try_wait().unwrap().is_some() || started.elapsed() > DEADLINE;
            if early {
                let _ = run.kill();
                panic!("attempt {attempt} of seed {seed} was not begun: {}", said(&run.wait_with_output().unwrap()));
            }
            sleep(Duration::from_millis(5));
        };
        sleep(Duration::from_millis(rng.random_range(0..800)));
        assert!(Command::new("kill").args(["-KILL", &id]).status().unwrap().success(), "it was done before");
    }
    let output = finish(vec![run]).remove(0);
    assert!(output.status.success(), "seed {seed}: {}", said(&output));
    assert!(killed.path().join(format!("process-{KILLS}-0")).exists(), "seed {seed}");
    let of = |directory: &TempDir| {
        let log = fs::read_to_string(directory.path().join("run.csv")).unwrap();
        (training::without_seconds(&directory.path().join("run.safetensors")), log)
    };
    assert!(of(&killed) == of(&whole), "seed {seed}: another checkpoint, or another log");
}
