//! What is written: records for scripts, tables for people.

use std::{fmt::Write as _, fs, path::Path, time::Instant};

use serde::Serialize;
use soft_lmccl::{Error, Result, cect::SimulationConfig, metrics::VerificationReport};

/// One loss trained with one seed.
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

impl Results {
    pub fn new() -> Self {
        Self { wall_seconds: 0.0, runs: Vec::new(), started: Instant::now(), notes: Vec::new() }
    }

    /// Writes `results.json` and `results.md`, so that what is finished is never lost.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&mut self, out: &Path) -> Result<()> {
        self.wall_seconds = self.started.elapsed().as_secs_f64();
        let json = serde_json::to_string_pretty(self).map_err(std::io::Error::from);
        replace(&out.join("results.json"), json.map(|json| json + "\n"))?;
        replace(&out.join("results.md"), Ok(self.markdown()))
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

/// Puts a file in the place of another, never half of one.
fn replace(path: &Path, text: std::io::Result<String>) -> Result<()> {
    let partial = path.with_extension("partial");
    text.and_then(|text| fs::write(&partial, text))
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })
}

/// Columns of equal width, for a terminal.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
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
