//! The closed form, the plain formula and the chunked passes are one loss.

use proptest::prelude::*;
use soft_lmccl::{
    loss::{
        ArcFaceConfig, CenterLossConfig, Chunked, Chunks, GradientPath, Guarded, LmclConfig, Loss, LossTerms,
        Negatives, NormalizedSoftmaxConfig, Reduction, SoftLmcclConfig, SoftmaxBranch, SoftmaxHeadConfig,
    },
    tch::{Device, Kind, Tensor, nn, no_grad_guard},
};

use super::{Case, F64_SUM_REL, assert_close, case, double, numbers, set, total};

/// A scale at which the softmax is neither flat nor saturated on every case.
const SCALE: f64 = 8.0;

/// Where the choice by size changes.
const FEW_LOGITS: usize = 1 << 12;
const MANY_LOGITS: usize = 1 << 20;

/// The plain path first, which the others are held against.
const WAYS: [GradientPath; 3] = [GradientPath::Plain, GradientPath::ClosedForm, GradientPath::BySize];

/// How many [`Asked::losses`] makes.
const LOSSES: usize = 6;

/// Every head that has a closed form, alone and joined, with what may be asked of it.
#[derive(Debug, Clone, Copy)]
struct Asked {
    margin: f64,
    bias: bool,
    reduction: Reduction,
    shared: bool,
    center_weight: f64,
    softmax_weight: f64,
}

fn asked() -> impl Strategy<Value = Asked> {
    (0.0..1.1f64, any::<bool>(), any::<bool>(), any::<bool>(), 0.0..1.0f64, 0.0..2.0f64).prop_map(
        |(margin, bias, sum, shared, center_weight, softmax_weight)| Asked {
            // Half of the cases without a margin.
            margin: (margin - 0.5).max(0.0),
            bias,
            reduction: if sum { Reduction::Sum } else { Reduction::Mean },
            shared,
            center_weight,
            softmax_weight,
        },
    )
}

impl Asked {
    fn lmcl(self, gradient: GradientPath) -> LmclConfig {
        let Self { margin, bias, reduction, .. } = self;
        LmclConfig { scale: SCALE, margin, bias, reduction, gradient, ..Default::default() }
    }

    fn softmax(self, gradient: GradientPath) -> SoftmaxHeadConfig {
        SoftmaxHeadConfig { bias: self.bias, reduction: self.reduction, gradient }
    }

    fn normalized(self, gradient: GradientPath) -> NormalizedSoftmaxConfig {
        NormalizedSoftmaxConfig { scale: SCALE, reduction: self.reduction, gradient }
    }

    fn arcface(self) -> ArcFaceConfig {
        ArcFaceConfig { scale: SCALE, margin: self.margin, reduction: self.reduction }
    }

    fn soft_lmccl(self, gradient: GradientPath) -> SoftLmcclConfig {
        SoftLmcclConfig {
            lmcl: self.lmcl(gradient),
            center: CenterLossConfig { reduction: self.reduction, ..Default::default() },
            center_weight: self.center_weight,
            softmax: match self.shared {
                true => SoftmaxBranch::SharedCosine,
                false => SoftmaxBranch::Own(self.softmax(gradient)),
            },
            softmax_weight: self.softmax_weight,
        }
    }

    /// A sum with a weighted sum in it, with and without heads.
    fn sum(
        self,
        gradient: GradientPath,
        path: &nn::Path<'_>,
        c: i64,
        d: i64,
    ) -> soft_lmccl::Result<impl Chunked + 'static> {
        let inner = self.lmcl(gradient).init(&(path / "lmcl"), c, d)?;
        let center = CenterLossConfig { reduction: self.reduction, ..Default::default() };
        let center = center.init(&(path / "center"), c, d)?;
        let softmax = self.softmax(gradient).init(&(path / "softmax"), c, d)?;
        Ok(self.softmax_weight * (self.center_weight * center + Guarded { inner }) + 0.5 * softmax)
    }

    fn losses(
        self,
        gradient: GradientPath,
        path: &nn::Path<'_>,
        case: &Case,
    ) -> soft_lmccl::Result<[Box<dyn Chunked>; LOSSES]> {
        let (c, d) = (case.classes as i64, case.dim as i64);
        Ok([
            Box::new(self.lmcl(gradient).init(&(path / "lmcl"), c, d)?),
            Box::new(self.softmax(gradient).init(&(path / "softmax"), c, d)?),
            Box::new(self.normalized(gradient).init(&(path / "normalized"), c, d)?),
            Box::new(self.soft_lmccl(gradient).init(&(path / "soft_lmccl"), c, d)?),
            Box::new(self.sum(gradient, &(path / "sum"), c, d)?),
            Box::new(self.arcface().init(&(path / "arcface"), c, d)?),
        ])
    }
}

/// The case's weights in every head, biases that differ from class to class, centers off the origin.
fn fill(vs: &nn::VarStore, case: &Case) {
    for (name, variable) in vs.variables() {
        let values = match name.rsplit('.').next() {
            Some("weight") => case.weight(),
            Some("centers") => case.weight() * 0.5,
            Some("bias") => Tensor::from_slice(&case.weight[..case.classes]) * 0.5,
            _ => continue,
        };
        set(vs, &name, &values.view_as(&variable));
    }
}

/// Values of the terms, then the gradients by the embeddings and by every variable in order of name.
fn evaluate(loss: &dyn Loss, vs: &nn::VarStore, embeddings: &Tensor, labels: &Tensor) -> Vec<Vec<f64>> {
    let embeddings = embeddings.copy().set_requires_grad(true);
    let terms = loss.forward(&embeddings, labels).unwrap();
    let mut found: Vec<Vec<f64>> = terms.iter().map(|term| numbers(&term.value)).collect();
    // An outer weight that no loss knows of.
    (terms.total() * 1.7).backward();
    found.push(numbers(&embeddings.grad()));
    found.extend(gradients(vs));
    found
}

fn gradients(vs: &nn::VarStore) -> Vec<Vec<f64>> {
    let mut variables: Vec<_> = vs.variables().into_iter().filter(|(_, v)| v.requires_grad()).collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    variables.into_iter().filter(|(_, v)| v.grad().defined()).map(|(_, v)| numbers(&v.grad())).collect()
}

/// Equal within rounding of numbers around 1, which the gradients of a case are sums of.
#[track_caller]
fn assert_same(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(1.0f64, |size, x| size.max(x.abs()));
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= F64_SUM_REL * size, "at {index}: got {got}, want {want}");
    }
}

/// Ties among classes, and a row without a direction.
fn hard(case: &Case, kind: usize) -> Case {
    let mut case = case.clone();
    let dim = case.dim;
    match kind {
        0 => {}
        1 => case.weight.copy_within(..dim, dim),
        2 => case.embeddings[..dim].fill(0.0),
        3 => case.weight[..dim].fill(0.0),
        // Under the floor of the norms, where a row is no longer turned but moved.
        _ => {
            case.weight[..dim].fill(1e-7);
            case.embeddings[dim..2 * dim].fill(1e-7);
        }
    }
    case
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_way_is_the_plain_formula(case in case(), asked in asked(), kind in 0..5usize) {
        let case = hard(&case, kind);
        for index in 0..LOSSES {
            let [plain, others @ ..] = WAYS.map(|gradient| {
                let (vs, losses) = double(|path| asked.losses(gradient, path, &case));
                fill(&vs, &case);
                evaluate(losses[index].as_ref(), &vs, &case.embeddings(), &case.labels())
            });
            prop_assert!(plain.len() >= 3);
            for other in &others {
                prop_assert_eq!(other.len(), plain.len());
                for (other, plain) in other.iter().zip(&plain) {
                    assert_same(other, plain);
                }
            }
        }
    }

    /// Each term of the joined loss on its own, as a user who weights them by hand has it.
    #[test]
    fn terms_can_be_differentiated_one_by_one(case in case(), asked in asked()) {
        for name in ["lmcl", "center", "softmax"] {
            let [plain, others @ ..] = WAYS.map(|gradient| {
                let (vs, loss) = double(|path| asked.soft_lmccl(gradient).init(path, case.classes as i64, case.dim as i64));
                fill(&vs, &case);
                let embeddings = case.embeddings().set_requires_grad(true);
                loss.forward(&embeddings, &case.labels()).unwrap().get(name).unwrap().backward();
                let mut found = gradients(&vs);
                found.push(numbers(&embeddings.grad()));
                found
            });
            for other in &others {
                prop_assert_eq!(other.len(), plain.len());
                for (other, plain) in other.iter().zip(&plain) {
                    assert_same(other, plain);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// At any number of classes at a time, with all, some or none of the logits kept, twice over (a
    /// gradient is added to the one that is there).
    #[test]
    fn chunks_change_nothing(case in case(), asked in asked(), kind in 0..5usize, classes in 1..8i64, keep in 0..6usize) {
        const TIMES: usize = 2;
        let case = hard(&case, kind);
        // Bytes of so many chunks.
        let keep = keep * case.labels.len() * classes as usize * size_of::<f64>();
        for index in 0..LOSSES {
            let (vs, losses) = double(|path| asked.losses(GradientPath::Plain, path, &case));
            fill(&vs, &case);
            let want_embeddings = case.embeddings().set_requires_grad(true);
            let terms = losses[index].forward(&want_embeddings, &case.labels()).unwrap();
            (terms.total() * TIMES as f64).backward();
            let want = gradients(&vs);

            let (vs, losses) = double(|path| asked.losses(GradientPath::ClosedForm, path, &case));
            fill(&vs, &case);
            let embeddings = case.embeddings().set_requires_grad(true);
            let mut report = None;
            for _ in 0..TIMES {
                report = Some(losses[index].forward_backward(&embeddings, &case.labels(), Chunks { classes, keep }).unwrap());
            }
            let (report, plain) = (report.unwrap(), terms.report().unwrap());
            prop_assert_eq!(report.terms.len(), plain.terms.len());
            for (got, want) in report.terms.iter().zip(&plain.terms) {
                prop_assert_eq!((&got.name, got.weight), (&want.name, want.weight));
                assert_same(&[got.value], &[want.value]);
            }
            assert_same(&numbers(&embeddings.grad()), &numbers(&want_embeddings.grad()));
            let got = gradients(&vs);
            prop_assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(&want) {
                assert_same(got, want);
            }
        }
    }

    /// Half of the negatives: the loss of exactly those classes, the same again until `update`, and
    /// no gradient for the others.
    #[test]
    fn sampled_negatives_are_a_smaller_head(case in case(), asked in asked(), share in 0.05..1.0f64, seed in 0..1000u64) {
        let (c, d) = (case.classes as i64, case.dim as i64);
        let (x, y) = (case.embeddings(), case.labels());
        for gradient in WAYS {
            let config = LmclConfig { negatives: Negatives { share, seed }, ..asked.lmcl(gradient) };
            let (vs, mut loss) = double(|path| config.init(path, c, d));
            fill(&vs, &case);
            let value = total(&loss, &x, &y);
            prop_assert_eq!(total(&loss, &x, &y).to_bits(), value.to_bits());
            loss.forward(&x, &y).unwrap().total().backward();
            let grad = vs.variables()["weight"].grad();
            // In general position every class that takes part has a gradient.
            let length = grad.norm_scalaropt_dim(2, [-1i64].as_slice(), false);
            let taking_part: Vec<i64> = (0..c).filter(|&class| length.double_value(&[class]) > 0.0).collect();
            let mut shown = case.labels.clone();
            shown.sort_unstable();
            shown.dedup();
            let negatives = (share * (case.classes - shown.len()) as f64).ceil() as usize;
            if d > 1 {
                prop_assert_eq!(taking_part.len(), shown.len() + negatives);
                prop_assert!(shown.iter().all(|class| taking_part.contains(class)));
                if taking_part.len() > 1 {
                    let (small_vs, small) = double(|path| asked.lmcl(GradientPath::Plain).init(path, taking_part.len() as i64, d));
                    let rows = Tensor::from_slice(&taking_part);
                    for (name, variable) in small_vs.variables() {
                        set(&small_vs, &name, &vs.variables()[&name].detach().index_select(0, &rows).view_as(&variable));
                    }
                    let labels: Vec<i64> = case.labels.iter().map(|label| taking_part.binary_search(label).unwrap() as i64).collect();
                    let small = small.forward(&x, &Tensor::from_slice(&labels)).unwrap();
                    small.total().backward();
                    assert_same(&[value], &numbers(&small.total()));
                    assert_same(&numbers(&grad.index_select(0, &rows)), &numbers(&small_vs.variables()["weight"].grad()));
                }
            }
            // In chunks likewise.
            let whole = numbers(&grad);
            let _ = grad.shallow_clone().zero_();
            let report = loss.forward_backward(&x, &y, Chunks { classes: 2, keep: 0 }).unwrap();
            assert_same(&[report.total], &[value]);
            assert_same(&numbers(&vs.variables()["weight"].grad()), &whole);
            loss.update(&x, &y).unwrap();
            prop_assert_eq!(vs.variables()["draws"].int64_value(&[0]), 1);
        }
    }

    #[test]
    fn a_share_of_one_is_the_full_loss(case in case(), asked in asked()) {
        let (c, d) = (case.classes as i64, case.dim as i64);
        let config = LmclConfig { negatives: Negatives { share: 1.0, seed: 5 }, ..asked.lmcl(GradientPath::ClosedForm) };
        let (vs, loss) = double(|path| config.init(path, c, d));
        fill(&vs, &case);
        let (full_vs, full) = double(|path| asked.lmcl(GradientPath::ClosedForm).init(path, c, d));
        fill(&full_vs, &case);
        prop_assert_eq!(
            evaluate(&loss, &vs, &case.embeddings(), &case.labels()),
            evaluate(&full, &full_vs, &case.embeddings(), &case.labels())
        );
    }
}

/// Draws depend on the seed and on the number of updates, and differ between either.
#[test]
fn draws_are_a_function_of_seed_and_update() {
    const CLASSES: i64 = 200;
    let labels = Tensor::from_slice(&[3i64, 150]);
    let embeddings = Tensor::from_slice2(&[[0.3f64, -1.2, 0.8], [1.0, 0.4, -0.1]]);
    let drawn = |seed: u64, updates: usize| -> Vec<i64> {
        let config = SoftLmcclConfig {
            lmcl: LmclConfig { negatives: Negatives { share: 0.1, seed }, ..Default::default() },
            softmax: SoftmaxBranch::SharedCosine,
            ..Default::default()
        };
        let (vs, mut loss) = double(|path| config.init(path, CLASSES, 3));
        for _ in 0..updates {
            loss.update(&embeddings, &labels).unwrap();
        }
        // A softmax without temperature would leave most rows without a gradient to see.
        let rows = Tensor::arange(CLASSES * 3, (soft_lmccl::tch::Kind::Double, soft_lmccl::tch::Device::Cpu)).sin();
        set(&vs, "lmcl.weight", &rows.view([CLASSES, 3]));
        loss.forward(&embeddings, &labels).unwrap().total().backward();
        let grad = vs.variables()["lmcl.weight"].grad();
        (0..CLASSES).filter(|&class| numbers(&grad.get(class)).iter().any(|&g| g != 0.0)).collect()
    };
    // 2 shown, a tenth of 198 others.
    assert_eq!(drawn(1, 0).len(), 22);
    assert!(drawn(1, 0).contains(&3) && drawn(1, 0).contains(&150));
    assert_eq!(drawn(1, 0), drawn(1, 0));
    assert_eq!(drawn(1, 2), drawn(1, 2));
    assert_ne!(drawn(1, 0), drawn(1, 1));
    assert_ne!(drawn(1, 0), drawn(2, 0));
}

/// A gradient penalty: the plain path differentiates the gradient again, the closed form has no
/// second derivative, as its documentation says.
#[test]
fn only_the_plain_path_has_second_derivatives() {
    /// Half the step of the central difference, and how far it may be from the second derivative.
    const STEP: f64 = 1e-5;
    const SECOND_REL: f64 = 1e-6;
    let weight = Tensor::from_slice2(&[[0.9f64, -0.4], [0.1, 1.3], [-0.7, 0.2]]);
    let labels = Tensor::from_slice(&[2i64]);
    let second = |gradient| {
        let config = SoftmaxHeadConfig { gradient, ..Default::default() };
        let (vs, loss) = double(|path| config.init(path, 3, 2));
        set(&vs, "weight", &weight);
        let first = |at: f64, keep: bool| {
            let embeddings = Tensor::from_slice2(&[[at, -0.6]]).set_requires_grad(true);
            let total = loss.forward(&embeddings, &labels).unwrap().total();
            let slope = Tensor::run_backward(&[total], &[&embeddings], keep, keep).remove(0).select(1, 0).select(0, 0);
            (embeddings, slope)
        };
        let (embeddings, slope) = first(0.3, true);
        let second = match slope.requires_grad() {
            true => numbers(&Tensor::run_backward(&[slope], &[&embeddings], false, false)[0])[0],
            false => 0.0,
        };
        let difference =
            (numbers(&first(0.3 + STEP, false).1)[0] - numbers(&first(0.3 - STEP, false).1)[0]) / (2.0 * STEP);
        (second, difference)
    };
    let (plain, difference) = second(GradientPath::Plain);
    assert_close(&[plain], &[difference], SECOND_REL);
    let (closed, difference) = second(GradientPath::ClosedForm);
    assert!((closed - difference).abs() > 0.1 * difference.abs(), "{closed} is the second derivative {difference}");
}

/// On both sides of the sizes at which the choice changes.
#[test]
fn every_size_is_the_plain_formula() {
    let asked = Asked {
        margin: 0.3,
        bias: true,
        reduction: Reduction::Mean,
        shared: true,
        center_weight: 0.4,
        softmax_weight: 1.5,
    };
    let waves = |count: usize, step: f64| (0..count).map(|index| (index as f64 * step).sin()).collect::<Vec<_>>();
    for (batch, classes) in [(8, FEW_LOGITS / 8), (8, FEW_LOGITS / 8 + 1), (5, MANY_LOGITS / 5 + 1)] {
        let case = Case {
            classes,
            dim: 3,
            embeddings: waves(batch * 3, 0.7),
            weight: waves(classes * 3, 0.37),
            labels: (0..batch as i64).map(|sample| sample * sample % classes as i64).collect(),
        };
        for index in 0..LOSSES {
            let [plain, by_size] = [GradientPath::Plain, GradientPath::BySize].map(|gradient| {
                let (vs, losses) = double(|path| asked.losses(gradient, path, &case));
                fill(&vs, &case);
                evaluate(losses[index].as_ref(), &vs, &case.embeddings(), &case.labels())
            });
            assert_eq!(by_size.len(), plain.len());
            for (by_size, plain) in by_size.iter().zip(&plain) {
                assert_same(by_size, plain);
            }
        }
    }
}

/// Past a number of logits the choice by size is autograd, which on a linear head is the plain path: to the bit, and
/// not so below.
#[test]
fn few_logits_are_differentiated_on_the_host() {
    let value = |gradient: GradientPath, classes: usize| {
        let config = SoftmaxHeadConfig { gradient, ..Default::default() };
        let (vs, loss) = double(|path| config.init(path, classes as i64, 2));
        let angles = Tensor::arange(classes as i64 * 2, (Kind::Double, Device::Cpu)).sin();
        set(&vs, "weight", &angles.view([-1, 2]));
        let embeddings = Tensor::from_slice2(&[[0.3f64, -1.2], [0.8, 1.0]]);
        loss.forward(&embeddings, &Tensor::from_slice(&[3i64, 150])).unwrap().total().backward();
        numbers(&vs.variables()["weight"].grad())
    };
    let few = FEW_LOGITS / 2;
    assert!(value(GradientPath::BySize, few) != value(GradientPath::Plain, few));
    assert!(value(GradientPath::BySize, few + 1) == value(GradientPath::Plain, few + 1));
}

/// Past a number of logits the choice by size is the closed form: to the bit, and not so below.
#[test]
fn many_logits_are_differentiated_in_closed_form() {
    let value = |gradient: GradientPath, batch: i64| {
        const CLASSES: i64 = MANY_LOGITS as i64 / 4;
        let config = NormalizedSoftmaxConfig { gradient, ..Default::default() };
        let (vs, loss) = double(|path| config.init(path, CLASSES, 2));
        let angles = Tensor::arange(CLASSES * 2, (Kind::Double, Device::Cpu)).sin();
        set(&vs, "weight", &angles.view([CLASSES, 2]));
        let embeddings = Tensor::from_slice(&[0.3f64, -1.2, 0.8, 1.0, 0.4, -0.1, 0.2, 0.6, -0.9, 0.5]).view([5, 2]);
        let labels = Tensor::from_slice(&[3i64, 150, 0, 77, 4_000]);
        let terms = loss.forward(&embeddings.narrow(0, 0, batch), &labels.narrow(0, 0, batch)).unwrap();
        terms.total().backward();
        (numbers(&terms.total())[0].to_bits(), numbers(&vs.variables()["weight"].grad()))
    };
    assert!(value(GradientPath::BySize, 5) == value(GradientPath::ClosedForm, 5));
    assert!(value(GradientPath::BySize, 4) != value(GradientPath::ClosedForm, 4));
}

/// A validation loss records nothing.
#[test]
fn without_gradients_there_is_only_the_value() {
    let case = Case {
        classes: 3,
        dim: 2,
        embeddings: vec![0.3, -0.6, 1.0, 0.2],
        weight: vec![0.9, -0.4, 0.1, 1.3, -0.7, 0.2],
        labels: vec![2, 0],
    };
    let (vs, loss) = double(|path| SoftLmcclConfig::default().init(path, 3, 2));
    fill(&vs, &case);
    let tracked = loss.forward(&case.embeddings(), &case.labels()).unwrap();
    let _frozen = no_grad_guard();
    let frozen = loss.forward(&case.embeddings(), &case.labels()).unwrap();
    let recorded = |terms: &LossTerms| terms.iter().filter(|term| term.value.requires_grad()).count();
    assert_eq!((recorded(&tracked), recorded(&frozen)), (2, 0));
    assert_eq!(frozen.report().unwrap(), tracked.report().unwrap());
}

/// What is frozen gets no gradient; all the rest gets the one of forward and backward.
#[test]
fn chunks_pass_frozen_heads_by() {
    let embeddings = || Tensor::from_slice2(&[[1.0, 2.0, -0.5], [0.3, -1.0, 2.0]]).set_requires_grad(true);
    let labels = Tensor::from_slice(&[2i64, 0]);
    for frozen in ["lmcl.weight", "softmax.weight", "softmax.bias"] {
        let (vs, loss) = double(|path| SoftLmcclConfig::default().init(path, 3, 3));
        set(&vs, "lmcl.weight", &Tensor::from_slice2(&[[1.0, 0.2, 0.1], [-1.0, 2.0, 0.4], [0.3, 0.3, -1.0]]));
        set(&vs, "softmax.weight", &Tensor::from_slice2(&[[0.1, 0.2, 0.3], [-0.4, 0.2, 0.9], [0.7, -0.3, 0.5]]));
        let _ = vs.variables()[frozen].set_requires_grad(false);
        let gradients = || -> Vec<(String, Vec<f64>)> {
            let mut all: Vec<_> = vs.variables().into_iter().filter(|(_, variable)| variable.requires_grad()).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all.into_iter().map(|(name, variable)| (name, numbers(&variable.grad()))).collect()
        };
        let whole = embeddings();
        loss.forward(&whole, &labels).unwrap().total().backward();
        let expected = gradients();
        vs.trainable_variables().iter_mut().for_each(Tensor::zero_grad);
        let chunked = embeddings();
        let _ = loss.forward_backward(&chunked, &labels, Chunks { classes: 2, ..Default::default() }).unwrap();
        assert_close(&numbers(&chunked.grad()), &numbers(&whole.grad()), F64_SUM_REL);
        let found = gradients();
        assert_eq!(found.len(), 2);
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            assert!(expected.iter().any(|&slope| slope != 0.0), "{name}");
            assert_close(found, expected, F64_SUM_REL);
        }
        assert!(!vs.variables()[frozen].grad().defined());
    }
}
