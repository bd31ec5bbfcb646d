//! Scores made comparable from sample to sample: adaptive symmetric normalization.

use rayon::prelude::*;

use crate::Error;
use crate::embeddings::{EmbeddingSet, dot};
use crate::pairs::PairScores;

/// How each sample scores against a cohort of others: mean and spread of its highest scores.
///
/// The cohort are samples of classes that are in no pair to be normalized, such as training data.
#[derive(Debug, Clone, PartialEq)]
pub struct CohortScores {
    /// Mean and standard deviation, of each sample.
    moments: Vec<(f64, f64)>,
}

impl CohortScores {
    /// Compares each sample of a set with all of a cohort and keeps the `top` highest cosines; 200 to 400 is usual.
    ///
    /// Takes the time of all cosines between the two; holds 16 bytes a sample.
    ///
    /// # Errors
    /// [`Error::Dimension`] if they differ in dimension; [`Error::Config`] if `top` is not from 2 to the size of the
    /// cohort, or a sample scores the same against all of its highest, which leaves no unit to measure by.
    ///
    /// # References
    /// S. Cumani et al., *Comparison of speaker recognition approaches for real applications*, Interspeech 2011;
    /// P. Matějka et al., *Analysis of score normalization in multilingual speaker recognition*, Interspeech 2017.
    pub fn of(set: &EmbeddingSet, cohort: &EmbeddingSet, top: usize) -> Result<Self, Error> {
        if set.dim() != cohort.dim() {
            return Err(Error::Dimension { left: set.dim(), right: cohort.dim() });
        }
        if top < 2 || top > cohort.len() {
            return Err(Error::config("top", format!("from 2 to {}, the size of the cohort", cohort.len()), top));
        }
        let of_row = |row: usize| {
            let score = |other: usize| f64::from(dot(set.row(row), cohort.row(other)));
            let mut scores: Vec<f64> = (0..cohort.len()).map(score).collect();
            if top < scores.len() {
                scores.select_nth_unstable_by(top, |a, b| b.total_cmp(a));
            }
            scores.truncate(top);
            // Their order is that of the selection; sorted, the sums are the same for any order of the cohort.
            scores.sort_unstable_by(f64::total_cmp);
            let mean = scores.iter().sum::<f64>() / top as f64;
            let spread = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / top as f64).sqrt();
            if spread > 0.0 {
                return Ok((mean, spread));
            }
            let expected = format!("highest cohort scores of sample {row} that differ");
            Err(Error::config("cohort", expected, format!("{top} of {mean}")))
        };
        Ok(Self { moments: (0..set.len()).into_par_iter().map(of_row).collect::<Result<_, _>>()? })
    }
}

impl PairScores {
    /// AS-norm: each score in units of what both of its samples score against a cohort.
    ///
    /// # Formula
    /// ```text
    /// s' = ½·((s − mean[i]) / std[i] + (s − mean[j]) / std[j])
    /// ```
    /// with the mean and the standard deviation of the highest cohort scores of samples `i` and `j`.
    ///
    /// * `pairs`: the two samples of each score, as [`EmbeddingSet::pairs`] gives them
    ///
    /// # Errors
    /// [`Error::Length`] if there are not as many pairs as scores; [`Error::Config`] for a sample of which there are no
    /// cohort scores.
    ///
    /// # Examples
    /// ```
    /// use ndarray::array;
    /// use soft_lmccl_metrics::{CohortScores, EmbeddingSet, PairProtocol};
    ///
    /// let set = EmbeddingSet::new(array![[1.0f32, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]].view(), &[0, 0, 1, 1])?;
    /// let cohort = EmbeddingSet::new(array![[1.0f32, 0.2], [1.0, -0.5], [-1.0, 0.3]].view(), &[7, 8, 9])?;
    /// let scores = set.pair_scores(PairProtocol::All)?;
    /// let normalized = scores.as_norm(&set.pairs(PairProtocol::All)?, &CohortScores::of(&set, &cohort, 2)?)?;
    /// assert_eq!(normalized.same(), scores.same());
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    pub fn as_norm(&self, pairs: &[(usize, usize)], cohort: &CohortScores) -> Result<Self, Error> {
        if pairs.len() != self.scores().len() {
            return Err(Error::Length { scores: self.scores().len(), labels: pairs.len() });
        }
        let samples = cohort.moments.len();
        let normalize = |(&score, &(i, j)): (&f64, &(usize, usize))| {
            let unit = |sample: usize| {
                let (mean, spread) = cohort.moments.get(sample).ok_or_else(|| {
                    Error::config("pairs", format!("samples below {samples}, of which there are cohort scores"), sample)
                })?;
                Ok::<_, Error>((score - mean) / spread)
            };
            Ok((unit(i)? + unit(j)?) / 2.0)
        };
        let scores = self.scores().iter().zip(pairs).map(normalize).collect::<Result<_, Error>>()?;
        Self::new(scores, self.same().to_vec())
    }
}
