//! What can go wrong, and how it is said: field, expectation, value.

use std::path::{Path, PathBuf};

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in training; what goes wrong in the metrics or with subtomograms is wrapped.
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
    /// A tensor has the wrong rank, extent, kind or device, or holds a value that it must not.
    #[error("{what}: expected {expected}, got {got}")]
    Tensor {
        /// The argument's name.
        what: &'static str,
        /// What is accepted.
        expected: String,
        /// What was found.
        got: String,
    },
    /// A label is not a class of this loss.
    #[error("label {label} at position {position} is outside 0..{num_classes}")]
    Label {
        /// Index in the batch.
        position: usize,
        /// The label found there.
        label: i64,
        /// How many classes the loss was made for.
        num_classes: i64,
    },
    /// A GPU is asked for that libtorch does not see.
    #[error("CUDA device {asked} is asked for, but libtorch sees {}: `cargo xtask doctor` tells which libtorch is in use", seen(*found))]
    Device {
        /// Its number.
        asked: usize,
        /// How many there are.
        found: usize,
    },
    /// A variable of that name already lives at this path (`tch` would silently rename the new one).
    #[error("variable `{0}` already exists in this VarStore")]
    NameTaken(String),
    /// A checkpoint does not fit what it is loaded into, or is not a checkpoint.
    #[error("checkpoint {}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Every difference found.
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
        source: std::io::Error,
    },
    /// A loss or a gradient is NaN or infinite, found before it moved anything.
    #[error("{0}; nothing has moved")]
    NotFinite(String),
    /// Training came to numbers that are none, and cannot go on from there.
    #[error("training diverged at step {step}: {what}{}", advice(*step))]
    Diverged {
        /// The step in which it was found, counted from 1.
        step: usize,
        /// What is not finite.
        what: String,
    },
    /// A group of ranks cannot go on; says which rank is to blame.
    #[error("{0}")]
    Group(String),
    /// A figure cannot be given.
    #[error(transparent)]
    Metric(#[from] soft_lmccl_metrics::Error),
    /// Subtomograms, or what they are made of, are not what an operation needs.
    #[cfg(feature = "cect")]
    #[error(transparent)]
    Cect(#[from] soft_lmccl_cect::Error),
    /// Anything that libtorch reports; the whole text is the source.
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
}

impl Error {
    pub(crate) fn config(field: &'static str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Config { field, expected: expected.into(), got: got.to_string() }
    }

    /// For `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// `tch` panics when asked for the kind of a tensor that is none.
pub(crate) fn require_defined(what: &'static str, tensor: &tch::Tensor) -> Result<()> {
    if tensor.defined() {
        return Ok(());
    }
    Err(Error::Tensor { what, expected: "values".into(), got: "an undefined tensor".into() })
}

/// Refuses a way back from a loss that leads nowhere.
pub(crate) fn require_gradient(leads_somewhere: bool) -> Result<()> {
    if leads_somewhere {
        return Ok(());
    }
    Err(Error::Tensor {
        what: "embeddings",
        expected: "a gradient that reaches the network or a head of the loss".into(),
        got: "none: all of them are frozen, or gradients are off".into(),
    })
}

fn seen(devices: usize) -> String {
    if devices == 0 { "none".to_owned() } else { format!("{devices}") }
}

/// A rate that has moved nothing yet is not at fault.
fn advice(step: usize) -> &'static str {
    if step > 1 { "; a lower learning rate may help" } else { "" }
}

fn first_line(error: &tch::TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
