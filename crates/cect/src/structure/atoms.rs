//! The atoms of PDB and mmCIF files.
//!
//! Read by ourselves because general readers lose what a density needs: assemblies speak of
//! `label_asym_id`, which they replace by the author's chain name, and they merge residues that
//! share a number, as after an insertion whose code is lost, and drop atoms in doing so.

use std::collections::HashMap;

use super::{
    cif::{Categories, Category},
    residues,
};

/// An atom of the user's, for [`Structure::from_atoms`](crate::Structure::from_atoms).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Atom<'a> {
    /// Chain, by the name that assemblies use: `label_asym_id` of mmCIF, not the author's.
    pub chain: &'a str,
    /// Number of its residue in the chain.
    pub residue_number: i64,
    /// What tells residues of one number apart, empty if nothing need.
    pub insertion_code: &'a str,
    /// Name of its residue, such as `ALA`, `DA` or `HOH`.
    pub residue: &'a str,
    /// Its own name, such as `CA`, empty if it has none. In a standard residue a name that comes again is an alternative, or
    /// begins another residue if it is that of the first atom and lies elsewhere.
    pub name: &'a str,
    /// Which of several alternatives of its residue it belongs to, empty if to all of them.
    pub alternative: &'a str,
    /// Symbol of its element, in any case.
    pub element: &'a str,
    /// `[x, y, z]` in Angstrom, each less than a million either way.
    pub position: [f64; 3],
}

/// One atom that counts: no hydrogen, no water, the first alternative, a model that was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Counted<'a> {
    /// `label_asym_id`, or the chain of a PDB file: what assemblies name.
    pub(crate) chain: &'a str,
    /// Where in the chain the residue stands, in as many numberings as the file has.
    pub(crate) site: [&'a str; 3],
    /// Residue name.
    pub(crate) residue: &'a str,
    /// Atom name.
    pub(crate) name: &'a str,
    pub(crate) electrons: f64,
    /// Dalton.
    pub(crate) mass: f64,
    /// Angstrom.
    pub(crate) position: [f64; 3],
}

/// Whether a field stands for none: empty, or as mmCIF writes it.
pub(super) fn is_none(field: &str) -> bool {
    matches!(field, "" | "." | "?")
}

/// The category that [`from_mmcif`] reads.
pub(crate) const MMCIF_CATEGORY: &str = "_atom_site";

/// A file gives coordinates in Angstrom with up to six digits before the point.
pub(crate) const FARTHEST: f64 = 1e6;

/// Keeps of each residue the alternative that comes first, also where its atoms do not follow one another.
#[derive(Default)]
struct Alternatives<'a> {
    kept: Vec<Counted<'a>>,
    /// By chain and site.
    chosen: HashMap<(&'a str, [&'a str; 3]), &'a str>,
}

impl<'a> Alternatives<'a> {
    fn push(&mut self, atom: Counted<'a>, alternative: Option<&'a str>) {
        let keep = match alternative {
            Some(alternative) => *self.chosen.entry((atom.chain, atom.site)).or_insert(alternative) == alternative,
            None => true,
        };
        if keep {
            self.kept.push(atom);
        }
    }

    /// What follows are other residues, whatever their sites.
    fn next_model(&mut self) {
        self.chosen.clear();
    }
}

/// Those that count of atoms from elsewhere; `numbers` are those of their residues, as text.
pub(crate) fn from_user<'a>(atoms: &[Atom<'a>], numbers: &'a [String]) -> Result<Vec<Counted<'a>>, String> {
    let mut kept = Alternatives::default();
    for (index, (atom, number)) in atoms.iter().zip(numbers).enumerate() {
        let Atom { chain, insertion_code, residue, name, alternative, element, position, .. } = *atom;
        if !position.iter().all(|coordinate| coordinate.abs() < FARTHEST) {
            return Err(format!(
                "atom {index}: expected a `position` less than a million Angstrom either way, got {position:?}"
            ));
        }
        let counts = counts(element, residue).map_err(|what| format!("atom {index}: {what}"))?;
        if let Some((electrons, mass)) = counts {
            let atom = Counted { chain, site: [number, insertion_code, ""], residue, name, electrons, mass, position };
            kept.push(atom, (!is_none(alternative)).then_some(alternative));
        }
    }
    Ok(kept.kept)
}

/// The atoms of an `_atom_site` category.
pub(crate) fn from_mmcif<'a>(block: &Categories<'a>) -> Result<Vec<Counted<'a>>, String> {
    let table = block.get(MMCIF_CATEGORY).ok_or("no _atom_site category, so no atoms")?;
    let chain = first_of(table, ["label_asym_id", "auth_asym_id"])?;
    let residue = first_of(table, ["label_comp_id", "auth_comp_id"])?;
    let rows = table
        .rows(["type_symbol", chain, residue, "Cartn_x", "Cartn_y", "Cartn_z"])
        .ok_or("_atom_site lacks type_symbol, Cartn_x, Cartn_y or Cartn_z")?;
    let sites = table.column("label_seq_id").zip(table.column("auth_seq_id")).zip(table.column("pdbx_PDB_ins_code"));
    let others =
        table.column("label_alt_id").zip(table.column("pdbx_PDB_model_num")).zip(table.column("label_atom_id"));
    let mut atoms = Alternatives::default();
    let mut first_model = None;
    for (number, ((row, site), ((alternative, model), name))) in rows.zip(sites).zip(others).enumerate() {
        if *first_model.get_or_insert(model) != model {
            continue;
        }
        let [symbol, chain, residue, x, y, z] = row;
        let bad = |what: String| format!("atom {} of _atom_site: {what}", number + 1);
        let position = position([x, y, z]).map_err(bad)?;
        let Some((electrons, mass)) = counts(symbol, residue).map_err(bad)? else {
            continue;
        };
        let ((label, author), insertion) = site;
        let atom = Counted { chain, site: [label, author, insertion], residue, name, electrons, mass, position };
        atoms.push(atom, (!is_none(alternative)).then_some(alternative));
    }
    Ok(atoms.kept)
}

fn first_of(table: &Category<'_>, names: [&'static str; 2]) -> Result<&'static str, String> {
    let [preferred, other] = names;
    names.into_iter().find(|name| table.has(name)).ok_or_else(|| format!("_atom_site lacks {preferred} and {other}"))
}

/// The atoms of a PDB file's first model, or of all, and how many models that are.
pub(crate) fn from_pdb(text: &str, all_models: bool) -> Result<(Vec<Counted<'_>>, usize), String> {
    let mut atoms = Alternatives::default();
    let mut found = false;
    let mut models = 0;
    let mut in_model = false;
    let mut ended = false;
    for (number, line) in text.lines().enumerate() {
        // Some programs begin a model without ending the one before.
        if line.starts_with("ENDMDL") || (in_model && line.starts_with("MODEL")) {
            models += 1;
            in_model = false;
            if !all_models {
                break;
            }
            atoms.next_model();
        }
        ended |= line.trim_end() == "END";
        if !is_atom(line) {
            continue;
        }
        let bad = |what: String| format!("line {}: {what}", number + 1);
        // Frames of a trajectory are one particle many times, files put together are parts of one: nothing tells which.
        if ended {
            return Err(bad("an atom after END; expected one particle, or models between MODEL and ENDMDL".to_owned()));
        }
        found = true;
        in_model = true;
        let field = |columns: std::ops::Range<usize>| line.get(columns).unwrap_or("").trim();
        let position = position([field(30..38), field(38..46), field(46..54)]).map_err(bad)?;
        let residue = field(17..20);
        // Before 1996 the columns held the entry and the number of the line.
        let symbol = match field(76..78) {
            symbol if symbol.contains(|c: char| c.is_ascii_alphabetic()) => symbol,
            _ => element_of_name(line),
        };
        let Some((electrons, mass)) = counts(symbol, residue).map_err(bad)? else {
            continue;
        };
        let atom = Counted {
            chain: field(21..22),
            site: [field(22..26), field(26..27), ""],
            residue,
            name: field(12..16),
            electrons,
            mass,
            position,
        };
        atoms.push(atom, Some(field(16..17)).filter(|alternative| !alternative.is_empty()));
    }
    if !found {
        return Err("neither mmCIF nor PDB: no data_ block and no ATOM record".to_owned());
    }
    Ok((atoms.kept, models + usize::from(in_model)))
}

/// Whether a record is an atom. Serials above 99,999 may reach back into its name, as in `ATOM 100000`.
fn is_atom(line: &str) -> bool {
    let is_serial = |byte: &u8| matches!(byte, b' ' | b'0'..=b'9');
    match line.as_bytes() {
        [b'A', b'T', b'O', b'M', fifth, sixth, ..] => is_serial(fifth) && is_serial(sixth),
        record => record.starts_with(b"HETATM"),
    }
}

/// The element of a record whose columns 77-78 are blank, as in files from before 1996. Symbols are
/// right-justified in columns 13-14: ` CA ` is a carbon, `CA  ` calcium, but only where it is no
/// ATOM record, because programs that leave the element out shift names as well. Of those, ions such as `ZN` begin
/// with a letter that is no element. A name of four letters has no column left for that: `HO2'` is a hydrogen.
fn element_of_name(line: &str) -> &str {
    let name = line.get(12..16).unwrap_or("");
    let first = name.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(name.len());
    let one = name.get(first..first + 1).unwrap_or("");
    let two = name.get(first..first + 2).unwrap_or("");
    let long_hydrogen = one == "H" && name.trim().len() == 4;
    let of_two = line.starts_with("HETATM") && first == 0 && !long_hydrogen;
    let one_is_element = one != residues::UNKNOWN && residues::element(one).is_some();
    if (of_two || !one_is_element) && residues::element(two).is_some() { two } else { one }
}

/// Electrons and mass of an atom, or `None` if it is left out.
fn counts(symbol: &str, residue: &str) -> Result<Option<(f64, f64)>, String> {
    if residues::is_water(residue) {
        return Ok(None);
    }
    let (number, mass) =
        residues::element(symbol).ok_or_else(|| format!("`{symbol}` is no element (residue {residue})"))?;
    Ok((number > 1).then_some((f64::from(number), mass)))
}

/// `0.123` of `0.123(4)`, a number with its standard deviation as mmCIF may have it.
fn without_deviation(field: &str) -> &str {
    match field.strip_suffix(')').and_then(|field| field.split_once('(')) {
        Some((number, digits)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => number,
        _ => field,
    }
}

fn position(fields: [&str; 3]) -> Result<[f64; 3], String> {
    let mut position = [0.0; 3];
    for (coordinate, field) in position.iter_mut().zip(fields) {
        *coordinate = without_deviation(field)
            .parse()
            .ok()
            .filter(|number: &f64| number.abs() < FARTHEST)
            .ok_or_else(|| format!("`{field}` is no coordinate"))?;
    }
    Ok(position)
}
