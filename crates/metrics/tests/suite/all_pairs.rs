//! Counting all pairs tile by tile equals sorting all their scores.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::Array2;
use proptest::prelude::*;
use soft_lmccl_metrics::Error;
use soft_lmccl_metrics::verify::{AllPairs, CountProgress, Pairs, Part};
use soft_lmccl_metrics::{EerMethod, EmbeddingSet, PairProtocol, PairScores, RocCurve, ScoreHistogram};

/// Every run that a test makes may take this much: two threads' worth.
const BUDGET: u64 = 256 << 20;

/// Rows of 16 entries of ±1/4, of length 1: their cosines are multiples of 1/8, exact in any order, and
/// tie all the time. A row is given by its signs; few distinct ones, so that rows repeat.
fn exact_set() -> impl Strategy<Value = (Vec<u16>, Vec<i64>)> {
    let row = prop_oneof![0u16..6, any::<u16>()];
    prop::collection::vec((row, 0i64..4), 3..40).prop_map(|rows| rows.into_iter().unzip()).prop_filter(
        "both kinds of pair",
        |(rows, labels): &(Vec<u16>, Vec<i64>)| {
            let counts = set(rows, labels).pair_counts();
            counts.matching > 0 && counts.non_matching > 0
        },
    )
}

fn set(rows: &[u16], labels: &[i64]) -> EmbeddingSet {
    let values =
        Array2::from_shape_fn((rows.len(), 16), |(row, bit)| if rows[row] >> bit & 1 == 1 { 0.25 } else { -0.25 });
    EmbeddingSet::new(values.view(), labels).unwrap()
}

fn count(set: &EmbeddingSet, tile: usize) -> ScoreHistogram {
    AllPairs { memory_budget: BUDGET, tile: Some(tile) }.count(set).unwrap()
}

/// The curve from all scores, rounded to the grid by plain arithmetic and sorted.
fn sorted(set: &EmbeddingSet) -> RocCurve {
    let pairs = set.pair_scores(PairProtocol::All).unwrap();
    let steps = f64::from(1 << 22);
    let scores =
        pairs.scores().iter().map(|score| (score.clamp(-1.0, 1.0) * steps).round_ties_even() / steps).collect();
    PairScores::new(scores, pairs.same().to_vec()).unwrap().roc()
}

fn figures(roc: &RocCurve, fars: &[f64]) -> String {
    let at_far: Vec<_> = fars.iter().map(|&far| roc.at_far(far).unwrap()).collect();
    let eer = [EerMethod::Linear, EerMethod::MinDifference].map(|method| roc.eer(method));
    format!("{:?}", (roc.counts(), roc.auc(), eer, roc.eer_point(), roc.best_accuracy(), at_far))
}

fn counted_figures(histogram: &ScoreHistogram, fars: &[f64]) -> String {
    let at_far: Vec<_> = fars.iter().map(|&far| histogram.at_far(far).unwrap()).collect();
    let eer = [EerMethod::Linear, EerMethod::MinDifference].map(|method| histogram.eer(method));
    let (counts, auc) = (histogram.counts(), histogram.auc());
    format!("{:?}", (counts, auc, eer, histogram.eer_point(), histogram.best_accuracy(), at_far))
}

const FARS: [f64; 6] = [0.0, 1e-3, 0.02, 0.1, 0.5, 1.0];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tiled_equals_sorted((rows, labels) in exact_set(), tile in 1usize..50, far in 0.0..=1.0f64) {
        let set = set(&rows, &labels);
        let expected = sorted(&set);
        let histogram = count(&set, tile);
        prop_assert_eq!(&histogram.roc(), &expected);
        let fars = [&FARS[..], &[far]].concat();
        prop_assert_eq!(counted_figures(&histogram, &fars), figures(&expected, &fars));
    }

    #[test]
    fn order_and_names_change_nothing((rows, labels) in exact_set(), turn in 0usize..40, tile in 1usize..50) {
        let expected = count(&set(&rows, &labels), tile).roc();
        let turn = turn % rows.len();
        let (mut turned_rows, mut renamed) = (rows, labels);
        turned_rows.rotate_left(turn);
        renamed.rotate_left(turn);
        for label in &mut renamed {
            *label = [70, 3, 900, 12][usize::try_from(*label).unwrap()];
        }
        prop_assert_eq!(count(&set(&turned_rows, &renamed), tile).roc(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn parts_add_up_to_the_whole((rows, labels) in exact_set(), tiles in [1usize..20, 1..20, 1..20], parts in 1u64..5) {
        let set = set(&rows, &labels);
        // Each part with a tile of its own, as on machines of different kinds.
        let all_pairs = |index| AllPairs { memory_budget: BUDGET, tile: Some(tiles[index as usize % tiles.len()]) };
        let part = |index| all_pairs(index).count_part(&set, Part::new(index, parts).unwrap()).unwrap();
        let mut sum = part(0);
        for index in 1..parts {
            // Sent from another process.
            let sent = serde_json::to_string(&part(index)).unwrap();
            sum.add(&serde_json::from_str(&sent).unwrap()).unwrap();
        }
        prop_assert_eq!(sum.histogram().unwrap().roc(), sorted(&set));
    }

    #[test]
    fn probes_and_gallery((rows, labels) in exact_set(), cut in 1usize..39, tile in 1usize..20) {
        let cut = cut.min(rows.len() - 1);
        let (probes, gallery) = (set(&rows[..cut], &labels[..cut]), set(&rows[cut..], &labels[cut..]));
        let pairs = Pairs::between(&probes, &gallery).unwrap();
        let (mut scores, mut same) = (Vec::new(), Vec::new());
        for i in 0..cut {
            for j in cut..rows.len() {
                scores.push(set(&rows, &labels).cosine(i, j));
                same.push(labels[i] == labels[j]);
            }
        }
        let all_pairs = AllPairs { memory_budget: BUDGET, tile: Some(tile) };
        match PairScores::new(scores, same) {
            Ok(expected) => {
                prop_assert_eq!(pairs.counts(), expected.counts());
                prop_assert_eq!(all_pairs.count(pairs).unwrap().roc(), expected.roc());
            }
            Err(one_class) => {
                prop_assert_eq!(all_pairs.count(pairs).unwrap_err().to_string(), one_class.to_string());
            }
        }
    }
}

/// Rows of any direction: scores fill many blocks of the grid, and the figures of the histogram are read
/// off other blocks than its curve's.
fn random_set(rows: usize, dim: usize, seed: u64) -> EmbeddingSet {
    let mut state = seed;
    let values = Array2::from_shape_simple_fn((rows, dim), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.45
    });
    let labels: Vec<i64> = (0..rows as i64).map(|row| row * row % 7).collect();
    EmbeddingSet::new(values.view(), &labels).unwrap()
}

#[test]
fn figures_are_those_of_the_curve() {
    for (rows, dim, seed) in [(300, 3, 1), (200, 8, 2), (120, 33, 3)] {
        let histogram = count(&random_set(rows, dim, seed), 64);
        let roc = histogram.roc();
        assert_eq!(counted_figures(&histogram, &FARS), figures(&roc, &FARS));
        for threshold in [f64::INFINITY, 1.5, 0.987, 0.25, 0.0, -0.33, -1.0, -2.0, roc.points()[40].threshold] {
            let attained = histogram.at_threshold(threshold);
            assert_eq!(attained, roc.at_threshold(threshold));
            let accepted = roc.points().iter().rev().find(|point| point.threshold >= threshold);
            assert_eq!(accepted.map(|point| point.true_accepts), Some(attained.true_accepts));
        }
    }
}

/// Two ways of summing `dim` products differ by less than this, `dim · 2⁻²³` at the most.
fn rounding(dim: usize) -> f64 {
    dim as f64 * f64::from(f32::EPSILON)
}

#[test]
fn counts_differ_only_within_the_rounding_error() {
    let dim = 33;
    let set = random_set(150, dim, 4);
    let scores = set.pair_scores(PairProtocol::All).unwrap();
    let margin = rounding(dim) + f64::powi(2.0, -23);
    let accepted = |threshold: f64| {
        let accepted = scores.scores().iter().zip(scores.same()).filter(|&(&score, &same)| same && score >= threshold);
        accepted.count() as u64
    };
    for point in &count(&set, 32).roc().points()[1..] {
        let bounds = accepted(point.threshold + margin)..=accepted(point.threshold - margin);
        assert!(bounds.contains(&point.true_accepts), "{} is outside {bounds:?}", point.true_accepts);
    }
}

/// The smallest budget that is not refused.
fn least<'a>(pairs: impl Into<Pairs<'a>>, tile: Option<usize>) -> u64 {
    let refused = AllPairs { memory_budget: 1, tile }.count(pairs).unwrap_err().to_string();
    refused.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
}

#[test]
fn counts_depend_on_the_embeddings_alone() {
    // Sums that are not exact, in an odd dimension, of rows that fill no block.
    let set = random_set(203, 37, 5);
    let all = |set: &EmbeddingSet, memory_budget, tile| {
        let counts = AllPairs { memory_budget, tile }.count_part(set, Part::WHOLE).unwrap();
        serde_json::to_string(&counts).unwrap()
    };
    let expected = all(&set, BUDGET, None);
    for tile in [5, 16, 100] {
        assert_eq!(all(&set, BUDGET, Some(tile)), expected, "tile {tile}");
    }
    // One thread that packs tile by tile.
    assert_eq!(all(&set, least(&set, None), None), expected);
    assert_eq!(all(&set, least(&set, Some(50)), Some(50)), expected);
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(alone.install(|| all(&set, BUDGET, Some(64))), expected);

    let mut parts =
        AllPairs { memory_budget: BUDGET, tile: Some(7) }.count_part(&set, Part::new(0, 3).unwrap()).unwrap();
    for index in 1..3 {
        let all_pairs = AllPairs { memory_budget: BUDGET, tile: Some(30) };
        parts.add(&all_pairs.count_part(&set, Part::new(index, 3).unwrap()).unwrap()).unwrap();
    }
    assert_eq!(serde_json::to_string(&parts).unwrap(), expected);

    // Rows the other way round, by other names.
    let backward = Array2::from_shape_fn(set.view().dim(), |(row, k)| 2.0 * set.row(set.len() - 1 - row)[k]);
    let labels: Vec<i64> = set.labels().iter().rev().map(|&label| 90 - i64::from(label)).collect();
    let backward = EmbeddingSet::new(backward.view(), &labels).unwrap();
    let forward = Array2::from_shape_fn(set.view().dim(), |(row, k)| 2.0 * set.row(row)[k]);
    let labels: Vec<i64> = set.labels().iter().map(|&label| i64::from(label)).collect();
    let forward = EmbeddingSet::new(forward.view(), &labels).unwrap();
    assert_eq!(all(&backward, BUDGET, None), all(&forward, BUDGET, None));
}

/// How often a count tells how far it is, and how often it tells its end.
fn told(count: impl FnOnce(&(dyn Fn(CountProgress) -> ControlFlow<()> + Sync))) -> (u64, u64) {
    let (told, ends) = (AtomicU64::new(0), AtomicU64::new(0));
    count(&|progress| {
        assert!(progress.done <= progress.total);
        told.fetch_add(1, Ordering::Relaxed);
        ends.fetch_add(u64::from(progress.done == progress.total), Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    (told.into_inner(), ends.into_inner())
}

#[test]
fn progress_reaches_the_end_once() {
    let all_pairs = AllPairs { memory_budget: BUDGET, tile: Some(16) };
    // The last tile of 97 rows is one row against itself, which is no pair.
    for (rows, tiles) in [(100, 28), (97, 27)] {
        let set = random_set(rows, 4, 5);
        let pairs = rows as u64 * (rows as u64 - 1) / 2;
        assert_eq!(
            told(|tell| assert_eq!(all_pairs.count_with(&set, tell).unwrap().counts().total(), pairs)),
            (tiles, 1)
        );
    }
}

#[test]
fn an_empty_part_is_at_its_end() {
    let set = random_set(4, 2, 1);
    let first_of_many = Part::new(0, 100).unwrap();
    assert_eq!(told(|tell| drop(AllPairs::default().count_part_with(&set, first_of_many, tell).unwrap())), (1, 1));
    let stopped = AllPairs::default().count_part_with(&set, first_of_many, |_| ControlFlow::Break(()));
    assert_eq!(stopped.unwrap_err().to_string(), "stopped by the caller after 0 of 0 pairs");
}

#[test]
fn a_part_is_checked_when_it_is_read() {
    let read = |json: &str| serde_json::from_str::<Part>(json);
    let part = Part::new(2, 3).unwrap();
    assert_eq!((part.index(), part.of()), (2, 3));
    assert_eq!(read(&serde_json::to_string(&part).unwrap()).unwrap(), part);
    for (json, expected) in [
        (r#"{"index": 0, "of": 0}"#, "invalid `index`: expected at least one part, got 0"),
        (r#"{"index": 5, "of": 3}"#, "invalid `index`: expected from 0 to 2 for 3 parts, got 5"),
    ] {
        assert_eq!(read(json).unwrap_err().to_string(), expected);
    }
    let set = random_set(30, 4, 1);
    let last = AllPairs::default().count_part(&set, Part::new(u64::MAX - 1, u64::MAX).unwrap()).unwrap();
    assert!(last.histogram().unwrap().counts().total() < 30);
}

#[test]
fn stops_when_told() {
    let set = random_set(100, 4, 5);
    let all_pairs = AllPairs { memory_budget: BUDGET, tile: Some(8) };
    let stopped = all_pairs.count_with(&set, |progress| {
        if progress.done < 1000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let Err(Error::Stopped { done, total: 4950, .. }) = stopped else { panic!("{stopped:?}") };
    assert!((1000..4950).contains(&done), "{done}");
}

#[test]
fn sets_of_other_dimensions_make_no_pairs() {
    let refused = Pairs::between(&random_set(5, 3, 1), &random_set(5, 4, 1)).unwrap_err();
    assert_eq!(refused.to_string(), "embeddings of 3 and of 4 dimensions have no cosine");
}

#[test]
fn a_part_may_lack_a_kind() {
    let set = EmbeddingSet::new(Array2::<f32>::eye(4).view(), &[0, 0, 1, 1]).unwrap();
    let first_pair = AllPairs::default().count_part(&set, Part::new(0, 6).unwrap()).unwrap();
    let refused = first_pair.histogram().unwrap_err();
    assert_eq!(refused.to_string(), "need matching and non-matching pairs, got 1 and 0");
}

/// The same rows and labels as tensors: on the CPU all devices' way of counting can be tried.
#[cfg(feature = "tch")]
mod device {
    use soft_lmccl_metrics::verify::DeviceSet;
    use tch::{Kind, Tensor};

    use super::*;

    fn tensors(rows: &[u16], labels: &[i64]) -> (Tensor, Tensor) {
        let values: Vec<f32> =
            rows.iter().flat_map(|&row| (0..16).map(move |bit| if row >> bit & 1 == 1 { 3.0 } else { -3.0 })).collect();
        (Tensor::from_slice(&values).view([-1, 16]), Tensor::from_slice(labels))
    }

    /// Counters of 8 bytes, on the device and on the host, and what they become.
    const DEVICE_BUDGET: u64 = 1 << 29;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn counts_as_the_host_does((rows, labels) in exact_set(), cut in 1usize..39, tile in 1usize..50) {
            let (embeddings, classes) = tensors(&rows, &labels);
            let all_pairs = AllPairs { memory_budget: DEVICE_BUDGET, tile: Some(tile) };
            let whole = DeviceSet::new(&embeddings, &classes).unwrap();
            prop_assert_eq!(all_pairs.count(&whole).unwrap().roc(), sorted(&set(&rows, &labels)));

            let (cut, n) = (cut.min(rows.len() - 1) as i64, rows.len() as i64);
            let part = |start, end| {
                DeviceSet::new(&embeddings.narrow(0, start, end - start), &classes.narrow(0, start, end - start)).unwrap()
            };
            let (probes, gallery) = (part(0, cut), part(cut, n));
            let host = |from: i64, to: i64| set(&rows[from as usize..to as usize], &labels[from as usize..to as usize]);
            let (host_probes, host_gallery) = (host(0, cut), host(cut, n));
            let expected = all_pairs.count(Pairs::between(&host_probes, &host_gallery).unwrap());
            let counted = all_pairs.count(Pairs::between(&probes, &gallery).unwrap());
            match expected {
                Ok(expected) => prop_assert_eq!(counted.unwrap().roc(), expected.roc()),
                Err(error) => prop_assert_eq!(counted.unwrap_err().to_string(), error.to_string()),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn parts_of_host_and_device_add_up((rows, labels) in exact_set(), tile in 1usize..50) {
            let (embeddings, classes) = tensors(&rows, &labels);
            let (on_device, on_host) = (DeviceSet::new(&embeddings, &classes).unwrap(), set(&rows, &labels));
            let all_pairs = |tile| AllPairs { memory_budget: DEVICE_BUDGET, tile };
            let mut sum = all_pairs(Some(tile)).count_part(&on_host, Part::new(0, 2).unwrap()).unwrap();
            sum.add(&all_pairs(None).count_part(&on_device, Part::new(1, 2).unwrap()).unwrap()).unwrap();
            prop_assert_eq!(sum.histogram().unwrap().roc(), sorted(&on_host));
        }
    }

    #[test]
    fn progress_reaches_the_end_once() {
        let (embeddings, labels) = tensors(&[1, 2, 3, 4, 5], &[0, 0, 1, 1, 1]);
        let set = DeviceSet::new(&embeddings, &labels).unwrap();
        let all_pairs = AllPairs { memory_budget: DEVICE_BUDGET, tile: Some(2) };
        assert_eq!(told(|tell| drop(all_pairs.count_with(&set, tell).unwrap())), (5, 1));
        let first_of_many = Part::new(0, 100).unwrap();
        assert_eq!(told(|tell| drop(all_pairs.count_part_with(&set, first_of_many, tell).unwrap())), (1, 1));
    }

    #[test]
    fn counts_differ_from_the_hosts_within_the_rounding_error_only() {
        let dim = 33;
        let set = random_set(150, dim, 4);
        let labels: Vec<i64> = set.labels().iter().map(|&label| i64::from(label)).collect();
        let embeddings = Tensor::try_from(&set.view().to_owned()).unwrap();
        // Of another kind, and not contiguous.
        let embeddings = embeddings.to_kind(Kind::Double).tr().contiguous().tr();
        let on_device = DeviceSet::new(&embeddings, &Tensor::from_slice(&labels)).unwrap();
        let counted = AllPairs { memory_budget: DEVICE_BUDGET, tile: None }.count(&on_device).unwrap();
        let scores = set.pair_scores(PairProtocol::All).unwrap();
        let margin = rounding(dim) + f64::powi(2.0, -23);
        let accepted = |threshold: f64| {
            let accepted =
                scores.scores().iter().zip(scores.same()).filter(|&(&score, &same)| same && score >= threshold);
            accepted.count() as u64
        };
        for point in &counted.roc().points()[1..] {
            let bounds = accepted(point.threshold + margin)..=accepted(point.threshold - margin);
            assert!(bounds.contains(&point.true_accepts), "{} is outside {bounds:?}", point.true_accepts);
        }
        assert_eq!(counted.counts(), set.pair_counts());
    }

    #[test]
    fn refusals() {
        let (embeddings, labels) = tensors(&[1, 2, 3], &[0, 0, 1]);
        let message =
            |embeddings: &Tensor, labels: &Tensor| DeviceSet::new(embeddings, labels).unwrap_err().to_string();
        let broken = embeddings.copy();
        let _ = broken.get(1).get(2).fill_(f64::NAN);
        for (embeddings, labels, expected) in [
            (&Tensor::new(), &labels, "embeddings: expected values, got an undefined tensor"),
            (&embeddings, &Tensor::new(), "labels: expected values, got an undefined tensor"),
            (&embeddings.get(0), &labels, "embeddings: expected [N, D], floating, got [16], Float"),
            (&embeddings.to_kind(Kind::Int), &labels, "embeddings: expected [N, D], floating, got [3, 16], Int"),
            (&embeddings, &labels.to_kind(Kind::Int), "labels: expected [N], Int64, got [3], Int"),
            (&embeddings, &labels.narrow(0, 0, 2), "3 embeddings but 2 labels"),
            (&embeddings, &(&labels - 1), "label -1 of embedding 0 is outside 0..=4294967295"),
            (&broken, &labels, "embedding 1 has NaN in column 2, not a finite number"),
            (
                &embeddings.zeros_like(),
                &labels,
                "embedding 0 is zero in every column, so it has no cosine with any other",
            ),
            (
                &(embeddings.to_kind(Kind::Double) * 1e300),
                &labels,
                "embeddings: expected values that fit single precision, got 3e300 as the largest of row 0",
            ),
            (
                &(embeddings.to_kind(Kind::Double) * 1e-300),
                &labels,
                "embeddings: expected values that fit single precision, got 3e-300 as the largest of row 0",
            ),
            (&embeddings.narrow(1, 0, 0), &labels, "need at least one embedding of at least one dimension, got 3 of 0"),
        ] {
            assert_eq!(message(embeddings, labels), expected);
        }
        let poor = AllPairs { memory_budget: 1000, tile: None }.count(&DeviceSet::new(&embeddings, &labels).unwrap());
        let poor = poor.unwrap_err().to_string();
        assert!(poor.starts_with("invalid `memory_budget`: expected at least "), "{poor}");
    }

    #[test]
    fn stops_when_told() {
        let (embeddings, labels) = tensors(&[1, 2, 3, 4], &[0, 0, 1, 1]);
        let set = DeviceSet::new(&embeddings, &labels).unwrap();
        let stopped =
            AllPairs { memory_budget: DEVICE_BUDGET, tile: Some(2) }.count_with(&set, |_| ControlFlow::Break(()));
        assert_eq!(stopped.unwrap_err().to_string(), "stopped by the caller after 1 of 6 pairs");
    }
}

#[test]
fn refusals() {
    let set = random_set(20, 4, 6);
    let message = |all_pairs: AllPairs, set: &EmbeddingSet| all_pairs.count(set).unwrap_err().to_string();
    let tile = AllPairs { tile: Some(0), ..Default::default() };
    assert_eq!(message(tile, &set), "invalid `tile`: expected from 1 to 8192, got 0");
    let poor = message(AllPairs { memory_budget: 1000, ..Default::default() }, &set);
    assert!(poor.starts_with("invalid `memory_budget`: expected at least "), "{poor}");
    assert!(poor.ends_with(" bytes for these embeddings, got 1000"), "{poor}");
    for (labels, expected) in [
        ([1, 1, 1], "need matching and non-matching pairs, got 3 and 0"),
        ([1, 2, 3], "need matching and non-matching pairs, got 0 and 3"),
    ] {
        let one_kind = EmbeddingSet::new(Array2::<f32>::eye(3).view(), &labels).unwrap();
        assert_eq!(message(AllPairs::default(), &one_kind), expected);
    }
}

#[test]
fn a_budget_without_room_for_copies_changes_nothing() {
    let rows: Vec<u16> = (0..90u16).map(|row| row.wrapping_mul(0x9e37)).collect();
    let sorted: Vec<i64> = (0..90).map(|row| row / 30).collect();
    let mixed: Vec<i64> = (0..90).map(|row| row * 7 % 3).collect();
    for labels in [&sorted, &mixed] {
        let (probes, gallery) = (set(&rows[..40], &labels[..40]), set(&rows[40..], &labels[40..]));
        let everyone = set(&rows, labels);
        for pairs in [Pairs::among(&everyone), Pairs::between(&probes, &gallery).unwrap()] {
            let least = least(pairs, Some(16));
            let poor = AllPairs { memory_budget: least, tile: Some(16) }.count(pairs).unwrap();
            let rich = AllPairs { memory_budget: BUDGET, tile: Some(16) }.count(pairs).unwrap();
            assert_eq!(counted_figures(&poor, &FARS), counted_figures(&rich, &FARS), "{least}");
        }
    }
}
