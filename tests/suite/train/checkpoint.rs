//! What is saved comes back bit for bit; what does not fit is refused and changes nothing.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use soft_lmccl::{
    loss::{Loss, SoftLmccl, SoftLmcclConfig},
    tch::{Device, Kind, Tensor, nn},
    train::{
        AdamWConfig, FitConfig, Optimizer, Progress, RunState, Sampler, Sampling, backward_step,
        checkpoint::{Meta, describe, load, load_part, load_run, load_weights, save, save_run},
    },
};
use tempfile::TempDir;

use super::waves;

const D: i64 = 4;

fn names(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|&name| name.to_owned()).collect()
}

fn store(classes: i64) -> (nn::VarStore, SoftLmccl) {
    let vs = nn::VarStore::new(Device::Cpu);
    let loss = SoftLmcclConfig::default().init(&vs.root(), classes, D).unwrap();
    (vs, loss)
}

fn snapshot(vs: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut all: Vec<_> = vs.variables().into_iter().map(|(name, v)| (name, v.detach().copy())).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// A checkpoint of three classes whose centers have moved.
fn saved(directory: &TempDir) -> (PathBuf, Vec<(String, Tensor)>) {
    let (vs, mut loss) = store(3);
    let embeddings = Tensor::randn([5, D], (Kind::Float, Device::Cpu));
    loss.update(&embeddings, &Tensor::from_slice(&[0i64, 2, 2, 1, 0])).unwrap();
    let path = directory.path().join("run.safetensors");
    save(&path, &vs, &Meta { config: loss.config(), classes: names(&["a", "b", "c"]) }).unwrap();
    (path, snapshot(&vs))
}

#[test]
fn a_round_trip_is_exact() {
    let directory = TempDir::new().unwrap();
    let (path, before) = saved(&directory);
    let (mut vs, loss) = store(3);
    let meta = load::<SoftLmcclConfig>(&path, &mut vs, &names(&["a", "b", "c"])).unwrap();
    assert_eq!(meta, Meta { config: SoftLmcclConfig::default(), classes: names(&["a", "b", "c"]) });
    assert_eq!(snapshot(&vs), before);
    // What the loss holds is what the store holds.
    assert_eq!(Vec::<i64>::try_from(loss.center().updates()).unwrap(), [1, 1, 1]);
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["run.safetensors"]);
}

#[test]
fn every_difference_is_listed_and_nothing_changes() {
    let directory = TempDir::new().unwrap();
    let (path, _) = saved(&directory);

    // Four classes, in double precision, one variable more and one name fewer.
    let mut vs = nn::VarStore::new(Device::Cpu);
    let _head = SoftLmcclConfig::default().lmcl.init(&(vs.root() / "lmcl"), 4, D).unwrap();
    let _center = SoftLmcclConfig::default().center.init(&(vs.root() / "center"), 3, D).unwrap();
    let _more = vs.root().zeros("more", &[2]);
    vs.double();
    let before = snapshot(&vs);
    let error = load::<SoftLmcclConfig>(&path, &mut vs, &names(&["a", "c", "b"])).unwrap_err().to_string();
    for part in [
        "classes [\"a\", \"b\", \"c\"], expected [\"a\", \"c\", \"b\"]",
        "`center.centers` is F32 [3, 4], expected Double [3, 4]",
        "`lmcl.weight` is F32 [3, 4], expected Double [4, 4]",
        "`more` is missing",
        "`softmax.bias` is not expected; `softmax.weight` is not expected",
    ] {
        assert!(error.contains(part), "{part:?} not in {error:?}");
    }
    assert_eq!(snapshot(&vs), before);
}

/// The broadcast that `tch`'s own `load` performs.
#[test]
fn a_single_row_is_not_spread_over_all() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("row.safetensors");
    let small = nn::VarStore::new(Device::Cpu);
    let _row = small.root().ones("weight", &[1, 3]);
    save(&path, &small, &Meta { config: (), classes: vec![] }).unwrap();
    let mut vs = nn::VarStore::new(Device::Cpu);
    let weight = vs.root().zeros("weight", &[4, 3]);
    let error = load::<()>(&path, &mut vs, &[]).unwrap_err().to_string();
    assert!(error.contains("`weight` is F32 [1, 3], expected Float [4, 3]"), "{error}");
    assert_eq!(weight.count_nonzero(0).sum(Kind::Int64).int64_value(&[]), 0);
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let directory = TempDir::new().unwrap();
    let (path, _) = saved(&directory);
    let whole = fs::read(&path).unwrap();
    let (mut vs, _loss) = store(3);
    let before = snapshot(&vs);
    let mut refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = load::<SoftLmcclConfig>(&path, &mut vs, &names(&["a", "b", "c"])).unwrap_err().to_string();
        assert_eq!(snapshot(&vs), before);
        error
    };
    for length in [0, 7, 8, 40, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..length]);
        assert!(error.contains("run.safetensors: not a safetensors file"), "{length}: {error}");
    }
    // A header that claims 2^60 bytes.
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(refused(&huge).contains("not a safetensors file"));
    let mut garbage = whole.clone();
    garbage[8..40].fill(b'x');
    assert!(refused(&garbage).contains("not a safetensors file"));

    Tensor::write_safetensors(&[("weight", Tensor::zeros([2], (Kind::Float, Device::Cpu)))], &path).unwrap();
    let foreign = fs::read(&path).unwrap();
    assert!(refused(&foreign).contains("no `soft-lmccl` entry in its header; weights of another program?"));

    let missing = directory.path().join("missing.safetensors");
    let error = load::<SoftLmcclConfig>(&missing, &mut vs, &[]).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read {}", missing.display()));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("No such file"));
}

#[test]
fn another_format_is_refused_and_named() {
    let directory = TempDir::new().unwrap();
    let (path, _) = saved(&directory);
    let mut bytes = fs::read(&path).unwrap();
    // The header is JSON within JSON; 9 is as long as 1.
    let key = br#"\"format\":1"#;
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    bytes[at + key.len() - 1] = b'9';
    fs::write(&path, bytes).unwrap();
    let (mut vs, _loss) = store(3);
    let before = snapshot(&vs);
    let error = load::<SoftLmcclConfig>(&path, &mut vs, &names(&["a", "b", "c"])).unwrap_err().to_string();
    assert!(error.ends_with("run.safetensors: format 9, this version reads 1"), "{error}");
    assert_eq!(snapshot(&vs), before);
}

#[test]
fn a_transposed_variable_is_saved_as_it_reads() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("transposed.safetensors");
    let mut vs = nn::VarStore::new(Device::Cpu);
    let weight = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]).tr();
    let weight = vs.root().add("weight", weight, false);
    assert!(!weight.is_contiguous());
    save(&path, &vs, &Meta { config: (), classes: vec![] }).unwrap();
    let before = weight.copy();
    let _ = weight.shallow_clone().zero_();
    load::<()>(&path, &mut vs, &[]).unwrap();
    assert_eq!(weight, before);
}

#[test]
fn a_failed_save_leaves_the_last_good_file() {
    let directory = TempDir::new().unwrap();
    let (path, before) = saved(&directory);
    let nowhere = directory.path().join("no-such-directory").join("run.safetensors");
    let (vs, loss) = store(3);
    let meta = Meta { config: loss.config(), classes: names(&["a", "b", "c"]) };
    assert!(save(&nowhere, &vs, &meta).unwrap_err().to_string().starts_with("cannot write "));
    let (mut vs, _loss) = store(3);
    load::<SoftLmcclConfig>(&path, &mut vs, &meta.classes).unwrap();
    assert_eq!(snapshot(&vs), before);
}

/// What any safetensors reader sees, PyTorch's for one: plain names, kinds, shapes and little-endian numbers.
#[test]
fn other_programs_read_what_is_saved_and_write_what_is_loaded() {
    let directory = TempDir::new().unwrap();
    let (path, before) = saved(&directory);
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<_> = file.names().into_iter().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, before.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
    for (name, variable) in &before {
        let stored = file.tensor(name).unwrap();
        assert_eq!(stored.shape().iter().map(|&extent| extent as i64).collect::<Vec<_>>(), variable.size());
        if variable.kind() == Kind::Float {
            let numbers = Vec::<f32>::try_from(variable.flatten(0, -1)).unwrap();
            assert_eq!(stored.data(), numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>());
        }
    }
    // The same tensors without our description, as PyTorch's `save_file` writes them.
    let foreign = directory.path().join("foreign.safetensors");
    let tensors: Vec<_> = file.tensors();
    fs::write(&foreign, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let (mut vs, _loss) = store(3);
    load_weights(&foreign, &mut vs).unwrap();
    assert_eq!(snapshot(&vs), before);

    let (mut vs, _loss) = store(4);
    let before = snapshot(&vs);
    let error = load_weights(&foreign, &mut vs).unwrap_err().to_string();
    assert!(error.contains("`center.centers` is F32 [3, 4], expected Float [4, 4]; `center.samples` is"), "{error}");
    assert_eq!(snapshot(&vs), before);
}

#[test]
fn a_part_is_read_into_a_store_that_has_more_and_other_parts() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("part.safetensors");
    let make = |classes: i64, width: i64| {
        let vs = nn::VarStore::new(Device::Cpu);
        let net = vs.root() / "net";
        let weight = net.add("weight", waves(&[2, width], classes as f64), true);
        let steps = net.add("steps", Tensor::from_slice(&[classes]), false);
        // Neither is under `net`.
        let _like = (vs.root() / "network").ones("weight", &[classes]);
        let _loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), classes, D).unwrap();
        (vs, weight, steps)
    };
    let (trained, weight, _) = make(3, 2);
    save(&path, &trained, &Meta { config: (), classes: names(&["a", "b", "c"]) }).unwrap();

    let (mut vs, own, steps) = make(5, 2);
    let before = snapshot(&vs);
    load_part(&path, &mut vs, "net").unwrap();
    assert_eq!((&own, steps.int64_value(&[0])), (&weight, 3));
    let elsewhere = |all: Vec<(String, Tensor)>| -> Vec<_> {
        all.into_iter().filter(|(name, _)| !name.starts_with("net.")).collect()
    };
    assert_eq!(elsewhere(snapshot(&vs)), elsewhere(before));

    // Within the part nothing may differ; a file that is no checkpoint has parts as well.
    let (mut other, ..) = make(3, 4);
    let _more = (other.root() / "net").ones("more", &[1]);
    let before = snapshot(&other);
    let error = load_part(&path, &mut other, "net").unwrap_err().to_string();
    assert!(error.ends_with("`net.more` is missing; `net.weight` is F32 [2, 2], expected Float [2, 4]"), "{error}");
    assert_eq!(snapshot(&other), before);
    let foreign = directory.path().join("foreign.safetensors");
    let odd = [("net.weight", Tensor::ones([2, 2], (Kind::Float, Device::Cpu))), ("net.odd", Tensor::from(3i64))];
    Tensor::write_safetensors(&odd, &foreign).unwrap();
    let error = load_part(&foreign, &mut vs, "net").unwrap_err().to_string();
    assert!(error.ends_with("`net.steps` is missing; `net.odd` is not expected"), "{error}");
    for part in ["nets", "", "ne", "net."] {
        let error = load_part(&path, &mut vs, part).unwrap_err().to_string();
        assert!(error.ends_with(&format!("neither it nor the store has anything under `{part}`")), "{error}");
    }
    // What only the file has is not read, and told.
    let mut empty = nn::VarStore::new(Device::Cpu);
    let error = load_part(&path, &mut empty, "net").unwrap_err().to_string();
    assert!(error.ends_with("`net.steps` is not expected; `net.weight` is not expected"), "{error}");
}

#[test]
fn a_file_describes_itself_before_anything_is_made() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Center {
        rate: f64,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Fewer {
        center: Center,
    }
    let directory = TempDir::new().unwrap();
    let (path, _) = saved(&directory);
    let whole = describe::<SoftLmcclConfig>(&path).unwrap();
    assert_eq!(whole, Meta { config: SoftLmcclConfig::default(), classes: names(&["a", "b", "c"]) });
    assert_eq!(describe::<Fewer>(&path).unwrap().config, Fewer { center: Center { rate: 0.5 } });
    let error = describe::<FitConfig>(&path).unwrap_err().to_string();
    assert!(error.contains("run.safetensors: its description: unknown field"), "{error}");

    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = describe::<SoftLmcclConfig>(&path).unwrap_err().to_string();
    assert!(error.contains("run.safetensors: not a safetensors file"), "{error}");
}

fn beginning(vs: &nn::VarStore, labels: &[i64]) -> RunState {
    let fit = FitConfig { batch_size: 2, ..Default::default() };
    RunState {
        optimizer: AdamWConfig::default().build(vs).unwrap(),
        sampler: Sampler::new(labels, Sampling::Plain, 2, 5).unwrap(),
        progress: Progress { fit, step: 0, stale_epochs: 0, best: None, seconds: 0.0 },
    }
}

#[test]
fn the_state_of_a_run_is_refused_as_a_whole() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run.safetensors");
    let (vs, mut loss) = store(3);
    let mut run = beginning(&vs, &[0, 1, 2]);
    let embeddings = Tensor::randn([3, D], (Kind::Float, Device::Cpu));
    backward_step(&mut loss, &mut run.optimizer, &embeddings, &Tensor::from_slice(&[0i64, 1, 2])).unwrap();
    run.progress.step = 1;
    run.sampler.next_batch();
    let meta = Meta { config: loss.config(), classes: names(&["a", "b", "c"]) };
    save_run(&path, &vs, &meta, &run).unwrap();

    // Another number of classes and of samples: weights, moments and position differ.
    let (other, _loss) = store(4);
    let before = snapshot(&other);
    let mut begun = beginning(&other, &[0, 1, 2, 3]);
    let error = load_run(&path, &other, &meta, &mut begun).unwrap_err().to_string();
    for part in [
        "`lmcl.weight` is F32 [3, 4], expected Float [4, 4]",
        "`@adamw.first.lmcl.weight` is F32 [3, 4], expected Float [4, 4]",
        "`@adamw.second.softmax.bias` is F32 [3], expected Float [4]",
        "the sampler's position is of other samples",
    ] {
        assert!(error.contains(part), "{part:?} not in {error:?}");
    }
    assert_eq!(snapshot(&other), before);
    assert_eq!((begun.progress.step, begun.sampler), (0, beginning(&other, &[0, 1, 2, 3]).sampler));

    // A network without one of the parameters that the optimizer knows.
    let smaller = nn::VarStore::new(Device::Cpu);
    let _head = SoftLmcclConfig::default().lmcl.init(&(smaller.root() / "lmcl"), 3, D).unwrap();
    let error = load_run(&path, &smaller, &meta, &mut beginning(&smaller, &[0, 1, 2])).unwrap_err().to_string();
    assert!(error.contains("`softmax.bias` is not expected"), "{error}");
    assert!(error.contains("the optimizer has steps of `softmax.bias`, which is no parameter here"), "{error}");

    // The run itself goes on where it was.
    let (same, _loss) = store(3);
    let mut begun = beginning(&same, &[0, 1, 2]);
    load_run(&path, &same, &meta, &mut begun).unwrap();
    assert_eq!(snapshot(&same), snapshot(&vs));
    assert_eq!((begun.sampler, begun.progress), (run.sampler, run.progress));
}

#[test]
fn a_variable_cannot_pass_for_the_state_of_a_run() {
    let directory = TempDir::new().unwrap();
    let vs = nn::VarStore::new(Device::Cpu);
    let _odd = vs.root().ones("@odd", &[1]);
    let error = save(directory.path().join("x"), &vs, &Meta { config: (), classes: vec![] }).unwrap_err().to_string();
    assert!(error.ends_with("x: `@odd` begins with @, like what is no variable"), "{error}");
}

/// One variable under two names, and two without a number: the optimizer meets each twice.
#[test]
fn tied_and_empty_parameters_are_saved_with_their_run() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run.safetensors");
    let labels = [0i64, 1, 2];
    let make = || {
        let vs = nn::VarStore::new(Device::Cpu);
        let first = vs.root().ones("first", &[2]);
        let _second = vs.root().add("second", first.shallow_clone(), true);
        let _nothing = [vs.root().ones("a", &[0]), vs.root().ones("b", &[0])];
        (vs, first)
    };
    let (vs, first) = make();
    let mut run = beginning(&vs, &labels);
    let meta = Meta { config: (), classes: vec![] };
    for _ in 0..2 {
        run.optimizer.zero_grad();
        first.sum(Kind::Float).backward();
        run.optimizer.step().unwrap();
    }
    run.progress.step = 2;
    save_run(&path, &vs, &meta, &run).unwrap();
    let (other, _) = make();
    let mut restored = beginning(&other, &labels);
    load_run(&path, &other, &meta, &mut restored).unwrap();
    let again = directory.path().join("again.safetensors");
    save_run(&again, &other, &meta, &restored).unwrap();
    // Not byte for byte: the header is a map without an order.
    let read = |path| {
        let mut tensors = Tensor::read_safetensors(path).unwrap();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors
    };
    assert_eq!(read(&path), read(&again));
}

#[test]
fn a_configuration_in_single_precision_is_its_own() {
    #[derive(Serialize)]
    struct Single {
        rate: f32,
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run.safetensors");
    let (vs, _loss) = store(3);
    let mut run = beginning(&vs, &[0, 1, 2]);
    save_run(&path, &vs, &Meta { config: Single { rate: 0.1 }, classes: vec![] }, &run).unwrap();
    load_run(&path, &vs, &Meta { config: Single { rate: 0.1 }, classes: vec![] }, &mut run).unwrap();
    let other = Meta { config: Single { rate: 0.2 }, classes: vec![] };
    let error = load_run(&path, &vs, &other, &mut run).unwrap_err().to_string();
    assert!(error.ends_with("`config.rate` is 0.1, expected 0.2"), "{error}");
}

#[test]
fn a_map_with_numbers_for_keys_is_a_configuration() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("map.safetensors");
    let (mut vs, _loss) = store(3);
    let config = BTreeMap::from([(3u32, 0.5), (7, 0.25)]);
    save(&path, &vs, &Meta { config: config.clone(), classes: vec![] }).unwrap();
    assert_eq!(load::<BTreeMap<u32, f64>>(&path, &mut vs, &[]).unwrap().config, config);
}
