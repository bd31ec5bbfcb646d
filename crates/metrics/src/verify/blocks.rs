//! The product of rows and columns, one block of scores at a time: each is counted while the next is multiplied.
//!
//! The product of a library writes a tile of scores, which must be read again; nothing is counted meanwhile.

use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};
use rayon::prelude::*;

use super::layout::Span;

/// Rows and columns of a block: as many sums as the registers of most processors hold.
pub(super) const ROWS: usize = 6;
pub(super) const COLUMNS: usize = 16;

/// Scores of a block, row by row.
pub(super) type Block = [f32; ROWS * COLUMNS];

/// Neighboring embeddings, `WIDTH` of them side by side: a block reads them from one end to the other.
#[derive(Debug)]
pub(super) struct Packed<const WIDTH: usize> {
    dim: usize,
    /// The embeddings held, by their place among the rows or columns.
    span: Span,
    /// A group of embeddings is `dim` of these. The padding of the last group has no meaning.
    values: Vec<[f32; WIDTH]>,
}

impl<const WIDTH: usize> Packed<WIDTH> {
    /// Bytes of so many embeddings.
    pub(super) fn bytes(embeddings: usize, dim: usize) -> u64 {
        embeddings.next_multiple_of(WIDTH) as u64 * dim as u64 * size_of::<f32>() as u64
    }

    /// Empty, with room for so many embeddings.
    pub(super) fn with_capacity(embeddings: usize, dim: usize) -> Self {
        Self { dim, span: 0..0, values: Vec::with_capacity(embeddings.div_ceil(WIDTH) * dim) }
    }

    /// The first `count` embeddings, which `embedding` gives by place; packed by all threads.
    pub(super) fn of_all<'a>(count: usize, dim: usize, embedding: impl Fn(usize) -> &'a [f32] + Sync) -> Self {
        let mut packed = Self { dim, span: 0..count, values: vec![[0.0; WIDTH]; count.div_ceil(WIDTH) * dim] };
        let groups = packed.values.par_chunks_mut(dim).enumerate();
        groups.for_each(|(number, group)| pack(group, group_of::<WIDTH>(&(0..count), number), &embedding));
        packed
    }

    /// Holds the embeddings of this span from now on.
    pub(super) fn hold<'a>(&mut self, span: &Span, embedding: impl Fn(usize) -> &'a [f32]) {
        if self.span != *span {
            self.span = span.clone();
            self.values.resize(span.len().div_ceil(WIDTH) * self.dim, [0.0; WIDTH]);
            for (number, group) in self.values.chunks_exact_mut(self.dim).enumerate() {
                pack(group, group_of::<WIDTH>(span, number), &embedding);
            }
        }
    }

    /// The groups with an embedding of this span, each with the place of its first embedding.
    fn groups(&self, span: &Span) -> impl Iterator<Item = (usize, &[[f32; WIDTH]])> {
        let skipped = (span.start - self.span.start) / WIDTH;
        let groups = self.values[skipped * self.dim..].chunks_exact(self.dim);
        (self.span.start + skipped * WIDTH..span.end).step_by(WIDTH).zip(groups)
    }
}

/// The places of a group.
fn group_of<const WIDTH: usize>(span: &Span, number: usize) -> Span {
    let start = span.start + number * WIDTH;
    start..span.end.min(start + WIDTH)
}

fn pack<'a, const WIDTH: usize>(group: &mut [[f32; WIDTH]], places: Span, embedding: impl Fn(usize) -> &'a [f32]) {
    for (lane, place) in places.enumerate() {
        for (side_by_side, &value) in group.iter_mut().zip(embedding(place)) {
            side_by_side[lane] = value;
        }
    }
}

/// Receives the scores.
pub(super) trait Counter {
    /// Takes scores of pairs of one kind; they may wait to be counted.
    fn take(&mut self, scores: &[f32], same: bool);

    /// Counts the scores taken last, as many at a time as each call says.
    fn waiting(&mut self) -> impl FnMut(usize);

    /// Learns the rows and columns of the tile that comes next.
    fn enter(&mut self, _rows: &Span, _columns: &Span) {}

    /// Looks at a whole block, with the places of its first row and column, before its scores are taken.
    #[inline(always)]
    fn see<S: Simd>(&mut self, _simd: S, _row: usize, _column: usize, _block: &Block) {}
}

/// Multiplies a tile and hands out its blocks, each with the places of its first row and column.
///
/// * `end`: for the last column of a block, the first row that needs no work
pub(super) fn multiply<C: Counter>(
    rows: (&Packed<ROWS>, &Span),
    columns: (&Packed<COLUMNS>, &Span),
    end: impl Fn(usize) -> usize,
    counter: &mut C,
    scored: impl FnMut(&mut C, usize, usize, &Block),
) {
    dispatch!(Level::new(), simd => multiply_with(simd, rows, columns, end, counter, scored));
}

#[inline(always)] // into the code for each kind of processor
fn multiply_with<S: Simd, C: Counter>(
    simd: S,
    (rows, of_rows): (&Packed<ROWS>, &Span),
    (columns, of_columns): (&Packed<COLUMNS>, &Span),
    end: impl Fn(usize) -> usize,
    counter: &mut C,
    mut scored: impl FnMut(&mut C, usize, usize, &Block),
) {
    let mut block = [0.0; ROWS * COLUMNS];
    // The columns of a block, up to 500 numbers each, stay in the first cache while all rows go by.
    for (column, right) in columns.groups(of_columns) {
        let of_rows = of_rows.start..of_rows.end.min(end(column + COLUMNS - 1));
        for (row, left) in rows.groups(&of_rows) {
            multiply_block(simd, left, right, &mut block, counter.waiting());
            counter.see(simd, row, column, &block);
            scored(counter, row, column, &block);
        }
    }
}

/// Multiplies and counts by turns: multiplying keeps the processor busy, counting waits for memory.
#[inline(always)]
fn multiply_block<S: Simd>(
    simd: S,
    rows: &[[f32; ROWS]],
    columns: &[[f32; COLUMNS]],
    block: &mut Block,
    mut count: impl FnMut(usize),
) {
    // The widest registers are twice as many: multiplying and counting take turns. With others the sums would go to
    // memory and back at each turn. All is counted first, and the processor may begin the product earlier.
    let dims_a_turn = if S::f32s::LEN == COLUMNS { 8 } else { rows.len() };
    let scores_a_turn = block.len().div_ceil(rows.len().div_ceil(dims_a_turn));
    let mut sums = [f32x16::splat(simd, 0.0); ROWS];
    for (rows, columns) in rows.chunks(dims_a_turn).zip(columns.chunks(dims_a_turn)) {
        count(scores_a_turn);
        for (rows, columns) in rows.iter().zip(columns) {
            let columns = f32x16::from_slice(simd, columns);
            for (sum, &row) in sums.iter_mut().zip(rows) {
                *sum = f32x16::splat(simd, row).mul_add(columns, *sum);
            }
        }
    }
    for (scores, sum) in block.chunks_exact_mut(COLUMNS).zip(sums) {
        sum.store_slice(scores);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores in the order of `[row, column]`, and how many of them wait to be counted.
    struct Kept {
        scores: Vec<Vec<Option<f32>>>,
        waiting: usize,
    }

    impl Counter for Kept {
        fn take(&mut self, scores: &[f32], _: bool) {
            assert_eq!(self.waiting, 0, "scores came before those that waited were counted");
            self.waiting = scores.len();
        }

        fn waiting(&mut self) -> impl FnMut(usize) {
            |at_most| self.waiting = self.waiting.saturating_sub(at_most)
        }
    }

    fn levels() -> Vec<Level> {
        let best = Level::new();
        #[cfg(target_arch = "x86_64")]
        let narrower =
            [best.as_avx2().map(Level::Avx2), best.as_sse4_2().map(Level::Sse4_2), best.as_sse2().map(Level::Sse2)];
        #[cfg(not(target_arch = "x86_64"))]
        let narrower: [Option<Level>; 0] = [];
        std::iter::once(best).chain(narrower.into_iter().flatten()).collect()
    }

    /// Small integers, whose products and sums are exact.
    fn integers(count: usize, dim: usize, step: usize) -> Vec<Vec<f32>> {
        let value = |place: usize, k: usize| ((place * 31 + k * step + place * k) % 17) as f32 - 8.0;
        (0..count).map(|place| (0..dim).map(|k| value(place, k)).collect()).collect()
    }

    #[test]
    fn blocks_hold_the_products_of_their_rows_and_columns() {
        for dim in [1, 7, 8, 9, 96, 130] {
            let (left, right) = (integers(40, dim, 7), integers(70, dim, 5));
            let product = |row: usize, column: usize| {
                left[row].iter().zip(&right[column]).map(|(left, right)| left * right).sum::<f32>()
            };
            for (of_rows, of_columns) in
                [(0..40, 0..70), (0..1, 0..1), (5..23, 31..49), (6..12, 16..32), (39..40, 69..70)]
            {
                // All embeddings packed, and those of the tile alone.
                let mut tile = (Packed::with_capacity(1, dim), Packed::with_capacity(1, dim));
                tile.0.hold(&of_rows, |row| &left[row][..]);
                tile.1.hold(&of_columns, |column| &right[column][..]);
                let all =
                    (Packed::of_all(40, dim, |row| &left[row][..]), Packed::of_all(70, dim, |column| &right[column]));
                for (level, (rows, columns)) in levels().into_iter().flat_map(|level| [(level, &tile), (level, &all)]) {
                    let mut kept = Kept { scores: vec![vec![None; 70 + COLUMNS]; 40 + ROWS], waiting: 0 };
                    let end = |column| column / 2;
                    let scored = |kept: &mut Kept, row: usize, column: usize, block: &Block| {
                        assert!(row < end(column + COLUMNS - 1), "nothing to do in row {row}, column {column}");
                        kept.take(block, false);
                        for (number, &score) in block.iter().enumerate() {
                            kept.scores[row + number / COLUMNS][column + number % COLUMNS] = Some(score);
                        }
                    };
                    let (rows, columns) = ((rows, &of_rows), (columns, &of_columns));
                    dispatch!(level, simd => multiply_with(simd, rows, columns, end, &mut kept, scored));
                    for (row, column) in
                        of_rows.clone().flat_map(|row| of_columns.clone().map(move |column| (row, column)))
                    {
                        let score = kept.scores[row][column];
                        assert!(score.is_some() || row >= end(column), "{level:?}: no score of {row}, {column}");
                        assert!(score.is_none_or(|score| (score - product(row, column)).abs() <= 0.0));
                    }
                }
            }
        }
    }
}
