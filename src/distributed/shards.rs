//! Which classes a rank holds.

use std::ops::Range;

use tch::Tensor;

use super::Group;

/// How many classes, and which of them this process holds: a number, or [`Group::classes`].
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{distributed::{Classes, Group}, loss::LmclConfig, tch::{Device, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let all = LmclConfig::default().init(&(vs.root() / "all"), 17, 8)?;
/// let part = LmclConfig::default().init(&(vs.root() / "part"), Group::solo().classes(17), 8)?;
/// assert_eq!(all.prototypes().size(), part.prototypes().size()); // a group of one holds them all
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Classes {
    number: i64,
    group: Option<Group>,
}

impl From<i64> for Classes {
    fn from(number: i64) -> Self {
        Self { number, group: None }
    }
}

impl Classes {
    pub(super) fn over(number: i64, group: &Group) -> Self {
        Self { number, group: (group.size() > 1).then(|| group.clone()) }
    }

    /// All classes.
    pub fn number(&self) -> i64 {
        self.number
    }

    /// Those of this process: the ranks hold runs of classes, the first ranks one more where they cannot be alike.
    pub fn held(&self) -> Range<i64> {
        match &self.group {
            Some(group) => share(self.number.max(0), group.rank(), group.size()),
            None => 0..self.number,
        }
    }

    /// The part of this process, where it does not hold all.
    pub(crate) fn part(&self) -> Option<Part> {
        let held = self.held();
        self.group.clone().map(|group| Part { group, held, number: self.number })
    }
}

/// The run of so many things that one of the ranks has.
pub(super) fn share(number: i64, rank: usize, ranks: usize) -> Range<i64> {
    let (rank, ranks) = (rank as i64, ranks as i64);
    let start = |rank: i64| number / ranks * rank + rank.min(number % ranks);
    start(rank)..start(rank + 1)
}

/// A variable whose rows are a part of those that all ranks have together.
#[derive(Debug)]
pub struct Shard {
    variable: Tensor,
    group: Group,
    rows: Range<i64>,
    of: i64,
}

impl Shard {
    /// The rows of this rank.
    pub fn variable(&self) -> &Tensor {
        &self.variable
    }

    /// The group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Their places among all rows.
    pub fn rows(&self) -> Range<i64> {
        self.rows.clone()
    }

    /// How many rows there are on all ranks.
    pub fn of(&self) -> i64 {
        self.of
    }
}

/// The same rows of the same variable.
impl PartialEq for Shard {
    fn eq(&self, other: &Self) -> bool {
        let place = |of: &Self| (of.variable.data_ptr(), of.variable.size(), of.rows.clone(), of.of);
        place(self) == place(other)
    }
}

impl Clone for Shard {
    fn clone(&self) -> Self {
        let Self { variable, group, rows, of } = self;
        Self { variable: variable.shallow_clone(), group: group.clone(), rows: rows.clone(), of: *of }
    }
}

/// The classes that this rank holds of those of a loss.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub group: Group,
    pub held: Range<i64>,
    pub number: i64,
}

impl Part {
    /// A variable with so many rows for each class held.
    pub(crate) fn shard(&self, variable: &Tensor, rows_of_class: i64) -> Shard {
        let rows = self.held.start * rows_of_class..self.held.end * rows_of_class;
        let (variable, group) = (variable.shallow_clone(), self.group.clone());
        Shard { variable, group, rows, of: self.number * rows_of_class }
    }

    /// Which of some ascending classes are held.
    pub(crate) fn among(&self, classes: &[i64]) -> Range<i64> {
        let below = |end: i64| classes.partition_point(|&class| class < end) as i64;
        below(self.held.start)..below(self.held.end)
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_are_all_and_as_alike_as_can_be() {
        for (number, ranks) in [(7, 3), (2, 4), (0, 2), (1_000_003, 8), (5, 1)] {
            let shares: Vec<_> = (0..ranks).map(|rank| share(number, rank, ranks)).collect();
            assert_eq!((shares[0].start, shares[ranks - 1].end), (0, number));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
            let lengths: Vec<_> = shares.iter().map(|share| share.end - share.start).collect();
            assert!(lengths.iter().max().zip(lengths.iter().min()).is_some_and(|(most, least)| most - least <= 1));
        }
    }
}
