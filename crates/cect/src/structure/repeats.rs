//! Residues, each atom once, of atoms that a file may give several times.
//!
//! Alternatives of a residue have letters, of which [`atoms`](super::atoms) keeps the first. Files lose the letters, give
//! one alternative a letter and the other none, or write an alternative twice. A residue would then weigh too much.
//!
//! In a standard residue, names are unique. An atom whose name was there before is therefore an alternative, and left out:
//! unless it has the name that the residue began with and lies elsewhere. Then another residue begins, whose number is the
//! same because insertion codes were lost or every residue has the number 1. In a ligand, names need not be unique. There
//! an atom is left out only if one of its name lies at the same place.

use std::collections::HashSet;

use super::{
    atoms::{Counted, is_none},
    residues,
};

/// Atoms of one name that lie nearer, in Angstrom, are one atom of one residue. Alternatives of a backbone lie a few
/// tenths apart; the same atoms of neighbors in a chain lie 2.5 Å apart at least.
const ONE_ATOM: f64 = 1.0;

/// Splits atoms into residues, as their sites and names say, and leaves out repeats.
pub(super) fn residues<'a>(atoms: &[Counted<'a>]) -> Vec<Vec<Counted<'a>>> {
    let of_one = |a: &Counted<'a>, b: &Counted<'a>| a.chain == b.chain && a.site == b.site && a.residue == b.residue;
    let mut found: Vec<Vec<Counted<'a>>> = Vec::new();
    for group in atoms.chunk_by(of_one) {
        match residues::standard(group[0].residue) {
            Some(_) => standard(group, &mut found),
            None => found.push(ligand(group)),
        }
    }
    found
}

/// Standard residues of one name and site.
fn standard<'a>(group: &[Counted<'a>], found: &mut Vec<Vec<Counted<'a>>>) {
    let mut names = HashSet::new();
    let mut residue: Vec<Counted<'a>> = Vec::new();
    for atom in group {
        if !(is_none(atom.name) || names.insert(atom.name)) {
            let begins = residue.iter().find(|atom| !is_none(atom.name));
            if !begins.is_some_and(|first| first.name == atom.name && distance(first, atom) >= ONE_ATOM) {
                continue;
            }
            found.push(std::mem::take(&mut residue));
            names = HashSet::from([atom.name]);
        }
        residue.push(*atom);
    }
    if !found.last().is_some_and(|before| is_alternative(&residue, before)) {
        found.push(residue);
    }
}

/// Whether a residue stands where another one of the same site does: the site of a mutant whose alternatives lost their
/// letters.
fn is_alternative(residue: &[Counted<'_>], before: &[Counted<'_>]) -> bool {
    let (first, other) = (&residue[0], &before[0]);
    let of_one_site = first.chain == other.chain && first.site == other.site && first.residue != other.residue;
    of_one_site && !is_none(first.name) && first.name == other.name && distance(first, other) < ONE_ATOM
}

fn ligand<'a>(group: &[Counted<'a>]) -> Vec<Counted<'a>> {
    let mut seen = HashSet::new();
    let place = |atom: &Counted<'a>| (atom.name, atom.position.map(|coordinate| (coordinate + 0.0).to_bits()));
    group.iter().filter(|atom| is_none(atom.name) || seen.insert(place(atom))).copied().collect()
}

fn distance(a: &Counted<'_>, b: &Counted<'_>) -> f64 {
    a.position.iter().zip(b.position).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}
