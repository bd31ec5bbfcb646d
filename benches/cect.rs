//! How many subtomograms a second.

use std::{hint::black_box, sync::Arc};

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use soft_lmccl::cect::{
    AugmentConfig, Augmenter, Background, CacheConfig, CachedDataset, Contrast, Dataset, Map, SimulatedDataset,
    SimulationConfig, Volume, catalogue, neuron, render,
};

const BATCH: usize = 46;

/// One batch over all classes with every core.
pub fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("cect/simulate");
    group.sample_size(20).throughput(Throughput::Elements(BATCH as u64));
    for side in [32, 40] {
        let config = SimulationConfig { side, ..Default::default() };
        measure(&mut group, &format!("side={side}"), &simulated(config));
    }
    let paper = SimulationConfig { side: 40, ..Default::default() };
    let spread = SimulationConfig { underfocus_spread: 1.0, ..paper };
    measure(&mut group, "side=40,underfocus_spread", &simulated(spread));
    let voxels = (0..128usize.pow(3)).map(|v| (v * 7919 % 1013) as f32).collect();
    let tomogram = Map::from_volume(&Volume::new(128, voxels).expect("a cube"), 10.0);
    let background = Background::new(tomogram, Contrast::DarkProtein).expect("a voxel size");
    let on = simulated(paper).on(Arc::new(background)).expect("patches of 40 fit into 128");
    measure(&mut group, "side=40,background", &on);
    let crowd = neuron::dataset(neuron::NeuronConfig::default(), 1).expect("the default domain is valid");
    measure(&mut group, "side=40,neuron", &crowd);
    group.finish();

    let mut group = c.benchmark_group("cect/augment");
    group.sample_size(20).throughput(Throughput::Elements(BATCH as u64));
    let indices: Vec<usize> = (0..BATCH).collect();
    let cached = CachedDataset::new(&simulated(paper), &indices, CacheConfig::default(), |_| {})
        .expect("a small set fits any cache");
    measure(&mut group, "cached", &cached);
    for (name, config) in [
        ("half_turns", AugmentConfig::default()),
        ("rotation", AugmentConfig { max_rotation: 180.0, ..Default::default() }),
        ("noise", AugmentConfig { noise: 0.5, ..Default::default() }),
    ] {
        let volume = cached.sample(0).expect("a cached sample").volume;
        let augmenter = Augmenter::new(config, volume.side()).expect("a valid augmentation");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for index in 0..BATCH as u64 {
                    black_box(augmenter.augment(&volume, 1, index).expect("a volume with contrast"));
                }
            });
        });
    }
    group.finish();
}

fn simulated(config: SimulationConfig) -> SimulatedDataset {
    SimulatedDataset::new(catalogue::templates(), config, 2, 1).expect("the default configuration is valid")
}

/// Renders a batch that is spread over the data set, so over its classes.
fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, dataset: &impl Dataset) {
    let indices: Vec<usize> = (0..BATCH).map(|index| index * dataset.len() / BATCH).collect();
    group.bench_function(name, |bencher| {
        bencher.iter(|| render(dataset, &indices, |_| {}).expect("templates hold density"));
    });
}
