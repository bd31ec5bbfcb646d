//! Embeddings in a table of comma-separated values.

use std::path::Path;

use ndarray::Array2;

use super::{ArrayNames, EmbeddingTable, format, narrow};
use crate::{Error, Result};

/// A table with headings; whatever is neither a label nor an id is a dimension.
pub(super) fn table(path: &Path, names: &ArrayNames) -> Result<EmbeddingTable> {
    let refused = |problem: csv::Error| refused(path, problem);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(refused)?;
    let headings = reader.headers().map_err(refused)?.clone();
    let column = |name: &str| headings.iter().position(|heading| heading == name);
    let (label, id) = (column(&names.labels), column(&names.ids));
    let others: Vec<usize> = names.others.iter().filter_map(|name| column(name)).collect();
    let is_dimension = |at: &usize| Some(*at) != label && Some(*at) != id && !others.contains(at);
    let dimensions: Vec<usize> = (0..headings.len()).filter(is_dimension).collect();
    let (mut values, mut labels, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(refused)?;
        for &at in &dimensions {
            let value = record[at].parse::<f64>().map_err(|_| "expected a number".to_owned()).and_then(narrow);
            let wrong = |problem| {
                let (heading, line) = (&headings[at], row + 2);
                format(path, format!("line {line}, column `{heading}`: {problem}, got `{}`", &record[at]))
            };
            values.push(value.map_err(wrong)?);
        }
        labels.extend(label.map(|at| record[at].to_owned()));
        ids.extend(id.map(|at| record[at].to_owned()));
    }
    let rows = values.len().checked_div(dimensions.len()).unwrap_or(0);
    let embeddings = Array2::from_shape_vec((rows, dimensions.len()), values).expect("as many in each row");
    let mut table = EmbeddingTable::of(path, embeddings, None);
    if label.is_some() {
        let (labels, label_names) = numbered(&labels);
        (table.labels, table.label_names) = (Some(labels), label_names);
    }
    table.ids = id.map(|_| ids);
    Ok(table)
}

/// Numbers as they are; names by their place in the alphabet.
pub(super) fn numbered(labels: &[String]) -> (Vec<i64>, Option<Vec<String>>) {
    if let Ok(numbers) = labels.iter().map(|label| label.parse()).collect() {
        return (numbers, None);
    }
    let mut names = labels.to_vec();
    names.sort_unstable();
    names.dedup();
    let number = |label: &String| names.partition_point(|name| name < label) as i64;
    (labels.iter().map(number).collect(), Some(names))
}

/// A file that cannot be opened is that, and not one of a wrong format.
pub(super) fn refused(path: &Path, problem: csv::Error) -> Error {
    let text = problem.to_string();
    match problem.into_kind() {
        csv::ErrorKind::Io(source) => Error::Io { action: "read", path: path.to_owned(), source },
        _ => format(path, text),
    }
}
