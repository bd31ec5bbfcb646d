//! Atoms of other programs, and those that another reader finds in a file.

use approx::assert_relative_eq;
use soft_lmccl_cect::{Assembly, Atom, Structure};

use super::{fixture, structures::open, told};

/// Two chains of residues on a spiral, in both formats, without anything on which readers differ.
fn plain_structure() -> (String, String) {
    let mut cif = String::from(
        "data_plain\n_cell.length_a 1\nloop_\n_atom_site.group_PDB\n_atom_site.id\n_atom_site.type_symbol\n\
         _atom_site.label_atom_id\n_atom_site.label_alt_id\n_atom_site.label_comp_id\n_atom_site.label_asym_id\n\
         _atom_site.label_entity_id\n_atom_site.label_seq_id\n_atom_site.Cartn_x\n_atom_site.Cartn_y\n\
         _atom_site.Cartn_z\n_atom_site.auth_seq_id\n_atom_site.auth_asym_id\n_atom_site.pdbx_PDB_model_num\n",
    );
    let mut pdb = String::new();
    for serial in 1..=60u32 {
        let residue = serial.div_ceil(3);
        let (name, element) = [("N", "N"), ("CA", "C"), ("C", "C")][(serial as usize - 1) % 3];
        let kind = ["GLY", "SER", "LEU"][residue as usize % 3];
        let chain = if residue <= 10 { "A" } else { "B" };
        let turn = f64::from(serial) * 0.7;
        let [x, y, z] = [9.0 * turn.cos(), 9.0 * turn.sin(), 1.5 * f64::from(serial)];
        cif += &format!(
            "ATOM {serial} {element} {name} . {kind} {chain} 1 {residue} {x:.3} {y:.3} {z:.3} {residue} {chain} 1\n"
        );
        pdb += &format!(
            "ATOM  {serial:5}  {name:<3} {kind} {chain}{residue:4}    {x:8.3}{y:8.3}{z:8.3}  1.00  0.00          {element:>2}  \n"
        );
    }
    (cif, pdb + "END\n")
}

/// One atom at `x`, named as in a file.
fn atom<'a>(chain: &'a str, residue_number: i64, residue: &'a str, name: &'a str, x: f64) -> Atom<'a> {
    let (insertion_code, alternative, element) = ("", "", &name[..1]);
    Atom { chain, residue_number, insertion_code, residue, name, alternative, element, position: [x, 0.0, 0.0] }
}

#[test]
fn atoms_from_elsewhere_count_as_those_of_a_file() {
    let atoms = [
        atom("A", 1, "GLY", "N", 0.0),
        atom("A", 1, "GLY", "CA", 1.0),
        // The first name elsewhere, another insertion, another number, another chain: four residues.
        atom("A", 1, "GLY", "N", 2.0),
        Atom { insertion_code: "A", ..atom("A", 1, "GLY", "C", 3.0) },
        atom("A", -2, "GLY", "C", 4.0),
        atom("B", -2, "GLY", "C", 5.0),
        Atom { alternative: "B", ..atom("B", 7, "SER", "CA", 6.0) },
        Atom { alternative: "A", ..atom("B", 7, "SER", "CA", 7.0) },
        atom("B", 8, "HOH", "O", 8.0),
        Atom { element: "h", ..atom("B", 9, "ALA", "HA", 9.0) },
        Atom { element: "zn", ..atom("C", 1, "ZN", "ZN", 10.0) },
        // Two atoms of one residue that have no names.
        Atom { name: "", ..atom("C", 2, "GLY", "N", 11.0) },
        Atom { name: "", ..atom("C", 2, "GLY", "N", 12.0) },
    ];
    let structure = Structure::from_atoms(atoms, None).unwrap();
    let found: Vec<_> = structure.scatterers().iter().map(|s| (s.position[0], s.electrons.round())).collect();
    // The first residue shares 30 electrons 7 to 6.
    let expected = [
        (0.0, 16.0),
        (1.0, 14.0),
        (2.0, 30.0),
        (3.0, 30.0),
        (4.0, 30.0),
        (5.0, 30.0),
        (6.0, 46.0),
        (10.0, 30.0),
        (11.0, 15.0),
        (12.0, 15.0),
    ];
    assert_eq!(found, expected);
    assert_relative_eq!(structure.kilodaltons(), 1e-3 * (6.0 * 57.05 + 87.08 + 65.38), max_relative = 1e-3);
    assert_eq!(structure.assembly().to_string(), "no assembly given, atoms as they are");

    let assembly = Assembly::open(fixture("trimer.pdb")).unwrap().unwrap();
    let trimer = Structure::from_atoms(atoms, Some(&assembly)).unwrap();
    assert_eq!((trimer.scatterers().len(), trimer.assembly().to_string().as_str()), (21, "assembly 1, 3 operators"));
}

#[test]
fn atoms_that_are_none_are_refused() {
    let bad = |atoms: &[Atom<'_>]| told(&Structure::from_atoms(atoms.iter().copied(), None).unwrap_err());
    let good = atom("A", 1, "GLY", "N", 0.0);
    let nowhere = Atom { position: [0.0, f64::NAN, 0.0], ..good };
    let far = Atom { position: [0.0, 0.0, 1e6], ..good };
    assert_eq!(
        bad(&[good, nowhere]),
        "volume: atom 1: expected a `position` less than a million Angstrom either way, got [0.0, NaN, 0.0]"
    );
    assert!(bad(&[far]).ends_with("either way, got [0.0, 0.0, 1000000.0]"));
    assert_eq!(bad(&[Atom { element: "Qq", ..good }]), "volume: atom 0: `Qq` is no element (residue GLY)");
    for none in [&[][..], &[atom("A", 1, "HOH", "O", 0.0)]] {
        assert_eq!(bad(none), "volume: no atoms other than water and hydrogen");
    }
    let assembly = Assembly::open(fixture("dimer.cif")).unwrap();
    let error = Structure::from_atoms([atom("?", 1, "GLY", "N", 0.0)], assembly.as_ref()).unwrap_err();
    assert_eq!(told(&error), "volume: assembly 1 names no chain of these atoms: it names A, B, they are of ?");
}

/// Another reader, where both can read: the same atoms in the same places. `soft-lmccl catalogue` holds the two against
/// each other on every structure that the crate embeds.
#[test]
fn atoms_are_those_that_pdbtbx_reads() {
    use pdbtbx::{Format, ReadOptions, StrictnessLevel};
    let (cif, pdb) = plain_structure();
    for (name, format, text) in [("plain.cif", Format::Mmcif, cif), ("plain.pdb", Format::Pdb, pdb)] {
        let read = ReadOptions::new()
            .set_format(format)
            .set_level(StrictnessLevel::Loose)
            .read_raw(std::io::BufReader::new(std::io::Cursor::new(text.clone())));
        let (theirs, _) = read.unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let ours = open(name, text.as_bytes()).unwrap();
        assert_eq!((ours.scatterers().len(), theirs.atom_count()), (60, 60), "{name}");
        for (ours, theirs) in ours.scatterers().iter().zip(theirs.atoms()) {
            // Theirs rounds decimals a little differently.
            for (ours, theirs) in ours.position.into_iter().zip([theirs.x(), theirs.y(), theirs.z()]) {
                assert_relative_eq!(ours, theirs, max_relative = 1e-12);
            }
        }
    }
}
