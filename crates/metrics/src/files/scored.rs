//! Scores of pairs, from other programs.

use std::path::Path;

use super::{SampleTable, extension, format, npy};
use crate::{PairScores, Result};

/// Pairs that another program scored; higher is more alike.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::files::ScoredPairs;
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("scores.csv");
/// std::fs::write(&path, "score,first_class,second_class\n0.9,ant,ant\n0.4,ant,bee\n0.7,bee,bee\n")?;
/// let scored = ScoredPairs::open(&path, None)?;
/// assert_eq!(scored.pairs.same(), [true, false, true]);
/// assert_eq!(scored.classes, Some(vec![[0, 0], [0, 1], [1, 1]]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredPairs {
    /// Scores, and whether each pair matches.
    pub pairs: PairScores,
    /// The classes of both samples of each pair, where the file says them: what intervals need.
    pub classes: Option<Vec<[u32; 2]>>,
}

impl ScoredPairs {
    /// Reads a file by its extension.
    ///
    /// * `.csv`, `.tsv`: a column `score`; a column `same` (0, 1, true, false), or two columns `first_class` and
    ///   `second_class` that name the classes, or both
    /// * `.npz`: arrays `scores` `[P]` and `same` `[P]` of bool or 0 and 1
    /// * `.npy`: scores `[P]`, with `same` from a second file
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if a file cannot be read, [`Error::Format`](crate::Error::Format) if it is not what
    /// its extension says or says two things of a pair, and as [`PairScores::new`].
    pub fn open(path: impl AsRef<Path>, same: Option<&Path>) -> Result<Self> {
        let path = path.as_ref();
        let array = |name: &str| format(path, format!("expected an array called `{name}`, got none"));
        let (scores, truths) = match (extension(path).as_str(), same) {
            ("csv" | "tsv", None) => return of_table(path),
            ("npy", Some(same)) => (super::scores(path)?, super::truths(same)?),
            ("npz", None) => {
                let scores = npy::of_archive(path, "scores", |found| npy::scores(found, path))?;
                let truths = npy::of_archive(path, "same", |found| npy::truths(found, path))?;
                (scores.ok_or_else(|| array("scores"))?, truths.ok_or_else(|| array("same"))?)
            }
            ("npy", None) => {
                return Err(format(path, "expected a second file that says which pairs match, got none".to_owned()));
            }
            ("csv" | "tsv" | "npz", Some(_)) => {
                return Err(format(path, "expected a file that itself says which pairs match, got another".to_owned()));
            }
            (other, _) => {
                return Err(format(path, format!("expected .npy, .npz, .csv or .tsv, got an extension of `{other}`")));
            }
        };
        Ok(Self { pairs: PairScores::new(scores, truths)?, classes: None })
    }
}

fn of_table(path: &Path) -> Result<ScoredPairs> {
    let table = SampleTable::open(path)?;
    let wrong = |row: usize, column: &str, expected: &str, got: &str| {
        format(path, format!("line {}, column `{column}`: expected {expected}, got `{got}`", row + 2))
    };
    let mut scores = Vec::with_capacity(table.rows());
    for (row, field) in table.column("score")?.iter().enumerate() {
        scores.push(field.parse::<f64>().map_err(|_| wrong(row, "score", "a number", field))?);
    }
    let classes = match (table.column("first_class"), table.column("second_class")) {
        (Ok(first), Ok(second)) => Some([first, second]),
        (Err(_), Err(_)) => None,
        (Err(missing), Ok(_)) | (Ok(_), Err(missing)) => return Err(missing),
    };
    let same = match (table.column("same"), &classes) {
        (Ok(same), _) => {
            let truth = |(row, field): (usize, &String)| match field.as_str() {
                "1" | "true" | "True" => Ok(true),
                "0" | "false" | "False" => Ok(false),
                other => Err(wrong(row, "same", "0, 1, true or false", other)),
            };
            same.iter().enumerate().map(truth).collect::<Result<Vec<_>>>()?
        }
        (Err(_), Some([first, second])) => first.iter().zip(*second).map(|(a, b)| a == b).collect(),
        (Err(missing), None) => return Err(missing),
    };
    let classes = match classes {
        Some([first, second]) => {
            let odd = |row: &usize| same[*row] != (first[*row] == second[*row]);
            if let Some(row) = (0..same.len()).find(odd) {
                let got = format!("`{}` and `{}`", first[row], second[row]);
                return Err(format(path, format!("line {}: `same` contradicts the classes {got}", row + 2)));
            }
            let mut names: Vec<&String> = first.iter().chain(second).collect();
            names.sort_unstable();
            names.dedup();
            let number = |name: &String| names.partition_point(|other| *other < name) as u32;
            Some(first.iter().zip(second).map(|(a, b)| [number(a), number(b)]).collect())
        }
        None => None,
    };
    Ok(ScoredPairs { pairs: PairScores::new(scores, same)?, classes })
}
