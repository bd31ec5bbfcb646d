//! Labeled subtomograms by index.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use rayon::prelude::*;

use super::{SimulationConfig, Simulator, Subtomogram, Template, Volume};
use crate::{Error, Result};

/// A class of a dataset: a type of its own, so that it cannot pass for a training label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u32);

/// One labeled subtomogram. `class` indexes [`Dataset::classes`], not the training labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Density.
    pub volume: Volume,
    /// Class of the whole dataset.
    pub class: ClassId,
}

/// Random access to labeled subtomograms.
pub trait Dataset: Send + Sync {
    /// Class names, indexed by [`ClassId`].
    fn classes(&self) -> &[String];

    /// Number of samples.
    fn len(&self) -> usize;

    /// True if there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `index`-th sample. A pure function of `index`: order and threads do not matter.
    ///
    /// # Errors
    /// [`Error::Config`] if `index` is not below [`len`](Self::len); whatever making or reading the
    /// sample can fail with.
    fn sample(&self, index: usize) -> Result<Sample>;
}

/// Renders samples in parallel, in the order of `indices`. After each, `progress` is called with how
/// many are done, from whichever thread finished it.
///
/// # Errors
/// The first error met; the rest is then left out.
///
/// # Examples
/// ```
/// use soft_lmccl::cect::{SimulatedDataset, SimulationConfig, catalogue, render};
///
/// let templates = catalogue::templates().split_off(21);
/// let config = SimulationConfig { side: 16, ..Default::default() };
/// let dataset = SimulatedDataset::new(templates, config, 3, 1)?;
/// let samples = render(&dataset, &[0, 1, 5], |_| {})?;
/// assert_eq!(samples.iter().map(|s| s.class.0).collect::<Vec<_>>(), [0, 1, 1]);
/// # Ok::<(), soft_lmccl::Error>(())
/// ```
pub fn render<D: Dataset + ?Sized>(
    dataset: &D,
    indices: &[usize],
    progress: impl Fn(usize) + Sync,
) -> Result<Vec<Sample>> {
    let done = AtomicUsize::new(0);
    indices
        .par_iter()
        .map(|&index| {
            let sample = dataset.sample(index)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Ok(sample)
        })
        .collect()
}

/// Simulated subtomograms of templates, made when they are asked for.
///
/// Classes take turns: sample `index` is of class `index % classes`, so that a prefix is balanced
/// and a larger `per_class` keeps the samples that a smaller one had.
#[derive(Debug)]
pub struct SimulatedDataset {
    templates: Vec<Template>,
    names: Vec<String>,
    simulator: Simulator,
    per_class: usize,
    seed: u64,
}

impl SimulatedDataset {
    /// `per_class` subtomograms of each template; [`ClassId`]s are positions in `templates`.
    ///
    /// # Errors
    /// [`Error::Config`] if a hyper-parameter is out of range, `per_class` is zero, there are no
    /// templates, or two have the same name.
    pub fn new(templates: Vec<Template>, config: SimulationConfig, per_class: usize, seed: u64) -> Result<Self> {
        let simulator = Simulator::new(config)?;
        let refuse =
            |field, expected: &str, got: String| Err(Error::Config { field, expected: expected.to_owned(), got });
        if templates.is_empty() || u32::try_from(templates.len()).is_err() {
            let got = templates.len().to_string();
            return refuse("templates", "one class at least", got);
        }
        if per_class == 0 || templates.len().checked_mul(per_class).is_none() {
            return refuse("per_class", "one subtomogram at least", per_class.to_string());
        }
        let names: Vec<String> = templates.iter().map(|t| t.name().to_owned()).collect();
        let mut seen = HashSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
            return refuse("templates", "a name of its own for each class", format!("{name} twice"));
        }
        Ok(Self { templates, names, simulator, per_class, seed })
    }

    /// What is rotated, by class.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// How samples are simulated.
    pub fn config(&self) -> &SimulationConfig {
        self.simulator.config()
    }

    /// The class of a sample, without making it.
    pub fn class(&self, index: usize) -> ClassId {
        ClassId((index % self.templates.len()) as u32)
    }

    /// Indices of all samples of these classes, ascending.
    pub fn indices(&self, classes: &[ClassId]) -> Vec<usize> {
        let wanted: HashSet<_> = classes.iter().collect();
        (0..self.len()).filter(|&index| wanted.contains(&self.class(index))).collect()
    }

    /// A sample in its parts, signal and noise, as for pictures.
    ///
    /// # Errors
    /// As [`Dataset::sample`].
    pub fn parts(&self, index: usize) -> Result<Subtomogram> {
        let template = self.template(index)?;
        self.simulator.parts(template, self.seed, index as u64)
    }

    fn template(&self, index: usize) -> Result<&Template> {
        if index >= self.len() {
            return Err(Error::Config {
                field: "index",
                expected: format!("less than {}", self.len()),
                got: index.to_string(),
            });
        }
        Ok(&self.templates[index % self.templates.len()])
    }
}

impl Dataset for SimulatedDataset {
    fn classes(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.templates.len() * self.per_class
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        let template = self.template(index)?;
        Ok(Sample { volume: self.simulator.simulate(template, self.seed, index as u64)?, class: self.class(index) })
    }
}
