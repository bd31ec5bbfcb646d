//! What one thread counts by class: the accepted pairs of each block, as bits.

use fearless_simd::{Simd, f32x16, mask32x16, prelude::*, u32x16};

use super::Pairs;
use super::blocks::{Block, COLUMNS, Counter, ROWS};
use super::layout::{Layout, Span};
use super::tally::Tally;
use crate::classes::{Accepted, Classes};
use crate::grid::lowest_accepted;

/// The class of each row and column, and the lowest score that each cut accepts.
pub(super) struct Places<'a> {
    layout: &'a Layout,
    classes: &'a Classes,
    rows: Vec<u32>,
    columns: Vec<u32>,
    lowest: Vec<f32>,
    followed_before: Vec<u32>,
}

impl<'a> Places<'a> {
    pub(super) fn new(layout: &'a Layout, pairs: Pairs<'_>, classes: &'a Classes) -> Self {
        let of_row = |place| classes.number(pairs.rows.labels()[layout.row_member(place)]) as u32;
        let columns = pairs.columns.unwrap_or(pairs.rows).labels();
        let of_column = |place| classes.number(columns[layout.column_member(place)]) as u32;
        Self {
            layout,
            classes,
            rows: (0..layout.num_rows()).map(of_row).collect(),
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
pub(super) struct ClassTally<'a> {
    scores: Tally<'a>,
    places: &'a Places<'a>,
    accepted: Accepted,
    tile: (Span, Span),
    /// The accepted pairs of a block at each cut, as bits.
    accepts: Vec<Bits>,
    /// Accepted pairs at each cut, in a part of a block.
    pairs: Vec<u64>,
    /// The two classes of many blocks in a row; `running` has their accepted pairs at each cut, not added yet.
    of_two: (usize, usize),
    running: Vec<u64>,
    /// The columns of the last blocks, and their accepted pairs at each cut, not added yet.
    columns: Columns,
}

/// Columns of a block.
struct Columns {
    first: usize,
    /// For each column, the columns of its class.
    of_class: [u64; COLUMNS],
    running: Vec<[u32; COLUMNS]>,
}

impl<'a> ClassTally<'a> {
    pub(super) fn new(scores: Tally<'a>, places: &'a Places<'a>) -> Self {
        Self {
            scores,
            places,
            accepted: Accepted::none(places.classes),
            tile: (0..0, 0..0),
            accepts: vec![[0; 2]; places.lowest.len()],
            pairs: vec![0; places.lowest.len()],
            of_two: (0, 0),
            running: vec![0; places.lowest.len()],
            columns: Columns {
                first: usize::MAX,
                of_class: [0; COLUMNS],
                running: vec![[0; COLUMNS]; places.lowest.len()],
            },
        }
    }

    pub(super) fn settle(mut self) -> Accepted {
        self.add_running();
        self.add_columns();
        self.scores.settle();
        self.accepted
    }

    fn add_running(&mut self) {
        self.accepted.add(self.places.classes, self.of_two, 0, &self.running);
        self.running.fill(0);
    }
}

/// Blocks of one class each way, of strangers, and others.
impl ClassTally<'_> {
    /// Goes on to other columns.
    fn turn_to(&mut self, first: usize) {
        self.add_columns();
        let classes = &self.places.columns[first..self.places.columns.len().min(first + COLUMNS)];
        for run in runs(classes) {
            self.columns.of_class[run.clone()].fill(lanes(run));
        }
        self.columns.first = first;
    }

    fn add_columns(&mut self) {
        let Columns { first, running, .. } = &mut self.columns;
        for (cut, running) in running.iter_mut().enumerate() {
            for (lane, pairs) in running.iter_mut().enumerate().filter(|(_, pairs)| **pairs > 0) {
                let class = self.places.columns[*first + lane];
                let pairs = u64::from(std::mem::take(pairs));
                self.accepted.add_half(class as usize, cut, &[pairs]);
            }
        }
    }
}

impl Counter for ClassTally<'_> {
    #[inline(always)]
    fn take(&mut self, scores: &[f32], same: bool) {
        self.scores.take(scores, same);
    }

    #[inline(always)]
    fn waiting(&mut self) -> impl FnMut(usize) {
        self.scores.waiting()
    }

    fn enter(&mut self, rows: &Span, columns: &Span) {
        self.tile = (rows.clone(), columns.clone());
    }

    #[inline(always)]
    fn see<S: Simd>(&mut self, simd: S, first_row: usize, first_column: usize, block: &Block) {
        // A block may reach beyond the tile.
        let (of_rows, of_columns) = &self.tile;
        let rows = first_row.max(of_rows.start)..of_rows.end.min(first_row + ROWS);
        let columns = first_column.max(of_columns.start)..of_columns.end.min(first_column + COLUMNS);
        if rows.is_empty() || columns.is_empty() {
            return;
        }
        if self.columns.first != first_column {
            self.turn_to(first_column);
        }
        let places = self.places;
        let of_rows = (places.rows[rows.start], places.rows[rows.end - 1]);
        let of_columns = (places.columns[columns.start], places.columns[columns.end - 1]);
        let is_whole = rows.len() * columns.len() == block.len();
        // Class order: no row has a class of the columns, and each row makes a pair with each column.
        let strangers = is_whole && (of_rows.1 < of_columns.0 || of_columns.1 < of_rows.0);
        if strangers && of_rows.0 == of_rows.1 && of_columns.0 == of_columns.1 {
            let of_two = (of_rows.0 as usize, of_columns.0 as usize);
            if self.of_two != of_two {
                self.add_running();
                self.of_two = of_two;
            }
            let first = self.find(simd, block);
            for (running, accepts) in self.running[first..].iter_mut().zip(&self.accepts[first..]) {
                *running += count(accepts, &ALL);
            }
        } else if strangers && !(places.follows(of_rows) && places.follows(of_columns)) {
            self.see_strangers(simd, rows.start, block);
        } else {
            self.see_several(simd, (&rows, first_row), (&columns, first_column), block);
        }
    }
}

impl ClassTally<'_> {
    /// Finds the accepted pairs of a block, from the first cut that accepts any.
    #[inline(always)]
    fn find<S: Simd>(&mut self, simd: S, block: &Block) -> usize {
        for (cut, &lowest) in self.places.lowest.iter().enumerate().rev() {
            let accepts = bits(masks(simd, block, lowest));
            if accepts == [0; 2] {
                return cut + 1; // nor does a higher cut accept any
            }
            self.accepts[cut] = accepts;
        }
        0
    }

    /// A block without a matching pair or a pair of two followed classes.
    #[inline(always)]
    fn see_strangers<S: Simd>(&mut self, simd: S, first_row: usize, block: &Block) {
        let first = self.find(simd, block);
        let Self { places, accepted, accepts, pairs, columns, .. } = self;
        let of_rows = &places.rows[first_row..first_row + ROWS];
        for run in runs(of_rows) {
            let of_class = rectangle(run.clone(), lanes(0..COLUMNS));
            count_each(&mut pairs[first..], &accepts[first..], &of_class);
            accepted.add_half(of_rows[run.start] as usize, first, &pairs[first..]);
        }
        let (one, none) = (u32x16::splat(simd, 1), u32x16::splat(simd, 0));
        for (running, &lowest) in columns.running[first..].iter_mut().zip(&places.lowest[first..]) {
            let mut sums = u32x16::from_slice(simd, running);
            for accepts in masks(simd, block, lowest) {
                sums += accepts.select(one, none);
            }
            sums.store_slice(running);
        }
    }

    /// A block with several classes, or with rows that do not make a pair with every column.
    #[inline(always)]
    fn see_several<S: Simd>(
        &mut self,
        simd: S,
        (rows, first_row): (&Span, usize),
        (columns, first_column): (&Span, usize),
        block: &Block,
    ) {
        let first = self.find(simd, block);
        let Self { places, accepted, accepts, pairs, columns: Columns { of_class, .. }, .. } = self;
        let mut paired = [0; 2];
        for row in rows.clone() {
            let start = places.layout.first_column(row, columns).min(columns.end);
            let of_row = lanes(start - first_column..columns.end - first_column);
            let of_row = rectangle(row - first_row..row - first_row + 1, of_row);
            paired = [paired[0] | of_row[0], paired[1] | of_row[1]];
        }
        let of_rows = &places.rows[rows.clone()];
        for run in runs(of_rows) {
            let row_class = of_rows[run.start] as usize;
            let of_rows = rows.start + run.start - first_row..rows.start + run.end - first_row;
            let mut lane = columns.start - first_column;
            while lane < columns.end - first_column {
                let cell = rectangle(of_rows.clone(), of_class[lane]);
                let cell = [cell[0] & paired[0], cell[1] & paired[1]];
                let of_two = (row_class, places.columns[first_column + lane] as usize);
                if cell != [0; 2] {
                    count_each(&mut pairs[first..], &accepts[first..], &cell);
                    accepted.add(places.classes, of_two, first, &pairs[first..]);
                }
                lane += (of_class[lane] >> lane).count_ones() as usize;
            }
        }
    }
}

/// The bits of a block: four rows of 16 columns, then two more.
type Bits = [u64; 2];

/// A whole block.
const ALL: Bits = [u64::MAX, u32::MAX as u64];

#[inline(always)]
fn bits<S: Simd>(masks: [mask32x16<S>; ROWS]) -> Bits {
    let [a, b, c, d, e, f] = masks.map(|mask| mask.to_bitmask());
    [a | b << 16 | c << 32 | d << 48, e | f << 16]
}

#[inline(always)]
fn count(bits: &Bits, of: &Bits) -> u64 {
    u64::from((bits[0] & of[0]).count_ones() + (bits[1] & of[1]).count_ones())
}

#[inline(always)]
fn count_each(pairs: &mut [u64], accepts: &[Bits], of: &Bits) {
    pairs.iter_mut().zip(accepts).for_each(|(pairs, accepts)| *pairs = count(accepts, of));
}

/// The bits of a block in these rows and these columns.
#[inline(always)]
fn rectangle(rows: Span, columns: u64) -> Bits {
    let columns = u128::from(columns) * 0x0001_0001_0001_0001_0001_0001;
    let rows = ((1u128 << (rows.end * COLUMNS)) - 1) & !((1u128 << (rows.start * COLUMNS)) - 1);
    let cell = rows & columns;
    [cell as u64, (cell >> 64) as u64]
}

/// For each row of a block, the columns with an accepted score.
#[inline(always)]
fn masks<S: Simd>(simd: S, block: &Block, lowest: f32) -> [mask32x16<S>; ROWS] {
    let lowest = f32x16::splat(simd, lowest);
    let rows = block.as_chunks::<COLUMNS>().0;
    std::array::from_fn(|row| f32x16::from_slice(simd, &rows[row]).simd_ge(lowest))
}

/// The bits of these lanes.
fn lanes(lanes: Span) -> u64 {
    ((1 << lanes.end) - 1) & !((1 << lanes.start) - 1)
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
    fn lanes_are_bits() {
        assert_eq!(lanes(0..16), 0xffff);
        assert_eq!(lanes(3..5), 0b11000);
        assert_eq!(lanes(4..4), 0);
        assert_eq!(rectangle(0..ROWS, lanes(0..COLUMNS)), ALL);
        assert_eq!(rectangle(3..5, lanes(1..3)), [0b110 << 48, 0b110]);
        assert_eq!(count(&rectangle(3..5, lanes(1..3)), &rectangle(4..6, lanes(2..9))), 1);
    }
}
