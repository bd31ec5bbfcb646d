//! Axes with ticks at chosen places.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// An axis with chosen ticks: `plotters` would choose its own.
pub(super) struct Ticked {
    pub range: Range<f64>,
    /// Labeled ticks.
    pub bold: Vec<f64>,
    pub light: Vec<f64>,
}

impl Ranged for Ticked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { self.light.clone() } else { self.bold.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// An axis of decimal logarithms from `first` to 0: a labeled line at each power of ten, light ones between.
pub(super) fn decades(first: f64) -> Ticked {
    // A power of ten that falls short of itself by rounding still gets its line.
    let bold = ((first - 1e-9).ceil() as i32..=0).map(|decade| f64::from(decade).max(first)).collect();
    let light = (first.floor() as i32..0)
        .flat_map(|decade| (2..10).map(move |k| f64::from(decade) + f64::from(k).log10()))
        .filter(|&tick| tick > first)
        .collect();
    Ticked { range: first..0.0, bold, light }
}

/// A rate at a tick, a power of ten or a tenth, with as many decimals as it needs.
pub(super) fn percent(rate: f64) -> String {
    if rate <= 0.0 {
        return "0 %".to_owned();
    }
    let percent = rate * 100.0;
    let decimals = (-(percent.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize;
    format!("{percent:.decimals$} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages() {
        let cases = [(1.0, "100 %"), (0.2, "20 %"), (0.01, "1 %"), (0.001, "0.1 %"), (1e-5, "0.001 %")];
        for (rate, expected) in cases {
            assert_eq!(percent(rate), expected);
        }
        assert_eq!(percent(0.0), "0 %");
    }
}
