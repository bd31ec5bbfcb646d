//! Everything that is measured of one network on one test set.

use anyhow::Result;
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};
use soft_lmccl::{
    MetricError,
    metrics::{
        CollapseReport, EmbeddingSet, Gallery, PairProtocol, PairScores, Prototype, ReportOptions, RocCurve,
        ThresholdRule, VerificationReport, VerificationThreshold,
    },
};
use soft_lmccl_report::{pca_2d, tsne_2d};

use super::{
    paper_grid::PaperGridReport,
    plan::Domain,
    printed::{FIGURES, Figure},
    settings::Settings,
};

/// The FAR at which classes are compared one by one: low, and yet resolved by a few classes.
pub const CLASS_FAR: f64 = 0.01;

/// Bins of the score histograms, over cosines from -1 to 1.
pub const BINS: usize = 100;

/// Embeddings on a map, at most.
const MAPPED: usize = 900;
/// Unknown classes that it takes to leave out one after the other.
pub const CLASSES_FOR_JACKKNIFE: usize = 6;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub test: Domain,
    /// The unknown classes, in the order of their labels.
    pub classes: Vec<String>,
    pub report: VerificationReport,
    /// The figures without one of the classes, in their order, for a jackknife; none where classes are too few for one.
    pub without: Vec<[f64; FIGURES]>,
    pub few_shot: Vec<FewShot>,
    pub collapse: CollapseReport,
    /// As the code of the paper's authors measures; records of before it was kept lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paper_grid: Option<PaperGridReport>,
    /// `(FAR, TAR)`, thinned to what a picture shows.
    pub curve: Vec<(f64, f64)>,
    /// Matching and non-matching pairs behind the curve.
    pub pairs: (u64, u64),
    /// Matching and non-matching pairs by cosine, in [`BINS`] from -1 to 1.
    pub histogram: [Vec<u64>; 2],
    pub by_class: Option<ByClass>,
    pub map: Option<Map>,
}

/// Unknown classes after some of their examples were enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FewShot {
    pub examples: usize,
    /// Share of probes nearest to their own class, all classes being enrolled.
    pub accuracy: f64,
    /// Area under the open-set classification rate curve, every other class being enrolled.
    pub oscr: f64,
}

/// Classes at one threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ByClass {
    /// TAR of each class.
    pub tar: Vec<f64>,
    /// Every two classes by falling FAR.
    pub confused: Vec<Confused>,
}

/// Two classes and the two samples of them that look most alike to the network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Confused {
    pub classes: (u32, u32),
    pub far: f64,
    /// Rows of the test set.
    pub rows: (usize, usize),
    pub score: f64,
}

/// Embeddings in two dimensions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Map {
    pub labels: Vec<u32>,
    pub pca: Vec<[f32; 2]>,
    pub tsne: Vec<[f32; 2]>,
}

/// Measures embeddings as the network gives them.
///
/// # Errors
/// A metric that is undefined, such as for embeddings that are zero.
pub fn evaluate(
    test: Domain,
    classes: Vec<String>,
    raw: ArrayView2<'_, f32>,
    labels: &[i64],
    settings: &Settings,
    mapped: bool,
) -> Result<Evaluation> {
    let set = EmbeddingSet::new(raw, labels)?;
    let options = ReportOptions::default().limited_to(&set);
    let drawn = set.pair_scores(options.protocol())?;
    let scores = set.pair_scores(PairProtocol::All)?;
    let curve = scores.roc();
    let counts = curve.counts();
    Ok(Evaluation {
        test,
        report: VerificationReport::from_curve(set.len() as u64, &curve, &drawn, &options)?,
        without: if classes.len() < CLASSES_FOR_JACKKNIFE {
            Vec::new()
        } else {
            without_each(raw, labels, classes.len())?
        },
        classes,
        few_shot: settings.few_shot.iter().map(|&k| few_shot(&set, k, settings)).collect::<Result<_, _>>()?,
        collapse: CollapseReport::of(raw, labels)?,
        // Embeddings of one value in all columns have none.
        paper_grid: PaperGridReport::of(&set, &options).ok(),
        curve: thinned(&curve),
        pairs: (counts.matching, counts.non_matching),
        histogram: histogram(&scores),
        by_class: by_class(&set, &scores)?,
        // Embeddings that are nearly one have no map.
        map: if mapped { map(&set).ok() } else { None },
    })
}

/// The figures of the tables, read off a curve over all pairs. Accuracy is that of the best threshold on
/// one matching pair to two others: what folds over sampled pairs estimate.
fn figures(curve: &RocCurve) -> Result<[f64; FIGURES], MetricError> {
    let mixed = |tar: f64, far: f64| (tar + 2.0 * (1.0 - far)) / 3.0;
    let best = curve.points().iter().map(|point| mixed(point.tar(), point.far())).fold(0.0, f64::max);
    let tar = |far| curve.at_far(far).map(|at| at.point.tar());
    Ok([best, tar(1e-3)?, tar(1e-4)?, curve.auc(), curve.eer(Default::default())])
}

fn without_each(raw: ArrayView2<'_, f32>, labels: &[i64], classes: usize) -> Result<Vec<[f64; FIGURES]>, MetricError> {
    let without = |class: usize| {
        let rows: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] != class as i64).collect();
        let labels: Vec<i64> = rows.iter().map(|&row| labels[row]).collect();
        let set = EmbeddingSet::new(raw.select(Axis(0), &rows).view(), &labels)?;
        Ok(figures(&set.pair_scores(PairProtocol::All)?.roc())?.map(|figure| digits(figure, 6)))
    };
    (0..classes).map(without).collect()
}

/// Rounded, since what only a picture or an interval shows needs no sixteen digits in a file.
pub fn digits(value: f64, decimals: i32) -> f64 {
    let unit = 10f64.powi(decimals);
    (value * unit).round() / unit
}

fn few_shot(set: &EmbeddingSet, examples: usize, settings: &Settings) -> Result<FewShot, MetricError> {
    let mut classes: Vec<u32> = set.labels().to_vec();
    classes.sort_unstable();
    classes.dedup();
    let (mut accuracy, mut oscr) = (0.0, 0.0);
    for seed in 0..settings.enrolments {
        let (enrolled, probes) = set.split_enrollment(&classes, examples, seed)?;
        accuracy += Gallery::enroll(&enrolled, Prototype::Mean)?.search(&probes)?.closed_set_accuracy()?;
        // The even ones and the odd ones take turns.
        let half: Vec<u32> = classes.iter().skip(seed as usize % 2).step_by(2).copied().collect();
        let (enrolled, probes) = set.split_enrollment(&half, examples, seed)?;
        oscr += Gallery::enroll(&enrolled, Prototype::Mean)?.search(&probes)?.oscr()?;
    }
    let enrolments = settings.enrolments as f64;
    Ok(FewShot { examples, accuracy: accuracy / enrolments, oscr: oscr / enrolments })
}

/// The ends of the curve and, of the points between, the first and last in each of 100 columns of a
/// logarithmic and of a linear FAR axis.
fn thinned(curve: &RocCurve) -> Vec<(f64, f64)> {
    const COLUMNS: f64 = 100.0;
    let lowest = (1.0 / curve.counts().non_matching as f64).ln();
    let column = |far: f64| {
        let logarithmic = if far > 0.0 { (1.0 - far.ln() / lowest) * COLUMNS } else { -1.0 };
        (logarithmic as i64, (far * COLUMNS) as i64)
    };
    let points: Vec<(f64, f64)> = curve.points().iter().map(|point| (point.far(), point.tar())).collect();
    let columns: Vec<_> = points.iter().map(|(far, _)| column(*far)).collect();
    let ends_column = |index: usize| {
        index == 0
            || index + 1 == points.len()
            || columns[index] != columns[index - 1]
            || columns[index] != columns[index + 1]
    };
    (0..points.len())
        .filter(|&index| ends_column(index))
        .map(|index| (digits(points[index].0, 7), digits(points[index].1, 5)))
        .collect()
}

fn histogram(scores: &PairScores) -> [Vec<u64>; 2] {
    let mut bins = [vec![0; BINS], vec![0; BINS]];
    for (score, same) in scores.scores().iter().zip(scores.same()) {
        // Rounding takes a cosine past 1 by an ulp or two.
        let bin = ((score + 1.0) / 2.0 * BINS as f64).clamp(0.0, (BINS - 1) as f64) as usize;
        bins[usize::from(!same)][bin] += 1;
    }
    bins
}

/// `None` where no threshold keeps the FAR, as when all embeddings are one.
fn by_class(set: &EmbeddingSet, scores: &PairScores) -> Result<Option<ByClass>, MetricError> {
    let rule = ThresholdRule::AtFar { target_far: CLASS_FAR };
    let threshold = match VerificationThreshold::fit(scores, rule) {
        Ok(threshold) => threshold,
        Err(MetricError::NoThreshold { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let confusion = set.confusion(&threshold);
    let most = confusion.most_confused();
    let confused = most.iter().map(|pair| {
        let rows = |label: u32| (0..set.len()).filter(move |&row| set.labels()[row] == label);
        let couples = rows(pair.first).flat_map(|i| rows(pair.second).map(move |j| (i, j)));
        let (rows, score) = couples
            .map(|(i, j)| ((i, j), set.cosine(i, j)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .expect("both classes of a pair that was counted have samples");
        Confused { classes: (pair.first, pair.second), far: pair.rate(), rows, score }
    });
    Ok(Some(ByClass { tar: confusion.tar().iter().map(|class| class.rate()).collect(), confused: confused.collect() }))
}

fn map(set: &EmbeddingSet) -> Result<Map> {
    let step = set.len().div_ceil(MAPPED);
    let rows: Vec<usize> = (0..set.len()).step_by(step).collect();
    let values: Vec<f32> = rows.iter().flat_map(|&row| set.row(row).iter().copied()).collect();
    let view = ArrayView2::from_shape((rows.len(), set.dim()), &values).expect("rows of one length");
    let shown = |value: f32| digits(f64::from(value), 3) as f32;
    let points = |flat: Array2<f32>| flat.rows().into_iter().map(|row| [shown(row[0]), shown(row[1])]).collect();
    Ok(Map {
        labels: rows.iter().map(|&row| set.labels()[row]).collect(),
        pca: points(pca_2d(view)?),
        tsne: points(tsne_2d(view)?),
    })
}

impl Evaluation {
    /// The figures of the tables.
    pub fn figures(&self) -> [f64; FIGURES] {
        let report = &self.report;
        Figure::ALL.map(|figure| match figure {
            Figure::Accuracy => report.accuracy.mean,
            Figure::TarAtMille => report.tar_at_far[0].tar,
            Figure::TarAtTenthMille => report.tar_at_far[1].tar,
            Figure::Auc => report.auc,
            Figure::Eer => report.eer,
        })
    }

    /// Whether a figure can be told at all from the pairs that there are.
    pub fn resolvable(&self, figure: Figure) -> bool {
        match figure {
            Figure::TarAtMille => self.report.tar_at_far[0].resolvable,
            Figure::TarAtTenthMille => self.report.tar_at_far[1].resolvable,
            Figure::Accuracy | Figure::Auc | Figure::Eer => true,
        }
    }
}
