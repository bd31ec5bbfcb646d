//! Tables that name subtomograms: CSV, TSV and STAR.

use std::path::Path;

use super::{Place, input, relion5, star};
use crate::{Error, Result};

/// What a table says.
pub(crate) struct ParticleTable {
    pub(crate) rows: Vec<Row>,
    pub(crate) has_labels: bool,
    /// In Angstrom.
    pub(crate) voxel_size: Option<f64>,
    /// For stacks of images, of each row the tomogram and which of its tilts the stack has.
    pub(crate) series: Option<Vec<(String, Vec<bool>)>>,
}

/// A row of the table: its line, the file as it is written there, the label.
pub(crate) struct Row {
    pub(crate) line: u64,
    pub(crate) file: String,
    /// Which volume of a stack, counted from 1: 12 of `000012@stack.mrcs`.
    pub(crate) number: Option<usize>,
    pub(crate) label: String,
}

impl Row {
    /// Where the row's file is, with relative paths from `root`.
    pub(crate) fn place(&self, root: &Path) -> Place {
        Place { path: root.join(&self.file), number: self.number }
    }

    /// The file as the table names it.
    pub(crate) fn written(&self) -> String {
        self.number.map_or_else(|| self.file.clone(), |number| format!("{number}@{}", self.file))
    }
}

/// What to do about stacks of images.
const NO_STACKS: &str = "expected a file of one subtomogram (in RELION 5, extract 3-D subtomograms, not 2-D stacks)";

const PATH_COLUMNS: [&str; 4] = ["path", "rlnimagename", "image", "file"];
const LABEL_COLUMNS: [&str; 3] = ["label", "rlnclassnumber", "class"];

impl ParticleTable {
    /// Reads a table of the kind that its name says.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] with the line.
    pub(crate) fn read(path: &Path, unlabeled: Option<&str>) -> Result<Self> {
        let text = input::read_text(path)?;
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        match extension.as_str() {
            "csv" => separated(&text, b',', unlabeled),
            "tsv" | "txt" => separated(&text, b'\t', unlabeled),
            "star" => from_star(&text, unlabeled),
            _ => Err("expected .csv, .tsv, .txt or .star".to_owned()),
        }
        .map_err(|problem| Error::Format { path: path.to_owned(), problem })
    }
}

/// The text of a STAR file with these columns, a value for each row, in the table that names the subtomograms: what was
/// found of them, for the programs that wrote the file.
///
/// A column that is there already has its values replaced, others come last; all other lines stay as they are. That is
/// the first table with a column for the path, as [`LabeledFiles`](crate::LabeledFiles) reads it where
/// [`FilesConfig::unlabeled`](crate::FilesConfig::unlabeled) is set.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if the file is no STAR file or has no such table; [`Error::Config`] for a column of
/// another length than the table's, a name that is not one word, and a value that no line can hold.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::annotate_star;
///
/// let directory = tempfile::tempdir()?;
/// let table = directory.path().join("particles.star");
/// std::fs::write(&table, "data_particles\nloop_\n_rlnImageName #1\n_rlnClassNumber #2\na.mrc 1\nb.mrc 1\n")?;
/// let classes = vec!["2".to_owned(), "1".to_owned()];
/// let scores = vec!["0.93".to_owned(), "0.88".to_owned()];
/// let text = annotate_star(&table, &[("rlnClassNumber", classes), ("score", scores)])?;
/// assert!(text.ends_with("_rlnClassNumber #2\n_score #3\na.mrc 2 0.93\nb.mrc 1 0.88\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn annotate_star(table: impl AsRef<Path>, columns: &[(&str, Vec<String>)]) -> Result<String> {
    let table = table.as_ref();
    let refuse = |expected: String, got: String| Err(Error::config("columns", expected, got));
    let of_table = |problem: String| Error::Format { path: table.to_owned(), problem };
    let text = input::read_text(table)?;
    let blocks = star::read(&text).map_err(of_table)?;
    let named = |block: &&star::StarTable<'_>| Columns::among(block.columns.iter().copied(), Some("")).is_ok();
    let Some(block) = blocks.iter().find(named) else {
        return Err(of_table(format!("has no column for the path; expected one of {}", PATH_COLUMNS.join(", "))));
    };
    for (name, values) in columns {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '#') {
            return refuse("names of one word".into(), format!("`{name}`"));
        }
        if values.len() != block.rows.len() {
            return refuse(format!("{} values, one for each row", block.rows.len()), values.len().to_string());
        }
    }
    star::with_columns(&text, block, columns)
        .or_else(|value| refuse("values of one line, without both kinds of quotes".into(), format!("`{value}`")))
}

/// Where a row has its path and its label.
struct Columns<'a> {
    path: usize,
    label: Label<'a>,
}

enum Label<'a> {
    Column(usize),
    /// There is no such column, and this is the class of all.
    Every(&'a str),
}

impl<'a> Columns<'a> {
    fn among<'n>(names: impl Iterator<Item = &'n str> + Clone, unlabeled: Option<&'a str>) -> Result<Self, String> {
        let place = |wanted: &[&str], what: &str| {
            let matching =
                |name: &str| wanted.contains(&name.trim().trim_start_matches('_').to_ascii_lowercase().as_str());
            let mut places = names.clone().enumerate().filter(|(_, name)| matching(name)).map(|(place, _)| place);
            match (places.next(), places.next()) {
                (Some(_), Some(_)) => Err(format!("has more than one column for the {what}")),
                (place, _) => Ok(place),
            }
        };
        let missing = |wanted: &[&str], what: &str| {
            format!("has no column for the {what}; expected one of {}", wanted.join(", "))
        };
        let path = place(&PATH_COLUMNS, "path")?.ok_or_else(|| missing(&PATH_COLUMNS, "path"))?;
        let label = place(&LABEL_COLUMNS, "label")?.map(Label::Column).or(unlabeled.map(Label::Every));
        Ok(Self { path, label: label.ok_or_else(|| missing(&LABEL_COLUMNS, "label"))? })
    }

    fn has_labels(&self) -> bool {
        matches!(self.label, Label::Column(_))
    }

    /// The row at a line of which `field` gives the fields.
    fn row<'f>(&self, line: u64, is_stack: bool, field: impl Fn(usize) -> &'f str) -> Result<Row, String> {
        match self.label {
            Label::Column(label) => row(line, is_stack, field(self.path), field(label)),
            Label::Every(label) => row(line, is_stack, field(self.path), label),
        }
    }
}

fn separated(text: &str, delimiter: u8, unlabeled: Option<&str>) -> Result<ParticleTable, String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut lines = Lines { text, byte: 0, line: 1 };
    let header = reader.headers().map_err(|error| lines.told(&error))?.clone();
    if header.is_empty() {
        return Err("is empty".into());
    }
    let columns = Columns::among(header.iter(), unlabeled).map_err(|problem| format!("the header {problem}"))?;
    let rows = reader.into_records().map(|record| {
        let record = record.map_err(|error| lines.told(&error))?;
        columns.row(lines.of(record.position()), false, |place| &record[place])
    });
    Ok(ParticleTable {
        rows: rows.collect::<Result<_, String>>()?,
        has_labels: columns.has_labels(),
        voxel_size: None,
        series: None,
    })
}

/// The lines of a table, asked for from the first to the last, so that each is counted once.
struct Lines<'a> {
    text: &'a str,
    /// Up to here lines have been counted.
    byte: usize,
    /// The line of that byte.
    line: u64,
}

impl Lines<'_> {
    /// The line of the first record at or behind a position: the reader's own is before the empty lines and
    /// comments that it passes over.
    fn of(&mut self, position: Option<&csv::Position>) -> u64 {
        let Some(position) = position else { return 0 };
        let start = (position.byte() as usize).clamp(self.byte, self.text.len());
        let before = &self.text.as_bytes()[self.byte..start];
        self.line += before.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.byte = start;
        let behind = self.text.get(start..).unwrap_or_default();
        self.line + behind.lines().take_while(|line| line.is_empty() || line.starts_with('#')).count() as u64
    }

    /// What is wrong with a record, with its line.
    fn told(&mut self, error: &csv::Error) -> String {
        match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                let line = self.of(error.position());
                format!("line {line}: expected {expected_len} fields as in the header, got {len}")
            }
            _ => error.to_string(),
        }
    }
}

/// The one table that names subtomograms, and what RELION says of them elsewhere in the file.
fn from_star(text: &str, unlabeled: Option<&str>) -> Result<ParticleTable, String> {
    let blocks = star::read(text)?;
    let values = |wanted: &'static str| {
        blocks.iter().flat_map(move |block| {
            let place = block.columns.iter().position(|column| column.eq_ignore_ascii_case(wanted));
            block.rows.iter().filter_map(move |(line, row)| Some((*line, row[place?])))
        })
    };
    let are_stacks = values("rlnTomoSubTomosAre2DStacks").any(|(_, value)| value == "1");
    let mut series = None;
    let mut found: Option<(&str, Vec<Row>, bool)> = None;
    let mut first_problem = None;
    for block in &blocks {
        match (Columns::among(block.columns.iter().copied(), unlabeled), &found) {
            (Ok(_), Some((name, ..))) => {
                let problem = format!("the blocks `data_{name}` and `data_{}` both name subtomograms", block.name);
                return Err(format!("{problem}; expected one table of them"));
            }
            (Ok(columns), None) => {
                if are_stacks {
                    series = Some(frames(block)?);
                }
                let rows = block
                    .rows
                    .iter()
                    .map(|(line, fields)| columns.row(*line as u64, are_stacks, |place| fields[place]));
                found = Some((block.name, rows.collect::<Result<_, String>>()?, columns.has_labels()));
            }
            (Err(problem), _) => first_problem = Some(format!("the block `data_{}` {problem}", block.name)),
        }
    }
    let Some((_, rows, has_labels)) = found else {
        return Err(first_problem.unwrap_or_else(|| "holds no data_ block".into()));
    };
    Ok(ParticleTable { rows, has_labels, voxel_size: one_size(values("rlnImagePixelSize"))?, series })
}

/// Of each row the tomogram and which of its tilts the stack has.
fn frames(block: &star::StarTable<'_>) -> Result<Vec<(String, Vec<bool>)>, String> {
    let place = |name: &str| {
        let found = block.columns.iter().position(|column| column.eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("has stacks of images, but no column {name}"))
    };
    let (tomogram, visible) = (place("rlnTomoName")?, place("rlnTomoVisibleFrames")?);
    let row = |(line, row): &(usize, Vec<&str>)| {
        let frames = relion5::visible(row[visible]);
        let frames = frames.ok_or_else(|| format!("line {line}: `{}` is no list of visible frames", row[visible]))?;
        Ok((row[tomogram].to_owned(), frames))
    };
    block.rows.iter().map(row).collect()
}

/// The size that all optics groups have, in Angstrom.
fn one_size<'a>(values: impl Iterator<Item = (usize, &'a str)>) -> Result<Option<f64>, String> {
    let mut first = None;
    for (line, value) in values {
        let size = value.parse().ok().filter(|size: &f64| size.is_finite() && *size > 0.0);
        let size = size.ok_or_else(|| format!("line {line}: rlnImagePixelSize is `{value}`, expected Angstrom"))?;
        let first = *first.get_or_insert(size);
        if (size - first).abs() > 0.01 * first {
            return Err(format!("line {line}: voxels of {size:.2} Å, but others of {first:.2} Å"));
        }
    }
    Ok(first)
}

fn row(line: u64, is_stack: bool, file: &str, label: &str) -> Result<Row, String> {
    if file.is_empty() || label.is_empty() {
        let what = if file.is_empty() { "path" } else { "label" };
        return Err(format!("line {line}: the {what} is empty"));
    }
    let numbered = file.split_once('@').and_then(|(number, file)| Some((number.parse().ok()?, file)));
    let (number, file) = numbered.map_or((None, file), |(number, file)| (Some(number), file));
    if number.is_none() && !is_stack && file.trim_end_matches(".gz").ends_with(".mrcs") {
        return Err(format!("line {line}: `{file}` is a stack; {NO_STACKS}, or `1@{file}` for a volume of a stack"));
    }
    Ok(Row { line, file: file.to_owned(), number, label: label.to_owned() })
}
