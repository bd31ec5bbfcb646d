//! Values and gradients that PyTorch and pytorch-metric-learning computed in `f64`.

use serde::{Deserialize, de::DeserializeOwned};
use soft_lmccl::{
    loss::{
        ArcFaceConfig, CenterLossConfig, LmclConfig, Loss, LossConfig, Reduction, SoftLmcclConfig, SoftmaxBranch,
        SoftmaxHeadConfig,
    },
    tch::{Tensor, nn, no_grad_guard},
};

use super::{FIXTURE_REL, assert_close, double, gradient, numbers, set, total};

#[derive(Deserialize)]
struct Fixture<T> {
    cases: Vec<T>,
}

fn cases<T: DeserializeOwned>(json: &str) -> Vec<T> {
    let Fixture { cases } = serde_json::from_str::<Fixture<T>>(json).unwrap();
    assert!(cases.len() > 1, "a fixture with cases");
    cases
}

type Matrix = Vec<Vec<f64>>;

fn tensor(rows: &Matrix) -> Tensor {
    Tensor::from_slice2(rows)
}

fn grad(vs: &nn::VarStore, name: &str) -> Vec<f64> {
    numbers(&vs.variables()[name].grad())
}

#[derive(Deserialize)]
struct CosineCase {
    scale: f64,
    margin: f64,
    embeddings: Matrix,
    labels: Vec<i64>,
    weight_classes_by_dim: Matrix,
    loss_mean: f64,
    grad_embeddings: Matrix,
    grad_weight: Matrix,
    arcface: ArcFaceCase,
}

#[derive(Deserialize)]
struct ArcFaceCase {
    margin_rad: f64,
    loss_mean: f64,
    grad_embeddings: Matrix,
    grad_weight: Matrix,
}

// Equivalent Python, with W stored as [D, C]:
//   loss = CosFaceLoss(num_classes=C, embedding_size=D, margin=margin, scale=scale).double()
//   loss.W.data = torch.tensor(weight_classes_by_dim).T; loss(embeddings, labels).backward()
#[test]
fn lmcl_equals_pytorch_metric_learning() {
    for case in cases::<CosineCase>(include_str!("../../fixtures/lmcl.json")) {
        let weight = tensor(&case.weight_classes_by_dim);
        let config = LmclConfig { scale: case.scale, margin: case.margin, ..Default::default() };
        let (vs, loss) = double(|path| config.init(path, weight.size()[0], weight.size()[1]));
        set(&vs, "weight", &weight);
        let (embeddings, labels) = (tensor(&case.embeddings), Tensor::from_slice(&case.labels));
        assert_close(&[total(&loss, &embeddings, &labels)], &[case.loss_mean], FIXTURE_REL);
        assert_close(&numbers(&gradient(&loss, &embeddings, &labels)), &case.grad_embeddings.concat(), FIXTURE_REL);
        assert_close(&grad(&vs, "weight"), &case.grad_weight.concat(), FIXTURE_REL);
    }
}

// Equivalent Python: ArcFaceLoss(num_classes=C, embedding_size=D, margin=degrees(margin_rad), scale=scale)
#[test]
fn arcface_equals_pytorch_metric_learning() {
    for case in cases::<CosineCase>(include_str!("../../fixtures/lmcl.json")) {
        let weight = tensor(&case.weight_classes_by_dim);
        let config = ArcFaceConfig { scale: case.scale, margin: case.arcface.margin_rad, ..Default::default() };
        let (vs, loss) = double(|path| config.init(path, weight.size()[0], weight.size()[1]));
        set(&vs, "weight", &weight);
        let (embeddings, labels) = (tensor(&case.embeddings), Tensor::from_slice(&case.labels));
        let want = case.arcface;
        assert_close(&[total(&loss, &embeddings, &labels)], &[want.loss_mean], FIXTURE_REL);
        assert_close(&numbers(&gradient(&loss, &embeddings, &labels)), &want.grad_embeddings.concat(), FIXTURE_REL);
        assert_close(&grad(&vs, "weight"), &want.grad_weight.concat(), FIXTURE_REL);
    }
}

#[derive(Deserialize)]
struct CenterCase {
    alpha: f64,
    embeddings: Matrix,
    labels: Vec<i64>,
    centers: Matrix,
    loss_sum: f64,
    loss_mean: f64,
    grad_embeddings_sum: Matrix,
    centers_after: Matrix,
}

// Equivalent Python: loss = 0.5 * ((x - c[y]) ** 2).sum(); then for each class j present
//   c[j] -= alpha * (c[j] - x[y == j]).sum(0) / (1 + (y == j).sum())
#[test]
fn center_loss_and_update_equal_wen() {
    for case in cases::<CenterCase>(include_str!("../../fixtures/center.json")) {
        let centers = tensor(&case.centers);
        let (embeddings, labels) = (tensor(&case.embeddings), Tensor::from_slice(&case.labels));
        for (reduction, value) in [(Reduction::Sum, case.loss_sum), (Reduction::Mean, case.loss_mean)] {
            let config = CenterLossConfig { rate: case.alpha, reduction, ..Default::default() };
            let (vs, mut loss) = double(|path| config.init(path, centers.size()[0], centers.size()[1]));
            set(&vs, "centers", &centers);
            assert_close(&[total(&loss, &embeddings, &labels)], &[value], FIXTURE_REL);
            let scale = if reduction == Reduction::Sum { 1.0 } else { 1.0 / case.labels.len() as f64 };
            let want: Vec<_> = case.grad_embeddings_sum.concat().iter().map(|g| g * scale).collect();
            assert_close(&numbers(&gradient(&loss, &embeddings, &labels)), &want, FIXTURE_REL);
            loss.update(&embeddings, &labels).unwrap();
            assert_close(&numbers(&loss.centers()), &case.centers_after.concat(), FIXTURE_REL);
        }
    }
}

#[derive(Deserialize)]
struct SoftLmcclCase {
    scale: f64,
    margin: f64,
    lambda_center: f64,
    embeddings: Matrix,
    labels: Vec<i64>,
    lmcl_weight: Matrix,
    softmax_weight: Matrix,
    softmax_bias: Vec<f64>,
    centers: Matrix,
    lmcl: f64,
    softmax: f64,
    center_mean: f64,
    total: f64,
    grad_embeddings: Matrix,
    grad_lmcl_weight: Matrix,
    grad_softmax_weight: Matrix,
    grad_softmax_bias: Vec<f64>,
}

// Equivalent Python: F.cross_entropy(cosface_logits(x, W), y)
//   + lambda_center * (0.5 * ((x - c[y]) ** 2).sum(1)).mean() + F.cross_entropy(F.linear(x, V, b), y)
#[test]
fn soft_lmccl_equals_pytorch() {
    for case in cases::<SoftLmcclCase>(include_str!("../../fixtures/soft_lmccl.json")) {
        let config = SoftLmcclConfig {
            lmcl: LmclConfig { scale: case.scale, margin: case.margin, ..Default::default() },
            center_weight: case.lambda_center,
            softmax: SoftmaxBranch::Own(SoftmaxHeadConfig::default()),
            ..Default::default()
        };
        let centers = tensor(&case.centers);
        let (vs, loss) = double(|path| config.init(path, centers.size()[0], centers.size()[1]));
        set(&vs, "lmcl.weight", &tensor(&case.lmcl_weight));
        set(&vs, "softmax.weight", &tensor(&case.softmax_weight));
        set(&vs, "softmax.bias", &Tensor::from_slice(&case.softmax_bias));
        set(&vs, "center.centers", &centers);
        let (embeddings, labels) = (tensor(&case.embeddings), Tensor::from_slice(&case.labels));
        let report = loss.forward(&embeddings, &labels).unwrap().report().unwrap();
        let values: Vec<_> = report.terms.iter().map(|term| term.value).collect();
        assert_close(&values, &[case.lmcl, case.center_mean, case.softmax], FIXTURE_REL);
        assert_close(&[report.total], &[case.total], FIXTURE_REL);
        assert_close(&numbers(&gradient(&loss, &embeddings, &labels)), &case.grad_embeddings.concat(), FIXTURE_REL);
        assert_close(&grad(&vs, "lmcl.weight"), &case.grad_lmcl_weight.concat(), FIXTURE_REL);
        assert_close(&grad(&vs, "softmax.weight"), &case.grad_softmax_weight.concat(), FIXTURE_REL);
        assert_close(&grad(&vs, "softmax.bias"), &case.grad_softmax_bias, FIXTURE_REL);
    }
}

#[derive(Deserialize)]
struct FamilyCase {
    config: LossConfig,
    class_weights: Option<Vec<f64>>,
    embeddings: Matrix,
    labels: Vec<i64>,
    weight: Matrix,
    bias: Option<Vec<f64>>,
    loss: f64,
    grad_embeddings: Matrix,
    grad_weight: Matrix,
    grad_bias: Option<Vec<f64>>,
    /// Of AdaFace.
    norms: Option<Vec<f64>>,
    norms_after: Option<Vec<f64>>,
    loss_in_evaluation: Option<f64>,
}

fn weighted(
    config: LossConfig,
    weights: &[f64],
    path: &nn::Path<'_>,
    c: i64,
    d: i64,
) -> soft_lmccl::Result<Box<dyn Loss>> {
    Ok(match config {
        LossConfig::Softmax(config) => Box::new(config.init(path, c, d)?.with_class_weights(path, weights)?),
        LossConfig::Lmcl(config) => Box::new(config.init(path, c, d)?.with_class_weights(path, weights)?),
        LossConfig::CombinedMargin(config) => Box::new(config.init(path, c, d)?.with_class_weights(path, weights)?),
        LossConfig::Adaface(config) => Box::new(config.init(path, c, d)?.with_class_weights(path, weights)?),
        config => panic!("no case has class weights with {config:?}"),
    })
}

// Equivalent Python: family.py
#[test]
fn the_family_equals_pytorch() {
    const CLASSES: i64 = 5;
    let cases = cases::<FamilyCase>(include_str!("../../fixtures/family.json"));
    for case in cases {
        let name = format!("{:?}", case.config);
        let dim = case.embeddings[0].len() as i64;
        let (vs, mut loss) = double(|path| match &case.class_weights {
            Some(weights) => weighted(case.config, weights, path, CLASSES, dim),
            None => case.config.init(path, CLASSES, dim),
        });
        set(&vs, "weight", &tensor(&case.weight));
        for (variable, values) in [("bias", &case.bias), ("norms", &case.norms)] {
            if let Some(values) = values {
                set(&vs, variable, &Tensor::from_slice(values));
            }
        }
        let (embeddings, labels) = (tensor(&case.embeddings), Tensor::from_slice(&case.labels));
        // In training: where the embeddings take a gradient.
        let trained = loss.forward(&embeddings.copy().set_requires_grad(true), &labels).unwrap();
        assert_close(&[trained.report().unwrap().total], &[case.loss], FIXTURE_REL);
        let by_embeddings = gradient(loss.as_ref(), &embeddings, &labels);
        assert_close(&numbers(&by_embeddings), &case.grad_embeddings.concat(), FIXTURE_REL);
        assert_close(&grad(&vs, "weight"), &case.grad_weight.concat(), FIXTURE_REL);
        if let Some(want) = &case.grad_bias {
            assert_close(&grad(&vs, "bias"), want, FIXTURE_REL);
        }
        let Some((before, after)) = case.norms.zip(case.norms_after) else { continue };
        let in_evaluation = case.loss_in_evaluation.unwrap();
        assert!((case.loss - in_evaluation).abs() > 1e-5 * case.loss, "{name} tells training from evaluation");
        assert_close(&[total(loss.as_ref(), &embeddings, &labels)], &[in_evaluation], FIXTURE_REL);
        {
            let _frozen = no_grad_guard();
            let under_guard = total(loss.as_ref(), &embeddings.copy().set_requires_grad(true), &labels);
            assert_close(&[under_guard], &[in_evaluation], FIXTURE_REL);
        }
        // All of that wrote nothing; an update writes what the training's forward took.
        assert_close(&numbers(&vs.variables()["norms"]), &before, 0.0);
        loss.update(&embeddings, &labels).unwrap();
        assert_close(&numbers(&vs.variables()["norms"]), &after, FIXTURE_REL);
        assert_close(&[total(loss.as_ref(), &embeddings, &labels)], &[case.loss], FIXTURE_REL);
    }
}
