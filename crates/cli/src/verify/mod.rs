//! How well do these embeddings verify? Exact figures over all pairs, from files of NumPy.

mod args;
mod npy;
mod run;
#[cfg(test)]
mod tests;

use anyhow::Result;
pub use args::Args;

use crate::program;

/// # Errors
/// A file that cannot be read or says no embeddings, labels or scores; a figure that is undefined; a threshold that was
/// asked for and could not be fitted or saved, after the figures are printed.
pub fn run(args: &Args) -> Result<()> {
    let run::Outcome { output, unsaved } = run::run(args, program::interrupted)?;
    program::print(&format!("{output}\n"))?;
    unsaved.map_or(Ok(()), Err)
}
