//! Which classes are seen in training and which are held out.

use std::collections::HashSet;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{Error, Result};

/// A class of a dataset: a type of its own, so that it cannot pass for a training label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u32);

/// Classes seen in training and classes held out, disjoint by construction.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{ClassId, OpenSetSplit};
///
/// let split = OpenSetSplit::new(vec![ClassId(4), ClassId(7)], vec![ClassId(5), ClassId(6)])?;
/// assert_eq!(split.label(ClassId(7)), Some(1));
/// assert_eq!(split.label(ClassId(5)), None);
/// let message = OpenSetSplit::new(vec![ClassId(4)], vec![ClassId(4)]).unwrap_err().to_string();
/// assert_eq!(message, "class split: class 4 is both known and unknown");
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSetSplit {
    known: Vec<ClassId>,
    unknown: Vec<ClassId>,
}

impl OpenSetSplit {
    /// Takes the two sets as they are; the order of `known` is the order of the training labels.
    ///
    /// # Errors
    /// [`Error::Split`] if the sets overlap, repeat a class, or either is empty.
    pub fn new(known: Vec<ClassId>, unknown: Vec<ClassId>) -> Result<Self> {
        for (classes, what) in [(&known, "known"), (&unknown, "unknown")] {
            if classes.is_empty() {
                return Err(Error::Split(format!("there are no {what} classes")));
            }
            let mut seen = HashSet::new();
            if let Some(class) = classes.iter().find(|class| !seen.insert(**class)) {
                return Err(Error::Split(format!("class {} is {what} more than once", class.0)));
            }
        }
        let training: HashSet<_> = known.iter().collect();
        if let Some(class) = unknown.iter().find(|class| training.contains(class)) {
            return Err(Error::Split(format!("class {} is both known and unknown", class.0)));
        }
        Ok(Self { known, unknown })
    }

    /// Draws `num_known` of `num_classes` classes as known, the rest being unknown; both in
    /// ascending order. The same seed gives the same split everywhere.
    ///
    /// # Errors
    /// [`Error::Split`] unless `1 ≤ num_known < num_classes`.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::OpenSetSplit;
    ///
    /// let split = OpenSetSplit::random(23, 17, 1)?;
    /// assert_eq!((split.num_known(), split.unknown().len()), (17, 6));
    /// assert_eq!(split, OpenSetSplit::random(23, 17, 1)?);
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn random(num_classes: u32, num_known: u32, seed: u64) -> Result<Self> {
        if num_known == 0 || num_known >= num_classes {
            return Err(Error::Split(format!(
                "{num_known} of {num_classes} classes cannot be known: both sets need one at least"
            )));
        }
        let mut classes: Vec<_> = (0..num_classes).map(ClassId).collect();
        classes.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut unknown = classes.split_off(num_known as usize);
        classes.sort_unstable();
        unknown.sort_unstable();
        Self::new(classes, unknown)
    }

    /// The classes seen in training; the position of each is its training label.
    pub fn known(&self) -> &[ClassId] {
        &self.known
    }

    /// The classes held out.
    pub fn unknown(&self) -> &[ClassId] {
        &self.unknown
    }

    /// Number of classes seen in training.
    pub fn num_known(&self) -> usize {
        self.known.len()
    }

    /// The training label `0..num_known()` of a known class; `None` for any other.
    pub fn label(&self, class: ClassId) -> Option<i64> {
        let position = self.known.iter().position(|known| *known == class)?;
        Some(position as i64)
    }
}
