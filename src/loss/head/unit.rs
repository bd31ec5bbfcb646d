//! Rows of one length, and the way of a gradient back through that.

use tch::{Device, Kind, Tensor};

use crate::loss::functional::NORM_FLOOR;

/// `r = length·x/max(‖x‖, floor)` of each row, or the rows as they are.
#[derive(Debug)]
pub(super) struct Unit {
    pub rows: Tensor,
    turn: Option<Turn>,
}

/// `[K, 1]` each.
#[derive(Debug)]
struct Turn {
    /// `length/max(‖x‖, floor)`.
    shrink: Tensor,
    /// `1/length²`, 0 under the floor, where a row is not turned but moved.
    along: Tensor,
}

impl Unit {
    pub(super) fn of(rows: &Tensor, length: Option<f64>) -> Self {
        Self::with_norms(rows, length, norms)
    }

    /// Also of rows so long that their squares overflow.
    pub(super) fn of_features(rows: &Tensor, length: Option<f64>) -> Self {
        Self::with_norms(rows, length, |rows| {
            let plain = norms(rows);
            // Looking at a device would wait for it.
            if rows.device() == Device::Cpu && bool::try_from(plain.isfinite().all()).unwrap_or(false) {
                return plain;
            }
            const SAFE: f64 = 1e15;
            let excess = rows.abs().amax([-1i64].as_slice(), true).clamp_min(SAFE) / SAFE;
            norms(&(rows / &excess)) * excess
        })
    }

    fn with_norms(rows: &Tensor, length: Option<f64>, norms: impl FnOnce(&Tensor) -> Tensor) -> Self {
        let Some(length) = length else { return Self { rows: rows.shallow_clone(), turn: None } };
        let norm = norms(rows);
        let along = norm.gt(NORM_FLOOR).to_kind(rows.kind()) * -length.powi(-2);
        let shrink = norm.clamp_min(NORM_FLOOR).reciprocal() * length;
        Self { rows: rows * &shrink, turn: Some(Turn { shrink, along }) }
    }

    /// The gradient by `r` becomes that by `x`: `shrink·(g − r·(r·g)/length²)`.
    pub(super) fn turn_back_(&self, gradient: &mut Tensor) {
        let Some(Turn { shrink, along }) = &self.turn else { return };
        let along = row_sums(&(&*gradient * &self.rows)) * along;
        let _ = gradient.addcmul_(&self.rows, &along);
        let _ = gradient.g_mul_(shrink);
    }
}

fn norms(rows: &Tensor) -> Tensor {
    rows.norm_scalaropt_dim(2, [-1i64].as_slice(), true)
}

pub(super) fn row_sums(rows: &Tensor) -> Tensor {
    rows.sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>)
}
