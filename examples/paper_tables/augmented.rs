//! Volumes that each batch sees changed in another way.

use rayon::prelude::*;
use soft_lmccl::{
    Result,
    cect::{AugmentConfig, Augmenter, Volume},
    tch::Tensor,
    train::TrainingSet,
};

/// What comes out depends on the seed, the step and the place in the batch alone, so that a run that is resumed
/// sees what one that was not interrupted sees.
pub struct Augmented<'a> {
    volumes: Box<dyn TrainingSet + 'a>,
    augmenter: Augmenter,
    side: usize,
    seed: u64,
}

impl<'a> Augmented<'a> {
    /// # Errors
    /// As [`Augmenter::new`].
    pub fn new(volumes: Box<dyn TrainingSet + 'a>, config: AugmentConfig, side: usize, seed: u64) -> Result<Self> {
        Ok(Self { volumes, augmenter: Augmenter::new(config, side)?, side, seed })
    }
}

impl TrainingSet for Augmented<'_> {
    fn labels(&self) -> &[i64] {
        self.volumes.labels()
    }

    fn volumes(&self, indices: &[usize], step: usize) -> Result<Tensor> {
        let batch = self.volumes.volumes(indices, step)?;
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
