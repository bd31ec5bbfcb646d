//! Tiles by the host's matrix product: each thread multiplies a tile and counts it while it is in its cache.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::pairs::{Layout, Span};
use super::source::Source;
use super::{AllPairs, Pairs, Part, Progress};
use crate::Error;
use crate::metrics::{CoarseTally, EmbeddingSet, ScoreBrackets, ScoreCounts, Tally};

/// Packing buffers of the matrix product, in bytes; a generous bound for `f32` on any machine.
const PACKING_BYTES: u64 = 2 << 20;

/// Rows and columns of a tile, if not asked otherwise.
const TILE: usize = 512;

impl Source for EmbeddingSet {
    fn count(
        pairs: Pairs<'_, Self>,
        how: &AllPairs,
        part: Part,
        progress: &(impl Fn(Progress) -> ControlFlow<()> + Sync),
    ) -> Result<ScoreCounts, Error> {
        let workers = workers(&pairs, how, ScoreCounts::BYTES, Tally::BYTES)?;
        let counts = ScoreCounts::empty();
        let tallies = run(pairs, how, part, workers, || Tally::new(&counts), Tally::count, progress)?;
        tallies.into_par_iter().for_each(Tally::settle);
        Ok(counts)
    }
}

/// Counts all pairs in coarse steps.
pub(super) fn bracket(
    pairs: Pairs<'_>,
    how: &AllPairs,
    progress: &(impl Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<ScoreBrackets, Error> {
    let workers = workers(&pairs, how, 0, CoarseTally::BYTES)?;
    let tallies = run(pairs, how, Part::WHOLE, workers, CoarseTally::new, CoarseTally::count, progress)?;
    Ok(ScoreBrackets::new(&tallies)?)
}

/// How many threads the budget allows, at most one for each thread of the pool.
fn workers(pairs: &Pairs<'_>, how: &AllPairs, counters: u64, tally: u64) -> Result<usize, Error> {
    let shared = counters + Layout::bytes(pairs.rows.len(), pairs.columns.map(EmbeddingSet::len));
    let tile = how.tile.unwrap_or(TILE);
    let values = tile * tile + 2 * tile * pairs.rows.dim();
    let each = tally + (values * size_of::<f32>()) as u64 + PACKING_BYTES;
    let affordable = how.memory_budget.saturating_sub(shared) / each;
    if affordable == 0 {
        return Err(Error::Config {
            field: "memory_budget",
            expected: format!("at least {} bytes for these embeddings", shared + each),
            got: how.memory_budget.to_string(),
        });
    }
    let threads = rayon::current_num_threads();
    Ok(usize::try_from(affordable).map_or(threads, |affordable| affordable.min(threads)))
}

/// Multiplies the tiles and has `count` count each run of scores of one kind, on so many threads.
fn run<T: Send>(
    pairs: Pairs<'_>,
    how: &AllPairs,
    part: Part,
    workers: usize,
    new_tally: impl Fn() -> T + Sync,
    count: impl Fn(&mut T, &[f32], bool) + Sync,
    progress: &(impl Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<Vec<T>, Error> {
    let tile = how.tile.unwrap_or(TILE);
    let layout = Layout::new(pairs.rows.labels(), pairs.columns.map(EmbeddingSet::labels));
    let tiles = layout.tiles(tile, part);
    let total = tiles.pairs();
    let (next, done, stopped) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let tallies = (0..workers)
        .into_par_iter()
        .map(|_| {
            let mut worker = Worker::new(pairs, &layout, tile);
            let mut tally = new_tally();
            while !stopped.load(Ordering::Relaxed) {
                let Some((rows, columns)) = tiles.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let mut pairs = 0;
                worker.multiply(rows, columns, |scores, same| {
                    pairs += scores.len() as u64;
                    count(&mut tally, scores, same);
                });
                let done = done.fetch_add(pairs, Ordering::Relaxed) + pairs;
                if progress(Progress { done, total }).is_break() {
                    stopped.store(true, Ordering::Relaxed);
                }
            }
            tally
        })
        .collect();
    if stopped.into_inner() {
        return Err(Error::Stopped { done: done.into_inner(), total });
    }
    Ok(tallies)
}

/// The buffers of one thread.
struct Worker<'a> {
    layout: &'a Layout,
    rows: Panel<'a>,
    columns: Panel<'a>,
    scores: Array2<f32>,
}

impl<'a> Worker<'a> {
    fn new(pairs: Pairs<'a>, layout: &'a Layout, tile: usize) -> Self {
        let rows = Panel::new(pairs.rows, tile);
        let columns = Panel::new(pairs.columns.unwrap_or(pairs.rows), tile);
        let scores = Array2::zeros((rows.values.nrows(), columns.values.nrows()));
        Self { layout, rows, columns, scores }
    }

    /// Multiplies a tile and hands out the scores of its pairs, those of one kind together.
    fn multiply(&mut self, rows: Span, columns: Span, mut scored: impl FnMut(&[f32], bool)) {
        self.rows.hold(&rows, self.layout.row_members(rows.clone()));
        self.columns.hold(&columns, self.layout.column_members(columns.clone()));
        let left = self.rows.values.slice_axis(Axis(0), (..rows.len()).into());
        let right = self.columns.values.slice_axis(Axis(0), (..columns.len()).into());
        let mut product = self.scores.slice_axis_mut(Axis(0), (..rows.len()).into());
        product.slice_axis_inplace(Axis(1), (..columns.len()).into());
        general_mat_mul(1.0, &left, &right.t(), 0.0, &mut product);

        for (row, scores) in rows.zip(product.rows()) {
            let scores = scores.to_slice().expect("a row of our own buffer is contiguous");
            for (span, same) in self.layout.split(row, columns.clone()).into_iter().zip([false, true, false]) {
                scored(&scores[span.start - columns.start..span.end - columns.start], same);
            }
        }
    }
}

/// The embeddings of a tile's side, one after another.
struct Panel<'a> {
    set: &'a EmbeddingSet,
    values: Array2<f32>,
    held: Span,
}

impl<'a> Panel<'a> {
    fn new(set: &'a EmbeddingSet, tile: usize) -> Self {
        Self { set, values: Array2::zeros((tile.min(set.len()), set.dim())), held: 0..0 }
    }

    fn hold(&mut self, span: &Span, members: impl Iterator<Item = usize>) {
        if self.held == *span {
            return;
        }
        for (mut row, member) in self.values.rows_mut().into_iter().zip(members) {
            row.assign(&ndarray::aview1(self.set.row(member)));
        }
        self.held = span.clone();
    }
}
