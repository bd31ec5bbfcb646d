//! Tiles on the host: each thread multiplies a tile block by block and counts each block at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;

use super::blocks::{self, Block, Columns, Counter, LANES, Packed, Sums, in_blocks};
use super::layout::{Layout, Span, Tiles};
use super::source::Source;
use super::{AllPairs, CountProgress, Pairs, Part, Watch};
use super::{ScoreCounts, tally::Tally};
use crate::{EmbeddingSet, Error};

/// Rows and columns of a default tile: whole blocks.
const TILE: usize = 480;
/// The numbers in a tile's rows that stay in a thread's share of the third cache; up to 512 each, in the second.
const CACHED: usize = 1 << 20;

// A tally that takes less than a block at a time would have to count before it takes the rest.
const _: () = assert!(Tally::AT_A_TIME >= blocks::MOST);

impl Source for EmbeddingSet {
    fn count(pairs: Pairs<'_, Self>, how: &AllPairs, part: Part, progress: Watch<'_>) -> Result<ScoreCounts, Error> {
        in_blocks!(count_in_blocks(pairs, how, part, progress))
    }
}

/// Counts in blocks of so many rows and vectors of columns.
fn count_in_blocks<const R: usize, const V: usize>(
    pairs: Pairs<'_>,
    how: &AllPairs,
    part: Part,
    progress: Watch<'_>,
) -> Result<ScoreCounts, Error> {
    let plan = Plan::<R, V>::new(Input::new(pairs), how, ScoreCounts::BYTES, Tally::BYTES)?;
    let counts = ScoreCounts::empty();
    let tallies = run(&plan, part, || Tally::new(&counts), progress)?;
    tallies.into_par_iter().for_each(Tally::settle);
    Ok(counts)
}

/// The embeddings and the order in which they are rows and columns.
pub(super) struct Input<'a> {
    pub(super) pairs: Pairs<'a>,
    pub(super) layout: Layout,
}

impl<'a> Input<'a> {
    pub(super) fn new(pairs: Pairs<'a>) -> Self {
        Self { pairs, layout: Layout::new(pairs.rows.labels(), pairs.columns.map(EmbeddingSet::labels)) }
    }

    fn dim(&self) -> usize {
        self.pairs.rows.dim()
    }

    pub(super) fn row(&self, place: usize) -> &'a [f32] {
        self.pairs.rows.row(self.layout.row_member(place))
    }

    pub(super) fn column(&self, place: usize) -> &'a [f32] {
        self.pairs.columns.unwrap_or(self.pairs.rows).row(self.layout.column_member(place))
    }
}

/// Embeddings packed as the rows and as the columns of a product.
struct Operands<const R: usize, const V: usize> {
    rows: Packed<[f32; R]>,
    columns: Packed<Columns<V>>,
}

impl<const R: usize, const V: usize> Operands<R, V> {
    /// Bytes of so many operands.
    fn bytes(rows: usize, columns: usize, dim: usize) -> u64 {
        Packed::<[f32; R]>::bytes(rows, dim) + Packed::<Columns<V>>::bytes(columns, dim)
    }

    /// With room for a tile: a growing buffer may take more than it holds.
    fn of_a_tile(tile: usize, dim: usize) -> Self {
        Self { rows: Packed::with_capacity(tile, dim), columns: Packed::with_capacity(tile, dim) }
    }

    fn of_all(input: &Input<'_>) -> Self {
        Self {
            rows: Packed::of_all(input.layout.num_rows(), input.dim(), |place| input.row(place)),
            columns: Packed::of_all(input.layout.num_columns(), input.dim(), |place| input.column(place)),
        }
    }
}

/// Shared by all threads.
pub(super) struct Plan<'a, const R: usize, const V: usize> {
    pub(super) input: Input<'a>,
    /// All embeddings, if there was room to pack them once instead of for each tile.
    packed: Option<Operands<R, V>>,
    tile: usize,
    workers: usize,
}

impl<'a, const R: usize, const V: usize> Plan<'a, R, V> {
    /// As many threads as the budget allows, at most those of the pool; the rest may go to packed embeddings.
    pub(super) fn new(input: Input<'a>, how: &AllPairs, counters: u64, tally: u64) -> Result<Self, Error> {
        let (tile, pairs) = (how.tile.unwrap_or(TILE), input.pairs);
        let (rows, columns) = (pairs.rows.len(), pairs.columns.map(EmbeddingSet::len));
        let shared = counters + Layout::bytes(rows, columns);
        let each = tally + Operands::<R, V>::bytes(tile, tile, pairs.rows.dim()) + blocks::bytes_of_sums::<R, V>(tile);
        let left = how.memory_budget.saturating_sub(shared);
        let affordable = usize::try_from(left / each).unwrap_or(usize::MAX);
        if affordable == 0 {
            return Err(Error::config(
                "memory_budget",
                format!("at least {} bytes for these embeddings", shared + each),
                how.memory_budget,
            ));
        }
        let workers = affordable.min(rayon::current_num_threads());
        let all = Operands::<R, V>::bytes(rows, columns.unwrap_or(rows), input.dim());
        let packed = (all <= left - workers as u64 * each).then(|| Operands::of_all(&input));
        // Embeddings that are packed for each tile are packed less often with large tiles.
        let tile = if packed.is_some() && how.tile.is_none() { cached_tile(input.dim()) } else { tile };
        Ok(Self { input, packed, tile, workers })
    }
}

/// The largest tile of whole blocks whose rows stay in a cache; so many rows at least that its columns are worth reading.
fn cached_tile(dim: usize) -> usize {
    const BLOCKS: usize = 48; // rows and columns of whole blocks, wide and narrow
    (CACHED / dim / BLOCKS * BLOCKS).clamp(4 * BLOCKS, TILE)
}

impl<const R: usize, const V: usize> Counter<R, V> for Tally<'_> {
    #[inline(always)]
    fn take(&mut self, scores: &[f32], same: bool) {
        self.take(scores, same);
    }

    #[inline(always)]
    fn waiting(&mut self) -> impl FnMut(usize) {
        self.waiting()
    }
}

/// Multiplies the tiles and counts their scores, a tally a thread.
pub(super) fn run<T: Counter<R, V> + Send, const R: usize, const V: usize>(
    plan: &Plan<'_, R, V>,
    part: Part,
    new_tally: impl Fn() -> T + Sync,
    progress: Watch<'_>,
) -> Result<Vec<T>, Error> {
    let tiles = plan.input.layout.tiles(plan.tile, part);
    let total = tiles.pairs();
    CountProgress::start(total, progress)?;
    let queue = Queue { layout: &plan.input.layout, len: tiles.len(), tiles, next: AtomicU64::new(0) };
    let (done, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let tallies = (0..plan.workers)
        .into_par_iter()
        .map(|_| {
            let mut worker = Worker::new(plan);
            let mut tally = new_tally();
            while !stopped.load(Ordering::Relaxed) {
                let Some((rows, columns)) = queue.next() else { break };
                let pairs = worker.count(&rows, &columns, &mut tally);
                let done = done.fetch_add(pairs, Ordering::Relaxed) + pairs;
                // A diagonal tile of one row has no pairs and is no progress.
                if pairs > 0 && progress(CountProgress { done, total }).is_break() {
                    stopped.store(true, Ordering::Relaxed);
                }
            }
            tally
        })
        .collect();
    if stopped.into_inner() {
        return Err(Error::Stopped { done: done.into_inner(), total, units: "pairs" });
    }
    Ok(tallies)
}

/// The tiles that no thread has taken yet: first tiles without a matching pair, then the others.
///
/// Counters of both kinds together exceed a cache; in this order few tiles need both.
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

/// One thread.
struct Worker<'a, const R: usize, const V: usize> {
    plan: &'a Plan<'a, R, V>,
    /// The operands of its tile, unless all are packed.
    packed: Operands<R, V>,
    sums: Sums<R, V>,
}

impl<'a, const R: usize, const V: usize> Worker<'a, R, V> {
    fn new(plan: &'a Plan<'a, R, V>) -> Self {
        let tile = if plan.packed.is_some() { 0 } else { plan.tile };
        Self { plan, packed: Operands::of_a_tile(tile, plan.input.dim()), sums: Vec::new() }
    }

    /// Multiplies a tile and counts its pairs; returns how many there are.
    fn count(&mut self, rows: &Span, columns: &Span, counter: &mut impl Counter<R, V>) -> u64 {
        let Plan { input, packed, .. } = self.plan;
        let Operands { rows: left, columns: right } = match packed {
            Some(all) => all,
            None => {
                self.packed.rows.hold(rows, |place| input.row(place));
                self.packed.columns.hold(columns, |place| input.column(place));
                &self.packed
            }
        };
        let layout = &input.layout;
        let kind = layout.kind(rows, columns);
        let end = |column| layout.rows_paired_with(column);
        let mut pairs = 0;
        counter.enter(rows, columns);
        blocks::multiply(
            (left, rows),
            (right, columns),
            &mut self.sums,
            end,
            counter,
            #[inline(always)]
            |counter, first_row, first_column, block: &Block<R, V>| {
                // A block may reach beyond the tile.
                let rows = first_row.max(rows.start)..rows.end.min(first_row + R);
                let columns = first_column.max(columns.start)..columns.end.min(first_column + V * LANES);
                let block = block.scores();
                let is_whole = rows.len() * columns.len() == block.len();
                match kind.or_else(|| layout.kind(&rows, &columns)).filter(|_| is_whole) {
                    Some(same) => {
                        pairs += block.len() as u64;
                        counter.take(block, same);
                    }
                    None => {
                        for row in rows {
                            let scores = &block[(row - first_row) * V * LANES..][..V * LANES];
                            for (span, same) in layout.split(row, columns.clone()).into_iter().zip([false, true, false])
                            {
                                pairs += span.len() as u64;
                                counter.take(&scores[span.start - first_column..span.end - first_column], same);
                            }
                        }
                    }
                }
            },
        );
        pairs
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::verify::blocks::{NARROW, WIDE};

    #[test]
    fn a_cache_holds_fewer_rows_of_more_dimensions() {
        assert_eq!([1, 128, 2_048, 4_096, 8_192, 1 << 20].map(cached_tile), [480, 480, 480, 240, 192, 192]);
    }

    #[test]
    fn embeddings_are_packed_where_the_budget_has_room() {
        let set = EmbeddingSet::new(Array2::<f32>::eye(100).view(), &[0; 100]).unwrap();
        let plan = |memory_budget| {
            let how = AllPairs { memory_budget, tile: Some(48) };
            Plan::<6, 1>::new(Input::new(Pairs::among(&set)), &how, 1000, 100)
                .map(|plan| (plan.workers, plan.packed.is_some()))
        };
        let threads = rayon::current_num_threads();
        // 102 and 112 embeddings fill the groups of all, 48 and 48 those of a tile.
        let (all, of_tile) = ((102 + 112) * 100 * 4, (48 + 48) * 100 * 4 + blocks::bytes_of_sums::<6, 1>(48));
        let least = 1000 + Layout::bytes(100, None) + 100 + of_tile;
        let every_thread = least + (threads as u64 - 1) * (100 + of_tile);
        assert_eq!(
            plan(least - 1).unwrap_err().to_string().split(", got").next(),
            Some(&*format!("invalid `memory_budget`: expected at least {least} bytes for these embeddings"))
        );
        assert_eq!(plan(least).unwrap().0, 1);
        assert_eq!(plan(every_thread + all - 1).unwrap(), (threads, false));
        assert_eq!(plan(every_thread + all).unwrap(), (threads, true));
    }

    /// Sums that are not exact, of more dimensions than are multiplied at a time.
    fn inexact_set() -> EmbeddingSet {
        let values =
            Array2::from_shape_fn((131, 1_031), |(row, k)| ((row * 131 + k * 17 + row * k) % 251) as f32 - 99.5);
        let labels: Vec<i64> = (0..131).map(|row| row * row % 7).collect();
        EmbeddingSet::new(values.view(), &labels).unwrap()
    }

    #[test]
    fn counts_do_not_depend_on_the_shape_of_blocks() {
        let set = inexact_set();
        let counts = |shape: fn(Pairs<'_>, &AllPairs, Part, Watch<'_>) -> Result<ScoreCounts, Error>,
                      how: &AllPairs| {
            let counts = shape(Pairs::among(&set), how, Part::WHOLE, &|_| std::ops::ControlFlow::Continue(()));
            serde_json::to_string(&counts.unwrap()).unwrap()
        };
        let expected = counts(count_in_blocks::<{ NARROW.0 }, { NARROW.1 }>, &AllPairs::default());
        for tile in [None, Some(29), Some(64)] {
            let how = AllPairs { memory_budget: 256 << 20, tile };
            assert_eq!(counts(count_in_blocks::<{ NARROW.0 }, { NARROW.1 }>, &how), expected, "{how:?}");
            assert_eq!(counts(count_in_blocks::<{ WIDE.0 }, { WIDE.1 }>, &how), expected, "{how:?}");
            assert_eq!(counts(count_in_blocks::<3, 2>, &how), expected, "{how:?}");
        }
    }
}
