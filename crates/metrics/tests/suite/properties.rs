//! Laws of the curve, on scores with many ties.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use proptest::prelude::*;
use soft_lmccl_metrics::{EerMethod, OperatingPoint, RocCurve};

use super::{F64_REL, pairs, tied_pairs};

/// The share of couples that the matching pair wins, ties half: the definition, in O(n²).
fn mann_whitney(scores: &[f64], same: &[bool]) -> f64 {
    let kind = |kind: bool| scores.iter().zip(same).filter(move |(_, same)| **same == kind).map(|(score, _)| *score);
    let (mut twice_wins, mut couples) = (0u32, 0u32);
    for positive in kind(true) {
        for negative in kind(false) {
            couples += 1;
            twice_wins += if positive > negative { 2 } else { u32::from(positive >= negative) };
        }
    }
    f64::from(twice_wins) / f64::from(2 * couples)
}

/// Counts at a threshold, from the definition of acceptance.
fn count(scores: &[f64], same: &[bool], threshold: f64) -> (u64, u64) {
    let accepted = |kind: bool| scores.iter().zip(same).filter(|(s, k)| **k == kind && **s >= threshold).count() as u64;
    (accepted(true), accepted(false))
}

/// The rates of a curve without its thresholds, which a change of scale moves.
fn counts(curve: &RocCurve) -> Vec<(u64, u64)> {
    curve.points().iter().map(|point| (point.true_accepts, point.false_accepts)).collect()
}

/// How far `(far, 1 - far)` lies from the segment between two points that it must be on.
fn off_segment(p: &OperatingPoint, q: &OperatingPoint, eer: f64) -> f64 {
    let within = p.far() - F64_REL <= eer && eer <= q.far() + F64_REL;
    let cross = (q.far() - p.far()) * (1.0 - eer - p.tar()) - (q.tar() - p.tar()) * (eer - p.far());
    if within { cross.abs() } else { f64::INFINITY }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn auc_is_the_mann_whitney_count((scores, same) in tied_pairs()) {
        let auc = pairs(&scores, &same).roc().auc();
        assert_relative_eq!(auc, mann_whitney(&scores, &same), max_relative = F64_REL);
    }

    #[test]
    fn negated_scores_turn_the_curve_over((scores, same) in tied_pairs()) {
        let negated: Vec<f64> = scores.iter().map(|score| -score).collect();
        let (curve, turned) = (pairs(&scores, &same).roc(), pairs(&negated, &same).roc());
        assert_abs_diff_eq!(curve.auc() + turned.auc(), 1.0, epsilon = F64_REL);
        let eer = EerMethod::Linear;
        assert_abs_diff_eq!(curve.eer(eer) + turned.eer(eer), 1.0, epsilon = F64_REL);
    }

    #[test]
    fn exchanged_kinds_exchange_the_errors((scores, same) in tied_pairs()) {
        let negated: Vec<f64> = scores.iter().map(|score| -score).collect();
        let other: Vec<bool> = same.iter().map(|same| !same).collect();
        let (curve, exchanged) = (pairs(&scores, &same).roc(), pairs(&negated, &other).roc());
        assert_abs_diff_eq!(curve.auc(), exchanged.auc(), epsilon = F64_REL);
        assert_abs_diff_eq!(curve.eer(EerMethod::Linear), exchanged.eer(EerMethod::Linear), epsilon = F64_REL);
    }

    #[test]
    fn strictly_increasing_maps_change_nothing((scores, same) in tied_pairs()) {
        let curve = pairs(&scores, &same).roc();
        for map in [|s: f64| s.exp(), |s: f64| 1e-12 * s - 7.0, |s: f64| s.powi(3) * 1e200] {
            let mapped: Vec<f64> = scores.iter().map(|&score| map(score)).collect();
            prop_assert_eq!(counts(&curve), counts(&pairs(&mapped, &same).roc()));
        }
    }

    #[test]
    fn order_of_the_pairs_changes_nothing((scores, same) in tied_pairs(), turn in 0usize..40) {
        let (mut turned, mut turned_same) = (scores.clone(), same.clone());
        turned.rotate_left(turn % scores.len());
        turned_same.rotate_left(turn % scores.len());
        prop_assert_eq!(pairs(&scores, &same).roc(), pairs(&turned, &turned_same).roc());
        turned.reverse();
        turned_same.reverse();
        prop_assert_eq!(pairs(&scores, &same).roc(), pairs(&turned, &turned_same).roc());
    }

    #[test]
    fn signs_of_zero_are_one_score((scores, same) in tied_pairs(), signs in prop::collection::vec(any::<bool>(), 40)) {
        let resigned: Vec<f64> =
            scores.iter().zip(signs).map(|(&s, minus)| if s.abs() <= 0.0 && minus { -0.0 } else { s }).collect();
        prop_assert_eq!(pairs(&scores, &same).roc(), pairs(&resigned, &same).roc());
    }

    #[test]
    fn every_point_counts_what_its_threshold_accepts((scores, same) in tied_pairs()) {
        let curve = pairs(&scores, &same).roc();
        let mut distinct = scores.clone();
        distinct.sort_by(|a, b| b.total_cmp(a));
        distinct.dedup();
        let thresholds: Vec<f64> = curve.points().iter().map(|point| point.threshold).collect();
        prop_assert_eq!(&thresholds[1..], &distinct[..]);
        prop_assert!(thresholds[0].is_infinite() && thresholds[0] > 0.0);
        for point in curve.points() {
            prop_assert_eq!((point.true_accepts, point.false_accepts), count(&scores, &same, point.threshold));
            assert_abs_diff_eq!(point.frr(), 1.0 - point.tar(), epsilon = F64_REL);
        }
    }

    #[test]
    fn curve_rises_from_nothing_to_everything((scores, same) in tied_pairs()) {
        let curve = pairs(&scores, &same).roc();
        for step in curve.points().windows(2) {
            prop_assert!(step[0].threshold > step[1].threshold);
            prop_assert!(step[0].true_accepts <= step[1].true_accepts);
            prop_assert!(step[0].false_accepts <= step[1].false_accepts);
        }
        let (first, last) = (curve.points()[0], curve.points()[curve.points().len() - 1]);
        prop_assert_eq!((first.true_accepts, first.false_accepts), (0, 0));
        prop_assert_eq!((last.true_accepts, last.false_accepts), (last.matching, last.non_matching));
    }

    #[test]
    fn linear_eer_lies_on_the_curve((scores, same) in tied_pairs()) {
        let curve = pairs(&scores, &same).roc();
        let eer = curve.eer(EerMethod::Linear);
        let nearest = curve.points().windows(2).map(|p| off_segment(&p[0], &p[1], eer)).fold(f64::INFINITY, f64::min);
        prop_assert!(nearest <= F64_REL, "{} off by {}", eer, nearest);
    }

    #[test]
    fn min_difference_eer_is_the_nearest_point((scores, same) in tied_pairs()) {
        let curve = pairs(&scores, &same).roc();
        // In the order of the curve, so that the first of equals is the one of the higher threshold.
        let gap = |p: &OperatingPoint| {
            let far = i64::try_from(p.false_accepts * p.matching).unwrap();
            let frr = i64::try_from((p.matching - p.true_accepts) * p.non_matching).unwrap();
            (far - frr).abs()
        };
        let nearest = curve.points().iter().min_by_key(|point| gap(point)).unwrap();
        let expected = (nearest.far() + nearest.frr()) / 2.0;
        assert_abs_diff_eq!(curve.eer(EerMethod::MinDifference), expected, epsilon = F64_REL);
    }

    #[test]
    fn tar_at_far_is_the_best_within_the_target((scores, same) in tied_pairs(), target in 0.0..=1.0f64) {
        let curve = pairs(&scores, &same).roc();
        let at = curve.at_far(target).unwrap();
        prop_assert!(at.point.far() <= target);
        for point in curve.points() {
            if point.far() <= target {
                prop_assert!(point.true_accepts <= at.point.true_accepts);
                prop_assert!(point.threshold >= at.point.threshold);
            }
        }
        prop_assert_eq!(at.resolvable, target * at.point.non_matching as f64 >= 1.0);
    }

    #[test]
    fn tar_never_falls_as_the_target_rises((scores, same) in tied_pairs(), a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
        let curve = pairs(&scores, &same).roc();
        let (low, high) = (curve.at_far(a.min(b)).unwrap(), curve.at_far(a.max(b)).unwrap());
        prop_assert!(low.point.tar() <= high.point.tar());
    }

    /// The inequality that the paper's tables break: at any threshold, the best accuracy is at least
    /// what that threshold's rates give.
    #[test]
    fn best_accuracy_is_at_least_that_of_every_point((scores, same) in tied_pairs()) {
        let curve = pairs(&scores, &same).roc();
        let best = curve.best_accuracy();
        let share = best.matching as f64 / (best.matching + best.non_matching) as f64;
        for point in curve.points() {
            let implied = share * point.tar() + (1.0 - share) * (1.0 - point.far());
            assert_abs_diff_eq!(point.accuracy(), implied, epsilon = F64_REL);
            prop_assert!(best.correct() > point.correct() || best.threshold >= point.threshold && best.correct() == point.correct());
        }
        prop_assert!(best.accuracy() >= share.max(1.0 - share) - F64_REL);
    }
}

/// A target that is a fraction of the counts is met by that very count, however its `f64` is rounded.
#[test]
fn decimal_targets_mean_what_they_say() {
    for non_matching in [3u64, 7, 10, 49, 1000] {
        let mut scores: Vec<f64> = (0..non_matching).map(|i| -(i as f64)).collect();
        let mut same = vec![false; scores.len()];
        scores.push(0.5);
        same.push(true);
        let curve = pairs(&scores, &same).roc();
        for false_accepts in 0..=non_matching {
            let target = false_accepts as f64 / non_matching as f64;
            let at = curve.at_far(target).unwrap();
            assert_eq!(at.point.false_accepts, false_accepts);
            assert_eq!(at.resolvable, false_accepts > 0);
        }
    }
}

/// 3 of 10 is 0.3 to the reader, though `0.3_f64 < 3/10`.
#[test]
fn three_of_ten_are_within_three_tenths() {
    let scores: Vec<f64> = (0..11).map(f64::from).collect();
    let mut same = vec![false; 11];
    same[0] = true;
    assert_eq!(pairs(&scores, &same).roc().at_far(0.3).unwrap().point.false_accepts, 3);
}

#[test]
fn perfect_inverted_and_constant_scores() {
    let same = [true, true, false, false, false];
    let perfect = pairs(&[0.9, 0.8, 0.3, 0.2, 0.1], &same).roc();
    let inverted = pairs(&[0.1, 0.2, 0.3, 0.8, 0.9], &same).roc();
    let constant = pairs(&[0.5; 5], &same).roc();
    for method in [EerMethod::Linear, EerMethod::MinDifference] {
        assert_abs_diff_eq!(perfect.eer(method), 0.0);
        assert_abs_diff_eq!(inverted.eer(method), 1.0);
        assert_abs_diff_eq!(constant.eer(method), 0.5);
    }
    for (curve, auc) in [(&perfect, 1.0), (&inverted, 0.0), (&constant, 0.5)] {
        assert_abs_diff_eq!(curve.auc(), auc);
    }
    assert_eq!(constant.points().len(), 2);
    assert!(constant.best_accuracy().threshold.is_infinite());
}

/// FAR 0, FRR 1/2 and then FAR 1, FRR 1/2: equally near, on either side, and not the same average. The
/// point of the higher threshold counts; the line between the two crosses at 1/2.
#[test]
fn tie_of_the_min_difference_goes_to_the_higher_threshold() {
    let curve = pairs(&[0.9, 0.5, 0.4], &[true, false, true]).roc();
    assert_abs_diff_eq!(curve.eer(EerMethod::MinDifference), 0.25);
    assert_abs_diff_eq!(curve.eer(EerMethod::Linear), 0.5);
}

#[test]
fn curves_are_equal_if_their_points_are() {
    let curve = |scores: &[f64], same: &[bool]| pairs(scores, same).roc();
    let expected = curve(&[0.5, 0.25, 0.0], &[true, false, true]);
    assert_eq!(curve(&[0.0, 0.25, 0.5], &[true, false, true]), expected);
    // Another threshold, other counts, one point more.
    assert_ne!(curve(&[0.5, 0.25, 0.125], &[true, false, true]), expected);
    assert_ne!(curve(&[0.5, 0.25, 0.0], &[true, true, false]), expected);
    assert_ne!(curve(&[0.5, 0.25, 0.0, -0.5], &[true, false, true, true]), expected);
}
