//! Rotations are uniform, shifts stay in their range, and both end up in the volume.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use soft_lmccl_cect::{Pose, Scatterer, SimulationConfig, Simulator, Template, Volume};

use super::{lopsided, plain};

const DRAWS: usize = 20_000;

/// Single precision in coordinates and transforms, of voxels of up to 200 electrons.
const READ_ABS: f64 = 5e-3;

fn poses() -> Vec<Pose> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    (0..DRAWS).map(|_| Pose::random(1.5, &mut rng)).collect()
}

#[test]
fn matrices_are_rotations() {
    for pose in &poses()[..100] {
        let m = pose.matrix();
        for (i, row) in m.iter().enumerate() {
            for (j, other) in m.iter().enumerate() {
                let product: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                assert_abs_diff_eq!(product, f64::from(u8::from(i == j)), epsilon = 1e-12);
            }
        }
        let minor = |i: usize, j: usize| m[1][i] * m[2][j] - m[1][j] * m[2][i];
        let determinant = m[0][0] * minor(1, 2) - m[0][1] * minor(0, 2) + m[0][2] * minor(0, 1);
        assert_abs_diff_eq!(determinant, 1.0, epsilon = 1e-12);
    }
}

#[test]
fn rotations_are_uniform() {
    let matrices: Vec<_> = poses().iter().map(Pose::matrix).collect();
    // Each entry has mean 0 and variance 1/3; five standard errors.
    for row in 0..3 {
        for column in 0..3 {
            let mean: f64 = matrices.iter().map(|m| m[row][column]).sum::<f64>() / DRAWS as f64;
            assert_abs_diff_eq!(mean, 0.0, epsilon = 5.0 * (1.0 / 3.0 / DRAWS as f64).sqrt());
        }
    }
    // Kolmogorov-Smirnov: the angle has the distribution (θ − sin θ)/π, each entry is uniform in
    // ±1 (Archimedes). The 1e-6 point of the statistic is 2.7/√n.
    let limit = 2.7 / (DRAWS as f64).sqrt();
    let statistic = |mut values: Vec<f64>, cdf: &dyn Fn(f64) -> f64| {
        values.sort_by(f64::total_cmp);
        values
            .iter()
            .enumerate()
            .map(|(rank, &value)| (cdf(value) - (rank as f64 + 0.5) / DRAWS as f64).abs())
            .fold(0.0, f64::max)
    };
    let angle = |m: &[[f64; 3]; 3]| {
        let trace = m[0][0] + m[1][1] + m[2][2];
        ((trace - 1.0) / 2.0).clamp(-1.0, 1.0).acos()
    };
    let angles =
        statistic(matrices.iter().map(angle).collect(), &|theta: f64| (theta - theta.sin()) / std::f64::consts::PI);
    assert!(angles < limit, "{angles}");
    let heights = statistic(matrices.iter().map(|m| m[2][2]).collect(), &|z| (z + 1.0) / 2.0);
    assert!(heights < limit, "{heights}");
}

#[test]
fn shifts_fill_their_range() {
    for axis in 0..3 {
        let shifts: Vec<f64> = poses().iter().map(|pose| pose.shift[axis]).collect();
        assert!(shifts.iter().all(|shift| shift.abs() <= 1.5));
        let spread = shifts.iter().map(|s| s * s).sum::<f64>() / DRAWS as f64;
        assert_abs_diff_eq!(spread, 1.5f64.powi(2) / 3.0, epsilon = 0.02);
    }
}

/// Center of mass `[x, y, z]` of the darkness within `radius` of a place, and the darkness there;
/// in voxels from the center of the box.
fn center(volume: &Volume, place: [f64; 3], radius: f64) -> ([f64; 3], f64) {
    let side = volume.side();
    let mut moment = [0.0; 3];
    let mut weight = 0.0;
    for (index, &voxel) in volume.voxels().iter().enumerate() {
        let position = [index % side, index / side % side, index / (side * side)].map(|c| c as f64 - (side / 2) as f64);
        let squares: f64 = (0..3).map(|k| (position[k] - place[k]).powi(2)).sum();
        if squares <= radius * radius {
            weight -= f64::from(voxel);
            for (sum, c) in moment.iter_mut().zip(position) {
                *sum -= f64::from(voxel) * c;
            }
        }
    }
    (moment.map(|sum| sum / weight), weight)
}

#[test]
fn the_particle_lies_as_its_pose_says() {
    let template = lopsided("beads");
    // The heaviest clump, relative to the center of mass, in voxels.
    let heavy = [-2.0 + 500.0 / 1800.0, -850.0 / 1800.0, -750.0 / 1800.0];
    for (side, voxel_size) in [(16, 10.0), (17, 10.0), (20, 8.0), (16, 12.5)] {
        let simulator = Simulator::new(plain(side, voxel_size)).unwrap();
        for index in 0..8 {
            let parts = simulator.parts(&template, 5, index).unwrap();
            let zoom = 10.0 / voxel_size;
            let (all, electrons) = center(&parts.signal, [0.0; 3], 100.0);
            for (found, expected) in all.iter().zip(parts.pose.shift) {
                // Clumps are sharp beside a voxel, so that interpolation moves them a little.
                assert_abs_diff_eq!(*found, expected, epsilon = 0.15);
            }
            assert_relative_eq!(electrons, 1800.0 * zoom.powi(3), max_relative = 0.15);
            // The heaviest clump is where its rotation and shift take it: half of all electrons.
            let matrix = parts.pose.matrix();
            let expected: [f64; 3] = std::array::from_fn(|axis| {
                let turned: f64 = (0..3).map(|k| matrix[axis][k] * heavy[k]).sum();
                turned * zoom + parts.pose.shift[axis]
            });
            let (found, electrons) = center(&parts.signal, expected, 2.0 * zoom);
            for (found, expected) in found.iter().zip(expected) {
                assert_abs_diff_eq!(*found, expected, epsilon = 0.15);
            }
            assert_relative_eq!(electrons, 900.0 * zoom.powi(3), max_relative = 0.15);
        }
    }
}

/// Each voxel is read from the template where rotation and shift say, between its eight neighbors there, or is empty
/// where they are not all in the template.
#[test]
fn every_voxel_is_read_where_the_pose_says() {
    // A dumbbell as well, whose radius of 41.5 Å and an atom's 9 Å are just more than a whole number of voxels.
    let dumbbell = [[0.0, 0.0, 0.0], [40.0, 10.0, 5.0], [-40.0, -10.0, -5.0]]
        .map(|position| Scatterer { position, electrons: 200.0 });
    // And one that touches the border of its own box.
    let tight = [[25.0, 25.0, 25.0], [-25.0, 0.0, 0.0], [0.0, -25.0, -25.0]]
        .map(|position| Scatterer { position, electrons: 200.0 });
    let templates = [
        (lopsided("beads"), vec![(16, 10.0), (17, 8.0), (12, 14.0)]),
        (Template::with_side("dumbbell", &dumbbell, 16).unwrap(), vec![(16, 10.0), (17, 8.0), (12, 14.0)]),
        (Template::with_side("tight", &tight, 8).unwrap(), vec![(8, 10.0), (9, 10.0), (16, 8.0)]),
    ];
    for (template, boxes) in templates {
        let from = template.volume();
        let (edge, middle) = (from.side() as isize, from.side() as isize / 2);
        let at = |[x, y, z]: [isize; 3]| from.get(z as usize, y as usize, x as usize).map_or(0.0, f64::from);
        for (side, voxel_size) in boxes {
            let config = SimulationConfig { max_shift: side as f64 / 4.0, ..plain(side, voxel_size) };
            let simulator = Simulator::new(config).unwrap();
            for index in 0..4 {
                let parts = simulator.parts(&template, 7, index).unwrap();
                let (matrix, shift) = (parts.pose.matrix(), parts.pose.shift);
                for (place, &voxel) in parts.signal.voxels().iter().enumerate() {
                    let box_place = [place % side, place / side % side, place / (side * side)];
                    let offset: [f64; 3] = std::array::from_fn(|k| box_place[k] as f64 - (side / 2) as f64 - shift[k]);
                    let read: [f64; 3] = std::array::from_fn(|k| {
                        let turned_back: f64 = (0..3).map(|row| matrix[row][k] * offset[row]).sum();
                        turned_back * voxel_size / 10.0 + middle as f64
                    });
                    let mut expected = 0.0;
                    let inside = read.iter().all(|c| (0.0..=(edge - 1) as f64).contains(c));
                    for corner in (0..8).filter(|_| inside) {
                        let step: [isize; 3] = std::array::from_fn(|k| corner >> k & 1);
                        let parts = (0..3).map(|k| {
                            let part = read[k] - read[k].floor();
                            if step[k] == 1 { part } else { 1.0 - part }
                        });
                        let near = std::array::from_fn(|k| read[k].floor() as isize + step[k]);
                        expected += parts.product::<f64>() * at(near);
                    }
                    assert_abs_diff_eq!(f64::from(voxel), -expected, epsilon = READ_ABS);
                }
            }
        }
    }
}
