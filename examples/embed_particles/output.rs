//! What is written, and what is printed of it.

use std::{collections::BTreeMap, fs, io, path::Path};

use npyz::WriterBuilder;
use soft_lmccl::{Error, Result, cect::annotate_star, metrics::EmbeddingSet};

use crate::{program::write_whole, subtomograms::Subtomograms};

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

/// Writes `embeddings.npy`, `labels.npy` if there are labels, `particles.csv`, and `particles.star` if something was found
/// of the particles of such a file. Files of an earlier command that these do not replace are not these particles': they
/// are removed.
///
/// # Errors
/// [`Error::Io`].
pub fn write(
    out: &Path,
    table: &Path,
    particles: &Subtomograms,
    embeddings: &EmbeddingSet,
    found: Option<&[Found<'_>]>,
) -> Result<()> {
    let (rows, columns) = (embeddings.len() as u64, embeddings.dim() as u64);
    write_npy(&out.join("embeddings.npy"), &[rows, columns], embeddings.view().iter().copied())?;
    let labels = out.join("labels.npy");
    match particles.classes() {
        [] => remove(&labels)?,
        _ => write_npy(&labels, &[rows], embeddings.labels().iter().map(|&label| i64::from(label)))?,
    }
    let star = out.join("particles.star");
    match found.filter(|_| table.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("star"))) {
        None => remove(&star)?,
        Some(found) => write_whole(&star, annotate_star(table, &star_columns(found))?.as_bytes())?,
    }
    let path = out.join("particles.csv");
    let rows =
        csv_rows(particles, found).map_err(|source| Error::Io { action: "write", path: path.clone(), source })?;
    write_whole(&path, &rows)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
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

fn write_npy<T: npyz::AutoSerialize>(path: &Path, shape: &[u64], values: impl Iterator<Item = T>) -> Result<()> {
    let mut bytes = Vec::new();
    let written = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd();
    written
        .and_then(|mut writer| writer.extend(values).and_then(|()| writer.finish()))
        .map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })?;
    write_whole(path, &bytes)
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
