//! Which candidates of a template search are like a few that were enrolled.

mod args;
mod calibrate;
mod output;
mod places;
mod run;
#[cfg(test)]
mod tests;

pub use args::Args;
pub use run::run;
