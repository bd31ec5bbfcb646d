//! What the pictures have in common: units, type, colors, and the way to a file.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::{Error, Result};

/// Units of the drawing in a pixel of the page. `plotters` rounds to whole units; whole pixels would show in a
/// scatter of points.
const UNITS: i32 = 4;

pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const MUTED: RGBColor = RGBColor(0x66, 0x66, 0x66);
pub(super) const GRID: RGBColor = RGBColor(0xd4, 0xd4, 0xd4);
pub(super) const FAINT_GRID: RGBColor = RGBColor(0xee, 0xee, 0xee);

/// The colors on dark pages: they replace the colors above, black and white. The file holds them, so that the picture
/// looks the same alone as in a report.
const DARK: &str = "<style>@media (prefers-color-scheme:dark){\
    [fill=\"#FFFFFF\"]{fill:#16181c}[fill=\"#222222\"],[fill=\"#000000\"]{fill:#e4e4e4}[fill=\"#666666\"]{fill:#a0a4aa}\
    [stroke=\"#222222\"],[stroke=\"#000000\"]{stroke:#e4e4e4}[stroke=\"#666666\"]{stroke:#a0a4aa}\
    [stroke=\"#D4D4D4\"]{stroke:#4a4f57}[stroke=\"#EEEEEE\"]{stroke:#2a2e34}\
    [fill=\"#0072B2\"]{fill:#3b9fdd}[stroke=\"#0072B2\"]{stroke:#3b9fdd}}</style>";

/// The palette of Okabe and Ito without its yellow, which is lost on white.
pub(super) const PALETTE: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
];

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type DrawResult = std::result::Result<(), DrawingAreaErrorKind<io::Error>>;

/// Pixels in units of the drawing.
pub(super) const fn px(pixels: i32) -> i32 {
    pixels * UNITS
}

/// A raster put on the page as it is, PNG inside the SVG. `plotters` has no scaled bitmaps.
#[derive(Debug)]
pub(super) struct Raster {
    /// Left, top, width and height in pixels of the page.
    pub at: [i32; 4],
    /// A PNG file, base64.
    pub png: String,
}

/// Text of a height in pixels; anchored left and at its middle unless said otherwise.
pub(super) fn text(pixels: i32, color: RGBColor) -> TextStyle<'static> {
    // The SVG backend divides by this factor again.
    let size = f64::from(px(pixels)) * 1.24;
    let font = FontDesc::new(FontFamily::Name("Helvetica, Arial, sans-serif"), size, FontStyle::Normal);
    TextStyle { font, color: color.to_backend_color(), pos: Pos::new(HPos::Left, VPos::Center) }
}

pub(super) fn bold(style: TextStyle<'static>) -> TextStyle<'static> {
    TextStyle { font: style.font.style(FontStyle::Bold), ..style }
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Draws a picture of a size in pixels and writes it to `path`, all or nothing.
pub(super) fn save(
    path: &Path,
    title: &str,
    (width, height): (i32, i32),
    rasters: &[Raster],
    draw: impl FnOnce(&Area<'_>) -> DrawResult,
) -> Result<()> {
    let drawing_error = |problem: String| Error::Draw { path: path.to_owned(), problem };
    let mut drawn = String::new();
    {
        let size = (px(width).unsigned_abs(), px(height).unsigned_abs());
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        area.fill(&WHITE)
            .and_then(|()| draw(&area))
            .and_then(|()| area.present())
            .map_err(|error| drawing_error(error.to_string()))?;
    }
    let svg = dress(&drawn, title, (width, height), rasters)
        .ok_or_else(|| drawing_error("the drawing library wrote no SVG element".to_owned()))?;
    // A name may hold characters that XML does not allow.
    let svg = svg.replace(|c| !is_xml(c), "\u{fffd}");
    soft_lmccl_files::write(path, svg.as_bytes()).map_err(Error::io("write", path))
}

/// Whether XML 1.0 allows a character.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Gives the drawing its size on the page, a title for readers who cannot see it, and the rasters.
fn dress(drawn: &str, title: &str, (width, height): (i32, i32), rasters: &[Raster]) -> Option<String> {
    let (_, rest) = drawn.split_once("<svg")?;
    let (_, body) = rest.split_once('>')?;
    let (body, _) = body.rsplit_once("</svg>")?;
    let title = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\">\n<title>{title}</title>{DARK}",
        px(width),
        px(height)
    );
    svg.push_str(body);
    for Raster { at: [x, y, width, height], png } in rasters {
        writeln!(
            svg,
            "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" style=\"image-rendering:pixelated\" \
             href=\"data:image/png;base64,{png}\"/>",
            px(*x),
            px(*y),
            px(*width),
            px(*height)
        )
        .ok()?;
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (count, expected) in cases {
            assert_eq!(thousands(count), expected);
        }
    }
}
