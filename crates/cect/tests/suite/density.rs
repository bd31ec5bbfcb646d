//! Electrons to voxels.

use std::fs;

use approx::{assert_abs_diff_eq, assert_relative_eq};
use proptest::prelude::*;
use serde::Deserialize;
use soft_lmccl_cect::{AssemblyChoice, Extent, Scatterer, Structure, Template, Volume, density, read_beads};

use super::{fixture, gzip, told};

/// Voxels are `f32`, and five voxels a side leave out less than 1e-6 of an atom.
const VOXEL_REL: f64 = 3e-6;

fn scatterer(x: f64, y: f64, z: f64, electrons: f64) -> Scatterer {
    Scatterer { position: [x, y, z], electrons }
}

fn total(volume: &Volume) -> f64 {
    volume.voxels().iter().map(|&v| f64::from(v)).sum()
}

#[derive(Deserialize)]
struct Reference {
    side: usize,
    electrons: f64,
    voxels: Vec<f64>,
}

/// `density.py` beside the fixture computes the same density from atoms written out by hand.
#[test]
fn an_independent_program_finds_the_same_density() {
    let text = fs::read_to_string(fixture("dimer.json")).unwrap();
    let reference: Reference = serde_json::from_str(&text).unwrap();
    let structure = Structure::open(fixture("dimer.cif"), AssemblyChoice::First).unwrap();
    let volume = density(structure.scatterers(), reference.side).unwrap();
    assert_relative_eq!(total(&volume), reference.electrons, max_relative = VOXEL_REL);
    for (found, expected) in volume.voxels().iter().zip(&reference.voxels) {
        assert_abs_diff_eq!(f64::from(*found), *expected, epsilon = VOXEL_REL * reference.electrons);
    }
    assert!(reference.voxels.iter().any(|&voxel| voxel > 10.0));
}

#[test]
fn axes_are_z_y_x() {
    // Heavy at the center of mass; light ones far out, at another distance on each axis.
    let arms = [(10.0, 0, 3), (20.0, 1, 2), (30.0, 2, 1)];
    let mut atoms = vec![scatterer(0.0, 0.0, 0.0, 1e7)];
    for (distance, axis, electrons) in arms {
        let mut position = [0.0; 3];
        position[axis] = distance;
        atoms.push(Scatterer { position, electrons: 1000.0 * f64::from(electrons) });
    }
    let volume = density(&atoms, 10).unwrap();
    let light = |z, y, x| volume.get(z, y, x).unwrap();
    // A Gaussian of sigma 0.289 voxels leaves (2Φ(1.732) − 1)³ = 0.7704 of itself in its voxel.
    assert_relative_eq!(light(5, 7, 5), 0.7704 * 2000.0, max_relative = 2e-3);
    assert_relative_eq!(light(8, 5, 5), 0.7704 * 1000.0, max_relative = 2e-3);
}

#[test]
fn what_does_not_fit_is_refused_with_what_it_needs() {
    let atoms = [scatterer(0.0, 0.0, 0.0, 6.0), scatterer(150.0, 0.0, 0.0, 6.0)];
    let needed = Extent::of(&atoms).unwrap().side_needed();
    assert_eq!(needed, 18);
    assert!(density(&atoms, needed).is_ok());
    let message = density(&atoms, needed - 1).unwrap_err().to_string();
    assert_eq!(message, "invalid `side`: expected 18 or more voxels of 10 Å for this structure, 1024 at most, got 17");
    for side in [usize::MAX, 1025] {
        let message = density(&atoms, side).unwrap_err().to_string();
        assert!(message.ends_with(&format!("1024 at most, got {side}")), "{message}");
    }
}

/// Atoms at the border lose what lies beyond it and no more.
#[test]
fn a_tight_box_cuts_a_larger_one() {
    // At the lower end an atom lies 1.42 voxels from the first center, as near as it may.
    for place in [25.8, 25.0, 23.0] {
        let atoms = [scatterer(-place, place, -place, 6.0), scatterer(place, -place, place, 6.0)];
        assert_eq!(Extent::of(&atoms).unwrap().side_needed(), 8);
        let (tight, large) = (density(&atoms, 8).unwrap(), density(&atoms, 16).unwrap().centered(8).unwrap());
        for (tight, large) in tight.voxels().iter().zip(large.voxels()) {
            assert_abs_diff_eq!(*tight, *large, epsilon = 1e-6);
        }
    }
}

#[test]
fn what_has_no_density_is_refused() {
    for (atoms, message) in [
        (vec![], "volume: no electrons, so no density"),
        (vec![scatterer(1.0, 2.0, 3.0, 0.0)], "volume: no electrons, so no density"),
        (
            vec![scatterer(0.0, 0.0, 0.0, 1.0), scatterer(f64::NAN, 0.0, 0.0, 1.0)],
            "volume: scatterer 1 lies at [NaN, 0.0, 0.0] with 1 electrons",
        ),
        (
            vec![scatterer(0.0, 0.0, 0.0, 1.0), scatterer(0.0, -1e300, 0.0, 1.0)],
            &format!("volume: scatterer 1 lies at [0.0, {:?}, 0.0] with 1 electrons", -1e300),
        ),
        (
            vec![scatterer(0.0, 0.0, 0.0, 9e11), scatterer(9.0, 0.0, 0.0, 9e11)],
            "volume: 1.8e12 electrons are more than any structure has",
        ),
        (vec![scatterer(0.0, 0.0, 0.0, -1.0)], "volume: scatterer 0 lies at [0.0, 0.0, 0.0] with -1 electrons"),
        (vec![scatterer(0.0, 0.0, 1e6, 1.0)], "volume: scatterer 0 lies at [0.0, 0.0, 1000000.0] with 1 electrons"),
    ] {
        assert_eq!(density(&atoms, 40).unwrap_err().to_string(), message);
    }
    // The bounds themselves: less than a million Å, 10¹² electrons.
    Extent::of(&[scatterer(0.0, -999_999.9, 0.0, 4e11), scatterer(0.0, 0.0, 0.0, 6e11)]).unwrap();
}

#[test]
fn bead_tables_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("beads.tsv.gz");
    fs::write(&path, gzip(b"# x y z electrons\n1.5\t-2 3e1 38\n\n 0 0 0 0.5 # last\n")).unwrap();
    let beads = read_beads(&path).unwrap();
    assert_eq!(beads, [scatterer(1.5, -2.0, 30.0, 38.0), scatterer(0.0, 0.0, 0.0, 0.5)]);
    for (text, problem) in [
        ("# nothing\n", "holds no beads"),
        ("1 2 3\n", "line 1: expected `x y z electrons`, got `1 2 3`"),
        ("1 2 3 4\n1 2 3 4 5\n", "line 2: expected `x y z electrons`, got `1 2 3 4 5`"),
        ("1 2 NaN 4\n", "line 1: expected `x y z electrons`, got `1 2 NaN 4`"),
        ("1 2 3 -4\n", "line 1: expected `x y z electrons`, got `1 2 3 -4`"),
    ] {
        fs::write(&path, text).unwrap();
        let message = told(&read_beads(&path).unwrap_err());
        assert_eq!(message, format!("{}: {problem}", path.display()));
    }
}

fn clouds() -> impl Strategy<Value = Vec<Scatterer>> {
    let coordinate = || -60.0..60.0f64;
    let atom = (coordinate(), coordinate(), coordinate(), 0.5..100.0f64);
    prop::collection::vec(atom.prop_map(|(x, y, z, e)| scatterer(x, y, z, e)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_electron_is_lost(atoms in clouds()) {
        let electrons: f64 = atoms.iter().map(|atom| atom.electrons).sum();
        let side = Extent::of(&atoms).unwrap().side_needed();
        let template = Template::with_side("atoms", &atoms, side).unwrap();
        assert!(template.side_needed() >= side);
        let volume = density(&atoms, side).unwrap();
        // At the tightest box an atom may have up to three sigma outside: 0.13 % on one side.
        assert_relative_eq!(total(&volume), electrons, max_relative = 2e-3);
        let volume = density(&atoms, side + 2).unwrap();
        assert_relative_eq!(total(&volume), electrons, max_relative = VOXEL_REL);
    }

    #[test]
    fn where_the_origin_lies_does_not_matter(atoms in clouds(), shift in prop::array::uniform3(-500.0..500.0f64)) {
        let moved: Vec<_> = atoms
            .iter()
            .map(|atom| Scatterer {
                position: std::array::from_fn(|k| atom.position[k] + shift[k]),
                ..*atom
            })
            .collect();
        let (first, second) = (density(&atoms, 40).unwrap(), density(&moved, 40).unwrap());
        for (a, b) in first.voxels().iter().zip(second.voxels()) {
            assert_abs_diff_eq!(*a, *b, epsilon = 1e-4);
        }
    }
}
