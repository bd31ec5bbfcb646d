//! Labeled subtomograms by index.

mod augment;
mod cached;
mod crowd;
mod labeled_files;
pub mod neuron;
mod randomized;
mod source;

pub use augment::{AugmentConfig, Augmenter};
pub use cached::{CacheConfig, CachedDataset, Precision};
pub use crowd::{CrowdClass, CrowdConfig, CrowdedDataset, Particle};
pub use labeled_files::{FilesConfig, LabeledFiles};
pub use randomized::RandomizedDataset;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rayon::prelude::*;

use crate::{
    Error, Result,
    simulate::{Background, SimulationConfig, Simulator, Subtomogram},
    split::ClassId,
    template::Template,
    volume::Volume,
};

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

    /// True if there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of a sample, without making it; `None` if `index` is not below [`len`](Self::len).
    fn class(&self, index: usize) -> Option<ClassId>;

    /// Indices of all samples of these classes, ascending.
    fn indices(&self, classes: &[ClassId]) -> Vec<usize> {
        let wanted: HashSet<_> = classes.iter().collect();
        (0..self.len()).filter(|&index| self.class(index).is_some_and(|class| wanted.contains(&class))).collect()
    }

    /// The `index`-th sample. A pure function of `index`: order and threads do not matter.
    ///
    /// # Errors
    /// [`Error::Config`] if `index` is not below [`len`](Self::len); the error of making or reading the sample.
    fn sample(&self, index: usize) -> Result<Sample>;
}

macro_rules! forwarded {
    ($($pointer:ty),*) => {$(
        impl<D: Dataset + ?Sized> Dataset for $pointer {
            fn classes(&self) -> &[String] {
                (**self).classes()
            }

            fn len(&self) -> usize {
                (**self).len()
            }

            fn is_empty(&self) -> bool {
                (**self).is_empty()
            }

            fn class(&self, index: usize) -> Option<ClassId> {
                (**self).class(index)
            }

            fn indices(&self, classes: &[ClassId]) -> Vec<usize> {
                (**self).indices(classes)
            }

            fn sample(&self, index: usize) -> Result<Sample> {
                (**self).sample(index)
            }
        }
    )*};
}

forwarded!(&D, Box<D>, Arc<D>);

pub(crate) fn check_index(index: usize, len: usize) -> Result<()> {
    if index < len { Ok(()) } else { Err(no_sample(index, len)) }
}

pub(crate) fn no_sample(index: usize, len: usize) -> Error {
    Error::config("index", format!("less than {len}"), index)
}

/// Renders samples in parallel, in the order of `indices`. After each sample, its thread calls `progress` with how
/// many are done.
///
/// # Errors
/// The first error met; the other samples are left out.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{SimulatedDataset, SimulationConfig, catalogue, render};
///
/// let templates = catalogue::templates().split_off(21);
/// let config = SimulationConfig { side: 16, ..Default::default() };
/// let dataset = SimulatedDataset::new(templates, config, 3, 1)?;
/// let samples = render(&dataset, &[0, 1, 5], |_| {})?;
/// assert_eq!(samples.iter().map(|s| s.class.0).collect::<Vec<_>>(), [0, 1, 1]);
/// # Ok::<(), soft_lmccl_cect::Error>(())
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
/// Classes take turns: sample `index` is of class `index % classes`. A prefix is balanced, and a larger `per_class`
/// keeps the samples of a smaller one. Samples are not stored, so `per_class` may be as large as an endless run
/// needs.
///
/// Where the simulation's voxels are larger than the templates', the templates are averaged first.
#[derive(Debug)]
pub struct SimulatedDataset {
    templates: Vec<Template>,
    names: Vec<String>,
    simulator: Simulator,
    background: Option<Arc<Background>>,
    per_class: usize,
    seed: u64,
}

impl SimulatedDataset {
    /// `per_class` subtomograms of each template; [`ClassId`]s are positions in `templates`.
    ///
    /// # Errors
    /// [`Error::Config`] if a hyper-parameter is out of range, `per_class` is zero, there are no templates, two have
    /// the same name, or the SNR goes by mass and one has no mass.
    pub fn new(templates: Vec<Template>, config: SimulationConfig, per_class: usize, seed: u64) -> Result<Self> {
        let simulator = Simulator::new(config)?;
        let names = unlike_names(&templates, per_class)?;
        for template in &templates {
            simulator.snr_of(template)?;
        }
        let templates = templates.into_iter().map(|t| sampled_for(t, config.voxel_size)).collect::<Result<_>>()?;
        Ok(Self { templates, names, simulator, background: None, per_class, seed })
    }

    /// The same particles, on patches of a tomogram in the place of simulated noise.
    ///
    /// # Errors
    /// As [`Background::check`].
    pub fn on(self, background: Arc<Background>) -> Result<Self> {
        background.check(self.config().side, self.config().voxel_size)?;
        Ok(Self { background: Some(background), ..self })
    }

    /// The templates, by class.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// How samples are simulated.
    pub fn config(&self) -> &SimulationConfig {
        self.simulator.config()
    }

    /// A sample in its parts, signal and noise, as for pictures.
    ///
    /// # Errors
    /// As [`Dataset::sample`].
    pub fn parts(&self, index: usize) -> Result<Subtomogram> {
        let template = self.template(index)?;
        match &self.background {
            Some(background) => self.simulator.parts_on(background, template, self.seed, index as u64),
            None => self.simulator.parts(template, self.seed, index as u64),
        }
    }

    /// Classes take turns.
    fn class_at(&self, index: usize) -> ClassId {
        ClassId((index % self.templates.len()) as u32)
    }

    fn template(&self, index: usize) -> Result<&Template> {
        check_index(index, self.len())?;
        Ok(&self.templates[index % self.templates.len()])
    }
}

/// The names of the classes of a data set.
///
/// # Errors
/// [`Error::Config`] if there are no templates or samples, more than can be counted, or two templates have the same name.
fn unlike_names(templates: &[Template], per_class: usize) -> Result<Vec<String>> {
    if templates.is_empty() || u32::try_from(templates.len()).is_err() {
        let got = templates.len().to_string();
        return Err(Error::config("templates", "one class at least", got));
    }
    if per_class == 0 || templates.len().checked_mul(per_class).is_none() {
        return Err(Error::config("per_class", "one subtomogram at least", per_class));
    }
    let names: Vec<String> = templates.iter().map(|t| t.name().to_owned()).collect();
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
        return Err(Error::config("templates", "a name of its own for each class", format!("{name} twice")));
    }
    Ok(names)
}

/// The template, averaged if its own voxels are smaller than `voxel_size`.
pub(crate) fn sampled_for(template: Template, voxel_size: f64) -> Result<Template> {
    if voxel_size > template.voxel_size() { template.resampled(voxel_size) } else { Ok(template) }
}

impl Dataset for SimulatedDataset {
    fn classes(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.templates.len() * self.per_class
    }

    fn class(&self, index: usize) -> Option<ClassId> {
        (index < self.len()).then(|| self.class_at(index))
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        let template = self.template(index)?;
        let volume = match &self.background {
            Some(background) => self.simulator.simulate_on(background, template, self.seed, index as u64)?,
            None => self.simulator.simulate(template, self.seed, index as u64)?,
        };
        Ok(Sample { volume, class: self.class_at(index) })
    }
}
