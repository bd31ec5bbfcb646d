//! The classes that come with the crate: the 23 of the main experiment, real macromolecules from 147 to 3,871 kDa,
//! and others to train on, to validate with, and for another domain.
//!
//! [`density`](crate::density()) computed their densities from the coordinates of the Protein Data Bank, which are in
//! the public domain (CC0 1.0). The crate holds them as gzipped MRC files, which any viewer opens:
//! [`TEMPLATE_SIDE`](crate::TEMPLATE_SIDE)³ voxels of 10 Å, or 42³ for the 80S ribosome. `cargo xtask catalogue DIR`
//! computes them again.
//!
//! # Examples
//! ```
//! use soft_lmccl_cect::catalogue;
//!
//! let ribosome = catalogue::entries().iter().find(|entry| entry.id() == "4v5d").unwrap();
//! assert_eq!(ribosome.name(), "70S ribosome (T. thermophilus)");
//! let template = ribosome.template();
//! assert_eq!(template.volume().side(), 40);
//! let split = catalogue::split();
//! assert_eq!((split.known().len(), split.unknown().len()), (17, 6));
//! ```

use std::sync::LazyLock;

use super::Template;
use crate::{
    Result,
    io::Map,
    split::{ClassId, OpenSetSplit},
    structure::AssemblyChoice,
};

/// One class of the catalogue.
#[derive(Debug)]
pub struct Entry {
    id: &'static str,
    name: &'static str,
    choice: AssemblyChoice,
    role: Role,
    bytes: &'static [u8],
}

/// The role of a class. No class is a near-duplicate of a class in another role, nor contains one; for
/// [`Role::Neuron`] see [`neuron`](crate::neuron).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Trained on in the main experiment.
    Known,
    /// Never trained on: the main experiment and every recipe are tested with it.
    Unknown,
    /// May be trained on beside the known ones.
    ExtraKnown,
    /// Neither trained on nor tested with: hyper-parameters are chosen by it.
    Validation,
    /// A particle of the neuron-like domain.
    Neuron,
}

/// What was measured when the embedded density of an [`Entry`] was computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Atoms, assembly included, water and hydrogens left out.
    pub atoms: usize,
    /// Which assembly was built, in words.
    pub assembly: String,
    /// Mass of the modeled residues in kilodalton.
    pub kilodaltons: f64,
    /// All electrons.
    pub electrons: f64,
    /// Distance from the center of mass to the farthest atom in Angstrom.
    pub radius: f64,
}

macro_rules! entry {
    ($id:literal, $name:literal, $choice:ident, $role:ident) => {
        Entry {
            id: $id,
            name: $name,
            choice: AssemblyChoice::$choice,
            role: Role::$role,
            bytes: include_bytes!(concat!("catalogue/", $id, ".mrc.gz")),
        }
    };
}

/// Known, unknown, extra known, validation, neuron, in this order.
static ENTRIES: &[Entry] = &[
    entry!("1aon", "GroEL-GroES-ADP7 chaperonin complex", First, Known),
    entry!("1oel", "GroEL chaperonin 14-mer", First, Known),
    entry!("1bxn", "RuBisCO L8S8", First, Known),
    entry!("1ffk", "50S ribosomal subunit (H. marismortui)", AsymmetricUnit, Known),
    entry!("1hbn", "methyl-coenzyme M reductase", AsymmetricUnit, Known),
    entry!("1htq", "glutamine synthetase dodecamer (M. tuberculosis)", First, Known),
    entry!("1igt", "IgG2a intact antibody", First, Known),
    entry!("1n62", "CO dehydrogenase (O. carboxidovorans)", AsymmetricUnit, Known),
    entry!("1u6g", "CAND1-CUL1-ROC1", First, Known),
    entry!("1yyf", "HslU-HslV protease", First, Known),
    entry!("3cf3", "p97/VCP hexamer", First, Known),
    entry!("3d2f", "Sse1p-Hsp70, two dimers", AsymmetricUnit, Known),
    entry!("3jb9", "spliceosome (S. pombe)", AsymmetricUnit, Known),
    entry!("4v1w", "apoferritin 24-mer (horse)", First, Known),
    entry!("4v5d", "70S ribosome (T. thermophilus)", AsymmetricUnit, Known),
    entry!("1auy", "turnip yellow mosaic virus capsid", First, Known),
    entry!("1f2n", "rice yellow mottle virus capsid", First, Known),
    entry!("1jz8", "beta-galactosidase tetramer (E. coli)", AsymmetricUnit, Unknown),
    entry!("1qvr", "ClpB hexamer", First, Unknown),
    entry!("1wcm", "RNA polymerase II, 12 subunits", First, Unknown),
    entry!("2cg9", "Hsp90-Sba1 closed complex", First, Unknown),
    entry!("3j9i", "20S proteasome (T. acidophilum)", First, Unknown),
    entry!("4v4r-30S", "30S ribosomal subunit (T. thermophilus)", AsymmetricUnit, Unknown),
    entry!("4yvs", "enterovirus 71 virus-like particle", First, ExtraKnown),
    entry!("2eab", "1,2-alpha-L-fucosidase, two chains", AsymmetricUnit, ExtraKnown),
    entry!("1gqi", "alpha-glucuronidase dimer", AsymmetricUnit, ExtraKnown),
    entry!("3h84", "Get3", First, ExtraKnown),
    entry!("3wip", "acetylcholine-binding protein pentamer", First, ExtraKnown),
    entry!("1vln", "concanavalin A tetramer", First, ExtraKnown),
    entry!("3o21", "AMPA receptor GluA3, N-terminal domains", First, ExtraKnown),
    entry!("3gl1", "Ssb1 ATPase domain", AsymmetricUnit, ExtraKnown),
    entry!("3qm1", "cinnamoyl esterase LJ0536", First, ExtraKnown),
    entry!("1rb8", "phiX174 capsid", First, Validation),
    entry!("6wlb", "cellulose synthase trimer", First, Validation),
    entry!("1d8w", "L-rhamnose isomerase tetramer", AsymmetricUnit, Validation),
    entry!("1kqf", "formate dehydrogenase-N, one of three", AsymmetricUnit, Validation),
    entry!("4jsv", "mTOR-mLST8", First, Validation),
    entry!("3nig", "integrin alphaIIb-beta3 headpiece with Fab", First, Validation),
    entry!("4v6x", "80S ribosome (human)", AsymmetricUnit, Neuron),
    entry!("3j9i-3cf3", "20S proteasome with an AAA+ ring at both ends", First, Neuron),
];

/// The entries before the first of this role: [`ENTRIES`] are in the order of their roles.
fn before(role: Role) -> &'static [Entry] {
    &ENTRIES[..ENTRIES.iter().position(|entry| entry.role == role).unwrap_or(ENTRIES.len())]
}

/// Written by `cargo xtask catalogue` beside the densities.
static MEASURED: LazyLock<Vec<(&str, Measured)>> = LazyLock::new(|| {
    include_str!("catalogue/catalogue.tsv")
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let &[id, atoms, assembly, kilodaltons, electrons, radius] = fields.as_slice() else {
                panic!("a line of the embedded catalogue.tsv has {} fields", fields.len());
            };
            let number = |text: &str| -> f64 { text.parse().expect("the embedded catalogue.tsv holds numbers") };
            let measured = Measured {
                atoms: number(atoms) as usize,
                assembly: assembly.to_owned(),
                kilodaltons: number(kilodaltons),
                electrons: number(electrons),
                radius: number(radius),
            };
            (id, measured)
        })
        .collect()
});

/// The classes of the main experiment: the 17 known ones, then the 6 unknown ones.
pub fn entries() -> &'static [Entry] {
    before(Role::ExtraKnown)
}

/// The densities of the main experiment's classes, in the order of [`entries`].
pub fn templates() -> Vec<Template> {
    entries().iter().map(Entry::template).collect()
}

/// The split of the main experiment: [`ClassId`]s index [`entries`] and [`templates`].
pub fn split() -> OpenSetSplit {
    of_roles(&[Role::Known], &[Role::Unknown])
}

/// The extended catalogue: [`entries`] as they are, then [`Role::ExtraKnown`] and [`Role::Validation`].
///
/// The extra classes are other structures of the Protein Data Bank that were at hand and fit the box. None is a
/// near-duplicate or a part of another class, or made of one: no other chaperonin of GroEL's kind, ferritin,
/// antibody, 20S, 70S or 80S, and no other β-galactosidase.
///
/// Most are lighter than the main classes. 3gl1 is a domain of a chain like one in 3d2f; both are known.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::catalogue::{self, Role};
///
/// let extended = catalogue::extended();
/// assert_eq!(extended[22].id(), catalogue::entries()[22].id());
/// let of = |role| extended.iter().filter(|entry| entry.role() == role).count();
/// assert_eq!([Role::Known, Role::Unknown, Role::ExtraKnown, Role::Validation].map(of), [17, 6, 9, 6]);
/// ```
pub fn extended() -> &'static [Entry] {
    before(Role::Neuron)
}

/// The densities of the extended catalogue, in the order of [`extended`].
pub fn extended_templates() -> Vec<Template> {
    extended().iter().map(Entry::template).collect()
}

/// All 26 classes that may be known against the unknown classes of the main experiment. [`ClassId`]s index
/// [`extended`]; the first 23 index [`entries`] too.
pub fn extended_split() -> OpenSetSplit {
    of_roles(&[Role::Known, Role::ExtraKnown], &[Role::Unknown])
}

/// The known classes of the main experiment against the validation classes. Hyper-parameters are chosen on the
/// latter, before the unknown classes are looked at. [`ClassId`]s index [`extended`].
pub fn validation_split() -> OpenSetSplit {
    of_roles(&[Role::Known], &[Role::Validation])
}

/// The classes in the roles `known` against the roles `unknown`. [`ClassId`]s index [`extended`].
///
/// # Errors
/// [`Error::Split`](crate::Error::Split) for a role on both sides, or a side without classes.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::catalogue::{Role, split_by_role};
///
/// let split = split_by_role(&[Role::Known, Role::ExtraKnown], &[Role::Validation])?;
/// assert_eq!((split.num_known(), split.unknown().len()), (26, 6));
/// assert!(split_by_role(&[Role::Known], &[Role::Known]).is_err());
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
pub fn split_by_role(known: &[Role], unknown: &[Role]) -> Result<OpenSetSplit> {
    let ids = |roles: &[Role]| {
        let entries = (0u32..).zip(extended()).filter(|(_, entry)| roles.contains(&entry.role));
        entries.map(|(index, _)| ClassId(index)).collect()
    };
    OpenSetSplit::new(ids(known), ids(unknown))
}

fn of_roles(known: &[Role], unknown: &[Role]) -> OpenSetSplit {
    split_by_role(known, unknown).expect("each class of the catalogue has one role")
}

/// Every embedded density: the extended catalogue, then the additions of [`neuron`](crate::neuron).
pub fn all() -> &'static [Entry] {
    ENTRIES
}

/// The entry of that id.
pub fn find(id: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.id == id)
}

impl Entry {
    /// The name in the Protein Data Bank, with the part that was cut out of it, if any.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// The particle's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The copies of the chains that make the particle.
    pub fn assembly(&self) -> AssemblyChoice {
        self.choice
    }

    /// Its role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What was measured when the density was computed.
    pub fn measured(&self) -> &'static Measured {
        let (_, measured) = MEASURED
            .iter()
            .find(|(id, _)| *id == self.id)
            .expect("the embedded catalogue.tsv has a line for each class");
        measured
    }

    /// The density. It is unpacked on each call (a millisecond), so keep it.
    pub fn template(&self) -> Template {
        let measured = self.measured();
        let volume = Map::from_bytes(self.bytes)
            .ok()
            .and_then(|map| map.into_volume().ok())
            .expect("the embedded densities are cubic MRC files");
        let source = format!(
            "PDB {}: {} atoms, {:.0} kDa; {}",
            self.id, measured.atoms, measured.kilodaltons, measured.assembly
        );
        Template::from_parts(self.id, volume, measured.radius, measured.kilodaltons, source)
    }
}
