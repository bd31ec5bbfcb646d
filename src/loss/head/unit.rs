//! Rows of one length, and the way of a gradient back through that.

use tch::{Device, Kind, Tensor};

use crate::loss::functional::NORM_FLOOR;

/// `r = length·x/max(‖x‖, floor)` of each row, or the rows as they are.
#[derive(Debug)]
pub(super) struct Unit {
    pub rows: Tensor,
    turn: Option<Turn>,
}

#[derive(Debug)]
struct Turn {
    /// `max(‖x‖, floor)`, `[K, 1]`.
    norm: Tensor,
    /// `length/norm`, `[K, 1]`.
    shrink: Tensor,
    length: f64,
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
            if rows.device() == Device::Cpu && plain.max().double_value(&[]).is_finite() {
                return plain;
            }
            const SAFE: f64 = 1e15;
            let excess = rows.abs().amax([-1i64].as_slice(), true).clamp_min(SAFE) / SAFE;
            norms(&(rows / &excess)) * excess
        })
    }

    fn with_norms(rows: &Tensor, length: Option<f64>, norms: impl FnOnce(&Tensor) -> Tensor) -> Self {
        let Some(length) = length else { return Self { rows: rows.shallow_clone(), turn: None } };
        let norm = norms(rows).clamp_min_(NORM_FLOOR);
        let shrink = norm.reciprocal().g_mul_scalar_(length);
        Self { rows: rows * &shrink, turn: Some(Turn { norm, shrink, length }) }
    }

    /// The gradient by `r` becomes that by `x`: `shrink·(g − r·(r·g)/length²)`, and `shrink·g` of a row under the floor, which
    /// is not turned but moved.
    pub(super) fn turn_back_(&self, gradient: &mut Tensor) {
        let Some(turn) = &self.turn else { return };
        turn.straighten_(gradient, &self.rows);
        let _ = gradient.g_mul_(&turn.shrink);
    }

    /// The same of a gradient that is made now, into `out`, which is touched but once.
    pub(super) fn turn_back_into(&self, out: &Tensor, gradient: impl FnOnce(Option<&Tensor>) -> Tensor) {
        let Some(turn) = &self.turn else {
            let _ = gradient(Some(out));
            return;
        };
        let mut gradient = gradient(None);
        turn.straighten_(&mut gradient, &self.rows);
        let _ = gradient.mul_out(out, &turn.shrink);
    }
}

impl Turn {
    fn straighten_(&self, gradient: &mut Tensor, rows: &Tensor) {
        let mut along = row_sums(&(&*gradient * rows)).g_mul_scalar_(-self.length.powi(-2));
        let along = along.masked_fill_(&self.norm.le(NORM_FLOOR), 0.0);
        let _ = gradient.addcmul_(rows, &along);
    }
}

fn norms(rows: &Tensor) -> Tensor {
    rows.norm_scalaropt_dim(2, [-1i64].as_slice(), true)
}

pub(super) fn row_sums(rows: &Tensor) -> Tensor {
    rows.sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>)
}
