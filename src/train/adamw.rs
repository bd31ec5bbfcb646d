//! AdamW whose state can be saved, which `tch`'s optimizers hide behind a C pointer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tch::{
    Tensor,
    nn::{self, OptimizerConfig},
    no_grad_guard,
};

use super::{Optimizer, optimizer::require_weight_decay, rows::Rows};
use crate::{
    Error, Result,
    params::{NO_DECAY_GROUP, at_least_single, is_under},
};

/// Hyper-parameters of [`AdamW`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Default 1e-3 (PyTorch).
    pub learning_rate: f64,
    /// `β₁`, how slowly the mean of the gradients forgets. Default 0.9 (Kingma and Ba).
    pub beta1: f64,
    /// `β₂`, how slowly the mean of their squares forgets. Default 0.999 (Kingma and Ba).
    pub beta2: f64,
    /// `ε`, added to the root of the second moment. Default 1e-8 (Kingma and Ba).
    pub eps: f64,
    /// Decoupled weight decay of every group but [`NO_DECAY_GROUP`]. Default 0.01 (PyTorch).
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

impl AdamWConfig {
    /// Checks the values without building anything.
    ///
    /// # Errors
    /// [`Error::Config`] for a value that is not finite or is negative, for a `β` that is not below 1, and
    /// for an `ε` of 0.
    pub fn validate(&self) -> Result<()> {
        let Self { learning_rate, beta1, beta2, eps, weight_decay } = *self;
        let bad = |field, expected: &str, got: f64| Err(Error::config(field, expected, got));
        if !(learning_rate.is_finite() && learning_rate >= 0.0) {
            return bad("learning_rate", "a finite number >= 0", learning_rate);
        }
        for (field, beta) in [("beta1", beta1), ("beta2", beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return bad(field, "a number in 0..1", beta);
            }
        }
        if !(eps.is_finite() && eps > 0.0) {
            return bad("eps", "a finite number > 0", eps);
        }
        require_weight_decay(weight_decay)
    }

    /// The optimizer of the trainable variables of `vs`, also of those that join it later.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn build(self, vs: &nn::VarStore) -> Result<AdamW> {
        self.validate()?;
        Ok(AdamW {
            config: self,
            decay: HashMap::from([(NO_DECAY_GROUP, 0.0)]),
            rates: Vec::new(),
            factors: Vec::new(),
            eraser: nn::Sgd::default().build(vs, 0.0)?,
            variables: Arc::clone(&vs.variables_),
            moments: Vec::new(),
        })
    }
}

/// Adam with decoupled weight decay, whose moments a [`checkpoint`](super::checkpoint) holds.
///
/// # Formula
/// ```text
/// w ← w − η·δ·w
/// m ← β₁·m + (1 − β₁)·g        v ← β₂·v + (1 − β₂)·g²
/// w ← w − η·m̂/(√v̂ + ε)         m̂ = m/(1 − β₁ᵗ),  v̂ = v/(1 − β₂ᵗ)
/// ```
/// with `η` the learning rate, `δ` the weight decay of the parameter's group and `t` the steps in
/// which this parameter had a gradient; one that has none in a step stays as it is. Moments follow a store that is
/// cast or moved between two steps.
///
/// Of variables in half precision (`f16`, `bf16`), moments and a copy of the value are kept in single precision, and the
/// variable is that copy, rounded: a step of 1e-3 from 1 is lost in `bf16`, a hundred of them are not.
///
/// Of a row-sparse gradient, as [`Negatives::sparse`](crate::loss::Negatives) makes it, only the rows that it has are read
/// and moved, as in PyTorch's `SparseAdam`: the others neither decay nor forget, and `t` counts for all rows together. Dense
/// AdamW would shrink the moments and the weights of absent rows and move them on along old gradients.
///
/// The results are those of libtorch's AdamW but for the rounding of single operations. Written anew
/// because `tch` gives no way to its state, without which no run can be continued exactly.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{train::{AdamWConfig, Optimizer}, tch::{Device, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let weight = vs.root().ones("weight", &[1]);
/// let mut optimizer = AdamWConfig { learning_rate: 0.1, weight_decay: 0.0, ..Default::default() }.build(&vs)?;
/// for expected in [0.9, 0.8, 0.7] {
///     optimizer.zero_grad();
///     (&weight * 5.0).backward();
///     optimizer.step()?;
///     // A gradient that does not change moves a weight by the learning rate.
///     assert!((weight.double_value(&[0]) - expected).abs() < 1e-6);
/// }
/// # Ok(()) }
/// ```
///
/// # References
/// I. Loshchilov and F. Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, Algorithm 2.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    /// Groups whose weight decay is not the configuration's.
    decay: HashMap<usize, f64>,
    /// Learning rates of what lies under a path, as factors of the configuration's; the last that holds counts.
    rates: Vec<(String, f64)>,
    /// The factor of each trainable variable, as far as it was looked up.
    factors: Vec<f64>,
    /// Never steps: drops gradients, where `Tensor::zero_grad` fills them with zeros, so that a variable
    /// outside this step's graph would look like one with a gradient of zero.
    eraser: nn::Optimizer,
    variables: Arc<Mutex<nn::Variables>>,
    /// In the order of the trainable variables; `None` until there is a gradient.
    moments: Vec<Option<Moments>>,
}

/// What the optimizer knows of one variable.
#[derive(Debug)]
pub(super) struct Moments {
    /// Steps with a gradient.
    pub(super) steps: u32,
    /// Running mean of the gradient.
    pub(super) first: Tensor,
    /// Running mean of its square.
    pub(super) second: Tensor,
    /// Of a variable in half precision, its value in single, which small steps can move.
    pub(super) master: Option<Tensor>,
}

impl Moments {
    fn of(variable: &Tensor) -> Result<Self> {
        let zeros = || variable.f_zeros_like()?.f_to_kind(at_least_single(variable.kind()));
        Ok(Self { steps: 0, first: zeros()?, second: zeros()?, master: None })
    }

    /// Goes where the variable is, which its store may have cast, moved or loaded since the last step.
    fn follow(&mut self, variable: &Tensor) -> Result<()> {
        let (kind, device) = (at_least_single(variable.kind()), variable.device());
        for moment in [&mut self.first, &mut self.second] {
            if (moment.kind(), moment.device()) != (kind, device) {
                *moment = moment.f_to_device(device)?.f_to_kind(kind)?;
            }
        }
        self.master = match self.master.take() {
            _ if kind == variable.kind() => None,
            None => Some(variable.f_to_kind(kind)?),
            // Where the variable was given another value, that one counts.
            Some(master) => {
                let master = master.f_to_device(device)?;
                let untouched = master.f_to_kind(variable.kind())?.f_eq_tensor(variable)?;
                Some(master.f_where_self(&untouched, &variable.f_to_kind(kind)?)?)
            }
        };
        Ok(())
    }
}

impl AdamW {
    /// The hyper-parameters in force, but for weight decay that a group has of its own by
    /// [`set_weight_decay`](Optimizer::set_weight_decay).
    pub fn config(&self) -> AdamWConfig {
        self.config
    }

    /// Another learning rate for the variables under `part`, such as `"loss"`, as a factor of the others'.
    ///
    /// # Errors
    /// [`Error::Config`] unless `factor` is finite and ≥ 0 and a trainable variable lies under that path.
    pub fn set_rate_of(&mut self, part: &str, factor: f64) -> Result<()> {
        if !(factor.is_finite() && factor >= 0.0) {
            return Err(Error::config("rate_of", "a finite number >= 0", factor));
        }
        if !self.entries().iter().any(|(name, ..)| is_under(name, part)) {
            return Err(Error::config("rate_of", "a path with trainable variables", format!("`{part}`")));
        }
        self.rates.push((part.to_owned(), factor));
        self.factors.clear();
        Ok(())
    }

    /// Paths with a learning rate of their own, and its factors.
    pub(super) fn rates(&self) -> &[(String, f64)] {
        &self.rates
    }

    /// Looks up the factors of variables that have come since the last step.
    fn find_factors(&mut self) {
        let known = self.factors.len();
        if self.variables().len() == known {
            return;
        }
        let factor =
            |name: &str| self.rates.iter().rfind(|(part, _)| is_under(name, part)).map_or(1.0, |&(_, factor)| factor);
        self.factors = self.entries().iter().map(|(name, ..)| factor(name)).collect();
    }

    /// Moves one variable along its gradient.
    fn descend(
        config @ &AdamWConfig { learning_rate, beta1, beta2, eps, .. }: &AdamWConfig,
        decay: f64,
        variable: &mut Tensor,
        gradient: &Tensor,
        Moments { steps, first, second, .. }: &mut Moments,
    ) -> Result<()> {
        if let Some(rows) = Rows::of(gradient)? {
            let mut some = rows.take(variable)?;
            let mut moments =
                Moments { steps: *steps, first: rows.take(first)?, second: rows.take(second)?, master: None };
            Self::descend(config, decay, &mut some, &rows.gradient, &mut moments)?;
            *steps = moments.steps;
            rows.put(variable, &some)?;
            rows.put(first, &moments.first)?;
            return rows.put(second, &moments.second);
        }
        *steps += 1;
        let unbiased = |beta: f64| 1.0 - beta.powf(f64::from(*steps));
        if decay > 0.0 {
            let _ = variable.f_mul_scalar_(1.0 - learning_rate * decay)?;
        }
        let _ = first.f_lerp_(gradient, 1.0 - beta1)?;
        let _ = second.f_mul_scalar_(beta2)?.f_addcmul_(gradient, &gradient.f_mul_scalar(1.0 - beta2)?)?;
        let mut denominator = second.f_sqrt()?;
        let _ = denominator.f_div_scalar_(unbiased(beta2).sqrt())?.f_add_scalar_(eps)?;
        let mut step = first.f_div(&denominator)?;
        let _ = variable.f_sub_(&step.f_mul_scalar_(learning_rate / unbiased(beta1))?)?;
        Ok(())
    }

    /// Name, variable and, once it had a gradient, moments of every trainable variable.
    pub(super) fn entries(&self) -> Vec<(String, Tensor, Option<&Moments>)> {
        let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        // A variable knows its place among the trainable ones, its name is in another list: the same
        // storage in the same shape is the same variable. One with two names is trainable twice.
        let place = |tensor: &Tensor| (tensor.data_ptr(), tensor.size());
        let mut named: Vec<_> = variables.named_variables.iter().collect();
        named.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        let mut names = HashMap::<_, Vec<&String>>::new();
        for (name, tensor) in named {
            names.entry(place(tensor)).or_default().push(name);
        }
        variables
            .trainable_variables
            .iter()
            .enumerate()
            .map(|(index, variable)| {
                let name = names.get_mut(&place(&variable.tensor)).and_then(Vec::pop);
                let name = name.expect("a store names all of its variables").clone();
                let moments = self.moments.get(index).and_then(Option::as_ref);
                (name, variable.tensor.shallow_clone(), moments)
            })
            .collect()
    }

    /// Takes over moments by name; variables that are not named have none.
    pub(super) fn restore(&mut self, mut moments: HashMap<String, Moments>) {
        let names: Vec<_> = self.entries().into_iter().map(|(name, ..)| name).collect();
        self.moments = names.iter().map(|name| moments.remove(name)).collect();
    }
}

impl Optimizer for AdamW {
    fn variables(&self) -> Vec<Tensor> {
        let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        variables.trainable_variables.iter().map(|variable| variable.tensor.shallow_clone()).collect()
    }

    fn name_of(&self, variable: &Tensor) -> Option<String> {
        let place = |tensor: &Tensor| (tensor.data_ptr(), tensor.size());
        let found = self.entries().into_iter().find(|(_, known, _)| place(known) == place(variable));
        found.map(|(name, ..)| name)
    }

    fn zero_grad(&mut self) {
        self.eraser.zero_grad();
    }

    fn step(&mut self) -> Result<()> {
        let _frozen = no_grad_guard();
        if !self.rates.is_empty() {
            self.find_factors();
        }
        let mut variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        self.moments.resize_with(variables.trainable_variables.len(), || None);
        for (index, (variable, moments)) in variables.trainable_variables.iter_mut().zip(&mut self.moments).enumerate()
        {
            let gradient = variable.tensor.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let moments = match moments {
                Some(moments) => moments,
                none => none.insert(Moments::of(&variable.tensor)?),
            };
            moments.follow(&variable.tensor)?;
            let decay = self.decay.get(&variable.group).copied().unwrap_or(self.config.weight_decay);
            let mut config = self.config;
            config.learning_rate *= self.factors.get(index).copied().unwrap_or(1.0);
            match moments.master.take() {
                None => Self::descend(&config, decay, &mut variable.tensor, &gradient, moments)?,
                Some(mut master) => {
                    let gradient = gradient.f_to_kind(master.kind())?;
                    Self::descend(&config, decay, &mut master, &gradient, moments)?;
                    variable.tensor.f_copy_(&master)?;
                    moments.master = Some(master);
                }
            }
        }
        Ok(())
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.config.learning_rate = rate;
    }

    fn set_weight_decay(&mut self, group: usize, weight_decay: f64) {
        self.decay.insert(group, weight_decay);
    }
}
