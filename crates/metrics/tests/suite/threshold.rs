//! A threshold from fit to file to use.

use std::fs;

use approx::{assert_abs_diff_eq, assert_relative_eq};
use ndarray::Array2;
use proptest::prelude::*;
use serde_json::json;
use soft_lmccl_metrics::Error;
use soft_lmccl_metrics::verify::AllPairs;
use soft_lmccl_metrics::{
    ClassCounts, Curve, EerMethod, EmbeddingSet, FarPoint, Gallery, Intervals, OperatingPoint, PairCounts,
    PairProtocol, PairScores, Prototype, RocCurve, ThresholdRule, VerificationThreshold,
};

use super::{F64_REL, noise, pairs, tied_pairs};

const RULES: [ThresholdRule; 3] =
    [ThresholdRule::AtFar { target_far: 0.2 }, ThresholdRule::EqualErrors, ThresholdRule::Accuracy];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fit_is_the_point_of_the_curve((scores, same) in tied_pairs()) {
        let pairs = pairs(&scores, &same);
        let roc = pairs.roc();
        let points = [roc.at_far(0.2).unwrap().point, roc.eer_point(), roc.best_accuracy()];
        for (rule, point) in RULES.into_iter().zip(points) {
            match VerificationThreshold::fit(&pairs, rule) {
                Ok(threshold) => {
                    prop_assert_eq!(threshold.fitted(), point);
                    prop_assert_eq!(threshold.rates_on(&pairs), point);
                    prop_assert_eq!(threshold.rule(), rule);
                    prop_assert!(!threshold.on_grid());
                }
                Err(_) => prop_assert!(point.threshold.is_infinite()),
            }
        }
    }

    #[test]
    fn rates_elsewhere_count_what_is_accepted((scores, same) in tied_pairs(), (others, truth) in tied_pairs()) {
        if let Ok(threshold) = VerificationThreshold::fit(&pairs(&scores, &same), ThresholdRule::EqualErrors) {
            let rates = threshold.rates_on(&pairs(&others, &truth));
            prop_assert_eq!(threshold.rates_of(&pairs(&others, &truth).roc()), rates);
            let accepted = |kind| others.iter().zip(&truth).filter(|(s, k)| threshold.accepts(**s) && **k == kind).count();
            prop_assert_eq!(rates.true_accepts, accepted(true) as u64);
            prop_assert_eq!(rates.false_accepts, accepted(false) as u64);
            assert_relative_eq!(rates.threshold, threshold.value());
        }
    }

    /// To the last bit: a pair that scored exactly the threshold must still be accepted.
    #[test]
    fn file_gives_back_the_same_threshold(top in -1.0..1.0f64, target_far in 0.0..1.0f64) {
        let pairs = pairs(&[top, top - 0.25, top - 0.5], &[true, false, true]);
        let threshold = VerificationThreshold::fit(&pairs, ThresholdRule::AtFar { target_far }).unwrap();
        let json = serde_json::to_string(&threshold).unwrap();
        prop_assert_eq!(serde_json::from_str::<VerificationThreshold>(&json).unwrap(), threshold);
    }

    #[test]
    fn score_is_that_of_the_set(dim in 1usize..40, seed in any::<u64>()) {
        let mut noise = noise(seed);
        let values = Array2::from_shape_simple_fn((2, dim), || (noise() - 0.5) as f32);
        let set = EmbeddingSet::new(values.view(), &[1, 2]).unwrap();
        let threshold = VerificationThreshold::fit(&pairs(&[0.25, 0.0], &[true, false]), ThresholdRule::Accuracy).unwrap();
        let (a, b) = (values.row(0).to_vec(), values.row(1).to_vec());
        let verdict = threshold.verify(&a, &b).unwrap();
        prop_assert_eq!(verdict.score.to_bits(), set.cosine(0, 1).to_bits());
        prop_assert_eq!(verdict.accepted, verdict.score >= 0.25);
        prop_assert_eq!(threshold.verify(&b, &a).unwrap(), verdict);
    }
}

fn fitted() -> VerificationThreshold {
    let pairs = pairs(&[0.9, 0.8, 0.7, 0.6, 0.1], &[true, false, true, true, false]);
    VerificationThreshold::fit(&pairs, ThresholdRule::AtFar { target_far: 0.5 }).unwrap()
}

#[test]
fn file_says_how_it_was_fitted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("threshold.json");
    fitted().save(&path).unwrap();
    let record: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        record,
        json!({
            "threshold": 0.6, "rule": {"at_far": {"target_far": 0.5}}, "on_grid": false, "resolvable": true,
            "tar": 1.0, "far": 0.5, "true_accepts": 3, "false_accepts": 1, "matching": 3, "non_matching": 2,
        })
    );
    assert_eq!(VerificationThreshold::load(&path).unwrap(), fitted());
    // Nothing else is left behind, also when it is written again.
    fitted().save(&path).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// Rows of length 1 whose products and sums are exact in `f32`, though their cosines are no multiples of 2⁻²²:
/// five whole numbers with squares that sum up to 2²⁴, divided by 2¹².
fn exact_rows(rows: usize, seed: u64) -> Array2<f32> {
    const LENGTH: u64 = 1 << 12;
    let mut noise = noise(seed);
    let mut values = Array2::zeros((0, 5));
    while values.nrows() < rows {
        let mut draw = || (noise() * 2_000.0) as u64;
        let drawn = [draw(), draw(), draw()];
        let rest = LENGTH * LENGTH - drawn.iter().map(|x| x * x).sum::<u64>();
        let last_two = (0..=rest.isqrt()).map(|d| (d, (rest - d * d).isqrt())).find(|(d, e)| d * d + e * e == rest);
        if let Some((d, e)) = last_two {
            let sign = if noise() < 0.3 { -1.0 } else { 1.0 };
            let [a, b, c] = drawn;
            values.push_row(ndarray::aview1(&[a, b, c, d, e].map(|x| sign * x as f32 / LENGTH as f32))).unwrap();
        }
    }
    values
}

#[test]
fn a_threshold_of_rounded_scores_rounds_what_it_judges() {
    let mut differs = 0;
    for seed in 0..40 {
        let labels: Vec<i64> = (0..24).map(|row| row * row % 7).collect();
        let set = EmbeddingSet::new(exact_rows(24, seed).view(), &labels).unwrap();
        let pairs = set.pair_scores(PairProtocol::All).unwrap();
        let histogram = AllPairs::default().count(&set).unwrap();
        for rule in RULES.into_iter().chain([ThresholdRule::AtFar { target_far: 0.0 }]) {
            let Ok(threshold) = VerificationThreshold::fit_curve(&histogram, rule) else { continue };
            let fitted = threshold.fitted();
            assert!(threshold.on_grid());
            assert_eq!(threshold.rates_on(&pairs), fitted);
            assert_eq!(threshold.rates_of(&pairs.roc()), fitted);
            assert_eq!(threshold.rates_of(&histogram), fitted);
            assert_eq!(VerificationThreshold::fit_curve(&histogram.roc(), rule).unwrap(), threshold);
            let confusion = set.confusion(&threshold);
            assert_eq!(confusion.tar().iter().map(|class| class.accepted).sum::<u64>(), fitted.true_accepts);
            assert_eq!(confusion.most_confused().iter().map(|two| two.accepted).sum::<u64>(), fitted.false_accepts);
            let sent: VerificationThreshold =
                serde_json::from_value(serde_json::to_value(&threshold).unwrap()).unwrap();
            assert_eq!(sent, threshold);
            let plain = pairs.scores().iter().filter(|&&score| score >= threshold.value()).count() as u64;
            differs += u64::from(plain != fitted.true_accepts + fitted.false_accepts);
        }
    }
    assert!(differs > 10, "rounding made a difference {differs} times only");
}

/// A curve from elsewhere, which says no more than it must.
struct OfOnesOwn(RocCurve);

impl Curve for OfOnesOwn {
    fn counts(&self) -> PairCounts {
        self.0.counts()
    }
    fn auc(&self) -> f64 {
        self.0.auc()
    }
    fn eer(&self, method: EerMethod) -> f64 {
        self.0.eer(method)
    }
    fn eer_point(&self) -> OperatingPoint {
        self.0.eer_point()
    }
    fn at_far(&self, target_far: f64) -> Result<FarPoint, Error> {
        self.0.at_far(target_far)
    }
    fn best_accuracy(&self) -> OperatingPoint {
        self.0.best_accuracy()
    }
    fn at_threshold(&self, threshold: f64) -> OperatingPoint {
        self.0.at_threshold(threshold)
    }
}

/// Its scores are not taken to be rounded: 0.6 is no score of the grid.
#[test]
fn a_curve_of_ones_own_is_of_scores_as_they_are() {
    let pairs = pairs(&[0.9, 0.6, 0.1], &[true, true, false]);
    let threshold = VerificationThreshold::fit_curve(&OfOnesOwn(pairs.roc()), ThresholdRule::Accuracy).unwrap();
    assert!(!threshold.on_grid());
    assert!(threshold.accepts(0.6) && !threshold.accepts(0.6f64.next_down()));
}

#[test]
fn rows_that_repeat_are_accepted_by_a_threshold_of_one() {
    let mut noise = noise(3);
    let classes = Array2::from_shape_simple_fn((5, 7), || (noise() - 0.5) as f32);
    let rows = Array2::from_shape_fn((15, 7), |(row, column)| classes[[row / 3, column]]);
    let labels: Vec<i64> = (0..15).map(|row| row / 3).collect();
    let set = EmbeddingSet::new(rows.view(), &labels).unwrap();
    let histogram = AllPairs::default().count(&set).unwrap();
    let threshold = VerificationThreshold::fit_curve(&histogram, ThresholdRule::AtFar { target_far: 0.0 }).unwrap();
    assert_eq!(threshold.fitted().true_accepts, 15);
    assert_eq!(threshold.rates_on(&set.pair_scores(PairProtocol::All).unwrap()), threshold.fitted());
    let gallery = Gallery::enroll(&set, Prototype::Medoid).unwrap();
    for row in rows.outer_iter() {
        let row = row.to_vec();
        assert!(threshold.verify(&row, &row).unwrap().accepted);
        assert!(gallery.identify(&row, &threshold).unwrap().label.is_some());
    }
    assert!(!threshold.accepts(f64::NAN));
}

#[test]
fn a_file_that_does_not_name_the_grid_loads() {
    let mut record = serde_json::to_value(fitted()).unwrap();
    record.as_object_mut().unwrap().remove("on_grid");
    assert_eq!(serde_json::from_value::<VerificationThreshold>(record).unwrap(), fitted());
}

#[test]
fn a_target_below_resolution_is_marked() {
    let pairs = pairs(&[0.9, 0.8, 0.7], &[true, false, false]);
    for (target_far, resolvable) in [(0.5, true), (0.499, false), (0.0, false)] {
        let threshold = VerificationThreshold::fit(&pairs, ThresholdRule::AtFar { target_far }).unwrap();
        assert_eq!(threshold.is_resolvable(), resolvable);
        assert_eq!(serde_json::to_value(threshold).unwrap()["resolvable"], json!(resolvable));
    }
}

/// One set chooses, another is judged: with more noise the attained FAR is another one.
#[test]
fn a_threshold_travels_between_sets() {
    let set = |seed, spread: f64| {
        let mut noise = noise(seed);
        let values = Array2::from_shape_fn((60, 3), |(row, column)| {
            f32::from(row % 3 == column) + (spread * (noise() - 0.5)) as f32
        });
        let labels: Vec<i64> = (0..60).map(|row| row % 3).collect();
        EmbeddingSet::new(values.view(), &labels).unwrap().pair_scores(PairProtocol::All).unwrap()
    };
    let threshold = VerificationThreshold::fit(&set(1, 1.2), ThresholdRule::AtFar { target_far: 0.01 }).unwrap();
    assert!(threshold.fitted().far() <= 0.01);
    assert!((threshold.rates_on(&set(2, 1.2)).far() - 0.01).abs() < 0.02);
    assert!(threshold.rates_on(&set(3, 2.5)).far() > 0.02);
}

#[test]
fn refusals_to_fit_and_to_verify() {
    let best_is_wrong = pairs(&[0.9, 0.8], &[false, true]);
    for (rule, reason) in [
        (
            ThresholdRule::AtFar { target_far: 0.5 },
            "more non-matching pairs than the target FAR allows share the highest score",
        ),
        (ThresholdRule::Accuracy, "no threshold judges more pairs right than accepting nothing"),
    ] {
        let error = VerificationThreshold::fit(&best_is_wrong, rule).unwrap_err();
        assert_eq!(error.to_string(), format!("no threshold fits: {reason}"));
    }
    let all_alike = pairs(&[0.5, 0.5], &[false, true]);
    let error = VerificationThreshold::fit(&all_alike, ThresholdRule::EqualErrors).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no threshold fits: errors of both kinds are nearest to equal where nothing is accepted"
    );
    let error = VerificationThreshold::fit(&best_is_wrong, ThresholdRule::AtFar { target_far: -0.1 }).unwrap_err();
    assert_eq!(error.to_string(), "`target_far` must be a rate from 0 to 1, got -0.1");
    for (a, b, expected) in [
        (&[1.0f32, 2.0][..], &[1.0f32][..], "embeddings of 2 and of 1 dimensions have no cosine"),
        (&[1.0, 2.0], &[0.0, 0.0], "embedding 1 is zero in every column, so it has no cosine with any other"),
        (&[1.0, f32::INFINITY], &[0.0, 1.0], "embedding 0 has inf in column 1, not a finite number"),
    ] {
        assert_eq!(fitted().verify(a, b).unwrap_err().to_string(), expected);
    }
}

#[test]
fn refusals_to_load() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("threshold.json");
    let error = VerificationThreshold::load(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read {}", path.display()));
    fitted().save(&path).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    for (from, to, expected) in [
        ("\n}\n", "", "EOF while parsing"),
        ("\"threshold\"", "\"thresh\"", "unknown field `thresh`"),
        ("\"true_accepts\": 3", "\"true_accepts\": 4", "`true_accepts` must be at most `matching` (3), got 4"),
        ("\"matching\": 3", "\"matching\": 0", "`matching` must be at least 1, got 0"),
        ("\"target_far\": 0.5", "\"target_far\": -7", "`target_far` must be a rate from 0 to 1, got -7"),
        ("\"target_far\": 0.5", "\"target_far\": 7", "`target_far` must be a rate from 0 to 1, got 7"),
        (
            "\"on_grid\": false",
            "\"on_grid\": true",
            "`threshold` must be a multiple of 2^-22 from -1 to 1 if `on_grid`, got 0.6",
        ),
        (
            "\"non_matching\": 2",
            "\"non_matching\": 18446744073709551615",
            "`non_matching` must be at most 18446744073709551612 beside 3, got 18446744073709551615",
        ),
        ("\"non_matching\": 2", "\"non_matching\": -2", "invalid value: integer `-2`"),
        ("\"threshold\": 0.6", "\"threshold\": null", "invalid type: null, expected f64"),
    ] {
        assert!(good.contains(from), "{good}");
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let error = VerificationThreshold::load(&path).unwrap_err().to_string();
        let prefix = format!("{}: ", path.display());
        assert!(error.strip_prefix(&prefix).is_some_and(|problem| problem.contains(expected)), "{error}");
    }
    let missing = directory.path().join("no such directory").join("threshold.json");
    let error = fitted().save(&missing).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", missing.display()));
}

/// The threshold of a single pair of scores is one of the scores.
#[test]
fn value_is_a_score_that_was_seen() {
    let scores = vec![0.123_456_789_012_345_67, -0.5, -0.75];
    let pairs = PairScores::new(scores.clone(), vec![true, true, false]).unwrap();
    for rule in RULES {
        let threshold = VerificationThreshold::fit(&pairs, rule).unwrap();
        assert!(scores.iter().any(|score| score.to_bits() == threshold.value().to_bits()));
    }
    assert_abs_diff_eq!(
        VerificationThreshold::fit(&pairs, ThresholdRule::Accuracy).unwrap().value(),
        -0.5,
        epsilon = F64_REL
    );
}

#[test]
fn a_threshold_knows_its_data_its_day_and_its_intervals() {
    let set = super::population(&[6; 12], 2);
    let (roc, counts) =
        (set.pair_scores(PairProtocol::All).unwrap().roc(), ClassCounts::across(&set, &[0.05]).unwrap());
    let intervals = Intervals::new(&roc, &counts, 0.9).unwrap();
    let rule = ThresholdRule::AtFar { target_far: 0.05 };
    let threshold = VerificationThreshold::fit_curve(&roc, rule).unwrap();
    assert_eq!(threshold.fitted_on(), None);
    let noted = threshold.clone().noting("embeddings of run 7", &intervals).unwrap();
    let on = noted.fitted_on().unwrap();
    assert_eq!((on.data.as_str(), on.classes), ("embeddings of run 7", 12));
    assert_eq!(on.tar, Some(intervals.tar_at_far(0.05).unwrap().interval));
    assert_eq!(on.far, Some(intervals.far(noted.value()).unwrap().interval));
    assert_eq!(on.date.split('-').map(str::len).collect::<Vec<_>>(), [4, 2, 2]);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.json");
    noted.save(&path).unwrap();
    assert_eq!(VerificationThreshold::load(&path).unwrap(), noted);
    let json = std::fs::read_to_string(&path).unwrap();
    // An interval that does not hold its rate.
    let mut record: serde_json::Value = serde_json::from_str(&json).unwrap();
    record["fitted_on"]["far"]["high"] = serde_json::json!(0.0);
    let refused = serde_json::from_value::<VerificationThreshold>(record).unwrap_err().to_string();
    assert!(refused.starts_with("the interval of `far` must hold 0.0"), "{refused}");

    let other = super::population(&[5; 12], 2);
    let (roc, counts) =
        (other.pair_scores(PairProtocol::All).unwrap().roc(), ClassCounts::across(&other, &[]).unwrap());
    let refused = threshold.noting("others", &Intervals::new(&roc, &counts, 0.9).unwrap()).unwrap_err().to_string();
    assert!(
        refused.starts_with("invalid `intervals`: expected those of 180 matching and 2376 non-matching pairs"),
        "{refused}"
    );
}
