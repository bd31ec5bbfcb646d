//! From a made tomogram and tables to verdicts.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::{fs, path::Path};

use clap::{CommandFactory, Parser};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use soft_lmccl::cect::{CandidateTable, Map, Volume};
use tempfile::TempDir;

use super::{args::Args, run};

/// Room for forty places away from the balls.
const SIDE: usize = 112;
/// `[x, y, z]` of balls, four of which are enrolled.
const BALLS: [[usize; 3]; 8] =
    [[18, 18, 20], [58, 20, 22], [20, 60, 24], [60, 60, 20], [22, 22, 58], [58, 20, 56], [20, 58, 60], [60, 60, 58]];
/// Nothing lies here.
const EMPTY: [[usize; 3]; 5] = [[92, 30, 40], [90, 70, 42], [92, 92, 60], [30, 92, 38], [60, 92, 90]];

/// Noise of unit variance, nearly: sums of twelve numbers from 0 to 1.
fn noise() -> impl FnMut() -> f32 {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    move || (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
}

/// Balls of 120 Å across in noise, darker than it by `depth`.
fn tomogram(depth: f32) -> Map {
    let mut noise = noise();
    let voxels = (0..SIDE.pow(3)).map(|index| {
        let place = [index % SIDE, index / SIDE % SIDE, index / SIDE / SIDE];
        let inside = |ball: &[usize; 3]| {
            (0..3).map(|axis| (place[axis] as f64 - ball[axis] as f64).powi(2)).sum::<f64>() <= 36.0
        };
        noise() - if BALLS.iter().any(inside) { depth } else { 0.0 }
    });
    Map::from_volume(&Volume::new(SIDE, voxels.collect()).unwrap(), 10.0)
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    tomogram(2.0).save(at("dark.mrc")).unwrap();
    tomogram(-2.0).save(at("bright.mrc")).unwrap();
    tomogram(0.0).save(at("nothing.mrc")).unwrap();
    let row = |place: &[usize; 3]| format!("{},{},{}\n", place[0], place[1], place[2]);
    let enrolled: String = BALLS[..4].iter().map(row).collect();
    fs::write(at("enrolled.csv"), format!("x,y,z\n{enrolled}")).unwrap();
    let mut labeled = "# by hand\nx,y,z,class\n".to_owned();
    let mut star =
        "# version 50001\n\ndata_optics\nloop_\n_rlnTomoTiltSeriesPixelSize #1\n2.5\n\ndata_particles\nloop_\n\
                    _rlnTomoName #1\n_rlnCenteredCoordinateXAngst #2\n_rlnCenteredCoordinateYAngst #3\n\
                    _rlnCenteredCoordinateZAngst #4\n"
            .to_owned();
    for (place, class) in BALLS[4..].iter().map(|b| (b, "particle")).chain(EMPTY.iter().map(|e| (e, "nothing"))) {
        let [x, y, z] = place;
        labeled += &format!("{x},{y},{z},{class}\n");
        let [x, y, z] = place.map(|c| 10.0 * (c as f64 - SIDE as f64 / 2.0));
        star += &format!("TS_1 {x} {y} {z}\n");
    }
    fs::write(at("labeled.csv"), labeled + "-90,3,3,particle\n").unwrap();
    fs::write(at("centered.star"), &star).unwrap();
    fs::write(at("two.star"), star + "TS_2 0 0 0\n").unwrap();
    folder
}

/// Words that end with `!` are files of the folder.
fn told(folder: &Path, line: &str) -> Result<(), String> {
    // The highest of forty places without a particle is the threshold: at the default rate two of them would pass, and with
    // them now and then one of five empty candidates.
    let rate = if line.contains("--rate") { "" } else { "--rate 0.025" };
    let words = format!("candidates --out out! --random 40 {rate} {line}");
    let words = words.split_whitespace().map(|word| match word.strip_suffix('!') {
        Some(file) => folder.join(file).display().to_string(),
        None => word.to_owned(),
    });
    let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
    run::run(&args).map_err(|error| format!("{error:#}"))
}

fn verdicts(path: &Path) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_path(path).unwrap();
    let at = reader.headers().unwrap().iter().position(|name| name == "softLmcclVerdict").unwrap();
    reader.records().map(|record| record.unwrap()[at].to_owned()).collect()
}

#[test]
fn particles_match_and_empty_places_do_not_whatever_the_contrast() {
    let folder = folder();
    let out = folder.path().join("out");
    for tomogram in ["dark", "bright"] {
        let line = format!("--tomogram {tomogram}.mrc! --candidates labeled.csv! --enroll enrolled.csv!");
        told(folder.path(), &line).unwrap();
        let found = verdicts(&out.join("candidates.csv"));
        assert_eq!(found[..4], ["match"; 4], "{tomogram}");
        assert!(found[4..9].iter().all(|verdict| verdict != "match"), "{tomogram}: {found:?}");
        assert_eq!(found[9], "outside");
        assert_eq!(verdicts(&out.join("matches.csv")), ["match"; 4]);
        assert!(
            fs::read_to_string(out.join("candidates.csv"))
                .unwrap()
                .starts_with("# by hand\nx,y,z,class,softLmcclScore")
        );
        let said: Value = serde_json::from_slice(&fs::read(out.join("calibration.json")).unwrap()).unwrap();
        let [low, high] = [0, 1].map(|end| said["interval"][end].as_f64().unwrap());
        let rate = said["rate"].as_f64().unwrap();
        assert!(low < rate && rate < high && high < 0.3, "{said}");
        let sentences = said["said"].to_string();
        assert!(sentences.contains("4 of 4 candidates of enrolled classes are matches"), "{sentences}");
        let page = fs::read_to_string(out.join("report.html")).unwrap();
        assert!(page.contains("false positives") && page.contains("<img"), "{page}");
    }
}

/// The table of RELION 5 comes back with all that was in it, in the same places, and its matches alone.
#[test]
fn centered_places_come_back_in_their_own_format() {
    let folder = folder();
    let out = folder.path().join("out");
    told(folder.path(), "--tomogram dark.mrc! --candidates centered.star! --enroll enrolled.csv!").unwrap();
    let before = CandidateTable::open(folder.path().join("centered.star")).unwrap();
    let after = CandidateTable::open(out.join("candidates.star")).unwrap();
    let places = |table: &CandidateTable| table.places([SIDE; 3], 10.0, None);
    assert_eq!(places(&before), places(&after));
    assert_eq!(places(&CandidateTable::open(out.join("matches.star")).unwrap()), places(&before)[..4]);
    let text = fs::read_to_string(out.join("candidates.star")).unwrap();
    assert!(text.starts_with("# version 50001\n\ndata_optics\nloop_\n_rlnTomoTiltSeriesPixelSize #1\n2.5\n"), "{text}");
    assert!(text.contains("_softLmcclVerdict #7"), "{text}");

    let two = "--tomogram dark.mrc! --candidates two.star! --enroll enrolled.csv!";
    let message = told(folder.path(), two).unwrap_err();
    assert_eq!(message, "invalid `--tomogram-name`: expected one of TS_1, TS_2, got none, and there are several");
    told(folder.path(), &format!("{two} --tomogram-name TS_1")).unwrap();
    let text = fs::read_to_string(out.join("candidates.star")).unwrap();
    assert!(text.ends_with("TS_2 0 0 0 - - not_asked\n"), "{text}");
}

#[test]
fn what_is_wrong_is_told_in_a_sentence_before_anything_is_written() {
    let folder = folder();
    let all = "--tomogram dark.mrc! --candidates labeled.csv! --enroll enrolled.csv!";
    fs::write(folder.path().join("far.csv"), "x,y,z\n500,3,3\n").unwrap();
    fs::write(folder.path().join("names.csv"), "path,label\na.mrc,1\n").unwrap();
    fs::write(folder.path().join("word.csv"), "x,y,z\n1,two,3\n").unwrap();
    let unsized_map = Map::from_volume(&Volume::new(4, (0..64).map(|v| v as f32).collect()).unwrap(), 0.0);
    unsized_map.save(folder.path().join("unsized.mrc")).unwrap();
    for (line, message) in [
        (format!("{all} --rate 0"), "invalid `--rate`: expected a rate between 0 and 1, got 0"),
        (
            all.replace("dark", "nothing"),
            "the 4 enrolled particles do not show whether protein is dark or bright; --contrast dark or --contrast bright \
             tells it",
        ),
        (
            all.replace("labeled", "far"),
            "invalid `--candidates`: expected candidates whose boxes lie in the tomogram, got none",
        ),
        (
            all.replace("enrolled", "far"),
            "the 0 enrolled particles do not show whether protein is dark or bright; --contrast dark or --contrast bright \
             tells it",
        ),
        (
            format!("{} --contrast dark", all.replace("enrolled", "far")),
            "invalid `--enroll`: expected particles whose boxes lie in the tomogram, got none",
        ),
        (all.replace("labeled", "names"), "has no columns for places"),
        (all.replace("labeled", "word"), "line 2: `two` is no number"),
        (all.replace("dark", "unsized"), "--voxel-size says the right one"),
        (format!("{all} --background far.csv!").replace("--random 40", ""), "cannot be used with"),
    ] {
        let found = told(folder.path(), &line).unwrap_err();
        assert!(found.contains(message), "{line}\n{found}\n{message}");
    }
    assert!(!folder.path().join("out/candidates.csv").exists());
}

#[test]
fn help_tells_what_the_program_does() {
    let about = Args::command().get_about().map(ToString::to_string).unwrap_or_default();
    assert!(about.starts_with("Which candidates of a template search"), "{about}");
}
