//! Places in tomograms: tables of them, and boxes cut out around them.

use std::{fs, path::PathBuf};

use soft_lmccl_cect::{CandidateTable, Contrast, Map, SimulationConfig, Simulator, Volume, catalogue, extract};
use tempfile::TempDir;

use super::told;

fn written(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

const SHAPE: [usize; 3] = [30, 40, 50];

#[test]
fn a_place_is_the_same_in_every_format() {
    let folder = TempDir::new().unwrap();
    // x = 12, y = 8.5, z = 20 in voxels of 10 Å.
    for (name, text) in [
        ("voxels.csv", "x,y,z\n12,8.5,20\n"),
        ("named.tsv", "rlnCoordinateX\trlnCoordinateY\trlnCoordinateZ\n12\t8.5\t20\n"),
        (
            "relion4.star",
            "data_optics\nloop_\n_rlnTomoTiltSeriesPixelSize #1\n2.5\n\ndata_particles\nloop_\n_rlnCoordinateX #1\n\
          _rlnCoordinateY #2\n_rlnCoordinateZ #3\n_rlnTomoName #4\n48 34 80 TS_1\n",
        ),
        (
            "relion5.star",
            "data_particles\nloop_\n_rlnTomoName #1\n_rlnCenteredCoordinateXAngst #2\n\
          _rlnCenteredCoordinateYAngst #3\n_rlnCenteredCoordinateZAngst #4\nTS_1 -130 -115 50\n",
        ),
        (
            "pytom.star",
            "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n_rlnLCCmax #4\n\
          _rlnDetectorPixelSize #5\n_rlnMicrographName #6\n9.0 6.375 15.0 0.31 13.3333333 TS_1\n",
        ),
        (
            "shifted.star",
            "data_particles\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n_rlnOriginXAngst #4\n\
          _rlnOriginYAngst #5\n_rlnOriginZAngst #6\n13 8.5 19 10 0 -10\n",
        ),
    ] {
        let table = CandidateTable::open(written(&folder, name, text)).unwrap();
        let [place] = table.places(SHAPE, 10.0, None)[..] else { panic!("{name}") };
        for (found, expected) in place.into_iter().zip([20.0, 8.5, 12.0]) {
            assert!((found - expected).abs() < 1e-6, "{name}: {place:?}");
        }
        let named = name.contains("relion") || name.contains("pytom");
        assert_eq!(table.candidates()[0].tomogram.as_deref(), named.then_some("TS_1"), "{name}");
    }
    let table = CandidateTable::open(written(&folder, "unit.csv", "x,y,z,class\n24,17,40,a\n")).unwrap();
    assert_eq!(table.places(SHAPE, 10.0, Some(5.0)), [[20.0, 8.5, 12.0]]);
    assert_eq!(table.candidates()[0].label.as_deref(), Some("a"));
}

#[test]
fn tables_come_back_with_what_was_found_and_nothing_else_changed() {
    let folder = TempDir::new().unwrap();
    let columns =
        [("score", vec!["0.5".to_owned(), "-".to_owned()]), ("class", vec!["b".to_owned(), "c d".to_owned()])];
    let csv =
        CandidateTable::open(written(&folder, "a.csv", "# picked\nx,class,y,z\n1,a,2,3\n4,\"a, too\",5,6\n")).unwrap();
    assert_eq!(csv.annotated(&columns, |_| true).unwrap(), "# picked\nx,class,y,z,score\n1,b,2,3,0.5\n4,c d,5,6,-\n");
    assert_eq!(csv.annotated(&columns, |row| row == 1).unwrap(), "# picked\nx,class,y,z,score\n4,c d,5,6,-\n");
    let text = "data_general\n_rlnTomoSubTomosAre2DStacks 0\n\ndata_particles\nloop_\n_x #1\n_y #2\n_z #3\n1 2 3\n4 5 6 # late\n";
    let star = CandidateTable::open(written(&folder, "a.star", text)).unwrap();
    let found = star.annotated(&columns, |row| row == 1).unwrap();
    assert_eq!(
        found,
        "data_general\n_rlnTomoSubTomosAre2DStacks 0\n\ndata_particles\nloop_\n_x #1\n_y #2\n_z #3\n_score #4\n_class #5\n\
         4 5 6 - \"c d\"\n"
    );
    let message = told(&star.annotated(&[("a b", vec![String::new(); 2])], |_| true).unwrap_err());
    assert_eq!(message, "invalid `columns`: expected names of one word, got `a b`");
    let message = told(&csv.annotated(&[("a", vec![String::new()])], |_| true).unwrap_err());
    assert_eq!(message, "invalid `columns`: expected 2 values, one for each row, got 1");
}

#[test]
fn what_is_no_table_of_places_is_told_with_its_line() {
    let folder = TempDir::new().unwrap();
    for (name, text, message) in [
        ("a.csv", "x,y\n1,2\n", "the header has no columns for places"),
        ("b.csv", "x,y,z\n1,2,3\n1,2,nan\n", "line 3: `nan` is no number"),
        ("c.csv", "x,y,z\n1,2\n", "line 2: expected 3 fields as in the header, got 2"),
        ("d.csv", "x,y,z\n", "names no places"),
        ("e.star", "data_\nloop_\n_x\n_y\n1 2\n", "the block `data_` has no columns for places"),
        ("f.mrc", "x,y,z\n", "expected .csv, .tsv, .txt or .star"),
        (
            "g.csv",
            "x,y,z,rlnCenteredCoordinateXAngst,rlnCenteredCoordinateYAngst,rlnCenteredCoordinateZAngst\n1,2,3,4,5,6\n",
            "has places both centered and from the corner",
        ),
        (
            "h.csv",
            "x,y,z,rlnDetectorPixelSize\n1,2,3,10\n1,2,3,12\n",
            "line 3: pixels of 12.000 Å, but others of 10.000 Å",
        ),
        ("i.csv", "x,y,z,rlnDetectorPixelSize\n1,2,3,0\n", "line 2: a pixel of `0`, expected Å"),
        (
            "j.csv",
            "x,y,z,rlnOriginXAngst,rlnOriginYAngst,rlnOriginZAngst,rlnTomoSubtomogramRot,rlnTomoSubtomogramTilt,\
             rlnTomoSubtomogramPsi\n1,2,3,4,5,6,90,0,0\n",
            "line 2: a shift in a turned frame",
        ),
        ("k.star", "data_a\nloop_\n_x\n_y\n_z\n1 2 3\n\ndata_b\nloop_\n_x\n_y\n_z\n1 2 3\n", "both name places"),
    ] {
        let found = told(&CandidateTable::open(written(&folder, name, text)).unwrap_err());
        assert!(found.contains(message) && found.contains(name), "{found}");
    }
}

/// A volume with another number in each voxel.
fn numbered(side: usize) -> Volume {
    Volume::new(side, (0..side.pow(3)).map(|voxel| (voxel * 7919 % 1013) as f32).collect()).unwrap()
}

#[test]
fn boxes_of_the_tomograms_own_voxels_are_its_voxels() {
    let volume = numbered(12);
    let found = extract(&Map::from_volume(&volume, 10.0), [5.0, 6.0, 7.0], 4, 10.0).unwrap();
    assert!(found.outside.abs() < 1e-12);
    for (z, y, x) in (0..64).map(|i| (i / 16, i / 4 % 4, i % 4)) {
        // The middle voxel of the box, index 2, lies at the place; a tent is narrowed to its middle three quarters.
        let at = |z: usize, y: usize, x: usize| f64::from(volume.get(z + 3, y + 4, x + 5).unwrap());
        let mut expected = 0.0;
        for (dz, dy, dx) in (0..27).map(|i| (i / 9, i / 3 % 3, i % 3)) {
            let weight = [0.125, 0.75, 0.125];
            let neighbor = volume.get(z + 2 + dz, y + 3 + dy, x + 4 + dx).unwrap();
            expected += weight[dz] * weight[dy] * weight[dx] * f64::from(neighbor);
        }
        let got = f64::from(found.volume.get(z, y, x).unwrap());
        assert!((got - expected).abs() < 1e-3, "{z} {y} {x}: {got} {expected} {}", at(z, y, x));
    }
}

#[test]
fn what_lies_outside_has_the_mean_and_is_counted() {
    let map = Map::from_volume(&numbered(12), 10.0);
    let whole = extract(&map, [6.0; 3], 8, 10.0).unwrap();
    let corner = extract(&map, [0.0; 3], 8, 10.0).unwrap();
    // Of the box from −4 to 3 the half from 0 on is there, along each axis.
    assert!((corner.outside - 7.0 / 8.0).abs() < 1e-9, "{}", corner.outside);
    let inside: Vec<f32> = (0..64).map(|i| corner.volume.get(4 + i / 16, 4 + i / 4 % 4, 4 + i % 4).unwrap()).collect();
    let mean = inside.iter().sum::<f32>() / 64.0;
    assert!((corner.volume.get(0, 0, 0).unwrap() - mean).abs() < 1e-2);
    assert!((corner.volume.get(4, 4, 7).unwrap() - mean).abs() > 1.0);
    assert!(whole.outside.abs() < 1e-12);
    let message = told(&extract(&map, [-40.0, 3.0, 3.0], 8, 10.0).unwrap_err());
    assert!(message.contains("has no part in the tomogram"), "{message}");
    let unsized_map = Map::from_volume(&numbered(4), 0.0);
    assert!(told(&extract(&unsized_map, [2.0; 3], 2, 10.0).unwrap_err()).contains("voxel size of 0 × 0 × 0 Å"));
    for (place, side, voxel_size) in [([f64::NAN, 1.0, 1.0], 4, 10.0), ([1.0; 3], 0, 10.0), ([1.0; 3], 4, 0.0)] {
        assert!(extract(&map, place, side, voxel_size).is_err());
    }
}

/// Contrast is told by enough boxes, either way, of solid and of hollow particles, and not where there is nothing.
#[test]
fn contrast_is_seen_or_not_told() {
    let simulator = Simulator::new(SimulationConfig::s2()).unwrap();
    // A proteasome fills its middle, a ferritin is a shell.
    for id in ["3j9i", "4v1w"] {
        let template = catalogue::find(id).unwrap().template();
        let parts: Vec<_> = (0..24).map(|index| simulator.parts(&template, 4, index).unwrap()).collect();
        let boxes = |sign: f32, signal: f32, parts: &[soft_lmccl_cect::Subtomogram]| -> Vec<Volume> {
            let of = |parts: &soft_lmccl_cect::Subtomogram| {
                let voxels = parts.signal.voxels().iter().zip(parts.noise.voxels());
                Volume::new(32, voxels.map(|(s, n)| sign * (signal * s + n)).collect()).unwrap()
            };
            parts.iter().map(of).collect()
        };
        let (first, second) = parts.split_at(12);
        let seen = |sign, signal| Contrast::seen_in(&boxes(sign, signal, first), &boxes(sign, 0.0, second));
        assert_eq!(seen(1.0, 1.0), Some(Contrast::DarkProtein), "{id}");
        assert_eq!(seen(-1.0, 1.0), Some(Contrast::BrightProtein), "{id}");
        assert_eq!(seen(1.0, 0.0), None, "{id}");
    }
    assert_eq!(Contrast::seen_in(&[], &[]), None);
}
