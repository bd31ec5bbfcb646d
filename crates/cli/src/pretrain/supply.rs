//! Subtomograms that are never the same twice.

use soft_lmccl::{
    Error, Result,
    cect::{Batch, RandomizedDataset, render},
    tch::Tensor,
    train::TrainingSet,
};

/// Every step has new subtomograms of the classes that the batch asks for.
#[derive(Debug)]
pub struct Fresh {
    dataset: RandomizedDataset,
    classes: usize,
    labels: Vec<i64>,
}

impl Fresh {
    /// Of `classes` classes, of which an epoch has `each` subtomograms.
    pub fn new(dataset: RandomizedDataset, classes: usize, each: usize) -> Self {
        let labels = (0..classes * each).map(|index| (index % classes) as i64).collect();
        Self { dataset, classes, labels }
    }
}

impl TrainingSet for Fresh {
    fn labels(&self) -> &[i64] {
        &self.labels
    }

    fn inputs(&self, indices: &[usize], step: usize) -> Result<Tensor> {
        let turn = |row: usize| step * indices.len() + row;
        let class = |index: usize| index % self.classes;
        let fresh: Vec<usize> =
            indices.iter().enumerate().map(|(row, &index)| turn(row) * self.classes + class(index)).collect();
        let samples = render(&self.dataset, &fresh, |_| {}).map_err(Error::from)?;
        Ok(Batch::of(&samples)?.volumes)
    }
}
