//! From the files to the figures.

use anyhow::{Context, Result};
use soft_lmccl::distributed::Group;
use soft_lmccl::metrics::{Intervals, VerificationThreshold};

use super::args::Args;
use super::scored::Scored;
use super::{blocks, figures, page, scored};
use crate::program::undisturbed;

/// What is to be printed, and why there is no threshold or no report if one was asked for.
pub struct Outcome {
    pub output: String,
    pub unsaved: Option<anyhow::Error>,
}

/// Reads, measures, saves what is asked for; `None` on the ranks that have only counted for the first.
pub fn run(args: &Args, group: &Group, interrupted: fn() -> bool) -> Result<Option<Outcome>> {
    args.cost().validate()?;
    let applied = args.threshold.as_ref().map(VerificationThreshold::load).transpose()?;
    let Some(scored) = scored::score(args, applied.as_ref(), group, interrupted)? else { return Ok(None) };
    let threshold = match applied {
        Some(applied) => Ok(applied),
        None => chosen(args, &scored),
    };
    let (judged, missing) = match threshold {
        Ok(threshold) => (Ok(threshold), None),
        Err(error) => (Err(format!("{error:#}")), Some(error)),
    };
    let figures = figures::read(args, &scored, judged, interrupted)?;
    // That none fits is a failure only where one was asked for.
    let mut unsaved = args.threshold_out.as_ref().and_then(|path| match &figures.threshold {
        Some(judged) => undisturbed(|| judged.threshold.save(path)).err().map(anyhow::Error::from),
        None => missing.map(|error| error.context(format!("no threshold in {}", path.display()))),
    });
    let blocks = blocks::of(&figures, &scored);
    if let Some(path) = &args.report {
        let written = undisturbed(|| page::write(path, &blocks, &figures, &scored));
        unsaved = unsaved.or(written.err());
    }
    let output = match args.json {
        true => serde_json::to_string(&figures).context("figures that JSON has no numbers for")?,
        false => blocks::text(&blocks),
    };
    Ok(Some(Outcome { output, unsaved }))
}

/// The threshold that the rule chooses on these pairs, with its data and, where classes are known, its intervals.
fn chosen(args: &Args, scored: &Scored) -> Result<VerificationThreshold> {
    let Scored { roc, classes, files, .. } = scored;
    let threshold = VerificationThreshold::fit_curve(roc, args.rule())?;
    Ok(match classes {
        Some(classes) => threshold.noting(files.clone(), &Intervals::new(roc, classes, args.level)?)?,
        None => threshold,
    })
}
