//! Volumes that are made when a batch asks for them, and not kept.

use soft_lmccl::{
    Result,
    cect::{Batch, Dataset, OpenSetSplit, render},
    tch::Tensor,
    train::TrainingSet,
};

/// The samples of the known classes of a data set; there may be more of them than fit into memory.
pub struct Streamed<'a> {
    set: &'a dyn Dataset,
    split: &'a OpenSetSplit,
    indices: Vec<usize>,
    labels: Vec<i64>,
}

impl<'a> Streamed<'a> {
    /// Those of the first `known` known classes.
    pub fn new(set: &'a dyn Dataset, split: &'a OpenSetSplit, known: usize) -> Self {
        let labeled = set.indices(&split.known()[..known]).into_iter();
        let (indices, labels) = labeled.filter_map(|index| Some((index, split.label(set.class(index))?))).unzip();
        Self { set, split, indices, labels }
    }
}

impl TrainingSet for Streamed<'_> {
    fn labels(&self) -> &[i64] {
        &self.labels
    }

    fn volumes(&self, indices: &[usize], _: usize) -> Result<Tensor> {
        let of_set: Vec<usize> = indices.iter().map(|&index| self.indices[index]).collect();
        Ok(Batch::known(&render(self.set, &of_set, |_| {})?, self.split)?.volumes)
    }
}
