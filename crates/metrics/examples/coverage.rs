//! How often intervals hold the truth: the table in the documentation of `Intervals`.
//!
//! Classes of random spread are drawn anew 2,000 times, embedded, and counted; the truth of each figure is its mean over
//! as many other draws. Takes some minutes:
//!
//! ```sh
//! cargo run --release --package soft-lmccl-metrics --example coverage
//! ```

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use soft_lmccl_metrics::{
    ClassCounts, ClassEstimate, EerMethod, EmbeddingSet, Error, Intervals, PairProtocol, ndarray::Array2,
};

const SETS: u64 = 2_000;
const LEVEL: f64 = 0.9;
const THRESHOLD: f64 = 0.6;
const DIM: usize = 6;
const FIGURES: [&str; 5] = ["TAR", "FAR", "TAR at FAR 5 %", "EER", "AUC"];

fn main() -> Result<(), Error> {
    let large = |classes: usize| [vec![40], vec![4; classes - 1]].concat();
    let rows = [
        ("6 classes", vec![4; 6], 0.0),
        ("12", vec![4; 12], 0.0),
        ("25", vec![4; 25], 0.0),
        ("60", vec![4; 60], 0.0),
        ("200", vec![4; 200], 0.0),
        ("12 of 2 to 10 each", vec![2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10], 0.0),
        ("25, one of 40", large(25), 0.0),
        ("60, one of 40", large(60), 0.0),
        ("12, some near to all", vec![4; 12], 1.5),
        ("60, some near to all", vec![4; 60], 1.5),
    ];
    println!("| classes | {} |", FIGURES.join(" | "));
    println!("|---|{}", "---|".repeat(FIGURES.len()));
    for (name, sizes, lean) in rows {
        let draw = |seed: u64| figures(&sizes, lean, seed);
        let known = (SETS..2 * SETS).into_par_iter().map(draw).collect::<Result<Vec<_>, _>>()?;
        let found = (0..SETS).into_par_iter().map(draw).collect::<Result<Vec<_>, _>>()?;
        let cells: Vec<String> = (0..FIGURES.len())
            .map(|figure| {
                let mut values: Vec<f64> = known.iter().map(|figures| figures[figure].value).collect();
                values.sort_by(f64::total_cmp);
                let truth = values.iter().sum::<f64>() / values.len() as f64;
                let needed = values[values.len() * 19 / 20] - values[values.len() / 20];
                let (mut held, mut width) = (0.0, 0.0);
                for ClassEstimate { interval, .. } in found.iter().map(|figures| figures[figure]) {
                    held += f64::from(u8::from(interval.contains(truth))) / SETS as f64;
                    width += (interval.high - interval.low) / needed / SETS as f64;
                }
                format!("{held:.2}, {width:.2}×")
            })
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    Ok(())
}

/// The figures of one draw, in the order of [`FIGURES`].
fn figures(sizes: &[usize], lean: f64, seed: u64) -> Result<[ClassEstimate; 5], Error> {
    let set = population(sizes, lean, seed)?;
    let roc = set.pair_scores(PairProtocol::All)?.roc();
    let counts = ClassCounts::across(&set, &[0.05])?;
    let intervals = Intervals::new(&roc, &counts, LEVEL)?;
    Ok([
        intervals.tar(THRESHOLD)?,
        intervals.far(THRESHOLD)?,
        intervals.tar_at_far(0.05)?,
        intervals.eer(EerMethod::Linear)?,
        intervals.auc()?,
    ])
}

/// Classes with centers and spreads of their own; `lean` draws some of them towards one direction, so that they are
/// taken for others more often than the rest.
fn population(sizes: &[usize], lean: f64, seed: u64) -> Result<EmbeddingSet, Error> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for (class, &size) in (0i64..).zip(sizes) {
        let mut center: [f64; DIM] = std::array::from_fn(|_| normal());
        center[0] += lean * normal().abs();
        let spread = 0.8 * (0.5 * normal()).exp();
        for _ in 0..size {
            rows.extend(center.map(|x| (x + spread * normal()) as f32));
            labels.push(class);
        }
    }
    let rows = Array2::from_shape_vec((labels.len(), DIM), rows).expect("a row for each label");
    EmbeddingSet::new(rows.view(), &labels)
}
