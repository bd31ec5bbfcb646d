//! Small multiples: panels of one kind side by side, with one legend.

use std::ops::Range;
use std::path::Path;

use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::axis::Ticked;
use super::canvas::{self, Area, DrawResult, FAINT_GRID, GRID, INK, MUTED, PALETTE, bold, px, text};
use crate::{Error, Result};

const COLUMNS: usize = 3;
const PANEL: (i32, i32) = (300, 216);
const HEAD: i32 = 66;
const LEFT: i32 = 12;
/// Coordinates reach no farther from zero: the width of an axis must be finite.
const FARTHEST: f64 = 1e300;

/// One panel of [`line_panels`].
#[derive(Debug, Clone, PartialEq)]
pub struct LinePanel {
    /// Shown above the panel, such as the loss.
    pub title: String,
    /// Lines with their names; lines of one name have one color in all panels.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// How all panels of [`line_panels`] are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineAxes<'a> {
    /// What lies along x.
    pub x: &'a str,
    /// What lies along y.
    pub y: &'a str,
    /// Whether y is logarithmic; values that are not positive are then left out.
    pub logarithmic: bool,
    /// Whether the area under a line is tinted, as for histograms.
    pub filled: bool,
}

/// Draws lines over numbers, one panel for each thing compared: score histograms, training curves.
///
/// All panels have the same x axis. Each has its own y axis, from 0 or, where logarithmic, from its own least value.
///
/// # Errors
/// [`Error::Config`] if there is no panel, a panel has no points, or a coordinate is not finite or
/// more than 10³⁰⁰ from zero;
/// [`Error::Draw`] and [`Error::Io`] if the picture cannot be drawn or written.
///
/// # Examples
/// ```
/// use soft_lmccl_report::{LineAxes, LinePanel, line_panels};
///
/// let lines = vec![
///     ("matching".to_owned(), vec![(-1.0, 0.0), (0.0, 0.2), (1.0, 0.8)]),
///     ("non-matching".to_owned(), vec![(-1.0, 0.3), (0.0, 0.6), (1.0, 0.1)]),
/// ];
/// let panels = [LinePanel { title: "Soft LMCCL".to_owned(), lines }];
/// let axes = LineAxes { x: "cosine", y: "share of pairs", logarithmic: false, filled: true };
/// let path = std::env::temp_dir().join("soft-lmccl-doc-panels.svg");
/// line_panels(&path, "Scores", "all pairs of two samples", axes, &panels)?;
///
/// assert!(std::fs::read_to_string(&path)?.contains("non-matching"));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn line_panels(
    path: impl AsRef<Path>,
    title: &str,
    subtitle: &str,
    axes: LineAxes<'_>,
    panels: &[LinePanel],
) -> Result<()> {
    validate(axes, panels)?;
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in panels.iter().flat_map(|panel| &panel.lines) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let points = || panels.iter().flat_map(|panel| &panel.lines).flat_map(|(_, points)| points);
    let x = points().fold(f64::INFINITY..f64::NEG_INFINITY, |range, (x, _)| range.start.min(*x)..range.end.max(*x));
    // A single point needs an axis too, and so do points that only rounding sets apart.
    let largest = x.start.abs().max(x.end.abs());
    let x = if x.end - x.start > 1e-12 * largest { x } else { x.start - room(largest)..x.end + room(largest) };
    let columns = panels.len().min(COLUMNS);
    let lines = panels.len().div_ceil(columns);
    // Room for the head, however few panels there are.
    let width = (2 * LEFT + columns as i32 * PANEL.0).max(560);
    let height = HEAD + 24 + lines as i32 * PANEL.1;
    canvas::save(path.as_ref(), title, (width, height), &[], |area| {
        area.draw(&Text::new(title, (px(LEFT + 12), px(26)), bold(text(17, INK))))?;
        area.draw(&Text::new(subtitle, (px(LEFT + 12), px(48)), text(12, MUTED)))?;
        let mut left = px(LEFT + 12);
        for (index, name) in names.iter().enumerate() {
            let line = [(left, px(72)), (left + px(22), px(72))];
            area.draw(&PathElement::new(line, color(index).stroke_width(10)))?;
            area.draw(&Text::new(*name, (left + px(28), px(72)), text(12, INK)))?;
            left += px(44 + 7 * name.chars().count() as i32);
        }
        for (index, panel) in panels.iter().enumerate() {
            let left = px(LEFT + (index % columns) as i32 * PANEL.0);
            let top = px(HEAD + 24 + (index / columns) as i32 * PANEL.1);
            let area = area.clone().shrink((left, top), (px(PANEL.0), px(PANEL.1)));
            draw_panel(&area, panel, axes, x.clone(), &names)?;
        }
        Ok(())
    })
}

/// Half the width of an axis around a number.
fn room(number: f64) -> f64 {
    (1e-9 * number).max(0.5)
}

fn color(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

fn draw_panel(area: &Area<'_>, panel: &LinePanel, axes: LineAxes<'_>, x: Range<f64>, names: &[&str]) -> DrawResult {
    area.draw(&Text::new(panel.title.as_str(), (px(52), px(12)), bold(text(13, INK))))?;
    let shown = |y: f64| if axes.logarithmic { (y > 0.0).then(|| y.log10()) } else { Some(y) };
    let values = panel.lines.iter().flat_map(|(_, points)| points).filter_map(|(_, y)| shown(*y));
    let range = values.fold(f64::INFINITY..f64::NEG_INFINITY, |range, y| range.start.min(y)..range.end.max(y));
    let range = match (axes.logarithmic, range) {
        // All values were left out.
        (true, range) if range.start > range.end => -1.0..1.0,
        (true, range) => range.start - 0.1..range.end + 0.1,
        (false, range) => range.start.min(0.0)..(range.end * 1.05).max(1e-9),
    };
    let mut chart = ChartBuilder::on(area)
        .margin_top(px(26))
        .margin_right(px(14))
        .margin_bottom(px(4))
        .x_label_area_size(px(36))
        .y_label_area_size(px(52))
        .build_cartesian_2d(x, ticked(range.clone(), axes.logarithmic))?;
    chart
        .configure_mesh()
        .axis_style(GRID.stroke_width(4))
        .bold_line_style(FAINT_GRID.stroke_width(3))
        .max_light_lines(0)
        .x_labels(5)
        .set_all_tick_mark_size(px(3))
        .label_style(text(11, MUTED))
        .axis_desc_style(text(12, INK))
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&|x| number(*x))
        .y_label_formatter(&|y| number(if axes.logarithmic { 10f64.powf(*y) } else { *y }))
        .draw()?;
    for (name, points) in &panel.lines {
        let color = color(names.iter().position(|known| known == name).unwrap_or_default());
        let points: Vec<_> = points.iter().filter_map(|&(x, y)| Some((x, shown(y)?))).collect();
        if axes.filled {
            chart.draw_series(AreaSeries::new(points.clone(), range.start, color.mix(0.18)))?;
        }
        chart.draw_series(LineSeries::new(points, color.stroke_width(6)))?;
    }
    Ok(())
}

/// Some round numbers along y; on a logarithmic axis 1, 2 and 5 times powers of ten.
fn ticked(range: Range<f64>, logarithmic: bool) -> Ticked {
    let bold = if logarithmic {
        let decades = range.start.floor() as i32..=range.end.ceil() as i32;
        let steps = |decade: i32| [1.0, 2.0, 5.0].map(|step: f64| f64::from(decade) + step.log10());
        decades.flat_map(steps).filter(|tick| range.contains(tick)).collect()
    } else {
        RangedCoordf64::from(range.clone()).key_points(4)
    };
    Ticked { range, bold, light: Vec::new() }
}

/// Three digits, and no more zeros than needed.
fn number(value: f64) -> String {
    if value.abs() < 1e-12 {
        return "0".to_owned();
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    let text = if (0..=6).contains(&digits) { format!("{value:.*}", digits as usize) } else { format!("{value:.2e}") };
    let text = if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    text.replace('-', "−")
}

fn validate(axes: LineAxes<'_>, panels: &[LinePanel]) -> Result<()> {
    if panels.is_empty() {
        return Err(Error::config("panels", "at least one panel", "none"));
    }
    for LinePanel { title, lines } in panels {
        if lines.iter().all(|(_, points)| points.is_empty()) {
            return Err(Error::config("lines", "at least one point", format!("none in panel `{title}`")));
        }
        for (name, points) in lines {
            let told = |(x, y)| format!("({x:?}, {y:?}) on line `{name}` of panel `{title}`");
            if let Some(&point) = points.iter().find(|(x, y)| !x.is_finite() || !y.is_finite()) {
                return Err(Error::config("lines", format!("finite {} and {}", axes.x, axes.y), told(point)));
            }
            if let Some(&point) = points.iter().find(|(x, y)| x.abs().max(y.abs()) > FARTHEST) {
                return Err(Error::config(
                    "lines",
                    format!("{} and {} up to 1e300 either way", axes.x, axes.y),
                    told(point),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{number, ticked};

    #[test]
    fn logarithms_have_round_numbers() {
        let ticks: Vec<f64> = ticked(0.2..1.4, true).bold.iter().map(|tick| 10f64.powf(*tick).round()).collect();
        assert_eq!(ticks, [2.0, 5.0, 10.0, 20.0]);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (1.0, "1"), (0.25, "0.25"), (-0.5, "−0.5"), (1234.5, "1.23e3"), (31.47, "31.5")];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }
}
