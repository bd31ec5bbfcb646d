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
//! [`AugmentedDataset`], [`CachedDataset`] (made once, kept) and [`Prefetch`] (made ahead, not kept).
//!
//! Nothing here needs libtorch; `soft_lmccl::train::Batch` hands samples to a network.

mod assembly;
mod atoms;
mod augment;
mod background;
mod cached;
pub mod catalogue;
mod cif;
mod crowd;
mod dataset;
mod density;
mod error;
mod fourier;
mod input;
mod invent;
mod labeled_files;
mod membrane;
mod mrc;
pub mod neuron;
mod pose;
mod prefetch;
mod resample;
mod residues;
mod simulate;
mod simulation_config;
mod split;
mod star;
mod structure;
mod table;
mod template;
mod volume;

pub use assembly::Assembly;
pub use atoms::Atom;
pub use augment::{AugmentConfig, AugmentedDataset, Augmenter, HalfTurn};
pub use background::{Background, Contrast};
pub use cached::{CacheConfig, CachedDataset, Precision};
pub use crowd::{CrowdClass, CrowdConfig, CrowdedDataset, Particle};
pub use dataset::{ClassId, Dataset, Sample, SimulatedDataset, render};
pub use density::{ATOM_SIGMA, Extent, Scatterer, TEMPLATE_SIDE, VOXEL_SIZE, density, read_beads};
pub use error::{Error, Result};
pub use invent::{InventConfig, invent};
pub use labeled_files::{FilesConfig, LabeledFiles};
pub use membrane::Membrane;
pub use mrc::Map;
pub use pose::Pose;
pub use prefetch::Prefetch;
pub use resample::{Resampled, resample};
pub use simulate::{Simulator, Subtomogram, cramped};
pub use simulation_config::{NoiseColor, SimulationConfig, SnrScaling};
pub use split::OpenSetSplit;
pub use structure::{AppliedAssembly, AssemblyChoice, Structure};
pub use table::annotate_star;
pub use template::Template;
pub use volume::{Statistics, Volume};
