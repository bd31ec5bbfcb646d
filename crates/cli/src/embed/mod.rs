//! What are these particles? Embeddings of the user's subtomograms by a trained network, and the enrolled class that
//! each is nearest to, if any.

mod args;
mod output;
mod run;
mod subtomograms;
#[cfg(test)]
mod tests;

pub use args::Args;
pub use run::run;
