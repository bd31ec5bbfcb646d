//! What a volume looks like from its center, without a direction: the baseline of every network.

use super::Volume;
use crate::{Error, Result};

/// Standard deviations of the Gaussian on either side that its sum covers.
const REACH: f64 = 4.0;

impl Volume {
    /// The standardized radial profile of the smoothed volume: features that no network has learned. The cosine of two
    /// of them says how alike two particles are without knowing how they lie; whoever is not ahead of it has learned
    /// nothing.
    ///
    /// # Formula
    /// ```text
    /// p_r = mean of (Gaussian_σ * v) over voxels with ⌊|x − center| + ½⌋ = r      r = 0 .. side/2 − 1
    /// profile = (p − mean p) / std p
    /// ```
    /// Beyond the borders the volume is mirrored. `sigma` is in voxels; the study's row has 2.
    ///
    /// # Errors
    /// [`Error::Config`] unless `sigma` is above 0 and up to the side; [`Error::Volume`] if the profile is constant or
    /// has one shell only.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::{SimulationConfig, Simulator, catalogue};
    ///
    /// let simulator = Simulator::new(SimulationConfig { snr: 1e3, ..Default::default() })?;
    /// let profile = |id: &str, index| {
    ///     let template = catalogue::find(id).expect("a class of the catalogue").template();
    ///     simulator.simulate(&template, 1, index)?.radial_profile(2.0)
    /// };
    /// let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() / a.len() as f32;
    /// let (ribosome, turned, ferritin) = (profile("4v5d", 1)?, profile("4v5d", 2)?, profile("4v1w", 3)?);
    /// assert_eq!(ribosome.len(), 16);
    /// assert!(cosine(&ribosome, &turned) > cosine(&ribosome, &ferritin));
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn radial_profile(&self, sigma: f64) -> Result<Vec<f32>> {
        if !(sigma > 0.0 && sigma <= self.side as f64) {
            return Err(Error::config("sigma", "a number of voxels above 0 and up to the side", sigma));
        }
        let smoothed = smoothed(self, sigma);
        let (side, center) = (self.side, (self.side / 2) as f64);
        let (mut sums, mut counts) = (vec![0.0; side / 2], vec![0.0; side / 2]);
        for (index, value) in smoothed.into_iter().enumerate() {
            let place = [index / (side * side), index / side % side, index % side];
            let radius = place.iter().map(|&c| (c as f64 - center).powi(2)).sum::<f64>().sqrt();
            let shell = (radius + 0.5).floor() as usize;
            if shell < sums.len() {
                sums[shell] += value;
                counts[shell] += 1.0;
            }
        }
        let profile: Vec<f64> = sums.iter().zip(&counts).map(|(sum, count)| sum / count).collect();
        let mean = profile.iter().sum::<f64>() / profile.len() as f64;
        let std = (profile.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / profile.len() as f64).sqrt();
        // A constant volume leaves what its sums round by.
        if !(std > 1e-12 * mean.abs() && std > 0.0) {
            return Err(Error::Volume(format!("the radial profile of {side}³ voxels is constant")));
        }
        Ok(profile.into_iter().map(|value| ((value - mean) / std) as f32).collect())
    }
}

/// A Gaussian along each axis in turn.
fn smoothed(volume: &Volume, sigma: f64) -> Vec<f64> {
    let side = volume.side;
    let reach = (REACH * sigma + 0.5).floor() as usize;
    let weights: Vec<f64> =
        (0..=2 * reach).map(|offset| (-0.5 * ((offset as f64 - reach as f64) / sigma).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    // For each place of a line the places that its offsets read, mirrored at the borders as often as needed.
    let mirrored = |place: i64| {
        let period = 2 * side as i64;
        let folded = place.rem_euclid(period);
        folded.min(period - 1 - folded) as usize
    };
    let sources: Vec<Vec<usize>> = (0..side)
        .map(|place| (0..=2 * reach).map(|offset| mirrored((place + offset) as i64 - reach as i64)).collect())
        .collect();
    let mut values: Vec<f64> = volume.voxels.iter().map(|&voxel| f64::from(voxel)).collect();
    let mut line = vec![0.0; side];
    for stride in [1, side, side * side] {
        for start in (0..values.len()).filter(|index| index / stride % side == 0) {
            for (place, sources) in line.iter_mut().zip(&sources) {
                let read =
                    sources.iter().zip(&weights).map(|(source, weight)| weight * values[start + source * stride]);
                *place = read.sum::<f64>() / total;
            }
            for (place, &value) in line.iter().enumerate() {
                values[start + place * stride] = value;
            }
        }
    }
    values
}
