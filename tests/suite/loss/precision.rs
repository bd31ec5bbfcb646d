//! Kinds, extremes, and rows without a direction.

use soft_lmccl::{
    loss::{
        AdaFaceConfig, ArcFaceConfig, CenterLossConfig, CenterSpace, Chunks, CombinedMarginConfig, LmclConfig, Loss,
        NormalizedSoftmaxConfig, Products, SoftLmcclConfig, SoftmaxBranch, SoftmaxHeadConfig, functional::l2_normalize,
    },
    tch::{Device, Kind, Tensor, nn, no_grad_guard},
};

use super::{cross_entropy, gradient, with_own};

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

fn any_nan(tensor: &Tensor) -> bool {
    bool::try_from(tensor.isnan().any()).unwrap()
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
fn an_infinite_logit_ahead_of_all_others_is_no_loss_of_zero() {
    let vs = nn::VarStore::new(Device::Cpu);
    let loss = SoftmaxHeadConfig::default().init(&vs.root(), 3, 1).unwrap();
    let mut weight = vs.variables()["weight"].shallow_clone();
    {
        let _frozen = no_grad_guard();
        weight.copy_(&Tensor::from_slice2(&[[0.5f32], [-0.25], [-1.0]]));
    }
    for (value, label) in [(f32::INFINITY, 0i64), (f32::NEG_INFINITY, 0), (f32::INFINITY, 2)] {
        let embeddings = Tensor::from_slice2(&[[value], [1.0]]);
        let total = loss.forward(&embeddings, &Tensor::from_slice(&[label, 1])).unwrap().total().double_value(&[]);
        assert!(!total.is_finite(), "{value}, {label}: {total}");
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

#[test]
fn no_length_kind_or_scale_makes_a_nan() {
    no_nan(Device::Cpu);
}

/// Every kind of embedding on heads of either precision, lengths from nothing to 1e30 (as far as the
/// kind goes), two scales, whole and in chunks.
pub fn no_nan(device: Device) {
    const LENGTHS: [f64; 4] = [0.0, 1e-30, 1.0, 1e30];
    let kinds = [(Kind::Half, 6e4), (Kind::BFloat16, 1e30), (Kind::Float, 1e30), (Kind::Double, 1e30)];
    let directions = Tensor::from_slice2(&[[0.6f64, -0.3, 0.2, 0.7], [-0.1, 0.9, 0.4, 0.2]]).to_device(device);
    // The first chunk of one class holds nothing but a true class.
    let labels = Tensor::from_slice(&[0i64, 4]);
    for double_heads in [false, true] {
        for scale in [64.0, 1e3] {
            let mut vs = nn::VarStore::new(device);
            let losses = table(&vs.root(), scale);
            if double_heads {
                vs.double();
            }
            for (kind, longest) in kinds {
                for length in LENGTHS {
                    let embeddings = (&directions * length.min(longest)).to_kind(kind);
                    for loss in &losses {
                        let what = format!("{kind:?}, length {length}, heads f64 {double_heads}, {loss:?}");
                        let value = loss.forward(&embeddings, &labels).unwrap().report().unwrap().total;
                        assert!(value.is_finite(), "{value} for {what}");
                        let gradient = gradient(loss.as_ref(), &embeddings, &labels);
                        // At the origin it is s/1e-5 long, more than f16 can say.
                        let beyond = kind == Kind::Half && length < 1.0;
                        assert!(all_finite(&gradient) || beyond && !any_nan(&gradient), "{gradient:?} for {what}");
                        for (name, variable) in vs.variables() {
                            let fine = !variable.grad().defined() || all_finite(&variable.grad());
                            assert!(fine, "gradient of {name} for {what}");
                        }
                    }
                }
            }
        }
    }
}

/// Losses that are finite for any finite embedding; a squared distance of 1e30 is not.
fn table(path: &nn::Path<'_>, scale: f64) -> Vec<Box<dyn Loss>> {
    let mut losses: Vec<Box<dyn Loss>> = Vec::new();
    for (name, classes, keep) in [("whole", None, 0), ("one", Some(1), 0), ("kept", Some(2), 1 << 20)] {
        let path = path / name;
        let chunks = Chunks { classes, whole: 0, keep, ..Default::default() };
        let lmcl = LmclConfig { scale, chunks, ..Default::default() };
        let normalized = NormalizedSoftmaxConfig { scale, chunks, subcenters: 2, ..Default::default() };
        let softmax = SoftmaxHeadConfig { chunks, ..Default::default() };
        let center = CenterLossConfig { space: CenterSpace::UnitSphere, ..Default::default() };
        let soft = |softmax| SoftLmcclConfig { lmcl, center, softmax, ..Default::default() };
        losses.push(Box::new(lmcl.init(&(&path / "a"), C, D).unwrap()));
        losses.push(Box::new(normalized.init(&(&path / "b"), C, D).unwrap()));
        losses.push(Box::new(softmax.init(&(&path / "c"), C, D).unwrap()));
        losses.push(Box::new(soft(SoftmaxBranch::SharedCosine).init(&(&path / "d"), C, D).unwrap()));
        losses.push(Box::new(soft(SoftmaxBranch::Own(softmax)).init(&(&path / "e"), C, D).unwrap()));
        let arcface = ArcFaceConfig { scale, chunks, ..Default::default() };
        losses.push(Box::new(arcface.init(&(&path / "f"), C, D).unwrap()));
        let combined = CombinedMarginConfig { scale, chunks, factor: 2.0, ..Default::default() };
        losses.push(Box::new(combined.init(&(&path / "g"), C, D).unwrap()));
        let adaface = AdaFaceConfig { scale, chunks, ..Default::default() };
        losses.push(Box::new(adaface.init(&(&path / "h"), C, D).unwrap()));
    }
    losses
}

/// Only the direction of an embedding counts, also where its square overflows.
#[test]
fn a_length_of_1e30_does_not_count() {
    /// Seven digits of f32, times the scale.
    const WITHIN: f64 = 1e-4;
    let vs = nn::VarStore::new(Device::Cpu);
    let loss = LmclConfig::default().init(&vs.root(), C, D).unwrap();
    let embeddings = Tensor::from_slice2(&[[0.6f32, -0.3, 0.2, 0.7]]);
    let value = |length: f64| {
        let terms = loss.forward(&(&embeddings * length), &Tensor::from_slice(&[1i64])).unwrap();
        terms.report().unwrap().total
    };
    assert!((value(1e30) - value(1.0)).abs() < WITHIN * value(1.0), "{} and {}", value(1e30), value(1.0));
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
    // At the largest scale in use a digit that is lost shows most.
    let lmcl = LmclConfig { scale: 64.0, ..Default::default() };
    let mut loss = SoftLmcclConfig { lmcl, center_weight: 0.1, ..Default::default() }.init(&vs.root(), C, D).unwrap();
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

/// The unit vectors rounded to eight bits and sums that are not; a gradient within what that leaves; nothing in double.
#[test]
fn products_of_bf16_are_those_of_rounded_numbers() {
    const SINGLE: f64 = 1e-5;
    const ROUNDED: f64 = 2e-2;
    let (embeddings, labels) = (
        Tensor::from_slice2(&[[3.0f32, 0.2, -0.3, 1.0], [1.0, -2.0, 0.5, 0.1], [0.3, 0.4, -0.9, -1.3]]),
        Tensor::from_slice(&[1i64, 4, 1]),
    );
    let weight = (Tensor::arange(C * D, (Kind::Float, Device::Cpu)).square() * 0.7 + 0.3).sin().view([C, D]);
    let config = |products| LmclConfig {
        chunks: Chunks { products, classes: Some(2), ..Default::default() },
        ..Default::default()
    };
    let outcome = |products, kind| {
        let mut vs = nn::VarStore::new(Device::Cpu);
        let loss = config(products).init(&vs.root(), C, D).unwrap();
        vs.set_kind(kind);
        loss.prototypes().detach().copy_(&weight);
        let by_embeddings = gradient(&loss, &embeddings, &labels).to_kind(Kind::Double);
        let by_weight = loss.prototypes().grad().to_kind(Kind::Double);
        (super::total(&loss, &embeddings, &labels), by_embeddings, by_weight)
    };
    let LmclConfig { scale, margin, .. } = config(Products::Bf16);
    let rounded = |rows: &Tensor| rows.to_kind(Kind::BFloat16).to_kind(Kind::Double);
    let logits = rounded(&(l2_normalize(&embeddings, 1e-5) * scale)).mm(&rounded(&l2_normalize(&weight, 1e-5)).tr());
    let logits = with_own(&logits, &labels, |own| own - scale * margin);
    let by_hand = cross_entropy(&logits, &labels, Default::default()).double_value(&[]);
    let (whole, whole_by_x, whole_by_w) = outcome(Products::Whole, Kind::Float);
    let (value, by_x, by_w) = outcome(Products::Bf16, Kind::Float);
    assert!((value - by_hand).abs() < SINGLE * by_hand, "{value}, by hand {by_hand}");
    assert!((value - by_hand).abs() < 0.25 * (whole - by_hand).abs(), "{value} is not {whole}");
    for (short, whole) in [(by_x, whole_by_x), (by_w, whole_by_w)] {
        let apart = (&short - &whole).abs().max().double_value(&[]) / whole.abs().max().double_value(&[]);
        assert!(apart < ROUNDED && apart > 10.0 * SINGLE, "{apart}");
    }
    let [double, short] = [Products::Whole, Products::Bf16].map(|products| outcome(products, Kind::Double));
    assert!(double == short);
}
