//! Counting pairs over ranks.

use std::ops::ControlFlow;

use soft_lmccl_metrics::verify::{
    AllPairs, ClassCuts, CountProgress, CountedByClass, Embedded, Pairs, Part, PartByClass, ScoreCounts, ScoreHistogram,
};
use tch::Tensor;

use super::{Group, Reduce};
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
        let part = self.part_of(pairs)?;
        let own = self.watched(progress, |progress| options.count_part_with(pairs, part, progress))?;
        self.sum_of(own)?.histogram().map_err(Error::from)
    }

    /// As [`AllPairs::count_by_class_with`], over the ranks as [`count_pairs`](Self::count_pairs) is.
    ///
    /// # Errors
    /// As [`AllPairs::count_by_class_with`] and [`count_pairs`](Self::count_pairs).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> soft_lmccl::Result<()> {
    /// use std::ops::ControlFlow;
    /// use soft_lmccl::{distributed::Group, metrics::EmbeddingSet, ndarray::Array2, verify::{AllPairs, ClassCuts}};
    ///
    /// let set = EmbeddingSet::new(Array2::<f32>::eye(6).view(), &[0, 0, 0, 1, 1, 1])?;
    /// let (group, options, cuts) = (Group::from_env()?, AllPairs::default(), ClassCuts::default());
    /// let counted = group.count_pairs_by_class(&options, &set, &cuts, |_| ControlFlow::Continue(()))?;
    /// assert_eq!(counted.classes, options.count_by_class(&set, &cuts)?.classes);
    /// # Ok(()) }
    /// ```
    pub fn count_pairs_by_class<'a>(
        &self,
        options: &AllPairs,
        pairs: impl Into<Pairs<'a>>,
        cuts: &ClassCuts,
        progress: impl Fn(CountProgress) -> ControlFlow<()> + Sync,
    ) -> Result<CountedByClass> {
        let pairs = pairs.into();
        if self.size() == 1 {
            return Ok(options.count_by_class_with(pairs, cuts, progress)?);
        }
        let part = self.part_of(pairs)?;
        let PartByClass { scores, mut classes } =
            self.watched(progress, |progress| options.count_part_by_class_with(pairs, cuts, part, progress))?;
        self.require_same("thresholds:", &format!("{:?}", classes.cuts()))?;
        // Whole numbers of two's complement add up alike with and without a sign.
        let own: Vec<i64> = classes.accepts().into_iter().map(u64::cast_signed).collect();
        let own = Tensor::f_from_slice(&own)?;
        let others = Vec::<i64>::try_from(&(self.all_reduce(&own, Reduce::Sum)? - own))?;
        classes.add_accepts(&others.into_iter().map(i64::cast_unsigned).collect::<Vec<_>>())?;
        Ok(PartByClass { scores: self.sum_of(scores)?, classes }.whole()?)
    }

    /// The part of this rank, where all have the same pairs.
    fn part_of<S: Embedded>(&self, pairs: Pairs<'_, S>) -> Result<Part> {
        let counts = pairs.counts();
        let numbers = format!("{} matching, {} non-matching", counts.matching, counts.non_matching);
        self.require_same("pairs:", &numbers)?;
        Ok(Part::new(self.rank() as u64, self.size() as u64)?)
    }

    /// Counts until a rank fails, and tells the others if this one does.
    fn watched<T>(
        &self,
        progress: impl Fn(CountProgress) -> ControlFlow<()> + Sync,
        count: impl FnOnce(&(dyn Fn(CountProgress) -> ControlFlow<()> + Sync)) -> Result<T, soft_lmccl_metrics::Error>,
    ) -> Result<T> {
        let or_stop = |at| if self.fault().is_some() { ControlFlow::Break(()) } else { progress(at) };
        count(&or_stop).map_err(|error| {
            let error = self.fault().map_or_else(|| Error::from(error), Error::Group);
            self.fail_of(&error);
            error
        })
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
