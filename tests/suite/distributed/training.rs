//! Runs over ranks against runs on one, and checkpoints of so many ranks for others.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use soft_lmccl::{
    Error, Result,
    distributed::{Classes, Group},
    loss::{Loss, SoftLmccl, SoftLmcclConfig},
    model::{CompactNetConfig, compact_net},
    tch::{self, Device, Kind, Tensor, nn},
    train::{FitConfig, InMemory, Origin, Sampling, Step, Trainer, checkpoint},
};
use tempfile::TempDir;

use super::{RANKS_REL, drawn, finish, said, start};

pub(super) const DIRECTORY: &str = "SOFT_LMCCL_DIRECTORY";
const CLASSES: i64 = 7;
const SAMPLES: i64 = 20;
const DIM: i64 = 4;
const SIDE: i64 = 8;

pub(super) fn directory() -> PathBuf {
    std::env::var_os(DIRECTORY).expect("named by the test").into()
}

fn names() -> Vec<String> {
    (0..CLASSES).map(|class| format!("class-{class}")).collect()
}

pub(super) fn config() -> FitConfig {
    FitConfig {
        epochs: 2,
        batch_size: 7,
        sampling: Sampling::Plain,
        clip_norm: Some(3.0),
        accumulate: 2,
        seed: 3,
        ..Default::default()
    }
}

/// Samples in double precision, the same on every rank.
pub(super) fn data() -> (Tensor, Tensor) {
    let labels: Vec<i64> = (0..SAMPLES).map(|sample| (sample * 3) % CLASSES).collect();
    (drawn(50, SAMPLES, SIDE.pow(3)).view([SAMPLES, 1, SIDE, SIDE, SIDE]), Tensor::from_slice(&labels))
}

/// A network with or without batch normalization, whose first weights depend on the seed alone.
fn made(normalized: bool, classes: impl Into<Classes>) -> (nn::VarStore, Box<dyn nn::ModuleT>, SoftLmccl) {
    tch::manual_seed(8);
    let mut vs = nn::VarStore::new(Device::Cpu);
    let net: Box<dyn nn::ModuleT> = match normalized {
        true => {
            let config = CompactNetConfig { channels: vec![3], embedding_dim: DIM, ..Default::default() };
            Box::new(compact_net(&(vs.root() / "net"), SIDE, config).unwrap())
        }
        false => {
            let linear = nn::linear(vs.root() / "net", SIDE.pow(3), DIM, Default::default());
            Box::new(nn::func_t(move |x, _| x.flatten(1, -1).apply(&linear)))
        }
    };
    let loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), classes, DIM).unwrap();
    vs.double();
    (vs, net, loss)
}

/// A network behind a pointer.
#[derive(Debug)]
struct Net(Box<dyn nn::ModuleT>);

impl nn::ModuleT for Net {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        self.0.forward_t(x, train)
    }
}

/// Trains to `steps`, from the checkpoint in `directory` on if there is one.
pub(super) fn train(group: &Group, directory: &Path, normalized: bool, steps: usize, config: FitConfig) -> Result<()> {
    train_on(group, directory, normalized, config, |step| {
        if step.step == steps { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// The same, until `observe` breaks.
pub(super) fn train_on(
    group: &Group,
    directory: &Path,
    normalized: bool,
    config: FitConfig,
    observe: impl FnMut(&Step) -> ControlFlow<()>,
) -> Result<()> {
    train_with(group, group.classes(CLASSES), directory, normalized, config, observe)
}

/// The same, of classes that are shared out or that every rank has.
fn train_with(
    group: &Group,
    classes: impl Into<Classes>,
    directory: &Path,
    normalized: bool,
    config: FitConfig,
    observe: impl FnMut(&Step) -> ControlFlow<()>,
) -> Result<()> {
    let (vs, net, mut loss) = made(normalized, classes);
    let (volumes, labels) = data();
    Trainer::new(config)?
        .describe(&SoftLmcclConfig::default(), &names())?
        .group(group)
        .synchronize_batch_norm(true)
        .checkpoint(directory.join("run.safetensors"), 1)
        .log(directory.join("run.csv"))
        .resume(true)
        .run(&Net(net), &mut loss, &vs, &InMemory::new(&volumes, &labels)?, observe)
        .map(drop)
}

/// Trains on samples of which those that one rank reads are no numbers.
#[cfg(unix)]
pub(super) fn train_on_nan(group: &Group, rank: usize) -> Result<()> {
    let (vs, net, mut loss) = made(false, group.classes(CLASSES));
    let (volumes, labels) = data();
    let volumes = if group.rank() == rank { volumes * f64::NAN } else { volumes };
    let data = InMemory::new(&volumes, &labels)?;
    let run = Trainer::new(config())?.group(group);
    run.run(&Net(net), &mut loss, &vs, &data, |_| ControlFlow::Continue(())).map(drop)
}

pub(super) fn rank(group: &Group) {
    for (name, normalized) in [("plain", false), ("normalized", true)] {
        let directory = directory().join(name);
        train(group, &directory, normalized, 99, config()).unwrap();
    }
    let copied = directory().join("copied");
    train_with(group, CLASSES, &copied, true, config(), |_| ControlFlow::Continue(())).unwrap();
    // Where its observer stops, whichever rank that is of.
    let stopped = directory().join("stopped");
    train(group, &stopped, false, if group.rank() + 1 == group.size() { 2 } else { 99 }, config()).unwrap();
    train(group, &stopped, false, 99, config()).unwrap();
}

fn tensors(path: &Path) -> Vec<(String, Tensor)> {
    let mut tensors = Tensor::read_safetensors(path).unwrap();
    tensors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    tensors
}

#[track_caller]
pub(super) fn assert_alike(got: &Path, want: &Path, within: f64) {
    let (got, want) = (tensors(got), tensors(want));
    assert_eq!(got.len(), want.len());
    for ((name, got), (other, want)) in got.iter().zip(&want) {
        assert_eq!((name, got.size(), got.kind()), (other, want.size(), want.kind()));
        let (got, want) = (got.to_kind(Kind::Double), want.to_kind(Kind::Double));
        let off = (&got - &want).abs().max().double_value(&[]);
        let size = want.abs().max().double_value(&[]).max(1e-3);
        assert!(off <= within * size, "{name}: off by {off} of {size}");
    }
}

/// A checkpoint but for the seconds that its run took, which no seed decides.
pub(super) fn without_seconds(path: &Path) -> (String, Vec<u8>) {
    const SECONDS: &str = r#"\"seconds\":"#;
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = bytes[8..].split_at(length);
    // Blanks fill a header up.
    let header = str::from_utf8(header).unwrap().trim_end();
    let (before, after) = header.split_once(SECONDS).unwrap();
    let (seconds, after) = after.split_at(after.find(['}', ',']).unwrap());
    assert!(seconds.parse::<f64>().unwrap() > 0.0, "{seconds}");
    (format!("{before}{after}"), data.to_vec())
}

#[test]
fn a_run_over_ranks_is_the_run_on_one() {
    let directories: Vec<_> = (1..=4).map(|_| TempDir::new().unwrap()).collect();
    for (ranks, directory) in (1..).zip(&directories) {
        for name in ["plain", "normalized", "copied", "stopped"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let outputs = finish(start(ranks, "train", &[(DIRECTORY, directory.path().to_str().unwrap())]));
        for (rank, output) in outputs.iter().enumerate() {
            assert!(output.status.success(), "rank {rank} of {ranks}: {}", said(output));
        }
        let file = |of: &TempDir, name: &str| of.path().join(name).join("run.safetensors");
        for (name, one) in [("plain", "plain"), ("normalized", "normalized"), ("copied", "normalized")] {
            assert_alike(&file(directory, name), &file(&directories[0], one), RANKS_REL);
        }
        // Stopped and resumed on as many ranks: not a bit is different.
        assert!(without_seconds(&file(directory, "stopped")) == without_seconds(&file(directory, "plain")));
        let log = |name: &str| fs::read_to_string(directory.path().join(name).join("run.csv")).unwrap();
        assert_eq!(log("stopped"), log("plain"));
    }
}

/// Goes on with the runs that 1 to 4 ranks began.
pub(super) fn go_on(group: &Group) {
    for began in 1..=4 {
        train(group, &passed_on(&directory(), began, group.size()), false, 99, config()).unwrap();
    }
}

fn passed_on(directory: &Path, from: usize, to: usize) -> PathBuf {
    directory.join(format!("{from}-on-{to}"))
}

#[test]
fn a_run_goes_on_with_any_number_of_ranks() {
    let directory = TempDir::new().unwrap();
    let succeed = |ranks: usize, scenario: &str, directory: &Path| {
        for (rank, output) in
            finish(start(ranks, scenario, &[(DIRECTORY, directory.to_str().unwrap())])).iter().enumerate()
        {
            assert!(output.status.success(), "rank {rank} of {ranks}: {}", said(output));
        }
    };
    for began in 1..=4 {
        let begun = directory.path().join(began.to_string());
        fs::create_dir(&begun).unwrap();
        succeed(began, "train a while", &begun);
        for ranks in 1..=4 {
            let passed_on = passed_on(directory.path(), began, ranks);
            fs::create_dir(&passed_on).unwrap();
            for name in ["run.safetensors", "run.csv"] {
                fs::copy(begun.join(name), passed_on.join(name)).unwrap();
            }
        }
    }
    (1..=4).for_each(|ranks| succeed(ranks, "go on", directory.path()));
    let file = |from, to| passed_on(directory.path(), from, to).join("run.safetensors");
    for (began, ranks) in (1..=4).flat_map(|began| (1..=4).map(move |ranks| (began, ranks))) {
        assert_alike(&file(began, ranks), &file(1, 1), RANKS_REL);
    }
}

/// Writes `k.safetensors` on k ranks, or reads all of those and writes them again.
pub(super) fn files(group: &Group, again: bool) {
    let meta = checkpoint::Meta { config: (), classes: names() };
    let directory = directory();
    let (mut vs, _net, loss) = made(false, group.classes(CLASSES));
    let origin = Origin::default().loss(&loss);
    let written = |ranks: usize| directory.join(format!("{ranks}.safetensors"));
    if !again {
        return checkpoint::save_of(written(group.size()), &vs, &meta, &origin).unwrap();
    }
    for ranks in 1..=4 {
        let _frozen = tch::no_grad_guard();
        vs.variables().into_values().for_each(|mut variable| drop(variable.fill_(-1.0)));
        checkpoint::load_of::<()>(written(ranks), &mut vs, &names(), &origin).unwrap();
        let copy = directory.join(format!("{ranks}-on-{}.safetensors", group.size()));
        checkpoint::save_of(&copy, &vs, &meta, &origin).unwrap();
        vs.variables().into_values().for_each(|mut variable| drop(variable.fill_(-1.0)));
        checkpoint::load_head(&copy, &mut vs, "loss", &loss).unwrap();
    }
    // Without saying whose rows they are they do not fit, and nothing is read.
    if group.size() > 1 {
        let error = checkpoint::load::<()>(written(1), &mut vs, &names()).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    }
    assert_eq!(loss.num_classes(), Some(CLASSES));
}

#[test]
fn checkpoints_of_any_number_of_ranks_are_one_file() {
    let directory = TempDir::new().unwrap();
    for scenario in ["write", "write again"] {
        for ranks in 1..=4 {
            let outputs = finish(start(ranks, scenario, &[(DIRECTORY, directory.path().to_str().unwrap())]));
            for (rank, output) in outputs.iter().enumerate() {
                assert!(output.status.success(), "rank {rank} of {ranks}: {}", said(output));
            }
        }
    }
    // Also the first weights do not depend on the number of ranks.
    let bytes = |name: &str| fs::read(directory.path().join(name)).unwrap();
    let whole = bytes("1.safetensors");
    for ranks in 1..=4 {
        assert!(bytes(&format!("{ranks}.safetensors")) == whole, "written on {ranks}");
        for readers in 1..=4 {
            assert!(bytes(&format!("{ranks}-on-{readers}.safetensors")) == whole, "of {ranks}, read on {readers}");
        }
    }
}
