//! A head met in chunks of classes: its log-odds in one pass, its gradients in another.

use tch::{Kind, Tensor, autocast, no_grad_guard};

use super::{
    functional::{NORM_FLOOR, unit_rows},
    negatives::Classes,
};
use crate::{Error, Result};

/// How much of the classes a chunked pass holds at a time.
///
/// The chunks change nothing but memory, time and the last bits of rounding.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{Chunked, Chunks, LmclConfig, Loss}, tch::{Device, Kind, Tensor, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let lmcl = LmclConfig::default().init(&vs.root(), 1_000, 16)?;
/// let embeddings = Tensor::randn([8, 16], (Kind::Float, Device::Cpu)).set_requires_grad(true);
/// let labels = Tensor::from_slice(&[0i64, 1, 2, 3, 4, 5, 6, 999]);
/// // In place of `lmcl.forward(..)?.total().backward()`:
/// let report = lmcl.forward_backward(&embeddings, &labels, Chunks { classes: 128, ..Default::default() })?;
/// let whole = lmcl.forward(&embeddings, &labels)?.report()?;
/// assert!((report.total - whole.total).abs() < 1e-4 * whole.total);
/// assert_eq!(lmcl.prototypes().grad().size(), [1_000, 16]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    /// Classes at a time, at least 1. Default 8,192: large enough for full speed, small enough for
    /// the caches of most processors at usual batch sizes.
    pub classes: i64,
    /// Bytes of logits kept from the first pass over the classes to the second; those beyond are
    /// computed twice. Default 128 MiB. With room for all of them there are three matrix products for each
    /// head, with room for none four. Two heads share the budget.
    pub keep: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { classes: 8192, keep: 128 << 20 }
    }
}

impl Chunks {
    fn validate(&self) -> Result<()> {
        if self.classes >= 1 {
            return Ok(());
        }
        Err(Error::Config { field: "classes", expected: "at least 1".into(), got: self.classes.to_string() })
    }
}

/// One head before its passes over chunks of classes: logits `features · rowsᵀ + bias`, rows of unit length if asked.
#[derive(Debug)]
pub(super) struct ChunkedHead {
    /// In the graph of the embeddings, `[B, D]`.
    features: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    classes: Classes,
    /// Among `classes`, `[B]`.
    labels: Tensor,
    unit_rows: bool,
}

/// A head after its first pass, which knows what the second needs.
#[derive(Debug)]
pub(super) struct PassedHead {
    head: ChunkedHead,
    chunks: Vec<Chunk>,
    /// `z_y` and `ln Σ_{j≠y} exp z_j`, `[B, 1]` each: leaves, whose gradients are those of the pass back.
    own: Tensor,
    others: Tensor,
}

#[derive(Debug)]
struct Chunk {
    /// The rows of `weight`.
    rows: Rows,
    /// Samples whose class is in the chunk, and which column is theirs, `[M]` each.
    members: Tensor,
    columns: Tensor,
    /// `exp(z − top)`, and `top`, if there was room.
    kept: Option<(Tensor, Tensor)>,
}

#[derive(Debug)]
enum Rows {
    Span(i64, i64),
    Drawn(Tensor),
}

impl Rows {
    /// What belongs to these rows; a view where they are a span.
    fn of(&self, all: &Tensor) -> Tensor {
        match self {
            Self::Span(start, count) => all.narrow(0, *start, *count),
            Self::Drawn(rows) => all.index_select(0, rows),
        }
    }

    fn add(&self, all: &Tensor, values: &Tensor) {
        let _ = match self {
            Self::Span(start, count) => all.narrow(0, *start, *count).g_add_(values),
            Self::Drawn(rows) => all.shallow_clone().index_add_(0, rows, values),
        };
    }
}

impl ChunkedHead {
    pub(super) fn new(
        features: Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        classes: Classes,
        labels: Tensor,
        unit_rows: bool,
    ) -> Self {
        Self {
            features,
            weight: weight.shallow_clone(),
            bias: bias.map(Tensor::shallow_clone),
            classes,
            labels,
            unit_rows,
        }
    }

    /// Features of unit length times `scale`.
    pub(super) fn on_the_sphere(
        embeddings: &Tensor,
        scale: f64,
        weight: &Tensor,
        bias: Option<&Tensor>,
        classes: Classes,
        labels: Tensor,
    ) -> Self {
        Self::new(unit_rows(embeddings, scale), weight, bias, classes, labels, true)
    }

    /// The logits of the true classes against the others. Takes its room from `chunks.keep`.
    pub(super) fn first_pass(self, chunks: &mut Chunks) -> Result<PassedHead> {
        chunks.validate()?;
        autocast(false, || {
            let _frozen = no_grad_guard();
            let cut = self.cut(chunks.classes);
            let batch = self.features.size()[0];
            let column = |value: f64| Tensor::full([batch, 1], value, (self.features.kind(), self.features.device()));
            // Log-sum-exp that meets one chunk after the other: exp(z − top) summed up to now.
            let (mut top, mut sum) = (column(f64::NEG_INFINITY), column(0.0));
            let mut own = column(0.0);
            let mut done = Vec::with_capacity(cut.len());
            for mut chunk in cut {
                let mut logits = self.logits(&chunk);
                let at = [Some(&chunk.members), Some(&chunk.columns)];
                let _ = own.index_put_(&[Some(&chunk.members)], &logits.index(&at).unsqueeze(1), false);
                // Finite, so that a chunk of nothing but true classes has a difference of tops.
                let lowest = Tensor::from(lowest(logits.kind())).to_device(logits.device()).to_kind(logits.kind());
                let _ = logits.index_put_(&at, &lowest, false);
                let new_top = top.maximum(&logits.amax([-1i64].as_slice(), true));
                let _ = logits.g_sub_(&new_top);
                let _ = logits.exp_();
                sum = sum * (top - &new_top).exp() + logits.sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>);
                let bytes = logits.numel() * logits.kind().elt_size_in_bytes();
                if bytes <= chunks.keep {
                    chunks.keep -= bytes;
                    chunk.kept = Some((logits, new_top.shallow_clone()));
                }
                top = new_top;
                done.push(chunk);
            }
            let others = top + sum.log();
            let leaf = |values: Tensor| values.set_requires_grad(true);
            Ok(PassedHead { head: self, chunks: done, own: leaf(own), others: leaf(others) })
        })
    }

    fn logits(&self, chunk: &Chunk) -> Tensor {
        let rows = chunk.rows.of(&self.weight);
        let mut logits = self.features.mm(&rows.tr());
        if self.unit_rows {
            let _ = logits.g_mul_(&shrink(&rows).tr());
        }
        if let Some(bias) = &self.bias {
            let _ = logits.g_add_(&chunk.rows.of(bias));
        }
        logits
    }

    fn cut(&self, at_a_time: i64) -> Vec<Chunk> {
        let total = match &self.classes {
            Classes::All => self.weight.size()[0],
            Classes::Drawn(classes) => classes.size()[0],
        };
        let spans = (0..total).step_by(usize::try_from(at_a_time).expect("validated to be positive"));
        spans
            .map(|start| {
                let count = at_a_time.min(total - start);
                let inside = self.labels.ge(start).logical_and(&self.labels.lt(start + count));
                let members = inside.nonzero().squeeze_dim(1);
                let columns = self.labels.index_select(0, &members) - start;
                let rows = match &self.classes {
                    Classes::All => Rows::Span(start, count),
                    Classes::Drawn(classes) => Rows::Drawn(classes.narrow(0, start, count)),
                };
                Chunk { rows, members, columns, kept: None }
            })
            .collect()
    }
}

impl PassedHead {
    /// The log-odds of the true classes, `[B]`: [`second_pass`](Self::second_pass) takes on the gradient of what is made
    /// of them.
    pub(super) fn log_odds(&self) -> Tensor {
        self.log_odds_with(Tensor::shallow_clone)
    }

    /// With a margin that depends on the logit of the true class, `[B, 1]`, which `change` applies.
    pub(super) fn log_odds_with(&self, change: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        (change(&self.own) - &self.others).squeeze_dim(1)
    }

    /// Whether the second pass has anything to do.
    pub(super) fn takes_gradient(&self) -> bool {
        let ChunkedHead { features, weight, bias, .. } = &self.head;
        [Some(features), Some(weight), bias.as_ref()].into_iter().flatten().any(Tensor::requires_grad)
    }

    /// Adds to the gradients of the variables; returns the functional of the embeddings that has theirs, if they want
    /// one.
    pub(super) fn second_pass(self) -> Result<Option<Tensor>> {
        let Self { head, chunks, own, others } = self;
        let weight_grad = gradient_of(&head.weight)?;
        let bias_grad = head.bias.as_ref().map(gradient_of).transpose()?.flatten();
        let by_features = autocast(false, || -> Result<Tensor> {
            let _frozen = no_grad_guard();
            let (by_own, by_others) = (own.grad(), others.grad());
            let mut by_features = head.features.zeros_like();
            for mut chunk in chunks {
                // By a logit of the others in proportion to its share of them.
                let mut slope = match chunk.kept.take() {
                    Some((mut powers, top)) => {
                        let _ = powers.g_mul_(&(&by_others * (top - &others).exp()));
                        powers
                    }
                    None => {
                        let mut logits = head.logits(&chunk);
                        let _ = logits.g_sub_(&others);
                        let _ = logits.exp_();
                        let _ = logits.g_mul_(&by_others);
                        logits
                    }
                };
                let by_own = by_own.squeeze_dim(1).index_select(0, &chunk.members);
                let _ = slope.index_put_(&[Some(&chunk.members), Some(&chunk.columns)], &by_own, false);
                if let Some(grad) = &bias_grad {
                    chunk.rows.add(grad, &slope.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>));
                }
                let rows = chunk.rows.of(&head.weight);
                let shrink = head.unit_rows.then(|| shrink(&rows));
                if let Some(shrink) = &shrink {
                    let _ = slope.g_mul_(&shrink.tr());
                }
                let _ = by_features.addmm_(&slope, &rows);
                let Some(weight_grad) = &weight_grad else { continue };
                if let Some(shrink) = shrink {
                    let mut grad = slope.tr().mm(&head.features);
                    // Only what is orthogonal to a row turns it; a row under the floor has no length to keep.
                    let above = shrink.lt(1.0 / NORM_FLOOR).to_kind(rows.kind());
                    let along = (&rows * &grad).sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>);
                    let _ = grad.addcmul_(&rows, &(along * shrink.square() * above * -1.0));
                    chunk.rows.add(weight_grad, &grad);
                } else {
                    chunk.rows.add(weight_grad, &slope.tr().mm(&head.features));
                }
            }
            Ok(by_features)
        })?;
        let wanted = head.features.requires_grad();
        Ok(wanted.then(|| (&head.features * by_features).sum(head.features.kind())))
    }
}

/// `1/max(‖row‖, floor)`, `[K, 1]`.
fn shrink(rows: &Tensor) -> Tensor {
    rows.norm_scalaropt_dim(2, [-1i64].as_slice(), true).clamp_min(NORM_FLOOR).reciprocal()
}

/// The gradient that autograd keeps for a variable, zero if there was none: writing to it adds to it. `None` for one
/// that is frozen.
fn gradient_of(variable: &Tensor) -> Result<Option<Tensor>> {
    if !variable.requires_grad() {
        return Ok(None);
    }
    if !variable.grad().defined() {
        // The backward of a view of nothing makes a gradient of zeros.
        variable.narrow(0, 0, 0).sum(variable.kind()).f_backward()?;
    }
    Ok(Some(variable.grad()))
}

/// The lowest finite number.
fn lowest(kind: Kind) -> f64 {
    if kind == Kind::Double { f64::MIN } else { f64::from(f32::MIN) }
}
