//! Changes that leave a class as it is.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use proptest::prelude::*;
use soft_lmccl_cect::{AugmentConfig, Augmenter, HalfTurn, NoiseColor, SimulationConfig, Simulator, Volume};

use super::{lopsided, spectrum, told};

fn volume(side: usize, seed: u64) -> Volume {
    let voxels = (0..side.pow(3) as u64).map(|v| ((v + 1) * (seed * 2 + 7919) % 1013) as f32 / 100.0 - 5.0);
    Volume::new(side, voxels.collect()).unwrap()
}

fn sorted(volume: &Volume) -> Vec<f32> {
    let mut voxels = volume.voxels().to_vec();
    voxels.sort_by(f32::total_cmp);
    voxels
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn half_turns_are_a_group(side in 1usize..8, seed in 0u64..1000) {
        let volume = volume(side, seed);
        prop_assert_eq!(&HalfTurn::None.of(&volume), &volume);
        for turn in HalfTurn::ALL {
            prop_assert_eq!(&turn.of(&turn.of(&volume)), &volume);
        }
        prop_assert_eq!(HalfTurn::X.of(&HalfTurn::Y.of(&volume)), HalfTurn::Z.of(&volume));
        prop_assert_eq!(HalfTurn::Y.of(&HalfTurn::Z.of(&volume)), HalfTurn::X.of(&volume));
    }

    #[test]
    fn voxels_are_moved_not_changed(side in 2usize..9, seed in 0u64..1000, index in 0u64..1000, shift in 0usize..4) {
        let config = AugmentConfig { max_shift: shift, ..Default::default() };
        let volume = volume(side, seed);
        let augmenter = Augmenter::new(config, side).unwrap();
        let augmented = augmenter.augment(&volume, seed, index).unwrap();
        prop_assert_eq!(sorted(&augmented), sorted(&volume));
        prop_assert_eq!(&augmented, &augmenter.augment(&volume, seed, index).unwrap());
        let nothing = Augmenter::new(AugmentConfig::none(), side).unwrap();
        prop_assert_eq!(nothing.augment(&volume, seed, index).unwrap(), volume);
    }
}

#[test]
fn half_turns_are_rotations_about_the_center() {
    // A voxel at center + [z, y, x]; a half turn about x takes it to center + [−z, −y, x].
    for side in [6, 7] {
        let middle = side / 2;
        let place = |[z, y, x]: [isize; 3]| {
            let at = |offset: isize| (middle as isize + offset) as usize;
            (at(z) * side + at(y)) * side + at(x)
        };
        let mut voxels = vec![0.0; side.pow(3)];
        voxels[place([1, -2, 2])] = 1.0;
        let volume = Volume::new(side, voxels).unwrap();
        for (turn, to) in [(HalfTurn::X, [-1, 2, 2]), (HalfTurn::Y, [-1, -2, -2]), (HalfTurn::Z, [1, 2, -2])] {
            assert_eq!(turn.of(&volume).voxels()[place(to)].to_bits(), 1f32.to_bits(), "{turn:?} {side}");
        }
    }
}

/// What is missing after the changes that promise to keep the wedge is what was missing before, and
/// a CTF leaves the same amplitudes at each length of the frequency.
#[test]
fn wedge_and_transfer_function_survive() {
    for side in [12, 13] {
        let config = SimulationConfig { side, ..Default::default() };
        let volume = Simulator::new(config).unwrap().simulate(&lopsided("beads"), 3, 1).unwrap();
        let augmenter = Augmenter::new(AugmentConfig { max_shift: 2, ..Default::default() }, side).unwrap();
        let before = spectrum(&volume);
        let strongest = before.iter().map(|(_, value)| value.norm()).fold(0.0, f64::max);
        let mut moved = 0;
        for index in 0..12 {
            let augmented = augmenter.augment(&volume, 5, index).unwrap();
            moved += usize::from(augmented != volume);
            let after = spectrum(&augmented);
            for ([z, y, x], value) in &after {
                if z.abs().atan2(x.abs()).to_degrees() > 60.001 {
                    assert!(value.norm() < 1e-6 * strongest, "{side} {index}: {z} {y} {x} {value}");
                }
            }
            // Half turns and shifts permute amplitudes among frequencies of one length.
            let mut amplitudes: Vec<f64> = before.iter().map(|(_, value)| value.norm()).collect();
            let mut found: Vec<f64> = after.iter().map(|(_, value)| value.norm()).collect();
            amplitudes.sort_by(f64::total_cmp);
            found.sort_by(f64::total_cmp);
            for (a, b) in amplitudes.iter().zip(found) {
                assert_abs_diff_eq!(*a, b, epsilon = 1e-6 * strongest);
            }
        }
        assert!(moved > 8, "{moved}");
    }
}

#[test]
fn a_rotation_gets_the_wedge_of_the_others() {
    let config = SimulationConfig { side: 16, snr: 1e4, ..Default::default() };
    let volume = Simulator::new(config).unwrap().simulate(&lopsided("beads"), 3, 1).unwrap();
    let spinning = AugmentConfig { max_rotation: 180.0, ..AugmentConfig::none() };
    let missing = |volume: &Volume| -> f64 {
        let spectrum = spectrum(volume);
        let all: f64 = spectrum.iter().map(|(_, value)| value.norm_sqr()).sum();
        let inside = spectrum.iter().filter(|([z, _, x], _)| z.abs().atan2(x.abs()).to_degrees() > 60.001);
        inside.map(|(_, value)| value.norm_sqr()).sum::<f64>() / all
    };
    let turned = |config| {
        let augmenter = Augmenter::new(config, 16).unwrap();
        (0..6).map(|index| missing(&augmenter.augment(&volume, 1, index).unwrap())).sum::<f64>() / 6.0
    };
    assert!(missing(&volume) < 1e-10);
    assert!(turned(spinning) > 0.02, "{}", turned(spinning));
    assert!(turned(AugmentConfig { max_tilt: Some(60.0), ..spinning }) < 1e-10);
    // A rotation by no angle changes nothing but rounding.
    let still = Augmenter::new(AugmentConfig { max_rotation: 1e-9, ..spinning }, 16).unwrap();
    let same = still.augment(&volume, 1, 0).unwrap();
    let largest = volume.statistics().max;
    for (a, b) in same.voxels().iter().zip(volume.voxels()) {
        assert_abs_diff_eq!(*a, *b, epsilon = 1e-5 * largest);
    }
}

#[test]
fn rotations_go_as_far_as_asked() {
    // A bright voxel near the border of the box moves by its distance times the angle at most.
    let side = 21;
    let mut voxels = vec![0.0; side * side * side];
    voxels[(10 * side + 10) * side + 17] = 1.0;
    let volume = Volume::new(side, voxels).unwrap();
    let config = AugmentConfig { max_rotation: 30.0, ..AugmentConfig::none() };
    let augmenter = Augmenter::new(config, side).unwrap();
    let mut angles: Vec<f64> = (0..200)
        .map(|index| {
            let augmented = augmenter.augment(&volume, 9, index).unwrap();
            let mut center = [0.0; 3];
            let mut mass = 0.0;
            for (place, &value) in augmented.voxels().iter().enumerate() {
                let at = [place % side, place / side % side, place / (side * side)];
                for (sum, c) in center.iter_mut().zip(at) {
                    *sum += f64::from(value) * (c as f64 - 10.0);
                }
                mass += f64::from(value);
            }
            let [x, y, z] = center.map(|c| c / mass);
            y.hypot(z).atan2(x).to_degrees()
        })
        .collect();
    angles.sort_by(f64::total_cmp);
    // Interpolation moves the center of a single voxel by less than half of one in seven.
    assert!(angles[199] < 31.0 + 4.0 && angles[199] > 20.0, "{}", angles[199]);
    assert!(angles[100] > 8.0, "{}", angles[100]);
}

#[test]
fn noise_has_the_spread_and_the_wedge_that_were_asked_for() {
    let side = 20;
    let config = SimulationConfig { side, ..Default::default() };
    let volume = Simulator::new(config).unwrap().simulate(&lopsided("beads"), 3, 1).unwrap();
    let spread = volume.statistics().std;
    for (max_tilt, wedge) in [(None, false), (Some(60.0), true)] {
        let config = AugmentConfig { noise: 0.8, max_tilt, ..AugmentConfig::none() };
        let augmenter = Augmenter::new(config, side).unwrap();
        let mut most: f64 = 0.0;
        let mut sum = 0.0;
        for index in 0..40 {
            let noisy = augmenter.augment(&volume, 2, index).unwrap();
            let difference = noisy.voxels().iter().zip(volume.voxels()).map(|(a, b)| a - b).collect();
            let added = Volume::new(side, difference).unwrap();
            let ratio = added.statistics().std / spread;
            most = most.max(ratio);
            sum += ratio;
            if index == 0 {
                let spectrum = spectrum(&added);
                let strongest = spectrum.iter().map(|(_, value)| value.norm()).fold(0.0, f64::max);
                let inside = spectrum.iter().filter(|([z, _, x], _)| z.abs().atan2(x.abs()).to_degrees() > 60.001);
                let left = inside.map(|(_, value)| value.norm() / strongest).fold(0.0, f64::max);
                assert_eq!(left < 1e-5, wedge, "{left}");
            }
        }
        assert!(most < 0.82 && most > 0.7, "{most}");
        // Uniform up to 0.8: mean 0.4, five standard errors.
        assert_relative_eq!(sum / 40.0, 0.4, epsilon = 5.0 * 0.8 / (12.0f64 * 40.0).sqrt());
    }
}

/// Each seed and each index has noise of its own.
#[test]
fn seeds_have_noise_of_their_own() {
    let flat = Volume::new(8, (0..512).map(|v| (v % 2) as f32 * 1e-6).collect()).unwrap();
    let config = AugmentConfig { noise: 10.0, max_tilt: None, ..AugmentConfig::none() };
    let augmenter = Augmenter::new(config, 8).unwrap();
    let noise = |(seed, index)| {
        let augmented = augmenter.augment(&flat, seed, index).unwrap();
        let added = augmented.voxels().iter().zip(flat.voxels()).map(|(a, b)| a - b).collect();
        Volume::new(8, added).unwrap().standardized().unwrap()
    };
    let places = (0..20).flat_map(|seed| [(seed, 0), (seed, 1)]);
    let volumes: Vec<Volume> = places.chain([(u64::MAX, 0), (1 << 63, 0)]).map(noise).collect();
    for (number, a) in volumes.iter().enumerate() {
        for b in &volumes[..number] {
            let products = a.voxels().iter().zip(b.voxels()).map(|(&a, &b)| f64::from(a) * f64::from(b));
            // Five standard errors of 512 voxels.
            assert!((products.sum::<f64>() / 512.0).abs() < 0.22);
        }
    }
}

#[test]
fn nothing_stays_nothing() {
    let empty = Volume::new(6, vec![0.0; 216]).unwrap();
    let config = AugmentConfig { max_rotation: 30.0, noise: 1.0, ..Default::default() };
    for config in [config, AugmentConfig { noise: 0.0, ..config }, AugmentConfig { max_rotation: 0.0, ..config }] {
        let augmenter = Augmenter::new(config, 6).unwrap();
        assert_eq!(augmenter.config(), &config);
        assert_eq!(augmenter.augment(&empty, 1, 1).unwrap(), empty);
    }
}

/// Pins what the numbers become: a change of the order of draws or of a sign would change every augmented set.
#[test]
fn augmentations_are_those_of_every_version() {
    let volume = volume(9, 3);
    let none = AugmentConfig::none();
    for (config, expected) in [
        (AugmentConfig { half_turns: true, max_shift: 2, ..none }, [-0.1500, -4.8600, 0.1900]),
        (AugmentConfig { max_rotation: 40.0, max_tilt: Some(60.0), ..none }, [1.0761, 0.9362, 1.6866]),
        (AugmentConfig { noise: 0.7, ..none }, [2.1103, 3.0703, -2.3659]),
        (
            AugmentConfig { half_turns: true, max_shift: 1, max_rotation: 90.0, max_tilt: Some(50.0), noise: 0.7 },
            [0.0391, -1.0590, -0.5423],
        ),
    ] {
        let augmented = Augmenter::new(config, 9).unwrap().augment(&volume, 4, 2).unwrap();
        let found = [[4, 4, 3], [1, 6, 7], [8, 0, 5]].map(|[z, y, x]| augmented.get(z, y, x).unwrap());
        for (found, expected) in found.iter().zip(expected) {
            assert_abs_diff_eq!(*found, expected, epsilon = 1e-3);
        }
    }
}

#[test]
fn noise_is_not_that_of_the_simulation() {
    // With one seed for both, as a program that knows one seed has it.
    let side = 16;
    let config = SimulationConfig { side, noise: NoiseColor::White, max_tilt: 90.0, ..Default::default() };
    let simulator = Simulator::new(config).unwrap();
    let noise = simulator.parts(&lopsided("beads"), 3, 1).unwrap().noise;
    let flat = Volume::new(side, (0..side.pow(3)).map(|v| (v % 2) as f32 * 1e-6).collect()).unwrap();
    let augment = AugmentConfig { noise: 10.0, max_tilt: None, ..AugmentConfig::none() };
    let augmented = Augmenter::new(augment, side).unwrap().augment(&flat, 3, 1).unwrap();
    // The streams may be some draws apart.
    let correlation = |lag: usize| {
        let pairs = noise.voxels().iter().zip(&augmented.voxels()[lag..]);
        let back = noise.voxels()[lag..].iter().zip(augmented.voxels());
        let mean = |pairs: &mut dyn Iterator<Item = (&f32, &f32)>| {
            let (mut product, mut a2, mut b2) = (0.0, 0.0, 0.0);
            for (&a, &b) in pairs {
                let (a, b) = (f64::from(a), f64::from(b));
                product += a * b;
                a2 += a * a;
                b2 += b * b;
            }
            (product / (a2 * b2).sqrt()).abs()
        };
        mean(&mut pairs.into_iter()).max(mean(&mut back.into_iter()))
    };
    let largest = (0..24).map(correlation).fold(0.0, f64::max);
    // Five standard errors of 4096 voxels are 0.08.
    assert!(largest < 0.1, "{largest}");
}

#[test]
fn impossible_augmentations_say_why() {
    let good = AugmentConfig::default();
    for (config, message) in [
        (AugmentConfig { max_shift: 65, ..good }, "invalid `max_shift`: expected 0 to 64 voxels, got 65"),
        (AugmentConfig { max_rotation: 180.1, ..good }, "invalid `max_rotation`: expected 0 to 180 degrees, got 180.1"),
        (
            AugmentConfig { max_rotation: f64::NAN, ..good },
            "invalid `max_rotation`: expected 0 to 180 degrees, got NaN",
        ),
        (
            AugmentConfig { max_tilt: Some(0.0), ..good },
            "invalid `max_tilt`: expected a number of degrees above 0 and up to 90, or none, got 0",
        ),
        (AugmentConfig { noise: 10.5, ..good }, "invalid `noise`: expected 0 to 10 standard deviations, got 10.5"),
    ] {
        assert_eq!(told(&Augmenter::new(config, 8).unwrap_err()), message);
    }
    AugmentConfig { max_shift: 64, max_rotation: 180.0, max_tilt: Some(90.0), noise: 10.0, ..good }.validate().unwrap();
    assert_eq!(told(&Augmenter::new(good, 0).unwrap_err()), "invalid `side`: expected 1 to 1024 voxels, got 0");
    let error = Augmenter::new(good, 8).unwrap().augment(&volume(9, 1), 0, 0).unwrap_err();
    assert_eq!(told(&error), "volume: expected 8 voxels along each edge to augment, got 9");
    let read = serde_json::from_str::<AugmentConfig>(r#"{ "max_shift": 3, "max_tilt": null }"#).unwrap();
    assert_eq!(read, AugmentConfig { max_shift: 3, max_tilt: None, ..good });
}
