//! Embeddings with all that is said of them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use soft_lmccl::metrics::files::{ArrayNames, EmbeddingTable, SampleTable};
use soft_lmccl::metrics::{EmbeddingSet, Templates, ndarray::Array2};

use super::args::Args;

/// What is compared.
pub struct Loaded {
    pub set: EmbeddingSet,
    /// Rows as they were read, for a device.
    pub rows: Array2<f32>,
    pub labels: Vec<i64>,
    /// Names of classes, by their numbers.
    pub class_names: Option<Vec<String>>,
    pub ids: Option<Vec<String>>,
    pub cohorts: Option<Vec<String>>,
    /// The files, for messages and for the record of a threshold.
    pub files: String,
}

/// Reads the embeddings that are asked about, pooled by template if that is asked for.
pub fn load(args: &Args, embeddings: &Path) -> Result<Loaded> {
    let columns = [&args.template, &args.medium, &args.cohort].into_iter().flatten().cloned().collect();
    let names = ArrayNames { others: columns, ..names(args) };
    let mut table = open(embeddings, args.labels.as_deref(), &names)?;
    let of_table = extension_is(embeddings, "csv").then_some(embeddings);
    let samples = match args.samples.as_deref() {
        Some(path) => Some(path),
        None => of_table.filter(|_| !names.others.is_empty()),
    };
    let samples = samples.map(SampleTable::open).transpose()?;
    let mut files = describe(embeddings, args.labels.as_deref());
    if let (Some(samples), Some(path)) = (&samples, &args.samples) {
        files += &format!(", {}", path.display());
        let (rows, found) = (table.embeddings.nrows(), samples.rows());
        ensure!(rows == found, "{}: expected a row for each of {rows} embeddings, got {found}", path.display());
        if table.labels.is_none() || args.label.is_some() {
            let (labels, label_names) = samples.labels(&names.labels)?;
            (table.labels, table.label_names) = (Some(labels), label_names);
        }
        table.ids = samples.column(&args.id).ok().map(<[String]>::to_vec).or(table.ids);
    }
    let column = |name: &Option<String>| -> Result<Option<Vec<String>>> {
        let Some(name) = name else { return Ok(None) };
        let samples = samples.as_ref().with_context(|| {
            format!("expected --samples or a .csv of embeddings with a column `{name}`, got {}", embeddings.display())
        })?;
        Ok(Some(samples.column(name)?.to_vec()))
    };
    let (templates, media, cohorts) = (column(&args.template)?, column(&args.medium)?, column(&args.cohort)?);
    if let Some(templates) = templates {
        let labels = table.labels.as_deref().with_context(|| format!("{files}: expected labels, got none"))?;
        let pooled = Templates::pool(table.embeddings.view(), &templates, media.as_deref(), labels, args.pool.into())
            .with_context(|| files.clone())?;
        (table.embeddings, table.labels, table.ids) = (pooled.embeddings, Some(pooled.labels), Some(pooled.ids));
    }
    let set = table.set().with_context(|| files.clone())?;
    Ok(Loaded {
        set,
        labels: table.labels.unwrap_or_default(),
        class_names: table.label_names,
        ids: table.ids,
        cohorts,
        rows: table.embeddings,
        files,
    })
}

/// Probes and gallery, their classes numbered alike.
pub fn load_both(args: &Args, embeddings: &Path, gallery: &Path) -> Result<(Loaded, Loaded)> {
    let names = names(args);
    let mut read = [(embeddings, args.labels.as_deref()), (gallery, args.gallery_labels.as_deref())]
        .map(|(path, labels)| open(path, labels, &names).map(|table| (table, describe(path, labels))));
    if let [Ok((probes, _)), Ok((enrolled, of_gallery))] = &mut read {
        match (&mut probes.label_names, &mut enrolled.label_names) {
            (None, None) => {}
            (Some(_), Some(_)) => number_alike(probes, enrolled),
            (of_probes, _) => {
                let (one, other) = if of_probes.is_some() { ("numbers", "names") } else { ("names", "numbers") };
                anyhow::bail!("{of_gallery}: expected classes to be {other}, as those of the probes, got {one}");
            }
        }
    }
    let [probes, gallery] = read.map(|read| {
        let (table, files) = read?;
        let set = table.set().with_context(|| files.clone())?;
        let labels = table.labels.unwrap_or_default();
        let (class_names, ids, rows) = (table.label_names, table.ids, table.embeddings);
        anyhow::Ok(Loaded { set, rows, labels, class_names, ids, cohorts: None, files })
    });
    Ok((probes?, gallery?))
}

fn number_alike(first: &mut EmbeddingTable, second: &mut EmbeddingTable) {
    let mut all: Vec<String> =
        [&first.label_names, &second.label_names].into_iter().flatten().flatten().cloned().collect();
    all.sort_unstable();
    all.dedup();
    for table in [first, second] {
        let names = table.label_names.replace(all.clone()).unwrap_or_default();
        let number = |name: &String| all.partition_point(|other| other < name) as i64;
        for label in table.labels.iter_mut().flatten() {
            *label = number(&names[*label as usize]);
        }
    }
}

/// Samples of other classes, whose labels do not matter.
pub fn load_cohort(args: &Args, path: &Path) -> Result<EmbeddingSet> {
    let table = EmbeddingTable::open(path, &names(args))?;
    let labels = vec![0; table.embeddings.nrows()];
    EmbeddingSet::new(table.embeddings.view(), &labels).with_context(|| path.display().to_string())
}

fn open(embeddings: &Path, labels: Option<&Path>, names: &ArrayNames) -> Result<EmbeddingTable> {
    let table = EmbeddingTable::open(embeddings, names)?;
    Ok(match labels {
        Some(labels) => table.with_labels(labels, names)?,
        None => table,
    })
}

fn names(args: &Args) -> ArrayNames {
    let labels = args.label.clone().unwrap_or_else(|| ArrayNames::default().labels);
    ArrayNames { embeddings: args.array.clone(), labels, ids: args.id.clone(), others: Vec::new() }
}

fn describe(embeddings: &Path, labels: Option<&Path>) -> String {
    match labels {
        Some(labels) => format!("{} with {}", embeddings.display(), labels.display()),
        None => embeddings.display().to_string(),
    }
}

pub fn extension_is(path: &Path, expected: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(expected))
}
