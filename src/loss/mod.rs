//! Losses for networks that must tell apart classes they were never trained on.
//!
//! Every loss takes `[B, D]` embeddings and `[B]` labels and gives [`LossTerms`], the named terms
//! of one evaluation. Losses compose: `lmcl + 0.1 * center` is a loss again, with the same variable
//! names in its checkpoint as its parts.
//!
//! | loss | formula | trained parameters |
//! |---|---|---|
//! | [`SoftmaxHead`] | cross entropy of `W·x + b` | `W`, `b` |
//! | [`NormalizedSoftmax`] | cross entropy of `s·cos θ` | prototypes |
//! | [`Lmcl`] | cross entropy of `s·(cos θ − m·1[c = y])` | prototypes |
//! | [`ArcFace`] | cross entropy of `s·cos(θ + m·1[c = y])` | prototypes |
//! | [`CombinedMargin`] | cross entropy of `s·(cos(m₁θ + m₂) − m₃)` at `c = y` | prototypes |
//! | [`AdaFace`] | the same with `m₂ = −m·ẑ`, `m₃ = m + m·ẑ`, `ẑ` by the embedding's norm | prototypes |
//! | [`CenterLoss`] | `½‖x − c_y‖²`, `c` a running center | none (centers are a buffer) |
//! | [`SoftLmccl`] | LMCL + λ·center + softmax | prototypes, `W`, `b` |
//!
//! Every head takes several prototypes of a class, class weights, smoothed targets and labels to ignore ([`Targets`]), and
//! a share of the negatives ([`Negatives`]). Any number of classes fits in bounded memory ([`Chunks`]): `forward` and
//! `backward` meet the classes a chunk at a time, with the gradient in closed form ([`autograd`](crate::autograd)).
//! Under `create_graph` the gradient comes from the formulas in [`functional`], so that second derivatives are right. At an
//! embedding of zeros, or a prototype of zeros, a norm has no second derivative.
//! A gradient that is there already is added to, which takes one more tensor of the size of the weights.
//!
//! # Shapes
//! `B` batch, `D` embedding dimension, `C` classes. Embeddings may be `f16`, `bf16`, `f32` or `f64`;
//! heads, centers and logits are `f32` (`f64` after `VarStore::double`). A cast of the whole store afterwards casts heads and
//! centers too: cast the network alone, as in `(vs.root() / "net").bfloat16()`.

mod adaface;
mod arcface;
mod center;
mod combined;
mod compose;
mod config;
mod forgotten;
pub mod functional;
mod gate;
mod head;
mod kind;
mod lmcl;
mod soft_lmccl;
mod softmax;
mod terms;

use serde::{Deserialize, Serialize};
use tch::Tensor;

pub use adaface::{AdaFace, AdaFaceConfig};
pub use arcface::{ArcFace, ArcFaceConfig};
pub use center::{CenterDistance, CenterLoss, CenterLossConfig, CenterSpace, CenterUpdate};
pub use combined::{CombinedMargin, CombinedMarginConfig};
pub use compose::{Scaled, Sum};
pub use config::LossConfig;
pub use gate::Guarded;
pub use head::{Chunks, Negatives, Products, Targets};
pub(crate) use kind::short_type_name;
pub use kind::{LossKind, LossPart};
pub use lmcl::{Lmcl, LmclConfig};
pub use soft_lmccl::{SoftLmccl, SoftLmcclConfig, SoftmaxBranch};
pub use softmax::{NormalizedSoftmax, NormalizedSoftmaxConfig, SoftmaxHead, SoftmaxHeadConfig};
pub use terms::{LossReport, LossTerms, Term, TermReport};

use crate::{Result, distributed::Shard};

/// A training objective over a batch of embeddings.
///
/// `forward` is pure: the same inputs give the same output and no hidden state moves, so that there
/// is no train flag and a validation loss is just another call. Running state moves in
/// [`update`](Loss::update) only, whose `&mut self` says so. Most callers use
/// [`backward_step`](crate::train::backward_step), which puts the two in the right order.
///
/// # Shapes
/// - `embeddings`: `[B, D]`, floating, on the loss' device
/// - `labels`: `[B]`, `Int64`, each in `0..num_classes`; may stay on the CPU, where checking them is
///   free (they are then copied to the embeddings' device)
///
/// Where labels are on the CPU, no loss of this crate waits for a GPU in `forward`, backward or `update`. Two do:
/// [`Guarded`], which looks at the values, and sampled negatives whose store was moved as a whole, since the count of
/// draws then lies on the GPU.
pub trait Loss: std::fmt::Debug + Send {
    /// Evaluates every term, keeping the graph.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) or [`Error::Label`](crate::Error::Label) if the inputs
    /// break the contract above.
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms>;

    /// Whether this batch keeps the contract above; evaluates nothing.
    ///
    /// # Errors
    /// As [`forward`](Loss::forward).
    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()>;

    /// Moves running state (class centers) towards this batch, outside the graph.
    ///
    /// Stateless losses only [`check`](Loss::check). There is no default body, so that a wrapper cannot forget
    /// to pass the call on.
    ///
    /// # Errors
    /// As [`forward`](Loss::forward); nothing has moved then.
    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()>;

    /// Which loss this is, with its hyper-parameters: what checkpoints say of it and compare.
    ///
    /// By default the name of the type without hyper-parameters. A loss that has some, or is called otherwise, says so:
    /// `LossKind::new("my_loss", json!({ "scale": self.scale }))`.
    fn kind(&self) -> LossKind {
        LossKind::new(short_type_name::<Self>(), serde_json::Value::Null)
    }

    /// What this loss has of variables, trained ones and buffers, each with a name for messages.
    ///
    /// A training step refuses a loss with a variable that takes a gradient and that no optimizer has. By default none
    /// are told, and none are looked after.
    fn variables(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// How many classes its labels may name, if it is made for a number of them: a run then checks all labels before its
    /// first step.
    fn num_classes(&self) -> Option<i64> {
        None
    }

    /// Those of its variables whose rows are shared out over the ranks of a group: what is not averaged over the ranks, and
    /// what a checkpoint collects from all of them. None where a loss was made for a plain number of classes.
    fn shards(&self) -> Vec<Shard> {
        Vec::new()
    }

    /// `weight × self`, for losses outside of this crate, where `0.1 * loss` is not to be had.
    fn scaled(self, weight: f64) -> Scaled<Self>
    where
        Self: Sized,
    {
        Scaled { weight, inner: self }
    }

    /// `self + right`, for losses outside of this crate, where `loss + right` is not to be had.
    fn plus<R: Loss>(self, right: R) -> Sum<Self, R>
    where
        Self: Sized,
    {
        Sum { left: self, right }
    }
}

impl<L: Loss + ?Sized> Loss for Box<L> {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        (**self).forward(embeddings, labels)
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        (**self).check(embeddings, labels)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        (**self).update(embeddings, labels)
    }

    fn kind(&self) -> LossKind {
        (**self).kind()
    }

    fn variables(&self) -> Vec<(String, Tensor)> {
        (**self).variables()
    }

    fn num_classes(&self) -> Option<i64> {
        (**self).num_classes()
    }

    fn shards(&self) -> Vec<Shard> {
        (**self).shards()
    }
}

/// How the values of the samples become one number.
///
/// Only what every loss supports, so that no variant can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Mean over the batch: the weight of a term does not depend on the batch size.
    #[default]
    Mean,
    /// Sum over the batch (the authors' center loss: `tf.nn.l2_loss`).
    Sum,
}

impl Reduction {
    fn apply(self, per_sample: &Tensor) -> Tensor {
        match self {
            Self::Mean => per_sample.mean(per_sample.kind()),
            Self::Sum => per_sample.sum(per_sample.kind()),
        }
    }
}

impl From<Reduction> for tch::Reduction {
    fn from(reduction: Reduction) -> Self {
        match reduction {
            Reduction::Mean => Self::Mean,
            Reduction::Sum => Self::Sum,
        }
    }
}
