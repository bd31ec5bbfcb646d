//! Accepted pairs of each class, counted in the same pass as all pairs.

use std::ops::ControlFlow;

use rayon::prelude::*;

use super::blocks::in_blocks;
use super::class_tally::{ClassTally, Places};
use super::host::{Input, Plan, run};
use super::tally::Tally;
use super::{AllPairs, CountProgress, Pairs, Part, Watch};
use super::{ScoreCounts, ScoreHistogram};
use crate::classes::{Accepted, Classes};
use crate::cuts::Cuts;
use crate::embeddings::dot;
use crate::{ClassCounts, EmbeddingSet, Error, PairScores};

/// The thresholds at which pairs are counted by class.
///
/// # Examples
/// ```
/// use ndarray::Array2;
/// use soft_lmccl_metrics::{EmbeddingSet, verify::{AllPairs, ClassCuts}};
///
/// let set = EmbeddingSet::new(Array2::<f32>::eye(9).view(), &[0, 0, 0, 1, 1, 1, 2, 2, 2])?;
/// let cuts = ClassCuts { across: false, thresholds: vec![0.5, 0.0] };
/// let counted = AllPairs::default().count_by_class(&set, &cuts)?;
/// assert_eq!(counted.classes.cuts(), [0.5, 0.0]);
/// assert_eq!(counted.classes.true_accepts(1), [3, 3, 3]);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ClassCuts {
    /// Whether thresholds lie all over the curve, placed by a sample of the pairs. Intervals of the area, of the
    /// equal error rate and of a TAR at any FAR need them. True by default.
    pub across: bool,
    /// Further thresholds, at which the counts are exact. Empty by default.
    pub thresholds: Vec<f64>,
}

impl Default for ClassCuts {
    fn default() -> Self {
        Self { across: true, thresholds: Vec::new() }
    }
}

/// What [`AllPairs::count_by_class`] counted.
#[derive(Debug, Clone)]
pub struct CountedByClass {
    /// All pairs by score, as [`AllPairs::count`] gives them.
    pub histogram: ScoreHistogram,
    /// Accepted pairs by class, for [`Intervals`](crate::Intervals).
    pub classes: ClassCounts,
}

/// What [`AllPairs::count_part_by_class_with`] counted of one part of the pairs.
#[derive(Debug, Clone)]
pub struct PartByClass {
    /// Pairs of the part by score.
    pub scores: ScoreCounts,
    /// Accepted pairs of the part by class, beside all pairs of each class.
    pub classes: ClassCounts,
}

impl PartByClass {
    /// Adds another part of the same pairs, counted at the same cuts.
    ///
    /// # Errors
    /// [`Error::Config`] for other classes, numbers of their pairs or cuts; as [`ScoreCounts::add`].
    pub fn add(&mut self, other: &Self) -> Result<(), Error> {
        if !self.classes.is_of_the_pairs_of(&other.classes) {
            return Err(Error::config("other", "a part of the same pairs at the same cuts", "other classes or cuts"));
        }
        self.classes.add_accepts(&other.classes.accepts())?;
        self.scores.add(&other.scores)
    }

    /// The figures, once all parts are added.
    ///
    /// # Errors
    /// As [`ScoreCounts::histogram`].
    pub fn whole(self) -> Result<CountedByClass, Error> {
        Ok(CountedByClass { histogram: self.scores.histogram()?, classes: self.classes })
    }
}

impl AllPairs {
    /// Counts all pairs as [`count`](Self::count) does and, in the same pass, accepted pairs by class.
    ///
    /// Beside the memory of `count`, each thread takes 16 bytes a class and cut, and up to 256 KiB a cut for the pairs
    /// of two classes.
    ///
    /// Takes this many times as long as `count`: `cargo bench --package soft-lmccl-metrics --bench by_class`, medians in
    /// turns on an AMD EPYC of two cores with AVX-512, 2026-12-01, N = 6,000:
    ///
    /// | classes | D = 128 | D = 512 |
    /// |---|---|---|
    /// | 6 | 1.13 | 1.11 |
    /// | 60 | 1.14 | 1.07 |
    /// | 600 | 1.16 | 1.07 |
    /// | 2,000 | 1.19 | 1.12 |
    ///
    /// # Errors
    /// [`Error::Config`] if there are no cuts or one is NaN, and as
    /// [`count`](Self::count).
    pub fn count_by_class<'a>(&self, pairs: impl Into<Pairs<'a>>, cuts: &ClassCuts) -> Result<CountedByClass, Error> {
        self.count_by_class_with(pairs, cuts, |_| ControlFlow::Continue(()))
    }

    /// As [`count_by_class`](Self::count_by_class), with `progress` as in [`count_with`](Self::count_with).
    ///
    /// # Errors
    /// [`Error::Stopped`] if `progress` breaks, and as [`count_by_class`](Self::count_by_class).
    pub fn count_by_class_with<'a>(
        &self,
        pairs: impl Into<Pairs<'a>>,
        cuts: &ClassCuts,
        progress: impl Fn(CountProgress) -> ControlFlow<()> + Sync,
    ) -> Result<CountedByClass, Error> {
        self.count_part_by_class_with(pairs, cuts, Part::WHOLE, progress)?.whole()
    }

    /// As [`count_by_class_with`](Self::count_by_class_with), of one part of the pairs. The cuts are placed by a sample of
    /// all pairs, the same for every part.
    ///
    /// # Errors
    /// As [`count_by_class_with`](Self::count_by_class_with).
    ///
    /// # Examples
    /// ```
    /// use std::ops::ControlFlow;
    /// use ndarray::Array2;
    /// use soft_lmccl_metrics::{EmbeddingSet, verify::{AllPairs, ClassCuts, Part}};
    ///
    /// let set = EmbeddingSet::new(Array2::<f32>::eye(9).view(), &[0, 0, 0, 1, 1, 1, 2, 2, 2])?;
    /// let (how, cuts) = (AllPairs::default(), ClassCuts::default());
    /// let part = |index| how.count_part_by_class_with(&set, &cuts, Part::new(index, 2)?, |_| ControlFlow::Continue(()));
    /// let mut sum = part(0)?;
    /// sum.add(&part(1)?)?;
    /// assert_eq!(sum.whole()?.classes, how.count_by_class(&set, &cuts)?.classes);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn count_part_by_class_with<'a>(
        &self,
        pairs: impl Into<Pairs<'a>>,
        cuts: &ClassCuts,
        part: Part,
        progress: impl Fn(CountProgress) -> ControlFlow<()> + Sync,
    ) -> Result<PartByClass, Error> {
        let pairs = pairs.into();
        self.validate()?;
        let input = Input::new(pairs);
        let counts = input.layout.counts();
        counts.require_both()?;
        let cuts = if cuts.across {
            Cuts::new(cuts.thresholds.clone())
                .map(|_| ())
                .or_else(|refused| if cuts.thresholds.is_empty() { Ok(()) } else { Err(refused) })?;
            Cuts::across(&sample(&input)?.roc(), counts.non_matching, &cuts.thresholds)
        } else {
            Cuts::new(cuts.thresholds.clone())?
        };
        in_blocks!(count_in_blocks(input, self, cuts, part, &progress))
    }
}

fn count_in_blocks<const R: usize, const V: usize>(
    input: Input<'_>,
    how: &AllPairs,
    cuts: Cuts,
    part: Part,
    progress: Watch<'_>,
) -> Result<PartByClass, Error> {
    let pairs = input.pairs;
    let classes = Classes::of_sets(cuts, pairs.rows.labels(), pairs.columns.map(EmbeddingSet::labels));
    let each = Tally::BYTES + classes.bytes();
    let plan = Plan::<R, V>::new(input, how, ScoreCounts::BYTES + classes.bytes(), each)?;
    let places = Places::new(&plan.input.layout, pairs, &classes);
    let counts = ScoreCounts::empty();
    let tallies = run(&plan, part, || ClassTally::<R, V>::new(Tally::new(&counts), &places), progress)?;
    let accepted = tallies.into_par_iter().map(ClassTally::<R, V>::settle).reduce_with(|sum, other| sum.merge(&other));
    let accepted = accepted.unwrap_or_else(|| Accepted::none(&classes));
    Ok(PartByClass { scores: counts, classes: ClassCounts::new(classes, accepted) })
}

/// The cosine of a row and a column, as [`EmbeddingSet::cosine`] has it.
fn score(input: &Input<'_>, row: usize, column: usize) -> f64 {
    f64::from(dot(input.row(row), input.column(column)))
}

/// Scores of some of the pairs; their curve is near to that of all pairs.
fn sample(input: &Input<'_>) -> Result<PairScores, Error> {
    const LEAST: u64 = 1 << 11;
    const MOST: u64 = 1 << 17;
    /// So small a share of the pairs takes little of the time of all, though their embeddings are all over memory.
    const SHARE: u64 = 1 << 12;
    let layout = &input.layout;
    let (rows, columns) = (layout.num_rows(), layout.num_columns());
    // Two numbers that go over all rows and columns evenly: the R2 sequence of M. Roberts, without a seed.
    let at = |number: u64, step: f64, of: usize| ((number as f64 * step).fract() * of as f64) as usize % of;
    let number = (layout.counts().total() / SHARE).clamp(LEAST, MOST);
    let scored: Vec<[Option<(f64, bool)>; 2]> = (1..=number)
        .into_par_iter()
        .map(|number| {
            let (row, column) = (at(number, 0.754_877_666_246_693, rows), at(number, 0.569_840_290_998_053, columns));
            let [before, same, after] = layout.split(row, 0..columns);
            // Few of all pairs match, so each number also draws a matching pair: a `LEAST`th too many.
            let matching = (number <= LEAST && !same.is_empty())
                .then(|| (score(input, row, same.start + column % same.len()), true));
            let other = before.contains(&column) || after.contains(&column);
            [matching, other.then(|| (score(input, row, column), false))]
        })
        .collect();
    let (scores, same): (Vec<f64>, Vec<bool>) = scored.into_iter().flatten().flatten().unzip();
    match PairScores::new(scores, same) {
        Ok(sample) => Ok(sample),
        // With few pairs, or nearly all of one kind, a sample may miss a kind.
        Err(_) => {
            let all = (0..rows).flat_map(|row| layout.split(row, 0..columns).map(|span| (row, span)));
            let kinds = all.zip([false, true, false].into_iter().cycle());
            let firsts = kinds.filter_map(|((row, mut span), same)| Some((row, span.next()?, same)));
            let (scores, same) = firsts.map(|(row, column, same)| (score(input, row, column), same)).unzip();
            Ok(PairScores::new(scores, same)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::verify::blocks::{NARROW, WIDE};

    #[test]
    fn counts_do_not_depend_on_the_shape_of_blocks() {
        let values = Array2::from_shape_fn((170, 19), |(row, k)| ((row * 131 + k * 17 + row * k) % 251) as f32 - 99.5);
        // Of the members of 3 classes, many fill blocks; those of 60 are in few blocks, and one is in each of 169.
        for classes in [3, 60, 169] {
            let labels: Vec<i64> = (0..170).map(|row| row % classes).collect();
            let set = EmbeddingSet::new(values.view(), &labels).unwrap();
            let cuts = Cuts::new(vec![0.9, 0.7, 0.5, 0.2, 0.0, -0.2]).unwrap();
            let how = AllPairs { memory_budget: 256 << 20, tile: Some(64) };
            let go_on = |_| ControlFlow::Continue(());
            let all = Part::WHOLE;
            let input = || Input::new(Pairs::among(&set));
            let narrow =
                count_in_blocks::<{ NARROW.0 }, { NARROW.1 }>(input(), &how, cuts.clone(), all, &go_on).unwrap();
            let wide = count_in_blocks::<{ WIDE.0 }, { WIDE.1 }>(input(), &how, cuts.clone(), all, &go_on).unwrap();
            let small = count_in_blocks::<3, 2>(input(), &how, cuts, all, &go_on).unwrap();
            assert!(narrow.classes.false_accepts(0).iter().sum::<u64>() > 0);
            assert_eq!(wide.classes, narrow.classes);
            assert_eq!(small.classes, narrow.classes);
            assert_eq!(wide.whole().unwrap().histogram.roc(), narrow.whole().unwrap().histogram.roc());
        }
    }
    /// Also where only some of many classes are followed, and a class lies on both sides of the end of a part.
    #[test]
    fn parts_add_up_to_the_whole() {
        let values = Array2::from_shape_fn((620, 7), |(row, k)| ((row * 131 + k * 17 + row * k) % 251) as f32 - 99.5);
        for (classes, of) in [(3, 2), (3, 5), (300, 3)] {
            let labels: Vec<i64> = (0..620).map(|row| row % classes).collect();
            let set = EmbeddingSet::new(values.view(), &labels).unwrap();
            let (how, cuts) = (AllPairs { tile: Some(96), ..Default::default() }, ClassCuts::default());
            let whole = how.count_by_class(&set, &cuts).unwrap();
            let part = |index| {
                let part = Part::new(index, of).unwrap();
                how.count_part_by_class_with(&set, &cuts, part, |_| ControlFlow::Continue(())).unwrap()
            };
            let mut sum = part(0);
            assert_ne!(sum.classes, whole.classes);
            (1..of).for_each(|index| sum.add(&part(index)).unwrap());
            let sum = sum.whole().unwrap();
            assert_eq!(sum.classes, whole.classes);
            assert_eq!(sum.histogram.roc(), whole.histogram.roc());
        }
    }

    #[test]
    fn parts_of_other_counts_are_refused() {
        let part = |labels: &[i64], at: f64| {
            let set = EmbeddingSet::new(Array2::<f32>::eye(4).view(), labels).unwrap();
            let cuts = ClassCuts { across: false, thresholds: vec![at] };
            let half = Part::new(0, 2).unwrap();
            AllPairs::default().count_part_by_class_with(&set, &cuts, half, |_| ControlFlow::Continue(())).unwrap()
        };
        let mut sum = part(&[0, 0, 1, 1], 0.5);
        assert!(sum.add(&part(&[0, 0, 1, 2], 0.5)).is_err());
        sum.add(&part(&[0, 0, 1, 1], 0.5)).unwrap();
    }
}
