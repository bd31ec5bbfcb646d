//! Structures, densities, the simulator and data sets.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod aitom;
mod atoms;
mod augment;
mod background;
mod candidates;
mod catalogue;
mod crowd;
mod dataset;
mod density;
mod formats;
mod ice;
mod invent;
mod labeled_files;
mod mrc;
mod pose;
mod radial;
mod randomized;
mod repeats;
mod resample;
mod simulate;
mod split;
mod stored;
mod structures;
mod volume;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use rustfft::{FftPlanner, num_complex::Complex64};
use soft_lmccl_cect::{Scatterer, SimulationConfig, Template, Volume};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/structures").join(name)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The whole chain of an error in one line, as a program would print it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A lopsided particle, 80 Å across, that no rotation maps onto itself: four clumps of beads, 900,
/// 400, 300 and 200 electrons, the heaviest at (-20, 0, 0).
fn lopsided(name: &str) -> Template {
    let clumps =
        [([-20.0, 0.0, 0.0], 900.0), ([25.0, 5.0, 0.0], 400.0), ([10.0, 25.0, 5.0], 300.0), ([0.0, -5.0, 30.0], 200.0)];
    let steps = || [-7.0, 0.0, 7.0].into_iter();
    let mut beads = Vec::new();
    for ([x, y, z], electrons) in clumps {
        for dx in steps() {
            for dy in steps() {
                beads.extend(
                    steps().map(|dz| Scatterer { position: [x + dx, y + dy, z + dz], electrons: electrons / 27.0 }),
                );
            }
        }
    }
    Template::new(name, &beads).unwrap()
}

/// A plain transform, axis by axis, and the frequency of each entry in cycles per voxel.
fn spectrum(volume: &Volume) -> Vec<([f64; 3], Complex64)> {
    let side = volume.side();
    let fft = FftPlanner::new().plan_fft_forward(side);
    let mut values: Vec<Complex64> = volume.voxels().iter().map(|&v| f64::from(v).into()).collect();
    for stride in [1, side, side * side] {
        for start in 0..side.pow(3) {
            if start / stride % side == 0 {
                let mut line: Vec<_> = (0..side).map(|i| values[start + i * stride]).collect();
                fft.process(&mut line);
                for (i, value) in line.into_iter().enumerate() {
                    values[start + i * stride] = value;
                }
            }
        }
    }
    let frequency = |index: usize| {
        let signed = if 2 * index > side { index as f64 - side as f64 } else { index as f64 };
        signed / side as f64
    };
    values
        .into_iter()
        .enumerate()
        .map(|(i, value)| ([i / (side * side), i / side % side, i % side].map(frequency), value))
        .collect()
}

/// Optics that only invert: all amplitude contrast, no envelope, all tilts.
fn plain(side: usize, voxel_size: f64) -> SimulationConfig {
    SimulationConfig {
        side,
        voxel_size,
        underfocus: 0.0,
        spherical_aberration: 0.0,
        amplitude_contrast: 1.0,
        envelope: 100.0,
        max_tilt: 90.0,
        ..Default::default()
    }
}
