//! Tiles by the host's matrix product: each thread multiplies a tile and counts it while it is in its cache.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::Progress;
use crate::Error;
use crate::metrics::{EmbeddingSet, Overflow, ScoreHistogram, Tally};

/// Packing buffers of the matrix product, in bytes; a generous bound for `f32` on any machine.
const PACKING_BYTES: u64 = 2 << 20;

/// What the threads hold together, in bytes.
pub(super) fn shared_bytes(rows: usize) -> u64 {
    (rows * size_of::<Placed>()) as u64 + Overflow::BYTES
}

/// What one thread holds, in bytes.
pub(super) fn worker_bytes(tile: usize, dim: usize) -> u64 {
    let values = tile * tile + 2 * tile * dim;
    Tally::BYTES + (values * size_of::<f32>()) as u64 + PACKING_BYTES
}

/// A row in class order: those up to `class_end` are of its class.
#[derive(Debug, Clone, Copy)]
struct Placed {
    row: usize,
    class_end: usize,
}

/// Counts all pairs on so many threads; both kinds of pair are known to exist.
pub(super) fn count(
    set: &EmbeddingSet,
    tile: usize,
    workers: usize,
    total: u64,
    progress: &(impl Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<ScoreHistogram, Error> {
    let order = by_class(set.labels());
    let tiles = Tiles::new(set.len(), tile);
    let overflow = Overflow::new();
    let (next, done, stopped) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));

    let tallies = (0..workers)
        .into_par_iter()
        .map(|_| {
            let mut worker = Worker::new(set, &order, tile);
            while !stopped.load(Ordering::Relaxed) {
                let Some((rows, columns)) = tiles.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let pairs = worker.count_tile(rows, columns, &overflow);
                let done = done.fetch_add(pairs, Ordering::Relaxed) + pairs;
                if progress(Progress { done, total }).is_break() {
                    stopped.store(true, Ordering::Relaxed);
                }
            }
            worker.tally
        })
        .collect();

    if stopped.into_inner() {
        return Err(Error::Stopped { done: done.into_inner(), total });
    }
    Ok(ScoreHistogram::new(tallies, overflow)?)
}

/// Rows class by class: then the pairs of a row with all later ones are first matching, then not.
fn by_class(labels: &[u32]) -> Vec<Placed> {
    let mut order: Vec<_> = (0..labels.len()).map(|row| Placed { row, class_end: 0 }).collect();
    order.sort_unstable_by_key(|placed| (labels[placed.row], placed.row));
    let mut end = 0;
    for class in order.chunk_by_mut(|a, b| labels[a.row] == labels[b.row]) {
        end += class.len();
        for placed in class {
            placed.class_end = end;
        }
    }
    order
}

/// The tiles on and above the diagonal, numbered.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    rows: usize,
    tile: usize,
}

type Span = std::ops::Range<usize>;

impl Tiles {
    fn new(rows: usize, tile: usize) -> Self {
        Self { rows, tile }
    }

    /// The rows and columns of a tile; none past the last.
    fn get(self, number: u64) -> Option<(Span, Span)> {
        // Number t of a triangle is (a, b), a <= b, with t = b(b+1)/2 + a.
        let b = ((1 + 8 * number).isqrt() - 1) / 2;
        let a = number - b * (b + 1) / 2;
        let columns = self.span(b)?;
        Some((self.span(a)?, columns))
    }

    fn span(self, block: u64) -> Option<Span> {
        let start = usize::try_from(block).ok()?.checked_mul(self.tile).filter(|&start| start < self.rows)?;
        Some(start..(start + self.tile).min(self.rows))
    }
}

/// The buffers and counters of one thread.
struct Worker<'a> {
    set: &'a EmbeddingSet,
    order: &'a [Placed],
    rows: Array2<f32>,
    columns: Array2<f32>,
    scores: Array2<f32>,
    tally: Tally,
}

impl<'a> Worker<'a> {
    fn new(set: &'a EmbeddingSet, order: &'a [Placed], tile: usize) -> Self {
        let tile = tile.min(set.len());
        let panel = Array2::zeros((tile, set.dim()));
        let scores = Array2::zeros((tile, tile));
        Self { set, order, rows: panel.clone(), columns: panel, scores, tally: Tally::new() }
    }

    /// Counts the pairs of a tile that lie above the diagonal; returns how many.
    fn count_tile(&mut self, rows: Span, columns: Span, overflow: &Overflow) -> u64 {
        let Self { set, order, .. } = *self;
        gather(set, &order[rows.clone()], &mut self.rows);
        gather(set, &order[columns.clone()], &mut self.columns);
        let left = self.rows.slice_axis(Axis(0), (..rows.len()).into());
        let right = self.columns.slice_axis(Axis(0), (..columns.len()).into());
        let mut product = self.scores.slice_axis_mut(Axis(0), (..rows.len()).into());
        product.slice_axis_inplace(Axis(1), (..columns.len()).into());
        general_mat_mul(1.0, &left, &right.t(), 0.0, &mut product);

        let mut pairs = 0;
        for (i, scores) in rows.zip(product.rows()) {
            let scores = scores.to_slice().expect("a row of our own buffer is contiguous");
            let from = columns.start.max(i + 1);
            let scores = scores.get(from - columns.start..).unwrap_or_default();
            let (matching, non_matching) = scores.split_at(order[i].class_end.saturating_sub(from).min(scores.len()));
            self.tally.count(matching, true, overflow);
            self.tally.count(non_matching, false, overflow);
            pairs += scores.len() as u64;
        }
        pairs
    }
}

fn gather(set: &EmbeddingSet, placed: &[Placed], panel: &mut Array2<f32>) {
    for (placed, mut to) in placed.iter().zip(panel.rows_mut()) {
        to.assign(&ndarray::aview1(set.row(placed.row)));
    }
}
