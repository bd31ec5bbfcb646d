//! The subtomograms of a domain.
//!
//! The one place that knows where samples come from: a new domain is a new arm of [`Source::open`].

use soft_lmccl::{
    Result,
    cect::{Batch, ClassId, Dataset, OpenSetSplit, SimulatedDataset, SimulationConfig, Volume, catalogue, render},
};

use crate::{
    classes,
    plan::{Domain, Roles},
    settings::Settings,
};

/// Samples of a domain, and which of its classes are known.
#[derive(Debug)]
pub struct Source {
    set: SimulatedDataset,
    split: OpenSetSplit,
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
        vec![Domain::S1, Domain::S2]
    }

    /// How many classes of a domain are known.
    ///
    /// # Errors
    /// As [`classes::roles`].
    pub fn known_classes(domain: Domain, roles: Roles) -> Result<usize> {
        match domain {
            Domain::S1 | Domain::S2 | Domain::R1 => Ok(classes::roles(roles)?.num_known()),
        }
    }

    /// The samples of `domain` for one seed, `more_data` times as many as the settings say.
    ///
    /// # Errors
    /// As making the data set.
    pub fn open(domain: Domain, roles: Roles, settings: &Settings, seed: u64, more_data: usize) -> Result<Self> {
        let named = match domain {
            Domain::S1 => SimulationConfig::s1(),
            Domain::S2 | Domain::R1 => SimulationConfig::s2(),
        };
        let per_class = settings.per_class * more_data;
        let set = SimulatedDataset::new(catalogue::templates(), settings.simulation(named), per_class, seed)?;
        Ok(Self { set, split: classes::roles(roles)? })
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
        classes.iter().map(|class| self.set.classes()[class.0 as usize].clone()).collect()
    }

    /// How many samples [`train`](Self::train) and [`test`](Self::test) render.
    pub fn sizes(&self) -> (usize, usize) {
        (self.set.indices(self.split.known()).len(), self.test_indices().len())
    }

    /// All samples of the known classes.
    ///
    /// # Errors
    /// As rendering.
    pub fn train(&self, progress: impl Fn(usize) + Sync) -> Result<Batch> {
        Batch::known(&render(&self.set, &self.set.indices(self.split.known()), progress)?, &self.split)
    }

    /// All samples of the unknown classes; row `i` of the batch is sample `test_indices()[i]`.
    ///
    /// # Errors
    /// As rendering.
    pub fn test(&self, progress: impl Fn(usize) + Sync) -> Result<Batch> {
        Batch::unknown(&render(&self.set, &self.test_indices(), progress)?, &self.split)
    }

    fn test_indices(&self) -> Vec<usize> {
        self.set.indices(self.split.unknown())
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
            classes.iter().map(|&class| self.slab(self.set.indices(&[class])[0])).collect()
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
        format!(
            "simulated at SNR {}, {} subtomograms a class, {}³ voxels of {} Å, {} µm underfocus, tilts to ±{}°",
            config.snr,
            self.set.len() / self.set.classes().len(),
            config.side,
            config.voxel_size,
            config.underfocus,
            config.max_tilt
        )
    }
}
