//! Every loss and option against central differences in `f64`.

use soft_lmccl::{
    loss::{
        AdaFaceConfig, ArcFaceConfig, CenterDistance, CenterLossConfig, CenterSpace, CenterUpdate,
        CombinedMarginConfig, LmclConfig, Loss, NormalizedSoftmaxConfig, Reduction, SoftLmcclConfig, SoftmaxBranch,
        SoftmaxHeadConfig, Targets,
    },
    tch::{Kind, Tensor, nn, no_grad_guard},
};

use super::{double, matrix, numbers, set, total};

/// Half the step of the central difference, and how far it may then be from the gradient.
const STEP: f64 = 1e-5;
const GRADIENT_REL: f64 = 1e-6;

const CLASSES: i64 = 4;
const DIM: i64 = 3;

fn embeddings() -> Tensor {
    matrix(&[0.7, -1.1, 0.4, -0.3, 0.9, 1.2, 1.5, 0.2, -0.8, 0.6, -0.5, 0.3, -1.4, -0.2, 0.1], DIM as usize)
}

/// Class 1 twice and unsorted, class 0 absent.
fn labels() -> Tensor {
    Tensor::from_slice(&[2i64, 1, 3, 1, 2])
}

/// Gives every variable asymmetric values.
fn fill(vs: &nn::VarStore) {
    let mut names: Vec<_> = vs.variables().into_iter().filter(|(_, v)| v.kind() == Kind::Double).collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    for (offset, (name, variable)) in names.into_iter().enumerate() {
        let count = variable.numel();
        let values: Vec<f64> =
            (0..count).map(|i| ((i * 7 + 3 * offset + 1) as f64 * 0.61).sin() * 0.9 + 0.05).collect();
        set(vs, &name, &Tensor::from_slice(&values).view_as(&variable));
    }
}

/// Compares each gradient, by the embeddings and by every trainable variable, with what moving that
/// number changes.
fn check(name: &str, vs: &nn::VarStore, loss: &dyn Loss) {
    fill(vs);
    let (x, y) = (embeddings().set_requires_grad(true), labels());
    loss.forward(&x, &y).unwrap().total().backward();
    let mut inputs = vs.trainable_variables();
    inputs.push(x.shallow_clone());
    assert!(!inputs.is_empty());
    for input in inputs {
        let got = numbers(&input.grad());
        let flat = input.detach().flatten(0, -1);
        let size = got.iter().fold(1e-3f64, |size, g| size.max(g.abs()));
        for (index, &got) in got.iter().enumerate() {
            let at = |step: f64| {
                let _frozen = no_grad_guard();
                let mut place = flat.narrow(0, index as i64, 1);
                let _ = place.g_add_scalar_(step);
                let value = total(loss, &x, &y);
                let _ = place.g_add_scalar_(-step);
                value
            };
            let want = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert!(
                (got - want).abs() <= GRADIENT_REL * size,
                "{name}, input {:?} at {index}: gradient {got}, difference {want}",
                input.size()
            );
        }
    }
}

/// With and without smoothing, with each reduction.
fn ways() -> impl Iterator<Item = (Targets, Reduction)> {
    [0.0, 0.2].into_iter().flat_map(|smoothing| {
        [Reduction::Mean, Reduction::Sum].map(|reduction| (Targets { smoothing, ignore: None }, reduction))
    })
}

#[test]
fn softmax() {
    for bias in [true, false] {
        for (targets, reduction) in ways() {
            let config = SoftmaxHeadConfig { bias, reduction, targets, ..Default::default() };
            let (vs, loss) = double(|path| config.init(path, CLASSES, DIM));
            check(&format!("{config:?}"), &vs, &loss);
        }
    }
}

#[test]
fn normalized_softmax() {
    for (targets, reduction) in ways() {
        let config = NormalizedSoftmaxConfig { scale: 8.0, reduction, targets, ..Default::default() };
        let (vs, loss) = double(|path| config.init(path, CLASSES, DIM));
        check(&format!("{config:?}"), &vs, &loss);
    }
}

#[test]
fn lmcl() {
    for (margin, bias) in [(0.0, false), (0.35, false), (0.35, true), (4.0 / 3.0, false)] {
        for (targets, reduction) in ways() {
            let config = LmclConfig { scale: 8.0, margin, bias, reduction, targets, ..Default::default() };
            let (vs, loss) = double(|path| config.init(path, CLASSES, DIM));
            check(&format!("{config:?}"), &vs, &loss);
        }
    }
}

#[test]
fn arcface() {
    // With 2.5 rad most angles of the fixture are beyond theta + m > pi, the continued branch.
    for margin in [0.0, 0.5, 1.5] {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let config = ArcFaceConfig { scale: 8.0, margin, reduction, ..Default::default() };
            let (vs, loss) = double(|path| config.init(path, CLASSES, DIM));
            check(&format!("{config:?}"), &vs, &loss);
        }
    }
}

#[test]
fn combined_margin() {
    for (factor, angle, cosine) in [(1.0, 0.0, 0.0), (1.0, 0.3, 0.2), (1.7, 0.2, 0.1), (4.0, 0.5, 0.0)] {
        for subcenters in [1, 3] {
            let config = CombinedMarginConfig { scale: 8.0, factor, angle, cosine, subcenters, ..Default::default() };
            let (vs, loss) = double(|path| config.init(path, CLASSES, DIM));
            check(&format!("{config:?}"), &vs, &loss);
        }
    }
}

/// Without the quality's own dependence on the norm, which has no gradient: a difference sees it where embeddings move.
#[test]
fn adaface() {
    for margin in [0.0, 0.4] {
        for subcenters in [1, 2] {
            // So concentrated that every quality is 1 or −1, whatever moves.
            let config = AdaFaceConfig { scale: 8.0, margin, subcenters, concentration: 1e6, ..Default::default() };
            let (vs, loss) = double(|path| config.init(path, CLASSES, DIM));
            check(&format!("{config:?}"), &vs, &loss);
        }
    }
}

#[test]
fn class_weights() {
    let weights = [0.5, 2.0, 1.5, 0.7];
    for (targets, reduction) in ways() {
        let config = LmclConfig { scale: 8.0, targets, reduction, ..Default::default() };
        let (vs, loss) = double(|path| config.init(path, CLASSES, DIM)?.with_class_weights(path, &weights));
        check(&format!("{config:?}"), &vs, &loss);
    }
}

#[test]
fn center() {
    let rules = [
        CenterUpdate::Wen,
        CenterUpdate::Ema,
        CenterUpdate::ClassMean,
        CenterUpdate::Literal,
        // The one rule whose centers the optimizer moves: `check` sees their gradient too.
        CenterUpdate::Gradient,
    ];
    for rule in rules {
        for distance in [CenterDistance::Squared, CenterDistance::Euclidean] {
            for space in [CenterSpace::Raw, CenterSpace::UnitSphere] {
                for reduction in [Reduction::Mean, Reduction::Sum] {
                    let config = CenterLossConfig { rule, distance, space, reduction, ..Default::default() };
                    let (vs, loss) = double(|path| config.init(path, CLASSES, DIM));
                    assert_eq!(vs.trainable_variables().len(), usize::from(rule == CenterUpdate::Gradient));
                    check(&format!("{config:?}"), &vs, &loss);
                }
            }
        }
    }
}

#[test]
fn soft_lmccl() {
    let small = |config: SoftLmcclConfig| SoftLmcclConfig {
        lmcl: LmclConfig { scale: 8.0, ..config.lmcl },
        center_weight: 0.3,
        softmax_weight: 0.7,
        ..config
    };
    let shared = SoftLmcclConfig { softmax: SoftmaxBranch::SharedCosine, ..Default::default() };
    for config in [SoftLmcclConfig::default(), SoftLmcclConfig::official_code(), SoftLmcclConfig::as_printed(), shared]
    {
        let config = small(config);
        let (vs, loss) = double(|path| config.init(path, CLASSES, DIM));
        check(&format!("{config:?}"), &vs, &loss);
    }
}

#[test]
fn composed() {
    let (vs, loss) = double(|path| {
        Ok(LmclConfig { scale: 8.0, ..Default::default() }.init(&(path / "a"), CLASSES, DIM)?
            + 0.3
                * (CenterLossConfig::default().init(&(path / "b"), CLASSES, DIM)?
                    + 2.0 * SoftmaxHeadConfig::default().init(&(path / "c"), CLASSES, DIM)?))
    });
    check("lmcl + 0.3 * (center + 2 * softmax)", &vs, &loss);
}
