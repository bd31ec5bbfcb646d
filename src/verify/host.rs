//! Tiles by the host's matrix product: each thread multiplies a tile and counts it while it is in its cache.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, aview1};
use rayon::prelude::*;

use super::pairs::{Layout, Span, Tiles};
use super::source::Source;
use super::{AllPairs, Pairs, Part, Progress};
use crate::Error;
use crate::metrics::{CoarseTally, EmbeddingSet, ScoreBrackets, ScoreCounts, Tally};

/// Packing buffers of the matrix product, in bytes; a generous bound for `f32` on any machine.
const PACKING_BYTES: u64 = 2 << 20;

/// Rows and columns of a tile, if not asked otherwise.
const TILE: usize = 512;

/// Rows at a time of a tile on the diagonal, half of which would be multiplied for nothing otherwise.
const ON_DIAGONAL: usize = 64;

impl Source for EmbeddingSet {
    fn count(
        pairs: Pairs<'_, Self>,
        how: &AllPairs,
        part: Part,
        progress: &(impl Fn(Progress) -> ControlFlow<()> + Sync),
    ) -> Result<ScoreCounts, Error> {
        let plan = Plan::new(pairs, how, ScoreCounts::BYTES, Tally::BYTES)?;
        let counts = ScoreCounts::empty();
        let tallies = run(&plan, part, || Tally::new(&counts), Tally::count, progress)?;
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
    let plan = Plan::new(pairs, how, 0, CoarseTally::BYTES)?;
    let tallies = run(&plan, Part::WHOLE, CoarseTally::new, CoarseTally::count, progress)?;
    Ok(ScoreBrackets::new(&tallies)?)
}

/// What all threads share.
struct Plan<'a> {
    layout: Layout,
    rows: Side<'a>,
    columns: Option<Side<'a>>,
    tile: usize,
    workers: usize,
}

impl<'a> Plan<'a> {
    /// As many threads as the budget allows, at most those of the pool; if all of them, and there is room still,
    /// embeddings are put in order once instead of for each tile.
    fn new(pairs: Pairs<'a>, how: &AllPairs, counters: u64, tally: u64) -> Result<Self, Error> {
        let tile = how.tile.unwrap_or(TILE);
        let shared = counters + Layout::bytes(pairs.rows.len(), pairs.columns.map(EmbeddingSet::len));
        let values = tile * tile + 2 * tile * pairs.rows.dim();
        let each = tally + (values * size_of::<f32>()) as u64 + PACKING_BYTES;
        let left = how.memory_budget.saturating_sub(shared);
        let affordable = usize::try_from(left / each).unwrap_or(usize::MAX);
        if affordable == 0 {
            return Err(Error::Config {
                field: "memory_budget",
                expected: format!("at least {} bytes for these embeddings", shared + each),
                got: how.memory_budget.to_string(),
            });
        }
        let workers = affordable.min(rayon::current_num_threads());
        let mut room = left - workers as u64 * each;
        let layout = Layout::new(pairs.rows.labels(), pairs.columns.map(EmbeddingSet::labels));
        let rows = Side::new(pairs.rows, layout.row_members(0..pairs.rows.len()), &mut room);
        let columns = pairs.columns.map(|set| Side::new(set, layout.column_members(0..set.len()), &mut room));
        Ok(Self { layout, rows, columns, tile, workers })
    }
}

/// Multiplies the tiles and has `count` count each run of scores of one kind.
fn run<T: Send>(
    plan: &Plan<'_>,
    part: Part,
    new_tally: impl Fn() -> T + Sync,
    count: impl Fn(&mut T, &[f32], bool) + Sync,
    progress: &(impl Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<Vec<T>, Error> {
    let tiles = plan.layout.tiles(plan.tile, part);
    let total = tiles.pairs();
    Progress::start(total, progress)?;
    let queue = Queue { layout: &plan.layout, len: tiles.len(), tiles, next: AtomicU64::new(0) };
    let (done, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let tallies = (0..plan.workers)
        .into_par_iter()
        .map(|_| {
            let mut worker = Worker::new(plan);
            let mut tally = new_tally();
            while !stopped.load(Ordering::Relaxed) {
                let Some((rows, columns)) = queue.next() else { break };
                let mut pairs = 0;
                worker.multiply(rows, columns, |scores, same| {
                    pairs += scores.len() as u64;
                    count(&mut tally, scores, same);
                });
                let done = done.fetch_add(pairs, Ordering::Relaxed) + pairs;
                // A row by itself, on the diagonal, has no pairs and brings nothing nearer to the end.
                if pairs > 0 && progress(Progress { done, total }).is_break() {
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

/// The tiles that no thread has taken yet: those without a matching pair first, then the others.
///
/// Counters of both kinds together are more than a cache holds; in this order few tiles need both.
struct Queue<'a> {
    layout: &'a Layout,
    tiles: Tiles,
    len: u64,
    next: AtomicU64,
}

impl Queue<'_> {
    fn next(&self) -> Option<(Span, Span)> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let may_match = number >= self.len;
            let (rows, columns) = self.tiles.get(if may_match { number - self.len } else { number })?;
            if self.layout.may_match(&rows, &columns) == may_match {
                return Some((rows, columns));
            }
        }
    }
}

/// The buffers of one thread.
struct Worker<'a> {
    layout: &'a Layout,
    rows: Panel<'a>,
    columns: Panel<'a>,
    scores: Array2<f32>,
}

impl<'a> Worker<'a> {
    fn new(plan: &'a Plan<'_>) -> Self {
        let columns = plan.columns.as_ref().unwrap_or(&plan.rows);
        let extent = |side: &Side<'_>| plan.tile.min(side.set.len());
        Self {
            layout: &plan.layout,
            rows: Panel::new(&plan.rows, plan.tile),
            columns: Panel::new(columns, plan.tile),
            scores: Array2::zeros((extent(&plan.rows), extent(columns))),
        }
    }

    /// Multiplies a tile and hands out the scores of its pairs, those of one kind together.
    fn multiply(&mut self, rows: Span, columns: Span, mut scored: impl FnMut(&[f32], bool)) {
        let left = self.rows.embeddings(&rows, self.layout.row_members(rows.clone()));
        let right = self.columns.embeddings(&columns, self.layout.column_members(columns.clone()));
        let on_diagonal = self.layout.first_column(rows.end - 1, &columns) > columns.start;
        let height = if on_diagonal { ON_DIAGONAL } else { rows.len() };
        for top in rows.clone().step_by(height) {
            let slab = top..rows.end.min(top + height);
            let paired = self.layout.first_column(top, &columns)..columns.end;
            let left = left.slice_axis(Axis(0), (top - rows.start..slab.end - rows.start).into());
            let right = right.slice_axis(Axis(0), (paired.start - columns.start..).into());
            let mut product = self.scores.slice_axis_mut(Axis(0), (..slab.len()).into());
            product.slice_axis_inplace(Axis(1), (..paired.len()).into());
            general_mat_mul(1.0, &left, &right.t(), 0.0, &mut product);

            for (row, scores) in slab.zip(product.rows()) {
                let scores = scores.to_slice().expect("a row of our own buffer is contiguous");
                for (span, same) in self.layout.split(row, paired.clone()).into_iter().zip([false, true, false]) {
                    scored(&scores[span.start - paired.start..span.end - paired.start], same);
                }
            }
        }
    }
}

/// The embeddings that are rows or columns.
struct Side<'a> {
    set: &'a EmbeddingSet,
    /// All of them in the order of the layout, if they come in it or there was room to put them in it.
    ordered: Option<Cow<'a, [f32]>>,
}

impl<'a> Side<'a> {
    /// Takes what it needs from `room`, in bytes.
    fn new(set: &'a EmbeddingSet, members: impl Iterator<Item = usize> + Clone, room: &mut u64) -> Self {
        let values = set.values();
        let ordered = if members.clone().is_sorted() {
            Some(Cow::Borrowed(values))
        } else if let Some(left) = room.checked_sub(size_of_val(values) as u64) {
            *room = left;
            let members: Vec<usize> = members.collect();
            let mut ordered = vec![0.0; values.len()];
            let rows = ordered.par_chunks_mut(set.dim());
            rows.zip(members).for_each(|(row, member)| row.copy_from_slice(set.row(member)));
            Some(Cow::Owned(ordered))
        } else {
            None
        };
        Self { set, ordered }
    }
}

/// The embeddings of a tile's side, one after another.
struct Panel<'a> {
    side: &'a Side<'a>,
    /// Gathered here if the side is not in order.
    gathered: Array2<f32>,
    held: Span,
}

impl<'a> Panel<'a> {
    fn new(side: &'a Side<'_>, tile: usize) -> Self {
        let rows = if side.ordered.is_some() { 0 } else { tile.min(side.set.len()) };
        Self { side, gathered: Array2::zeros((rows, side.set.dim())), held: 0..0 }
    }

    fn embeddings(&mut self, span: &Span, members: impl Iterator<Item = usize>) -> ArrayView2<'_, f32> {
        let dim = self.side.set.dim();
        if let Some(values) = &self.side.ordered {
            return ArrayView2::from_shape((span.len(), dim), &values[span.start * dim..span.end * dim])
                .expect("as many values as rows of them");
        }
        if self.held != *span {
            for (mut row, member) in self.gathered.rows_mut().into_iter().zip(members) {
                row.assign(&aview1(self.side.set.row(member)));
            }
            self.held = span.clone();
        }
        self.gathered.slice_axis(Axis(0), (..span.len()).into())
    }
}
