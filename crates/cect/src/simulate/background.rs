//! Real noise: patches of a tomogram.

use std::path::Path;

use crate::{
    Error, Result,
    io::Map,
    template::averaged,
    volume::{Contrast, HalfTurn, Volume},
};
use rand::{Rng, RngExt};

/// A real tomogram, whose patches take the place of simulated noise.
///
/// [`Simulator::simulate_on`](crate::Simulator::simulate_on) and
/// [`SimulatedDataset::on`](crate::SimulatedDataset::on) put particles into it: the particle passes
/// CTF and missing wedge, a patch of the tomogram, drawn at random and standardized, is scaled to the
/// SNR, which stays the ratio of variances, and both are added. A patch holds whatever lay there:
/// membranes, fiducials, other particles.
///
/// The tomogram must lie as simulated ones do, beam along z and tilt axis along y, or its own missing
/// wedge lies elsewhere than that of the particles. Half turns about the axes, which keep such a
/// wedge, make four patches of one place.
///
/// It is held in single precision: 4 bytes a voxel, once for all threads, and as much again or less
/// while it is read.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{Background, Contrast, Map, SimulationConfig, Simulator, Volume, catalogue};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("tomogram.mrc");
/// let voxels = (0..24usize.pow(3)).map(|v| (v * 7919 % 1013) as f32).collect();
/// Map::from_volume(&Volume::new(24, voxels)?, 10.0).save(&path)?;
///
/// let background = Background::open(&path, Contrast::DarkProtein)?;
/// let simulator = Simulator::new(SimulationConfig { side: 16, ..Default::default() })?;
/// let template = catalogue::entries()[0].template();
/// let parts = simulator.parts_on(&background, &template, 1, 7)?;
/// let variance = |volume: &Volume| volume.statistics().std.powi(2);
/// assert!((variance(&parts.signal) / variance(&parts.noise) - 0.05).abs() < 1e-4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Background {
    shape: [usize; 3],
    voxel_size: f64,
    voxels: Vec<f32>,
    sign: f32,
}

impl Background {
    /// How much larger than the simulation's the tomogram's voxels may be: beyond, the noise would
    /// lack the finest detail and the particles stand out by theirs.
    const COARSEST: f64 = 1.1;

    /// How often a patch without contrast (padding, a masked part) is drawn again.
    const DRAWS: usize = 64;

    /// Reads a tomogram in MRC format, also compressed with gzip.
    ///
    /// # Errors
    /// As [`Map::open`]; [`Error::Format`] as [`new`](Self::new).
    pub fn open(path: impl AsRef<Path>, contrast: Contrast) -> Result<Self> {
        let path = path.as_ref();
        Self::new(Map::open(path)?, contrast).map_err(|error| match error {
            Error::Volume(problem) => Error::Format { path: path.to_owned(), problem },
            other => other,
        })
    }

    /// Takes a tomogram.
    ///
    /// # Errors
    /// [`Error::Volume`] if the header gives no voxel size, or one that differs along the axes by more
    /// than a hundredth: [`Map::with_voxel_size`] mends both.
    pub fn new(map: Map, contrast: Contrast) -> Result<Self> {
        let [z, y, x] = map.voxel_size();
        let (least, most) = (z.min(y).min(x), z.max(y).max(x));
        if !(least > 0.01 && most <= 1.01 * least) {
            return Err(Error::Volume(format!(
                "the header gives a voxel size of {x} × {y} × {z} Å; a tomogram needs one, the same along each axis"
            )));
        }
        let sign = match contrast {
            Contrast::DarkProtein => 1.0,
            Contrast::BrightProtein => -1.0,
        };
        let (shape, voxel_size) = (map.shape(), (x + y + z) / 3.0);
        Ok(Self { shape, voxel_size, voxels: map.into_voxels(), sign })
    }

    /// `[z, y, x]` extents in voxels.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Edge of a voxel in Angstrom.
    pub fn voxel_size(&self) -> f64 {
        self.voxel_size
    }

    /// Draws a patch of `side³` voxels of `voxel_size` Å, of zero mean and unit variance. Patches of
    /// finer tomograms are averaged over the larger voxels.
    ///
    /// # Errors
    /// [`Error::Config`] if the tomogram's voxels are more than a tenth larger than `voxel_size`, or a
    /// patch has no voxels or does not fit into it; [`Error::Volume`] if 64 patches in turn have no contrast.
    pub fn patch(&self, side: usize, voxel_size: f64, rng: &mut impl Rng) -> Result<Volume> {
        let cut = self.side_cut(side, voxel_size)?;
        for _ in 0..Self::DRAWS {
            let corner = self.shape.map(|extent| rng.random_range(0..=extent - cut));
            let half_turn = HalfTurn::ALL[rng.random_range(0..HalfTurn::ALL.len())];
            let whole = self.cut_at(corner, cut);
            let patch =
                if self.same_size(voxel_size) { whole } else { averaged(&whole, self.voxel_size, voxel_size, side) };
            if let Ok(standardized) = half_turn.of(&patch).standardized() {
                return Ok(standardized);
            }
        }
        let [z, y, x] = self.shape;
        Err(Error::Volume(format!(
            "{} patches of the tomogram of {z} × {y} × {x} voxels have no contrast",
            Self::DRAWS
        )))
    }

    /// Whether patches of this kind can be drawn, so that a run can be refused before it starts.
    ///
    /// # Errors
    /// [`Error::Config`] as [`patch`](Self::patch).
    pub fn check(&self, side: usize, voxel_size: f64) -> Result<()> {
        self.side_cut(side, voxel_size).map(drop)
    }

    fn same_size(&self, voxel_size: f64) -> bool {
        (self.voxel_size / voxel_size - 1.0).abs() < 0.01
    }

    /// Side of the cube that a patch is cut from, in voxels of the tomogram.
    fn side_cut(&self, side: usize, voxel_size: f64) -> Result<usize> {
        if side == 0 {
            return Err(Error::config("side", "1 voxel or more", "0"));
        }
        if !(voxel_size > 0.0 && self.voxel_size <= Self::COARSEST * voxel_size) {
            return Err(Error::config(
                "voxel_size",
                format!(
                    "{:.2} Å or more for a tomogram of {:.2} Å voxels, which has no noise finer than that",
                    self.voxel_size / Self::COARSEST,
                    self.voxel_size
                ),
                voxel_size,
            ));
        }
        let cut = if self.same_size(voxel_size) {
            side
        } else {
            // More at each end, so that the border of the patch is averaged over whole voxels.
            let half = ((side as f64 + 2.0) * voxel_size / self.voxel_size / 2.0).ceil() as usize;
            half.saturating_add(1).saturating_mul(2)
        };
        if self.shape.iter().any(|&extent| extent < cut) {
            let [z, y, x] = self.shape;
            let got = format!("{side} voxels of {voxel_size} Å");
            return Err(Error::config(
                "side",
                format!("patches that fit into the tomogram of {z} × {y} × {x} voxels of {:.2} Å", self.voxel_size),
                got,
            ));
        }
        Ok(cut)
    }

    fn cut_at(&self, [z0, y0, x0]: [usize; 3], side: usize) -> Volume {
        let [_, height, width] = self.shape;
        let mut voxels = Vec::with_capacity(side.pow(3));
        for z in z0..z0 + side {
            for y in y0..y0 + side {
                let row = (z * height + y) * width + x0;
                voxels.extend(self.voxels[row..row + side].iter().map(|voxel| self.sign * voxel));
            }
        }
        Volume::from_finite(side, voxels)
    }
}
