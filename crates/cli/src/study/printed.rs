//! What the paper prints, as fractions; its heading "EER (%)" is a slip.

use super::plan::{Column, Domain};

/// Number of figures in a cell.
pub const FIGURES: usize = 5;

/// What a cell of the tables holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Accuracy,
    TarAtMille,
    TarAtTenthMille,
    Auc,
    Eer,
}

impl Figure {
    /// In the order of the paper's columns, which is the order of every array of figures here.
    pub const ALL: [Self; FIGURES] = [Self::Accuracy, Self::TarAtMille, Self::TarAtTenthMille, Self::Auc, Self::Eer];

    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "Verification accuracy",
            Self::TarAtMille => "TAR @ FAR 0.1 %",
            Self::TarAtTenthMille => "TAR @ FAR 0.01 %",
            Self::Auc => "AUC",
            Self::Eer => "EER",
        }
    }

    /// With the digits of the paper.
    pub fn format(self, value: f64) -> String {
        match self {
            Self::TarAtMille | Self::TarAtTenthMille => format!("{value:.4}"),
            Self::Accuracy | Self::Auc | Self::Eer => format!("{value:.3}"),
        }
    }
}

const S1: Column = Column::new(Domain::S1, Domain::S1);
const S2: Column = Column::new(Domain::S2, Domain::S2);
const S1_S2: Column = Column::new(Domain::S1, Domain::S2);
const S2_S1: Column = Column::new(Domain::S2, Domain::S1);
const S1_R1: Column = Column::new(Domain::S1, Domain::R1);
const S2_R1: Column = Column::new(Domain::S2, Domain::R1);

/// Tables 1, 2 and 4. Table 3 (R1) and Table 2's row of Soft LMCCL are not in the copy at hand.
const PRINTED: [(Column, &str, [f64; FIGURES]); 39] = [
    (S1, "softmax", [0.726, 0.02514, 0.00117, 0.698, 0.347]),
    (S1, "center", [0.667, 0.01817, 0.00017, 0.501, 0.500]),
    (S1, "lmcl-0.35", [0.742, 0.00847, 0.00034, 0.760, 0.284]),
    (S1, "lmcl-0.5", [0.772, 0.01604, 0.00317, 0.749, 0.304]),
    (S1, "lmcl-0.65", [0.742, 0.01545, 0.00230, 0.684, 0.357]),
    (S1, "lmcl-0.7", [0.753, 0.01735, 0.00134, 0.664, 0.379]),
    (S1, "lmcl-center-1", [0.667, 0.53698, 0.13784, 0.599, 0.418]),
    (S1, "lmcl-center-0.01", [0.734, 0.51546, 0.1050, 0.726, 0.335]),
    (S1, "lmcl-center-0.1", [0.743, 0.51116, 0.09031, 0.736, 0.321]),
    (S1, "lmcl-center-0.2", [0.720, 0.55828, 0.12495, 0.670, 0.376]),
    (S1, "lmcl-center-0.5", [0.667, 0.50046, 0.09918, 0.543, 0.471]),
    (S1, "soft-lmccl", [0.794, 0.54761, 0.13613, 0.862, 0.222]),
    (S2, "softmax", [0.696, 0.00802, 0.00475, 0.667, 0.380]),
    (S2, "center", [0.667, 0.03001, 0.07157, 0.500, 0.500]),
    (S2, "lmcl-0.35", [0.746, 0.00882, 0.00066, 0.734, 0.323]),
    (S2, "lmcl-0.5", [0.733, 0.00703, 0.00184, 0.681, 0.362]),
    (S2, "lmcl-0.65", [0.730, 0.01020, 0.00117, 0.660, 0.384]),
    (S2, "lmcl-0.7", [0.719, 0.01418, 0.00288, 0.645, 0.385]),
    (S2, "lmcl-center-1", [0.667, 0.55115, 0.13256, 0.651, 0.415]),
    (S2, "lmcl-center-0.01", [0.667, 0.49875, 0.11564, 0.617, 0.407]),
    (S2, "lmcl-center-0.1", [0.688, 0.51403, 0.10083, 0.633, 0.402]),
    (S2, "lmcl-center-0.2", [0.667, 0.55997, 0.10000, 0.545, 0.475]),
    (S2, "lmcl-center-0.5", [0.682, 0.50218, 0.08756, 0.638, 0.389]),
    (S1_S2, "softmax", [0.730, 0.01867, 0.00564, 0.728, 0.329]),
    (S1_S2, "center", [0.667, 0.03265, 0.01002, 0.500, 0.500]),
    (S1_S2, "lmcl-0.5", [0.789, 0.02521, 0.00533, 0.799, 0.263]),
    (S1_S2, "soft-lmccl", [0.788, 0.50930, 0.11786, 0.862, 0.225]),
    (S2_S1, "softmax", [0.694, 0.01710, 0.00256, 0.659, 0.381]),
    (S2_S1, "center", [0.667, 0.05135, 0.00425, 0.500, 0.500]),
    (S2_S1, "lmcl-0.35", [0.731, 0.00833, 0.00083, 0.697, 0.343]),
    (S2_S1, "soft-lmccl", [0.734, 0.53915, 0.10301, 0.784, 0.293]),
    (S1_R1, "softmax", [0.554, 0.03428, 0.00672, 0.503, 0.489]),
    (S1_R1, "center", [0.554, 0.01439, 0.01125, 0.552, 0.462]),
    (S1_R1, "lmcl-0.5", [0.619, 0.01708, 0.00838, 0.525, 0.489]),
    (S1_R1, "soft-lmccl", [0.637, 0.50668, 0.09066, 0.663, 0.371]),
    (S2_R1, "softmax", [0.565, 0.11230, 0.07519, 0.573, 0.436]),
    (S2_R1, "center", [0.554, 0.01025, 0.00108, 0.500, 0.500]),
    (S2_R1, "lmcl-0.35", [0.647, 0.09845, 0.01564, 0.658, 0.378]),
    (S2_R1, "soft-lmccl", [0.637, 0.52199, 0.11635, 0.669, 0.373]),
];

/// What the paper prints in a cell, if it does.
pub fn printed(column: Column, row: &str) -> Option<[f64; FIGURES]> {
    PRINTED.iter().find(|(at, name, _)| *at == column && *name == row).map(|(_, _, figures)| *figures)
}
