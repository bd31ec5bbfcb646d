//! Embeddings in two dimensions, one panel a loss.

use std::ops::Range;
use std::path::Path;

use ndarray::{ArrayView1, ArrayView2};
use plotters::prelude::*;

use super::canvas::{self, Area, DrawResult, FAINT_GRID, GRID, INK, MUTED, PALETTE, bold, px, text};
use crate::{Error, Result};

const COLUMNS: usize = 3;
/// Width and height of a panel with its titles, and side of the square in it.
const PANEL: (i32, i32) = (276, 296);
const PLOT: i32 = 214;
const HEAD: i32 = 44;
/// The least width of the legend, and what a letter of a name takes.
const LEGEND: i32 = 150;
const LETTER: i32 = 7;
const LEGEND_LINE: i32 = 22;
const LEFT: i32 = 12;

/// One panel of an [`embedding_map`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmbeddingPanel<'a> {
    /// Shown above the panel, such as the loss.
    pub title: &'a str,
    /// `[N, 2]`.
    pub points: ArrayView2<'a, f32>,
    /// `[N]`, positions in the class names.
    pub labels: &'a [u32],
    /// What the two columns are, such as `PCA 1` and `PCA 2`.
    pub axes: [&'a str; 2],
}

/// Draws panels of points side by side, colored and shaped by class, with one legend for all.
///
/// Both axes of a panel have the same scale. Each panel has its own range: distances compare within a panel, not
/// between panels. Points are drawn in the order of their rows. Seven colors and four shapes tell 28 classes apart.
///
/// # Errors
/// - [`Error::Config`] if there is no panel or class; a panel has no points or not two columns; labels are not one
///   for each point or name no class; a coordinate is not finite.
/// - [`Error::Draw`] and [`Error::Io`] if the picture cannot be drawn or written.
///
/// # Examples
/// ```
/// use ndarray::array;
/// use soft_lmccl_report::{EmbeddingPanel, embedding_map, pca_2d};
///
/// let embeddings = array![[1.0, 0.0, 0.1], [0.9, 0.1, 0.0], [0.0, 1.0, 0.2], [0.1, 0.8, 0.3]];
/// let points = pca_2d(embeddings.view())?;
/// let panel = EmbeddingPanel { title: "lmcl", points: points.view(), labels: &[0, 0, 1, 1], axes: ["PCA 1", "PCA 2"] };
/// let path = std::env::temp_dir().join("soft-lmccl-doc-embeddings.svg");
/// embedding_map(&path, "Unknown classes", &["1jz8", "1qvr"], &[panel])?;
///
/// let svg = std::fs::read_to_string(&path)?;
/// assert!(svg.contains("1qvr"));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn embedding_map(
    path: impl AsRef<Path>,
    title: &str,
    class_names: &[impl AsRef<str>],
    panels: &[EmbeddingPanel<'_>],
) -> Result<()> {
    let names: Vec<&str> = class_names.iter().map(AsRef::as_ref).collect();
    validate(&names, panels)?;
    let columns = panels.len().min(COLUMNS);
    let lines = panels.len().div_ceil(columns);
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let width = LEFT + columns as i32 * PANEL.0 + LEGEND.max(40 + LETTER * longest as i32);
    let legend = 2 * LEGEND_LINE + names.len() as i32 * LEGEND_LINE;
    let height = HEAD + (lines as i32 * PANEL.1).max(legend) + 8;
    canvas::save(path.as_ref(), title, (width, height), &[], |area| {
        area.draw(&Text::new(title, (px(LEFT + 12), px(26)), bold(text(17, INK))))?;
        for (index, panel) in panels.iter().enumerate() {
            let left = px(LEFT + (index % columns) as i32 * PANEL.0);
            let top = px(HEAD + (index / columns) as i32 * PANEL.1);
            let corners = ((left, left + px(PANEL.0)), (top, top + px(PANEL.1)));
            draw_panel(&area.clone().shrink((left, top), extent(corners)), panel)?;
        }
        let left = px(LEFT + columns as i32 * PANEL.0 + 10);
        area.draw(&Text::new("class", (left, px(HEAD + 16)), text(12, MUTED)))?;
        for (class, name) in names.iter().enumerate() {
            let y = px(HEAD + 38 + class as i32 * LEGEND_LINE);
            draw_marker(area, class, (left + px(6), y), px(5), 1.0)?;
            area.draw(&Text::new(*name, (left + px(20), y), text(13, INK)))?;
        }
        Ok(())
    })
}

fn extent(((left, right), (top, bottom)): ((i32, i32), (i32, i32))) -> (i32, i32) {
    (right - left, bottom - top)
}

fn draw_panel(area: &Area<'_>, panel: &EmbeddingPanel<'_>) -> DrawResult {
    area.draw(&Text::new(panel.title, (px(48), px(14)), bold(text(13, INK))))?;
    let [x, y] = square_ranges(&panel.points);
    let mut chart = ChartBuilder::on(area)
        .margin_top(px(28))
        .margin_right(px(PANEL.0 - 48 - PLOT))
        .margin_bottom(px(PANEL.1 - 28 - 38 - PLOT))
        .x_label_area_size(px(38))
        .y_label_area_size(px(48))
        .build_cartesian_2d(x, y)?;
    let number = |value: &f64| {
        // No "-0.0".
        let value = if value.abs() < 1e-12 { 0.0 } else { *value };
        ((value * 1e6).round() / 1e6).to_string().replace('-', "−")
    };
    chart
        .configure_mesh()
        .axis_style(GRID.stroke_width(4))
        .bold_line_style(FAINT_GRID.stroke_width(3))
        .max_light_lines(0)
        .x_labels(5)
        .y_labels(5)
        .set_all_tick_mark_size(px(3))
        .label_style(text(11, MUTED))
        .axis_desc_style(text(12, INK))
        .x_desc(panel.axes[0])
        .y_desc(panel.axes[1])
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .draw()?;
    let plot = chart.plotting_area();
    for (point, &label) in panel.points.rows().into_iter().zip(panel.labels) {
        let (x, y) = plot.map_coordinate(&(f64::from(point[0]), f64::from(point[1])));
        let (left, top) = area.get_base_pixel();
        draw_marker(area, label as usize, (x - left, y - top), px(5) / 2, 0.65)?;
    }
    Ok(())
}

/// The mark of a class. Its shape tells the class without color too.
fn draw_marker(area: &Area<'_>, class: usize, (x, y): (i32, i32), radius: i32, alpha: f64) -> DrawResult {
    let style = PALETTE[class % PALETTE.len()].mix(alpha).filled();
    let shape = |corners: &[(i32, i32)]| {
        let corners: Vec<_> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        area.draw(&Polygon::new(corners, style))
    };
    let r = radius;
    // All shapes of about one area.
    match class % 4 {
        0 => area.draw(&Circle::new((x, y), r, style)),
        1 => {
            let half = r * 9 / 10;
            shape(&[(-half, -half), (half, -half), (half, half), (-half, half)])
        }
        2 => shape(&[(0, -r * 4 / 3), (r * 5 / 4, r), (-r * 5 / 4, r)]),
        _ => shape(&[(0, -r * 5 / 4), (r * 5 / 4, 0), (0, r * 5 / 4), (-r * 5 / 4, 0)]),
    }
}

/// Ranges of one length that hold all points, with a margin.
fn square_ranges(points: &ArrayView2<'_, f32>) -> [Range<f64>; 2] {
    let bounds = |column: ArrayView1<'_, f32>| {
        let (low, high) =
            column.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
        (f64::from(low), f64::from(high))
    };
    let [x, y] = [bounds(points.column(0)), bounds(points.column(1))];
    let half = (x.1 - x.0).max(y.1 - y.0) * 0.54;
    let half = if half > 0.0 { half } else { 1.0 };
    [x, y].map(|(low, high)| {
        let middle = low.midpoint(high);
        middle - half..middle + half
    })
}

fn validate(names: &[&str], panels: &[EmbeddingPanel<'_>]) -> Result<()> {
    if names.is_empty() {
        return Err(Error::config("class_names", "at least one class", "none"));
    }
    if panels.is_empty() {
        return Err(Error::config("panels", "at least one panel", "none"));
    }
    for panel in panels {
        let whose = format!("in panel `{}`", panel.title);
        let (rows, columns) = panel.points.dim();
        if rows == 0 || columns != 2 {
            let got = format!("[{rows}, {columns}] {whose}");
            return Err(Error::config("points", "at least one row of two columns", got));
        }
        if panel.labels.len() != rows {
            let got = format!("{} for {rows} points {whose}", panel.labels.len());
            return Err(Error::config("labels", "one for each point", got));
        }
        let outside = panel.labels.iter().position(|&label| label as usize >= names.len());
        if let Some(position) = outside {
            let got = format!("{} at position {position} {whose}", panel.labels[position]);
            return Err(Error::config("labels", format!("positions in 0..{}", names.len()), got));
        }
        if let Some(((row, _), value)) = panel.points.indexed_iter().find(|(_, v)| !v.is_finite()) {
            return Err(Error::config("points", "finite coordinates", format!("{value} in row {row} {whose}")));
        }
    }
    Ok(())
}
