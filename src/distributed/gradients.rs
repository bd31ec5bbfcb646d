//! One gradient of what every rank has a copy of.

use std::collections::HashSet;

use tch::{Kind, Tensor, no_grad_guard};

use super::{Group, Reduce, Shard};
use crate::Result;

/// Bytes of a bucket: PyTorch's 25 MiB.
const BUCKET: usize = 25 << 20;

impl Group {
    /// Makes the gradient of each variable its mean over the ranks, several of them in one operation. Those of `shards`
    /// stay as they are: each rank has rows of its own there.
    ///
    /// A variable whose gradient some ranks lack counts as zero there. Sparse gradients stay as they are too: those of a
    /// head that every rank has a copy of are the same on all.
    ///
    /// # Errors
    /// [`Error::Group`](crate::Error::Group) as every operation; [`Error::Torch`](crate::Error::Torch).
    pub fn average_gradients(&self, variables: &[Tensor], shards: &[Shard]) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        let copies = copies(variables, shards);
        // Bit 0: there is one. Bit 1: it is sparse.
        let state = |variable: &&Tensor| match variable.grad() {
            gradient if !gradient.defined() => 0i64,
            gradient if gradient.is_sparse() => 3,
            _ => 1,
        };
        let states = Tensor::f_from_slice(&copies.iter().map(state).collect::<Vec<_>>())?;
        let states = Vec::<i64>::try_from(&self.all_reduce(&states, Reduce::Max)?)?;
        let mut gradients = Vec::new();
        for (variable, _) in copies.iter().zip(&states).filter(|&(_, &state)| state == 1) {
            if !variable.grad().defined() {
                // `tch` cannot set a gradient, but a backward makes one.
                (*variable * 0.0).sum(None::<Kind>).f_backward()?;
            }
            gradients.push(variable.grad());
        }
        self.average(&gradients)
    }

    /// Makes each tensor its mean over the ranks, in place.
    pub(crate) fn average(&self, tensors: &[Tensor]) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        let _frozen = no_grad_guard();
        let ranks = self.size() as f64;
        self.in_buckets(tensors, |bucket| {
            self.all_reduce_(bucket, Reduce::Sum)?;
            let _ = bucket.shallow_clone().f_div_scalar_(ranks)?;
            Ok(())
        })
    }

    /// Gives every rank the values that rank 0 has of the variables, those of `shards` left out: what a run begins with.
    ///
    /// # Errors
    /// As [`average_gradients`](Self::average_gradients).
    pub fn broadcast_variables(&self, variables: &[Tensor], shards: &[Shard]) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        let _frozen = no_grad_guard();
        let copies: Vec<_> = copies(variables, shards).into_iter().map(Tensor::detach).collect();
        self.in_buckets(&copies, |bucket| {
            let first = self.broadcast(bucket, 0)?;
            bucket.shallow_clone().f_copy_(&first)?;
            Ok(())
        })
    }

    /// Lays tensors of one kind and device end to end, and takes back what becomes of them.
    fn in_buckets(&self, tensors: &[Tensor], work: impl Fn(&Tensor) -> Result<()>) -> Result<()> {
        let mut rest: Vec<_> = tensors.iter().filter(|tensor| tensor.numel() > 0).collect();
        while let Some(first) = rest.first() {
            let like = (first.kind(), first.device());
            let (mut bytes, mut bucket, mut others) = (0, Vec::new(), Vec::new());
            for tensor in rest {
                let more = tensor.numel() * tensor.kind().elt_size_in_bytes();
                if (tensor.kind(), tensor.device()) == like && (bytes == 0 || bytes + more <= BUCKET) {
                    bytes += more;
                    bucket.push(tensor);
                } else {
                    others.push(tensor);
                }
            }
            rest = others;
            let flat = bucket.iter().map(|tensor| tensor.f_reshape([-1])).collect::<Result<Vec<_>, _>>()?;
            let flat = Tensor::f_cat(&flat, 0)?;
            work(&flat)?;
            let mut start = 0;
            for tensor in bucket {
                let length = tensor.numel() as i64;
                tensor.shallow_clone().f_copy_(&flat.f_narrow(0, start, length)?.f_reshape(tensor.size())?)?;
                start += length;
            }
        }
        Ok(())
    }

    /// A sum of squares and whether something is wrong, over the ranks.
    pub(crate) fn add_up(&self, numbers: [f64; 2]) -> Result<[f64; 2]> {
        let sums = Tensor::f_from_slice(&numbers)?;
        self.all_reduce_(&sums, Reduce::Sum)?;
        debug_assert_eq!(sums.kind(), Kind::Double);
        Ok([0, 1].map(|index| sums.double_value(&[index])))
    }
}

/// What every rank has a copy of.
fn copies<'a>(variables: &'a [Tensor], shards: &[Shard]) -> Vec<&'a Tensor> {
    let place = |tensor: &Tensor| (tensor.data_ptr(), tensor.size());
    let apart: HashSet<_> = shards.iter().map(|shard| place(shard.variable())).collect();
    variables.iter().filter(|variable| !apart.contains(&place(variable))).collect()
}
