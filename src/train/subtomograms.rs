//! Subtomograms of data sets to train on, and the same changed anew in each step.

use std::collections::HashMap;

use rayon::prelude::*;
use tch::Tensor;

use super::TrainingSet;
use crate::{
    Error, Result,
    cect::{AugmentConfig, Augmenter, Batch, ClassId, Dataset, Volume, render},
};

/// The samples of some classes of a data set, each made or read when a batch asks for it: there may be more of them than
/// fit into memory.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use std::ops::ControlFlow;
/// use soft_lmccl::cect::{ClassId, SimulatedDataset, SimulationConfig, catalogue};
/// use soft_lmccl::{loss::SoftLmcclConfig, model::NetworkConfig, tch::{Device, nn}};
/// use soft_lmccl::train::{FitConfig, Samples, Trainer, TrainingSet};
///
/// let simulation = SimulationConfig { side: 16, ..Default::default() };
/// let dataset = SimulatedDataset::new(catalogue::templates(), simulation, 4, 1)?; // or files of yours
/// let data = Samples::new(&dataset, &[ClassId(7), ClassId(3)])?;
/// assert_eq!(data.labels(), [1, 0, 1, 0, 1, 0, 1, 0]); // class 3 comes before class 7, which is label 0
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = NetworkConfig::default().with_embedding_dim(8).init(&(vs.root() / "net"), 16)?;
/// let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 2, 8)?;
/// let fit = FitConfig { epochs: 1, batch_size: 4, ..Default::default() };
/// let outcome = Trainer::new(fit)?.run(&net, &mut loss, &vs, &data, |_| ControlFlow::Continue(()))?;
/// assert_eq!(outcome.steps, 2);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Samples<D> {
    dataset: D,
    indices: Vec<usize>,
    labels: Vec<i64>,
}

impl<D: Dataset> Samples<D> {
    /// All samples of these classes, labeled by their place in the list, such as
    /// [`OpenSetSplit::known`](crate::cect::OpenSetSplit::known).
    ///
    /// # Errors
    /// [`Error::Config`] for no classes, one that is named twice, or one that has no sample.
    pub fn new(dataset: D, classes: &[ClassId]) -> Result<Self> {
        let refuse = |expected: &str, got| Err(Error::config("classes", expected, got));
        let labels: HashMap<ClassId, i64> = classes.iter().copied().zip(0..).collect();
        if labels.len() < classes.len() || classes.is_empty() {
            let got = format!("{}, of which {} differ", classes.len(), labels.len());
            return refuse("one or more, each once", got);
        }
        // A data set may list an index of a class that was not asked for: such a sample is not trained on.
        let label = |index| Some((index, *labels.get(&dataset.class(index)?)?));
        let (indices, labels): (Vec<usize>, Vec<i64>) = dataset.indices(classes).into_iter().filter_map(label).unzip();
        if let Some((class, _)) = classes.iter().zip(0i64..).find(|(_, label)| !labels.contains(label)) {
            return refuse("classes that have samples", format!("class {} without one", class.0));
        }
        Ok(Self { dataset, indices, labels })
    }
}

impl<D: Dataset> TrainingSet for Samples<D> {
    fn labels(&self) -> &[i64] {
        &self.labels
    }

    fn inputs(&self, indices: &[usize], _: usize) -> Result<Tensor> {
        let of_dataset: Vec<usize> = indices.iter().map(|&index| self.indices[index]).collect();
        Ok(Batch::of(&render(&self.dataset, &of_dataset, |_| {})?)?.volumes)
    }
}

/// Volumes that each step sees changed in another way.
///
/// The changed volume depends on the seed, the step and the place in the batch alone. A run that is resumed therefore sees
/// the same volumes as a run that was never interrupted.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{cect::AugmentConfig, train::{Augmented, InMemory, TrainingSet}};
/// use soft_lmccl::tch::{Device, Kind, Tensor};
///
/// let volumes = Tensor::randn([3, 1, 4, 4, 4], (Kind::Float, Device::Cpu));
/// let data = InMemory::new(&volumes, &Tensor::from_slice(&[0i64, 1, 0]))?;
/// let data = Augmented::new(data, AugmentConfig::default(), 4, 7)?;
/// assert_eq!(data.inputs(&[2, 0], 5)?, data.inputs(&[2, 0], 5)?);
/// assert_ne!(data.inputs(&[2, 0], 5)?, data.inputs(&[2, 0], 6)?);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Augmented<T> {
    data: T,
    augmenter: Augmenter,
    side: usize,
    seed: u64,
}

impl<T: TrainingSet> Augmented<T> {
    /// Volumes of `side³` voxels, changed as `config` says.
    ///
    /// # Errors
    /// As [`Augmenter::new`].
    pub fn new(data: T, config: AugmentConfig, side: usize, seed: u64) -> Result<Self> {
        Ok(Self { data, augmenter: Augmenter::new(config, side)?, side, seed })
    }
}

impl<T: TrainingSet> TrainingSet for Augmented<T> {
    fn labels(&self) -> &[i64] {
        self.data.labels()
    }

    fn inputs(&self, indices: &[usize], step: usize) -> Result<Tensor> {
        let batch = self.data.inputs(indices, step)?;
        let side = self.side as i64;
        if batch.size() != [indices.len() as i64, 1, side, side, side] {
            return Err(Error::Tensor {
                what: "volumes",
                expected: format!("[{}, 1, {side}, {side}, {side}]", indices.len()),
                got: format!("{:?}", batch.size()),
            });
        }
        let voxels = Vec::<f32>::try_from(batch.f_flatten(0, -1)?)?;
        let Self { augmenter, side, seed, .. } = self;
        let first = (step * indices.len()) as u64;
        let changed = voxels
            .par_chunks(side.pow(3))
            .enumerate()
            .map(|(row, voxels)| {
                let volume = Volume::new(*side, voxels.to_vec())?;
                Ok(augmenter.augment(&volume, *seed, first + row as u64)?.into_voxels())
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_from_slice(&changed.concat())?.f_view_as(&batch)?)
    }
}
