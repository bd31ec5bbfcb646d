//! Lists of trials: which pairs a benchmark compares, line by line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::format;
use super::seen::Seen;
use crate::classes::ClassCounts;
use crate::cuts::Cuts;
use crate::grid::{key_of, score_of};
use crate::listed::Listed;
use crate::verify::{ScoreCounts, ScoreHistogram};
use crate::{EmbeddingSet, Error, Result};

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrialFormat {
    /// `pairs.txt` of Labeled Faces in the Wild: after a line of numbers, `name n m` for a matching pair and
    /// `name n other m` for another, separated by tabs. Samples are `name_0001`, as the files there.
    Lfw,
    /// Trials of VoxCeleb: `1 path path` for a matching pair, `0 path path` for another.
    VoxCeleb,
    /// `first second 1`, such as the template matches of IJB-B and IJB-C; separated by spaces, tabs or commas.
    TruthLast,
    /// Comma-separated columns `first`, `second` and `same` (0, 1, true, false) under a line of headings.
    Csv,
}

/// A list in a file, read anew whenever it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialList {
    path: PathBuf,
    format: TrialFormat,
}

/// Embeddings by the names that lists have for them: images, recordings, or templates of several samples each.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::{EmbeddingSet, files::{Samples, TrialFormat, TrialList}};
///
/// let set = EmbeddingSet::new(array![[1.0f32, 0.1], [2.0, -0.1], [0.1, 3.0], [-0.2, 1.0]].view(), &[7, 7, 4, 4])?;
/// let samples = Samples::new(set, ["a/1", "a/2", "b/1", "b/2"])?;
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("trials.txt");
/// std::fs::write(&path, "1 a/1 a/2\n0 a/1 b/1\n0 a/2 c/9\n1 b/1 b/2\n0 b/2 a/1\n0 a/1 b/2\n")?;
/// let scored = TrialList::new(&path, TrialFormat::VoxCeleb).score(&samples)?;
/// assert_eq!((scored.histogram.counts().matching, scored.histogram.counts().non_matching), (2, 3));
/// assert_eq!((scored.notes.unknown, scored.notes.duplicates), (1, 1)); // of c/9 there is no embedding
/// assert_eq!(scored.notes.first_unknown.as_deref(), Some("c/9"));
/// assert_eq!(scored.histogram.auc(), 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Samples {
    set: EmbeddingSet,
    rows: HashMap<String, u32>,
}

impl Samples {
    /// Names each row of a set.
    ///
    /// # Errors
    /// [`Error::Config`] if there are not as many names as rows, or two rows have one name.
    pub fn new<S: Into<String>>(set: EmbeddingSet, names: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut rows = HashMap::new();
        let mut count = 0u32;
        for name in names {
            let name = name.into();
            if let Some(before) = rows.insert(name.clone(), count) {
                return Err(Error::config(
                    "names",
                    "a name of its own for each row",
                    format!("`{name}` for {before} and {count}"),
                ));
            }
            count += 1;
        }
        if count as usize == set.len() {
            return Ok(Self { set, rows });
        }
        Err(Error::config("names", format!("{} of them, one for each row", set.len()), count))
    }

    /// The embeddings.
    #[must_use]
    pub fn set(&self) -> &EmbeddingSet {
        &self.set
    }
}

/// What a list had beside trials that could be scored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrialNotes {
    /// Trials in the list.
    pub trials: u64,
    /// Those of them with a sample that has no embedding; they are left out.
    pub unknown: u64,
    /// The first such sample.
    pub first_unknown: Option<String>,
    /// Those that compare a sample with itself; they are left out, since their score says nothing.
    pub self_pairs: u64,
    /// Those of two samples that were compared before, in either order; they count again.
    pub duplicates: u64,
    /// Those of which the list says another thing than the labels of the embeddings do; the list is believed.
    pub contradictions: u64,
}

/// A list that was scored.
#[derive(Debug, Clone)]
pub struct ScoredTrials {
    /// Scores of the trials, on the grid of [`ScoreHistogram`].
    pub histogram: ScoreHistogram,
    /// What was odd about the list.
    pub notes: TrialNotes,
    /// Accepted trials by class, for [`Intervals`](crate::Intervals); `None` if the list contradicts the labels.
    pub classes: Option<ClassCounts>,
}

impl TrialList {
    /// A list of this format; nothing is read yet.
    #[must_use]
    pub fn new(path: impl AsRef<Path>, format: TrialFormat) -> Self {
        Self { path: path.as_ref().to_owned(), format }
    }

    /// Scores every trial: the cosine of two embeddings, rounded to the grid of [`ScoreHistogram`].
    ///
    /// Reads the list twice, the second time for the counts by class. Holds no trial: beside the histogram and the counts
    /// by class, by which duplicates are told, a bit for each two of up to 65,536 samples (256 MiB at most), or four to
    /// eight bytes for each pair of more samples.
    ///
    /// # Errors
    /// As [`score_with`](Self::score_with).
    pub fn score(&self, samples: &Samples) -> Result<ScoredTrials> {
        self.score_with(samples, |_, _| ControlFlow::Continue(()))
    }

    /// As [`score`](Self::score), telling how many bytes have been read, of how many, both times together, and asking
    /// whether to go on.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`], naming the line, for one that is no trial;
    /// [`Error::OneClass`] if there are no matching or no non-matching trials to score; [`Error::Stopped`] if `progress`
    /// breaks.
    pub fn score_with(
        &self,
        samples: &Samples,
        mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<ScoredTrials> {
        let length = std::fs::metadata(&self.path).map_err(Error::io("read", &self.path))?.len();
        let total = 2 * length;
        let mut tell = |done: u64| match progress(done.min(total), total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped { done: done.min(total), total, units: "bytes" }),
        };
        let (counts, mut notes, mut seen) = (ScoreCounts::empty(), TrialNotes::default(), Seen::of(samples.set.len()));
        let (labels, mut scored) = (samples.set.labels(), vec![false; samples.set.len()]);
        self.read(|Trial { first, second, same }, done| {
            notes.trials += 1;
            if let Some(done) = done {
                tell(done)?;
            }
            let row = |name: &str| samples.rows.get(name).map(|&row| row as usize);
            let (Some(i), Some(j)) = (row(first), row(second)) else {
                notes.unknown += 1;
                let unknown = if row(first).is_some() { second } else { first };
                notes.first_unknown.get_or_insert_with(|| unknown.to_owned());
                return Ok(());
            };
            if i == j {
                notes.self_pairs += 1;
                return Ok(());
            }
            seen.add(i, j);
            notes.contradictions += u64::from(same != (labels[i] == labels[j]));
            (scored[i], scored[j]) = (true, true);
            counts.count(same, key_of(samples.set.cosine(i, j) as f32));
            Ok(())
        })?;
        notes.duplicates = seen.duplicates(|| tell(length))?;
        let histogram = counts.histogram()?;
        let classes = match notes.contradictions {
            0 => Some(self.by_class(samples, &scored, &histogram, length, &mut tell)?),
            _ => None,
        };
        tell(total)?;
        Ok(ScoredTrials { histogram, notes, classes })
    }

    /// * `scored`: the samples of the pairs that were scored
    fn by_class(
        &self,
        samples: &Samples,
        scored: &[bool],
        histogram: &ScoreHistogram,
        before: u64,
        tell: &mut impl FnMut(u64) -> Result<()>,
    ) -> Result<ClassCounts> {
        let cuts = Cuts::across(&histogram.roc(), histogram.counts().non_matching, &[histogram.eer_point().threshold]);
        let labels = samples.set.labels();
        let of_scored = labels.iter().zip(scored).filter(|&(_, &scored)| scored).map(|(&label, _)| label);
        let mut listed = Listed::new(cuts, of_scored.collect());
        let classes: Vec<u32> = labels.iter().map(|&label| listed.number(label) as u32).collect();
        self.read(|Trial { first, second, .. }, done| {
            if let Some(done) = done {
                tell(before + done)?;
            }
            let row = |name: &str| samples.rows.get(name).map(|&row| row as usize);
            let Some((i, j)) = row(first).zip(row(second)).filter(|(i, j)| i != j) else { return Ok(()) };
            let score = score_of(key_of(samples.set.cosine(i, j) as f32) as usize);
            listed.add((classes[i] as usize, classes[j] as usize), score);
            Ok(())
        })?;
        Ok(listed.counts())
    }

    /// Reads the list, giving each trial and now and then how many bytes have been read.
    fn read(&self, mut each: impl FnMut(Trial<'_>, Option<u64>) -> Result<()>) -> Result<()> {
        const TELL_AFTER: u64 = 1 << 14;
        /// A file without an end of a line is not read into memory.
        const LONGEST_LINE: u64 = 1 << 16;
        let refused = |line: u64, problem: String| format(&self.path, format!("line {line}: {problem}"));
        let file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let (mut bytes, mut names, mut line, mut done) = (Vec::new(), [String::new(), String::new()], 0u64, 0u64);
        let mut columns = None;
        loop {
            bytes.clear();
            let read = file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes);
            let read = read.map_err(Error::io("read", &self.path))?;
            if read == 0 {
                return Ok(());
            }
            (line, done) = (line + 1, done + read as u64);
            if read as u64 == LONGEST_LINE && !bytes.ends_with(b"\n") {
                return Err(refused(line, format!("expected at most {LONGEST_LINE} bytes, got more")));
            }
            let text = std::str::from_utf8(&bytes).map_err(|_| refused(line, "it is no text".to_owned()))?.trim();
            if text.is_empty() || self.format == TrialFormat::Lfw && is_count(text) {
                continue;
            }
            if self.format == TrialFormat::Csv && columns.is_none() {
                columns = Some(headings(text).map_err(|problem| refused(line, problem))?);
                continue;
            }
            let trial = match self.format {
                TrialFormat::Lfw => lfw(text, &mut names),
                TrialFormat::VoxCeleb => {
                    fields(text).and_then(|[same, first, second]| Some(Trial { first, second, same: truth(same)? }))
                }
                TrialFormat::TruthLast => {
                    fields(text).and_then(|[first, second, same]| Some(Trial { first, second, same: truth(same)? }))
                }
                TrialFormat::Csv => columns.and_then(|columns| csv(text, columns)),
            };
            let expected = || format!("expected {}, got `{text}`", self.format.line());
            each(trial.ok_or_else(|| refused(line, expected()))?, (line % TELL_AFTER == 0).then_some(done))?;
        }
    }
}

/// One line.
struct Trial<'a> {
    first: &'a str,
    second: &'a str,
    same: bool,
}

impl TrialFormat {
    /// What a line of it is like.
    fn line(self) -> &'static str {
        match self {
            Self::Lfw => "`name n m` or `name n other m`",
            Self::VoxCeleb => "`1 first second` or `0 first second`",
            Self::TruthLast => "`first second 1` or `first second 0`",
            Self::Csv => "values of `first`, `second` and `same`",
        }
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "True" => Some(true),
        "0" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Folds and pairs a fold, with which LFW's list begins.
fn is_count(text: &str) -> bool {
    let mut fields = text.split_whitespace();
    let numbers = fields.by_ref().take(2).filter(|field| field.parse::<u32>().is_ok()).count();
    fields.next().is_none() && numbers == text.split_whitespace().count()
}

fn lfw<'a>(text: &str, names: &'a mut [String; 2]) -> Option<Trial<'a>> {
    let fields: Vec<&str> = text.split('\t').collect();
    let (first, second, same) = match *fields.as_slice() {
        [name, n, m] => ((name, n), (name, m), true),
        [name, n, other, m] => ((name, n), (other, m), false),
        _ => return None,
    };
    for (place, (name, number)) in names.iter_mut().zip([first, second]) {
        *place = format!("{name}_{:04}", number.trim().parse::<u32>().ok()?);
    }
    Some(Trial { first: &names[0], second: &names[1], same })
}

fn fields(text: &str) -> Option<[&str; 3]> {
    let mut fields = text.split([' ', '\t', ',']).filter(|field| !field.is_empty());
    let three = [fields.next()?, fields.next()?, fields.next()?];
    fields.next().is_none().then_some(three)
}

/// Where the three columns are.
fn headings(text: &str) -> Result<[usize; 3], String> {
    let columns: Vec<&str> = text.split(',').map(str::trim).collect();
    let place = |name: &str| {
        let place = columns.iter().position(|column| *column == name);
        place.ok_or_else(|| format!("expected a column `{name}`, got `{text}`"))
    };
    Ok([place("first")?, place("second")?, place("same")?])
}

fn csv(text: &str, columns: [usize; 3]) -> Option<Trial<'_>> {
    let field = |column: usize| text.split(',').nth(column).map(str::trim);
    let [first, second, same] = columns.map(field);
    Some(Trial { first: first?, second: second?, same: truth(same?)? })
}
