//! From a checkpoint and tables of files to embeddings and classes.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::{fs, path::Path};

use clap::{CommandFactory, Parser};
use npyz::NpyFile;
use serde::Serialize;
use soft_lmccl::{
    cect::{Map, Sample, SimulatedDataset, SimulationConfig, Volume, catalogue, render},
    loss::SoftLmcclConfig,
    metrics::DirPoint,
    model::{CompactNetConfig, NetworkConfig, Trained},
    tch::{self, Device, nn},
    train::checkpoint::{self, Meta, Origin},
};
use tempfile::TempDir;

use super::{args::Args, run};
use crate::program::lock::{LOCK, lock};

const SIDE: usize = 16;
/// Subtomograms of each of three classes.
const EACH: usize = 6;

fn trained(half_turns: bool) -> Trained {
    let network =
        NetworkConfig::Compact(CompactNetConfig { channels: vec![4, 8], embedding_dim: 12, ..Default::default() });
    Trained { network, side: SIDE, voxel_size: Some(10.0), half_turns }
}

/// A folder with networks that were trained on something else, and with subtomograms of three classes in tables: the first
/// three of each class enrolled, for two of the classes; the others to calibrate with; all as particles.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let vs = nn::VarStore::new(Device::Cpu);
    let net = trained(false).init(&vs).unwrap();
    let loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 5, 12).unwrap();
    {
        // Numbers that depend on no other test.
        let _frozen = tch::no_grad_guard();
        for (name, mut variable) in vs.variables() {
            let waves = tch::Tensor::arange(variable.numel() as i64, (tch::Kind::Float, Device::Cpu)).square() * 0.7;
            let values = (waves.sin() * 0.4).view_as(&variable);
            variable.copy_(&if name.ends_with("running_var") { values.abs() + 0.5 } else { values });
        }
    }
    let classes: Vec<String> = (0..5).map(|class| format!("trained on {class}")).collect();
    for (name, half_turns) in [("network", false), ("turning", true)] {
        let meta = Meta { config: trained(half_turns), classes: classes.clone() };
        let origin = Origin::default().network(&meta.config).unwrap();
        checkpoint::save_of(at(&format!("{name}.safetensors")), &vs, &meta, &origin).unwrap();
    }
    #[derive(Serialize)]
    struct Other {
        layers: usize,
    }
    checkpoint::save(at("other.safetensors"), &vs, &Meta { config: Other { layers: 3 }, classes }).unwrap();
    drop((net, loss));

    let config = SimulationConfig { side: SIDE, snr: 1.0, ..Default::default() };
    let dataset = SimulatedDataset::new(catalogue::templates().split_off(20), config, EACH, 5).unwrap();
    let samples = render(&dataset, &(0..3 * EACH).collect::<Vec<_>>(), |_| {}).unwrap();
    let (mut all, mut enrolled, mut others, mut unlabeled) =
        ("path,label\n".to_owned(), "path,label\n".to_owned(), "path,label\n".to_owned(), "image\n".to_owned());
    for (index, Sample { volume, class }) in samples.iter().enumerate() {
        let name = format!("{index}.mrc");
        Map::from_volume(volume, 10.0).save(at(&name)).unwrap();
        let row = format!("{name},class {}\n", class.0);
        all += &row;
        unlabeled += &format!("{name}\n");
        match (index / 3 < 3, class.0 < 2) {
            (true, true) => enrolled += &row,
            (true, false) => {}
            (false, _) => others += &row,
        }
    }
    for (name, text) in [("all", all), ("enrolled", enrolled), ("others", others), ("unlabeled", unlabeled)] {
        fs::write(at(&format!("{name}.csv")), text).unwrap();
    }
    let voxels: Vec<f32> = (0..SIDE.pow(3)).map(|voxel| (voxel % 7) as f32).collect();
    Map::from_volume(&Volume::new(SIDE, voxels).unwrap(), 13.68).save(at("coarse.mrc")).unwrap();
    Map::from_volume(&Volume::new(4, vec![0.5; 64]).unwrap(), 10.0).save(at("small.mrc")).unwrap();
    Map::from_volume(&Volume::new(SIDE, (0..SIDE.pow(3)).map(|v| (v % 5) as f32).collect()).unwrap(), 0.0)
        .save(at("unsized.mrc"))
        .unwrap();
    fs::write(at("elsewhere.csv"), "path\nnowhere/0.mrc\n").unwrap();
    fs::write(at("spelled.csv"), "path,label\n9.mrc,CLASS 0\n10.mrc,class 1\n").unwrap();
    // A label like any other.
    fs::write(at("named.csv"), "path,label\n0.mrc,unlabeled\n3.mrc,unlabeled\n").unwrap();
    for name in ["coarse", "small", "unsized"] {
        fs::write(at(&format!("{name}.csv")), format!("path,label\n{name}.mrc,x\n")).unwrap();
    }
    folder
}

/// Words that end with `!` are files of the folder.
fn told(folder: &Path, line: &str) -> Result<(), String> {
    let words = format!("embed --out out! {line}");
    let words = words.split_whitespace().map(|word| match word.strip_suffix('!') {
        Some(file) => folder.join(file).display().to_string(),
        None => word.to_owned(),
    });
    let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
    run::run(&args).map_err(|error| error.to_string())
}

fn matrix(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let array = NpyFile::new(fs::File::open(path).unwrap()).unwrap();
    (array.shape().to_vec(), array.into_vec().unwrap())
}

#[test]
fn particles_become_embeddings_in_the_order_of_their_table() {
    let folder = folder();
    let at = |name: &str| folder.path().join("out").join(name);
    told(folder.path(), "--network network.safetensors! --particles all.csv! --batch 7").unwrap();
    let (shape, embeddings) = matrix(&at("embeddings.npy"));
    assert_eq!(shape, [3 * EACH as u64, 12]);
    for row in embeddings.chunks(12) {
        assert!((row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let labels = NpyFile::new(fs::File::open(at("labels.npy")).unwrap()).unwrap().into_vec::<i64>().unwrap();
    assert_eq!(labels, (0..3 * EACH as i64).map(|index| index % 3).collect::<Vec<_>>());
    let table = fs::read_to_string(at("particles.csv")).unwrap();
    assert!(table.starts_with("path,label\n"), "{table}");
    assert!(table.lines().nth(2).unwrap().ends_with("1.mrc,class 1"), "{table}");

    // Neither the size of a batch nor the labels change an embedding; labels of an earlier command do not stay.
    told(folder.path(), "--network network.safetensors! --particles unlabeled.csv! --batch 64").unwrap();
    let (_, again) = matrix(&at("embeddings.npy"));
    assert!(embeddings.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-5));
    assert!(!at("labels.npy").exists());
    assert!(fs::read_to_string(at("particles.csv")).unwrap().starts_with("path\n"));

    told(folder.path(), "--network network.safetensors! --particles named.csv! --enroll named.csv!").unwrap();
    assert!(at("labels.npy").exists());
    assert!(fs::read_to_string(at("particles.csv")).unwrap().contains("0.mrc,unlabeled,unlabeled,"));

    // The file says that half turns are averaged.
    told(folder.path(), "--network turning.safetensors! --particles all.csv!").unwrap();
    let (_, turning) = matrix(&at("embeddings.npy"));
    assert!(embeddings.iter().zip(&turning).any(|(a, b)| (a - b).abs() > 1e-3));
}

#[test]
fn the_nearest_enrolled_class_is_told_and_whether_it_is_near_enough() {
    let folder = folder();
    let rows = |line: &str| {
        let line = format!("--network network.safetensors! --particles all.csv! {line}");
        told(folder.path(), &line).unwrap();
        let mut reader = csv::Reader::from_path(folder.path().join("out/particles.csv")).unwrap();
        let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        (header, rows)
    };
    let (header, nearest) = rows("--enroll enrolled.csv!");
    assert_eq!(header, ["path", "label", "nearest", "score"]);
    // By hand: prototypes are the means of three unit rows.
    let (_, embeddings) = matrix(&folder.path().join("out/embeddings.npy"));
    let row = |index: usize| &embeddings[12 * index..][..12];
    let prototype = |class: usize| -> Vec<f32> {
        let mean: Vec<f32> = (0..12).map(|at| (0..3).map(|k| row(class + 3 * k)[at]).sum::<f32>()).collect();
        let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
        mean.iter().map(|x| x / length).collect()
    };
    let prototypes = [prototype(0), prototype(1)];
    for (index, found) in nearest.iter().enumerate() {
        let score = |class: usize| row(index).iter().zip(&prototypes[class]).map(|(a, b)| a * b).sum::<f32>();
        let best = usize::from(score(1) > score(0));
        assert_eq!(found[2], format!("class {best}"), "{found:?}");
        assert!((found[3].parse::<f32>().unwrap() - score(best)).abs() < 1e-5, "{found:?}");
    }

    // What RELION wrote comes back with the class to select by.
    let star = "data_optics\n_rlnVoltage 300\n\ndata_particles\nloop_\n_rlnImageName\n_rlnMicrographName\n3.mrc t1\n1.mrc t2\n";
    fs::write(folder.path().join("particles.star"), star).unwrap();
    let line = "--network network.safetensors! --particles particles.star! --enroll enrolled.csv!";
    told(folder.path(), line).unwrap();
    let written = fs::read_to_string(folder.path().join("out/particles.star")).unwrap();
    let head = star.split_inclusive("_rlnMicrographName\n").next().unwrap();
    let columns = "_rlnClassNumber #3\n_softLmcclNearest #4\n_softLmcclScore #5\n";
    let written_rows = written.strip_prefix(&format!("{head}{columns}")).unwrap();
    for (row, (index, tomogram)) in written_rows.lines().zip([(3, "t1"), (1, "t2")]) {
        let class = &nearest[index][2];
        let number = if class == "class 0" { 1 } else { 2 };
        let score = row.strip_prefix(&format!("{index}.mrc {tomogram} {number} \"{class}\" ")).unwrap();
        let near = |a: &str, b: &str| (a.parse::<f64>().unwrap() - b.parse::<f64>().unwrap()).abs() < 1e-4;
        assert!(near(score, &nearest[index][3]), "{row}");
    }
    let line = format!("{line} --calibrate others.csv! --fpir 0");
    told(folder.path(), &line).unwrap();
    let written = fs::read_to_string(folder.path().join("out/particles.star")).unwrap();
    let json = fs::read(folder.path().join("out/calibration.json")).unwrap();
    let point: DirPoint = serde_json::from_slice(&json).unwrap();
    assert_eq!((point.target_fpir, point.false_alarms), (0.0, 0));
    let rejected = fs::read_to_string(folder.path().join("out/particles.csv")).unwrap().matches(",false").count();
    assert_eq!(written.matches(" t1 0 ").count() + written.matches(" t2 0 ").count(), rejected);

    // At a rate of 0 no subtomogram of the class that is not enrolled is accepted of those that it was calibrated on,
    // at 1 all are.
    for (fpir, of_others) in [("0", 0), ("1", 3)] {
        let (header, found) = rows(&format!("--enroll enrolled.csv! --calibrate others.csv! --fpir {fpir}"));
        assert_eq!(header, ["path", "label", "nearest", "score", "accepted"]);
        let accepted = found.iter().skip(9).filter(|row| &row[1] == "class 2" && &row[4] == "true").count();
        assert_eq!(accepted, of_others, "{found:?}");
        let same = nearest.iter().zip(&found).all(|(a, b)| a.iter().eq(b.iter().take(4)));
        assert!(same);
        assert!(!folder.path().join("out/particles.star").exists());
    }
}

#[test]
fn what_was_asked_for_wrongly_is_told_in_a_sentence_and_nothing_is_written() {
    let folder = folder();
    let all = "--network network.safetensors! --particles all.csv!";
    for (line, part) in [
        ("--network all.csv! --particles all.csv!", "all.csv: not a safetensors file"),
        ("--network other.safetensors! --particles all.csv!", "its description: missing field `network`"),
        ("--network network.safetensors! --particles none.csv!", "cannot read "),
        (
            "--network network.safetensors! --particles coarse.csv!",
            "coarse.csv: voxels of 13.68 Å, but the network was trained on 10.00 Å: rescale the subtomograms, or try \
             --any-voxel-size",
        ),
        (
            "--network network.safetensors! --particles unsized.csv!",
            "unsized.csv: voxels of unknown size, but the network was trained on 10.00 Å: rescale the subtomograms, or try \
             --any-voxel-size",
        ),
        (
            "--network network.safetensors! --particles elsewhere.csv!",
            "; relative paths start at `DIR` unless a root is given",
        ),
        (
            &format!("{all} --enroll enrolled.csv! --calibrate spelled.csv!"),
            "invalid `--calibrate`: expected one spelling of `class 0`, got `CLASS 0`",
        ),
        ("--network network.safetensors! --particles small.csv!", "4 voxels along each edge cannot be cropped to 16"),
        (&format!("{all} --enroll unlabeled.csv!"), "the header has no column for the label"),
        (&format!("{all} --calibrate others.csv!"), "--enroll <TABLE>"),
        (&format!("{all} --enroll enrolled.csv! --fpir 0.1"), "--calibrate <TABLE>"),
        (
            &format!("{all} --enroll enrolled.csv! --calibrate others.csv! --fpir -0.1"),
            "invalid `--fpir`: expected a rate from 0 to 1, got -0.1",
        ),
        (
            &format!("{all} --enroll all.csv! --calibrate others.csv!"),
            "invalid `--calibrate`: expected some of class 0, class 1, class 2 and of other classes, got class 0, class 1, \
             class 2",
        ),
        (
            &format!("{all} --enroll enrolled.csv! --calibrate all.csv!"),
            "invalid `--calibrate`: expected other subtomograms than --enroll, got ",
        ),
        (&format!("{all} --device cuda:99"), "CUDA device 99 is asked for, but libtorch sees"),
    ] {
        let message = told(folder.path(), line).unwrap_err().replace(&folder.path().display().to_string(), "DIR");
        assert!(message.contains(part), "{line}: {message}");
        assert!(!folder.path().join("out").exists(), "{line}");
    }
    told(folder.path(), "--network network.safetensors! --particles coarse.csv! --any-voxel-size").unwrap();
}

/// `--out .` where the table lies must not cost the table.
#[test]
fn files_of_others_are_not_replaced() {
    let folder = folder();
    let own = folder.path().join("mine");
    fs::create_dir(&own).unwrap();
    fs::copy(folder.path().join("all.csv"), own.join("particles.csv")).unwrap();
    let before = fs::read(own.join("particles.csv")).unwrap();
    let line = "--network network.safetensors! --particles mine/particles.csv! --root ! --out mine!";
    let args = line.split_whitespace().map(|word| match word.strip_suffix('!') {
        Some(file) => folder.path().join(file).display().to_string(),
        None => word.to_owned(),
    });
    let args = Args::try_parse_from(["embed".to_owned()].into_iter().chain(args)).unwrap();
    let message = run::run(&args).unwrap_err().to_string();
    let expected = "invalid `--out`: expected a directory of its own, since files of these names are replaced, got ";
    assert!(message.starts_with(expected) && message.ends_with("particles.csv"), "{message}");
    assert_eq!(fs::read(own.join("particles.csv")).unwrap(), before);
    // Nor where the program has written before.
    fs::write(own.join(LOCK), "").unwrap();
    assert_eq!(run::run(&args).unwrap_err().to_string(), message);
}

#[test]
fn two_programs_do_not_write_to_one_directory() {
    let folder = folder();
    let line = "--network network.safetensors! --particles all.csv!";
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let held = lock(&out).unwrap();
    assert!(held.is_some());
    let message = told(folder.path(), line).unwrap_err();
    assert!(
        message.starts_with("invalid `--out`: expected a directory that no other program is writing to"),
        "{message}"
    );
    drop(held);
    told(folder.path(), line).unwrap();
}

/// Without a network of the user's, the one that comes with the program takes voxels of any size, if they are known.
#[test]
fn the_programs_own_network_takes_any_subtomogram() {
    let folder = folder();
    for table in ["all", "coarse"] {
        told(folder.path(), &format!("--particles {table}.csv!")).unwrap();
        let (shape, embeddings) = matrix(&folder.path().join("out/embeddings.npy"));
        assert_eq!(shape, [if table == "all" { 3 * EACH as u64 } else { 1 }, 128]);
        assert!(embeddings.chunks(128).all(|row| (row.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-4));
    }
    let message = told(folder.path(), "--particles unsized.csv!").unwrap_err();
    assert!(
        message.ends_with("voxels of unknown size, to be resampled: write it into the files, or try --any-voxel-size"),
        "{message}"
    );
    told(folder.path(), "--particles unsized.csv! --any-voxel-size").unwrap();
    told(folder.path(), "--particles all.csv! --enroll enrolled.csv! --calibrate others.csv!").unwrap();
    assert!(folder.path().join("out/calibration.json").exists());
}

#[test]
fn help_tells_what_the_program_does() {
    let about = Args::command().get_about().map(ToString::to_string).unwrap_or_default();
    assert!(about.starts_with("Embeddings of your own subtomograms"), "{about}");
}
