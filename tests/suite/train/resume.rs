//! A run that was interrupted, in whatever way, ends with the bits of one that was not.

use std::{
    fs,
    ops::ControlFlow,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use soft_lmccl::{
    Error, Result,
    loss::{SoftLmccl, SoftLmcclConfig},
    tch::{self, Device, Kind, Tensor, nn, nn::ModuleT},
    train::{End, FitConfig, InMemory, Outcome, Sampling, Schedule, Step, Trainer, TrainingSet, WarmUp, checkpoint},
};
use tempfile::TempDir;

use super::waves;

const CLASSES: i64 = 4;
const SAMPLES: i64 = 22;
const D: i64 = 5;

/// A network that keeps running statistics and may draw random numbers.
///
/// libtorch has one generator for all threads, hence for all tests of this process: what draws runs in a
/// process of its own, and first weights and data here are no random numbers.
#[derive(Debug)]
struct Net {
    linear: nn::Linear,
    norm: nn::BatchNorm,
    dropout: f64,
}

impl ModuleT for Net {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let embeddings = x.flatten(1, -1).apply(&self.linear).apply_t(&self.norm, train);
        if self.dropout > 0.0 { embeddings.dropout(self.dropout, train) } else { embeddings }
    }
}

fn config() -> FitConfig {
    FitConfig {
        epochs: 5,
        batch_size: 6,
        sampling: Sampling::Balanced { samples_per_class: 2 },
        seed: 11,
        ..Default::default()
    }
}

fn names() -> Vec<String> {
    ["a", "b", "c", "d"].map(String::from).to_vec()
}

type Run = Trainer<'static, SoftLmccl>;

struct Sitting {
    vs: nn::VarStore,
    net: Net,
    loss: SoftLmccl,
    trainer: Run,
}

/// The run of these tests, at its start.
fn sitting(config: FitConfig, directory: &Path) -> Sitting {
    tch::set_num_threads(1);
    let vs = nn::VarStore::new(Device::Cpu);
    let path = vs.root() / "net";
    let net = Net {
        linear: nn::linear(&path / "linear", 8, D, Default::default()),
        norm: nn::batch_norm1d(&path / "norm", D, Default::default()),
        dropout: 0.0,
    };
    let target = SoftLmcclConfig::default();
    let loss = target.init(&(vs.root() / "loss"), CLASSES, D).unwrap();
    for (mut variable, seed) in vs.trainable_variables().into_iter().zip(1..) {
        let values = waves(&variable.size(), f64::from(seed));
        let _frozen = tch::no_grad_guard();
        variable.copy_(&(values * 0.3));
    }
    let trainer = Trainer::new(config)
        .unwrap()
        .describe(&target, &names())
        .unwrap()
        .checkpoint(directory.join("run.safetensors"), 3)
        .resume(true)
        .log(directory.join("run.csv"))
        .before_step(move |loss, progress| WarmUp { margin: 0.4, center_weight: 0.2 }.apply(loss, &target, progress));
    Sitting { vs, net, loss, trainer }
}

fn data() -> (Tensor, Tensor) {
    (waves(&[SAMPLES, 1, 2, 2, 2], 0.1) * 2.0, Tensor::arange(SAMPLES, (Kind::Int64, Device::Cpu)).remainder(CLASSES))
}

fn variables(vs: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut all: Vec<_> = vs.variables().into_iter().map(|(name, v)| (name, v.detach().copy())).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Trains up to `stop_at` steps in this sitting's directory.
fn train(
    config: FitConfig,
    directory: &Path,
    change: impl FnOnce(Run) -> Run,
    mut observe: impl FnMut(&Step) -> ControlFlow<()>,
) -> Result<(Outcome, Vec<(String, Tensor)>)> {
    let (volumes, labels) = data();
    let Sitting { vs, net, mut loss, trainer } = sitting(config, directory);
    let outcome =
        change(trainer).run(&net, &mut loss, &vs, &InMemory::new(&volumes, &labels)?, |step| observe(step))?;
    Ok((outcome, variables(&vs)))
}

fn to_the_end(_: &Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("run.csv")).unwrap()
}

#[test]
fn a_run_stopped_anywhere_continues_bit_for_bit() {
    let whole = TempDir::new().unwrap();
    for (sampling, schedule) in
        [(Sampling::Plain, Schedule::Cosine), (Sampling::Balanced { samples_per_class: 2 }, Schedule::OneCycle)]
    {
        let config = FitConfig { sampling, schedule, ..config() };
        fs::remove_file(whole.path().join("run.safetensors")).ok();
        let (outcome, expected) = train(config, whole.path(), |t| t, to_the_end).unwrap();
        let steps = config.steps(SAMPLES as usize);
        assert_eq!((outcome.end, outcome.steps, steps), (End::Finished, steps, 18));
        let rows: Vec<_> = log(whole.path()).lines().map(str::to_owned).collect();
        assert_eq!(
            (rows.len(), &*rows[0]),
            (steps + 1, "step,epoch,learning_rate,validation,total,lmcl,center,softmax")
        );
        for stop in 1..=steps {
            let directory = TempDir::new().unwrap();
            let (outcome, _) = train(
                config,
                directory.path(),
                |t| t,
                |step| match step.step == stop {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                },
            )
            .unwrap();
            assert_eq!((outcome.end, outcome.steps), (End::Stopped, stop));
            let mut seen = Vec::new();
            let (outcome, weights) = train(
                config,
                directory.path(),
                |t| t,
                |step| {
                    seen.push(step.step);
                    ControlFlow::Continue(())
                },
            )
            .unwrap();
            assert_eq!(seen, (stop + 1..=steps).collect::<Vec<_>>());
            assert_eq!(outcome.end, End::Finished);
            assert_eq!(weights, expected, "stopped after {stop}");
            assert_eq!(log(directory.path()), log(whole.path()), "stopped after {stop}");
        }
    }
}

/// A failure of the data, a panic of the observer: the file stays at the last multiple of three steps.
#[test]
fn a_run_that_failed_continues_from_its_last_checkpoint() {
    #[derive(Debug)]
    struct Fails<'a>(InMemory<'a>, usize);
    impl TrainingSet for Fails<'_> {
        fn labels(&self) -> &[i64] {
            self.0.labels()
        }
        fn inputs(&self, indices: &[usize], step: usize) -> Result<Tensor> {
            match step == self.1 {
                true => Err(Error::Config { field: "step", expected: "volumes".into(), got: "no more".into() }),
                false => self.0.inputs(indices, step),
            }
        }
    }
    let whole = TempDir::new().unwrap();
    let (_, expected) = train(config(), whole.path(), |t| t, to_the_end).unwrap();
    for fails_at in [0, 2, 3, 4, 17] {
        for panics in [false, true] {
            let directory = TempDir::new().unwrap();
            let (volumes, labels) = data();
            let Sitting { vs, net, mut loss, trainer } = sitting(config(), directory.path());
            let set = Fails(InMemory::new(&volumes, &labels).unwrap(), if panics { 99 } else { fails_at });
            let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                trainer.run(&net, &mut loss, &vs, &set, |step| {
                    assert!(!(panics && step.step > fails_at), "the observer's own");
                    ControlFlow::Continue(())
                })
            }));
            assert_eq!(end.is_err(), panics);
            if let Ok(end) = end {
                assert_eq!(end.unwrap_err().to_string(), "invalid `step`: expected volumes, got no more");
            }
            assert!((Tensor::ones([1], (Kind::Float, Device::Cpu)).set_requires_grad(true) * 2).requires_grad());
            let mut first = None;
            let (_, weights) = train(
                config(),
                directory.path(),
                |t| t,
                |step| {
                    first.get_or_insert(step.step);
                    ControlFlow::Continue(())
                },
            )
            .unwrap();
            assert_eq!(first, Some(fails_at / 3 * 3 + 1));
            assert_eq!(weights, expected);
            assert_eq!(log(directory.path()), log(whole.path()));
        }
    }
}

#[test]
fn validation_keeps_the_best_and_ends_what_no_longer_improves() {
    let scores = [0.5, 0.7, 0.7, 0.6, 0.9];
    let directory = TempDir::new().unwrap();
    let best = directory.path().join("best.safetensors");
    let run = |patience: Option<usize>, stop: usize, first: usize| {
        let mut next = first;
        let config = FitConfig { patience, ..config() };
        let validated = |t: Run| {
            let scores = scores.to_vec();
            t.keep_best(&best).validate(move || {
                next += 1;
                Ok(scores[next - 1])
            })
        };
        train(config, directory.path(), validated, |step| match step.step == stop {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    };
    let (outcome, _) = run(None, 99, 0).unwrap();
    let found = outcome.best.unwrap();
    assert_eq!((outcome.end, outcome.steps, found.epoch), (End::Finished, 18, 5));
    // 22 samples in batches of 6: epochs end with steps 4, 8, 11, 15 and, short of its last two samples, 18.
    let text = log(directory.path());
    let validated: Vec<_> = text
        .lines()
        .skip(1)
        .filter(|row| row.split(',').nth(3) != Some(""))
        .map(|row| row.split(',').next().unwrap())
        .collect();
    assert_eq!(validated, ["4", "8", "11", "15", "18"]);

    fs::remove_file(directory.path().join("run.safetensors")).unwrap();
    let (outcome, last) = run(Some(2), 99, 0).unwrap();
    let found = outcome.best.unwrap();
    assert_eq!((outcome.end, outcome.steps, found.epoch, found.score), (End::Early, 15, 2, 0.7));
    // It stays ended, and what it kept is the second epoch's.
    let (outcome, again) = run(Some(2), 99, 4).unwrap();
    assert_eq!((outcome.end, outcome.steps), (End::Early, 15));
    assert_eq!(again, last);
    let kept = load_weights_of(&best);
    assert_ne!(kept, last);
    fs::remove_file(directory.path().join("run.safetensors")).unwrap();
    let (_, second) = run(Some(2), 8, 0).unwrap();
    assert_eq!(kept, second);
    // Interrupted between epochs it forgets neither the best score nor how long ago it was.
    let (outcome, resumed) = run(Some(2), 99, 2).unwrap();
    assert_eq!((outcome.end, outcome.steps), (End::Early, 15));
    assert_eq!(resumed, last);
}

fn load_weights_of(path: &Path) -> Vec<(String, Tensor)> {
    let directory = TempDir::new().unwrap();
    let Sitting { mut vs, .. } = sitting(config(), directory.path());
    checkpoint::load::<SoftLmcclConfig>(path, &mut vs, &names()).unwrap();
    variables(&vs)
}

#[test]
fn a_score_that_is_no_number_is_refused() {
    let directory = TempDir::new().unwrap();
    let error = train(config(), directory.path(), |t| t.validate(|| Ok(f64::NAN)), to_the_end).unwrap_err();
    assert_eq!(error.to_string(), "validation: expected a finite score after epoch 1, got NaN");
}

#[test]
fn a_checkpoint_of_another_run_is_refused_with_every_difference() {
    let directory = TempDir::new().unwrap();
    train(config(), directory.path(), |t| t, |_| ControlFlow::Break(())).unwrap();
    let path = directory.path().join("run.safetensors");
    let before = fs::read(&path).unwrap();
    let other = FitConfig { epochs: 6, learning_rate: 0.5, sampling: Sampling::Plain, ..config() };
    let describe = |t: Run| {
        let config = SoftLmcclConfig { center_weight: 0.7, ..Default::default() };
        t.describe(&config, &["a", "b", "d", "c"].map(String::from)).unwrap()
    };
    let error = train(other, directory.path(), describe, |_| panic!("no step")).unwrap_err().to_string();
    for part in [
        "classes [\"a\", \"b\", \"c\", \"d\"], expected [\"a\", \"b\", \"d\", \"c\"]",
        "`config.center_weight` is 0.3, expected 0.7",
        "`fit.epochs` is 5, expected 6",
        "`fit.learning_rate` is 0.003, expected 0.5",
        "`fit.sampling` is {\"balanced\":{\"samples_per_class\":2}}, expected \"plain\"",
        "the sampler's position is of other samples",
    ] {
        assert!(error.contains(part), "{part:?} not in {error:?}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);

    let weights_only = directory.path().join("weights.safetensors");
    let Sitting { vs, loss, .. } = sitting(config(), directory.path());
    let meta = checkpoint::Meta { config: loss.config(), classes: names() };
    checkpoint::save(&weights_only, &vs, &meta).unwrap();
    fs::rename(&weights_only, &path).unwrap();
    let error = train(config(), directory.path(), |t| t, |_| panic!("no step")).unwrap_err().to_string();
    assert!(error.ends_with("run.safetensors: it holds weights, but not the state of a run"), "{error}");
}

#[test]
fn a_log_that_does_not_fit_is_refused() {
    let directory = TempDir::new().unwrap();
    train(
        config(),
        directory.path(),
        |t| t,
        |step| match step.step {
            5 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        },
    )
    .unwrap();
    let text = log(directory.path());
    for (found, problem) in [
        (String::new(), "it ends before step 5, where the checkpoint stands"),
        (text.lines().take(5).fold(String::new(), |all, line| all + line + "\n"), "it ends before step 5"),
        (text.replacen("total", "sum", 1), "line 1 does not begin with step,epoch,learning_rate,validation,total"),
        (text.replacen("\n4,", "\n5,", 1), "line 5 is not of step 4"),
    ] {
        fs::write(directory.path().join("run.csv"), found).unwrap();
        let error = train(config(), directory.path(), |t| t, |_| panic!("no step")).unwrap_err().to_string();
        assert!(error.contains("run.csv: ") && error.contains(problem), "{error}");
    }
    // A row after the checkpoint, cut short by a crash, is no damage.
    fs::write(directory.path().join("run.csv"), text + "6,1,0.00").unwrap();
    train(config(), directory.path(), |t| t, to_the_end).unwrap();
    let whole = TempDir::new().unwrap();
    train(config(), whole.path(), |t| t, to_the_end).unwrap();
    assert_eq!(log(directory.path()), log(whole.path()));
}

#[test]
fn a_new_run_replaces_an_old_one_unless_it_resumes() {
    let directory = TempDir::new().unwrap();
    train(config(), directory.path(), |t| t, to_the_end).unwrap();
    let (outcome, _) = train(config(), directory.path(), |t| t.resume(false), |_| ControlFlow::Break(())).unwrap();
    assert_eq!(outcome.steps, 1);
    assert_eq!(log(directory.path()).lines().count(), 2);
    let (outcome, _) = train(config(), directory.path(), |t| t, |_| ControlFlow::Break(())).unwrap();
    assert_eq!(outcome.steps, 2);
}

/// How often the next test kills.
const KILLS: usize = 20;

/// The process that the next test kills: it does nothing unless that test names a directory.
#[test]
#[ignore = "started and killed by `a_run_killed_at_random_moments_continues_bit_for_bit`"]
fn victim() {
    let Some(directory) = std::env::var_os("SOFT_LMCCL_VICTIM") else { return };
    let config = FitConfig { epochs: 400, sampling: Sampling::Plain, ..config() };
    let (volumes, labels) = data();
    let Sitting { vs, mut net, mut loss, trainer } = sitting(config, Path::new(&directory));
    net.dropout = 0.3;
    trainer.run(&net, &mut loss, &vs, &InMemory::new(&volumes, &labels).unwrap(), to_the_end).unwrap();
}

fn victim_in(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["train::resume::victim", "--exact", "--ignored", "--nocapture"])
        .env("SOFT_LMCCL_VICTIM", directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_run_killed_at_random_moments_continues_bit_for_bit() {
    let (whole, killed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    assert!(victim_in(whole.path()).wait().unwrap().success());
    let expected = load_weights_of(&whole.path().join("run.safetensors"));
    let mut rng = ChaCha8Rng::seed_from_u64(std::process::id().into());
    let path = killed.path().join("run.safetensors");
    let stamp = || fs::metadata(&path).and_then(|file| file.modified()).ok();
    for kill in 0..KILLS {
        let before = stamp();
        let mut victim = victim_in(killed.path());
        // Some time after its first checkpoint: within a step or within the writing of a file.
        while stamp() == before && victim.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
        // SIGKILL on Unix.
        victim.kill().unwrap();
        assert!(!victim.wait().unwrap().success(), "over after {kill} kills: the run is too short for this test");
        load_weights_of(&path);
    }
    assert!(victim_in(killed.path()).wait().unwrap().success());
    assert_eq!(load_weights_of(&path), expected);
    assert_eq!(log(killed.path()), log(whole.path()));
    let mut left: Vec<_> = fs::read_dir(killed.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["run.csv", "run.safetensors"], "nothing half-written");
}

/// Plain batches do not look at labels, but the run that they continue is another one with others.
#[test]
fn other_labels_are_another_run() {
    let directory = TempDir::new().unwrap();
    let config = FitConfig { sampling: Sampling::Plain, ..config() };
    let (volumes, labels) = data();
    let run = |labels: &Tensor| {
        let Sitting { vs, net, mut loss, trainer } = sitting(config, directory.path());
        trainer.run(&net, &mut loss, &vs, &InMemory::new(&volumes, labels).unwrap(), |_| ControlFlow::Break(()))
    };
    run(&labels).unwrap();
    let error = run(&labels.roll([1], [0])).unwrap_err().to_string();
    assert!(error.ends_with("the sampler's position is of other samples or labels"), "{error}");
    assert_eq!(run(&labels).unwrap().steps, 2);
}

/// `x + √w` at `w = 0`: the loss is finite, its gradient is not.
#[derive(Debug)]
struct Root(Tensor);

impl ModuleT for Root {
    fn forward_t(&self, x: &Tensor, _: bool) -> Tensor {
        x + self.0.sqrt()
    }
}

#[test]
fn weights_that_are_no_numbers_replace_no_checkpoint() {
    for (epochs, every) in [(1, 1), (2, 1), (1, 9)] {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("run.safetensors");
        let vs = nn::VarStore::new(Device::Cpu);
        let net = Root(vs.root().zeros("root", &[D]));
        let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 2, D).unwrap();
        let (volumes, labels) = (waves(&[4, D], 0.3), Tensor::from_slice(&[0i64, 1, 0, 1]));
        let config = FitConfig { epochs, batch_size: 4, ..Default::default() };
        let best = directory.path().join("best.safetensors");
        let trainer = Trainer::new(config).unwrap().checkpoint(&path, every).validate(|| Ok(0.5)).keep_best(&best);
        let error =
            trainer.run(&net, &mut loss, &vs, &InMemory::new(&volumes, &labels).unwrap(), to_the_end).unwrap_err();
        assert_eq!(error.to_string(), "training diverged at step 1: the gradient of `root` is NaN or infinite");
        assert!(!path.exists() && !best.exists());
    }
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_refused_before_the_first_step() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("missing").join("run.safetensors");
    let error =
        train(config(), directory.path(), |trainer| trainer.checkpoint(&path, 1), |_| panic!("a step")).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", path.display()));
}

/// What a run would find out after an epoch, or never.
#[test]
fn a_best_file_that_would_not_hold_the_best_weights_is_refused_before_the_first_step() {
    let directory = TempDir::new().unwrap();
    let refused = |change: fn(Run, &Path) -> Run, best: &str| {
        let path = directory.path().join(best);
        let change = |trainer| change(trainer, &path);
        let error = train(config(), directory.path(), change, |_| panic!("a step")).unwrap_err();
        error.to_string().replace(&directory.path().display().to_string(), "DIR")
    };
    assert_eq!(
        refused(|trainer, best| trainer.keep_best(best), "best.safetensors"),
        "invalid `keep_best`: expected a validation that says which weights are best, got DIR/best.safetensors without one"
    );
    let validated = |trainer: Run, best: &Path| trainer.keep_best(best).validate(|| Ok(0.5));
    assert_eq!(refused(validated, "missing/best.safetensors"), "cannot write DIR/missing/best.safetensors");
    for same in ["run.safetensors", "run.csv"] {
        assert_eq!(
            refused(validated, same),
            format!("invalid `keep_best`: expected a file that the run writes nothing else to, got DIR/{same}")
        );
    }
    let log_in_its_place = |trainer: Run, best: &Path| trainer.checkpoint(best, 1).log(best);
    assert_eq!(
        refused(log_in_its_place, "one.file"),
        "invalid `log`: expected a file that the run writes nothing else to, got DIR/one.file"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn nothing_is_resumed_without_a_checkpoint() {
    let vs = nn::VarStore::new(Device::Cpu);
    let mut loss = SoftLmcclConfig::default().init(&vs.root(), 2, D).unwrap();
    let (volumes, labels) = (waves(&[4, D], 0.3), Tensor::from_slice(&[0i64, 1, 0, 1]));
    let data = InMemory::new(&volumes, &labels).unwrap();
    let trainer = Trainer::new(FitConfig { batch_size: 4, ..Default::default() }).unwrap().resume(true);
    let error = trainer.run(&Root(Tensor::ones([D], (Kind::Float, Device::Cpu))), &mut loss, &vs, &data, to_the_end);
    assert_eq!(error.unwrap_err().to_string(), "invalid `resume`: expected a checkpoint to go on from, got none");
}

#[test]
fn a_run_without_end_tells_so() {
    let config = FitConfig { epochs: usize::MAX, ..config() };
    assert_eq!(FitConfig { batch_size: 0, ..config }.steps(100), 0);
    let directory = TempDir::new().unwrap();
    let mut remaining = Duration::ZERO;
    train(
        config,
        directory.path(),
        |trainer| trainer,
        |step| {
            remaining = step.remaining;
            ControlFlow::Break(())
        },
    )
    .unwrap();
    assert!(remaining > Duration::from_secs(3600));
}
