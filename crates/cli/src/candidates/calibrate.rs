//! How near is near enough, and how well that is known.

use serde::Serialize;
use statrs::distribution::{Beta, ContinuousCDF};

/// The confidence of intervals.
const LEVEL: f64 = 0.95;

/// A threshold by the scores of places that hold no particle.
///
/// # Formula
/// Accepted is what scores above the `(k + 1)`-th highest of `n` such scores. The rate of false positives is then a Beta
/// distribution with `k + 1` and `n − k`, whatever the scores' own distribution is, if candidates without a particle score as
/// these places do: on average `(k + 1)/(n + 1)`. `k` is the largest for which that is at most the rate asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Calibration {
    /// The rate asked for.
    pub rate_asked: f64,
    /// Accepted is what scores above this.
    pub threshold: f64,
    /// The rate of false positives to be expected.
    pub rate: f64,
    /// In which it lies at 95 %.
    pub interval: [f64; 2],
    /// Places that hold no particle.
    pub places: usize,
    /// Those among them that score above the threshold.
    pub above: usize,
    /// Whether there are enough of them for the rate.
    pub resolvable: bool,
}

impl Calibration {
    /// `scores` is not empty, `rate` within 0 and 1.
    pub fn of(scores: &[f64], rate: f64) -> Self {
        let count = scores.len();
        let mut falling = scores.to_vec();
        falling.sort_unstable_by(|a, b| b.total_cmp(a));
        // Binary cannot hold a rate such as 0.1: its product may lie just below a whole number.
        let wanted = (rate * (count + 1) as f64 + 1e-9).floor() as usize;
        let rank = wanted.clamp(1, count);
        let threshold = falling[rank - 1];
        let above = falling.iter().filter(|&&score| score > threshold).count();
        let beta = Beta::new(rank as f64, (count + 1 - rank) as f64).expect("both are 1 or more");
        Self {
            rate_asked: rate,
            threshold,
            rate: rank as f64 / (count + 1) as f64,
            interval: [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0].map(|at| beta.inverse_cdf(at)),
            places: count,
            above,
            resolvable: wanted >= 1,
        }
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        let [low, high] = self.interval.map(|rate| 100.0 * rate);
        let doubt = if self.resolvable {
            String::new()
        } else {
            format!("; {} places are too few for a rate of {}", self.places, self.rate_asked)
        };
        format!(
            "accepted above a score of {:.4}: {:.1} % false positives (95 %: {low:.1} to {high:.1} %), by {} places that hold no \
             particle{doubt}",
            self.threshold,
            100.0 * self.rate,
            self.places
        )
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::Calibration;

    #[test]
    fn the_rate_is_that_of_an_order_statistic() {
        let scores: Vec<f64> = (0..99).map(|i| f64::from(i * 37 % 99) / 100.0).collect();
        let found = Calibration::of(&scores, 0.05);
        // The fifth highest of 0 to 98 hundredths, which four pass: 5 of 100.
        assert_abs_diff_eq!(found.threshold, 0.94);
        assert_eq!((found.above, found.resolvable), (4, true));
        assert_abs_diff_eq!(found.rate, 0.05);
        // Where 4 or fewer of 99 have a chance of 2.5 and 97.5 %, by exact sums of binomial coefficients.
        assert_abs_diff_eq!(found.interval[0], 0.016_599_911, epsilon = 1e-8);
        assert_abs_diff_eq!(found.interval[1], 0.100_227_907, epsilon = 1e-8);
    }

    #[test]
    fn too_few_places_are_told() {
        let found = Calibration::of(&[0.1, 0.7, 0.3], 0.05);
        assert!(!found.resolvable && found.sentence().contains("too few for a rate of 0.05"), "{}", found.sentence());
        assert_abs_diff_eq!(found.threshold, 0.7);
        assert_abs_diff_eq!(found.rate, 0.25);
        // One minus the cube root of 0.025 is the most that three of three below allow.
        assert_abs_diff_eq!(found.interval[1], 1.0 - 0.025f64.cbrt(), epsilon = 1e-6);
    }

    /// The share of intervals that hold the true rate, for scores whose distribution is known.
    #[test]
    fn intervals_cover_the_rate() {
        let mut state = 7u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let covered = (0..2000).filter(|_| {
            let scores: Vec<f64> = (0..60).map(|_| uniform()).collect();
            let found = Calibration::of(&scores, 0.05);
            let rate = 1.0 - found.threshold;
            (found.interval[0]..=found.interval[1]).contains(&rate)
        });
        // Five standard errors of 95 % of 2,000.
        let share = covered.count() as f64 / 2000.0;
        assert!((share - 0.95).abs() < 0.025, "{share}");
    }
}
