//! The course of a run as CSV: a row for each step.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::Step;
use crate::{Error, Result};

/// Columns before the terms of the loss.
const COLUMNS: [&str; 5] = ["step", "epoch", "learning_rate", "validation", "total"];

/// A log with one row a step. Each row is handed to the system before the next step begins.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    writer: csv::Writer<File>,
    /// Whether the first row, which names the columns, is there.
    named: bool,
}

impl Log {
    /// The log up to `step`, empty at step 0. Rows after it are dropped: the run will write them again.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] if the file is not such a log.
    pub(super) fn resume(path: &Path, step: usize) -> Result<Self> {
        let bytes = match fs::read(path) {
            Err(source) if source.kind() == ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|source| Self::failed("read", path, source))?,
        };
        let refuse = |problem: String| Err(Error::Format { path: path.to_owned(), problem });
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes.as_slice());
        let (mut record, mut rows, mut end) = (csv::ByteRecord::new(), 0, 0);
        // A row that a crash has cut short lies after `step` and is not read.
        while rows <= step && step > 0 {
            match reader.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return refuse(format!("it ends before step {step}, where the checkpoint stands")),
                Err(error) => return refuse(error.to_string()),
            }
            let first = record.get(0).unwrap_or_default();
            if rows == 0 && !record.iter().take(COLUMNS.len()).eq(COLUMNS.map(str::as_bytes)) {
                return refuse(format!("line 1 does not begin with {}", COLUMNS.join(",")));
            }
            if rows > 0 && first != rows.to_string().as_bytes() {
                return refuse(format!("line {} is not of step {rows}", rows + 1));
            }
            rows += 1;
            end = reader.position().byte() as usize;
        }
        soft_lmccl_files::write(path, &bytes[..end]).map_err(Error::io("write", path))?;
        let file = OpenOptions::new().append(true).open(path).map_err(|source| Self::failed("write", path, source))?;
        Ok(Self { path: path.to_owned(), writer: csv::Writer::from_writer(file), named: end > 0 })
    }

    pub(super) fn row(&mut self, step: &Step) -> Result<()> {
        let terms = &step.loss.terms;
        let written = (|| {
            if !self.named {
                self.writer.write_record(COLUMNS.into_iter().chain(terms.iter().map(|term| term.name.as_str())))?;
                self.named = true;
            }
            let cells = [
                step.step.to_string(),
                step.epoch.to_string(),
                step.learning_rate.to_string(),
                step.validation.map_or_else(String::new, |score| score.to_string()),
                step.loss.total.to_string(),
            ];
            self.writer.write_record(cells.into_iter().chain(terms.iter().map(|term| term.value.to_string())))?;
            self.writer.flush().map_err(csv::Error::from)
        })();
        written.map_err(|error| Self::failed("write", &self.path, std::io::Error::other(error)))
    }

    /// Before it returns, a crash of the machine may lose rows; a crash of the process cannot.
    pub(super) fn sync(&self) -> Result<()> {
        self.writer.get_ref().sync_data().map_err(|source| Self::failed("write", &self.path, source))
    }

    fn failed(action: &'static str, path: &Path, source: std::io::Error) -> Error {
        Error::Io { action, path: path.to_owned(), source }
    }
}
