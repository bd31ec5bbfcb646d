//! The product of rows and columns, one block of scores at a time: each is counted while the next is multiplied.
//!
//! The product of a library writes a tile of scores, which must be read again; nothing is counted meanwhile.

use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};
use rayon::prelude::*;

use super::layout::Span;

/// Numbers of the widest vector.
pub(super) const LANES: usize = 16;

/// Rows and vectors of columns of a block, where sixteen registers of any width hold the sums and what is multiplied.
pub(super) const NARROW: (usize, usize) = (6, 1);
/// The same for 32 registers of sixteen numbers: 24 sums keep two units of four turns each busy, where six leave one
/// turn of two unused, and eleven loads serve 24 products, where seven serve six.
pub(super) const WIDE: (usize, usize) = (8, 3);
/// The most scores of a block.
pub(super) const MOST: usize = WIDE.0 * WIDE.1 * LANES;

/// Dimensions that are multiplied at a time: so many columns of a block stay in the second cache, beside the counters.
const DIMS_AT_A_TIME: usize = 1 << 10;

/// Whether the processor has the registers of wide blocks.
pub(super) fn has_wide_vectors() -> bool {
    fn lanes<S: Simd>(_: S) -> usize {
        S::f32s::LEN
    }
    dispatch!(Level::new(), simd => lanes(simd)) == LANES
}

/// Calls a function of the shape of blocks with the one that suits the processor.
macro_rules! in_blocks {
    ($count:ident($($argument:expr),*)) => {
        if $crate::verify::blocks::has_wide_vectors() {
            $count::<{ $crate::verify::blocks::WIDE.0 }, { $crate::verify::blocks::WIDE.1 }>($($argument),*)
        } else {
            $count::<{ $crate::verify::blocks::NARROW.0 }, { $crate::verify::blocks::NARROW.1 }>($($argument),*)
        }
    };
}
pub(super) use in_blocks;

/// Scores of a block, row by row. Aligned, as its vectors are: one that crosses a line of the cache takes two loads.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Block<const R: usize, const V: usize>([[[f32; LANES]; V]; R]);

impl<const R: usize, const V: usize> Block<R, V> {
    const ZERO: Self = Self([[[0.0; LANES]; V]; R]);

    pub(super) fn scores(&self) -> &[f32] {
        self.0.as_flattened().as_flattened()
    }

    pub(super) fn rows(&self) -> &[[[f32; LANES]; V]; R] {
        &self.0
    }
}

/// One number of each of neighboring embeddings.
pub(super) trait Group: Copy + Send + Sync {
    /// How many embeddings.
    const WIDTH: usize;
    const ZERO: Self;

    fn numbers(&mut self) -> &mut [f32];
}

impl<const R: usize> Group for [f32; R] {
    const WIDTH: usize = R;
    const ZERO: Self = [0.0; R];

    fn numbers(&mut self) -> &mut [f32] {
        self
    }
}

/// Vectors of columns, aligned as the scores of a [`Block`] are.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Columns<const V: usize>([[f32; LANES]; V]);

impl<const V: usize> Group for Columns<V> {
    const WIDTH: usize = V * LANES;
    const ZERO: Self = Self([[0.0; LANES]; V]);

    fn numbers(&mut self) -> &mut [f32] {
        self.0.as_flattened_mut()
    }
}

/// Neighboring embeddings, some side by side: a block reads them from one end to the other.
#[derive(Debug)]
pub(super) struct Packed<G> {
    dim: usize,
    /// The embeddings held, by their place among the rows or columns.
    span: Span,
    /// A group of embeddings is `dim` of these. The padding of the last group has no meaning.
    values: Vec<G>,
}

impl<G: Group> Packed<G> {
    /// Bytes of so many embeddings.
    pub(super) fn bytes(embeddings: usize, dim: usize) -> u64 {
        embeddings.div_ceil(G::WIDTH) as u64 * dim as u64 * size_of::<G>() as u64
    }

    /// Empty, with room for so many embeddings.
    pub(super) fn with_capacity(embeddings: usize, dim: usize) -> Self {
        Self { dim, span: 0..0, values: Vec::with_capacity(embeddings.div_ceil(G::WIDTH) * dim) }
    }

    /// The first `count` embeddings, which `embedding` gives by place; packed by all threads.
    pub(super) fn of_all<'a>(count: usize, dim: usize, embedding: impl Fn(usize) -> &'a [f32] + Sync) -> Self {
        let mut packed = Self { dim, span: 0..count, values: vec![G::ZERO; count.div_ceil(G::WIDTH) * dim] };
        let groups = packed.values.par_chunks_mut(dim).enumerate();
        groups.for_each(|(number, group)| pack(group, group_of::<G>(&(0..count), number), &embedding));
        packed
    }

    /// Holds the embeddings of this span from now on.
    pub(super) fn hold<'a>(&mut self, span: &Span, embedding: impl Fn(usize) -> &'a [f32]) {
        if self.span != *span {
            self.span = span.clone();
            self.values.resize(span.len().div_ceil(G::WIDTH) * self.dim, G::ZERO);
            for (number, group) in self.values.chunks_exact_mut(self.dim).enumerate() {
                pack(group, group_of::<G>(span, number), &embedding);
            }
        }
    }

    /// The groups with an embedding of this span, each with the place of its first embedding.
    fn groups(&self, span: &Span) -> impl Iterator<Item = (usize, &[G])> {
        let skipped = (span.start - self.span.start) / G::WIDTH;
        let groups = self.values[skipped * self.dim..].chunks_exact(self.dim);
        (self.span.start + skipped * G::WIDTH..span.end).step_by(G::WIDTH).zip(groups)
    }
}

/// The places of a group.
fn group_of<G: Group>(span: &Span, number: usize) -> Span {
    let start = span.start + number * G::WIDTH;
    start..span.end.min(start + G::WIDTH)
}

fn pack<'a, G: Group>(group: &mut [G], places: Span, embedding: impl Fn(usize) -> &'a [f32]) {
    /// So many dimensions of a group stay in the first cache until all its embeddings are there.
    const DIMS: usize = 128;
    for (number, group) in group.chunks_mut(DIMS).enumerate() {
        for (place_in_group, place) in places.clone().enumerate() {
            for (side_by_side, &value) in group.iter_mut().zip(&embedding(place)[number * DIMS..]) {
                side_by_side.numbers()[place_in_group] = value;
            }
        }
    }
}

/// Receives the scores.
pub(super) trait Counter<const R: usize, const V: usize> {
    /// Takes scores of pairs of one kind; they may wait to be counted.
    fn take(&mut self, scores: &[f32], same: bool);

    /// Counts the scores taken last, as many at a time as each call says.
    fn waiting(&mut self) -> impl FnMut(usize);

    /// Learns the rows and columns of the tile that comes next.
    fn enter(&mut self, _rows: &Span, _columns: &Span) {}

    /// Looks at a whole block, with the places of its first row and column, before its scores are taken.
    #[inline(always)]
    fn see<S: Simd>(&mut self, _simd: S, _row: usize, _column: usize, _block: &Block<R, V>) {}
}

/// Sums of the blocks of one group of columns, where not all dimensions are multiplied at a time.
pub(super) type Sums<const R: usize, const V: usize> = Vec<Block<R, V>>;

/// The most bytes of [`Sums`].
pub(super) fn bytes_of_sums<const R: usize, const V: usize>(tile: usize) -> u64 {
    (tile.div_ceil(R) + 1) as u64 * size_of::<Block<R, V>>() as u64
}

/// Multiplies a tile and hands out its blocks, each with the places of its first row and column.
///
/// A score is summed up in the order of the dimensions, whatever the shape of the blocks and the vectors.
///
/// * `end`: for the last column of a block, the first row that needs no work
pub(super) fn multiply<C: Counter<R, V>, const R: usize, const V: usize>(
    rows: (&Packed<[f32; R]>, &Span),
    columns: (&Packed<Columns<V>>, &Span),
    sums: &mut Sums<R, V>,
    end: impl Fn(usize) -> usize,
    counter: &mut C,
    scored: impl FnMut(&mut C, usize, usize, &Block<R, V>),
) {
    dispatch!(Level::new(), simd => multiply_with(simd, rows, columns, (DIMS_AT_A_TIME, sums), end, counter, scored));
}

#[inline(always)] // into the code for each kind of processor
fn multiply_with<S: Simd, C: Counter<R, V>, const R: usize, const V: usize>(
    simd: S,
    (rows, of_rows): (&Packed<[f32; R]>, &Span),
    (columns, of_columns): (&Packed<Columns<V>>, &Span),
    (dims_at_a_time, sums): (usize, &mut Sums<R, V>),
    end: impl Fn(usize) -> usize,
    counter: &mut C,
    mut scored: impl FnMut(&mut C, usize, usize, &Block<R, V>),
) {
    let dim = rows.dim;
    // The columns of a block stay in the first cache while all rows go by, up to 160 numbers each, or in the second.
    for (column, right) in columns.groups(of_columns) {
        let of_rows = of_rows.start..of_rows.end.min(end(column + V * LANES - 1));
        let mut from = 0;
        while dim - from > dims_at_a_time {
            let dims = from..from + dims_at_a_time;
            for (number, (_, left)) in rows.groups(&of_rows).enumerate() {
                if number == sums.len() {
                    sums.push(Block::ZERO);
                }
                let sum = &mut sums[number];
                if from == 0 {
                    *sum = Block::ZERO;
                }
                multiply_block(simd, &left[dims.clone()], &right[dims.clone()], sum, counter.waiting());
            }
            from = dims.end;
        }
        for (number, (row, left)) in rows.groups(&of_rows).enumerate() {
            let mut block = if from == 0 { Block::ZERO } else { sums[number] };
            multiply_block(simd, &left[from..], &right[from..], &mut block, counter.waiting());
            counter.see(simd, row, column, &block);
            scored(counter, row, column, &block);
        }
    }
}

/// Multiplies and counts by turns: multiplying keeps the processor busy, counting waits for memory.
#[expect(clippy::needless_range_loop, reason = "an iterator over the sums would put all of them into memory first")]
#[inline(always)]
fn multiply_block<S: Simd, const R: usize, const V: usize>(
    simd: S,
    rows: &[[f32; R]],
    columns: &[Columns<V>],
    block: &mut Block<R, V>,
    mut count: impl FnMut(usize),
) {
    // The widest registers are twice as many: multiplying and counting take turns. With others the sums would go to
    // memory and back at each turn. All is counted first, and the processor may begin the product earlier.
    let dims_a_turn = if S::f32s::LEN == LANES { 8 } else { rows.len() };
    let scores_a_turn = (R * V * LANES).div_ceil(rows.len().div_ceil(dims_a_turn));
    let mut sums: [[f32x16<S>; V]; R] =
        std::array::from_fn(|row| std::array::from_fn(|vector| f32x16::from_slice(simd, &block.0[row][vector])));
    for (rows, columns) in rows.chunks(dims_a_turn).zip(columns.chunks(dims_a_turn)) {
        count(scores_a_turn);
        for (rows, columns) in rows.iter().zip(columns) {
            let columns: [f32x16<S>; V] = std::array::from_fn(|vector| f32x16::from_slice(simd, &columns.0[vector]));
            for (sums, &row) in sums.iter_mut().zip(rows) {
                let row = f32x16::splat(simd, row);
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = row.mul_add(column, *sum);
                }
            }
        }
    }
    for row in 0..R {
        for vector in 0..V {
            sums[row][vector].store_slice(&mut block.0[row][vector]);
        }
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

    impl<const R: usize, const V: usize> Counter<R, V> for Kept {
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

    /// The scores of a tile with `end(column) = column / 2`; `None` where there was nothing to do.
    fn scores<const R: usize, const V: usize>(
        level: Level,
        dims_at_a_time: usize,
        (rows, of_rows): (&Packed<[f32; R]>, &Span),
        (columns, of_columns): (&Packed<Columns<V>>, &Span),
    ) -> Vec<Vec<Option<f32>>> {
        let mut kept = Kept { scores: vec![vec![None; 70 + V * LANES]; 40 + R], waiting: 0 };
        let end = |column| column / 2;
        let scored = |kept: &mut Kept, row: usize, column: usize, block: &Block<R, V>| {
            assert!(row < end(column + V * LANES - 1), "nothing to do in row {row}, column {column}");
            Counter::<R, V>::take(kept, block.scores(), false);
            for (number, &score) in block.scores().iter().enumerate() {
                kept.scores[row + number / (V * LANES)][column + number % (V * LANES)] = Some(score);
            }
        };
        let (rows, columns) = ((rows, of_rows), (columns, of_columns));
        let sums = &mut Vec::new();
        dispatch!(level, simd => multiply_with(simd, rows, columns, (dims_at_a_time, sums), end, &mut kept, scored));
        kept.scores
    }

    const SPANS: [(Span, Span); 5] = [(0..40, 0..70), (0..1, 0..1), (5..23, 31..49), (6..12, 16..32), (39..40, 69..70)];

    fn blocks_hold_the_products_of_their_rows_and_columns<const R: usize, const V: usize>() {
        for (dim, dims_at_a_time) in [(1, 64), (7, 2), (8, 8), (9, 8), (96, 100), (130, 64)] {
            let (left, right) = (integers(40, dim, 7), integers(70, dim, 5));
            let product = |row: usize, column: usize| {
                left[row].iter().zip(&right[column]).map(|(left, right)| left * right).sum::<f32>()
            };
            for (of_rows, of_columns) in SPANS {
                // All embeddings packed, and those of the tile alone.
                let mut tile = (Packed::<[f32; R]>::with_capacity(1, dim), Packed::<Columns<V>>::with_capacity(1, dim));
                tile.0.hold(&of_rows, |row| &left[row][..]);
                tile.1.hold(&of_columns, |column| &right[column][..]);
                let all =
                    (Packed::of_all(40, dim, |row| &left[row][..]), Packed::of_all(70, dim, |column| &right[column]));
                for (level, (rows, columns)) in levels().into_iter().flat_map(|level| [(level, &tile), (level, &all)]) {
                    let scores = scores(level, dims_at_a_time, (rows, &of_rows), (columns, &of_columns));
                    for (row, column) in
                        of_rows.clone().flat_map(|row| of_columns.clone().map(move |column| (row, column)))
                    {
                        let score = scores[row][column];
                        assert!(score.is_some() || row >= column / 2, "{level:?}: no score of {row}, {column}");
                        assert!(score.is_none_or(|score| (score - product(row, column)).abs() <= 0.0));
                    }
                }
            }
        }
    }

    #[test]
    fn narrow_blocks_hold_the_products_of_their_rows_and_columns() {
        blocks_hold_the_products_of_their_rows_and_columns::<{ NARROW.0 }, { NARROW.1 }>();
    }

    #[test]
    fn wide_blocks_hold_the_products_of_their_rows_and_columns() {
        blocks_hold_the_products_of_their_rows_and_columns::<{ WIDE.0 }, { WIDE.1 }>();
    }

    /// The bits of the scores of 40 rows and 70 columns, in blocks of this shape.
    fn bits<const R: usize, const V: usize>(
        level: Level,
        dims_at_a_time: usize,
        (left, right): (&[Vec<f32>], &[Vec<f32>]),
    ) -> Vec<u32> {
        let dim = left[0].len();
        let rows = Packed::<[f32; R]>::of_all(40, dim, |row| &left[row]);
        let columns = Packed::<Columns<V>>::of_all(70, dim, |column| &right[column]);
        let scores = scores(level, dims_at_a_time, (&rows, &(0..40)), (&columns, &(0..70)));
        // Every shape has those of rows that make a pair with the column.
        let pairs = (0..70).flat_map(|column| (0..column / 2).map(move |row| (row, column)));
        pairs.map(|(row, column)| scores[row][column].expect("a pair").to_bits()).collect()
    }

    #[test]
    fn scores_of_all_shapes_are_the_same_bits() {
        let (dim, mut state) = (77, 9u64);
        let mut number = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.45
        };
        let mut rows = |count: usize| (0..count).map(|_| (0..dim).map(|_| number()).collect()).collect();
        let (left, right): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (rows(40), rows(70));
        let in_order = |fused: bool| -> Vec<u32> {
            let add = |sum: f32, (&a, &b): (&f32, &f32)| if fused { a.mul_add(b, sum) } else { a * b + sum };
            let pairs = (0..70).flat_map(|column| (0..column / 2).map(move |row| (row, column)));
            pairs.map(|(row, column)| left[row].iter().zip(&right[column]).fold(0.0, add).to_bits()).collect()
        };
        assert_ne!(in_order(true), in_order(false), "sums that are exact would tell nothing");
        for level in levels() {
            let sums = (&left[..], &right[..]);
            let narrow = bits::<{ NARROW.0 }, { NARROW.1 }>(level, 1000, sums);
            assert!([true, false].map(in_order).contains(&narrow), "{level:?}: another order");
            for dims_at_a_time in [1000, 77, 76, 16, 5] {
                let others = [
                    bits::<{ NARROW.0 }, { NARROW.1 }>(level, dims_at_a_time, sums),
                    bits::<{ WIDE.0 }, { WIDE.1 }>(level, dims_at_a_time, sums),
                    bits::<3, 2>(level, dims_at_a_time, sums),
                ];
                assert!(others.iter().all(|other| *other == narrow), "{level:?}, {dims_at_a_time} dimensions");
            }
        }
    }
}
