//! Pictures and pages, with the programs' own error.

use std::io;

use soft_lmccl::{Error, Result};

/// What a picture or a page says, as an error of these programs.
///
/// # Errors
/// As the drawing.
pub fn drawn<T>(result: soft_lmccl_report::Result<T>) -> Result<T> {
    result.map_err(|error| Error::Io { action: "draw", path: "a picture".into(), source: io::Error::other(error) })
}
