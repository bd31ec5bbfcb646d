//! The study, tested: the plan as data, where its samples come from, and a whole small run.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    ops::ControlFlow,
    path::Path,
    sync::{Mutex, PoisonError},
};

use clap::{CommandFactory, Parser};
use soft_lmccl::{
    cect::{AugmentConfig, Contrast, Map, Volume},
    loss::SoftLmcclConfig,
    model::Trained,
    tch::{Device, Tensor, nn},
    train::{Step, TrainingSet, WarmUp, checkpoint},
};

use super::{
    args::Args,
    cell_tests::record,
    data::Domains,
    output::{Results, notes},
    plan::{self, Domain, Roles, Run, Stage},
    recipe::{Objective, Regime, Supply},
    settings::{NeuronData, Settings, Size},
    store::Store,
    train::{self, Observer, Record, Shared},
};

/// What draws from libtorch's one generator, and expects its numbers again.
pub static TORCH: Mutex<()> = Mutex::new(());

pub fn base() -> SoftLmcclConfig {
    Settings::of(Size::Cpu).soft_lmccl
}

#[test]
fn every_domain_has_what_it_is_asked_for() {
    let domains = Domains::open(&Settings::of(Size::Smoke)).unwrap();
    for domain in Domain::ALL {
        let source = domains.source(domain, Roles::Split(0), 1, Supply::default()).unwrap();
        let (train, test) = source.sizes();
        let expected = if domain == Domain::R1 { (3, 3, 144) } else { (17, 6, 230) };
        assert_eq!((source.known().len(), source.unknown().len(), train + test), expected, "{domain}");
    }
    let more = Supply { times: 4, extra_classes: true, ..Default::default() };
    let source = domains.source(Domain::S2, Roles::Split(0), 1, more).unwrap();
    assert_eq!((source.known().len(), source.unknown().len(), source.sizes().0), (26, 6, 26 * 40));
    let tuned = domains.source(Domain::S2, Roles::Validation, 1, more).unwrap();
    assert_eq!(tuned.known(), source.known());
    let verified = [source.unknown(), tuned.unknown()].concat();
    assert_eq!(verified.iter().collect::<HashSet<_>>().len(), 12);
    assert!(!verified.iter().any(|name| tuned.known().contains(name)), "{verified:?}");
}

/// Classes made of the known ones come after them, and nothing of the unknown ones is in them.
#[test]
fn invented_classes_are_known() {
    let domains = Domains::open(&Settings::of(Size::Smoke)).unwrap();
    let of = |invented, roles| {
        let supply = Supply { extra_classes: true, invented, ..Default::default() };
        domains.source(Domain::S2, roles, 1, supply).unwrap()
    };
    for roles in [Roles::Split(0), Roles::Validation] {
        let (without, with) = (of(0, roles), of(5, roles));
        assert_eq!(with.known()[..26], without.known());
        assert_eq!(with.known()[26..], [0, 1, 2, 3, 4].map(|index| format!("invented-{index}")));
        assert_eq!(with.unknown(), without.unknown());
        assert_eq!(with.sizes(), (31 * 10, 6 * 10));
    }
}

/// What is made when asked for is what would have been held.
#[test]
fn a_stream_has_the_samples_of_a_set_in_memory() {
    let _alone = TORCH.lock().unwrap_or_else(PoisonError::into_inner);
    let domains = Domains::open(&Settings::of(Size::Smoke)).unwrap();
    let supply = Supply { extra_classes: true, streamed: true, ..Default::default() };
    let source = domains.source(Domain::S2, Roles::Split(0), 1, supply).unwrap();
    let held = source.train(|_| {}).unwrap();
    let of_first = |known: i64| held.labels.lt(known).nonzero().flatten(0, -1);
    for known in [26, 5] {
        let stream = source.stream(known as usize).unwrap();
        let rows = of_first(known);
        assert_eq!(stream.labels(), Vec::<i64>::try_from(held.labels.index_select(0, &rows)).unwrap());
        assert_eq!(stream.labels().len() as i64, 10 * known);
        let asked = [7, 0, 31];
        let want = held.volumes.index_select(0, &rows.index_select(0, &Tensor::from_slice(&asked)));
        assert_eq!(stream.inputs(&asked.map(|row| row as usize), 3).unwrap(), want);
    }
}

/// A cube of `side` voxels of 10.5 Å that repeats nowhere soon.
fn tomogram(path: &Path, side: usize) {
    let voxels = (0..side.pow(3)).map(|voxel| (voxel * 7919 % 10_007) as f32).collect();
    Map::from_volume(&Volume::new(side, voxels).unwrap(), 10.5).save(path).unwrap();
}

#[test]
fn particles_are_put_into_a_tomogram() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tomogram.mrc");
    tomogram(&path, 32);
    let background = |path: &Path| NeuronData::background(path, Contrast::DarkProtein).unwrap();
    let settings = Settings { neuron: background(&path), ..Settings::of(Size::Smoke) };
    let source = Domains::open(&settings).unwrap().source(Domain::R1, Roles::Split(0), 1, Supply::default()).unwrap();
    assert_eq!((source.known().len(), source.unknown().len(), source.sizes()), (17, 6, (170, 60)));
    let about = "simulated particles in patches of a real tomogram, at SNR 0.05; 16³ voxels of 10.5 Å, 6 µm \
                 underfocus, tilts to ±50°";
    assert_eq!(source.describe(), about);
    // Results belong to the content of the file, not to its name.
    let run = &plan::plan(&[Stage::Tables], base(), &[Domain::R1])[0];
    let before = settings.fingerprint(run);
    assert_ne!(before, Settings::of(Size::Smoke).fingerprint(run));
    tomogram(&path, 33);
    assert_ne!(Settings { neuron: background(&path), ..settings.clone() }.fingerprint(run), before);
    tomogram(&path, 12);
    let message = Domains::open(&settings).unwrap_err().to_string();
    assert!(message.contains("expected patches that fit into the tomogram of 12 × 12 × 12 voxels"), "{message}");
}

/// Subtomograms of four classes, and the table that names them.
fn subtomograms(dir: &Path) -> std::path::PathBuf {
    let mut table = "path,label\n".to_owned();
    for sample in 0..48 {
        let label = ["ribosome", "proteasome", "membrane", "none"][sample % 4];
        let voxels = (0..18usize.pow(3)).map(|voxel| ((voxel * (7 + sample % 4) + sample * 31) % 1013) as f32);
        let name = format!("{sample}.mrc");
        Map::from_volume(&Volume::new(18, voxels.collect()).unwrap(), 13.68).save(dir.join(&name)).unwrap();
        table += &format!("{name},{label}\n");
    }
    let path = dir.join("particles.csv");
    fs::write(&path, table).unwrap();
    path
}

#[test]
fn a_study_takes_subtomograms_of_the_users() {
    let _alone = TORCH.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let table = subtomograms(dir.path());
    let table = table.to_str().unwrap();
    let out = dir.path().join("out");
    let own = ["--subtomograms", table, "--known", "none,membrane", "--only", "R1-split0-seed1-softmax"];
    study_in(&out, &own).unwrap();
    let record = fs::read(out.join("runs/R1-split0-seed1-softmax.json")).unwrap();
    let record: Record = serde_json::from_slice(&record).unwrap();
    assert_eq!((record.known.as_slice(), record.threads), (&["membrane", "none"].map(String::from)[..], Some(1)));
    let markdown = fs::read_to_string(out.join("results.md")).unwrap();
    assert!(markdown.contains("Z; libtorch with 1 thread\n"), "{markdown}");
    assert_eq!(record.evaluation(Domain::R1).unwrap().classes, ["proteasome", "ribosome"]);
    assert_eq!(record.evaluation(Domain::R1).unwrap().report.embeddings, 24);
    let refused = study_in(&out, &["--subtomograms", table, "--known", "ribosom"]).unwrap_err().to_string();
    assert_eq!(
        refused,
        "invalid `--known`: expected classes of the table: membrane, none, proteasome, ribosome, got ribosom"
    );
    // Results belong to the content of the files that the table names.
    fs::copy(dir.path().join("3.mrc"), dir.path().join("7.mrc")).unwrap();
    let refused = study_in(&out, &own).unwrap_err().to_string();
    assert!(refused.contains("made with other settings"), "{refused}");
    // The same directory does not hold the results of two kinds of R1.
    let refused = study_in(&out, &["--only", "R1-split0-seed1-softmax"]).unwrap_err().to_string();
    assert!(refused.contains("made with other settings"), "{refused}");
}

#[test]
fn too_few_subtomograms_are_told_before_work() {
    let dir = tempfile::tempdir().unwrap();
    let table = subtomograms(dir.path());
    let all = fs::read_to_string(&table).unwrap();
    // The first so many of each class.
    let keep = |counts: &[(&str, usize)]| {
        let mut kept = vec!["path,label"];
        for &(label, count) in counts {
            kept.extend(all.lines().filter(|line| line.ends_with(&format!(",{label}"))).take(count));
        }
        fs::write(&table, kept.join("\n")).unwrap();
    };
    let out = dir.path().join("out");
    let refused = |only: &str| {
        let own = ["--subtomograms", table.to_str().unwrap(), "--known", "none,membrane", "--only", only];
        let message = study_in(&out, &own).unwrap_err().to_string();
        assert_eq!(fs::read_dir(out.join("runs")).unwrap().count(), 0, "{message}");
        message
    };
    let known = [("none", 12), ("membrane", 12)];
    keep(&[known[0], known[1], ("ribosome", 12), ("proteasome", 5)]);
    assert_eq!(
        refused("S1-split0-seed1-softmax"),
        "invalid `--subtomograms`: expected more than 5 of each class that is verified, as so many are enrolled, got 5 \
         of proteasome for S1-split0-seed1-softmax"
    );
    keep(&[known[0], known[1], ("ribosome", 12)]);
    assert_eq!(
        refused("S2-split0-seed1-softmax"),
        "invalid `--subtomograms`: expected two classes or more to tell apart beside the known ones, got ribosome for \
         S2-split0-seed1-softmax"
    );
    keep(&[("none", 7), ("membrane", 8), ("ribosome", 12), ("proteasome", 12)]);
    assert_eq!(
        refused("R1-split0-seed1-softmax"),
        "invalid `--subtomograms`: expected 16 or more of the known classes, which fill a batch, got 15 for \
         R1-split0-seed1-softmax"
    );
    Map::from_volume(&Volume::new(18, vec![1.0; 18usize.pow(3)]).unwrap(), 13.68)
        .save(dir.path().join("1.mrc"))
        .unwrap();
    keep(&[known[0], known[1], ("ribosome", 12), ("proteasome", 12)]);
    let message = refused("S1-split0-seed1-softmax");
    assert!(message.ends_with("1.mrc: expected voxels that differ, got 1 in all 16³"), "{message}");
}

#[test]
fn a_worker_is_told_what_the_study_was() {
    let asked = [
        "study",
        "--size",
        "smoke",
        "--out",
        "o",
        "--resume",
        "--bright",
        "--keep-networks",
        "--subtomograms",
        "t.star",
        "--known",
        "1",
        "2",
    ];
    let args = Args::parse_from(asked);
    let told = [OsString::from("study"), OsString::from("--worker")].into_iter().chain(args.for_worker());
    let worker = Args::parse_from(told);
    assert!(worker.worker && worker.keep_networks);
    assert_eq!(
        (worker.size, &worker.out, worker.resume, worker.bright, &worker.subtomograms, &worker.known),
        (args.size, &args.out, true, true, &args.subtomograms, &vec!["1".to_owned(), "2".to_owned()])
    );
}

/// Stops after so many steps.
struct StopAt(usize);

impl Observer for StopAt {
    fn simulating(&self, _: Domain, _: usize) {}
    fn simulated(&self, _: usize) {}
    fn testing(&self, _: Domain) {}
    fn step(&self, step: &Step) -> ControlFlow<()> {
        if step.step == self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn a_run_that_was_broken_off_ends_as_one_that_was_not() {
    let _alone = TORCH.lock().unwrap_or_else(PoisonError::into_inner);
    let domains = Domains::open(&Settings::of(Size::Smoke)).unwrap();
    let mut run = plan::plan(&[Stage::Tables], base(), &[Domain::S2]).pop().unwrap();
    assert_eq!(run.recipe.name, "soft-lmccl");
    run.recipe.regime = Regime {
        epochs: Some(3),
        augment: Some(AugmentConfig::default()),
        warm_up: WarmUp { margin: 0.5, center_weight: 0.5 },
        half_turns: true,
        network: None,
    };
    let dir = tempfile::tempdir().unwrap();
    let mut shared = Shared::default();
    let mut sit = |out: &str, stop: usize, resume: bool| {
        let store = Store::open(&dir.path().join(out), domains.settings(), true).unwrap();
        let sitting = store.sitting(&run);
        let record = train::run(&run, &domains, Device::Cpu, (&sitting, resume), &mut shared, &StopAt(stop)).unwrap();
        if let Some(record) = &record {
            assert!(sitting.checkpoint.exists() && sitting.log.exists());
            store.save(record).unwrap();
            assert!(!sitting.checkpoint.exists() && !sitting.log.exists());
        }
        record
    };
    let whole = sit("whole", usize::MAX, false).unwrap();
    assert!(sit("broken", 11, false).is_none());
    let resumed = sit("broken", usize::MAX, true).unwrap();
    assert_eq!(resumed.curve.points.len(), 3 * 170 / 16);
    assert_eq!((&resumed.outcome, &resumed.curve), (&whole.outcome, &whole.curve));
    // What is kept of either is the same network, of which the file says how to make it and what it wants to see.
    let [whole, broken] = ["whole", "broken"].map(|out| {
        let path = dir.path().join(out).join("networks").join(format!("{}.safetensors", run.id()));
        let meta = checkpoint::describe::<Trained>(&path).unwrap();
        assert_eq!((meta.classes.len(), meta.config.voxel_size, meta.config.half_turns), (17, Some(10.0), true));
        let mut vs = nn::VarStore::new(Device::Cpu);
        meta.config.init(&vs).unwrap();
        checkpoint::load_network(&path, &mut vs, Trained::PATH, &meta.config).unwrap();
        // Not byte for byte: the header is a map without an order.
        let mut tensors = Tensor::read_safetensors(&path).unwrap();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors
    });
    assert!(whole == broken);
    // Each of the aids does something, and a stream is another set.
    run.recipe.regime = Regime { epochs: Some(3), ..Regime::default() };
    let store = Store::open(&dir.path().join("plain"), domains.settings(), false).unwrap();
    let sitting = store.sitting(&run);
    let mut made = |run: &Run| {
        train::run(run, &domains, Device::Cpu, (&sitting, false), &mut shared, &StopAt(0)).unwrap().unwrap()
    };
    let plain = made(&run);
    assert_ne!(plain.curve, resumed.curve);
    run.recipe.supply.streamed = true;
    let streamed = made(&run);
    assert_eq!(streamed.curve.points.len(), plain.curve.points.len());
    assert_ne!(streamed.curve, plain.curve);
}

#[test]
fn a_fingerprint_knows_every_setting() {
    let run = &plan::plan(&[Stage::Tables], base(), &[Domain::S2])[0];
    let settings = Settings::of(Size::Smoke);
    let same = settings.fingerprint(run);
    assert_eq!(same, Settings::of(Size::Smoke).fingerprint(run));
    assert_eq!(same.len(), 16);
    let mut others = HashSet::from([same]);
    let mut other = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings.clone();
        change(&mut settings);
        assert!(others.insert(settings.fingerprint(run)), "{settings:?}");
    };
    other(&|settings| settings.per_class += 1);
    other(&|settings| settings.side = 18);
    other(&|settings| settings.network = settings.network.clone().with_embedding_dim(8));
    other(&|settings| settings.fit.learning_rate = 1e-3);
    other(&|settings| settings.enrolments += 1);
    other(&|settings| settings.fresh = true);
    other(&|settings| settings.few_shot = vec![1]);
    // The loss is the run's own.
    let soft_lmccl = SoftLmcclConfig { center_weight: 0.2, ..settings.soft_lmccl };
    assert_eq!(Settings { soft_lmccl, ..settings.clone() }.fingerprint(run), settings.fingerprint(run));
    let mut ours = run.clone();
    ours.recipe.objective = Objective::SoftLmccl(soft_lmccl);
    assert_ne!(settings.fingerprint(&ours), settings.fingerprint(run));
    ours.recipe.regime.half_turns = true;
    assert!(others.insert(settings.fingerprint(&ours)));
}

#[test]
fn results_of_other_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let made = record("a", 1, 3, 1.0);
    let smoke = Settings::of(Size::Smoke);
    let store = Store::open(dir.path(), &smoke, false).unwrap();
    assert!(store.load(&made.run).unwrap().is_none());
    store.save(&made).unwrap();
    assert_eq!(store.load(&made.run).unwrap(), Some(made.clone()));
    // A record of before the threads were kept: nothing is said of them.
    let told = |records: &[Record]| notes(&Results::of(records, &smoke))[0].clone();
    assert!(told(std::slice::from_ref(&made)).ends_with('Z'), "{}", told(std::slice::from_ref(&made)));
    let threads = |threads| Record { threads: Some(threads), ..made.clone() };
    assert!(told(&[threads(1), threads(4), threads(1)]).ends_with("; libtorch with 1 or 4 threads"));
    assert!(told(&[threads(1), made.clone()]).ends_with('Z'));
    let other = Store::open(dir.path(), &Settings { per_class: 11, ..smoke.clone() }, false).unwrap();
    let message = other.load(&made.run).unwrap_err().to_string();
    assert!(message.contains("made with other settings") && message.contains(&made.fingerprint), "{message}");
    assert!(other.all().is_err());
    fs::write(dir.path().join("runs/S2-split0-seed1-a.json"), "{\"half\":").unwrap();
    let message = store.load(&made.run).unwrap_err().to_string();
    assert!(message.contains("not the record of a run"), "{message}");
}

fn study_in(out: &Path, more: &[&str]) -> anyhow::Result<()> {
    let out = out.to_str().unwrap();
    let base = ["study", "--size", "smoke", "--threads", "1", "--out", out];
    super::run(&Args::try_parse_from(base.iter().chain(more)).unwrap())
}

#[test]
fn a_smoke_study_writes_everything_and_goes_on_where_it_was() {
    let _alone = TORCH.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let only = ["--only", "S2-split0-seed1-softmax,S2-split0-seed1-soft-lmccl"];
    study_in(dir.path(), &only).unwrap();
    for file in ["results.json", "results.md", "report.html", "pictures/roc-S2.svg", "pictures/t-sne-S2.svg"] {
        assert!(dir.path().join(file).exists(), "{file}");
    }
    let results: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("results.json")).unwrap()).unwrap();
    let titles: Vec<&str> =
        results["tables"].as_array().unwrap().iter().map(|c| c["column"].as_str().unwrap()).collect();
    assert_eq!(titles, ["S2", "S2", "S2→S1", "S2→S1", "S2→R1", "S2→R1"]);
    let html = fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<script"));
    assert!(html.matches("data:image/svg+xml;base64,").count() > 10);
    let markdown = fs::read_to_string(dir.path().join("results.md")).unwrap();
    assert!(markdown.contains("| Loss | S2 | S2→S1 | S2→R1 |"), "{markdown}");
    // Nothing of it means anything, and nothing is set apart as if it did.
    assert!(
        markdown.contains(crate::program::MEANINGLESS)
            && html.contains(crate::program::MEANINGLESS)
            && !html.contains("<strong>")
    );

    // One run is lost: it alone is made again, and gives the same.
    let runs = dir.path().join("runs");
    let lost = runs.join("S2-split0-seed1-soft-lmccl.json");
    let kept = runs.join("S2-split0-seed1-softmax.json");
    let read = |path: &Path| serde_json::from_slice::<Record>(&fs::read(path).unwrap()).unwrap();
    let (before, written) = (read(&lost), fs::metadata(&kept).unwrap().modified().unwrap());
    fs::remove_file(&lost).unwrap();
    study_in(dir.path(), &only).unwrap();
    assert_eq!(fs::metadata(&kept).unwrap().modified().unwrap(), written);
    let after = read(&lost);
    assert_eq!((&after.outcome, &after.curve), (&before.outcome, &before.curve));
}

#[test]
fn what_makes_no_sense_is_refused_before_work() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |more: &[&str]| study_in(dir.path(), more).unwrap_err().to_string();
    assert_eq!(
        refused(&["--only", "S9"]),
        "invalid `--only`: expected a part of the name of some run of these stages; `--list` shows them, got S9"
    );
    assert_eq!(refused(&["--jobs", "0"]), "invalid `--jobs`: expected at least 1, got 0");
    assert_eq!(
        refused(&["--bright", "--list"]),
        "invalid `--bright`: expected --background or --subtomograms, of which it tells the contrast, got neither"
    );
    assert_eq!(
        refused(&["--time-limit", "0"]),
        "invalid `--time-limit`: expected minutes above 0 and up to 10000000, got 0"
    );
    assert_eq!(
        refused(&["--time-limit", "1e18"]),
        "invalid `--time-limit`: expected minutes above 0 and up to 10000000, got 1000000000000000000"
    );
    let message = Args::try_parse_from(["study", "--stage", "tabels"]).unwrap_err().to_string();
    assert!(message.contains("expected tables, seeds, splits"), "{message}");
    assert_eq!(Args::parse_from(["study", "--stage", "all"]).stages(), Stage::ALL);
}

#[test]
fn help_tells_what_the_program_does() {
    let about = Args::command().get_about().map(ToString::to_string).unwrap_or_default();
    assert!(about.starts_with("The tables of the paper"), "{about}");
}
