//! The report as one file, and the pictures that compare losses.

use std::fs;
use std::path::Path;

use ndarray::{Array2, array};
use proptest::prelude::*;
use soft_lmccl_report::Result;
use soft_lmccl_report::{
    LineAxes, LinePanel, Page, RocSeries, Table, TableCell, det, heat_table, line_panels, roc, tsne_2d,
};

const HOSTILE: &str = "</style><script>alert(\"1\")</script> & 'x' > y";

fn drawn(draw: impl FnOnce(&Path) -> Result<()>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("picture.svg");
    draw(&path).unwrap();
    let svg = fs::read_to_string(path).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(!svg.contains("NaN") && !svg.contains("<script"));
    svg
}

/// The picture must be refused with this message, and no file may be there.
fn refused(draw: impl FnOnce(&Path) -> Result<()>, message: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("picture.svg");
    assert_eq!(draw(&path).unwrap_err().to_string(), message);
    assert!(!path.exists());
}

fn series(name: &str, points: &[(f64, f64)]) -> RocSeries {
    RocSeries { name: name.to_owned(), points: points.to_vec(), matching: 100, non_matching: 1000 }
}

#[test]
fn det_names_its_axes_and_curves() {
    let curve = series(HOSTILE, &[(0.0, 0.0), (0.001, 0.5), (0.1, 0.99), (1.0, 1.0)]);
    let svg = drawn(|path| det(path, "Two", &[curve, series("b", &[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)])]));
    for expected in ["false reject rate (FRR)", "false accept rate (FAR)", "equal errors", "0.1 %", "1 %", "b"] {
        assert!(svg.contains(expected), "{expected}");
    }
}

#[test]
fn det_refuses_what_roc_refuses() {
    refused(|path| det(path, "t", &[]), "invalid `series`: expected at least one curve, got none");
    let falling = [series("a", &[(0.0, 0.0), (0.5, 0.5), (0.5, 0.25), (1.0, 1.0)])];
    let message = |draw: &dyn Fn(&Path) -> Result<()>| {
        draw(&tempfile::tempdir().unwrap().path().join("x.svg")).unwrap_err().to_string()
    };
    let of_det = message(&|path| det(path, "t", &falling));
    assert_eq!(of_det, message(&|path| roc(path, "t", &falling)));
    assert!(of_det.contains("rates that never fall"), "{of_det}");
}

#[test]
fn panels_share_colors_by_name_and_leave_out_what_has_no_logarithm() {
    let line = |name: &str, points: &[(f64, f64)]| (name.to_owned(), points.to_vec());
    let panels = [
        LinePanel { title: "one".into(), lines: vec![line("lmcl", &[(1.0, 30.0), (2.0, 0.3)])] },
        LinePanel {
            title: HOSTILE.into(),
            lines: vec![line("center", &[(1.0, 0.0), (2.0, 5.0), (3.0, 4.0)]), line("lmcl", &[(1.0, 7.0), (3.0, 2.0)])],
        },
    ];
    let axes = LineAxes { x: "step", y: "loss", logarithmic: true, filled: false };
    let svg = drawn(|path| line_panels(path, "Training", "terms", axes, &panels));
    // Two lines and the legend for lmcl, one and the legend for center; what comes before is the dark style.
    let svg = svg.split_once("</style>").unwrap().1;
    assert_eq!(svg.matches("stroke=\"#0072B2\"").count(), 3);
    assert_eq!(svg.matches("stroke=\"#D55E00\"").count(), 2);
    let filled = LineAxes { logarithmic: false, filled: true, ..axes };
    let svg = drawn(|path| line_panels(path, "Training", "terms", filled, &panels));
    assert!(svg.contains("<polygon"), "what is under a line is tinted");
}

#[test]
fn panels_refuse_what_cannot_be_drawn() {
    let axes = LineAxes { x: "step", y: "loss", logarithmic: true, filled: false };
    let panel = |points: &[(f64, f64)]| LinePanel { title: "p".into(), lines: vec![("l".into(), points.to_vec())] };
    let case = |panels: &[LinePanel], message: &str| refused(|path| line_panels(path, "t", "s", axes, panels), message);
    case(&[], "invalid `panels`: expected at least one panel, got none");
    case(&[panel(&[])], "invalid `lines`: expected at least one point, got none in panel `p`");
    case(
        &[panel(&[(1.0, f64::NAN)])],
        "invalid `lines`: expected finite step and loss, got (1.0, NaN) on line `l` of panel `p`",
    );
    case(
        &[panel(&[(-1e308, 1.0), (1e308, 1.0)])],
        "invalid `lines`: expected step and loss up to 1e300 either way, got (-1e308, 1.0) on line `l` of panel `p`",
    );
    // A single point, and points without a logarithm, have a place all the same.
    drawn(|path| line_panels(path, "t", "s", axes, &[panel(&[(1.0, 2.0)]), panel(&[(1.0, -2.0)])]));
    let plain = LineAxes { logarithmic: false, ..axes };
    for points in [[(-1e300, -1e300), (1e300, 1e300)], [(1e17, 1.0), (1e17 + 16.0, 1.0)], [(1e300, 0.0), (1e300, 1.0)]]
    {
        drawn(|path| line_panels(path, "t", "s", plain, &[panel(&points)]));
    }
}

#[test]
fn heat_table_says_every_rate() {
    let rows = [("softmax".to_owned(), vec![0.0, 0.254]), (HOSTILE.to_owned(), vec![1.0, 0.5])];
    let svg = drawn(|path| heat_table(path, "TAR", "at FAR 1 %", &["1jz8", "1qvr"], &rows));
    for expected in ["1jz8", "1qvr", "softmax", "0.00", "0.25", "1.00", "0.50"] {
        assert!(svg.contains(expected), "{expected}");
    }
    let case = |columns: &[&str], rows: &[(String, Vec<f64>)], message: &str| {
        refused(|path| heat_table(path, "t", "s", columns, rows), message);
    };
    case(&[], &rows, "invalid `rows`: expected at least one row and one column, got 2 by 0");
    case(&["a"], &rows, "invalid `rows`: expected 1 values, got 2 in row `softmax`");
    let row = [("a".to_owned(), vec![1.5])];
    case(&["a"], &row, "invalid `rows`: expected rates from 0 to 1, got 1.5 in row `a`");
}

#[test]
fn pictures_turn_dark_with_the_page() {
    let svg = drawn(|path| roc(path, "t", &[series("a", &[(0.0, 0.0), (1.0, 1.0)])]));
    let (style, drawing) = svg.split_once("</style>").unwrap();
    assert!(style.contains("@media (prefers-color-scheme:dark)"));
    // Each color that the style changes is spelled as the drawing spells it.
    for color in
        ["fill=\"#FFFFFF\"", "fill=\"#222222\"", "fill=\"#666666\"", "stroke=\"#0072B2\"", "stroke=\"#D4D4D4\""]
    {
        assert!(style.contains(color) && drawing.contains(color), "{color}");
    }
}

#[test]
fn tsne_refuses_what_has_no_neighborhoods() {
    let error = tsne_2d(array![[1.0, 2.0], [2.0, 1.0]].view()).unwrap_err().to_string();
    assert_eq!(error, "invalid `embeddings`: expected at least 10 rows, got 2");
    let mut rows = Array2::<f32>::zeros((12, 3));
    rows[[4, 1]] = f32::NAN;
    let error = tsne_2d(rows.view()).unwrap_err().to_string();
    assert_eq!(error, "invalid `embeddings`: expected finite values, got NaN in row 4, column 1");
    rows[[4, 1]] = 0.0;
    assert!(tsne_2d(rows.view()).unwrap().iter().all(|x| x.abs() <= 0.0), "equal rows are one point");
}

#[test]
fn tsne_takes_rows_of_any_size() {
    let rows = |size: f32| {
        Array2::from_shape_fn((40, 3), |(row, column)| {
            size * ((row % 2 * 50) as f32 * f32::from(u8::from(column == 0)) + (row * (column + 2) % 7) as f32 / 7.0)
        })
    };
    for size in [1e-30, 1e-12, 1.0, 1e12, 1e25, 6e36] {
        let flat = tsne_2d(rows(size).view()).unwrap();
        assert!(flat.iter().all(|x| x.is_finite()), "{size}");
        let distance = |a: usize, b: usize| (&flat.row(a) - &flat.row(b)).mapv(|x| x * x).sum();
        let nearest = |row: usize| {
            let others = (0..40).filter(|&other| other != row);
            others.min_by(|&a, &b| distance(row, a).total_cmp(&distance(row, b))).unwrap()
        };
        assert!((0..40).all(|row| nearest(row) % 2 == row % 2), "{size}");
    }
}

#[test]
fn names_that_xml_cannot_write_are_replaced() {
    let name = "a\u{0}b\u{1b}c\u{fffe}\td";
    let lines = vec![(name.to_owned(), vec![(0.0, 1.0), (1.0, 2.0)])];
    let panels = [LinePanel { title: name.into(), lines }];
    let axes = LineAxes { x: name, y: name, logarithmic: false, filled: false };
    let svg = drawn(|path| line_panels(path, name, name, axes, &panels));
    assert!(svg.matches("a\u{fffd}b\u{fffd}c\u{fffd}\td").count() > 5, "{svg}");
    assert!(!svg.contains(|c: char| c < ' ' && !"\t\n\r".contains(c) || c == '\u{fffe}'));
}

#[test]
fn tsne_repeats_itself() {
    let rows = Array2::from_shape_fn((60, 5), |(row, column)| {
        ((row * 7 + column * row) % 11) as f32 + (row % 3) as f32 * 20.0
    });
    let flat = tsne_2d(rows.view()).unwrap();
    assert!(flat.iter().all(|x| x.is_finite()));
    assert_eq!(flat, tsne_2d(rows.view()).unwrap());
}

#[test]
fn a_page_needs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let picture = dir.path().join("roc.svg");
    roc(&picture, "t", &[series("a", &[(0.0, 0.0), (1.0, 1.0)])]).unwrap();
    let mut page = Page::new("A study", "of two");
    let section = page.section("First");
    section.text("text").list(&["one", "two"]).code("cargo run");
    section.picture(&picture, "A curve").unwrap();
    page.section("Second");
    let path = dir.path().join("report.html");
    page.write(&path).unwrap();
    let html = fs::read_to_string(&path).unwrap();
    for expected in [
        "<!DOCTYPE html>",
        "default-src 'none'",
        "prefers-color-scheme: dark",
        "<a href=\"#section-2\">Second</a>",
        "<section id=\"section-2\">",
        "alt=\"A curve\"",
        "src=\"data:image/svg+xml;base64,PHN2Zy",
    ] {
        assert!(html.contains(expected), "{expected}");
    }
    for foreign in ["http:", "https:", "<script", "<link", "url("] {
        assert!(!html.contains(foreign), "{foreign}");
    }
}

#[test]
fn a_page_takes_pictures_only_as_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no.svg");
    let mut page = Page::new("t", "l");
    let error = page.section("s").picture(&path, "c").unwrap_err().to_string();
    assert_eq!(error, format!("cannot read {}", path.display()));
    fs::write(&path, "<html><svg >").unwrap();
    let error = page.section("s").picture(&path, "c").unwrap_err().to_string();
    assert_eq!(error, format!("{}: expected an SVG picture", path.display()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is said anywhere, no tag or attribute begins or ends by it.
    #[test]
    fn no_text_becomes_markup(said in "[<>&\"'a-z/= ]{0,24}") {
        let build = |said: &str| {
            let mut page = Page::new(said, said);
            let cell = || TableCell::from(said).with_note(said).strong_if(true);
            let table = Table { caption: said.into(), head: vec![said.into()], rows: vec![vec![cell(), cell()]] };
            page.section(said).text(said).list(&[said, HOSTILE]).code(said).table(&table);
            page.to_html()
        };
        let tags = |html: &str| (html.matches('<').count(), html.matches('>').count(), html.matches('"').count());
        prop_assert_eq!(tags(&build(&said)), tags(&build("plain")));
        prop_assert!(!build(&said).contains("<script"));
    }
}
