//! What a checkpoint's header says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    archive::Archive,
    checkpoint::Progress,
    origin::{Origin, own_type_name},
    sampler::Position,
};
use crate::{Error, Result};

/// Counts up when an older reader would misunderstand.
pub(super) const FORMAT: u32 = 1;

/// What every format of a header has.
#[derive(Deserialize)]
struct Format {
    format: u32,
    #[serde(default)]
    config_type: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Header<C> {
    pub(super) format: u32,
    pub(super) version: String,
    pub(super) config: C,
    /// The name of `C`, if it is a type of this crate: configurations of different losses may look alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config_type: Option<String>,
    pub(super) classes: Vec<String>,
    #[serde(flatten)]
    pub(super) origin: Origin,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<RunHeader>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunHeader {
    pub(super) progress: Progress,
    /// Steps of each parameter that had a gradient.
    pub(super) optimizer_steps: BTreeMap<String, u32>,
    /// Learning rates of their own, as factors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rates: Vec<(String, f64)>,
    /// What rests, in alphabetical order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) frozen: Option<Vec<String>>,
    pub(super) sampler: Position,
}

/// The description of a file, if it is in this version's format.
pub(super) fn header<C: DeserializeOwned>(archive: &Archive) -> Result<Header<C>> {
    let Format { format, config_type } = archive.description()?;
    if format != FORMAT {
        return Err(archive.error(format!("format {format}, this version reads {FORMAT}")));
    }
    let read = archive.description();
    // Configurations of two losses may differ in no field.
    match (config_type, own_type_name::<C>()) {
        (Some(found), Some(expected)) if found != expected => {
            let problem = format!("its configuration is of `{found}`, expected `{expected}`");
            Err(archive.error(match read {
                Err(Error::Checkpoint { problem: unread, .. }) => format!("{unread}; {problem}"),
                _ => problem,
            }))
        }
        _ => read,
    }
}

impl<C> Header<C> {
    pub(super) fn check_classes(&self, classes: &[String], problems: &mut Vec<String>) {
        if self.classes != classes {
            problems.push(format!("classes {:?}, expected {classes:?}", self.classes));
        }
    }
}
