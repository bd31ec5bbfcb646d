//! PyTorch as a peer, in a process of its own that takes turns with this one.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use super::loss::Size;

/// Names a Python that can import torch, and pytorch_metric_learning for that peer.
const PYTHON: &str = "SOFT_LMCCL_PYTHON";

/// How often the two sides take turns.
const TURNS: usize = 5;

/// The process, asked for one arm at a time.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    requests: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

/// Times of the two sides, in seconds.
#[derive(Debug, Clone)]
pub struct Times {
    pub ours: f64,
    pub peer: f64,
    /// Of PyTorch.
    pub version: String,
}

impl Peer {
    /// Starts the Python that `SOFT_LMCCL_PYTHON` names; `Err` says why not.
    pub fn start() -> Result<Self, String> {
        let python = env::var_os(PYTHON).ok_or_else(|| format!("{PYTHON} names no Python with torch"))?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/ratios/pytorch.py");
        let failed = |error: std::io::Error| format!("{}: {error}", python.to_string_lossy());
        let mut child =
            Command::new(&python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let answers = child.stdout.take().ok_or("the process has no output")?;
        Ok(Self { requests: child.stdin.take(), child, answers: BufReader::new(answers).lines() })
    }

    /// The best times of `ours` and of an arm of the peer's over [`TURNS`] turns of so many rounds each.
    pub fn compare(
        &mut self,
        arm: &str,
        Size { n, d, c }: Size,
        rounds: usize,
        ours: &mut dyn FnMut(),
    ) -> Result<Times, String> {
        let mut times = Times { ours: f64::INFINITY, peer: f64::INFINITY, version: String::new() };
        ours();
        for _ in 0..TURNS {
            for _ in 0..rounds {
                let start = Instant::now();
                ours();
                times.ours = times.ours.min(start.elapsed().as_secs_f64());
            }
            let answer = self.ask(&json!({ "arm": arm, "n": n, "d": d, "c": c, "rounds": rounds }))?;
            if let Some(error) = answer["error"].as_str() {
                return Err(error.to_owned());
            }
            times.peer = times.peer.min(answer["seconds"].as_f64().ok_or("an answer without seconds")?);
            times.version = answer["version"].as_str().unwrap_or_default().to_owned();
        }
        Ok(times)
    }

    fn ask(&mut self, request: &Value) -> Result<Value, String> {
        let requests = self.requests.as_mut().ok_or("the process takes no requests")?;
        writeln!(requests, "{request}").map_err(|error| error.to_string())?;
        let line = self.answers.next().ok_or("the process has ended; does its Python import torch?")?;
        serde_json::from_str(&line.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // At the end of its input the process ends.
        self.requests = None;
        let _ = self.child.wait();
    }
}
