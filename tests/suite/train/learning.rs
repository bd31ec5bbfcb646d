//! That training does what it is for: classes never trained on become easier to tell apart.

use std::ops::ControlFlow;

use serde_json::json;
use soft_lmccl::{
    Result,
    loss::{CenterLossConfig, LmclConfig, Loss, LossTerms, SoftLmcclConfig},
    metrics::{PairProtocol, VerificationReport},
    model::{CompactNetConfig, compact_net},
    tch::{self, Device, Kind, Tensor, nn, nn::ModuleT, nn::OptimizerConfig, no_grad_guard},
    train::{End, FitConfig, backward_step, embed, fit},
};

use super::waves;

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
const SIDE: i64 = 8;

/// Noise with two of the eight octants raised: class `k` is the `k`-th pair of octants, counted so
/// that any twelve classes in a row raise every octant.
fn volumes(classes: std::ops::Range<i64>, per_class: i64, seed: i64) -> (Tensor, Tensor) {
    tch::manual_seed(seed);
    let half = SIDE / 2;
    let mut all = Vec::new();
    for class in classes.clone() {
        let volumes = Tensor::randn([per_class, 1, SIDE, SIDE, SIDE], FLOAT) * 2.0;
        let (first, apart) = (class % 8, 1 + class / 8);
        for octant in [first, (first + apart) % 8] {
            let (z, y, x) = (octant / 4, octant / 2 % 2, octant % 2);
            let _ = volumes
                .narrow(2, z * half, half)
                .narrow(3, y * half, half)
                .narrow(4, x * half, half)
                .g_add_scalar_(1.0);
        }
        all.push(volumes);
    }
    let labels = Tensor::arange(classes.end - classes.start, (Kind::Int64, Device::Cpu))
        .repeat_interleave_self_int(per_class, 0, None);
    (Tensor::cat(&all, 0), labels)
}

fn auc(net: &impl ModuleT, held_out: &(Tensor, Tensor)) -> f64 {
    let batch = (held_out.0.shallow_clone(), held_out.1.shallow_clone());
    embed(net, [Ok(batch)]).unwrap().pair_scores(PairProtocol::All).unwrap().roc().auc()
}

#[test]
fn held_out_classes_are_told_apart_after_training() {
    let (known, held_out) = (volumes(0..12, 32, 1), volumes(12..16, 24, 2));
    tch::manual_seed(3);
    let vs = nn::VarStore::new(Device::Cpu);
    let config = CompactNetConfig { channels: vec![8, 16], embedding_dim: 16, ..Default::default() };
    let net = compact_net(&(vs.root() / "net"), SIDE, config).unwrap();
    let mut loss = SoftLmcclConfig {
        lmcl: LmclConfig { scale: 16.0, ..Default::default() },
        center_weight: 0.3,
        ..Default::default()
    }
    .init(&(vs.root() / "loss"), 12, 16)
    .unwrap();
    let before = auc(&net, &held_out);
    let config = FitConfig { epochs: 6, batch_size: 16, ..Default::default() };
    let mut totals = Vec::new();
    let outcome = fit(&net, &mut loss, &vs, (&known.0, &known.1), config, |step| {
        totals.push(step.loss.total);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(outcome.end, End::Finished);
    assert_eq!(totals.len(), config.steps(12 * 32));
    assert!(totals[totals.len() - 1] < 0.3 * totals[0], "{totals:?}");
    let after = auc(&net, &held_out);
    assert!(after > before + 0.2 && after > 0.75, "{before} before, {after} after");
    let updates = loss.center().updates();
    assert!(updates.min().int64_value(&[]) > 0, "every class has moved its center: {updates:?}");
}

/// A center loss whose owner forgot `update`.
#[derive(Debug)]
struct NeverUpdated<L>(L);

impl<L: Loss> Loss for NeverUpdated<L> {
    fn forward(&self, embeddings: &Tensor, labels: &Tensor) -> Result<LossTerms> {
        self.0.forward(embeddings, labels)
    }

    fn check(&self, embeddings: &Tensor, labels: &Tensor) -> Result<()> {
        self.0.check(embeddings, labels)
    }

    fn update(&mut self, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }
}

/// Points of two classes pulled by a center loss alone, far from the origin: running centers leave
/// them where they are, centers that nobody moves drag them to 0.
#[test]
fn centers_follow_the_class_means() {
    let labels = Tensor::from_slice(&[0i64, 0, 0, 1, 1, 1]);
    let run = |update: bool| {
        let vs = nn::VarStore::new(Device::Cpu);
        let points = vs.root().var_copy(
            "points",
            &Tensor::from_slice2(&[[9.0f32, 1.0], [10.0, 2.0], [11.0, 0.0], [-9.0, 4.0], [-10.0, 5.0], [-11.0, 6.0]]),
        );
        let center = CenterLossConfig::default().init(&(vs.root() / "center"), 2, 2).unwrap();
        let centers = |center: &soft_lmccl::loss::CenterLoss| center.centers();
        let mut optimizer = nn::Sgd::default().build(&vs, 0.05).unwrap();
        if update {
            let mut loss = center;
            for _ in 0..100 {
                backward_step(&mut loss, &mut optimizer, &points, &labels).unwrap();
            }
            (points.detach().copy(), centers(&loss))
        } else {
            let mut loss = NeverUpdated(center);
            for _ in 0..100 {
                backward_step(&mut loss, &mut optimizer, &points, &labels).unwrap();
            }
            (points.detach().copy(), centers(&loss.0))
        }
    };
    let (points, centers) = run(true);
    for class in 0..2i64 {
        let mean = points.narrow(0, class * 3, 3).mean_dim([0i64].as_slice(), false, Kind::Float);
        assert!((mean.double_value(&[0]) - centers.double_value(&[class, 0])).abs() < 0.1);
        assert!(mean.double_value(&[0]).abs() > 8.0, "the class stays where it is");
    }
    let (dragged, _) = run(false);
    assert!(
        dragged.double_value(&[0, 0]) < points.double_value(&[0, 0]) - 3.0,
        "without update points go to the origin"
    );
}

#[test]
fn a_run_stops_where_its_observer_says_and_repeats_bit_for_bit() {
    let (volumes, labels) = volumes(0..3, 8, 4);
    let run = |steps: usize| {
        tch::set_num_threads(1);
        let vs = nn::VarStore::new(Device::Cpu);
        let config = CompactNetConfig { channels: vec![4], embedding_dim: 4, ..Default::default() };
        let net = compact_net(&(vs.root() / "net"), SIDE, config).unwrap();
        let mut loss = LmclConfig::default().init(&(vs.root() / "loss"), 3, 4).unwrap();
        for (mut variable, seed) in vs.trainable_variables().into_iter().zip(1..) {
            let values = waves(&variable.size(), f64::from(seed));
            let _frozen = no_grad_guard();
            variable.copy_(&(values * 0.3));
        }
        let config = FitConfig { epochs: 3, batch_size: 8, seed: 7, ..Default::default() };
        let mut seen = Vec::new();
        let outcome = fit(&net, &mut loss, &vs, (&volumes, &labels), config, |step| {
            seen.push((step.step, step.steps, step.loss.clone()));
            if step.step == steps { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        (outcome.end, seen, loss.prototypes().detach().copy())
    };
    let (end, seen, _) = run(4);
    assert_eq!(end, End::Stopped);
    assert_eq!(seen.iter().map(|(step, ..)| *step).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let (end, all, weights) = run(99);
    assert_eq!(end, End::Finished);
    assert_eq!((all.len(), all[0].1), (9, 9));
    assert_eq!(all[..4], seen);
    assert_eq!(run(99).2, weights);
}

#[test]
fn a_run_is_refused_before_it_starts() {
    let (volumes, labels) = volumes(0..3, 4, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let config = CompactNetConfig { channels: vec![4], embedding_dim: 4, ..Default::default() };
    let net = compact_net(&(vs.root() / "net"), SIDE, config).unwrap();
    let mut loss = LmclConfig::default().init(&(vs.root() / "loss"), 3, 4).unwrap();
    let mut refused = |config: FitConfig, labels: &Tensor| {
        fit(&net, &mut loss, &vs, (&volumes, labels), config, |_| panic!("no step")).unwrap_err().to_string()
    };
    let good = FitConfig { batch_size: 4, ..Default::default() };
    for (config, message) in [
        (FitConfig { epochs: 0, ..good }, "invalid `epochs`: expected at least 1, got 0"),
        (FitConfig { batch_size: 1, ..good }, "invalid `batch_size`: expected at least 2, got 1"),
        (FitConfig { learning_rate: 0.0, ..good }, "invalid `learning_rate`: expected a finite number > 0, got 0"),
        (
            FitConfig { weight_decay: f64::NAN, ..good },
            "invalid `weight_decay`: expected a finite number >= 0, got NaN",
        ),
        (
            FitConfig { batch_size: 13, ..good },
            "invalid `batch_size`: expected from 1 to the number of samples, 12, got 13",
        ),
    ] {
        assert_eq!(refused(config, &labels), message);
    }
    assert_eq!(
        refused(good, &labels.narrow(0, 0, 11)),
        "volumes: expected as many as there are labels, which are Int64 [N], \
         got [12, 1, 8, 8, 8] volumes, Int64 [11] labels"
    );
    assert!(refused(good, &labels.to_kind(Kind::Float)).ends_with("Float [12] labels"));
    let error = embed(&net, [Ok((volumes, labels.to_kind(Kind::Float)))]).unwrap_err();
    assert_eq!(error.to_string(), "labels: expected Int64, got Float");
}

#[test]
fn a_network_that_gives_nothing_to_normalize_is_named() {
    let vs = nn::VarStore::new(Device::Cpu);
    let linear = nn::linear(vs.root() / "net", 3, 2, nn::LinearConfig { bias: false, ..Default::default() });
    let net = nn::seq_t().add(linear);
    let batch = |rows: &Tensor| Ok((rows.shallow_clone(), Tensor::from_slice(&[0i64, 0])));
    let zero = Tensor::zeros([2, 3], FLOAT);
    let error = embed(&net, [batch(&zero)]).unwrap_err().to_string();
    assert_eq!(error, "embedding 0 is zero in every column, so it has no cosine with any other");
    let error = embed(&net, std::iter::empty()).unwrap_err().to_string();
    assert!(error.contains("no embeddings") || error.contains("empty") || error.contains("at least"), "{error}");
}

/// What `results.json` holds of a run, and nothing else.
#[test]
fn a_report_has_the_keys_that_scripts_read() {
    let (known, held_out) = (volumes(0..3, 8, 1), volumes(3..6, 12, 2));
    drop(known);
    let vs = nn::VarStore::new(Device::Cpu);
    let net =
        compact_net(&vs.root(), SIDE, CompactNetConfig { channels: vec![4], embedding_dim: 8, ..Default::default() })
            .unwrap();
    let set = embed(&net, [Ok(held_out)]).unwrap();
    let options = soft_lmccl::metrics::ReportOptions::default().limited_to(&set);
    let report = serde_json::to_value(VerificationReport::of(&set, &options).unwrap()).unwrap();
    let keys: Vec<_> = report.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["accuracy", "auc", "eer", "embeddings", "pairs", "tar_at_far"]);
    let point: Vec<_> = report["tar_at_far"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(point, ["false_accepts", "far", "resolvable", "tar", "target_far", "threshold"]);
}

#[test]
fn a_step_and_the_end_of_a_run_have_the_keys_that_scripts_read() {
    let (volumes, labels) = volumes(0..3, 4, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let config = CompactNetConfig { channels: vec![4], embedding_dim: 4, ..Default::default() };
    let net = compact_net(&(vs.root() / "net"), SIDE, config).unwrap();
    let mut loss = LmclConfig::default().init(&(vs.root() / "loss"), 3, 4).unwrap();
    let mut steps = Vec::new();
    let config = FitConfig { epochs: 1, batch_size: 6, ..Default::default() };
    let outcome = fit(&net, &mut loss, &vs, (&volumes, &labels), config, |step| {
        steps.push(serde_json::to_value(step).unwrap());
        ControlFlow::Continue(())
    });
    let keys: Vec<_> = steps[1].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["epoch", "learning_rate", "loss", "remaining_seconds", "step", "steps", "validation"]);
    assert_eq!((&steps[1]["epoch"], &steps[1]["remaining_seconds"]), (&json!(1), &json!(0.0)));
    assert_eq!(steps[1]["loss"]["terms"][0]["name"], "lmcl");
    let outcome = serde_json::to_value(outcome.unwrap()).unwrap();
    assert_eq!((&outcome["end"], &outcome["steps"], &outcome["best"]), (&json!("finished"), &json!(2), &json!(null)));
}
