//! How many subtomograms a second.

use criterion::{Criterion, Throughput};
use rayon::prelude::*;
use soft_lmccl::cect::{SimulationConfig, Simulator, catalogue};

/// One batch over all classes with every core.
pub fn benches(c: &mut Criterion) {
    const BATCH: u64 = 46;
    let templates = catalogue::templates();
    let mut group = c.benchmark_group("cect/simulate");
    group.sample_size(20).throughput(Throughput::Elements(BATCH));
    for side in [32, 40] {
        let config = SimulationConfig { side, ..Default::default() };
        let simulator = Simulator::new(config).expect("the default configuration is valid");
        group.bench_function(format!("side={side}"), |bencher| {
            bencher.iter(|| {
                (0..BATCH)
                    .into_par_iter()
                    .map(|index| {
                        let template = &templates[index as usize % templates.len()];
                        simulator.simulate(template, 1, index).expect("templates hold density")
                    })
                    .count()
            });
        });
    }
    group.finish();
}
