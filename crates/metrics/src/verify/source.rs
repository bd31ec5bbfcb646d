//! What every kind of embeddings brings to be counted.

use super::{AllPairs, Pairs, Part, ScoreCounts, Watch};
use crate::Error;

/// Kept inside, so that what may be counted can grow without breaking anyone.
pub trait Source: Sized {
    /// Counts one part of the pairs.
    fn count(pairs: Pairs<'_, Self>, how: &AllPairs, part: Part, progress: Watch<'_>) -> Result<ScoreCounts, Error>;
}
