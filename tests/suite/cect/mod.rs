//! Structures, densities, the simulator and data sets.

mod catalogue;
mod dataset;
mod density;
mod mrc;
mod pose;
mod resample;
mod simulate;
mod split;
mod structures;
mod volume;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use soft_lmccl::cect::{Scatterer, Template};

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
