//! What can go wrong, and how it is said: field, expectation, value.

use std::path::PathBuf;

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong outside the metrics (which have [`MetricError`]).
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
        source: std::io::Error,
    },
    /// Training came to numbers that are none, and cannot go on from there.
    #[cfg(feature = "torch")]
    #[error("training diverged at step {step}: {what}; a lower learning rate may help")]
    Diverged {
        /// The step after which it was found, counted from 1.
        step: usize,
        /// What is not finite.
        what: String,
    },
    /// A long run was stopped by the caller.
    #[error("stopped by the caller after {done} of {total} pairs")]
    Stopped {
        /// Pairs that were counted.
        done: u64,
        /// Pairs that there are.
        total: u64,
    },
    /// A metric is undefined.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A picture could not be drawn.
    #[cfg(feature = "report")]
    #[error("cannot draw {}: {problem}", path.display())]
    Draw {
        /// The picture's file.
        path: PathBuf,
        /// What the drawing library said.
        problem: String,
    },
    /// Anything that libtorch reports; the whole text is the source.
    #[cfg(feature = "torch")]
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
}

/// Why a metric is undefined. Never a NaN, never a made-up 0.5.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
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
    /// An embedding of which nothing is left when the mean of its values is subtracted.
    #[error("embedding {row} has one value in all columns, so nothing is left without its mean")]
    ConstantEmbedding {
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
    /// An argument is out of range.
    #[error("invalid `{field}`: expected {expected}, got {got}")]
    Argument {
        /// The argument's name.
        field: &'static str,
        /// What is accepted.
        expected: String,
        /// What was found.
        got: String,
    },
    /// The caller's callback asked to stop.
    #[error("stopped by the caller")]
    Stopped,
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
}

/// `tch` panics when asked for the kind of a tensor that is none.
#[cfg(feature = "torch")]
pub(crate) fn require_defined(what: &'static str, tensor: &tch::Tensor) -> Result<()> {
    if tensor.defined() {
        return Ok(());
    }
    Err(Error::Tensor { what, expected: "values".into(), got: "an undefined tensor".into() })
}

/// Refuses a way back from a loss that leads nowhere.
#[cfg(feature = "torch")]
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

#[cfg(feature = "torch")]
fn first_line(error: &tch::TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
