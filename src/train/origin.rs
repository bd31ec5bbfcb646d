//! Which loss and which network the variables of a checkpoint are of.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::archive::Archive;
use crate::{
    Error, Result,
    loss::{Loss, LossKind, short_type_name},
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
}

impl Origin {
    /// With the kind and the hyper-parameters of `loss`.
    #[must_use]
    pub fn loss(mut self, loss: &(impl Loss + ?Sized)) -> Self {
        self.loss = Some(loss.kind());
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

/// The name of a type of this crate; users' types may be parts of ours.
pub(super) fn own_type_name<C>() -> Option<String> {
    let crate_name = concat!(env!("CARGO_CRATE_NAME"), "::");
    std::any::type_name::<C>().starts_with(crate_name).then(short_type_name::<C>)
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
