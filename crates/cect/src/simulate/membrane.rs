//! Lipid bilayers, from a formula.

use rand::{Rng, RngExt};
use rustfft::num_complex::Complex32;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, structure::ATOM_SIGMA, volume::Pose};

/// A patch of a lipid bilayer: two dark leaflets, gently curved, that end at the border of the box.
///
/// # Formula
/// ```text
/// ρ(d) = h·exp(−(|d| − t/2)²/2σ²) + c·exp(−d²/2τ²)          d = |x − o| − R
/// ```
/// with `d` the distance from a sphere of radius `R`, `t` the thickness, `h` and `c` the densities of
/// heads and tails. `σ` and `τ` get the variance of an atom and of a voxel on top, as templates have,
/// and the peaks become as much lower; what is narrower than 1 Å loses no more height than 1 Å would.
/// Densities are electrons per Å³ more than water has, times four: templates count all electrons of a
/// protein, whose 0.43 per Å³ are a quarter more than the 0.33 of water.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::Membrane;
///
/// let membrane = Membrane::default();
/// // Along the normal: heads at half the thickness, less than water between them.
/// assert!(membrane.density_at(19.0, 1.0) > 0.4 && membrane.density_at(0.0, 1.0) < 0.0);
/// assert!(membrane.density_at(60.0, 1.0).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Membrane {
    /// `t`, from phosphate to phosphate in Å. Default 38, between those of common lipids.
    pub thickness: f64,
    /// `h`, at the heads. Default 0.55.
    pub heads: f64,
    /// `σ`, the spread of the heads in Å. Default 5.
    pub head_spread: f64,
    /// `c`, at the tails. Default -0.25.
    pub tails: f64,
    /// `τ`, the spread of the tails in Å. Default 9.
    pub tail_spread: f64,
    /// Smallest radius of curvature in Å; the radius is drawn uniformly by its logarithm. Default 250,
    /// a transport vesicle.
    pub min_radius: f64,
    /// Largest radius of curvature in Å. Default 5000, flat in a box.
    pub max_radius: f64,
}

impl Default for Membrane {
    fn default() -> Self {
        Self {
            thickness: 38.0,
            heads: 0.55,
            head_spread: 5.0,
            tails: -0.25,
            tail_spread: 9.0,
            min_radius: 250.0,
            max_radius: 5000.0,
        }
    }
}

impl Membrane {
    /// Checks the values without making anything.
    ///
    /// # Errors
    /// [`Error::Config`] for the first field out of its range.
    pub fn validate(&self) -> Result<()> {
        let Self { thickness, heads, head_spread, tails, tail_spread, min_radius, max_radius } = *self;
        let check = |field, valid: bool, expected: &str, got: f64| {
            if valid { Ok(()) } else { Err(Error::config(field, expected, got)) }
        };
        check("thickness", (1.0..=200.0).contains(&thickness), "1 to 200 Å", thickness)?;
        check("heads", (1e-3..=100.0).contains(&heads), "0.001 to 100 electrons per Å³", heads)?;
        check("head_spread", (0.0..=50.0).contains(&head_spread), "0 to 50 Å", head_spread)?;
        check("tails", (-100.0..=100.0).contains(&tails), "-100 to 100 electrons per Å³", tails)?;
        check("tail_spread", (0.0..=50.0).contains(&tail_spread), "0 to 50 Å", tail_spread)?;
        check("min_radius", (50.0..=1e6).contains(&min_radius), "50 to 1e6 Å", min_radius)?;
        check("max_radius", max_radius >= min_radius && max_radius <= 1e6, "`min_radius` to 1e6 Å", max_radius)
    }

    /// Electrons per Å³ at a distance from the middle of the bilayer, averaged over voxels of an edge, both
    /// in Å.
    pub fn density_at(&self, distance: f64, voxel_size: f64) -> f64 {
        // A box of this width and an atom have these variances; both widen the leaflets and thin them.
        let widening = ATOM_SIGMA.powi(2) + voxel_size.powi(2) / 12.0;
        let layer = |height: f64, spread: f64, offset: f64| {
            let wide = spread.powi(2) + widening;
            height * (spread.max(1.0).powi(2) / wide).sqrt() * (-offset.powi(2) / (2.0 * wide)).exp()
        };
        let half = self.thickness / 2.0;
        layer(self.heads, self.head_spread, distance - half)
            + layer(self.heads, self.head_spread, distance + half)
            + layer(self.tails, self.tail_spread, distance)
    }

    /// Draws a radius of curvature in Å.
    pub(crate) fn radius(&self, rng: &mut impl Rng) -> f64 {
        rng.random_range(self.min_radius.ln()..=self.max_radius.ln()).exp()
    }

    /// Where the bilayer lies in a box: it goes through the center, shifted, and curves away from the
    /// turned z axis.
    pub(crate) fn surface(pose: &Pose, radius: f64, voxel_size: f64) -> Surface {
        let matrix = pose.matrix();
        let normal: [f64; 3] = std::array::from_fn(|axis| matrix[axis][2]);
        Surface { origin: std::array::from_fn(|axis| pose.shift[axis] * voxel_size - radius * normal[axis]), radius }
    }

    /// Adds the bilayer to the real parts of a box of `side³` voxels.
    pub(crate) fn place(&self, surface: &Surface, side: usize, voxel_size: f64, voxels: &mut [Complex32]) {
        const STEP: f64 = 0.5;
        let reach = self.thickness / 2.0 + 5.0 * (self.head_spread.max(self.tail_spread) + voxel_size);
        let volume = voxel_size.powi(3);
        // Two square roots and three exponentials a voxel would cost more than all the rest.
        let table: Vec<f32> = (0..=(reach / STEP) as usize + 1)
            .map(|index| (volume * self.density_at(index as f64 * STEP, voxel_size)) as f32)
            .collect();
        let middle = (side / 2) as f64;
        for (index, voxel) in voxels.iter_mut().enumerate() {
            let place = [index % side, index / side % side, index / (side * side)];
            let distance = surface.distance(place.map(|c| (c as f64 - middle) * voxel_size)).abs() / STEP;
            let near = distance as usize;
            if near + 1 < table.len() {
                let part = (distance - near as f64) as f32;
                voxel.re += table[near] + part * (table[near + 1] - table[near]);
            }
        }
    }
}

/// The sphere that a bilayer follows, in Å from the center of the box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Surface {
    origin: [f64; 3],
    radius: f64,
}

impl Surface {
    /// Distance of a point `[x, y, z]` from the middle of the bilayer; negative inside the sphere.
    pub(crate) fn distance(&self, point: [f64; 3]) -> f64 {
        let squares: f64 = point.iter().zip(self.origin).map(|(c, origin)| (c - origin).powi(2)).sum();
        squares.sqrt() - self.radius
    }
}
