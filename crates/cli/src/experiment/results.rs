//! What is written: records for scripts, tables for people.

use std::{fmt::Write as _, fs, path::Path, time::Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use soft_lmccl::{cect::SimulationConfig, metrics::VerificationReport};

use super::args::LossName;
use crate::{carryover::PROFILE, program};

/// One loss trained with one seed, or what needs no training.
#[derive(Debug, Serialize)]
pub struct Run {
    pub loss: String,
    pub seed: u64,
    pub train: String,
    pub test: String,
    pub unknown_classes: Vec<String>,
    #[serde(flatten)]
    pub report: VerificationReport,
    pub train_seconds: f64,
}

/// `results.json`.
#[derive(Debug, Serialize)]
pub struct Results {
    pub wall_seconds: f64,
    pub runs: Vec<Run>,
    #[serde(skip)]
    started: Instant,
    /// Lines of `results.md` that say how the runs were made.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// What there is to know of earlier results.
#[derive(Deserialize)]
struct Earlier {
    runs: Vec<EarlierRun>,
}

#[derive(Deserialize)]
struct EarlierRun {
    loss: String,
    seed: u64,
}

impl Results {
    pub fn new() -> Self {
        Self { wall_seconds: 0.0, runs: Vec::new(), started: Instant::now(), notes: Vec::new() }
    }

    /// The runs in the `results.json` of an earlier command that this one does not make, `loss, seed N`: they are not
    /// in the file that it writes.
    pub fn left_out(out: &Path, losses: &[LossName], seeds: &[u64]) -> Vec<String> {
        let Ok(json) = fs::read(out.join("results.json")) else { return Vec::new() };
        let Ok(Earlier { runs }) = serde_json::from_slice(&json) else { return Vec::new() };
        let made =
            |run: &EarlierRun| seeds.contains(&run.seed) && losses.iter().any(|loss| loss.to_string() == run.loss);
        let is_trained = |run: &&EarlierRun| run.loss != PROFILE;
        let left_out = runs.iter().filter(is_trained).filter(|run| !made(run));
        left_out.map(|EarlierRun { loss, seed }| format!("{loss}, seed {seed}")).collect()
    }

    /// Writes `results.json` and `results.md`, so that what is finished is never lost: neither what is new nor, where
    /// nothing is, what an earlier command left.
    ///
    /// # Errors
    /// As writing.
    pub fn save(&mut self, out: &Path) -> Result<()> {
        if self.runs.iter().all(|run| run.loss == PROFILE) {
            return Ok(());
        }
        self.wall_seconds = self.started.elapsed().as_secs_f64();
        let json = serde_json::to_string_pretty(self).expect("records are plain data with string keys") + "\n";
        program::write(&out.join("results.json"), json.as_bytes())?;
        program::write(&out.join("results.md"), self.markdown().as_bytes())
    }

    /// The paper's table, a row for each run.
    pub fn table(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for run in &self.runs {
            let cells = run.report.cells();
            if rows.is_empty() {
                let mut heading = vec!["Loss".to_owned(), "Seed".to_owned()];
                heading.extend(cells.iter().map(|(name, _)| name.clone()));
                rows.push(heading);
            }
            let mut row = vec![run.loss.clone(), run.seed.to_string()];
            row.extend(cells.into_iter().map(|(_, value)| value));
            rows.push(row);
        }
        rows
    }

    fn markdown(&self) -> String {
        let mut text = String::from("# Open-set verification of unseen macromolecules\n\n");
        for note in &self.notes {
            let _ = writeln!(text, "* {note}");
        }
        let _ = writeln!(text, "* {:.0} s in all\n", self.wall_seconds);
        for (index, row) in self.table().iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if index == 0 {
                let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
            }
        }
        text
    }
}

/// The paper's name of a set, where it has one.
pub fn set_name(config: &SimulationConfig) -> String {
    let is = |named: SimulationConfig| *config == SimulationConfig { side: config.side, ..named };
    match config.snr {
        _ if is(SimulationConfig::s1()) => "S1".into(),
        _ if is(SimulationConfig::s2()) => "S2".into(),
        snr => format!("SNR {snr}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Results;
    use crate::experiment::args::Args;

    #[test]
    fn earlier_runs_that_are_not_asked_for_are_told() {
        let out = tempfile::tempdir().expect("a directory");
        let losses = Args::parse_from(["experiment", "--losses", "softmax,soft-lmccl"]).losses;
        let left_out = || Results::left_out(out.path(), &losses, &[2]);
        assert!(left_out().is_empty());
        let json = r#"{"wall_seconds":1.5,"runs":[{"loss":"softmax","seed":1,"auc":0.7},{"loss":"softmax","seed":2},
                       {"loss":"center","seed":2}]}"#;
        std::fs::write(out.path().join("results.json"), json).expect("a file");
        assert_eq!(left_out(), ["softmax, seed 1", "center, seed 2"]);
    }

    #[test]
    fn no_run_replaces_no_results() {
        let out = tempfile::tempdir().expect("a directory");
        let path = out.path().join("results.json");
        std::fs::write(&path, "of an earlier command").expect("a file");
        Results::new().save(out.path()).expect("nothing to write");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "of an earlier command");
        assert!(!out.path().join("results.md").exists());
    }
}
