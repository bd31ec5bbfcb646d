//! The closed form in chunks, the recorded formula and the formulas of `functional` are one loss.

use proptest::prelude::*;
use soft_lmccl::{
    loss::{
        AdaFaceConfig, ArcFaceConfig, CenterLossConfig, Chunks, CombinedMarginConfig, Guarded, LmclConfig, Loss,
        Negatives, NormalizedSoftmaxConfig, Reduction, SoftLmcclConfig, SoftmaxBranch, SoftmaxHeadConfig, Targets,
        functional::{additive_angular_margin, combined_margin, cosine_similarity},
    },
    tch::{Tensor, nn, no_grad_guard},
};

use super::{Case, F64_SUM_REL, assert_close, case, cross_entropy, double, matrix, numbers, set, total, with_own};

/// A scale at which the softmax is neither flat nor saturated on every case, and one that wants a maximum taken off.
const SCALES: [f64; 2] = [8.0, 400.0];

/// What may be asked of a head.
#[derive(Debug, Clone, Copy)]
struct Asked {
    scale: f64,
    margin: f64,
    bias: bool,
    subcenters: i64,
    smoothing: f64,
    weighted: bool,
    reduction: Reduction,
    shared: bool,
    center_weight: f64,
    softmax_weight: f64,
}

fn asked() -> impl Strategy<Value = Asked> {
    let head = (0.0..1.1f64, 0..3i64, 0.0..0.6f64, any::<[bool; 3]>());
    (head, any::<bool>(), 0.0..1.0f64, 0.0..2.0f64).prop_map(
        |((margin, prototypes, smoothing, [steep, weighted, sum]), shared, center_weight, softmax_weight)| Asked {
            scale: SCALES[usize::from(steep)],
            // Half of the cases without a margin, and without smoothing.
            margin: (margin - 0.5).max(0.0),
            bias: prototypes == 2,
            subcenters: if prototypes == 1 { 3 } else { 1 },
            smoothing: (smoothing - 0.3).max(0.0),
            weighted,
            reduction: if sum { Reduction::Sum } else { Reduction::Mean },
            shared,
            center_weight,
            softmax_weight,
        },
    )
}

/// How many [`Asked::losses`] makes.
const LOSSES: usize = 8;

impl Asked {
    fn targets(self) -> Targets {
        Targets { smoothing: self.smoothing, ignore: None }
    }

    fn lmcl(self, chunks: Chunks) -> LmclConfig {
        let Self { scale, margin, bias, subcenters, reduction, .. } = self;
        let targets = self.targets();
        LmclConfig { scale, margin, bias, subcenters, reduction, targets, chunks, ..Default::default() }
    }

    fn softmax(self, chunks: Chunks) -> SoftmaxHeadConfig {
        let Self { bias, reduction, .. } = self;
        SoftmaxHeadConfig { bias, reduction, targets: self.targets(), chunks, ..Default::default() }
    }

    fn normalized(self, chunks: Chunks) -> NormalizedSoftmaxConfig {
        let Self { scale, subcenters, reduction, .. } = self;
        NormalizedSoftmaxConfig { scale, subcenters, reduction, targets: self.targets(), chunks, ..Default::default() }
    }

    fn arcface(self, chunks: Chunks) -> ArcFaceConfig {
        let Self { scale, margin, subcenters, reduction, .. } = self;
        ArcFaceConfig { scale, margin, subcenters, reduction, targets: self.targets(), chunks, ..Default::default() }
    }

    fn combined(self, chunks: Chunks) -> CombinedMarginConfig {
        let Self { scale, margin, subcenters, reduction, .. } = self;
        let (factor, angle, cosine) = (1.0 + 2.0 * margin, 0.5 * margin, 0.3 * margin);
        let targets = self.targets();
        CombinedMarginConfig {
            scale,
            factor,
            angle,
            cosine,
            subcenters,
            reduction,
            targets,
            chunks,
            ..Default::default()
        }
    }

    fn adaface(self, chunks: Chunks) -> AdaFaceConfig {
        let Self { scale, margin, subcenters, reduction, .. } = self;
        let targets = self.targets();
        // Norms and buffers of which the quality is neither 1 nor −1.
        let concentration = 5.0;
        AdaFaceConfig { scale, margin, subcenters, reduction, targets, chunks, concentration, ..Default::default() }
    }

    fn soft_lmccl(self, chunks: Chunks) -> SoftLmcclConfig {
        SoftLmcclConfig {
            lmcl: self.lmcl(chunks),
            center: CenterLossConfig { reduction: self.reduction, ..Default::default() },
            center_weight: self.center_weight,
            softmax: match self.shared {
                true => SoftmaxBranch::SharedCosine,
                false => SoftmaxBranch::Own(self.softmax(chunks)),
            },
            softmax_weight: self.softmax_weight,
        }
    }

    /// A sum with a weighted sum in it, with and without heads.
    fn sum(self, chunks: Chunks, path: &nn::Path<'_>, c: i64, d: i64) -> soft_lmccl::Result<impl Loss + 'static> {
        let inner = self.lmcl(chunks).init(&(path / "lmcl"), c, d)?;
        let center = CenterLossConfig { reduction: self.reduction, ..Default::default() };
        let center = center.init(&(path / "center"), c, d)?;
        let softmax = self.softmax(chunks).init(&(path / "softmax"), c, d)?;
        Ok(self.softmax_weight * (self.center_weight * center + Guarded { inner }) + 0.5 * softmax)
    }

    fn losses(self, chunks: Chunks, path: &nn::Path<'_>, case: &Case) -> soft_lmccl::Result<[Box<dyn Loss>; LOSSES]> {
        let (c, d) = (case.classes as i64, case.dim as i64);
        // Asymmetric, around 1.
        let weights: Vec<f64> =
            (0..c).map(|class| if self.weighted { 0.6 + 0.3 * class as f64 } else { 1.0 }).collect();
        let weights = &weights;
        Ok([
            Box::new(self.lmcl(chunks).init(&(path / "lmcl"), c, d)?.with_class_weights(&(path / "lmcl"), weights)?),
            Box::new(
                self.softmax(chunks)
                    .init(&(path / "softmax"), c, d)?
                    .with_class_weights(&(path / "softmax"), weights)?,
            ),
            Box::new(
                self.normalized(chunks)
                    .init(&(path / "normalized"), c, d)?
                    .with_class_weights(&(path / "normalized"), weights)?,
            ),
            Box::new(
                self.soft_lmccl(chunks)
                    .init(&(path / "soft_lmccl"), c, d)?
                    .with_class_weights(&(path / "soft_lmccl"), weights)?,
            ),
            Box::new(self.sum(chunks, &(path / "sum"), c, d)?),
            Box::new(
                self.arcface(chunks)
                    .init(&(path / "arcface"), c, d)?
                    .with_class_weights(&(path / "arcface"), weights)?,
            ),
            Box::new(
                self.combined(chunks)
                    .init(&(path / "combined"), c, d)?
                    .with_class_weights(&(path / "combined"), weights)?,
            ),
            Box::new(
                self.adaface(chunks)
                    .init(&(path / "adaface"), c, d)?
                    .with_class_weights(&(path / "adaface"), weights)?,
            ),
        ])
    }
}

/// The case's weights in every head, each sub-center turned a little, biases that differ from class to class, centers off
/// the origin.
fn fill(vs: &nn::VarStore, case: &Case) {
    let dim = case.dim;
    for (name, variable) in vs.variables() {
        let values = match name.rsplit('.').next() {
            Some("weight") => {
                let subcenters = variable.size()[0] / case.classes as i64;
                let turns = (0..subcenters as usize * dim).map(|at| ((at / dim * 7 + at % dim) as f64).sin() * 0.4);
                let turns = matrix(&turns.collect::<Vec<_>>(), dim);
                case.weight().unsqueeze(1) + turns * f64::from(u8::from(subcenters > 1))
            }
            Some("centers") => case.weight() * 0.5,
            Some("bias") => Tensor::from_slice(&case.weight[..case.classes]) * 0.5,
            Some("norms") => Tensor::from_slice(&[1.5, 2.0]),
            _ => continue,
        };
        set(vs, &name, &values.reshape(variable.size()));
    }
}

/// Inputs of the gradient: the embeddings and every variable in order of name.
fn inputs(loss: &dyn Loss, vs: &nn::VarStore, embeddings: &Tensor, labels: &Tensor) -> Vec<Tensor> {
    let mut variables: Vec<_> = vs.variables().into_iter().filter(|(_, v)| v.requires_grad()).collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    // Only those of this loss, among several in one store.
    loss.forward(embeddings, labels).unwrap().total().backward();
    let mut inputs: Vec<_> =
        variables.into_iter().filter(|(_, v)| v.grad().defined()).map(|(_, variable)| variable).collect();
    inputs.push(embeddings.shallow_clone());
    inputs
}

/// Values of the terms, then the gradients of the total, with an outer weight that no loss knows of.
fn evaluate(loss: &dyn Loss, vs: &nn::VarStore, case: &Case, recorded: bool) -> Vec<Vec<f64>> {
    let (embeddings, labels) = (case.embeddings().set_requires_grad(true), case.labels());
    let inputs = inputs(loss, vs, &embeddings, &labels);
    let terms = loss.forward(&embeddings, &labels).unwrap();
    let mut found: Vec<Vec<f64>> = terms.iter().map(|term| numbers(&term.value)).collect();
    let gradients = Tensor::run_backward(&[terms.total() * 1.7], &inputs, recorded, recorded);
    found.extend(gradients.iter().map(numbers));
    found
}

/// Equal within rounding of numbers around 1 times the scale, which the gradients of a case are sums of.
#[track_caller]
fn assert_same(got: &[f64], want: &[f64], scale: f64) {
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(scale / SCALES[0], |size, x| size.max(x.abs()));
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= F64_SUM_REL * size, "at {index}: got {got}, want {want}");
    }
}

#[track_caller]
fn assert_all_same(got: &[Vec<f64>], want: &[Vec<f64>], scale: f64) {
    assert_eq!(got.len(), want.len());
    assert!(want.len() >= 2);
    for (got, want) in got.iter().zip(want) {
        assert_same(got, want, scale);
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
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// At any number of classes at a time, with all, some or none of the logits kept; and as the recorded formula.
    #[test]
    fn chunks_and_records_change_nothing(
        case in case(), asked in asked(), kind in 0..5usize, classes in 1..8i64, keep in 0..6usize,
    ) {
        let case = hard(&case, kind);
        let at = |index: usize, chunks, recorded| {
            let (vs, losses) = double(|path| asked.losses(chunks, path, &case));
            fill(&vs, &case);
            evaluate(losses[index].as_ref(), &vs, &case, recorded)
        };
        // Bytes of so many chunks.
        let keep = keep * case.labels.len() * classes as usize * size_of::<f64>();
        for index in 0..LOSSES {
            let whole = at(index, Chunks::default(), false);
            assert_all_same(&at(index, Chunks { classes: Some(classes), whole: 0, keep, ..Default::default() }, false), &whole, asked.scale);
            assert_all_same(&at(index, Chunks { classes: Some(classes), ..Default::default() }, false), &whole, asked.scale);
            assert_all_same(&at(index, Chunks::default(), true), &whole, asked.scale);
        }
    }

    /// The formulas of `functional`, composed as their documentation says.
    #[test]
    fn heads_are_their_formulas(case in case(), asked in asked()) {
        let asked = Asked { bias: false, subcenters: 1, smoothing: 0.0, weighted: false, ..asked };
        let Asked { scale: s, margin: m, reduction, .. } = asked;
        let (x, w, y) = (case.embeddings().set_requires_grad(true), case.weight().set_requires_grad(true), case.labels());
        let cosine = || cosine_similarity(&x, &w);
        let combined = asked.combined(Chunks::default());
        let margins = [combined.factor, combined.angle, combined.cosine];
        for (index, logits) in [
            (0, with_own(&cosine(), &y, |own| own - m) * s),
            (1, x.mm(&w.tr())),
            (2, cosine() * s),
            (5, with_own(&cosine(), &y, |own| additive_angular_margin(own, m)) * s),
            (6, with_own(&cosine(), &y, |own| combined_margin(own, margins)) * s),
        ] {
            let (vs, losses) = double(|path| asked.losses(Chunks::default(), path, &case));
            fill(&vs, &case);
            let plain = cross_entropy(&logits, &y, reduction) * 1.7;
            let mut want = vec![numbers(&(&plain / 1.7))];
            want.extend(Tensor::run_backward(&[plain], &[&w, &x], false, false).iter().map(numbers));
            assert_all_same(&evaluate(losses[index].as_ref(), &vs, &case, false), &want, s);
        }
    }

    /// Each term of the joined loss on its own, as a user who weights them by hand has it.
    #[test]
    fn terms_can_be_differentiated_one_by_one(case in case(), asked in asked()) {
        let evaluated = |name: &str, recorded| {
            let (vs, loss) = double(|path| asked.soft_lmccl(Chunks::default()).init(path, case.classes as i64, case.dim as i64));
            fill(&vs, &case);
            let embeddings = case.embeddings().set_requires_grad(true);
            let terms = loss.forward(&embeddings, &case.labels()).unwrap();
            numbers(&Tensor::run_backward(&[terms.get(name).unwrap()], &[&embeddings], recorded, recorded)[0])
        };
        for name in ["lmcl", "center", "softmax"] {
            assert_same(&evaluated(name, false), &evaluated(name, true), asked.scale);
        }
    }

    /// Some of the negatives: the loss of exactly those classes, the same again until `update`, and no gradient for the
    /// others, sparse or not.
    #[test]
    fn sampled_negatives_are_a_smaller_head(case in case(), asked in asked(), share in 0.05..1.0f64, seed in 0..1000u64) {
        let asked = Asked { scale: SCALES[0], ..asked };
        let (c, d) = (case.classes as i64, case.dim as i64);
        let (x, y) = (case.embeddings(), case.labels());
        let config = |sparse| LmclConfig { negatives: Negatives { share, seed, sparse }, ..asked.lmcl(Chunks::default()) };
        let (vs, mut loss) = double(|path| config(false).init(path, c, d));
        fill(&vs, &case);
        let value = total(&loss, &x, &y);
        prop_assert_eq!(total(&loss, &x, &y).to_bits(), value.to_bits());
        loss.forward(&x, &y).unwrap().total().backward();
        let grad = vs.variables()["weight"].grad();
        let k = asked.subcenters;
        // In general position every class that takes part has a gradient.
        let length = grad.view([c, -1]).norm_scalaropt_dim(2, [-1i64].as_slice(), false);
        let taking_part: Vec<i64> = (0..c).filter(|&class| length.double_value(&[class]) > 0.0).collect();
        let mut shown = case.labels.clone();
        shown.sort_unstable();
        shown.dedup();
        let negatives = (share * (case.classes - shown.len()) as f64).ceil() as usize;
        prop_assert_eq!(taking_part.len(), shown.len() + negatives);
        prop_assert!(shown.iter().all(|class| taking_part.contains(class)));
        if taking_part.len() > 1 {
            let (small_vs, small) = double(|path| asked.lmcl(Chunks::default()).init(path, taking_part.len() as i64, d));
            let rows: Vec<i64> = taking_part.iter().flat_map(|class| class * k..(class + 1) * k).collect();
            let rows = Tensor::from_slice(&rows);
            for (name, variable) in small_vs.variables() {
                let rows = if name == "bias" { Tensor::from_slice(&taking_part) } else { rows.shallow_clone() };
                set(&small_vs, &name, &vs.variables()[&name].detach().index_select(0, &rows).view_as(&variable));
            }
            let labels: Vec<i64> = case.labels.iter().map(|label| taking_part.binary_search(label).unwrap() as i64).collect();
            let small = small.forward(&x, &Tensor::from_slice(&labels)).unwrap();
            small.total().backward();
            assert_same(&[value], &numbers(&small.total()), SCALES[0]);
            assert_same(&numbers(&grad.index_select(0, &rows)), &numbers(&small_vs.variables()["weight"].grad()), SCALES[0]);
        }
        let (sparse_vs, sparse) = double(|path| config(true).init(path, c, d));
        fill(&sparse_vs, &case);
        sparse.forward(&x, &y).unwrap().total().backward();
        let sparse_grad = sparse_vs.variables()["weight"].grad();
        prop_assert!(sparse_grad.is_sparse());
        assert_same(&numbers(&sparse_grad.to_dense(None, false)), &numbers(&grad), SCALES[0]);
        loss.update(&x, &y).unwrap();
        prop_assert_eq!(vs.variables()["draws"].int64_value(&[0]), 1);
    }

    #[test]
    fn a_share_of_one_is_the_full_loss(case in case(), asked in asked()) {
        let (c, d) = (case.classes as i64, case.dim as i64);
        let config = asked.lmcl(Chunks::default());
        let found = [config, LmclConfig { negatives: Negatives { seed: 5, ..Default::default() }, ..config }].map(|config| {
            let (vs, loss) = double(|path| config.init(path, c, d));
            fill(&vs, &case);
            evaluate(&loss, &vs, &case, false)
        });
        prop_assert_eq!(&found[0], &found[1]);
    }

    /// A label to ignore: the loss and the centers of the other samples.
    #[test]
    fn ignored_samples_are_not_there(case in case(), asked in asked(), ignore in prop::sample::select(vec![-100i64, 1])) {
        prop_assume!(case.labels.iter().any(|&label| label != 0 && label != ignore));
        // Class 0 is what nobody labeled.
        let labels: Vec<i64> = case.labels.iter().map(|&label| if label == 0 { ignore } else { label }).collect();
        let kept: Vec<i64> = (0..labels.len() as i64).filter(|&at| labels[at as usize] != ignore).collect();
        let kept = Tensor::from_slice(&kept);
        let of = |ignore: Option<i64>, x: &Tensor, y: &Tensor| {
            let mut config = asked.soft_lmccl(Chunks::default());
            config.lmcl.targets.ignore = ignore;
            let (vs, mut loss) = double(|path| config.init(path, case.classes as i64, case.dim as i64));
            fill(&vs, &case);
            let value = total(&loss, x, y);
            loss.update(x, y).unwrap();
            (value, numbers(&loss.center().centers()))
        };
        let (x, y) = (case.embeddings(), Tensor::from_slice(&labels));
        let (value, centers) = of(Some(ignore), &x, &y);
        let (want, want_centers) = of(None, &x.index_select(0, &kept), &y.index_select(0, &kept));
        assert_same(&[value], &[want], asked.scale);
        prop_assert_eq!(centers, want_centers);
    }
}

/// Gradients of a gradient penalty against central differences of it, by the embeddings and by the prototypes.
#[test]
fn second_derivatives_are_right() {
    /// Half the step of the central difference, and how far it may be from the second derivative.
    const STEP: f64 = 1e-5;
    const SECOND_REL: f64 = 1e-6;
    let asked = Asked {
        scale: 3.0,
        margin: 0.3,
        bias: false,
        subcenters: 2,
        smoothing: 0.2,
        weighted: true,
        reduction: Reduction::Mean,
        shared: false,
        center_weight: 0.4,
        softmax_weight: 1.5,
    };
    let case = Case {
        classes: 4,
        dim: 3,
        embeddings: vec![0.7, -1.1, 0.4, -0.3, 0.9, 1.2, 1.5, 0.2, -0.8],
        weight: vec![0.9, -0.4, 0.1, 1.3, -0.7, 0.2, -0.2, 0.8, 1.1, 0.5, 0.5, -1.2],
        labels: vec![2, 0, 3],
    };
    for index in 0..LOSSES {
        let chunks = Chunks { classes: Some(3), ..Default::default() };
        let (vs, losses) = double(|path| {
            let mut losses = asked.losses(chunks, path, &case)?;
            // The quality has no gradient, though a difference would see it: here every one is 1 or −1, whatever moves.
            let adaface = AdaFaceConfig { concentration: 1e6, ..asked.adaface(chunks) };
            losses[LOSSES - 1] = Box::new(adaface.init(&(path / "steep"), 4, 3)?);
            Ok(losses)
        });
        fill(&vs, &case);
        let (x, y) = (case.embeddings().set_requires_grad(true), case.labels());
        let loss = losses[index].as_ref();
        let inputs = inputs(loss, &vs, &x, &y);
        let penalty = || {
            let total = loss.forward(&x, &y).unwrap().total();
            Tensor::run_backward(&[total], &[&x], true, true)[0].square().sum(x.kind())
        };
        let gradients = Tensor::run_backward(&[penalty()], &inputs, false, false);
        for (input, gradient) in inputs.iter().zip(gradients) {
            let got = numbers(&gradient);
            let flat = input.detach().flatten(0, -1);
            let want: Vec<f64> = (0..got.len() as i64)
                .map(|at| {
                    let moved = |step: f64| {
                        {
                            let _frozen = no_grad_guard();
                            let _ = flat.narrow(0, at, 1).g_add_scalar_(step);
                        }
                        numbers(&penalty())[0]
                    };
                    let (above, below) = (moved(STEP), moved(-2.0 * STEP));
                    moved(STEP);
                    (above - below) / (2.0 * STEP)
                })
                .collect();
            assert!(want.iter().any(|slope| slope.abs() > 1e-3), "{loss:?}");
            assert_close(&got, &want, SECOND_REL);
        }
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
            lmcl: LmclConfig { negatives: Negatives { share: 0.1, seed, ..Default::default() }, ..Default::default() },
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
    let recorded = |terms: &soft_lmccl::loss::LossTerms| terms.iter().filter(|term| term.value.requires_grad()).count();
    assert_eq!((recorded(&tracked), recorded(&frozen)), (2, 0));
    assert_eq!(frozen.report().unwrap(), tracked.report().unwrap());
}

/// What is frozen gets no gradient; all the rest gets the one of the recorded formula.
#[test]
fn frozen_heads_are_passed_by() {
    let case = Case {
        classes: 3,
        dim: 3,
        embeddings: vec![1.0, 2.0, -0.5, 0.3, -1.0, 2.0],
        weight: vec![1.0, 0.2, 0.1, -1.0, 2.0, 0.4, 0.3, 0.3, -1.0],
        labels: vec![2, 0],
    };
    for frozen in ["lmcl.weight", "softmax.weight", "softmax.bias"] {
        let (vs, loss) = double(|path| SoftLmcclConfig::default().init(path, 3, 3));
        fill(&vs, &case);
        let _ = vs.variables()[frozen].set_requires_grad(false);
        let found = evaluate(&loss, &vs, &case, false);
        assert_eq!(found.len(), 3 + 3);
        assert_all_same(&found, &evaluate(&loss, &vs, &case, true), 16.0);
        assert!(!vs.variables()[frozen].grad().defined());
    }
}
