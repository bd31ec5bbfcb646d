//! Trains the network that ships.

mod args;
mod recipe;
mod run;
mod supply;
#[cfg(test)]
mod tests;

pub use args::Args;
pub use run::run;
