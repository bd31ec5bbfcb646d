//! The formulas: no state, no configuration, no checks.
//!
//! What the modules beside this one evaluate, and what the parity and gradient tests pin first.
//! Inputs are never written to. Labels must be in range and on the embeddings' device; the modules
//! see to that.

use std::f64::consts::PI;

use tch::{Kind, Tensor};

use super::{Reduction, gate::placed};

/// The floor under a norm, as in the authors' TensorFlow code (1e-10 on the squared norm).
///
/// PyTorch's own 1e-12 lets the gradient at a zero embedding reach 1e12, and one such row ends a
/// run; rows longer than the floor do not see it.
pub const NORM_FLOOR: f64 = 1e-5;

/// How close to a right or straight angle `sin θ` may come before its gradient is cut.
const SINE_SQUARED_FLOOR: f64 = 1e-12;

/// `x / max(‖x‖₂, floor)` along the last axis, as `torch.nn.functional.normalize`.
///
/// # Shapes
/// `[.., D]` → `[.., D]`.
///
/// # Examples
/// ```
/// # use soft_lmccl::{loss::functional::l2_normalize, tch::Tensor};
/// let unit = l2_normalize(&Tensor::from_slice2(&[[3.0, 4.0], [0.0, 0.0]]), 1e-5);
/// assert_eq!(Vec::<f64>::try_from(unit.flatten(0, 1)).unwrap(), [0.6, 0.8, 0.0, 0.0]);
/// ```
pub fn l2_normalize(x: &Tensor, floor: f64) -> Tensor {
    let norm = x.norm_scalaropt_dim(2, [-1i64].as_slice(), true);
    x / norm.clamp_min(floor)
}

/// `cos θ[b, c] = x̂_b · ŵ_c`.
///
/// # Shapes
/// `[B, D]`, `[C, D]` → `[B, C]`.
///
/// # Examples
/// ```
/// # use soft_lmccl::{loss::functional::cosine_similarity, tch::Tensor};
/// let embeddings = Tensor::from_slice2(&[[3.0, 4.0]]);
/// let prototypes = Tensor::from_slice2(&[[2.0, 0.0], [0.0, -5.0]]);
/// let cosine = cosine_similarity(&embeddings, &prototypes);
/// assert_eq!(Vec::<f64>::try_from(cosine.flatten(0, 1)).unwrap(), [0.6, -0.8]);
/// ```
pub fn cosine_similarity(embeddings: &Tensor, prototypes: &Tensor) -> Tensor {
    l2_normalize(embeddings, NORM_FLOOR).matmul(&l2_normalize(prototypes, NORM_FLOOR).tr())
}

/// `features · rowsᵀ + bias`.
pub(super) fn linear_logits(features: &Tensor, rows: &Tensor, bias: Option<&Tensor>) -> Tensor {
    match bias {
        Some(bias) => bias.addmm(features, &rows.tr()),
        None => features.mm(&rows.tr()),
    }
}

/// The logit of the true class, and log-sum-exp of the others: `−log softmax(z)[y] = −log σ(own − others)`.
///
/// # Shapes
/// `[B, C]`, `[B]` → `[B]`, `[B]`.
///
/// # Examples
/// ```
/// # use soft_lmccl::{loss::functional::own_and_others, tch::Tensor};
/// let logits = Tensor::from_slice2(&[[1.5, 2.0, 2.0]]);
/// let (own, others) = own_and_others(&logits, &Tensor::from_slice(&[0i64]));
/// assert_eq!(own.double_value(&[0]), 1.5);
/// assert!((others.double_value(&[0]) - (2.0 + 2f64.ln())).abs() < 1e-12);
/// ```
pub fn own_and_others(logits: &Tensor, labels: &Tensor) -> (Tensor, Tensor) {
    let labels = labels.unsqueeze(1);
    let own = logits.gather(1, &labels, false).squeeze_dim(1);
    let others = logits.scatter_value(1, &labels, lowest(logits.kind()));
    (own, others.logsumexp([1i64].as_slice(), false))
}

/// The lowest finite number.
pub(super) fn lowest(kind: Kind) -> f64 {
    if kind == Kind::Double { f64::MIN } else { f64::from(f32::MIN) }
}

/// ArcFace's margin on the cosines of true classes: `cos(θ + m)`.
///
/// Beyond `θ + m > π`, where the cosine would rise again, it continues as `cos θ − m·sin m`.
///
/// # Shapes
/// Any → the same; `margin` in radians.
///
/// # Examples
/// ```
/// # use soft_lmccl::{loss::functional::additive_angular_margin, tch::Tensor};
/// let own = additive_angular_margin(&Tensor::from_slice(&[1f64.cos(), -1.0]), 0.5);
/// assert!((own.double_value(&[0]) - 1.5f64.cos()).abs() < 1e-12);
/// assert!((own.double_value(&[1]) - (-1.0 - 0.5 * 0.5f64.sin())).abs() < 1e-12);
/// ```
///
/// # References
/// J. Deng et al., *ArcFace*, CVPR 2019, Eq. 3; the continuation is that of
/// pytorch-metric-learning's `ArcFaceLoss`.
pub fn additive_angular_margin(cosine: &Tensor, margin: f64) -> Tensor {
    // At θ = 0 the derivative of cos(θ + m) by cos θ is infinite: the sine's share of it is cut there.
    let sine = (-cosine.square() + 1.0).clamp_min(SINE_SQUARED_FLOOR).sqrt();
    let rotated = cosine * margin.cos() - sine * margin.sin();
    let continued = cosine - margin * margin.sin();
    rotated.where_self(&cosine.greater(-margin.cos()), &continued)
}

/// The combined margin on the cosines of true classes: `ψ(m₁θ + m₂) − m₃`.
///
/// `ψ(φ) = (−1)ᵏ·cos φ − 2k` with `k = ⌊φ/π⌋` is `cos φ` up to π and goes on falling beyond, where the cosine would rise
/// again.
///
/// # Shapes
/// Any → the same; `m₂` in radians.
///
/// # Examples
/// ```
/// # use soft_lmccl::{loss::functional::combined_margin, tch::Tensor};
/// let own = combined_margin(&Tensor::from_slice(&[1f64.cos()]), [1.1, 0.3, 0.2]);
/// assert!((own.double_value(&[0]) - (1.4f64.cos() - 0.2)).abs() < 1e-12);
/// ```
///
/// # References
/// J. Deng et al., *ArcFace*, CVPR 2019, Eq. 4; ψ is that of W. Liu et al., *SphereFace*, CVPR 2017, Eq. 7.
pub fn combined_margin(cosine: &Tensor, [factor, angle, cosine_margin]: [f64; 3]) -> Tensor {
    let angles = angles(cosine) * factor + angle;
    let turns = (&angles / PI).floor().detach();
    let sign = turns.remainder(2.0) * -2.0 + 1.0;
    angles.cos() * sign - turns * 2.0 - cosine_margin
}

/// `θ`, whose derivative by `cos θ` is infinite at 0 and π, and cut off there.
fn angles(cosine: &Tensor) -> Tensor {
    let largest =
        (1.0 - if cosine.kind() == Kind::Double { SINE_SQUARED_FLOOR } else { f64::from(f32::EPSILON) }).sqrt();
    cosine.clamp(-largest, largest).acos()
}

/// How far the norms of embeddings lie from their mean: `ẑ = clip(h·(‖x‖ − μ)/(σ + 10⁻³), −1, 1)`, outside the graph.
///
/// # Shapes
/// `[B]`, `[]`, `[]` → `[B]`.
///
/// # References
/// M. Kim et al., *AdaFace*, CVPR 2022, Eq. 10, and the authors' code.
pub fn norm_quality(norms: &Tensor, mean: &Tensor, deviation: &Tensor, concentration: f64) -> Tensor {
    ((norms - mean) / (deviation + 1e-3) * concentration).clamp(-1.0, 1.0).detach()
}

/// AdaFace's margin on the cosines of true classes: `cos(θ − m·ẑ) − (m + m·ẑ)`.
///
/// The changed angle is kept within `10⁻³..π − 10⁻³`, as in the authors' code.
///
/// # Shapes
/// Any and the same, such as `[B]` and `[B]` → the same.
///
/// # Examples
/// Of middling quality it is LMCL; of low quality, ArcFace.
/// ```
/// # use soft_lmccl::{loss::functional::{adaptive_margin, additive_angular_margin}, tch::Tensor};
/// let cosine = Tensor::from_slice(&[0.5]);
/// let of = |quality: f64| adaptive_margin(&cosine, &Tensor::from_slice(&[quality]), 0.4);
/// let difference = |a: Tensor, b: Tensor| (a - b).abs().max().double_value(&[]);
/// assert!(difference(of(0.0), &cosine - 0.4) < 1e-12);
/// assert!(difference(of(-1.0), additive_angular_margin(&cosine, 0.4)) < 1e-12);
/// ```
///
/// # References
/// M. Kim et al., *AdaFace: Quality Adaptive Margin for Face Recognition*, CVPR 2022, Eqs. 9, 12–14.
pub fn adaptive_margin(cosine: &Tensor, quality: &Tensor, margin: f64) -> Tensor {
    const WITHIN: f64 = 1e-3;
    let turned = (angles(cosine) - quality * margin).clamp(WITHIN, PI - WITHIN);
    turned.cos() - (quality + 1.0) * margin
}

/// `½‖x_b − c_{y_b}‖²`, averaged or summed over the batch, in one pass each way.
///
/// Gathers the rows: the `B × C` expansion `‖x‖² + ‖c‖² − 2x·c` costs more and cancels.
///
/// # Shapes
/// `[B, D]`, `[C, D]`, `[B]` → `[]`.
///
/// # Examples
/// ```
/// # use soft_lmccl::{loss::{Reduction, functional::{center_distance, center_distance_euclidean}}, tch::Tensor};
/// let embeddings = Tensor::from_slice2(&[[4.0, 4.0]]);
/// let centers = Tensor::from_slice2(&[[9.0, 9.0], [1.0, 0.0]]);
/// let labels = Tensor::from_slice(&[1i64]);
/// assert_eq!(center_distance(&embeddings, &centers, &labels, Reduction::Mean).double_value(&[]), 12.5); // ½·5²
/// assert_eq!(center_distance_euclidean(&embeddings, &centers, &labels).double_value(&[0]), 2.5); // ½·5
/// ```
///
/// # References
/// Y. Wen et al., ECCV 2016, Eq. 2.
pub fn center_distance(embeddings: &Tensor, centers: &Tensor, labels: &Tensor, reduction: Reduction) -> Tensor {
    let squares = embeddings.mse_loss(&centers.index_select(0, labels), tch::Reduction::Sum);
    match reduction {
        Reduction::Mean => squares * (0.5 / embeddings.size()[0] as f64),
        Reduction::Sum => squares * 0.5,
    }
}

/// `½‖x_b − c_{y_b}‖` per sample: the distance as the Soft LMCCL paper prints it, not squared.
///
/// Its gradient has length ½ wherever `x ≠ c`, and is 0 at `x = c`.
///
/// # Shapes
/// `[B, D]`, `[C, D]`, `[B]` → `[B]`.
pub fn center_distance_euclidean(embeddings: &Tensor, centers: &Tensor, labels: &Tensor) -> Tensor {
    let difference = embeddings - centers.index_select(0, labels);
    difference.norm_scalaropt_dim(2, [-1i64].as_slice(), false) * 0.5
}

/// The classes of a batch, how often each occurs, and how far its samples lie from its center.
#[derive(Debug)]
pub(super) struct ClassResiduals {
    /// The classes present, ascending, `[P]`.
    pub classes: Tensor,
    /// Samples of each, `P` of them.
    pub counts: Vec<u64>,
    /// Their centers `c_j`, `[P, D]`, in the embeddings' kind.
    pub centers: Tensor,
    /// `Σ_{y_i=j} (x_i − c_j)` for each, `[P, D]`.
    pub sums: Tensor,
}

/// Sums the residuals `x_i − c_{y_i}` class by class; rows of absent classes are never read. Labels are on the host, where
/// sorting a batch of them costs less than the calls of libtorch that would do it. Where every class is present, its centers
/// are no copy.
///
/// # Shapes
/// `[B, D]`, `[C, D]`, `B` labels → [`ClassResiduals`] with `P ≤ min(B, C)`.
pub(super) fn residuals(embeddings: &Tensor, centers: &Tensor, labels: &[i64]) -> ClassResiduals {
    let mut classes = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    let mut counts = vec![0; classes.len()];
    let mut slots = Vec::with_capacity(labels.len());
    for label in labels {
        let slot = classes.partition_point(|class| class < label);
        counts[slot] += 1;
        slots.push(slot as i64);
    }
    let device = embeddings.device();
    let all_present = classes.len() as i64 == centers.size()[0];
    let classes = placed(&classes, device);
    let rows = if all_present { centers.shallow_clone() } else { centers.index_select(0, &classes) };
    let centers = rows.to_kind(embeddings.kind());
    // Σ xᵢ − n·c: a row of centers for each class is read, not for each sample.
    let mut sums = &centers * column(&counts, &centers, |n| -n);
    let sums = sums.index_add_(0, &placed(&slots, device), embeddings);
    ClassResiduals { classes, counts, centers, sums }
}

/// A number for each class by how many samples it has, `[P, 1]`, in the kind and on the device of a tensor.
pub(super) fn column(counts: &[u64], like: &Tensor, number: impl Fn(f64) -> f64) -> Tensor {
    let numbers = counts.iter().map(|&count| number(count as f64));
    let column = match like.kind() {
        Kind::Float => placed(&numbers.map(|number| number as f32).collect::<Vec<_>>(), like.device()),
        kind => placed(&numbers.collect::<Vec<_>>(), like.device()).to_kind(kind),
    };
    column.unsqueeze(1)
}
