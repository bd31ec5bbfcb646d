//! Electrons and masses of what structures are made of.

/// Atoms of carbon, hydrogen, nitrogen, oxygen, sulfur, phosphorus and selenium.
type Formula = [u16; 7];

const ELECTRONS: [f64; 7] = [6.0, 1.0, 7.0, 8.0, 16.0, 15.0, 34.0];
/// Standard atomic weights in dalton.
const MASSES: [f64; 7] = [12.011, 1.008, 14.007, 15.999, 32.06, 30.974, 78.971];

/// Residues as they stand in a chain: the free molecule less one water. Whether a side chain is
/// charged does not matter, since a proton carries no electron.
const RESIDUES: [(&str, Formula); 45] = [
    ("ALA", [3, 5, 1, 1, 0, 0, 0]),
    ("ARG", [6, 12, 4, 1, 0, 0, 0]),
    ("ASN", [4, 6, 2, 2, 0, 0, 0]),
    ("ASP", [4, 5, 1, 3, 0, 0, 0]),
    ("CYS", [3, 5, 1, 1, 1, 0, 0]),
    // In a disulfide bridge, by the same programs.
    ("CYX", [3, 4, 1, 1, 1, 0, 0]),
    ("GLN", [5, 8, 2, 2, 0, 0, 0]),
    ("GLU", [5, 7, 1, 3, 0, 0, 0]),
    ("GLY", [2, 3, 1, 1, 0, 0, 0]),
    ("HIS", [6, 7, 3, 1, 0, 0, 0]),
    // As programs for molecular dynamics call it, by where its protons are.
    ("HID", [6, 7, 3, 1, 0, 0, 0]),
    ("HIE", [6, 7, 3, 1, 0, 0, 0]),
    ("HIP", [6, 7, 3, 1, 0, 0, 0]),
    ("HSD", [6, 7, 3, 1, 0, 0, 0]),
    ("HSE", [6, 7, 3, 1, 0, 0, 0]),
    ("HSP", [6, 7, 3, 1, 0, 0, 0]),
    // The same programs' names for what carries a proton more or less than usual.
    ("ASH", [4, 5, 1, 3, 0, 0, 0]),
    ("CYM", [3, 5, 1, 1, 1, 0, 0]),
    ("GLH", [5, 7, 1, 3, 0, 0, 0]),
    ("LYN", [6, 12, 2, 1, 0, 0, 0]),
    ("ILE", [6, 11, 1, 1, 0, 0, 0]),
    ("LEU", [6, 11, 1, 1, 0, 0, 0]),
    ("LYS", [6, 12, 2, 1, 0, 0, 0]),
    ("MET", [5, 9, 1, 1, 1, 0, 0]),
    ("PHE", [9, 9, 1, 1, 0, 0, 0]),
    ("PRO", [5, 7, 1, 1, 0, 0, 0]),
    ("SER", [3, 5, 1, 2, 0, 0, 0]),
    ("THR", [4, 7, 1, 2, 0, 0, 0]),
    ("TRP", [11, 10, 2, 1, 0, 0, 0]),
    ("TYR", [9, 9, 1, 2, 0, 0, 0]),
    ("VAL", [5, 9, 1, 1, 0, 0, 0]),
    ("MSE", [5, 9, 1, 1, 0, 0, 1]),
    ("SEC", [3, 5, 1, 1, 0, 0, 1]),
    // Unknown: the PDB's own definition, a side chain of two carbons.
    ("UNK", [4, 7, 1, 1, 0, 0, 0]),
    ("A", [10, 12, 5, 6, 0, 1, 0]),
    ("C", [9, 12, 3, 7, 0, 1, 0]),
    ("G", [10, 12, 5, 7, 0, 1, 0]),
    ("U", [9, 11, 2, 8, 0, 1, 0]),
    ("I", [10, 11, 4, 7, 0, 1, 0]),
    ("DA", [10, 12, 5, 5, 0, 1, 0]),
    ("DC", [9, 12, 3, 6, 0, 1, 0]),
    ("DG", [10, 12, 5, 6, 0, 1, 0]),
    ("DT", [10, 13, 2, 7, 0, 1, 0]),
    ("DU", [9, 11, 2, 7, 0, 1, 0]),
    ("DI", [10, 11, 4, 6, 0, 1, 0]),
];

/// Symbols and standard atomic weights (dalton) by atomic number, hydrogen to californium; of elements
/// without stable isotopes the mass number of the longest-lived one.
#[rustfmt::skip]
const ELEMENTS: [(&str, f64); 98] = [
    ("H", 1.008), ("HE", 4.003), ("LI", 6.94), ("BE", 9.012), ("B", 10.81), ("C", 12.011),
    ("N", 14.007), ("O", 15.999), ("F", 18.998), ("NE", 20.180), ("NA", 22.990), ("MG", 24.305),
    ("AL", 26.982), ("SI", 28.085), ("P", 30.974), ("S", 32.06), ("CL", 35.45), ("AR", 39.95),
    ("K", 39.098), ("CA", 40.078), ("SC", 44.956), ("TI", 47.867), ("V", 50.942), ("CR", 51.996),
    ("MN", 54.938), ("FE", 55.845), ("CO", 58.933), ("NI", 58.693), ("CU", 63.546), ("ZN", 65.38),
    ("GA", 69.723), ("GE", 72.630), ("AS", 74.922), ("SE", 78.971), ("BR", 79.904),
    ("KR", 83.798), ("RB", 85.468), ("SR", 87.62), ("Y", 88.906), ("ZR", 91.224), ("NB", 92.906),
    ("MO", 95.95), ("TC", 97.0), ("RU", 101.07), ("RH", 102.906), ("PD", 106.42), ("AG", 107.868),
    ("CD", 112.414), ("IN", 114.818), ("SN", 118.710), ("SB", 121.760), ("TE", 127.60),
    ("I", 126.904), ("XE", 131.293), ("CS", 132.905), ("BA", 137.327), ("LA", 138.905),
    ("CE", 140.116), ("PR", 140.908), ("ND", 144.242), ("PM", 145.0), ("SM", 150.36),
    ("EU", 151.964), ("GD", 157.25), ("TB", 158.925), ("DY", 162.500), ("HO", 164.930),
    ("ER", 167.259), ("TM", 168.934), ("YB", 173.045), ("LU", 174.967), ("HF", 178.486),
    ("TA", 180.948), ("W", 183.84), ("RE", 186.207), ("OS", 190.23), ("IR", 192.217),
    ("PT", 195.084), ("AU", 196.967), ("HG", 200.592), ("TL", 204.38), ("PB", 207.2),
    ("BI", 208.980), ("PO", 209.0), ("AT", 210.0), ("RN", 222.0), ("FR", 223.0), ("RA", 226.0),
    ("AC", 227.0), ("TH", 232.038), ("PA", 231.036), ("U", 238.029),
    ("NP", 237.0), ("PU", 244.0), ("AM", 243.0), ("CM", 247.0), ("BK", 247.0), ("CF", 251.0),
];

/// Names under which files keep water.
const WATERS: [&str; 10] = ["HOH", "DOD", "WAT", "H2O", "SOL", "SPC", "TIP", "TIP3", "TP3", "TIP4"];

/// The symbol of an atom of which nobody knows what it is, as of the PDB's residue UNX.
pub(crate) const UNKNOWN: &str = "X";

/// Electrons and mass (dalton) of a standard residue, hydrogens included, in capitals or not.
pub(crate) fn standard(name: &str) -> Option<(f64, f64)> {
    let (_, formula) = RESIDUES.iter().find(|(residue, _)| residue.eq_ignore_ascii_case(name))?;
    let weigh = |table: &[f64; 7]| formula.iter().zip(table).map(|(&count, each)| f64::from(count) * each).sum();
    Some((weigh(&ELECTRONS), weigh(&MASSES)))
}

/// Atomic number and mass (dalton) of an element; deuterium counts as hydrogen, an unknown atom as carbon.
pub(crate) fn element(symbol: &str) -> Option<(u8, f64)> {
    let symbol = if symbol.eq_ignore_ascii_case(UNKNOWN) { "C" } else { symbol };
    if symbol.eq_ignore_ascii_case("D") {
        return Some((1, 2.014));
    }
    (1..)
        .zip(ELEMENTS)
        .find(|(_, (name, _))| name.eq_ignore_ascii_case(symbol))
        .map(|(number, (_, mass))| (number, mass))
}

/// Whether a residue of this name is solvent.
pub(crate) fn is_water(name: &str) -> bool {
    WATERS.iter().any(|water| water.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::{element, standard};

    #[test]
    fn masses_are_those_of_the_tables() {
        // Average residue masses as every mass spectrometry table prints them.
        for (name, electrons, mass) in [
            ("GLY", 30.0, 57.05),
            ("LYS", 70.0, 128.17),
            ("TRP", 98.0, 186.21),
            ("MET", 70.0, 131.20),
            ("A", 170.0, 329.21),
            ("DT", 158.0, 304.20),
        ] {
            let (found_electrons, found_mass) = standard(name).expect("a standard residue");
            assert!((found_electrons - electrons).abs() < 1e-9, "{name}");
            assert!((found_mass - mass).abs() < 0.02, "{name}: {found_mass}");
        }
        for (name, usual) in
            [("ASH", "ASP"), ("CYM", "CYS"), ("GLH", "GLU"), ("LYN", "LYS"), ("HSD", "HIS"), ("lyn", "LYS")]
        {
            assert_eq!(standard(name), standard(usual), "{name}");
        }
        assert_eq!(standard("HOH"), None);
    }

    #[test]
    fn elements_stand_at_their_number() {
        for (symbol, number) in [("H", 1), ("c", 6), ("Fe", 26), ("SE", 34), ("I", 53), ("U", 92), ("Cf", 98)] {
            assert_eq!(element(symbol).map(|(number, _)| number), Some(number), "{symbol}");
        }
        assert_eq!(element("D").map(|(number, _)| number), Some(1));
        assert_eq!(element("X"), element("C"));
        assert_eq!(element("Q"), None);
    }
}
