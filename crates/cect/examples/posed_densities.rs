//! Writes posed densities of the catalogue as MRC files, protein dark, for other simulators to work on:
//! `cargo run -p soft-lmccl-cect --example posed_densities DIRECTORY`.
//!
//! A file `ID_INDEX.mrc` holds what [`SimulationConfig::aitom`] gives its optics for seed 1 and that index. The script
//! `tests/fixtures/simulators/aitom.py` measures what AITom makes of the same files.

use std::{error::Error, path::PathBuf};

use soft_lmccl_cect::{Map, SimulationConfig, Simulator, catalogue};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args_os().nth(1).ok_or("name a directory")?);
    std::fs::create_dir_all(&directory)?;
    // Optics that only invert: all amplitude contrast, no envelope, every tilt.
    let inverting = SimulationConfig {
        underfocus: 0.0,
        spherical_aberration: 0.0,
        amplitude_contrast: 1.0,
        envelope: 100.0,
        max_tilt: 90.0,
        max_shift: SimulationConfig::aitom(0.05).max_shift,
        ..Default::default()
    };
    let simulator = Simulator::new(inverting)?;
    for id in ["1bxn", "3j9i", "4v5d"] {
        let template = catalogue::find(id).ok_or("an id of the catalogue")?.template();
        for index in 0..8 {
            let density = simulator.parts(&template, 1, index)?.signal;
            Map::from_volume(&density, inverting.voxel_size).save(directory.join(format!("{id}_{index}.mrc")))?;
        }
    }
    Ok(())
}
