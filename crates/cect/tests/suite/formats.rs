//! Volumes in files of other formats than MRC, and in stacks.

use std::{fs, path::Path};

use soft_lmccl_cect::{Dataset, FilesConfig, LabeledFiles, Map, Volume};

use super::{gzip, told};

/// An EM header: machine, kind, columns, rows, sections.
fn em(machine: u8, kind: u8, extents: [i32; 3], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    (bytes[0], bytes[3]) = (machine, kind);
    for (word, extent) in extents.into_iter().enumerate() {
        let raw = if machine == 6 { extent.to_le_bytes() } else { extent.to_be_bytes() };
        bytes[4 * (word + 1)..][..4].copy_from_slice(&raw);
    }
    bytes.extend_from_slice(data);
    bytes
}

fn open(name: &str, bytes: &[u8]) -> soft_lmccl_cect::Result<Map> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    Map::open(path)
}

#[test]
fn an_em_file_of_another_program_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/em/ramp.em");
    let ramp: Vec<f32> = (0u8..24).map(f32::from).collect();
    for map in [Map::open(&path).unwrap(), open("ramp.em.gz", &gzip(&fs::read(&path).unwrap())).unwrap()] {
        assert_eq!((map.shape(), map.voxel_size().map(f64::to_bits)), ([2, 3, 4], [0; 3]));
        assert_eq!(map.voxels(), ramp);
    }
}

#[test]
fn em_numbers_of_every_kind_are_read() {
    let numbers = [1i8, -2, 3, 100, 5, 6, 7, 8];
    let expected: Vec<f32> = numbers.iter().copied().map(f32::from).collect();
    let of = |write: &dyn Fn(i8) -> Vec<u8>| -> Vec<u8> { numbers.iter().flat_map(|&number| write(number)).collect() };
    for (machine, kind, data) in [
        (6, 2, of(&|n| i16::from(n).to_le_bytes().to_vec())),
        (5, 2, of(&|n| i16::from(n).to_be_bytes().to_vec())),
        (6, 4, of(&|n| i32::from(n).to_le_bytes().to_vec())),
        (3, 4, of(&|n| i32::from(n).to_be_bytes().to_vec())),
        (6, 5, of(&|n| f32::from(n).to_le_bytes().to_vec())),
        (0, 5, of(&|n| f32::from(n).to_be_bytes().to_vec())),
        (6, 9, of(&|n| f64::from(n).to_le_bytes().to_vec())),
    ] {
        let map = open("x.em", &em(machine, kind, [2; 3], &data)).unwrap();
        assert_eq!(map.voxels(), expected, "{machine} {kind}");
    }
}

#[test]
fn bad_em_files_say_why() {
    for (bytes, problem) in [
        (em(6, 5, [2; 3], &[0; 31]), "the header announces 544 bytes but the file has 543"),
        (em(6, 8, [2; 3], &[0; 64]), "EM numbers of kind 8 cannot be read; expected 1, 2, 4, 5 or 9"),
        (em(1, 5, [2; 3], &[0; 64]), "EM machine 1 cannot be read; expected 0, 3, 5 or 6"),
        (em(6, 5, [2, 0, 2], &[]), "the number of rows is 0"),
        (
            em(6, 5, [i32::MAX; 3], &[]),
            "2147483647 × 2147483647 × 2147483647 voxels are more than the 1073741824 that can be read",
        ),
        (em(6, 5, [2; 3], &[0; 32])[..100].to_vec(), "100 bytes are no EM file: its header alone has 512"),
        (em(6, 5, [2, 1, 1], &[0, 0, 0xc0, 0x7f, 0, 0, 0, 0]), "voxel [0][0][0] is NaN, not a finite number"),
    ] {
        let message = told(&open("x.em", &bytes).unwrap_err());
        assert!(message.ends_with(problem), "{message}");
    }
}

/// An MRC file of so many sections, `of_one` of which are a volume.
fn stack(sections: usize, of_one: i32, space_group: i32) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.mrc");
    let voxels = (0..8).map(|voxel| voxel as f32).collect();
    Map::from_volume(&Volume::new(2, voxels).unwrap(), 10.0).save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap()[..1024].to_vec();
    bytes[8..12].copy_from_slice(&(sections as i32).to_le_bytes());
    bytes[36..40].copy_from_slice(&of_one.to_le_bytes());
    bytes[88..92].copy_from_slice(&space_group.to_le_bytes());
    bytes.extend((0..4 * sections).flat_map(|voxel| (voxel as f32).to_le_bytes()));
    bytes
}

#[test]
fn volumes_of_a_stack_are_told_by_their_number() {
    let directory = tempfile::tempdir().unwrap();
    let table = directory.path().join("t.star");
    let read = |stack: &[u8], rows: &str| {
        fs::write(directory.path().join("s.mrcs"), stack).unwrap();
        fs::write(&table, format!("data_\nloop_\n_rlnImageName\n_rlnClassNumber\n{rows}")).unwrap();
        LabeledFiles::open(&table, FilesConfig::default())
    };
    let volumes = stack(6, 2, 401);
    let files = read(&volumes, "000003@s.mrcs 1\n1@s.mrcs 2\n").unwrap();
    let first = |index: usize| files.sample(index).unwrap().volume.voxels()[0];
    assert_eq!((files.side(), first(0) as u32, first(1) as u32), (2, 16, 0));
    for (bytes, rows, problem) in [
        (&volumes, "4@s.mrcs 1\n", "line 5: `s.mrcs`: expected a volume from 1 to 3, got 4"),
        (&volumes, "0@s.mrcs 1\n", "line 5: `s.mrcs`: expected a volume from 1 to 3, got 0"),
        (&volumes, "1@s.mrcs 1\n01@s.mrcs 1\n", "line 6: `1@s.mrcs` was named on line 5 already"),
        (&volumes, "s.mrcs 1\n", "or `1@s.mrcs` for a volume of a stack"),
        (&stack(6, 1, 0), "1@s.mrcs 1\n", "in RELION 5, extract 3-D subtomograms, not 2-D stacks"),
        (&stack(5, 2, 401), "1@s.mrcs 1\n", "in RELION 5, extract 3-D subtomograms, not 2-D stacks"),
    ] {
        let message = told(&read(bytes, rows).unwrap_err());
        assert!(message.ends_with(problem), "{message}");
    }
}

#[test]
fn other_formats_are_named() {
    for (name, bytes, problem) in [
        ("x.h5", &b"\x89HDF\r\n\x1a\n"[..], "is an HDF5 file; volumes are read from MRC and EM files"),
        ("x.npy", b"\x93NUMPY\x01\x00", "is an array of NumPy; volumes are read from MRC and EM files"),
        ("x.tif", b"II*\0abcd", "is a TIFF image; volumes are read from MRC and EM files"),
    ] {
        assert!(told(&open(name, bytes).unwrap_err()).ends_with(problem), "{name}");
    }
    let mut text = vec![b'('; 2000];
    text[12..16].copy_from_slice(&40i32.to_le_bytes());
    let message = told(&open("x.spi", &text).unwrap_err());
    assert!(message.ends_with("is no MRC file: it has no stamp `MAP `, and 40 where the mode would be"), "{message}");

    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".zarray"), "{}").unwrap();
    let message = told(&Map::open(directory.path()).unwrap_err());
    assert!(message.ends_with("is a Zarr store; volumes are read from MRC and EM files"), "{message}");
}

#[test]
fn bytes_of_which_the_header_leaves_the_sign_open_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.mrc");
    let mut bytes = stack(2, 2, 1);
    bytes.truncate(1024);
    bytes[12..16].copy_from_slice(&0i32.to_le_bytes());
    let range = |bytes: &mut Vec<u8>, low: f32, high: f32| {
        bytes[76..80].copy_from_slice(&low.to_le_bytes());
        bytes[80..84].copy_from_slice(&high.to_le_bytes());
    };
    bytes.extend([1, 2, 3, 200, 5, 6, 7, 8]);
    for (low, high, third, note) in [
        (-1.0, 200.0, -56.0, Some("bytes taken as signed, though the header has a maximum above 127")),
        (1.0, 200.0, 200.0, None),
        (-56.0, 8.0, -56.0, None),
    ] {
        range(&mut bytes, low, high);
        fs::write(&path, &bytes).unwrap();
        let map = Map::open(&path).unwrap();
        assert_eq!((map.voxels()[3].to_bits(), map.note()), (f32::to_bits(third), note), "{low} {high}");
    }
}

/// Where RELION 5 would see a point of the specimen: turned about x, y and z by these degrees, then seen along z.
fn seen(at: [f64; 3], angles: [f64; 3]) -> [f64; 2] {
    let [x, y, z] = at;
    let ((sx, cx), (sy, cy), (sz, cz)) =
        (angles[0].to_radians().sin_cos(), angles[1].to_radians().sin_cos(), angles[2].to_radians().sin_cos());
    let (x, y, z) = (x, cx * y - sx * z, sx * y + cx * z);
    let (x, y) = (cy * x + sy * z, y);
    [cz * x - sz * y, sz * x + cz * y]
}

/// Images of a point of the specimen, blurred, as an MRC stack.
fn images(at: [f64; 3], angles: &[[f64; 3]], side: usize) -> Vec<u8> {
    let mut bytes = stack(angles.len(), 1, 0)[..1024].to_vec();
    for (word, extent) in [side, side, angles.len()].into_iter().enumerate() {
        bytes[4 * word..][..4].copy_from_slice(&(extent as i32).to_le_bytes());
    }
    for word in [7, 8] {
        bytes[4 * word..][..4].copy_from_slice(&(side as i32).to_le_bytes());
    }
    for word in [10, 11] {
        bytes[4 * word..][..4].copy_from_slice(&(10.0 * side as f32).to_le_bytes());
    }
    let half = (side / 2) as f64;
    for angles in angles {
        let [x, y] = seen(at, *angles);
        bytes.extend((0..side * side).flat_map(|index| {
            let (u, v) = ((index % side) as f64 - half - x, (index / side) as f64 - half - y);
            ((-(u * u + v * v) / 4.0).exp() as f32).to_le_bytes()
        }));
    }
    bytes
}

#[test]
fn stacks_of_relion_5_become_volumes() {
    const SIDE: usize = 16;
    const AT: [f64; 3] = [4.0, -3.0, 2.0];
    let angles: Vec<[f64; 3]> = (-20..=20).map(|tilt| [2.0, 3.0 * f64::from(tilt), 85.0]).collect();
    let shown: Vec<[f64; 3]> = angles.iter().enumerate().filter(|(tilt, _)| tilt % 7 != 3).map(|(_, a)| *a).collect();
    let visible = (0..angles.len()).map(|tilt| if tilt % 7 == 3 { "0" } else { "1" }).collect::<Vec<_>>().join(",");
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    let rows = angles.iter().map(|[x, y, z]| format!("{x} {y} {z}\n")).collect::<String>();
    let by_angles = format!("data_t1\nloop_\n_rlnTomoXTilt\n_rlnTomoYTilt\n_rlnTomoZRot\n{rows}");
    // The same as matrices: where the axes of the specimen are seen.
    let matrix = |angles: &[f64; 3]| {
        let of = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(|axis| seen(axis, *angles));
        let row = |k: usize| format!("[{},{},{},100]", of[0][k], of[1][k], of[2][k]);
        format!("{} {}\n", row(0), row(1))
    };
    let rows = angles.iter().map(matrix).collect::<String>();
    let by_matrices = format!("data_t1\nloop_\n_rlnTomoProjX\n_rlnTomoProjY\n{rows}");
    write("a_stack2d.mrcs", &images(AT, &shown, SIDE));
    write("tomograms.star", b"data_global\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesStarFile\nt1 t1.star\n");
    let particles = |frames: &str, tomogram: &str| {
        format!(
            "data_general\n_rlnTomoSubTomosAre2DStacks 1\ndata_optics\nloop_\n_rlnOpticsGroup\n_rlnImagePixelSize\n1 10.0\n\
             data_particles\nloop_\n_rlnTomoName\n_rlnImageName\n_rlnTomoVisibleFrames\n{tomogram} a_stack2d.mrcs [{frames}]\n"
        )
    };
    write(
        "optimisation_set.star",
        b"data_\n_rlnTomoParticlesFile particles.star\n_rlnTomoTomogramsFile tomograms.star\n",
    );
    let config = FilesConfig { unlabeled: Some("x".into()), ..Default::default() };
    let set = directory.path().join("optimisation_set.star");
    write("particles.star", particles(&visible, "t1").as_bytes());
    for series in [by_angles, by_matrices] {
        write("t1.star", series.as_bytes());
        let alone = FilesConfig { tomograms: Some("tomograms.star".into()), ..config.clone() };
        for files in [
            LabeledFiles::open(&set, config.clone()).unwrap(),
            LabeledFiles::open(directory.path().join("particles.star"), alone).unwrap(),
        ] {
            assert_eq!((files.len(), files.side(), files.voxel_size()), (1, SIDE, Some(10.0)));
            let volume = files.sample(0).unwrap().volume;
            let (brightest, _) = volume.voxels().iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap();
            let found = [brightest % SIDE, brightest / SIDE % SIDE, brightest / (SIDE * SIDE)];
            assert_eq!(found.map(|place| place as i64 - 8), AT.map(|place| place as i64));
        }
    }

    let refused = |text: String| {
        write("particles.star", text.as_bytes());
        told(&LabeledFiles::open(&set, config.clone()).unwrap_err())
    };
    for (text, problem) in [
        (particles("1,1", "t1"), "line 13: 2 visible frames, but `t1` has 41 tilts".to_owned()),
        (particles(&visible, "t2"), "line 13: the tomogram `t2` is not in".to_owned()),
        (particles("yes", "t1"), "line 13: `[yes]` is no list of visible frames".to_owned()),
        (particles(&["1"; 41].join(","), "t1"), "expected 41 images, one for each visible frame, got 35".to_owned()),
        (particles(&visible, "t1").replace("_rlnTomoVisibleFrames", "_x"), "no column rlnTomoVisibleFrames".to_owned()),
    ] {
        let message = refused(text);
        assert!(message.contains(&problem), "{message}");
    }
    write("particles.star", particles(&visible, "t1").as_bytes());
    let message = told(&LabeledFiles::open(directory.path().join("particles.star"), config.clone()).unwrap_err());
    assert!(message.contains("open the optimisation_set.star"), "{message}");
    fs::remove_file(directory.path().join("t1.star")).unwrap();
    let message = told(&LabeledFiles::open(&set, config).unwrap_err());
    assert!(message.contains("t1.star"), "{message}");
}
