//! Subtomograms: from atomic models to densities to simulated, labeled volumes.
//!
//! ```text
//! atoms, file ──── Structure ─ density ─┐                       ┌─ SimulatedDataset ─┐
//! density map ──── Map ─ resample ──────┼─ Template ─ Simulator ┤                    ├─ Sample ─ Batch
//! catalogue, invent ────────────────────┘      Background ──────┴─ CrowdedDataset ───┤
//! MRC files named in a CSV or STAR file ───────────────────────── LabeledFiles ──────┘
//! ```
//!
//! Every data set is a [`Dataset`]: samples by index, each a pure function of it. On top of one lie
//! [`CachedDataset`]: made once, kept.
//!
//! Nothing here needs libtorch; `soft_lmccl::train::Batch` hands samples to a network.

mod dataset;
mod error;
mod io;
mod simulate;
mod split;
mod stream;
mod structure;
mod template;
mod volume;

pub use dataset::{
    AugmentConfig, Augmenter, CacheConfig, CachedDataset, CrowdClass, CrowdConfig, CrowdedDataset, Dataset,
    FilesConfig, LabeledFiles, Particle, Precision, RandomizedDataset, Sample, SimulatedDataset, neuron, render,
};
pub use error::{Error, Result};
pub use io::{Candidate, CandidateTable, Map, annotate_star};
pub use simulate::{
    Background, CtfCorrection, LowNoise, Membrane, NoiseColor, RandomizationConfig, SimulationConfig, Simulator,
    SnrScaling, Subtomogram, TiltImages, cramped,
};
pub use split::{ClassId, OpenSetSplit};
pub use structure::{
    ATOM_SIGMA, AppliedAssembly, Assembly, AssemblyChoice, Atom, Extent, Scatterer, Structure, TEMPLATE_SIDE,
    VOXEL_SIZE, density, read_beads,
};
pub use template::{Extracted, InventConfig, Resampled, Template, catalogue, extract, invent, resample};
pub use volume::{Contrast, HalfTurn, Pose, Statistics, Volume};
