//! A head of which each rank holds the rows of some classes.
//!
//! Each rank passes over the classes that it holds, by [`Logits::odds`]. A sample whose class is held elsewhere is given a
//! class held here in its place, so that `own` and `others` together have the log-sum-exp of all classes held. The ranks then
//! exchange `[B]` numbers. The true logit is a sum over the ranks in which one term is not 0. The log-sum-exp over all
//! classes is the log-sum-exp of those of the ranks.

use std::ops::Range;

use tch::Tensor;

use super::{
    Head,
    odds::{Logits, Odds},
};
use crate::{
    Result,
    distributed::{Part, Shard},
    loss::gate::{CheckedBatch, Labels},
};

/// The classes that take part in a softmax, and which of them are held.
pub(super) struct Held<'a> {
    /// How many take part, on all ranks.
    pub classes: i64,
    /// Where among them those lie that are held, if not all are.
    elsewhere: Option<(&'a Part, Range<i64>)>,
}

impl Head {
    /// Of the classes drawn, or of all. The batch is that of all ranks.
    pub(super) fn held(&self, batch: &CheckedBatch, drawn: Option<&Tensor>) -> Result<Held<'_>> {
        if let Some(part) = &self.part {
            part.group.require_gathered(&batch.labels.on_host, self.config.targets.ignore)?;
        }
        let classes = drawn.map_or(self.gate.num_classes, |drawn| drawn.size()[0]);
        let elsewhere = match (&self.part, drawn) {
            (None, _) => None,
            (Some(part), None) => Some((part, part.held.clone())),
            (Some(part), Some(drawn)) => Some((part, part.among(&Vec::<i64>::try_from(drawn)?))),
        };
        Ok(Held { classes, elsewhere })
    }

    /// Variables of which other ranks have other rows.
    pub(in super::super) fn shards(&self) -> Vec<Shard> {
        let Some(part) = &self.part else { return Vec::new() };
        let bias = self.bias.as_ref().map(|bias| part.shard(bias, 1));
        std::iter::once(part.shard(&self.weight, self.config.centers)).chain(bias).collect()
    }

    /// Logits of the classes held become those of all classes; outside the graph where they come from other ranks.
    pub(super) fn of_all_classes(&self, logits: Tensor) -> Result<Tensor> {
        match &self.part {
            None => Ok(logits),
            Some(part) => Ok(part.group.all_gather(&logits.tr())?.0.tr().contiguous()),
        }
    }
}

impl Held<'_> {
    /// The places among the head's rows of the classes drawn.
    pub(super) fn rows_drawn(&self, drawn: &Tensor) -> Tensor {
        match &self.elsewhere {
            None => drawn.shallow_clone(),
            Some((part, among)) => drawn.narrow(0, among.start, among.end - among.start) - part.held.start,
        }
    }

    /// As [`Logits::odds`], over all classes. `labels` and the shares of `logits` are of all, `rows` and `bias` of those
    /// held.
    pub(super) fn odds(
        &self,
        mut logits: Logits,
        features: &Tensor,
        rows: &Tensor,
        bias: Option<&Tensor>,
        labels: &Labels,
    ) -> Result<Odds> {
        let Some((part, among)) = &self.elsewhere else { return logits.odds(features, rows, bias, labels) };
        let group = &part.group;
        let held = among.end - among.start;
        // A pass is over two classes at least; those that fill it up have no part in what follows.
        let filled = |all: &Tensor, rows: i64| match held {
            0 | 1 => {
                let mut size = all.size();
                size[0] = (2 - held) * rows;
                Tensor::cat(&[all, &all.detach().new_zeros(&size, (all.kind(), all.device()))], 0)
            }
            _ => all.shallow_clone(),
        };
        let of_held = |all: &Tensor| filled(&all.narrow(0, among.start, held), 1);
        logits.shares = logits.shares.as_ref().map(of_held);
        let (is_here, own_places): (Vec<bool>, Vec<i64>) = (labels.on_host.iter())
            .map(|label| if among.contains(label) { (true, label - among.start) } else { (false, label % held.max(1)) })
            .unzip();
        let shares = logits.shares.as_ref().map(Tensor::shallow_clone);
        let is_here = Tensor::from_slice(&is_here).to_device(features.device());
        let places = Labels::new(own_places, features.device());
        let (rows, bias) = (filled(rows, logits.centers), bias.map(|bias| filled(bias, 1)));
        let Odds { own, others, shared } = logits.odds(&group.in_parts(features)?, &rows, bias.as_ref(), &places)?;
        let nothing = own.detach().new_full([1], f64::NEG_INFINITY, (own.kind(), own.device()));
        let others = match held {
            0 => &own * 0.0 + &nothing,
            1 => nothing.where_self(&is_here, &own),
            _ => others.where_self(&is_here, &own.logaddexp(&others)),
        };
        let zero = own.detach().new_zeros([1], (own.kind(), own.device()));
        let shared = shares.zip(shared).map(|(shares, shared)| {
            // Without the share of the class that stands in for one held elsewhere.
            shared + zero.where_self(&is_here, &(&own * shares.index_select(0, &places.tensor)))
        });
        let own = own.where_self(&is_here, &zero);
        let sums: Vec<_> = std::iter::once(own).chain(shared).collect();
        let (sums, others) = group.sums_and_log_sum_exp(&Tensor::stack(&sums, 0), &others)?;
        let shared = (sums.size()[0] > 1).then(|| sums.get(1));
        Ok(Odds { own: sums.get(0), others, shared })
    }
}
