//! What one thread counts by class: the accepted pairs of each block, as bits.

use fearless_simd::{Simd, f32x16, prelude::*, u32x16};

use super::Pairs;
use super::blocks::{Block, Counter, LANES};
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
                self.accepted.add_half(class, cut, &[pairs]);
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
        for (whole, &lowest) in self.columns.whole.iter_mut().zip(&self.places.lowest).rev() {
            let lowest = f32x16::splat(simd, lowest);
            let mut sums = [none; V];
            for row in block.rows() {
                for vector in 0..V {
                    sums[vector] += f32x16::from_slice(simd, &row[vector]).simd_ge(lowest).select(one, none);
                }
            }
            let any = sums.into_iter().fold(none, |any, sums| any | sums);
            if !any.simd_gt(none).any_true() {
                return; // nor does a higher cut accept any
            }
            for vector in 0..V {
                (sums[vector] + u32x16::from_slice(simd, &whole[vector])).store_slice(&mut whole[vector]);
            }
        }
    }

    /// A block without a matching pair or a pair of two followed classes.
    #[inline(always)]
    fn see_strangers<S: Simd>(&mut self, simd: S, first_row: usize, block: &Block<R, V>) {
        let Self { places, accepted, columns, .. } = self;
        let (one, none) = (u32x16::splat(simd, 1), u32x16::splat(simd, 0));
        let of_rows = &places.rows[first_row..first_row + R];
        for (cut, &lowest) in places.lowest.iter().enumerate().rev() {
            let lowest = f32x16::splat(simd, lowest);
            let half = &mut columns.half[cut];
            let mut sums: [u32x16<S>; V] = std::array::from_fn(|vector| u32x16::from_slice(simd, &half[vector]));
            let mut pairs = [0; R];
            for (pairs, row) in pairs.iter_mut().zip(block.rows()) {
                let mut accepts = 0;
                for vector in 0..V {
                    let mask = f32x16::from_slice(simd, &row[vector]).simd_ge(lowest);
                    sums[vector] += mask.select(one, none);
                    accepts |= mask.to_bitmask() << (vector * LANES);
                }
                *pairs = accepts.count_ones();
            }
            if pairs == [0; R] {
                return; // nor does a higher cut accept any
            }
            for vector in 0..V {
                sums[vector].store_slice(&mut half[vector]);
            }
            let (mut class, mut sum) = (of_rows[0], 0);
            for (&of_row, pairs) in of_rows.iter().zip(pairs) {
                if of_row != class {
                    accepted.add_half(class as usize, cut, &[u64::from(sum)]);
                    (class, sum) = (of_row, 0);
                }
                sum += pairs;
            }
            accepted.add_half(class as usize, cut, &[u64::from(sum)]);
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
        for (cut, &lowest) in self.places.lowest.iter().enumerate().rev() {
            let lowest = f32x16::splat(simd, lowest);
            let accepts = &mut self.accepts[cut];
            for (accepts, row) in accepts.iter_mut().zip(block.rows()) {
                *accepts = row.iter().enumerate().fold(0, |accepts, (vector, scores)| {
                    accepts | f32x16::from_slice(simd, scores).simd_ge(lowest).to_bitmask() << (vector * LANES)
                });
            }
            if *accepts == [0; R] {
                return cut + 1; // nor does a higher cut accept any
            }
        }
        0
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
    fn spans_are_bits() {
        assert_eq!(bits(0..48), (1 << 48) - 1);
        assert_eq!(bits(3..5), 0b11000);
        assert_eq!(bits(4..4), 0);
        assert_eq!(runs(&[3, 3, 5, 3]).collect::<Vec<_>>(), [0..2, 2..3, 3..4]);
    }
}
