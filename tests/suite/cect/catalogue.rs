//! The embedded classes.

use std::collections::HashSet;

use approx::assert_relative_eq;
use soft_lmccl::cect::{SimulationConfig, catalogue, cramped};

#[test]
fn densities_are_what_their_table_says() {
    let mut ids = HashSet::new();
    for entry in catalogue::entries() {
        let id = entry.id();
        assert!(ids.insert(id), "{id} twice");
        let (template, measured) = (entry.template(), entry.measured());
        assert_eq!(template.volume().side(), 40);
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
                let place = [index / 1600, index / 40 % 40, index % 40];
                let squares = place.map(|c| (10.0 * (c as f64 - 20.0)).powi(2));
                squares.iter().sum::<f64>().sqrt() > measured.radius + 17.4
            })
            .map(|(_, &v)| f64::from(v))
            .sum();
        assert!(outside < 1e-4 * electrons, "{id}: {outside}");
    }
    assert_eq!(ids.len(), 23);
}

#[test]
fn the_classes_are_different() {
    let templates = catalogue::templates();
    for (i, a) in templates.iter().enumerate() {
        for b in &templates[..i] {
            assert_ne!(a.volume(), b.volume(), "{} {}", a.name(), b.name());
        }
    }
}

#[test]
fn split_is_that_of_the_main_experiment() {
    let split = catalogue::split();
    let names = |ids: &[soft_lmccl::cect::ClassId]| -> Vec<&str> {
        ids.iter().map(|class| catalogue::entries()[class.0 as usize].id()).collect()
    };
    assert_eq!(split.num_known(), 17);
    assert_eq!(names(split.unknown()), ["1jz8", "1qvr", "1wcm", "2cg9", "3j9i", "4v4r-30S"]);
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
}
