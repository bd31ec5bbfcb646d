//! Embeddings of libtorch on the host.

use tch::{Device, Kind, Tensor};

use crate::{EmbeddingSet, Error, ReportOptions, VerificationReport, ndarray::ArrayView2};

impl EmbeddingSet {
    /// As [`new`](Self::new), of tensors on any device.
    ///
    /// # Shapes
    /// * `embeddings`: `[N, D]`, floating, of any precision
    /// * `labels`: `[N]`, `Int64`
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Tensor`] for other shapes and kinds.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_metrics::{EmbeddingSet, tch::Tensor};
    ///
    /// let embeddings = Tensor::from_slice2(&[[3.0f32, 4.0], [0.0, -2.0]]);
    /// let set = EmbeddingSet::from_tensor(&embeddings, &Tensor::from_slice(&[0i64, 1]))?;
    /// assert_eq!(set.row(0), [0.6, 0.8]);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn from_tensor(embeddings: &Tensor, labels: &Tensor) -> Result<Self, Error> {
        let refuse = |what, expected: &str, tensor: &Tensor| {
            let got = match tensor.defined() {
                true => format!("{:?} {:?}", tensor.kind(), tensor.size()),
                false => "an undefined tensor".to_owned(),
            };
            Err(Error::Tensor { what, expected: expected.to_owned(), got })
        };
        if !embeddings.defined() || embeddings.dim() != 2 || !embeddings.is_floating_point() {
            return refuse("embeddings", "a floating [N, D]", embeddings);
        }
        if !labels.defined() || labels.dim() != 1 || labels.kind() != Kind::Int64 {
            return refuse("labels", "Int64 [N]", labels);
        }
        let rows = embeddings.size()[0] as usize;
        let dim = embeddings.size()[1] as usize;
        let on_host = embeddings.detach().f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        let values = Vec::<f32>::try_from(on_host.f_flatten(0, -1)?)?;
        let labels = Vec::<i64>::try_from(labels.f_to_device(Device::Cpu)?.f_contiguous()?)?;
        let view = ArrayView2::from_shape((rows, dim), &values).expect("a contiguous matrix has rows times columns");
        Self::new(view, &labels)
    }
}

impl VerificationReport {
    /// Measures tensors on any device in one call, over all pairs in bounded memory, with intervals:
    /// [`EmbeddingSet::from_tensor`] and [`of_set`](Self::of_set).
    ///
    /// # Errors
    /// As those two.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_metrics::{ReportOptions, VerificationReport, tch::{Device, Kind, Tensor}};
    ///
    /// let labels = Tensor::arange(40, (Kind::Int64, Device::Cpu)).remainder(5);
    /// let noise = Tensor::arange(200, (Kind::Float, Device::Cpu)).square().sin().view([40, 5]);
    /// let embeddings = Tensor::eye(5, (Kind::Float, Device::Cpu)).index_select(0, &labels) + 0.8 * noise;
    /// let report = VerificationReport::of_tensors(&embeddings, &labels, &ReportOptions::default())?;
    /// assert_eq!(report.pairs, 780);
    /// assert!(report.auc_interval.is_some_and(|interval| interval.contains(report.auc)));
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn of_tensors(embeddings: &Tensor, labels: &Tensor, options: &ReportOptions) -> Result<Self, Error> {
        Self::of_set(&EmbeddingSet::from_tensor(embeddings, labels)?, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_every_precision_and_layout_are_a_set() {
        let rows = Tensor::from_slice2(&[[3.0f32, 0.0, 1.0], [4.0, 2.0, 0.0]]);
        let labels = Tensor::from_slice(&[7i64, 0, 7]);
        for kind in [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double] {
            let set = EmbeddingSet::from_tensor(&rows.tr().to_kind(kind).set_requires_grad(true), &labels).unwrap();
            assert_eq!((set.len(), set.dim(), set.labels()), (3, 2, &[7, 0, 7][..]));
            assert_eq!((set.row(0), set.row(1)), (&[0.6, 0.8][..], &[0.0, 1.0][..]));
        }
        let refused = |embeddings: &Tensor, labels: &Tensor| {
            EmbeddingSet::from_tensor(embeddings, labels).unwrap_err().to_string()
        };
        assert_eq!(refused(&labels, &labels), "embeddings: expected a floating [N, D], got Int64 [3]");
        assert_eq!(refused(&Tensor::new(), &labels), "embeddings: expected a floating [N, D], got an undefined tensor");
        assert_eq!(refused(&rows, &rows), "labels: expected Int64 [N], got Float [2, 3]");
        assert!(matches!(
            EmbeddingSet::from_tensor(&rows, &labels),
            Err(Error::EmbeddingLength { embeddings: 2, labels: 3 })
        ));
    }
}
