//! What can go wrong, and how it is said: field, expectation, value.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a figure cannot be given. Never a NaN, never a made-up 0.5.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is out of range.
    #[error("invalid `{field}`: expected {expected}, got {got}")]
    Config {
        /// The argument's name.
        field: &'static str,
        /// What is accepted.
        expected: String,
        /// What was found.
        got: String,
    },
    /// Parallel slices of different lengths.
    #[error("{scores} scores but {labels} labels")]
    Length {
        /// Scores or embeddings given.
        scores: usize,
        /// Labels given.
        labels: usize,
    },
    /// A NaN or infinite score.
    #[error("score {index} is {value}, not a finite number")]
    NotFinite {
        /// Position of the score.
        index: usize,
        /// The value found.
        value: f64,
    },
    /// ROC-type metrics need both kinds of pair.
    #[error("need matching and non-matching pairs, got {matching} and {non_matching}")]
    OneClass {
        /// Pairs of one class.
        matching: u64,
        /// Pairs of two classes.
        non_matching: u64,
    },
    /// An embedding set without a row or without a column.
    #[error("need at least one embedding of at least one dimension, got {rows} of {dim}")]
    NoEmbeddings {
        /// Rows given.
        rows: usize,
        /// Columns given.
        dim: usize,
    },
    /// Embeddings and labels of different lengths.
    #[error("{embeddings} embeddings but {labels} labels")]
    EmbeddingLength {
        /// Rows given.
        embeddings: usize,
        /// Labels given.
        labels: usize,
    },
    /// A NaN or infinite value in an embedding.
    #[error("embedding {row} has {value} in column {column}, not a finite number")]
    EmbeddingNotFinite {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        column: usize,
        /// The value found.
        value: f32,
    },
    /// An embedding of length zero has no direction, hence no cosine.
    #[error("embedding {row} is zero in every column, so it has no cosine with any other")]
    ZeroEmbedding {
        /// The row.
        row: usize,
    },
    /// A class label that is negative or does not fit 32 bits.
    #[error("label {label} of embedding {row} is outside 0..={}", u32::MAX)]
    EmbeddingLabel {
        /// The row.
        row: usize,
        /// The label found there.
        label: i64,
    },
    /// More distinct pairs of a kind are asked for than there are.
    #[error("asked for {asked} distinct {kind} pairs, but the set has {available}")]
    TooFewPairs {
        /// "matching" or "non-matching".
        kind: &'static str,
        /// Pairs asked for.
        asked: u64,
        /// Pairs that exist.
        available: u64,
    },
    /// A rate that is not a number between 0 and 1.
    #[error("`{field}` must be a rate from 0 to 1, got {value}")]
    Rate {
        /// The argument's name.
        field: &'static str,
        /// The value found.
        value: f64,
    },
    /// A threshold fitted here would accept nothing, on these pairs or on any others.
    #[error("no threshold fits: {reason}")]
    NoThreshold {
        /// Why accepting nothing is the best there is.
        reason: &'static str,
    },
    /// Two embeddings, or an embedding and a gallery, of different dimensions.
    #[error("embeddings of {left} and of {right} dimensions have no cosine")]
    Dimension {
        /// Dimensions of the first.
        left: usize,
        /// Dimensions of the second.
        right: usize,
    },
    /// Open-set figures need probes of enrolled classes and of others.
    #[error("need probes of enrolled classes and of others, got {known} and {unknown}")]
    OpenSet {
        /// Probes of enrolled classes.
        known: u64,
        /// Probes of other classes.
        unknown: u64,
    },
    /// A class is too small to enroll so many of its examples.
    #[error("cannot enroll {asked} of the {available} examples of class {label} and keep one to probe with")]
    TooFewExamples {
        /// The class.
        label: u32,
        /// Examples to be enrolled.
        asked: usize,
        /// Examples that exist.
        available: usize,
    },
    /// Examples that cancel out have no mean direction.
    #[error("the mean of class {label} is zero, so it has no direction")]
    ZeroPrototype {
        /// The class.
        label: u32,
    },
    /// So many folds cannot be made.
    #[error("`folds` must be from 2 to the number of pairs ({pairs}), got {folds}")]
    Folds {
        /// Folds asked for.
        folds: usize,
        /// Pairs to be divided.
        pairs: u64,
    },
    /// A fold, or all the others together, lack a kind of pair.
    #[error(
        "{part} fold {fold} of {folds} has {matching} matching and {non_matching} non-matching pairs; \
         both kinds are needed: use fewer folds or more pairs"
    )]
    FoldOneClass {
        /// "the test part of" or "the training part of".
        part: &'static str,
        /// The fold, counted from 1.
        fold: usize,
        /// Folds in all.
        folds: usize,
        /// Matching pairs in that part.
        matching: u64,
        /// Non-matching pairs in that part.
        non_matching: u64,
    },
    /// A long run was stopped by the caller.
    #[error("stopped by the caller after {done} of {total} {units}")]
    Stopped {
        /// How much was done.
        done: u64,
        /// How much there is.
        total: u64,
        /// What is counted, such as "pairs".
        units: &'static str,
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
        /// The verb: "read", "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A tensor has the wrong rank, extent, kind or device, or holds a value that it must not.
    #[cfg(feature = "tch")]
    #[error("{what}: expected {expected}, got {got}")]
    Tensor {
        /// The argument's name.
        what: &'static str,
        /// What is accepted.
        expected: String,
        /// What was found.
        got: String,
    },
    /// Anything that libtorch reports; the whole text is the source.
    #[cfg(feature = "tch")]
    #[error("libtorch: {}", .0.to_string().lines().next().unwrap_or_default())]
    Torch(#[from] tch::TchError),
}

impl Error {
    pub(crate) fn config(field: &'static str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Config { field, expected: expected.into(), got: got.to_string() }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Writes a record as JSON, whole or not at all.
pub(crate) fn save_json(path: &Path, record: &impl Serialize) -> Result<()> {
    let mut json = serde_json::to_string_pretty(record).expect("a record of finite numbers is JSON");
    json.push('\n');
    soft_lmccl_files::write(path, json.as_bytes()).map_err(Error::io("write", path))
}

/// Reads a record of JSON.
pub(crate) fn load_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let json = fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&json).map_err(|problem| Error::Format { path: path.to_owned(), problem: problem.to_string() })
}
