//! Everything a caller can get wrong, and the sentence that says so.

use soft_lmccl::{
    Result,
    loss::{
        AdaFaceConfig, ArcFaceConfig, CenterDistance, CenterLossConfig, CombinedMarginConfig, Guarded, LmclConfig,
        Loss, LossConfig, Negatives, NormalizedSoftmaxConfig, SoftLmcclConfig, SoftmaxHeadConfig, Targets,
    },
    params::NO_DECAY_GROUP,
    tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig, no_grad_guard},
    train::{backward_step, set_weight_decay},
};

const C: i64 = 3;
const D: i64 = 2;

fn every_loss(path: &nn::Path<'_>) -> Vec<Box<dyn Loss>> {
    let root = |name: &str| path / name;
    vec![
        Box::new(SoftmaxHeadConfig::default().init(&root("a"), C, D).unwrap()),
        Box::new(NormalizedSoftmaxConfig::default().init(&root("b"), C, D).unwrap()),
        Box::new(LmclConfig::default().init(&root("c"), C, D).unwrap()),
        Box::new(ArcFaceConfig::default().init(&root("d"), C, D).unwrap()),
        Box::new(CenterLossConfig::default().init(&root("e"), C, D).unwrap()),
        Box::new(SoftLmcclConfig::default().init(&root("f"), C, D).unwrap()),
        Box::new(
            LmclConfig::default().init(&root("g"), C, D).unwrap()
                + 0.5 * CenterLossConfig::default().init(&root("h"), C, D).unwrap(),
        ),
        Box::new(Guarded { inner: LmclConfig::default().init(&root("i"), C, D).unwrap() }),
    ]
}

#[test]
fn bad_batches_are_refused_by_every_loss() {
    let float = (Kind::Float, Device::Cpu);
    let good = || Tensor::from_slice2(&[[1.0f32, 0.5], [0.2, -1.0]]);
    let labels = |labels: &[i64]| Tensor::from_slice(labels);
    let rows: Vec<(Tensor, Tensor, &str)> = vec![
        (good(), labels(&[0, 3]), "label 3 at position 1 is outside 0..3"),
        (good(), labels(&[-1, 0]), "label -1 at position 0 is outside 0..3"),
        (good(), labels(&[i64::MIN, 0]), "label -9223372036854775808 at position 0 is outside 0..3"),
        (good(), labels(&[0]), "labels: expected Int64 [2], one for each embedding, got Int64 [1]"),
        (good(), labels(&[0, 1]).view([2, 1]), "labels: expected Int64 [2], one for each embedding, got Int64 [2, 1]"),
        (good(), Tensor::from_slice(&[0i32, 1]), "labels: expected Int64 [2], one for each embedding, got Int [2]"),
        (
            Tensor::zeros([0, D], float),
            labels(&[]),
            "embeddings: expected a floating [B, 2] with B >= 1, got Float [0, 2]",
        ),
        (
            Tensor::zeros([2, 5], float),
            labels(&[0, 1]),
            "embeddings: expected a floating [B, 2] with B >= 1, got Float [2, 5]",
        ),
        (
            Tensor::zeros([D], float),
            labels(&[0, 1]),
            "embeddings: expected a floating [B, 2] with B >= 1, got Float [2]",
        ),
        (
            Tensor::zeros([2, D, 1], float),
            labels(&[0, 1]),
            "embeddings: expected a floating [B, 2] with B >= 1, got Float [2, 2, 1]",
        ),
        (
            Tensor::zeros([2, D], (Kind::Int64, Device::Cpu)),
            labels(&[0, 1]),
            "embeddings: expected a floating [B, 2] with B >= 1, got Int64 [2, 2]",
        ),
        (good(), Tensor::new(), "labels: expected values, got an undefined tensor"),
    ];
    let vs = nn::VarStore::new(Device::Cpu);
    for mut loss in every_loss(&vs.root()) {
        for (embeddings, labels, message) in &rows {
            assert_eq!(loss.check(embeddings, labels).unwrap_err().to_string(), *message, "{loss:?}");
            assert_eq!(loss.forward(embeddings, labels).unwrap_err().to_string(), *message, "{loss:?}");
            assert_eq!(loss.update(embeddings, labels).unwrap_err().to_string(), *message, "{loss:?}");
        }
        let _ = loss.forward(&good(), &labels(&[2, 0])).unwrap();
    }
}

#[test]
fn hyper_parameters_are_checked_at_just_inside_and_just_outside_their_bounds() {
    let init = |make: &dyn Fn(&nn::Path<'_>) -> Result<()>| {
        let vs = nn::VarStore::new(Device::Cpu);
        let result = make(&vs.root());
        if result.is_err() {
            assert!(vs.is_empty(), "a refused loss leaves no variable behind");
        }
        result.map_err(|error| error.to_string())
    };
    let lmcl = |scale: f64, margin: f64| {
        init(&move |path| LmclConfig { scale, margin, ..Default::default() }.init(path, C, D).map(drop))
    };
    let arcface =
        |margin: f64| init(&move |path| ArcFaceConfig { margin, ..Default::default() }.init(path, C, D).map(drop));
    let rate =
        |rate: f64| init(&move |path| CenterLossConfig { rate, ..Default::default() }.init(path, C, D).map(drop));
    let weights = |center_weight: f64, softmax_weight: f64| {
        init(&move |path| {
            SoftLmcclConfig { center_weight, softmax_weight, ..Default::default() }.init(path, C, D).map(drop)
        })
    };
    let sizes = |c: i64, d: i64| init(&move |path| LmclConfig::default().init(path, c, d).map(drop));

    for accepted in [
        lmcl(f64::MIN_POSITIVE, 0.35),
        lmcl(64.0, 0.0),
        lmcl(64.0, 1.5),
        arcface(0.0),
        arcface(std::f64::consts::FRAC_PI_2),
        rate(0.0),
        rate(1.0),
        weights(0.0, 0.0),
        sizes(2, 1),
    ] {
        assert_eq!(accepted, Ok(()));
    }
    for (refused, message) in [
        (lmcl(0.0, 0.35), "invalid `scale`: expected a finite number > 0, got 0"),
        (lmcl(-64.0, 0.35), "invalid `scale`: expected a finite number > 0, got -64"),
        (lmcl(f64::INFINITY, 0.35), "invalid `scale`: expected a finite number > 0, got inf"),
        (
            lmcl(64.0, -f64::EPSILON),
            "invalid `margin`: expected a finite number >= 0, got -0.0000000000000002220446049250313",
        ),
        (lmcl(64.0, f64::NAN), "invalid `margin`: expected a finite number >= 0, got NaN"),
        (lmcl(64.0, 1.5 + 1e-9), "invalid `margin`: expected at most C/(C-1) = 1.5 for C = 3 classes, got 1.500000001"),
        (arcface(1.6), "invalid `margin`: expected an angle in 0..=pi/2 radians, got 1.6"),
        (arcface(-0.1), "invalid `margin`: expected an angle in 0..=pi/2 radians, got -0.1"),
        (rate(1.0 + 1e-9), "invalid `rate`: expected a number in 0..=1, got 1.000000001"),
        (rate(-0.1), "invalid `rate`: expected a number in 0..=1, got -0.1"),
        (rate(f64::NAN), "invalid `rate`: expected a number in 0..=1, got NaN"),
        (weights(-1.0, 1.0), "invalid `center_weight`: expected a finite number >= 0, got -1"),
        (weights(0.1, f64::INFINITY), "invalid `softmax_weight`: expected a finite number >= 0, got inf"),
        (sizes(1, D), "invalid `num_classes`: expected at least 2, got 1"),
        (sizes(C, 0), "invalid `embedding_dim`: expected at least 1, got 0"),
    ] {
        assert_eq!(refused, Err(message.to_owned()));
    }
}

/// `validate` is what a program calls before it loads its data: it must look at every level.
#[test]
fn validate_looks_at_every_level() {
    let default = SoftLmcclConfig::default();
    for (share, got) in [(0.0, "0"), (1.0 + 1e-9, "1.000000001"), (f64::NAN, "NaN")] {
        let negatives = Negatives { share, ..Default::default() };
        let error = LmclConfig { negatives, ..default.lmcl }.validate().unwrap_err().to_string();
        assert_eq!(error, format!("invalid `negatives.share`: expected a number in 0..=1, not 0, got {got}"));
    }
    for (config, message) in [
        (
            SoftLmcclConfig { lmcl: LmclConfig { scale: -1.0, ..default.lmcl }, ..default },
            "invalid `scale`: expected a finite number > 0, got -1",
        ),
        (
            SoftLmcclConfig { center: CenterLossConfig { rate: 2.0, ..default.center }, ..default },
            "invalid `rate`: expected a number in 0..=1, got 2",
        ),
        (
            SoftLmcclConfig { center_weight: f64::NAN, ..default },
            "invalid `center_weight`: expected a finite number >= 0, got NaN",
        ),
        (
            SoftLmcclConfig { softmax_weight: -1.0, ..default },
            "invalid `softmax_weight`: expected a finite number >= 0, got -1",
        ),
    ] {
        assert_eq!(config.validate().unwrap_err().to_string(), message);
    }
    let normalized = NormalizedSoftmaxConfig { scale: 0.0, ..Default::default() }.validate().unwrap_err();
    assert_eq!(normalized.to_string(), "invalid `scale`: expected a finite number > 0, got 0");
    let arcface = ArcFaceConfig { scale: f64::NAN, ..Default::default() }.validate().unwrap_err();
    assert_eq!(arcface.to_string(), "invalid `scale`: expected a finite number > 0, got NaN");
}

/// What every head may be asked for, refused before anything is built.
#[test]
fn options_of_heads_out_of_range() {
    let refused = |change: &dyn Fn(&mut LmclConfig), message: &str| {
        let mut config = LmclConfig::default();
        change(&mut config);
        assert_eq!(config.validate().unwrap_err().to_string(), message);
    };
    refused(&|c| c.chunks.classes = Some(0), "invalid `chunks.classes`: expected at least 1, got 0");
    refused(&|c| c.subcenters = 0, "invalid `subcenters`: expected 1 to 1000, got 0");
    refused(&|c| (c.bias, c.subcenters) = (true, 2), "invalid `subcenters`: expected 1 in a head with a bias, got 2");
    refused(&|c| c.targets.smoothing = 1.0, "invalid `targets.smoothing`: expected a number in 0..1, got 1");
    refused(&|c| c.targets.smoothing = f64::NAN, "invalid `targets.smoothing`: expected a number in 0..1, got NaN");
    let vs = nn::VarStore::new(Device::Cpu);
    let make = |name: &str| LmclConfig::default().init(&(vs.root() / name), C, D).unwrap();
    for (name, weights) in [("a", &[1.0, 2.0][..]), ("b", &[1.0, 0.0, 1.0]), ("c", &[1.0, f64::NAN, 1.0])] {
        let error = make(name).with_class_weights(&(vs.root() / name), weights).unwrap_err();
        let expected = "invalid `class_weights`: expected 3 finite numbers > 0, one for each class, got ";
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    let combined = CombinedMarginConfig { factor: 0.5, ..Default::default() }.validate().unwrap_err();
    assert_eq!(combined.to_string(), "invalid `factor`: expected a number in 1..=10, got 0.5");
    let combined = CombinedMarginConfig { angle: 2.0, ..Default::default() }.validate().unwrap_err();
    assert_eq!(combined.to_string(), "invalid `angle`: expected an angle in 0..=pi/2 radians, got 2");
    let adaface = AdaFaceConfig { concentration: 0.0, ..Default::default() }.validate().unwrap_err();
    assert_eq!(adaface.to_string(), "invalid `concentration`: expected a finite number > 0, got 0");
    let adaface = AdaFaceConfig { margin: 1.5, ..Default::default() }.validate().unwrap_err();
    assert_eq!(adaface.to_string(), "invalid `margin`: expected a number in 0..=1, got 1.5");
}

#[test]
fn a_batch_of_ignored_samples_alone() {
    let vs = nn::VarStore::new(Device::Cpu);
    let config = LmclConfig { targets: Targets { ignore: Some(-1), ..Default::default() }, ..Default::default() };
    let loss = config.init(&vs.root(), C, D).unwrap();
    let embeddings = Tensor::from_slice2(&[[1.0f32, 0.5], [0.5, 1.0]]);
    let error = loss.forward(&embeddings, &Tensor::from_slice(&[-1i64, -1])).unwrap_err();
    assert_eq!(error.to_string(), "labels: expected one at least that is not ignored, got 2 times -1");
    let error = loss.forward(&embeddings, &Tensor::from_slice(&[-1i64, -2])).unwrap_err();
    assert_eq!(error.to_string(), "label -2 at position 1 is outside 0..3");
}

/// Every name makes a loss, and a configuration says its name and reads it again.
#[test]
fn losses_by_name() {
    let vs = nn::VarStore::new(Device::Cpu);
    for name in LossConfig::NAMES {
        let config = LossConfig::by_name(name).unwrap();
        assert_eq!(config.name(), *name);
        config.validate().unwrap();
        let json = serde_json::to_value(config).unwrap();
        assert_eq!(json["name"], *name);
        assert_eq!(serde_json::from_value::<LossConfig>(json).unwrap(), config);
        let loss = config.init(&(vs.root() / name), C, D).unwrap();
        let terms = loss.forward(&Tensor::from_slice2(&[[1.0f32, 0.5]]), &Tensor::from_slice(&[1i64])).unwrap();
        assert!(terms.iter().next().unwrap().name == *name || *name == "soft_lmccl");
    }
    assert!(LossConfig::by_name("hinge").is_none());
    assert!(serde_json::from_str::<LossConfig>(r#"{"name": "lmcl", "margins": 0.4}"#).is_err());
}

#[test]
fn a_margin_may_change_only_within_its_bounds() {
    let vs = nn::VarStore::new(Device::Cpu);
    let mut lmcl = LmclConfig::default().init(&vs.root(), C, D).unwrap();
    lmcl.set_margin(1.5).unwrap();
    for (margin, message) in [
        (-0.1, "invalid `margin`: expected a finite number >= 0, got -0.1"),
        (2.0, "invalid `margin`: expected at most C/(C-1) = 1.5 for C = 3 classes, got 2"),
    ] {
        assert_eq!(lmcl.set_margin(margin).unwrap_err().to_string(), message);
    }
    assert_eq!(lmcl.config().margin.to_bits(), 1.5f64.to_bits());

    let mut arcface = ArcFaceConfig::default().init(&(vs.root() / "arcface"), C, D).unwrap();
    arcface.set_margin(0.25).unwrap();
    let error = arcface.set_margin(1.6).unwrap_err();
    assert_eq!(error.to_string(), "invalid `margin`: expected an angle in 0..=pi/2 radians, got 1.6");
    assert_eq!(arcface.config(), ArcFaceConfig { margin: 0.25, ..Default::default() });
    let x = Tensor::from_slice2(&[[1.0f32, 0.5]]);
    let same = ArcFaceConfig { margin: 0.25, ..Default::default() }.init(&(vs.root() / "same"), C, D).unwrap();
    {
        let _frozen = no_grad_guard();
        same.prototypes().shallow_clone().copy_(arcface.prototypes());
    }
    let [moved, made] = [&arcface, &same].map(|loss| loss.forward(&x, &Tensor::from_slice(&[1i64])).unwrap().total());
    assert_eq!(moved, made, "it is the loss of that margin");
}

#[test]
fn logits_of_embeddings_that_do_not_fit_are_refused() {
    let vs = nn::VarStore::new(Device::Cpu);
    let wrong = Tensor::zeros([2, 5], (Kind::Float, Device::Cpu));
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| vs.root() / name);
    for logits in [
        LmclConfig::default().init(&a, C, D).unwrap().logits(&wrong),
        ArcFaceConfig::default().init(&b, C, D).unwrap().logits(&wrong),
        NormalizedSoftmaxConfig::default().init(&c, C, D).unwrap().logits(&wrong),
        SoftmaxHeadConfig::default().init(&d, C, D).unwrap().logits(&wrong),
    ] {
        let message = logits.unwrap_err().to_string();
        assert_eq!(message, "embeddings: expected a floating [B, 2] with B >= 1, got Float [2, 5]");
    }
}

#[test]
fn a_taken_name_is_refused() {
    let vs = nn::VarStore::new(Device::Cpu);
    let path = vs.root() / "loss";
    LmclConfig::default().init(&path, C, D).unwrap();
    let error = LmclConfig::default().init(&path, C, D).unwrap_err();
    assert_eq!(error.to_string(), "variable `loss.weight` already exists in this VarStore");
}

#[test]
fn a_weight_that_is_no_number_is_refused() {
    let vs = nn::VarStore::new(Device::Cpu);
    let mut loss = 1.0 * LmclConfig::default().init(&vs.root(), C, D).unwrap();
    for (weight, name) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        loss.weight = weight;
        let error = loss.forward(&Tensor::from_slice2(&[[1.0f32, 2.0]]), &Tensor::from_slice(&[0i64])).unwrap_err();
        assert_eq!(error.to_string(), format!("invalid `weight`: expected a finite number, got {name}"));
    }
}

#[test]
fn a_guard_names_the_place_of_what_is_not_finite() {
    let vs = nn::VarStore::new(Device::Cpu);
    let mut loss = Guarded { inner: CenterLossConfig::default().init(&vs.root(), C, 3).unwrap() };
    let labels = Tensor::from_slice(&[0i64, 1]);
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let embeddings = Tensor::from_slice2(&[[1.0f32, 0.5, 0.0], [2.0, 1.0, value]]);
        let message = format!("embeddings: expected finite numbers, got {name} in row 1, column 2");
        assert_eq!(loss.forward(&embeddings, &labels).unwrap_err().to_string(), message);
        assert_eq!(loss.update(&embeddings, &labels).unwrap_err().to_string(), message);
    }
    assert_eq!(loss.inner.updates().sum(Kind::Int64).int64_value(&[]), 0);
}

#[test]
fn a_refused_step_moves_nothing() {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = nn::linear(vs.root() / "net", 4, D, Default::default());
    let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), C, D).unwrap();
    let mut optimizer = nn::AdamW::default().build(&vs, 0.1).unwrap();
    let copy = || -> Vec<(String, Tensor)> {
        let mut all: Vec<_> = vs.variables().into_iter().map(|(name, v)| (name, v.detach().copy())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let before = copy();
    let inputs = Tensor::ones([2, 4], (Kind::Float, Device::Cpu));
    let step = |loss: &mut _, optimizer: &mut _, labels: &[i64]| {
        backward_step(loss, optimizer, &inputs.apply(&net), &Tensor::from_slice(labels))
    };
    step(&mut loss, &mut optimizer, &[0, 9]).unwrap_err();
    assert_eq!(copy(), before);
    step(&mut loss, &mut optimizer, &[0, 2]).unwrap();
    assert_ne!(copy(), before);
}

/// `L_reg` reaches network and softmax head, not prototypes, biases, centers.
#[test]
fn weight_decay_goes_by_group() {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = nn::linear(vs.root() / "net", 4, D, Default::default());
    let _loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), C, D).unwrap();
    let mut optimizer = nn::AdamW::default().build(&vs, 0.1).unwrap();
    set_weight_decay(&mut optimizer, &vs, 0.5).unwrap();
    {
        // Biases start at 0, which no decay would show.
        let _frozen = no_grad_guard();
        for variable in vs.trainable_variables() {
            let _ = variable.shallow_clone().g_add_scalar_(1.0);
        }
    }
    let before: std::collections::HashMap<_, _> =
        vs.variables().into_iter().map(|(name, v)| (name, v.detach().copy())).collect();
    // A gradient of zero: what moves now is moved by decay alone, by 1 − lr·decay.
    (vs.trainable_variables().iter().map(|v| v.sum(Kind::Float)).fold(Tensor::from(0.0f32), |sum, v| sum + v) * 0.0)
        .backward();
    optimizer.step();
    drop(net);
    for (name, variable) in vs.variables() {
        let decayed = matches!(name.as_str(), "net.weight" | "net.bias" | "loss.softmax.weight");
        let want = if decayed { &before[&name] * (1.0 - 0.1 * 0.5) } else { before[&name].copy() };
        assert!(variable.allclose(&want, 1e-6, 0.0, false), "{name}");
    }
    assert_eq!(NO_DECAY_GROUP, 1);
    for (decay, got) in [(-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let error = set_weight_decay(&mut optimizer, &vs, decay).unwrap_err();
        assert_eq!(error.to_string(), format!("invalid `weight_decay`: expected a finite number >= 0, got {got}"));
    }
}

#[test]
fn a_tensor_that_is_none_is_refused() {
    let vs = nn::VarStore::new(Device::Cpu);
    let loss = LmclConfig::default().init(&vs.root(), C, D).unwrap();
    let mut guarded = Guarded { inner: LmclConfig::default().init(&(vs.root() / "guarded"), C, D).unwrap() };
    let labels = Tensor::from_slice(&[0i64]);
    for error in [
        loss.forward(&Tensor::new(), &labels).unwrap_err(),
        guarded.forward(&Tensor::new(), &labels).unwrap_err(),
        guarded.check(&Tensor::new(), &labels).unwrap_err(),
        guarded.update(&Tensor::new(), &labels).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "embeddings: expected values, got an undefined tensor");
    }
}

/// Embeddings meet centers in the precision of the centers, whatever the head beside them has.
#[test]
fn a_center_term_of_another_precision_has_a_gradient() {
    let embeddings = || Tensor::from_slice2(&[[1.0f32, 0.5], [0.2, -1.0]]).set_requires_grad(true);
    let labels = Tensor::from_slice(&[0i64, 2]);
    for distance in [CenterDistance::Squared, CenterDistance::Euclidean] {
        let config = CenterLossConfig { distance, ..Default::default() };
        let vs = nn::VarStore::new(Device::Cpu);
        let mut loss = SoftLmcclConfig { center: config, ..Default::default() }.init(&vs.root(), C, D).unwrap();
        let (x, y) = (embeddings(), embeddings());
        let single = loss.forward(&x, &labels).unwrap();
        single.total().backward();
        (vs.root() / "center").double();
        let double = loss.forward(&y, &labels).unwrap();
        double.total().f_backward().unwrap();
        loss.update(&y, &labels).unwrap();
        assert_eq!((y.grad().kind(), loss.center().centers().kind()), (Kind::Float, Kind::Double));
        assert!((x.grad() - y.grad()).abs().max().double_value(&[]) < 1e-5);
        assert!((single.total() - double.total()).abs().double_value(&[]) < 1e-5);
    }
}
