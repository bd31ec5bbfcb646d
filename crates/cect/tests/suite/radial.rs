//! Radial profiles.

use approx::assert_abs_diff_eq;
use soft_lmccl_cect::Volume;

use super::told;

/// Of standardized profiles from single-precision voxels.
const TOLERANCE: f32 = 1e-4;

/// Alike along no axis.
fn uneven(side: usize) -> Volume {
    let voxel = |index: usize| (index * 7919 % 1013) as f64 * (-(index as f64) / 300.0).exp();
    Volume::new(side, (0..side.pow(3)).map(|index| voxel(index) as f32).collect()).unwrap()
}

/// Reference values, sides odd and even, the Gaussian wider than the box and narrow:
///
/// ```python
/// import numpy as np
/// from scipy.ndimage import gaussian_filter
/// for n, sigma in ((9, 2.0), (12, 1.0)):
///     i = np.arange(n**3)
///     v = ((i * 7919) % 1013 * np.exp(-i / 300)).reshape(n, n, n)
///     s, g = gaussian_filter(v, sigma), np.arange(n) - n // 2
///     r = np.floor(np.sqrt(g[:, None, None]**2 + g[None, :, None]**2 + g[None, None, :]**2) + .5)
///     p = np.array([s[r == k].mean() for k in range(n // 2)])
///     print((p - p.mean()) / p.std())
/// ```
#[test]
fn profiles_are_those_of_scipy() {
    for (side, sigma, expected) in [
        (9, 2.0, &[-1.157_197, -0.635_966, 0.327_053, 1.466_11][..]),
        (12, 1.0, &[-0.981_426, -0.861_729, -0.583_343, -0.112_748, 0.670_732, 1.868_514]),
    ] {
        let found = uneven(side).radial_profile(sigma).unwrap();
        assert_eq!(found.len(), expected.len());
        for (&found, &expected) in found.iter().zip(expected) {
            assert_abs_diff_eq!(found, expected, epsilon = TOLERANCE);
        }
    }
}

#[test]
fn neither_direction_nor_scale_nor_offset_matters() {
    let volume = uneven(9);
    let profile = volume.radial_profile(2.0).unwrap();
    let at = |z: usize, y: usize, x: usize| volume.get(z, y, x).unwrap();
    let turned = (0..729).map(|index| 3.0 * at(8 - index / 9 % 9, index / 81, index % 9) + 100.0).collect();
    let turned = Volume::new(9, turned).unwrap().radial_profile(2.0).unwrap();
    for (a, b) in profile.iter().zip(&turned) {
        assert_abs_diff_eq!(*a, *b, epsilon = TOLERANCE);
    }
    let dark = Volume::new(9, volume.voxels().iter().map(|voxel| -voxel).collect()).unwrap();
    for (a, b) in profile.iter().zip(&dark.radial_profile(2.0).unwrap()) {
        assert_abs_diff_eq!(*a, -*b, epsilon = TOLERANCE);
    }
}

#[test]
fn what_has_no_profile_is_refused() {
    for sigma in [0.0, -1.0, f64::NAN, 9.5] {
        let message = told(&uneven(9).radial_profile(sigma).unwrap_err());
        assert_eq!(
            message,
            format!("invalid `sigma`: expected a number of voxels above 0 and up to the side, got {sigma}")
        );
    }
    for constant in [Volume::new(9, vec![0.1; 729]).unwrap(), Volume::new(9, vec![0.0; 729]).unwrap()] {
        let message = told(&constant.radial_profile(2.0).unwrap_err());
        assert_eq!(message, "volume: the radial profile of 9³ voxels is constant");
    }
    for side in [1, 2, 3] {
        assert!(Volume::new(side, (0..side.pow(3)).map(|v| v as f32).collect()).unwrap().radial_profile(0.5).is_err());
    }
}
