//! Atomic models: PDB and mmCIF files as electrons in space.

mod assembly;
mod atoms;
mod cif;
mod copies;
mod density;
mod repeats;
mod residues;

pub use assembly::Assembly;
pub use atoms::Atom;
pub(crate) use density::{ATOM_REACH, density_of_each, side_needed};
pub use density::{ATOM_SIGMA, Extent, Scatterer, TEMPLATE_SIDE, VOXEL_SIZE, density, read_beads};

use std::{fmt, path::Path, sync::OnceLock};

use crate::{Error, Result, io::input};
use atoms::Counted;
use copies::{Chains, Copies};

/// Which copies of the chains in a file make the particle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AssemblyChoice {
    /// Biological assembly 1 where the file names one, else the file as it is.
    #[default]
    First,
    /// The asymmetric unit: the file as it is, whatever assemblies it names.
    AsymmetricUnit,
}

/// What was done about assemblies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppliedAssembly {
    /// An assembly of the file was built.
    Built {
        /// Its name in the file, almost always `1`.
        id: String,
        /// How many operators were applied.
        operators: usize,
    },
    /// The file names no assembly, so its atoms were taken as they are, those of its first model.
    NoneNamed,
    /// The file names no assembly but is one: the models of a `.pdb1` file, all of them.
    Models {
        /// How many models were put together.
        models: usize,
    },
    /// The atoms were taken as they are because [`AssemblyChoice::AsymmetricUnit`] asked for it.
    AsymmetricUnit,
    /// The atoms were taken as they are because they came without an assembly.
    NoneGiven,
}

impl fmt::Display for AppliedAssembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Built { id, operators: 1 } => write!(f, "assembly {id}, 1 operator"),
            Self::Built { id, operators } => write!(f, "assembly {id}, {operators} operators"),
            Self::Models { models } => write!(f, "no assembly named, all {models} models of the file"),
            Self::NoneNamed => write!(f, "no assembly named, file as it is"),
            Self::AsymmetricUnit => write!(f, "asymmetric unit, as asked"),
            Self::NoneGiven => write!(f, "no assembly given, atoms as they are"),
        }
    }
}

/// An atomic model as electrons in space, assembly included.
///
/// Waters, hydrogens, alternative locations after the first and models after the first are left
/// out. Only in the PDB's files of assemblies, `.pdb1` and the like, a model is a copy: all of them are one particle,
/// unless the file names an assembly all the same (REMARK 350) or the asymmetric unit was asked for.
///
/// Each standard residue of a protein or nucleic acid carries its full number of electrons,
/// hydrogens included, spread over the atoms present in proportion to their atomic numbers; so a
/// model of Cα atoms alone weighs what the whole chain weighs. Other residues (ligands, ions,
/// sugars, modified residues) carry the electrons of the atoms that are there.
#[derive(Debug, Clone)]
pub struct Structure {
    copies: Copies,
    /// The copies in one list, once somebody has asked for it.
    scatterers: OnceLock<Vec<Scatterer>>,
    assembly: AppliedAssembly,
}

impl PartialEq for Structure {
    fn eq(&self, other: &Self) -> bool {
        self.copies == other.copies && self.assembly == other.assembly
    }
}

impl Structure {
    /// Reads a PDB or mmCIF file, also compressed with gzip; which of them is told by the content. The name tells only
    /// whether the models of a PDB file are copies: `.pdb` and a number, also with `.gz`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is neither PDB nor mmCIF,
    /// holds no atoms, has some after a PDB file's `END` (frames of a trajectory, or files put together),
    /// or names an assembly that cannot be built.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::{AssemblyChoice, Structure};
    ///
    /// let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/structures/dimer.cif");
    /// let dimer = Structure::open(path, AssemblyChoice::First)?;
    /// let half = Structure::open(path, AssemblyChoice::AsymmetricUnit)?;
    /// assert_eq!(dimer.scatterers().len(), 2 * half.scatterers().len());
    /// assert_eq!(dimer.assembly().to_string(), "assembly 1, 2 operators");
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>, choice: AssemblyChoice) -> Result<Self> {
        let path = path.as_ref();
        let text = input::read_text(path)?;
        let copies = input::is_assembly_kind(&input::name_and_kind(path).1);
        Self::parse(&text, choice, copies).map_err(|problem| Error::Format { path: path.to_owned(), problem })
    }

    /// Takes atoms from elsewhere: another reader, such as `pdbtbx`, that selects and changes them, or a simulation of
    /// molecules.
    ///
    /// What counts is as for a file. Atoms of a residue follow one another: a residue is whole each time that it begins
    /// anew. Where an assembly is given, chains must have the names that it speaks of ([`Assembly::chains`]), and those of
    /// which it says nothing are left out.
    ///
    /// # Errors
    /// [`Error::Volume`] if an atom lies nowhere or is of no element, if there are none but water and hydrogen, or if the
    /// assembly names no chain that is there.
    ///
    /// # Examples
    /// A part of a structure; [`Template::new`](crate::Template::new) makes a class of it.
    /// ```
    /// use soft_lmccl_cect::{Atom, Structure};
    ///
    /// let alanine = |chain, z| Atom {
    ///     chain,
    ///     residue_number: 1,
    ///     insertion_code: "",
    ///     residue: "ALA",
    ///     name: "CA",
    ///     alternative: "",
    ///     element: "C",
    ///     position: [0.0, 0.0, z],
    /// };
    /// let whole = [alanine("A", 0.0), alanine("B", 30.0)];
    /// let part = Structure::from_atoms(whole.into_iter().filter(|atom| atom.chain == "B"), None)?;
    /// // The whole residue, of which there is one atom.
    /// assert_eq!(part.scatterers().len(), 1);
    /// assert_eq!(part.scatterers()[0].electrons, 38.0);
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn from_atoms<'a>(atoms: impl IntoIterator<Item = Atom<'a>>, assembly: Option<&Assembly>) -> Result<Self> {
        let atoms: Vec<Atom<'_>> = atoms.into_iter().collect();
        let numbers: Vec<String> = atoms.iter().map(|atom| atom.residue_number.to_string()).collect();
        atoms::from_user(&atoms, &numbers)
            .and_then(|counted| weigh(&counted))
            .and_then(|chains| Self::put_together(chains, assembly, AppliedAssembly::NoneGiven))
            .map_err(Error::Volume)
    }

    /// `copies`: the models of a PDB file are parts of one particle.
    fn parse(text: &str, choice: AssemblyChoice, copies: bool) -> Result<Self, String> {
        let mut models = 1;
        let (chains, assembly) = if cif::looks_like(text) {
            let [generators, operators] = assembly::MMCIF_CATEGORIES;
            let block = cif::read(text, &[atoms::MMCIF_CATEGORY, generators, operators])?;
            let chains = weigh(&atoms::from_mmcif(&block)?)?;
            let assembly = match choice {
                AssemblyChoice::First => assembly::from_mmcif(&block)?,
                AssemblyChoice::AsymmetricUnit => None,
            };
            (chains, assembly)
        } else {
            let assembly = match choice {
                AssemblyChoice::First => assembly::from_remark_350(text)?,
                AssemblyChoice::AsymmetricUnit => None,
            };
            let all_models = copies && choice == AssemblyChoice::First && assembly.is_none();
            let (atoms, read) = atoms::from_pdb(text, all_models)?;
            models = read;
            (weigh(&atoms)?, assembly)
        };
        let as_it_is = match choice {
            AssemblyChoice::First if models > 1 => AppliedAssembly::Models { models },
            AssemblyChoice::First => AppliedAssembly::NoneNamed,
            AssemblyChoice::AsymmetricUnit => AppliedAssembly::AsymmetricUnit,
        };
        Self::put_together(chains, assembly.as_ref(), as_it_is)
    }

    fn put_together(chains: Chains, assembly: Option<&Assembly>, as_it_is: AppliedAssembly) -> Result<Self, String> {
        let (copies, assembly) = match assembly {
            Some(assembly) => {
                let built = AppliedAssembly::Built { id: assembly.id.clone(), operators: assembly.operators };
                (Copies::of(chains, assembly)?, built)
            }
            None => (Copies::as_they_are(chains), as_it_is),
        };
        Ok(Self { copies, scatterers: OnceLock::new(), assembly })
    }

    /// One entry an atom, assembly included, in Angstrom as given.
    pub fn scatterers(&self) -> &[Scatterer] {
        self.scatterers.get_or_init(|| self.copies.scatterers().collect())
    }

    /// How many entries [`scatterers`](Self::scatterers) has.
    pub fn atoms(&self) -> usize {
        self.copies.atoms()
    }

    /// The scatterers one after the other: millions of copies of atoms need no list.
    pub(crate) fn copies(&self) -> impl Iterator<Item = Scatterer> + Clone + '_ {
        self.copies.scatterers()
    }

    /// Mass in kilodalton of the residues that are modeled.
    pub fn kilodaltons(&self) -> f64 {
        self.copies.mass() / 1000.0
    }

    /// Which assembly was built.
    pub fn assembly(&self) -> &AppliedAssembly {
        &self.assembly
    }
}

/// Groups atoms into chains and gives each residue its electrons.
fn weigh(atoms: &[Counted<'_>]) -> Result<Chains, String> {
    let mut chains = Chains::new();
    for residue in repeats::residues(atoms) {
        let Counted { chain, residue: name, .. } = residue[0];
        let present: f64 = residue.iter().map(|atom| atom.electrons).sum();
        let (electrons, mass) = residues::standard(name).unwrap_or_else(|| {
            let mass = residue.iter().map(|atom| atom.mass).sum();
            (present, mass)
        });
        let weighted = chains.entry(chain.to_owned()).or_default();
        weighted.mass += mass;
        weighted.scatterers.extend(
            residue
                .iter()
                .map(|atom| Scatterer { position: atom.position, electrons: atom.electrons * electrons / present }),
        );
    }
    if chains.is_empty() {
        return Err("no atoms other than water and hydrogen".to_owned());
    }
    Ok(chains)
}
