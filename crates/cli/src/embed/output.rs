//! What is written, and what is printed of it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Result;
use npyz::WriterBuilder;
use soft_lmccl::{
    cect::annotate_star,
    metrics::{DirPoint, EmbeddingSet},
};

use super::subtomograms::Subtomograms;
use crate::program::{lock::LOCK, refused};
use anyhow::Context;
use soft_lmccl_files::Written;

/// What a particle was found to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found<'a> {
    /// The nearest enrolled class.
    pub nearest: &'a str,
    /// Its number among the enrolled classes, from 1.
    pub number: usize,
    /// The cosine to its prototype.
    pub score: f64,
    /// Whether that is near enough, if it was calibrated.
    pub accepted: Option<bool>,
}

/// Everything that is ever written to `--out`.
const NAMES: [&str; 5] = ["embeddings.npy", "labels.npy", "particles.csv", "particles.star", "calibration.json"];

/// Whether what lies in `out` under these names is of this program and none of `inputs`: it is going to be replaced.
///
/// # Errors
/// The first file that must not be.
pub fn require_own<'a>(out: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let inputs: Vec<_> = inputs.into_iter().filter_map(|path| path.canonicalize().ok()).collect();
    let is_own = out.join(LOCK).exists();
    let kept = |path: &PathBuf| match path.canonicalize() {
        Ok(found) => !is_own || inputs.contains(&found),
        Err(_) => false,
    };
    match NAMES.iter().map(|name| out.join(name)).find(kept) {
        None => Ok(()),
        Some(path) => {
            Err(refused("--out", "a directory of its own, since files of these names are replaced", path.display()))
        }
    }
}

/// Writes `embeddings.npy`, `labels.npy` if there are labels, `particles.csv`, `particles.star` if something was found
/// of the particles of such a file, and `calibration.json` if there is one.
///
/// # Errors
/// The system; what an earlier command left is still there then, unless renaming failed.
pub fn write(
    out: &Path,
    table: &Path,
    particles: &Subtomograms,
    embeddings: &EmbeddingSet,
    found: Option<&[Found<'_>]>,
    calibration: Option<&DirPoint>,
) -> Result<()> {
    let failed = |name: &str| {
        let path = out.join(name);
        move || format!("cannot write {}", path.display())
    };
    let [embeddings_npy, labels_npy, particles_csv, particles_star, calibration_json] = NAMES;
    let (rows, columns) = (embeddings.len() as u64, embeddings.dim() as u64);
    let values = npy(&[rows, columns], embeddings.view().iter().copied()).with_context(failed(embeddings_npy))?;
    let mut files = vec![(embeddings_npy, values)];
    if !particles.classes().is_empty() {
        let labels = embeddings.labels().iter().map(|&label| i64::from(label));
        files.push((labels_npy, npy(&[rows], labels).with_context(failed(labels_npy))?));
    }
    files.push((particles_csv, csv_rows(particles, found).with_context(failed(particles_csv))?));
    let is_star = table.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("star"));
    if let Some(found) = found.filter(|_| is_star) {
        files.push((particles_star, annotate_star(table, &star_columns(found))?.into_bytes()));
    }
    if let Some(point) = calibration {
        let json = serde_json::to_string_pretty(point).expect("a point is plain data with string keys");
        files.push((calibration_json, (json + "\n").into_bytes()));
    }
    let written: Vec<_> = files
        .iter()
        .map(|(name, bytes)| Written::beside(&out.join(name), bytes).with_context(failed(name)))
        .collect::<Result<_>>()?;
    // Files of two commands never lie side by side: old ones go before new ones come.
    for path in NAMES.map(|name| out.join(name)) {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(anyhow::Error::new(source).context(format!("cannot replace {}", path.display())));
            }
            _ => {}
        }
    }
    for (written, (name, _)) in written.into_iter().zip(&files) {
        written.place().with_context(failed(name))?;
    }
    Ok(())
}

/// The class as the number that RELION selects by, 0 where it was rejected, and in words.
fn star_columns(found: &[Found<'_>]) -> [(&'static str, Vec<String>); 3] {
    let column = |value: &dyn Fn(&Found<'_>) -> String| found.iter().map(value).collect();
    let number = |found: &Found<'_>| if found.accepted == Some(false) { 0 } else { found.number };
    [
        ("rlnClassNumber", column(&|found| number(found).to_string())),
        ("softLmcclNearest", column(&|found| found.nearest.to_owned())),
        ("softLmcclScore", column(&|found| format!("{:.6}", found.score))),
    ]
}

fn npy<T: npyz::AutoSerialize>(shape: &[u64], values: impl Iterator<Item = T>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values)?;
    writer.finish()?;
    Ok(bytes)
}

/// A row for each particle, in the order of its table and of the embeddings.
fn csv_rows(particles: &Subtomograms, found: Option<&[Found<'_>]>) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let calibrated = found.is_some_and(|found| found.iter().any(|found| found.accepted.is_some()));
    let mut header = vec!["path"];
    header.extend((!particles.classes().is_empty()).then_some("label"));
    header.extend(found.iter().flat_map(|_| ["nearest", "score"]));
    header.extend(calibrated.then_some("accepted"));
    writer.write_record(header)?;
    for (index, (path, label)) in particles.rows().enumerate() {
        let mut row = vec![path.display().to_string()];
        row.extend(label.map(str::to_owned));
        if let Some(found) = found.map(|found| &found[index]) {
            row.extend([found.nearest.to_owned(), format!("{:.6}", found.score)]);
            row.extend(found.accepted.map(|accepted| accepted.to_string()));
        }
        writer.write_record(row)?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

/// How many particles are nearest to each class.
pub fn summary(found: &[Found<'_>]) -> Vec<Vec<String>> {
    let mut counts: BTreeMap<(usize, &str), (usize, usize)> = BTreeMap::new();
    for found in found {
        let (nearest, accepted) = counts.entry((found.number, found.nearest)).or_default();
        *nearest += 1;
        *accepted += usize::from(found.accepted == Some(true));
    }
    let calibrated = found.iter().any(|found| found.accepted.is_some());
    let mut header = ["number", "class", "nearest"].map(str::to_owned).to_vec();
    header.extend(calibrated.then(|| "accepted".to_owned()));
    let rows = counts.into_iter().map(|((number, class), (nearest, accepted))| {
        let mut row = vec![number.to_string(), class.to_owned(), nearest.to_string()];
        row.extend(calibrated.then(|| accepted.to_string()));
        row
    });
    std::iter::once(header).chain(rows).collect()
}
