//! Places in tomograms, as programs that search for particles write them.

use std::path::{Path, PathBuf};

use super::{input, star};
use crate::{Error, Result};

/// A place where a particle may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The line of the table.
    pub line: u64,
    /// The tomogram by its name, where the table has names.
    pub tomogram: Option<String>,
    /// The class, where the table has one.
    pub label: Option<String>,
    /// As the table has it, `[x, y, z]`.
    coordinates: [f64; 3],
    /// To be subtracted, in Å.
    origin: [f64; 3],
}

/// A table of candidates: one row a place.
///
/// | written by | kind | place | unit |
/// |---|---|---|---|
/// | RELION 4, Warp | `.star` | `rlnCoordinateX` `Y` `Z` | pixels of the tilt series |
/// | RELION 5 | `.star` | `rlnCenteredCoordinateXAngst` `Y` `Z` | Å from the tomogram's center |
/// | pytom-match-pick | `.star` | the one or the other | voxels of `rlnDetectorPixelSize` |
/// | anyone | `.csv`, `.tsv` | `x` `y` `z`, or names as above | voxels of the tomogram |
///
/// `rlnOriginXAngst`, `Y`, `Z` are subtracted. The tomogram's name is in `rlnTomoName`, `rlnMicrographName` or `tomogram`, a
/// class in `label` or `class`; both may be missing. The size of a pixel is that of `rlnTomoTiltSeriesPixelSize` or
/// `rlnDetectorPixelSize` anywhere in the file, else the tomogram's.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::CandidateTable;
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("candidates.star");
/// std::fs::write(&path, "data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n40 8 20\n8 8 8\n")?;
/// let table = CandidateTable::open(&path)?;
/// // Pixels of 5 Å in a tomogram of 10 Å, as `[z, y, x]`.
/// assert_eq!(table.places([32, 64, 64], 10.0, Some(5.0)), [[10.0, 4.0, 20.0], [4.0, 4.0, 4.0]]);
///
/// let scores = ("score", vec!["0.9".to_owned(), "0.1".to_owned()]);
/// let text = table.annotated(&[scores], |row| row == 0)?;
/// assert!(text.ends_with("_rlnCoordinateZ #3\n_score #4\n40 8 20 0.9\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CandidateTable {
    path: PathBuf,
    text: String,
    kind: Kind,
    centered: bool,
    pixel_size: Option<f64>,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Star,
    Separated(u8),
}

/// The columns of a place.
const PLAIN: [&str; 3] = ["rlncoordinatex", "rlncoordinatey", "rlncoordinatez"];
const CENTERED: [&str; 3] =
    ["rlncenteredcoordinatexangst", "rlncenteredcoordinateyangst", "rlncenteredcoordinatezangst"];
const SHORT: [&str; 3] = ["x", "y", "z"];
const ORIGIN: [&str; 3] = ["rlnoriginxangst", "rlnoriginyangst", "rlnoriginzangst"];
/// Angles of the frame that RELION 4's origins are in, where they are not zero.
const FRAME: [&str; 3] = ["rlntomosubtomogramrot", "rlntomosubtomogramtilt", "rlntomosubtomogrampsi"];
const TOMOGRAM: [&str; 3] = ["rlntomoname", "rlnmicrographname", "tomogram"];
const LABEL: [&str; 2] = ["label", "class"];
const PIXEL_SIZE: [&str; 2] = ["rlntomotiltseriespixelsize", "rlndetectorpixelsize"];

/// Where a row has what.
struct Columns {
    place: [usize; 3],
    centered: bool,
    origin: Option<[usize; 3]>,
    frame: Option<[usize; 3]>,
    tomogram: Option<usize>,
    label: Option<usize>,
}

impl Columns {
    fn among<'n>(names: impl Iterator<Item = &'n str>) -> Result<Self, String> {
        let names: Vec<String> = names.map(|name| name.trim().trim_start_matches('_').to_ascii_lowercase()).collect();
        let find = |wanted: &str| names.iter().position(|name| name == wanted);
        let three = |wanted: [&str; 3]| {
            let [x, y, z] = wanted.map(find);
            Some([x?, y?, z?])
        };
        let (place, centered) = match (three(CENTERED), three(PLAIN).or(three(SHORT))) {
            (Some(_), Some(_)) => {
                return Err("has places both centered and from the corner; expected one of them".to_owned());
            }
            (Some(place), None) => (place, true),
            (None, Some(place)) => (place, false),
            (None, None) => {
                return Err(
                    "has no columns for places; expected rlnCoordinateX, Y and Z, rlnCenteredCoordinateXAngst, \
                            YAngst and ZAngst, or x, y and z"
                        .to_owned(),
                );
            }
        };
        let first = |wanted: &[&str]| wanted.iter().find_map(|name| find(name));
        Ok(Self {
            place,
            centered,
            origin: three(ORIGIN),
            frame: three(FRAME),
            tomogram: first(&TOMOGRAM),
            label: first(&LABEL),
        })
    }

    fn row<'f>(&self, line: u64, field: impl Fn(usize) -> &'f str) -> Result<Candidate, String> {
        let number = |column: usize| {
            let text = field(column);
            let number = text.parse().ok().filter(|number: &f64| number.is_finite());
            number.ok_or_else(|| format!("line {line}: `{text}` is no number"))
        };
        let three = |columns: Option<[usize; 3]>| -> Result<[f64; 3], String> {
            let Some([x, y, z]) = columns else { return Ok([0.0; 3]) };
            Ok([number(x)?, number(y)?, number(z)?])
        };
        let word = |column: Option<usize>| column.map(field_of(&field)).filter(|word| !word.is_empty());
        let (origin, frame) = (three(self.origin)?, three(self.frame)?);
        let is_some = |values: [f64; 3]| values.iter().any(|value| value.abs() > 1e-6);
        if is_some(origin) && is_some(frame) {
            return Err(format!(
                "line {line}: a shift in a turned frame (rlnOrigin beside rlnTomoSubtomogramRot); apply it to the place first"
            ));
        }
        Ok(Candidate {
            line,
            tomogram: word(self.tomogram),
            label: word(self.label),
            coordinates: three(Some(self.place))?,
            origin,
        })
    }
}

fn field_of<'f>(field: &impl Fn(usize) -> &'f str) -> impl Fn(usize) -> String {
    move |column| field(column).to_owned()
}

impl CandidateTable {
    /// Reads a table of the kind that its name says.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`], with the line where there is one: no columns for places, a place that is no number,
    /// pixels of two sizes, a shift in a turned frame, no row.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = input::read_text(path)?;
        let of_file = |problem| Error::Format { path: path.to_owned(), problem };
        let kind = match input::name_and_kind(path).1.as_str() {
            "star" => Kind::Star,
            "csv" => Kind::Separated(b','),
            "tsv" | "txt" => Kind::Separated(b'\t'),
            _ => return Err(of_file("expected .csv, .tsv, .txt or .star".to_owned())),
        };
        let (columns, candidates, pixel_size) = match kind {
            Kind::Star => from_star(&text),
            Kind::Separated(delimiter) => separated(&text, delimiter),
        }
        .map_err(of_file)?;
        if candidates.is_empty() {
            return Err(of_file("names no places".to_owned()));
        }
        Ok(Self { path: path.to_owned(), text, kind, centered: columns.centered, pixel_size, candidates })
    }

    /// The rows.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Whether places are counted from the tomogram's center, in Å.
    pub fn is_centered(&self) -> bool {
        self.centered
    }

    /// The size of a pixel in Å, as the file has it.
    pub fn pixel_size(&self) -> Option<f64> {
        self.pixel_size
    }

    /// Where each candidate lies in a tomogram of this shape and voxel size in Å: `[z, y, x]` in its voxels, from the middle
    /// of the first one. `pixel_size` in Å takes the place of the file's.
    pub fn places(&self, shape: [usize; 3], voxel_size: f64, pixel_size: Option<f64>) -> Vec<[f64; 3]> {
        let unit = if self.centered { 1.0 } else { pixel_size.or(self.pixel_size).unwrap_or(voxel_size) };
        self.candidates
            .iter()
            .map(|candidate| {
                std::array::from_fn(|axis| {
                    let (coordinate, origin) = (candidate.coordinates[2 - axis], candidate.origin[2 - axis]);
                    let from = if self.centered { shape[axis] as f64 / 2.0 } else { 0.0 };
                    from + (coordinate * unit - origin) / voxel_size
                })
            })
            .collect()
    }

    /// The text of the file with these columns, a value for each row, and only the rows that `keeps` says. A column that is
    /// there already has its values replaced, others come last; all other lines of a STAR file stay as they are.
    ///
    /// # Errors
    /// [`Error::Config`] for a column of another length than the table's, a name that is not one word, and a value that no
    /// line can hold.
    pub fn annotated(&self, columns: &[(&str, Vec<String>)], keeps: impl Fn(usize) -> bool) -> Result<String> {
        let refuse = |expected: String, got: String| Err(Error::config("columns", expected, got));
        for (name, values) in columns {
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '#') {
                return refuse("names of one word".into(), format!("`{name}`"));
            }
            if values.len() != self.candidates.len() {
                return refuse(format!("{} values, one for each row", self.candidates.len()), values.len().to_string());
            }
        }
        match self.kind {
            Kind::Star => {
                let blocks =
                    star::read(&self.text).map_err(|problem| Error::Format { path: self.path.clone(), problem })?;
                let block = blocks.iter().find(|block| Columns::among(block.columns.iter().copied()).is_ok());
                let block = block.expect("it was read from there");
                let kept: Vec<bool> = (0..block.rows.len()).map(&keeps).collect();
                star::with_columns_of(&self.text, block, columns, &kept).or_else(|value| {
                    refuse("values of one line, without both kinds of quotes".into(), format!("`{value}`"))
                })
            }
            Kind::Separated(delimiter) => Ok(self.with_fields(delimiter, columns, keeps)),
        }
    }

    fn with_fields(&self, delimiter: u8, columns: &[(&str, Vec<String>)], keeps: impl Fn(usize) -> bool) -> String {
        let mut reader = reader(&self.text, delimiter);
        let mut names: Vec<String> = reader.headers().expect("read before").iter().map(str::to_owned).collect();
        let mut places = Vec::with_capacity(columns.len());
        for (name, _) in columns {
            let place = names.iter().position(|known| known.eq_ignore_ascii_case(name)).unwrap_or(names.len());
            if place == names.len() {
                names.push((*name).to_owned());
            }
            places.push(place);
        }
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
        let in_memory = "memory takes every record";
        writer.write_record(&names).expect(in_memory);
        for (index, record) in reader.records().enumerate().filter(|(index, _)| keeps(*index)) {
            let mut fields: Vec<String> = record.expect("read before").iter().map(str::to_owned).collect();
            fields.resize(names.len(), String::new());
            for (&place, (_, values)) in places.iter().zip(columns) {
                fields[place].clone_from(&values[index]);
            }
            writer.write_record(&fields).expect(in_memory);
        }
        let comments = self.text.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n"));
        let table = String::from_utf8(writer.into_inner().expect(in_memory)).expect("text in, text out");
        comments.collect::<String>() + &table
    }
}

fn reader(text: &str, delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().delimiter(delimiter).comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes())
}

type Read = (Columns, Vec<Candidate>, Option<f64>);

fn separated(text: &str, delimiter: u8) -> Result<Read, String> {
    let mut reader = reader(text, delimiter);
    let told = |error: csv::Error| match (error.position(), error.kind()) {
        (Some(at), csv::ErrorKind::UnequalLengths { expected_len, len, .. }) => {
            format!("line {}: expected {expected_len} fields as in the header, got {len}", at.line())
        }
        _ => error.to_string(),
    };
    let header = reader.headers().map_err(told)?.clone();
    let columns = Columns::among(header.iter()).map_err(|problem| format!("the header {problem}"))?;
    let mut pixel_size = None;
    let sizes: Vec<usize> =
        (0..header.len()).filter(|&at| PIXEL_SIZE.contains(&header[at].to_ascii_lowercase().as_str())).collect();
    let mut candidates = Vec::new();
    for record in reader.records() {
        let record = record.map_err(told)?;
        let line = record.position().map_or(0, csv::Position::line);
        for &at in &sizes {
            one_size(&mut pixel_size, line, &record[at])?;
        }
        candidates.push(columns.row(line, |column| &record[column])?);
    }
    Ok((columns, candidates, pixel_size))
}

fn from_star(text: &str) -> Result<Read, String> {
    let blocks = star::read(text)?;
    let mut pixel_size = None;
    for block in &blocks {
        for (at, column) in block.columns.iter().enumerate() {
            if PIXEL_SIZE.contains(&column.to_ascii_lowercase().as_str()) {
                for (line, row) in &block.rows {
                    one_size(&mut pixel_size, *line as u64, row[at])?;
                }
            }
        }
    }
    let mut found: Option<(&str, Columns, Vec<Candidate>)> = None;
    let mut first_problem = None;
    for block in &blocks {
        match (Columns::among(block.columns.iter().copied()), &found) {
            (Ok(_), Some((name, ..))) => {
                let problem = format!("the blocks `data_{name}` and `data_{}` both name places", block.name);
                return Err(format!("{problem}; expected one table of them"));
            }
            (Ok(columns), None) => {
                let rows = block.rows.iter().map(|(line, fields)| columns.row(*line as u64, |place| fields[place]));
                let rows = rows.collect::<Result<_, String>>()?;
                found = Some((block.name, columns, rows));
            }
            (Err(problem), _) => {
                first_problem.get_or_insert(format!("the block `data_{}` {problem}", block.name));
            }
        }
    }
    match found {
        Some((_, columns, candidates)) => Ok((columns, candidates, pixel_size)),
        None => Err(first_problem.unwrap_or_else(|| "holds no data_ block".into())),
    }
}

/// Takes in one more value of a pixel's size.
fn one_size(first: &mut Option<f64>, line: u64, value: &str) -> Result<(), String> {
    let size = value.parse().ok().filter(|size: &f64| size.is_finite() && *size > 0.0);
    let size = size.ok_or_else(|| format!("line {line}: a pixel of `{value}`, expected Å"))?;
    let first = *first.get_or_insert(size);
    if (size - first).abs() > 0.01 * first {
        return Err(format!("line {line}: pixels of {size:.3} Å, but others of {first:.3} Å"));
    }
    Ok(())
}
