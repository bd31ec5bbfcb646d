//! What a checkpoint has of the optimizer: moments, and which parameters rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use safetensors::{Dtype, SafeTensors};
use tch::{Tensor, nn};

use super::{
    AdamW,
    adamw::Moments,
    archive::{Archive, Stored, tensor_like},
};
use crate::{
    Result,
    notice::notice,
    params::{at_least_single, is_under},
};

fn first_moment(name: &str) -> String {
    format!("@adamw.first.{name}")
}

fn second_moment(name: &str) -> String {
    format!("@adamw.second.{name}")
}

fn master(name: &str) -> String {
    format!("@adamw.master.{name}")
}

/// What has the rows of a variable.
pub(super) const BESIDE: &[fn(&str) -> String] = &[first_moment, master, second_moment];

/// Adds the moments of every parameter that has some to `tensors`; how many steps each has taken.
pub(super) fn store(optimizer: &AdamW, tensors: &mut Vec<(String, Stored)>) -> Result<BTreeMap<String, u32>> {
    let mut taken = BTreeMap::new();
    for (name, _, moments) in optimizer.entries() {
        let Some(Moments { steps, first, second, master: copy }) = moments else { continue };
        tensors.push((first_moment(&name), Stored::of(first)?));
        tensors.push((second_moment(&name), Stored::of(second)?));
        if let Some(copy) = copy {
            tensors.push((master(&name), Stored::of(copy)?));
        }
        taken.insert(name, *steps);
    }
    Ok(taken)
}

/// The moments of every parameter that the file has steps of.
pub(super) fn moments(
    file: &SafeTensors<'_>,
    optimizer: &AdamW,
    saved: &BTreeMap<String, u32>,
    problems: &mut Vec<String>,
) -> Result<HashMap<String, Moments>> {
    let mut moments = HashMap::new();
    let mut in_half = Vec::new();
    let entries = optimizer.entries();
    for (name, variable, _) in &entries {
        let Some(&steps) = saved.get(name) else { continue };
        if file.tensor(&second_moment(name)).is_ok_and(|second| matches!(second.dtype(), Dtype::F16 | Dtype::BF16)) {
            in_half.push(name);
            continue;
        }
        let kind = at_least_single(variable.kind());
        let mut like = |name: String| -> Result<Option<Tensor>> {
            match tensor_like(file, &name, kind, &variable.size())? {
                Ok(tensor) => Ok(Some(tensor.f_to_device(variable.device())?)),
                Err(problem) => {
                    problems.push(problem);
                    Ok(None)
                }
            }
        };
        let (first, second) = (like(first_moment(name))?, like(second_moment(name))?);
        let master = if kind == variable.kind() { None } else { like(master(name))? };
        if let (Some(first), Some(second)) = (first, second) {
            moments.insert(name.clone(), Moments { steps, first, second, master });
        }
    }
    if let Some(first) = in_half.first() {
        // A second moment that half precision made zero would be a step of any size.
        problems.push(format!(
            "its moments of AdamW are in half precision, of {} parameters beginning with `{first}`, as earlier versions \
             wrote them, and no run goes on from there: `load` reads the weights alone",
            in_half.len()
        ));
    }
    let unknown = saved.keys().filter(|name| !entries.iter().any(|(known, ..)| known == *name));
    problems.extend(unknown.map(|name| format!("the optimizer has steps of `{name}`, which is no parameter here")));
    Ok(moments)
}

/// The variables of `vs` that rest: parameters without a gradient, and all that lies under one of the frozen `paths`.
pub(super) fn frozen(vs: &nn::VarStore, optimizer: &AdamW, paths: &[String]) -> Vec<String> {
    let resting = optimizer.entries().into_iter().filter(|(_, variable, _)| !variable.requires_grad());
    let under = vs.variables().into_keys().filter(|name| paths.iter().any(|part| is_under(name, part)));
    resting.map(|(name, ..)| name).chain(under).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A run goes on with the same variables at rest.
pub(super) fn compare_frozen(
    found: Option<&[String]>,
    expected: &[String],
    archive: &Archive,
    problems: &mut Vec<String>,
) {
    let Some(found) = found else {
        if let [first, ..] = expected {
            notice(&format!("{} does not say what was frozen: `{first}` is, from here on", archive.name()));
        }
        return;
    };
    let only = |these: &[String], others: &[String]| -> Vec<String> {
        these.iter().filter(|name| !others.contains(name)).map(|name| format!("`{name}`")).collect()
    };
    for (names, where_frozen) in
        [(only(found, expected), "in it but not here"), (only(expected, found), "here but not in it")]
    {
        match names.as_slice() {
            [] => {}
            [name] => problems.push(format!("{name} is frozen {where_frozen}")),
            [name, rest @ ..] => problems.push(format!("{name} and {} more are frozen {where_frozen}", rest.len())),
        }
    }
}
