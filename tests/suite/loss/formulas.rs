//! The formulas by themselves, where the losses meet them in one shape only or not at all.

use soft_lmccl::{
    loss::{
        ArcFaceConfig, CenterLossConfig, CenterUpdate, LmclConfig, NormalizedSoftmaxConfig, Reduction,
        SoftmaxHeadConfig,
        functional::{center_distance, center_distance_euclidean, l2_normalize},
    },
    tch::{Device, Tensor, nn},
};

use super::{F64_REL, assert_close, numbers};

/// Norms go along the last axis, however many there are.
#[test]
fn rows_of_any_rank_have_unit_length() {
    let flat = Tensor::from_slice(&[3.0f64, 4.0, -5.0, 12.0, 8.0, 15.0, 0.0, 2.0]);
    let want = [0.6, 0.8, -5.0 / 13.0, 12.0 / 13.0, 8.0 / 17.0, 15.0 / 17.0, 0.0, 1.0];
    for shape in [vec![4, 2], vec![2, 2, 2], vec![1, 4, 1, 2]] {
        let unit = l2_normalize(&flat.view(shape.as_slice()), 1e-5);
        assert_eq!(unit.size(), shape);
        assert_close(&numbers(&unit), &want, F64_REL);
    }
    assert_close(&numbers(&l2_normalize(&Tensor::from_slice(&[3.0f64, 4.0]), 1e-5)), &[0.6, 0.8], F64_REL);
}

/// Each embedding from the center of its own class, which is not the origin.
#[test]
fn distances_are_those_to_the_own_center() {
    let embeddings = Tensor::from_slice2(&[[1.0f64, 2.0], [3.0, -1.0], [0.0, 4.0]]);
    let centers = Tensor::from_slice2(&[[1.0f64, -1.0], [2.0, 2.0]]);
    let labels = Tensor::from_slice(&[1i64, 0, 1]);
    let reduced = |reduction| numbers(&center_distance(&embeddings, &centers, &labels, reduction));
    assert_close(&reduced(Reduction::Sum), &[6.5], F64_REL);
    assert_close(&reduced(Reduction::Mean), &[6.5 / 3.0], F64_REL);
    let plain = center_distance_euclidean(&embeddings, &centers, &labels);
    assert_close(&numbers(&plain), &[0.5, 1.0, 2f64.sqrt()], F64_REL);
}

/// What a loss was made with is what it says it was.
#[test]
fn losses_tell_their_configuration() {
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let reduction = Reduction::Sum;
    let center = CenterLossConfig { rate: 0.25, rule: CenterUpdate::Ema, reduction, ..Default::default() };
    assert_eq!(center.init(&(&root / "center"), 3, 2).unwrap().config(), center);
    let lmcl = LmclConfig { scale: 7.0, margin: 0.2, reduction, ..Default::default() };
    assert_eq!(lmcl.init(&(&root / "lmcl"), 3, 2).unwrap().config(), lmcl);
    let softmax = SoftmaxHeadConfig { bias: false, reduction, ..Default::default() };
    assert_eq!(softmax.init(&(&root / "softmax"), 3, 2).unwrap().config(), softmax);
    let normalized = NormalizedSoftmaxConfig { scale: 7.0, reduction, ..Default::default() };
    assert_eq!(normalized.init(&(&root / "normalized"), 3, 2).unwrap().config(), normalized);
    let arcface = ArcFaceConfig { scale: 7.0, margin: 0.2, reduction, ..Default::default() };
    assert_eq!(arcface.init(&(&root / "arcface"), 3, 2).unwrap().config(), arcface);
}
