//! Particles made of others.

use soft_lmccl_cect::{
    InventConfig, Scatterer, SimulationConfig, TEMPLATE_SIDE, Template, Volume, catalogue, cramped, invent,
};

use super::lopsided;

/// What points for voxels, Gaussians for points and voxels for Gaussians add to the variance along an axis, in squared
/// voxels: a quarter voxel either way, σ, and the width of a voxel.
const WIDER: f64 = 1.0 / 16.0 + 1.0 / 12.0 + 1.0 / 12.0;

/// The fringe left out changes moments by so much.
const MOMENTS_REL: f64 = 0.05;

/// Sums of single precision.
const ELECTRONS_REL: f64 = 1e-4;

/// Of the densest voxel: what has less is left out.
const FRINGE: f32 = 0.03;

fn electrons(volume: &Volume) -> f64 {
    volume.voxels().iter().map(|&voxel| f64::from(voxel)).sum()
}

/// Without the fringe.
fn kept(volume: &Volume) -> f64 {
    let densest = volume.voxels().iter().copied().fold(0.0, f32::max);
    volume.voxels().iter().filter(|&&voxel| voxel > FRINGE * densest).map(|&voxel| f64::from(voxel)).sum()
}

/// Voxels and where they lie from the center of the box.
fn points(volume: &Volume) -> impl Iterator<Item = ([f64; 3], f64)> {
    let side = volume.side();
    let place = move |index: usize| {
        [index % side, index / side % side, index / (side * side)].map(|at| at as f64 - (side / 2) as f64)
    };
    volume.voxels().iter().enumerate().map(move |(index, &voxel)| (place(index), f64::from(voxel)))
}

/// `Σ ρ·r·|r|^power`, per electron.
fn vector(volume: &Volume, power: i32) -> [f64; 3] {
    let (mut sum, all) = ([0.0; 3], electrons(volume));
    for (r, density) in points(volume) {
        let weight = density / all * r.iter().map(|c| c * c).sum::<f64>().sqrt().powi(power);
        for (sum, c) in sum.iter_mut().zip(r) {
            *sum += weight * c;
        }
    }
    sum
}

fn determinant([a, b, c]: [[f64; 3]; 3]) -> f64 {
    let cross = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]];
    a.iter().zip(cross).map(|(x, y)| x * y).sum()
}

/// What no rotation changes: the trace and the determinant of the second moments, with a variance added, and a triple
/// product, which a mirror turns round.
fn invariants(volume: &Volume, wider: f64) -> [f64; 3] {
    let (mut moments, all) = ([[0.0; 3]; 3], electrons(volume));
    for (r, density) in points(volume) {
        for row in 0..3 {
            for column in 0..3 {
                moments[row][column] += density / all * r[row] * r[column];
            }
        }
    }
    for (axis, row) in moments.iter_mut().enumerate() {
        row[axis] += wider;
    }
    let times = |v: [f64; 3]| moments.map(|row| row.iter().zip(v).map(|(m, c)| m * c).sum());
    let first = vector(volume, 1);
    let handedness = determinant([first, times(first), times(times(first))]);
    [moments[0][0] + moments[1][1] + moments[2][2], determinant(moments), handedness]
}

/// Most of a turn of a flattened spiral, denser towards one end: not its mirror image, however turned.
fn helix() -> Template {
    let beads: Vec<_> = (0..200)
        .map(|step| {
            let (along, (sin, cos)) = (f64::from(step) / 200.0, (f64::from(step) / 40.0).sin_cos());
            Scatterer { position: [70.0 * cos, 45.0 * sin, 160.0 * along], electrons: 50.0 + 150.0 * along }
        })
        .collect();
    Template::new("helix", &beads).unwrap()
}

fn turned_only() -> InventConfig {
    InventConfig { stretch: 0.0, assembled: 0.0, ..Default::default() }
}

#[test]
fn a_particle_depends_on_its_seed_and_index_alone() {
    let known = catalogue::templates();
    let (few, more) = (invent(&known, 3, Default::default(), 5).unwrap(), invent(&known, 6, Default::default(), 5));
    assert_eq!(few, more.unwrap()[..3]);
    let other = invent(&known, 3, Default::default(), 6).unwrap();
    assert!(few.iter().zip(&other).all(|(a, b)| a.volume() != b.volume()));
    assert_eq!(invent(&known, 0, Default::default(), 5).unwrap(), []);
}

#[test]
fn every_particle_fits_and_lies_at_the_center() {
    let config = InventConfig { largest: 120.0, ..Default::default() };
    let made = invent(&catalogue::templates(), 24, config, 2).unwrap();
    for template in &made {
        assert!(template.radius() <= 120.0 + 1e-9, "{}: {}", template.name(), template.radius());
        assert_eq!(template.volume().side(), TEMPLATE_SIDE);
        assert!(template.side_needed() <= TEMPLATE_SIDE);
        assert!(vector(template.volume(), 0).iter().all(|c| c.abs() < 1e-3), "{}", template.name());
    }
    let shapes: Vec<f64> = made.iter().map(|template| invariants(template.volume(), 0.0)[1]).collect();
    for (index, shape) in shapes.iter().enumerate() {
        let alike = shapes.iter().filter(|other| (*other / shape - 1.0).abs() < 1e-3).count();
        assert_eq!(alike, 1, "{}", made[index].name());
    }
    let assembled = made.iter().filter(|template| template.source().contains(" of ")).count();
    assert!((6..=18).contains(&assembled), "{assembled}");
}

/// What the documentation of `InventConfig::largest` says of its default.
#[test]
fn the_largest_have_no_room_for_a_shift_in_a_box_of_32_voxels() {
    let templates = catalogue::templates();
    let known: Vec<_> = catalogue::split().known().iter().map(|class| templates[class.0 as usize].clone()).collect();
    let made = invent(&known, 12, Default::default(), 1).unwrap();
    let shifted = SimulationConfig { side: 32, ..Default::default() };
    assert!(cramped(&made, &SimulationConfig { max_shift: 0.0, ..shifted }).is_empty());
    assert_eq!(cramped(&made, &shifted).len(), made.iter().filter(|template| template.radius() > 141.0).count());
    assert!((3..=9).contains(&cramped(&made, &shifted).len()), "about half");
}

/// Without stretching it is the parent in another pose, or its mirror image.
#[test]
fn turning_and_mirroring_keep_the_shape() {
    let parent = helix();
    let [trace, determinant, handedness] = invariants(parent.volume(), WIDER);
    let made = invent(std::slice::from_ref(&parent), 12, turned_only(), 3).unwrap();
    let mut mirrored = 0;
    for template in &made {
        let [a, b, c] = invariants(template.volume(), 0.0);
        assert!((a / trace - 1.0).abs() < MOMENTS_REL, "{a} for {trace}");
        assert!((b / determinant - 1.0).abs() < 3.0 * MOMENTS_REL, "{b} for {determinant}");
        assert!((c.abs() / handedness.abs() - 1.0).abs() < 0.3, "{c} for {handedness}");
        assert!((electrons(template.volume()) / kept(parent.volume()) - 1.0).abs() < ELECTRONS_REL);
        mirrored += usize::from(c * handedness < 0.0);
    }
    assert!((2..=10).contains(&mirrored), "{mirrored} of 12 mirrored");
    let stretched = InventConfig { stretch: 0.3, ..turned_only() };
    let other = |template: &&Template| (invariants(template.volume(), 0.0)[0] / trace - 1.0).abs() > MOMENTS_REL;
    assert!(invent(&[parent], 12, stretched, 3).unwrap().iter().filter(other).count() >= 8);
}

/// The name of a symmetry says how many copies there are.
#[test]
fn an_assembly_has_as_many_copies_as_its_symmetry() {
    let parent = lopsided("part");
    let config = InventConfig { stretch: 0.0, assembled: 1.0, ..Default::default() };
    let mut folds = std::collections::HashSet::new();
    for template in invent(std::slice::from_ref(&parent), 24, config, 4).unwrap() {
        let symmetry = template.source().split(' ').next().unwrap().to_owned();
        let fold: f64 = symmetry[1..].parse().unwrap();
        let copies = if symmetry.starts_with('D') { 2.0 * fold } else { fold };
        let ratio = electrons(template.volume()) / kept(parent.volume());
        assert!((ratio / copies - 1.0).abs() < ELECTRONS_REL, "{symmetry}: {ratio}");
        folds.insert(symmetry);
    }
    assert!(!folds.contains("C1"));
    assert!(folds.len() >= 6, "{folds:?}");
    // Nothing small enough: no assemblies.
    let none = InventConfig { largest_part: 10.0, ..config };
    assert!(invent(&[parent], 3, none, 4).unwrap().iter().all(|template| template.source() == "part, stretched"));
}

/// Copies of a ball lie as far from one another as is documented, in its radii.
#[test]
fn copies_touch_their_neighbors() {
    let ball: Vec<_> = (0..9usize.pow(3))
        .map(|index| [index % 9, index / 9 % 9, index / 81].map(|c| 6.0 * (c as f64 - 4.0)))
        .filter(|place| place.iter().map(|c| c * c).sum::<f64>() <= 24.5 * 24.5)
        .map(|position| Scatterer { position, electrons: 10.0 })
        .collect();
    let parent = Template::new("ball", &ball).unwrap();
    let config = InventConfig { stretch: 0.0, assembled: 1.0, largest: 180.0, ..Default::default() };
    // The parent as points: its own moment, and how far the farthest lies.
    let densest = parent.volume().voxels().iter().copied().fold(0.0, f32::max);
    let kept = parent.volume().voxels().iter().map(|&voxel| if voxel > FRINGE * densest { voxel } else { 0.0 });
    let kept = Volume::new(parent.volume().side(), kept.collect()).unwrap();
    let own = invariants(&kept, WIDER)[0];
    let farthest = points(&kept)
        .filter(|&(_, density)| density > 0.0)
        .map(|(place, _)| place.iter().map(|c| (c.abs() + 0.25).powi(2)).sum::<f64>());
    let radius_squared = farthest.fold(0.0, f64::max);
    let mut seen = [0; 3];
    for template in invent(std::slice::from_ref(&parent), 60, config, 4).unwrap() {
        let symmetry = template.source().split(' ').next().unwrap();
        let fold: f64 = symmetry[1..].parse().unwrap();
        let (dihedral, sine) = (symmetry.starts_with('D'), (std::f64::consts::PI / fold).sin());
        // How far the copies' centers lie from that of the assembly: outward and up. Of two about an axis across it,
        // outward is along that axis, the same for both.
        let found = (invariants(template.volume(), 0.0)[0] - own) / radius_squared;
        let (least, most) = if fold > 1.0 { ((0.5 / sine).powi(2), (0.95 / sine).powi(2)) } else { (0.0, 0.0) };
        let (up_least, up_most) = if dihedral { (0.45f64.powi(2), 0.95f64.powi(2)) } else { (0.0, 0.0) };
        // A bit more for what the center of the points lies off that of the atoms.
        assert!(found > least + up_least - 0.02 && found < most + up_most + 0.02, "{symmetry}: {found}");
        seen[if !dihedral { 0 } else { 1 + usize::from(fold > 1.0) }] += 1;
    }
    assert!(seen.iter().all(|&count| count > 3), "{seen:?}");
}

/// Pins what the numbers become: a change of the order of draws or of a sign would change every invented class.
#[test]
fn inventions_are_those_of_every_version() {
    let config = InventConfig { assembled: 0.7, ..Default::default() };
    let made = invent(&[lopsided("part"), helix()], 8, config, 6).unwrap();
    let expected = [
        ("D2 of part, stretched", 86.861, 4.55),
        ("part, stretched", 56.347, -1.41),
        ("D3 of part, stretched", 90.996, 0.0),
        ("D1 of part, stretched", 93.316, -4.9),
        ("part, stretched", 55.118, 3.69),
        ("D3 of part, stretched", 90.147, 0.03),
        ("D2 of part, stretched", 84.742, -0.13),
        ("part, stretched", 47.084, 1.51),
    ];
    assert_eq!(made.len(), expected.len());
    for (template, (source, radius, odd)) in made.iter().zip(expected) {
        // A third moment, which tells a shape from its mirror image.
        let sum: f64 = points(template.volume()).map(|([x, y, z], density)| density * x * (y + 2.0 * z) * z).sum();
        assert_eq!(template.source(), source);
        assert!((template.radius() - radius).abs() < 1e-3, "{source}: {}", template.radius());
        assert!((sum / electrons(template.volume()) - odd).abs() < 0.02, "{source}: {sum}");
    }
}

#[test]
fn refusals() {
    let known = [lopsided("parent")];
    let refused = |parents: &[Template], config| invent(parents, 1, config, 1).unwrap_err().to_string();
    let message = "invalid `parents`: expected at least one density, got none";
    assert_eq!(refused(&[], InventConfig::default()), message);
    assert_eq!(invent(&[], 0, InventConfig::default(), 1).unwrap_err().to_string(), message);
    let default = InventConfig::default();
    for (config, message) in [
        (InventConfig { stretch: -0.1, ..default }, "invalid `stretch`: expected 0 to 1, got -0.1"),
        (InventConfig { stretch: f64::NAN, ..default }, "invalid `stretch`: expected 0 to 1, got NaN"),
        (InventConfig { assembled: 1.5, ..default }, "invalid `assembled`: expected 0 to 1, got 1.5"),
        (InventConfig { largest_part: -1.0, ..default }, "invalid `largest_part`: expected 0 to 10000 Å, got -1"),
        (InventConfig { largest: 200.0, ..default }, "invalid `largest`: expected 10 to 180 Å, got 200"),
    ] {
        assert_eq!(refused(&known, config), message);
    }
}
