//! The 23 classes that come with the crate: real macromolecules from 147 to 3,871 kDa.
//!
//! Their densities were computed by [`density`](super::density()) from the coordinates of the Protein
//! Data Bank (which are in the public domain, CC0 1.0) and lie in the crate as MRC files of
//! [`TEMPLATE_SIDE`](super::TEMPLATE_SIDE)³ voxels of 10 Å, gzipped, so that any viewer opens them.
//! `cargo xtask catalogue DIR` computes them again.
//!
//! # Examples
//! ```
//! use soft_lmccl::cect::catalogue;
//!
//! let ribosome = catalogue::entries().iter().find(|entry| entry.id() == "4v5d").unwrap();
//! assert_eq!(ribosome.name(), "70S ribosome (T. thermophilus)");
//! let template = ribosome.template();
//! assert_eq!(template.volume().side(), 40);
//! let split = catalogue::split();
//! assert_eq!((split.known().len(), split.unknown().len()), (17, 6));
//! ```

use std::sync::LazyLock;

use super::{AssemblyChoice, ClassId, Map, OpenSetSplit, Template};

/// One class of the catalogue.
#[derive(Debug)]
pub struct Entry {
    id: &'static str,
    name: &'static str,
    choice: AssemblyChoice,
    known: bool,
    bytes: &'static [u8],
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
    ($id:literal, $name:literal, $choice:ident, $known:literal) => {
        Entry {
            id: $id,
            name: $name,
            choice: AssemblyChoice::$choice,
            known: $known,
            bytes: include_bytes!(concat!("catalogue/", $id, ".mrc.gz")),
        }
    };
}

static ENTRIES: [Entry; 23] = [
    entry!("1aon", "GroEL-GroES-ADP7 chaperonin complex", First, true),
    entry!("1oel", "GroEL chaperonin 14-mer", First, true),
    entry!("1bxn", "RuBisCO L8S8", First, true),
    entry!("1ffk", "50S ribosomal subunit (H. marismortui)", AsymmetricUnit, true),
    entry!("1hbn", "methyl-coenzyme M reductase", AsymmetricUnit, true),
    entry!("1htq", "glutamine synthetase dodecamer (M. tuberculosis)", First, true),
    entry!("1igt", "IgG2a intact antibody", First, true),
    entry!("1n62", "CO dehydrogenase (O. carboxidovorans)", AsymmetricUnit, true),
    entry!("1u6g", "CAND1-CUL1-ROC1", First, true),
    entry!("1yyf", "HslU-HslV protease", First, true),
    entry!("3cf3", "p97/VCP hexamer", First, true),
    entry!("3d2f", "Sse1p-Hsp70, two dimers", AsymmetricUnit, true),
    entry!("3jb9", "spliceosome (S. pombe)", AsymmetricUnit, true),
    entry!("4v1w", "apoferritin 24-mer (horse)", First, true),
    entry!("4v5d", "70S ribosome (T. thermophilus)", AsymmetricUnit, true),
    entry!("1auy", "turnip yellow mosaic virus capsid", First, true),
    entry!("1f2n", "rice yellow mottle virus capsid", First, true),
    entry!("1jz8", "beta-galactosidase tetramer (E. coli)", AsymmetricUnit, false),
    entry!("1qvr", "ClpB hexamer", First, false),
    entry!("1wcm", "RNA polymerase II, 12 subunits", First, false),
    entry!("2cg9", "Hsp90-Sba1 closed complex", First, false),
    entry!("3j9i", "20S proteasome (T. acidophilum)", First, false),
    entry!("4v4r-30S", "30S ribosomal subunit (T. thermophilus)", AsymmetricUnit, false),
];

/// Written by the example `catalogue` beside the densities.
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

/// All classes: the 17 known ones, then the 6 unknown ones.
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// The densities of all classes, in the order of [`entries`].
pub fn templates() -> Vec<Template> {
    ENTRIES.iter().map(Entry::template).collect()
}

/// The split of the main experiment: [`ClassId`]s index [`entries`] and [`templates`].
pub fn split() -> OpenSetSplit {
    let ids = |known: bool| {
        (0u32..).zip(&ENTRIES).filter(|(_, entry)| entry.known == known).map(|(index, _)| ClassId(index)).collect()
    };
    OpenSetSplit::new(ids(true), ids(false)).expect("each class of the catalogue has one role")
}

impl Entry {
    /// The name in the Protein Data Bank, with what was cut out of it where it is not the whole.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// What it is.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Which copies of the chains make the particle.
    pub fn assembly(&self) -> AssemblyChoice {
        self.choice
    }

    /// Whether the main experiment trains on it.
    pub fn is_known(&self) -> bool {
        self.known
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
        Template::from_parts(self.id, volume, measured.radius, source)
    }
}
