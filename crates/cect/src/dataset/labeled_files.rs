//! The user's subtomograms: files and labels that a table names.

use std::{
    collections::{BTreeSet, HashMap},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Dataset, Sample, check_index, source::Source};
use crate::{
    Error, Result,
    io::{
        Place, relion5,
        table::{ParticleTable, Row},
    },
    split::ClassId,
    volume::{Contrast, Statistics, Volume},
};

/// How the files of a [`LabeledFiles`] are read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesConfig {
    /// Where relative paths start. Default: the table's own directory. RELION's start at the project's.
    pub root: Option<PathBuf>,
    /// Side in voxels to which every subtomogram is cropped around its center. Default: no crop.
    pub side: Option<usize>,
    /// Default [`Contrast::DarkProtein`]; subtomograms of bright protein are inverted, to look as simulated ones do.
    pub contrast: Contrast,
    /// The class of every subtomogram of a table that has no column of labels. Default: such a table is refused.
    pub unlabeled: Option<String>,
    /// RELION 5's `tomograms.star`, where the table names stacks of images instead of volumes. Default: that which an
    /// `optimisation_set.star` names.
    pub tomograms: Option<PathBuf>,
}

/// Labeled subtomograms in MRC or EM files, read when they are asked for.
///
/// A table names them, as CSV, as TSV (also `.txt`) or as STAR:
///
/// | column | or | is |
/// |---|---|---|
/// | `path` | `rlnImageName`, `image`, `file` | an MRC or EM file of one cubic subtomogram, also compressed with gzip |
/// | `label` | `rlnClassNumber`, `class` | the class, a number or a word |
///
/// A `path` of `12@stack.mrcs` is volume 12 of a stack. Column names do not depend on case; other columns are passed
/// over. Where no classes are known, [`FilesConfig::unlabeled`] replaces the label column. CSV and TSV need a header;
/// `#` starts a comment, and quotes protect commas.
///
/// Of a STAR file the one table with the columns counts: RELION's `data_optics` does no harm. Its `rlnImagePixelSize`
/// goes before the headers. Classes are numbered in the order of their labels, by value if all are numbers. Labels
/// written differently, as `1` and `1.0`, are two classes.
///
/// All headers are read at once: a missing file, or one that is no map, is found before a run starts. A file whose
/// voxels are all equal is refused when it is read. Only the table is kept in memory.
///
/// # Stacks of images
/// RELION 5 extracts the images of a tilt series, not volumes (`rlnTomoSubTomosAre2DStacks`). A stack becomes a volume by back
/// projection along the matrices (`rlnTomoProjX`, `rlnTomoProjY`) or angles (`rlnTomoXTilt`, `rlnTomoYTilt`, `rlnTomoZRot`) of
/// its visible frames. Open the job's `optimisation_set.star`, or give [`FilesConfig::tomograms`]. The images are taken as they
/// are: whatever CTF they carry, premultiplied or not, the volume carries.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{ClassId, Dataset, FilesConfig, LabeledFiles, Map, Volume};
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
/// assert_eq!((files.class(0), files.sample(1)?.volume.get(0, 0, 0)), (Some(ClassId(1)), Some(5.0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LabeledFiles {
    names: Vec<String>,
    has_labels: bool,
    rows: Vec<(Source, ClassId)>,
    side: usize,
    voxel_size: Option<f64>,
    contrast: Contrast,
}

impl LabeledFiles {
    /// Reads the table and the headers of the files.
    ///
    /// # Errors
    /// - [`Error::Io`] if the table cannot be read.
    /// - [`Error::Format`] with the table's path and the line: no such column, no rows or an empty field; a file that
    ///   is missing, is named twice (under whatever name), is no cubic map of cubic voxels or has another side or
    ///   voxel size than the first; a stack of volumes without a number, or of images not from RELION 5.
    pub fn open(table: impl AsRef<Path>, config: FilesConfig) -> Result<Self> {
        let table = table.as_ref();
        let root = config.root.clone().unwrap_or_else(|| table.parent().map(Path::to_owned).unwrap_or_default());
        let (table, tomograms) = match relion5::optimisation_set(table)? {
            Some([particles, tomograms]) => (root.join(particles), Some(tomograms.into())),
            None => (table.to_owned(), config.tomograms.clone()),
        };
        let of_table = |problem: String| Error::Format { path: table.clone(), problem };
        let read = ParticleTable::read(&table, config.unlabeled.as_deref())?;
        if read.rows.is_empty() {
            return Err(of_table("holds no subtomograms".into()));
        }
        let tomograms = tomograms.map(|tomograms| root.join(tomograms));
        let sources = Source::of(&read, &root, tomograms.as_deref()).map_err(of_table)?;
        let ParticleTable { rows, has_labels, voxel_size: stated, .. } = read;
        let (side, measured) = common_size(&rows, &sources, &root, config.side).map_err(of_table)?;
        let names = ordered(&rows);
        let classes: HashMap<&str, ClassId> = names.iter().map(String::as_str).zip((0..).map(ClassId)).collect();
        let rows = sources.into_iter().zip(rows.iter().map(|row| classes[row.label.as_str()])).collect();
        Ok(Self { names, has_labels, rows, side, voxel_size: stated.or(measured), contrast: config.contrast })
    }

    /// Side of every subtomogram in voxels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Whether the table has a column of labels; if not, [`FilesConfig::unlabeled`] is the class of all.
    pub fn has_labels(&self) -> bool {
        self.has_labels
    }

    /// Edge of a voxel in Angstrom, if a STAR file's `rlnImagePixelSize` or else the headers give it.
    pub fn voxel_size(&self) -> Option<f64> {
        self.voxel_size
    }

    /// The file of a sample.
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.rows.get(index).map(|(source, _)| source.path())
    }
}

impl Dataset for LabeledFiles {
    fn classes(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn class(&self, index: usize) -> Option<ClassId> {
        self.rows.get(index).map(|&(_, class)| class)
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        check_index(index, self.len())?;
        let (source, class) = &self.rows[index];
        let path = source.path();
        let of_file = |error| match error {
            Error::Volume(problem) => Error::Format { path: path.to_owned(), problem },
            other => other,
        };
        let volume = source.volume().map_err(of_file)?;
        // The file may have been replaced since its header was read.
        if volume.side() < self.side {
            let problem = format!("expected {} voxels along each edge, got {}", self.side, volume.side());
            return Err(Error::Format { path: path.to_owned(), problem });
        }
        let volume = volume.centered(self.side)?;
        // Without this, standardizing an empty or masked volume would fail later, unaware of the file.
        let Statistics { min, max, .. } = volume.statistics();
        if max <= min {
            let problem = format!("expected voxels that differ, got {min} in all {}³", self.side);
            return Err(Error::Format { path: path.to_owned(), problem });
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

/// Distinct labels, by value if all are numbers.
fn ordered(rows: &[Row]) -> Vec<String> {
    let names: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    // Whole numbers are compared as such: floating point does not tell large ones apart.
    if names.iter().all(|name| name.parse::<i64>().is_ok()) {
        names.sort_by_key(|name| name.parse::<i64>().unwrap_or_default());
    } else if names.iter().all(|name| name.parse::<f64>().is_ok_and(f64::is_finite)) {
        let value = |name: &str| name.parse::<f64>().unwrap_or_default();
        names.sort_by(|a, b| value(a).total_cmp(&value(b)));
    }
    names
}

/// The side that samples will have and the voxel size, if all headers allow one.
fn common_size(
    rows: &[Row],
    sources: &[Source],
    root: &Path,
    wanted: Option<usize>,
) -> Result<(usize, Option<f64>), String> {
    let start = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let mut seen = HashMap::new();
    for (row, source) in rows.iter().zip(sources) {
        // One file under two names is one sample; a missing file is reported below.
        let Place { path, number } = source.place();
        if let Some(first) = seen.insert((path.canonicalize().unwrap_or(path), number), row.line) {
            return Err(format!("line {}: `{}` was named on line {first} already", row.line, row.written()));
        }
    }
    let measured: Vec<(usize, f64)> = rows
        .par_iter()
        .zip(sources)
        .map(|(row, source)| {
            let of_row = |problem: String| format!("line {}: `{}`: {problem}", row.line, row.file);
            let (shape, voxel_size) = source.peek().map_err(|error| {
                of_row(match &error {
                    // RELION's tables lie in the directory of a job, and their paths start at the project's.
                    Error::Io { source, .. }
                        if source.kind() == ErrorKind::NotFound && Path::new(&row.file).is_relative() =>
                    {
                        let unreadable = row.file.contains(char::REPLACEMENT_CHARACTER);
                        let spelled = if unreadable { ", and a name that is not UTF-8 cannot be read" } else { "" };
                        format!(
                            "{source}; relative paths start at `{}` unless a root is given{spelled}",
                            start.display()
                        )
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
        // In the order of the rows, so that the first faulty line is reported.
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
