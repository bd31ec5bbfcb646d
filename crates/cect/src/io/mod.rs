//! Files that subtomograms come in and go out by.

mod candidates;
mod em;
pub(crate) mod input;
mod map;
mod mrc;
mod mrc_header;
pub(crate) mod relion5;
pub(crate) mod star;
pub(crate) mod table;

pub use candidates::{Candidate, CandidateTable};
pub use map::Map;
pub(crate) use map::Place;
pub use table::annotate_star;

/// The formats of maps. The last one takes what is of no other.
const FORMATS: &[map::Format; 2] = &[em::FORMAT, mrc::FORMAT];
