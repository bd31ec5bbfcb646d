//! FRR against FAR, both on axes of normal deviates.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use soft_lmccl_metrics::normal_deviate;

use super::axis::{deviates, rate_at};
use super::canvas::{self, Area, DrawResult, FAINT_GRID, GRID, INK, MUTED, bold, px, text};
use super::roc::{RocSeries, draw_legend, height, look, pairs, thin, validate};
use crate::Result;

const WIDTH: i32 = 800;
const PLOT_WIDTH: i32 = 600;
/// Between curves in the legend.
const LEGEND_PITCH: i32 = 28;

/// Draws FRR against FAR (detection error tradeoff) on axes of normal deviates, as ISO/IEC 19795 does, from one pair to nine
/// tenths: scores that are normal make straight lines.
///
/// Lower and farther left is better. Errors that a ROC curve shows as one corner lie decades apart.
///
/// Steps are drawn as they are. An FRR of 0 has no place on the axis: the line ends at the last point above it.
///
/// # Errors
/// As [`roc`](super::roc()).
///
/// # Examples
/// ```
/// use soft_lmccl_metrics::PairScores;
/// use soft_lmccl_report::{RocSeries, det};
///
/// let same = vec![true, true, false, true, false, false];
/// let curve = PairScores::new(vec![0.9, 0.8, 0.7, 0.6, 0.5, 0.4], same)?.roc();
/// let path = std::env::temp_dir().join("soft-lmccl-doc-det.svg");
/// det(&path, "Six pairs", &[RocSeries::new("cosine", &curve)])?;
///
/// assert!(std::fs::read_to_string(&path)?.contains("false reject rate (FRR)"));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn det(path: impl AsRef<Path>, title: &str, series: &[RocSeries]) -> Result<()> {
    validate(series)?;
    canvas::save(path.as_ref(), title, (WIDTH, height(series.len(), LEGEND_PITCH)), &[], |area| {
        draw(area, title, series)
    })
}

fn draw(area: &Area<'_>, title: &str, series: &[RocSeries]) -> DrawResult {
    area.draw(&Text::new(title, (px(24), px(26)), bold(text(17, INK))))?;
    area.draw(&Text::new(pairs(series), (px(24), px(48)), text(12, MUTED)))?;

    // At least a decade, so that there is an axis.
    let start = series.iter().map(|s| 1.0 / s.non_matching as f64).fold(0.1, f64::min);
    let least = series.iter().map(|s| 1.0 / s.matching as f64).fold(0.1, f64::min);
    let (plot, legend) = area.margin(px(62), px(10), px(20), 0).split_horizontally(px(PLOT_WIDTH));
    let (across, up) = (deviates(start), deviates(least));
    let (across_range, up_range) = (across.range.clone(), up.range.clone());
    let mut chart = ChartBuilder::on(&plot)
        .margin_top(px(8))
        .margin_right(px(24))
        .x_label_area_size(px(42))
        .y_label_area_size(px(60))
        .build_cartesian_2d(across, up)?;
    chart
        .configure_mesh()
        .axis_style(INK.stroke_width(4))
        .bold_line_style(GRID.stroke_width(3))
        .light_line_style(FAINT_GRID.stroke_width(3))
        .set_all_tick_mark_size(px(4))
        .label_style(text(12, INK))
        .axis_desc_style(text(13, INK))
        .x_desc("false accept rate (FAR)")
        .y_desc("false reject rate (FRR)")
        .x_label_formatter(&|x| rate_at(*x))
        .y_label_formatter(&|y| rate_at(*y))
        .draw()?;

    let width = chart.plotting_area().dim_in_pixel().0;
    for (index, one) in series.iter().enumerate() {
        let (color, dash) = look(index);
        // `thin` needs rising coordinates: TAR rises with FAR, FRR falls.
        let place = |rate: f64, range: &Range<f64>| normal_deviate(rate).clamp(range.start, range.end);
        let steps = one.steps(start).into_iter().map(|(far, tar)| (place(far, &across_range), tar));
        let length = across_range.end - across_range.start;
        let thinned = thin(steps, |x| ((x - across_range.start) / length * f64::from(width)).round() as i64);
        let rejecting = thinned.into_iter().map(|(x, tar)| (x, 1.0 - tar)).filter(|(_, frr)| *frr >= least / 2.0);
        let curve: Vec<_> = rejecting.map(|(x, frr)| (x, place(frr, &up_range))).collect();
        let style = color.stroke_width(8);
        match dash {
            None => chart.draw_series(LineSeries::new(curve, style))?,
            Some(dash) => chart.draw_series(DashedLineSeries::new(curve, px(dash), px(dash / 2), style))?,
        };
    }
    let (from, to) = (across_range.start.max(up_range.start), across_range.end);
    let equal = (0..=100).map(|k| from + (to - from) * f64::from(k) / 100.0).map(|x| (x, x));
    chart.draw_series(DashedLineSeries::new(equal, px(3), px(4), MUTED.stroke_width(4)))?;

    draw_legend(&legend, series, LEGEND_PITCH, "equal errors", |_| None)
}
