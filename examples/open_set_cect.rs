//! Can a network tell apart macromolecules that it never saw?
//!
//! Simulates subtomograms of 17 known structures, trains a small 3-D network on them by softmax and by Soft LMCCL, and
//! verifies pairs of subtomograms of 6 structures that were in no training set: are the two of one class? On two cores
//! this takes some minutes; Soft LMCCL should reach an AUC of 0.86 or more.
//!
//! ```text
//! cargo xtask demo               # provides libtorch first, if there is none
//! cargo xtask demo -- --smoke    # seconds, to see that everything runs; the figures mean nothing
//! ```
//!
//! More losses, seeds, noise, checkpoints and structures of your own: `soft-lmccl experiment --help`.

use std::{
    fs,
    io::{self, IsTerminal as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;
use soft_lmccl::{
    cect::{ClassId, Dataset as _, SimulatedDataset, SimulationConfig, catalogue, render},
    loss::{LmclConfig, Loss, SoftLmcclConfig, SoftmaxHeadConfig},
    metrics::{EmbeddingSet, PairProtocol, ReportOptions, RocCurve, VerificationReport},
    model::{CompactNetConfig, compact_net},
    tch::{self, Device, nn},
    train::{Batch, FitConfig, Step, embed, fit},
};
use soft_lmccl_report::{EmbeddingPanel, RocSeries, embedding_map, pca_2d, roc};

/// Open-set verification of macromolecules that the network never saw, by softmax and by Soft LMCCL.
#[derive(Debug, Parser)]
struct Args {
    /// A small run of everything, to see that it works; the figures mean nothing.
    #[arg(long)]
    smoke: bool,

    /// Directory of results and pictures; made if it is not there.
    #[arg(long, default_value = "target/open_set_cect")]
    out: PathBuf,

    /// Seed of the simulation, the first weights and the order of the samples.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Where to train: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = soft_lmccl::device)]
    device: Device,
}

/// Subtomograms that go through the network together when it only embeds.
const EMBED_BATCH: i64 = 128;

/// One loss, trained and verified: what `results.json` has of it.
#[derive(Debug, Serialize)]
struct Run {
    loss: &'static str,
    seed: u64,
    train: &'static str,
    test: &'static str,
    unknown_classes: Vec<String>,
    #[serde(flatten)]
    report: VerificationReport,
    train_seconds: f64,
}

/// `results.json`.
#[derive(Debug, Serialize)]
struct Results {
    wall_seconds: f64,
    runs: Vec<Run>,
}

/// What is drawn of a loss.
struct Drawn {
    loss: &'static str,
    curve: RocCurve,
    embeddings: EmbeddingSet,
}

/// Subtomograms of the known classes to train on, of the unknown ones to verify.
struct Data {
    train: Batch,
    test: Batch,
    known: i64,
    side: i64,
    unknown_names: Vec<String>,
}

impl Data {
    fn simulate(args: &Args) -> Result<Self> {
        // 17 structures to train on against 6 that are kept from the network.
        let (templates, split) = (catalogue::templates(), catalogue::split());
        let (per_class, side) = if args.smoke { (12, 24) } else { (150, 32) };
        // Contrast transfer, missing wedge and noise at SNR 0.05, as the paper's set S2.
        let config = SimulationConfig { side, ..SimulationConfig::s2() };
        let name = |class: &ClassId| templates[class.0 as usize].name().to_owned();
        let unknown_names: Vec<String> = split.unknown().iter().map(name).collect();
        let dataset = SimulatedDataset::new(templates, config, per_class, args.seed)?;
        let (known, unknown) = (dataset.indices(split.known()), dataset.indices(split.unknown()));
        println!("{} subtomograms of {} known classes to train on,", known.len(), split.known().len());
        println!("{} of {} unknown ones to verify: {}", unknown.len(), unknown_names.len(), unknown_names.join(" "));
        let (train, test) = (render(&dataset, &known, |_| {})?, render(&dataset, &unknown, |_| {})?);
        Ok(Self {
            train: Batch::known(&train, &split)?,
            test: Batch::unknown(&test, &split)?,
            known: split.num_known() as i64,
            side: side as i64,
            unknown_names,
        })
    }
}

/// The losses that are compared.
const LOSSES: [&str; 2] = ["softmax", "soft-lmccl"];

/// A loss with its variables at `path`.
fn loss_of(name: &str, path: &nn::Path<'_>, classes: i64, embedding_dim: i64) -> Result<Box<dyn Loss>> {
    if name == "softmax" {
        return Ok(Box::new(SoftmaxHeadConfig::default().init(path, classes, embedding_dim)?));
    }
    // 17 classes need no larger scale to be told apart.
    let lmcl = LmclConfig { scale: 8.0, ..Default::default() };
    Ok(Box::new(SoftLmcclConfig { lmcl, ..Default::default() }.init(path, classes, embedding_dim)?))
}

/// A line that is written over, if somebody looks.
fn tell(loss: &str, step: &Step) -> ControlFlow<()> {
    if io::stderr().is_terminal() {
        // The rest of a longer line before it is blanked.
        eprint!("\r{:110.110}", format!("{loss} {step}"));
    }
    ControlFlow::Continue(())
}

fn main() -> Result<()> {
    let args = Args::parse();
    let started = Instant::now();
    fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let data = Data::simulate(&args)?;

    let (mut results, mut drawn) = (Results { wall_seconds: 0.0, runs: Vec::new() }, Vec::new());
    for name in LOSSES {
        // Both begin with the same weights and see the same batches.
        tch::manual_seed(args.seed as i64);
        let vs = nn::VarStore::new(args.device);
        let config = CompactNetConfig::default();
        let embedding_dim = config.embedding_dim;
        let net = compact_net(&(vs.root() / "net"), data.side, config)?;
        let mut loss = loss_of(name, &(vs.root() / "loss"), data.known, embedding_dim)?;
        let epochs = if args.smoke { 2 } else { FitConfig::default().epochs };
        let fit_config = FitConfig { seed: args.seed, epochs, ..Default::default() };
        let (volumes, labels) = (&data.train.volumes, &data.train.labels);
        let outcome = fit(&net, loss.as_mut(), &vs, (volumes, labels), fit_config, |step| tell(name, step))?;

        // The network has no say in what is one of its classes: pairs are compared by the cosine of their embeddings.
        let embeddings = embed(&net, data.test.chunks(EMBED_BATCH, args.device))?;
        let report = VerificationReport::of(&embeddings, &ReportOptions::default().limited_to(&embeddings))?;
        tell_end(name, outcome.seconds, &report);
        drawn.push(Drawn { loss: name, curve: embeddings.pair_scores(PairProtocol::All)?.roc(), embeddings });
        results.runs.push(Run {
            loss: name,
            seed: args.seed,
            train: "S2",
            test: "S2",
            unknown_classes: data.unknown_names.clone(),
            report,
            train_seconds: outcome.seconds,
        });
        results.wall_seconds = started.elapsed().as_secs_f64();
        // What is finished is there, whatever happens to the rest.
        let json = serde_json::to_string_pretty(&results)? + "\n";
        let path = args.out.join("results.json");
        fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    draw(&args.out, &drawn, &data.unknown_names)?;
    print_table(&results);
    if args.smoke {
        println!("A smoke run, to see that everything works: its figures mean nothing.");
    }
    println!("{:.0} s in all; results.json and pictures are in {}", results.wall_seconds, args.out.display());
    Ok(())
}

/// The figures of a loss, as soon as they are there.
fn tell_end(loss: &str, seconds: f64, report: &VerificationReport) {
    if io::stderr().is_terminal() {
        eprint!("\r{:110}\r", "");
    }
    println!("\n{loss}, trained in {seconds:.0} s: {report}");
}

/// The ROC curves, and the embeddings of the unknown classes on a plane.
fn draw(out: &Path, drawn: &[Drawn], unknown_names: &[String]) -> Result<()> {
    let series: Vec<_> = drawn.iter().map(|run| RocSeries::new(run.loss, &run.curve)).collect();
    roc(out.join("roc.svg"), "Verification of classes that were never trained on", &series)?;
    let flat = drawn.iter().map(|run| pca_2d(run.embeddings.view())).collect::<Result<Vec<_>, _>>()?;
    let panels: Vec<_> = drawn
        .iter()
        .zip(&flat)
        .map(|(run, points)| EmbeddingPanel {
            title: run.loss,
            points: points.view(),
            labels: run.embeddings.labels(),
            axes: ["PCA 1", "PCA 2"],
        })
        .collect();
    let entry = |id: &String| catalogue::entries().iter().find(|entry| entry.id() == id);
    let names: Vec<_> = unknown_names.iter().filter_map(entry).map(|e| format!("{} {}", e.id(), e.name())).collect();
    Ok(embedding_map(out.join("embeddings.svg"), "Embeddings of the unknown classes", &names, &panels)?)
}

/// The losses under one another.
fn print_table(results: &Results) {
    println!();
    for (number, run) in results.runs.iter().enumerate() {
        let cells = run.report.cells();
        if number == 0 {
            println!("{:12}{}", "Loss", cells.iter().map(|(heading, _)| format!("{heading:24}")).collect::<String>());
        }
        println!("{:12}{}", run.loss, cells.iter().map(|(_, value)| format!("{value:24}")).collect::<String>());
    }
}
