//! Several samples for one identity, pooled into one embedding.

use std::collections::BTreeMap;

use ndarray::{Array1, Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::embeddings::EmbeddingSet;

/// What is averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Rows of length 1, so that each sample counts the same.
    #[default]
    UnitRows,
    /// Rows as they are, so that those of larger norm, often of better quality, count for more.
    RawRows,
}

/// Templates: sets of samples, such as all images of a visit, that are compared as one.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::{Pooling, Templates};
///
/// let rows = array![[1.0f32, 0.0], [0.0, 3.0], [0.0, 1.0]];
/// let pooled = Templates::pool(rows.view(), &["t1", "t1", "t2"], None, &[7, 7, 4], Pooling::UnitRows)?;
/// assert_eq!(pooled.ids, ["t1", "t2"]);
/// assert_eq!(pooled.embeddings, array![[0.5f32, 0.5], [0.0, 1.0]]);
/// let raw = Templates::pool(rows.view(), &["t1", "t1", "t2"], None, &[7, 7, 4], Pooling::RawRows)?;
/// assert_eq!(raw.embeddings, array![[0.5f32, 1.5], [0.0, 1.0]]);
/// assert_eq!(pooled.set()?.labels(), [7, 4]);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
///
/// # References
/// B. Maze et al., *IARPA Janus Benchmark – C: Face Dataset and Protocol*, ICB 2018.
#[derive(Debug, Clone, PartialEq)]
pub struct Templates {
    /// One row each, `[T, D]`, not of length 1.
    pub embeddings: Array2<f32>,
    /// In alphabetical order.
    pub ids: Vec<String>,
    /// The class of each.
    pub labels: Vec<i64>,
}

impl Templates {
    /// The mean of each template's rows; where media are given, of the means of its media, so that a video of many frames
    /// counts as much as a picture.
    ///
    /// # Shapes
    /// * `embeddings`: `[N, D]`
    /// * `templates`, `media`, `labels`: `[N]`; a medium belongs to its template, so that its name may come again in others
    ///
    /// # Errors
    /// [`Error::EmbeddingLength`] if a list is not as long as the embeddings; [`Error::Config`] if a template has samples
    /// of two classes; with [`Pooling::UnitRows`] as [`EmbeddingSet::new`].
    pub fn pool<S: AsRef<str>>(
        embeddings: ArrayView2<'_, f32>,
        templates: &[S],
        media: Option<&[S]>,
        labels: &[i64],
        pooling: Pooling,
    ) -> Result<Self, Error> {
        let (rows, dim) = embeddings.dim();
        for length in [templates.len(), media.map_or(rows, <[S]>::len), labels.len()] {
            if length != rows {
                return Err(Error::EmbeddingLength { embeddings: rows, labels: length });
            }
        }
        let unit = match pooling {
            Pooling::UnitRows => Some(EmbeddingSet::new(embeddings, labels)?),
            Pooling::RawRows => None,
        };
        let view = unit.as_ref().map_or(embeddings.view(), EmbeddingSet::view);
        let mut sums = BTreeMap::<&str, (i64, BTreeMap<&str, (Array1<f64>, f64)>)>::new();
        for row in 0..rows {
            let (template, label) = (templates[row].as_ref(), labels[row]);
            let (of_template, media_of_template) = sums.entry(template).or_insert_with(|| (label, BTreeMap::new()));
            if *of_template != label {
                let expected = format!("one class for template `{template}`");
                return Err(Error::config("labels", expected, format!("{of_template} and {label}")));
            }
            let medium = media.map_or("", |media| media[row].as_ref());
            let (sum, count) = media_of_template.entry(medium).or_insert_with(|| (Array1::zeros(dim), 0.0));
            sum.zip_mut_with(&view.row(row), |sum, &value| *sum += f64::from(value));
            *count += 1.0;
        }
        let mut pooled = Self { embeddings: Array2::zeros((sums.len(), dim)), ids: Vec::new(), labels: Vec::new() };
        for (mut row, (id, (label, media))) in pooled.embeddings.outer_iter_mut().zip(sums) {
            let mut mean = Array1::<f64>::zeros(dim);
            let share = 1.0 / media.len() as f64;
            media.into_values().for_each(|(sum, count)| mean.scaled_add(share / count, &sum));
            row.zip_mut_with(&mean, |value, &mean| *value = mean as f32);
            pooled.ids.push(id.to_owned());
            pooled.labels.push(label);
        }
        Ok(pooled)
    }

    /// The templates as embeddings of length 1.
    ///
    /// # Errors
    /// As [`EmbeddingSet::new`], such as for samples that cancel out.
    pub fn set(&self) -> Result<EmbeddingSet, Error> {
        EmbeddingSet::new(self.embeddings.view(), &self.labels)
    }
}
