//! Which loss and which network the variables of a checkpoint are of.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AdamWConfig, FitConfig, archive::Archive};
use crate::{
    Error, Result,
    distributed::Shard,
    loss::{
        AdaFaceConfig, ArcFaceConfig, CenterLossConfig, CombinedMarginConfig, LmclConfig, Loss, LossConfig, LossKind,
        NormalizedSoftmaxConfig, SoftLmcclConfig, SoftmaxHeadConfig, short_type_name,
    },
    model::{Cb3dConfig, CompactNetConfig, Dsrf3dConfig, NetworkConfig, Rb3dConfig, SphereNetConfig, Trained},
    notice::notice,
};

/// Which loss and which network the variables of a checkpoint are of, as far as it says.
///
/// # Examples
/// See [`save_of`](super::checkpoint::save_of).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) loss: Option<LossKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) network: Option<Value>,
    /// Variables of the loss whose rows are shared out over ranks.
    #[serde(skip)]
    pub(super) shards: Vec<Shard>,
}

impl Origin {
    /// With the kind and the hyper-parameters of `loss`.
    #[must_use]
    pub fn loss(mut self, loss: &(impl Loss + ?Sized)) -> Self {
        self.loss = Some(loss.kind());
        self.shards = loss.shards();
        self
    }

    /// With how the network is made, such as a [`NetworkConfig`](crate::model::NetworkConfig).
    ///
    /// # Errors
    /// [`Error::Config`] if it cannot be written as JSON.
    pub fn network(mut self, network: &impl Serialize) -> Result<Self> {
        let said = serde_json::to_string(network).and_then(|json| serde_json::from_str(&json));
        self.network = Some(said.map_err(|error| Error::config("network", "what can be written as JSON", error))?);
        Ok(self)
    }

    /// With the type of the network, where nothing else is said of it.
    pub(super) fn network_type<N: ?Sized>(mut self) -> Self {
        self.network.get_or_insert_with(|| json!({ "type": short_type_name::<N>() }));
        self
    }

    /// The kind of the loss, if the file says it.
    pub fn loss_kind(&self) -> Option<&LossKind> {
        self.loss.as_ref()
    }

    /// How the network is made, if the file says it.
    pub fn network_config(&self) -> Option<&Value> {
        self.network.as_ref()
    }
}

macro_rules! names {
    ($($name:ident),* $(,)?) => { [$((std::any::type_name::<$name>(), stringify!($name))),*] };
}

/// The name of a configuration of this crate. Named one by one, since a program called `soft_lmccl` has types whose names
/// begin like ours.
pub(super) fn own_type_name<C>() -> Option<&'static str> {
    let of_this_crate = names![
        AdaFaceConfig,
        AdamWConfig,
        ArcFaceConfig,
        Cb3dConfig,
        CenterLossConfig,
        CombinedMarginConfig,
        CompactNetConfig,
        Dsrf3dConfig,
        FitConfig,
        LmclConfig,
        LossConfig,
        NetworkConfig,
        NormalizedSoftmaxConfig,
        Rb3dConfig,
        SoftLmcclConfig,
        SoftmaxHeadConfig,
        SphereNetConfig,
        Trained,
    ];
    let name = std::any::type_name::<C>();
    of_this_crate.into_iter().find(|&(whole, _)| whole == name).map(|(_, short)| short)
}

/// What a run is of must be what its checkpoint is of, as far as both say.
pub(super) fn compare_origins(
    found: &Origin,
    expected: &Origin,
    archive: &Archive,
    problems: &mut Vec<String>,
) -> Result<()> {
    let json = |kind| serde_json::to_string(kind).and_then(|json| serde_json::from_str::<Value>(&json));
    let failed = |error: serde_json::Error| archive.error(format!("loss: {error}"));
    match (&found.loss, &expected.loss) {
        (Some(found), Some(expected)) if found.to_string() != expected.to_string() => {
            problems.push(format!("it is of the loss `{found}`, expected `{expected}`"));
        }
        (Some(found), Some(expected)) => {
            let parts = found.parts().iter().zip(expected.parts());
            for (found, expected) in parts {
                let name = format!("loss.{}", found.name);
                list_differences(&name, &found.config, &json(&expected.config).map_err(failed)?, problems);
            }
        }
        (None, Some(expected)) => {
            notice(&format!("{} does not say which loss it is of: it is taken as `{expected}`", archive.name()));
        }
        _ => {}
    }
    if let (Some(found), Some(expected)) = (&found.network, &expected.network) {
        list_differences("network", found, expected, problems);
    }
    Ok(())
}

/// What keeps variables of `expected` from being read out of a file of `found`, as far as both say: the kind of a head and
/// what its rows mean, the network. Whatever is compared with nothing is told.
pub(super) fn compare_parts(found: &Origin, expected: &Origin, archive: &Archive) -> Vec<String> {
    let file = archive.name();
    let mut problems = Vec::new();
    match (&expected.loss, &found.loss) {
        (Some(expected), Some(found)) => problems = expected.differences_of_head(found),
        (Some(expected), None) => {
            notice(&format!("{file} does not say which loss it is of: its rows are taken as `{expected}`'s"));
        }
        (None, _) => {}
    }
    match (&expected.network, found.network.as_ref().filter(|found| found.get("type").is_none())) {
        (Some(expected), Some(found)) => list_differences("network", found, expected, &mut problems),
        (Some(_), None) => notice(&format!("{file} does not say how its network is made: it is taken as it fits")),
        (None, _) => {}
    }
    if let (None, None) = (&expected.loss, &expected.network) {
        let said = match &found.loss {
            Some(loss) => format!("is of the loss `{loss}`, compared with nothing (see `Weights::expect`)"),
            None => "does not say what its variables are of".to_owned(),
        };
        notice(&format!("{file} {said}: they are taken by name and shape"));
    }
    problems
}

/// Names every leaf in which two JSON values differ.
pub(super) fn list_differences(path: &str, found: &Value, expected: &Value, problems: &mut Vec<String>) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
            for key in keys {
                let [found, expected] = [found, expected].map(|object| object.get(key).unwrap_or(&Value::Null));
                list_differences(&format!("{path}.{key}"), found, expected, problems);
            }
        }
        _ if found == expected => {}
        _ => problems.push(format!("`{path}` is {found}, expected {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type of a program that is called like this crate begins like this one.
    struct OfAProgram;

    #[test]
    fn types_of_a_program_of_this_name_are_its_own() {
        assert!(std::any::type_name::<OfAProgram>().starts_with("soft_lmccl::"));
        assert_eq!(own_type_name::<OfAProgram>(), None);
        assert_eq!(own_type_name::<Option<LmclConfig>>(), None);
        assert_eq!(own_type_name::<LmclConfig>(), Some("LmclConfig"));
    }

    /// A configuration that is not named could be read as another one that looks alike.
    #[test]
    fn every_configuration_is_named() {
        let api = include_str!("../../tests/public_api.txt");
        let listed = include_str!("origin.rs");
        let mut checked = 0;
        for line in api.lines().take_while(|line| !line.starts_with("crates/")) {
            let named = line.split_once("] pub struct ").or_else(|| line.split_once("] pub enum "));
            let Some((_, name)) = named else { continue };
            let name = name.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or(name);
            // What is not written to files is in no checkpoint.
            if name.ends_with("Config") && line.contains("Serialize") {
                assert!(listed.contains(&format!("        {name},\n")), "{name}");
                checked += 1;
            }
        }
        assert!(checked > 15, "{checked}");
    }
}
