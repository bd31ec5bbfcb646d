//! Rates at thresholds chosen on other pairs than the judged ones.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::pairs::{PairCounts, PairScores};
use super::{Stream, seeded};
use crate::roc::{descending, require_rate, tied};
use crate::{Error, OperatingPoint};

/// Accuracy over folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FoldedAccuracy {
    /// Mean accuracy.
    pub mean: f64,
    /// Population standard deviation over folds, as the paper prints it. (LFW prints the standard error of the mean:
    /// the same with `n − 1` for `n`, over `√n`.)
    pub std: f64,
}

/// True accept rate at a false accept rate, over folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FoldedTar {
    /// Mean TAR.
    pub mean: f64,
    /// Population standard deviation of the TAR over folds.
    pub std: f64,
    /// Mean FAR that the thresholds attain on the judged folds. The target binds only the other folds, so this FAR
    /// may pass it.
    pub far: f64,
}

/// The LFW protocol. Pairs are shuffled and dealt into folds of equal size, to within one pair. Each fold is judged
/// at the threshold chosen on all the others: always one of their scores, or `+∞`; ties go to the highest.
///
/// Folds are not stratified, as in the code of the paper's authors. The mixture of the two kinds varies a little from
/// fold to fold; a fold without one kind is an error.
impl PairScores {
    /// Verification accuracy; the threshold of each fold is the most accurate on the others.
    ///
    /// # Formula
    /// ```text
    /// mean = Σ a[f] / k        std = √(Σ (a[f] − mean)² / k)        a[f]: accuracy of fold f of k
    /// ```
    ///
    /// # Errors
    /// * [`Error::Folds`] if `folds` is below 2 or above the number of pairs
    /// * [`Error::FoldOneClass`] if a fold, or the rest beside it, lacks a kind of pair
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_metrics::PairScores;
    ///
    /// // Matching pairs above 0.5, the others below: every threshold that three folds choose
    /// // separates the fourth as well.
    /// let scores: Vec<f64> = (0..400).map(|i| f64::from(i) / 400.0).collect();
    /// let same = scores.iter().map(|&score| score >= 0.5).collect();
    /// let accuracy = PairScores::new(scores, same)?.cross_validated_accuracy(4, 1)?;
    /// assert!(accuracy.mean > 0.99);
    /// # Ok::<(), soft_lmccl_metrics::Error>(())
    /// ```
    ///
    /// # References
    /// G. B. Huang et al., *Labeled Faces in the Wild*, University of Massachusetts, Amherst, Technical
    /// Report 07-49, 2007, "View 2".
    pub fn cross_validated_accuracy(&self, folds: usize, seed: u64) -> Result<FoldedAccuracy, Error> {
        let judged = self.judge_folds(folds, seed, |best, next| next.correct() > best.correct())?;
        let (mean, std) = mean_and_std(judged.iter().map(OperatingPoint::accuracy));
        Ok(FoldedAccuracy { mean, std })
    }

    /// TAR at a FAR; the threshold of each fold is the lowest that keeps the target on the others.
    ///
    /// Read `far` beside `mean`. With 12,000 non-matching pairs in 10 folds a target of 0.0001 allows one false
    /// accept on the others, and the fold itself cannot resolve rates below 1/1,200.
    ///
    /// # Errors
    /// [`Error::Rate`] if `target_far` is NaN or outside `[0, 1]`, and as
    /// [`cross_validated_accuracy`](Self::cross_validated_accuracy).
    pub fn cross_validated_tar(&self, target_far: f64, folds: usize, seed: u64) -> Result<FoldedTar, Error> {
        require_rate("target_far", target_far)?;
        let judged = self.judge_folds(folds, seed, |_, next| next.far() <= target_far)?;
        let (mean, std) = mean_and_std(judged.iter().map(OperatingPoint::tar));
        let (far, _) = mean_and_std(judged.iter().map(OperatingPoint::far));
        Ok(FoldedTar { mean, std, far })
    }

    /// The counts of each fold at the threshold chosen on the others. From the highest threshold down, one that
    /// `prefer` prefers replaces the one held.
    fn judge_folds(
        &self,
        folds: usize,
        seed: u64,
        prefer: impl Fn(&OperatingPoint, &OperatingPoint) -> bool,
    ) -> Result<Vec<OperatingPoint>, Error> {
        let fold_of = deal(self.scores().len(), folds, seed)?;
        let parts = parts(self.same(), &fold_of, folds)?;
        // Sorted once, for all folds.
        let ranking = descending(self.iter().zip(fold_of).map(|((score, same), fold)| (score, (same, fold))).collect());
        let mut judged = Vec::with_capacity(folds);
        for (fold, (train, test)) in parts.into_iter().enumerate() {
            let mut on_train = OperatingPoint::nothing_accepted(train);
            let mut on_test = OperatingPoint::nothing_accepted(test);
            let mut chosen = (on_train, on_test);
            for tied in ranking.chunk_by(tied) {
                let mut is_threshold = false;
                for &(score, (same, member)) in tied {
                    if member == fold {
                        on_test.accept(score, same, 1);
                    } else {
                        on_train.accept(score, same, 1);
                        is_threshold = true;
                    }
                }
                // Only a score of the other folds can be a threshold: a step between two of them would look at the
                // judged fold.
                if is_threshold && prefer(&chosen.0, &on_train) {
                    chosen = (on_train, on_test);
                }
            }
            let (trained, tested) = chosen;
            judged.push(OperatingPoint { threshold: trained.threshold, ..tested });
        }
        Ok(judged)
    }
}

/// The fold of each pair: shuffled, then cut into `folds` runs of equal length to within one.
pub(super) fn deal(pairs: usize, folds: usize, seed: u64) -> Result<Vec<usize>, Error> {
    if folds < 2 || folds > pairs {
        return Err(Error::Folds { folds, pairs: pairs as u64 });
    }
    let mut fold_of: Vec<usize> = (0..pairs).map(|pair| pair % folds).collect();
    fold_of.shuffle(&mut seeded(seed, Stream::Folds));
    Ok(fold_of)
}

/// The pairs outside each fold, and inside it; both kinds must be in both.
pub(super) fn parts(same: &[bool], fold_of: &[usize], folds: usize) -> Result<Vec<(PairCounts, PairCounts)>, Error> {
    let mut inside = vec![PairCounts { matching: 0, non_matching: 0 }; folds];
    for (&fold, &same) in fold_of.iter().zip(same) {
        if same {
            inside[fold].matching += 1;
        } else {
            inside[fold].non_matching += 1;
        }
    }
    let matching: u64 = inside.iter().map(|fold| fold.matching).sum();
    let non_matching: u64 = inside.iter().map(|fold| fold.non_matching).sum();
    let with_rest = inside.iter().enumerate().map(|(fold, &test)| {
        let train = PairCounts { matching: matching - test.matching, non_matching: non_matching - test.non_matching };
        for (part, counts) in [("the test part of", test), ("the training part of", train)] {
            counts.require_both().map_err(|_| Error::FoldOneClass {
                part,
                fold: fold + 1,
                folds,
                matching: counts.matching,
                non_matching: counts.non_matching,
            })?;
        }
        Ok((train, test))
    });
    with_rest.collect()
}

pub(super) fn mean_and_std(values: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The protocol the long way: the curve of the other folds gives the threshold.
    fn judged_naively(
        pairs: &PairScores,
        folds: usize,
        seed: u64,
        threshold: impl Fn(&PairScores) -> f64,
    ) -> Vec<OperatingPoint> {
        let fold_of = deal(pairs.scores().len(), folds, seed).unwrap();
        let members = |keep: &dyn Fn(usize) -> bool| {
            let kept = pairs.iter().zip(&fold_of).filter(|(_, fold)| keep(**fold));
            let (scores, same) = kept.map(|(pair, _)| pair).unzip();
            PairScores::new(scores, same).unwrap()
        };
        (0..folds)
            .map(|fold| {
                let threshold = threshold(&members(&|other| other != fold));
                let test = members(&|own| own == fold);
                let mut point = OperatingPoint::nothing_accepted(test.counts());
                for (score, same) in test.iter().filter(|(score, _)| *score >= threshold) {
                    point.accept(score, same, 1);
                }
                OperatingPoint { threshold, ..point }
            })
            .collect()
    }

    /// Every second pair matches and folds are large, so that each has both kinds; few levels, many ties.
    fn pairs() -> impl Strategy<Value = PairScores> {
        prop::collection::vec(-6i32..=6, 60..90).prop_map(|levels| {
            let same: Vec<bool> = (0..levels.len()).map(|pair| pair % 2 == 0).collect();
            let lift = |(&level, &same): (&i32, &bool)| f64::from(level + 2 * i32::from(same));
            PairScores::new(levels.iter().zip(&same).map(lift).collect(), same).unwrap()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn folds_are_judged_as_the_protocol_says(pairs in pairs(), seed in any::<u64>(), target in 0.0..=1.0f64) {
            // A shuffle leaves a fold of twenty pairs or more with one kind once in ten million.
            let naive = judged_naively(&pairs, 3, seed, |train| train.roc().best_accuracy().threshold);
            let (mean, std) = mean_and_std(naive.iter().map(OperatingPoint::accuracy));
            prop_assert_eq!(pairs.cross_validated_accuracy(3, seed).unwrap(), FoldedAccuracy { mean, std });
            let accurate = pairs.judge_folds(3, seed, |best, next| next.correct() > best.correct()).unwrap();
            prop_assert_eq!(accurate, naive);
            let within = pairs.judge_folds(3, seed, |_, next| next.far() <= target).unwrap();
            let naive = judged_naively(&pairs, 3, seed, |train| train.roc().at_far(target).unwrap().point.threshold);
            prop_assert_eq!(within, naive);
        }

        #[test]
        fn folds_differ_by_at_most_one_pair(pairs in 2usize..60, folds in 2usize..60, seed in any::<u64>()) {
            prop_assume!(folds <= pairs);
            let fold_of = deal(pairs, folds, seed).unwrap();
            for fold in 0..folds {
                let size = fold_of.iter().filter(|&&own| own == fold).count();
                prop_assert!(size == pairs / folds || size == pairs.div_ceil(folds));
            }
        }
    }
}
