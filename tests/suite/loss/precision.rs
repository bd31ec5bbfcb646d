//! Kinds, extremes, and rows without a direction.

use soft_lmccl::{
    loss::{ArcFaceConfig, CenterLossConfig, LmclConfig, Loss, SoftLmcclConfig},
    tch::{Device, Kind, Tensor, nn},
};

use super::gradient;

const C: i64 = 5;
const D: i64 = 4;

fn losses(path: &nn::Path<'_>, scale: f64) -> Vec<Box<dyn Loss>> {
    let lmcl = LmclConfig { scale, ..Default::default() };
    vec![
        Box::new(lmcl.init(&(path / "a"), C, D).unwrap()),
        Box::new(ArcFaceConfig { scale, ..Default::default() }.init(&(path / "b"), C, D).unwrap()),
        Box::new(SoftLmcclConfig { lmcl, ..Default::default() }.init(&(path / "c"), C, D).unwrap()),
    ]
}

fn all_finite(tensor: &Tensor) -> bool {
    bool::try_from(tensor.isfinite().all()).unwrap()
}

#[test]
fn a_zero_embedding_gives_a_finite_loss_and_a_finite_gradient() {
    let vs = nn::VarStore::new(Device::Cpu);
    let labels = Tensor::from_slice(&[1i64, 4]);
    let embeddings = Tensor::from_slice2(&[[0.0f32; D as usize], [1.0, -2.0, 0.5, 0.1]]);
    for loss in losses(&vs.root(), 64.0) {
        assert!(loss.forward(&embeddings, &labels).unwrap().report().unwrap().total.is_finite());
        let gradient = gradient(&loss, &embeddings, &labels);
        assert!(all_finite(&gradient), "{gradient:?}");
    }
}

#[test]
fn large_scales_do_not_overflow() {
    let vs = nn::VarStore::new(Device::Cpu);
    let labels = Tensor::from_slice(&[1i64, 4]);
    let embeddings = Tensor::from_slice2(&[[3.0f32, 0.2, -0.3, 1.0], [1.0, -2.0, 0.5, 0.1]]);
    for loss in losses(&vs.root(), 1e3) {
        assert!(loss.forward(&embeddings, &labels).unwrap().report().unwrap().total.is_finite());
        assert!(all_finite(&gradient(&loss, &embeddings, &labels)));
    }
}

/// An embedding on its prototype: the singular points of ArcFace's derivative.
#[test]
fn arcface_on_and_against_the_prototype() {
    let vs = nn::VarStore::new(Device::Cpu);
    let loss = ArcFaceConfig::default().init(&vs.root(), C, D).unwrap();
    let on = loss.prototypes().detach().narrow(0, 2, 1);
    for embeddings in [&on * 3.0, &on * -3.0] {
        assert!(all_finite(&gradient(&loss, &embeddings, &Tensor::from_slice(&[2i64]))));
    }
}

#[test]
fn half_precision_embeddings_meet_single_precision_heads() {
    /// Eleven bits of f16, eight of bf16.
    const KINDS: [(Kind, f64); 2] = [(Kind::Half, 2e-3), (Kind::BFloat16, 2e-2)];
    let vs = nn::VarStore::new(Device::Cpu);
    let mut loss = SoftLmcclConfig::default().init(&vs.root(), C, D).unwrap();
    let labels = Tensor::from_slice(&[1i64, 4]);
    let embeddings = Tensor::from_slice2(&[[3.0f32, 0.2, -0.3, 1.0], [1.0, -2.0, 0.5, 0.1]]);
    let want = loss.forward(&embeddings, &labels).unwrap().report().unwrap().total;
    for (kind, within) in KINDS {
        let short = embeddings.to_kind(kind);
        let terms = loss.forward(&short, &labels).unwrap();
        assert_eq!(terms.total().kind(), Kind::Float);
        assert!((terms.report().unwrap().total - want).abs() < within * want);
        assert_eq!(gradient(&loss, &short, &labels).kind(), kind);
        loss.update(&short, &labels).unwrap();
        assert_eq!(loss.center().centers().kind(), Kind::Float);
        assert_eq!(loss.lmcl().prototypes().kind(), Kind::Float);
    }
}

/// Heads have the precision of their store, but never less than single.
#[test]
fn heads_of_a_store_of_another_precision() {
    for (store, heads) in [(Kind::Half, Kind::Float), (Kind::BFloat16, Kind::Float), (Kind::Double, Kind::Double)] {
        let mut vs = nn::VarStore::new(Device::Cpu);
        vs.set_kind(store);
        let center = CenterLossConfig::default().init(&(vs.root() / "center"), C, D).unwrap();
        let lmcl = LmclConfig::default().init(&(vs.root() / "lmcl"), C, D).unwrap();
        assert_eq!((center.centers().kind(), lmcl.prototypes().kind()), (heads, heads), "{store:?}");
    }
}
