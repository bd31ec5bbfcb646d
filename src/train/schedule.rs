//! How the learning rate, the margin and the center weight move over a run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    loss::{SoftLmccl, SoftLmcclConfig},
};

/// The learning rate as a factor of its peak.
///
/// # Examples
/// ```
/// use soft_lmccl::train::Schedule;
///
/// assert_eq!(Schedule::OneCycle.factor(0.3), 1.0);
/// assert_eq!(Schedule::Cosine.factor(0.5), 0.5);
/// assert_eq!(Schedule::Constant.factor(0.9), 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Schedule {
    /// A cosine rise from 1/25 over the first 30 % of the run, then a cosine fall towards 1/250,000. This is the
    /// curve of PyTorch's `OneCycleLR` with its defaults, without its cycle of the momentum. A step has the factor of
    /// its beginning: the last step stands one step before the end (PyTorch's stands on it).
    #[default]
    OneCycle,
    /// A cosine fall from the peak to zero (Loshchilov and Hutter, 2017, one period).
    Cosine,
    /// The peak throughout.
    Constant,
}

impl Schedule {
    /// The factor at `progress`, the part of the run that is done, in 0..=1.
    ///
    /// # References
    /// L. Smith and N. Topin, *Super-Convergence*, 2019, [arXiv:1708.07120](https://arxiv.org/abs/1708.07120);
    /// I. Loshchilov and F. Hutter, *SGDR*, ICLR 2017, Eq. 5.
    pub fn factor(self, progress: f64) -> f64 {
        const RISE: f64 = 0.3;
        const FIRST: f64 = 1.0 / 25.0;
        const LAST: f64 = FIRST / 1e4;
        let cosine = |from: f64, to: f64, t: f64| to + (from - to) * (1.0 + (PI * t).cos()) / 2.0;
        match self {
            Self::OneCycle if progress < RISE => cosine(FIRST, 1.0, progress / RISE),
            Self::OneCycle => cosine(1.0, LAST, (progress - RISE) / (1.0 - RISE)),
            Self::Cosine => cosine(1.0, 0.0, progress),
            Self::Constant => 1.0,
        }
    }
}

/// Brings in the margin and the center term of [`SoftLmccl`] slowly: each rises linearly from zero to its value.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::SoftLmcclConfig, train::WarmUp, tch::{Device, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let config = SoftLmcclConfig::default();
/// let mut loss = config.init(&vs.root(), 3, 2)?;
/// let warm_up = WarmUp { margin: 0.5, center_weight: 0.0 };
/// warm_up.apply(&mut loss, &config, 0.25)?;
/// assert_eq!(loss.config().lmcl.margin, config.lmcl.margin / 2.0);
/// assert_eq!(loss.config().center_weight, config.center_weight);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WarmUp {
    /// Part of the run, in 0..=1, over which the margin rises. Default 0, the whole margin from the start.
    pub margin: f64,
    /// The same for the center term's weight λ. Default 0.
    pub center_weight: f64,
}

impl WarmUp {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] for a part outside 0..=1.
    pub fn validate(&self) -> Result<()> {
        for (field, part) in [("margin", self.margin), ("center_weight", self.center_weight)] {
            if !(0.0..=1.0).contains(&part) {
                return Err(Error::config(field, "a part from 0 to 1", part));
            }
        }
        Ok(())
    }

    /// Gives `loss` the margin and the center weight of `progress`; `target` holds their final values. For
    /// [`Trainer::before_step`](super::Trainer::before_step).
    ///
    /// # Errors
    /// As [`validate`](Self::validate), [`SoftLmccl::set_margin`] and [`SoftLmccl::set_center_weight`].
    pub fn apply(&self, loss: &mut SoftLmccl, target: &SoftLmcclConfig, progress: f64) -> Result<()> {
        self.validate()?;
        let risen = |part: f64| if progress < part { progress / part } else { 1.0 };
        loss.set_margin(target.lmcl.margin * risen(self.margin))?;
        loss.set_center_weight(target.center_weight * risen(self.center_weight))
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::Schedule;

    #[test]
    fn schedules_match_pytorch() {
        // torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=...): its ends and its peak.
        let one_cycle = |progress| Schedule::OneCycle.factor(progress);
        assert_relative_eq!(one_cycle(0.0), 0.04, epsilon = 1e-12);
        assert_relative_eq!(one_cycle(0.3), 1.0, epsilon = 1e-12);
        assert_relative_eq!(one_cycle(1.0), 4e-6, epsilon = 1e-12);
        assert!(one_cycle(0.1) < one_cycle(0.2) && one_cycle(0.5) > one_cycle(0.6));
        // CosineAnnealingLR(T_max=8, eta_min=0) after 0, 2, 4, 6 and 8 steps.
        for (progress, factor) in
            [(0.0, 1.0), (0.25, 0.853_553_390_593_273_7), (0.5, 0.5), (0.75, 0.146_446_609_406_726_2), (1.0, 0.0)]
        {
            assert_relative_eq!(Schedule::Cosine.factor(progress), factor, epsilon = 1e-12);
        }
    }
}
