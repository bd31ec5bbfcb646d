//! A tomogram, and the boxes around places in it.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use soft_lmccl::cect::{CandidateTable, Map, Volume, extract};

/// The largest part of a box that may lie outside the tomogram.
const MOST_OUTSIDE: f64 = 0.25;

/// A tomogram with one voxel size.
#[derive(Debug)]
pub struct Tomogram {
    map: Map,
    pub voxel_size: f64,
}

impl Tomogram {
    /// # Errors
    /// As [`Map::open`]; no voxel size, or one that differs along the axes.
    pub fn open(path: &Path, voxel_size: Option<f64>) -> Result<Self> {
        let map = Map::open(path)?;
        let map = match voxel_size {
            Some(size) => map.with_voxel_size(size),
            None => map,
        };
        let [z, y, x] = map.voxel_size();
        let (least, most) = (z.min(y).min(x), z.max(y).max(x));
        if !(least > 0.01 && most <= 1.01 * least) {
            return Err(anyhow!(
                "{}: the header gives a voxel size of {x} × {y} × {z} Å; --voxel-size says the right one",
                path.display()
            ));
        }
        Ok(Self { voxel_size: (x + y + z) / 3.0, map })
    }

    pub fn shape(&self) -> [usize; 3] {
        self.map.shape()
    }

    /// The places of a table, `[z, y, x]` in voxels.
    pub fn places(&self, table: &CandidateTable, pixel_size: Option<f64>) -> Vec<[f64; 3]> {
        table.places(self.shape(), self.voxel_size, pixel_size)
    }

    /// The box around each place; `None` where too much of it lies outside, or it has no contrast.
    pub fn boxes(&self, places: &[[f64; 3]], side: usize, voxel_size: f64) -> Vec<Option<Volume>> {
        places
            .par_iter()
            .map(|&place| {
                let found = extract(&self.map, place, side, voxel_size).ok()?;
                if found.outside > MOST_OUTSIDE {
                    return None;
                }
                found.volume.standardized().ok()
            })
            .collect()
    }

    /// Places at random that are so far from all of `away` and, as far as there is room, from each other, in voxels.
    pub fn random_places(
        &self,
        count: usize,
        away: &[[f64; 3]],
        distance: f64,
        margin: f64,
        seed: u64,
    ) -> Vec<[f64; 3]> {
        /// Draws for each place, at most.
        const DRAWS: usize = 50;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut found: Vec<[f64; 3]> = Vec::new();
        for _ in 0..count * DRAWS {
            if found.len() == count {
                break;
            }
            let place: [f64; 3] = self.shape().map(|extent| {
                let last = (extent - 1) as f64;
                // A thin tomogram has no room for the margin.
                let margin = margin.min(last / 2.0);
                rng.random_range(margin..=last - margin)
            });
            if away.iter().chain(&found).all(|&other| apart(place, other) >= distance) {
                found.push(place);
            }
        }
        found
    }
}

/// The distance of two places in voxels.
pub fn apart(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt()
}

/// # Errors
/// As [`CandidateTable::open`].
pub fn table(path: &Path) -> Result<CandidateTable> {
    CandidateTable::open(path).with_context(|| format!("cannot use {}", path.display()))
}
