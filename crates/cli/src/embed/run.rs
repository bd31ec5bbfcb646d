//! From the tables to the embeddings, and from them to classes.

use std::path::PathBuf;

use anyhow::Result;
use soft_lmccl::{
    cect::ClassId,
    metrics::{DirPoint, EmbeddingSet, Gallery, Prototype},
};

use super::{
    args::Args,
    output::{self, Found},
    subtomograms::{Labels, Subtomograms, TrainedNetwork},
};
use crate::program::{aligned, lock::lock, make_dir, network::ShippedOr, refused, say};

/// Share of the subtomograms of other classes that may be taken for an enrolled one, if not asked otherwise.
const FPIR: f64 = 0.05;

/// # Errors
/// Whatever was asked for wrongly, before the network does anything; what reading and writing fails with.
pub fn run(args: &Args) -> Result<()> {
    let fpir = args.fpir.unwrap_or(FPIR);
    if !(0.0..=1.0).contains(&fpir) {
        return Err(refused("--fpir", "a rate from 0 to 1", fpir));
    }
    let net = ShippedOr::open(args.network.as_deref(), args.device)?;
    let open = |table, labels| Subtomograms::open(table, labels, args, net.trained());
    let particles = open(&args.particles, Labels::Welcome)?;
    let references = args.enroll.as_ref().map(|table| open(table, Labels::Needed)).transpose()?;
    let references = match references {
        None => None,
        Some(enrolled) => {
            let others = args.calibrate.as_ref().map(|table| open(table, Labels::Needed)).transpose()?;
            Some(References::new(enrolled, others)?)
        }
    };
    let tables = [Some(&args.particles), args.enroll.as_ref(), args.calibrate.as_ref()];
    output::require_own(&args.out, tables.into_iter().flatten().map(PathBuf::as_path))?;
    make_dir(&args.out)?;
    let _alone = lock(&args.out)?;

    let network = TrainedNetwork { net: &net, device: args.device, batch: usize::from(args.batch) };
    let search = match references.as_ref().map(|references| references.embed(&network, fpir)).transpose()? {
        None => None,
        Some(None) => return Ok(()),
        Some(Some(search)) => Some(search),
    };
    let Some(embeddings) = particles.embed("embedding", |class| i64::from(class.0), &network)? else { return Ok(()) };

    let found = search.as_ref().map(|search| search.identify(&embeddings)).transpose()?;
    let calibration = search.as_ref().and_then(|search| search.calibrated.as_ref());
    output::write(&args.out, &args.particles, &particles, &embeddings, found.as_deref(), calibration)?;
    say(format_args!("{} embeddings of {} dimensions in {}", embeddings.len(), embeddings.dim(), args.out.display()));
    if let Some(found) = found {
        say(format_args!("\n{}", aligned(&output::summary(&found))));
    }
    Ok(())
}

/// Labeled subtomograms to compare with.
#[derive(Debug)]
struct References {
    enrolled: Subtomograms,
    /// Of enrolled classes and of others.
    others: Option<Subtomograms>,
}

impl References {
    /// # Errors
    /// Unless there are enrolled and other classes to calibrate with, in files that are not enrolled.
    fn new(enrolled: Subtomograms, others: Option<Subtomograms>) -> Result<Self> {
        let refuse = |expected: &str, got: String| refused("--calibrate", expected, got);
        if let Some(others) = &others {
            let (known, unknown): (Vec<_>, Vec<_>) =
                others.classes().iter().partition(|name| enrolled.classes().contains(name));
            if known.is_empty() || unknown.is_empty() {
                let expected = format!("some of {} and of other classes", enrolled.classes().join(", "));
                return Err(refuse(&expected, others.classes().join(", ")));
            }
            // One class that is written in two ways would be one enrolled and one other.
            for name in unknown {
                let alike = |enrolled: &&String| enrolled.to_lowercase() == name.to_lowercase();
                if let Some(enrolled) = enrolled.classes().iter().find(alike) {
                    return Err(refuse(&format!("one spelling of `{enrolled}`"), format!("`{name}`")));
                }
            }
            if let Some(path) = others.in_common(&enrolled) {
                return Err(refuse("other subtomograms than --enroll", path.display().to_string()));
            }
        }
        Ok(Self { enrolled, others })
    }

    /// The number of a class of `others`: that of the enrolled class of its name, or one that is none of theirs.
    fn label(&self, others: &Subtomograms, class: ClassId) -> i64 {
        let classes = self.enrolled.classes();
        let name = &others.classes()[class.0 as usize];
        let enrolled = classes.iter().position(|enrolled| enrolled == name);
        enrolled.map_or((classes.len() + class.0 as usize) as i64, |place| place as i64)
    }

    fn embed(&self, network: &TrainedNetwork<'_>, fpir: f64) -> Result<Option<Search<'_>>> {
        let own = |class: ClassId| i64::from(class.0);
        let Some(enrolled) = self.enrolled.embed("enrolling", own, network)? else { return Ok(None) };
        let gallery = Gallery::enroll(&enrolled, Prototype::Mean)?;
        let names = self.enrolled.classes();
        let Some(others) = &self.others else { return Ok(Some(Search { gallery, names, calibrated: None })) };
        let label = |class| self.label(others, class);
        let Some(probes) = others.embed("calibrating", label, network)? else { return Ok(None) };
        let searched = gallery.search(&probes)?;
        let point = searched.dir_at_fpir(fpir)?;
        tell(&point, searched.known(), searched.unknown());
        Ok(Some(Search { gallery, names, calibrated: Some(point) }))
    }
}

fn tell(point: &DirPoint, known: u64, unknown: u64) {
    let accepted = match point.threshold.is_finite() {
        true => format!("accepted from a score of {} on", point.threshold),
        false => "no score is near enough".to_owned(),
    };
    say(format_args!(
        "calibrated: {:.1} % of {known} subtomograms of enrolled classes are identified, {} of {unknown} others are taken \
         for one of them; {accepted}",
        100.0 * point.dir,
        point.false_alarms,
    ));
    if !point.resolvable {
        say(format_args!("{unknown} others are too few to measure a rate of {}", point.target_fpir));
    }
}

/// Enrolled classes, and how near is near enough.
#[derive(Debug)]
struct Search<'a> {
    gallery: Gallery,
    names: &'a [String],
    calibrated: Option<DirPoint>,
}

impl Search<'_> {
    fn identify(&self, particles: &EmbeddingSet) -> Result<Vec<Found<'_>>> {
        let searched = self.gallery.search(particles)?;
        let probes = searched.probes().iter().map(|probe| Found {
            nearest: &self.names[probe.nearest as usize],
            number: probe.nearest as usize + 1,
            score: probe.score,
            accepted: self.calibrated.map(|point| probe.score >= point.threshold),
        });
        Ok(probes.collect())
    }
}
