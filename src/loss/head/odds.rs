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
        gate::{Labels, placed},
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
    own: Option<Own>,
    /// Its rows, if it is the only chunk.
    unit: Option<Unit>,
    powers: Option<Powers>,
}

/// True classes of a chunk.
#[derive(Debug)]
struct Own {
    /// The samples that have theirs here; all of them, in order, if none are named.
    samples: Option<Tensor>,
    /// Where in the logits of the chunk, row by row, theirs are.
    places: Tensor,
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
        let classes = rows.size()[0] / logits.centers;
        let chunks = cut(&logits, classes, labels, rows.device());
        let features = Unit::of_features(features, logits.scale);
        let mut room = logits.chunks.room(&features.rows, classes, logits.heads);
        let own = features.rows.new_empty([features.rows.size()[0], 1], (features.rows.kind(), rows.device()));
        let mut pass = Self {
            labels: labels.tensor.shallow_clone(),
            others: own.shallow_clone(),
            shared: None,
            chunks: Vec::with_capacity(chunks.len()),
            logits,
            features,
            own,
        };
        let single = chunks.len() == 1;
        let (mut parts, mut shared) = (Vec::with_capacity(chunks.len()), Vec::new());
        for mut chunk in chunks {
            let unit = pass.unit_rows(&chunk, rows);
            let (logits, at) = pass.logits_of(&chunk, &unit.rows, bias);
            chunk.read_own(&logits, &mut pass.own);
            if let Some(shares) = &pass.logits.shares {
                shared.push(logits.mv(&chunk.of(shares)));
            }
            let powers = pass.powers_of(&chunk, logits, at, bias);
            let mut part = row_sums(&powers.powers).log_();
            if let Some(top) = &powers.top {
                let _ = part.g_add_(top);
            }
            parts.push(part);
            let bytes = powers.powers.numel() * powers.powers.kind().elt_size_in_bytes();
            if bytes <= room {
                room -= bytes;
                chunk.powers = Some(powers);
            }
            chunk.unit = single.then_some(unit);
            pass.chunks.push(chunk);
        }
        pass.others = match &parts[..] {
            [part] => part.shallow_clone(),
            parts => Tensor::cat(parts, 1).logsumexp([1i64].as_slice(), true),
        };
        if pass.logits.scale.is_none() {
            // NaN where the true logit is infinite: ahead of all others it would hide as a loss of 0.
            pass.others += &pass.own * 0.0;
        }
        pass.shared = pass.logits.shares.as_ref().map(|shares| {
            let own = &pass.own * shares.index_select(0, &pass.labels).unsqueeze(1);
            shared.iter().sum::<Tensor>().unsqueeze(1) - own
        });
        pass
    }

    fn unit_rows(&self, chunk: &Chunk, rows: &Tensor) -> Unit {
        Unit::of(&chunk.rows_of(rows, self.logits.centers), self.logits.scale.map(|_| 1.0))
    }

    fn logits_of(&self, chunk: &Chunk, rows: &Tensor, bias: Option<&Tensor>) -> (Tensor, Option<Tensor>) {
        let mut logits = self.logits.chunks.products.of(&self.features.rows, &rows.tr(), None);
        if let Some(bias) = bias {
            let _ = logits.g_add_(&chunk.of(bias));
        }
        self.logits.best(logits)
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
        let by_output = |index| backward.gradient(index).map(|gradient| gradient.unsqueeze(1));
        let or_zero = |gradient: Option<Tensor>| gradient.unwrap_or_else(|| self.own.zeros_like());
        let by = ByOdds { own: or_zero(by_output(0)), others: or_zero(by_output(1)), shared: by_output(2) };
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
        if let (Some(shares), Some(by_shared)) = (&self.logits.shares, &by.shared) {
            outputs.push(logits.mv(shares) - &outputs[0] * shares.index_select(0, &self.labels));
            by_outputs.push(by_shared.squeeze_dim(1));
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

    /// Of each chunk the slope of the loss by its logits, and two products with that.
    fn closed_form(
        &self,
        rows: &Tensor,
        bias: Option<&Tensor>,
        [by_features, by_rows, by_bias]: [bool; 3],
        by: &ByOdds,
    ) -> Vec<Option<Tensor>> {
        let mut features_gradient: Option<Tensor> = None;
        let rows_gradient = by_rows.then(|| rows.empty_like());
        let bias_gradient = bias.filter(|_| by_bias).map(Tensor::empty_like);
        for chunk in &self.chunks {
            let again;
            let unit = match &chunk.unit {
                Some(unit) => unit,
                None => {
                    again = self.unit_rows(chunk, rows);
                    &again
                }
            };
            let slope = self.slope(chunk, &unit.rows, bias, by, bias_gradient.as_ref());
            let products = self.logits.chunks.products;
            if by_features {
                let product = products.of(&slope, &unit.rows, None);
                features_gradient = Some(match features_gradient.take() {
                    Some(mut sum) => sum.g_add_(&product),
                    None => product,
                });
            }
            if let Some(gradient) = &rows_gradient {
                let gradient = chunk.rows_of(gradient, self.logits.centers);
                unit.turn_back_into(&gradient, |out| products.of(&slope.tr(), &self.features.rows, out));
            }
        }
        if let Some(gradient) = &mut features_gradient {
            self.features.turn_back_(gradient);
        }
        let mut gradients = vec![features_gradient, rows_gradient];
        gradients.extend(bias.map(|_| bias_gradient));
        gradients
    }

    /// `∂L/∂others·q_j + ∂L/∂shared·u_j`, and `∂L/∂own` at the true class; of every row, the best of its class or not. Writes
    /// the bias' part of the gradient.
    fn slope(
        &self,
        chunk: &Chunk,
        rows: &Tensor,
        bias: Option<&Tensor>,
        by: &ByOdds,
        bias_gradient: Option<&Tensor>,
    ) -> Tensor {
        // q_j = powers·exp(top − others).
        let share = |top: &Option<Tensor>| match top {
            Some(top) => (top - &self.others).exp_() * &by.others,
            None => self.others.neg().exp_() * &by.others,
        };
        let (mut slope, at) = match &chunk.powers {
            Some(Powers { powers, top, at }) => (powers * share(top), at.as_ref().map(Tensor::shallow_clone)),
            None => {
                let (logits, at) = self.logits_of(chunk, rows, bias);
                let Powers { mut powers, top, at } = self.powers_of(chunk, logits, at, bias);
                (powers.g_mul_(&share(&top)), at)
            }
        };
        if let (Some(shares), Some(by_shared)) = (&self.logits.shares, &by.shared) {
            let _ = slope.addr_(&by_shared.squeeze_dim(1), &chunk.of(shares));
        }
        chunk.write_own(&slope, &by.own);
        if let Some(gradient) = bias_gradient {
            chunk.of(gradient).copy_(&slope.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>));
        }
        let Some(at) = at else { return slope };
        let [batch, classes] = [slope.size()[0], chunk.classes];
        let spread = slope.new_zeros([batch, classes, self.logits.centers], (slope.kind(), slope.device()));
        spread.scatter(2, &at, &slope.unsqueeze(2)).view([batch, -1])
    }
}

/// Gradients by what [`Odds`] holds, `[B, 1]` each.
struct ByOdds {
    own: Tensor,
    others: Tensor,
    shared: Option<Tensor>,
}

impl Chunk {
    /// What belongs to its classes; a view.
    fn of(&self, all: &Tensor) -> Tensor {
        all.narrow(0, self.start, self.classes)
    }

    fn rows_of(&self, all: &Tensor, centers: i64) -> Tensor {
        all.narrow(0, self.start * centers, self.classes * centers)
    }

    /// Takes the logits of true classes out of its logits.
    fn read_own(&self, logits: &Tensor, own: &mut Tensor) {
        let Some(Own { samples, places }) = &self.own else { return };
        let found = logits.view([-1]).index_select(0, places).unsqueeze(1);
        match samples {
            None => *own = found,
            Some(samples) => _ = own.index_copy_(0, samples, &found),
        }
    }

    fn write_own(&self, slope: &Tensor, own: &Tensor) {
        let Some(Own { samples, places }) = &self.own else { return };
        let own = samples.as_ref().map_or_else(|| own.shallow_clone(), |samples| own.index_select(0, samples));
        let _ = slope.view([-1]).index_copy_(0, places, &own.squeeze_dim(1));
    }

    fn fill_own(&self, logits: &Tensor, value: f64) {
        if let Some(Own { places, .. }) = &self.own {
            let _ = logits.view([-1]).index_fill_(0, places, value);
        }
    }
}

/// Cuts the classes; which samples have theirs in a chunk is found on the host.
fn cut(logits: &Logits, classes: i64, labels: &Labels, device: Device) -> Vec<Chunk> {
    let at_a_time = logits.chunks.at_a_time(device).min(classes);
    let mut samples: Vec<_> = (0i64..).zip(labels.on_host.iter().copied()).collect();
    let place = |&(sample, label): &(i64, i64)| {
        let start = label / at_a_time * at_a_time;
        sample * at_a_time.min(classes - start) + label - start
    };
    let of = |samples: &[(i64, i64)]| placed(&samples.iter().map(place).collect::<Vec<_>>(), device);
    if at_a_time == classes {
        let own = Own { samples: None, places: of(&samples) };
        return vec![Chunk { start: 0, classes, own: Some(own), unit: None, powers: None }];
    }
    samples.sort_unstable_by_key(|&(_, label)| label);
    let places = of(&samples);
    let order = placed(&samples.iter().map(|&(sample, _)| sample).collect::<Vec<_>>(), device);
    let before = |class: i64| samples.partition_point(|&(_, label)| label < class) as i64;
    let chunk = |start: i64| {
        let classes = at_a_time.min(classes - start);
        let (first, end) = (before(start), before(start + classes));
        let of = |all: &Tensor| all.narrow(0, first, end - first);
        let own = (first < end).then(|| Own { samples: Some(of(&order)), places: of(&places) });
        Chunk { start, classes, own, unit: None, powers: None }
    };
    (0..classes).step_by(usize::try_from(at_a_time).expect("validated to be positive")).map(chunk).collect()
}
