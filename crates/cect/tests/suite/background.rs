//! Patches of a tomogram in place of noise.

use std::sync::Arc;

use approx::{assert_abs_diff_eq, assert_relative_eq};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use soft_lmccl_cect::{
    Background, Contrast, Dataset, HalfTurn, Map, SimulatedDataset, SimulationConfig, Simulator, Volume, render,
};

use super::{lopsided, told};

/// A map of 9 × 11 × 13 voxels of noise, written out and read again so that it is no cube.
fn tomogram(voxel_size: f32) -> Map {
    shaped([9, 11, 13], voxel_size, noise)
}

/// Anything but regular: a cube of a regular pattern would look like many others.
fn noise(index: usize) -> f32 {
    ChaCha8Rng::seed_from_u64(index as u64).random_range(-1.0..1.0)
}

fn shaped([depth, height, width]: [usize; 3], voxel_size: f32, voxel: impl Fn(usize) -> f32) -> Map {
    let mut bytes = vec![0; 1024];
    let mut put = |word: usize, value: [u8; 4]| bytes[4 * word..4 * word + 4].copy_from_slice(&value);
    for (axis, extent) in [width, height, depth].into_iter().enumerate() {
        put(axis, (extent as i32).to_le_bytes());
        put(7 + axis, (extent as i32).to_le_bytes());
        put(10 + axis, (extent as f32 * voxel_size).to_le_bytes());
    }
    put(3, 2i32.to_le_bytes());
    bytes.extend((0..depth * height * width).flat_map(|index| voxel(index).to_le_bytes()));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tomogram.mrc");
    std::fs::write(&path, bytes).unwrap();
    Map::open(path).unwrap()
}

fn patch(background: &Background, side: usize, voxel_size: f64, seed: u64) -> Volume {
    background.patch(side, voxel_size, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every patch is a standardized, half-turned cube of the tomogram: found by trying all of them.
    #[test]
    fn patches_are_cut_from_the_tomogram(side in 3usize..9, seed in 0u64..1000, bright in any::<bool>()) {
        let map = tomogram(10.0);
        let contrast = if bright { Contrast::BrightProtein } else { Contrast::DarkProtein };
        let background = Background::new(map.clone(), contrast).unwrap();
        let patch = patch(&background, side, 10.0, seed);
        let statistics = patch.statistics();
        prop_assert!(statistics.mean.abs() < 1e-6 && (statistics.std - 1.0).abs() < 1e-6);
        let sign = if bright { -1.0 } else { 1.0 };
        let [depth, height, width] = map.shape();
        let mut found = 0;
        for (z0, y0, x0) in (0..=depth - side).flat_map(|z| {
            (0..=height - side).flat_map(move |y| (0..=width - side).map(move |x| (z, y, x)))
        }) {
            let cube = (0..side.pow(3)).map(|i| {
                let (z, y, x) = (z0 + i / (side * side), y0 + i / side % side, x0 + i % side);
                sign * map.voxels()[(z * height + y) * width + x]
            });
            let cube = Volume::new(side, cube.collect()).unwrap().standardized().unwrap();
            found += HalfTurn::ALL.iter().filter(|turn| turn.of(&cube) == patch).count();
        }
        prop_assert_eq!(found, 1);
    }
}

#[test]
fn all_of_the_tomogram_is_used() {
    let background = Background::new(tomogram(10.0), Contrast::DarkProtein).unwrap();
    let mut distinct: Vec<Volume> = Vec::new();
    for seed in 0..400 {
        let patch = patch(&background, 8, 10.0, seed);
        if !distinct.contains(&patch) {
            distinct.push(patch);
        }
    }
    // 2 · 4 · 6 corners in four turns.
    assert!(distinct.len() > 160 && distinct.len() <= 192, "{}", distinct.len());
}

#[test]
fn finer_tomograms_are_averaged() {
    // A wave along x of 60 Å, by voxels of 5 and of 2.5 Å: over voxels of 10 Å it keeps its length.
    for (extent, voxel_size) in [(40, 5.0), (60, 2.5)] {
        let wave = |index: usize| (std::f32::consts::TAU * (index % extent) as f32 * voxel_size / 60.0).cos();
        let background = Background::new(shaped([extent; 3], voxel_size, wave), Contrast::DarkProtein).unwrap();
        let patch = patch(&background, 12, 10.0, 3);
        for z in 0..12 {
            for x in 0..6 {
                let (a, b) = (patch.get(z, 5, x).unwrap(), patch.get(z, 7, x + 6).unwrap());
                assert_abs_diff_eq!(a, b, epsilon = 1e-4);
                // Half a wave on it is inverted.
                assert_abs_diff_eq!(a, -patch.get(z, 2, x + 3).unwrap(), epsilon = 1e-4);
            }
        }
    }
}

#[test]
fn particles_in_patches_meet_the_ratio() {
    let background = Arc::new(Background::new(shaped([20, 22, 24], 10.0, noise), Contrast::DarkProtein).unwrap());
    let config = SimulationConfig { side: 16, snr: 0.2, ..Default::default() };
    let dataset = SimulatedDataset::new(["a", "b"].map(lopsided).to_vec(), config, 4, 5).unwrap();
    let plain = dataset.parts(3).unwrap();
    let dataset = dataset.on(background.clone()).unwrap();
    for index in 0..8 {
        let parts = dataset.parts(index).unwrap();
        let variance = |volume: &Volume| volume.statistics().std.powi(2);
        assert_relative_eq!(variance(&parts.signal) / variance(&parts.noise), 0.2, max_relative = 1e-4);
        let sample = dataset.sample(index).unwrap();
        let sums = parts.signal.voxels().iter().zip(parts.noise.voxels());
        for (found, (signal, noise)) in sample.volume.voxels().iter().zip(sums) {
            assert_relative_eq!(*found, signal + noise, max_relative = 1e-5, epsilon = 1e-3);
        }
    }
    // The particle is the one without a background; only the noise is another.
    assert_eq!(dataset.parts(3).unwrap().pose, plain.pose);
    let simulator = Simulator::new(config).unwrap();
    for (index, template) in (0..4).zip(["a", "b"].map(lopsided).iter().cycle()) {
        let expected = simulator.parts_on(&background, template, 5, index).unwrap();
        assert_eq!(dataset.parts(index as usize).unwrap(), expected);
    }
    assert_ne!(dataset.parts(3).unwrap().noise, plain.noise);
    let pairs = plain.signal.voxels().iter().zip(dataset.parts(3).unwrap().signal.voxels().to_vec());
    let largest = plain.signal.statistics().max;
    for (a, b) in pairs {
        assert_abs_diff_eq!(*a, b, epsilon = 1e-4 * largest);
    }
    // Neither order nor threads matter.
    let samples = render(&dataset, &[5, 2, 5], |_| {}).unwrap();
    assert_eq!(samples[0], dataset.sample(5).unwrap());
    assert_eq!(samples[0], samples[2]);
}

#[test]
fn tomograms_that_cannot_serve_say_why() {
    let background = |voxel_size| Background::new(tomogram(voxel_size), Contrast::DarkProtein);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    assert_eq!(
        told(&background(16.4).unwrap().patch(8, 10.0, &mut rng).unwrap_err()),
        "invalid `voxel_size`: expected 14.91 Å or more for a tomogram of 16.40 Å voxels, which has no noise finer \
         than that, got 10"
    );
    assert_eq!(
        told(&background(10.0).unwrap().patch(10, 10.0, &mut rng).unwrap_err()),
        "invalid `side`: expected patches that fit into the tomogram of 9 × 11 × 13 voxels of 10.00 Å, got 10 voxels \
         of 10 Å"
    );
    assert_eq!(
        told(&background(0.0).unwrap_err()),
        "volume: the header gives a voxel size of 0 × 0 × 0 Å; a tomogram needs one, the same along each axis"
    );
    // A tenth larger voxels may be, and a patch as large as the tomogram.
    let message = told(&background(11.05).unwrap().check(4, 10.0).unwrap_err());
    assert!(message.starts_with("invalid `voxel_size`"), "{message}");
    background(10.95).unwrap().check(4, 10.0).unwrap();
    background(10.0).unwrap().check(9, 10.0).unwrap();
    let known = background(10.0).unwrap();
    assert_eq!((known.shape(), known.voxel_size()), ([9, 11, 13], 10.0));
    let mended = tomogram(0.0).with_voxel_size(10.0);
    Background::new(mended, Contrast::DarkProtein).unwrap().check(8, 10.0).unwrap();
    let empty = Background::new(shaped([9, 9, 9], 10.0, |_| 3.0), Contrast::DarkProtein).unwrap();
    assert_eq!(
        told(&empty.patch(4, 10.0, &mut rng).unwrap_err()),
        "volume: 64 patches of the tomogram of 9 × 9 × 9 voxels have no contrast"
    );
    // A run is refused before it starts.
    let config = SimulationConfig { side: 16, ..Default::default() };
    let dataset = SimulatedDataset::new(vec![lopsided("a")], config, 1, 1).unwrap();
    assert!(dataset.on(Arc::new(background(10.0).unwrap())).is_err());
    let simulator = Simulator::new(config).unwrap();
    assert!(simulator.simulate_on(&background(10.0).unwrap(), &lopsided("a"), 1, 1).is_err());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flat.mrc");
    Map::from_volume(&Volume::new(2, vec![0.0; 8]).unwrap(), 0.0).save(&path).unwrap();
    let message = told(&Background::open(&path, Contrast::DarkProtein).unwrap_err());
    assert!(message.starts_with(path.to_str().unwrap()), "{message}");
}
