//! Every benchmark of the crate, in one binary: `cargo xtask bench`, with a filter behind `--`.
//!
//! With `--json` it prints one object instead: what the README promises, as ratios to the bare matrix
//! products that no implementation can do without, measured in turns in the same process.

mod cect;
mod loss;
mod metrics;
mod ratios;
mod verify;

use criterion::{Criterion, criterion_group};

criterion_group!(benches, loss::benches, metrics::benches, cect::benches, verify::benches);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, part, case] = &arguments[..]
        && flag == ratios::PEAK
    {
        println!("{}", ratios::peak(part, case));
    } else if arguments.iter().any(|argument| argument == "--json") {
        println!("{}", ratios::measure());
    } else {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
}
