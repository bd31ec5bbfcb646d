//! A particle as copies of chains: an atom is moved to its place when it is asked for.
//!
//! A small file can ask for millions of atoms. Their number, mass, extent and density need no list of them.

use std::collections::BTreeMap;

use super::{
    assembly::{Assembly, Operator},
    density::Scatterer,
};

/// The atoms of one chain and their mass in dalton.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Weighted {
    pub(super) scatterers: Vec<Scatterer>,
    pub(super) mass: f64,
}

/// Chains by name; ordered, so that sums do not depend on hashing.
pub(super) type Chains = BTreeMap<String, Weighted>;

/// A limit on assembled atoms, above the largest capsids of the PDB (HIV-1: 2.4 million).
const MAX_ATOMS: usize = 20_000_000;

/// Atoms beyond which a particle must have room for them.
const MANY_ATOMS: usize = 100_000;

/// Atoms other than hydrogen in a cubic Angstrom: twice as many as in a protein or a nucleic acid, 0.05.
const MOST_CROWDED: f64 = 0.1;

/// Chains that a message names at most.
const SHOWN: usize = 8;

/// Chains and where they are, in the order of the assembly.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Copies {
    chains: Vec<Weighted>,
    /// Without one, the chains are where the file has them.
    operators: Vec<Operator>,
    /// Places of a chain and of its operator in the lists.
    placed: Vec<(u32, Option<u32>)>,
}

impl Copies {
    /// Each chain once, as the file has it.
    pub(super) fn as_they_are(chains: Chains) -> Self {
        let chains: Vec<Weighted> = chains.into_values().collect();
        let placed = (0..chains.len() as u32).map(|chain| (chain, None)).collect();
        Self { chains, operators: Vec::new(), placed }
    }

    /// The chains that the assembly names, each by its operators.
    pub(super) fn of(chains: Chains, assembly: &Assembly) -> Result<Self, String> {
        let id = &assembly.id;
        let number: BTreeMap<&str, u32> = chains.keys().map(String::as_str).zip(0..).collect();
        let (mut operators, mut placed) = (Vec::new(), Vec::new());
        for group in &assembly.groups {
            let members: Vec<u32> = group.chains.iter().filter_map(|name| number.get(name.as_str()).copied()).collect();
            for operator in &group.operators {
                placed.extend(members.iter().map(|&chain| (chain, Some(operators.len() as u32))));
                operators.push(*operator);
            }
        }
        if placed.is_empty() {
            let theirs: Vec<&str> = assembly.chains().take(SHOWN).collect();
            let ours: Vec<&str> = chains.keys().map(String::as_str).take(SHOWN).collect();
            let (theirs, ours) = (theirs.join(", "), ours.join(", "));
            return Err(format!("assembly {id} names no chain of these atoms: it names {theirs}, they are of {ours}"));
        }
        let copies = Self { chains: chains.into_values().collect(), operators, placed };
        let atoms = copies.atoms();
        if atoms > MAX_ATOMS {
            return Err(format!("assembly {id} has more than {MAX_ATOMS} atoms"));
        }
        let room = copies.room();
        if atoms > MANY_ATOMS && atoms as f64 > MOST_CROWDED * room {
            return Err(format!(
                "assembly {id} puts {atoms} atoms into {room:.0} Å³, so its copies lie in one another"
            ));
        }
        Ok(copies)
    }

    pub(super) fn atoms(&self) -> usize {
        self.placed.iter().map(|&(chain, _)| self.chains[chain as usize].scatterers.len()).sum()
    }

    /// Dalton.
    pub(super) fn mass(&self) -> f64 {
        self.placed.iter().map(|&(chain, _)| self.chains[chain as usize].mass).sum()
    }

    pub(super) fn scatterers(&self) -> impl Iterator<Item = Scatterer> + Clone + '_ {
        self.placed.iter().flat_map(|&(chain, operator)| {
            let operator = operator.map(|operator| self.operators[operator as usize]);
            self.chains[chain as usize].scatterers.iter().map(move |scatterer| match operator {
                Some(operator) => Scatterer { position: operator.apply(scatterer.position), ..*scatterer },
                None => *scatterer,
            })
        })
    }

    /// The volume of the smallest upright box that holds all atoms, in cubic Angstrom. An atom takes up 3 Å at least.
    fn room(&self) -> f64 {
        let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        for scatterer in self.scatterers() {
            for (axis, coordinate) in scatterer.position.into_iter().enumerate() {
                low[axis] = low[axis].min(coordinate);
                high[axis] = high[axis].max(coordinate);
            }
        }
        low.iter().zip(high).map(|(low, high)| high - low + 3.0).product()
    }
}
