//! Bytes that a step hands over, by the formulas of the guide.

use std::collections::BTreeMap;

use soft_lmccl::{
    distributed::Group,
    loss::{LmclConfig, Loss, SoftLmcclConfig},
    tch::{Device, Kind, Tensor, nn},
    train::{AdamWConfig, backward_step_in},
};

use super::all_succeed;

#[test]
fn a_step_hands_over_what_the_guide_says() {
    (2..=4).for_each(|ranks| all_succeed(ranks, "traffic"));
}

/// Calls and bytes, padding included, of a step with `heads` softmaxes and a term of centers or none.
struct Step {
    batch: i64,
    most: i64,
    dim: i64,
    parameters: i64,
    tensors: i64,
    heads: i64,
    centers: i64,
}

impl Step {
    fn on_paper(&self) -> BTreeMap<&'static str, i64> {
        let Self { batch, most, dim, parameters, tensors, heads, centers, .. } = self;
        BTreeMap::from([
            ("all_gather", 4 * dim * most + 8 * most + 2 * 64),
            ("all_reduce", heads * 12 * batch + 4 * centers + 4 * parameters + 8 * tensors + 16),
            ("reduce_scatter", 4 * dim * batch),
        ])
    }
}

pub(super) fn rank(group: &Group) {
    const FEATURES: i64 = 9;
    let (rank, ranks) = (group.rank() as i64, group.size() as i64);
    let (single, whole) = (Kind::Float, Device::Cpu);
    for (dim, own, heads, centers) in [(6, 4, 1, 0), (5, 3 + rank, 2, 1)] {
        let vs = nn::VarStore::new(whole);
        let net = nn::linear(vs.root() / "net", FEATURES, dim, Default::default());
        let (root, classes) = (vs.root() / "loss", group.classes(11));
        let mut loss: Box<dyn Loss> = match heads {
            1 => Box::new(LmclConfig::default().init(&root, classes, dim).unwrap()),
            _ => Box::new(SoftLmcclConfig::default().init(&root, classes, dim).unwrap()),
        };
        let mut optimizer = AdamWConfig::default().build(&vs).unwrap();
        let batch = if heads == 1 { 4 * ranks } else { (0..ranks).map(|rank| 3 + rank).sum() };
        let most = if heads == 1 { 4 } else { 2 + ranks };
        let (parameters, tensors) = (FEATURES * dim + dim, 2);
        let paper = Step { batch, most, dim, parameters, tensors, heads, centers }.on_paper();
        for _ in 0..2 {
            let before = group.traffic().operations;
            let labels = Tensor::arange(own, (Kind::Int64, whole));
            let embeddings = Tensor::randn([own, FEATURES], (single, whole)).apply(&net);
            backward_step_in(group, &mut loss, &mut optimizer, &embeddings, &labels).unwrap();
            let after = group.traffic().operations;
            let handed: BTreeMap<_, _> = after
                .into_iter()
                .map(|(name, (_, bytes))| (name, bytes - before.get(name).map_or(0, |&(_, bytes)| bytes)))
                .map(|(name, bytes)| (name, i64::try_from(bytes).unwrap()))
                .collect();
            assert_eq!(handed, paper, "{heads} heads");
        }
    }
}
