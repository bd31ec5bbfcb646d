//! Atoms, chains and operators that a file gives more than once.

use std::fmt::Write as _;

use approx::assert_relative_eq;
use soft_lmccl_cect::{AppliedAssembly, Assembly, AssemblyChoice, FilesConfig, LabeledFiles, Structure, Template};

use super::{fixture, told};

fn open(name: &str) -> Structure {
    Structure::open(fixture(name), AssemblyChoice::First).unwrap()
}

fn read(name: &str, text: &str) -> soft_lmccl_cect::Result<Structure> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    Structure::open(path, AssemblyChoice::First)
}

fn electrons(structure: &Structure) -> f64 {
    structure.scatterers().iter().map(|scatterer| scatterer.electrons).sum()
}

/// Sums of electrons of whole residues.
const ELECTRONS_REL: f64 = 1e-12;
/// Masses as they are printed.
const KILODALTONS_ABS: f64 = 5e-4;

#[test]
fn an_alternative_counts_once_whatever_became_of_its_letter() {
    for (name, atoms, whole, kilodaltons) in [
        ("lost-altloc.pdb", 8, 70.0, 0.131),
        ("lost-altloc-interleaved.pdb", 11, 84.0, 0.156),
        ("blank-and-letter.pdb", 8, 70.0, 0.131),
        ("altloc-twice.cif", 3, 70.0, 0.128),
    ] {
        let structure = open(name);
        assert_eq!(structure.scatterers().len(), atoms, "{name}");
        assert_relative_eq!(electrons(&structure), whole, max_relative = ELECTRONS_REL);
        assert!((structure.kilodaltons() - kilodaltons).abs() < KILODALTONS_ABS, "{name}: {}", structure.kilodaltons());
    }
}

/// A line of a PDB file with an atom on the x axis.
fn atom(record: &str, name: &str, letter: char, residue: &str, number: u32, x: f64) -> String {
    let element = &name[..1];
    format!(
        "{record:<6}    1  {name:<3}{letter}{residue:>3} A{number:>4}    {x:8.3}   0.000   0.000  1.00  0.00           {element}\n"
    )
}

#[test]
fn a_residue_written_twice_is_one() {
    let residue = |shift: f64, letter: char| -> String {
        ["N", "CA", "C", "O"]
            .iter()
            .zip([0.0, 1.5, 2.5, 3.5])
            .map(|(name, x)| atom("ATOM", name, letter, "GLY", 7, x + shift))
            .collect()
    };
    // At the same place, and as a conformer beside it.
    for shift in [0.0, 0.4] {
        let structure = read("x.pdb", &[residue(0.0, ' '), residue(shift, ' ')].concat()).unwrap();
        assert_eq!((structure.scatterers().len(), electrons(&structure).round() as u32), (4, 30), "{shift}");
    }
    // A neighbor that has the same number is another residue.
    let structure = read("x.pdb", &[residue(0.0, ' '), residue(3.8, ' ')].concat()).unwrap();
    assert_eq!((structure.scatterers().len(), electrons(&structure).round() as u32), (8, 60));
}

#[test]
fn residues_that_all_have_one_number_count_each() {
    let text: String = (0..40)
        .flat_map(|place| {
            let x = 3.8 * f64::from(place);
            ["N", "CA", "C", "O", "CB"].map(|name| atom("ATOM", name, ' ', "ALA", 1, x))
        })
        .collect();
    assert_relative_eq!(electrons(&read("x.pdb", &text).unwrap()), 40.0 * 38.0, max_relative = ELECTRONS_REL);
    // Of one atom each, too.
    let text: String = (0..40).map(|place| atom("ATOM", "CA", ' ', "ALA", 1, 3.8 * f64::from(place))).collect();
    assert_relative_eq!(electrons(&read("x.pdb", &text).unwrap()), 40.0 * 38.0, max_relative = ELECTRONS_REL);
}

#[test]
fn a_mutant_whose_letters_are_lost_is_one_residue() {
    let residue = |name: &str, shift: f64| -> String {
        ["N", "CA", "C"]
            .iter()
            .zip([0.0, 1.5, 2.5])
            .map(|(atom_name, x)| atom("ATOM", atom_name, ' ', name, 22, x + shift))
            .collect()
    };
    let structure = read("x.pdb", &[residue("SER", 0.0), residue("THR", 0.1)].concat()).unwrap();
    assert_eq!(electrons(&structure).round() as u32, 46);
    let structure = read("x.pdb", &[residue("SER", 0.0), residue("THR", 3.8)].concat()).unwrap();
    assert_eq!(electrons(&structure).round() as u32, 46 + 54);
}

#[test]
fn a_ligand_keeps_atoms_of_one_name_but_not_of_one_place() {
    let text: String = (0..6).map(|place| atom("HETATM", "C", ' ', "LIG", 1, 1.4 * f64::from(place))).collect();
    assert_eq!(read("x.pdb", &text).unwrap().scatterers().len(), 6);
    assert_eq!(read("x.pdb", &[text.clone(), text].concat()).unwrap().scatterers().len(), 6);
}

#[test]
fn columns_of_a_line_number_hold_no_element() {
    let structure = open("legacy-1996.pdb");
    assert_eq!(structure.scatterers().len(), 2);
    // A methionine and an arginine.
    assert_relative_eq!(electrons(&structure), 70.0 + 84.0, max_relative = ELECTRONS_REL);
    let line = "HETATM 1000 ZN    ZN   300      11.000  12.000  13.000  1.00 20.00      4TLN2650\n";
    assert_relative_eq!(electrons(&read("x.pdb", line).unwrap()), 30.0, max_relative = ELECTRONS_REL);
}

#[test]
fn rows_of_one_assembly_are_counted_together() {
    let structure = open("two-rows-one-assembly.cif");
    assert_eq!(*structure.assembly(), AppliedAssembly::Built { id: "1".to_owned(), operators: 2 });
    assert_eq!(structure.scatterers().len(), 2);
}

#[test]
fn a_copy_on_top_of_a_copy_is_refused_in_whatever_rows() {
    for name in ["same-operator-in-two-rows.cif", "chain-three-times.cif"] {
        let problem = "assembly 1 applies one operator twice to the same chains; expected each once";
        for error in [
            Structure::open(fixture(name), AssemblyChoice::First).unwrap_err(),
            Assembly::open(fixture(name)).unwrap_err(),
        ] {
            assert!(told(&error).ends_with(problem), "{}", told(&error));
        }
        assert!(Structure::open(fixture(name), AssemblyChoice::AsymmetricUnit).is_ok());
    }
    // The same operator under two names, in remarks of a PDB file, in two groups.
    let operator = |number: u32| {
        (1..=3).fold(String::new(), |mut text, row| {
            let ones =
                (1..=3).map(|column| if column == row { "  1.000000" } else { "  0.000000" }).collect::<String>();
            let _ = writeln!(text, "REMARK 350   BIOMT{row} {number:>3}{ones}        0.00000");
            text
        })
    };
    let apply = "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A\n";
    let head = "REMARK 350 BIOMOLECULE: 1\n";
    let text = [head, apply, &operator(1), apply, &operator(2), &atom("ATOM", "CA", ' ', "GLY", 1, 0.0)].concat();
    assert!(told(&read("x.pdb", &text).unwrap_err()).contains("applies one operator twice to the same chains"));
}

#[test]
fn a_small_file_that_asks_for_millions_of_atoms_is_refused() {
    for error in [
        Structure::open(fixture("many-atoms-from-a-small-file.cif"), AssemblyChoice::First).map(drop).unwrap_err(),
        Template::open(fixture("many-atoms-from-a-small-file.cif")).map(drop).unwrap_err(),
    ] {
        assert!(told(&error).contains("so its copies lie in one another"), "{}", told(&error));
    }
}

/// Files whose reading took the square of their size: a course of minutes, were it still so.
#[test]
fn many_columns_and_operators_are_read() {
    const MANY: usize = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let columns: String = (0..MANY).fold(String::new(), |mut text, column| {
        let _ = writeln!(text, "_c{column:06}");
        text
    });
    let table = directory.path().join("columns.star");
    std::fs::write(&table, format!("data_\nloop_\n_rlnImageName\n{columns}")).unwrap();
    let config = FilesConfig { unlabeled: Some("x".into()), ..Default::default() };
    assert!(LabeledFiles::open(&table, config.clone()).is_err(), "it names no subtomograms");
    std::fs::write(&table, format!("data_\nloop_\n_rlnImageName\n{columns}_c000007\n")).unwrap();
    let error = told(&LabeledFiles::open(&table, config).unwrap_err());
    assert!(error.contains("the column _c000007 a second time"), "{error}");

    let mut text = std::fs::read_to_string(fixture("two-rows-one-assembly.cif")).unwrap();
    let listed = (3..=MANY).fold(String::new(), |mut text, operator| {
        let _ = writeln!(text, "{operator} 1 0 0 0 1 0 0 0 1 {operator} 0 0");
        text
    });
    text = text.replace("1 2 A\n", &format!("1 ({}-{MANY})(2,{}) A\n", MANY - 9_000, MANY / 2)) + &listed;
    let structure = read("operators.cif", &text).unwrap();
    assert_eq!(structure.scatterers().len(), 1 + 2 * 9_001);
}
