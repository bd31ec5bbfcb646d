//! What the other ranks say when one is no longer with them.

use std::{
    fs,
    io::{BufRead, BufReader},
    ops::ControlFlow,
    path::Path,
    process::{Child, Command},
    sync::Once,
    thread,
    time::{Duration, Instant},
};

use soft_lmccl::{
    Error,
    distributed::{Group, Reduce},
    metrics::EmbeddingSet,
    ndarray::Array2,
    tch::Tensor,
    train::FitConfig,
    verify::AllPairs,
};
use tempfile::TempDir;

use super::{
    DEADLINE, finish, said, start,
    training::{self, DIRECTORY},
};

const RANKS: usize = 3;
const READY: &str = "ready";

/// Works with the others until something goes wrong, which it says.
pub(super) fn rank(group: &Group, what: &str) {
    let rank = group.rank();
    let error = match what {
        "together" => {
            group.barrier().unwrap();
            println!("\n{READY}");
            loop {
                thread::sleep(Duration::from_millis(20));
                if let Err(error) = group.all_reduce(&Tensor::from(1.0), Reduce::Sum) {
                    break error;
                }
            }
        }
        "counting" | "counted" => count(group, what),
        "late" => {
            group.barrier().unwrap();
            if rank == 2 {
                thread::sleep(Duration::from_secs(14));
            }
            group.barrier().unwrap_err()
        }
        "config" => {
            let config = FitConfig { learning_rate: if rank == 2 { 0.5 } else { 0.1 }, ..training::config() };
            training::train(group, &training::directory(), false, 99, config).unwrap_err()
        }
        "classes" => group.require_same("classes:", if rank == 1 { "9" } else { "7" }).unwrap_err(),
        "nan" => training::train_on_nan(group, 1).unwrap_err(),
        "disk" => {
            training::train(group, &training::directory().join("missing"), false, 99, training::config()).unwrap_err()
        }
        "full" => training::train(group, &training::directory(), false, 99, training::config()).unwrap_err(),
        _ => panic!("no fault {what}"),
    };
    println!("\nended: {error}");
    std::process::exit(3);
}

/// Counts pairs until it is told of a fault: all ranks slowly, or rank 1 alone while the others wait for its counts.
fn count(group: &Group, what: &str) -> Error {
    let values = Array2::from_shape_fn((200, 3), |(row, column)| ((row * 37 + column * 101) % 89) as f32 - 44.3);
    let labels: Vec<i64> = (0..200).map(|row| row % 7).collect();
    let set = EmbeddingSet::new(values.view(), &labels).unwrap();
    let options = AllPairs { tile: Some(2), ..Default::default() };
    let slow = what == "counting" || group.rank() == 1;
    let began = Once::new();
    let counted = group.count_pairs(&options, &set, |_| {
        began.call_once(|| println!("\n{READY}"));
        if slow {
            thread::sleep(Duration::from_millis(20));
        }
        ControlFlow::Continue(())
    });
    counted.unwrap_err()
}

/// What each rank ended with, and how long after `do_it` that was; `None` for one that did not end by itself.
fn ends(what: &str, timeout: &str, do_it: impl FnOnce(&mut [Child])) -> (Vec<Option<String>>, Duration) {
    let directory = TempDir::new().unwrap();
    ends_in(directory.path(), what, timeout, do_it)
}

/// The same, with the files of a run in `directory`.
fn ends_in(
    directory: &Path,
    what: &str,
    timeout: &str,
    do_it: impl FnOnce(&mut [Child]),
) -> (Vec<Option<String>>, Duration) {
    let scenario = format!("fault {what}");
    let also = [(DIRECTORY, directory.to_str().unwrap()), ("SOFT_LMCCL_TIMEOUT", timeout)];
    let mut children = start(RANKS, &scenario, &also);
    let outputs: Vec<_> = children.iter_mut().map(|child| BufReader::new(child.stdout.take().unwrap())).collect();
    let mut outputs: Vec<_> = outputs.into_iter().map(|output| output.lines().map_while(Result::ok)).collect();
    if ["together", "counting", "counted"].contains(&what) {
        outputs.iter_mut().for_each(|lines| assert!(lines.any(|line| line == READY)));
    }
    do_it(&mut children);
    let started = Instant::now();
    let watched: Vec<_> = outputs
        .into_iter()
        .map(|mut lines| thread::spawn(move || lines.find_map(|line| line.strip_prefix("ended: ").map(str::to_owned))))
        .collect();
    while started.elapsed() < DEADLINE && !watched.iter().all(|watched| watched.is_finished()) {
        thread::sleep(Duration::from_millis(20));
        // One that was stopped is continued once the others have ended.
        if watched.iter().filter(|watched| watched.is_finished()).count() == RANKS - 1 {
            break;
        }
    }
    let took = started.elapsed();
    for child in &mut children {
        let _ = Command::new("kill").args(["-CONT", &child.id().to_string()]).status();
    }
    let said = watched.into_iter().map(|watched| watched.join().unwrap()).collect();
    children.iter_mut().for_each(|child| drop((child.kill(), child.wait())));
    (said, took)
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[track_caller]
fn assert_all(said: &[Option<String>], of: impl IntoIterator<Item = usize>, expected: &str) {
    for rank in of {
        let said = said[rank].as_deref();
        assert!(said.is_some_and(|said| said.contains(expected)), "rank {rank}: expected {expected:?}, got {said:?}");
    }
}

#[test]
fn a_rank_that_is_killed_is_named_by_all_others() {
    let (said, took) = ends("together", "20", |ranks| signal(&ranks[1], "-KILL"));
    assert_all(&said, [0, 2], "rank 1 has given no sign of life for 4 s: killed, stopped or cut off");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_rank_that_is_killed_while_ranks_count_pairs_is_named_by_all_others() {
    for what in ["counting", "counted"] {
        let (said, took) = ends(what, "20", |ranks| signal(&ranks[1], "-KILL"));
        assert_all(&said, [0, 2], "rank 1 has given no sign of life for 4 s: killed, stopped or cut off");
        assert!(took < Duration::from_secs(20), "{what}: {took:?}");
    }
    let (said, took) = ends("counting", "20", |ranks| signal(&ranks[0], "-KILL"));
    assert_all(&said, [1, 2], "rank 0, which holds the store, has ended");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn the_rank_that_holds_the_store_is_named_when_it_is_killed() {
    let (said, took) = ends("together", "20", |ranks| signal(&ranks[0], "-KILL"));
    assert_all(&said, [1, 2], "rank 0, which holds the store, has ended");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_rank_that_is_stopped_is_named_and_ends_once_it_goes_on() {
    let (said, took) = ends("together", "20", |ranks| signal(&ranks[2], "-STOP"));
    assert_all(&said, [0, 1], "rank 2 has given no sign of life for 4 s");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(said[2].is_some(), "ended once it was continued");
    let (said, _) = ends("together", "20", |ranks| signal(&ranks[0], "-STOP"));
    assert_all(&said, [1, 2], "rank 0, which holds the store, has not answered for 4 s");
    assert!(said[0].is_some());
}

#[test]
fn a_rank_that_is_alive_and_does_not_come_is_named() {
    let (said, _) = ends("late", "8", |_| {});
    assert_all(&said, [0, 1], "rank 2 has not come to all_reduce number 2 within 8 s");
}

#[test]
fn ranks_that_differ_are_refused_on_all() {
    let (said, _) = ends("config", "20", |_| {});
    assert_all(&said, 0..RANKS, "rank 2 has the configuration {");
    let (said, _) = ends("classes", "20", |_| {});
    assert_all(&said, 0..RANKS, "rank 1 has classes: 9, rank 0 has 7");
}

#[test]
fn what_goes_wrong_on_one_rank_is_said_by_all() {
    let (said, _) = ends("nan", "20", |_| {});
    assert_all(&said, [1], "inputs: expected finite numbers, got NaN in sample");
    assert_all(&said, [0, 2], "rank 1: inputs: expected finite numbers, got NaN in sample");
    let (said, _) = ends("disk", "20", |_| {});
    assert_all(&said, [0], "cannot write");
    assert_all(&said, [1, 2], "rank 0: cannot write");
}

#[test]
fn a_full_disk_is_named_by_all_and_leaves_the_last_checkpoint_whole() {
    let directory = TempDir::new().unwrap();
    let also = [(DIRECTORY, directory.path().to_str().unwrap())];
    for (rank, output) in finish(start(RANKS, "train a while", &also)).iter().enumerate() {
        assert!(output.status.success(), "rank {rank}: {}", said(output));
    }
    let content = || {
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        (names, fs::read(directory.path().join("run.safetensors")).unwrap())
    };
    let before = content();
    let (ended, took) = ends_in(directory.path(), "full", "20", |_| {});
    assert_all(&ended, [0], "cannot write");
    assert_all(&ended, [1, 2], "rank 0: cannot write");
    assert_all(&ended, [1, 2], "File too large");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(content() == before, "the checkpoint is another, or something lies beside it");
}
