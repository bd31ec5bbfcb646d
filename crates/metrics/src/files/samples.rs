//! What is said of each sample beside its embedding, in a table of its own.

use std::path::{Path, PathBuf};

use super::csv::numbered;
use super::{extension, format};
use crate::Result;

/// A table with headings and a row for each embedding, in their order: ids, classes, templates, cohorts.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::files::SampleTable;
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("particles.csv");
/// std::fs::write(&path, "path,class,microscope\na.mrc,ribosome,Krios\nb.mrc,proteasome,Arctica\n")?;
/// let table = SampleTable::open(&path)?;
/// assert_eq!(table.column("microscope")?, ["Krios", "Arctica"]);
/// assert_eq!(table.labels("class")?.0, [1, 0]); // in alphabetical order
/// let refused = table.column("session").unwrap_err().to_string();
/// assert!(refused.ends_with("expected a column `session`, got `path`, `class`, `microscope`"), "{refused}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleTable {
    path: PathBuf,
    headings: Vec<String>,
    columns: Vec<Vec<String>>,
}

impl SampleTable {
    /// Reads `.csv` or `.tsv`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the file cannot be read, [`Error::Format`](crate::Error::Format) for another
    /// extension or rows of different lengths.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let separator = match extension(path).as_str() {
            "csv" => b',',
            "tsv" => b'\t',
            other => return Err(format(path, format!("expected .csv or .tsv, got an extension of `{other}`"))),
        };
        let refused = |problem: csv::Error| super::csv::refused(path, problem);
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).delimiter(separator).from_path(path).map_err(refused)?;
        let headings: Vec<String> = reader.headers().map_err(refused)?.iter().map(str::to_owned).collect();
        let mut columns = vec![Vec::new(); headings.len()];
        for record in reader.records() {
            let record = record.map_err(refused)?;
            columns.iter_mut().zip(&record).for_each(|(column, field)| column.push(field.to_owned()));
        }
        Ok(Self { path: path.to_owned(), headings, columns })
    }

    /// Rows under the headings.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// A column by its heading.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) if there is none of that name, naming those that there are.
    pub fn column(&self, name: &str) -> Result<&[String]> {
        match self.headings.iter().position(|heading| heading == name) {
            Some(at) => Ok(&self.columns[at]),
            None => {
                let headings: Vec<String> = self.headings.iter().map(|heading| format!("`{heading}`")).collect();
                Err(format(&self.path, format!("expected a column `{name}`, got {}", headings.join(", "))))
            }
        }
    }

    /// A column as class numbers: numbers as they are; names by their place in the alphabet, which come with it.
    ///
    /// # Errors
    /// As [`column`](Self::column).
    pub fn labels(&self, name: &str) -> Result<(Vec<i64>, Option<Vec<String>>)> {
        Ok(numbered(self.column(name)?))
    }
}
