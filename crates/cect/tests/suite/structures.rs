//! PDB and mmCIF files, good and bad.

use std::fs;

use approx::assert_relative_eq;
use proptest::prelude::*;
use soft_lmccl_cect::{AppliedAssembly, Assembly, AssemblyChoice, Extent, Structure, Template};

use super::{fixture, gzip, told};

pub(super) fn open(name: &str, text: &[u8]) -> soft_lmccl_cect::Result<Structure> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    Structure::open(&path, AssemblyChoice::First)
}

#[test]
fn mmcif_assembly_is_built() {
    let dimer = Structure::open(fixture("dimer.cif"), AssemblyChoice::First).unwrap();
    // Each copy: 4 atoms of GLY, 5 of SER (one alternative, one model, no hydrogen), one Zn.
    assert_eq!(dimer.scatterers().len(), 20);
    let extent = Extent::of(dimer.scatterers()).unwrap();
    assert_relative_eq!(extent.electrons, 2.0 * (30.0 + 46.0 + 30.0), max_relative = 1e-12);
    assert_relative_eq!(dimer.kilodaltons(), 2e-3 * (57.05 + 87.08 + 65.38), max_relative = 1e-3);
    // The operator turns half about z at x = 20, y = 0.
    assert_relative_eq!(extent.center[0], 20.0, max_relative = 1e-12);
    assert!(extent.center[1].abs() < 1e-12);
    let expected = AppliedAssembly::Built { id: "1".to_owned(), operators: 2 };
    assert_eq!(*dimer.assembly(), expected);
}

#[test]
fn asymmetric_unit_is_left_alone() {
    let half = Structure::open(fixture("dimer.cif"), AssemblyChoice::AsymmetricUnit).unwrap();
    assert_eq!(half.scatterers().len(), 10);
    assert_eq!(half.assembly().to_string(), "asymmetric unit, as asked");
}

#[test]
fn remark_350_is_built() {
    let trimer = Structure::open(fixture("trimer.pdb"), AssemblyChoice::First).unwrap();
    assert_eq!(trimer.assembly().to_string(), "assembly 1, 3 operators");
    let template = Template::open(fixture("trimer.pdb")).unwrap();
    assert_eq!((template.name(), template.kilodaltons()), ("trimer", Some(trimer.kilodaltons())));
    assert_eq!(template.named("other").name(), "other");
    // Cα atoms alone weigh the whole residue; `CA` of a HETATM is calcium.
    let mut electrons: Vec<f64> = trimer.scatterers().iter().map(|s| s.electrons).collect();
    electrons.sort_by(f64::total_cmp);
    assert_eq!(electrons, [20.0, 20.0, 20.0, 38.0, 38.0, 38.0, 62.0, 62.0, 62.0]);
    // A threefold axis at the origin.
    let extent = Extent::of(trimer.scatterers()).unwrap();
    assert!(extent.center[0].abs() < 1e-4 && extent.center[1].abs() < 1e-4, "{extent:?}");
    assert_relative_eq!(extent.radius, 23.8, max_relative = 1e-4);
}

#[test]
fn content_decides_and_gzip_is_seen() {
    let text = fs::read(fixture("trimer.pdb")).unwrap();
    let plain = Structure::open(fixture("trimer.pdb"), AssemblyChoice::First).unwrap();
    assert_eq!(open("trimer.cif", &text).unwrap(), plain);
    assert_eq!(open("trimer.pdb.gz", &gzip(&text)).unwrap(), plain);
    assert_eq!(open("trimer", &gzip(&text)).unwrap(), plain);
    // Line ends of other systems.
    let text = fs::read_to_string(fixture("dimer.cif")).unwrap();
    let plain = Structure::open(fixture("dimer.cif"), AssemblyChoice::First).unwrap();
    assert_eq!(open("dimer.cif", text.replace('\n', "\r\n").as_bytes()).unwrap(), plain);
}

/// A minimal mmCIF: these lines before an alanine's Cα at (1, 2, 3) and, in chain B, at (4, 5, 6).
fn mmcif(before: &str) -> Vec<u8> {
    format!(
        "data_x\n{before}\nloop_\n_atom_site.type_symbol\n_atom_site.label_atom_id\n\
         _atom_site.label_comp_id\n_atom_site.label_asym_id\n_atom_site.label_seq_id\n\
         _atom_site.Cartn_x\n_atom_site.Cartn_y\n_atom_site.Cartn_z\n\
         C CA ALA A 1 1.0 2.0 3.0\nC CA ALA B 1 4.0 5.0 6.0\n"
    )
    .into_bytes()
}

fn assembly(rows: &str) -> String {
    let operator = |id: &str, shift: &str| format!("{id} 1 0 0 {shift} 0 1 0 0 0 0 1 0\n");
    format!(
        "loop_\n_pdbx_struct_assembly_gen.assembly_id\n_pdbx_struct_assembly_gen.oper_expression\n\
         _pdbx_struct_assembly_gen.asym_id_list\n{rows}\nloop_\n_pdbx_struct_oper_list.id\n\
         _pdbx_struct_oper_list.matrix[1][1]\n_pdbx_struct_oper_list.matrix[1][2]\n\
         _pdbx_struct_oper_list.matrix[1][3]\n_pdbx_struct_oper_list.vector[1]\n\
         _pdbx_struct_oper_list.matrix[2][1]\n_pdbx_struct_oper_list.matrix[2][2]\n\
         _pdbx_struct_oper_list.matrix[2][3]\n_pdbx_struct_oper_list.vector[2]\n\
         _pdbx_struct_oper_list.matrix[3][1]\n_pdbx_struct_oper_list.matrix[3][2]\n\
         _pdbx_struct_oper_list.matrix[3][3]\n_pdbx_struct_oper_list.vector[3]\n{}{}{}{}",
        operator("1", "0"),
        operator("2", "100"),
        operator("X0", "1000"),
        operator("bad", "oops"),
    )
}

#[test]
fn operators_go_to_their_chains() {
    for (rows, xs) in [
        ("1 1 A", vec![1.0]),
        ("1 1,2 A,B", vec![1.0, 4.0, 101.0, 104.0]),
        ("1 (1-2) B", vec![4.0, 104.0]),
        ("1 (X0)(1,2) A", vec![1001.0, 1101.0]),
        ("1 1 A\n1 2 B", vec![1.0, 104.0]),
        // Assembly 1 wherever it stands; without one, the first.
        ("2 2 A\n1 1 B", vec![4.0]),
        ("3 2 A\n2 1 B", vec![101.0]),
        ("1 '1, 2' 'A, Z'", vec![1.0, 101.0]),
        // A range of one; words in quotes that begin with a blank; a field of text, without its semicolons.
        ("1 (2-2) A", vec![101.0]),
        ("1 ' 1, 2' \" A\"", vec![1.0, 101.0]),
        ("1\n;1,2\n;\nB", vec![4.0, 104.0]),
    ] {
        let structure = open("x.cif", &mmcif(&assembly(rows))).unwrap();
        let mut found: Vec<f64> = structure.scatterers().iter().map(|s| s.position[0]).collect();
        found.sort_by(f64::total_cmp);
        assert_eq!(found, xs, "{rows}");
    }
    let structure = open("x.cif", &mmcif("")).unwrap();
    assert_eq!(structure.assembly().to_string(), "no assembly named, file as it is");
}

/// An assembly has 20,000 operators at most, in all of its rows, and none of them twice for one chain.
#[test]
fn assemblies_of_many_operators_are_counted() {
    let shifts = |prefix: char, count: u32, step: u32| -> String {
        (1..=count).map(|number| format!("{prefix}{number} 1 0 0 {} 0 1 0 0 0 0 1 0\n", number * step)).collect()
    };
    let with = |rows: &str| {
        mmcif(&(assembly(rows) + &shifts('a', 200, 1) + &shifts('b', 100, 1000) + "Z 1 -0 0 0 0 1 0 -0 0 0 1 0\n"))
    };
    let most = open("x.cif", &with("1 (a1-a200)(b1-b100) A")).unwrap();
    assert_eq!(most.scatterers().len(), 20_000);
    for (rows, problem) in [
        ("1 (a1-a200)(b1-b100) A\n1 1 B", "assembly 1 has more than 20000 operators"),
        ("1 (a1-a200)(b1-b60) A\n1 (a1-a100)(b1-b100) B", "assembly 1 has more than 20000 operators"),
        ("1 1,Z A", "assembly 1 applies one operator twice to the same chains; expected each once"),
        ("1 (15000-15001) A", "the assembly asks for operator 15000, which is not listed"),
        ("1 (1-18446744073709551615) A", "operator expression `(1-18446744073709551615)` cannot be read"),
    ] {
        let message = told(&open("x.cif", &with(rows)).unwrap_err());
        assert!(message.ends_with(problem), "{message}");
    }
}

/// An operator with negative zeros is the same as one without.
#[test]
fn zeros_have_no_sign() {
    let rows = |operator: u32, zero: &str| -> String {
        let row = |row: u32| {
            let numbers = [1, 2, 3].map(|column| if column == row { "1.0" } else { zero }).join(" ");
            format!("REMARK 350   BIOMT{row}   {operator}  {numbers} {zero}\n")
        };
        [1, 2, 3].map(row).concat()
    };
    let atom = "ATOM      1  CA  ALA A   1      20.000   0.000   0.000  1.00  0.00           C\n";
    let before = "REMARK 350 BIOMOLECULE: 1\nREMARK 350 APPLY THE FOLLOWING TO CHAINS: A\n";
    let text = [before, &rows(1, "0.0"), &rows(2, "-0.0"), atom].concat();
    let message = told(&open("x.pdb", text.as_bytes()).unwrap_err());
    assert!(message.ends_with("applies one operator twice to the same chains; expected each once"), "{message}");
}

#[test]
fn awkward_mmcif_is_read() {
    let before = "# a comment with loop_ in it\n_x.a 'a dog's life'\n_x.b\n;text field\n\
                  data_inside; loop_\n;\n_x.c \"it's\"\n_x.d Kühlbrandt\n_x.f ;no_field\n_x.e 12345678901\nloop_\n_y.a\n_y.b\n1 'two words' ? .\n";
    let mut text = mmcif(before);
    text.extend(b"data_second\n_atom_site.type_symbol X\n");
    assert_eq!(open("x.cif", &text).unwrap().scatterers().len(), 2);
    // What comes before the block may be comments and empty lines.
    let text = [b"# made by hand\n\n  # and more\n".to_vec(), mmcif("")].concat();
    assert_eq!(open("x.cif", &text).unwrap().scatterers().len(), 2);
}

#[test]
fn residues_need_no_capitals() {
    let line = |residue: &str| {
        format!("ATOM      1  CA  {residue} A   1       0.000   0.000   0.000  1.00  0.00           C\n")
    };
    // A whole alanine; of water nothing.
    for residue in ["ALA", "ala", "Ala"] {
        let text = [line(residue), line("hoh"), line("Wat")].concat();
        assert_eq!(electrons(&open("x.pdb", text.as_bytes()).unwrap()), [38.0], "{residue}");
    }
}

#[test]
fn residues_that_share_a_number_keep_their_atoms() {
    // Insertions 52 and 52A whose code was lost, of one kind and of two.
    let line = |name: &str, residue: &str, x: f64| {
        format!("ATOM      1  {name:<3} {residue} A  52    {x:8.3}   0.000   0.000  1.00  0.00\n")
    };
    for second in ["SER", "GLY"] {
        let text =
            [line("N", "SER", 0.0), line("CA", "SER", 1.0), line("N", second, 2.0), line("CA", second, 3.0)].concat();
        let structure = open("x.pdb", text.as_bytes()).unwrap();
        let electrons: f64 = structure.scatterers().iter().map(|s| s.electrons).sum();
        let expected = 46.0 + if second == "SER" { 46.0 } else { 30.0 };
        assert_relative_eq!(electrons, expected, max_relative = 1e-12);
    }
}

#[test]
fn serials_of_any_width_are_read() {
    let atom =
        |record: &str, x: f64| format!("{record} CA  GLY A   1    {x:8.3}   0.000   0.000  1.00  0.00           C\n");
    let records = [
        "ATOM  99999 ",
        "ATOM 100000 ",
        "ATOM1000000 ",
        "ATOM  A0000 ",
        "ATOM  ***** ",
        "HETATM99999 ",
        "HETATM100000",
    ];
    let text: String = records.iter().enumerate().map(|(number, record)| atom(record, number as f64)).collect();
    let structure = open("x.pdb", (text + "ATOMS are not atoms\n").as_bytes()).unwrap();
    let xs: Vec<f64> = structure.scatterers().iter().map(|scatterer| scatterer.position[0]).collect();
    assert_eq!(xs, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

fn electrons(structure: &Structure) -> Vec<f64> {
    structure.scatterers().iter().map(|scatterer| scatterer.electrons).collect()
}

#[test]
fn models_of_an_assembly_file_are_one_particle() {
    let atom = |x: f64, alternative: char| {
        format!("ATOM      1  CA {alternative}GLY A   1    {x:8.3}   0.000   0.000  1.00  0.00           C\n")
    };
    let model = |x: f64, alternative| format!("MODEL\n{}ENDMDL\n", atom(x, alternative));
    let text = [model(0.0, ' '), model(10.0, 'A'), model(20.0, 'B')].concat();
    for name in ["x.pdb1", "x.PDB12", "x.pdb2.gz"] {
        let structure = open(name, text.as_bytes()).unwrap();
        // Each copy is a whole residue, and its alternatives are its own.
        assert_eq!(electrons(&structure), [30.0; 3], "{name}");
        assert_eq!(*structure.assembly(), AppliedAssembly::Models { models: 3 });
        assert_eq!(structure.assembly().to_string(), "no assembly named, all 3 models of the file");
    }
    let first = open("x.pdb", text.as_bytes()).unwrap();
    assert_eq!((electrons(&first), first.assembly()), (vec![30.0], &AppliedAssembly::NoneNamed));
    // One model is the file as it is; an assembly that is named is built; the asymmetric unit is one model.
    let single = open("x.pdb1", atom(0.0, ' ').as_bytes()).unwrap();
    assert_eq!(*single.assembly(), AppliedAssembly::NoneNamed);
    let trimer = open("trimer.pdb1", &fs::read(fixture("trimer.pdb")).unwrap()).unwrap();
    assert_eq!((trimer.scatterers().len(), trimer.assembly().to_string().as_str()), (9, "assembly 1, 3 operators"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.pdb3");
    fs::write(&path, &text).unwrap();
    assert_eq!(Structure::open(&path, AssemblyChoice::AsymmetricUnit).unwrap().scatterers().len(), 1);
    let template = Template::open(&path).unwrap();
    assert_eq!(
        (template.name(), template.source()),
        ("x", "3 atoms, 0 kDa; no assembly named, all 3 models of the file")
    );
}

#[test]
fn a_model_ends_where_the_next_begins() {
    let atom = |x: f64| format!("ATOM      1  CA  GLY A   1    {x:8.3}   0.000   0.000  1.00  0.00           C\nTER\n");
    let text = format!("MODEL        1\n{}MODEL        2\n{}END\n", atom(0.0), atom(10.0));
    let first = open("x.pdb", text.as_bytes()).unwrap();
    assert_eq!((electrons(&first), first.scatterers()[0].position[0]), (vec![30.0], 0.0));
    let both = open("x.pdb1", text.as_bytes()).unwrap();
    assert_eq!(both.assembly().to_string(), "no assembly named, all 2 models of the file");
    assert_eq!(electrons(&both), [30.0; 2]);
}

#[test]
fn frames_of_a_trajectory_are_no_particle() {
    let atom = "ATOM      1  CA  GLY A   1       1.000   0.000   0.000  1.00  0.00           C\n";
    for name in ["x.pdb", "x.pdb1"] {
        let error = open(name, format!("{atom}END\n{atom}END\n").as_bytes()).unwrap_err();
        let expected = "line 3: an atom after END; expected one particle, or models between MODEL and ENDMDL";
        assert!(told(&error).ends_with(expected), "{error}");
        // What follows but atoms says nothing about the particle.
        let whole = open(name, format!("{atom}END   \r\n\nREMARK late\n").as_bytes()).unwrap();
        assert_eq!(electrons(&whole), [30.0]);
    }
}

#[test]
fn elements_are_told_by_names_where_they_are_not_given() {
    let record = |kind: &str, name: &str, residue: &str| {
        format!("{kind:<6}    1 {name:<4} {residue:>3} A   1      20.000   0.000   0.000  1.00  0.00\n")
    };
    for (kind, name, residue, expected) in [
        ("HETATM", "CA  ", "CA", vec![20.0]),
        ("HETATM", " CA ", "LIG", vec![6.0]),
        ("HETATM", "HG  ", "HG", vec![80.0]),
        ("HETATM", "HO2'", "LIG", vec![]),
        ("HETATM", "HG11", "LIG", vec![]),
        ("HETATM", "1HE2", "LIG", vec![]),
        ("HETATM", "XE  ", "XE", vec![54.0]),
        ("ATOM", "ZN  ", "ZN", vec![30.0]),
        ("ATOM", " MG ", "MG", vec![12.0]),
        ("ATOM", "XE  ", "XE", vec![54.0]),
        // Unknown, as carbon.
        ("HETATM", " X  ", "UNX", vec![6.0]),
    ] {
        let text = record(kind, name, residue) + &record("HETATM", "FE  ", "FE");
        let found = electrons(&open("x.pdb", text.as_bytes()).unwrap());
        assert_eq!(found, [expected, vec![26.0]].concat(), "{kind} {name}");
    }
    let text = String::from_utf8(mmcif("")).unwrap().replace("C CA ALA A", "X UNK UNX A");
    assert_eq!(electrons(&open("x.cif", text.as_bytes()).unwrap()), [6.0, 38.0]);
    let text = String::from_utf8(mmcif("")).unwrap().replace("ALA", "HSD").replace("HSD B", "SPC B");
    assert_eq!(electrons(&open("x.cif", text.as_bytes()).unwrap()), [72.0]);
}

#[test]
fn alternatives_are_chosen_once_for_a_residue() {
    let atom = |name: &str, alternative: char, residue: &str, number: u32| {
        format!("ATOM      1  {name:<3}{alternative}{residue} A{number:>4}       0.000   0.000   0.000  1.00  0.00\n")
    };
    let text = [atom("CA", 'A', "ALA", 1), atom("CA", ' ', "GLY", 2), atom("CA", 'B', "ALA", 1)].concat();
    assert_eq!(electrons(&open("x.pdb", text.as_bytes()).unwrap()), [38.0, 30.0]);
}

#[test]
fn sites_of_many_atoms_are_read_in_time() {
    // By the square of the atoms this would take minutes.
    let mut text = String::from_utf8(mmcif("")).unwrap();
    for number in 0..100_000 {
        text += &format!("C C{number} LIG L 1 1.0 2.0 3.0\n");
    }
    assert_eq!(open("x.cif", text.as_bytes()).unwrap().scatterers().len(), 100_002);
}

#[test]
fn names_numbers_and_marks_of_mmcif_are_what_they_may_be() {
    let text = String::from_utf8(mmcif("")).unwrap().replace("Cartn_x", "CARTN_X").replace("2.0", "2.0(13)");
    let text = format!("\u{feff}{text}");
    assert_eq!(open("x.cif", text.as_bytes()).unwrap(), open("x.cif", &mmcif("")).unwrap());
    let atom = "ATOM      1  CA  ALA A   1      20.000   0.000   0.000  1.00  0.00           C\n";
    assert_eq!(open("x.pdb", format!("\u{feff}{atom}").as_bytes()).unwrap(), open("x.pdb", atom.as_bytes()).unwrap());
    for bad in ["2.0()", "2.0(x)", "(3)", "2.0)"] {
        let text = String::from_utf8(mmcif("")).unwrap().replace("2.0", bad);
        let message = told(&open("x.cif", text.as_bytes()).unwrap_err());
        assert!(message.ends_with("is no coordinate"), "{message}");
    }
}

#[test]
fn bad_files_say_what_is_wrong() {
    let atom = "ATOM      1  CA  ALA A   1      20.000   0.000   0.000  1.00  0.00           C\n";
    let remark = |text: &str| format!("{text}\n{atom}");
    let remark_operator = |operator: usize| {
        let row = |row: usize| {
            let numbers = [1, 2, 3].map(|column| if column == row { "1.0" } else { "-0.0" }).join(" ");
            format!("REMARK 350   BIOMT{row}   {operator}  {numbers} 0.0\n")
        };
        [1, 2, 3].map(row).concat()
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "neither mmCIF nor PDB: no data_ block and no ATOM record"),
        (b"\x00\xff\xfe garbage".to_vec(), "neither mmCIF nor PDB"),
        (b"data_x\n_entry.id x\n".to_vec(), "no _atom_site category, so no atoms"),
        (
            b"data_x\nloop_\n_atom_site.id\n_atom_site.label_comp_id\n1 ALA\n".to_vec(),
            "_atom_site lacks label_asym_id and auth_asym_id",
        ),
        (
            String::from_utf8(mmcif("")).unwrap().replace("Cartn_y", "why").into_bytes(),
            "_atom_site lacks type_symbol, Cartn_x, Cartn_y or Cartn_z",
        ),
        (
            String::from_utf8(mmcif("")).unwrap().replace("2.0", "NaN").into_bytes(),
            "atom 1 of _atom_site: `NaN` is no coordinate",
        ),
        (
            String::from_utf8(mmcif("")).unwrap().replace("5.0", "-1000000.0").into_bytes(),
            "atom 2 of _atom_site: `-1000000.0` is no coordinate",
        ),
        (
            String::from_utf8(mmcif("")).unwrap().replace("5.0", "1e300").into_bytes(),
            "atom 2 of _atom_site: `1e300` is no coordinate",
        ),
        (
            String::from_utf8(mmcif("")).unwrap().replace("C CA", "Qq CA").into_bytes(),
            "atom 1 of _atom_site: `Qq` is no element (residue ALA)",
        ),
        (
            String::from_utf8(mmcif("")).unwrap().replace("ALA", "HOH").into_bytes(),
            "no atoms other than water and hydrogen",
        ),
        ([mmcif(""), b"C CA ALA\n".to_vec()].concat(), "the loop of _atom_site has 8 columns but 19 values"),
        (
            [mmcif(""), b"_atom_site.label_alt_id .\n".to_vec()].concat(),
            "_atom_site.label_alt_id comes after values of its category that are given already",
        ),
        (
            [mmcif(""), b"loop_\n_atom_site.type_symbol\nC\n".to_vec()].concat(),
            "_atom_site comes after values of its category that are given already",
        ),
        (mmcif("_x.a 'open"), "the quoted value that begins on line 2 does not end"),
        (mmcif("\n_x.a\n;open"), "the text field that begins on line 4 does not end"),
        (mmcif(&assembly("1 7 A")), "the assembly asks for operator 7, which is not listed"),
        (mmcif(&assembly("1 bad A")), "operator bad holds `oops` where a number is expected"),
        (mmcif(&assembly("1 (1-2 A")), "operator expression `(1-2` cannot be read"),
        (mmcif(&assembly(&format!("1 {} A", "(1,1)".repeat(14)))), "(1,1)` names operator 1 twice in one list"),
        (
            mmcif(&assembly("1 (1,2)(1,2) A")),
            "assembly 1 applies one operator twice to the same chains; expected each once",
        ),
        (
            remark(&[1, 2].map(remark_operator).concat())
                .replacen("REMARK", "REMARK 350 BIOMOLECULE: 1\nREMARK 350 APPLY THE FOLLOWING TO CHAINS: A\nREMARK", 1)
                .into_bytes(),
            "assembly 1 applies one operator twice to the same chains; expected each once",
        ),
        (mmcif(&assembly("1 1 Q")), "assembly 1 names no chain of these atoms"),
        (
            mmcif(&assembly("1 (1-9000)(1-9000)(1-9000) A")),
            "operator expression `(1-9000)(1-9000)(1-9000)` makes more than 20000 operators",
        ),
        (
            mmcif("_pdbx_struct_assembly_gen.assembly_id 1"),
            "_pdbx_struct_assembly_gen lacks assembly_id, oper_expression or asym_id_list",
        ),
        (atom.replace("  20.000", "  2O.000").into_bytes(), "line 1: `2O.000` is no coordinate"),
        (atom.replace("           C", "          Qq").into_bytes(), "line 1: `Qq` is no element (residue ALA)"),
        (atom.as_bytes()[..40].to_vec(), "line 1: `` is no coordinate"),
        (
            remark("REMARK 350   BIOMT1   1  1.0 0.0 0.0").into_bytes(),
            "line 1: REMARK 350 holds a BIOMT row without its number and four values",
        ),
        (
            remark("REMARK 350   BIOMT2   1  1.0 0.0 0.0 0.0").into_bytes(),
            "line 1: REMARK 350 holds BIOMT rows out of order",
        ),
        (
            remark("REMARK 350 APPLY THE FOLLOWING TO CHAINS: A").into_bytes(),
            "line 1: REMARK 350 names chains before any BIOMOLECULE",
        ),
    ];
    for (text, problem) in cases {
        let message = told(&open("file", &text).unwrap_err());
        assert!(message.contains(problem), "{message}\nexpected: {problem}");
    }
    let directory = tempfile::tempdir().unwrap();
    let message = told(&Structure::open(directory.path(), AssemblyChoice::First).unwrap_err());
    assert!(message.starts_with("cannot read "), "{message}");
    let cut = gzip(&fs::read(fixture("dimer.cif")).unwrap());
    let message = told(&open("cut.cif.gz", &cut[..cut.len() / 2]).unwrap_err());
    assert!(message.starts_with("cannot read "), "{message}");
}

#[test]
fn templates_open_every_kind_of_file() {
    let directory = tempfile::tempdir().unwrap();
    let dimer = Template::open(fixture("dimer.cif")).unwrap();
    let save = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    assert_eq!(dimer.source(), "20 atoms, 0 kDa; assembly 1, 2 operators");
    let packed = save("Other.CIF.gz", &gzip(&fs::read(fixture("dimer.cif")).unwrap()));
    let other = Template::open(&packed).unwrap();
    assert_eq!((other.name(), other.volume()), ("Other", dimer.volume()));

    let beads = save("beads.tsv", b"0 0 0 5\n30 0 0 5\n");
    let template = Template::open(&beads).unwrap();
    assert_eq!((template.name(), template.source()), ("beads", "2 beads"));
    assert_relative_eq!(template.radius(), 15.0, max_relative = 1e-12);

    let wide = save("wide.tsv", b"0 0 0 5\n500 0 0 5\n");
    let message = told(&Template::open(&wide).unwrap_err());
    let expected = "wide.tsv: does not fit a box of 40 voxels; it needs 54 or more voxels of 10 Å \
                    for this structure, 1024 at most";
    assert!(message.ends_with(expected), "{message}");

    let unknown = save("notes.txt", b"hello");
    let message = told(&Template::open(&unknown).unwrap_err());
    assert!(message.contains("notes.txt: expected .pdb, .pdb1 and the like, .ent, .cif"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn spoiled_files_never_panic(cif: bool, cut in 0.0f64..1.0, at in 0.0f64..1.0, byte: u8) {
        let name = if cif { "dimer.cif" } else { "trimer.pdb" };
        let mut text = fs::read(fixture(name)).unwrap();
        let position = (at * text.len() as f64) as usize;
        text[position] = byte;
        text.truncate(1 + (cut * text.len() as f64) as usize);
        if let Ok(structure) = open(name, &text) {
            prop_assert!(!structure.scatterers().is_empty());
        }
    }
}

#[test]
fn assemblies_are_read_without_atoms() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        Assembly::open(&path)
    };
    let no_atoms = |text: &str| text.lines().filter(|line| !line.starts_with("ATOM")).collect::<Vec<_>>().join("\n");
    for name in ["dimer.cif", "trimer.pdb"] {
        let whole = Assembly::open(fixture(name)).unwrap().unwrap();
        assert_eq!(whole.id(), "1");
        let text = fs::read_to_string(fixture(name)).unwrap();
        let text = if name.ends_with("pdb") { no_atoms(&text) } else { text };
        assert_eq!(read(&text).unwrap().unwrap(), whole);
    }
    assert_eq!(read("data_x\n_cell.length_a 1\n").unwrap(), None);
    assert_eq!(read("HEADER nothing\n").unwrap(), None);
    for neither in ["", "total garbage"] {
        let message = told(&read(neither).unwrap_err());
        assert!(message.ends_with("x: neither mmCIF nor PDB: no data_ block and no record of a PDB file"), "{message}");
    }
    let message = told(&read(&String::from_utf8(mmcif(&assembly("1 7 A"))).unwrap()).unwrap_err());
    assert!(message.ends_with("x: the assembly asks for operator 7, which is not listed"), "{message}");
    let message = told(&Assembly::open(directory.path().join("none")).unwrap_err());
    assert!(message.starts_with("cannot read "), "{message}");
}
