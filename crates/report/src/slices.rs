//! What the network sees: a slice of each class, clean and noisy.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use plotters::prelude::*;

use super::canvas::{self, Area, DrawResult, GRID, INK, MUTED, Raster, bold, px, text};
use crate::{Error, Result};

const COLUMNS: i32 = 6;
const MARGIN: i32 = 24;
/// Height above the first group.
const HEAD: i32 = 66;
/// Side of a slice on the page.
const SIDE: i32 = 68;
/// Between the clean and the noisy slice.
const GAP: i32 = 3;
const CELL: (i32, i32) = (2 * SIDE + GAP + 18, SIDE + 32);
const GROUP_TITLE: i32 = 30;
/// The share of darkest and of brightest voxels that may saturate.
const SATURATED: f64 = 0.005;

/// One class of a [`slices`] picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SliceRow<'a> {
    /// The class.
    pub label: &'a str,
    /// The slice without noise, `side * side` values, line by line.
    pub clean: &'a [f32],
    /// The slice with noise.
    pub noisy: &'a [f32],
    /// Values in a line.
    pub side: usize,
}

/// Classes that belong together, such as the known ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SliceGroup<'a> {
    /// Shown above the classes.
    pub title: &'a str,
    /// At least one class.
    pub rows: &'a [SliceRow<'a>],
}

/// Draws each class as a pair of slices, clean on the left and noisy on the right, in groups.
///
/// `subtitle` says what the slices are: which cut, voxel size, SNR. With the edge of a voxel in Angstrom, a
/// bar of a round length stands beside it, at the scale of the first slice. Each slice has its own gray scale, from its 0.5th
/// to its 99.5th percentile; larger values are brighter. A slice of one value only is middle gray.
///
/// # Errors
/// [`Error::Config`] if there is no group or a group is empty, a slice has not `side * side` finite values, or the edge is not
/// positive; [`Error::Draw`] and [`Error::Io`] if the picture cannot be drawn or written.
///
/// # Examples
/// ```
/// use soft_lmccl_report::{SliceGroup, SliceRow, slices};
///
/// let clean = [0.0, 0.0, 1.0, 0.0];
/// let noisy = [0.3, -0.1, 1.2, 0.1];
/// let rows = [SliceRow { label: "1aon", clean: &clean, noisy: &noisy, side: 2 }];
/// let groups = [SliceGroup { title: "Known classes", rows: &rows }];
/// let path = std::env::temp_dir().join("soft-lmccl-doc-slices.svg");
/// slices(&path, "Subtomograms", "2 x 2 voxels of 10 Å", Some(10.0), &groups)?;
///
/// let svg = std::fs::read_to_string(&path)?;
/// assert_eq!(svg.matches("<image ").count(), 2);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn slices(
    path: impl AsRef<Path>,
    title: &str,
    subtitle: &str,
    voxel_size: Option<f64>,
    groups: &[SliceGroup<'_>],
) -> Result<()> {
    let path = path.as_ref();
    validate(groups)?;
    let bar = voxel_size.map(|voxel_size| scale_bar(voxel_size, groups[0].rows[0].side)).transpose()?;
    let mut rasters = Vec::new();
    let mut labels = Vec::new();
    let mut top = HEAD;
    for group in groups {
        labels.push((group.title, top, None));
        for (index, row) in (0i32..).zip(group.rows) {
            let x = MARGIN + index % COLUMNS * CELL.0;
            let y = top + GROUP_TITLE + index / COLUMNS * CELL.1;
            labels.push((row.label, y, Some(x)));
            for (slice, x) in [(row.clean, x), (row.noisy, x + SIDE + GAP)] {
                let png = encode(slice, row.side)
                    .map_err(|error| Error::Draw { path: path.to_owned(), problem: error.to_string() })?;
                rasters.push(Raster { at: [x, y + 16, SIDE, SIDE], png });
            }
        }
        let lines = (group.rows.len() as i32 + COLUMNS - 1) / COLUMNS;
        top += GROUP_TITLE + lines * CELL.1 + 6;
    }
    let width = 2 * MARGIN + COLUMNS * CELL.0 - (CELL.0 - 2 * SIDE - GAP);
    let draw = |area: &Area<'_>| -> DrawResult {
        area.draw(&Text::new(title, (px(MARGIN), px(26)), bold(text(17, INK))))?;
        area.draw(&Text::new(subtitle, (px(MARGIN), px(48)), text(12, MUTED)))?;
        if let Some((length, drawn)) = bar {
            let (right, y) = (px(width - MARGIN), px(40));
            area.draw(&PathElement::new([(right - drawn, y), (right, y)], INK.stroke_width(10)))?;
            let label = format!("{length} Å");
            let left = right - drawn - px(8 + 7 * label.chars().count() as i32);
            area.draw(&Text::new(label, (left, y), text(12, INK)))?;
        }
        for &(label, y, x) in &labels {
            match x {
                Some(x) => area.draw(&Text::new(label, (px(x), px(y + 7)), text(12, INK)))?,
                None => {
                    let y = px(y + 12);
                    area.draw(&Text::new(label, (px(MARGIN), y), bold(text(13, INK))))?;
                    let rule = [(px(MARGIN), y + px(12)), (px(width - MARGIN), y + px(12))];
                    area.draw(&PathElement::new(rule, GRID.stroke_width(4)))?;
                }
            }
        }
        Ok(())
    };
    canvas::save(path, title, (width, top + 8), &rasters, draw)
}

/// A round length in Angstrom of at most half a slice, and how long it is on the page.
fn scale_bar(voxel_size: f64, side: usize) -> Result<(f64, i32)> {
    if !(voxel_size > 0.0 && voxel_size.is_finite()) {
        return Err(Error::config("voxel_size", "a finite number > 0", voxel_size));
    }
    let edge = side as f64 * voxel_size;
    let decade = 10f64.powf((edge / 2.0).log10().floor());
    let length =
        [5.0, 2.0].map(|times| times * decade).into_iter().find(|length| *length <= edge / 2.0).unwrap_or(decade);
    Ok((length, (f64::from(px(SIDE)) * length / edge).round() as i32))
}

fn validate(groups: &[SliceGroup<'_>]) -> Result<()> {
    if groups.is_empty() {
        return Err(Error::config("groups", "at least one group", "none"));
    }
    for group in groups {
        if group.rows.is_empty() {
            let got = format!("none in group `{}`", group.title);
            return Err(Error::config("rows", "at least one class", got));
        }
        for row in group.rows {
            if row.side == 0 {
                return Err(Error::config("side", "at least 1", format!("0 for class `{}`", row.label)));
            }
            for (field, slice) in [("clean", row.clean), ("noisy", row.noisy)] {
                if row.side.checked_mul(row.side) != Some(slice.len()) {
                    let expected = format!("{0} x {0} values", row.side);
                    let got = format!("{} for class `{}`", slice.len(), row.label);
                    return Err(Error::config(field, expected, got));
                }
                if let Some(index) = slice.iter().position(|value| !value.is_finite()) {
                    let got = format!("{} at {index} for class `{}`", slice[index], row.label);
                    return Err(Error::config(field, "finite values", got));
                }
            }
        }
    }
    Ok(())
}

/// A gray PNG, base64.
fn encode(slice: &[f32], side: usize) -> Result<String, png::EncodingError> {
    let side = u32::try_from(side).map_err(std::io::Error::other)?;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&gray(slice))?;
    writer.finish()?;
    Ok(BASE64_STANDARD.encode(file))
}

fn gray(slice: &[f32]) -> Vec<u8> {
    let mut sorted = slice.to_vec();
    sorted.sort_by(f32::total_cmp);
    let last = sorted.len() - 1;
    let skipped = (SATURATED * last as f64).round() as usize;
    let (low, high) = (f64::from(sorted[skipped]), f64::from(sorted[last - skipped]));
    let level = |value: f32| {
        if high > low { (f64::from(value) - low) / (high - low) * 255.0 } else { 127.5 }
    };
    // The cast saturates values outside the range.
    slice.iter().map(|&value| level(value).round() as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_bar_is_round_and_half_a_slice_at_most() {
        for (voxel_size, side, length) in [(10.0, 32, 100.0), (10.0, 40, 200.0), (13.68, 80, 500.0), (1.0, 2, 1.0)] {
            let (found, drawn) = scale_bar(voxel_size, side).unwrap();
            approx::assert_relative_eq!(found, length);
            let share = length / (voxel_size * side as f64);
            assert!((f64::from(drawn) - share * f64::from(px(SIDE))).abs() <= 0.5, "{drawn}");
        }
        for voxel_size in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(scale_bar(voxel_size, 32).unwrap_err().to_string().starts_with("invalid `voxel_size`"));
        }
    }

    #[test]
    fn gray_spans_the_percentiles() {
        assert_eq!(gray(&[3.0, 3.0]), [128, 128]);
        assert_eq!(gray(&[-1.0, 1.0, 0.0]), [0, 255, 128]);
        // 401 values: two at either end are outside.
        let ramp: Vec<f32> = (0..=400).map(|k| k as f32).collect();
        let levels = gray(&ramp);
        assert_eq!((levels[0], levels[2], levels[398], levels[400]), (0, 0, 255, 255));
        assert_eq!(levels[200], 128);
    }
}
