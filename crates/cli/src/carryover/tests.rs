//! The table of a network, from simulated sets and from files.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::{fs, path::Path};

use soft_lmccl::{
    cect::{Batch, Dataset, Map, SimulatedDataset, SimulationConfig, Simulator, catalogue, render},
    model::pretrained,
    tch::Device,
};

use super::{Asked, profiles, table};

/// Ribosomes in ice and the ice beside them, as files of 13.68 Å.
fn files(folder: &Path) {
    let config = SimulationConfig { side: 24, voxel_size: 13.68, snr: 0.5, ..Default::default() };
    let template = catalogue::find("4v5d").unwrap().template().resampled(13.68).unwrap();
    let simulator = Simulator::new(config).unwrap();
    let mut rows = "path,label\n".to_owned();
    for index in 0..6 {
        let volume = simulator.simulate(&template, 3, index).unwrap();
        let ice = simulator.parts(&template, 4, index).unwrap().noise;
        for (name, volume) in [("particle", volume), ("ice", ice)] {
            Map::from_volume(&volume, 13.68).save(folder.join(format!("{name}{index}.mrc"))).unwrap();
            rows += &format!("{name}{index}.mrc,{name}\n");
        }
    }
    fs::write(folder.join("table.csv"), rows).unwrap();
}

#[test]
fn profiles_are_standardized_radius_by_radius() {
    let split = catalogue::split();
    let set = SimulatedDataset::new(catalogue::templates(), SimulationConfig::s2(), 2, 1).unwrap();
    let samples = render(&set, &set.indices(split.unknown()), |_| {}).unwrap();
    let (values, labels) = profiles(&Batch::of(&samples).unwrap()).unwrap();
    assert_eq!((values.dim(), labels.len()), ((12, 16), 12));
    for radius in values.columns() {
        assert!(radius.mean().unwrap().abs() < 1e-5 && (radius.std(0.0) - 1.0).abs() < 1e-5, "{radius}");
    }
}

#[test]
fn simulated_and_real_sets_are_rows_of_one_table() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let path = folder.path().join("table.csv");
    let net = pretrained(Device::Cpu).unwrap();
    let asked = |label| {
        let real = &[(path.as_path(), label)];
        table(&net, Asked { per_class: 5, real, device: Device::Cpu })
    };
    let text = asked("particle").unwrap();
    let rows: Vec<Vec<&str>> =
        text.lines().map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect();
    assert_eq!(rows.len(), 8, "{text}");
    assert_eq!(rows[0], ["test set", "what it is", "subtomograms", "network", "radial profile, no network"]);
    assert_eq!(rows[2][2], "30 of 6 unknown classes");
    assert_eq!(rows[7][1], "real; AUC of particle against background, samples drawn anew");
    assert_eq!(rows[7][2], "6 particles, 6 beside them");
    for row in &rows[2..] {
        for figure in &row[3..] {
            // `0.912 [0.881, 0.950]`
            let numbers: Vec<f64> = figure.split([' ', '[', ',', ']']).filter_map(|word| word.parse().ok()).collect();
            let [auc, low, high] = numbers[..] else { panic!("{figure}") };
            assert!((0.0..=1.0).contains(&low) && low <= auc && auc <= high && low < high, "{figure}");
        }
    }
    let message = asked("ribosome").unwrap_err().to_string();
    assert!(
        message.ends_with("table.csv: expected two labels, one of them `ribosome`, got ice, particle"),
        "{message}"
    );
}
