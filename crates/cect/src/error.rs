//! What can go wrong, and how it is said: field, expectation, value.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between an atomic model and a labeled subtomogram.
///
/// What the caller can get wrong is an `Err` that names the field, the expectation and the value
/// found; what only this crate can get wrong is a panic that says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A hyper-parameter is out of range. Raised by `validate` and `init`, never mid-training.
    #[error("invalid `{field}`: expected {expected}, got {got}")]
    Config {
        /// The field as it is written in the configuration.
        field: &'static str,
        /// What is accepted.
        expected: String,
        /// What was found.
        got: String,
    },
    /// A density map, or what it is made of, is not what an operation needs.
    #[error("volume: {0}")]
    Volume(String),
    /// A split into known and unknown classes cannot be made.
    #[error("class split: {0}")]
    Split(String),
    /// A file was read but its content is not what it should be.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The verb: "read", "write", "create".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn config(field: &'static str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Config { field, expected: expected.into(), got: got.to_string() }
    }

    /// For `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
