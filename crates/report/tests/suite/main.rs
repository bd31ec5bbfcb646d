//! The pictures of a study: well-formed, complete, refused with a reason, written whole or not.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod page;

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array2, array};
use proptest::prelude::*;
use soft_lmccl_metrics::PairScores;
use soft_lmccl_report::{EmbeddingPanel, RocSeries, SliceGroup, SliceRow, embedding_map, pca_2d, roc, slices};
use soft_lmccl_report::{Error, Result};

const F32_ABS: f32 = 1e-5;

const HOSTILE: &str = "SNR < 0.05 & \"x\" > y";
const HOSTILE_ESCAPED: &str = "SNR &lt; 0.05 &amp; ";

/// Checks that tags are balanced, and gives all text between them.
fn text_of(svg: &str) -> String {
    let mut open = Vec::new();
    let mut text = String::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        text.push('\n');
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if tag.ends_with('/') {
            continue;
        }
        let name = tag.split_whitespace().next().expect("a tag has a name");
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None => open.push(name),
        }
    }
    assert_eq!(open, [""; 0], "all tags are closed");
    assert_eq!(rest.trim(), "");
    text
}

fn drawn(draw: impl FnOnce(&Path) -> Result<()>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("picture.svg");
    draw(&path).unwrap();
    assert_eq!(files_in(dir.path()), ["picture.svg"], "the picture and nothing else");
    let svg = fs::read_to_string(path).unwrap();
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    assert!(!svg.contains("NaN") && !svg.contains("inf\""));
    svg
}

fn files_in(dir: &Path) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().unwrap().display().to_string();
    fs::read_dir(dir).unwrap().map(|entry| name(entry.unwrap().path())).collect()
}

/// The picture must be refused with this message, and no file may be there.
fn refused(draw: impl FnOnce(&Path) -> Result<()>, message: &str) {
    let dir = tempfile::tempdir().unwrap();
    let error = draw(&dir.path().join("picture.svg")).unwrap_err();
    assert_eq!(error.to_string(), message);
    assert_eq!(files_in(dir.path()), [""; 0]);
}

fn curve(name: &str, points: &[(f64, f64)]) -> RocSeries {
    RocSeries { name: name.to_owned(), points: points.to_vec(), matching: 2, non_matching: 1000 }
}

#[test]
fn roc_says_what_it_shows() {
    let halves = [(0.0, 0.0), (0.001, 0.5), (0.5, 0.5), (1.0, 1.0)];
    let all = [curve("first", &halves), curve(HOSTILE, &[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)])];
    let svg = drawn(|path| roc(path, HOSTILE, &all));
    let text = text_of(&svg);
    for expected in [
        // 0.001 * 0.25 + 0.499 * 0.5 + 0.5 * 0.75
        "AUC 0.6248",
        "AUC 1.0000",
        "first",
        "2 matching and 1,000 non-matching pairs",
        "false accept rate (FAR)",
        "true accept rate (TAR)",
        "0.1 %",
        "100 %",
        HOSTILE_ESCAPED,
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(!text.contains("0.01 %"), "the axis starts at one pair of a thousand");
}

#[test]
fn a_long_curve_makes_a_small_picture() {
    let same: Vec<bool> = (0..200_000u64).map(|i| i.wrapping_mul(0x9e37_79b9) % 5 < 2).collect();
    let scores = same.iter().enumerate().map(|(i, &same)| {
        let noise = (i as f64 * 0.618_034).fract();
        noise + if same { 0.4 } else { 0.0 }
    });
    let roc_curve = PairScores::new(scores.collect(), same.clone()).unwrap().roc();
    assert!(roc_curve.points().len() > 100_000);
    let series = RocSeries::new("long", &roc_curve);
    assert_eq!(series.matching + series.non_matching, 200_000);
    let svg = drawn(|path| roc(path, "long", &[series]));
    assert!(svg.len() < 100_000, "{} bytes", svg.len());
    assert!(text_of(&svg).contains(&format!("AUC {:.4}", roc_curve.auc())));
}

#[test]
fn roc_refuses_what_is_no_curve() {
    let case = |points: &[(f64, f64)], message: &str| {
        refused(|path| roc(path, "title", &[curve("a", points)]), message);
    };
    refused(|path| roc(path, "t", &[]), "invalid `series`: expected at least one curve, got none");
    case(&[], "invalid `points`: expected a curve from (0, 0) to (1, 1), got no point in series `a`");
    case(
        &[(0.0, 0.0), (1.0, f64::NAN)],
        "invalid `points`: expected a curve from (0, 0) to (1, 1), got (0.0, 0.0) to (1.0, NaN) \
         in series `a`",
    );
    case(
        &[(0.0, 0.0), (f64::NAN, 0.5), (1.0, 1.0)],
        "invalid `points`: expected rates that never fall, got (NaN, 0.5) after (0.0, 0.0) at \
         point 1 in series `a`",
    );
    case(
        &[(0.0, 0.0), (0.5, 0.5), (0.5, 0.25), (1.0, 1.0)],
        "invalid `points`: expected rates that never fall, got (0.5, 0.25) after (0.5, 0.5) at \
         point 2 in series `a`",
    );
    let series = RocSeries { non_matching: 0, ..curve("a", &[(0.0, 0.0), (1.0, 1.0)]) };
    refused(
        |path| roc(path, "t", &[series]),
        "invalid `matching, non_matching`: expected at least one pair of each kind, got 2 and 0 \
         in series `a`",
    );
}

#[test]
fn slices_show_every_class_in_its_group() {
    let clean: Vec<f32> = (0..64).map(|k| (k % 7) as f32).collect();
    let noisy: Vec<f32> = (0..64).map(|k| (k % 5) as f32 - 2.0).collect();
    let labels: Vec<String> = (0..7).map(|k| format!("class {k}")).collect();
    let rows: Vec<SliceRow<'_>> =
        labels.iter().map(|label| SliceRow { label, clean: &clean, noisy: &noisy, side: 8 }).collect();
    let groups = [SliceGroup { title: "Known", rows: &rows[..5] }, SliceGroup { title: HOSTILE, rows: &rows[5..] }];
    let svg = drawn(|path| slices(path, "Title", "Subtitle", Some(10.0), &groups));
    let text = text_of(&svg);
    for expected in ["Title", "Subtitle", "Known", HOSTILE_ESCAPED].into_iter().chain(labels.iter().map(String::as_str))
    {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert_eq!(svg.matches("<image ").count(), 14);
    assert_eq!(svg.matches("data:image/png;base64,iVBORw0KGgo").count(), 14);
}

#[test]
fn slices_refuse_what_cannot_be_shown() {
    let good = [0.0, 1.0, 2.0, 3.0];
    let row = |clean, noisy, side| SliceRow { label: "1aon", clean, noisy, side };
    let case = |row, message: &str| {
        let groups = [SliceGroup { title: "Known", rows: &[row] }];
        refused(|path| slices(path, "t", "s", None, &groups), message);
    };
    case(row(&good, &good[1..], 2), "invalid `noisy`: expected 2 x 2 values, got 3 for class `1aon`");
    case(row(&good, &good, 3), "invalid `clean`: expected 3 x 3 values, got 4 for class `1aon`");
    case(row(&[], &[], 0), "invalid `side`: expected at least 1, got 0 for class `1aon`");
    let infinite = [0.0, 1.0, f32::NEG_INFINITY, 3.0];
    case(row(&infinite, &good, 2), "invalid `clean`: expected finite values, got -inf at 2 for class `1aon`");
    refused(|path| slices(path, "t", "s", None, &[]), "invalid `groups`: expected at least one group, got none");
    refused(
        |path| slices(path, "t", "s", None, &[SliceGroup { title: "Known", rows: &[] }]),
        "invalid `rows`: expected at least one class, got none in group `Known`",
    );
}

#[test]
fn embedding_map_shows_every_point_of_every_panel() {
    let points = array![[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]];
    let names = ["1jz8", "1qvr", HOSTILE, "2cg9"];
    let panel = |title| EmbeddingPanel { title, points: points.view(), labels: &[0, 3, 0], axes: ["PCA 1", "PCA 2"] };
    let panels = ["softmax", "lmcl", "center", HOSTILE].map(panel);
    let svg = drawn(|path| embedding_map(path, "Unknown", &names, &panels));
    let text = text_of(&svg);
    for expected in ["Unknown", "softmax", "lmcl", "1jz8", "2cg9", "PCA 2", HOSTILE_ESCAPED] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    // Class 0 is a circle: two in each of four panels, one in the legend.
    assert_eq!(svg.matches("<circle").count(), 2 * 4 + 1);
}

#[test]
fn a_single_point_has_a_place() {
    let points = array![[3.0, 3.0]];
    let panel = EmbeddingPanel { title: "a", points: points.view(), labels: &[0], axes: ["x", "y"] };
    let svg = drawn(|path| embedding_map(path, "t", &["one"], &[panel]));
    assert_eq!(svg.matches("<circle").count(), 2);
}

#[test]
fn embedding_map_refuses_what_does_not_fit() {
    let points = array![[0.0, 1.0], [2.0, f32::NAN]];
    let (finite, none, wide) = (array![[0.0, 1.0]], Array2::zeros((0, 2)), Array2::zeros((1, 3)));
    let case = |points: &Array2<f32>, labels: &[u32], message: &str| {
        let panel = EmbeddingPanel { title: "lmcl", points: points.view(), labels, axes: ["x", "y"] };
        refused(|path| embedding_map(path, "t", &["a", "b"], &[panel]), message);
    };
    case(&points, &[0, 1], "invalid `points`: expected finite coordinates, got NaN in row 1 in panel `lmcl`");
    case(&finite, &[0, 1], "invalid `labels`: expected one for each point, got 2 for 1 points in panel `lmcl`");
    case(&finite, &[2], "invalid `labels`: expected positions in 0..2, got 2 at position 0 in panel `lmcl`");
    for (points, shape) in [(&none, "[0, 2]"), (&wide, "[1, 3]")] {
        case(
            points,
            &[],
            &format!("invalid `points`: expected at least one row of two columns, got {shape} in panel `lmcl`"),
        );
    }
    refused(|path| embedding_map(path, "t", &["a"], &[]), "invalid `panels`: expected at least one panel, got none");
    let panel = EmbeddingPanel { title: "lmcl", points: finite.view(), labels: &[0], axes: ["x", "y"] };
    refused(
        |path| embedding_map(path, "t", &[""; 0], &[panel]),
        "invalid `class_names`: expected at least one class, got none",
    );
}

#[test]
fn what_cannot_be_written_leaves_the_old_picture_and_no_other() {
    let series = [curve("a", &[(0.0, 0.0), (1.0, 1.0)])];
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("missing/roc.svg");
    let error = roc(&nowhere, "t", &series).unwrap_err();
    assert!(matches!(error, Error::Io { action: "write", .. }), "{error}");
    assert_eq!(error.to_string(), format!("cannot write {}", nowhere.display()));

    // A folder has the name: the rename fails when all is written.
    let taken = dir.path().join("roc.svg");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("inside"), "kept").unwrap();
    roc(&taken, "t", &series).unwrap_err();
    assert_eq!(files_in(dir.path()), ["roc.svg"]);
    assert_eq!(fs::read_to_string(taken.join("inside")).unwrap(), "kept");
}

#[test]
fn an_old_picture_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roc.svg");
    fs::write(&path, "old").unwrap();
    roc(&path, "t", &[curve("new", &[(0.0, 0.0), (1.0, 1.0)])]).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("new"));
}

#[test]
fn pca_refuses_what_has_no_plane() {
    let cases = [
        (array![[1.0, 2.0]], "at least two rows and two columns, got [1, 2]"),
        (array![[1.0], [2.0]], "at least two rows and two columns, got [2, 1]"),
        (array![[1.0, 2.0], [f32::INFINITY, 0.0]], "finite values, got inf in row 1, column 0"),
    ];
    for (rows, message) in cases {
        let error = pca_2d(rows.view()).unwrap_err();
        assert_eq!(error.to_string(), format!("invalid `embeddings`: expected {message}"));
    }
}

#[test]
fn pca_of_equal_rows_is_one_point() {
    let rows = Array2::from_elem((5, 12), 0.25f32);
    assert!(pca_2d(rows.view()).unwrap().iter().all(|value| value.abs() <= F32_ABS));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A plane anywhere in space comes back as it is: all distances are kept.
    #[test]
    fn pca_keeps_distances_within_a_plane(
        flat in prop::collection::vec((-3.0f32..3.0, -1.0f32..1.0), 2..12),
        turns in prop::collection::vec((0usize..5, 0usize..5, -3.0f32..3.0), 0..6),
        offset in prop::collection::vec(-2.0f32..2.0, 5),
    ) {
        let mut rows = Array2::<f32>::zeros((flat.len(), 5));
        for (mut row, (x, y)) in rows.rows_mut().into_iter().zip(&flat) {
            row[0] = *x;
            row[1] = *y;
            for &(i, j, angle) in turns.iter().filter(|(i, j, _)| i != j) {
                let (a, b) = (row[i], row[j]);
                row[i] = angle.cos() * a - angle.sin() * b;
                row[j] = angle.sin() * a + angle.cos() * b;
            }
            row += &ndarray::ArrayView1::from(&offset);
        }
        let projected = pca_2d(rows.view()).unwrap();
        for i in 0..flat.len() {
            for j in 0..i {
                let distance = |points: &Array2<f32>| {
                    let difference = &points.row(i) - &points.row(j);
                    difference.dot(&difference).sqrt()
                };
                approx::assert_abs_diff_eq!(distance(&projected), distance(&rows), epsilon = F32_ABS);
            }
        }
        let variance = |k: usize| projected.column(k).dot(&projected.column(k));
        prop_assert!(variance(0) >= variance(1) - F32_ABS);
        prop_assert!(projected.column(0).sum().abs() <= F32_ABS * flat.len() as f32);
        let again = pca_2d(rows.view()).unwrap();
        prop_assert_eq!(projected, again);
    }
}
