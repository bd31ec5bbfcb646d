//! `a + 0.1 * b` on losses, statically typed, without boxing.

use std::ops::{Add, Mul};

use tch::Tensor;

use super::{
    AdaFace, ArcFace, CenterLoss, CombinedMargin, Guarded, Lmcl, Loss, LossKind, LossTerms, NormalizedSoftmax,
    SoftLmccl, SoftmaxHead,
};
use crate::{Error, Result, distributed::Shard};

/// `weight × inner`. The weight is public so that a schedule may ramp it.
#[derive(Debug)]
pub struct Scaled<L> {
    /// λ, finite.
    pub weight: f64,
    /// The scaled loss.
    pub inner: L,
}

/// `left + right`.
#[derive(Debug)]
pub struct Sum<A, B> {
    /// First summand.
    pub left: A,
    /// Second summand.
    pub right: B,
}

impl<L> Scaled<L> {
    fn require_finite(&self) -> Result<()> {
        if self.weight.is_finite() {
            return Ok(());
        }
        Err(Error::config("weight", "a finite number", self.weight))
    }
}

impl<L: Loss> Loss for Scaled<L> {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        self.require_finite()?;
        Ok(self.weight * self.inner.forward(embeddings, labels)?)
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.require_finite()?;
        self.inner.check(embeddings, labels)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.require_finite()?;
        self.inner.update(embeddings, labels)
    }

    fn kind(&self) -> LossKind {
        self.weight * self.inner.kind()
    }

    fn variables(&self) -> Vec<(String, Tensor)> {
        self.inner.variables()
    }

    fn num_classes(&self) -> Option<i64> {
        self.inner.num_classes()
    }

    fn shards(&self) -> Vec<Shard> {
        self.inner.shards()
    }
}

impl<A: Loss, B: Loss> Loss for Sum<A, B> {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        Ok(self.left.forward(embeddings, labels)? + self.right.forward(embeddings, labels)?)
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.left.check(embeddings, labels)?;
        self.right.check(embeddings, labels)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        // What the right one refuses must not have moved the left one.
        self.right.check(embeddings, labels)?;
        self.left.update(embeddings, labels)?;
        self.right.update(embeddings, labels)
    }

    fn kind(&self) -> LossKind {
        self.left.kind() + self.right.kind()
    }

    fn variables(&self) -> Vec<(String, Tensor)> {
        let mut variables = self.left.variables();
        variables.extend(self.right.variables());
        variables
    }

    fn num_classes(&self) -> Option<i64> {
        let (left, right) = (self.left.num_classes(), self.right.num_classes());
        left.into_iter().chain(right).min()
    }

    fn shards(&self) -> Vec<Shard> {
        self.left.shards().into_iter().chain(self.right.shards()).collect()
    }
}

impl<Right: Loss> Add<Right> for Box<dyn Loss> {
    type Output = Sum<Self, Right>;

    fn add(self, right: Right) -> Self::Output {
        Sum { left: self, right }
    }
}

impl Mul<f64> for Box<dyn Loss> {
    type Output = Scaled<Self>;

    fn mul(self, weight: f64) -> Self::Output {
        Scaled { weight, inner: self }
    }
}

impl Mul<Box<dyn Loss>> for f64 {
    type Output = Scaled<Box<dyn Loss>>;

    fn mul(self, inner: Box<dyn Loss>) -> Self::Output {
        Scaled { weight: self, inner }
    }
}

// The orphan rule forbids `impl<L: Loss> Mul<L> for f64`, but not one impl for each of our own types.
macro_rules! composable {
    ($($loss:ident $(<$($inner:ident),+>)?),+ $(,)?) => { $(
        impl<Right: Loss $(, $($inner: Loss),+)?> Add<Right> for $loss $(<$($inner),+>)? {
            type Output = Sum<Self, Right>;

            fn add(self, right: Right) -> Self::Output {
                Sum { left: self, right }
            }
        }

        impl $(<$($inner: Loss),+>)? Mul<f64> for $loss $(<$($inner),+>)? {
            type Output = Scaled<Self>;

            fn mul(self, weight: f64) -> Self::Output {
                Scaled { weight, inner: self }
            }
        }

        impl $(<$($inner: Loss),+>)? Mul<$loss $(<$($inner),+>)?> for f64 {
            type Output = Scaled<$loss $(<$($inner),+>)?>;

            fn mul(self, inner: $loss $(<$($inner),+>)?) -> Self::Output {
                Scaled { weight: self, inner }
            }
        }
    )+ };
}

composable!(Lmcl, ArcFace, CombinedMargin, AdaFace, NormalizedSoftmax, SoftmaxHead, CenterLoss, SoftLmccl, Guarded<L>, Scaled<L>, Sum<A, B>);
