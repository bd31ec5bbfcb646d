//! What can go wrong, and how it is said: field, expectation, value.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a picture or a page cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is out of range.
    #[error("invalid `{field}`: expected {expected}, got {got}")]
    Config {
        /// The field or the argument.
        field: &'static str,
        /// What is accepted.
        expected: String,
        /// What was found.
        got: String,
    },
    /// A picture could not be drawn.
    #[error("cannot draw {}: {problem}", path.display())]
    Draw {
        /// The picture's file.
        path: PathBuf,
        /// What the drawing library said.
        problem: String,
    },
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
