//! Metrics on numbers that are hardly any.

use ndarray::{Array2, Axis, array};
use soft_lmccl_metrics::{EmbeddingSet, Error, PairProtocol, PairScores, verify::AllPairs};

/// The smallest positive numbers of double and of single precision.
const TINY: f64 = 5e-324;
const TINY_SINGLE: f32 = 1e-45;

fn auc(scores: &[f64], same: &[bool]) -> Result<f64, Error> {
    Ok(PairScores::new(scores.to_vec(), same.to_vec())?.roc().auc())
}

#[test]
fn scores_are_compared_as_numbers() {
    let same = [true, false];
    for (scores, expected) in [
        ([0.0, -0.0], 0.5),
        ([-0.0, 0.0], 0.5),
        ([TINY, 0.0], 1.0),
        ([-TINY, 0.0], 0.0),
        ([f64::MAX, f64::MIN], 1.0),
        ([f64::MIN, f64::MAX], 0.0),
        ([1.0, 1.0 - f64::EPSILON], 1.0),
    ] {
        assert_eq!(auc(&scores, &same).unwrap().to_bits(), f64::to_bits(expected), "{scores:?}");
    }
    for (value, text) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
        let error = auc(&[0.5, value], &same).unwrap_err().to_string();
        assert_eq!(error, format!("score 1 is {text}, not a finite number"));
    }
}

#[test]
fn one_kind_of_pair_or_none_has_no_curve() {
    for (same, matching, non_matching) in [(vec![true; 3], 3, 0), (vec![false; 3], 0, 3), (vec![], 0, 0)] {
        let error = PairScores::new(vec![0.5; same.len()], same).unwrap_err();
        assert_eq!(error.to_string(), Error::OneClass { matching, non_matching }.to_string());
    }
    let rows = array![[1.0f32, 0.0], [0.5, 0.5]];
    for (rows, labels) in
        [(rows.select(Axis(0), &[0]), vec![0]), (rows.clone(), vec![7, 7]), (rows.clone(), vec![0, 1])]
    {
        let set = EmbeddingSet::new(rows.view(), &labels).unwrap();
        assert!(matches!(set.pair_scores(PairProtocol::All), Err(Error::OneClass { .. })));
        assert!(AllPairs::default().count(&set).is_err());
    }
}

#[test]
fn embeddings_of_any_size_have_a_direction() {
    let plain = array![[3.0f32, 4.0], [4.0, 3.0], [-1.0, 0.5], [-1.0, 0.25]];
    let labels = [0, 0, 1, 1];
    let scores = |rows: &Array2<f32>| {
        EmbeddingSet::new(rows.view(), &labels).unwrap().pair_scores(PairProtocol::All).unwrap().scores().to_vec()
    };
    let expected = scores(&plain);
    // Whose squares leave single precision.
    for factor in [2f32.powi(-100), 2f32.powi(100), 2f32.powi(124)] {
        assert_eq!(scores(&(&plain * factor)), expected, "{factor:e}");
    }
    let denormal = EmbeddingSet::new((&plain * (4.0 * TINY_SINGLE)).view(), &labels).unwrap();
    for row in 0..4 {
        let length: f64 = denormal.row(row).iter().map(|&x| f64::from(x).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-6, "row {row}: {length}");
    }
    let transposed = plain.t().to_owned();
    let strided = EmbeddingSet::new(transposed.t(), &labels).unwrap().pair_scores(PairProtocol::All).unwrap();
    assert_eq!(strided.scores(), expected, "rows that do not lie in one piece");
}

#[test]
fn embeddings_without_a_direction_are_refused() {
    let set = |row: [f32; 2]| EmbeddingSet::new(array![[1.0f32, 0.0], row].view(), &[0, 0]).map(drop);
    assert!(matches!(set([0.0, -0.0]), Err(Error::ZeroEmbedding { row: 1 })));
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = set([1.0, value]).unwrap_err().to_string();
        assert_eq!(error, format!("embedding 1 has {value} in column 1, not a finite number"));
    }
    for (rows, columns) in [(0, 2), (2, 0), (0, 0)] {
        let empty = Array2::<f32>::zeros((rows, columns));
        let error = EmbeddingSet::new(empty.view(), &vec![0; rows]).unwrap_err();
        assert_eq!(error.to_string(), Error::NoEmbeddings { rows, dim: columns }.to_string());
    }
    let labels = |labels: &[i64]| EmbeddingSet::new(array![[1.0f32], [2.0]].view(), labels).map(drop);
    assert!(matches!(labels(&[0]), Err(Error::EmbeddingLength { embeddings: 2, labels: 1 })));
    for label in [-1, i64::MIN, i64::MAX, 1 << 32] {
        assert!(matches!(labels(&[0, label]), Err(Error::EmbeddingLabel { row: 1, .. })), "{label}");
    }
}
