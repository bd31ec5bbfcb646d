//! Every benchmark of the crate, in one binary: `cargo xtask bench`, with a filter behind `--`.

mod cect;
mod loss;
mod metrics;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, loss::benches, metrics::benches, cect::benches);
criterion_main!(benches);
