//! Computes the densities that the crate embeds from the structures they are made of.
//!
//! ```text
//! cargo run --release --no-default-features --features cect --example catalogue -- DIR [OUT]
//! ```
//!
//! `DIR` holds a file for each class, `DIR/atoms/ID.cif.gz` or `DIR/ID.cif`, `.pdb`, `.ent`, each
//! also gzipped, as the Protein Data Bank gives them. `OUT` is where the densities and their table
//! go, by default the crate's own `src/cect/catalogue`; a class without a file keeps its density. It
//! prints for each class how far the new density is from the embedded one, relative to its maximum.
//!
//! One density is of no single entry: 3j9i-3cf3 stacks a p97 ring (3cf3) on each end of a 20S proteasome
//! (3j9i), axis on axis, as an AAA+ cap lies on it. It needs the files of both.
//!
//! Three classes are cut out of larger entries: 4v5d and 4v4r-30S are one of the particles in the
//! crystal, 3d2f is the asymmetric unit. The whole files of 4v5d and 4v4r give another density.

use std::{
    error::Error,
    ffi::OsString,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use soft_lmccl::cect::{
    AssemblyChoice, Extent, Map, Scatterer, Structure, TEMPLATE_SIDE, Template, VOXEL_SIZE, catalogue,
};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let out = match arguments.len() {
        1 => Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cect/catalogue"),
        2 => PathBuf::from(&arguments[1]),
        _ => {
            eprintln!("usage: catalogue DIR [OUT]");
            return ExitCode::from(2);
        }
    };
    match rebuild(Path::new(&arguments[0]), &out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("error: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

fn rebuild(directory: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let entries = catalogue::all();
    let files: Vec<Option<Vec<PathBuf>>> = entries.iter().map(|entry| files_of(directory, entry.id())).collect();
    if files.iter().all(Option::is_none) {
        return Err(format!("no structure of the catalogue in {}", directory.display()).into());
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
    fn open(path: &Path, choice: AssemblyChoice) -> Result<Self, Box<dyn Error>> {
        let structure = Structure::open(path, choice)?;
        Ok(Self {
            kilodaltons: structure.kilodaltons(),
            assembly: structure.assembly().to_string(),
            scatterers: structure.scatterers().to_vec(),
        })
    }

    /// A core between two caps, the symmetry axes on one line and the ends in touch. The second cap is
    /// the first one turned end over end.
    fn stacked(parts: &[PathBuf], choice: AssemblyChoice) -> Result<Self, Box<dyn Error>> {
        let [core, cap] = parts else { return Err("a stack has a core and a cap".into()) };
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

/// Centers a ring and turns its symmetry axis, that of the moment of inertia which differs most from the
/// other two, onto z.
fn upright(scatterers: &[Scatterer]) -> Result<Vec<Scatterer>, Box<dyn Error>> {
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
