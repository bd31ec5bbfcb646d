//! How well do these embeddings, or these scores, verify?
//!
//! `samples` reads, `scored` compares, `figures` reads every number off one curve and its counts, `blocks` puts them into
//! tables, `page` those into a report.

mod args;
mod blocks;
mod figures;
mod page;
mod run;
mod samples;
mod scored;
#[cfg(test)]
mod tests;

use anyhow::Result;
pub use args::Args;

use crate::program;

/// On the ranks of a group each counts a part of the pairs, and rank 0 prints and writes.
///
/// # Errors
/// A file that cannot be read or says no embeddings, labels or scores; a figure that is undefined; a threshold or a report
/// that was asked for and could not be made, after the figures are printed.
pub fn run(args: &Args) -> Result<()> {
    let group = program::ranks()?;
    // Other ranks want to be told; a rank that is alone has nobody to tell.
    if group.size() == 1 {
        program::end_soon_after_interrupt();
    }
    let outcome = run::run(args, &group, program::interrupted);
    let outcome = outcome.inspect_err(|error| group.fail(&format!("{error:#}")))?;
    let Some(run::Outcome { output, unsaved }) = outcome else { return Ok(()) };
    program::print(&format!("{output}\n"))?;
    unsaved.map_or(Ok(()), Err)
}
