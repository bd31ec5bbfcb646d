//! The one place where embeddings and labels are checked; the formulas behind it take them as right.

use tch::{Device, Kind, Tensor, kind::Element};

use super::{Loss, LossKind, LossTerms};
use crate::{Error, Result, distributed::Shard, error::require_defined};

/// What a loss was made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    pub num_classes: i64,
    pub embedding_dim: i64,
    /// The label of samples that take no part.
    pub ignore: Option<i64>,
}

/// A batch that keeps the contract of [`Loss`]: what the formulas take.
pub(super) struct CheckedBatch {
    /// `[B, D]`, in the kind of the loss.
    pub embeddings: Tensor,
    pub labels: Labels,
}

/// Labels in range, where they are computed with and where they cost nothing to look at.
pub(super) struct Labels {
    /// `[B]`, on the device of the embeddings.
    pub tensor: Tensor,
    pub on_host: Vec<i64>,
}

impl Labels {
    pub(super) fn new(on_host: Vec<i64>, device: Device) -> Self {
        Self { tensor: placed(&on_host, device), on_host }
    }
}

/// Numbers of the host on a device, which nobody waits for.
pub(super) fn placed<T: Element>(values: &[T], device: Device) -> Tensor {
    sent(&Tensor::from_slice(values), device)
}

/// A tensor on a device. From the host to a GPU the copy queues up behind the work there, by way of pinned memory; any
/// other copy would wait for that work.
pub(super) fn sent(tensor: &Tensor, device: Device) -> Tensor {
    match (tensor.device(), device) {
        (Device::Cpu, Device::Cuda(_)) => {
            tensor.internal_pin_memory(device).to_device_(device, tensor.kind(), true, false)
        }
        _ => tensor.to_device(device),
    }
}

impl Gate {
    /// # Errors
    /// [`Error::Config`] unless there are `least_classes` classes and one dimension at least.
    pub(super) fn new(num_classes: i64, least_classes: i64, embedding_dim: i64) -> Result<Self> {
        for (field, value, least) in [("num_classes", num_classes, least_classes), ("embedding_dim", embedding_dim, 1)]
        {
            if value < least {
                return Err(Error::config(field, format!("at least {least}"), value));
            }
        }
        Ok(Self { num_classes, embedding_dim, ignore: None })
    }

    pub(super) fn ignoring(self, ignore: Option<i64>) -> Self {
        Self { ignore, ..self }
    }

    /// The embeddings in the kind of `weight`, if they are `[B, D]`, floating and beside it.
    pub(super) fn embeddings(&self, embeddings: &Tensor, weight: &Tensor) -> Result<Tensor> {
        require_defined("embeddings", embeddings)?;
        let size = embeddings.size();
        let kind = embeddings.kind();
        let floating = matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double);
        if size.len() != 2 || size[0] < 1 || size[1] != self.embedding_dim || !floating {
            return Err(Error::Tensor {
                what: "embeddings",
                expected: format!("a floating [B, {}] with B >= 1", self.embedding_dim),
                got: format!("{kind:?} {size:?}"),
            });
        }
        if embeddings.device() != weight.device() {
            return Err(Error::Tensor {
                what: "embeddings",
                expected: format!("to be on {:?} like the loss", weight.device()),
                got: format!("{:?}", embeddings.device()),
            });
        }
        Ok(embeddings.to_kind(weight.kind()))
    }

    /// Embeddings and labels, ready for the formulas of a loss whose variables are like `weight`.
    pub(super) fn batch(&self, embeddings: &Tensor, labels: &Tensor, weight: &Tensor) -> Result<CheckedBatch> {
        let embeddings = self.embeddings(embeddings, weight)?;
        let batch = embeddings.size()[0];
        require_defined("labels", labels)?;
        if labels.kind() != Kind::Int64 || labels.size() != [batch] {
            return Err(Error::Tensor {
                what: "labels",
                expected: format!("Int64 [{batch}], one for each embedding"),
                got: format!("{:?} {:?}", labels.kind(), labels.size()),
            });
        }
        // libtorch answers a label out of range with 4 kB of C++ trace, on CUDA with a dead context.
        let on_host = Vec::<i64>::try_from(labels)?;
        let takes_part = |label: &i64| Some(*label) != self.ignore;
        let outside = |label: &i64| takes_part(label) && !(0..self.num_classes).contains(label);
        if let Some(position) = on_host.iter().position(outside) {
            return Err(Error::Label { position, label: on_host[position], num_classes: self.num_classes });
        }
        if on_host.iter().all(takes_part) {
            return Ok(CheckedBatch { embeddings, labels: Labels { tensor: sent(labels, weight.device()), on_host } });
        }
        let (places, kept): (Vec<_>, Vec<_>) = (0i64..).zip(on_host).filter(|(_, label)| takes_part(label)).unzip();
        if kept.is_empty() {
            return Err(Error::Tensor {
                what: "labels",
                expected: "one at least that is not ignored".into(),
                got: format!("{batch} times {}", self.ignore.unwrap_or_default()),
            });
        }
        let places = placed(&places, weight.device());
        Ok(CheckedBatch { embeddings: embeddings.index_select(0, &places), labels: Labels::new(kept, weight.device()) })
    }
}

/// The largest hyper-parameter: libtorch panics at numbers beyond single precision, and products of two of
/// these stay within it.
const LARGEST: f64 = 1e15;

/// `field` must be at least 0 and no more than [`LARGEST`].
pub(super) fn require_non_negative(field: &'static str, value: f64) -> Result<()> {
    require(field, value, value >= 0.0, "a finite number >= 0")
}

/// The radius of the hypersphere must be positive and no more than [`LARGEST`].
pub(super) fn require_scale(value: f64) -> Result<()> {
    require("scale", value, value > 0.0, "a finite number > 0")
}

fn require(field: &'static str, value: f64, in_range: bool, expected: &str) -> Result<()> {
    let expected = match value.is_finite() && in_range {
        true if value <= LARGEST => return Ok(()),
        true => format!("at most {LARGEST:e}"),
        false => expected.to_owned(),
    };
    Err(Error::config(field, expected, value))
}

/// Refuses embeddings that hold NaN or infinity before they reach the inner loss.
///
/// The other checks look at shapes and labels only, since reading every embedding costs a device
/// synchronization. Wrap a loss while a run is young, or wherever a silent NaN would cost more.
///
/// # Examples
/// ```
/// # use soft_lmccl::{loss::{Guarded, LmclConfig, Loss}, tch::{Device, Tensor, nn}};
/// # fn main() -> soft_lmccl::Result<()> {
/// let vs = nn::VarStore::new(Device::Cpu);
/// let loss = Guarded { inner: LmclConfig::default().init(&vs.root(), 3, 2)? };
/// let embeddings = Tensor::from_slice2(&[[1.0f32, 0.5], [f32::NAN, 2.0]]);
/// let error = loss.forward(&embeddings, &Tensor::from_slice(&[0i64, 2])).unwrap_err();
/// assert_eq!(error.to_string(), "embeddings: expected finite numbers, got NaN in row 1, column 0");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Guarded<L> {
    /// The guarded loss.
    pub inner: L,
}

impl<L: Loss> Loss for Guarded<L> {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        require_finite(embeddings)?;
        self.inner.forward(embeddings, labels)
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        require_finite(embeddings)?;
        self.inner.check(embeddings, labels)
    }

    fn update(&mut self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        require_finite(embeddings)?;
        self.inner.update(embeddings, labels)
    }

    fn kind(&self) -> LossKind {
        self.inner.kind()
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

fn require_finite(embeddings: &Tensor) -> Result<()> {
    require_defined("embeddings", embeddings)?;
    let finite = embeddings.detach().isfinite();
    if bool::try_from(finite.all())? {
        return Ok(());
    }
    let row_major = embeddings.detach().flatten(0, -1).to_kind(Kind::Double);
    let index = finite.flatten(0, -1).logical_not().to_kind(Kind::Int64).argmax(0, false).int64_value(&[]);
    let columns = embeddings.size().last().copied().unwrap_or(1).max(1);
    Err(Error::Tensor {
        what: "embeddings",
        expected: "finite numbers".into(),
        got: format!("{} in row {}, column {}", row_major.double_value(&[index]), index / columns, index % columns),
    })
}
