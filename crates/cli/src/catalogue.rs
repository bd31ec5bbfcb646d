//! Computes the densities that the crate embeds from the structures they are made of.
//!
//! One density is of no single entry: 3j9i-3cf3 stacks a p97 ring (3cf3) on each end of a 20S proteasome
//! (3j9i), axis on axis, as an AAA+ cap lies on it. It needs the files of both.
//!
//! Atoms are read by `pdbtbx`, assemblies by the crate; the crate's own reader of atoms, which is for the files of users,
//! must find the same ones in the same places, or there is no density.
//!
//! Three classes are cut out of larger entries: 4v5d and 4v4r-30S are one of the particles in the
//! crystal, 3d2f is the asymmetric unit. The whole files of 4v5d and 4v4r give another density.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, BufReader, Cursor, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, bail};
use clap::Parser;
use flate2::read::MultiGzDecoder;
use soft_lmccl::cect::{
    Assembly, AssemblyChoice, Atom, Extent, Map, Scatterer, Structure, TEMPLATE_SIDE, Template, VOXEL_SIZE, catalogue,
};

/// Rebuilds the densities that the library embeds, from structures of the Protein Data Bank.
///
/// Prints for each class how far the new density is from the embedded one, relative to its maximum. A class without a
/// file keeps its density.
#[derive(Debug, Parser)]
pub struct Args {
    /// Where the structures are: DIR/atoms/ID.cif.gz or DIR/ID.cif, .pdb or .ent, each also gzipped, one for each class.
    #[arg(value_name = "DIR")]
    structures: PathBuf,

    /// Where the densities and their table go.
    #[arg(default_value = "crates/cect/src/template/catalogue")]
    out: PathBuf,
}

/// # Errors
/// No structure at all; a structure that cannot be read, or that two readers read differently.
pub fn run(args: &Args) -> Result<()> {
    rebuild(&args.structures, &args.out)
}

fn rebuild(directory: &Path, out: &Path) -> Result<()> {
    let entries = catalogue::all();
    let files: Vec<Option<Vec<PathBuf>>> = entries.iter().map(|entry| files_of(directory, entry.id())).collect();
    if files.iter().all(Option::is_none) {
        bail!("no structure of the catalogue in {}", directory.display());
    }
    fs::create_dir_all(out)?;
    let mut table = String::from("id\tatoms\tassembly\tkilodaltons\telectrons\tradius\n");
    let mut missing = Vec::new();
    // Nobody need be listening: what counts is written.
    let _ = writeln!(
        io::stdout(),
        "{:10} {:>7} {:>6} {:>9} {:>8} {:>4} {:>9}  assembly",
        "id",
        "atoms",
        "kDa",
        "electrons",
        "radius Å",
        "box",
        "change"
    );
    for (entry, paths) in entries.iter().zip(files) {
        let id = entry.id();
        let Some(paths) = paths else {
            missing.push(id);
            line(&mut table, id, entry.measured());
            continue;
        };
        let Model { scatterers, kilodaltons, assembly } = match paths.as_slice() {
            [path] => Model::open(path, entry.assembly())?,
            parts => Model::stacked(parts, entry.assembly())?,
        };
        let extent = Extent::of(&scatterers)?;
        let template = Template::with_side(id, &scatterers, extent.side_needed().max(TEMPLATE_SIDE))?;
        let measured = catalogue::Measured {
            atoms: scatterers.len(),
            assembly,
            kilodaltons,
            electrons: extent.electrons,
            radius: extent.radius,
        };
        let _ = writeln!(
            io::stdout(),
            "{id:10} {:>7} {:>6.0} {:>9.0} {:>8.1} {:>4} {:>9.1e}  {}",
            measured.atoms,
            measured.kilodaltons,
            measured.electrons,
            measured.radius,
            extent.side_needed(),
            change(&template, &entry.template()),
            measured.assembly,
        );
        line(&mut table, id, &measured);
        Map::from_volume(template.volume(), VOXEL_SIZE).save(out.join(format!("{id}.mrc.gz")))?;
    }
    fs::write(out.join("catalogue.tsv"), table)?;
    if !missing.is_empty() {
        let _ = writeln!(io::stdout(), "no file, embedded density kept: {}", missing.join(" "));
    }
    Ok(())
}

/// The atoms of one density.
struct Model {
    scatterers: Vec<Scatterer>,
    kilodaltons: f64,
    /// Which assembly was built, in words.
    assembly: String,
}

impl Model {
    fn open(path: &Path, choice: AssemblyChoice) -> Result<Self> {
        let (theirs, ours) = (by_pdbtbx(path, choice)?, Structure::open(path, choice)?);
        if theirs.scatterers() != ours.scatterers() {
            let mut places = theirs.scatterers().iter().zip(ours.scatterers());
            let what = match places.find(|(theirs, ours)| theirs != ours) {
                Some((theirs, ours)) => format!("pdbtbx finds {theirs:?} where this crate finds {ours:?}"),
                None => {
                    format!("pdbtbx finds {} atoms, this crate {}", theirs.scatterers().len(), ours.scatterers().len())
                }
            };
            bail!("{}: {what}", path.display());
        }
        Ok(Self {
            kilodaltons: theirs.kilodaltons(),
            assembly: ours.assembly().to_string(),
            scatterers: theirs.scatterers().to_vec(),
        })
    }

    /// A core between two caps, the symmetry axes on one line and the ends in touch. The second cap is
    /// the first one turned end over end.
    fn stacked(parts: &[PathBuf], choice: AssemblyChoice) -> Result<Self> {
        let [core, cap] = parts else { bail!("a stack has a core and a cap") };
        let (core, cap) = (Self::open(core, choice)?, Self::open(cap, choice)?);
        let (upright_core, upright_cap) = (upright(&core.scatterers)?, upright(&cap.scatterers)?);
        // Half the height of most atoms: loops at the very ends fit into one another.
        let offset = height(&upright_core) + height(&upright_cap);
        let mut scatterers = upright_core;
        for &Scatterer { position: [x, y, z], electrons } in &upright_cap {
            scatterers.push(Scatterer { position: [x, y, z + offset], electrons });
            scatterers.push(Scatterer { position: [x, -y, -z - offset], electrons });
        }
        Ok(Self {
            scatterers,
            kilodaltons: core.kilodaltons + 2.0 * cap.kilodaltons,
            assembly: format!("{} between two caps, each {}", core.assembly, cap.assembly),
        })
    }
}

/// The structure of the atoms that `pdbtbx` reads and the assembly that the crate reads.
fn by_pdbtbx(path: &Path, choice: AssemblyChoice) -> Result<Structure> {
    let assembly = match choice {
        AssemblyChoice::AsymmetricUnit => None,
        _ => Assembly::open(path)?,
    };
    Ok(Structure::from_atoms(atoms_of(path)?.atoms(), assembly.as_ref())?)
}

/// What `pdbtbx` reads of a file: its first model.
struct AtomFile(pdbtbx::PDB);

fn atoms_of(path: &Path) -> Result<AtomFile> {
    let bytes = fs::read(path)?;
    let mut text = String::new();
    match bytes.as_slice() {
        [0x1f, 0x8b, ..] => MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text)?,
        plain => Cursor::new(plain).read_to_string(&mut text)?,
    };
    let is_mmcif = path.to_string_lossy().contains(".cif");
    let (format, text) = match is_mmcif {
        true => (pdbtbx::Format::Mmcif, without_the_authors_names(&text)),
        false => (pdbtbx::Format::Pdb, text),
    };
    let (pdb, _) = pdbtbx::ReadOptions::new()
        .set_format(format)
        .set_level(pdbtbx::StrictnessLevel::Loose)
        .set_only_first_model(true)
        .set_only_atomic_coords(true)
        .read_raw(BufReader::new(Cursor::new(text)))
        .map_err(|problems| anyhow!("{}: {}", path.display(), problems[0]))?;
    Ok(AtomFile(pdb))
}

/// An mmCIF file with chains and residues as assemblies and densities need them.
///
/// Assemblies speak of `label_asym_id`, and authors give several residues one number, told apart by a code that may be
/// lost. `pdbtbx` goes by the author's names where they are there, and makes one residue of all of one number. So the
/// author's chains are put aside, and residues numbered as they come.
fn without_the_authors_names(text: &str) -> String {
    let text = text.replace("_atom_site.auth_asym_id", "_atom_site.aside_asym_id");
    let columns: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("_atom_site.")).collect();
    let column = |name: &str| columns.iter().position(|column| *column == name);
    let Some(number) = column("auth_seq_id") else { return text };
    let place = ["label_asym_id", "label_seq_id", "auth_seq_id", "pdbx_PDB_ins_code"].map(column);
    let (name, alternative) = (column("label_comp_id"), column("label_alt_id"));
    let (mut residues, mut last) = (0, None);
    let mut renumbered = String::with_capacity(text.len());
    for line in text.lines() {
        let row: Vec<&str> = line.split_whitespace().collect();
        if !matches!(row.first(), Some(&("ATOM" | "HETATM"))) || row.len() != columns.len() {
            renumbered.push_str(line);
        } else {
            let field = |column: Option<usize>| column.map_or(".", |column| row[column]);
            // Alternatives of one residue may have names of their own.
            let name = Some(field(name)).filter(|_| matches!(field(alternative), "." | "?"));
            let residue = (place.map(field), name);
            let is_same = |last: ([&str; 4], Option<&str>)| {
                last.0 == residue.0 && last.1.zip(name).is_none_or(|(last, name)| last == name)
            };
            if !last.is_some_and(is_same) {
                residues += 1;
            }
            last = Some(residue);
            for (column, field) in row.iter().enumerate() {
                match column == number {
                    true => write!(renumbered, "{residues} ").expect("a string takes any text"),
                    false => renumbered.extend([field, " "]),
                }
            }
        }
        renumbered.push('\n');
    }
    renumbered
}

impl AtomFile {
    /// Each once, in the order of the file: an atom that several conformers share is given for each of them.
    fn atoms(&self) -> impl Iterator<Item = Atom<'_>> {
        let mut by_serial = BTreeMap::new();
        let residues = self.0.chains().flat_map(|chain| chain.residues().map(move |residue| (chain, residue)));
        for (chain, residue, conformer) in residues.flat_map(|(c, r)| r.conformers().map(move |of_r| (c, r, of_r))) {
            for atom in conformer.atoms() {
                by_serial.entry(atom.serial_number()).or_insert(Atom {
                    chain: chain.id(),
                    residue_number: residue.serial_number() as i64,
                    insertion_code: residue.insertion_code().unwrap_or_default(),
                    residue: conformer.name(),
                    name: atom.name(),
                    alternative: conformer.alternative_location().unwrap_or_default(),
                    element: atom.element().map_or("X", |element| element.symbol()),
                    position: [atom.x(), atom.y(), atom.z()].map(as_written),
                });
            }
        }
        by_serial.into_values()
    }
}

/// A coordinate has five decimals at most; `pdbtbx` adds them up one by one, which leaves the last bits to chance.
fn as_written(coordinate: f64) -> f64 {
    const DECIMALS: f64 = 1e5;
    (coordinate * DECIMALS).round() / DECIMALS
}

/// Centers a ring and turns its symmetry axis, that of the moment of inertia which differs most from the
/// other two, onto z.
fn upright(scatterers: &[Scatterer]) -> Result<Vec<Scatterer>> {
    let Extent { center, electrons, .. } = Extent::of(scatterers)?;
    let centered: Vec<Scatterer> = scatterers
        .iter()
        .map(|s| Scatterer { position: std::array::from_fn(|k| s.position[k] - center[k]), ..*s })
        .collect();
    let mut spread = [[0.0; 3]; 3];
    for Scatterer { position, electrons: weight } in &centered {
        for (i, row) in spread.iter_mut().enumerate() {
            for (j, entry) in row.iter_mut().enumerate() {
                *entry += weight * position[i] * position[j] / electrons;
            }
        }
    }
    let axis = axis_of(&spread);
    let any = if axis[0].abs() < 0.9 { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 0.0] };
    let across = unit(cross(axis, any));
    let basis = [across, cross(axis, across), axis];
    let turned = |p: [f64; 3]| basis.map(|b| b.iter().zip(p).map(|(b, p)| b * p).sum());
    Ok(centered.iter().map(|s| Scatterer { position: turned(s.position), ..*s }).collect())
}

/// The eigenvector of a symmetric matrix whose eigenvalue lies farthest from the other two.
fn axis_of(matrix: &[[f64; 3]; 3]) -> [f64; 3] {
    let mean = (matrix[0][0] + matrix[1][1] + matrix[2][2]) / 3.0;
    // The deviator has eigenvalues −d, −d, 2d: its square tells 4d² from d², whatever the sign of d, so
    // that powers of it leave the axis alone.
    let deviator: [[f64; 3]; 3] =
        std::array::from_fn(|i| std::array::from_fn(|j| matrix[i][j] - if i == j { mean } else { 0.0 }));
    let mut axis = [0.8, 0.5, 0.3];
    for _ in 0..200 {
        axis = unit(deviator.map(|row| row.iter().zip(axis).map(|(m, a)| m * a).sum()));
    }
    axis
}

fn cross([a, b, c]: [f64; 3], [x, y, z]: [f64; 3]) -> [f64; 3] {
    [b * z - c * y, c * x - a * z, a * y - b * x]
}

fn unit(vector: [f64; 3]) -> [f64; 3] {
    let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
    vector.map(|v| v / norm)
}

/// How far up from the center 98 of 100 atoms reach.
fn height(scatterers: &[Scatterer]) -> f64 {
    let mut heights: Vec<f64> = scatterers.iter().map(|s| s.position[2].abs()).collect();
    heights.sort_by(f64::total_cmp);
    heights[heights.len() * 98 / 100]
}

/// The files that a density is computed from, if all are there: `CORE-CAP` names two.
fn files_of(directory: &Path, id: &str) -> Option<Vec<PathBuf>> {
    if let Some(path) = find(directory, id) {
        return Some(vec![path]);
    }
    let parts: Option<Vec<PathBuf>> = id.split('-').map(|part| find(directory, part)).collect();
    parts.filter(|parts| parts.len() == 2)
}

fn find(directory: &Path, id: &str) -> Option<PathBuf> {
    ["cif", "pdb", "ent"]
        .into_iter()
        .flat_map(|kind| [format!("{id}.{kind}.gz"), format!("{id}.{kind}")])
        .flat_map(|name| [directory.join("atoms").join(&name), directory.join(name)])
        .find(|path| path.is_file())
}

fn line(table: &mut String, id: &str, measured: &catalogue::Measured) {
    let catalogue::Measured { atoms, assembly, kilodaltons, electrons, radius } = measured;
    writeln!(table, "{id}\t{atoms}\t{assembly}\t{kilodaltons:.1}\t{electrons:.1}\t{radius:.2}")
        .expect("a string takes any text");
}

/// Largest difference between two densities, relative to the maximum of the second.
fn change(new: &Template, old: &Template) -> f32 {
    let differences = new.volume().voxels().iter().zip(old.volume().voxels());
    if new.volume().side() != old.volume().side() {
        return f32::INFINITY;
    }
    let largest = differences.fold(0.0, |largest: f32, (a, b)| largest.max((a - b).abs()));
    largest / old.volume().statistics().max
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../cect/tests/fixtures/structures").join(name)
    }

    #[test]
    fn two_readers_find_the_same_atoms() {
        let directory = tempfile::tempdir().unwrap();
        let trimer = directory.path().join("trimer.pdb");
        // As the Protein Data Bank serves it: each line to its end, with an element.
        let elements =
            |line: &str| match line.get(12..16).filter(|_| line.starts_with("ATOM") || line.starts_with("HETATM")) {
                Some(name) => format!("{line:76.76}{:>2}  \n", if name == "CA  " { "CA" } else { "C" }),
                None => format!("{line}\n"),
            };
        let text = fs::read_to_string(fixture("trimer.pdb")).unwrap();
        fs::write(&trimer, text.lines().map(elements).collect::<String>()).unwrap();
        for path in [fixture("dimer.cif"), trimer] {
            for choice in [AssemblyChoice::First, AssemblyChoice::AsymmetricUnit] {
                let model = Model::open(&path, choice).unwrap();
                let ours = Structure::open(&path, choice).unwrap();
                assert_eq!((model.scatterers.as_slice(), model.kilodaltons), (ours.scatterers(), ours.kilodaltons()));
            }
        }
    }

    #[test]
    fn residues_of_one_number_stay_apart() {
        let row = |serial: u32, name: &str, alternative: &str, residue: &str, label: &str| {
            format!("ATOM {serial} C {name} {alternative} {residue} Axp {label} {serial}.5 0 0 52 A 1\n")
        };
        let names = "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id Cartn_x \
                     Cartn_y Cartn_z auth_seq_id auth_asym_id pdbx_PDB_model_num";
        let head = names.split_whitespace().map(|name| format!("_atom_site.{name}\n")).collect::<String>();
        // Two residues whose insertion code was lost, then one of two kinds.
        let rows = [
            row(1, "CA", ".", "SER", "."),
            row(2, "CA", ".", "GLY", "."),
            row(3, "CA", "A", "SER", "7"),
            row(4, "CA", "B", "ALA", "7"),
        ];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.cif");
        fs::write(&path, format!("data_x\nloop_\n{head}{}", rows.concat())).unwrap();
        let model = Model::open(&path, AssemblyChoice::First).unwrap();
        let electrons: Vec<f64> = model.scatterers.iter().map(|scatterer| scatterer.electrons).collect();
        assert_eq!(electrons, [46.0, 30.0, 46.0]);
        assert_eq!(atoms_of(&path).unwrap().atoms().map(|atom| atom.chain).collect::<Vec<_>>(), ["Axp"; 4]);
    }
}
