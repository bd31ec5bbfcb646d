//! The one door from torch to the host.

use ndarray::Array2;
use tch::{Device, Kind, Tensor, nn, no_grad_guard};

use crate::{Error, Result, error::require_defined, metrics::EmbeddingSet};

/// Runs `net` over `(volumes, labels)` batches in evaluation mode, without gradients, and gathers
/// unit-length embeddings on the host.
///
/// # Shapes
/// Each batch: `[B, …]` as `net` takes it, on its device; `[B]` `Int64` on any.
///
/// # Errors
/// - The error of a batch, passed on.
/// - [`Error::Tensor`] for labels that are undefined, not `Int64` or not `[B]`; for outputs of `net` that are not
///   `[B, D]` with one `D`.
/// - [`Error::Metric`] for a zero or non-finite embedding, a label below 0 or above `u32::MAX`, or no embedding at
///   all.
///
/// # Panics
/// As `net` does, for volumes of a shape that it does not take.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{model::{CompactNetConfig, compact_net}, train::embed, tch::{Device, Kind, Tensor, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = compact_net(&(vs.root() / "net"), 8, CompactNetConfig { channels: vec![4], embedding_dim: 16, ..Default::default() })?;
/// let batch = |labels: &[i64]| {
///     let volumes = Tensor::randn([labels.len() as i64, 1, 8, 8, 8], (Kind::Float, Device::Cpu));
///     Ok((volumes, Tensor::from_slice(labels)))
/// };
/// let set = embed(&net, [batch(&[3, 5, 3]), batch(&[5])])?;
/// assert_eq!((set.len(), set.dim(), set.labels()), (4, 16, &[3, 5, 3, 5][..]));
/// # Ok(()) }
/// ```
pub fn embed(
    net: &impl nn::ModuleT,
    batches: impl IntoIterator<Item = Result<(Tensor, Tensor)>>,
) -> Result<EmbeddingSet> {
    let (embeddings, labels) = embed_raw(net, batches)?;
    Ok(EmbeddingSet::new(embeddings.view(), &labels)?)
}

/// As [`embed`], with the lengths that the network gives: `[N, D]` embeddings and `[N]` labels, the input of
/// [`CollapseReport::of`](crate::metrics::CollapseReport::of).
///
/// # Errors
/// As [`embed`], without [`Error::Metric`]: lengths, labels and `N` may be any.
///
/// # Panics
/// As `net` does, for volumes of a shape that it does not take.
pub fn embed_raw(
    net: &impl nn::ModuleT,
    batches: impl IntoIterator<Item = Result<(Tensor, Tensor)>>,
) -> Result<(Array2<f32>, Vec<i64>)> {
    let _frozen = no_grad_guard();
    let (mut values, mut labels, mut dim) = (Vec::new(), Vec::new(), 0);
    for batch in batches {
        let (volumes, batch_labels) = batch?;
        require_defined("labels", &batch_labels)?;
        if batch_labels.kind() != Kind::Int64 {
            return Err(Error::Tensor {
                what: "labels",
                expected: "Int64".into(),
                got: format!("{:?}", batch_labels.kind()),
            });
        }
        let embeddings = net.forward_t(&volumes, false).to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        let [rows, columns] = embeddings.size()[..] else {
            return Err(Error::Tensor {
                what: "embeddings",
                expected: "the network to give [B, D]".into(),
                got: format!("{:?}", embeddings.size()),
            });
        };
        // The totals would agree if one batch had too many and another too few.
        if batch_labels.size() != [rows] {
            return Err(Error::Tensor {
                what: "labels",
                expected: format!("[{rows}], one for each embedding of the batch"),
                got: format!("{:?}", batch_labels.size()),
            });
        }
        let columns = usize::try_from(columns).unwrap_or(0);
        if !labels.is_empty() && columns != dim {
            return Err(Error::Tensor {
                what: "embeddings",
                expected: format!("every batch to give {dim} columns"),
                got: format!("{:?}", embeddings.size()),
            });
        }
        dim = columns;
        values.extend(Vec::<f32>::try_from(embeddings.flatten(0, -1))?);
        labels.extend(Vec::<i64>::try_from(batch_labels.to_device(Device::Cpu))?);
    }
    let shape = (labels.len(), dim);
    let embeddings = Array2::from_shape_vec(shape, values).expect("every batch has given rows of `dim` numbers");
    Ok((embeddings, labels))
}
