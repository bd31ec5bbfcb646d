//! What one thread counts by class: the accepted pairs of each block, as bits.

use fearless_simd::{Simd, f32x16, prelude::*, u32x16};

use super::Pairs;
use super::blocks::{Block, Counter, LANES, NARROW, WIDE};
use super::layout::{Layout, Span};
use super::tally::Tally;
use crate::classes::{Accepted, Classes};
use crate::grid::lowest_accepted;

/// So many rows of a class fill some blocks.
const MANY_ROWS: usize = 40;

/// The class of each row and column, and the lowest score that each cut accepts.
pub(super) struct Places<'a> {
    layout: &'a Layout,
    classes: &'a Classes,
    rows: Vec<u32>,
    columns: Vec<u32>,
    /// Of each class: its rows fill so many blocks that columns are better added up over all of them.
    has_many_rows: Vec<bool>,
    lowest: Vec<f32>,
    followed_before: Vec<u32>,
}

impl<'a> Places<'a> {
    pub(super) fn new(layout: &'a Layout, pairs: Pairs<'_>, classes: &'a Classes) -> Self {
        let of_row = |place| classes.number(pairs.rows.labels()[layout.row_member(place)]) as u32;
        let columns = pairs.columns.unwrap_or(pairs.rows).labels();
        let of_column = |place| classes.number(columns[layout.column_member(place)]) as u32;
        let rows: Vec<u32> = (0..layout.num_rows()).map(of_row).collect();
        let mut has_many_rows = vec![false; classes.len()];
        for run in runs(&rows) {
            has_many_rows[rows[run.start] as usize] = run.len() >= MANY_ROWS;
        }
        Self {
            layout,
            classes,
            rows,
            has_many_rows,
            columns: (0..layout.num_columns()).map(of_column).collect(),
            lowest: classes.thresholds().iter().map(|&threshold| lowest_accepted(threshold)).collect(),
            followed_before: classes.followed_before(),
        }
    }

    /// Whether any of these neighboring classes, given by the first and the last, is followed.
    fn follows(&self, (first, last): (u32, u32)) -> bool {
        self.followed_before[first as usize] < self.followed_before[last as usize + 1]
    }
}

/// What one thread counts: scores, and accepted pairs by class.
pub(super) struct ClassTally<'a, const R: usize, const V: usize> {
    scores: Tally<'a>,
    places: &'a Places<'a>,
    accepted: Accepted,
    tile: (Span, Span),
    /// The accepted pairs of a block at each cut.
    accepts: Vec<Bits<R>>,
    /// How many they are in each row of a block.
    rows: Vec<Bytes>,
    /// Accepted pairs at each cut, in a part of a block.
    pairs: Vec<u64>,
    columns: Columns<V>,
}

/// Whether each pair of a block is accepted: a number a row, and a bit a column.
type Bits<const R: usize> = [u64; R];

/// The columns of the last blocks, and their accepted pairs at each cut that have not been added yet.
struct Columns<const V: usize> {
    first: usize,
    /// For each column, the columns of its class as bits.
    of_class: [u64; u64::BITS as usize],
    /// Pairs with rows of any class, which have been added to their classes.
    half: Vec<[[u32; LANES]; V]>,
    /// Pairs with rows of one class, and which class.
    of_row: usize,
    whole: Vec<[[u32; LANES]; V]>,
}

impl<'a, const R: usize, const V: usize> ClassTally<'a, R, V> {
    pub(super) fn new(scores: Tally<'a>, places: &'a Places<'a>) -> Self {
        let cuts = places.lowest.len();
        Self {
            scores,
            places,
            accepted: Accepted::none(places.classes),
            tile: (0..0, 0..0),
            accepts: vec![[0; R]; cuts],
            rows: vec![Bytes(0); cuts],
            pairs: vec![0; cuts],
            columns: Columns {
                first: 0,
                of_class: [0; 64],
                half: vec![[[0; LANES]; V]; cuts],
                of_row: 0,
                whole: vec![[[0; LANES]; V]; cuts],
            },
        }
    }

    pub(super) fn settle(mut self) -> Accepted {
        self.add_columns();
        self.scores.settle();
        self.accepted
    }
}

/// Blocks with rows of one class, of strangers, and others.
impl<const R: usize, const V: usize> ClassTally<'_, R, V> {
    /// Goes on to other columns.
    fn turn_to(&mut self, first: usize) {
        self.add_columns();
        self.columns.first = first;
        let classes = &self.places.columns[first..self.places.columns.len().min(first + V * LANES)];
        for run in runs(classes) {
            self.columns.of_class[run.clone()].fill(bits(run));
        }
    }

    fn add_columns(&mut self) {
        self.add_whole();
        for (cut, sums) in self.columns.half.iter_mut().enumerate().rev() {
            for (class, pairs) in sums_by_class(self.places, self.columns.first, sums.as_flattened()) {
                self.accepted.add_half(class, cut, [pairs]);
            }
            *sums = [[0; LANES]; V];
        }
    }

    fn add_whole(&mut self) {
        for (cut, sums) in self.columns.whole.iter_mut().enumerate().rev() {
            if *sums == [[0; LANES]; V] {
                return; // no higher cut accepts more
            }
            for (class, pairs) in sums_by_class(self.places, self.columns.first, sums.as_flattened()) {
                self.accepted.add(self.places.classes, (self.columns.of_row, class), cut, &[pairs]);
            }
            *sums = [[0; LANES]; V];
        }
    }
}

impl<const R: usize, const V: usize> Counter<R, V> for ClassTally<'_, R, V> {
    #[inline(always)]
    fn take(&mut self, scores: &[f32], same: bool) {
        self.scores.take(scores, same);
    }

    #[inline(always)]
    fn waiting(&mut self) -> impl FnMut(usize) {
        self.scores.waiting()
    }

    fn enter(&mut self, rows: &Span, columns: &Span) {
        // No tile has so many pairs that sums of it overflow.
        self.turn_to(columns.start);
        self.tile = (rows.clone(), columns.clone());
    }

    #[inline(always)]
    fn see<S: Simd>(&mut self, simd: S, first_row: usize, first_column: usize, block: &Block<R, V>) {
        // A block may reach beyond the tile.
        let (of_rows, of_columns) = &self.tile;
        let rows = first_row.max(of_rows.start)..of_rows.end.min(first_row + R);
        let columns = first_column.max(of_columns.start)..of_columns.end.min(first_column + V * LANES);
        if rows.is_empty() || columns.is_empty() {
            return;
        }
        if self.columns.first != first_column {
            self.turn_to(first_column);
        }
        let places = self.places;
        let of_rows = (places.rows[rows.start], places.rows[rows.end - 1]);
        let of_columns = (places.columns[columns.start], places.columns[columns.end - 1]);
        let is_whole = rows.len() * columns.len() == block.scores().len();
        // Class order: no row has a class of the columns, and each row makes a pair with each column.
        let strangers = is_whole && (of_rows.1 < of_columns.0 || of_columns.1 < of_rows.0);
        if strangers && of_rows.0 == of_rows.1 && places.has_many_rows[of_rows.0 as usize] {
            if self.columns.of_row != of_rows.0 as usize {
                self.add_whole();
                self.columns.of_row = of_rows.0 as usize;
            }
            self.see_one(simd, block);
        } else if strangers && !(places.follows(of_rows) && places.follows(of_columns)) {
            self.see_strangers(simd, rows.start, block);
        } else {
            self.see_several(simd, (&rows, first_row), (&columns, first_column), block);
        }
    }
}

impl<const R: usize, const V: usize> ClassTally<'_, R, V> {
    /// A block without a matching pair whose rows have one class.
    #[inline(always)]
    fn see_one<S: Simd>(&mut self, simd: S, block: &Block<R, V>) {
        let (one, none) = (u32x16::splat(simd, 1), u32x16::splat(simd, 0));
        let lowest = &self.places.lowest;
        let first = first_cut(simd, lowest, block);
        for (whole, &lowest) in self.columns.whole[first..].iter_mut().zip(&lowest[first..]) {
            let lowest = f32x16::splat(simd, lowest);
            let mut sums: [u32x16<S>; V] = std::array::from_fn(|vector| u32x16::from_slice(simd, &whole[vector]));
            for row in block.rows() {
                for vector in 0..V {
                    sums[vector] += f32x16::from_slice(simd, &row[vector]).simd_ge(lowest).select(one, none);
                }
            }
            for vector in 0..V {
                sums[vector].store_slice(&mut whole[vector]);
            }
        }
    }

    /// A block without a matching pair or a pair of two followed classes.
    #[inline(always)]
    fn see_strangers<S: Simd>(&mut self, simd: S, first_row: usize, block: &Block<R, V>) {
        let Self { places, accepted, columns, rows, .. } = self;
        let (one, none) = (u32x16::splat(simd, 1), u32x16::splat(simd, 0));
        let first = first_cut(simd, &places.lowest, block);
        for ((half, rows), &lowest) in
            columns.half[first..].iter_mut().zip(&mut rows[first..]).zip(&places.lowest[first..])
        {
            let lowest = f32x16::splat(simd, lowest);
            let mut sums: [u32x16<S>; V] = std::array::from_fn(|vector| u32x16::from_slice(simd, &half[vector]));
            let mut pairs = Bytes(0);
            for row in block.rows().iter().rev() {
                let mut accepts = 0;
                for vector in 0..V {
                    let mask = f32x16::from_slice(simd, &row[vector]).simd_ge(lowest);
                    sums[vector] += mask.select(one, none);
                    accepts |= mask.to_bitmask() << (vector * LANES);
                }
                pairs.put_before(accepts.count_ones());
            }
            *rows = pairs;
            for vector in 0..V {
                sums[vector].store_slice(&mut half[vector]);
            }
        }
        let of_rows = &places.rows[first_row..first_row + R];
        for run in runs(of_rows) {
            let pairs = rows[first..].iter().map(|pairs| pairs.sum(&run));
            accepted.add_half(of_rows[run.start] as usize, first, pairs);
        }
    }

    /// A block with several classes, or with rows that do not make a pair with every column.
    #[inline(always)]
    fn see_several<S: Simd>(
        &mut self,
        simd: S,
        (rows, first_row): (&Span, usize),
        (columns, first_column): (&Span, usize),
        block: &Block<R, V>,
    ) {
        let first = self.find(simd, block);
        let Self { places, accepted, accepts, pairs, columns: Columns { of_class, .. }, .. } = self;
        let mut paired = [0; R];
        for row in rows.clone() {
            let start = places.layout.first_column(row, columns).min(columns.end);
            paired[row - first_row] = bits(start - first_column..columns.end - first_column);
        }
        let of_rows = &places.rows[rows.clone()];
        for run in runs(of_rows) {
            let row_class = of_rows[run.start] as usize;
            let of_rows = rows.start + run.start - first_row..rows.start + run.end - first_row;
            let with_pairs = paired[of_rows.clone()].iter().fold(0, |all, columns| all | columns);
            let mut column = columns.start - first_column;
            while column < columns.end - first_column {
                let of_column = of_class[column];
                let of_two = (row_class, places.columns[first_column + column] as usize);
                if of_column & with_pairs > 0 {
                    for (pairs, accepts) in pairs[first..].iter_mut().zip(&accepts[first..]) {
                        let cells = accepts[of_rows.clone()].iter().zip(&paired[of_rows.clone()]);
                        *pairs = cells.map(|(row, paired)| u64::from((row & paired & of_column).count_ones())).sum();
                    }
                    accepted.add(places.classes, of_two, first, &pairs[first..]);
                }
                column += (of_column >> column).count_ones() as usize;
            }
        }
    }

    /// Finds the accepted pairs of a block, from the first cut that accepts any.
    #[inline(always)]
    fn find<S: Simd>(&mut self, simd: S, block: &Block<R, V>) -> usize {
        let lowest = &self.places.lowest;
        let first = first_cut(simd, lowest, block);
        for (accepts, &lowest) in self.accepts[first..].iter_mut().zip(&lowest[first..]) {
            let lowest = f32x16::splat(simd, lowest);
            for (accepts, row) in accepts.iter_mut().zip(block.rows()) {
                *accepts = row.iter().enumerate().fold(0, |accepts, (vector, scores)| {
                    accepts | f32x16::from_slice(simd, scores).simd_ge(lowest).to_bitmask() << (vector * LANES)
                });
            }
        }
        first
    }
}

/// The first cut that accepts a score of the block. Cuts go down, so that all further ones accept it too.
#[inline(always)]
fn first_cut<S: Simd, const R: usize, const V: usize>(simd: S, lowest: &[f32], block: &Block<R, V>) -> usize {
    let vectors = |row: &[[f32; LANES]; V]| std::array::from_fn(|vector| f32x16::from_slice(simd, &row[vector]));
    let mut highest: [f32x16<S>; V] = vectors(&block.rows()[0]);
    for row in &block.rows()[1..] {
        for (highest, scores) in highest.iter_mut().zip(vectors(row)) {
            *highest = highest.max(scores);
        }
    }
    let highest = highest.into_iter().reduce(|highest, other| highest.max(other)).map_or(0.0, |all| all.reduce_max());
    lowest.iter().filter(|&&lowest| lowest > highest).count()
}

/// A number below 256 for each row of a block.
#[derive(Debug, Clone, Copy)]
struct Bytes(u64);

// A row of a block has no more pairs, nor a block more rows.
const _: () = assert!(WIDE.1 * LANES < 1 << u8::BITS && WIDE.0 <= size_of::<u64>() && NARROW.0 <= WIDE.0);

impl Bytes {
    /// Puts the number of the row before. One after another: all at a time, they would be put into vectors and out again.
    #[inline(always)]
    fn put_before(&mut self, number: u32) {
        self.0 = self.0 << u8::BITS | u64::from(number);
    }

    /// The sum over some rows, at least one.
    #[inline(always)]
    fn sum(self, rows: &Span) -> u64 {
        const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
        const EACH: u64 = 0x0001_0001_0001_0001;
        let above = u64::MAX >> (u64::BITS as usize - u8::BITS as usize * rows.len());
        let numbers = self.0 >> (u8::BITS as usize * rows.start) & above;
        ((numbers & EVEN) + (numbers >> u8::BITS & EVEN)).wrapping_mul(EACH) >> 48
    }
}

/// Sums of neighboring columns, added up class by class.
fn sums_by_class(places: &Places<'_>, first: usize, sums: &[u32]) -> impl Iterator<Item = (usize, u64)> {
    // Past the last column there is none with a pair.
    let classes = &places.columns[first..places.columns.len().min(first + sums.len())];
    let of_run = move |run: Span| {
        let pairs: u64 = sums[run.clone()].iter().map(|&pairs| u64::from(pairs)).sum();
        (classes[run.start] as usize, pairs)
    };
    runs(classes).map(of_run).filter(|&(_, pairs)| pairs > 0)
}

/// These bits.
fn bits(bits: Span) -> u64 {
    ((1 << bits.end) - 1) & !((1 << bits.start) - 1)
}

/// Spans of one class, one class after another.
fn runs(classes: &[u32]) -> impl Iterator<Item = Span> {
    let mut start = 0;
    classes.chunk_by(|a, b| a == b).map(move |run| {
        let span = start..start + run.len();
        start = span.end;
        span
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_summed_up_by_row() {
        let mut bytes = Bytes(0);
        let numbers = [48, 0, 47, 255, 1, 255, 255, 255];
        numbers.iter().rev().for_each(|&number| bytes.put_before(number));
        for (start, end) in (0..8).flat_map(|start| (start + 1..=8).map(move |end| (start, end))) {
            assert_eq!(
                bytes.sum(&(start..end)),
                numbers[start..end].iter().map(|&number| u64::from(number)).sum::<u64>()
            );
        }
    }

    #[test]
    fn spans_are_bits() {
        assert_eq!(bits(0..48), (1 << 48) - 1);
        assert_eq!(bits(3..5), 0b11000);
        assert_eq!(bits(4..4), 0);
        assert_eq!(runs(&[3, 3, 5, 3]).collect::<Vec<_>>(), [0..2, 2..3, 3..4]);
    }
}
