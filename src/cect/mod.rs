//! Subtomograms: from atomic models to densities to simulated, labeled volumes.
//!
//! ```text
//! structure file ─ Structure ─ density ─┐
//! density map ──── Map ─ resample ──────┴─ Template ─ Simulator ─ SimulatedDataset ─ Sample
//! catalogue (23 classes) ───────────────┘
//! ```
//!
//! Nothing here but `Batch`, which hands samples to a network, needs libtorch.

mod assembly;
mod atoms;
#[cfg(feature = "torch")]
mod batch;
pub mod catalogue;
mod cif;
mod dataset;
mod density;
mod fourier;
mod input;
mod mrc;
mod pose;
mod resample;
mod residues;
mod simulate;
mod split;
mod structure;
mod template;
mod volume;

#[cfg(feature = "torch")]
pub use batch::Batch;
pub use dataset::{ClassId, Dataset, Sample, SimulatedDataset, render};
pub use density::{ATOM_SIGMA, Extent, Scatterer, TEMPLATE_SIDE, VOXEL_SIZE, density, read_beads};
pub use mrc::Map;
pub use pose::Pose;
pub use resample::{Resampled, resample};
pub use simulate::{NoiseColor, SimulationConfig, Simulator, Subtomogram, cramped};
pub use split::OpenSetSplit;
pub use structure::{AppliedAssembly, AssemblyChoice, Structure};
pub use template::Template;
pub use volume::{Statistics, Volume};
