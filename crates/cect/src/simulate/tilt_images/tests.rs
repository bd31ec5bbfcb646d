use rustfft::num_complex::{Complex32, Complex64};
use serde_json::Value;

use super::*;
use crate::stream::stream;

/// Single precision in transforms, beside double precision in numpy; of the largest voxel.
const TOLERANCE: f64 = 1e-4;

/// Optics that only invert, and tilts all around but for 3°.
fn plain(side: usize, images: TiltImages) -> SimulationConfig {
    SimulationConfig {
        side,
        underfocus: 0.0,
        spherical_aberration: 0.0,
        amplitude_contrast: 1.0,
        envelope: 100.0,
        max_tilt: 88.0,
        tilt_step: Some(3.0),
        noise: NoiseColor::White,
        tilt_images: Some(TiltImages { off_axis: 0.0, ..images }),
        ..Default::default()
    }
}

/// Three blobs, no symmetry.
fn blobs(side: usize) -> Vec<Complex32> {
    let half = (side / 2) as f64;
    (0..side.pow(3))
        .map(|index| {
            let at = [index / (side * side), index / side % side, index % side].map(|c| c as f64 - half);
            let blob = |center: [f64; 3], weight: f64| {
                let squared: f64 = at.iter().zip(center).map(|(a, c)| (a - c).powi(2)).sum();
                weight * (-squared / (2.0 * 0.9 * 0.9)).exp()
            };
            let value = blob([2.0, -1.0, 0.0], 1.0) + blob([-1.0, 2.0, 3.0], 0.7) + blob([0.0, -3.0, -2.0], 0.5);
            Complex32::new(value as f32, 0.0)
        })
        .collect()
}

fn developed(config: &SimulationConfig, density: &[Complex32], index: Option<u64>) -> Vec<Complex32> {
    let mut voxels = density.to_vec();
    let mut rng = index.map(|index| stream(3, index));
    Reconstruction::of(config).unwrap().develop(&mut voxels, config.underfocus, rng.as_mut());
    voxels
}

/// The transform of the real parts, a sum for each entry within `most` cycles a side: `([z, y, x], value)`.
fn spectrum(voxels: &[Complex32], side: usize, most: i32) -> Vec<([i32; 3], Complex64)> {
    let range = || -most..=most;
    let waves: Vec<Complex64> =
        (0..side).map(|i| Complex64::from_polar(1.0, -std::f64::consts::TAU * i as f64 / side as f64)).collect();
    let wave = |k: i32, i: usize| waves[(k.rem_euclid(side as i32) as usize * i) % side];
    let mut found = Vec::new();
    for kz in range() {
        let mut plane = vec![Complex64::default(); side * side];
        for (index, voxel) in voxels.iter().enumerate() {
            plane[index % (side * side)] += f64::from(voxel.re) * wave(kz, index / (side * side));
        }
        for ky in range() {
            let mut line = vec![Complex64::default(); side];
            plane.iter().enumerate().for_each(|(i, value)| line[i % side] += value * wave(ky, i / side));
            found.extend(range().map(|kx| {
                ([kz, ky, kx], line.iter().enumerate().map(|(i, value)| value * wave(kx, i)).sum::<Complex64>())
            }));
        }
    }
    found
}

#[test]
fn a_volume_is_that_of_an_independent_calculation() {
    let fixture: Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/simulators/tilt_images.json")).unwrap();
    let figures = |name: &str| -> Vec<f64> {
        fixture[name].as_str().unwrap().split(' ').map(|figure| figure.parse().unwrap()).collect()
    };
    let correction = CtfCorrection::Deconvolve { strength: 1.0, falloff: 1.0 };
    let config = SimulationConfig {
        side: 8,
        underfocus: 4.0,
        amplitude_contrast: 0.1,
        max_tilt: 25.0,
        tilt_step: Some(25.0),
        tilt_dose: 3.0,
        tilt_images: Some(TiltImages { correction, ..Default::default() }),
        ..Default::default()
    };
    let density: Vec<_> = figures("density").iter().map(|&value| Complex32::new(value as f32, 0.0)).collect();
    let expected = figures("volume");
    let largest = expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    for (found, expected) in developed(&config, &density, None).iter().zip(&expected) {
        assert!((f64::from(found.re) - expected).abs() < TOLERANCE * largest, "{found} {expected}");
    }
}

#[test]
fn a_density_comes_back_from_all_tilts() {
    let density = blobs(16);
    let found = developed(&plain(16, TiltImages::default()), &density, None);
    let sum = |a: &[Complex32], b: &[Complex32]| a.iter().zip(b).map(|(a, b)| f64::from(a.re * b.re)).sum::<f64>();
    let alike = -sum(&found, &density) / (sum(&found, &found) * sum(&density, &density)).sqrt();
    // 59 images of the 3·16 or so that 16 voxels need: what is missing is 6° of wedge and the ends of the band.
    assert!(alike > 0.98, "{alike}");
    let slope = -sum(&found, &density) / sum(&density, &density);
    assert!((slope - 1.0).abs() < 0.05, "{slope}");
}

/// Of the power in the inner half of the missing wedge, which images cut off at the box leak a little into.
#[test]
fn the_missing_wedge_is_empty() {
    let density = blobs(16);
    let config = SimulationConfig { max_tilt: 60.0, ..plain(16, TiltImages::default()) };
    let missing = |voxels: &[Complex32]| -> f64 {
        let inside = |k: &[i32; 3]| f64::from(k[0].abs()).atan2(f64::from(k[2].abs())).to_degrees() > 75.0;
        spectrum(voxels, 16, 6).iter().filter(|(k, _)| k[0] != 0 && inside(k)).map(|(_, v)| v.norm_sqr()).sum()
    };
    let (whole, left) = (missing(&density), missing(&developed(&config, &density, None)));
    assert!(left < 0.02 * whole, "{}", left / whole);
}

#[test]
fn errors_of_alignment_damp_high_frequencies_by_their_formula() {
    const SIGMA: f64 = 0.8;
    let density = blobs(16);
    let config = plain(16, TiltImages { alignment_error: SIGMA, ..Default::default() });
    let clean = developed(&config, &density, None);
    let mut mean = vec![Complex32::default(); density.len()];
    for index in 0..24 {
        for (mean, voxel) in mean.iter_mut().zip(developed(&config, &density, Some(index))) {
            *mean += voxel / 24.0;
        }
    }
    let (mut both, mut alone, mut expected) = ([0.0; 5], [0.0; 5], [0.0; 5]);
    for ((k, mean), (_, clean)) in spectrum(&mean, 16, 4).into_iter().zip(spectrum(&clean, 16, 4)) {
        let k2 = f64::from(k.iter().map(|k| k * k).sum::<i32>());
        let shell = k2.sqrt().round() as usize;
        if (1..=4).contains(&shell) {
            both[shell] += (mean * clean.conj()).re;
            alone[shell] += clean.norm_sqr();
            expected[shell] += clean.norm_sqr() * (-2.0 * PI * PI * SIGMA * SIGMA * k2 / 256.0).exp();
        }
    }
    for shell in 1..=4 {
        let (found, expected) = (both[shell] / alone[shell], expected[shell] / alone[shell]);
        // 24 times 59 draws, each of a few degrees of a shell.
        assert!((found - expected).abs() < 0.04, "shell {shell}: {found} {expected}");
    }
}

#[test]
fn flipped_phases_keep_protein_dark_at_every_frequency() {
    let density = blobs(16);
    let by_shell = |correction| {
        let images = TiltImages { correction, ..Default::default() };
        let config = SimulationConfig {
            underfocus: 5.0,
            amplitude_contrast: 0.1,
            spherical_aberration: 2.7,
            ..plain(16, images)
        };
        let mut shells = [0.0; 8];
        let found = spectrum(&developed(&config, &density, None), 16, 7);
        for ((k, found), (_, density)) in found.into_iter().zip(spectrum(&density, 16, 7)) {
            let shell = f64::from(k.iter().map(|k| k * k).sum::<i32>()).sqrt().round() as usize;
            if shell < 8 {
                shells[shell] += (found * density.conj()).re;
            }
        }
        shells
    };
    // 5 µm cross zero at 0.32 cycles a voxel: the sixth and seventh shell are beyond.
    assert!(by_shell(CtfCorrection::None)[6] > 0.0);
    for correction in [
        CtfCorrection::PhaseFlip,
        CtfCorrection::Premultiply,
        CtfCorrection::Deconvolve { strength: 1.0, falloff: 1.0 },
    ] {
        let shells = by_shell(correction);
        assert!(shells[1..].iter().all(|&shell| shell < 0.0), "{correction:?} {shells:?}");
    }
}

#[test]
fn high_tilts_are_noisier_by_their_thickness() {
    // The noise alone: one image at 0° and two at 60°, against the same without thickness.
    let power = |thickness| -> f64 {
        let config = SimulationConfig { max_tilt: 60.0, tilt_step: Some(30.0), ..plain(16, TiltImages::default()) };
        let config = SimulationConfig {
            tilt_images: Some(TiltImages { thickness, off_axis: 0.0, ..Default::default() }),
            ..config
        };
        (0..4).flat_map(|index| developed(&config, &blobs(16), Some(index))).map(|v| f64::from(v.im).powi(2)).sum()
    };
    // The draws are the same. Five images of like power: exp(t/Λ) at 0°, exp(t/Λ/cos 30°) twice, exp(2t/Λ) twice.
    let t: f64 = 300.0 / 395.0;
    let expected = (t.exp() + 2.0 * (t / 0.75f64.sqrt()).exp() + 2.0 * (2.0 * t).exp()) / 5.0;
    let found = power(300.0) / power(0.0);
    assert!((found / expected - 1.0).abs() < 0.15, "{found} {expected}");
}

#[test]
fn named_configurations_are_valid_and_bad_ones_are_told() {
    for config in [SimulationConfig::relion_like(), SimulationConfig::warp_like()] {
        config.validate().unwrap();
        let images = config.tilt_images.unwrap();
        let told =
            |images| SimulationConfig { tilt_images: Some(images), ..config }.validate().unwrap_err().to_string();
        let message = told(TiltImages { alignment_error: f64::NAN, ..images });
        assert_eq!(message, "invalid `alignment_error`: expected 0 to 8 voxels, got NaN");
        let message = told(TiltImages { thickness: -1.0, ..images });
        assert_eq!(message, "invalid `thickness`: expected 0 to 1000 nm, got -1");
        let message = SimulationConfig { noise: NoiseColor::Ice, ..config }.validate().unwrap_err().to_string();
        assert!(message.starts_with("invalid `noise`: expected through_optics, white or half_half"), "{message}");
        let message = SimulationConfig { tilt_step: None, tilt_dose: 0.0, ..config }.validate().unwrap_err();
        assert!(message.to_string().starts_with("invalid `tilt_step`"), "{message}");
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SimulationConfig>(&written).unwrap(), config);
    }
    // Files of old stay as they were.
    assert!(!serde_json::to_string(&SimulationConfig::s2()).unwrap().contains("tilt_images"));
}
