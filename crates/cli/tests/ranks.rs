//! The program on several ranks, without another flag: processes of it over 127.0.0.1.
#![cfg(all(feature = "distributed", unix))]
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::{
    fmt::Write as _,
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The program on so many ranks, in `folder`, with one thread each.
fn run(folder: &Path, ranks: usize, line: impl Fn(usize) -> String) -> Vec<Output> {
    // Free a moment ago; nothing else here asks for it by number.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = |rank: usize| {
        Command::new(env!("CARGO_BIN_EXE_soft-lmccl"))
            .args(line(rank).split_whitespace())
            .current_dir(folder)
            .env("RANK", rank.to_string())
            .env("WORLD_SIZE", ranks.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", port.to_string())
            .env("OMP_NUM_THREADS", "1")
            .env("RAYON_NUM_THREADS", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..ranks).map(start).collect();
    children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What rank 0 prints where all succeed and the others print nothing.
#[track_caller]
fn printed(folder: &Path, ranks: usize, line: &str) -> String {
    let outputs = run(folder, ranks, |_| line.to_owned());
    for (rank, output) in outputs.iter().enumerate() {
        assert!(output.status.success(), "rank {rank} of {ranks}, `{line}`: {}", text(&output.stderr));
        assert!(rank == 0 || output.stdout.is_empty(), "rank {rank} of {ranks}: {}", text(&output.stdout));
    }
    text(&outputs[0].stdout)
}

/// Every figure but the time, which is none of the pairs'.
#[track_caller]
fn figures(folder: &Path, ranks: usize, line: &str) -> Value {
    let mut figures: Value = serde_json::from_str(&printed(folder, ranks, line)).unwrap();
    assert!(figures.as_object_mut().unwrap().remove("seconds").is_some());
    figures
}

/// Embeddings of so many rows, 9 classes of unequal size, no two alike.
fn table(rows: usize, salt: usize) -> String {
    let mut table = "label,a,b,c,d\n".to_owned();
    for row in 0..rows {
        let label = row * row % 17 % 9;
        let value = |column: usize| {
            let noise = (row * 37 + column * 101 + row * column * 13 + salt) % 89;
            noise as f64 / 89.0 - 0.5 + if label % 4 == column { 0.7 } else { 0.0 }
        };
        let [a, b, c, d] = [0, 1, 2, 3].map(value);
        writeln!(table, "{label},{a},{b},{c},{d}").unwrap();
    }
    table
}

#[test]
fn verification_over_ranks_is_that_of_one_to_the_last_count() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.csv"), table(300, 1)).unwrap();
    fs::write(folder.path().join("b.csv"), table(120, 2)).unwrap();
    let scores: String = (0..50).map(|pair| format!("{}.5,{}\n", pair * 7 % 50, pair % 2)).collect();
    fs::write(folder.path().join("s.csv"), format!("score,same\n{scores}")).unwrap();
    for (line, most) in [
        ("verify a.csv --label label --report page.html", 3),
        ("verify a.csv --label label --gallery b.csv", 2),
        ("verify --scores s.csv", 2),
    ] {
        let line = format!("{line} --json --threshold-out threshold.json");
        let threshold = || {
            let read = fs::read_to_string(folder.path().join("threshold.json")).unwrap();
            serde_json::from_str::<Value>(&read).unwrap()
        };
        let one = figures(folder.path(), 1, &line);
        let of_one = threshold();
        assert!(one["positives"].as_u64().unwrap() > 0, "{one}");
        for ranks in 2..=most {
            assert_eq!(figures(folder.path(), ranks, &line), one, "{ranks} ranks, {line}");
            assert_eq!(threshold(), of_one);
        }
    }
}

#[test]
fn ranks_that_read_other_files_end_with_one_sentence_that_says_so() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("0.csv"), table(100, 1)).unwrap();
    fs::write(folder.path().join("1.csv"), table(101, 1)).unwrap();
    for (files, expected) in
        [(["0.csv", "1.csv"], "rank 1 has pairs: "), (["0.csv", "2.csv"], "2.csv"), (["2.csv", "0.csv"], "2.csv")]
    {
        for (rank, output) in
            run(folder.path(), 2, |rank| format!("verify {} --label label", files[rank])).iter().enumerate()
        {
            let said = text(&output.stderr);
            assert!(!output.status.success() && said.contains(expected), "rank {rank}: {said}");
            assert!(output.stdout.is_empty());
        }
    }
}

/// Each run is made once, by one rank, and the tables are those of one process.
#[test]
fn a_study_over_ranks_is_that_of_one() {
    let folder = TempDir::new().unwrap();
    let study =
        |out: &str| format!("study --size smoke --stage tables --only S2-split0-seed1-lmcl-0 --threads 1 --out {out}");
    let left = printed(folder.path(), 1, &format!("{} --list", study("one")));
    let runs = left.lines().count() - 1;
    assert!(runs > 2, "{left}");
    printed_of_study(folder.path(), 1, &study("one"));
    printed_of_study(folder.path(), 2, &study("two"));
    let results = |out: &str| {
        let read = fs::read_to_string(folder.path().join(out).join("results.json")).unwrap();
        let mut results: Value = serde_json::from_str(&read).unwrap();
        results.as_object_mut().unwrap().retain(|name, _| !["command", "date"].contains(&name.as_str()));
        without_times(&mut results);
        results
    };
    let files = |out: &str| fs::read_dir(folder.path().join(out).join("runs")).unwrap().count();
    assert_eq!((files("one"), files("two")), (runs, runs));
    assert_eq!(results("two"), results("one"));
}

#[track_caller]
fn printed_of_study(folder: &Path, ranks: usize, line: &str) {
    for (rank, output) in run(folder, ranks, |_| line.to_owned()).iter().enumerate() {
        assert!(output.status.success(), "rank {rank} of {ranks}: {}", text(&output.stderr));
    }
}

fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.contains("seconds"));
            fields.values_mut().for_each(without_times);
        }
        Value::Array(values) => values.iter_mut().for_each(without_times),
        _ => {}
    }
}
