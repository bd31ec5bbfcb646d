//! Losses as the commands make them: one of the library's, alone or with λ times the center loss.

use soft_lmccl::{
    Result,
    loss::{CenterLossConfig, Loss, LossConfig},
    tch::nn,
};

/// Makes `loss` with its variables at `path`. With a center loss and its weight it makes the sum of both, with the
/// variables of each below `path` under its own name.
///
/// # Errors
/// As the `init` of the losses.
pub fn init(
    loss: LossConfig,
    center: Option<(f64, CenterLossConfig)>,
    path: &nn::Path<'_>,
    classes: i64,
    dim: i64,
) -> Result<Box<dyn Loss>> {
    let Some((weight, center)) = center else {
        return loss.init(path, classes, dim);
    };
    let loss = loss.init(&(path / loss.name()), classes, dim)?;
    Ok(Box::new(loss + weight * center.init(&(path / "center"), classes, dim)?))
}
