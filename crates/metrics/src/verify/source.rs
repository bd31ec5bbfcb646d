//! How each kind of embeddings is counted.

use super::{AllPairs, Pairs, Part, ScoreCounts, Watch};
use crate::Error;

/// Kept private, so that kinds can be added without breaking anyone.
pub trait Source: Sized {
    /// Counts one part of the pairs.
    fn count(pairs: Pairs<'_, Self>, how: &AllPairs, part: Part, progress: Watch<'_>) -> Result<ScoreCounts, Error>;
}
