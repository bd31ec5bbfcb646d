//! Data sets in memory and batches made ahead.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use half::f16;
use soft_lmccl_cect::{
    CacheConfig, CachedDataset, ClassId, Dataset, Error, Precision, Prefetch, Result, Sample, SimulatedDataset,
    SimulationConfig, Volume,
};

use super::{lopsided, told};

fn dataset(per_class: usize) -> SimulatedDataset {
    let config = SimulationConfig { side: 12, ..Default::default() };
    SimulatedDataset::new(["a", "b", "c"].map(lopsided).to_vec(), config, per_class, 8).unwrap()
}

#[test]
fn what_is_kept_is_what_was_made() {
    let dataset = dataset(4);
    let indices = [7, 3, 3, 11, 0];
    for precision in [Precision::Half, Precision::Single] {
        let done = AtomicUsize::new(0);
        let config = CacheConfig { precision, ..Default::default() };
        let cached = CachedDataset::new(&dataset, &indices, config, |count| {
            done.fetch_max(count, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(done.into_inner(), 5);
        assert_eq!((cached.len(), cached.side(), cached.classes()), (5, 12, dataset.classes()));
        assert_eq!(cached.bytes(), precision.bytes(5, 12));
        assert_eq!(cached.bytes(), if precision == Precision::Half { 17_280 } else { 34_560 });
        for (place, index) in indices.into_iter().enumerate() {
            let (kept, made) = (cached.sample(place).unwrap(), dataset.sample(index).unwrap());
            assert_eq!((kept.class, cached.class(place)), (made.class, made.class));
            let made = made.volume.standardized().unwrap();
            for (kept, made) in kept.volume.voxels().iter().zip(made.voxels()) {
                let expected = if precision == Precision::Half { f16::from_f32(*made).to_f32() } else { *made };
                assert_eq!(kept.to_bits(), expected.to_bits());
            }
        }
        assert_eq!(cached.indices(&[ClassId(0)]), [1, 2, 4]);
        assert_eq!(told(&cached.sample(5).unwrap_err()), "invalid `index`: expected less than 5, got 5");
    }
}

/// Whoever lets go of batches made ahead leaves nobody at work on them.
#[test]
fn the_worker_ends_with_its_batches() {
    let dataset = Arc::new(dataset(4));
    let mut batches = Prefetch::new(dataset.clone(), vec![(0..12).collect::<Vec<_>>(); 50], 1);
    assert_eq!(batches.next().unwrap().unwrap().len(), 12);
    drop(batches);
    assert_eq!(Arc::strong_count(&dataset), 1);
}

/// The paper's full size stays below 4 GiB: three quarters of it in half precision, whatever is streamed.
#[test]
fn the_full_size_fits() {
    let config = CacheConfig::default();
    assert!(config.precision.bytes(23_000, 40) <= config.max_bytes);
    assert!(config.max_bytes < 4 << 30);
    assert!(Precision::Single.bytes(23_000, 40) > config.max_bytes);
    assert_eq!(Precision::Single.bytes(usize::MAX, 40), u64::MAX);
}

#[test]
fn caches_that_cannot_be_say_why() {
    let dataset = dataset(4);
    let none = CachedDataset::new(&dataset, &[], CacheConfig::default(), |_| {}).unwrap_err();
    assert_eq!(told(&none), "invalid `indices`: expected one sample at least, got none");
    let small = CacheConfig { max_bytes: 10_000, ..Default::default() };
    assert_eq!(
        told(&CachedDataset::new(&dataset, &[1, 2, 3], small, |_| {}).unwrap_err()),
        "invalid `max_bytes`: expected 10368 or more for 3 subtomograms of 12³ voxels, got 10000"
    );
    let missing = CachedDataset::new(&dataset, &[1, 12], CacheConfig::default(), |_| {}).unwrap_err();
    assert_eq!(told(&missing), "invalid `index`: expected less than 12, got 12");
}

#[test]
fn batches_come_in_order_and_whole() {
    let dataset = Arc::new(dataset(40));
    let batches: Vec<Vec<usize>> = vec![vec![5, 5, 0], vec![], vec![119], (0..7).collect()];
    for depth in [0, 1, 8] {
        let made: Vec<Vec<Sample>> =
            Prefetch::new(dataset.clone(), batches.clone(), depth).collect::<Result<_>>().unwrap();
        assert_eq!(made.len(), batches.len());
        for (samples, indices) in made.iter().zip(&batches) {
            assert_eq!(samples.len(), indices.len());
            for (sample, &index) in samples.iter().zip(indices) {
                assert_eq!(*sample, dataset.sample(index).unwrap());
            }
        }
    }
}

/// Counts what is made; fails or panics where it is told to.
struct Counting {
    names: Vec<String>,
    made: Mutex<Vec<usize>>,
    panics_at: usize,
}

impl Dataset for Counting {
    fn classes(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        1000
    }

    fn class(&self, _: usize) -> ClassId {
        ClassId(0)
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        assert!(index != self.panics_at, "no sample {index}");
        if index >= self.len() {
            return Err(Error::Volume(format!("no sample {index}")));
        }
        self.made.lock().unwrap().push(index);
        Ok(Sample { volume: Volume::new(1, vec![index as f32])?, class: ClassId(0) })
    }
}

fn counting(panics_at: usize) -> Arc<Counting> {
    Arc::new(Counting { names: vec!["a".into()], made: Mutex::default(), panics_at })
}

#[test]
fn no_more_is_made_than_the_depth_allows() {
    let dataset = counting(usize::MAX);
    let mut prefetch = Prefetch::new(dataset.clone(), (0..1000).map(|index| vec![index]), 2);
    prefetch.next().unwrap().unwrap();
    // One in use, two waiting, one in the making, however long the receiver takes.
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(dataset.made.lock().unwrap().len() <= 4, "{:?}", dataset.made);
    drop(prefetch);
    let made = dataset.made.lock().unwrap().len();
    assert!(made <= 5, "{made}");
    assert_eq!(Arc::strong_count(&dataset), 1, "the worker has ended");
}

#[test]
fn an_error_is_the_last_batch() {
    let dataset = counting(usize::MAX);
    let mut prefetch = Prefetch::new(dataset.clone(), vec![vec![1], vec![2, 1000], vec![3]], 4);
    assert!(prefetch.next().unwrap().is_ok());
    assert_eq!(told(&prefetch.next().unwrap().unwrap_err()), "volume: no sample 1000");
    assert!(prefetch.next().is_none());
    assert!(prefetch.next().is_none());
    assert!(!dataset.made.lock().unwrap().contains(&3));
}

#[test]
#[should_panic(expected = "no sample 7")]
fn a_panic_is_not_the_end_of_the_data() {
    let mut prefetch = Prefetch::new(counting(7), vec![vec![1], vec![7], vec![3]], 4);
    while prefetch.next().is_some() {}
}
