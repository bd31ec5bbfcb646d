//! Files that subtomograms come in and go out by.

mod candidates;
mod em;
pub(crate) mod input;
mod mrc;
mod mrc_header;
pub(crate) mod relion5;
pub(crate) mod star;
pub(crate) mod table;

pub use candidates::{Candidate, CandidateTable};
pub use mrc::Map;
pub(crate) use mrc::Place;
pub use table::annotate_star;
