//! Dark protein or bright protein.

use serde::{Deserialize, Serialize};

/// Whether a tomogram shows protein dark or bright.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contrast {
    /// Protein is darker than ice, as the microscope shows it and as simulated particles are.
    #[default]
    DarkProtein,
    /// Protein is brighter than ice; patches are inverted.
    BrightProtein,
}
