//! A table of rates, each cell tinted by its value.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use soft_lmccl_metrics::{CohortCell, CohortMatrix};

use super::canvas::{self, GRID, INK, MUTED, PALETTE, bold, px, text};
use crate::{Error, Result};

const CELL: (i32, i32) = (74, 26);
const LEFT: i32 = 24;
const HEAD: i32 = 96;

/// Draws a table of rates from 0 to 1, such as TAR by class and loss; higher is deeper in color.
///
/// # Errors
/// [`Error::Config`] if there is no row or column, a row has not one value for each column, or a value is outside
/// 0..=1; [`Error::Draw`] and [`Error::Io`] if the picture cannot be drawn or written.
///
/// # Examples
/// ```
/// use soft_lmccl_report::heat_table;
///
/// let rows = [("softmax".to_owned(), vec![0.12, 0.4]), ("Soft LMCCL".to_owned(), vec![0.31, 0.77])];
/// let path = std::env::temp_dir().join("soft-lmccl-doc-heat.svg");
/// heat_table(&path, "TAR by class", "at FAR 1 %", &["1jz8", "1qvr"], &rows)?;
///
/// assert!(std::fs::read_to_string(&path)?.contains("0.77"));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn heat_table(
    path: impl AsRef<Path>,
    title: &str,
    subtitle: &str,
    columns: &[impl AsRef<str>],
    rows: &[(String, Vec<f64>)],
) -> Result<()> {
    if columns.is_empty() || rows.is_empty() {
        let got = format!("{} by {}", rows.len(), columns.len());
        return Err(Error::config("rows", "at least one row and one column", got));
    }
    for (name, values) in rows {
        if values.len() != columns.len() {
            let got = format!("{} in row `{name}`", values.len());
            return Err(Error::config("rows", format!("{} values", columns.len()), got));
        }
        if let Some(value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
            return Err(Error::config("rows", "rates from 0 to 1", format!("{value} in row `{name}`")));
        }
    }
    let cell = |&value: &f64| Some((value, format!("{value:.2}")));
    let rows = rows.iter().map(|(name, values)| (name.clone(), values.iter().map(cell).collect())).collect();
    draw(path.as_ref(), title, subtitle, columns, rows)
}

/// An error rate of comparisons between cohorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CohortRate {
    /// False match rate.
    Fmr,
    /// False non-match rate.
    Fnmr,
}

/// Draws a rate between each two cohorts, deeper in color the nearer it is to the highest; cells without pairs stay empty.
///
/// # Errors
/// [`Error::Draw`] and [`Error::Io`] if the picture cannot be drawn or written.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_metrics::{CohortMatrix, EmbeddingSet};
/// use soft_lmccl_report::{CohortRate, cohort_table};
///
/// let embeddings = array![[1.0f32, 0.1], [2.0, -0.1], [0.1, 3.0], [-0.2, 1.0], [1.0, 0.2], [0.9, 1.0]];
/// let set = EmbeddingSet::new(embeddings.view(), &[7, 7, 4, 4, 7, 4])?;
/// let matrix = CohortMatrix::of(&set, &["Krios", "Krios", "Krios", "Krios", "Arctica", "Arctica"], 0.9, 0.95)?;
/// let path = std::env::temp_dir().join("soft-lmccl-doc-cohorts.svg");
/// cohort_table(&path, "Microscopes", &matrix, CohortRate::Fnmr)?;
///
/// assert!(std::fs::read_to_string(&path)?.contains("5.0e-1"));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn cohort_table(path: impl AsRef<Path>, title: &str, matrix: &CohortMatrix, rate: CohortRate) -> Result<()> {
    let (name, of_cell): (_, fn(&CohortCell) -> Option<f64>) = match rate {
        CohortRate::Fmr => ("FMR", CohortCell::fmr),
        CohortRate::Fnmr => ("FNMR", CohortCell::fnmr),
    };
    let highest = matrix.cells.iter().filter_map(of_cell).fold(0.0, f64::max);
    let row = |first: &String| {
        let cell = |second: &String| {
            let rate = of_cell(matrix.cell(first, second)?)?;
            Some((if highest > 0.0 { rate / highest } else { 0.0 }, format!("{rate:.1e}")))
        };
        (first.clone(), matrix.cohorts.iter().map(cell).collect())
    };
    let rows = matrix.cohorts.iter().map(row).collect();
    let subtitle = format!("{name} of comparisons (ISO/IEC 19795) at a threshold of {}", matrix.threshold);
    draw(path.as_ref(), title, &subtitle, &matrix.cohorts, rows)
}

/// Names, and of each cell how deep its color is and what is written there.
type Rows = Vec<(String, Vec<Option<(f64, String)>>)>;

fn draw(path: &Path, title: &str, subtitle: &str, columns: &[impl AsRef<str>], rows: Rows) -> Result<()> {
    let longest = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) as i32;
    let names = 24 + 7 * longest;
    // Room for the head, however few columns there are.
    let width = (2 * LEFT + names + columns.len() as i32 * CELL.0).max(480);
    let height = HEAD + rows.len() as i32 * CELL.1 + 16;
    canvas::save(path, title, (width, height), &[], |area| {
        let centered = |style: TextStyle<'static>| style.pos(Pos::new(HPos::Center, VPos::Center));
        area.draw(&Text::new(title, (px(LEFT), px(26)), bold(text(17, INK))))?;
        area.draw(&Text::new(subtitle, (px(LEFT), px(48)), text(12, MUTED)))?;
        for (index, name) in columns.iter().enumerate() {
            let middle = px(LEFT + names + index as i32 * CELL.0 + CELL.0 / 2);
            area.draw(&Text::new(name.as_ref(), (middle, px(HEAD - 14)), centered(text(12, INK))))?;
        }
        for (index, (name, values)) in rows.iter().enumerate() {
            let top = HEAD + index as i32 * CELL.1;
            area.draw(&Text::new(name.as_str(), (px(LEFT), px(top + CELL.1 / 2)), text(13, INK)))?;
            for (column, (depth, written)) in
                values.iter().enumerate().filter_map(|(at, cell)| Some((at, cell.as_ref()?)))
            {
                let left = LEFT + names + column as i32 * CELL.0;
                let corners = [(px(left), px(top)), (px(left + CELL.0 - 2), px(top + CELL.1 - 2))];
                area.draw(&Rectangle::new(corners, PALETTE[0].mix(0.06 + 0.64 * depth).filled()))?;
                let middle = (px(left + CELL.0 / 2 - 1), px(top + CELL.1 / 2 - 1));
                area.draw(&Text::new(written.as_str(), middle, centered(text(12, INK))))?;
            }
        }
        let bottom = px(HEAD + rows.len() as i32 * CELL.1 + 4);
        area.draw(&PathElement::new([(px(LEFT), bottom), (px(width - LEFT), bottom)], GRID.stroke_width(4)))
    })
}
