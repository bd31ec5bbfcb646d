//! Where the volumes of a batch come from.

use tch::{Kind, Tensor};

use crate::{Error, Result, error::require_defined};

/// Labeled volumes to train on: held in memory, read from files or simulated when they are asked for.
pub trait TrainingSet {
    /// The training label of every sample, each in `0..num_classes` of the loss.
    fn labels(&self) -> &[i64];

    /// The samples at `indices`, `[B, 1, S, S, S]`, on any device.
    ///
    /// `step` counts the run's batches from 0. Augmentation can be a pure function of it: a resumed run asks for the
    /// same batches again.
    ///
    /// # Errors
    /// Whatever reading or making a sample can fail with; the run ends with it.
    fn inputs(&self, indices: &[usize], step: usize) -> Result<Tensor>;
}

impl<T: TrainingSet + ?Sized> TrainingSet for Box<T> {
    fn labels(&self) -> &[i64] {
        (**self).labels()
    }

    fn inputs(&self, indices: &[usize], step: usize) -> Result<Tensor> {
        (**self).inputs(indices, step)
    }
}

/// Volumes held in one tensor.
#[derive(Debug)]
pub struct InMemory<'a> {
    volumes: &'a Tensor,
    labels: Vec<i64>,
}

impl<'a> InMemory<'a> {
    /// Volumes with one label each.
    ///
    /// # Shapes
    /// `volumes`: `[N, …]`; `labels`: `[N]`, `Int64`; each on any device.
    ///
    /// # Errors
    /// [`Error::Tensor`] unless there is one label for each volume, or for an undefined tensor.
    pub fn new(volumes: &'a Tensor, labels: &Tensor) -> Result<Self> {
        require_defined("volumes", volumes)?;
        require_defined("labels", labels)?;
        if labels.kind() != Kind::Int64 || labels.dim() != 1 || volumes.size().first() != labels.size().first() {
            return Err(Error::Tensor {
                what: "volumes",
                expected: "as many as there are labels, which are Int64 [N]".into(),
                got: format!("{:?} volumes, {:?} {:?} labels", volumes.size(), labels.kind(), labels.size()),
            });
        }
        let labels = Vec::try_from(labels.f_to_device(tch::Device::Cpu)?.f_contiguous()?)?;
        Ok(Self { volumes, labels })
    }
}

impl TrainingSet for InMemory<'_> {
    fn labels(&self) -> &[i64] {
        &self.labels
    }

    fn inputs(&self, indices: &[usize], _: usize) -> Result<Tensor> {
        let rows: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
        let rows = Tensor::f_from_slice(&rows)?.f_to_device(self.volumes.device())?;
        Ok(self.volumes.f_index_select(0, &rows)?)
    }
}
