//! The subtomograms of a domain.
//!
//! The one place that knows where samples come from: a new domain is a new arm of [`Source::open`].

use soft_lmccl::{
    Result,
    cect::{
        Batch, ClassId, CrowdedDataset, Dataset, OpenSetSplit, SimulatedDataset, SimulationConfig, Subtomogram, Volume,
        catalogue, neuron, render,
    },
};

use crate::{
    classes,
    plan::{Domain, Roles},
    recipe::Supply,
    settings::Settings,
};

/// Samples of a domain, and which of its classes are known.
#[derive(Debug)]
pub struct Source {
    set: Set,
    split: OpenSetSplit,
}

/// Where samples come from.
#[derive(Debug)]
enum Set {
    Isolated(SimulatedDataset),
    Crowded(CrowdedDataset),
}

impl Set {
    fn dataset(&self) -> &dyn Dataset {
        match self {
            Self::Isolated(set) => set,
            Self::Crowded(set) => set,
        }
    }

    fn config(&self) -> &SimulationConfig {
        match self {
            Self::Isolated(set) => set.config(),
            Self::Crowded(set) => set.config(),
        }
    }

    fn parts(&self, index: usize) -> Result<Subtomogram> {
        match self {
            Self::Isolated(set) => set.parts(index),
            Self::Crowded(set) => set.parts(index),
        }
    }
}

/// One slice of a subtomogram, without noise and with it.
#[derive(Debug, Clone)]
pub struct Slab {
    pub side: usize,
    pub clean: Vec<f32>,
    pub noisy: Vec<f32>,
}

impl Source {
    /// The domains that there is data of.
    pub fn available() -> Vec<Domain> {
        Domain::ALL.to_vec()
    }

    /// The samples of `domain` for one seed, of the classes and as many as `supply` says.
    ///
    /// R1 has classes and sizes of its own, whatever the supply.
    ///
    /// # Errors
    /// As making the data set.
    pub fn open(domain: Domain, roles: Roles, settings: &Settings, seed: u64, supply: Supply) -> Result<Self> {
        let named = match domain {
            Domain::S1 => SimulationConfig::s1(),
            Domain::S2 => SimulationConfig::s2(),
            Domain::R1 => {
                let simulation = settings.simulation(neuron::simulation());
                let config = neuron::NeuronConfig { total: settings.neuron_total, simulation, ..Default::default() };
                return Ok(Self { set: Set::Crowded(neuron::dataset(config, seed)?), split: classes::neuron(roles)? });
            }
        };
        let per_class = settings.per_class * supply.times;
        let (templates, split, seed) = if supply.extra_classes {
            // Another seed: a sample's noise goes by its index, and the test set's must not be met in training.
            (catalogue::extended_templates(), catalogue::extended_split(), seed + (1 << 32))
        } else if roles == Roles::Validation {
            (catalogue::extended_templates(), classes::roles(roles)?, seed)
        } else {
            (catalogue::templates(), classes::roles(roles)?, seed)
        };
        let set = SimulatedDataset::new(templates, settings.simulation(named), per_class, seed)?;
        Ok(Self { set: Set::Isolated(set), split })
    }

    /// Names of the known classes, in the order of their labels.
    pub fn known(&self) -> Vec<String> {
        self.names(self.split.known())
    }

    /// Names of the unknown classes, in the order of their labels.
    pub fn unknown(&self) -> Vec<String> {
        self.names(self.split.unknown())
    }

    fn names(&self, classes: &[ClassId]) -> Vec<String> {
        classes.iter().map(|class| self.set.dataset().classes()[class.0 as usize].clone()).collect()
    }

    /// How many samples [`train`](Self::train) and [`test`](Self::test) render.
    pub fn sizes(&self) -> (usize, usize) {
        (self.set.dataset().indices(self.split.known()).len(), self.test_indices().len())
    }

    /// All samples of the known classes.
    ///
    /// # Errors
    /// As rendering.
    pub fn train(&self, progress: impl Fn(usize) + Sync) -> Result<Batch> {
        Batch::known(
            &render(self.set.dataset(), &self.set.dataset().indices(self.split.known()), progress)?,
            &self.split,
        )
    }

    /// All samples of the unknown classes; row `i` of the batch is sample `test_indices()[i]`.
    ///
    /// # Errors
    /// As rendering.
    pub fn test(&self, progress: impl Fn(usize) + Sync) -> Result<Batch> {
        Batch::unknown(&render(self.set.dataset(), &self.test_indices(), progress)?, &self.split)
    }

    fn test_indices(&self) -> Vec<usize> {
        self.set.dataset().indices(self.split.unknown())
    }

    /// The central slice of a test sample.
    ///
    /// # Errors
    /// As simulating.
    pub fn test_slab(&self, row: usize) -> Result<Slab> {
        self.slab(self.test_indices()[row])
    }

    /// The central slice of the first sample of each known, then of each unknown class.
    ///
    /// # Errors
    /// As simulating.
    pub fn first_slabs(&self) -> Result<[Vec<Slab>; 2]> {
        let of = |classes: &[ClassId]| -> Result<Vec<Slab>> {
            classes.iter().map(|&class| self.slab(self.set.dataset().indices(&[class])[0])).collect()
        };
        Ok([of(self.split.known())?, of(self.split.unknown())?])
    }

    fn slab(&self, index: usize) -> Result<Slab> {
        let parts = self.set.parts(index)?;
        let side = parts.signal.side();
        let middle = |volume: &Volume| volume.slice(side / 2).map(<[f32]>::to_vec).unwrap_or_default();
        let (clean, noise) = (middle(&parts.signal), middle(&parts.noise));
        let noisy = clean.iter().zip(&noise).map(|(signal, noise)| signal + noise).collect();
        Ok(Slab { side, clean, noisy })
    }

    /// What the domain is, in a line.
    pub fn describe(&self) -> String {
        let config = self.set.config();
        let what = match &self.set {
            Set::Isolated(_) => "isolated particles",
            Set::Crowded(_) => "particles in a crowd, a stand-in for R1",
        };
        format!(
            "{what}, simulated at SNR {}; {}³ voxels of {} Å, {} µm underfocus, tilts to ±{}°",
            config.snr, config.side, config.voxel_size, config.underfocus, config.max_tilt
        )
    }
}
