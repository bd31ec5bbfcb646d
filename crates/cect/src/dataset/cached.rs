//! Subtomograms kept in memory.

use half::{f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Dataset, Sample, check_index, no_sample};
use crate::{Error, Result, split::ClassId, volume::Volume};

/// How a [`CachedDataset`] keeps voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// Two bytes a voxel. Rounding moves a standardized voxel by at most 0.05 % of itself, far below
    /// the noise.
    #[default]
    Half,
    /// Four bytes a voxel, unchanged.
    Single,
}

impl Precision {
    /// Bytes that so many subtomograms of `side³` voxels take.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::Precision;
    ///
    /// // The paper's 23,000 subtomograms of 40³.
    /// assert_eq!(Precision::Half.bytes(23_000, 40), 2_944_000_000);
    /// ```
    pub fn bytes(self, samples: usize, side: usize) -> u64 {
        let voxel = match self {
            Self::Half => 2,
            Self::Single => 4,
        };
        [samples, side, side, side].into_iter().fold(voxel, |product, n| product.saturating_mul(n as u64))
    }
}

/// Samples of a data set, made once, standardized and kept.
///
/// This suits a training run of many epochs. In half precision the paper's full size takes 2.7 GiB.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{CacheConfig, CachedDataset, Dataset, SimulatedDataset, SimulationConfig, catalogue};
///
/// let config = SimulationConfig { side: 16, ..Default::default() };
/// let dataset = SimulatedDataset::new(catalogue::templates().split_off(21), config, 3, 1)?;
/// let cached = CachedDataset::new(&dataset, &[4, 1], CacheConfig::default(), |_| {})?;
/// assert_eq!((cached.len(), cached.bytes()), (2, 2 * 2 * 4096));
/// let (kept, made) = (cached.sample(1)?, dataset.sample(1)?);
/// assert_eq!(kept.class, made.class);
/// let made = made.volume.standardized()?;
/// assert!(kept.volume.voxels().iter().zip(made.voxels()).all(|(a, b)| (a - b).abs() < 2e-3));
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug)]
pub struct CachedDataset {
    names: Vec<String>,
    classes: Vec<ClassId>,
    side: usize,
    voxels: Voxels,
}

#[derive(Debug)]
enum Voxels {
    Half(Vec<f16>),
    Single(Vec<f32>),
}

/// How a [`CachedDataset`] stores voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Default [`Precision::Half`].
    pub precision: Precision,
    /// The most bytes that the voxels may take. Default 3 GiB: a whole run stays below 4.
    pub max_bytes: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { precision: Precision::Half, max_bytes: 3 << 30 }
    }
}

impl CachedDataset {
    /// Makes the samples `indices` of `dataset` on all threads and keeps them, standardized, in this
    /// order. After each, `progress` is called with how many are done.
    ///
    /// # Errors
    /// [`Error::Config`] for no samples, for an index that is not below the number of samples, or with the bytes needed if `max_bytes` is less; [`Error::Volume`] if one
    /// has another side than the first or no contrast; the error of making a sample.
    pub fn new<D: Dataset + ?Sized>(
        dataset: &D,
        indices: &[usize],
        config: CacheConfig,
        progress: impl Fn(usize) + Sync,
    ) -> Result<Self> {
        let CacheConfig { precision, max_bytes } = config;
        let Some(&first) = indices.first() else {
            return Err(Error::config("indices", "one sample at least", "none"));
        };
        let class = |&index: &usize| dataset.class(index).ok_or_else(|| no_sample(index, dataset.len()));
        let classes = indices.iter().map(class).collect::<Result<_>>()?;
        let side = dataset.sample(first)?.volume.side();
        let needed = precision.bytes(indices.len(), side);
        if needed > max_bytes {
            return Err(Error::config(
                "max_bytes",
                format!("{needed} or more for {} subtomograms of {side}³ voxels", indices.len()),
                max_bytes,
            ));
        }
        let done = std::sync::atomic::AtomicUsize::new(0);
        let standardized = |index: usize| -> Result<Volume> {
            let volume = dataset.sample(index)?.volume;
            if volume.side() != side {
                return Err(Error::Volume(format!("sample {index} has side {}, the first {side}", volume.side())));
            }
            let volume = volume.standardized()?;
            progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
            Ok(volume)
        };
        let size = side.pow(3);
        let voxels = match precision {
            Precision::Half => {
                let mut voxels = vec![f16::ZERO; indices.len() * size];
                voxels.par_chunks_exact_mut(size).zip(indices).try_for_each(|(kept, &index)| {
                    kept.convert_from_f32_slice(standardized(index)?.voxels());
                    Ok::<(), Error>(())
                })?;
                Voxels::Half(voxels)
            }
            Precision::Single => {
                let mut voxels = vec![0.0; indices.len() * size];
                voxels.par_chunks_exact_mut(size).zip(indices).try_for_each(|(kept, &index)| {
                    kept.copy_from_slice(standardized(index)?.voxels());
                    Ok::<(), Error>(())
                })?;
                Voxels::Single(voxels)
            }
        };
        Ok(Self { names: dataset.classes().to_vec(), classes, side, voxels })
    }

    /// Side of every subtomogram in voxels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Bytes that the voxels take.
    pub fn bytes(&self) -> u64 {
        let precision = match self.voxels {
            Voxels::Half(_) => Precision::Half,
            Voxels::Single(_) => Precision::Single,
        };
        precision.bytes(self.classes.len(), self.side)
    }
}

impl Dataset for CachedDataset {
    fn classes(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.classes.len()
    }

    fn class(&self, index: usize) -> Option<ClassId> {
        self.classes.get(index).copied()
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        check_index(index, self.len())?;
        let size = self.side.pow(3);
        let range = index * size..(index + 1) * size;
        let voxels = match &self.voxels {
            Voxels::Half(voxels) => {
                let mut single = vec![0.0; size];
                voxels[range].convert_to_f32_slice(&mut single);
                single
            }
            Voxels::Single(voxels) => voxels[range].to_vec(),
        };
        Ok(Sample { volume: Volume::from_finite(self.side, voxels), class: self.classes[index] })
    }
}
