//! The bare products of the upper triangle: what no way of counting all pairs can do without.

use std::hint::black_box;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use soft_lmccl::tch::{Cuda, Device, Tensor, no_grad_guard};

/// Tiles that stay in the cache of a core, one thread each.
pub fn by_the_host(values: ArrayView2<'_, f32>) {
    const TILE: usize = 256;
    let blocks: Vec<_> = values.axis_chunks_iter(Axis(0), TILE).collect();
    let pairs: Vec<_> = (0..blocks.len()).flat_map(|j| (0..=j).map(move |i| (i, j))).collect();
    pairs.into_par_iter().for_each_init(
        || Array2::zeros((TILE, TILE)),
        |scores, (i, j)| {
            let mut product = scores.slice_axis_mut(Axis(0), (..blocks[i].nrows()).into());
            product.slice_axis_inplace(Axis(1), (..blocks[j].nrows()).into());
            general_mat_mul(1.0, &blocks[i], &blocks[j].t(), 0.0, &mut product);
            black_box(&product);
        },
    );
}

/// Tiles that are worth the threads of libtorch.
pub fn by_libtorch(values: &Tensor) {
    const TILE: i64 = 1024;
    let _guard = no_grad_guard();
    let rows = values.size()[0];
    let mut product = Tensor::empty([TILE, TILE], (values.kind(), values.device()));
    let span = |start: i64| values.narrow(0, start, TILE.min(rows - start));
    for i in (0..rows).step_by(TILE as usize) {
        for j in (i..rows).step_by(TILE as usize) {
            let (left, right) = (span(i), span(j));
            let out = product.narrow(0, 0, left.size()[0]).narrow(1, 0, right.size()[0]);
            let _ = left.matmul_out(&out, &right.tr());
            black_box(&mut product);
        }
    }
    if let Device::Cuda(number) = values.device() {
        Cuda::synchronize(number as i64);
    }
}
