//! Subtomograms each of which was made in one of many ways.

use rand::RngExt;

use super::{Dataset, Sample, check_index, unlike_names};
use crate::{
    Error, Result,
    simulate::{RandomizationConfig, Simulator},
    split::ClassId,
    stream::stream,
    template::Template,
};

/// Keeps what chooses the simulation of a sample apart from what happens in it.
const CHOICE: u64 = 0x5851_f42d_4c95_7f2d;

/// Simulated subtomograms of templates under [`RandomizationConfig`], made when they are asked for.
///
/// As in a [`SimulatedDataset`](super::SimulatedDataset) classes take turns and nothing is stored, so that `per_class`
/// may be as large as an endless run needs: a network then never sees the same noise twice.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{Dataset, RandomizationConfig, RandomizedDataset, catalogue};
///
/// let config = RandomizationConfig { side: 16, ..Default::default() };
/// let dataset = RandomizedDataset::new(catalogue::templates(), config, 4, 1_000_000, 1)?;
/// assert_eq!(dataset.len(), 23_000_000);
/// let late = dataset.sample(22_999_999)?;
/// assert_eq!((late.class.0, late.volume.side()), (22, 16));
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug)]
pub struct RandomizedDataset {
    templates: Vec<Template>,
    names: Vec<String>,
    simulators: Vec<Simulator>,
    per_class: usize,
    seed: u64,
}

impl RandomizedDataset {
    /// `per_class` subtomograms of each template, each under one of `simulations`, which take about 0.4 MB each at a
    /// side of 32; [`ClassId`]s are positions in `templates`.
    ///
    /// # Errors
    /// As [`RandomizationConfig::validate`]; [`Error::Config`] if there are no simulations, samples or templates, or two
    /// templates have the same name.
    pub fn new(
        templates: Vec<Template>,
        config: RandomizationConfig,
        simulations: usize,
        per_class: usize,
        seed: u64,
    ) -> Result<Self> {
        if simulations == 0 {
            return Err(Error::config("simulations", "at least one", 0));
        }
        let names = unlike_names(&templates, per_class)?;
        let simulators = config.draw(simulations, seed)?.into_iter().map(Simulator::new).collect::<Result<_>>()?;
        Ok(Self { templates, names, simulators, per_class, seed })
    }

    /// Classes take turns.
    fn class_at(&self, index: usize) -> ClassId {
        ClassId((index % self.templates.len()) as u32)
    }

    /// The simulation of a sample.
    fn simulator(&self, index: usize) -> &Simulator {
        &self.simulators[stream(self.seed ^ CHOICE, index as u64).random_range(0..self.simulators.len())]
    }
}

impl Dataset for RandomizedDataset {
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
        check_index(index, self.len())?;
        let template = &self.templates[index % self.templates.len()];
        let volume = self.simulator(index).simulate(template, self.seed, index as u64)?;
        Ok(Sample { volume, class: self.class_at(index) })
    }
}
