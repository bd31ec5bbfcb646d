//! The recipe from end to end, small.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::fs;

use clap::{CommandFactory, Parser};
use soft_lmccl::{
    cect::{RandomizationConfig, RandomizedDataset, catalogue},
    model::Trained,
    tch::{Kind, Tensor},
    train::{TrainingSet, checkpoint},
};

use super::{Args, run, supply::Fresh};

/// The classes are those that are asked for, no subtomogram comes twice, and a step is a function of its number.
#[test]
fn every_step_has_new_subtomograms() {
    let templates = catalogue::templates().split_off(20);
    let config = RandomizationConfig { side: 8, max_shift: [0.5, 1.0], ..Default::default() };
    let dataset = RandomizedDataset::new(templates, config, 3, 1 << 20, 1).unwrap();
    let data = Fresh::new(dataset, 3, 4);
    assert_eq!(data.labels(), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
    let asked = [4, 1, 9, 4];
    let [first, again, next] = [5, 5, 6].map(|step| data.inputs(&asked, step).unwrap());
    assert_eq!(first, again);
    let volumes = Tensor::cat(&[&first, &next], 0).flatten(1, -1);
    let cosines = volumes.matmul(&volumes.tr()) / 512.0;
    let off = (&cosines - Tensor::eye(8, (Kind::Float, cosines.device()))).abs();
    assert!(f64::try_from(off.max()).unwrap() < 0.9, "{cosines}");
}

#[test]
fn a_small_run_writes_a_network_that_can_be_tested() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let args = |more: &str| {
        Args::try_parse_from(format!("pretrain --smoke --threads 1 --out {out} {more}").split_whitespace())
    };
    run(&args("--epochs 1 --hold").unwrap()).unwrap();
    let network = folder.path().join("out/network.safetensors");
    let held = fs::read(&network).unwrap();
    run(&args("--epochs 2 --resume").unwrap()).unwrap();
    assert_ne!(held, fs::read(&network).unwrap());
    let table = fs::read_to_string(folder.path().join("out/carryover.md")).unwrap();
    assert_eq!(table.lines().count(), 7, "{table}");
    assert!(
        table.contains("| our simulator, S2 | simulated; AUC of all pairs")
            && table.contains("24 of 6 unknown classes"),
        "{table}"
    );
    let meta = checkpoint::describe::<Trained>(&network).unwrap();
    assert_eq!((meta.config.side, meta.classes.len()), (32, 26 + 3));
    assert!(fs::metadata(&network).unwrap().len() < 200_000, "half precision, and no heads");
    let message = run(&Args { threads: 0, ..args("").unwrap() }).unwrap_err().to_string();
    assert_eq!(message, "invalid `--threads`: expected at least 1, got 0");
}

#[test]
fn help_tells_what_the_program_does() {
    let about = Args::command().get_about().map(ToString::to_string).unwrap_or_default();
    assert!(about.starts_with("Trains the network that comes with the program"), "{about}");
}
