//! What a loss evaluates to: weighted, named, still differentiable terms.

use std::{
    collections::HashMap,
    fmt,
    ops::{Add, Mul},
};

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::Result;

/// The weighted, named, still differentiable terms of one evaluation.
///
/// # Examples
/// ```
/// # use soft_lmccl::{loss::LossTerms, tch::Tensor};
/// # fn main() -> soft_lmccl::Result<()> {
/// let terms = LossTerms::single("lmcl", Tensor::from(4.0)) + 0.5 * LossTerms::single("center", Tensor::from(2.0));
/// assert_eq!(terms.report()?.to_string(), "5.000 = lmcl 4.000 + 0.5·center 2.000");
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "back-propagate `.total()`"]
pub struct LossTerms {
    terms: Vec<Term>,
}

/// One scalar term; `value` is before weighting, so that reports of different λ compare.
#[derive(Debug)]
pub struct Term {
    /// Stable name, for instance `"lmcl"`; the key in reports and logs.
    pub name: &'static str,
    /// Product of every scale applied to the term.
    pub weight: f64,
    /// Unweighted scalar, attached to the graph.
    pub value: Tensor,
}

impl LossTerms {
    /// One term of weight 1.
    pub fn single(name: &'static str, value: Tensor) -> Self {
        Self { terms: vec![Term { name, weight: 1.0, value }] }
    }

    /// `Σ weight·value`, the tensor to call `backward()` on.
    pub fn total(&self) -> Tensor {
        // `single` is the only way in, so there is a first term.
        let mut weighted = self.terms.iter().map(|term| match term.weight {
            1.0 => term.value.shallow_clone(),
            weight => &term.value * weight,
        });
        let first = weighted.next().expect("a loss has at least one term");
        weighted.fold(first, |sum, term| sum + term)
    }

    /// The unweighted value of a term.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.iter().find(|term| term.name == name).map(|term| &term.value)
    }

    /// The terms, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Term> {
        self.terms.iter()
    }

    /// Plain numbers for logging: detached, one device synchronization for all terms. Of several terms of one name the
    /// second is called `name_2`, and so on.
    ///
    /// # Errors
    /// [`Error::Torch`](crate::Error::Torch) if the device reports a failure.
    pub fn report(&self) -> Result<LossReport> {
        let values: Vec<_> = self.terms.iter().map(|term| term.value.detach().to_kind(Kind::Double)).collect();
        let values = Vec::<f64>::try_from(Tensor::f_stack(&values, 0)?)?;
        let mut met = HashMap::<&str, usize>::new();
        let reported = |(&Term { name, weight, .. }, value): (&Term, f64)| {
            // Two heads of one kind have names of their own: `lmcl`, `lmcl_2`.
            let count = met.entry(name).and_modify(|count| *count += 1).or_insert(1);
            let name = if *count == 1 { name.to_owned() } else { format!("{name}_{count}") };
            TermReport { name, weight, value }
        };
        let terms: Vec<_> = self.terms.iter().zip(values).map(reported).collect();
        let total = terms.iter().map(|term| term.weight * term.value).sum();
        Ok(LossReport { total, terms })
    }
}

impl Add for LossTerms {
    type Output = Self;

    fn add(mut self, rhs: Self) -> Self {
        self.terms.extend(rhs.terms);
        self
    }
}

impl Mul<LossTerms> for f64 {
    type Output = LossTerms;

    fn mul(self, mut terms: LossTerms) -> LossTerms {
        for term in &mut terms.terms {
            term.weight *= self;
        }
        terms
    }
}

/// Host-side copy of a [`LossTerms`]; displays as `7.031 = lmcl 4.007 + 0.1·center 1.973 + softmax 2.827`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LossReport {
    /// `Σ weight·value`.
    pub total: f64,
    /// In the order in which they were added.
    pub terms: Vec<TermReport>,
}

impl LossReport {
    /// The mean of reports of the same terms; `None` of none.
    pub(crate) fn mean(reports: Vec<Self>) -> Option<Self> {
        let count = reports.len() as f64;
        let mut reports = reports.into_iter();
        let mut mean = reports.next()?;
        if count > 1.0 {
            for report in reports {
                mean.total += report.total;
                for (sum, term) in mean.terms.iter_mut().zip(report.terms) {
                    sum.value += term.value;
                }
            }
            mean.total /= count;
            mean.terms.iter_mut().for_each(|term| term.value /= count);
        }
        Some(mean)
    }
}

/// Host-side copy of a [`Term`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TermReport {
    /// Stable name, for instance `"lmcl"`.
    pub name: String,
    /// Product of every scale applied to the term.
    pub weight: f64,
    /// Before weighting.
    pub value: f64,
}

/// A weight as people read it: that of a warm-up or of `1.0 / 3.0` has sixteen digits.
fn three_digits(weight: f64) -> f64 {
    format!("{weight:.2e}").parse().unwrap_or(weight)
}

impl fmt::Display for LossReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} =", self.total)?;
        for (index, TermReport { name, weight, value }) in self.terms.iter().enumerate() {
            let plus = if index == 0 { "" } else { " +" };
            match *weight {
                1.0 => write!(f, "{plus} {name} {value:.3}")?,
                weight => write!(f, "{plus} {}·{name} {value:.3}", three_digits(weight))?,
            }
        }
        Ok(())
    }
}
