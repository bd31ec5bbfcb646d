//! Dark protein or bright protein.

use serde::{Deserialize, Serialize};

use super::Volume;

/// Whether a tomogram shows protein dark or bright.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contrast {
    /// Protein is darker than ice, as the microscope shows it and as simulated particles are.
    #[default]
    DarkProtein,
    /// Protein is brighter than ice; patches are inverted.
    BrightProtein,
}

/// The parts of the side up to which a box is looked at: a hollow particle is seen by its wall.
const REACHES: [f64; 5] = [0.12, 0.2, 0.3, 0.4, 0.48];
/// By how many standard errors a contrast is told.
const TOLD: f64 = 4.0;

impl Contrast {
    /// Which of the two boxes with particles at their centers show beside boxes of the same tomogram without particles;
    /// `None` if that cannot be told from them.
    ///
    /// # Formula
    /// ```text
    /// d_r = (mean within r sides of the center − mean of the box) / std of the box        r = 0.12, 0.2, 0.3, 0.4, 0.48
    /// Δ_r = mean d_r of particles − mean d_r of others        t_r = Δ_r / √(var/n + var/n of the others)
    /// ```
    /// Of the `Δ_r` with `|t_r| > 4` the one with the largest `|Δ_r|·r³`, the most of a particle, has the sign: the lumen of
    /// a microtubule is darker than ice where its wall is brighter.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::{Contrast, SimulationConfig, Simulator, catalogue};
    ///
    /// let simulator = Simulator::new(SimulationConfig::s2())?;
    /// let ribosome = catalogue::find("4v5d").expect("a class of the catalogue").template();
    /// let parts: Vec<_> = (0..8).map(|index| simulator.parts(&ribosome, 1, index)).collect::<Result<_, _>>()?;
    /// let particles: Vec<_> = (0..8).map(|index| simulator.simulate(&ribosome, 1, index)).collect::<Result<_, _>>()?;
    /// let ice: Vec<_> = parts.into_iter().map(|parts| parts.noise).collect();
    /// assert_eq!(Contrast::seen_in(&particles, &ice), Some(Contrast::DarkProtein));
    /// assert_eq!(Contrast::seen_in(&ice, &ice), None);
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn seen_in(particles: &[Volume], others: &[Volume]) -> Option<Self> {
        let of = |boxes: &[Volume]| boxes.iter().filter_map(centers).collect::<Vec<_>>();
        let (particles, others) = (of(particles), of(others));
        if particles.len() < 2 || others.len() < 2 {
            return None;
        }
        let moments = |boxes: &[[f64; REACHES.len()]], reach: usize| {
            let count = boxes.len() as f64;
            let mean = boxes.iter().map(|d| d[reach]).sum::<f64>() / count;
            let variance = boxes.iter().map(|d| (d[reach] - mean).powi(2)).sum::<f64>() / (count - 1.0);
            (mean, variance / count)
        };
        let told = (0..REACHES.len()).filter_map(|reach| {
            let ((mean, error), (other_mean, other_error)) = (moments(&particles, reach), moments(&others, reach));
            let difference = mean - other_mean;
            let is_told = difference.abs() > TOLD * (error + other_error).sqrt();
            is_told.then_some(difference * REACHES[reach].powi(3))
        });
        let most = told.max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
        Some(if most < 0.0 { Self::DarkProtein } else { Self::BrightProtein })
    }
}

/// How far the mean around the center lies from that of the box, for each reach; `None` without contrast.
fn centers(volume: &Volume) -> Option<[f64; REACHES.len()]> {
    let (side, center) = (volume.side(), (volume.side() / 2) as f64);
    let (mut sums, mut counts) = ([0.0; REACHES.len()], [0.0; REACHES.len()]);
    for (index, &voxel) in volume.voxels().iter().enumerate() {
        let place = [index / side.pow(2), index / side % side, index % side];
        let radius = place.iter().map(|&c| (c as f64 - center).powi(2)).sum::<f64>().sqrt() / side as f64;
        for reach in (0..REACHES.len()).filter(|&reach| radius <= REACHES[reach]) {
            sums[reach] += f64::from(voxel);
            counts[reach] += 1.0;
        }
    }
    let statistics = volume.statistics();
    let of_reach = |reach: usize| (sums[reach] / counts[reach] - statistics.mean) / statistics.std;
    (statistics.std > 0.0).then(|| std::array::from_fn(of_reach))
}
