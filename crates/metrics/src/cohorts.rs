//! Error rates by groups of samples, at one threshold for all.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::confidence::{Interval, require_level};
use crate::cuts::Cuts;
use crate::embeddings::EmbeddingSet;
use crate::listed::Listed;
use crate::spread::Spread;

/// FMR and FNMR between each two cohorts. A cohort is a group of samples: of one microscope, session, tomogram or age band.
///
/// All cohorts share one threshold, as they do in a system. A rate far off the others says that the threshold serves its
/// cohort better or worse.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::{CohortMatrix, EmbeddingSet};
///
/// let embeddings = array![[1.0f32, 0.1], [2.0, -0.1], [0.1, 3.0], [-0.2, 1.0], [1.0, 0.2], [0.9, 1.0]];
/// let set = EmbeddingSet::new(embeddings.view(), &[7, 7, 4, 4, 7, 4])?;
/// let matrix = CohortMatrix::of(&set, &["Krios", "Krios", "Krios", "Krios", "Arctica", "Arctica"], 0.9, 0.95)?;
/// assert_eq!(matrix.cohorts, ["Arctica", "Krios"]);
/// let within = matrix.cell("Krios", "Krios").expect("a cell of each two cohorts");
/// assert_eq!((within.matching, within.false_rejects, within.fnmr()), (2, 0, Some(0.0)));
/// let across = matrix.cell("Krios", "Arctica").expect("in either order");
/// assert_eq!((across.matching, across.false_rejects, across.fnmr()), (4, 2, Some(0.5)));
/// assert!(matrix.to_string().contains("| Arctica | Krios | 4 | 0.5000 |"));
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
///
/// # References
/// ISO/IEC 19795-10:2024, quantifying biometric system performance variation across demographic groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CohortMatrix {
    /// The threshold of all cohorts.
    pub threshold: f64,
    /// The cohorts, in alphabetical order.
    pub cohorts: Vec<String>,
    /// A cell for each two cohorts, the second not before the first.
    pub cells: Vec<CohortCell>,
}

/// Pairs of a sample of one cohort with one of another, or of the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CohortCell {
    /// Numbers of the two cohorts.
    pub cohorts: [usize; 2],
    /// Matching pairs.
    pub matching: u64,
    /// Matching pairs that are rejected.
    pub false_rejects: u64,
    /// Non-matching pairs.
    pub non_matching: u64,
    /// Non-matching pairs that are accepted.
    pub false_accepts: u64,
    /// Interval of the FNMR, made as in [`Intervals`](crate::Intervals); `None` if fewer than two classes have matching pairs
    /// in this cell.
    pub fnmr_interval: Option<Interval>,
    /// Interval of the FMR; `None` if fewer than four classes meet in this cell.
    pub fmr_interval: Option<Interval>,
}

impl CohortCell {
    /// False non-match rate; `None` without matching pairs.
    #[must_use]
    pub fn fnmr(&self) -> Option<f64> {
        (self.matching > 0).then(|| self.false_rejects as f64 / self.matching as f64)
    }

    /// False match rate; `None` without non-matching pairs.
    #[must_use]
    pub fn fmr(&self) -> Option<f64> {
        (self.non_matching > 0).then(|| self.false_accepts as f64 / self.non_matching as f64)
    }
}

/// Two cohorts and two classes, the lower number first; accepted pairs and all.
type Cells = HashMap<([u32; 2], [u32; 2]), [u64; 2]>;

impl CohortMatrix {
    /// Compares all pairs of a set.
    ///
    /// Holds 32 bytes for each two classes that meet in a cell. Computes the cosines one at a time, each thread its own.
    ///
    /// # Errors
    /// [`Error::EmbeddingLength`] if there is not a cohort for each embedding; [`Error::Config`] if `threshold` is NaN or
    /// `level` is not strictly between 0 and 1.
    pub fn of<S: AsRef<str>>(set: &EmbeddingSet, cohorts: &[S], threshold: f64, level: f64) -> Result<Self, Error> {
        require_level(level)?;
        let cuts = Cuts::new(vec![threshold])?;
        if cohorts.len() != set.len() {
            return Err(Error::EmbeddingLength { embeddings: set.len(), labels: cohorts.len() });
        }
        let mut names: Vec<&str> = cohorts.iter().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names.dedup();
        let cohort = |row: usize| names.partition_point(|name| *name < cohorts[row].as_ref()) as u32;
        let mut rows: Vec<(u32, u32, usize)> =
            (0..set.len()).map(|row| (cohort(row), set.labels()[row], row)).collect();
        // Neighbors then fall into one cell, most of the time.
        rows.sort_unstable();
        let cells = (0..rows.len())
            .into_par_iter()
            .fold(Cells::new, |mut cells, first| {
                let (cohort, label, row) = rows[first];
                for run in rows[first + 1..].chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
                    let accepted = run.iter().filter(|(_, _, other)| set.cosine(row, *other) >= threshold).count();
                    let key = ([cohort, run[0].0], [label.min(run[0].1), label.max(run[0].1)]);
                    let counts = cells.entry(key).or_default();
                    counts[0] += accepted as u64;
                    counts[1] += run.len() as u64;
                }
                cells
            })
            .reduce(Cells::new, |mut sum, other| {
                for (key, counts) in other {
                    let sums = sum.entry(key).or_default();
                    sums[0] += counts[0];
                    sums[1] += counts[1];
                }
                sum
            });
        let mut by_cohorts = BTreeMap::<[u32; 2], Vec<([u32; 2], [u64; 2])>>::new();
        for ((of_cohorts, of_classes), counts) in cells {
            by_cohorts.entry(of_cohorts).or_default().push((of_classes, counts));
        }
        let cells = by_cohorts.into_iter().map(|(cohorts, cells)| {
            let mut listed = Listed::new(cuts.clone(), cells.iter().flat_map(|&(of, _)| of).collect());
            for ([a, b], [accepted, all]) in cells {
                listed.add_all((listed.number(a), listed.number(b)), all, &[accepted]);
            }
            let counts = listed.counts();
            let pairs = counts.counts();
            let (spread, sums) = (Spread::new(&counts, level), [counts.true_accepts(0), counts.false_accepts(0)]);
            let [true_accepts, false_accepts] = [sums[0].iter().sum::<u64>(), sums[1].iter().sum::<u64>() / 2];
            let mut cell = CohortCell {
                cohorts: cohorts.map(|cohort| cohort as usize),
                matching: pairs.matching,
                false_rejects: pairs.matching - true_accepts,
                non_matching: pairs.non_matching,
                false_accepts,
                fnmr_interval: None,
                fmr_interval: None,
            };
            let fnmr = cell.fnmr().and_then(|fnmr| Some(spread.tar(threshold, 1.0 - fnmr).ok()?.of_the_rest(fnmr)));
            let fmr = cell.fmr().and_then(|fmr| spread.far(threshold, fmr).ok());
            (cell.fnmr_interval, cell.fmr_interval) =
                (fnmr.map(|found| found.interval), fmr.map(|found| found.interval));
            cell
        });
        Ok(Self { threshold, cells: cells.collect(), cohorts: names.iter().map(|&name| name.to_owned()).collect() })
    }

    /// The cell of two cohorts, in either order; `None` if no sample of the one meets one of the other.
    #[must_use]
    pub fn cell(&self, first: &str, second: &str) -> Option<&CohortCell> {
        let number = |name: &str| self.cohorts.iter().position(|cohort| cohort == name);
        let (a, b) = (number(first)?, number(second)?);
        self.cells.iter().find(|cell| cell.cohorts == [a.min(b), a.max(b)])
    }
}

/// A table in Markdown, a line for each cell, and what its rates are.
impl fmt::Display for CohortMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |rate: Option<f64>| rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.4}"));
        let interval = |interval: &Option<Interval>| {
            interval.map_or_else(|| "–".to_owned(), |Interval { low, high, .. }| format!("{low:.4} to {high:.4}"))
        };
        writeln!(f, "Rates of comparisons (ISO/IEC 19795) at one threshold, {}", self.threshold)?;
        writeln!(f, "| cohort | and cohort | matching | FNMR | interval | non-matching | FMR | interval |")?;
        write!(f, "|---|---|---|---|---|---|---|---|")?;
        for cell in &self.cells {
            let [a, b] = cell.cohorts.map(|cohort| &self.cohorts[cohort]);
            let CohortCell { matching, non_matching, .. } = cell;
            let (fnmr, fmr) = (rate(cell.fnmr()), rate(cell.fmr()));
            let (of_fnmr, of_fmr) = (interval(&cell.fnmr_interval), interval(&cell.fmr_interval));
            write!(f, "\n| {a} | {b} | {matching} | {fnmr} | {of_fnmr} | {non_matching} | {fmr} | {of_fmr} |")?;
        }
        Ok(())
    }
}
