//! Axes with ticks at chosen places.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use soft_lmccl_metrics::normal_deviate;

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

/// Rates with a line on an axis of normal deviates, from few to many.
const RATES: [f64; 12] = [1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8];

/// An axis of normal deviates from that of `first`, a rate, to that of nine tenths.
pub(super) fn deviates(first: f64) -> Ticked {
    let range = normal_deviate(first)..normal_deviate(0.9);
    let bold: Vec<f64> = RATES.map(normal_deviate).into_iter().filter(|tick| range.contains(tick)).collect();
    let light = [2e-3, 5e-3, 0.02, 0.1, 0.3, 0.4, 0.6, 0.7].map(normal_deviate);
    Ticked { light: light.into_iter().filter(|tick| range.contains(tick)).collect(), range, bold }
}

/// The rate at a labeled tick of [`deviates`].
pub(super) fn rate_at(tick: f64) -> String {
    let far = |rate: &f64| (normal_deviate(*rate) - tick).abs();
    let nearest = RATES.into_iter().min_by(|a, b| far(a).total_cmp(&far(b)));
    percent(nearest.expect("there are rates"))
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
