//! Enrolled classes: one prototype each; a probe near no prototype is rejected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ndarray::Array2;
use rand::seq::index;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result, Stream,
    embeddings::{EmbeddingSet, dot, unit},
    error::{load_json, save_json},
    open_set::{Identification, Probe},
    pairs::{PairIndex, PairScores},
    seeded,
    threshold::VerificationThreshold,
};

/// How a [`Gallery`] represents a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Prototype {
    /// The mean of the unit embeddings, scaled to length 1.
    #[default]
    Mean,
    /// The embedding with the largest sum of cosines to all of its class: a real sample. Ties go to the first.
    Medoid,
}

/// Enrolled classes with one unit vector each, against which probes are searched.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::{EmbeddingSet, Gallery, Prototype, ThresholdRule, VerificationThreshold};
///
/// let enrolled = EmbeddingSet::new(array![[1.0f32, 0.1], [1.0, -0.1], [0.1, 1.0]].view(), &[3, 3, 8])?;
/// let gallery = Gallery::enroll(&enrolled, Prototype::Mean)?;
/// assert_eq!(gallery.labels(), [3, 8]);
///
/// // Rejection is calibrated at a FAR of probe against prototype, on probes with known classes.
/// let calibration = EmbeddingSet::new(array![[0.9f32, 0.3], [0.2, 0.7], [-1.0, 0.1]].view(), &[3, 8, 5])?;
/// let rule = ThresholdRule::AtFar { target_far: 0.0 };
/// let threshold = VerificationThreshold::fit(&gallery.pair_scores(&calibration)?, rule)?;
/// assert_eq!(gallery.identify(&[5.0, 0.5], &threshold)?.label, Some(3));
/// assert_eq!(gallery.identify(&[-1.0, -1.0], &threshold)?.label, None);
///
/// // Both are saved, for a program that only identifies.
/// let path = std::env::temp_dir().join(format!("soft-lmccl-gallery-{}.json", std::process::id()));
/// gallery.save(&path)?;
/// assert_eq!(Gallery::load(&path)?, gallery);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SavedGallery", into = "SavedGallery")]
pub struct Gallery {
    /// One row a class, labels increasing.
    prototypes: EmbeddingSet,
}

/// The answer for one embedding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Identity {
    /// The nearest class, or `None` for an unknown: even the nearest class is rejected.
    pub label: Option<u32>,
    /// The nearest class, accepted or not.
    pub nearest: u32,
    /// The cosine to the nearest class.
    pub score: f64,
}

impl Gallery {
    /// Makes one prototype of all embeddings of each class.
    ///
    /// # Errors
    /// [`Error::ZeroPrototype`] if [`Prototype::Mean`] is asked for and the embeddings of a class cancel out, to
    /// within the rounding of `f32`.
    pub fn enroll(examples: &EmbeddingSet, prototype: Prototype) -> Result<Self, Error> {
        // Half a last place of each value of a unit row, and as much again. If the rows cancel out, the direction of
        // the rest is that of their rounding.
        const NOTHING: f64 = f32::EPSILON as f64;
        let index = PairIndex::new(examples.labels());
        if prototype == Prototype::Medoid {
            let medoids: Vec<usize> = index.classes().map(|rows| medoid(examples, rows)).collect();
            return Ok(Self { prototypes: examples.subset(&medoids) });
        }
        let mut means = Array2::zeros((index.classes().len(), examples.dim()));
        let mut labels = Vec::with_capacity(index.classes().len());
        for (mut mean, rows) in means.outer_iter_mut().zip(index.classes()) {
            let label = examples.labels()[rows[0]];
            let exact: Vec<_> = sum_of(examples, rows).iter().map(|sum| sum / rows.len() as f64).collect();
            if exact.iter().map(|x| x * x).sum::<f64>() <= NOTHING * NOTHING {
                return Err(Error::ZeroPrototype { label });
            }
            for (mean, exact) in mean.iter_mut().zip(exact) {
                *mean = exact as f32;
            }
            labels.push(i64::from(label));
        }
        Ok(Self { prototypes: EmbeddingSet::new(means.view(), &labels)? })
    }

    /// Writes it as JSON, first beside `path` and then in its place: no half file is left.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save_json(path.as_ref(), self)
    }

    /// Reads what [`save`](Self::save) wrote, to the last bit.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Format`] if it is no such record, its classes do not
    /// increase or a prototype does not have length 1.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        load_json(path.as_ref())
    }

    /// The enrolled classes, in increasing order.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        self.prototypes.labels()
    }

    /// The unit vector of the `index`-th class.
    ///
    /// # Panics
    /// If there are fewer classes.
    #[must_use]
    pub fn prototype(&self, index: usize) -> &[f32] {
        self.prototypes.row(index)
    }

    /// The score of every probe with every prototype, probe by probe, to calibrate a rejection threshold on.
    ///
    /// Its FAR is the FAR of one comparison. A probe of no enrolled class is compared with all `G` prototypes, so it
    /// is falsely identified up to `G` times as often.
    ///
    /// # Errors
    /// [`Error::Dimension`] if probes and prototypes differ in dimension. [`Error::OneClass`] if no probe is of an
    /// enrolled class, or all are of the only one.
    pub fn pair_scores(&self, probes: &EmbeddingSet) -> Result<PairScores, Error> {
        self.require_dim(probes.dim())?;
        let rows = 0..probes.len();
        let scores = rows.into_par_iter().flat_map_iter(|row| self.scores(probes.row(row))).collect();
        let same = |label| self.labels().iter().map(move |enrolled| *enrolled == label);
        PairScores::new(scores, probes.labels().iter().flat_map(|&label| same(label)).collect())
    }

    /// The nearest class of one embedding of any length, unless it is farther than the threshold allows.
    ///
    /// # Errors
    /// [`Error::Dimension`] if its dimension differs; [`Error::EmbeddingNotFinite`] or [`Error::ZeroEmbedding`] if it
    /// has no direction.
    pub fn identify(&self, embedding: &[f32], threshold: &VerificationThreshold) -> Result<Identity, Error> {
        self.require_dim(embedding.len())?;
        let (nearest, score) = self.nearest(&self.scores(&unit(0, embedding)?).collect::<Vec<_>>());
        Ok(Identity { label: threshold.accepts(score).then_some(nearest), nearest, score })
    }

    /// Searches every probe. A probe is *known* if its class is enrolled, else *unknown*.
    ///
    /// # Errors
    /// [`Error::Dimension`] if probes and prototypes differ in dimension.
    pub fn search(&self, probes: &EmbeddingSet) -> Result<Identification, Error> {
        self.require_dim(probes.dim())?;
        let probes = (0..probes.len())
            .into_par_iter()
            .map(|row| {
                let label = probes.labels()[row];
                let scores: Vec<f64> = self.scores(probes.row(row)).collect();
                let (nearest, score) = self.nearest(&scores);
                let enrolled = self.labels().binary_search(&label).ok();
                let rank = enrolled.map(|own| {
                    let ahead =
                        |(class, score): (usize, &f64)| *score > scores[own] || class < own && *score >= scores[own];
                    1 + scores.iter().enumerate().filter(|&other| ahead(other)).count()
                });
                Probe { label, nearest, score, rank, own: enrolled.map(|own| scores[own]) }
            })
            .collect();
        Ok(Identification::new(self.labels().len(), probes))
    }

    fn require_dim(&self, dim: usize) -> Result<(), Error> {
        if dim == self.prototypes.dim() {
            return Ok(());
        }
        Err(Error::Dimension { left: dim, right: self.prototypes.dim() })
    }

    fn scores(&self, unit_row: &[f32]) -> impl Iterator<Item = f64> {
        (0..self.prototypes.len()).map(move |class| f64::from(dot(unit_row, self.prototypes.row(class))))
    }

    /// The class of the highest score; ties go to the first.
    fn nearest(&self, scores: &[f64]) -> (u32, f64) {
        let mut best = 0;
        for class in 1..scores.len() {
            if scores[class] > scores[best] {
                best = class;
            }
        }
        (self.labels()[best], scores[best])
    }
}

/// A [`Gallery`] as written and read; nothing in it is checked yet.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedGallery {
    labels: Vec<u32>,
    prototypes: Vec<Vec<f32>>,
}

impl From<Gallery> for SavedGallery {
    fn from(Gallery { prototypes }: Gallery) -> Self {
        let rows = (0..prototypes.len()).map(|row| prototypes.row(row).to_vec());
        Self { labels: prototypes.labels().to_vec(), prototypes: rows.collect() }
    }
}

impl TryFrom<SavedGallery> for Gallery {
    type Error = Error;

    fn try_from(SavedGallery { labels, prototypes }: SavedGallery) -> Result<Self, Error> {
        if let Some(pair) = labels.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(Error::config(
                "labels",
                "each class once, in increasing order",
                format!("{} before {}", pair[0], pair[1]),
            ));
        }
        let dim = prototypes.first().map_or(0, Vec::len);
        if let Some(other) = prototypes.iter().find(|row| row.len() != dim) {
            return Err(Error::config("prototypes", "rows of one dimension", format!("{dim} and {}", other.len())));
        }
        let rows = Array2::from_shape_vec((prototypes.len(), dim), prototypes.concat()).expect("rows of one dimension");
        Ok(Self { prototypes: EmbeddingSet::of_unit_rows(rows.view(), &labels)? })
    }
}

impl EmbeddingSet {
    /// Draws `per_class` examples of each class in `known` to enroll. All other embeddings are probes, also those of
    /// classes outside `known`.
    ///
    /// # Errors
    /// [`Error::TooFewExamples`] if a class has no more than `per_class` embeddings; [`Error::Config`] if `per_class`
    /// is 0 or no class is named.
    ///
    /// # Examples
    /// ```
    /// use ndarray::Array2;
    /// use soft_lmccl_metrics::EmbeddingSet;
    ///
    /// let set = EmbeddingSet::new(Array2::<f32>::ones((9, 2)).view(), &[1, 1, 1, 2, 2, 2, 3, 3, 3])?;
    /// let (enrolled, probes) = set.split_enrollment(&[1, 3], 2, 7)?;
    /// assert_eq!(enrolled.labels(), [1, 1, 3, 3]);
    /// assert_eq!(probes.labels(), [1, 2, 2, 2, 3]);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn split_enrollment(&self, known: &[u32], per_class: usize, seed: u64) -> Result<(Self, Self), Error> {
        let argument = |field, expected: &str| Error::config(field, expected, "0");
        if per_class == 0 {
            return Err(argument("per_class", "at least 1 example"));
        }
        if known.is_empty() {
            return Err(argument("known", "at least 1 class"));
        }
        let mut members: BTreeMap<u32, Vec<usize>> = known.iter().map(|&label| (label, Vec::new())).collect();
        for (row, label) in self.labels().iter().enumerate() {
            if let Some(rows) = members.get_mut(label) {
                rows.push(row);
            }
        }
        let mut rng = seeded(seed, Stream::Enrollment);
        let mut enrolled = BTreeSet::new();
        for (label, rows) in members {
            if rows.len() <= per_class {
                return Err(Error::TooFewExamples { label, asked: per_class, available: rows.len() });
            }
            enrolled.extend(index::sample(&mut rng, rows.len(), per_class).into_iter().map(|k| rows[k]));
        }
        let probes: Vec<usize> = (0..self.len()).filter(|row| !enrolled.contains(row)).collect();
        Ok((self.subset(&enrolled.into_iter().collect::<Vec<_>>()), self.subset(&probes)))
    }
}

/// Sum of the unit rows of a class.
fn sum_of(set: &EmbeddingSet, rows: &[usize]) -> Vec<f64> {
    let mut sum = vec![0.0; set.dim()];
    for &row in rows {
        for (sum, &x) in sum.iter_mut().zip(set.row(row)) {
            *sum += f64::from(x);
        }
    }
    sum
}

/// The row of the largest product with the sum of the other rows. Its own product is left out: it is 1 only to within
/// rounding, which would decide between equally close rows.
fn medoid(set: &EmbeddingSet, rows: &[usize]) -> usize {
    let sum = sum_of(set, rows);
    let closeness = |row: usize| {
        let others = |(&x, sum): (&f32, &f64)| f64::from(x) * (sum - f64::from(x));
        set.row(row).iter().zip(&sum).map(others).sum::<f64>()
    };
    let mut best = (rows[0], closeness(rows[0]));
    for &row in &rows[1..] {
        let candidate = (row, closeness(row));
        if candidate.1 > best.1 {
            best = candidate;
        }
    }
    best.0
}
