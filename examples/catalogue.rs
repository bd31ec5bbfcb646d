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
//! Three classes are cut out of larger entries: 4v5d and 4v4r-30S are one of the particles in the
//! crystal, 3d2f is the asymmetric unit. The whole files of 4v5d and 4v4r give another density.

use std::{
    error::Error,
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use soft_lmccl::cect::{Extent, Map, Structure, Template, VOXEL_SIZE, catalogue};

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
    let entries = catalogue::entries();
    let files: Vec<Option<PathBuf>> = entries.iter().map(|entry| find(directory, entry.id())).collect();
    if files.iter().all(Option::is_none) {
        return Err(format!("no structure of the catalogue in {}", directory.display()).into());
    }
    fs::create_dir_all(out)?;
    let mut table = String::from("id\tatoms\tassembly\tkilodaltons\telectrons\tradius\n");
    let mut missing = Vec::new();
    println!(
        "{:9} {:>7} {:>6} {:>9} {:>8} {:>4} {:>9}  assembly",
        "id", "atoms", "kDa", "electrons", "radius Å", "box", "change"
    );
    for (entry, path) in entries.iter().zip(files) {
        let id = entry.id();
        let Some(path) = path else {
            missing.push(id);
            line(&mut table, id, entry.measured());
            continue;
        };
        let structure = Structure::open(&path, entry.assembly())?;
        let extent = Extent::of(structure.scatterers())?;
        let template = Template::new(id, structure.scatterers())?;
        let measured = catalogue::Measured {
            atoms: structure.scatterers().len(),
            assembly: structure.assembly().to_string(),
            kilodaltons: structure.kilodaltons(),
            electrons: extent.electrons,
            radius: extent.radius,
        };
        println!(
            "{id:9} {:>7} {:>6.0} {:>9.0} {:>8.1} {:>4} {:>9.1e}  {}",
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
        println!("no file, embedded density kept: {}", missing.join(" "));
    }
    Ok(())
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
    let largest = differences.fold(0.0, |largest: f32, (a, b)| largest.max((a - b).abs()));
    largest / old.volume().statistics().max
}
