//! What the rules that move centers must do, whatever the numbers.

use approx::assert_relative_eq;
use proptest::prelude::*;
use soft_lmccl::{
    loss::{CenterDistance, CenterLoss, CenterLossConfig, CenterSpace, CenterUpdate, Loss, Reduction, SoftLmcclConfig},
    tch::{Kind, Tensor, nn},
};

use super::{Case, F64_SUM_REL, assert_close, case, double, matrix, numbers, set};

const RATE: f64 = 0.5;

/// Centers start at the case's weights.
fn center(case: &Case, rule: CenterUpdate) -> (nn::VarStore, CenterLoss) {
    let config = CenterLossConfig { rate: RATE, rule, ..Default::default() };
    let (vs, loss) = double(|path| config.init(path, case.classes as i64, case.dim as i64));
    set(&vs, "centers", &case.weight());
    (vs, loss)
}

fn updated(case: &Case, rule: CenterUpdate) -> Tensor {
    let (_vs, mut loss) = center(case, rule);
    loss.update(&case.embeddings(), &case.labels()).unwrap();
    loss.centers()
}

/// Mean and count of class `j` in the batch.
fn batch_mean(case: &Case, j: usize) -> Option<(Vec<f64>, f64)> {
    let rows: Vec<&[f64]> = case
        .embeddings
        .chunks(case.dim)
        .zip(&case.labels)
        .filter(|(_, label)| **label == j as i64)
        .map(|(row, _)| row)
        .collect();
    let count = rows.len() as f64;
    (!rows.is_empty())
        .then(|| ((0..case.dim).map(|k| rows.iter().map(|row| row[k]).sum::<f64>() / count).collect(), count))
}

const RULES: [CenterUpdate; 5] =
    [CenterUpdate::Wen, CenterUpdate::Ema, CenterUpdate::ClassMean, CenterUpdate::Literal, CenterUpdate::Gradient];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_rule_steps_as_named(case in case()) {
        for rule in RULES {
            let after = numbers(&updated(&case, rule));
            for j in 0..case.classes {
                let row = j * case.dim..(j + 1) * case.dim;
                let before = &case.weight[row.clone()];
                let Some((mean, n)) = batch_mean(&case, j) else {
                    // Absent: the same bits.
                    prop_assert_eq!(&after[row], before);
                    continue;
                };
                let share = match rule {
                    CenterUpdate::Wen => RATE * n / (1.0 + n),
                    CenterUpdate::Ema => RATE,
                    CenterUpdate::ClassMean => 1.0,
                    CenterUpdate::Literal => RATE * n,
                    CenterUpdate::Gradient => 0.0,
                    rule => unreachable!("{rule:?} has no share here"),
                };
                let want: Vec<f64> = before.iter().zip(&mean).map(|(c, x)| c + share * (x - c)).collect();
                assert_close(&after[row], &want, F64_SUM_REL);
            }
        }
    }

    #[test]
    fn the_mean_of_all_seen_is_kept_over_batches(case in case(), other in prop::collection::vec(-2.0..2.0f64, 2)) {
        let (_vs, mut loss) = center(&case, CenterUpdate::ClassMean);
        loss.update(&case.embeddings(), &case.labels()).unwrap();
        let late = matrix(&vec![other[0]; case.dim], case.dim);
        let label = case.labels[0];
        loss.update(&late, &Tensor::from_slice(&[label])).unwrap();
        let (mean, n) = batch_mean(&case, label as usize).unwrap();
        let want: Vec<f64> = mean.iter().map(|x| (x * n + other[0]) / (n + 1.0)).collect();
        let row = label as usize * case.dim;
        assert_close(&numbers(&loss.centers())[row..row + case.dim], &want, F64_SUM_REL);
    }

    #[test]
    fn a_center_at_its_mean_stays(case in case()) {
        for rule in RULES {
            let (_vs, mut loss) = center(&case, rule);
            loss.reset_to_means(&case.embeddings(), &case.labels()).unwrap();
            let before = numbers(&loss.centers());
            loss.update(&case.embeddings(), &case.labels()).unwrap();
            assert_close(&numbers(&loss.centers()), &before, F64_SUM_REL);
        }
    }

    #[test]
    fn moving_everything_moves_the_centers_along(case in case(), by in -3.0..3.0f64) {
        let moved = Case {
            embeddings: case.embeddings.iter().map(|x| x + by).collect(),
            weight: case.weight.iter().map(|x| x + by).collect(),
            ..case.clone()
        };
        for rule in RULES {
            let want: Vec<f64> = numbers(&updated(&case, rule)).iter().map(|c| c + by).collect();
            assert_close(&numbers(&updated(&moved, rule)), &want, F64_SUM_REL);
        }
    }

    #[test]
    fn the_order_of_the_batch_does_not_count(case in case()) {
        let reversed = Case {
            embeddings: case.embeddings.chunks(case.dim).rev().flatten().copied().collect(),
            labels: case.labels.iter().rev().copied().collect(),
            ..case.clone()
        };
        for rule in RULES {
            assert_close(&numbers(&updated(&reversed, rule)), &numbers(&updated(&case, rule)), F64_SUM_REL);
        }
    }

    #[test]
    fn centers_stay_out_of_the_graph_and_forward_moves_nothing(case in case()) {
        let (vs, mut loss) = center(&case, CenterUpdate::Wen);
        prop_assert!(vs.trainable_variables().is_empty());
        let embeddings = case.embeddings().set_requires_grad(true);
        let first = loss.forward(&embeddings, &case.labels()).unwrap();
        prop_assert_eq!(&numbers(&loss.centers()), &case.weight);
        prop_assert_eq!(loss.updates().sum(Kind::Int64).int64_value(&[]), 0);
        // The update may even come between forward and backward: the gradient is x − c as it was.
        loss.update(&embeddings, &case.labels()).unwrap();
        first.total().backward();
        let old = case.weight().index_select(0, &case.labels());
        let want = (case.embeddings() - old) / case.labels.len() as f64;
        assert_close(&numbers(&embeddings.grad()), &numbers(&want), F64_SUM_REL);
        prop_assert!(!loss.centers().requires_grad());
    }

    #[test]
    fn updates_are_counted_by_class(case in case()) {
        for rule in RULES {
            let (_vs, mut loss) = center(&case, rule);
            for _ in 0..3 {
                loss.update(&case.embeddings(), &case.labels()).unwrap();
            }
            let want: Vec<i64> = (0..case.classes as i64).map(|j| if case.labels.contains(&j) { 3 } else { 0 }).collect();
            prop_assert_eq!(Vec::<i64>::try_from(loss.updates()).unwrap(), want);
        }
    }

    #[test]
    fn on_the_unit_sphere_lengths_do_not_count(case in case(), longer in 0.5..20.0f64) {
        let config = CenterLossConfig { space: CenterSpace::UnitSphere, ..Default::default() };
        let run = |embeddings: &Tensor| {
            let (vs, mut loss) = double(|path| config.init(path, case.classes as i64, case.dim as i64));
            set(&vs, "centers", &case.weight());
            let value = super::total(&loss, embeddings, &case.labels());
            loss.update(embeddings, &case.labels()).unwrap();
            (value, numbers(&loss.centers()))
        };
        let (value, centers) = run(&case.embeddings());
        let (same_value, same_centers) = run(&(case.embeddings() * longer));
        assert_relative_eq!(value, same_value, max_relative = F64_SUM_REL);
        assert_close(&same_centers, &centers, F64_SUM_REL);
    }
}

/// Two samples, 5 and 13 from the origin.
#[test]
fn distances_by_hand() {
    let embeddings = Tensor::from_slice2(&[[3.0f64, 4.0], [-5.0, 12.0]]);
    let labels = Tensor::from_slice(&[1i64, 0]);
    for (distance, reduction, want) in [
        (CenterDistance::Squared, Reduction::Mean, 0.25 * (25.0 + 169.0)),
        (CenterDistance::Squared, Reduction::Sum, 0.5 * (25.0 + 169.0)),
        (CenterDistance::Euclidean, Reduction::Mean, 0.25 * (5.0 + 13.0)),
        (CenterDistance::Euclidean, Reduction::Sum, 0.5 * (5.0 + 13.0)),
    ] {
        let config = CenterLossConfig { distance, reduction, ..Default::default() };
        let (_vs, loss) = double(|path| config.init(path, 2, 2));
        assert_relative_eq!(super::total(&loss, &embeddings, &labels), want, max_relative = F64_SUM_REL);
    }
}

#[test]
fn a_warm_start_on_the_unit_sphere_is_the_mean_of_directions() {
    let config = CenterLossConfig { space: CenterSpace::UnitSphere, ..Default::default() };
    let (vs, mut loss) = double(|path| config.init(path, 3, 2));
    set(&vs, "centers", &matrix(&[7.0, 7.0, 8.0, 8.0, 9.0, 9.0], 2));
    let embeddings = Tensor::from_slice2(&[[30.0f64, 40.0], [0.0, 2.0], [-5.0, 0.0]]);
    loss.reset_to_means(&embeddings, &Tensor::from_slice(&[2i64, 2, 0])).unwrap();
    assert_close(&numbers(&loss.centers()), &[-1.0, 0.0, 8.0, 8.0, 0.3, 0.9], F64_SUM_REL);
    // As a part of a joint loss.
    let config = SoftLmcclConfig { center: config, ..Default::default() };
    let (_vs, mut joint) = double(|path| config.init(path, 3, 2));
    joint.reset_centers_to_means(&embeddings, &Tensor::from_slice(&[2i64, 2, 0])).unwrap();
    assert_close(&numbers(&joint.center().centers()), &[-1.0, 0.0, 0.0, 0.0, 0.3, 0.9], F64_SUM_REL);
    assert!(joint.reset_centers_to_means(&embeddings, &Tensor::from_slice(&[2i64, 3, 0])).is_err());
}

#[test]
fn what_is_handed_out_is_a_copy_outside_the_graph() {
    for rule in RULES {
        let (_vs, mut loss) = double(|path| CenterLossConfig { rule, ..Default::default() }.init(path, 3, 2));
        let (centers, updates) = (loss.centers(), loss.updates());
        assert!(!centers.requires_grad(), "{rule:?}");
        let _ = centers.shallow_clone().fill_(4.0);
        loss.update(&matrix(&[1.0, 2.0], 2), &Tensor::from_slice(&[1i64])).unwrap();
        assert_eq!(updates.sum(Kind::Int64).int64_value(&[]), 0);
        assert!(loss.centers().max().double_value(&[]) < 4.0, "{rule:?}");
    }
}

/// The paper's formula as printed overshoots as soon as rate·n > 2; Wen's never does.
#[test]
fn the_literal_rule_diverges_where_wen_converges() {
    let case = Case {
        classes: 1,
        dim: 1,
        embeddings: vec![1.0, 1.2, 0.8, 1.0, 1.1, 0.9],
        weight: vec![0.0],
        labels: vec![0; 6],
    };
    let far = |rule| {
        let (_vs, mut loss) = center(&case, rule);
        for _ in 0..40 {
            loss.update(&case.embeddings(), &case.labels()).unwrap();
        }
        (loss.centers().double_value(&[0, 0]) - 1.0).abs()
    };
    assert!(far(CenterUpdate::Literal) > 1e6);
    assert!(far(CenterUpdate::Wen) < 1e-6);
}

/// A hundred thousand numbers a little above 5, whose sum single precision does not hold.
#[test]
fn a_warm_start_from_many_embeddings_is_their_mean() {
    const MANY: i64 = 100_000;
    let vs = nn::VarStore::new(soft_lmccl::tch::Device::Cpu);
    let config = CenterLossConfig { rule: CenterUpdate::ClassMean, ..Default::default() };
    let mut loss = config.init(&vs.root(), 2, 1).unwrap();
    let many =
        Tensor::arange(MANY, (Kind::Double, soft_lmccl::tch::Device::Cpu)).remainder(17.0).view([MANY, 1]) * 0.01 + 5.0;
    let mean = many.mean(Kind::Double).double_value(&[]);
    let labels = Tensor::zeros([MANY], (Kind::Int64, soft_lmccl::tch::Device::Cpu));
    loss.reset_to_means(&many.to_kind(Kind::Float), &labels).unwrap();
    assert_relative_eq!(loss.centers().double_value(&[0, 0]), mean, max_relative = 1e-6);
    // They count as seen: one more does not move the mean by more than its share.
    loss.update(&Tensor::from_slice2(&[[-5.0f32]]), &Tensor::from_slice(&[0i64])).unwrap();
    let with_one_more = (mean * MANY as f64 - 5.0) / (MANY + 1) as f64;
    assert_relative_eq!(loss.centers().double_value(&[0, 0]), with_one_more, max_relative = 1e-6);
    assert_eq!(numbers(&loss.centers())[1..], [0.0]);
}

/// `VarStore::double` casts the counters as well.
#[test]
fn a_store_that_was_cast_still_counts() {
    for rule in RULES {
        let mut vs = nn::VarStore::new(soft_lmccl::tch::Device::Cpu);
        let mut loss = CenterLossConfig { rule, ..Default::default() }.init(&vs.root(), 2, 2).unwrap();
        vs.double();
        let embeddings = Tensor::from_slice2(&[[1.0, 2.0], [3.0, 4.0]]);
        loss.update(&embeddings, &Tensor::from_slice(&[1i64, 1])).unwrap();
        assert_eq!(Vec::<i64>::try_from(loss.updates()).unwrap(), [0, 1]);
    }
}
