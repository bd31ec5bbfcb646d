//! The order in which embeddings are rows and columns, and the tiles of their pairs.

use super::part::Part;
use crate::PairCounts;

pub(super) type Span = std::ops::Range<usize>;

/// Rows and columns in class order: a row's matching columns lie together.
#[derive(Debug)]
pub(super) struct Layout {
    rows: Vec<Row>,
    /// The members that are the columns; `None` with one set, whose rows are the columns.
    columns: Option<Vec<usize>>,
}

/// A row in class order.
#[derive(Debug, Clone, Copy)]
struct Row {
    member: usize,
    label: u32,
    /// It makes matching pairs with columns `matching.0..matching.1`. Within one set, `matching.0` is the column
    /// after the row itself, and no earlier column makes a pair.
    matching: (usize, usize),
}

impl Layout {
    pub(super) fn new(rows: &[u32], columns: Option<&[u32]>) -> Self {
        let order = by_class(rows);
        let class_order = columns.map(by_class);
        let (column_labels, column_order) = match (columns, &class_order) {
            (Some(labels), Some(order)) => (labels, order),
            _ => (rows, &order),
        };
        let end_of = |label: u32| column_order.partition_point(|&column| column_labels[column] <= label);
        let placed = order.iter().enumerate().map(|(at, &member)| {
            let label = rows[member];
            let start = match columns {
                Some(_) => column_order.partition_point(|&column| column_labels[column] < label),
                None => at + 1,
            };
            Row { member, label, matching: (start, end_of(label)) }
        });
        Self { rows: placed.collect(), columns: class_order }
    }

    /// The bytes it takes.
    pub(super) fn bytes(rows: usize, columns: Option<usize>) -> u64 {
        (rows * size_of::<Row>() + (rows + columns.unwrap_or(0)) * size_of::<usize>()) as u64
    }

    pub(super) fn counts(&self) -> PairCounts {
        let (mut matching, mut non_matching) = (0, 0);
        for class in self.classes(0..self.rows.len()) {
            let [before, same, after] = self.split(class.start, 0..self.num_columns());
            let members = class.len() as u64;
            matching += match self.columns {
                Some(_) => members * same.len() as u64,
                None => members * (members - 1) / 2,
            };
            non_matching += members * (before.len() + after.len()) as u64;
        }
        PairCounts { matching, non_matching }
    }

    pub(super) fn num_rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn num_columns(&self) -> usize {
        self.columns.as_ref().map_or(self.rows.len(), Vec::len)
    }

    /// The member that is this row.
    pub(super) fn row_member(&self, row: usize) -> usize {
        self.rows[row].member
    }

    /// The member that is this column.
    pub(super) fn column_member(&self, column: usize) -> usize {
        self.columns.as_ref().map_or_else(|| self.rows[column].member, |columns| columns[column])
    }

    /// The first column of a span that a row makes a pair with; not below the end if there is none.
    pub(super) fn first_column(&self, row: usize, columns: &Span) -> usize {
        match self.columns {
            Some(_) => columns.start,
            None => columns.start.max(self.rows[row].matching.0),
        }
    }

    /// The columns of a span that a row makes pairs with: non-matching, matching, non-matching.
    pub(super) fn split(&self, row: usize, columns: Span) -> [Span; 3] {
        let (start, end) = self.rows[row].matching;
        let first = self.first_column(row, &columns).min(columns.end);
        let (start, end) = (start.clamp(first, columns.end), end.clamp(first, columns.end));
        [first..start, start..end, end..columns.end]
    }

    /// Whether there may be a matching pair in a tile; false is certain.
    pub(super) fn may_match(&self, rows: &Span, columns: &Span) -> bool {
        // Both in class order: the first row's matches are the first, the last row's the last.
        let (start, end) = (self.rows[rows.start].matching.0, self.rows[rows.end - 1].matching.1);
        start < columns.end && columns.start < end
    }

    /// How many rows, from the first, make a pair with this column.
    pub(super) fn rows_paired_with(&self, column: usize) -> usize {
        match self.columns {
            Some(_) => self.rows.len(),
            None => column,
        }
    }

    /// Whether the pairs of a tile match, if all its rows make pairs with all its columns, all of one kind. Otherwise
    /// `None`, and where the ends of the tile cannot tell.
    pub(super) fn kind(&self, rows: &Span, columns: &Span) -> Option<bool> {
        // In class order the last row has the latest first pair and first match, the first row the earliest last
        // match.
        let (first, last) = (rows.start, rows.end - 1);
        if self.first_column(last, columns) > columns.start {
            None
        } else if !self.may_match(rows, columns) {
            Some(false)
        } else {
            let all = self.rows[last].matching.0 <= columns.start && columns.end <= self.rows[first].matching.1;
            all.then_some(true)
        }
    }

    /// Spans of rows of one class, one class after another.
    pub(super) fn classes(&self, rows: Span) -> impl Iterator<Item = Span> {
        let mut start = rows.start;
        self.rows[rows].chunk_by(|a, b| a.label == b.label).map(move |class| {
            let span = start..start + class.len();
            start = span.end;
            span
        })
    }

    /// The tiles of a part.
    pub(super) fn tiles(&self, tile: usize, part: Part) -> Tiles {
        let (rows, columns) = (self.rows.len(), self.num_columns());
        let all = |side: usize, share: u64| usize::try_from(share).map_or(side, |share| share.min(side));
        let (rows, columns) = match self.columns {
            None => (0..0, part.share(pairs_among(rows), |pairs| columns_with(pairs).min(columns))),
            // Along the longer side, so that as many parts as possible have work.
            Some(_) if rows > columns => (part.share(rows as u64, |share| all(rows, share)), 0..columns),
            Some(_) => (0..rows, part.share(columns as u64, |share| all(columns, share))),
        };
        Tiles { rows: self.columns.is_some().then_some(rows), columns, tile }
    }
}

fn by_class(labels: &[u32]) -> Vec<usize> {
    let mut order: Vec<_> = (0..labels.len()).collect();
    order.sort_unstable_by_key(|&member| (labels[member], member));
    order
}

/// Pairs of different members of one set.
fn pairs_among(members: usize) -> u64 {
    let members = members as u64;
    members * members.saturating_sub(1) / 2
}

/// How many columns of a triangle, at least one, hold no more pairs than these.
fn columns_with(pairs: u64) -> usize {
    // Columns 0 to b hold b(b+1)/2 pairs.
    let columns = (1 + 8 * u128::from(pairs)).isqrt().div_ceil(2);
    usize::try_from(columns).unwrap_or(usize::MAX)
}

/// The tiles that hold the pairs of a part, numbered.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    /// `None` within one set: a column has pairs with all the rows before it.
    rows: Option<Span>,
    columns: Span,
    tile: usize,
}

impl Tiles {
    /// The rows and columns of a tile; `None` past the last.
    pub(super) fn get(&self, number: u64) -> Option<(Span, Span)> {
        let Some(rows) = &self.rows else { return self.get_among(number) };
        let across = rows.len().div_ceil(self.tile) as u64;
        let columns = self.block(&self.columns, number.checked_div(across)?)?;
        Some((self.block(rows, number % across)?, columns))
    }

    /// Strip `s` of columns has `q + s` tiles of the rows before it, then its own on the diagonal.
    fn get_among(&self, number: u64) -> Option<(Span, Span)> {
        // Number t is (r, s), r <= q + s, with t = s·q + s(s+1)/2 + r.
        let q = self.columns.start.div_ceil(self.tile) as u64;
        let odd = 2 * q + 1;
        let strip = ((odd * odd + 8 * number).isqrt() - odd) / 2;
        let row = number - self.tiles_before(strip);
        let columns = self.block(&self.columns, strip)?;
        let rows = if row == q + strip { columns.clone() } else { self.block(&(0..columns.start), row)? };
        Some((rows, columns))
    }

    /// Tiles in the first strips of columns of one set.
    fn tiles_before(&self, strips: u64) -> u64 {
        strips * self.columns.start.div_ceil(self.tile) as u64 + strips * (strips + 1) / 2
    }

    fn block(&self, side: &Span, block: u64) -> Option<Span> {
        let start = usize::try_from(block).ok()?.checked_mul(self.tile)?.checked_add(side.start)?;
        (start < side.end).then(|| start..(start + self.tile).min(side.end))
    }

    /// How many tiles there are.
    pub(super) fn len(&self) -> u64 {
        let strips = self.columns.len().div_ceil(self.tile) as u64;
        match &self.rows {
            None => self.tiles_before(strips),
            Some(rows) => rows.len().div_ceil(self.tile) as u64 * strips,
        }
    }

    /// Pairs in these tiles.
    pub(super) fn pairs(&self) -> u64 {
        match &self.rows {
            None => pairs_among(self.columns.end) - pairs_among(self.columns.start),
            Some(rows) => rows.len() as u64 * self.columns.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of every part, sorted.
    fn pairs_of(layout: &Layout, parts: u64, tile: impl Fn(u64) -> usize) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for index in 0..parts {
            let tiles = layout.tiles(tile(index), Part::new(index, parts).unwrap());
            let before = pairs.len();
            let mut numbers = 0;
            for (rows, columns) in (0..).map_while(|number| tiles.get(number)) {
                numbers += 1;
                for row in rows {
                    pairs.extend(layout.split(row, columns.clone()).into_iter().flatten().map(|column| (row, column)));
                }
            }
            assert_eq!((tiles.len(), tiles.pairs()), (numbers, (pairs.len() - before) as u64));
        }
        pairs.sort_unstable();
        pairs
    }

    #[test]
    fn parts_of_any_tiles_hold_each_pair_once() {
        for (rows, columns) in [(1, None), (2, None), (11, None), (40, None), (7, Some(12)), (12, Some(7))] {
            let labels = |members: usize| (0..members as u32).map(|member| member * 3 % 5).collect::<Vec<_>>();
            let layout = Layout::new(&labels(rows), columns.map(labels).as_deref());
            let whole = pairs_of(&layout, 1, |_| 64);
            for parts in [1, 2, 3, 5, 64] {
                for first in 1..9 {
                    assert_eq!(pairs_of(&layout, parts, |index| first + 2 * (index as usize % 3)), whole);
                }
            }
        }
    }

    /// Along the shorter side most of the parts would be empty.
    #[test]
    fn parts_of_two_sets_share_the_larger_one() {
        for (rows, columns) in [(2, 50), (50, 2)] {
            let layout = Layout::new(&vec![0; rows], Some(&vec![0; columns]));
            assert!((0..50).all(|index| layout.tiles(8, Part::new(index, 50).unwrap()).pairs() == 2));
        }
    }

    #[test]
    fn a_layout_takes_what_it_says() {
        for (rows, columns) in [(5, None), (5, Some(9)), (9, Some(5))] {
            let layout = Layout::new(&vec![0; rows], columns.map(|columns| vec![0; columns]).as_deref());
            let of_columns = layout.columns.as_ref().map_or(0, |columns| size_of_val(&columns[..]));
            // While the rows are made, their order is held too.
            let held = size_of_val(&layout.rows[..]) + of_columns + rows * size_of::<usize>();
            assert_eq!(Layout::bytes(rows, columns), held as u64);
        }
    }

    #[test]
    fn tiles_of_one_kind_are_known() {
        for (rows, columns) in [(9, None), (9, Some(7)), (4, Some(12))] {
            let labels = |members: usize| (0..members as u32).map(|member| [2, 2, 0, 0, 0, 7][member as usize % 6]);
            let columns_labels = columns.map(|columns| labels(columns).collect::<Vec<_>>());
            let layout = Layout::new(&labels(rows).collect::<Vec<_>>(), columns_labels.as_deref());
            let spans = |side: usize| (0..side).flat_map(move |start| (start + 1..=side).map(move |end| start..end));
            for (rows, columns) in
                spans(rows).flat_map(|rows| spans(layout.num_columns()).map(move |columns| (rows.clone(), columns)))
            {
                let kinds = |row: usize| {
                    let [before, matching, after] = layout.split(row, columns.clone());
                    [(before.len() + after.len(), false), (matching.len(), true)]
                };
                let pairs = |same: bool| -> usize {
                    rows.clone().flat_map(kinds).filter(|(_, kind)| *kind == same).map(|(pairs, _)| pairs).sum()
                };
                let all = rows.len() * columns.len();
                let expected = [false, true].into_iter().find(|&same| pairs(same) == all);
                assert_eq!(layout.kind(&rows, &columns), expected, "{rows:?} {columns:?}");
                for column in columns.clone() {
                    let paired = rows.clone().filter(|&row| layout.first_column(row, &(column..column + 1)) == column);
                    assert!(paired.max().is_none_or(|row| row < layout.rows_paired_with(column)));
                }
            }
        }
    }

    #[test]
    fn the_last_of_very_many_parts_is_a_part() {
        let layout = Layout::new(&[0, 0, 1, 1], None);
        assert_eq!(layout.tiles(2, Part::new(u64::MAX - 1, u64::MAX).unwrap()).pairs(), 3);
        assert_eq!(layout.tiles(2, Part::new(0, u64::MAX).unwrap()).pairs(), 0);
    }
}
