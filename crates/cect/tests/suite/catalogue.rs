//! The embedded classes.

use std::collections::HashSet;

use approx::assert_relative_eq;
use soft_lmccl_cect::{
    AssemblyChoice, Scatterer, SimulationConfig, Template,
    catalogue::{self, Role},
    cramped,
};

#[test]
fn densities_are_what_their_table_says() {
    let mut ids = HashSet::new();
    for entry in catalogue::all() {
        let id = entry.id();
        assert!(ids.insert(id), "{id} twice");
        let (template, measured) = (entry.template(), entry.measured());
        let side = if id == "4v6x" { 42 } else { 40 };
        assert_eq!(template.volume().side(), side);
        assert_eq!(template.kilodaltons(), Some(measured.kilodaltons));
        let electrons: f64 = template.volume().voxels().iter().map(|&v| f64::from(v)).sum();
        assert_relative_eq!(electrons, measured.electrons, max_relative = 1e-5);
        // Proteins have 0.53 electrons a dalton, nucleic acids 0.52.
        let ratio = measured.electrons / measured.kilodaltons / 1000.0;
        assert!((0.50..0.55).contains(&ratio), "{id}: {ratio}");
        assert!(template.volume().statistics().min >= 0.0, "{id}");
        // What lies outside the stated radius is no more than tails of atoms.
        let outside: f64 = template
            .volume()
            .voxels()
            .iter()
            .enumerate()
            .filter(|(index, _)| {
                let place = [index / (side * side), index / side % side, index % side];
                let squares = place.map(|c| (10.0 * (c as f64 - (side / 2) as f64)).powi(2));
                squares.iter().sum::<f64>().sqrt() > measured.radius + 17.4
            })
            .map(|(_, &v)| f64::from(v))
            .sum();
        assert!(outside < 1e-4 * electrons, "{id}: {outside}");
    }
    assert_eq!(ids.len(), 40);
    assert_eq!(catalogue::entries().len(), 23);
    assert!(catalogue::find("1xyz").is_none());
    for (id, assembly) in [("4v5d", AssemblyChoice::AsymmetricUnit), ("1oel", AssemblyChoice::First)] {
        assert_eq!(catalogue::find(id).unwrap().assembly(), assembly, "{id}");
    }
    let names: HashSet<_> = catalogue::all().iter().map(catalogue::Entry::name).collect();
    assert!(names.len() > 30 && names.iter().all(|name| name.len() > 2), "{names:?}");
}

#[test]
fn the_classes_are_different() {
    let templates: Vec<_> = catalogue::all().iter().map(catalogue::Entry::template).collect();
    for (i, a) in templates.iter().enumerate() {
        for b in &templates[..i] {
            assert_ne!(a.volume(), b.volume(), "{} {}", a.name(), b.name());
        }
    }
}

#[test]
fn split_is_that_of_the_main_experiment() {
    let split = catalogue::split();
    let known: Vec<bool> = catalogue::entries().iter().map(|entry| entry.role() == catalogue::Role::Known).collect();
    let classes = (0..known.len() as u32).map(soft_lmccl_cect::ClassId);
    assert!(classes.map(|class| split.known().contains(&class)).eq(known));
    let names = |ids: &[soft_lmccl_cect::ClassId]| -> Vec<&str> {
        ids.iter().map(|class| catalogue::entries()[class.0 as usize].id()).collect()
    };
    assert_eq!(split.num_known(), 17);
    assert_eq!(names(split.unknown()), ["1jz8", "1qvr", "1wcm", "2cg9", "3j9i", "4v4r-30S"]);
}

#[test]
fn the_extended_catalogue_keeps_its_roles_apart() {
    let extended = catalogue::extended();
    let ids = |classes: &[soft_lmccl_cect::ClassId]| -> Vec<&str> {
        classes.iter().map(|class| extended[class.0 as usize].id()).collect()
    };
    let (known, validation) = (catalogue::extended_split(), catalogue::validation_split());
    assert_eq!((known.num_known(), known.unknown()), (26, catalogue::split().unknown()));
    assert_eq!(known.known()[..17], *catalogue::split().known());
    assert_eq!(validation.known(), catalogue::split().known());
    assert_eq!(ids(validation.unknown()), ["1rb8", "6wlb", "1d8w", "1kqf", "4jsv", "3nig"]);
    for class in validation.unknown() {
        assert_eq!(extended[class.0 as usize].role(), Role::Validation);
        assert!(!known.known().contains(class) && !known.unknown().contains(class));
    }
    // None that repeats another: chaperonins, ferritins, antibodies, ribosomes, proteasomes, β-galactosidases.
    for twin in ["1mnf", "1iok", "6z6u", "4oyn", "1igy", "4v6x", "1f4a", "6utj", "3j9i-3cf3"] {
        assert!(extended.iter().all(|entry| entry.id() != twin), "{twin}");
    }
    let fits = SimulationConfig { side: 40, ..Default::default() };
    let templates = catalogue::extended_templates();
    assert!(templates.iter().map(Template::name).eq(extended.iter().map(|entry| entry.id())));
    assert!(cramped(&templates, &fits).is_empty());
}

#[test]
fn large_particles_are_named() {
    let templates = catalogue::templates();
    let with = |side| SimulationConfig { side, ..Default::default() };
    assert_eq!(cramped(&templates, &with(32)), ["3jb9", "4v5d", "1auy", "1f2n"]);
    assert!(cramped(&templates, &with(40)).is_empty());
    // At each side, those are named whose radius says so.
    for (template, entry) in templates.iter().zip(catalogue::entries()) {
        let named = cramped(&templates, &with(24)).contains(&template.name());
        assert_eq!(named, entry.measured().radius + 19.0 > 120.0, "{}", entry.id());
    }
    // 31 Å, an atom's 9 Å and no shift just fit into half of eight voxels.
    let pair = |reach: f64| {
        let beads = [-reach, reach].map(|x| Scatterer { position: [x, 0.0, 0.0], electrons: 1.0 });
        Template::new("pair", &beads).unwrap()
    };
    let tight = SimulationConfig { max_shift: 0.0, ..with(8) };
    assert!(cramped(&[pair(31.0)], &tight).is_empty());
    assert_eq!(cramped(&[pair(31.1)], &tight), ["pair"]);
    assert_eq!(cramped(&[pair(31.0)], &SimulationConfig { max_shift: 0.1, ..tight }), ["pair"]);
}
