//! A training step on as many rows of a million classes and of ten: with sampled negatives and row-sparse gradients, time and
//! memory go by the rows drawn.

use std::fs;

use serde_json::{Value, json};
use soft_lmccl::{
    loss::{LmclConfig, Negatives},
    tch::{Device, nn},
    train::{AdamWConfig, backward_step},
};

use super::{
    loss::Size,
    peak::{extra_bytes, height},
    timing::in_turns,
};

/// Its name in the object.
pub const NAME: &str = "sampled";

const N: i64 = 128;
const D: i64 = 128;

/// One object for each number of classes; `ratio` is to the first.
pub fn measure() -> Value {
    let mut rows: Vec<Value> = Vec::new();
    for (c, share) in [(1_000_000, 0.1), (10_000_000, 0.01)] {
        let mut row = measured(c, share);
        let first = rows.first().unwrap_or(&row)["seconds"].as_f64();
        row["ratio"] = row["seconds"].as_f64().zip(first).map(|(seconds, first)| seconds / first).into();
        rows.push(row);
    }
    rows.into()
}

fn measured(c: i64, share: f64) -> Value {
    const ROUNDS: usize = 7;
    let drawn = (share * c as f64) as i64;
    let mut row = json!({
        "name": "lmcl_sampled", "n": N, "d": D, "c": c, "share": share, "rows": drawn, "bytes_of_rows": drawn * D * 4,
    });
    // Prototypes and two moments, and room for the step.
    let needed = 3 * 4 * (c * D) as u64 + (2 << 30);
    if let Some(bytes) = available().filter(|&bytes| bytes < needed) {
        row["seconds"] = Value::Null;
        row["reason"] = format!("{needed} bytes needed, {bytes} available").into();
        return row;
    }
    let peak_extra_bytes = extra_bytes(NAME, &json!([c, share]));
    let mut step = made(c, share);
    // The first makes the moments.
    step();
    let [seconds] = in_turns(ROUNDS, [&mut step]);
    eprintln!("sampled: {c} classes, {drawn} rows: {seconds:.3} s, {} MiB", peak_extra_bytes.unwrap_or(0) >> 20);
    row["seconds"] = seconds.into();
    row["peak_extra_bytes"] = peak_extra_bytes.into();
    row
}

fn made(c: i64, share: f64) -> impl FnMut() {
    let vs = nn::VarStore::new(Device::Cpu);
    let negatives = Negatives { share, sparse: true, ..Default::default() };
    let mut loss = LmclConfig { negatives, ..Default::default() }.init(&vs.root(), c, D).expect("valid");
    let mut optimizer = AdamWConfig::default().build(&vs).expect("valid");
    let (embeddings, labels) = Size { n: N, d: D, c }.batch();
    move || {
        backward_step(&mut loss, &mut optimizer, &embeddings, &labels).expect("a valid batch");
    }
}

/// Bytes above what the run holds, prototypes and moments, in a step for `[c, share]`.
pub fn peak(case: &Value) -> Option<u64> {
    let (c, share) = serde_json::from_value(case.clone()).expect("this program wrote it");
    height(made(c, share))
}

/// Bytes of memory that the system could give, where it tells (Linux).
fn available() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.split_whitespace().next()?;
    Some(kibibytes.parse::<u64>().ok()? * 1024)
}
