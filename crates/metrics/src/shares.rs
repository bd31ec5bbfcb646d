//! A jackknife over classes: what their sizes alone say of it, and the interval of a share.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::Error;
use crate::confidence::{Interval, require_level, score_interval};
use crate::intervals::ClassEstimate;

/// How much each class weighs among pairs of one kind, and what follows from that alone.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Pairs in all.
    pub(crate) pairs: f64,
    /// `1/(1 − share)` of each class.
    pub(crate) leave_out: Vec<f64>,
    pub(crate) correction: f64,
    pub(crate) degrees_of_freedom: f64,
    /// Classes with a pair.
    pub(crate) classes: usize,
}

impl Shares {
    /// Each pair is of one class.
    pub(crate) fn of_one(pairs: &[u64]) -> Self {
        let all: f64 = pairs.iter().sum::<u64>() as f64;
        let shares: Vec<f64> = pairs.iter().map(|&pairs| pairs as f64 / all).collect();
        let (correction, degrees_of_freedom) = leave_one_out(&shares);
        let leave_out = shares.iter().map(|share| 1.0 / (1.0 - share)).collect();
        Self { pairs: all, leave_out, correction, degrees_of_freedom, classes: with_pairs(pairs) }
    }

    /// Each pair is of two classes, so that each takes half of its pairs.
    pub(crate) fn of_two(pairs: &[u64]) -> Self {
        let all: f64 = pairs.iter().sum::<u64>() as f64 / 2.0;
        let shares: Vec<f64> = pairs.iter().map(|&pairs| pairs as f64 / all / 2.0).collect();
        let (_, degrees_of_freedom) = leave_one_out(&shares);
        let leave_out = shares.iter().map(|share| 1.0 / (1.0 - 2.0 * share)).collect();
        let classes = with_pairs(pairs);
        let c = classes as f64;
        let correction = (c - 1.0) * (c - 2.0) / (c * (c - 3.0));
        Self { pairs: all, leave_out, correction, degrees_of_freedom, classes }
    }

    /// What leaving a class out does, corrected: `√c/(1 − share)`.
    pub(crate) fn leaving_out(&self, class: usize) -> f64 {
        self.correction.sqrt() * self.leave_out[class]
    }
}

/// The share of trials that are accepted, where trials of one class are not independent: `(accepted, all)` of each class.
///
/// # Errors
/// [`Error::Config`] if fewer than two classes have trials, or `level` is not strictly between 0 and 1.
pub(crate) fn share_by_class(classes: &[(u64, u64)], level: f64) -> Result<ClassEstimate, Error> {
    require_level(level)?;
    let all: Vec<u64> = classes.iter().map(|&(_, all)| all).collect();
    let shares = Shares::of_one(&all);
    if shares.classes < 2 {
        return Err(Error::config("classes", "at least 2 with trials", shares.classes));
    }
    let value = classes.iter().map(|&(accepted, _)| accepted).sum::<u64>() as f64 / shares.pairs;
    let moved = classes.iter().enumerate().map(|(class, &(accepted, all))| {
        shares.leaving_out(class) * (accepted as f64 - value * all as f64) / shares.pairs
    });
    let trials =
        trials(value, moved.map(|moved| moved * moved).sum()).unwrap_or(shares.classes as f64).min(shares.pairs);
    interval(value, trials, shares.degrees_of_freedom, level)
}

/// `None` where nothing varies.
pub(crate) fn trials(value: f64, variance: f64) -> Option<f64> {
    let trials = value * (1.0 - value) / variance;
    (trials.is_finite() && trials > 0.0).then_some(trials)
}

/// Wilson's form with Student's t.
pub(crate) fn interval(value: f64, trials: f64, degrees_of_freedom: f64, level: f64) -> Result<ClassEstimate, Error> {
    let t = StudentsT::new(0.0, 1.0, degrees_of_freedom)
        .map_err(|problem| Error::config("counts", "classes that leave a degree of freedom", problem))?;
    let (low, high) = score_interval(value, trials, t.inverse_cdf(0.5 + level / 2.0));
    Ok(ClassEstimate { value, interval: Interval { low, high, level }, trials, degrees_of_freedom })
}

fn with_pairs(pairs: &[u64]) -> usize {
    pairs.iter().filter(|&&pairs| pairs > 0).count()
}

/// What corrects the jackknife's variance of a weighted mean over classes, and its degrees of freedom, where the classes
/// are independent and each varies in proportion to its weight.
///
/// ```text
/// e = (I − w·1ᵀ)·ε, V = Σ e[i]²/(1 − w[i])², Var ε[i] = x[i] = w[i]²
/// c = Σx / E V            df = 2·(E V)² / Var V
/// ```
fn leave_one_out(weights: &[f64]) -> (f64, f64) {
    let all: f64 = weights.iter().map(|w| w * w).sum();
    let (mut mean, mut squares) = (0.0, 0.0);
    let (mut yy, mut ww, mut wy) = (0.0, 0.0, 0.0);
    for &w in weights {
        let factor = 1.0 / (1.0 - w).powi(2);
        let (x, y) = (w * w, w * w - w * all / 2.0);
        mean += factor * (x - 2.0 * w * y);
        // Cov(e[i], e[j]) is −(w[j]·y[i] + w[i]·y[j]), and x[i] more where i = j.
        yy += factor * y * y;
        ww += factor * w * w;
        wy += factor * w * y;
        squares += factor * factor * x * (x - 4.0 * w * y);
    }
    squares += 2.0 * yy * ww + 2.0 * wy * wy;
    (all / mean, mean * mean / squares)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    /// Relative; sums of a few dozen terms.
    const REL: f64 = 1e-10;

    #[test]
    fn equal_classes_have_the_plain_correction_and_one_degree_of_freedom_less() {
        for classes in [2, 6, 25] {
            let c = classes as f64;
            let (correction, degrees_of_freedom) = leave_one_out(&vec![1.0 / c; classes]);
            assert_relative_eq!(correction, (c - 1.0) / c, max_relative = REL);
            assert_relative_eq!(degrees_of_freedom, c - 1.0, max_relative = REL);
        }
    }

    /// By the matrices of the quadratic form.
    #[test]
    fn unequal_classes_are_those_of_the_quadratic_form() {
        let weights = [0.4, 0.25, 0.2, 0.1, 0.05];
        let n = weights.len();
        let delta = |a: usize, b: usize| f64::from(u8::from(a == b));
        let covariance = |i: usize, j: usize| -> f64 {
            let of = |e: usize, k: usize| delta(e, k) - weights[e];
            (0..n).map(|k| of(i, k) * of(j, k) * weights[k].powi(2)).sum()
        };
        let factor = |i: usize| (1.0 - weights[i]).powi(-2);
        let mean: f64 = (0..n).map(|i| factor(i) * covariance(i, i)).sum();
        let squares: f64 = (0..n)
            .flat_map(|i| (0..n).map(move |j| (i, j)))
            .map(|(i, j)| factor(i) * factor(j) * covariance(i, j).powi(2))
            .sum();
        let (correction, degrees_of_freedom) = leave_one_out(&weights);
        assert_relative_eq!(correction, weights.iter().map(|w| w * w).sum::<f64>() / mean, max_relative = REL);
        assert_relative_eq!(degrees_of_freedom, mean * mean / squares, max_relative = REL);
        assert!(degrees_of_freedom > 1.0 && degrees_of_freedom < 3.5, "{degrees_of_freedom}");
    }

    /// Where one class is nearly all, there is one number to tell how it varies.
    #[test]
    fn one_class_that_outweighs_the_rest_leaves_one_degree_of_freedom() {
        let mut weights = vec![0.001; 21];
        weights[0] = 0.98;
        let (correction, degrees_of_freedom) = leave_one_out(&weights);
        assert!((degrees_of_freedom - 1.0).abs() < 0.01, "{degrees_of_freedom}");
        assert!(correction > 0.4 && correction <= 1.0, "{correction}");
    }
}
