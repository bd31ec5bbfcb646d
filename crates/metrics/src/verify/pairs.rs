//! Which pairs are counted: all of one set or all between two sets.

use super::layout::Layout;
use crate::{EmbeddingSet, Error, PairCounts};

/// The pairs of one set, each once, or every pair of a probe and a gallery member.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::{EmbeddingSet, verify::{AllPairs, Pairs}};
///
/// let probes = EmbeddingSet::new(array![[1.0f32, 0.1], [0.1, 1.0]].view(), &[7, 4])?;
/// let gallery = EmbeddingSet::new(array![[2.0f32, 0.0], [0.0, 3.0], [0.2, 1.0]].view(), &[7, 4, 4])?;
/// let histogram = AllPairs::default().count(Pairs::between(&probes, &gallery)?)?;
/// assert_eq!((histogram.counts().matching, histogram.counts().non_matching), (3, 3));
/// assert_eq!(histogram.auc(), 1.0);
/// # Ok::<(), soft_lmccl_metrics::Error>(())
/// ```
#[derive(Debug)]
pub struct Pairs<'a, S = EmbeddingSet> {
    pub(super) rows: &'a S,
    pub(super) columns: Option<&'a S>,
}

impl<S> Clone for Pairs<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Pairs<'_, S> {}

impl<'a, S: Embedded> Pairs<'a, S> {
    /// All unordered pairs of different members of a set.
    #[must_use]
    pub fn among(set: &'a S) -> Self {
        Self { rows: set, columns: None }
    }

    /// Each probe with each member of the gallery, even if both are the same sample.
    ///
    /// # Errors
    /// [`Error::Dimension`] if the sets differ in dimension.
    pub fn between(probes: &'a S, gallery: &'a S) -> Result<Self, Error> {
        if probes.dim() == gallery.dim() {
            Ok(Self { rows: probes, columns: Some(gallery) })
        } else {
            Err(Error::Dimension { left: probes.dim(), right: gallery.dim() })
        }
    }

    /// How many pairs there are of each kind.
    #[must_use]
    pub fn counts(&self) -> PairCounts {
        Layout::new(self.rows.labels(), self.columns.map(Embedded::labels)).counts()
    }
}

impl<'a, S: Embedded> From<&'a S> for Pairs<'a, S> {
    fn from(set: &'a S) -> Self {
        Self::among(set)
    }
}

/// Unit embeddings with labels, on the host or on a device: only [`EmbeddingSet`] and `DeviceSet`.
pub trait Embedded: super::source::Source {
    /// Number of dimensions.
    fn dim(&self) -> usize;
    /// The class of each embedding.
    fn labels(&self) -> &[u32];
}

impl Embedded for EmbeddingSet {
    fn dim(&self) -> usize {
        self.dim()
    }

    fn labels(&self) -> &[u32] {
        self.labels()
    }
}
