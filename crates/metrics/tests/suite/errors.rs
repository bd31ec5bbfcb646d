//! Every refusal, with its words.

use ndarray::{Array2, array};
use soft_lmccl_metrics::{
    EmbeddingSet, Error, OperatingPoint, PairProtocol, PairScores, ReportOptions, VerificationReport,
};

fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn embeddings() {
    let good = array![[1.0f32, 2.0], [3.0, 4.0]];
    let rows: [(Array2<f32>, &[i64], &str); 10] = [
        (Array2::zeros((0, 3)), &[], "need at least one embedding of at least one dimension, got 0 of 3"),
        (Array2::zeros((2, 0)), &[1, 2], "need at least one embedding of at least one dimension, got 2 of 0"),
        (good.clone(), &[1], "2 embeddings but 1 labels"),
        (good.clone(), &[1, 2, 3], "2 embeddings but 3 labels"),
        (good.clone(), &[1, -1], "label -1 of embedding 1 is outside 0..=4294967295"),
        (good.clone(), &[1 << 32, 0], "label 4294967296 of embedding 0 is outside 0..=4294967295"),
        (array![[1.0, 2.0], [3.0, f32::NAN]], &[1, 1], "embedding 1 has NaN in column 1, not a finite number"),
        (
            array![[f32::NEG_INFINITY, 2.0], [3.0, f32::NAN]],
            &[1, 1],
            "embedding 0 has -inf in column 0, not a finite number",
        ),
        (
            array![[1.0, 2.0], [0.0, -0.0]],
            &[1, 1],
            "embedding 1 is zero in every column, so it has no cosine with any other",
        ),
        (array![[0.0]], &[-5], "embedding 0 is zero in every column, so it has no cosine with any other"),
    ];
    for (values, labels, expected) in rows {
        assert_eq!(message(EmbeddingSet::new(values.view(), labels)), expected);
    }
    assert!(EmbeddingSet::new(good.view(), &[0, i64::from(u32::MAX)]).is_ok());
}

#[test]
fn pair_scores() {
    let rows: [(&[f64], &[bool], &str); 7] = [
        (&[0.1, 0.2], &[true], "2 scores but 1 labels"),
        (&[0.1], &[true, false], "1 scores but 2 labels"),
        (&[0.1, f64::NAN], &[true, false], "score 1 is NaN, not a finite number"),
        (&[f64::INFINITY, 0.0], &[true, false], "score 0 is inf, not a finite number"),
        (&[], &[], "need matching and non-matching pairs, got 0 and 0"),
        (&[0.1, 0.2], &[true, true], "need matching and non-matching pairs, got 2 and 0"),
        (&[0.1], &[false], "need matching and non-matching pairs, got 0 and 1"),
    ];
    for (scores, same, expected) in rows {
        assert_eq!(message(PairScores::new(scores.to_vec(), same.to_vec())), expected);
    }
}

#[test]
fn points_as_json() {
    let point = PairScores::new(vec![0.5, 0.25], vec![true, false]).unwrap().roc().points()[0];
    let json = serde_json::to_string(&point).unwrap();
    assert!(json.starts_with(r#"{"threshold":null,"#), "{json}");
    assert_eq!(serde_json::from_str::<OperatingPoint>(&json).unwrap(), point);

    let lowest = OperatingPoint { threshold: f64::MIN, ..point };
    assert_eq!(serde_json::from_str::<OperatingPoint>(&serde_json::to_string(&lowest).unwrap()).unwrap(), lowest);

    // Only +∞ is null.
    for (threshold, text) in [(f64::NEG_INFINITY, "-inf"), (f64::NAN, "NaN")] {
        let expected = format!("expected a finite number or +∞, which is null, got {text}");
        let refused = serde_json::to_string(&OperatingPoint { threshold, ..point }).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    for (from, to, expected) in [
        ("\"matching\":1", "\"matching\":0", "`matching` must be at least 1, got 0"),
        ("\"false_accepts\":0", "\"false_accepts\":2", "`false_accepts` must be at most `non_matching` (1), got 2"),
        (
            "\"matching\":1",
            "\"matching\":18446744073709551615",
            "`non_matching` must be at most 0 beside 18446744073709551615, got 1",
        ),
    ] {
        let json = serde_json::to_string(&point).unwrap().replacen(from, to, 1);
        assert_eq!(serde_json::from_str::<OperatingPoint>(&json).unwrap_err().to_string(), expected);
    }
}

#[test]
fn pairs_of_a_set() {
    let values = array![[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]];
    let set = |labels: &[i64]| EmbeddingSet::new(values.view(), labels).unwrap();
    let drawn = |matching, non_matching| PairProtocol::Sampled { matching, non_matching, seed: 0 };
    let rows: [(&[i64], PairProtocol, &str); 7] = [
        (&[4, 4, 4], PairProtocol::All, "need matching and non-matching pairs, got 3 and 0"),
        (&[4, 5, 6], PairProtocol::All, "need matching and non-matching pairs, got 0 and 3"),
        (&[4, 4, 6], drawn(2, 2), "asked for 2 distinct matching pairs, but the set has 1"),
        (&[4, 4, 6], drawn(1, 3), "asked for 3 distinct non-matching pairs, but the set has 2"),
        (&[4, 4, 6], drawn(0, 2), "need matching and non-matching pairs, got 0 and 2"),
        (&[4, 4, 6], drawn(1, 0), "need matching and non-matching pairs, got 1 and 0"),
        (&[4, 5, 6], drawn(1, 1), "asked for 1 distinct matching pairs, but the set has 0"),
    ];
    for (labels, protocol, expected) in rows {
        assert_eq!(message(set(labels).pair_scores(protocol)), expected);
    }
    let one = EmbeddingSet::new(array![[1.0f32]].view(), &[0]).unwrap();
    assert_eq!(message(one.pair_scores(PairProtocol::All)), "need matching and non-matching pairs, got 0 and 0");
}

#[test]
fn rates() {
    let pairs = PairScores::new(vec![0.1, 0.2, 0.3, 0.4], vec![true, false, true, false]).unwrap();
    for (target, shown) in [
        (f64::NAN, "NaN"),
        (-f64::EPSILON, "-0.0000000000000002220446049250313"),
        (1.0 + f64::EPSILON, "1.0000000000000002"),
        (f64::INFINITY, "inf"),
    ] {
        let expected = format!("`target_far` must be a rate from 0 to 1, got {shown}");
        assert_eq!(message(pairs.roc().at_far(target)), expected);
        assert_eq!(message(pairs.cross_validated_tar(target, 2, 0)), expected);
        let options = ReportOptions { far_targets: vec![0.5, target], ..Default::default() };
        let expected = format!("`far_targets` must be a rate from 0 to 1, got {shown}");
        assert_eq!(message(options.validate()), expected);
    }
    for target in [0.0, -0.0, 1.0, f64::MIN_POSITIVE] {
        assert!(pairs.roc().at_far(target).is_ok());
    }
}

#[test]
fn folds() {
    let pairs = PairScores::new(vec![0.1, 0.2, 0.3, 0.4], vec![true, false, true, false]).unwrap();
    for (folds, expected) in [
        (0, "`folds` must be from 2 to the number of pairs (4), got 0"),
        (1, "`folds` must be from 2 to the number of pairs (4), got 1"),
        (5, "`folds` must be from 2 to the number of pairs (4), got 5"),
        (
            4,
            "the test part of fold 1 of 4 has 0 matching and 1 non-matching pairs; both kinds are needed: \
             use fewer folds or more pairs",
        ),
    ] {
        let got = message(pairs.cross_validated_accuracy(folds, 3));
        // Which kind the single pair of a fold is depends on the shuffle.
        let got = got.replace("1 matching and 0 non", "0 matching and 1 non");
        assert_eq!(got, expected);
    }
    // The only matching pair is in some fold: that fold's training part has none.
    let lonely = PairScores::new(vec![0.1, 0.2, 0.3, 0.4], vec![true, false, false, false]).unwrap();
    let got = message(lonely.cross_validated_accuracy(2, 0));
    assert!(
        got == "the training part of fold 1 of 2 has 0 matching and 2 non-matching pairs; both kinds are needed: \
                use fewer folds or more pairs"
            || got
                == "the test part of fold 1 of 2 has 0 matching and 2 non-matching pairs; both kinds are needed: \
                    use fewer folds or more pairs",
        "{got}"
    );
}

#[test]
fn report_options() {
    let default = ReportOptions::default();
    let rows = [
        (ReportOptions { matching: 0, ..default.clone() }, "need matching and non-matching pairs, got 0 and 12000"),
        (ReportOptions { non_matching: 0, ..default.clone() }, "need matching and non-matching pairs, got 6000 and 0"),
        (ReportOptions { folds: 1, ..default.clone() }, "`folds` must be from 2 to the number of pairs (18000), got 1"),
        (
            ReportOptions { matching: 2, non_matching: 2, folds: 5, ..default.clone() },
            "`folds` must be from 2 to the number of pairs (4), got 5",
        ),
    ];
    let set = EmbeddingSet::new(array![[1.0f32], [2.0], [3.0]].view(), &[0, 0, 1]).unwrap();
    for (options, expected) in rows {
        assert_eq!(message(options.validate()), expected);
        assert_eq!(message(VerificationReport::of(&set, &options)), expected);
    }
    assert!(default.validate().is_ok());
    assert!(ReportOptions { matching: 2, non_matching: 2, folds: 4, ..default.clone() }.validate().is_ok());
    assert_eq!(
        message(VerificationReport::of(&set, &default)),
        "asked for 6000 distinct matching pairs, but the set has 1"
    );
}
