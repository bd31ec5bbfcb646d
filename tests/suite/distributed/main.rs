//! Groups of ranks: each test starts processes of this very binary over 127.0.0.1, and none takes longer than a minute.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

#[cfg(unix)]
mod faults;
mod losses;
#[cfg(unix)]
mod python;
mod traffic;
mod training;

use std::{
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use soft_lmccl::{
    distributed::{Group, GroupConfig},
    tch::{Tensor, set_num_threads},
};

/// Of sums that ranks add in another order than one process.
const RANKS_REL: f64 = 1e-10;

/// No group lives longer.
const DEADLINE: Duration = Duration::from_secs(60);

const SCENARIO: &str = "SOFT_LMCCL_SCENARIO";

/// A rank of a group: it does nothing unless a test names what to do.
#[test]
#[ignore = "started by the tests of this folder"]
fn rank() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    #[cfg(unix)]
    if scenario == "restarts" {
        python::note_process();
    }
    set_num_threads(1);
    let timeout = std::env::var("SOFT_LMCCL_TIMEOUT").map_or(30, |timeout| timeout.parse().unwrap());
    let config = GroupConfig { timeout: Duration::from_secs(timeout), silence: Duration::from_secs(4) };
    let group = Group::from_env_with(config).unwrap();
    match scenario.as_str() {
        "losses" => losses::rank(&group),
        "operations" => operations(&group),
        "train" => training::rank(&group),
        "traffic" => traffic::rank(&group),
        "train a while" => training::train(&group, &training::directory(), false, 1, training::config()).unwrap(),
        "go on" => training::go_on(&group),
        "write" => training::files(&group, false),
        "write again" => training::files(&group, true),
        #[cfg(unix)]
        "mixed" => python::mixed(&group),
        #[cfg(unix)]
        "restarts" => python::restarts(&group),
        #[cfg(unix)]
        fault if fault.starts_with("fault ") => faults::rank(&group, &fault[6..]),
        _ => panic!("no scenario {scenario}"),
    }
}

/// Free a moment ago; nothing else here asks for it by number.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a process of this binary is told to be a rank.
const AS_RANK: [&str; 4] = ["rank", "--exact", "--ignored", "--nocapture"];

/// Of rank 0, which writes.
const FULL_DISK: &str = "fault full";

/// In a shell, this program on a disk that takes no file of more than some KiB.
const ON_FULL_DISK: &str = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";

/// The ranks of a group that do as `scenario` says.
fn start(ranks: usize, scenario: &str, also: &[(&str, &str)]) -> Vec<Child> {
    let port = free_port();
    let rank = |rank: usize| {
        let this = std::env::current_exe().unwrap();
        let mut command = Command::new(if scenario == FULL_DISK && rank == 0 { "sh".into() } else { this.clone() });
        if scenario == FULL_DISK && rank == 0 {
            command.args(["-c", ON_FULL_DISK]).arg(this);
        }
        command
            .args(AS_RANK)
            .env(SCENARIO, scenario)
            .env("RANK", rank.to_string())
            .env("WORLD_SIZE", ranks.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", port.to_string())
            .env("OMP_NUM_THREADS", "1")
            .envs(also.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    (0..ranks).map(rank).collect()
}

/// Waits for all, and ends those that do not.
fn finish(mut children: Vec<Child>) -> Vec<Output> {
    let started = Instant::now();
    while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) && started.elapsed() < DEADLINE {
        sleep(Duration::from_millis(10));
    }
    let end = |mut child: Child| {
        let _ = child.kill();
        child.wait_with_output().unwrap()
    };
    children.into_iter().map(end).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Each rank does as `scenario` says, and checks it.
fn all_succeed(ranks: usize, scenario: &str) {
    let outputs = finish(start(ranks, scenario, &[]));
    let failed = |(rank, output): (usize, &Output)| {
        (!output.status.success()).then(|| format!("rank {rank} of {ranks} in `{scenario}`: {}", said(output)))
    };
    let failed: Vec<_> = outputs.iter().enumerate().filter_map(failed).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Numbers in −1..1, the same on every rank.
fn drawn(seed: u64, rows: i64, columns: i64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let numbers: Vec<f64> = (0..rows * columns).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_slice(&numbers).view([rows, columns])
}

/// How many of so many rows each rank has: never alike, and none on some.
fn dealt(rows: i64, ranks: usize) -> Vec<i64> {
    match ranks {
        1 => vec![rows],
        2 => vec![rows, 0],
        3 => vec![rows - 7, 0, 7],
        4 => vec![rows - 6, 1, 0, 5],
        _ => panic!("up to four ranks"),
    }
}

#[test]
fn operations_over_ranks() {
    (1..=4).for_each(|ranks| all_succeed(ranks, "operations"));
}

fn operations(group: &Group) {
    use soft_lmccl::distributed::Reduce;

    let (rank, size) = (group.rank() as i64, group.size() as i64);
    let numbers = Tensor::from_slice(&[rank as f64 + 1.0, -(rank as f64)]);
    let sum = Vec::<f64>::try_from(group.all_reduce(&numbers, Reduce::Sum).unwrap()).unwrap();
    assert_eq!(sum, [(size * (size + 1) / 2) as f64, -(size * (size - 1) / 2) as f64]);
    let most = Vec::<f64>::try_from(group.all_reduce(&numbers, Reduce::Max).unwrap()).unwrap();
    assert_eq!(most, [size as f64, 0.0]);
    // Rank r has r rows.
    let rows = Tensor::from_slice(&vec![rank; rank as usize]).view([rank, 1]) * Tensor::from_slice(&[1i64, 10]);
    let (all, counts) = group.all_gather(&rows).unwrap();
    assert_eq!(counts, (0..size).collect::<Vec<_>>());
    let expected: Vec<i64> = (0..size).flat_map(|rank| (0..rank).flat_map(move |_| [rank, 10 * rank])).collect();
    assert_eq!(Vec::<i64>::try_from(all.view([-1])).unwrap(), expected);
    // Everyone adds its rank, and rank r takes r rows.
    let total: i64 = counts.iter().sum();
    let part = group.reduce_scatter(&(all + rank), &counts).unwrap();
    assert_eq!(part.size(), [rank, 2]);
    let added = size * (size - 1) / 2;
    assert!((0..rank).all(|row| part.int64_value(&[row, 1]) == 10 * rank * size + added), "{part} of {total}");
    let first = group.broadcast(&Tensor::from(7 * rank), group.size() - 1).unwrap();
    assert_eq!(first.int64_value(&[]), 7 * (size - 1));
    group.require_same("the weather", "fine").unwrap();
    pairs(group);
    group.barrier().unwrap();
    if size > 1 {
        let error = group.require_same("the weather", if rank == 1 { "foul" } else { "fine" }).unwrap_err().to_string();
        assert_eq!(error, "rank 1 has the weather foul, rank 0 has fine");
        let error = group.all_gather(&Tensor::from_slice(&[0i64; 2]).view([1 + rank.min(1), -1])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "rank 1 has Int64 rows of [1] without a gradient, rank 0 has Int64 rows of [2] without a gradient"
        );
    }
}

/// Parts of the pairs on each rank, and the same counts.
fn pairs(group: &Group) {
    use soft_lmccl::{metrics::EmbeddingSet, ndarray::Array2, verify::AllPairs};

    let numbers = Vec::<f64>::try_from(drawn(9, 60, 4).view([-1])).unwrap();
    let values = Array2::from_shape_vec((60, 4), numbers.iter().map(|&x| x as f32).collect()).unwrap();
    let labels: Vec<i64> = (0..60).map(|row| row * row % 7).collect();
    let set = EmbeddingSet::new(values.view(), &labels).unwrap();
    let counted = group.count_pairs(&AllPairs::default(), &set, |_| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!(counted.roc(), AllPairs::default().count(&set).unwrap().roc());
}
