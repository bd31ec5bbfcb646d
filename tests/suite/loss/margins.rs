//! What a margin on the hypersphere must do, whatever the numbers and whichever the loss.

use proptest::prelude::*;
use soft_lmccl::{
    loss::{AdaFaceConfig, ArcFaceConfig, CombinedMarginConfig, LmclConfig, Loss, LossConfig, NormalizedSoftmaxConfig},
    tch::{Device, Kind, Tensor, nn},
};

use super::{Case, F64_SUM_REL, assert_close, case, double, gradient, matrix, numbers, set, total};

const SCALE: f64 = 8.0;

/// A loss of the family by its number, with one prototype of a class or three.
#[derive(Debug, Clone, Copy)]
struct Member {
    which: usize,
    subcenters: i64,
}

const ADAFACE: usize = 3;

fn member() -> impl Strategy<Value = Member> {
    (0..=ADAFACE, prop::sample::select(vec![1i64, 3])).prop_map(|(which, subcenters)| Member { which, subcenters })
}

impl Member {
    fn config(self, margin: f64) -> LossConfig {
        let subcenters = self.subcenters;
        match self.which {
            0 => LmclConfig { scale: SCALE, margin, subcenters, ..Default::default() }.into(),
            1 => ArcFaceConfig { scale: SCALE, margin, subcenters, ..Default::default() }.into(),
            2 => {
                let (factor, angle, cosine) = (1.0 + margin, margin, margin);
                CombinedMarginConfig { scale: SCALE, factor, angle, cosine, subcenters, ..Default::default() }.into()
            }
            // Norms and running figures of which the quality is seldom 1 or −1.
            _ => AdaFaceConfig { scale: SCALE, margin, subcenters, concentration: 1.0, ..Default::default() }.into(),
        }
    }

    fn made(self, config: LossConfig, case: &Case, weight: &Tensor) -> (nn::VarStore, Box<dyn Loss>) {
        let (vs, loss) = double(|path| config.init(path, case.classes as i64, case.dim as i64));
        set(&vs, "weight", weight);
        if self.which == ADAFACE {
            set(&vs, "norms", &Tensor::from_slice(&[1.5, 2.0]));
        }
        (vs, loss)
    }

    /// The prototypes of the case; of several of a class, each is turned a little.
    fn weight(self, case: &Case) -> Tensor {
        let count = self.subcenters as usize * case.dim;
        let turns: Vec<f64> = (0..count).map(|at| (at as f64 * 1.7).sin() * 0.4).collect();
        let turns = matrix(&turns, case.dim) * f64::from(u8::from(self.subcenters > 1));
        (case.weight().unsqueeze(1) + turns).view([-1, case.dim as i64])
    }

    fn value(self, case: &Case, margin: f64) -> f64 {
        self.value_of(case, margin, &case.embeddings(), &self.weight(case), &case.labels())
    }

    fn value_of(self, case: &Case, margin: f64, embeddings: &Tensor, weight: &Tensor, labels: &Tensor) -> f64 {
        total(self.made(self.config(margin), case, weight).1.as_ref(), embeddings, labels)
    }
}

/// An orthogonal matrix: the Q of a QR decomposition.
fn rotation(seed: &[f64], dim: usize) -> Tensor {
    let entries: Vec<f64> =
        (0..dim * dim).map(|i| seed[i % seed.len()] * (1.0 + i as f64).sin() + f64::from(i % (dim + 1) == 0)).collect();
    Tensor::linalg_qr(&matrix(&entries, dim), "reduced").0
}

fn stretched(rows: &Tensor, longer: f64) -> Tensor {
    let factors: Vec<f64> = (0..rows.size()[0]).map(|row| longer * (1.0 + row as f64)).collect();
    rows * Tensor::from_slice(&factors).unsqueeze(1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn grows_with_the_margin(member in member(), case in case(), low in 0.0..0.9f64, more in 0.01..0.1f64) {
        let (lower, higher) = (member.value(&case, low), member.value(&case, low + more));
        // AdaFace keeps the changed angle off 0 and π: there it stands still.
        let still = if member.which == ADAFACE { F64_SUM_REL * lower } else { 0.0 };
        prop_assert!(lower < higher + still, "{lower}, {higher}");
    }

    #[test]
    fn no_margin_is_the_normalized_softmax(member in member(), case in case()) {
        /// AdaFace keeps the angle 10⁻³ off 0, where the cosine is 1 − 5·10⁻⁷.
        const WITHIN: f64 = 1e-6 * SCALE;
        let subcenters = member.subcenters;
        let config = NormalizedSoftmaxConfig { scale: SCALE, subcenters, ..Default::default() };
        let plain = Member { which: 0, ..member }.made(config.into(), &case, &member.weight(&case)).1;
        let plain = total(plain.as_ref(), &case.embeddings(), &case.labels());
        let rest = if member.which == ADAFACE { WITHIN } else { F64_SUM_REL * SCALE };
        prop_assert!((member.value(&case, 0.0) - plain).abs() <= rest, "{} and {plain}", member.value(&case, 0.0));
    }

    /// Those of embeddings do in AdaFace alone.
    #[test]
    fn lengths_do_not_count(member in member(), case in case(), longer in 0.2..50.0f64) {
        let embeddings = match member.which {
            ADAFACE => case.embeddings(),
            _ => stretched(&case.embeddings(), longer),
        };
        let changed = member.value_of(&case, 0.35, &embeddings, &stretched(&member.weight(&case), longer), &case.labels());
        assert_close(&[changed], &[member.value(&case, 0.35)], F64_SUM_REL);
    }

    #[test]
    fn a_common_rotation_changes_nothing(member in member(), case in case()) {
        let turn = rotation(&case.embeddings, case.dim);
        let (embeddings, weight) = (case.embeddings().matmul(&turn), member.weight(&case).matmul(&turn));
        let turned = member.value_of(&case, 0.35, &embeddings, &weight, &case.labels());
        assert_close(&[turned], &[member.value(&case, 0.35)], F64_SUM_REL);
    }

    #[test]
    fn the_gradient_is_orthogonal_to_the_embedding(member in member(), case in case(), margin in 0.0..0.9f64) {
        let (_vs, loss) = member.made(member.config(margin), &case, &member.weight(&case));
        let embeddings = case.embeddings();
        let gradient = gradient(loss.as_ref(), &embeddings, &case.labels());
        let along = numbers(&(&embeddings * &gradient).sum_dim_intlist([-1i64].as_slice(), false, Kind::Double));
        let size = numbers(&gradient).iter().fold(SCALE, |size, slope| size.max(slope.abs()));
        for along in along {
            prop_assert!(along.abs() < F64_SUM_REL * size, "{along}");
        }
    }

    #[test]
    fn the_order_of_the_batch_does_not_count(member in member(), case in case(), turn in 1..5i64) {
        let order = Tensor::arange(case.labels.len() as i64, (Kind::Int64, Device::Cpu)).roll([turn], [0]);
        let (embeddings, labels) = (case.embeddings().index_select(0, &order), case.labels().index_select(0, &order));
        let shuffled = member.value_of(&case, 0.35, &embeddings, &member.weight(&case), &labels);
        assert_close(&[shuffled], &[member.value(&case, 0.35)], F64_SUM_REL);
    }

    #[test]
    fn the_names_of_the_classes_do_not_count(member in member(), case in case(), turn in 1..5i64) {
        let classes = case.classes as i64;
        let order = Tensor::arange(classes, (Kind::Int64, Device::Cpu)).roll([turn], [0]);
        // Class k of the new prototypes is the old class order[k]; a label moves to where its class went.
        let labels = (case.labels() + turn).remainder(classes);
        let weight = member.weight(&case);
        let renamed = weight.view([classes, -1]).index_select(0, &order).view_as(&weight);
        let renamed = member.value_of(&case, 0.35, &case.embeddings(), &renamed, &labels);
        assert_close(&[renamed], &[member.value(&case, 0.35)], F64_SUM_REL);
    }

    #[test]
    fn inputs_stay_as_they_are(member in member(), case in case()) {
        let (vs, mut loss) = member.made(member.config(0.35), &case, &member.weight(&case));
        let (embeddings, labels) = (case.embeddings(), case.labels());
        loss.forward(&embeddings, &labels).unwrap().total().backward();
        loss.update(&embeddings, &labels).unwrap();
        prop_assert_eq!(embeddings, case.embeddings());
        prop_assert_eq!(labels, case.labels());
        prop_assert_eq!(vs.variables()["weight"].detach(), member.weight(&case));
    }
}
