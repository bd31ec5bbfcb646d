//! Galleries and what is read off a search. The fixture's figures, for each prototype kind:
//!
//! ```python
//! score, nearest = cosines.max(1), enrolled_classes[cosines.argmax(1)]
//! correct = is_known & (nearest == truth)
//! fpr, tpr, t = roc_curve(is_known, score, drop_intermediate=False)
//! fpr_u, tpr_u, _ = roc_curve(~is_known, -score, drop_intermediate=False)
//! fpr95_known, fpr95_unknown = fpr[argmax(tpr >= 0.95)], fpr_u[argmax(tpr_u >= 0.95)]
//! auroc = roc_auc_score(is_known, score)
//! oscr = roc_auc_score(is_known, score, sample_weight=correct | ~is_known) * closed_set_accuracy
//! dir = (correct & (score >= t[flatnonzero(fpr <= target)[-1]])).sum() / is_known.sum()
//! ```

use std::collections::HashSet;

use approx::{assert_abs_diff_eq, assert_relative_eq};
use ndarray::{Array2, array};
use proptest::prelude::*;
use serde::Deserialize;
use soft_lmccl_metrics::{
    EmbeddingSet, Gallery, Identification, PairProtocol, Positive, Probe, Prototype, ThresholdRule,
    VerificationThreshold,
};

use super::{F64_REL, FIXTURE_REL, noise};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    enrolled: Vec<Vec<f32>>,
    enrolled_labels: Vec<i64>,
    probes: Vec<Vec<f32>>,
    probe_labels: Vec<i64>,
    mean: Figures,
    medoid: Figures,
}

#[derive(Deserialize)]
struct Figures {
    closed_set_accuracy: f64,
    auroc: f64,
    fpr95_known: f64,
    fpr95_unknown: f64,
    oscr: f64,
    cmc: Vec<f64>,
    dir: Vec<Dir>,
}

#[derive(Deserialize)]
struct Dir {
    target: f64,
    dir: f64,
    fpir: f64,
}

fn set(rows: &[Vec<f32>], labels: &[i64]) -> EmbeddingSet {
    let values = Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap();
    EmbeddingSet::new(values.view(), labels).unwrap()
}

/// Each is as close to the other, whatever rounding made of their lengths.
#[test]
fn the_first_of_two_is_the_medoid() {
    let mut noise = noise(11);
    let values = Array2::from_shape_simple_fn((400, 9), || (noise() - 0.5) as f32);
    let labels: Vec<i64> = (0..400).map(|row| row / 2).collect();
    let set = EmbeddingSet::new(values.view(), &labels).unwrap();
    let gallery = Gallery::enroll(&set, Prototype::Medoid).unwrap();
    for class in 0..200 {
        assert_eq!(gallery.prototype(class), set.row(2 * class), "class {class}");
    }
}

#[test]
fn every_figure_equals_scikit_learn() {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/open_set.json")).unwrap();
    assert_eq!(fixture.cases.len(), 2);
    for case in fixture.cases {
        let enrolled = set(&case.enrolled, &case.enrolled_labels);
        let probes = set(&case.probes, &case.probe_labels);
        for (prototype, expected) in [(Prototype::Mean, case.mean), (Prototype::Medoid, case.medoid)] {
            let found = Gallery::enroll(&enrolled, prototype).unwrap().search(&probes).unwrap();
            for (ours, theirs) in [
                (found.closed_set_accuracy(), expected.closed_set_accuracy),
                (found.auroc(), expected.auroc),
                (found.fpr_at_tpr(0.95, Positive::Known), expected.fpr95_known),
                (found.fpr_at_tpr(0.95, Positive::Unknown), expected.fpr95_unknown),
                (found.oscr(), expected.oscr),
            ] {
                assert_relative_eq!(ours.unwrap(), theirs, max_relative = FIXTURE_REL);
            }
            let cmc = found.cmc().unwrap();
            assert_eq!(cmc.len(), expected.cmc.len());
            for (ours, theirs) in cmc.iter().zip(&expected.cmc) {
                assert_relative_eq!(ours, theirs, max_relative = FIXTURE_REL);
            }
            assert_eq!(expected.dir.len(), 3);
            for theirs in expected.dir {
                let ours = found.dir_at_fpir(theirs.target).unwrap();
                assert_relative_eq!(ours.dir, theirs.dir, max_relative = FIXTURE_REL);
                assert_relative_eq!(ours.fpir, theirs.fpir, max_relative = FIXTURE_REL);
            }
        }
    }
}

#[test]
fn open_set_figures_equal_those_of_pytorch_ood() {
    #[derive(Deserialize)]
    struct Theirs {
        cases: Vec<BothPrototypes>,
    }
    #[derive(Deserialize)]
    struct BothPrototypes {
        mean: Ood,
        medoid: Ood,
    }
    #[derive(Deserialize)]
    struct Ood {
        auroc: f64,
        fpr95_unknown: f64,
        oscr: f64,
    }
    let inputs: Fixture = serde_json::from_str(include_str!("../fixtures/open_set.json")).unwrap();
    let theirs: Theirs = serde_json::from_str(include_str!("../fixtures/open_set_pytorch_ood.json")).unwrap();
    assert_eq!(theirs.cases.len(), 2);
    for (case, theirs) in inputs.cases.iter().zip(theirs.cases) {
        let enrolled = set(&case.enrolled, &case.enrolled_labels);
        let probes = set(&case.probes, &case.probe_labels);
        for (prototype, expected) in [(Prototype::Mean, theirs.mean), (Prototype::Medoid, theirs.medoid)] {
            let found = Gallery::enroll(&enrolled, prototype).unwrap().search(&probes).unwrap();
            for (ours, theirs) in [
                (found.auroc(), expected.auroc),
                (found.fpr_at_tpr(0.95, Positive::Unknown), expected.fpr95_unknown),
                (found.oscr(), expected.oscr),
            ] {
                assert_relative_eq!(ours.unwrap(), theirs, max_relative = FIXTURE_REL);
            }
        }
    }
}

/// Few directions in the plane, so that scores tie; classes 0 to 3 enrolled, 4 and 5 not.
fn search() -> impl Strategy<Value = Identification> {
    let probe = (0usize..8, 0i64..6);
    (prop::collection::vec(0usize..8, 4), prop::collection::vec(probe, 2..30)).prop_map(|(prototypes, mut probes)| {
        probes.extend([(1, 0), (2, 5)]);
        let direction = |step: usize| {
            let angle = step as f32 * std::f32::consts::TAU / 8.0;
            vec![angle.cos(), angle.sin()]
        };
        let enrolled: Vec<_> = prototypes.into_iter().map(direction).collect();
        let gallery = Gallery::enroll(&set(&enrolled, &[0, 1, 2, 3]), Prototype::Medoid).unwrap();
        let (rows, labels): (Vec<_>, Vec<_>) = probes.into_iter().map(|(step, label)| (direction(step), label)).unzip();
        gallery.search(&set(&rows, &labels)).unwrap()
    })
}

/// The area from its definition: over all couples of a correctly identified known probe and an unknown one.
fn oscr_by_couples(probes: &[Probe]) -> f64 {
    let known = probes.iter().filter(|probe| probe.rank.is_some());
    let unknown: Vec<_> = probes.iter().filter(|probe| probe.rank.is_none()).collect();
    let wins: f64 = known
        .clone()
        .filter(|probe| probe.nearest == probe.label)
        .flat_map(|probe| unknown.iter().map(move |other| probe.score.total_cmp(&other.score)))
        .map(|order| if order.is_gt() { 1.0 } else { 0.5 * f64::from(order.is_eq()) })
        .sum();
    wins / (known.count() * unknown.len()) as f64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn oscr_is_its_definition(found in search()) {
        let oscr = found.oscr().unwrap();
        assert_abs_diff_eq!(oscr, oscr_by_couples(found.probes()), epsilon = F64_REL);
        prop_assert!(oscr <= found.closed_set_accuracy().unwrap() + F64_REL);
        prop_assert!(oscr <= found.auroc().unwrap() + F64_REL);
    }

    #[test]
    fn dir_is_the_best_within_the_target(found in search(), target in 0.0..=1.0f64) {
        let at = found.dir_at_fpir(target).unwrap();
        let share = |hit: &dyn Fn(&Probe) -> bool, all: u64| {
            found.probes().iter().filter(|probe| hit(probe)).count() as f64 / all as f64
        };
        let dir = |t: f64| share(&|probe| probe.rank == Some(1) && probe.score >= t, found.known());
        let fpir = |t: f64| share(&|probe| probe.rank.is_none() && probe.score >= t, found.unknown());
        prop_assert!(at.fpir <= target);
        assert_abs_diff_eq!(at.dir, dir(at.threshold));
        assert_abs_diff_eq!(at.fpir, fpir(at.threshold));
        for probe in found.probes() {
            prop_assert!(fpir(probe.score) > target || dir(probe.score) <= at.dir);
        }
        prop_assert_eq!(at.resolvable, target * found.unknown() as f64 >= 1.0);
        assert_abs_diff_eq!(found.dir_at_fpir(1.0).unwrap().dir, found.closed_set_accuracy().unwrap());
    }

    #[test]
    fn cmc_rises_from_the_accuracy_to_one(found in search()) {
        let cmc = found.cmc().unwrap();
        prop_assert_eq!(cmc.len(), 4);
        assert_abs_diff_eq!(cmc[0], found.closed_set_accuracy().unwrap());
        assert_abs_diff_eq!(cmc[3], 1.0);
        prop_assert!(cmc.is_sorted());
        for probe in found.probes() {
            prop_assert_eq!(probe.rank == Some(1), probe.nearest == probe.label);
        }
    }

    #[test]
    fn fpr_at_tpr_is_its_definition(found in search(), tpr in 0.0..=1.0f64) {
        for (positive, sign) in [(Positive::Known, 1.0), (Positive::Unknown, -1.0)] {
            let rate = |of_positive: bool, t: f64| {
                let of_kind = |probe: &&Probe| (probe.rank.is_some() == (positive == Positive::Known)) == of_positive;
                let kind = found.probes().iter().filter(of_kind);
                kind.clone().filter(|probe| sign * probe.score >= t).count() as f64 / kind.count() as f64
            };
            // Rates that some threshold attains exactly among those asked for.
            for tpr in [tpr, 0.0, rate(true, sign * found.probes()[0].score), 1.0] {
                let thresholds = found.probes().iter().map(|probe| sign * probe.score).chain([f64::INFINITY]);
                let enough = thresholds.filter(|&t| rate(true, t) >= tpr);
                let least = enough.map(|t| rate(false, t)).fold(f64::INFINITY, f64::min);
                assert_abs_diff_eq!(found.fpr_at_tpr(tpr, positive).unwrap(), least);
            }
        }
    }

    #[test]
    fn enrollment_takes_so_many_of_each(seed in any::<u64>(), per_class in 1usize..4) {
        let mut noise = noise(seed);
        let values = Array2::from_shape_simple_fn((30, 3), || noise() as f32 + 0.1);
        let labels: Vec<i64> = (0..30).map(|row| row * row % 5).collect();
        let all = EmbeddingSet::new(values.view(), &labels).unwrap();
        let (enrolled, probes) = all.split_enrollment(&[4, 0, 4], per_class, seed).unwrap();
        prop_assert_eq!(enrolled.len(), 2 * per_class);
        prop_assert_eq!(enrolled.labels().iter().filter(|&&label| label == 4).count(), per_class);
        prop_assert_eq!(probes.len(), 30 - enrolled.len());
        let bits = |set: &EmbeddingSet| -> HashSet<Vec<u32>> {
            (0..set.len()).map(|row| set.row(row).iter().map(|x| x.to_bits()).collect()).collect()
        };
        prop_assert!(bits(&enrolled).is_disjoint(&bits(&probes)));
        prop_assert_eq!(all.split_enrollment(&[0, 4], per_class, seed).unwrap(), (enrolled, probes));
    }
}

#[test]
fn enrollment_depends_on_the_seed() {
    let values = Array2::from_shape_fn((40, 2), |(row, column)| 1.0 + (row * (column + 2)) as f32);
    let set = EmbeddingSet::new(values.view(), &[7; 40]).unwrap();
    let draws: Vec<_> = (0..4).map(|seed| set.split_enrollment(&[7], 5, seed).unwrap().0).collect();
    assert!(draws.windows(2).all(|two| two[0] != two[1]));
}

#[test]
fn prototypes_are_means_and_medoids() {
    // Lengths 5, 1, 10 must not weigh; the second row is nearest to the other two.
    let rows = array![[0.0f32, 5.0], [0.6, 0.8], [10.0, 0.0], [-3.0, 0.0]];
    let examples = EmbeddingSet::new(rows.view(), &[9, 9, 9, 2]).unwrap();
    let mean = Gallery::enroll(&examples, Prototype::Mean).unwrap();
    let medoid = Gallery::enroll(&examples, Prototype::Medoid).unwrap();
    assert_eq!(mean.labels(), [2, 9]);
    assert_eq!(medoid.labels(), [2, 9]);
    let length = (1.6f64.powi(2) + 1.8f64.powi(2)).sqrt();
    assert_abs_diff_eq!(f64::from(mean.prototype(1)[0]), 1.6 / length, epsilon = 1e-7);
    assert_abs_diff_eq!(f64::from(mean.prototype(1)[1]), 1.8 / length, epsilon = 1e-7);
    assert_eq!(medoid.prototype(1), examples.row(1));
    assert_eq!(medoid.prototype(0), [-1.0, 0.0]);
}

/// Opposite but for a little, which is far more than rounding: where they meet is still told.
#[test]
fn nearly_opposite_examples_have_a_mean() {
    const APART: f32 = 1e-5;
    let opposite = set(&[vec![1.0, APART], vec![-1.0, APART]], &[4, 4]);
    let gallery = Gallery::enroll(&opposite, Prototype::Mean).unwrap();
    assert_eq!(gallery.prototype(0), [0.0, 1.0]);
}

/// With one example a class, probe against prototype is row against row.
#[test]
fn comparisons_with_prototypes_are_pairs() {
    let rows = array![[1.0f32, 0.2], [0.1, 0.9], [0.7, 0.6]];
    let enrolled = EmbeddingSet::new(rows.view(), &[0, 1, 2]).unwrap();
    let gallery = Gallery::enroll(&enrolled, Prototype::Medoid).unwrap();
    let probes = EmbeddingSet::new(array![[0.3f32, 0.4], [-1.0, 2.0]].view(), &[2, 5]).unwrap();
    let pairs = gallery.pair_scores(&probes).unwrap();
    assert_eq!(pairs.same(), [false, false, true, false, false, false]);
    let joint = array![[1.0f32, 0.2], [0.1, 0.9], [0.7, 0.6], [0.3, 0.4], [-1.0, 2.0]];
    let joint = EmbeddingSet::new(joint.view(), &[0, 1, 2, 2, 5]).unwrap();
    let expected: Vec<u64> =
        [3, 4].iter().flat_map(|&p| (0..3).map(move |g| (g, p))).map(|(g, p)| joint.cosine(g, p).to_bits()).collect();
    let scores: Vec<u64> = pairs.scores().iter().map(|score| score.to_bits()).collect();
    assert_eq!(scores, expected);
    assert_eq!(joint.pair_scores(PairProtocol::All).unwrap().counts().matching, 1);
}

#[test]
fn identification_agrees_with_search_and_threshold() {
    let mut noise = noise(3);
    let values = Array2::from_shape_simple_fn((24, 4), || noise() as f32 - 0.5);
    let labels: Vec<i64> = (0..24).map(|row| row % 6).collect();
    let all = EmbeddingSet::new(values.view(), &labels).unwrap();
    let (enrolled, probes) = all.split_enrollment(&[0, 1, 2, 3], 2, 1).unwrap();
    let gallery = Gallery::enroll(&enrolled, Prototype::Mean).unwrap();
    let rule = ThresholdRule::AtFar { target_far: 0.2 };
    let threshold = VerificationThreshold::fit(&gallery.pair_scores(&probes).unwrap(), rule).unwrap();
    let found = gallery.search(&probes).unwrap();
    let mut rejected = 0;
    for (row, probe) in found.probes().iter().enumerate() {
        let identity = gallery.identify(probes.row(row), &threshold).unwrap();
        assert_eq!(identity.nearest, probe.nearest);
        assert_abs_diff_eq!(identity.score, probe.score, epsilon = 1e-6);
        assert_eq!(identity.label, (identity.score >= threshold.value()).then_some(identity.nearest));
        rejected += u32::from(identity.label.is_none());
    }
    assert!(rejected > 0 && rejected < 16, "{rejected}");
}

#[test]
fn refusals() {
    let one = |values: [f32; 2], label| EmbeddingSet::new(array![values].view(), &[label]).unwrap();
    let gallery = Gallery::enroll(&one([1.0, 0.0], 0), Prototype::Mean).unwrap();
    let all_known = gallery.search(&one([1.0, 1.0], 0)).unwrap();
    let all_unknown = gallery.search(&one([1.0, 1.0], 4)).unwrap();
    let opposite = EmbeddingSet::new(array![[1.0f32, 2.0], [-1.0, -2.0]].view(), &[6, 6]).unwrap();
    let around = Array2::from_shape_fn((3, 2), |(row, column)| {
        let angle = row as f32 * std::f32::consts::TAU / 3.0;
        [angle.cos(), angle.sin()][column]
    });
    let around = EmbeddingSet::new(around.view(), &[5, 5, 5]).unwrap();
    let solid = EmbeddingSet::new(array![[1.0f32, 2.0, 3.0]].view(), &[0]).unwrap();
    let pair = EmbeddingSet::new(array![[1.0f32, 2.0], [1.0, 3.0]].view(), &[6, 6]).unwrap();
    let rows = [
        (all_known.auroc().map(|_| ()), "need probes of enrolled classes and of others, got 1 and 0"),
        (all_known.oscr().map(|_| ()), "need probes of enrolled classes and of others, got 1 and 0"),
        (all_unknown.dir_at_fpir(0.1).map(|_| ()), "need probes of enrolled classes and of others, got 0 and 1"),
        (all_unknown.closed_set_accuracy().map(|_| ()), "need probes of enrolled classes and of others, got 0 and 1"),
        (all_unknown.cmc().map(|_| ()), "need probes of enrolled classes and of others, got 0 and 1"),
        (
            all_known.fpr_at_tpr(0.95, Positive::Unknown).map(|_| ()),
            "need probes of enrolled classes and of others, got 1 and 0",
        ),
        (all_known.fpr_at_tpr(1.5, Positive::Known).map(|_| ()), "`tpr` must be a rate from 0 to 1, got 1.5"),
        (all_known.dir_at_fpir(f64::NAN).map(|_| ()), "`target_fpir` must be a rate from 0 to 1, got NaN"),
        (
            Gallery::enroll(&opposite, Prototype::Mean).map(|_| ()),
            "the mean of class 6 is zero, so it has no direction",
        ),
        // What rounding leaves of three directions that cancel out is none.
        (Gallery::enroll(&around, Prototype::Mean).map(|_| ()), "the mean of class 5 is zero, so it has no direction"),
        (gallery.search(&solid).map(|_| ()), "embeddings of 3 and of 2 dimensions have no cosine"),
        (gallery.pair_scores(&solid).map(|_| ()), "embeddings of 3 and of 2 dimensions have no cosine"),
        (gallery.pair_scores(&one([1.0, 1.0], 0)).map(|_| ()), "need matching and non-matching pairs, got 1 and 0"),
        (
            pair.split_enrollment(&[6], 2, 0).map(|_| ()),
            "cannot enroll 2 of the 2 examples of class 6 and keep one to probe with",
        ),
        (
            pair.split_enrollment(&[6, 7], 1, 0).map(|_| ()),
            "cannot enroll 1 of the 0 examples of class 7 and keep one to probe with",
        ),
        (pair.split_enrollment(&[6], 0, 0).map(|_| ()), "invalid `per_class`: expected at least 1 example, got 0"),
        (pair.split_enrollment(&[], 1, 0).map(|_| ()), "invalid `known`: expected at least 1 class, got 0"),
    ];
    for (result, expected) in rows {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    assert_abs_diff_eq!(all_known.closed_set_accuracy().unwrap(), 1.0);
    assert!(Gallery::enroll(&opposite, Prototype::Medoid).is_ok());
}

/// Rounding leaves rows that are not quite of length 1, and scaling those again would change them.
#[test]
fn no_prototype_is_scaled_when_it_is_read() {
    let mut noise = noise(8);
    let values = Array2::from_shape_simple_fn((2_000, 2), || (noise() - 0.5) as f32);
    let labels: Vec<i64> = (0..2_000).collect();
    let set = EmbeddingSet::new(values.view(), &labels).unwrap();
    let gallery = Gallery::enroll(&set, Prototype::Medoid).unwrap();
    let read: Gallery = serde_json::from_str(&serde_json::to_string(&gallery).unwrap()).unwrap();
    assert_eq!(read, gallery);
    // There are such rows.
    assert_ne!(EmbeddingSet::new(set.view(), &labels).unwrap(), set);
}

#[test]
fn a_gallery_is_kept_to_the_last_bit_and_no_other_file_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gallery.json");
    let values = Array2::from_shape_fn((9, 5), |(row, column)| ((row * 5 + column) as f32 * 0.7).sin());
    let set = EmbeddingSet::new(values.view(), &[7, 2, 7, 4_000_000_000, 2, 2, 7, 4_000_000_000, 2]).unwrap();
    for prototype in [Prototype::Mean, Prototype::Medoid] {
        let gallery = Gallery::enroll(&set, prototype).unwrap();
        gallery.save(&path).unwrap();
        let loaded = Gallery::load(&path).unwrap();
        assert_eq!(loaded, gallery);
        let bits = |gallery: &Gallery| gallery.prototype(1).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&loaded), bits(&gallery));
    }
    for (json, problem) in [
        ("{}", "missing field `labels`"),
        (r#"{"labels":[],"prototypes":[]}"#, "need at least one embedding of at least one dimension, got 0 of 0"),
        (
            r#"{"labels":[1,1],"prototypes":[[1.0],[1.0]]}"#,
            "expected each class once, in increasing order, got 1 before 1",
        ),
        (r#"{"labels":[1,2],"prototypes":[[1.0],[0.0,1.0]]}"#, "expected rows of one dimension, got 1 and 2"),
        (r#"{"labels":[1],"prototypes":[[1.0],[1.0]]}"#, "2 embeddings but 1 labels"),
        (r#"{"labels":[1],"prototypes":[[0.5]]}"#, "invalid `prototypes`: expected rows of length 1, got 0.5 in row 0"),
        (r#"{"labels":[1],"prototypes":[[0.0]]}"#, "embedding 0 is zero in every column"),
        (r#"{"labels":[1],"prototypes":[[1.0]],"more":1}"#, "unknown field `more`"),
    ] {
        std::fs::write(&path, json).unwrap();
        let error = Gallery::load(&path).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()) && error.contains(problem), "{json}: {error}");
    }
}

#[test]
fn results_from_elsewhere_are_checked() {
    use soft_lmccl_metrics::Identification;
    let found = Identification::from_predictions(&[3, 8], &[0.9, 0.2, 0.4], &[3, 3, 8], &[3, 8, 1]).unwrap();
    assert_eq!((found.enrolled(), found.known(), found.unknown()), (2, 2, 1));
    let point = found.dir_at_fpir(0.5).unwrap();
    assert_eq!(
        point.to_string(),
        "DIR 0.5000 at FPIR 0.00e0 (asked 5e-1) from score 0.9000; too few unknown probes for that rate"
    );
    for (scores, predicted, labels, message) in [
        (
            &[0.9][..],
            &[3u32, 8][..],
            &[3u32][..],
            "invalid `probes`: expected as many scores as predictions and labels, one at least, got 1 scores, 2 predictions, 1 labels",
        ),
        (
            &[],
            &[],
            &[],
            "invalid `probes`: expected as many scores as predictions and labels, one at least, got 0 scores, 0 predictions, 0 labels",
        ),
        (&[f64::NAN], &[3], &[3], "invalid `scores`: expected finite numbers, got NaN at position 0"),
        (&[0.5], &[4], &[3], "invalid `predicted`: expected classes that are enrolled, got 4 at position 0"),
    ] {
        let error = Identification::from_predictions(&[3, 8], scores, predicted, labels).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}
