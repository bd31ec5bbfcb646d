//! What is written, and what is printed of it.

use std::{collections::BTreeMap, fs, io, path::Path};

use npyz::WriterBuilder;
use soft_lmccl::{Error, Result, metrics::EmbeddingSet};

use crate::{program::write_whole, subtomograms::Subtomograms};

/// What a particle was found to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found<'a> {
    /// The nearest enrolled class.
    pub nearest: &'a str,
    /// The cosine to its prototype.
    pub score: f64,
    /// Whether that is near enough, if it was calibrated.
    pub accepted: Option<bool>,
}

/// Writes `embeddings.npy`, `labels.npy` if there are labels, and `particles.csv`.
///
/// # Errors
/// [`Error::Io`].
pub fn write(
    out: &Path,
    particles: &Subtomograms,
    embeddings: &EmbeddingSet,
    found: Option<&[Found<'_>]>,
) -> Result<()> {
    let (rows, columns) = (embeddings.len() as u64, embeddings.dim() as u64);
    let values = (0..embeddings.len()).flat_map(|row| embeddings.row(row).iter().copied());
    write_npy(&out.join("embeddings.npy"), &[rows, columns], values)?;
    let labels = out.join("labels.npy");
    if particles.classes().is_empty() {
        // Those of an earlier command are not these particles'.
        match fs::remove_file(&labels) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Io { action: "remove", path: labels, source });
            }
            _ => {}
        }
    } else {
        write_npy(&labels, &[rows], embeddings.labels().iter().map(|&label| i64::from(label)))?;
    }
    let path = out.join("particles.csv");
    let table = table(particles, found).map_err(|source| Error::Io { action: "write", path: path.clone(), source })?;
    write_whole(&path, &table)
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
fn table(particles: &Subtomograms, found: Option<&[Found<'_>]>) -> io::Result<Vec<u8>> {
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
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for found in found {
        let (nearest, accepted) = counts.entry(found.nearest).or_default();
        *nearest += 1;
        *accepted += usize::from(found.accepted == Some(true));
    }
    let calibrated = found.iter().any(|found| found.accepted.is_some());
    let mut header = vec!["class".to_owned(), "nearest".to_owned()];
    header.extend(calibrated.then(|| "accepted".to_owned()));
    let rows = counts.into_iter().map(|(class, (nearest, accepted))| {
        let mut row = vec![class.to_owned(), nearest.to_string()];
        row.extend(calibrated.then(|| accepted.to_string()));
        row
    });
    std::iter::once(header).chain(rows).collect()
}
