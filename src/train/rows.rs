//! Steps by gradients of some rows.

use tch::Tensor;

use crate::Result;

/// A row-sparse gradient, `[C, ..]`: which rows it has, ascending, and what they are.
pub(super) struct Rows {
    index: Tensor,
    pub gradient: Tensor,
}

impl Rows {
    /// `None` for a gradient of every row.
    pub(super) fn of(gradient: &Tensor) -> Result<Option<Self>> {
        if !gradient.is_sparse() {
            return Ok(None);
        }
        // Gradients that were accumulated may name a row twice.
        let gradient = gradient.f_coalesce()?;
        Ok(Some(Self { index: gradient.f_indices()?.f_get(0)?, gradient: gradient.f_values()? }))
    }

    /// These rows of a tensor, copied.
    pub(super) fn take(&self, all: &Tensor) -> Result<Tensor> {
        Ok(all.f_index_select(0, &self.index)?)
    }

    /// Puts such rows back.
    pub(super) fn put(&self, all: &mut Tensor, rows: &Tensor) -> Result<()> {
        let _ = all.f_index_copy_(0, &self.index, rows)?;
        Ok(())
    }
}
