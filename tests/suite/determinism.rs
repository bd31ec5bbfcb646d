//! The same seed gives the same bits, on any number of threads where it is promised.

use ndarray::Array2;
use soft_lmccl::{
    metrics::{BootstrapOptions, EmbeddingSet, PairProtocol, ReportOptions, VerificationReport},
    verify::AllPairs,
};

fn on_threads<T: Send>(threads: usize, work: impl Fn() -> T + Send + Sync) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn set() -> EmbeddingSet {
    // Ties and near ties: a few distinct directions, repeated.
    let rows = Array2::from_shape_fn((60, 5), |(row, column)| (((row % 17) * 7 + column * 3) as f32).sin());
    let labels: Vec<i64> = (0..60).map(|row| row % 7).collect();
    EmbeddingSet::new(rows.view(), &labels).unwrap()
}

#[test]
fn metrics_do_not_depend_on_threads() {
    let set = set();
    let report = || {
        let options = ReportOptions::default().limited_to(&set);
        let report = VerificationReport::of(&set, &options).unwrap();
        let scores: Vec<u64> =
            set.pair_scores(PairProtocol::All).unwrap().scores().iter().map(|score| score.to_bits()).collect();
        let counts = AllPairs::default().count(&set).unwrap();
        let counted = (counts.auc().to_bits(), counts.at_far(0.1).unwrap());
        (serde_json::to_string(&report).unwrap(), scores, counted)
    };
    let expected = on_threads(1, report);
    for threads in [2, 3, 8] {
        let (report, scores, counted) = on_threads(threads, report);
        assert_eq!(report, expected.0, "{threads} threads");
        assert!(scores == expected.1, "{threads} threads");
        assert_eq!(counted, expected.2, "{threads} threads");
    }
}

#[test]
fn intervals_do_not_depend_on_threads() {
    let set = set();
    let options = BootstrapOptions { draws: 100, ..Default::default() };
    let bootstrap = || format!("{:?}", set.bootstrap(&options, |roc| Ok([roc.auc()])).unwrap());
    let expected = on_threads(1, bootstrap);
    for threads in [2, 8] {
        assert_eq!(on_threads(threads, bootstrap), expected, "{threads} threads");
    }
}

#[cfg(feature = "cect")]
#[test]
fn simulation_depends_neither_on_threads_nor_on_order() {
    use soft_lmccl::cect::{SimulatedDataset, SimulationConfig, catalogue, render};

    let config = SimulationConfig { side: 12, ..Default::default() };
    let dataset = SimulatedDataset::new(catalogue::templates(), config, 2, 9).unwrap();
    let indices: Vec<usize> = (0..46).collect();
    let bits = |indices: &[usize]| -> Vec<Vec<u32>> {
        let samples = render(&dataset, indices, |_| {}).unwrap();
        samples.iter().map(|sample| sample.volume.voxels().iter().map(|voxel| voxel.to_bits()).collect()).collect()
    };
    let expected = on_threads(1, || bits(&indices));
    for threads in [2, 7] {
        assert_eq!(on_threads(threads, || bits(&indices)), expected, "{threads} threads");
    }
    let backwards: Vec<usize> = indices.iter().rev().copied().collect();
    let mut reversed = on_threads(3, || bits(&backwards));
    reversed.reverse();
    assert_eq!(reversed, expected);
}
