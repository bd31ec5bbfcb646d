//! Noise with the spectrum of real background.

use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;
use soft_lmccl_cect::{NoiseColor, SimulationConfig, Simulator};

use super::{lopsided, spectrum};

/// The formula is fitted to 14 %, and shells of the simulated noise have chance in them.
const TOLERANCE: f64 = 0.2;

#[test]
fn noise_has_the_spectrum_of_ice() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/simulators/ice.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let measured = fixture["power_per_frequency_by_shell"].as_str().unwrap();
    let measured: Vec<f64> = measured.split(' ').map(|figure| figure.parse().unwrap()).collect();

    let config = SimulationConfig { noise: NoiseColor::Ice, ..Default::default() };
    let simulator = Simulator::new(config).unwrap();
    let spectra: Vec<_> = (0..16)
        .into_par_iter()
        .map(|index| spectrum(&simulator.parts(&lopsided("beads"), 2, index).unwrap().noise))
        .collect();
    let (mut power, mut count) = (vec![0.0; 16], vec![0.0; 16]);
    for (k, value) in spectra.into_iter().flatten() {
        let shell = (32.0 * k.iter().map(|c| c * c).sum::<f64>().sqrt() + 0.5).floor() as usize;
        if (1..=16).contains(&shell) && config.is_sampled(k) {
            power[shell - 1] += value.norm_sqr();
            count[shell - 1] += 1.0;
        }
    }
    let mean: Vec<f64> = power.iter().zip(&count).map(|(power, count)| power / count).collect();
    // The fit is by the logarithm, so the scale is where its errors cancel.
    let level = |values: &[f64]| (values.iter().map(|value| value.ln()).sum::<f64>() / 16.0).exp();
    let scale = level(&measured) / level(&mean);
    for (shell, (found, expected)) in mean.iter().zip(&measured).enumerate() {
        let ratio = scale * found / expected;
        assert!((ratio - 1.0).abs() < TOLERANCE, "shell {}: {ratio}", shell + 1);
    }
}
