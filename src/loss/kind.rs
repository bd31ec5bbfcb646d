//! Which loss a head belongs to, as checkpoints say it.

use std::{
    any::type_name,
    fmt,
    ops::{Add, Mul},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which loss this is, with its hyper-parameters: what a [`checkpoint`](crate::train::checkpoint) says of its heads.
///
/// A sum of losses has a part for each summand.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::{CenterLossConfig, LmclConfig, Loss}, tch::{Device, nn}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let lmcl = LmclConfig::default().init(&(vs.root() / "lmcl"), 3, 2)?;
/// let center = CenterLossConfig::default().init(&(vs.root() / "center"), 3, 2)?;
/// let kind = (lmcl + 0.3 * center).kind();
/// assert_eq!(kind.to_string(), "lmcl + 0.3·center");
/// assert_eq!(kind.parts()[0].config["margin"], 0.35);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LossKind {
    parts: Vec<LossPart>,
}

/// One summand of a [`LossKind`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LossPart {
    /// The name of the loss, such as `"lmcl"`.
    pub name: String,
    /// Product of every scale applied to it.
    pub weight: f64,
    /// Its hyper-parameters.
    pub config: Value,
    /// Those hyper-parameters that say what a row of its variables means: rows of other ones cannot be taken over.
    pub rows: Value,
}

impl LossKind {
    /// A loss of that name, with hyper-parameters as JSON; `Null` where there are none.
    pub fn new(name: impl Into<String>, config: Value) -> Self {
        Self { parts: vec![LossPart { name: name.into(), weight: 1.0, config, rows: Value::Null }] }
    }

    /// A loss of this crate. Hyper-parameters of this crate can all be written as JSON.
    pub(super) fn of(name: &str, config: &impl Serialize) -> Self {
        Self::new(name, serde_json::to_value(config).unwrap_or(Value::Null))
    }

    /// With the hyper-parameters that say what a row of its variables means.
    #[must_use]
    pub fn with_rows(mut self, rows: Value) -> Self {
        for part in &mut self.parts {
            part.rows = rows.clone();
        }
        self
    }

    /// The summands, in the order of the terms.
    pub fn parts(&self) -> &[LossPart] {
        &self.parts
    }

    /// What keeps a head of `self` from being read out of a file whose heads are of `found`.
    pub(crate) fn differences_of_head(&self, found: &Self) -> Vec<String> {
        let mut left = found.parts.iter();
        let mut problems = Vec::new();
        for part in &self.parts {
            match left.find(|candidate| candidate.name == part.name) {
                None => return vec![format!("its heads are of `{found}`, expected `{self}`")],
                Some(candidate) if candidate.rows != part.rows => {
                    problems.push(format!("rows of `{}` are {}, expected {}", part.name, candidate.rows, part.rows))
                }
                Some(_) => {}
            }
        }
        problems
    }
}

impl Add for LossKind {
    type Output = Self;

    fn add(mut self, rhs: Self) -> Self {
        self.parts.extend(rhs.parts);
        self
    }
}

impl Mul<LossKind> for f64 {
    type Output = LossKind;

    fn mul(self, mut kind: LossKind) -> LossKind {
        for part in &mut kind.parts {
            part.weight *= self;
        }
        kind
    }
}

impl fmt::Display for LossKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, LossPart { name, weight, .. }) in self.parts.iter().enumerate() {
            let plus = if index == 0 { "" } else { " + " };
            match *weight {
                1.0 => write!(f, "{plus}{name}")?,
                weight => write!(f, "{plus}{weight}·{name}")?,
            }
        }
        Ok(())
    }
}

/// The name of a type without the modules in which it and its arguments lie, which may move.
pub(crate) fn short_type_name<T: ?Sized>() -> String {
    let mut short = String::new();
    for piece in type_name::<T>().split_inclusive(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter)) {
        short.push_str(piece.rsplit("::").next().unwrap_or(piece));
    }
    short
}

#[cfg(test)]
mod tests {
    use super::short_type_name;

    #[test]
    fn names_of_types_lose_their_modules() {
        assert_eq!(short_type_name::<Vec<Option<std::path::PathBuf>>>(), "Vec<Option<PathBuf>>");
        assert_eq!(
            short_type_name::<(u8, std::collections::HashMap<String, [i32; 2]>)>(),
            "(u8, HashMap<String, [i32; 2]>)"
        );
    }
}
