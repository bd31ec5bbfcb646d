//! Files that subtomograms come in and go out by.

pub(crate) mod input;
mod mrc;
mod mrc_header;
pub(crate) mod star;
pub(crate) mod table;

pub use mrc::Map;
pub use table::annotate_star;
