//! What a cosine margin must do, by hand and beyond what `margins.rs` asks of every loss.

use approx::assert_relative_eq;
use proptest::prelude::*;
use soft_lmccl::{
    loss::{ArcFaceConfig, LmclConfig, NormalizedSoftmaxConfig},
    tch::{Device, Kind, Tensor},
};

use super::{Case, F64_REL, F64_SUM_REL, assert_close, case, double, matrix, numbers, set, total};

const SCALE: f64 = 8.0;

fn lmcl_value(case: &Case, margin: f64) -> f64 {
    let config = LmclConfig { scale: SCALE, margin, ..Default::default() };
    let (vs, loss) = double(|path| config.init(path, case.classes as i64, case.dim as i64));
    set(&vs, "weight", &case.weight());
    total(&loss, &case.embeddings(), &case.labels())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// dL/dm = s·mean(1 − p_y).
    #[test]
    fn derivative_by_the_margin(case in case(), margin in 0.1..0.9f64) {
        const STEP: f64 = 1e-5;
        const DIFFERENCE_REL: f64 = 1e-6;
        let slope = (lmcl_value(&case, margin + STEP) - lmcl_value(&case, margin - STEP)) / (2.0 * STEP);
        let config = LmclConfig { scale: SCALE, margin, ..Default::default() };
        let (vs, loss) = double(|path| config.init(path, case.classes as i64, case.dim as i64));
        set(&vs, "weight", &case.weight());
        let labels = case.labels().unsqueeze(1);
        let logits = loss.logits(&case.embeddings()).unwrap();
        let logits = logits.scatter_add(1, &labels, &Tensor::full(labels.size(), -SCALE * margin, (Kind::Double, Device::Cpu)));
        let behind = (-logits.softmax(-1, Kind::Double).gather(1, &labels, false) + 1.0).mean(Kind::Double);
        assert_close(&[slope], &[SCALE * behind.double_value(&[])], DIFFERENCE_REL);
    }
}

/// ln(1 + (C−1)·e^(−s(C/(C−1) − m))) where every embedding sits on its prototype and the prototypes
/// form a regular simplex: CosFace's optimum.
#[test]
fn the_simplex_optimum() {
    // The corners of a regular triangle in the plane.
    let corners: Vec<f64> = (0..3)
        .flat_map(|k| {
            let angle = 2.0 * std::f64::consts::PI * f64::from(k) / 3.0;
            [angle.cos(), angle.sin()]
        })
        .collect();
    let case = Case { classes: 3, dim: 2, embeddings: corners.clone(), weight: corners, labels: vec![0, 1, 2] };
    let margin = 0.4;
    let want = (1.0 + 2.0 * (-SCALE * (1.5 - margin)).exp()).ln();
    assert_relative_eq!(lmcl_value(&case, margin), want, max_relative = F64_SUM_REL);
}

/// The margin as the formula says it, one sample by hand: cosines 0.6 and 0.8, label 1.
#[test]
fn one_sample_by_hand() {
    let case =
        Case { classes: 2, dim: 2, embeddings: vec![3.0, 4.0], weight: vec![2.0, 0.0, 0.0, 0.5], labels: vec![1] };
    let (target, other) = (SCALE * (0.8 - 0.25), SCALE * 0.6);
    let want = (target.exp() + other.exp()).ln() - target;
    assert_relative_eq!(lmcl_value(&case, 0.25), want, max_relative = F64_REL);
}

/// The bias is added after scaling, to the margin-free logits too.
#[test]
fn a_bias_is_not_scaled() {
    let config = LmclConfig { scale: SCALE, margin: 0.25, bias: true, ..Default::default() };
    let (vs, loss) = double(|path| config.init(path, 2, 2));
    set(&vs, "weight", &matrix(&[2.0, 0.0, 0.0, 0.5], 2));
    set(&vs, "bias", &Tensor::from_slice(&[-0.5, 1.5]));
    let embeddings = matrix(&[3.0, 4.0], 2);
    let (target, other) = (SCALE * (0.8 - 0.25) + 1.5, SCALE * 0.6 - 0.5);
    let want = (target.exp() + other.exp()).ln() - target;
    assert_relative_eq!(total(&loss, &embeddings, &Tensor::from_slice(&[1i64])), want, max_relative = F64_REL);
    let logits = [SCALE * 0.6 - 0.5, SCALE * 0.8 + 1.5];
    assert_close(&numbers(&loss.logits(&embeddings).unwrap()), &logits, F64_REL);
}

#[test]
fn logits_are_scaled_cosines_without_a_margin() {
    let (weight, embeddings) = (matrix(&[2.0, 0.0, 0.0, 0.5], 2), matrix(&[3.0, 4.0], 2));
    let want = [SCALE * 0.6, SCALE * 0.8];
    let (vs, loss) = double(|path| ArcFaceConfig { scale: SCALE, ..Default::default() }.init(path, 2, 2));
    set(&vs, "weight", &weight);
    assert_close(&numbers(&loss.logits(&embeddings).unwrap()), &want, F64_REL);
    let (vs, loss) = double(|path| NormalizedSoftmaxConfig { scale: SCALE, ..Default::default() }.init(path, 2, 2));
    set(&vs, "weight", &weight);
    assert_close(&numbers(&loss.logits(&embeddings).unwrap()), &want, F64_REL);
}

/// Beyond theta + m > pi the target logit goes on falling as the angle grows.
#[test]
fn arcface_stays_monotone_behind_the_prototype() {
    let config = ArcFaceConfig { scale: 1.0, margin: 0.5, ..Default::default() };
    let (vs, loss) = double(|path| config.init(path, 2, 2));
    set(&vs, "weight", &matrix(&[1.0, 0.0, 0.0, 1.0], 2));
    let at = |angle: f64| {
        // Mirrored at the x axis, the cosine to the other prototype grows instead; keep to the target's part.
        let embedding = matrix(&[angle.cos(), angle.sin()], 2);
        let value = total(&loss, &embedding, &Tensor::from_slice(&[0i64]));
        // L = ln(1 + e^(other − target)), so target = other − ln(e^L − 1).
        angle.sin() - (value.exp() - 1.0).ln()
    };
    let logits: Vec<f64> = (0..=62).map(|i| at(f64::from(i) * 0.05)).collect();
    // cos falls on from theta = 0 only as sin m > 0 lets it; the margin is a true penalty everywhere.
    assert!(logits.windows(2).all(|pair| pair[1] < pair[0]), "{logits:?}");
}
