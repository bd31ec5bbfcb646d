//! Cubes of voxels.

use approx::assert_abs_diff_eq;
use proptest::prelude::*;
use soft_lmccl_cect::Volume;

#[test]
fn what_is_no_volume_is_refused() {
    for (side, voxels, message) in [
        (0, vec![], "volume: a side of 0 voxels cannot be used"),
        (2, vec![0.0; 7], "volume: side 2 needs 8 voxels, got 7"),
        (usize::MAX, vec![], "volume: a side of 18446744073709551615 voxels cannot be used"),
        (2, vec![0.0, 0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0], "volume: voxel [1][0][1] is NaN, not a finite number"),
    ] {
        assert_eq!(Volume::new(side, voxels).unwrap_err().to_string(), message);
    }
    let constant = Volume::new(2, vec![0.1; 8]).unwrap();
    let message = constant.standardized().unwrap_err().to_string();
    assert_eq!(message, "volume: cannot be standardized: every voxel is 0.1");
    assert!(constant.centered(0).is_err());
}

#[test]
fn standardizing_survives_a_large_offset() {
    let voxels = (0..27).map(|v| 1e4 + v as f32).collect();
    let statistics = Volume::new(3, voxels).unwrap().standardized().unwrap().statistics();
    assert_abs_diff_eq!(statistics.mean, 0.0, epsilon = 1e-6);
    assert_abs_diff_eq!(statistics.std, 1.0, epsilon = 1e-6);
}

#[test]
fn voxels_are_found_by_their_places() {
    let volume = Volume::new(3, (0..27).map(|v| v as f32).collect()).unwrap();
    assert_eq!(volume.get(1, 0, 2), Some(11.0));
    for [z, y, x] in [[3, 0, 0], [0, 3, 0], [0, 0, 3], [2, 3, 0], [2, 2, 3], [usize::MAX, 0, 0]] {
        assert_eq!(volume.get(z, y, x), None, "{z} {y} {x}");
    }
    assert_eq!(volume.slice(1).unwrap(), &volume.voxels()[9..18]);
    assert_eq!(volume.slice(2).unwrap(), &volume.voxels()[18..]);
    assert_eq!(volume.slice(3), None);
    assert_eq!(volume.clone().into_voxels(), volume.voxels());
}

/// One voxel that differs as little as single precision can tell is a contrast.
#[test]
fn the_least_contrast_is_one() {
    for value in [0.0f32, 1e-30, 1.0, 1e30] {
        let mut voxels = vec![value; 20usize.pow(3)];
        voxels[7] = value.next_up();
        let standardized = Volume::new(20, voxels).unwrap().standardized().unwrap();
        assert!(standardized.voxels().iter().all(|voxel| voxel.is_finite()), "{value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_center_stays_the_center(from in 1usize..7, to in 1usize..9, dz in 0usize..7, dy in 0usize..7, dx in 0usize..7) {
        let voxels = (1..=from.pow(3)).map(|v| v as f32).collect();
        let volume = Volume::new(from, voxels).unwrap();
        let moved = volume.centered(to).unwrap();
        let index = |d: usize| (d + to / 2).checked_sub(from / 2).filter(|&i| i < to);
        if let (true, Some(z), Some(y), Some(x)) = (dz.max(dy).max(dx) < from, index(dz), index(dy), index(dx)) {
            prop_assert_eq!(moved.get(z, y, x), volume.get(dz, dy, dx));
        }
        if to >= from {
            let sum = |volume: &Volume| volume.voxels().iter().sum::<f32>();
            // Whole numbers below 2^24 add without rounding.
            prop_assert_eq!(sum(&moved).to_bits(), sum(&volume).to_bits());
            if to % 2 == from % 2 || to > from {
                prop_assert_eq!(moved.centered(from).unwrap(), volume);
            }
        }
    }
}
