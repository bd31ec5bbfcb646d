//! How well do embeddings tell classes apart that no network was trained on? All figures, over all pairs.
//!
//! The embeddings come from wherever you have them: here they are made up, 40 of each of 25 classes. The same figures
//! from files, without a line of Rust: `soft-lmccl verify E.npy L.npy`. It prints
//!
//! ```text
//! 499500 pairs of 1000 embeddings
//! AUC 0.9827 (0.9725 to 0.9892), EER 0.0682 (0.0537 to 0.0863)
//! TAR 0.7421 at a FAR of 0.01 (0.6540 to 0.8142)
//! TAR 0.4428 at a FAR of 0.001 (0.3482 to 0.5416)
//! threshold for a FAR of 0.001: a cosine of 0.5127
//! two embeddings of the first class: cosine 0.4716, accepted: false
//! ```
//!
//! ```sh
//! cargo run --release --example verify
//! ```

use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use soft_lmccl::{
    Result,
    metrics::{EmbeddingSet, Interval, ReportOptions, ThresholdRule, VerificationReport, VerificationThreshold},
    verify::AllPairs,
};

const CLASSES: usize = 25;
const EACH: usize = 40;
const DIM: usize = 32;

/// A direction of its own for each class, and as much that has nothing to do with it.
fn embeddings() -> Result<EmbeddingSet> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // A sum of twelve numbers from 0 to 1 is nearly normal.
    let mut normal = move || (0..12).map(|_| rand::RngExt::random::<f32>(&mut rng)).sum::<f32>() - 6.0;
    let centers = Array2::from_shape_simple_fn((CLASSES, DIM), &mut normal);
    let class = |row: usize| row % CLASSES;
    let values = Array2::from_shape_fn((CLASSES * EACH, DIM), |(row, column)| centers[[class(row), column]] + normal());
    let labels: Vec<i64> = (0..CLASSES * EACH).map(|row| class(row) as i64).collect();
    // Scaled to length 1: the score of two embeddings is the cosine of their angle.
    Ok(EmbeddingSet::new(values.view(), &labels)?)
}

fn main() -> Result<()> {
    let set = embeddings()?;

    // One call: every figure with its interval. Pairs are counted tile by tile, so that memory does not grow with their
    // number: 100,000 embeddings are 5 billion. Rows and tensors that are not a set yet: `of_rows`, `of_tensors`.
    let options = ReportOptions { far_targets: vec![1e-2, 1e-3], ..Default::default() };
    let report = VerificationReport::of_set(&set, &options)?;
    println!("{} pairs of {} embeddings", report.pairs, report.embeddings);
    let within = |interval: Option<Interval>| {
        interval.map_or_else(String::new, |Interval { low, high, .. }| format!(" ({low:.4} to {high:.4})"))
    };
    println!(
        "AUC {:.4}{}, EER {:.4}{}",
        report.auc,
        within(report.auc_interval),
        report.eer,
        within(report.eer_interval)
    );
    for at in report.tar_at_far.iter().filter(|at| at.resolvable) {
        // A FAR that the pairs cannot resolve is said to be so, and is no figure.
        println!("TAR {:.4} at a FAR of {}{}", at.tar, at.target_far, within(at.interval));
    }

    // For use: a threshold, fitted on classes that are for that, kept as JSON (`save`, `load`).
    let counted = AllPairs::default().count(&set)?;
    let threshold = VerificationThreshold::fit_curve(&counted, ThresholdRule::AtFar { target_far: 1e-3 })?;
    println!("threshold for a FAR of 0.001: a cosine of {:.4}", threshold.value());
    let verdict = threshold.verify(set.row(0), set.row(CLASSES))?;
    println!("two embeddings of the first class: cosine {:.4}, accepted: {}", verdict.score, verdict.accepted);
    Ok(())
}
