//! The record that a script keeps and the table that a person reads.

use approx::assert_abs_diff_eq;
use ndarray::Array2;
use serde_json::{Value, json};
use soft_lmccl_metrics::{
    ClassCounts, EerMethod, EmbeddingSet, Interval, Intervals, PairProtocol, ReportOptions, VerificationReport,
    low_auc_hint,
};

use super::noise;

/// Four classes in five dimensions, well apart but overlapping.
fn set() -> EmbeddingSet {
    let mut noise = noise(12);
    let values = Array2::from_shape_fn((80, 5), |(row, column)| {
        f32::from(row % 4 == column) + 0.9 * (noise() + noise() - 1.0) as f32
    });
    let labels: Vec<i64> = (0..80).map(|row| row % 4).collect();
    EmbeddingSet::new(values.view(), &labels).unwrap()
}

fn options() -> ReportOptions {
    ReportOptions { matching: 300, non_matching: 600, far_targets: vec![0.1, 1e-3, 1e-4], ..Default::default() }
}

#[test]
fn more_pairs_than_are_counted_are_refused() {
    let options: ReportOptions =
        serde_json::from_str(r#"{"matching": 18446744073709551615, "non_matching": 2}"#).unwrap();
    assert_eq!(
        options.validate().unwrap_err().to_string(),
        "invalid `non_matching`: expected at most 0, beside 18446744073709551615 matching pairs, got 2"
    );
}

#[test]
fn a_limited_mixture_keeps_both_kinds() {
    // Four matching pairs and six others.
    let set = EmbeddingSet::new(Array2::<f32>::eye(5).view(), &[0, 0, 1, 1, 1]).unwrap();
    let counts = set.pair_counts();
    assert_eq!((counts.matching, counts.non_matching), (4, 6));
    for (asked, kept) in [((1, 1000), (1, 6)), ((1000, 1), (4, 1)), ((0, 5), (0, 5)), ((2, 4), (2, 4))] {
        let options = ReportOptions { matching: asked.0, non_matching: asked.1, ..Default::default() };
        let limited = options.limited_to(&set);
        assert_eq!((limited.matching, limited.non_matching), kept, "{asked:?}");
    }
}

#[test]
fn figures_are_those_of_the_parts() {
    let (set, options) = (set(), options());
    let report = VerificationReport::of(&set, &options).unwrap();
    let roc = set.pair_scores(PairProtocol::All).unwrap().roc();
    let drawn = PairProtocol::Sampled { matching: 300, non_matching: 600, seed: 0 };
    assert_eq!((report.embeddings, report.pairs), (80, 3160));
    assert_abs_diff_eq!(report.auc, roc.auc());
    assert_abs_diff_eq!(report.eer, roc.eer(EerMethod::Linear));
    assert_eq!(report.accuracy, set.pair_scores(drawn).unwrap().cross_validated_accuracy(10, 0).unwrap());
    assert_eq!(report.tar_at_far.len(), 3);
    for (at, &target) in report.tar_at_far.iter().zip(&options.far_targets) {
        let expected = roc.at_far(target).unwrap();
        assert_abs_diff_eq!(at.target_far, target);
        assert_abs_diff_eq!(at.tar, expected.point.tar());
        assert_abs_diff_eq!(at.far, expected.point.far());
        assert_eq!((at.false_accepts, at.resolvable), (expected.point.false_accepts, expected.resolvable));
    }
    assert!(report.auc > 0.8 && report.auc < 1.0, "{report}");
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn record_has_these_keys_and_comes_back_whole() {
    let mut report = VerificationReport::of(&set(), &options()).unwrap();
    report.tar_at_far[2].threshold = f64::INFINITY;
    let record = serde_json::to_value(&report).unwrap();
    let intervals = ["accuracy", "auc", "auc_interval", "eer", "eer_interval", "embeddings", "pairs", "tar_at_far"];
    assert_eq!(keys(&record), intervals);
    assert_eq!(keys(&record["auc_interval"]), ["high", "level", "low"]);
    assert_eq!(keys(&record["accuracy"]), ["mean", "std"]);
    assert_eq!(record["tar_at_far"][0]["interval"]["level"], json!(0.95));
    // 0.01 % is below resolution.
    let of_target = keys(&record["tar_at_far"][2]);
    assert_eq!(of_target, ["false_accepts", "far", "resolvable", "tar", "target_far", "threshold"]);
    // A record without intervals, from before there were any, is read as well.
    let curve = set().pair_scores(PairProtocol::All).unwrap().roc();
    let drawn = set().pair_scores(options().protocol()).unwrap();
    let without = VerificationReport::from_curve(80, &curve, &drawn, &options()).unwrap();
    let bare = serde_json::to_value(&without).unwrap();
    assert_eq!(keys(&bare), ["accuracy", "auc", "eer", "embeddings", "pairs", "tar_at_far"]);
    assert_eq!(serde_json::from_value::<VerificationReport>(bare).unwrap(), without);
    assert_eq!(record["pairs"], json!(3160));
    assert!(record["tar_at_far"][0]["threshold"].is_f64());
    assert_eq!(record["tar_at_far"][2]["threshold"], Value::Null);
    assert_eq!(record["tar_at_far"][2]["resolvable"], json!(false));
    assert_eq!(serde_json::from_value::<VerificationReport>(record).unwrap(), report);
}

#[test]
fn table_has_the_columns_of_the_paper() {
    let report = VerificationReport::of(&set(), &options()).unwrap();
    let headings: Vec<_> = report.cells().into_iter().map(|(heading, _)| heading).collect();
    assert_eq!(
        headings,
        ["Verification accuracy", "TAR @ FAR 10 %", "TAR @ FAR 0.1 %", "TAR @ FAR 0.01 %", "AUC", "EER"]
    );
    let table = report.to_string();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "80 embeddings, 3160 pairs, last line: intervals at 95 %");
    assert_eq!(lines.len(), 4);
    let Interval { low, high, .. } = report.auc_interval.unwrap();
    let column = lines[1].find("AUC").map(|byte| lines[1][..byte].chars().count());
    let interval = format!("{low:.3} to {high:.3}");
    assert_eq!(lines[3].find(&interval).map(|byte| lines[3][..byte].chars().count()), column, "{table}");
    for (heading, value) in report.cells() {
        let column = |line: &str, text: &str| line.find(text).map(|byte| line[..byte].chars().count());
        assert_eq!(column(lines[1], &heading), column(lines[2], &value), "{table}");
    }
    // 2,400 non-matching pairs resolve 0.1 % but not 0.01 %.
    let below: Vec<_> = report.cells().iter().map(|(_, value)| value == "below resolution").collect();
    assert_eq!(below, [false, false, false, true, false, false], "{table}");
}

#[test]
fn targets_are_printed_in_their_own_digits() {
    let options = ReportOptions { far_targets: vec![0.07, 1e-6, 0.0, 1.0, 0.123], ..options() };
    let cells = VerificationReport::of(&set(), &options).unwrap().cells();
    let headings: Vec<_> = cells[1..6].iter().map(|(heading, _)| heading.as_str()).collect();
    assert_eq!(
        headings,
        ["TAR @ FAR 7 %", "TAR @ FAR 0.0001 %", "TAR @ FAR 0 %", "TAR @ FAR 100 %", "TAR @ FAR 12.3 %"]
    );
}

#[test]
fn limiting_keeps_the_mixture_and_never_asks_for_more() {
    let set = set(); // 4 classes of 20: 760 matching, 2,400 non-matching pairs
    let limited = |matching, non_matching| {
        let options = ReportOptions { matching, non_matching, ..Default::default() }.limited_to(&set);
        (options.matching, options.non_matching)
    };
    assert_eq!(limited(6_000, 12_000), (760, 1_520));
    assert_eq!(limited(1_000, 10_000), (240, 2_400));
    assert_eq!(limited(100, 200), (100, 200));
    assert_eq!(limited(760, 2_400), (760, 2_400));
    assert_eq!(limited(10, 4_800), (5, 2_400));
}

#[test]
fn intervals_of_other_pairs_are_refused() {
    let report = VerificationReport::of(&set(), &options()).unwrap();
    let other = super::population(&[4; 6], 1);
    let (roc, counts) =
        (other.pair_scores(PairProtocol::All).unwrap().roc(), ClassCounts::across(&other, &[]).unwrap());
    let refused = report.with_intervals(&Intervals::new(&roc, &counts, 0.9).unwrap()).unwrap_err();
    assert_eq!(refused.to_string(), "invalid `intervals`: expected those of 3160 pairs, got 276");
}

/// Embeddings are compared by their cosine, so the wrong way round is a set whose classes are spread as far as possible.
#[test]
fn an_auc_far_below_chance_gets_a_hint() {
    // Two classes on both ends of each of two axes: samples of one class are opposite, of two at a right angle.
    let values = Array2::from_shape_vec((4, 2), vec![1.0f32, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0]).unwrap();
    let set = EmbeddingSet::new(values.view(), &[0, 0, 1, 1]).unwrap();
    let options = ReportOptions { matching: 2, non_matching: 4, folds: 2, ..Default::default() };
    let report = VerificationReport::of(&set, &options).unwrap();
    assert!(report.auc < 0.01, "{}", report.auc);
    let printed = report.to_string();
    let hint = printed.lines().last().unwrap();
    assert!(
        hint.starts_with("hint: an AUC of 0.000 is far below 0.5; a higher score has to mean more alike"),
        "{hint}"
    );
    assert!(hint.contains("negate distances"), "{hint}");

    for (auc, hinted) in [(0.399, true), (0.401, false), (0.5, false), (0.99, false)] {
        assert_eq!(low_auc_hint(auc).is_some(), hinted, "{auc}");
        let printed = VerificationReport { auc, ..report.clone() }.to_string();
        assert_eq!(printed.contains("hint:"), hinted, "{auc}: {printed}");
    }
}
