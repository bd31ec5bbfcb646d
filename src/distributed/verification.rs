//! Counting pairs over ranks.

use std::ops::ControlFlow;

use soft_lmccl_metrics::verify::{AllPairs, CountProgress, Embedded, Pairs, Part, ScoreCounts, ScoreHistogram};
use tch::Tensor;

use super::Group;
use crate::{Error, Result};

impl Group {
    /// As [`AllPairs::count_with`], where each rank counts a part of the pairs; every rank has all embeddings and is given
    /// the sum. Counts are whole numbers: the figures do not depend on the number of ranks.
    ///
    /// # Errors
    /// As [`AllPairs::count_with`], on all ranks if on one; [`Error::Group`] as every operation, and for ranks that
    /// have other pairs.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> soft_lmccl::Result<()> {
    /// use std::ops::ControlFlow;
    /// use soft_lmccl::{distributed::Group, metrics::EmbeddingSet, ndarray::Array2, verify::AllPairs};
    ///
    /// let set = EmbeddingSet::new(Array2::<f32>::eye(6).view(), &[0, 0, 0, 1, 1, 1])?;
    /// let (group, options) = (Group::from_env()?, AllPairs::default());
    /// let counted = group.count_pairs(&options, &set, |_| ControlFlow::Continue(()))?;
    /// assert_eq!(counted.roc(), options.count(&set)?.roc());
    /// # Ok(()) }
    /// ```
    pub fn count_pairs<'a, S: Embedded + 'a>(
        &self,
        options: &AllPairs,
        pairs: impl Into<Pairs<'a, S>>,
        progress: impl Fn(CountProgress) -> ControlFlow<()> + Sync,
    ) -> Result<ScoreHistogram> {
        let pairs = pairs.into();
        if self.size() == 1 {
            return Ok(options.count_with(pairs, progress)?);
        }
        let counts = pairs.counts();
        let numbers = format!("{} matching, {} non-matching", counts.matching, counts.non_matching);
        self.require_same("pairs:", &numbers)?;
        let part = Part::new(self.rank() as u64, self.size() as u64)?;
        let own = options.count_part_with(pairs, part, progress).map_err(Error::from);
        self.sum_of(own.inspect_err(|error| self.fail(error))?)?.histogram().map_err(Error::from)
    }

    fn sum_of(&self, own: ScoreCounts) -> Result<ScoreCounts> {
        let unread = |error: serde_json::Error| Error::Group(format!("rank {}: counts: {error}", self.rank()));
        let bytes = serde_json::to_vec(&own).map_err(unread)?;
        let (all, lengths) = self.all_gather(&Tensor::f_from_slice(&bytes)?)?;
        let all = Vec::<u8>::try_from(&all)?;
        let (mut sum, mut rest) = (own, all.as_slice());
        for (rank, length) in lengths.into_iter().enumerate() {
            let (theirs, after) = rest.split_at(length as usize);
            rest = after;
            if rank != self.rank() {
                sum.add(&serde_json::from_slice(theirs).map_err(unread)?)?;
            }
        }
        Ok(sum)
    }
}
