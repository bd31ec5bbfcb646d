//! Every benchmark of the crate, in one binary.

fn main() {}
