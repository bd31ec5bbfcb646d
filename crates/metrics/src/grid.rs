//! The grid on which scores of pairs are compared: multiples of 2⁻²² from -1 to 1.

/// Steps of the grid from a score of 0 to a score of 1.
pub(crate) const STEPS: u32 = 1 << 22;
/// Keys of the grid: scores from -1 to 1, both included.
pub(crate) const KEYS: usize = 2 * STEPS as usize + 1;

/// Above 2²³ an `f32` holds integers only, so that adding this to a number of steps rounds it to the nearest
/// integer, ties to even, and leaves it in the low bits.
pub(crate) const ROUND: f32 = 12_582_912.0;
/// What a score of -1 is rounded to.
pub(crate) const LOWEST: u32 = (ROUND - STEPS as f32).to_bits();

/// The key of a score: its nearest step of the grid.
#[cfg(any(test, feature = "files"))]
pub(crate) fn key_of(score: f32) -> u32 {
    rounded(score.clamp(-1.0, 1.0)) - LOWEST
}

/// Scaling by a power of two is exact, so that only the sum is rounded. Scores off the grid come out below
/// [`LOWEST`] or above the last key.
#[inline]
pub(crate) fn rounded(score: f32) -> u32 {
    (score * STEPS as f32 + ROUND).to_bits()
}

/// The score that a key stands for, exactly.
pub(crate) fn score_of(key: usize) -> f64 {
    (key as f64 - f64::from(STEPS)) / f64::from(STEPS)
}

/// The lowest score that is rounded to this one of the grid.
pub(crate) fn lowest_rounded_to(score: f64) -> f64 {
    let key = (score + 1.0) * f64::from(STEPS);
    let half_a_step_below = score - 0.5 / f64::from(STEPS);
    if key <= 0.0 {
        f64::NEG_INFINITY // what lies below the grid is clamped
    } else if key % 2.0 > 0.0 {
        half_a_step_below.next_up() // a tie goes to the even key below
    } else {
        half_a_step_below
    }
}

/// The lowest score, before rounding, that a threshold on rounded ones accepts.
pub(crate) fn lowest_accepted(threshold: f64) -> f32 {
    let key = ((threshold + 1.0) * f64::from(STEPS)).ceil();
    if key >= KEYS as f64 {
        return f32::INFINITY;
    }
    let lowest = lowest_rounded_to(score_of(key.max(0.0) as usize));
    let nearest = lowest as f32;
    if f64::from(nearest) < lowest { nearest.next_up() } else { nearest }
}

/// Whether this is a score of the grid, exactly.
pub(crate) fn is_on_grid(score: f64) -> bool {
    (-1.0..=1.0).contains(&score) && (score * f64::from(STEPS)).fract().abs() <= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_nearest_steps() {
        let step = 1.0 / STEPS as f32;
        let cases = [
            (-1.0, 0),
            (-1.5, 0),
            (-1.0 + step, 1),
            (-0.0, STEPS),
            (0.0, STEPS),
            (0.5 * step, STEPS),
            (0.75 * step, STEPS + 1),
            (1.5 * step, STEPS + 2),
            (-0.75 * step, STEPS - 1),
            (1.0 - step / 4.0, 2 * STEPS),
            (1.0 - step, 2 * STEPS - 1),
            (1.0, 2 * STEPS),
            (1.0 + step, 2 * STEPS),
        ];
        for (score, key) in cases {
            assert_eq!(key_of(score), key, "{score}");
        }
    }

    #[test]
    fn what_is_rounded_to_a_score_begins_where_it_says() {
        for key in [1, 2, 3, STEPS - 1, STEPS, STEPS + 1, STEPS + STEPS / 2 + 7, 2 * STEPS - 1, 2 * STEPS] {
            let score = score_of(key as usize);
            assert!(is_on_grid(score) && !is_on_grid(score.next_down()));
            let lowest = lowest_rounded_to(score);
            // The nearest `f32` on either side.
            let near = lowest as f32;
            for candidate in [near.next_down().next_down(), near.next_down(), near, near.next_up()] {
                assert_eq!(key_of(candidate) >= key, f64::from(candidate) >= lowest, "{key} {candidate}");
            }
        }
        assert!(lowest_rounded_to(-1.0) < -1e9);
        assert!(!is_on_grid(1.5) && !is_on_grid(f64::NAN));
    }
}
