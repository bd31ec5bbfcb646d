//! The subtomograms of a domain.
//!
//! The one place that knows where samples come from: a new domain is a new arm of [`Domains::source`].

use std::sync::Arc;

use crate::program::refused;
use anyhow::Result;
use soft_lmccl::{
    cect::{
        Background, Batch, ClassId, CrowdedDataset, Dataset, InventConfig, LabeledFiles, NoiseColor, OpenSetSplit,
        SimulatedDataset, SimulationConfig, Subtomogram, Template, Volume, catalogue,
        catalogue::{Role, split_by_role},
        invent, neuron, render,
    },
    train::Samples,
};

use super::{
    classes,
    plan::{Domain, Roles, Run},
    recipe::Supply,
    settings::{NeuronData, Settings, Simulator, open_files},
};

/// The data of a study. Files are read once, when it is opened.
#[derive(Debug)]
pub struct Domains {
    settings: Settings,
    neuron: Neuron,
}

/// What R1 is made of.
#[derive(Debug)]
enum Neuron {
    Simulated,
    Background(Arc<Background>),
    Subtomograms(LabeledFiles, OpenSetSplit),
}

impl Domains {
    /// # Errors
    /// A tomogram or table that cannot be read or does not fit the study; a class that the table lacks.
    pub fn open(settings: &Settings) -> Result<Self> {
        let neuron = match &settings.neuron {
            NeuronData::Simulated => Neuron::Simulated,
            NeuronData::Background { tomogram, contrast, .. } => {
                let background = Background::open(tomogram, *contrast)?;
                let simulation = settings.simulation(on_background(&background));
                background.check(simulation.side, simulation.voxel_size)?;
                Neuron::Background(Arc::new(background))
            }
            NeuronData::Subtomograms { table, contrast, known, .. } => {
                let files = open_files(table, *contrast, settings.side)?;
                let split = split_by_name(files.classes(), known)?;
                Neuron::Subtomograms(files, split)
            }
        };
        Ok(Self { settings: settings.clone(), neuron })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The domains that there is data of: AITom makes no crowd.
    pub fn available(&self) -> Vec<Domain> {
        match self.settings.simulator {
            Simulator::Ours => Domain::ALL.to_vec(),
            Simulator::Aitom => vec![Domain::S1, Domain::S2],
        }
    }

    /// Whether the user's subtomograms can be used and are enough for these runs, asked before any work: a run that is
    /// broken off for want of them counts as finished.
    ///
    /// # Errors
    /// What is missing; as reading any of them.
    pub fn require_subtomograms(&self, runs: &[Run]) -> Result<()> {
        let Neuron::Subtomograms(files, _) = &self.neuron else { return Ok(()) };
        let wanted: Vec<_> = runs.iter().filter(|run| run.tests.contains(&Domain::R1)).collect();
        wanted.iter().try_for_each(|run| self.require_enough(files, run))?;
        // Only now, since this reads all of them.
        let count = if wanted.is_empty() { 0 } else { files.len() };
        Ok((0..count).try_for_each(|index| files.sample(index).map(drop))?)
    }

    fn require_enough(&self, files: &LabeledFiles, run: &Run) -> Result<()> {
        let Source { split, .. } = self.source(Domain::R1, run.roles, run.seed, Supply::default())?;
        let refuse =
            |expected: String, got: String| Err(refused("--subtomograms", expected, format!("{got} for {}", run.id())));
        let name = |class: ClassId| files.classes()[class.0 as usize].as_str();
        if let &[only] = split.unknown() {
            return refuse("two classes or more to tell apart beside the known ones".into(), name(only).to_owned());
        }
        let enrolled = self.settings.few_shot.iter().copied().max().unwrap_or(0);
        for &class in split.unknown() {
            let count = files.indices(&[class]).len();
            if count <= enrolled {
                let expected = format!("more than {enrolled} of each class that is verified, as so many are enrolled");
                return refuse(expected, format!("{count} of {}", name(class)));
            }
        }
        let (known, batch) = (files.indices(split.known()).len(), self.settings.fit.batch_size);
        if run.train == Domain::R1 && known < batch {
            return refuse(format!("{batch} or more of the known classes, which fill a batch"), known.to_string());
        }
        Ok(())
    }

    /// The samples of `domain` for one seed, of the classes and as many as `supply` says.
    ///
    /// R1 has classes and sizes of its own, whatever the supply; so a tomogram's particles are those of
    /// the catalogue without the extra ones.
    ///
    /// # Errors
    /// As making the data set.
    pub fn source(&self, domain: Domain, roles: Roles, seed: u64, supply: Supply) -> Result<Source> {
        let settings = &self.settings;
        let simulated = |named, templates, per_class, seed| {
            SimulatedDataset::new(templates, settings.simulation(named), per_class, seed)
        };
        let named = match (domain, &self.neuron) {
            (Domain::S1 | Domain::S2, _) => settings.simulator.of(domain),
            (Domain::R1, Neuron::Simulated) => {
                let simulation = settings.simulation(neuron::simulation());
                let config = neuron::NeuronConfig { total: settings.neuron_total, simulation, ..Default::default() };
                let set = Set::Crowded(Box::new(neuron::dataset(config, seed)?));
                return Ok(Source { set, split: classes::neuron(roles)? });
            }
            (Domain::R1, Neuron::Background(background)) => {
                let set = simulated(on_background(background), catalogue::templates(), settings.per_class, seed)?;
                let set = Set::Embedded(set.on(Arc::clone(background))?);
                return Ok(Source { set, split: classes::roles(roles)? });
            }
            (Domain::R1, Neuron::Subtomograms(files, split)) => {
                let split = match roles {
                    Roles::Split(index @ 1..) => {
                        let classes = split.known().len() + split.unknown().len();
                        OpenSetSplit::random(classes as u32, split.num_known() as u32, u64::from(index))?
                    }
                    Roles::Split(0) | Roles::Validation => split.clone(),
                };
                return Ok(Source { set: Set::Files(files.clone()), split });
            }
        };
        let (templates, split) = match (supply.extra_classes, roles) {
            (true, Roles::Validation) => {
                (catalogue::extended_templates(), split_by_role(&[Role::Known, Role::ExtraKnown], &[Role::Validation])?)
            }
            (true, Roles::Split(_)) => (catalogue::extended_templates(), catalogue::extended_split()),
            (false, Roles::Validation) => (catalogue::extended_templates(), classes::roles(roles)?),
            (false, Roles::Split(_)) => (catalogue::templates(), classes::roles(roles)?),
        };
        let (templates, split) = with_invented(templates, split, supply.invented)?;
        // A larger supply has another seed: a sample's noise goes by its index, and the test set's must not be
        // met in training.
        let seed = if supply == Supply::default() { seed } else { seed + (1 << 32) };
        Ok(Source { set: Set::Isolated(simulated(named, templates, settings.per_class * supply.times, seed)?), split })
    }
}

/// Adds classes made of the known ones, known as well: the same in every run, as those of the catalogue are.
fn with_invented(
    mut templates: Vec<Template>,
    split: OpenSetSplit,
    count: usize,
) -> Result<(Vec<Template>, OpenSetSplit)> {
    const SEED: u64 = 1;
    if count == 0 {
        return Ok((templates, split));
    }
    let mut known = split.known().to_vec();
    let parents: Vec<_> = known.iter().map(|class| templates[class.0 as usize].clone()).collect();
    let first = templates.len();
    templates.extend(invent(&parents, count, InventConfig::default(), SEED)?);
    known.extend((first..templates.len()).map(|class| ClassId(class as u32)));
    Ok((templates, OpenSetSplit::new(known, split.unknown().to_vec())?))
}

/// Particles in a real tomogram: the optics of the neuron-like domain, the SNR of S2, the voxels of the main
/// experiment or those of the tomogram where they are larger.
fn on_background(background: &Background) -> SimulationConfig {
    let SimulationConfig { snr, voxel_size, .. } = SimulationConfig::s2();
    SimulationConfig { snr, voxel_size: voxel_size.max(background.voxel_size()), ..neuron::simulation() }
}

/// The named classes against all others.
fn split_by_name(classes: &[String], known: &[String]) -> Result<OpenSetSplit> {
    if let Some(missing) = known.iter().find(|name| !classes.contains(name)) {
        return Err(refused("--known", format!("classes of the table: {}", classes.join(", ")), missing));
    }
    let ids = (0u32..).map(ClassId).zip(classes);
    let (known, unknown): (Vec<_>, Vec<_>) = ids.partition(|(_, name)| known.contains(name));
    let ids = |named: Vec<(ClassId, &String)>| named.into_iter().map(|(id, _)| id).collect();
    Ok(OpenSetSplit::new(ids(known), ids(unknown))?)
}

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
    /// In patches of a tomogram.
    Embedded(SimulatedDataset),
    Crowded(Box<CrowdedDataset>),
    Files(LabeledFiles),
}

impl Set {
    fn dataset(&self) -> &dyn Dataset {
        match self {
            Self::Isolated(set) | Self::Embedded(set) => set,
            Self::Crowded(set) => set.as_ref(),
            Self::Files(set) => set,
        }
    }
}

/// One slice of a subtomogram, without noise and with it.
#[derive(Debug, Clone)]
pub struct Slab {
    pub side: usize,
    /// Subtomograms that were not simulated are noisy here as well.
    pub clean: Vec<f32>,
    pub noisy: Vec<f32>,
}

impl Source {
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
        let samples = render(self.set.dataset(), &self.set.dataset().indices(self.split.known()), progress)?;
        Ok(Batch::known(&samples, &self.split)?)
    }

    /// The samples of the first `known` known classes, each made when it is asked for.
    ///
    /// # Errors
    /// As [`Samples::new`].
    pub fn stream(&self, known: usize) -> Result<Samples<&dyn Dataset>> {
        Ok(Samples::new(self.set.dataset(), &self.split.known()[..known])?)
    }

    /// All samples of the unknown classes; row `i` of the batch is sample `test_indices()[i]`.
    ///
    /// # Errors
    /// As rendering.
    pub fn test(&self, progress: impl Fn(usize) + Sync) -> Result<Batch> {
        Ok(Batch::unknown(&render(self.set.dataset(), &self.test_indices(), progress)?, &self.split)?)
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
        let parts = match &self.set {
            Set::Isolated(set) | Set::Embedded(set) => set.parts(index)?,
            Set::Crowded(set) => set.parts(index)?,
            Set::Files(set) => {
                let volume = set.sample(index)?.volume;
                let noisy = middle_slice(&volume);
                return Ok(Slab { side: volume.side(), clean: noisy.clone(), noisy });
            }
        };
        let Subtomogram { signal, noise, .. } = parts;
        let (clean, noise) = (middle_slice(&signal), middle_slice(&noise));
        let noisy = clean.iter().zip(&noise).map(|(signal, noise)| signal + noise).collect();
        Ok(Slab { side: signal.side(), clean, noisy })
    }

    /// Edge of a voxel in Angstrom, where it is known.
    pub fn voxel_size(&self) -> Option<f64> {
        match &self.set {
            Set::Isolated(set) | Set::Embedded(set) => Some(set.config().voxel_size),
            Set::Crowded(set) => Some(set.config().voxel_size),
            Set::Files(set) => set.voxel_size(),
        }
    }

    /// What the domain is, in a line.
    pub fn describe(&self) -> String {
        let (what, config) = match &self.set {
            Set::Isolated(set) if set.config().noise == NoiseColor::Aitom => {
                ("isolated particles, simulated as AITom does,", set.config())
            }
            Set::Isolated(set) => ("isolated particles, simulated", set.config()),
            Set::Embedded(set) => ("simulated particles in patches of a real tomogram,", set.config()),
            Set::Crowded(set) => ("particles in a crowd, a stand-in for R1, simulated", set.config()),
            Set::Files(set) => {
                let voxels = set.voxel_size().map_or_else(String::new, |size| format!(" of {size} Å"));
                return format!("{} subtomograms from files, {}³ voxels{voxels}", set.len(), set.side());
            }
        };
        let voxel_size = (config.voxel_size * 1000.0).round() / 1000.0;
        format!(
            "{what} at SNR {}; {}³ voxels of {voxel_size} Å, {} µm underfocus, tilts to ±{}°",
            config.snr, config.side, config.underfocus, config.max_tilt
        )
    }
}

fn middle_slice(volume: &Volume) -> Vec<f32> {
    volume.slice(volume.side() / 2).map(<[f32]>::to_vec).unwrap_or_default()
}
