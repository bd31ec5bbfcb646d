//! The user's own subtomograms.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use soft_lmccl_cect::{ClassId, Contrast, Dataset, FilesConfig, LabeledFiles, Map, Volume, annotate_star};
use tempfile::TempDir;

use super::{gzip, told};

/// A directory with `a.mrc` and `b.mrc.gz` of side 4 at 10 Å, `sub/c.mrc` alike, and some that do not fit.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("sub")).unwrap();
    for (name, side, voxel_size, offset) in [
        ("a.mrc", 4, 10.0, 0),
        ("b.mrc.gz", 4, 10.0, 100),
        ("sub/c.mrc", 4, 10.0, 200),
        ("name, with comma.mrc", 4, 10.0, 300),
        ("large.mrc", 6, 10.0, 400),
        ("coarse.mrc", 4, 13.68, 500),
    ] {
        let voxels = (offset..offset + side * side * side).map(|v| v as f32).collect();
        let volume = Volume::new(side as usize, voxels).unwrap();
        Map::from_volume(&volume, voxel_size).save(directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join("text.mrc"), "hello").unwrap();
    let whole = fs::read(directory.path().join("a.mrc")).unwrap();
    fs::write(directory.path().join("short.mrc"), &whole[..1100]).unwrap();
    let mut long = whole;
    long[8..12].copy_from_slice(&2i32.to_le_bytes());
    fs::write(directory.path().join("slab.mrc"), long).unwrap();
    // Words of the header, some of: MZ, cell edge along z, gamma, ISPG.
    for (name, words) in [
        ("flat.mrc", vec![(12, 80f32.to_le_bytes())]),
        ("images.mrc", vec![(9, 1i32.to_le_bytes()), (22, 0i32.to_le_bytes())]),
        ("volumes.mrc", vec![(9, 2i32.to_le_bytes()), (22, 401i32.to_le_bytes())]),
        ("one.mrc", vec![(22, 401i32.to_le_bytes())]),
        ("oblique.mrc", vec![(15, 120f32.to_le_bytes())]),
    ] {
        let mut bytes = fs::read(directory.path().join("a.mrc")).unwrap();
        for (word, value) in words {
            bytes[4 * word..][..4].copy_from_slice(&value);
        }
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

fn table(directory: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

fn open(path: &Path) -> soft_lmccl_cect::Result<LabeledFiles> {
    LabeledFiles::open(path, FilesConfig::default())
}

fn problem(path: &Path) -> String {
    let message = told(&open(path).unwrap_err());
    let start = format!("{}: ", path.display());
    message.strip_prefix(&start).unwrap_or_else(|| panic!("{message} names no file")).to_owned()
}

const STAR: &str = "data_optics\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n1 300\n\ndata_particles\n\nloop_\n\
                    _rlnCoordinateX #1\n_rlnImageName #2\n_rlnClassNumber #3\n0.5 a.mrc 10\n1.5 b.mrc.gz 9\n2 sub/c.mrc 10\n";

#[test]
fn tables_of_every_kind_name_the_same() {
    let directory = directory();
    let tables = [
        ("t.csv", "path,label\na.mrc,10\nb.mrc.gz,9\nsub/c.mrc,10\n".to_owned()),
        (
            "t2.csv",
            "\u{feff}# by hand\nx, Class ,RLNImageName\n1,10,a.mrc\n\n2,9,b.mrc.gz\n3,10, sub/c.mrc\n".to_owned(),
        ),
        ("t.tsv", "label\tfile\r\n10\ta.mrc\r\n9\tb.mrc.gz\r\n10\tsub/c.mrc\r\n".to_owned()),
        ("t.STAR", STAR.to_owned()),
        ("t.star", format!("\u{feff}{}", STAR.replace("data_", "DATA_").replace("loop_", "LOOP_"))),
    ];
    for (name, text) in tables {
        let files = open(&table(&directory, name, text)).unwrap();
        // Numbers by value, not by digits.
        assert_eq!(files.classes(), ["9", "10"], "{name}");
        assert_eq!((files.len(), files.side(), files.voxel_size()), (3, 4, Some(10.0)));
        assert_eq!(
            [0, 1, 2, 3].map(|index| files.class(index)),
            [Some(1), Some(0), Some(1), None].map(|class| class.map(ClassId))
        );
        assert_eq!(files.indices(&[ClassId(1)]), [0, 2]);
        for (index, offset) in [0.0, 100.0, 200.0].into_iter().enumerate() {
            let sample = files.sample(index).unwrap();
            assert_eq!(Some(sample.class), files.class(index));
            assert_eq!(sample.volume.voxels()[..2], [offset, offset + 1.0], "{name}");
        }
        assert_eq!(files.path(2), Some(&*directory.path().join("sub/c.mrc")));
        assert_eq!(told(&files.sample(3).unwrap_err()), "invalid `index`: expected less than 3, got 3");
    }
    // Numbers with a point; a place in no stack; a stack of one volume.
    fs::copy(directory.path().join("a.mrc"), directory.path().join("x@y.mrc")).unwrap();
    let text = "path,label\na.mrc,10.0\nx@y.mrc,2.0\none.mrc,1.0\nsub/c.mrc,-1e1\n";
    let files = open(&table(&directory, "n.csv", text)).unwrap();
    assert_eq!(files.classes(), ["-1e1", "1.0", "2.0", "10.0"]);
    // Words, quotes, a table that is compressed itself.
    let text = gzip(b"label,path\nribosome,\"name, with comma.mrc\"\nmembrane,a.mrc\n");
    let files = open(&table(&directory, "w.csv", text)).unwrap();
    assert_eq!((files.classes()[0].as_str(), files.class(0)), ("membrane", Some(ClassId(1))));
}

#[test]
fn files_are_cropped_inverted_and_found_elsewhere() {
    let directory = directory();
    let path = table(&directory, "t.csv", "path,label\na.mrc,x\nlarge.mrc,y\n");
    let config = FilesConfig { side: Some(2), contrast: Contrast::BrightProtein, ..Default::default() };
    let files = LabeledFiles::open(&path, config).unwrap();
    // The center of 4 is 2, of 2 is 1: voxels 1 and 2 are kept.
    let first = files.sample(0).unwrap().volume;
    assert_eq!((first.side(), first.get(0, 0, 0)), (2, Some(-21.0)));
    assert_eq!(files.sample(1).unwrap().volume.side(), 2);

    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("t.csv");
    fs::write(&path, "path,label\nsub/c.mrc,x\n").unwrap();
    let config = FilesConfig { root: Some(directory.path().to_owned()), ..Default::default() };
    assert_eq!(LabeledFiles::open(&path, config).unwrap().len(), 1);
    assert!(open(&path).is_err());
}

#[test]
fn without_labels_all_are_of_the_class_that_is_named() {
    let directory = directory();
    let unlabeled = |name: &str, text: &str, class: &str| {
        let config = FilesConfig { unlabeled: Some(class.to_owned()), ..Default::default() };
        LabeledFiles::open(table(&directory, name, text), config)
    };
    let star = "data_optics\nloop_\n_rlnOpticsGroup\n1\n\ndata_particles\nloop_\n_rlnImageName\n_rlnTomoName\na.mrc x\nsub/c.mrc x\n";
    for (name, text) in [("t.csv", "name,path\nx,a.mrc\ny,sub/c.mrc\n"), ("t.star", star)] {
        let files = unlabeled(name, text, "particle").unwrap();
        assert_eq!((files.classes(), files.len()), (&["particle".to_owned()][..], 2), "{name}");
        assert!(!files.has_labels());
        assert_eq!(files.sample(1).unwrap().volume.voxels()[..2], [200.0, 201.0]);
    }
    // Labels that are there count, and have to be whole.
    let files = unlabeled("t.csv", "path,label\na.mrc,b\nsub/c.mrc,a\n", "particle").unwrap();
    assert_eq!(files.classes(), ["a", "b"]);
    assert!(files.has_labels());
    for (text, class, message) in [
        ("path,label\na.mrc,\n", "particle", "line 2: the label is empty"),
        ("path,label,class\na.mrc,1,1\n", "particle", "the header has more than one column for the label"),
        ("path\na.mrc\n", "", "line 2: the label is empty"),
    ] {
        let error = told(&unlabeled("t.csv", text, class).unwrap_err());
        assert!(error.ends_with(message), "{text:?}: {error}");
    }
}

#[test]
fn hostile_tables_are_told_with_their_line() {
    let directory = directory();
    let root = directory.path().display();
    let expected_columns = "expected one of path, rlnimagename, image, file";
    for (name, text, message) in [
        ("t.doc", "path,label\n", "expected .csv, .tsv, .txt or .star".to_owned()),
        ("t.csv", "", "is empty".into()),
        ("t.csv", "path,label\n", "holds no subtomograms".into()),
        ("t.csv", "paths,label\na.mrc,1\n", format!("the header has no column for the path; {expected_columns}")),
        (
            "t.csv",
            "path,name\na.mrc,1\n",
            "the header has no column for the label; expected one of label, rlnclassnumber, class".into(),
        ),
        ("t.csv", "path,label,Class\na.mrc,1,2\n", "the header has more than one column for the label".into()),
        ("t.csv", "path,label\na.mrc,1\n\nb.mrc.gz\n", "line 4: expected 2 fields as in the header, got 1".into()),
        ("t.csv", "path,label\n,1\n", "line 2: the path is empty".into()),
        ("t.csv", "path,label\na.mrc, \n", "line 2: the label is empty".into()),
        (
            "t.csv",
            "path,label\na.mrc,1\nno.mrc,1\n",
            format!(
                "line 3: `no.mrc`: No such file or directory (os error 2); relative paths start at `{root}` unless a root is given"
            ),
        ),
        (
            "t.csv",
            "path,label\na.mrc,1\n/no/no.mrc,1\n",
            "line 3: `/no/no.mrc`: No such file or directory (os error 2)".into(),
        ),
        ("t.csv", "path,label\na.mrc,1\na.mrc,2\n", "line 3: `a.mrc` was named on line 2 already".into()),
        ("t.csv", "path,label\na.mrc,1\n./a.mrc,2\n", "line 3: `./a.mrc` was named on line 2 already".into()),
        ("t.csv", "path,label\nsub/../a.mrc,1\na.mrc,2\n", "line 3: `a.mrc` was named on line 2 already".into()),
        (
            "t.csv",
            "path,label\nflat.mrc,1\n",
            "line 2: `flat.mrc`: expected cubic voxels, got 10.00 × 10.00 × 20.00 Å".into(),
        ),
        (
            "t.csv",
            "path,label\nimages.mrc,1\n",
            "line 2: `images.mrc`: a stack of 4 images (ISPG 0, MZ 1); expected one volume".into(),
        ),
        (
            "t.csv",
            "path,label\nvolumes.mrc,1\n",
            "line 2: `volumes.mrc`: a stack of volumes of 2 sections, 4 in all (ISPG 401); expected one volume".into(),
        ),
        (
            "t.csv",
            "path,label\noblique.mrc,1\n",
            "line 2: `oblique.mrc`: expected a cell with right angles, got 90, 90 and 120 degrees".into(),
        ),
        (
            "t.csv",
            "path,label\na.mrc,1\ntext.mrc,2\n",
            "line 3: `text.mrc`: 5 bytes are no MRC file: its header alone has 1024".into(),
        ),
        (
            "t.csv",
            "path,label\nshort.mrc,2\n",
            "line 2: `short.mrc`: the header announces 1280 bytes but the file has 1100".into(),
        ),
        ("t.csv", "path,label\nslab.mrc,2\n", "line 2: `slab.mrc`: expected a cube, got 2 × 4 × 4 voxels".into()),
        (
            "t.csv",
            "path,label\na.mrc,1\nlarge.mrc,1\n",
            "line 3: `large.mrc`: 6 voxels along each edge, but the first file has 4; a side to crop to helps".into(),
        ),
        (
            "t.csv",
            "path,label\na.mrc,1\ncoarse.mrc,1\n",
            "line 3: `coarse.mrc`: voxels of 13.68 Å, but the first file has 10.00 Å".into(),
        ),
        ("t.star", "data_\nloop_\n_a\n1 2\n", "line 4: expected 1 values, one for each column, got 2".into()),
        ("t.star", "\n", "holds no data_ block".into()),
        (
            "t.star",
            "data_x\nloop_\n_rlnImageName\na.mrc\n",
            "the block `data_x` has no column for the label; expected one of label, rlnclassnumber, class".into(),
        ),
        (
            "t.star",
            "data_a\nloop_\n_rlnImageName\n_rlnClassNumber\na.mrc 1\ndata_b\n_image b.mrc.gz\n_class 1\n",
            "the blocks `data_a` and `data_b` both name subtomograms; expected one table of them".into(),
        ),
        (
            "t.star",
            "data_general\n_rlnTomoSubTomosAre2DStacks 1\ndata_particles\n_rlnImageName a.mrc\n_rlnClassNumber 1\n",
            "has stacks of images, but no column rlnTomoName".into(),
        ),
        (
            "t.csv",
            "path,label\nstack.mrcs,1\n",
            "line 2: `stack.mrcs` is a stack; expected a file of one subtomogram (in RELION 5, extract 3-D \
             subtomograms, not 2-D stacks), or `1@stack.mrcs` for a volume of a stack"
                .into(),
        ),
        (
            "t.star",
            "data_optics\nloop_\n_rlnImagePixelSize\n10\n12\ndata_\n_rlnImageName a.mrc\n_rlnClassNumber 1\n",
            "line 5: voxels of 12.00 Å, but others of 10.00 Å".into(),
        ),
        (
            "t.star",
            "data_optics\n_rlnImagePixelSize -1\ndata_\n_rlnImageName a.mrc\n_rlnClassNumber 1\n",
            "line 2: rlnImagePixelSize is `-1`, expected Angstrom".into(),
        ),
    ] {
        assert_eq!(problem(&table(&directory, name, text)), message, "{text:?}");
    }
    let path = table(&directory, "t.csv", "path,label\na.mrc,1\n");
    let config = FilesConfig { side: Some(5), ..Default::default() };
    let message = told(&LabeledFiles::open(&path, config).unwrap_err());
    assert!(message.ends_with("line 2: `a.mrc`: 4 voxels along each edge cannot be cropped to 5"), "{message}");
    let missing = directory.path().join("none.csv");
    assert!(told(&open(&missing).unwrap_err()).starts_with(&format!("cannot read {}", missing.display())));
}

#[test]
fn files_that_changed_since_are_told() {
    let directory = directory();
    let files = open(&table(&directory, "t.csv", "path,label\na.mrc,1\n")).unwrap();
    let path = directory.path().join("a.mrc");
    Map::from_volume(&Volume::new(3, vec![0.0; 27]).unwrap(), 10.0).save(&path).unwrap();
    let expected = format!("{}: expected 4 voxels along each edge, got 3", path.display());
    assert_eq!(told(&files.sample(0).unwrap_err()), expected);
    fs::remove_file(&path).unwrap();
    assert!(files.sample(0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any text is a table or an error, never a panic.
    #[test]
    fn no_text_makes_a_panic(text in "[a-z_@#'\",;\\t\\n 0-9.é]{0,80}", star in any::<bool>()) {
        let directory = tempfile::tempdir().unwrap();
        let text = if star { format!("data_\nloop_\n{text}") } else { text };
        let path = table(&directory, if star { "t.star" } else { "t.csv" }, &text);
        prop_assert!(open(&path).is_err());
    }
}

#[test]
fn a_file_without_contrast_is_named() {
    let directory = directory();
    let mut voxels = vec![0.0; 216];
    voxels[0] = 1.0;
    Map::from_volume(&Volume::new(6, voxels).unwrap(), 10.0).save(directory.path().join("dull.mrc")).unwrap();
    let path = table(&directory, "t.csv", "path,label\ndull.mrc,1\n");
    assert!(open(&path).unwrap().sample(0).is_ok());
    // What differs is cropped away.
    let config = FilesConfig { side: Some(4), ..Default::default() };
    let message = told(&LabeledFiles::open(&path, config).unwrap().sample(0).unwrap_err());
    assert!(message.ends_with("dull.mrc: expected voxels that differ, got 0 in all 4³"), "{message}");
}

/// Headers lack it, or have 1 there; RELION goes by its own table.
#[test]
fn a_star_file_knows_the_size_of_voxels() {
    let directory = directory();
    let optics = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnImagePixelSize\n1 13.7\n2 13.7\n";
    let files = open(&table(&directory, "t.star", format!("{optics}{STAR}"))).unwrap();
    assert_eq!(files.voxel_size(), Some(13.7));
    // Sizes that differ in their last digits are one.
    let rounded = optics.replace("2 13.7", "2 13.8");
    assert_eq!(open(&table(&directory, "t.star", format!("{rounded}{STAR}"))).unwrap().voxel_size(), Some(13.7));
    let zero = "data_optics\n_rlnImagePixelSize 0\ndata_\n_rlnImageName a.mrc\n_rlnClassNumber 1\n";
    let message = problem(&table(&directory, "t.star", zero));
    assert_eq!(message, "line 2: rlnImagePixelSize is `0`, expected Angstrom");
}

/// Voxels of one size within a hundredth, along the axes and from file to file, are the same.
#[test]
fn sizes_of_voxels_may_be_rounded() {
    let directory = directory();
    let whole = fs::read(directory.path().join("a.mrc")).unwrap();
    let of = |x: f32, z: f32| {
        let mut bytes = whole.clone();
        for (word, edge) in [(10, x), (11, x), (12, z)] {
            bytes[4 * word..4 * word + 4].copy_from_slice(&(4.0 * edge).to_le_bytes());
        }
        fs::write(directory.path().join("other.mrc"), bytes).unwrap();
        table(&directory, "t.csv", "path,label\na.mrc,1\nother.mrc,1\n")
    };
    for (x, z) in [(10.05, 10.05), (9.95, 9.95), (10.0, 10.08)] {
        assert_eq!(open(&of(x, z)).unwrap().voxel_size(), Some(10.0), "{x} {z}");
    }
    let message = "line 3: `other.mrc`: expected cubic voxels, got 10.00 × 10.00 × 10.50 Å";
    assert_eq!(problem(&of(10.0, 10.5)), message);
    let message = "line 3: `other.mrc`: voxels of 10.20 Å, but the first file has 10.00 Å";
    assert_eq!(problem(&of(10.2, 10.2)), message);
    // As large as it is cropped to is large enough.
    let config = FilesConfig { side: Some(4), ..Default::default() };
    assert_eq!(LabeledFiles::open(of(10.0, 10.0), config).unwrap().side(), 4);
}

#[test]
fn what_was_found_goes_back_into_the_star_file() {
    let directory = directory();
    let path = table(&directory, "t.star", STAR);
    let column = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>();
    let columns = [
        ("rlnClassNumber", column(&["3", "1", "2"])),
        ("note", column(&["a b", "", "x"])),
        ("keyword", column(&["data_x", "LOOP_", "_y"])),
    ];
    let written = table(&directory, "annotated.star", annotate_star(&path, &columns).unwrap());
    let files = open(&written).unwrap();
    assert_eq!(files.classes(), ["1", "2", "3"]);
    assert_eq!([0, 1, 2].map(|index| files.class(index)), [2, 0, 1].map(|class| Some(ClassId(class))));
    let text = fs::read_to_string(&written).unwrap();
    assert!(text.starts_with("data_optics\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n1 300\n\n"), "{text}");
    assert!(text.ends_with("_note #4\n_keyword #5\n0.5 a.mrc 3 \"a b\" \"data_x\"\n1.5 b.mrc.gz 1 \"\" \"LOOP_\"\n2 sub/c.mrc 2 x \"_y\"\n"), "{text}");

    let two_kinds = column(&["a' \" b", "", ""]);
    for (name, values, message) in [
        ("rlnClassNumber", column(&["1"]), "invalid `columns`: expected 3 values, one for each row, got 1".to_owned()),
        ("two words", column(&["", "", ""]), "invalid `columns`: expected names of one word, got `two words`".into()),
        ("", column(&["", "", ""]), "invalid `columns`: expected names of one word, got ``".into()),
        (
            "note",
            two_kinds,
            "invalid `columns`: expected values of one line, without both kinds of quotes, got `a' \" b`".into(),
        ),
    ] {
        assert_eq!(told(&annotate_star(&path, &[(name, values)]).unwrap_err()), message);
    }
    let path = table(&directory, "optics.star", "data_optics\nloop_\n_rlnVoltage\n300\n");
    let message = told(&annotate_star(&path, &[]).unwrap_err());
    assert!(
        message.ends_with("optics.star: has no column for the path; expected one of path, rlnimagename, image, file")
    );
}
