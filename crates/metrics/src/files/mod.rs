//! Embeddings, labels, scores and lists of trials from files, feature `files`.
//!
//! ```text
//! .npy .npz .safetensors .csv ── EmbeddingTable::open ─> embeddings, labels, ids ── set ─> EmbeddingSet
//! lists of pairs (LFW, VoxCeleb, IJB-C, CSV) ── TrialList ── score ─> ScoredTrials: a histogram, and what was odd
//! scores of pairs ── ScoredPairs::open; words of samples ── SampleTable::open; all in one call: VerificationReport::of_files
//! ```
//!
//! Whatever a file claims of itself is checked against its length before anything is allocated.

mod csv;
mod npy;
mod samples;
mod scored;
mod seen;
mod tensors;
mod trials;

use std::path::{Path, PathBuf};

use ndarray::Array2;

pub use samples::SampleTable;
pub use scored::ScoredPairs;
pub use trials::{Samples, ScoredTrials, TrialFormat, TrialList, TrialNotes};

use crate::{EmbeddingSet, Error, ReportOptions, Result, VerificationReport};

/// What arrays and columns are called.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::files::ArrayNames;
///
/// assert_eq!(ArrayNames::default().labels, "labels");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayNames {
    /// Of the embeddings, in `.npz` and `.safetensors`. Default "embeddings".
    pub embeddings: String,
    /// Of the labels, in `.npz`, `.safetensors` and as a column of `.csv`. Default "labels".
    pub labels: String,
    /// Of the column of `.csv` that names each sample. Default "id".
    pub ids: String,
    /// Columns of `.csv` that are no dimensions either, whatever they hold. Default none.
    pub others: Vec<String>,
}

impl Default for ArrayNames {
    fn default() -> Self {
        Self { embeddings: "embeddings".into(), labels: "labels".into(), ids: "id".into(), others: Vec::new() }
    }
}

/// Embeddings as they are in a file, with whatever else it says of them.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingTable {
    path: PathBuf,
    /// `[N, D]`.
    pub embeddings: Array2<f32>,
    /// Class numbers, if there are any: as given, or where a file names classes their place in
    /// [`label_names`](Self::label_names).
    pub labels: Option<Vec<i64>>,
    /// The names of classes, in alphabetical order, if labels are no numbers.
    pub label_names: Option<Vec<String>>,
    /// The name of each sample.
    pub ids: Option<Vec<String>>,
}

impl EmbeddingTable {
    /// Reads a file by its extension.
    ///
    /// * `.npy`: `[N, D]` of f16, f32 or f64, in C or Fortran order; no labels
    /// * `.npz`: two arrays by their [names](ArrayNames), the labels `[N]` of integers, if they are there
    /// * `.safetensors`: two tensors, likewise; bf16 as well
    /// * `.csv`: a line of headings, a column of labels and one of ids if they are there, all other columns numbers
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Format`] for another extension or a file that is not what its
    /// extension says, naming what is wrong and where.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_metrics::files::{ArrayNames, EmbeddingTable};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("e.csv");
    /// std::fs::write(&path, "id,labels,x,y\na1,ant,0.5,1\na2,ant,0.4,1.5\nb1,bee,-2,0\n")?;
    /// let table = EmbeddingTable::open(&path, &ArrayNames::default())?;
    /// assert_eq!(table.labels, Some(vec![0, 0, 1]));
    /// assert_eq!(table.label_names, Some(vec!["ant".into(), "bee".into()]));
    /// assert_eq!(table.set()?.labels(), [0, 0, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>, names: &ArrayNames) -> Result<Self> {
        let path = path.as_ref();
        match extension(path).as_str() {
            "npy" => Ok(Self::of(path, npy::rows(&mut npy::open(path)?, path)?, None)),
            "npz" => {
                let embeddings = npy::of_archive(path, &names.embeddings, |array| npy::rows(array, path))?;
                let embeddings = embeddings.ok_or_else(|| no_array(path, &names.embeddings))?;
                let labels = npy::of_archive(path, &names.labels, |array| npy::integers(array, path))?;
                Ok(Self::of(path, embeddings, labels))
            }
            "safetensors" => {
                let file = tensors::File::open(path)?;
                let embeddings = file.rows(&names.embeddings)?.ok_or_else(|| no_array(path, &names.embeddings))?;
                Ok(Self::of(path, embeddings, file.integers(&names.labels)?))
            }
            "csv" => csv::table(path, names),
            other => {
                Err(format(path, format!("expected .npy, .npz, .safetensors or .csv, got an extension of `{other}`")))
            }
        }
    }

    fn of(path: &Path, embeddings: Array2<f32>, labels: Option<Vec<i64>>) -> Self {
        Self { path: path.to_owned(), embeddings, labels, label_names: None, ids: None }
    }

    /// With labels from another file: `.npy`, `.npz` or `.safetensors` of integers, or `.csv` or `.tsv` with a column of
    /// numbers or names.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_labels(mut self, path: impl AsRef<Path>, names: &ArrayNames) -> Result<Self> {
        let path = path.as_ref();
        self.label_names = None;
        let labels = match extension(path).as_str() {
            "csv" | "tsv" => {
                let (labels, label_names) = SampleTable::open(path)?.labels(&names.labels)?;
                self.label_names = label_names;
                Some(labels)
            }
            "npy" => Some(npy::integers(&mut npy::open(path)?, path)?),
            "npz" => npy::of_archive(path, &names.labels, |array| npy::integers(array, path))?,
            "safetensors" => tensors::File::open(path)?.integers(&names.labels)?,
            other => {
                return Err(format(
                    path,
                    format!("expected .npy, .npz, .safetensors, .csv or .tsv, got an extension of `{other}`"),
                ));
            }
        };
        self.labels = Some(labels.ok_or_else(|| no_array(path, &names.labels))?);
        Ok(self)
    }

    /// The embeddings, checked and of length 1.
    ///
    /// # Errors
    /// [`Error::Format`] if there are no labels, and as [`EmbeddingSet::new`].
    pub fn set(&self) -> Result<EmbeddingSet> {
        let labels = self.labels.as_ref().ok_or_else(|| format(&self.path, "expected labels, got none".to_owned()))?;
        EmbeddingSet::new(self.embeddings.view(), labels)
    }
}

impl VerificationReport {
    /// Measures a file of embeddings in one call, over all pairs in bounded memory, with intervals:
    /// [`EmbeddingTable::open`] and [`of_set`](Self::of_set).
    ///
    /// * `labels`: a file of labels; `None` if they are with the embeddings
    ///
    /// # Errors
    /// As those two.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_metrics::{ReportOptions, VerificationReport};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("e.csv");
    /// let row = |row: usize| format!("{},{},{},{}\n", row % 5, row % 7, row * row % 11, (row % 5) * 4);
    /// std::fs::write(&path, "labels,x,y,z\n".to_owned() + &(1..60).map(row).collect::<String>())?;
    /// let options = ReportOptions { far_targets: vec![0.1], ..Default::default() };
    /// let report = VerificationReport::of_files(&path, None, &options)?;
    /// assert_eq!(report.embeddings, 59);
    /// assert!(report.auc_interval.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_files(embeddings: impl AsRef<Path>, labels: Option<&Path>, options: &ReportOptions) -> Result<Self> {
        let names = ArrayNames::default();
        let table = EmbeddingTable::open(embeddings, &names)?;
        let table = match labels {
            Some(path) => table.with_labels(path, &names)?,
            None => table,
        };
        Self::of_set(&table.set()?, options)
    }
}

/// Scores of pairs from a `.npy` file, `[P]` of f16, f32 or f64.
///
/// # Errors
/// As [`EmbeddingTable::open`].
pub fn scores(path: impl AsRef<Path>) -> Result<Vec<f64>> {
    let path = path.as_ref();
    npy::scores(&mut npy::open(path)?, path)
}

/// Whether pairs match, from a `.npy` file, `[P]` of bool, or of integers that are 0 or 1.
///
/// # Errors
/// As [`EmbeddingTable::open`].
pub fn truths(path: impl AsRef<Path>) -> Result<Vec<bool>> {
    let path = path.as_ref();
    npy::truths(&mut npy::open(path)?, path)
}

fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// What is wrong with a file. Of what the file itself says, as much as fits on a screen.
fn format(path: &Path, mut problem: String) -> Error {
    const LONGEST: usize = 400;
    if let Some((end, _)) = problem.char_indices().nth(LONGEST) {
        problem.truncate(end);
        problem.push('…');
    }
    Error::Format { path: path.to_owned(), problem }
}

fn no_array(path: &Path, name: &str) -> Error {
    format(path, format!("expected an array called `{name}`, got none"))
}

/// Single precision, unless the number is too large for it.
fn narrow(value: f64) -> Result<f32, String> {
    let narrow = value as f32;
    if narrow.is_finite() || !value.is_finite() {
        return Ok(narrow);
    }
    Err(format!("{value:e} does not fit single precision"))
}
