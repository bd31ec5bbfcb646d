//! A checkpoint says which loss and which network it is of, and is not taken for another's.

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

use soft_lmccl::{
    Result,
    loss::{
        ArcFaceConfig, CenterLossConfig, CenterSpace, LmclConfig, Loss, LossKind, LossTerms, NormalizedSoftmaxConfig,
        SoftLmcclConfig,
    },
    model::NetworkConfig,
    on_notice,
    tch::{Device, Kind, Tensor, nn},
    train::{
        FitConfig, InMemory, Outcome, Trainer,
        checkpoint::{
            Meta, Origin, Weights, describe, load, load_classes, load_head, load_network, load_part, load_weights,
            save, save_of,
        },
    },
};
use tempfile::TempDir;

use super::waves;

/// What this process was told so far: there is one ear for all tests.
fn heard() -> Arc<Mutex<Vec<String>>> {
    static LINES: OnceLock<Arc<Mutex<Vec<String>>>> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&lines);
        on_notice(move |line| ear.lock().unwrap().push(line.to_owned()));
        lines
    });
    Arc::clone(lines)
}

fn heard_of(path: &Path) -> Vec<String> {
    let file = path.display().to_string();
    heard().lock().unwrap().iter().filter(|line| line.contains(&file)).cloned().collect()
}

type Init<'a> = &'a dyn Fn(&nn::Path<'_>) -> Box<dyn Loss>;

/// Trains a step, or goes on, without a description.
fn run(
    path: &Path,
    init: Init<'_>,
    change: impl FnOnce(Trainer<'_, dyn Loss>) -> Trainer<'_, dyn Loss>,
) -> Result<Outcome> {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = nn::linear(vs.root() / "net", 6, 2, Default::default());
    let mut loss = init(&(vs.root() / "loss"));
    let labels = Tensor::arange(12, (Kind::Int64, Device::Cpu)).remainder(3);
    let inputs = waves(&[12, 6], 0.4);
    let config = FitConfig { epochs: 2, batch_size: 6, ..Default::default() };
    let trainer = Trainer::new(config)?.checkpoint(path, 1).resume(true);
    change(trainer).run(&net, loss.as_mut(), &vs, &InMemory::new(&inputs, &labels)?, |_| ControlFlow::Break(()))
}

fn lmcl(path: &nn::Path<'_>) -> Box<dyn Loss> {
    Box::new(LmclConfig::default().init(path, 3, 2).unwrap())
}

fn arcface(path: &nn::Path<'_>) -> Box<dyn Loss> {
    Box::new(ArcFaceConfig::default().init(path, 3, 2).unwrap())
}

fn normalized(path: &nn::Path<'_>) -> Box<dyn Loss> {
    Box::new(NormalizedSoftmaxConfig::default().init(path, 3, 2).unwrap())
}

#[test]
fn a_run_is_not_resumed_as_another_loss() {
    let heads: [(&str, Init<'_>); 3] = [("lmcl", &lmcl), ("arcface", &arcface), ("normalized_softmax", &normalized)];
    for (name, init) in heads {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("run.safetensors");
        run(&path, init, |t| t).unwrap();
        for (other, init) in heads {
            let resumed = run(&path, init, |t| t);
            match other == name {
                true => assert_eq!(resumed.unwrap().steps, 2),
                false => {
                    let error = resumed.unwrap_err().to_string();
                    assert!(error.contains(&format!("it is of the loss `{name}`, expected `{other}`")), "{error}");
                }
            }
        }
    }
}

#[test]
fn hyper_parameters_and_networks_are_compared_too() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run.safetensors");
    run(&path, &lmcl, |t| t.network(&[6, 2]).unwrap()).unwrap();
    let other = |path: &nn::Path<'_>| -> Box<dyn Loss> {
        Box::new(LmclConfig { margin: 0.2, ..Default::default() }.init(path, 3, 2).unwrap())
    };
    let error = run(&path, &other, |t| t.network(&[6, 3]).unwrap()).unwrap_err().to_string();
    assert!(error.contains("`loss.lmcl.margin` is 0.35, expected 0.2"), "{error}");
    assert!(error.contains("`network` is [6,2], expected [6,3]"), "{error}");
    let sum =
        |path: &nn::Path<'_>| -> Box<dyn Loss> { Box::new(0.5 * LmclConfig::default().init(path, 3, 2).unwrap()) };
    let error = run(&path, &sum, |t| t.network(&[6, 2]).unwrap()).unwrap_err().to_string();
    assert!(error.contains("it is of the loss `lmcl`, expected `0.5·lmcl`"), "{error}");
}

#[derive(Debug)]
struct Mine(Option<&'static str>);

impl Loss for Mine {
    fn forward(&self, embeddings: &Tensor, _: &Tensor) -> Result<LossTerms> {
        Ok(LossTerms::single("mine", embeddings.square().mean(Kind::Float)))
    }

    fn check(&self, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn update(&mut self, _: &Tensor, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn kind(&self) -> LossKind {
        self.0.map_or_else(|| LossKind::new("mine", serde_json::Value::Null), |name| LossKind::new(name, 7.into()))
    }
}

#[test]
fn a_loss_of_ones_own_has_a_name() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run.safetensors");
    run(&path, &|_| Box::new(Mine(None)), |t| t).unwrap();
    let error = run(&path, &|_| Box::new(Mine(Some("other"))), |t| t).unwrap_err().to_string();
    assert!(error.contains("it is of the loss `mine`, expected `other`"), "{error}");
}

/// ArcFace's half a radian would be a margin of the cosine.
#[test]
fn a_configuration_of_one_loss_is_not_read_as_another_ones() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("head.safetensors");
    let vs = nn::VarStore::new(Device::Cpu);
    let head = ArcFaceConfig::default().init(&vs.root(), 3, 2).unwrap();
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    save(&path, &vs, &Meta { config: head.config(), classes: classes.clone() }).unwrap();
    let mut other = nn::VarStore::new(Device::Cpu);
    let lmcl = LmclConfig::default().init(&other.root(), 3, 2).unwrap();
    let before = lmcl.prototypes().detach().copy();
    let wanted = "its configuration is of `ArcFaceConfig`, expected `LmclConfig`";
    for error in [
        load::<LmclConfig>(&path, &mut other, &classes).unwrap_err().to_string(),
        describe::<LmclConfig>(&path).unwrap_err().to_string(),
    ] {
        assert!(error.ends_with(wanted), "{error}");
    }
    assert_eq!(lmcl.prototypes(), &before);
    load::<ArcFaceConfig>(&path, &mut other, &classes).unwrap();
    load::<serde_json::Value>(&path, &mut other, &classes).unwrap();
}

#[test]
fn heads_are_compared_by_kind_and_by_what_their_rows_mean() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("head.safetensors");
    let init = |space, vs: &nn::VarStore| {
        let center = CenterLossConfig { space, ..Default::default() };
        SoftLmcclConfig { center, ..Default::default() }.init(&(vs.root() / "loss"), 3, 2).unwrap()
    };
    let vs = nn::VarStore::new(Device::Cpu);
    let loss = init(CenterSpace::Raw, &vs);
    save_of(&path, &vs, &Meta { config: (), classes: vec![] }, &Origin::default().loss(&loss)).unwrap();

    let mut vs = nn::VarStore::new(Device::Cpu);
    let other = init(CenterSpace::UnitSphere, &vs);
    let error = load_head(&path, &mut vs, "loss", &other).unwrap_err().to_string();
    assert!(
        error.contains("rows of `center` are {\"space\":\"raw\"}, expected {\"space\":\"unit_sphere\"}"),
        "{error}"
    );

    // Margin and scale change nothing of a row; and the LMCL of a sum is an LMCL.
    let mut vs = nn::VarStore::new(Device::Cpu);
    let config = LmclConfig { margin: 0.1, scale: 30.0, ..Default::default() };
    let head = config.init(&(vs.root() / "loss" / "lmcl"), 3, 2).unwrap();
    load_head(&path, &mut vs, "loss.lmcl", &head).unwrap();
    assert_eq!(head.prototypes(), loss.lmcl().prototypes());
    let mut vs = nn::VarStore::new(Device::Cpu);
    let head = ArcFaceConfig::default().init(&(vs.root() / "loss" / "lmcl"), 3, 2).unwrap();
    let error = load_head(&path, &mut vs, "loss.lmcl", &head).unwrap_err().to_string();
    assert!(error.ends_with("its heads are of `lmcl + 0.3·center + softmax`, expected `arcface`"), "{error}");
}

#[test]
fn a_file_that_says_nothing_is_read_with_a_line() {
    heard();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("silent.safetensors");
    let mut vs = nn::VarStore::new(Device::Cpu);
    let head = LmclConfig::default().init(&(vs.root() / "loss"), 3, 2).unwrap();
    let tensors: Vec<_> = vs.variables().into_iter().collect();
    Tensor::write_safetensors(&tensors, &path).unwrap();
    load_head(&path, &mut vs, "loss", &head).unwrap();
    load_network(&path, &mut vs, "loss", &"any").unwrap();
    let said = heard_of(&path);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].ends_with("does not say which loss it is of: its rows are taken as `lmcl`'s"), "{said:?}");
    assert!(said[1].ends_with("does not say how its network is made: it is taken as it fits"), "{said:?}");
}

#[test]
fn prototypes_and_centers_go_over_to_more_classes() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("old.safetensors");
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let vs = nn::VarStore::new(Device::Cpu);
    let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 3, 2).unwrap();
    loss.update(&waves(&[3, 2], 0.7), &Tensor::from_slice(&[0i64, 1, 2])).unwrap();
    let meta = Meta { config: (), classes: names(&["a", "b", "c"]) };
    save_of(&path, &vs, &meta, &Origin::default().loss(&loss)).unwrap();

    let mut vs = nn::VarStore::new(Device::Cpu);
    let grown = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 5, 2).unwrap();
    let fresh = grown.lmcl().prototypes().detach().copy();
    let classes = names(&["new", "c", "a", "other", "b"]);
    assert_eq!(load_classes(&path, &mut vs, "loss", &grown, &classes).unwrap(), 3);
    for (to, from) in [(1, 2), (2, 0), (4, 1)] {
        assert_eq!(grown.lmcl().prototypes().get(to), loss.lmcl().prototypes().get(from));
        assert_eq!(grown.center().centers().get(to), loss.center().centers().get(from));
        assert_eq!(grown.softmax().unwrap().weight().get(to), loss.softmax().unwrap().weight().get(from));
    }
    for new in [0, 3] {
        assert_eq!(grown.lmcl().prototypes().get(new), fresh.get(new));
    }
    assert_eq!(Vec::<i64>::try_from(grown.center().updates()).unwrap(), [0, 1, 1, 0, 1]);

    let strangers = load_classes(&path, &mut vs, "loss", &grown, &names(&["v", "w", "x", "y", "z"]));
    assert!(strangers.unwrap_err().to_string().contains("have none of"));
}

#[test]
fn weights_are_compared_with_what_is_expected_of_them() {
    heard();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("of-lmcl.safetensors");
    let network = NetworkConfig::default().with_embedding_dim(2);
    let vs = nn::VarStore::new(Device::Cpu);
    let head = LmclConfig::default().init(&(vs.root() / "loss"), 3, 2).unwrap();
    let origin = Origin::default().loss(&head).network(&network).unwrap();
    save_of(&path, &vs, &Meta { config: (), classes: vec![] }, &origin).unwrap();

    // ArcFace's prototypes have the names and shapes of these.
    let mut vs = nn::VarStore::new(Device::Cpu);
    let other = ArcFaceConfig::default().init(&(vs.root() / "loss"), 3, 2).unwrap();
    let before = other.prototypes().detach().copy();
    for part in [None, Some("loss")] {
        let weights = |origin| {
            let weights = Weights::of(&path).expect(origin);
            match part {
                Some(part) => weights.part(part),
                None => weights,
            }
        };
        let error = weights(Origin::default().loss(&other)).load(&mut vs).unwrap_err().to_string();
        assert!(error.ends_with("its heads are of `lmcl`, expected `arcface`"), "{error}");
        let wider = network.clone().with_embedding_dim(3);
        let error = weights(Origin::default().network(&wider).unwrap()).load(&mut vs).unwrap_err().to_string();
        assert!(error.contains("embedding_dim` is 2, expected 3"), "{error}");
        assert_eq!(other.prototypes(), &before);
    }
    assert_eq!(heard_of(&path), Vec::<String>::new());

    // Compared with nothing, they are read, and a line says so.
    load_weights(&path, &mut vs).unwrap();
    load_part(&path, &mut vs, "loss").unwrap();
    assert_eq!(other.prototypes(), head.prototypes());
    let said = heard_of(&path);
    assert_eq!(said.len(), 2, "{said:?}");
    for line in said {
        assert!(line.contains("is of the loss `lmcl`, compared with nothing (see `Weights::expect`)"), "{line}");
    }

    let silent = directory.path().join("pytorch.safetensors");
    let tensors: Vec<_> = vs.variables().into_iter().collect();
    Tensor::write_safetensors(&tensors, &silent).unwrap();
    load_weights(&silent, &mut vs).unwrap();
    load_part(&silent, &mut vs, "loss").unwrap();
    let said = heard_of(&silent);
    assert_eq!(said.len(), 2, "{said:?}");
    for line in said {
        assert!(line.ends_with("does not say what its variables are of: they are taken by name and shape"), "{line}");
    }
}

#[test]
fn a_run_goes_on_with_the_same_parts_frozen() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run.safetensors");
    fn frozen(trainer: Trainer<'_, dyn Loss>) -> Trainer<'_, dyn Loss> {
        trainer.freeze("net")
    }
    run(&path, &lmcl, frozen).unwrap();
    let error = run(&path, &lmcl, |t| t).unwrap_err().to_string();
    assert!(error.ends_with("`net.bias` and 1 more are frozen in it but not here"), "{error}");
    let error = run(&path, &lmcl, |t| t.freeze("net.weight")).unwrap_err().to_string();
    assert!(error.ends_with("`net.bias` is frozen in it but not here"), "{error}");
    assert_eq!(run(&path, &lmcl, frozen).unwrap().steps, 2);

    run(&directory.path().join("other"), &lmcl, |t| t).unwrap();
    let error = run(&directory.path().join("other"), &lmcl, frozen).unwrap_err().to_string();
    assert!(error.ends_with("`net.bias` and 1 more are frozen here but not in it"), "{error}");
}
