//! Simulate, train, embed, verify; once for each seed and loss.

use std::ops::ControlFlow;

use anyhow::Result;
use ndarray::Array2;
use serde::Serialize;
use soft_lmccl::{
    MetricError,
    cect::{
        Batch, ClassId, Dataset, OpenSetSplit, SimulatedDataset, SimulationConfig, Template, catalogue, cramped, render,
    },
    loss::SoftLmcclConfig,
    metrics::{EmbeddingSet, PairProtocol, ReportOptions, RocCurve, VerificationReport},
    model::{NetworkConfig, Trained},
    tch::{self, nn},
    train::{End, FitConfig, InMemory, Trainer, embed},
};

use super::{
    args::{Args, LossName, Plan},
    pictures::{draw_results, draw_slices},
    results::{Results, Run, set_name},
};
use crate::carryover::{PROFILE, profile_set};
use crate::program::{MEANINGLESS, aligned, bar::bar, interrupted, lock::lock, make_dir, named, refused, say};

/// Subtomograms that go through the network together when it only embeds.
const EMBED_BATCH: i64 = 128;

/// Where in `--out` the runs' weights and the courses of their losses are.
const CHECKPOINTS: &str = "checkpoints";
const LOGS: &str = "logs";

/// Steps between two checkpoints: some seconds on two cores.
const CHECKPOINT_STEPS: usize = 25;

/// # Errors
/// Whatever was asked for wrongly, before any work; what reading and writing fails with.
pub fn run(args: &Args) -> Result<()> {
    let plan = args.plan()?;
    let (templates, split) = classes(&plan.unknown)?;
    require_pairs(split.unknown().len(), plan.per_class)?;
    for directory in [CHECKPOINTS, LOGS] {
        make_dir(&plan.out.join(directory))?;
    }
    let _alone = lock(&plan.out)?;
    let mut results = Results::new();
    results.notes = notes(&plan, &templates, &split);
    for note in &results.notes {
        say(format_args!("{note}"));
    }
    let left_out = Results::left_out(&plan.out, &plan.losses, &plan.seeds);
    if !left_out.is_empty() {
        say(format_args!(
            "{} has results of another command, which this one replaces: {}",
            plan.out.display(),
            left_out.join("; ")
        ));
    }
    let unknown_names = names(&templates, split.unknown());
    let mut finished = Vec::new();
    'seeds: for &seed in &plan.seeds {
        let data = Data::simulate(&plan, &templates, &split, seed)?;
        if finished.is_empty() {
            draw_slices(&plan.out.join("slices.svg"), data.sets(), &split)?;
        }
        let profiles = measured(profile_set(&data.test)?)?;
        results.runs.push(Run {
            loss: PROFILE.to_owned(),
            seed,
            train: "nothing".to_owned(),
            test: set_name(&plan.test),
            unknown_classes: unknown_names.clone(),
            report: profiles.report,
            train_seconds: 0.0,
        });
        for name in &plan.losses {
            if interrupted() {
                break 'seeds;
            }
            let Some(run) = train(&plan, &data, name, seed)? else { break 'seeds };
            say(format_args!("\n{name}, seed {seed}, trained in {:.0} s: {}", run.seconds, run.report));
            results.runs.push(Run {
                loss: name.to_string(),
                seed,
                train: set_name(&plan.train),
                test: set_name(&plan.test),
                unknown_classes: unknown_names.clone(),
                report: run.report.clone(),
                train_seconds: run.seconds,
            });
            results.save(&plan.out)?;
            finished.push(run);
        }
    }
    if interrupted() {
        say(format_args!("interrupted: the same command with --resume goes on from here"));
    }
    draw_results(&plan.out, &finished, &unknown_names)?;
    results.save(&plan.out)?;
    if !finished.is_empty() {
        say(format_args!("\n{}", aligned(&results.table())));
        if plan.smoke {
            say(format_args!("{MEANINGLESS}"));
        }
        say(format_args!(
            "{:.0} s in all; results, checkpoints and pictures are in {}",
            results.wall_seconds,
            plan.out.display()
        ));
    }
    Ok(())
}

/// The catalogue's split, or its known classes against the user's structures.
fn classes(unknown: &[std::path::PathBuf]) -> Result<(Vec<Template>, OpenSetSplit)> {
    let (mut templates, split) = (catalogue::templates(), catalogue::split());
    if unknown.is_empty() {
        return Ok((templates, split));
    }
    let known = split.known().to_vec();
    templates.truncate(known.len());
    for path in unknown {
        let template = Template::open(path)?;
        // Codes of the PDB are the same structure in capitals or not.
        if let Some(other) = templates.iter().find(|other| other.name().eq_ignore_ascii_case(template.name())) {
            let problem = format!(
                "{} is named like another class of this run, `{}`; rename the file if it is another structure",
                path.display(),
                other.name()
            );
            return Err(soft_lmccl::cect::Error::Split(problem).into());
        }
        say(format_args!("{}: {}", template.name(), template.source()));
        templates.push(template);
    }
    let unknown = (known.len()..templates.len()).map(|index| ClassId(index as u32)).collect();
    Ok((templates, OpenSetSplit::new(known, unknown)?))
}

/// Whether the accuracy will have pairs of both kinds in each fold, which labels alone decide: asked before a network is
/// trained, not after.
fn require_pairs(unknown: usize, per_class: usize) -> Result<()> {
    /// So many embeddings make enough pairs.
    const ENOUGH: usize = 200;
    let count = unknown * per_class;
    if count >= ENOUGH {
        return Ok(());
    }
    // Classes take turns in the test set.
    let labels: Vec<i64> = (0..count).map(|row| (row % unknown) as i64).collect();
    let set = EmbeddingSet::new(Array2::ones((count, 1)).view(), &labels)?;
    match VerificationReport::of(&set, &ReportOptions::default().limited_to(&set)) {
        Err(MetricError::FoldOneClass { .. } | MetricError::Folds { .. }) => Err(refused(
            "--per-class",
            "more subtomograms, so that each fold of the accuracy has pairs of both kinds",
            format!("{per_class} of each of {unknown} unknown classes"),
        )),
        other => Ok(other.map(drop)?),
    }
}

fn names(templates: &[Template], classes: &[ClassId]) -> Vec<String> {
    classes.iter().map(|class| templates[class.0 as usize].name().to_owned()).collect()
}

fn notes(plan: &Plan, templates: &[Template], split: &OpenSetSplit) -> Vec<String> {
    let names = |classes| names(templates, classes).iter().map(|name| named(name)).collect::<Vec<_>>().join("; ");
    let (lmcl, fit) = (plan.soft_lmccl.lmcl, plan.fit);
    let mut notes = vec![
        format!("known: {}", names(split.known())),
        format!("unknown: {}", names(split.unknown())),
        format!(
            "trained on {}, tested on {}; {} subtomograms of {}³ voxels a class",
            set_name(&plan.train),
            set_name(&plan.test),
            plan.per_class,
            plan.train.side
        ),
        format!(
            "s = {}, m = {}, λ = {}, α = {}; {} epochs of AdamW, one cycle up to {}, batches of {}",
            lmcl.scale,
            lmcl.margin,
            plan.soft_lmccl.center_weight,
            plan.soft_lmccl.center.rate,
            fit.epochs,
            fit.learning_rate,
            fit.batch_size
        ),
        "AUC, EER and TAR over all pairs; accuracy as mean ± sd over 10 folds of sampled pairs, one matching to two"
            .into(),
    ];
    if plan.smoke {
        notes.insert(0, MEANINGLESS.to_owned());
    }
    let cramped = cramped(templates, &plan.train);
    if !cramped.is_empty() {
        notes.push(format!("may reach over the border of the box when turned: {}", cramped.join(" ")));
    }
    notes
}

/// What one seed's losses share.
struct Data {
    train_set: SimulatedDataset,
    test_set: SimulatedDataset,
    train: Batch,
    test: Batch,
    known_names: Vec<String>,
}

/// The data sets behind a run.
#[derive(Clone, Copy)]
pub struct SetPair<'a> {
    pub train: &'a SimulatedDataset,
    pub test: &'a SimulatedDataset,
}

impl Data {
    fn simulate(plan: &Plan, templates: &[Template], split: &OpenSetSplit, seed: u64) -> Result<Self> {
        let set = |config| SimulatedDataset::new(templates.to_vec(), config, plan.per_class, seed);
        let (train_set, test_set) = (set(plan.train)?, set(plan.test)?);
        // Known and unknown samples have different indices, hence different streams of one seed.
        let (known, unknown) = (train_set.indices(split.known()), test_set.indices(split.unknown()));
        let bar = bar("simulating", known.len() + unknown.len());
        let train = render(&train_set, &known, |_| bar.inc(1))?;
        let test = render(&test_set, &unknown, |_| bar.inc(1))?;
        bar.finish_and_clear();
        Ok(Self {
            train: Batch::known(&train, split)?,
            test: Batch::unknown(&test, split)?,
            known_names: names(templates, split.known()),
            train_set,
            test_set,
        })
    }

    fn sets(&self) -> SetPair<'_> {
        SetPair { train: &self.train_set, test: &self.test_set }
    }
}

/// A finished run, with what its pictures need.
pub struct Finished {
    pub loss: LossName,
    pub seed: u64,
    pub seconds: f64,
    pub report: VerificationReport,
    pub curve: RocCurve,
    pub embeddings: EmbeddingSet,
}

/// What made a run's weights; a checkpoint of anything else is not continued.
#[derive(Debug, Serialize)]
struct RunConfig {
    loss: String,
    soft_lmccl: SoftLmcclConfig,
    #[serde(flatten)]
    trained: Trained,
    simulation: SimulationConfig,
    per_class: usize,
}

/// Trains one loss, or what is left of it, and measures it; `None` if Ctrl-C came first.
fn train(plan: &Plan, data: &Data, name: &LossName, seed: u64) -> Result<Option<Finished>> {
    tch::manual_seed(seed as i64);
    let vs = nn::VarStore::new(plan.device);
    let trained = Trained {
        network: NetworkConfig::default(),
        side: plan.train.side,
        voxel_size: Some(plan.train.voxel_size),
        half_turns: false,
    };
    let net = trained.init(&vs)?;
    let (classes, dim) = (data.known_names.len() as i64, trained.network.embedding_dim());
    let mut loss = plan.loss(name, &(vs.root() / "loss"), classes, dim)?;

    let fit = FitConfig { seed, ..plan.fit };
    let made_by = RunConfig {
        loss: name.to_string(),
        soft_lmccl: plan.soft_lmccl,
        trained,
        simulation: plan.train,
        per_class: plan.per_class,
    };
    let file =
        |directory: &str, extension: &str| plan.out.join(directory).join(format!("{name}-seed{seed}.{extension}"));
    let bar = bar(&name.to_string(), fit.steps(data.train.len() as usize));
    let outcome = Trainer::new(fit)?
        .describe(&made_by, &data.known_names)?
        .network(&made_by.trained)?
        .checkpoint(file(CHECKPOINTS, "safetensors"), CHECKPOINT_STEPS)
        .resume(plan.resume)
        .log(file(LOGS, "csv"))
        .run(&net, loss.as_mut(), &vs, &InMemory::new(&data.train.volumes, &data.train.labels)?, |step| {
            bar.set_position(step.step as u64);
            bar.set_message(step.loss.to_string());
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    bar.finish_and_clear();
    if outcome.end == End::Stopped {
        return Ok(None);
    }

    let embeddings = embed(&net, data.test.chunks(EMBED_BATCH, plan.device))?;
    let Measured { report, curve, embeddings } = measured(embeddings)?;
    Ok(Some(Finished { loss: name.clone(), seed, seconds: outcome.seconds, report, curve, embeddings }))
}

/// The figures of some embeddings.
struct Measured {
    report: VerificationReport,
    curve: RocCurve,
    embeddings: EmbeddingSet,
}

fn measured(embeddings: EmbeddingSet) -> Result<Measured> {
    let options = ReportOptions::default();
    let limited = options.clone().limited_to(&embeddings);
    if limited != options {
        say(format_args!(
            "accuracy from {} + {} pairs, all there are in the mixture",
            limited.matching, limited.non_matching
        ));
    }
    let drawn = embeddings.pair_scores(limited.protocol())?;
    let curve = embeddings.pair_scores(PairProtocol::All)?.roc();
    let report = VerificationReport::from_curve(embeddings.len() as u64, &curve, &drawn, &limited)?;
    Ok(Measured { report, curve, embeddings })
}

#[cfg(test)]
mod tests {
    use super::{classes, require_pairs};

    #[test]
    fn an_unknown_class_is_not_a_known_one() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("1OEL.tsv");
        std::fs::write(&path, "0 0 0 5\n30 0 0 5\n").expect("a file");
        let message = classes(&[path]).expect_err("1oel is trained on").to_string();
        assert!(message.contains("1OEL.tsv is named like another class of this run, `1oel`"), "{message}");
    }

    #[test]
    fn folds_without_pairs_are_told_before_training() {
        let message = require_pairs(2, 6).expect_err("a fold of five non-matching pairs").to_string();
        assert_eq!(
            message,
            "invalid `--per-class`: expected more subtomograms, so that each fold of the accuracy has pairs of both \
             kinds, got 6 of each of 2 unknown classes"
        );
        for (unknown, per_class) in [(6, 4), (2, 8), (2, 99), (2, 100), (6, 150)] {
            assert!(require_pairs(unknown, per_class).is_ok(), "{unknown} of {per_class}");
        }
    }
}
