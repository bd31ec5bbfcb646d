//! How many subtomograms a second, on every core.

use std::time::Instant;

use rayon::prelude::*;
use serde_json::{Value, json};
use soft_lmccl::cect::{SimulationConfig, Simulator, catalogue};

/// Of the side of the paper.
pub fn measure() -> Value {
    const SIDE: usize = 40;
    const VOLUMES: u64 = 920;
    eprintln!("simulate: {VOLUMES} volumes of {SIDE}³");
    let templates = catalogue::templates();
    let config = SimulationConfig { side: SIDE, ..Default::default() };
    let simulator = Simulator::new(config).expect("the default configuration is valid");
    let start = Instant::now();
    let volumes = (0..VOLUMES)
        .into_par_iter()
        .map(|index| {
            let template = &templates[index as usize % templates.len()];
            simulator.simulate(template, 1, index).expect("templates hold density")
        })
        .count();
    json!({ "volumes_per_second": volumes as f64 / start.elapsed().as_secs_f64(), "side": SIDE })
}
