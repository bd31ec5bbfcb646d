//! TAR against FAR.

use std::path::Path;

use plotters::prelude::*;

use super::axis::{Ticked, decades, percent};
use super::canvas::{self, Area, DrawResult, FAINT_GRID, GRID, INK, MUTED, PALETTE, bold, px, text, thousands};
use crate::{Error, Result};
use soft_lmccl_metrics::RocCurve;

const WIDTH: i32 = 800;
const PLOT_WIDTH: i32 = 600;
/// Between curves in the legend.
const LEGEND_PITCH: i32 = 38;
/// Solid, then dashed where there are more curves than colors.
const DASHES: [Option<i32>; 2] = [None, Some(6)];

/// One curve of a [`roc`] picture.
#[derive(Debug, Clone, PartialEq)]
pub struct RocSeries {
    /// Shown in the legend.
    pub name: String,
    /// `(FAR, TAR)`, from `(0, 0)` to `(1, 1)`, neither ever falling.
    pub points: Vec<(f64, f64)>,
    /// Matching pairs behind the curve.
    pub matching: u64,
    /// Non-matching pairs behind the curve; the axis starts at one pair.
    pub non_matching: u64,
}

impl RocSeries {
    /// The series of a curve.
    #[must_use]
    pub fn new(name: impl Into<String>, curve: &RocCurve) -> Self {
        let points = curve.points();
        let (matching, non_matching) = points.first().map_or((0, 0), |point| (point.matching, point.non_matching));
        let points = points.iter().map(|point| (point.far(), point.tar())).collect();
        Self { name: name.into(), points, matching, non_matching }
    }

    /// Area under the straight lines between the points: ties count one half.
    fn auc(&self) -> f64 {
        let area = |pair: &[(f64, f64)]| (pair[1].0 - pair[0].0) * (pair[1].1 + pair[0].1) / 2.0;
        self.points.windows(2).map(area).sum()
    }

    fn validate(&self) -> Result<()> {
        let wrong = |field, expected: &str, got: String| {
            let got = format!("{got} in series `{}`", self.name);
            Err(Error::config(field, expected, got))
        };
        if self.matching == 0 || self.non_matching == 0 {
            let got = format!("{} and {}", self.matching, self.non_matching);
            return wrong("matching, non_matching", "at least one pair of each kind", got);
        }
        let ends = (self.points.first(), self.points.last());
        if ends != (Some(&(0.0, 0.0)), Some(&(1.0, 1.0))) {
            let got = match ends {
                (Some(first), Some(last)) => format!("{first:?} to {last:?}"),
                _ => "no point".to_owned(),
            };
            return wrong("points", "a curve from (0, 0) to (1, 1)", got);
        }
        for (index, pair) in self.points.windows(2).enumerate() {
            // Written so that a NaN fails as well.
            let rises = pair[1].0 >= pair[0].0 && pair[1].1 >= pair[0].1;
            if !rises {
                let got = format!("{:?} after {:?} at point {}", pair[1], pair[0], index + 1);
                return wrong("points", "rates that never fall", got);
            }
        }
        Ok(())
    }

    /// The corners of the curve, without interpolation: at a FAR between two points, the TAR of the lower point
    /// holds. All that comes before one false accept is one level, drawn from `start` on.
    pub(super) fn steps(&self, start: f64) -> Vec<(f64, f64)> {
        let mut level = 0.0;
        let mut corners = Vec::with_capacity(2 * self.points.len());
        for &(far, tar) in &self.points {
            if far > start {
                if corners.is_empty() {
                    corners.push((start, level));
                }
                corners.push((far, level));
                corners.push((far, tar));
            }
            level = tar;
        }
        corners
    }
}

/// Draws TAR against FAR, the FAR axis logarithmic from one non-matching pair to all of them.
///
/// Curves are drawn as steps: nothing is interpolated between two attained FARs. Steps on the same spot of the page
/// are merged, so that a curve of a million points makes a small file. The legend gives each name with its area under
/// the curve.
///
/// # Errors
/// [`Error::Config`] if there is no series, or one is not a curve from `(0, 0)` to `(1, 1)`;
/// [`Error::Draw`] and [`Error::Io`] if the picture cannot be drawn or written.
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::PairScores;
/// use soft_lmccl_report::{RocSeries, roc};
///
/// let same = vec![true, true, false, true, false, false];
/// let curve = PairScores::new(vec![0.9, 0.8, 0.7, 0.6, 0.5, 0.4], same)?.roc();
/// let path = std::env::temp_dir().join("soft-lmccl-doc-roc.svg");
/// roc(&path, "Six pairs", &[RocSeries::new("cosine", &curve)])?;
///
/// let svg = std::fs::read_to_string(&path)?;
/// assert!(svg.contains("AUC 0.8889"));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn roc(path: impl AsRef<Path>, title: &str, series: &[RocSeries]) -> Result<()> {
    validate(series)?;
    canvas::save(path.as_ref(), title, (WIDTH, height(series.len(), LEGEND_PITCH)), &[], |area| {
        draw(area, title, series)
    })
}

/// The height that the legend needs, with a line for chance.
pub(super) fn height(curves: usize, pitch: i32) -> i32 {
    (110 + pitch * (curves as i32 + 1)).max(480)
}

fn draw(area: &Area<'_>, title: &str, series: &[RocSeries]) -> DrawResult {
    area.draw(&Text::new(title, (px(24), px(26)), bold(text(17, INK))))?;
    area.draw(&Text::new(pairs(series), (px(24), px(48)), text(12, MUTED)))?;

    // At least a decade, so that there is an axis.
    let start = series.iter().map(|s| 1.0 / s.non_matching as f64).fold(0.1, f64::min);
    let (plot, legend) = area.margin(px(62), px(10), px(20), 0).split_horizontally(px(PLOT_WIDTH));
    let first = start.log10();
    let x = decades(first);
    let tenths = |step: usize| (0..=10).step_by(step).map(|k| k as f64 / 10.0).collect::<Vec<_>>();
    let y = Ticked { range: 0.0..1.0, bold: tenths(2), light: tenths(1) };
    let mut chart = ChartBuilder::on(&plot)
        .margin_top(px(8))
        .margin_right(px(24))
        .x_label_area_size(px(42))
        .y_label_area_size(px(60))
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .axis_style(INK.stroke_width(4))
        .bold_line_style(GRID.stroke_width(3))
        .light_line_style(FAINT_GRID.stroke_width(3))
        .set_all_tick_mark_size(px(4))
        .label_style(text(12, INK))
        .axis_desc_style(text(13, INK))
        .x_desc("false accept rate (FAR)")
        .y_desc("true accept rate (TAR)")
        .x_label_formatter(&|x| percent(10f64.powf(*x)))
        .y_label_formatter(&|y| percent(*y))
        .draw()?;

    let width = chart.plotting_area().dim_in_pixel().0;
    let chance = (0..=200).map(|k| first * (1.0 - f64::from(k) / 200.0)).map(|x| (x, 10f64.powf(x)));
    chart.draw_series(DashedLineSeries::new(chance, px(3), px(4), MUTED.stroke_width(4)))?;
    for (index, one) in series.iter().enumerate() {
        let (color, dash) = look(index);
        let steps = one.steps(start).into_iter().map(|(far, tar)| (far.log10(), tar));
        let curve = thin(steps, |x| ((x - first) / -first * f64::from(width)).round() as i64);
        let style = color.stroke_width(8);
        match dash {
            None => chart.draw_series(LineSeries::new(curve, style))?,
            Some(dash) => chart.draw_series(DashedLineSeries::new(curve, px(dash), px(dash / 2), style))?,
        };
    }

    draw_legend(&legend, series, LEGEND_PITCH, "chance", |one| Some(format!("AUC {:.4}", one.auc())))
}

/// Each curve with its name, and its note if there is one; last the dashed line to compare with.
pub(super) fn draw_legend(
    legend: &Area<'_>,
    series: &[RocSeries],
    pitch: i32,
    reference: &str,
    note: impl Fn(&RocSeries) -> Option<String>,
) -> DrawResult {
    for (index, one) in series.iter().enumerate() {
        let y = px(16 + pitch * index as i32);
        let (color, dash) = look(index);
        legend.draw(&PathElement::new([(0, y), (px(10), y)], color.stroke_width(10)))?;
        let rest = [(px(if dash.is_some() { 14 } else { 10 }), y), (px(24), y)];
        legend.draw(&PathElement::new(rest, color.stroke_width(10)))?;
        legend.draw(&Text::new(one.name.clone(), (px(32), y), text(13, INK)))?;
        if let Some(note) = note(one) {
            legend.draw(&Text::new(note, (px(32), y + px(17)), text(12, MUTED)))?;
        }
    }
    let y = px(16 + pitch * series.len() as i32);
    for k in 0..4 {
        let from = px(7) * k;
        legend.draw(&PathElement::new([(from, y), (from + px(3), y)], MUTED.stroke_width(4)))?;
    }
    legend.draw(&Text::new(reference.to_owned(), (px(32), y), text(13, MUTED)))
}

/// What every picture of curves requires.
pub(super) fn validate(series: &[RocSeries]) -> Result<()> {
    if series.is_empty() {
        let expected = "at least one curve".to_owned();
        return Err(Error::config("series", expected, "none"));
    }
    series.iter().try_for_each(RocSeries::validate)
}

pub(super) fn look(index: usize) -> (RGBColor, Option<i32>) {
    (PALETTE[index % PALETTE.len()], DASHES[index / PALETTE.len() % DASHES.len()])
}

/// The numbers of pairs behind the curves, if all curves agree.
pub(super) fn pairs(series: &[RocSeries]) -> String {
    let counts = |one: &RocSeries| (one.matching, one.non_matching);
    match series {
        [first, rest @ ..] if rest.iter().all(|one| counts(one) == counts(first)) => {
            format!("{} matching and {} non-matching pairs", thousands(first.matching), thousands(first.non_matching))
        }
        _ => "numbers of pairs differ from curve to curve".to_owned(),
    }
}

/// Keeps the first and the last corner in each column of the page. Both coordinates never fall, so the other corners
/// lie on the line between the two.
pub(super) fn thin(corners: impl Iterator<Item = (f64, f64)>, column: impl Fn(f64) -> i64) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    // Whether the last corner kept is the second of its column: a later one may replace it.
    let mut second = false;
    for corner in corners {
        let same_column = kept.last().is_some_and(|last| column(last.0) == column(corner.0));
        if same_column && second {
            kept.pop();
        }
        kept.push(corner);
        second = same_column;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(f64, f64)]) -> RocSeries {
        RocSeries { name: "a".to_owned(), points: points.to_vec(), matching: 2, non_matching: 4 }
    }

    #[test]
    fn steps_interpolate_nothing() {
        let curve = series(&[(0.0, 0.0), (0.0, 0.5), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)]);
        let expected = [(0.25, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0), (1.0, 1.0)];
        assert_eq!(curve.steps(0.25), expected);
        // (0.25 + 0) * 0.5 + 0.25 * 0.75 + 0.5
        approx::assert_relative_eq!(curve.auc(), 0.8125);
    }

    #[test]
    fn thinning_keeps_the_ends_of_each_column() {
        let corners: Vec<(f64, f64)> = (0..10_000).map(|k| (f64::from(k) / 1000.0, f64::from(k / 7))).collect();
        let column = |x: f64| x.round() as i64;
        let kept = thin(corners.iter().copied(), column);
        assert!(kept.len() <= 2 * 11, "{}", kept.len());
        for this in 0..=10 {
            let of = |all: &[(f64, f64)]| {
                let tar = all.iter().filter(|(x, _)| column(*x) == this).map(|(_, y)| *y);
                (tar.clone().fold(f64::INFINITY, f64::min), tar.fold(f64::NEG_INFINITY, f64::max))
            };
            assert_eq!(of(&kept), of(&corners), "column {this}");
        }
    }
}
