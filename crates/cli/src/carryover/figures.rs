//! The figure of a set, by a network or by features without one.

use anyhow::Result;
use ndarray::{Array2, ArrayView2};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use soft_lmccl::{
    cect::{Batch, Sample, Volume},
    metrics::{BootstrapOptions, EmbeddingSet, Interval, PairScores, wilson},
    tch::{Device, nn::ModuleT},
    train::embed,
};

use super::sets::{Particles, TestSet};

/// The Gaussian before a radial profile, and that of smoothed voxels, in voxels.
pub const SIGMA: f64 = 2.0;
/// What tables call it.
pub const PROFILE: &str = "radial profile, no network";
/// Subtomograms that go through the network together.
const BATCH: i64 = 64;
/// Classes, or samples, are drawn anew so many times.
const DRAWS: u32 = 400;
/// The confidence of intervals.
const LEVEL: f64 = 0.95;

/// Embeddings of samples, labeled by their classes.
///
/// # Errors
/// As embedding.
pub fn embedded(net: &impl ModuleT, device: Device, samples: &[Sample]) -> Result<EmbeddingSet> {
    Ok(embed(net, Batch::of(samples)?.chunks(BATCH, device))?)
}

/// [`radial_profile`](soft_lmccl::cect::Volume::radial_profile) of each volume of a batch, and its label: what needs no
/// network. Whoever is not ahead of it has learned nothing.
///
/// Each radius is standardized over the batch, which knows no labels: what all particles have in common says nothing of two.
///
/// # Errors
/// As the profiles.
pub fn profiles(batch: &Batch) -> Result<(Array2<f32>, Vec<i64>)> {
    let side = usize::try_from(batch.volumes.size()[2])?;
    let voxels = Vec::<f32>::try_from(batch.volumes.flatten(0, -1))?;
    let profile = |voxels: &[f32]| Volume::new(side, voxels.to_vec()).and_then(|volume| volume.radial_profile(SIGMA));
    let profiles: Vec<Vec<f32>> = voxels.par_chunks(side.pow(3)).map(profile).collect::<Result<_, _>>()?;
    let shape = (profiles.len(), profiles.first().map_or(0, Vec::len));
    let mut values = Array2::from_shape_vec(shape, profiles.concat()).expect("profiles of one length");
    for mut radius in values.columns_mut() {
        let (mean, std) = (radius.mean().unwrap_or_default(), radius.std(0.0));
        // A radius at which all are the same tells nothing.
        radius.mapv_inplace(|value| if std > 0.0 { (value - mean) / std } else { 0.0 });
    }
    Ok((values, Vec::try_from(&batch.labels)?))
}

/// The same as a set that is compared by cosines.
///
/// # Errors
/// As the profiles.
pub fn profile_set(batch: &Batch) -> Result<EmbeddingSet> {
    let (values, labels) = profiles(batch)?;
    Ok(EmbeddingSet::new(values.view(), &labels)?)
}

/// An area under a ROC curve, with its interval at 95 %: over classes, or over samples where there is one class.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub auc: f64,
    pub interval: Interval,
}

/// # Errors
/// Too few classes for an interval.
pub fn measure(set: &TestSet, embeddings: &EmbeddingSet) -> Result<Figure> {
    match set.particles {
        Particles::OfClasses(_) => {
            let options = BootstrapOptions { draws: DRAWS, ..Default::default() };
            let found = embeddings.bootstrap(&options, |curve| Ok([curve.auc()]))?;
            Ok(Figure { auc: found.estimates[0].value, interval: found.estimates[0].interval })
        }
        Particles::AndBackground { particle, .. } => {
            let is_particle: Vec<bool> = set.samples.iter().map(|sample| sample.class == particle).collect();
            against_background(embeddings.view(), &is_particle)
        }
    }
}

/// Each sample by its mean cosine to the particles, itself left out. The interval is of samples drawn anew; where that moves
/// nothing, Wilson's, with as many trials as the smaller kind has samples.
fn against_background(unit: ArrayView2<'_, f32>, is_particle: &[bool]) -> Result<Figure> {
    let rows: Vec<usize> = (0..is_particle.len()).collect();
    let cosines = unit.dot(&unit.t());
    let auc_of = |drawn: &[usize]| -> Result<f64> {
        let score = |&row: &usize| {
            // A copy of itself tells nothing about a sample.
            let others = drawn.iter().filter(|&&other| is_particle[other] && other != row);
            let (sum, count) =
                others.fold((0.0, 0.0), |(sum, count), &other| (sum + f64::from(cosines[[row, other]]), count + 1.0));
            if count > 0.0 { sum / count } else { 0.0 }
        };
        let same = drawn.iter().map(|&row| is_particle[row]).collect();
        Ok(PairScores::new(drawn.iter().map(score).collect(), same)?.roc().auc())
    };
    let auc = auc_of(&rows)?;
    let of = |kind: bool| -> Vec<usize> { rows.iter().copied().filter(|&row| is_particle[row] == kind).collect() };
    let (particles, background) = (of(true), of(false));
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let draws = (0..DRAWS)
        .map(|_| {
            let mut draw = |from: &[usize]| -> Vec<usize> {
                (0..from.len()).map(|_| from[rng.random_range(0..from.len())]).collect()
            };
            auc_of(&[draw(&particles), draw(&background)].concat())
        })
        .collect::<Result<Vec<f64>>>()?;
    let fewest = particles.len().min(background.len()) as u64;
    let drawn = Interval::percentile(draws, LEVEL)?;
    let interval = match drawn.high - drawn.low > 0.0 {
        true => drawn,
        false => wilson((auc * fewest as f64).round() as u64, fewest, LEVEL)?,
    };
    Ok(Figure { auc, interval })
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use ndarray::Array2;

    use super::against_background;

    /// Unit vectors at these angles in degrees.
    fn at(angles: &[f32]) -> Array2<f32> {
        Array2::from_shape_fn((angles.len(), 2), |(row, column)| {
            let (sin, cos) = angles[row].to_radians().sin_cos();
            [cos, sin][column]
        })
    }

    #[test]
    fn samples_are_ranked_by_their_mean_cosine_to_the_particles() {
        // Particles around 0°. The particle at 50° has .636 on average, background at 58° .641.
        let embeddings = at(&[0.0, 10.0, 350.0, 50.0, 58.0, 180.0, 200.0]);
        let is_particle = [true, true, true, true, false, false, false];
        let found = against_background(embeddings.view(), &is_particle).unwrap();
        // Of 12 pairs one is in the wrong order.
        assert_abs_diff_eq!(found.auc, 11.0 / 12.0, epsilon = 1e-9);
        assert!(found.interval.low < found.auc && found.interval.high >= found.auc, "{:?}", found.interval);
    }

    #[test]
    fn a_full_score_of_few_samples_is_not_certain() {
        let embeddings = at(&[0.0, 1.0, 2.0, 3.0, 180.0, 181.0, 182.0]);
        let found = against_background(embeddings.view(), &[true, true, true, true, false, false, false]).unwrap();
        assert_abs_diff_eq!(found.auc, 1.0);
        // Wilson's for three of three.
        assert_abs_diff_eq!(found.interval.low, 0.4385, epsilon = 1e-3);
    }
}
