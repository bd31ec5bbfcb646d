//! Data sets in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use half::f16;
use soft_lmccl_cect::{CacheConfig, CachedDataset, ClassId, Dataset, Precision, SimulatedDataset, SimulationConfig};

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
            assert_eq!((kept.class, cached.class(place)), (made.class, Some(made.class)));
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
