//! The study from end to end: plan, make what is left, write what is known.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use soft_lmccl::distributed::Group;

use super::{
    args::{Args, StageArg},
    data::Domains,
    execute::{self, execute},
    output, plan,
    settings::Settings,
    store::Store,
    worker,
};
use crate::{
    carryover::{Asked, table},
    program::{lock::lock, make_dir, network::ShippedOr, print, ranks, refused, say, write},
};

/// # Errors
/// Whatever was asked for wrongly, before any work; what runs, reading and writing fail with.
pub fn run(args: &Args) -> Result<()> {
    validate(args)?;
    if args.worker || args.jobs == 1 {
        // Before anything uses the pool, as reading the user's files does.
        let all = if args.worker { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
        execute::limit_threads(args.threads.unwrap_or(all));
    }
    if args.stage.contains(&StageArg::Carryover) {
        carryover(args)?;
        if args.stages().is_empty() {
            return Ok(());
        }
    }
    let settings = args.settings()?;
    settings.validate()?;
    let domains = Domains::open(&settings)?;
    if args.worker {
        return worker::serve(args, &domains);
    }
    let mut runs = plan::plan(&args.stages(), settings.soft_lmccl, &domains.available());
    if settings.fresh {
        runs = runs.into_iter().map(|run| run.fresh(settings.fit.epochs)).collect();
    }
    if !args.only.is_empty() {
        runs.retain(|run| args.only.iter().any(|part| run.id().contains(part.as_str())));
    }
    if runs.is_empty() {
        return Err(refused(
            "--only",
            "a part of the name of some run of these stages; `--list` shows them",
            args.only.join(","),
        ));
    }
    let store = Store::open(&args.out, &settings, args.keep_networks)?;
    if args.list {
        let left = execute::left(&runs, &store)?;
        let names: String = left.iter().map(|run| run.id() + "\n").collect();
        return print(&format!("{names}{} of {} runs are left\n", left.len(), runs.len()));
    }
    let group = ranks()?;
    if !args.report_only {
        // On the ranks of a group, rank 0 keeps others out, and each makes a share of the runs.
        let _alone = group.is_first().then(|| lock(&args.out)).transpose().inspect_err(|error| fail(&group, error))?;
        group.barrier()?;
        let size = args.size.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        if group.is_first() {
            say(format_args!("{} runs at size {size}, results in {}", runs.len(), args.out.display()));
        }
        let share: Vec<_> = runs.into_iter().skip(group.rank()).step_by(group.size()).collect();
        let failed = execute(args, &domains, &share, &store).inspect_err(|error| fail(&group, error)).err();
        let together = if failed.is_none() { group.barrier() } else { Ok(()) };
        if !group.is_first() {
            return failed.map_or(together.map_err(Into::into), Err);
        }
        let failed = failed.or(together.err().map(Into::into));
        // What is finished is shown even if the rest cannot be made.
        let written = output::write(args, &domains, &store);
        return failed.map_or(written, Err);
    }
    output::write(args, &domains, &store)
}

fn fail(group: &Group, error: &anyhow::Error) {
    group.fail(&format!("{error:#}"));
}

/// Tests one network and writes its table.
fn carryover(args: &Args) -> Result<()> {
    let network = ShippedOr::open(args.network.as_deref(), args.device.device)?;
    let per_class = Settings::of(args.size).per_class;
    let real: Vec<(&Path, &str)> =
        args.real.chunks_exact(2).map(|pair| (Path::new(&pair[0]), pair[1].as_str())).collect();
    let text = table(&network, Asked { per_class, real: &real, device: args.device.device })?;
    make_dir(&args.out)?;
    write(&args.out.join("carryover.md"), text.as_bytes())?;
    print(&text)
}

fn validate(args: &Args) -> Result<()> {
    let refuse = |field, expected, got: String| Err(refused(field, expected, got));
    if args.jobs == 0 {
        return refuse("--jobs", "at least 1", "0".into());
    }
    if args.threads == Some(0) {
        return refuse("--threads", "at least 1", "0".into());
    }
    if args.bright && args.background.is_none() && args.subtomograms.is_none() {
        let expected = "--background or --subtomograms, of which it tells the contrast";
        return refuse("--bright", expected, "neither".into());
    }
    if !args.stage.contains(&StageArg::Carryover) && (args.network.is_some() || !args.real.is_empty()) {
        let field = if args.network.is_some() { "--network" } else { "--real" };
        return refuse(field, "`--stage carryover`, which tests a network", "other stages alone".into());
    }
    match args.time_limit {
        // A moment much later than that cannot be told.
        Some(minutes) if !(minutes > 0.0 && minutes <= 1e7) => {
            refuse("--time-limit", "minutes above 0 and up to 10000000", minutes.to_string())
        }
        _ => Ok(()),
    }
}
