//! The one softmax over classes, with its gradient in closed form.
//!
//! With `z` the logits of a sample and `y` its class,
//!
//! ```text
//! own = z_y          others = ln Σ_{j≠y} exp z_j        − ln softmax(z)[y] = − ln σ(own − others)
//! ∂own/∂z_y = 1      ∂others/∂z_j = q_j                 q the softmax over the classes other than y
//! ```
//!
//! A margin acts on `own` alone, so it is ordinary autograd on B numbers, and whatever is made of the same logits, with
//! and without a margin, takes one pass over the classes. `z_j = x·w_j + b_j` for a linear head; on the hypersphere
//! `z_j = s·x̂·ŵ_j`, with several prototypes of a class the largest of theirs.

use tch::{Device, Kind, Tensor, autocast, no_grad_guard};

use super::{
    Chunks,
    unit::{Unit, row_sums},
};
use crate::{
    Result,
    autograd::{Backward, function, gradients},
    loss::{
        functional::{NORM_FLOOR, l2_normalize, linear_logits, lowest, own_and_others},
        gate::Labels,
    },
};

/// What the logits of a head are made of.
#[derive(Debug)]
pub(super) struct Logits {
    /// `s` of a head on the hypersphere, whose features and rows are normalized.
    pub scale: Option<f64>,
    /// Rows of a class, one after the other.
    pub centers: i64,
    pub chunks: Chunks,
    /// Heads that share `chunks`.
    pub heads: usize,
    /// `u`, `[C]`, where the sum of `u_j·z_j` is asked for.
    pub shares: Option<Tensor>,
}

/// What cross entropies are made of, `[B]` each.
#[derive(Debug)]
pub(super) struct Odds {
    /// The logit of the true class.
    pub own: Tensor,
    /// Log-sum-exp of those of the other classes.
    pub others: Tensor,
    /// `Σ_{j≠y} u_j·z_j`, if asked for.
    pub shared: Option<Tensor>,
}

impl Logits {
    /// # Shapes
    /// `[B, D]`, `[C·centers, D]`, `[C]`, `[B]`.
    pub(super) fn odds(self, features: &Tensor, rows: &Tensor, bias: Option<&Tensor>, labels: &Labels) -> Result<Odds> {
        let inputs: Vec<_> = [Some(features), Some(rows), bias].into_iter().flatten().collect();
        let outputs = function(&inputs, || {
            // Logits are single precision at least, under autocast as well.
            let pass = autocast(false, || Pass::forward(self, features, rows, bias, labels));
            let outputs = [Some(&pass.own), Some(&pass.others), pass.shared.as_ref()];
            let outputs = outputs.into_iter().flatten().map(|output| output.squeeze_dim(1)).collect();
            Ok((outputs, move |backward: &Backward<'_>| autocast(false, || pass.gradients(backward))))
        })?;
        let mut outputs = outputs.into_iter();
        let mut next = || outputs.next().expect("two outputs, or three");
        Ok(Odds { own: next(), others: next(), shared: outputs.next() })
    }

    /// The logits as every operation of the formula makes them, for derivatives of any order.
    fn plain(&self, features: &Tensor, rows: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let logits = match self.scale {
            Some(scale) => {
                let features = l2_normalize(features, NORM_FLOOR) * scale;
                linear_logits(&features, &l2_normalize(rows, NORM_FLOOR), bias)
            }
            None => linear_logits(features, rows, bias),
        };
        self.best(logits).0
    }

    /// Of each class the logit of its best prototype, and which that is, `[B, K, 1]`, where there are several.
    fn best(&self, logits: Tensor) -> (Tensor, Option<Tensor>) {
        if self.centers == 1 {
            return (logits, None);
        }
        let (best, at) = logits.view([logits.size()[0], -1, self.centers]).max_dim(2, true);
        (best.squeeze_dim(2), Some(at))
    }

    /// Whether `exp z` neither overflows nor vanishes, so that no maximum need be taken off.
    fn bounded(&self, kind: Kind, bias: Option<&Tensor>) -> bool {
        let smallest = if kind == Kind::Double { f64::MIN_POSITIVE } else { f64::from(f32::MIN_POSITIVE) };
        bias.is_none() && self.scale.is_some_and(|scale| (-2.0 * scale).exp() > smallest)
    }
}

/// A forward, and what its backward needs.
#[derive(Debug)]
struct Pass {
    logits: Logits,
    features: Unit,
    /// The row of each sample's class, and its place among the rows.
    own_rows: Unit,
    own_index: Tensor,
    labels: Tensor,
    chunks: Vec<Chunk>,
    /// `[B, 1]` each.
    own: Tensor,
    others: Tensor,
    shared: Option<Tensor>,
}

#[derive(Debug)]
struct Chunk {
    start: i64,
    classes: i64,
    /// Where in its logits, row by row, those of true classes are.
    own: Tensor,
    powers: Option<Powers>,
}

/// `exp(z − top)` of a chunk, 0 at the true classes.
#[derive(Debug)]
struct Powers {
    powers: Tensor,
    /// `[B, 1]`; 0 if none.
    top: Option<Tensor>,
    /// The best prototypes, see [`Logits::best`].
    at: Option<Tensor>,
}

impl Pass {
    fn forward(logits: Logits, features: &Tensor, rows: &Tensor, bias: Option<&Tensor>, labels: &Labels) -> Self {
        let batch = features.size()[0];
        let classes = rows.size()[0] / logits.centers;
        let features = Unit::of_features(features, logits.scale);
        let (own, own_rows, own_index) = own(&logits, &features, rows, bias, &labels.tensor);
        let chunks = cut(&logits, classes, labels, rows.device());
        let mut room = logits.chunks.room(&features.rows, classes, logits.heads);
        let mut pass = Self {
            labels: labels.tensor.shallow_clone(),
            others: own.shallow_clone(),
            shared: None,
            chunks: Vec::new(),
            logits,
            features,
            own_rows,
            own_index,
            own,
        };
        let (mut parts, mut shared) = (Vec::new(), pass.own.zeros_like());
        for mut chunk in chunks {
            let (logits, at) = pass.logits_of(&chunk, &pass.unit_rows(&chunk, rows).rows, bias);
            if let Some(shares) = &pass.logits.shares {
                shared += logits.mv(&chunk.of(shares)).unsqueeze(1);
            }
            let powers = pass.powers_of(&chunk, logits, at, bias);
            let part = row_sums(&powers.powers).log();
            parts.push(match &powers.top {
                Some(top) => part + top,
                None => part,
            });
            let bytes = powers.powers.numel() * powers.powers.kind().elt_size_in_bytes();
            if bytes <= room {
                room -= bytes;
                chunk.powers = Some(powers);
            }
            pass.chunks.push(chunk);
        }
        pass.others = match &parts[..] {
            [part] => part.shallow_clone(),
            parts => Tensor::cat(parts, 1).logsumexp([1i64].as_slice(), true),
        };
        pass.shared = pass.logits.shares.as_ref().map(|shares| {
            let own_shares = shares.index_select(0, &pass.labels).view([batch, 1]);
            shared - own_shares * &pass.own
        });
        pass
    }

    fn unit_rows(&self, chunk: &Chunk, rows: &Tensor) -> Unit {
        let centers = self.logits.centers;
        Unit::of(&rows.narrow(0, chunk.start * centers, chunk.classes * centers), self.logits.scale.map(|_| 1.0))
    }

    fn logits_of(&self, chunk: &Chunk, rows: &Tensor, bias: Option<&Tensor>) -> (Tensor, Option<Tensor>) {
        let bias = bias.map(|bias| chunk.of(bias));
        self.logits.best(linear_logits(&self.features.rows, rows, bias.as_ref()))
    }

    /// Overwrites the logits.
    fn powers_of(&self, chunk: &Chunk, mut logits: Tensor, at: Option<Tensor>, bias: Option<&Tensor>) -> Powers {
        // Finite, so that a chunk of nothing but true classes has a difference from its top.
        chunk.fill_own(&logits, lowest(logits.kind()));
        let top = (!self.logits.bounded(logits.kind(), bias)).then(|| logits.amax([-1i64].as_slice(), true));
        if let Some(top) = &top {
            let _ = logits.g_sub_(top);
        }
        Powers { powers: logits.exp_(), top, at }
    }

    fn gradients(&self, backward: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let by_output = |index| match backward.gradient(index) {
            Some(gradient) => gradient.unsqueeze(1),
            None => self.own.zeros_like(),
        };
        let by = ByOdds { own: by_output(0), others: by_output(1), shared: by_output(2) };
        if backward.create_graph() {
            return self.recorded_gradients(backward, &by);
        }
        let _frozen = no_grad_guard();
        let inputs = backward.inputs();
        Ok(self.closed_form(&inputs[1], inputs.get(2), [0, 1, 2].map(|input| backward.needs(input)), &by))
    }

    /// The gradients by ordinary autograd, which can be differentiated again.
    fn recorded_gradients(&self, backward: &Backward<'_>, by: &ByOdds) -> Result<Vec<Option<Tensor>>> {
        let inputs = backward.inputs();
        let logits = self.logits.plain(&inputs[0], &inputs[1], inputs.get(2));
        let (own, others) = own_and_others(&logits, &self.labels);
        let (mut outputs, mut by_outputs) = (vec![own, others], vec![by.own.squeeze_dim(1), by.others.squeeze_dim(1)]);
        if let Some(shares) = &self.logits.shares {
            outputs.push(logits.mv(shares) - &outputs[0] * shares.index_select(0, &self.labels));
            by_outputs.push(by.shared.squeeze_dim(1));
        }
        let asked: Vec<_> = (0..inputs.len()).filter(|&input| backward.needs(input)).collect();
        let wanted: Vec<_> = asked.iter().map(|&input| &inputs[input]).collect();
        let found = gradients(&outputs.iter().collect::<Vec<_>>(), &by_outputs.iter().collect::<Vec<_>>(), &wanted)?;
        let mut by_inputs: Vec<_> = inputs.iter().map(|_| None).collect();
        for (input, gradient) in asked.into_iter().zip(found) {
            by_inputs[input] = gradient;
        }
        Ok(by_inputs)
    }

    /// `Σ_b ∂L/∂others_b·q_bj` of each logit but the true one's, through two products a chunk.
    fn closed_form(
        &self,
        rows: &Tensor,
        bias: Option<&Tensor>,
        [by_features, by_rows, by_bias]: [bool; 3],
        by: &ByOdds,
    ) -> Vec<Option<Tensor>> {
        let x = &self.features.rows;
        let rows_gradient = by_rows.then(|| rows.empty_like());
        let bias_gradient = bias.filter(|_| by_bias).map(Tensor::empty_like);
        // By the true class.
        let mut features_gradient = &self.own_rows.rows * &by.own;
        // q_bj = powers·exp(top − others): the factor goes to the side with fewer numbers.
        let share = |top: Option<&Tensor>| match top {
            Some(top) => (top - &self.others).exp() * &by.others,
            None => self.others.neg().exp() * &by.others,
        };
        let common = share(None);
        let common_x = x * &common;
        for chunk in &self.chunks {
            let unit = self.unit_rows(chunk, rows);
            let again;
            let powers = match &chunk.powers {
                Some(powers) => powers,
                None => {
                    let (logits, at) = self.logits_of(chunk, &unit.rows, bias);
                    again = self.powers_of(chunk, logits, at, bias);
                    &again
                }
            };
            let own_share = powers.top.as_ref().map(|top| share(Some(top)));
            let share = own_share.as_ref().unwrap_or(&common);
            let mut slope = powers.powers.shallow_clone();
            // Where every logit has a share of its own the factor has to go there.
            let split = self.logits.shares.is_none();
            if let Some(shares) = &self.logits.shares {
                slope = slope * share + &by.shared * chunk.of(shares);
                chunk.fill_own(&slope, 0.0);
            }
            if let Some(gradient) = &bias_gradient {
                let factor = if split { share.squeeze_dim(1) } else { share.ones_like().squeeze_dim(1) };
                chunk.of(gradient).copy_(&slope.tr().mv(&factor));
            }
            if let Some(at) = &powers.at {
                let [batch, classes] = [x.size()[0], chunk.classes];
                let spread = slope.new_zeros([batch, classes, self.logits.centers], (slope.kind(), slope.device()));
                slope = spread.scatter(2, at, &slope.unsqueeze(2)).view([batch, -1]);
            }
            if by_features {
                let _ = match split {
                    true => features_gradient.addcmul_(&slope.mm(&unit.rows), share),
                    false => features_gradient.addmm_(&slope, &unit.rows),
                };
            }
            if let Some(gradient) = &rows_gradient {
                let mut gradient = chunk.rows_of(gradient, self.logits.centers);
                let _ = match (split, &own_share) {
                    (true, Some(share)) => slope.tr().mm_out(&gradient, &(x * share)),
                    (true, None) => slope.tr().mm_out(&gradient, &common_x),
                    (false, _) => slope.tr().mm_out(&gradient, x),
                };
                unit.turn_back_(&mut gradient);
            }
        }
        let rows_gradient = rows_gradient.map(|mut gradient| {
            let mut by_own = x * &by.own;
            self.own_rows.turn_back_(&mut by_own);
            gradient.index_add_(0, &self.own_index, &by_own)
        });
        let bias_gradient =
            bias_gradient.map(|mut gradient| gradient.index_add_(0, &self.labels, &by.own.squeeze_dim(1)));
        self.features.turn_back_(&mut features_gradient);
        let mut gradients = vec![by_features.then_some(features_gradient), rows_gradient];
        gradients.extend(bias.map(|_| bias_gradient));
        gradients
    }
}

/// Gradients by what [`Odds`] holds, `[B, 1]` each.
struct ByOdds {
    own: Tensor,
    others: Tensor,
    shared: Tensor,
}

impl Chunk {
    /// What belongs to its classes; a view.
    fn of(&self, all: &Tensor) -> Tensor {
        all.narrow(0, self.start, self.classes)
    }

    fn rows_of(&self, all: &Tensor, centers: i64) -> Tensor {
        all.narrow(0, self.start * centers, self.classes * centers)
    }

    fn fill_own(&self, logits: &Tensor, value: f64) {
        if self.own.size()[0] > 0 {
            let _ = logits.view([-1]).index_fill_(0, &self.own, value);
        }
    }
}

/// The logit of the true class, `[B, 1]`, the row that it comes from and that row's place.
fn own(
    logits: &Logits,
    features: &Unit,
    rows: &Tensor,
    bias: Option<&Tensor>,
    labels: &Tensor,
) -> (Tensor, Unit, Tensor) {
    let length = logits.scale.map(|_| 1.0);
    let centers = logits.centers;
    let index = if centers == 1 {
        labels.shallow_clone()
    } else {
        let all = labels.unsqueeze(1) * centers + Tensor::arange(centers, (Kind::Int64, labels.device()));
        let candidates = Unit::of(&rows.index_select(0, &all.view([-1])), length).rows;
        let scores = candidates.view([-1, centers, rows.size()[1]]).matmul(&features.rows.unsqueeze(2)).squeeze_dim(2);
        all.gather(1, &scores.argmax(1, true), false).squeeze_dim(1)
    };
    let row = Unit::of(&rows.index_select(0, &index), length);
    let own = row_sums(&(&features.rows * &row.rows));
    let own = match bias {
        Some(bias) => own + bias.index_select(0, labels).unsqueeze(1),
        None => own,
    };
    (own, row, index)
}

/// Cuts the classes; which samples have theirs in a chunk is found on the host.
fn cut(logits: &Logits, classes: i64, labels: &Labels, device: Device) -> Vec<Chunk> {
    let at_a_time = logits.chunks.at_a_time(device).min(classes);
    let mut samples: Vec<_> = labels.on_host.iter().copied().zip(0i64..).collect();
    samples.sort_unstable();
    let place = |&(label, sample): &(i64, i64)| {
        let start = label / at_a_time * at_a_time;
        sample * at_a_time.min(classes - start) + label - start
    };
    let own = Tensor::from_slice(&samples.iter().map(place).collect::<Vec<_>>()).to_device(device);
    let before = |class: i64| samples.partition_point(|&(label, _)| label < class) as i64;
    let starts = (0..classes).step_by(usize::try_from(at_a_time).expect("validated to be positive"));
    let chunk = |start: i64| {
        let classes = at_a_time.min(classes - start);
        let (first, end) = (before(start), before(start + classes));
        Chunk { start, classes, own: own.narrow(0, first, end - first), powers: None }
    };
    starts.map(chunk).collect()
}
