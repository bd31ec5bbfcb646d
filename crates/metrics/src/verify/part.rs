//! Shares of a large count.

use serde::{Deserialize, Serialize};

use crate::Error;

/// One of the parts of a count, for as many processes or machines.
///
/// A part is the pairs of consecutive columns in class order, or of consecutive rows if there are more rows. Its
/// pairs depend on the labels and the number of parts alone: each part may be counted with another tile, budget or
/// device.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::verify::Part;
///
/// assert!(Part::new(2, 3).is_ok());
/// assert_eq!(Part::new(3, 3).unwrap_err().to_string(), "invalid `index`: expected from 0 to 2 for 3 parts, got 3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Part {
    index: u64,
    of: u64,
}

/// A [`Part`] as it is read; nothing in it is checked yet.
#[derive(Deserialize)]
struct Unchecked {
    index: u64,
    of: u64,
}

impl TryFrom<Unchecked> for Part {
    type Error = Error;

    fn try_from(Unchecked { index, of }: Unchecked) -> Result<Self, Error> {
        Self::new(index, of)
    }
}

impl Part {
    /// Everything in one part.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Part `index`, from 0, of `of` parts.
    ///
    /// # Errors
    /// [`Error::Config`] unless `index < of`.
    pub fn new(index: u64, of: u64) -> Result<Self, Error> {
        if index < of {
            return Ok(Self { index, of });
        }
        let expected = match of {
            0 => "at least one part".to_owned(),
            _ => format!("from 0 to {} for {of} parts", of - 1),
        };
        Err(Error::config("index", expected, index))
    }

    /// Which part this is, from 0.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// The number of parts.
    #[must_use]
    pub const fn of(self) -> u64 {
        self.of
    }

    /// Its share of `all`; `end` says where the first so many end.
    ///
    /// Neighboring parts ask for the same ends, so that all parts together are everything, once.
    pub(super) fn share(self, all: u64, end: impl Fn(u64) -> usize) -> std::ops::Range<usize> {
        let before = |index: u64| match index {
            0 => 0,
            // At most `all`, hence a u64 again.
            _ => end((u128::from(all) * u128::from(index) / u128::from(self.of)) as u64),
        };
        before(self.index)..before(self.index + 1)
    }
}
