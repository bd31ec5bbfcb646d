//! Losses whose classes are shared out over ranks against one process.

use soft_lmccl::{
    distributed::{Classes, Group},
    loss::{
        AdaFaceConfig, ArcFaceConfig, CenterDistance, CenterLossConfig, CenterSpace, CenterUpdate, Chunks,
        CombinedMarginConfig, LmclConfig, Loss, LossConfig, Negatives, NormalizedSoftmaxConfig, Reduction,
        SoftLmcclConfig, SoftmaxBranch, SoftmaxHeadConfig, Targets,
    },
    tch::{Device, Kind, Tensor, nn, no_grad_guard},
};

use super::{RANKS_REL, all_succeed, dealt, drawn};

const DIM: i64 = 5;
const BATCH: i64 = 11;

/// Every member of the family, with what a head can be asked for.
fn family() -> Vec<(&'static str, Vec<LossConfig>)> {
    let negatives = Negatives { share: 0.4, seed: 5, ..Default::default() };
    let targets = Targets { smoothing: 0.2, ignore: Some(1) };
    let chunks = Chunks { classes: Some(2), ..Default::default() };
    let center = |center: CenterLossConfig| LossConfig::from(center);
    vec![
        ("softmax", vec![SoftmaxHeadConfig::default().into()]),
        ("smoothed", vec![SoftmaxHeadConfig { targets, chunks, ..Default::default() }.into()]),
        ("summed", vec![SoftmaxHeadConfig { reduction: Reduction::Sum, bias: false, ..Default::default() }.into()]),
        ("sub-centers", vec![NormalizedSoftmaxConfig { subcenters: 3, targets, ..Default::default() }.into()]),
        ("lmcl", vec![LmclConfig::default().into()]),
        ("biased", vec![LmclConfig { bias: true, scale: 400.0, ..Default::default() }.into()]),
        ("sampled", vec![LmclConfig { negatives, ..Default::default() }.into()]),
        (
            "sparse",
            vec![LmclConfig { negatives: Negatives { sparse: true, ..negatives }, ..Default::default() }.into()],
        ),
        ("sampled and smoothed", vec![SoftmaxHeadConfig { negatives, targets, ..Default::default() }.into()]),
        ("arcface", vec![ArcFaceConfig::default().into()]),
        ("combined", vec![CombinedMarginConfig::default().into()]),
        ("adaface", vec![AdaFaceConfig { rate: 0.3, ..Default::default() }.into()]),
        ("center", vec![center(CenterLossConfig::default())]),
        (
            "ema",
            vec![center(CenterLossConfig { rule: CenterUpdate::Ema, reduction: Reduction::Sum, ..Default::default() })],
        ),
        ("means", vec![center(CenterLossConfig { rule: CenterUpdate::ClassMean, ..Default::default() })]),
        ("trained centers", vec![center(CenterLossConfig { rule: CenterUpdate::Gradient, ..Default::default() })]),
        (
            "on the sphere",
            vec![center(CenterLossConfig {
                space: CenterSpace::UnitSphere,
                distance: CenterDistance::Euclidean,
                ignore: Some(1),
                ..Default::default()
            })],
        ),
        ("soft lmccl", vec![SoftLmcclConfig::default().into()]),
        ("one head", vec![SoftLmcclConfig { softmax: SoftmaxBranch::SharedCosine, ..Default::default() }.into()]),
        ("a sum", vec![ArcFaceConfig::default().into(), center(CenterLossConfig::default())]),
    ]
}

/// With a weight for each class.
const WEIGHTED: [&str; 3] = ["weighted lmcl", "weighted arcface", "weighted soft lmccl"];

fn weighted(name: &str, root: &nn::Path<'_>, classes: Classes) -> Box<dyn Loss> {
    let weights: Vec<f64> = (0..classes.number()).map(|class| 0.5 + (class * class % 5) as f64).collect();
    let targets = Targets { smoothing: 0.2, ignore: Some(1) };
    match name {
        "weighted lmcl" => {
            let lmcl = LmclConfig { targets, ..Default::default() }.init(root, classes, DIM).unwrap();
            Box::new(lmcl.with_class_weights(root, &weights).unwrap())
        }
        "weighted arcface" => {
            let arcface = ArcFaceConfig::default().init(root, classes, DIM).unwrap();
            Box::new(arcface.with_class_weights(root, &weights).unwrap())
        }
        _ => {
            let soft = SoftLmcclConfig::default().init(root, classes, DIM).unwrap();
            Box::new(soft.with_class_weights(root, &weights).unwrap())
        }
    }
}

/// In double precision; the second of a sum counts half.
fn made(name: &str, configs: &[LossConfig], classes: impl Into<Classes>) -> (nn::VarStore, Box<dyn Loss>) {
    let mut vs = nn::VarStore::new(Device::Cpu);
    let (root, classes) = (vs.root(), classes.into());
    let loss = match configs {
        [] => weighted(name, &root, classes),
        [one] => one.init(&root, classes, DIM).unwrap(),
        [one, other] => {
            let one = one.init(&(&root / "one"), classes.clone(), DIM).unwrap();
            Box::new(one + 0.5 * other.init(&(&root / "other"), classes, DIM).unwrap())
        }
        _ => panic!("one or two"),
    };
    vs.double();
    (vs, loss)
}

#[track_caller]
fn assert_close(got: &Tensor, want: &Tensor, what: &str) {
    assert_eq!(got.size(), want.size(), "{what}");
    if want.numel() == 0 {
        return;
    }
    let (got, want) = (got.detach().to_kind(Kind::Double), want.detach().to_kind(Kind::Double));
    let size = want.abs().max().double_value(&[]).max(1.0);
    let off = (&got - &want).abs().max().double_value(&[]);
    assert!(off <= RANKS_REL * size, "{what}: off by {off} of {size}");
}

#[test]
fn classes_over_ranks_are_those_of_one_process() {
    (1..=4).for_each(|ranks| all_succeed(ranks, "losses"));
}

pub(super) fn rank(group: &Group) {
    for classes in [2, 7, 10] {
        for (name, configs) in family().into_iter().chain(WEIGHTED.map(|name| (name, vec![]))) {
            // Two classes are too few for what these are asked.
            if classes > 2 || !["biased"].contains(&name) {
                over_steps(group, name, &configs, classes);
            }
        }
    }
}

fn over_steps(group: &Group, name: &str, configs: &[LossConfig], classes: i64) {
    let (whole_vs, mut whole) = made(name, configs, classes);
    let (part_vs, mut part) = made(name, configs, group.classes(classes));
    let name = format!("{name} of {classes} on {}", group.size());
    assert_eq!(part.num_classes(), Some(classes));
    let shards = part.shards();
    let rows_of = |variable: &Tensor, all: &Tensor| {
        let place = |tensor: &Tensor| (tensor.data_ptr(), tensor.size());
        match shards.iter().find(|shard| place(shard.variable()) == place(variable)) {
            Some(shard) => {
                assert_eq!(all.size()[0], shard.of());
                all.narrow(0, shard.rows().start, shard.rows().end - shard.rows().start)
            }
            None => all.shallow_clone(),
        }
    };
    let mut names: Vec<_> = part_vs.variables().into_keys().collect();
    names.sort_unstable();
    let (of_whole, of_part) = (whole_vs.variables(), part_vs.variables());
    for (seed, name) in (0..).zip(&names) {
        let _frozen = no_grad_guard();
        let mut variable = of_whole[name].shallow_clone();
        if variable.size().len() == 2 {
            variable.copy_(&drawn(seed, variable.size()[0], variable.size()[1]));
        }
        let rows = rows_of(&of_part[name], &variable);
        of_part[name].shallow_clone().copy_(&rows);
    }
    let counts = dealt(BATCH, group.size());
    let start: i64 = counts[..group.rank()].iter().sum();
    let mine = |all: &Tensor| all.narrow(0, start, counts[group.rank()]);
    for step in 0..3 {
        let what = |what: &str| format!("{what} of {name} in step {step}");
        let leaf = |all: Tensor| all.detach().copy().set_requires_grad(true);
        let all = leaf(drawn(100 + step, BATCH, DIM) * 3.0);
        let own = leaf(mine(&all));
        let labels: Vec<i64> = (0..BATCH).map(|sample| (sample * sample + step as i64) % classes).collect();
        let labels = Tensor::from_slice(&labels);
        let (gathered, gathered_labels) = group.gather(&own, &mine(&labels)).unwrap();
        assert_eq!(gathered_labels, labels);
        let (of_all, of_ranks) = (whole.forward(&all, &labels).unwrap(), part.forward(&gathered, &labels).unwrap());
        assert_close(&of_ranks.total(), &of_all.total(), &what("loss"));
        for vs in [&whole_vs, &part_vs] {
            vs.trainable_variables().iter_mut().for_each(Tensor::zero_grad);
        }
        of_all.total().backward();
        of_ranks.total().backward();
        // The mean over the ranks of what each holds.
        assert_close(&(own.grad() / group.size() as f64), &mine(&all.grad()), &what("gradient of the embeddings"));
        let _frozen = no_grad_guard();
        for name in &names {
            let [mut one, mut many] = [&of_whole, &of_part].map(|of| of[name].shallow_clone());
            if !one.requires_grad() {
                continue;
            }
            let dense = |gradient: Tensor| if gradient.is_sparse() { gradient.to_dense(None, false) } else { gradient };
            let (of_one, of_many) = (dense(one.grad()), dense(many.grad()));
            assert_close(&of_many, &rows_of(&many, &of_one), &what(&format!("gradient of {name}")));
            let (one_step, many_step) = (of_one * 0.3, of_many * 0.3);
            let _ = (one.g_sub_(&one_step), many.g_sub_(&many_step));
        }
        whole.update(&all.detach(), &labels).unwrap();
        part.update(&gathered.detach(), &labels).unwrap();
        for name in &names {
            assert_close(&of_part[name], &rows_of(&of_part[name], &of_whole[name]), &what(name));
        }
    }
}
