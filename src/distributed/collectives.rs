//! The operations of a group on tensors.

use std::time::Instant;

use tch::{Device, Kind, Tensor, no_grad_guard};

use super::{Group, wire::Operation};
use crate::{Error, Result, error::require_defined};

/// How the numbers of the ranks become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduce {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
}

/// Numbers that say of what shape and kind a tensor is.
const SIGNATURE: usize = 8;

/// Kinds, by the numbers that stand for them.
const KINDS: [Kind; 10] = [
    Kind::Uint8,
    Kind::Int8,
    Kind::Int16,
    Kind::Int,
    Kind::Int64,
    Kind::Half,
    Kind::BFloat16,
    Kind::Float,
    Kind::Double,
    Kind::Bool,
];

impl Group {
    /// Sum or maximum over the ranks, element by element, on every rank; outside the graph. The tensors must be of one
    /// shape and kind.
    ///
    /// # Errors
    /// [`Error::Group`] as every operation; [`Error::Torch`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> soft_lmccl::Result<()> {
    /// use soft_lmccl::{distributed::{Group, Reduce}, tch::Tensor};
    ///
    /// let group = Group::from_env()?;
    /// let ranks = group.all_reduce(&Tensor::from(1i64), Reduce::Sum)?;
    /// assert_eq!(ranks.int64_value(&[]), group.size() as i64);
    /// # Ok(()) }
    /// ```
    pub fn all_reduce(&self, tensor: &Tensor, reduce: Reduce) -> Result<Tensor> {
        require_defined("tensor", tensor)?;
        let result = own(tensor)?;
        self.all_reduce_(&result, reduce)?;
        Ok(result)
    }

    /// The same in place, for a contiguous tensor.
    pub(crate) fn all_reduce_(&self, tensor: &Tensor, reduce: Reduce) -> Result<()> {
        if tensor.numel() == 0 {
            return Ok(());
        }
        self.run(&match reduce {
            Reduce::Sum => Operation::Sum(tensor),
            Reduce::Max => Operation::Max(tensor),
        })
    }

    /// The rows of all ranks, those of rank 0 first, and how many are of each; outside the graph. Ranks may have
    /// different numbers of rows, and none.
    ///
    /// # Shapes
    /// `[B_r, ...]` → `[Σ B_r, ...]`
    ///
    /// # Errors
    /// [`Error::Group`] as every operation, and on every rank where rows differ in shape or kind, with the rank;
    /// [`Error::Torch`].
    pub fn all_gather(&self, rows: &Tensor) -> Result<(Tensor, Vec<i64>)> {
        self.all_gather_of(rows, false)
    }

    /// As [`all_gather`](Self::all_gather), of rows that take a gradient, or do not, on all ranks.
    pub(super) fn all_gather_of(&self, rows: &Tensor, takes_gradient: bool) -> Result<(Tensor, Vec<i64>)> {
        require_defined("rows", rows)?;
        let size = rows.size();
        let (Some(&count), true) = (size.first(), size.len() < SIGNATURE - 2) else {
            return Err(Error::Tensor { what: "rows", expected: "1 to 5 dimensions".into(), got: format!("{size:?}") });
        };
        if self.size() == 1 {
            return Ok((rows.detach(), vec![count]));
        }
        let counts = self.agree(rows, count, takes_gradient)?;
        let _outside = no_grad_guard();
        let longest = counts.iter().copied().max().unwrap_or(0);
        let (mut whole, ranks) = (size.clone(), self.size() as i64);
        whole[0] = longest * ranks;
        let output = rows.f_new_empty(&whole, (rows.kind(), rows.device()))?;
        if output.numel() == 0 {
            whole[0] = counts.iter().sum();
            return Ok((rows.f_new_empty(&whole, (rows.kind(), rows.device()))?, counts));
        }
        // Gloo takes the same number of rows from every rank.
        let input = match count == longest {
            true => rows.detach().f_contiguous()?,
            false => {
                let mut padded = size;
                padded[0] = longest;
                let input = rows.f_new_zeros(&padded, (rows.kind(), rows.device()))?;
                input.f_narrow(0, 0, count)?.f_copy_(&rows.detach())?;
                input
            }
        };
        self.run(&Operation::Gather { output: &output, input: &input })?;
        if counts.iter().all(|&count| count == longest) {
            return Ok((output, counts));
        }
        let of_rank = |(rank, &count)| output.f_narrow(0, rank as i64 * longest, count);
        let parts = counts.iter().enumerate().map(of_rank).collect::<Result<Vec<_>, _>>()?;
        Ok((Tensor::f_cat(&parts, 0)?, counts))
    }

    /// How many rows each rank has, if all have rows of one shape and kind.
    fn agree(&self, rows: &Tensor, count: i64, takes_gradient: bool) -> Result<Vec<i64>> {
        let size = rows.size();
        let kind = KINDS.iter().position(|&kind| kind == rows.kind()).map_or(-1, |place| place as i64);
        let mut own = [count, kind, takes_gradient.into(), 0, 0, 0, 0, 0];
        for (place, extent) in own[3..].iter_mut().zip(&size[1..]) {
            // Different from a dimension that is not there.
            *place = extent + 1;
        }
        let all = self.all_gather_numbers(&own, rows.device())?;
        for (rank, theirs) in all.iter().enumerate() {
            if theirs[1..] != all[0][1..] {
                let shown = |of: &[i64]| {
                    let extents: Vec<_> = of[3..].iter().take_while(|&&extent| extent > 0).map(|e| e - 1).collect();
                    let gradient = if of[2] == 1 { "with" } else { "without" };
                    let kind = usize::try_from(of[1]).ok().and_then(|place| KINDS.get(place));
                    format!(
                        "{} rows of {extents:?} {gradient} a gradient",
                        kind.map_or("other".into(), |k| format!("{k:?}"))
                    )
                };
                return Err(Error::Group(format!("rank {rank} has {}, rank 0 has {}", shown(theirs), shown(&all[0]))));
            }
        }
        Ok(all.iter().map(|of| of[0]).collect())
    }

    /// The same few numbers of every rank.
    pub(super) fn all_gather_numbers(&self, own: &[i64], device: Device) -> Result<Vec<Vec<i64>>> {
        if self.size() == 1 {
            return Ok(vec![own.to_vec()]);
        }
        let input = Tensor::f_from_slice(own)?.f_to_device(device)?;
        let output = Tensor::f_empty([(own.len() * self.size()) as i64], (Kind::Int64, device))?;
        self.run(&Operation::Gather { output: &output, input: &input })?;
        let all = Vec::<i64>::try_from(&output.f_to_device(Device::Cpu)?)?;
        Ok(all.chunks(own.len()).map(<[i64]>::to_vec).collect())
    }

    /// The sum over the ranks, of which each rank takes its rows: `counts[0]` rows go to rank 0, and so on; outside the
    /// graph. Added in the order of the ranks, so that the result has the same bits each time.
    ///
    /// # Shapes
    /// `[Σ counts, ...]`, the same on every rank → `[counts[rank], ...]`
    ///
    /// # Errors
    /// [`Error::Group`] as every operation; [`Error::Tensor`] unless there is a count for each rank and a row for each;
    /// [`Error::Torch`].
    pub fn reduce_scatter(&self, rows: &Tensor, counts: &[i64]) -> Result<Tensor> {
        require_defined("rows", rows)?;
        let (size, total) = (rows.size(), counts.iter().sum::<i64>());
        if counts.len() != self.size() || size.first() != Some(&total) || counts.iter().any(|&count| count < 0) {
            return Err(Error::Tensor {
                what: "rows",
                expected: format!("{total} rows for {} ranks", self.size()),
                got: format!("{size:?} for {} counts", counts.len()),
            });
        }
        if self.size() == 1 {
            return own(rows);
        }
        let _outside = no_grad_guard();
        let (ranks, mine) = (self.size() as i64, counts[self.rank()]);
        let mut sent = size.clone();
        sent[0] = mine * ranks;
        let input = rows.detach().f_contiguous()?;
        let output = rows.f_new_empty(&sent, (rows.kind(), rows.device()))?;
        let counts_out = vec![mine; self.size()];
        if input.numel() > 0 {
            let counts_in = counts;
            self.run(&Operation::Exchange { output: &output, input: &input, counts_out: &counts_out, counts_in })?;
        }
        let mut sum = output.f_narrow(0, 0, mine)?.copy();
        for rank in 1..ranks {
            let _ = sum.f_add_(&output.f_narrow(0, rank * mine, mine)?)?;
        }
        Ok(sum)
    }

    /// The rows of all ranks on rank 0, those of rank 0 first; `None` on the other ranks.
    pub(crate) fn gather_to_first(&self, rows: &Tensor) -> Result<Option<Tensor>> {
        let count = rows.size()[0];
        let counts = self.agree(rows, count, false)?;
        let (mut size, first) = (rows.size(), self.is_first());
        size[0] = if first { counts.iter().sum() } else { 0 };
        let output = rows.f_new_empty(&size, (rows.kind(), rows.device()))?;
        let mut counts_in = vec![0; self.size()];
        counts_in[0] = count;
        let counts_out = if first { counts } else { vec![0; self.size()] };
        let input = rows.f_contiguous()?;
        self.run(&Operation::Exchange {
            output: &output,
            input: &input,
            counts_out: &counts_out,
            counts_in: &counts_in,
        })?;
        Ok(first.then_some(output))
    }

    /// The tensor of one rank on every rank, where it must be of the same shape and kind; outside the graph.
    ///
    /// # Errors
    /// [`Error::Group`] as every operation; [`Error::Config`] for a rank that there is not; [`Error::Torch`].
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Tensor> {
        require_defined("tensor", tensor)?;
        if root >= self.size() {
            return Err(Error::config("root", format!("a rank below {}", self.size()), root));
        }
        let result = own(tensor)?;
        if result.numel() > 0 {
            self.run(&Operation::Broadcast { tensor: &result, root })?;
        }
        Ok(result)
    }

    /// Returns once every rank has come to it.
    ///
    /// # Errors
    /// [`Error::Group`] as every operation.
    pub fn barrier(&self) -> Result<()> {
        self.all_reduce(&Tensor::from(0i64), Reduce::Sum).map(drop)
    }

    /// Refuses ranks that have different values, such as configurations.
    ///
    /// # Errors
    /// [`Error::Group`] on every rank, with the first rank that differs from rank 0 and both values.
    pub fn require_same(&self, what: &str, value: &str) -> Result<()> {
        let bytes = Tensor::f_from_slice(value.as_bytes())?;
        let (all, counts) = self.all_gather(&bytes)?;
        let all = Vec::<u8>::try_from(&all)?;
        let mut rest = all.as_slice();
        let mut first: Option<&[u8]> = None;
        for (rank, count) in counts.into_iter().enumerate() {
            let (theirs, after) = rest.split_at(count as usize);
            rest = after;
            let first = *first.get_or_insert(theirs);
            if theirs != first {
                let [theirs, first] = [theirs, first].map(String::from_utf8_lossy);
                return Err(Error::Group(format!("rank {rank} has {what} {theirs}, rank 0 has {first}")));
            }
        }
        Ok(())
    }

    fn run(&self, operation: &Operation<'_>) -> Result<()> {
        let Some(wire) = &self.0.wire else { return Ok(()) };
        let started = Instant::now();
        wire.run(operation)?;
        let mut traffic = self.counts();
        traffic.seconds += started.elapsed().as_secs_f64();
        let (calls, bytes) = traffic.operations.entry(operation.name()).or_default();
        let input = operation.input();
        *calls += 1;
        *bytes += (input.numel() * input.kind().elt_size_in_bytes()) as u64;
        Ok(())
    }
}

/// A contiguous copy outside the graph.
fn own(tensor: &Tensor) -> Result<Tensor> {
    let _outside = no_grad_guard();
    Ok(tensor.detach().copy().f_contiguous()?)
}
