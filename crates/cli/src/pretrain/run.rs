//! Training, testing, writing.

use std::ops::ControlFlow;

use anyhow::Result;
use serde::Serialize;
use soft_lmccl::{
    cect::{RandomizationConfig, RandomizedDataset, Template},
    loss::SoftLmcclConfig,
    model::Trained,
    tch::{self, Kind, nn},
    train::{
        End, FitConfig, Trainer,
        checkpoint::{self, Meta, Origin},
    },
};

use super::{
    args::Args,
    recipe::{Recipe, factor},
    supply::Fresh,
};
use crate::{
    carryover::{Asked, table},
    program::{bar::bar, interrupted, lock::lock, make_dir, network::ShippedOr, refused, say, write},
};

/// Steps between checkpoints: about a minute.
const CHECKPOINT_STEPS: usize = 100;
/// Room for every class to come as often as any run wants.
const ENDLESS: usize = 1 << 24;

/// What the file says of the network.
#[derive(Serialize)]
struct Shipped<'a> {
    #[serde(flatten)]
    trained: &'a Trained,
    randomization: RandomizationConfig,
    simulations: usize,
    loss: SoftLmcclConfig,
    fit: FitConfig,
    steps: usize,
}

/// # Errors
/// Whatever was asked for wrongly, before any work; what reading and writing fails with.
pub fn run(args: &Args) -> Result<()> {
    if args.threads == 0 {
        return Err(refused("--threads", "at least 1", 0));
    }
    let recipe = Recipe::of(args);
    recipe.fit.validate()?;
    make_dir(&args.out)?;
    let _alone = lock(&args.out)?;
    tch::set_num_threads(i32::try_from(args.threads).unwrap_or(i32::MAX));
    // A second command of one process finds the pool made.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global();
    let templates = recipe.templates(args.seed)?;
    let names: Vec<String> = templates.iter().map(|template| template.name().to_owned()).collect();
    let classes = names.len();
    let Recipe { trained, fit, .. } = &recipe;

    tch::manual_seed(args.seed as i64);
    let vs = nn::VarStore::new(args.device);
    let net = trained.init(&vs)?;
    let mut loss = recipe.loss.init(&(vs.root() / "loss"), classes as i64, trained.network.embedding_dim())?;
    let (steps, hold) = (fit.steps(classes * recipe.each), args.hold);
    say(format_args!("{classes} classes, {steps} steps of {} new subtomograms", fit.batch_size));
    let data = fresh(&recipe, templates, args.seed)?;
    let bar = bar("training", steps);
    let outcome = Trainer::new(*fit)?
        .describe(trained, &names)?
        .checkpoint(args.out.join("run.safetensors"), CHECKPOINT_STEPS)
        .resume(args.resume)
        .log(args.out.join("log.csv"))
        .schedule(move |done| factor(done, steps as f64, hold))
        .run(&net, &mut loss, &vs, &data, |step| {
            bar.set_position(step.step as u64);
            bar.set_message(format!("{}", step.loss));
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    bar.finish_and_clear();
    if outcome.end == End::Stopped {
        say(format_args!("interrupted: the same command with --resume goes on from here"));
        return Ok(());
    }

    // The network alone, without heads and centers, and as it will be read: what is tested is what ships.
    let path = args.out.join("network.safetensors");
    let mut alone = nn::VarStore::new(args.device);
    let shipped = trained.init(&alone)?;
    checkpoint::load_part(args.out.join("run.safetensors"), &mut alone, Trained::PATH)?;
    alone.set_kind(Kind::Half);
    let config = Shipped {
        trained,
        randomization: recipe.randomization,
        simulations: recipe.simulations,
        loss: recipe.loss,
        fit: *fit,
        steps: outcome.steps,
    };
    let origin = Origin::default().network(trained)?;
    checkpoint::save_of(&path, &alone, &Meta { config, classes: names }, &origin)?;
    drop((net, shipped));
    let shipped = ShippedOr::open(Some(&path), args.device)?;
    let text = table(&shipped, Asked { per_class: recipe.tested, real: &[], device: args.device })?;
    write(&args.out.join("carryover.md"), text.as_bytes())?;
    say(format_args!("\n{text}\nwritten to {}", args.out.display()));
    Ok(())
}

fn fresh(recipe: &Recipe, templates: Vec<Template>, seed: u64) -> Result<Fresh> {
    let classes = templates.len();
    let dataset = RandomizedDataset::new(templates, recipe.randomization, recipe.simulations, ENDLESS, seed)?;
    Ok(Fresh::new(dataset, classes, recipe.each))
}
