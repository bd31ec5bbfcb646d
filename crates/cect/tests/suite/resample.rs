//! Density maps as structures.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use soft_lmccl_cect::{Map, Volume, resample};

use super::{lopsided, told};

/// A map of 24³ voxels of a density given in voxels from the center.
fn map(voxel_size: f64, density: impl Fn([f64; 3]) -> f64) -> Map {
    let voxels = (0..24usize.pow(3)).map(|index| {
        let place = [index / 576, index / 24 % 24, index % 24].map(|c| c as f64 - 12.0);
        density(place) as f32
    });
    Map::from_volume(&Volume::new(24, voxels.collect()).unwrap(), voxel_size)
}

fn ball([z, y, x]: [f64; 3], radius: f64) -> f64 {
    f64::from(u8::from(z * z + y * y + x * x <= radius * radius))
}

fn total(volume: &Volume) -> f64 {
    volume.voxels().iter().map(|&v| f64::from(v)).sum()
}

fn moment(volume: &Volume, axis: usize) -> f64 {
    let side = volume.side();
    let weighted = volume.voxels().iter().enumerate().map(|(index, &voxel)| {
        let place = [index / (side * side), index / side % side, index % side][axis];
        (place as f64 - (side / 2) as f64) * f64::from(voxel)
    });
    weighted.sum::<f64>() / total(volume)
}

#[test]
fn all_density_arrives_at_the_center() {
    for voxel_size in [2.5, 5.0, 7.3, 10.0, 10.52, 13.68] {
        // Off center by fractions of a voxel that differ on each axis, and lopsided.
        let density = |[z, y, x]: [f64; 3]| ball([z - 2.3, y + 1.6, x - 0.9], 5.0) * (2.0 + 0.3 * z - 0.1 * x);
        let map = map(voxel_size, density);
        let before: f64 = map.voxels().iter().map(|&v| f64::from(v)).sum();
        let after = resample(&map, 40).unwrap();
        assert_relative_eq!(total(&after.volume), before, max_relative = 1e-5);
        for axis in 0..3 {
            // A tent integrated over coarser voxels is off by a small part of one.
            assert_abs_diff_eq!(moment(&after.volume, axis), 0.0, epsilon = 0.02);
        }
        assert!((after.radius - 5.3 * voxel_size).abs() < 0.8 * voxel_size, "{}", after.radius);
    }
}

#[test]
fn a_template_saved_as_a_map_comes_back() {
    let template = lopsided("beads");
    let map = Map::from_volume(template.volume(), 10.0);
    let volume = resample(&map, 40).unwrap().volume;
    let norm = |volume: &Volume| {
        let squares = volume.voxels().iter().map(|&v| f64::from(v).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let products = volume.voxels().iter().zip(template.volume().voxels());
    let product: f64 = products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    // The tent blurs by a voxel what is as sharp as single beads.
    let correlation = product / norm(&volume) / norm(template.volume());
    assert!(correlation > 0.9, "{correlation}");
}

#[test]
fn background_is_not_the_particle() {
    // Noise of a tenth of the contrast on a pedestal, and one bright speck in the corner.
    let noise = |[z, y, x]: [f64; 3]| (z * 12.9898 + y * 78.233 + x * 37.719).sin() * 43_758.5 % 1.0;
    let dirty = map(10.0, |p| {
        let speck = f64::from(u8::from(p[0] < -10.5 && p[1] < -10.5 && p[2] < -10.5));
        50.0 + ball(p, 6.0) + 0.1 * noise(p) + 5.0 * speck
    });
    let clean = resample(&map(10.0, |p| ball(p, 6.0)), 40).unwrap();
    let found = resample(&dirty, 40).unwrap();
    assert_relative_eq!(total(&found.volume), total(&clean.volume), max_relative = 0.03);
    assert_abs_diff_eq!(found.radius, clean.radius, epsilon = 10.0);
}

fn is_at(place: [f64; 3], voxel: [f64; 3]) -> bool {
    place.iter().zip(voxel).all(|(a, b)| (a - b).abs() < 0.5)
}

/// A block of 4³ voxels around the center, and whatever else `more` holds.
fn block([z, y, x]: [f64; 3], more: bool) -> f64 {
    f64::from(u8::from(more || [z, y, x].iter().all(|c| (-2.0..2.0).contains(c))))
}

#[test]
fn what_hangs_together_is_one_piece() {
    // Two arms of a voxel's width to each side, each too small to be a piece of its own.
    let arm = |[a, b, c]: [f64; 3]| a.abs() < 6.0 && ((b, c) == (1.0, 1.0) || (b, c) == (-1.0, -2.0));
    let jack = |[z, y, x]: [f64; 3]| block([z, y, x], arm([z, y, x]) || arm([y, x, z]) || arm([x, z, y]));
    let map = map(10.0, jack);
    let before: f64 = map.voxels().iter().map(|&v| f64::from(v)).sum();
    assert!(before > 64.0 + 12.0 * 2.0);
    assert_relative_eq!(total(&resample(&map, 40).unwrap().volume), before, max_relative = 1e-5);
}

#[test]
fn small_pieces_are_no_particle() {
    // A twentieth of the largest is a piece of the particle, less is not: 64 voxels and 4, or 3.
    for (size, kept) in [(4.0, 68.0), (3.0, 64.0)] {
        let speck = |[z, y, x]: [f64; 3]| z < 8.0 - 4.0 + size && (z >= 4.0) && (y, x) == (7.0, 7.0);
        let found = resample(&map(10.0, |p| block(p, speck(p))), 40).unwrap();
        assert_relative_eq!(total(&found.volume), kept, max_relative = 1e-5);
    }
    // Bars of twenty and of thirty voxels, and a single one, which is a twentieth of the first.
    for (length, kept) in [(20, 21.0), (21, 21.0), (30, 30.0)] {
        let bar = |[z, y, x]: [f64; 3]| {
            f64::from(u8::from(
                x == 0.0
                    && (0.0..15.0).contains(&(z + 7.0))
                    && (0.0..f64::from(length)).contains(&(15.0 * y + z + 7.0))
                    || is_at([z, y, x], [0.0, 6.0, 6.0]),
            ))
        };
        assert_relative_eq!(total(&resample(&map(10.0, bar), 40).unwrap().volume), kept, max_relative = 1e-5);
    }
}

/// What lies at opposite faces is apart, although voxels follow one another in memory.
#[test]
fn faces_of_the_box_do_not_touch() {
    for end in [-12.0, 11.0] {
        let other = -1.0 - end;
        for axis in 0..3 {
            // A block at one face, and a voxel at the other, in its row or in the next ones.
            let density = |p: [f64; 3]| {
                let in_block =
                    (0..3).all(|k| if k == axis { (p[k] - end).abs() < 4.0 } else { (-2.0..2.0).contains(&p[k]) });
                let speck = p[axis].to_bits() == f64::to_bits(other)
                    && (0..3).filter(|&k| k != axis).all(|k| p[k].abs() < 4.0)
                    && p.iter().sum::<f64>().rem_euclid(2.0) < 1.0;
                f64::from(u8::from(in_block || speck))
            };
            let found = resample(&map(10.0, density), 40).unwrap();
            assert_relative_eq!(total(&found.volume), 64.0, max_relative = 1e-5);
        }
    }
}

#[test]
fn the_faintest_is_not_the_particle() {
    for (halo, belongs) in [(1.99, false), (2.01, true)] {
        let density = |p| 200.0 * ball(p, 3.0) + halo * (ball(p, 5.0) - ball(p, 3.0));
        let (found, core) =
            (resample(&map(10.0, density), 40).unwrap(), resample(&map(10.0, |p| 200.0 * ball(p, 3.0)), 40));
        let added = total(&found.volume) - total(&core.unwrap().volume);
        assert_eq!(added > 1.0, belongs, "{halo}: {added}");
        assert_eq!(found.radius > 45.0, belongs, "{halo}: {}", found.radius);
    }
}

/// Faces padded with zeros say nothing of the noise: what lies below the background does.
#[test]
fn noise_inside_padding_is_seen() {
    let inside = |p: [f64; 3]| p.iter().all(|c| (-11.0..11.0).contains(c));
    let noise = |p: [f64; 3]| if p.iter().sum::<f64>().rem_euclid(2.0) < 1.0 { 1.0 } else { -1.0 };
    let noisy = |bright: f64| {
        map(10.0, move |p| {
            if is_at(p, [0.0; 3]) {
                bright
            } else if inside(p) {
                noise(p)
            } else {
                0.0
            }
        })
    };
    assert_eq!(
        told(&resample(&noisy(4.9), 40).unwrap_err()),
        "volume: no particle stands out: the brightest voxel is 4.900 above a background that varies by 1.000"
    );
    // Five spreads are enough, and the noise, which does not rise three, is left out.
    assert_relative_eq!(total(&resample(&noisy(5.0), 40).unwrap().volume), 5.0, max_relative = 1e-5);
}

#[test]
fn maps_that_cannot_serve_say_why() {
    for (map, message) in [
        (
            map(0.0, |p| ball(p, 5.0)),
            "volume: the header gives a voxel size of 0 × 0 × 0 Å; it must be known for resampling",
        ),
        (
            map(10.0, |_| 3.0),
            "volume: no particle stands out: the brightest voxel is 0.000 above a background that varies by 0.000",
        ),
        (
            map(10.0, |p| (p[0] * 0.9).sin() + (p[1] * 0.8).cos()),
            "volume: no particle stands out: the brightest voxel is 2.145 above a background that \
             varies by 1.060",
        ),
        (
            map(10.0, |p| 4.0 - ball(p, 5.0)),
            "volume: the particle seems darker than the background (-1.000 below it, 0.000 above): \
             invert the contrast of the map",
        ),
        (
            map(60.0, |p| ball(p, 8.0)),
            "invalid `side`: expected 112 or more voxels of 10 Å for this map, 1024 at most, got 40",
        ),
    ] {
        assert_eq!(told(&resample(&map, 40).unwrap_err()), message);
    }
    let large = map(60.0, |p| ball(p, 8.0));
    for side in [usize::MAX, 1025, 111] {
        let message = told(&resample(&large, side).unwrap_err());
        assert!(message.ends_with(&format!("1024 at most, got {side}")), "{message}");
    }
    assert_eq!(resample(&large, 112).unwrap().volume.side(), 112);
}
