//! Sums and scales of losses.

use proptest::prelude::*;
use soft_lmccl::{
    loss::{
        CenterDistance, CenterLossConfig, CenterSpace, CenterUpdate, Guarded, LmclConfig, Loss, LossTerms,
        NormalizedSoftmaxConfig, Reduction, SoftLmcclConfig, SoftmaxBranch, SoftmaxHeadConfig,
    },
    tch::{Device, Kind, Tensor, nn},
};

use super::{Case, F64_REL, assert_close, case, double, gradient, numbers, set, total};

fn lmcl() -> LmclConfig {
    LmclConfig { scale: 8.0, ..Default::default() }
}

/// Gives the same numbers to variables of the same last names in every store.
fn fill(vs: &nn::VarStore, case: &Case) {
    for (name, variable) in vs.variables() {
        if variable.kind() == soft_lmccl::tch::Kind::Double && variable.dim() == 2 {
            let values = case.weight() * if name.contains("softmax") { 0.7 } else { 1.0 };
            set(vs, &name, &values);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_sum_is_the_sum(case in case(), weight in 0.0..3.0f64) {
        let (c, d) = (case.classes as i64, case.dim as i64);
        let (x, y) = (case.embeddings(), case.labels());
        let (vs, parts) = double(|path| Ok((lmcl().init(&(path / "lmcl"), c, d)?, CenterLossConfig::default().init(&(path / "center"), c, d)?)));
        fill(&vs, &case);
        let (a, b) = (total(&parts.0, &x, &y), total(&parts.1, &x, &y));
        let (ga, gb) = (gradient(&parts.0, &x, &y), gradient(&parts.1, &x, &y));
        let sum = parts.0 + weight * parts.1;
        assert_close(&[total(&sum, &x, &y)], &[a + weight * b], F64_REL);
        assert_close(&numbers(&gradient(&sum, &x, &y)), &numbers(&(ga + gb * weight)), F64_REL);
    }

    #[test]
    fn nothing_of_a_loss_leaves_the_other_alone(case in case()) {
        let (c, d) = (case.classes as i64, case.dim as i64);
        let (x, y) = (case.embeddings(), case.labels());
        let (vs, alone) = double(|path| lmcl().init(&(path / "lmcl"), c, d));
        fill(&vs, &case);
        let want = gradient(&alone, &x, &y);
        let (vs, sum) = double(|path| Ok(lmcl().init(&(path / "lmcl"), c, d)? + 0.0 * CenterLossConfig::default().init(&(path / "center"), c, d)?));
        fill(&vs, &case);
        prop_assert_eq!(gradient(&sum, &x, &y), want);
    }

    #[test]
    fn brackets_change_neither_names_nor_weights(case in case()) {
        let (c, d) = (case.classes as i64, case.dim as i64);
        let (x, y) = (case.embeddings(), case.labels());
        let terms = |left: bool| {
            let (vs, loss) = double(|path| {
                let a = lmcl().init(&(path / "lmcl"), c, d)?;
                let b = 0.5 * CenterLossConfig::default().init(&(path / "center"), c, d)?;
                let s = 2.0 * SoftmaxHeadConfig::default().init(&(path / "softmax"), c, d)?;
                Ok(if left { Box::new((a + b) + s) as Box<dyn Loss> } else { Box::new(a + (b + s)) })
            });
            fill(&vs, &case);
            loss.forward(&x, &y).unwrap().report().unwrap()
        };
        prop_assert_eq!(terms(true).terms, terms(false).terms);
    }

    #[test]
    fn soft_lmccl_is_the_sum_of_its_parts(case in case(), lambda in 0.0..1.0f64, soft in 0.0..2.0f64) {
        let (c, d) = (case.classes as i64, case.dim as i64);
        let (x, y) = (case.embeddings(), case.labels());
        let config = SoftLmcclConfig { lmcl: lmcl(), center_weight: lambda, softmax_weight: soft, ..Default::default() };
        let (named_vs, mut named) = double(|path| config.init(path, c, d));
        let (summed_vs, mut summed) = double(|path| {
            Ok(lmcl().init(&(path / "lmcl"), c, d)?
                + lambda * CenterLossConfig::default().init(&(path / "center"), c, d)?
                + soft * SoftmaxHeadConfig::default().init(&(path / "softmax"), c, d)?)
        });
        fill(&named_vs, &case);
        fill(&summed_vs, &case);
        let (mut names, mut others): (Vec<_>, Vec<_>) = (named_vs.variables().into_keys().collect(), summed_vs.variables().into_keys().collect());
        names.sort();
        others.sort();
        prop_assert_eq!(names, others);
        for _ in 0..2 {
            prop_assert_eq!(named.forward(&x, &y).unwrap().report().unwrap(), summed.forward(&x, &y).unwrap().report().unwrap());
            prop_assert_eq!(gradient(&named, &x, &y), gradient(&summed, &x, &y));
            named.update(&x, &y).unwrap();
            summed.update(&x, &y).unwrap();
        }
    }

    #[test]
    fn the_shared_cosine_head_is_the_normalized_softmax(case in case()) {
        let (c, d) = (case.classes as i64, case.dim as i64);
        let (x, y) = (case.embeddings(), case.labels());
        let config = SoftLmcclConfig { lmcl: lmcl(), softmax: SoftmaxBranch::SharedCosine, ..Default::default() };
        let (vs, loss) = double(|path| config.init(path, c, d));
        fill(&vs, &case);
        let (nsl_vs, nsl) = double(|path| NormalizedSoftmaxConfig { scale: 8.0, ..Default::default() }.init(path, c, d));
        fill(&nsl_vs, &case);
        let terms = loss.forward(&x, &y).unwrap();
        assert_close(&numbers(terms.get("softmax").unwrap()), &[total(&nsl, &x, &y)], F64_REL);
        prop_assert!(loss.softmax().is_none() && vs.variables().keys().all(|name| !name.starts_with("softmax")));
    }
}

#[test]
fn a_schedule_moves_weights_and_margin() {
    let vs = nn::VarStore::new(Device::Cpu);
    let mut loss = SoftLmcclConfig::default().init(&vs.root(), 3, 2).unwrap();
    loss.set_margin(0.1).unwrap();
    loss.set_center_weight(0.7).unwrap();
    loss.set_softmax_weight(0.2).unwrap();
    let config = loss.config();
    assert_eq!((config.lmcl.margin, config.center_weight, config.softmax_weight), (0.1, 0.7, 0.2));
    let x = Tensor::from_slice2(&[[1.0f32, 0.5]]);
    let report = loss.forward(&x, &Tensor::from_slice(&[0i64])).unwrap().report().unwrap();
    assert_eq!(report.terms.iter().map(|term| term.weight).collect::<Vec<_>>(), [1.0, 0.7, 0.2]);
    for (error, margin) in [
        (loss.set_margin(1.5 + 1e-9).unwrap_err(), "margin"),
        (loss.set_center_weight(-0.1).unwrap_err(), "center_weight"),
        (loss.set_softmax_weight(f64::NAN).unwrap_err(), "softmax_weight"),
    ] {
        assert!(error.to_string().contains(margin), "{error}");
    }
    assert_eq!(loss.config(), config);
}

#[test]
fn configurations_survive_json_and_refuse_unknown_fields() {
    for config in [SoftLmcclConfig::default(), SoftLmcclConfig::official_code(), SoftLmcclConfig::as_printed()] {
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SoftLmcclConfig>(&json).unwrap(), config);
    }
    assert_eq!(serde_json::from_str::<SoftLmcclConfig>("{}").unwrap(), SoftLmcclConfig::default());
    let error = serde_json::from_str::<SoftLmcclConfig>(r#"{"lamda": 0.1}"#).unwrap_err().to_string();
    assert!(error.starts_with("unknown field `lamda`"), "{error}");
}

/// The numbers that the papers and the authors' code give, and for s and λ the study.
#[test]
fn defaults_and_presets_have_the_values_of_their_sources() {
    let default = SoftLmcclConfig::default();
    assert_eq!((default.lmcl.scale, default.lmcl.margin, default.lmcl.bias), (16.0, 0.35, false));
    assert_eq!((default.center.rate, default.center_weight, default.softmax_weight), (0.5, 0.3, 1.0));
    assert_eq!(default.softmax, SoftmaxBranch::Own(SoftmaxHeadConfig { bias: true, ..Default::default() }));

    let official = SoftLmcclConfig::official_code();
    let center = CenterLossConfig { rate: 0.05, reduction: Reduction::Sum, ..default.center };
    let lmcl = LmclConfig { scale: 64.0, ..default.lmcl };
    assert_eq!(official, SoftLmcclConfig { lmcl, center, center_weight: 1.0, ..default });

    let literal = SoftLmcclConfig::as_printed();
    assert_eq!((literal.lmcl.scale, literal.lmcl.bias), (64.0, true));
    let center = CenterLossConfig {
        rate: 1.0,
        rule: CenterUpdate::Literal,
        distance: CenterDistance::Euclidean,
        space: CenterSpace::Raw,
        reduction: Reduction::Sum,
        ignore: None,
    };
    assert_eq!(literal.center, center);
}

#[test]
fn a_term_is_found_by_its_name_and_scales_multiply() {
    let terms = 0.5 * (LossTerms::single("a", Tensor::from(3.0)) + 0.25 * LossTerms::single("b", Tensor::from(8.0)));
    assert_close(&numbers(terms.get("b").unwrap()), &[8.0], F64_REL);
    assert!(terms.get("c").is_none());
    assert_close(&numbers(&terms.total()), &[2.5], F64_REL);
    let report = terms.report().unwrap();
    assert_eq!((report.total, report.to_string()), (2.5, "2.500 = 0.5·a 3.000 + 0.125·b 8.000".to_owned()));
}

/// In a warm-up a weight is any part of what it rises to.
#[test]
fn weights_are_shown_to_three_digits() {
    for (weight, shown) in [
        (0.3 * (7.0 / 58.0) / 0.2, "0.181"),
        (1.0 / 3.0, "0.333"),
        (0.1 + 0.2, "0.3"),
        (0.05, "0.05"),
        (1e-7 / 3.0, "0.0000000333"),
        (1234.56, "1230"),
        (0.0, "0"),
        (-2.0, "-2"),
    ] {
        let report = (weight * LossTerms::single("a", Tensor::from(0.0))).report().unwrap();
        assert_eq!(report.to_string().split_once(" = ").unwrap().1, format!("{shown}·a 0.000"));
        assert_eq!(report.terms[0].weight.to_bits(), weight.to_bits(), "the number itself is whole");
    }
    let report = (0.9999 * LossTerms::single("a", Tensor::from(2.0))).report().unwrap();
    assert_eq!(report.to_string(), "2.000 = 1·a 2.000");
}

#[test]
fn losses_are_send() {
    fn is_send<T: Send>() {}
    is_send::<soft_lmccl::loss::SoftLmccl>();
    is_send::<soft_lmccl::loss::Sum<soft_lmccl::loss::Lmcl, soft_lmccl::loss::Scaled<soft_lmccl::loss::CenterLoss>>>();
    is_send::<Box<dyn Loss>>();
}

/// Nothing of a sum moves when one of its parts refuses the batch.
#[test]
fn a_sum_moves_as_a_whole_or_not_at_all() {
    let vs = nn::VarStore::new(Device::Cpu);
    let center = CenterLossConfig::default().init(&(vs.root() / "center"), 3, 2).unwrap();
    let guarded = Guarded { inner: LmclConfig::default().init(&(vs.root() / "lmcl"), 3, 2).unwrap() };
    let fewer = LmclConfig::default().init(&(vs.root() / "fewer"), 2, 2).unwrap();
    let mut sum = center + guarded + fewer;
    let labels = Tensor::from_slice(&[0i64, 1]);
    for (embeddings, labels, refusal) in [
        (
            [[1.0f32, 2.0], [f32::NAN, 1.0]],
            [0i64, 1],
            "embeddings: expected finite numbers, got NaN in row 1, column 0",
        ),
        ([[1.0, 2.0], [3.0, 1.0]], [0, 2], "label 2 at position 1 is outside 0..2"),
    ] {
        let (embeddings, labels) = (Tensor::from_slice2(&embeddings), Tensor::from_slice(&labels));
        assert_eq!(sum.check(&embeddings, &labels).unwrap_err().to_string(), refusal);
        assert_eq!(sum.update(&embeddings, &labels).unwrap_err().to_string(), refusal);
        assert_eq!(numbers(&sum.left.left.centers()), [0.0; 6]);
        assert_eq!(numbers(&sum.left.left.updates()), [0.0; 3]);
    }
    sum.update(&Tensor::from_slice2(&[[1.0f32, 2.0], [3.0, 1.0]]), &labels).unwrap();
    assert!(numbers(&sum.left.left.centers())[0] > 0.0);
}

/// A loss of a user's own: the mean square.
#[derive(Debug)]
struct Mine;

impl Loss for Mine {
    fn forward(&self, embeddings: &Tensor, _: &Tensor) -> soft_lmccl::Result<LossTerms> {
        Ok(LossTerms::single("mine", embeddings.square().mean(Kind::Float)))
    }

    fn check(&self, _: &Tensor, _: &Tensor) -> soft_lmccl::Result<()> {
        Ok(())
    }

    fn update(&mut self, _: &Tensor, _: &Tensor) -> soft_lmccl::Result<()> {
        Ok(())
    }
}

/// From both sides, boxed, and by a method where the language has no operator for it.
#[test]
fn every_loss_can_be_weighted_and_added() {
    let vs = nn::VarStore::new(Device::Cpu);
    let center = |name: &str| CenterLossConfig::default().init(&(vs.root() / name), 3, 2).unwrap();
    let boxed = |name: &str| -> Box<dyn Loss> { Box::new(center(name)) };
    let embeddings = Tensor::from_slice2(&[[1.0f32, 2.0], [3.0, 5.0]]);
    let labels = Tensor::from_slice(&[0i64, 2]);
    let weights = |loss: &dyn Loss| -> Vec<(String, f64)> {
        let report = loss.forward(&embeddings, &labels).unwrap().report().unwrap();
        report.terms.into_iter().map(|term| (term.name, term.weight)).collect()
    };
    let term = |name: &str, weight: f64| (name.to_owned(), weight);
    assert_eq!(weights(&(center("a") * 0.25)), [term("center", 0.25)]);
    assert_eq!(weights(&((center("b") * 0.5) * 0.5)), [term("center", 0.25)]);
    assert_eq!(weights(&(0.5 * boxed("c"))), [term("center", 0.5)]);
    assert_eq!(weights(&(boxed("d") * 0.5)), [term("center", 0.5)]);
    let all = boxed("e") + 0.5 * center("f") + Mine.scaled(0.125);
    assert_eq!(weights(&all), [term("center", 1.0), term("center_2", 0.5), term("mine", 0.125)]);
    assert_eq!(all.kind().to_string(), "center + 0.5·center + 0.125·Mine");
    let mine = Mine.plus(center("g") * 0.5).scaled(0.5);
    assert_eq!(weights(&mine), [term("mine", 0.5), term("center", 0.25)]);
    assert_eq!((mine.num_classes(), Mine.num_classes()), (Some(3), None));
    let names: Vec<_> = mine.variables().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["center.centers", "center.updates", "center.samples"]);
}
