//! Particles that nobody has seen, made from known ones: more classes to train on.

use std::f64::consts::{PI, TAU};

use rand::{Rng, RngExt, seq::IndexedRandom};
use serde::{Deserialize, Serialize};

use super::Template;
use crate::{
    Error, Result,
    stream::stream,
    structure::{Extent, Scatterer},
    volume::Pose,
};

/// How [`invent`] makes particles of others.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::InventConfig;
///
/// let message = InventConfig { stretch: 2.0, ..Default::default() }.validate().unwrap_err().to_string();
/// assert_eq!(message, "invalid `stretch`: expected 0 to 1, got 2");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InventConfig {
    /// How far a parent is stretched or squeezed along each of three axes: the logarithm of the factor is uniform up
    /// to here either way; 0 to 1. Default 0.3: from 0.74 to 1.35 times as long.
    pub stretch: f64,
    /// The share of particles that are several copies of a parent about an axis; 0 to 1. Default 0.5.
    pub assembled: f64,
    /// The largest radius of an assembly's parent, in Angstrom. Default 80.
    pub largest_part: f64,
    /// Particles of a larger radius, in Angstrom, are shrunk to it; 10 to 180. Default 150: every atom lies within a
    /// box of 32 voxels of 10 Å, if the particle is not shifted.
    ///
    /// About half of the particles made of the catalogue's known classes are larger than 141 Å. They have no room for
    /// a shift by a voxel, the simulation's default: [`cramped`](crate::cramped) names them.
    pub largest: f64,
}

impl Default for InventConfig {
    fn default() -> Self {
        Self { stretch: 0.3, assembled: 0.5, largest_part: 80.0, largest: 150.0 }
    }
}

impl InventConfig {
    /// Checks the values without making anything.
    ///
    /// # Errors
    /// [`Error::Config`] for the first field out of its range.
    pub fn validate(&self) -> Result<()> {
        let Self { stretch, assembled, largest_part, largest } = *self;
        let fields = [
            ("stretch", stretch, 0.0..=1.0, "0 to 1"),
            ("assembled", assembled, 0.0..=1.0, "0 to 1"),
            ("largest_part", largest_part, 0.0..=1e4, "0 to 10000 Å"),
            ("largest", largest, 10.0..=180.0, "10 to 180 Å"),
        ];
        match fields.into_iter().find(|(_, value, range, _)| !range.contains(value)) {
            Some((field, value, _, expected)) => Err(Error::config(field, expected, value)),
            None => Ok(()),
        }
    }
}

/// Makes `count` classes of particles that nobody has seen from the densities of known ones.
///
/// Structures are few, and invented ones cost nothing. On the unknown classes of the study more classes to train on
/// were worth more than more samples of each; on its validation classes they made no difference (`docs/study.md`).
///
/// A particle is a known density turned at random, stretched along three axes and, every other time, mirrored. Or it
/// is several copies of a small one so changed, with the symmetry of a molecular machine: `C_n` or `D_n`, n up to 7.
///
/// Give only classes that are trained on, so that nothing of a tested class is in them. Particle `index` depends on
/// the parents, `config`, `seed` and `index` alone: a larger `count` leaves the first particles as they are.
///
/// # Errors
/// As [`InventConfig::validate`]; [`Error::Config`] if there are no parents.
///
/// # Examples
/// ```
/// use soft_lmccl_cect::{catalogue, invent};
///
/// let known: Vec<_> = catalogue::templates().drain(..3).collect();
/// let more = invent(&known, 2, Default::default(), 1)?;
/// assert_eq!(more[1].name(), "invented-1");
/// assert_eq!(more[0], invent(&known, 1, Default::default(), 1)?[0]);
/// # Ok::<(), soft_lmccl_cect::Error>(())
/// ```
pub fn invent(parents: &[Template], count: usize, config: InventConfig, seed: u64) -> Result<Vec<Template>> {
    config.validate()?;
    if parents.is_empty() {
        return Err(Error::config("parents", "at least one density", "none"));
    }
    let parts: Vec<&Template> = parents.iter().filter(|parent| parent.radius() <= config.largest_part).collect();
    (0..count)
        .map(|index| {
            let mut rng = stream(seed, index as u64);
            let part = if rng.random_bool(config.assembled) { parts.choose(&mut rng) } else { None };
            let name = format!("invented-{index}");
            let parent = parents.choose(&mut rng).expect("there is one, as was seen before");
            match part {
                Some(part) => assembly(part, &config, name, &mut rng),
                None => variation(parent, &config, name, &mut rng),
            }
        })
        .collect()
}

/// Another shape of a particle.
fn variation(parent: &Template, config: &InventConfig, name: String, rng: &mut impl Rng) -> Result<Template> {
    let source = format!("{}, stretched", parent.name());
    finished(changed(parent, config, rng), config, name, source)
}

/// Copies of another shape of a particle.
fn assembly(part: &Template, config: &InventConfig, name: String, rng: &mut impl Rng) -> Result<Template> {
    /// Twofold and threefold axes are the most frequent in nature.
    const FOLDS: [usize; 9] = [1, 2, 2, 3, 3, 4, 5, 6, 7];
    let part_name = part.name();
    let part = changed(part, config, rng);
    let radius = Extent::of(&part)?.radius;
    let fold = FOLDS[rng.random_range(0..FOLDS.len())];
    // One copy alone would be no assembly.
    let symmetry = Symmetry { fold, dihedral: fold == 1 || rng.random_bool(0.5) };
    // Neighbors overlap by half at the closest and nearly part at the farthest: parts do not fill their spheres.
    let apart = rng.random_range(0.5..0.95);
    let outward = match fold {
        // A shift along the axis of the half turn moves both copies alike. It is still drawn, to keep inventions as
        // they are.
        1 => radius * rng.random_range(0.0..0.4),
        _ => radius * apart / (PI / fold as f64).sin(),
    };
    let upward = if symmetry.dihedral { radius * rng.random_range(0.45..0.95) } else { 0.0 };
    let copies: Vec<Scatterer> = part
        .iter()
        .flat_map(|bead| {
            let [x, y, z] = bead.position;
            let copies = symmetry.copies([x + outward, y, z + upward]);
            copies.map(|position| Scatterer { position, ..*bead })
        })
        .collect();
    finished(copies, config, name, format!("{symmetry} of {part_name}, stretched"))
}

/// Rotations about z, and with `dihedral` half turns about axes across it.
#[derive(Debug, Clone, Copy)]
struct Symmetry {
    fold: usize,
    dihedral: bool,
}

impl Symmetry {
    /// Where the copies of a point lie, itself first.
    fn copies(self, [x, y, z]: [f64; 3]) -> impl Iterator<Item = [f64; 3]> {
        (0..self.fold).flat_map(move |turn| {
            let (sin, cos) = (TAU * turn as f64 / self.fold as f64).sin_cos();
            let turned = [cos * x - sin * y, sin * x + cos * y, z];
            let across = self.dihedral.then_some([turned[0], -turned[1], -turned[2]]);
            std::iter::once(turned).chain(across)
        })
    }
}

impl std::fmt::Display for Symmetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fold, dihedral } = self;
        write!(f, "{}{fold}", if *dihedral { 'D' } else { 'C' })
    }
}

/// The density of a template as points, turned, stretched, perhaps mirrored, and turned again.
fn changed(template: &Template, config: &InventConfig, rng: &mut impl Rng) -> Vec<Scatterer> {
    let InventConfig { stretch, .. } = *config;
    let mut factors: [f64; 3] = std::array::from_fn(|_| rng.random_range(-stretch..=stretch).exp());
    if rng.random_bool(0.5) {
        factors[0] = -factors[0];
    }
    let [before, after] = std::array::from_fn(|_| Pose::random(0.0, rng).matrix());
    let apply = |matrix: [[f64; 3]; 3], p: [f64; 3]| -> [f64; 3] {
        matrix.map(|row| row.iter().zip(p).map(|(entry, coordinate)| entry * coordinate).sum())
    };
    let mut beads = beads(template);
    for bead in &mut beads {
        let turned = apply(before, bead.position);
        bead.position = apply(after, std::array::from_fn(|axis| factors[axis] * turned[axis]));
    }
    beads
}

/// Eight points for each voxel, so close that stretching leaves no gaps between them.
fn beads(template: &Template) -> Vec<Scatterer> {
    /// Part of the densest voxel: voxels with less are the outermost fringe.
    const LEAST: f32 = 0.03;
    let (side, voxels) = (template.volume().side(), template.volume().voxels());
    let densest = voxels.iter().copied().fold(0.0, f32::max);
    let dense = voxels.iter().enumerate().filter(|&(_, &voxel)| voxel > LEAST * densest);
    dense
        .flat_map(|(index, &voxel)| {
            let place = [index % side, index / side % side, index / (side * side)];
            (0..8).map(move |corner| Scatterer {
                position: std::array::from_fn(|axis| {
                    let quarter = if corner >> axis & 1 == 1 { 0.25 } else { -0.25 };
                    (place[axis] as f64 - (side / 2) as f64 + quarter) * template.voxel_size()
                }),
                electrons: f64::from(voxel) / 8.0,
            })
        })
        .collect()
}

/// Shrinks a particle that is too large.
fn finished(mut beads: Vec<Scatterer>, config: &InventConfig, name: String, source: String) -> Result<Template> {
    let Extent { center, radius, .. } = Extent::of(&beads)?;
    let factor = (config.largest / radius).min(1.0);
    for bead in &mut beads {
        bead.position = std::array::from_fn(|axis| (bead.position[axis] - center[axis]) * factor);
    }
    Ok(Template::new(name, &beads)?.with_source(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every voxel inside the fringe becomes eight points, a quarter of a voxel from its middle to every side.
    #[test]
    fn a_voxel_is_eight_points() {
        let bead = Template::new("bead", &[Scatterer { position: [0.0; 3], electrons: 100.0 }]).unwrap();
        let densest = bead.volume().voxels().iter().copied().fold(0.0, f32::max);
        let kept: Vec<f32> = bead.volume().voxels().iter().copied().filter(|&voxel| voxel > 0.03 * densest).collect();
        assert_eq!(kept.len(), 7, "that of the bead and those that share a face with it");
        let points = beads(&bead);
        let electrons: f64 = points.iter().map(|point| point.electrons).sum();
        assert!((electrons - kept.iter().map(|&voxel| f64::from(voxel)).sum::<f64>()).abs() < 1e-9);
        let mut places = std::collections::HashSet::new();
        for point in points {
            // In quarters of a voxel of 10 Å: four times the voxel, and one to a side.
            let quarters = point.position.map(|c| (c / 2.5).round() as i32);
            assert!(quarters.iter().zip(point.position).all(|(&q, c)| (f64::from(q) * 2.5 - c).abs() < 1e-9));
            assert!(quarters.iter().all(|q| q.rem_euclid(2) == 1), "{quarters:?}");
            let voxel = quarters.map(|q| (f64::from(q) / 4.0).round() as i32);
            assert!(voxel.iter().map(|c| c.abs()).sum::<i32>() <= 1, "{voxel:?}");
            places.insert(quarters);
        }
        assert_eq!(places.len(), 56);
    }

    /// Turning all copies by one of the group's operations gives the same copies.
    #[test]
    fn copies_have_the_symmetry() {
        for (fold, dihedral, count) in [(1, true, 2), (2, false, 2), (2, true, 4), (7, false, 7), (5, true, 10)] {
            let symmetry = Symmetry { fold, dihedral };
            let copies: Vec<_> = symmetry.copies([3.0, 1.0, 2.0]).collect();
            assert_eq!(copies.len(), count, "{symmetry}");
            let (sin, cos) = (TAU / fold as f64).sin_cos();
            let turned = copies.iter().map(|&[x, y, z]| [cos * x - sin * y, sin * x + cos * y, z]);
            let across = copies.iter().filter(|_| dihedral).map(|&[x, y, z]| [x, -y, -z]);
            for moved in turned.chain(across) {
                let same = |copy: &&[f64; 3]| (0..3).all(|axis| (copy[axis] - moved[axis]).abs() < 1e-12);
                assert_eq!(copies.iter().filter(same).count(), 1, "{symmetry}: {moved:?}");
            }
        }
    }
}
