//! From subtomograms on the host to tensors for a network.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use soft_lmccl_cect::{ClassId, OpenSetSplit, Sample};

use crate::{Error, Result, require_device};

/// A mini-batch, or a whole set, on its way into the network.
///
/// # Examples
/// ```
/// use soft_lmccl::{cect::{ClassId, OpenSetSplit, Sample, Volume}, train::Batch};
///
/// let sample = |class| -> soft_lmccl::Result<Sample> {
///     let voxels = (0..8).map(|voxel| voxel as f32).collect();
///     Ok(Sample { volume: Volume::new(2, voxels)?, class: ClassId(class) })
/// };
/// let split = OpenSetSplit::new(vec![ClassId(7), ClassId(4)], vec![ClassId(5)])?;
/// let batch = Batch::known(&[sample(4)?, sample(7)?, sample(4)?], &split)?;
/// assert_eq!(batch.volumes.size(), [3, 1, 2, 2, 2]);
/// assert_eq!(Vec::<i64>::try_from(&batch.labels)?, [1, 0, 1]); // by their place among the known ones
/// assert!(Batch::known(&[sample(5)?], &split).is_err());
/// # Ok::<(), soft_lmccl::Error>(())
/// ```
#[derive(Debug)]
pub struct Batch {
    /// `[B, 1, S, S, S]`, `Float`, zero mean and unit variance in each volume, on the CPU.
    pub volumes: Tensor,
    /// `[B]`, `Int64`, on the CPU.
    pub labels: Tensor,
}

impl Batch {
    /// Samples of known classes, with their training labels.
    ///
    /// # Errors
    /// [`Error::Tensor`] for no samples, for a sample of a class that is not known, or for volumes of different sides;
    /// [`Error::Cect`] for a volume without contrast.
    pub fn known(samples: &[Sample], split: &OpenSetSplit) -> Result<Self> {
        Self::labeled(samples, |class| split.label(class), "known")
    }

    /// Samples of unknown classes, labeled by their place among them: for comparing only.
    ///
    /// # Errors
    /// As [`known`](Self::known), for a class that is not unknown.
    pub fn unknown(samples: &[Sample], split: &OpenSetSplit) -> Result<Self> {
        let labels: HashMap<ClassId, i64> = split.unknown().iter().copied().zip(0..).collect();
        Self::labeled(samples, |class| labels.get(&class).copied(), "unknown")
    }

    /// Samples of any classes, labeled by their [`ClassId`]s: for comparing only, where nothing is trained.
    ///
    /// # Errors
    /// As [`known`](Self::known), but for the classes.
    pub fn of(samples: &[Sample]) -> Result<Self> {
        Self::labeled(samples, |class| Some(i64::from(class.0)), "there")
    }

    fn labeled(samples: &[Sample], label: impl Fn(ClassId) -> Option<i64>, role: &str) -> Result<Self> {
        let Some(first) = samples.first() else {
            return Err(Error::Tensor { what: "samples", expected: "at least one".into(), got: "none".into() });
        };
        let side = first.volume.side();
        let mut voxels = Vec::with_capacity(samples.len() * side.pow(3));
        let mut labels = Vec::with_capacity(samples.len());
        for Sample { volume, class } in samples {
            if volume.side() != side {
                return Err(Error::Tensor {
                    what: "samples",
                    expected: format!("volumes of side {side}"),
                    got: format!("side {}", volume.side()),
                });
            }
            let Some(label) = label(*class) else {
                return Err(Error::Tensor {
                    what: "samples",
                    expected: format!("samples of {role} classes"),
                    got: format!("one of class {}", class.0),
                });
            };
            voxels.extend_from_slice(volume.standardized()?.voxels());
            labels.push(label);
        }
        let side = side as i64;
        let volumes = Tensor::f_from_slice(&voxels)?.f_view([-1, 1, side, side, side])?;
        Ok(Self { volumes, labels: Tensor::f_from_slice(&labels)? })
    }

    /// Number of samples.
    pub fn len(&self) -> i64 {
        self.labels.numel() as i64
    }

    /// True if there are none, which no constructor makes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same samples in pieces of at most `size`, on `device`, as [`embed`](crate::train::embed)
    /// takes them.
    pub fn chunks(&self, size: i64, device: Device) -> impl Iterator<Item = Result<(Tensor, Tensor)>> + '_ {
        let size = size.max(1);
        (0..self.len()).step_by(size as usize).map(move |start| {
            require_device(device)?;
            let length = size.min(self.len() - start);
            let volumes = self.volumes.f_narrow(0, start, length)?.f_to_device(device)?.f_to_kind(Kind::Float)?;
            Ok((volumes, self.labels.f_narrow(0, start, length)?))
        })
    }
}
