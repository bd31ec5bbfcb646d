//! From tomogram and tables to verdicts.

use std::path::Path;

use anyhow::{Result, anyhow};
use soft_lmccl::{
    cect::{Batch, CandidateTable, ClassId, Contrast, Sample, Volume},
    metrics::{EmbeddingSet, Gallery, Prototype},
    tch::{Device, Tensor},
    train::embed,
};

use super::{
    args::Args,
    calibrate::Calibration,
    output::{self, Judged, Verdict},
    places::{Tomogram, table},
};
use crate::program::{bar::bar, interrupted, lock::lock, make_dir, network::ShippedOr, refused, say};

/// Boxes that go through the network together.
const BATCH: usize = 32;
/// Doubtful is what would be accepted at this many times the rate.
const DOUBTFUL: f64 = 4.0;
/// Places drawn at random are so far from candidates and from each other, in sides of a box.
const AWAY: f64 = 0.5;
/// Places beside the enrolled particles that tell the contrast.
const CONTRAST_PLACES: usize = 100;
/// The class of all where the table has none.
const ONLY: &str = "particle";

/// # Errors
/// Whatever was asked for wrongly, before the network does anything; what reading and writing fails with.
pub fn run(args: &Args) -> Result<()> {
    if !(args.rate > 0.0 && args.rate < 1.0) {
        return Err(refused("--rate", "a rate between 0 and 1", args.rate));
    }
    let network = ShippedOr::open(args.network.as_deref(), args.device)?;
    let (side, voxel_size) = (network.trained().side, network.voxel_size()?);
    let open = |path: &Path| Tomogram::open(path, args.voxel_size);
    let tables = (table(&args.candidates)?, table(&args.enroll)?);
    let (candidates, enrolled) = &tables;
    let background = args.background.as_deref().map(table).transpose()?;
    let tomogram = open(&args.tomogram)?;
    let of_enrolled = args.enroll_tomogram.as_deref().map(open).transpose()?;
    let of_background = args.background_tomogram.as_deref().map(open).transpose()?;
    let chosen = chosen(candidates, args.tomogram_name.as_deref())?;
    output::require_own(&args.out, args)?;
    make_dir(&args.out)?;
    let _alone = lock(&args.out)?;

    let pixel_size = args.pixel_size;
    let classes = classes(enrolled);
    let source = of_enrolled.as_ref().unwrap_or(&tomogram);
    let enrolled_places = source.places(enrolled, pixel_size);
    let edge = |tomogram: &Tomogram| side as f64 * voxel_size / tomogram.voxel_size;
    let boxes = source.boxes(&enrolled_places, side, voxel_size);
    let beside =
        source.random_places(CONTRAST_PLACES, &enrolled_places, AWAY * edge(source), edge(source) / 2.0, args.seed);
    let sign = sign(args, &boxes, source.boxes(&beside, side, voxel_size))?;
    let dark = |volume: Volume| -> Result<Volume> {
        Ok(Volume::new(side, volume.into_voxels().into_iter().map(|voxel| sign * voxel).collect())?)
    };
    say_sizes(&tomogram, candidates, voxel_size, pixel_size);

    let labeled = enrolled.candidates().iter().zip(boxes).filter_map(|(row, found)| {
        let class = classes.iter().position(|class| class == row.label.as_deref().unwrap_or(ONLY))?;
        let found = found?;
        Some(dark(found).map(|found| (class as u32, found)))
    });
    let enrolled_boxes: Vec<_> = labeled.collect::<Result<_>>()?;
    if enrolled_boxes.is_empty() {
        return Err(refused("--enroll", "particles whose boxes lie in the tomogram", "none"));
    }
    let places = tomogram.places(candidates, pixel_size);
    let boxes: Vec<Option<Volume>> = tomogram
        .boxes(&places, side, voxel_size)
        .into_iter()
        .map(|found| found.map(dark).transpose())
        .collect::<Result<_>>()?;

    let elsewhere = of_background.as_ref().unwrap_or(&tomogram);
    let empty_places = match &background {
        Some(table) => {
            let all = elsewhere.places(table, pixel_size);
            let other = |label: Option<&str>| label.is_none_or(|label| !classes.iter().any(|class| class == label));
            let rows = table.candidates().iter().zip(all);
            rows.filter(|(row, _)| other(row.label.as_deref())).map(|(_, place)| place).collect()
        }
        None => {
            let mut away = places.clone();
            away.extend(if of_enrolled.is_none() { enrolled_places.as_slice() } else { &[] });
            let edge = edge(&tomogram);
            tomogram.random_places(args.random, &away, AWAY * edge, edge / 2.0, args.seed)
        }
    };
    let empty: Vec<_> =
        elsewhere.boxes(&empty_places, side, voxel_size).into_iter().flatten().map(|b| (0, b)).collect();
    if empty.is_empty() {
        let expected =
            "places without a particle whose boxes lie in the tomogram; none was found away from the candidates";
        return Err(refused("--background", expected, "none"));
    }
    let judged: Vec<usize> = (0..boxes.len()).filter(|&row| chosen[row] && boxes[row].is_some()).collect();
    if judged.is_empty() {
        return Err(refused("--candidates", "candidates whose boxes lie in the tomogram", "none"));
    }
    let of_candidates: Vec<_> =
        judged.iter().map(|&row| (0, boxes[row].clone().expect("judged ones have one"))).collect();

    let asked = Asked { network: &network, device: args.device };
    let Some(gallery) = asked.embed("enrolling", &enrolled_boxes)? else { return Ok(()) };
    let Some(others) = asked.embed("calibrating", &empty)? else { return Ok(()) };
    let Some(found) = asked.embed("comparing", &of_candidates)? else { return Ok(()) };
    let gallery = Gallery::enroll(&gallery, Prototype::Mean)?;
    let scores: Vec<f64> = gallery.search(&others)?.probes().iter().map(|probe| probe.score).collect();
    let calibration = Calibration::of(&scores, args.rate);
    let doubtful = Calibration::of(&scores, (DOUBTFUL * args.rate).min(0.5)).threshold;
    let mut rows = vec![Judged::not_asked(); boxes.len()];
    for (row, _) in chosen.iter().enumerate().filter(|(_, chosen)| **chosen) {
        rows[row].verdict = Verdict::Outside;
    }
    for (&row, probe) in judged.iter().zip(gallery.search(&found)?.probes()) {
        let verdict = match probe.score {
            score if score > calibration.threshold => Verdict::Match,
            score if score > doubtful => Verdict::Doubtful,
            _ => Verdict::Rejected,
        };
        rows[row] =
            Judged { verdict, score: Some(probe.score), nearest: Some(classes[probe.nearest as usize].clone()) };
    }
    let sentences = sentences(&calibration, candidates, &rows, &classes, &empty_places, background.is_some());
    let pictures = output::Pictures { judged: &judged, boxes: &boxes, voxel_size, places: &places, embeddings: &found };
    output::write(args, candidates, &rows, &calibration, &sentences, &pictures)?;
    for sentence in sentences {
        say(format_args!("{sentence}"));
    }
    say(format_args!("written to {}", args.out.display()));
    Ok(())
}

/// Which rows are of the tomogram.
fn chosen(table: &CandidateTable, name: Option<&str>) -> Result<Vec<bool>> {
    let mut names: Vec<&str> = table.candidates().iter().filter_map(|row| row.tomogram.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    match name {
        None if names.len() > 1 => {
            Err(refused("--tomogram-name", format!("one of {}", names.join(", ")), "none, and there are several"))
        }
        Some(name) if !names.contains(&name) => {
            Err(refused("--tomogram-name", format!("one of {}", names.join(", ")), name))
        }
        _ => Ok(table
            .candidates()
            .iter()
            .map(|row| name.is_none_or(|name| row.tomogram.as_deref() == Some(name)))
            .collect()),
    }
}

fn classes(enrolled: &CandidateTable) -> Vec<String> {
    let mut classes: Vec<String> = Vec::new();
    for row in enrolled.candidates() {
        let class = row.label.as_deref().unwrap_or(ONLY);
        if !classes.iter().any(|known| known == class) {
            classes.push(class.to_owned());
        }
    }
    classes
}

/// By what voxels are multiplied so that protein is dark: as it is told, or as the enrolled particles show it.
fn sign(args: &Args, particles: &[Option<Volume>], beside: Vec<Option<Volume>>) -> Result<f32> {
    let particles: Vec<Volume> = particles.iter().flatten().cloned().collect();
    let beside: Vec<Volume> = beside.into_iter().flatten().collect();
    let count = particles.len();
    let contrast = args.contrast.told();
    match contrast.or_else(|| Contrast::seen_in(&particles, &beside)) {
        Some(Contrast::DarkProtein) if contrast.is_none() => {
            say(format_args!("protein is dark in the tomogram, as {count} enrolled particles show it"));
            Ok(1.0)
        }
        Some(Contrast::BrightProtein) if contrast.is_none() => {
            say(format_args!(
                "protein is bright in the tomogram, as {count} enrolled particles show it: its contrast is inverted, and was \
                 turned back"
            ));
            Ok(-1.0)
        }
        Some(Contrast::DarkProtein) => Ok(1.0),
        Some(Contrast::BrightProtein) => Ok(-1.0),
        None => Err(anyhow!(
            "the {count} enrolled particles do not show whether protein is dark or bright; --contrast dark or --contrast \
             bright tells it"
        )),
    }
}

/// What the reader may want to check.
fn say_sizes(tomogram: &Tomogram, table: &CandidateTable, wanted: f64, pixel_size: Option<f64>) {
    let [z, y, x] = tomogram.shape();
    let unit = match (table.is_centered(), pixel_size.or(table.pixel_size())) {
        (true, _) => "Å from its center".to_owned(),
        (false, Some(size)) => format!("pixels of {size:.3} Å"),
        (false, None) => "its voxels".to_owned(),
    };
    say(format_args!("a tomogram of {x} × {y} × {z} voxels of {:.2} Å; places are in {unit}", tomogram.voxel_size));
    if tomogram.voxel_size > 1.1 * wanted {
        say(format_args!(
            "its voxels are larger than the {wanted:.1} Å that the network was trained on: the detail that it looks for is not all there"
        ));
    }
}

/// What was found, and what cannot be known.
fn sentences(
    calibration: &Calibration,
    table: &CandidateTable,
    rows: &[Judged],
    classes: &[String],
    empty: &[[f64; 3]],
    told: bool,
) -> Vec<String> {
    let count = |wanted: Verdict| rows.iter().filter(|row| row.verdict == wanted).count();
    let (matches, doubtful, rejected) = (count(Verdict::Match), count(Verdict::Doubtful), count(Verdict::Rejected));
    let mut sentences = vec![
        calibration.sentence(),
        format!(
            "{matches} matches, {doubtful} doubtful, {rejected} rejected, {} not judged",
            rows.len() - matches - doubtful - rejected
        ),
    ];
    if !told {
        sentences.push(format!(
            "the {} places were drawn at random and taken for empty: particles among them that no candidate marks make the threshold too strict",
            empty.len()
        ));
    }
    let labeled: Vec<_> = table
        .candidates()
        .iter()
        .zip(rows)
        .filter(|(row, judged)| row.label.is_some() && judged.score.is_some())
        .collect();
    if labeled.is_empty() {
        sentences
            .push("the candidates have no classes: how many of the matches are right is not known here".to_owned());
        return sentences;
    }
    let is_enrolled = |label: Option<&str>| classes.iter().any(|class| Some(class.as_str()) == label);
    for (of, what) in [(true, "of enrolled classes"), (false, "of other classes")] {
        let these: Vec<_> = labeled.iter().filter(|(row, _)| is_enrolled(row.label.as_deref()) == of).collect();
        let matched = these.iter().filter(|(_, judged)| judged.verdict == Verdict::Match).count();
        if !these.is_empty() {
            sentences.push(format!(
                "by the table's own classes: {matched} of {} candidates {what} are matches ({:.1} %)",
                these.len(),
                100.0 * matched as f64 / these.len() as f64
            ));
        }
    }
    sentences
}

/// The network and how it is asked.
struct Asked<'a> {
    network: &'a ShippedOr,
    device: Device,
}

impl Asked<'_> {
    /// `None` if Ctrl-C came first.
    fn embed(&self, what: &str, boxes: &[(u32, Volume)]) -> Result<Option<EmbeddingSet>> {
        let bar = bar(what, boxes.len());
        let batches = boxes.chunks(BATCH).take_while(|_| !interrupted()).map(|boxes| {
            let samples: Vec<Sample> =
                boxes.iter().map(|(class, volume)| Sample { volume: volume.clone(), class: ClassId(*class) }).collect();
            let labels: Vec<i64> = boxes.iter().map(|(class, _)| i64::from(*class)).collect();
            let volumes = Batch::of(&samples)?.volumes.f_to_device(self.device)?;
            bar.inc(boxes.len() as u64);
            Ok((volumes, Tensor::from_slice(&labels)))
        });
        let embeddings = embed(self.network, batches);
        bar.finish_and_clear();
        if interrupted() { Ok(None) } else { Ok(Some(embeddings?)) }
    }
}
