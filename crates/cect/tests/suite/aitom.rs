//! What the paper's authors' toolbox makes of the same densities, by frequency.

use std::path::Path;

use approx::assert_relative_eq;
use rayon::prelude::*;
use serde_json::Value;
use soft_lmccl_cect::{SimulationConfig, Simulator, Volume, catalogue};

use super::{plain, spectrum};

/// Of the signal in a shell: no random numbers, but figures of five digits and a CTF whose spherical aberration has the
/// other sign (2e-4 rad where the low-pass begins), which counts beside the zero of the CTF at shell 10.
const SIGNAL_TOLERANCE: f64 = 3e-3;
/// What shells with less than a hundred-thousandth of the signal may differ by.
const SIGNAL_FLOOR: f64 = 1e-5;
/// Of the noise in a band: some thousand free numbers on either side, and the toolbox draws its own noise to find how
/// much the optics take from it.
const NOISE_TOLERANCE: f64 = 0.06;
/// Of documented figures of two digits, from sixteen volumes.
const BY_BAND_TOLERANCE: f64 = 0.1;
/// Bands of integer frequencies of the box.
const BANDS: [[usize; 2]; 4] = [[1, 3], [4, 6], [7, 9], [10, 11]];

/// The variance in each shell of integer frequency of the box; the last holds all beyond.
fn shells(volume: &Volume, count: usize) -> Vec<f64> {
    let (side, mut shells) = (volume.side() as f64, vec![0.0; count + 1]);
    for (k, value) in spectrum(volume) {
        let radius = (side * k.iter().map(|c| c * c).sum::<f64>().sqrt() + 0.5).floor() as usize;
        if radius > 0 {
            shells[radius.min(count + 1) - 1] += (value / side.powi(3)).norm_sqr();
        }
    }
    shells
}

fn mean(volumes: &[Vec<f64>]) -> Vec<f64> {
    let sum = |shell: usize| volumes.iter().map(|shells| shells[shell]).sum::<f64>();
    (0..volumes[0].len()).map(|shell| sum(shell) / volumes.len() as f64).collect()
}

fn figures(value: &Value) -> Vec<f64> {
    value.as_str().unwrap().split(' ').map(|figure| figure.parse().unwrap()).collect()
}

#[test]
fn signal_and_noise_are_those_of_aitom_at_each_frequency() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/simulators/aitom.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut seen = 0;
    for case in fixture["cases"].as_array().unwrap() {
        let template = catalogue::find(case["structure"].as_str().unwrap()).unwrap().template();
        let config = SimulationConfig {
            max_tilt: 90.0 - case["missing_wedge_degrees"].as_f64().unwrap(),
            envelope: case["envelope_nyquist"].as_f64().map_or(100.0, |nyquist| nyquist / 2.0),
            ..SimulationConfig::aitom(case["snr"].as_f64().unwrap())
        };
        let (expected_signal, expected_noise) = (figures(&case["signal"]), figures(&case["noise"]));
        let count = expected_signal.len();
        let simulator = Simulator::new(config).unwrap();
        let density = Simulator::new(SimulationConfig { max_shift: config.max_shift, ..plain(32, 10.0) }).unwrap();
        let parts: Vec<_> =
            (0..24).into_par_iter().map(|index| simulator.parts(&template, 1, index).unwrap()).collect();
        // The noise of a sample goes by the density's variance, so that of the fixture's eight poses counts.
        let strength = |range: std::ops::Range<usize>| {
            let count = range.len() as f64;
            range.map(|index| parts[index].noise.statistics().std.powi(2)).sum::<f64>() / count
        };
        let of = |part: fn(&soft_lmccl_cect::Subtomogram) -> &Volume, number: usize| {
            mean(&parts[..number].par_iter().map(|parts| shells(part(parts), count)).collect::<Vec<_>>())
        };
        let (signal, noise) = (of(|parts| &parts.signal, 8), of(|parts| &parts.noise, 24));
        let poses = strength(0..8) / strength(0..24);

        for (&found, &expected) in signal.iter().zip(&expected_signal) {
            assert_relative_eq!(found, expected, max_relative = SIGNAL_TOLERANCE, epsilon = SIGNAL_FLOOR);
        }
        for [first, last] in BANDS {
            let band = |shells: &[f64]| shells[first - 1..last].iter().sum::<f64>();
            assert_relative_eq!(poses * band(&noise), band(&expected_noise), max_relative = NOISE_TOLERANCE);
        }
        // Nothing beyond the low-pass.
        assert!(signal[count] < 1e-6 * signal[0] && noise[count] < 1e-6 * noise[0]);
        let posed = density.parts(&template, 1, 0).unwrap().signal;
        let agreement: f32 = posed.voxels().iter().zip(parts[0].signal.voxels()).map(|(p, s)| p * s).sum();
        assert_eq!(agreement > 0.0, case["same_sign"].as_f64().unwrap() > 0.5);
        seen += 1;
    }
    assert_eq!(seen, 4);
}

/// The figures of the table in `simulate`: var(signal) / var(noise) of the 20S proteasome in bands of frequency.
#[test]
fn the_conventions_differ_by_band_as_documented() {
    let template = catalogue::find("3j9i").unwrap().template();
    for (config, expected) in
        [(SimulationConfig::aitom(0.05), [0.028, 0.032, 0.0056]), (SimulationConfig::s2(), [0.98, 0.18, 0.029])]
    {
        let simulator = Simulator::new(config).unwrap();
        let parts: Vec<_> =
            (0..16).into_par_iter().map(|index| simulator.parts(&template, 1, index).unwrap()).collect();
        let signal = mean(&parts.iter().map(|parts| shells(&parts.signal, 16)).collect::<Vec<_>>());
        let noise = mean(&parts.iter().map(|parts| shells(&parts.noise, 16)).collect::<Vec<_>>());
        for ([first, last], expected) in BANDS.into_iter().zip(expected) {
            let band = |shells: &[f64]| shells[first - 1..last].iter().sum::<f64>();
            assert_relative_eq!(band(&signal) / band(&noise), expected, max_relative = BY_BAND_TOLERANCE);
        }
    }
}
