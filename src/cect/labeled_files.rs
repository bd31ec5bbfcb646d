//! Subtomograms of the user's: MRC files and labels that a table names.

use std::{
    collections::{BTreeSet, HashMap},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ClassId, Contrast, Dataset, Map, Sample, Statistics, Volume, dataset::check_index, input, star};
use crate::{Error, Result};

/// How the files of a [`LabeledFiles`] are read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesConfig {
    /// Where relative paths start. Default the table's own directory; RELION's start at the project's.
    pub root: Option<PathBuf>,
    /// Side in voxels to which every subtomogram is cropped around its center. Default as they are.
    pub side: Option<usize>,
    /// Default [`Contrast::DarkProtein`]; subtomograms of bright protein are inverted, so that they look
    /// as simulated ones do.
    pub contrast: Contrast,
    /// The class of every subtomogram of a table that has no column of labels. Default: such a table is refused.
    pub unlabeled: Option<String>,
}

/// Labeled subtomograms in MRC files, read when they are asked for.
///
/// A table names them, as CSV, as TSV (also `.txt`) or as STAR:
///
/// | column | or | is |
/// |---|---|---|
/// | `path` | `rlnImageName`, `image`, `file` | an MRC file of one cubic subtomogram, also compressed with gzip |
/// | `label` | `rlnClassNumber`, `class` | the class, a number or a word |
///
/// Names do not depend on case; other columns are passed over. Where nothing is known of the classes,
/// [`FilesConfig::unlabeled`] stands for the second column. CSV and TSV need a header, `#` starts a
/// comment, and quotes protect commas. Of a STAR file the one table with the columns counts, so that
/// RELION's `data_optics` does no harm; there may be `rlnImagePixelSize`, which headers do not always have. Classes are numbered in the order of their labels, by value if
/// all are numbers; labels that are written differently, as `1` and `1.0`, are two classes.
///
/// All headers are looked at once, so that a file that is missing or no MRC file is found before a
/// run starts; one in which no voxel differs from the others is refused when it is read. Nothing but the
/// table is kept in memory.
///
/// # Examples
/// ```
/// use soft_lmccl::cect::{Dataset, FilesConfig, LabeledFiles, Map, Volume};
///
/// let directory = tempfile::tempdir()?;
/// for (name, offset) in [("a.mrc", 0), ("b.mrc.gz", 5)] {
///     let volume = Volume::new(2, (offset..offset + 8).map(|v| v as f32).collect())?;
///     Map::from_volume(&volume, 13.68).save(directory.path().join(name))?;
/// }
/// let table = directory.path().join("particles.csv");
/// std::fs::write(&table, "label,path\nribosome,a.mrc\nmembrane,b.mrc.gz\n")?;
///
/// let files = LabeledFiles::open(&table, FilesConfig::default())?;
/// assert_eq!(files.classes(), ["membrane", "ribosome"]);
/// assert_eq!((files.class(0).0, files.sample(1)?.volume.get(0, 0, 0)), (1, Some(5.0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LabeledFiles {
    names: Vec<String>,
    has_labels: bool,
    rows: Vec<(PathBuf, ClassId)>,
    side: usize,
    voxel_size: Option<f64>,
    contrast: Contrast,
}

/// What a table says.
struct Table {
    rows: Vec<Row>,
    has_labels: bool,
    /// In Angstrom.
    voxel_size: Option<f64>,
}

/// A row of the table: its line, the file as it is written there, the label.
struct Row {
    line: u64,
    file: String,
    label: String,
}

/// What to do about stacks of images.
const NO_STACKS: &str = "expected a file of one subtomogram (in RELION 5, extract 3-D subtomograms, not 2-D stacks)";

const PATH_COLUMNS: [&str; 4] = ["path", "rlnimagename", "image", "file"];
const LABEL_COLUMNS: [&str; 3] = ["label", "rlnclassnumber", "class"];

impl LabeledFiles {
    /// Reads the table and the headers of the files.
    ///
    /// # Errors
    /// [`Error::Io`] if the table cannot be read; [`Error::Format`] with its path and the line for a table
    /// that lacks a column or holds no rows, an empty field, a file that is missing, is named twice (under
    /// whatever name), is no cubic MRC map of cubic voxels or has another side or voxel size than the first, and for
    /// stacks of images or of volumes, which are not one subtomogram.
    pub fn open(table: impl AsRef<Path>, config: FilesConfig) -> Result<Self> {
        let table = table.as_ref();
        let of_table = |problem: String| Error::Format { path: table.to_owned(), problem };
        let text = input::read_text(table)?;
        let extension = table.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let unlabeled = config.unlabeled.as_deref();
        let Table { rows, has_labels, voxel_size: stated } = match extension.as_str() {
            "csv" => separated(&text, b',', unlabeled),
            "tsv" | "txt" => separated(&text, b'\t', unlabeled),
            "star" => from_star(&text, unlabeled),
            _ => Err("expected .csv, .tsv, .txt or .star".to_owned()),
        }
        .map_err(of_table)?;
        if rows.is_empty() {
            return Err(of_table("holds no subtomograms".into()));
        }
        let root = config.root.clone().unwrap_or_else(|| table.parent().map(Path::to_owned).unwrap_or_default());
        let (side, measured) = common_size(&rows, &root, config.side).map_err(of_table)?;
        let names = ordered(&rows);
        let classes: HashMap<&str, ClassId> = names.iter().map(String::as_str).zip((0..).map(ClassId)).collect();
        let rows = rows.iter().map(|row| (root.join(&row.file), classes[row.label.as_str()])).collect();
        Ok(Self { names, has_labels, rows, side, voxel_size: stated.or(measured), contrast: config.contrast })
    }

    /// Side of every subtomogram in voxels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Whether the table has a column of labels; else all are of the class that [`FilesConfig::unlabeled`] names.
    pub fn has_labels(&self) -> bool {
        self.has_labels
    }

    /// Edge of a voxel in Angstrom, if a STAR file's `rlnImagePixelSize` or else the headers give it.
    pub fn voxel_size(&self) -> Option<f64> {
        self.voxel_size
    }

    /// The file of a sample.
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.rows.get(index).map(|(path, _)| path.as_path())
    }
}

impl Dataset for LabeledFiles {
    fn classes(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn class(&self, index: usize) -> ClassId {
        self.rows[index].1
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        check_index(index, self.len())?;
        let (path, class) = &self.rows[index];
        let of_file = |error| match error {
            Error::Volume(problem) => Error::Format { path: path.clone(), problem },
            other => other,
        };
        let volume = Map::open(path)?.into_volume().map_err(of_file)?;
        // The file may have been replaced since its header was read.
        if volume.side() < self.side {
            let problem = format!("expected {} voxels along each edge, got {}", self.side, volume.side());
            return Err(Error::Format { path: path.clone(), problem });
        }
        let volume = volume.centered(self.side)?;
        // An empty or masked one: whoever standardizes it later does not know the file.
        let Statistics { min, max, .. } = volume.statistics();
        if max <= min {
            let problem = format!("expected voxels that differ, got {min} in all {}³", self.side);
            return Err(Error::Format { path: path.clone(), problem });
        }
        let volume = match self.contrast {
            Contrast::DarkProtein => volume,
            Contrast::BrightProtein => {
                Volume::from_finite(self.side, volume.voxels().iter().map(|voxel| -voxel).collect())
            }
        };
        Ok(Sample { volume, class: *class })
    }
}

/// The text of a STAR file with these columns, a value for each row, in the table that names the subtomograms: what was
/// found of them, for the programs that wrote the file.
///
/// A column that is there already has its values replaced, others come last; all other lines stay as they are. That is
/// the first table with a column for the path, as [`LabeledFiles`] reads it where [`FilesConfig::unlabeled`] is set.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if the file is no STAR file or has no such table; [`Error::Config`] for a column of
/// another length than the table's, a name that is not one word, and a value that no line can hold.
///
/// # Examples
/// ```
/// use soft_lmccl::cect::annotate_star;
///
/// let table = tempfile::tempdir()?.keep().join("particles.star");
/// std::fs::write(&table, "data_particles\nloop_\n_rlnImageName #1\n_rlnClassNumber #2\na.mrc 1\nb.mrc 1\n")?;
/// let classes = vec!["2".to_owned(), "1".to_owned()];
/// let scores = vec!["0.93".to_owned(), "0.88".to_owned()];
/// let text = annotate_star(&table, &[("rlnClassNumber", classes), ("score", scores)])?;
/// assert!(text.ends_with("_rlnClassNumber #2\n_score #3\na.mrc 2 0.93\nb.mrc 1 0.88\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn annotate_star(table: impl AsRef<Path>, columns: &[(&str, Vec<String>)]) -> Result<String> {
    let table = table.as_ref();
    let refuse = |expected: String, got: String| Err(Error::Config { field: "columns", expected, got });
    let of_table = |problem: String| Error::Format { path: table.to_owned(), problem };
    let text = input::read_text(table)?;
    let blocks = star::read(&text).map_err(of_table)?;
    let named = |block: &&star::Block<'_>| Columns::among(block.columns.iter().copied(), Some("")).is_ok();
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
    fn row<'f>(&self, line: u64, field: impl Fn(usize) -> &'f str) -> Result<Row, String> {
        match self.label {
            Label::Column(label) => row(line, field(self.path), field(label)),
            Label::Every(label) => row(line, field(self.path), label),
        }
    }
}

fn separated(text: &str, delimiter: u8, unlabeled: Option<&str>) -> Result<Table, String> {
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
        columns.row(lines.of(record.position()), |place| &record[place])
    });
    Ok(Table { rows: rows.collect::<Result<_, String>>()?, has_labels: columns.has_labels(), voxel_size: None })
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
fn from_star(text: &str, unlabeled: Option<&str>) -> Result<Table, String> {
    let blocks = star::read(text)?;
    let values = |wanted: &'static str| {
        blocks.iter().flat_map(move |block| {
            let place = block.columns.iter().position(|column| column.eq_ignore_ascii_case(wanted));
            block.rows.iter().filter_map(move |(line, row)| Some((*line, row[place?])))
        })
    };
    if let Some((line, _)) = values("rlnTomoSubTomosAre2DStacks").find(|(_, value)| *value == "1") {
        return Err(format!("line {line}: rlnTomoSubTomosAre2DStacks is 1; {NO_STACKS}"));
    }
    let mut found: Option<(&str, Vec<Row>, bool)> = None;
    let mut first_problem = None;
    for block in &blocks {
        match (Columns::among(block.columns.iter().copied(), unlabeled), &found) {
            (Ok(_), Some((name, ..))) => {
                let problem = format!("the blocks `data_{name}` and `data_{}` both name subtomograms", block.name);
                return Err(format!("{problem}; expected one table of them"));
            }
            (Ok(columns), None) => {
                let rows = block.rows.iter().map(|(line, fields)| columns.row(*line as u64, |place| fields[place]));
                found = Some((block.name, rows.collect::<Result<_, String>>()?, columns.has_labels()));
            }
            (Err(problem), _) => first_problem = Some(format!("the block `data_{}` {problem}", block.name)),
        }
    }
    let Some((_, rows, has_labels)) = found else {
        return Err(first_problem.unwrap_or_else(|| "holds no data_ block".into()));
    };
    Ok(Table { rows, has_labels, voxel_size: one_size(values("rlnImagePixelSize"))? })
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

fn row(line: u64, file: &str, label: &str) -> Result<Row, String> {
    if file.is_empty() || label.is_empty() {
        let what = if file.is_empty() { "path" } else { "label" };
        return Err(format!("line {line}: the {what} is empty"));
    }
    if file.split_once('@').is_some_and(|(place, _)| !place.is_empty() && place.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("line {line}: `{file}` is a place in a stack of images; {NO_STACKS}"));
    }
    if file.trim_end_matches(".gz").ends_with(".mrcs") {
        return Err(format!("line {line}: `{file}` is a stack of images; {NO_STACKS}"));
    }
    Ok(Row { line, file: file.to_owned(), label: label.to_owned() })
}

/// Labels without repeats, by value if all are numbers.
fn ordered(rows: &[Row]) -> Vec<String> {
    let names: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    // Whole numbers by themselves: large ones are not told apart in floating point.
    if names.iter().all(|name| name.parse::<i64>().is_ok()) {
        names.sort_by_key(|name| name.parse::<i64>().unwrap_or_default());
    } else if names.iter().all(|name| name.parse::<f64>().is_ok_and(f64::is_finite)) {
        let value = |name: &str| name.parse::<f64>().unwrap_or_default();
        names.sort_by(|a, b| value(a).total_cmp(&value(b)));
    }
    names
}

/// The side that samples will have and the voxel size, if all headers allow one.
fn common_size(rows: &[Row], root: &Path, wanted: Option<usize>) -> Result<(usize, Option<f64>), String> {
    let start = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let mut seen = HashMap::new();
    for row in rows {
        // One file under two names is one sample; of a file that is missing the name is told below.
        let path = root.join(&row.file);
        if let Some(first) = seen.insert(path.canonicalize().unwrap_or(path), row.line) {
            return Err(format!("line {}: `{}` was named on line {first} already", row.line, row.file));
        }
    }
    let measured: Vec<(usize, f64)> = rows
        .par_iter()
        .map(|row| {
            let of_row = |problem: String| format!("line {}: `{}`: {problem}", row.line, row.file);
            let (shape, voxel_size) = Map::peek(&root.join(&row.file)).map_err(|error| {
                of_row(match &error {
                    // RELION's tables lie in the directory of a job, and their paths start at the project's.
                    Error::Io { source, .. }
                        if source.kind() == ErrorKind::NotFound && Path::new(&row.file).is_relative() =>
                    {
                        let unreadable = row.file.contains(char::REPLACEMENT_CHARACTER);
                        let spelled = if unreadable { ", and a name that is not UTF-8 cannot be read" } else { "" };
                        format!("{source}; paths start at `{}`{spelled}", start.display())
                    }
                    Error::Io { source, .. } => source.to_string(),
                    Error::Format { problem, .. } => problem.clone(),
                    other => other.to_string(),
                })
            })?;
            let [z, y, x] = shape;
            if z != y || y != x {
                return Err(of_row(format!("expected a cube, got {z} × {y} × {x} voxels")));
            }
            let [z, y, x_size] = voxel_size;
            if z.max(y).max(x_size) > 1.01 * z.min(y).min(x_size) {
                return Err(of_row(format!("expected cubic voxels, got {x_size:.2} × {y:.2} × {z:.2} Å")));
            }
            Ok((x, x_size))
        })
        // In the order of the rows, so that the first line with a slip is the one that is told.
        .collect::<Vec<Result<_, String>>>()
        .into_iter()
        .collect::<Result<_, String>>()?;
    let (first_side, first_size) = measured[0];
    for (row, &(side, size)) in rows.iter().zip(&measured) {
        let problem = match wanted {
            Some(wanted) if side < wanted => format!("{side} voxels along each edge cannot be cropped to {wanted}"),
            None if side != first_side => {
                format!("{side} voxels along each edge, but the first file has {first_side}; a side to crop to helps")
            }
            _ if (size - first_size).abs() > 0.01 * first_size => {
                format!("voxels of {size:.2} Å, but the first file has {first_size:.2} Å")
            }
            _ => continue,
        };
        return Err(format!("line {}: `{}`: {problem}", row.line, row.file));
    }
    if wanted == Some(0) {
        return Err("a side of 0 voxels cannot be used".into());
    }
    Ok((wanted.unwrap_or(first_side), (first_size > 0.0).then_some(first_size)))
}
