//! Weights that PyTorch wrote.

use std::{collections::HashMap, path::PathBuf};

use soft_lmccl::{
    model::{CompactNet, CompactNetConfig, compact_net},
    tch::{Device, Kind, Tensor, nn, nn::ModuleT},
    train::checkpoint::{Weights, load_part, load_weights},
};
use tempfile::TempDir;

/// The same operations in another order of sums.
const SINGLE: f64 = 1e-5;
/// Weights rounded to 11 bits, through three layers.
const HALF: f64 = 2e-2;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn network() -> (nn::VarStore, CompactNet) {
    let vs = nn::VarStore::new(Device::Cpu);
    let config = CompactNetConfig { channels: vec![2], embedding_dim: 3, ..Default::default() };
    let net = compact_net(&(vs.root() / "net"), 4, config).unwrap();
    (vs, net)
}

/// `model.` is where PyTorch's script has the network, and `weight` what PyTorch calls the slope of a PReLU.
fn renamed(name: &str) -> Option<String> {
    let rest = name.strip_prefix("model.")?;
    Some(format!("net.{}", rest.replace("prelu.weight", "prelu.slope")))
}

fn furthest(net: &CompactNet) -> f64 {
    let known: HashMap<_, _> =
        Tensor::read_safetensors(fixture("pytorch_embeddings.safetensors")).unwrap().into_iter().collect();
    let embeddings = net.forward_t(&known["volumes"], false);
    (embeddings - &known["embeddings"]).abs().max().double_value(&[])
}

#[test]
fn a_network_of_pytorch_gives_the_same_embeddings() {
    let (mut vs, net) = network();
    assert!(furthest(&net) > 0.1);
    Weights::of(fixture("pytorch_weights.safetensors")).rename(renamed).load(&mut vs).unwrap();
    let apart = furthest(&net);
    assert!(apart < SINGLE, "{apart:e}");
}

#[test]
fn half_precision_is_converted_where_that_is_asked_for() {
    let path = fixture("pytorch_weights_half.safetensors");
    let (mut vs, net) = network();
    let error = Weights::of(&path).rename(renamed).load(&mut vs).unwrap_err().to_string();
    assert!(error.contains("`model.fc.weight` is F16 [3, 16], expected Float [3, 16]"), "{error}");
    Weights::of(&path).rename(renamed).convert(true).load(&mut vs).unwrap();
    let apart = furthest(&net);
    assert!(apart < HALF && apart > SINGLE, "{apart:e}");
    assert!(vs.variables().values().all(|variable| variable.kind() == Kind::Float));
}

#[test]
fn another_beginning_of_all_names_is_one_sentence() {
    let (mut vs, _net) = network();
    let refused = |vs: &mut nn::VarStore, names: &[(&str, &str)]| {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("file.safetensors");
        let tensors: Vec<_> = vs
            .variables()
            .into_iter()
            .map(|(name, variable)| {
                let renamed = names.iter().fold(name, |name, (from, to)| name.replacen(from, to, 1));
                (renamed, variable)
            })
            .collect();
        Tensor::write_safetensors(&tensors, &path).unwrap();
        load_weights(&path, vs).unwrap_err().to_string()
    };
    for (names, sentence) in [
        (&[("net.", "model.net.")][..], "all names of the file begin with `model.`, those of the store do not"),
        (
            &[("net.", "module.model.net.")],
            "all names of the file begin with `module.model.`, those of the store do not",
        ),
        (&[("net.", "")], "all names of the store begin with `net.`, those of the file do not"),
        (
            &[("net.", "model.")],
            "all names of the file begin with `model.`, where those of the store begin with `net.`",
        ),
    ] {
        let error = refused(&mut vs, names);
        assert!(
            error.ends_with(&format!("file.safetensors: {sentence}: `Weights::rename` gives them other ones")),
            "{error}"
        );
    }
    let (mut vs, _net) = network();
    let error = load_weights(fixture("pytorch_weights.safetensors"), &mut vs).unwrap_err().to_string();
    assert!(error.contains("begin with `model.`") && !error.contains(';'), "{error}");
}

#[test]
fn only_a_counter_beside_running_statistics_is_passed_by() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file.safetensors");
    let number = || Tensor::from(7i64);
    let ones = || Tensor::ones([2], (Kind::Float, Device::Cpu));
    let read = |tensors: &[(&str, Tensor)]| {
        Tensor::write_safetensors(tensors, &path).unwrap();
        let mut vs = nn::VarStore::new(Device::Cpu);
        let _mean = (vs.root() / "bn").zeros_no_train("running_mean", &[2]);
        load_weights(&path, &mut vs).map_err(|error| error.to_string())
    };
    read(&[("bn.running_mean", ones()), ("bn.num_batches_tracked", number())]).unwrap();
    for (name, tensor) in [
        ("other.num_batches_tracked", number()),
        ("num_batches_tracked", number()),
        ("bn.my_num_batches_tracked", number()),
        ("bn.num_batches", number()),
        ("bn.num_batches_tracked", Tensor::from_slice(&[7i64])),
        ("bn.num_batches_tracked", Tensor::from(7f32)),
    ] {
        let error = read(&[("bn.running_mean", ones()), (name, tensor)]).unwrap_err();
        assert!(error.ends_with(&format!("`{name}` is not expected")), "{error}");
    }
    // As a part of a store as well; and where a store wants it, it is read.
    Tensor::write_safetensors(&[("bn.running_mean", ones()), ("bn.num_batches_tracked", number())], &path).unwrap();
    let mut vs = nn::VarStore::new(Device::Cpu);
    let _mean = (vs.root() / "bn").zeros_no_train("running_mean", &[2]);
    load_part(&path, &mut vs, "bn").unwrap();
    let counter = (vs.root() / "bn").add("num_batches_tracked", Tensor::from(0i64), false);
    load_weights(&path, &mut vs).unwrap();
    assert_eq!(counter.int64_value(&[]), 7);
}

#[test]
fn two_tensors_for_one_variable_are_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file.safetensors");
    let ones = || Tensor::ones([2], (Kind::Float, Device::Cpu));
    Tensor::write_safetensors(&[("a", ones()), ("b", ones())], &path).unwrap();
    let mut vs = nn::VarStore::new(Device::Cpu);
    let _w = vs.root().zeros("w", &[2]);
    let error = Weights::of(&path).rename(|_| Some("w".into())).load(&mut vs).unwrap_err().to_string();
    assert!(error.ends_with("`a` and `b` are both renamed to `w`"), "{error}");
    Weights::of(&path).rename(|name| (name == "b").then(|| "w".into())).load(&mut vs).unwrap();
}
