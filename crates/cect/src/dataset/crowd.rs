//! Particles in a crowd, as in a cell: neighbors reach into the box.

use std::collections::HashSet;

use rand::{Rng, RngExt};
use rustfft::num_complex::Complex32;
use serde::{Deserialize, Serialize};

use super::{Dataset, Sample, no_sample, sampled_for};
use crate::{
    Error, Result,
    simulate::membrane::Surface,
    simulate::{Developed, Membrane, Noise, SimulationConfig, Simulator, SnrScaling, Subtomogram},
    split::ClassId,
    stream::stream,
    template::Template,
    volume::Pose,
};

/// What lies at the center of a subtomogram of one class.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Particle {
    /// A particle of known density.
    Template(Template),
    /// A patch of lipid bilayer.
    Membrane(Membrane),
    /// Nothing but neighbors and noise.
    Nothing,
}

/// One class of a [`CrowdedDataset`].
#[derive(Debug, Clone, PartialEq)]
pub struct CrowdClass {
    /// The class's name.
    pub name: String,
    /// What lies at the center.
    pub particle: Particle,
    /// How many subtomograms it has.
    pub count: usize,
}

/// How crowded subtomograms are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrowdConfig {
    /// How many neighbors are tried. Each gets a place drawn uniformly from the box and a margin of its radius around
    /// it; one that would come too close to another particle is left out. Default 12, of which about ten find a
    /// place.
    pub tries: usize,
    /// How close two particles come, as a part of the sum of their radii: particles do not fill the spheres around
    /// them. Default 0.75.
    pub clearance: f64,
}

impl Default for CrowdConfig {
    fn default() -> Self {
        Self { tries: 12, clearance: 0.75 }
    }
}

impl CrowdConfig {
    /// Checks the values without making anything.
    ///
    /// # Errors
    /// [`Error::Config`] for more than 1000 tries or a clearance outside 0.1 to 2.
    pub fn validate(&self) -> Result<()> {
        if self.tries > 1000 {
            return Err(Error::config("tries", "up to 1000 neighbors", self.tries));
        }
        if !(0.1..=2.0).contains(&self.clearance) {
            return Err(Error::config("clearance", "0.1 to 2 sums of radii", self.clearance));
        }
        Ok(())
    }
}

/// Simulated subtomograms of a crowded field.
///
/// Every subtomogram has the same noise, as in one tomogram. Its variance is the mean variance that particles alone
/// bring into the box, divided by [`SimulationConfig::snr`]. The mean is over the classes with a
/// [`Particle::Template`] or, if there are none, over membranes.
///
/// A heavy particle stands out more than a light one. A membrane, which fills the box from border to border, stands
/// out most.
///
/// Neighbors are drawn from structures of their own. Give no structure of a class, or a network learns it from the
/// corners of the boxes. The border of the box cuts neighbors and membranes after the optics, which still saw beyond
/// it.
///
/// Samples of a class follow one another, classes in the order in which they were given.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{
///     ClassId, CrowdClass, CrowdConfig, CrowdedDataset, Dataset, Membrane, Particle, SimulationConfig, catalogue,
/// };
///
/// let template = |id| catalogue::entries().iter().find(|entry| entry.id() == id).unwrap().template();
/// let class = |name: &str, particle, count| CrowdClass { name: name.into(), particle, count };
/// let classes = vec![
///     class("chaperonin", Particle::Template(template("1oel")), 3),
///     class("membrane", Particle::Membrane(Membrane::default()), 2),
///     class("nothing", Particle::Nothing, 1),
/// ];
/// let config = SimulationConfig { side: 24, ..Default::default() };
/// let neighbors = vec![template("4v1w"), template("3cf3")];
/// let dataset = CrowdedDataset::new(classes, neighbors, config, CrowdConfig::default(), 1)?;
/// assert_eq!((dataset.len(), dataset.class(4)), (6, Some(ClassId(1))));
/// assert_eq!(dataset.sample(5)?, dataset.sample(5)?);
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug)]
pub struct CrowdedDataset {
    classes: Vec<CrowdClass>,
    names: Vec<String>,
    neighbors: Vec<Template>,
    config: SimulationConfig,
    /// Simulates the box with its margin.
    simulator: Simulator,
    crowd: CrowdConfig,
    noise_variance: f64,
    seed: u64,
}

/// What a subtomogram shows.
struct Scene<'a> {
    center: Center<'a>,
    pose: Pose,
    neighbors: Vec<(&'a Template, Pose)>,
}

enum Center<'a> {
    Template(&'a Template),
    Membrane(&'a Membrane, Surface),
    Nothing,
}

impl CrowdedDataset {
    /// Voxels that are simulated around the box and cut off. Without them the border would cut particles before the
    /// Fourier transform, where they meet their own other side.
    const MARGIN: usize = 8;

    /// Poses over which the variance of a class is averaged.
    const REFERENCE_POSES: u64 = 8;

    /// [`ClassId`]s are positions in `classes`.
    ///
    /// # Errors
    /// [`Error::Config`] if a hyper-parameter is out of range, the side passes 112, or the SNR goes by mass; if there
    /// are no classes, none with a particle, two of one name, or one without subtomograms; if all together have more
    /// than `usize::MAX`; if there are tries but no neighbors.
    pub fn new(
        classes: Vec<CrowdClass>,
        neighbors: Vec<Template>,
        config: SimulationConfig,
        crowd: CrowdConfig,
        seed: u64,
    ) -> Result<Self> {
        crowd.validate()?;
        config.validate()?;
        let side = config.side + 2 * Self::MARGIN;
        if side > 128 {
            return Err(Error::config("side", "112 voxels at most, as a crowd has a margin", config.side));
        }
        let simulator = Simulator::new(SimulationConfig { side, ..config })?;
        if classes.is_empty() || u32::try_from(classes.len()).is_err() {
            return Err(Error::config("classes", "one at least", classes.len()));
        }
        if config.snr_scaling != SnrScaling::EveryClass {
            return Err(Error::config("snr_scaling", "`every_class`: a crowd has one noise for all", "by mass"));
        }
        let mut seen = HashSet::new();
        let mut total = 0usize;
        for CrowdClass { name, particle, count } in &classes {
            if !seen.insert(name.as_str()) {
                return Err(Error::config("classes", "a name of its own for each", format!("{name} twice")));
            }
            if *count == 0 {
                return Err(Error::config("count", "one subtomogram at least of each class", format!("0 of {name}")));
            }
            let Some(sum) = total.checked_add(*count) else {
                return Err(Error::config(
                    "count",
                    "as many subtomograms in all as can be counted",
                    format!("{count} of {name}"),
                ));
            };
            total = sum;
            if let Particle::Membrane(membrane) = particle {
                membrane.validate()?;
            }
        }
        if crowd.tries > 0 && neighbors.is_empty() {
            return Err(Error::config("neighbors", "one at least to try", "none"));
        }
        let sampled = |template: Template| sampled_for(template, config.voxel_size);
        let neighbors = neighbors.into_iter().map(sampled).collect::<Result<Vec<_>>>()?;
        let classes = classes
            .into_iter()
            .map(|class| {
                let particle = match class.particle {
                    Particle::Template(template) => Particle::Template(sampled(template)?),
                    other => other,
                };
                Ok(CrowdClass { particle, ..class })
            })
            .collect::<Result<Vec<_>>>()?;
        let names = classes.iter().map(|class| class.name.clone()).collect();
        let mut dataset = Self { classes, names, neighbors, config, simulator, crowd, noise_variance: 0.0, seed };
        dataset.noise_variance = dataset.mean_variance()? / config.snr;
        Ok(dataset)
    }

    /// How samples are simulated.
    pub fn config(&self) -> &SimulationConfig {
        &self.config
    }

    /// The classes, by [`ClassId`].
    pub fn crowd_classes(&self) -> &[CrowdClass] {
        &self.classes
    }

    /// The variance that the noise of every subtomogram is drawn with.
    pub fn noise_variance(&self) -> f64 {
        self.noise_variance
    }

    /// A sample in its parts; the signal holds the neighbors.
    ///
    /// # Errors
    /// As [`Dataset::sample`].
    pub fn parts(&self, index: usize) -> Result<Subtomogram> {
        let Subtomogram { signal, noise, pose } = self.with_sample(index, |developed, pose| developed.parts(pose))?;
        let side = self.config.side;
        Ok(Subtomogram { signal: signal.centered(side)?, noise: noise.centered(side)?, pose })
    }

    /// How many neighbors found a place in a sample.
    ///
    /// # Errors
    /// [`Error::Config`] if `index` is not below the number of samples.
    pub fn num_neighbors(&self, index: usize) -> Result<usize> {
        let class = self.class_at(index)?;
        let mut rng = stream(self.seed, index as u64);
        Ok(self.scene(&self.classes[class.0 as usize], &mut rng).neighbors.len())
    }

    /// The mean variance that particles alone bring into the box: of densities, or of membranes if there are none.
    fn mean_variance(&self) -> Result<f64> {
        let (mut particles, mut membranes) = (Vec::new(), Vec::new());
        for (place, class) in (0u64..).zip(&self.classes) {
            let means = match class.particle {
                Particle::Template(_) => &mut particles,
                Particle::Membrane(_) => &mut membranes,
                Particle::Nothing => continue,
            };
            let mut sum = 0.0;
            for pose in 0..Self::REFERENCE_POSES {
                // Streams from the far end, which no sample uses.
                let mut rng = stream(self.seed, u64::MAX - place * Self::REFERENCE_POSES - pose);
                let (center, pose) = self.center(class, &mut rng);
                let signal = self.simulator.signal(|voxels| self.place_center(&center, &pose, voxels));
                sum += signal.centered(self.config.side)?.statistics().std.powi(2);
            }
            means.push(sum / Self::REFERENCE_POSES as f64);
        }
        let means = if particles.is_empty() { membranes } else { particles };
        if means.is_empty() {
            return Err(Error::config(
                "classes",
                "one with a particle, by which the noise is measured",
                "nothing but background",
            ));
        }
        Ok(means.iter().sum::<f64>() / means.len() as f64)
    }

    fn center<'a>(&self, class: &'a CrowdClass, rng: &mut impl Rng) -> (Center<'a>, Pose) {
        let pose = Pose::random(self.config().max_shift, rng);
        let center = match &class.particle {
            Particle::Template(template) => Center::Template(template),
            Particle::Membrane(membrane) => {
                let radius = membrane.radius(rng);
                Center::Membrane(membrane, Membrane::surface(&pose, radius, self.config().voxel_size))
            }
            Particle::Nothing => Center::Nothing,
        };
        (center, pose)
    }

    fn place_center(&self, center: &Center<'_>, pose: &Pose, voxels: &mut [Complex32]) {
        let SimulationConfig { side, voxel_size, .. } = *self.simulator.config();
        match center {
            Center::Template(template) => template.place_electrons(pose, side, voxel_size, voxels),
            Center::Membrane(membrane, surface) => membrane.place(surface, side, voxel_size, voxels),
            Center::Nothing => {}
        }
    }

    /// Puts neighbors one after another where there is room.
    fn scene<'a>(&'a self, class: &'a CrowdClass, rng: &mut impl Rng) -> Scene<'a> {
        let SimulationConfig { side, voxel_size, .. } = *self.config();
        let (center, pose) = self.center(class, rng);
        // Center and radius of each placed particle, in Å from the center of the box.
        let mut taken = Vec::with_capacity(self.crowd.tries + 1);
        if let Center::Template(template) = center {
            taken.push((pose.shift.map(|shift| shift * voxel_size), template.radius()));
        }
        let mut neighbors = Vec::with_capacity(self.crowd.tries);
        for _ in 0..self.crowd.tries {
            let neighbor = &self.neighbors[rng.random_range(0..self.neighbors.len())];
            let rotation = Pose::random(0.0, rng).rotation;
            let reach = side as f64 * voxel_size / 2.0 + neighbor.radius();
            let place: [f64; 3] = std::array::from_fn(|_| rng.random_range(-reach..=reach));
            let room = |radius: f64| self.crowd.clearance * (radius + neighbor.radius());
            let apart = taken.iter().all(|&(other, radius): &([f64; 3], f64)| {
                let squares: f64 = place.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum();
                squares.sqrt() >= room(radius)
            });
            let off_membrane = match &center {
                Center::Membrane(membrane, surface) => surface.distance(place).abs() >= room(membrane.thickness / 2.0),
                _ => true,
            };
            if apart && off_membrane {
                taken.push((place, neighbor.radius()));
                neighbors.push((neighbor, Pose { rotation, shift: place.map(|c| c / voxel_size) }));
            }
        }
        Scene { center, pose, neighbors }
    }

    fn class_at(&self, index: usize) -> Result<ClassId> {
        self.class(index).ok_or_else(|| no_sample(index, self.len()))
    }

    fn with_sample<T>(&self, index: usize, finish: impl FnOnce(Developed<'_>, Pose) -> T) -> Result<T> {
        let class = &self.classes[self.class_at(index)?.0 as usize];
        let mut rng = stream(self.seed, index as u64);
        let scene = self.scene(class, &mut rng);
        let SimulationConfig { side, voxel_size, .. } = *self.simulator.config();
        let fill = |voxels: &mut [Complex32]| {
            self.place_center(&scene.center, &scene.pose, voxels);
            for (neighbor, pose) in &scene.neighbors {
                neighbor.place_electrons(pose, side, voxel_size, voxels);
            }
        };
        let noise = Noise::Variance(self.noise_variance);
        self.simulator.develop(&class.name, noise, &mut rng, fill, |developed| finish(developed, scene.pose))
    }
}

impl Dataset for CrowdedDataset {
    fn classes(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.classes.iter().map(|class| class.count).sum()
    }

    fn class(&self, index: usize) -> Option<ClassId> {
        let mut before = 0;
        let place = self.classes.iter().position(|class| {
            before += class.count;
            index < before
        });
        place.map(|place| ClassId(place as u32))
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        let volume = self.with_sample(index, |developed, _| developed.noisy())?;
        Ok(Sample { volume: volume.centered(self.config.side)?, class: self.class_at(index)? })
    }
}
