//! Which classes of the catalogue are known, unknown, or kept for choosing hyper-parameters.

use anyhow::Result;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use soft_lmccl::cect::{ClassId, OpenSetSplit, catalogue, neuron};

use super::plan::Roles;

/// Classes that resemble or contain one another: all known or all unknown, so that no near-duplicate
/// of an unknown class, nor a complex that holds one, is trained on.
const KIN: [&[&str]; 3] = [&["1aon", "1oel"], &["4v5d", "1ffk", "4v4r-30S"], &["1auy", "1f2n"]];

/// The classes of a role, as positions in the extended catalogue.
///
/// Split 0 is the one of the catalogue, which as in the main experiment trains on a whole ribosome and
/// verifies a small subunit; drawn ones have as many unknown classes and respect [`KIN`]. Classes for
/// choosing hyper-parameters are neither known nor unknown in split 0.
///
/// # Errors
/// [`Error::Split`] if no split can be drawn, which the catalogue makes impossible.
pub fn roles(roles: Roles) -> Result<OpenSetSplit> {
    let split = catalogue::split();
    match roles {
        Roles::Split(0) => Ok(split),
        Roles::Split(index) => drawn(index, split.unknown().len()),
        Roles::Validation => Ok(catalogue::validation_split()),
    }
}

/// The classes of R1. Its six can be divided in twenty ways, of which the first is the authors'; the
/// double proteasome holds the single one and is never known without it but there.
///
/// # Errors
/// As [`OpenSetSplit::new`], which three and three of six make impossible.
pub fn neuron(roles: Roles) -> Result<OpenSetSplit> {
    /// Unknown classes of the drawn splits: both proteasomes and one other, in turns.
    const UNKNOWN: [[u32; 3]; 4] = [[0, 4, 3], [0, 4, 5], [0, 4, 2], [0, 4, 1]];
    let split = neuron::split();
    let Roles::Split(index @ 1..) = roles else { return Ok(split) };
    let unknown = UNKNOWN[(index as usize - 1) % UNKNOWN.len()];
    let known = (0..6).filter(|class| !unknown.contains(class)).map(ClassId).collect();
    Ok(OpenSetSplit::new(known, unknown.map(ClassId).to_vec())?)
}

fn class(id: &str) -> Option<ClassId> {
    (0u32..).zip(catalogue::entries()).find(|(_, entry)| entry.id() == id).map(|(index, _)| ClassId(index))
}

/// Draws kin by kin until there are exactly so many unknown classes.
fn drawn(seed: u32, unknown_classes: usize) -> Result<OpenSetSplit> {
    let total = catalogue::entries().len() as u32;
    let mut kins: Vec<Vec<ClassId>> = KIN.iter().map(|ids| ids.iter().filter_map(|id| class(id)).collect()).collect();
    let alone = (0..total).map(ClassId).filter(|class| !kins.iter().flatten().any(|kin| kin == class));
    kins.extend(alone.map(|class| vec![class]).collect::<Vec<_>>());
    kins.shuffle(&mut ChaCha8Rng::seed_from_u64(u64::from(seed)));
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for kin in kins {
        if unknown.len() + kin.len() <= unknown_classes { unknown.extend(kin) } else { known.extend(kin) }
    }
    if unknown.len() != unknown_classes {
        let problem = format!("{} unknown classes instead of {unknown_classes}", unknown.len());
        return Err(soft_lmccl::cect::Error::Split(problem).into());
    }
    known.sort_unstable();
    unknown.sort_unstable();
    Ok(OpenSetSplit::new(known, unknown)?)
}
