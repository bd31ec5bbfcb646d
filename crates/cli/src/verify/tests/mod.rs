//! Files in, one object or one sentence out.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod files;
mod pairs;

use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};
use serde_json::Value;
use soft_lmccl::distributed::Group;
use soft_lmccl::metrics::{
    Calibration, ClassCounts, CohortMatrix, CohortScores, EerMethod, EmbeddingSet, Failures, Gallery, Intervals,
    PairProtocol, Prototype, VerificationThreshold,
};
use soft_lmccl::tch::Tensor;
use tempfile::TempDir;

use super::args;
use super::run::{self};

/// What NumPy writes, version 1.0.
fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn bytes<T, const N: usize>(values: &[T], to_bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(to_bytes).collect()
}

const ROWS: usize = 24;
const DIM: usize = 3;

fn value(row: usize, column: usize) -> f32 {
    let near = if row % 4 == column { 1.5 } else { 0.25 };
    near + (row * 5 % 7) as f32 / 8.0 * if column == 1 { -1.0 } else { 1.0 }
}

fn labels() -> Vec<i64> {
    (0..ROWS as i64).map(|row| row % 4).collect()
}

/// A folder with the same embeddings in every form that is read.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let c: Vec<f32> = (0..ROWS * DIM).map(|at| value(at / DIM, at % DIM)).collect();
    let fortran: Vec<f64> = (0..ROWS * DIM).map(|at| f64::from(value(at % ROWS, at / ROWS))).collect();
    let shape = format!("({ROWS}, {DIM})");
    let write = |name: &str, content: Vec<u8>| fs::write(folder.path().join(name), content).unwrap();
    write("c.npy", npy("<f4", false, &shape, &bytes(&c, |value| value.to_le_bytes())));
    write("fortran.npy", npy("<f8", true, &shape, &bytes(&fortran, |value| value.to_le_bytes())));
    write("labels.npy", npy("<i8", false, &format!("({ROWS},)"), &bytes(&labels(), |label| label.to_le_bytes())));
    folder
}

fn arguments(folder: &Path, line: &str) -> Result<args::Args, String> {
    let words = line.split_whitespace().map(|word| match word.strip_suffix('!') {
        Some(file) => folder.join(file).display().to_string(),
        None => word.to_owned(),
    });
    let args = args::Args::try_parse_from(["verify_embeddings".to_owned()].into_iter().chain(words));
    args.map_err(|error| error.to_string())
}

/// What it prints, and why there is no threshold if one was asked for.
fn outcome(folder: &Path, line: &str) -> Result<(String, Option<String>), String> {
    let sentence = |error: anyhow::Error| format!("{error:#}");
    let args = arguments(folder, line)?;
    let outcome = run::run(&args, &Group::solo(), || false).map_err(sentence)?;
    let run::Outcome { output, unsaved } = outcome.expect("a group of one has its first rank");
    Ok((output, unsaved.map(sentence)))
}

fn run(folder: &Path, line: &str) -> Result<String, String> {
    let (output, unsaved) = outcome(folder, line)?;
    assert_eq!(unsaved, None);
    Ok(output)
}

fn json(folder: &Path, line: &str) -> Value {
    serde_json::from_str(&run(folder, &format!("{line} --json")).unwrap()).unwrap()
}

/// A table of samples: ids, classes, templates of two, days.
fn with_ids(folder: &Path) {
    let line = |row: usize| format!("s{row},k{},t{},{}\n", row % 4, row / 8 * 4 + row % 4, ["mon", "tue"][row / 12]);
    let lines: String = (0..ROWS).map(line).collect();
    fs::write(folder.join("s.csv"), format!("id,labels,visit,day\n{lines}")).unwrap();
}

#[test]
fn figures_are_those_of_the_library() {
    let folder = folder();
    let array = ndarray::Array2::from_shape_fn((ROWS, DIM), |(row, column)| value(row, column));
    let set = EmbeddingSet::new(array.view(), &labels()).unwrap();
    let roc = set.pair_scores(PairProtocol::All).unwrap().roc();
    for file in ["c.npy!", "fortran.npy!"] {
        let found = json(folder.path(), &format!("{file} labels.npy! --far 0.25,1e-3"));
        assert_eq!((&found["embeddings"], &found["dim"]), (&ROWS.into(), &DIM.into()));
        assert_eq!((&found["pairs"], &found["classes"]), (&276.into(), &4.into()));
        assert_eq!((&found["positives"], &found["negatives"]), (&60.into(), &216.into()));
        assert_eq!(found["auc"], roc.auc());
        assert_eq!(found["eer"], roc.eer(EerMethod::Linear));
        assert_eq!(found["best_accuracy"], roc.best_accuracy().accuracy());
        for (at, far) in [(0, 0.25), (1, 1e-3)] {
            let (found, expected) = (&found["tar_at_far"][at], roc.at_far(far).unwrap());
            assert_eq!(found["target_far"], far);
            assert_eq!(found["tar"], expected.point.tar());
            assert_eq!(found["far"], expected.point.far());
            assert_eq!(found["false_accepts"], expected.point.false_accepts);
            assert_eq!(found["resolvable"], expected.resolvable);
        }
        // Each class, and each two, at one of the cuts.
        let by_class = &found["by_class"];
        let cut = by_class["threshold"].as_f64().unwrap();
        // The table of thresholds has the same counts from the scores, without a look at classes.
        let rows = found["choosing"]["rows"].as_array().unwrap();
        let here = &rows.iter().map(|row| &row["cost"]["point"]).find(|point| point["threshold"] == cut).unwrap();
        for (key, all) in [("tar", "true_accepts"), ("confused", "false_accepts")] {
            let found = by_class[key].as_array().unwrap().iter().map(|pair| pair["accepted"].as_u64().unwrap());
            assert_eq!(found.sum::<u64>(), here[all].as_u64().unwrap(), "{key}");
        }
    }
}

#[test]
fn people_get_a_table_with_intervals_and_definitions() {
    let folder = folder();
    let table =
        run(folder.path(), "c.npy! labels.npy! --far 0.1,1e-9 --not-enrolled 2/100 --not-acquired 10/200").unwrap();
    for part in [
        "24 of 3 dimensions",
        "60 matching, 216 non-matching (all pairs)",
        "95 %, in closed form, over 4 classes",
        "figure          value",
        "chance that a matching pair scores above",
        "TAR @ FAR 1e-9",
        "below resolution",
        "FMR = FNMR, on the line between two points (ISO/IEC 19795-1)",
        "lowest FNMR without a false match (FVC2000)",
        "false match rate, of comparisons (ISO/IEC 19795-1)",
        "failure-to-enroll rate (ISO/IEC 19795-1)",
        "Choosing a threshold",
        "more than least",
        "Classes of the lowest TAR",
    ] {
        assert!(table.contains(part), "{part:?} not in {table}");
    }
    assert!(!table.contains("inf") && !table.contains("NaN"), "{table}");
    let table = run(folder.path(), "c.npy! labels.npy! --far 1e-9").unwrap();
    assert!(table.contains("no threshold was chosen: no threshold fits"), "{table}");
    let found = json(folder.path(), "c.npy! labels.npy! --bootstrap 50");
    let (low, high) = (&found["auc_interval"]["low"], &found["auc_interval"]["high"]);
    let (low, high) = (low.as_f64().unwrap(), high.as_f64().unwrap());
    assert!(low < high && (low..=high).contains(&found["auc"].as_f64().unwrap()), "{found}");
    assert!(found["intervals"].as_str().unwrap().starts_with("percentiles of 50 draws"), "{found}");
    // Labels in another order than the rows.
    let turned: Vec<i64> = (0..ROWS as i64).map(|row| (row / 2) % 4).collect();
    let turned = npy("<i8", false, &format!("({ROWS},)"), &bytes(&turned, |label| label.to_le_bytes()));
    fs::write(folder.path().join("turned.npy"), turned).unwrap();
    let table = run(folder.path(), "c.npy! turned.npy!").unwrap();
    let auc = json(folder.path(), "c.npy! turned.npy!")["auc"].as_f64().unwrap();
    assert_eq!(table.contains("hint: an AUC of"), auc < 0.4, "{auc}");
}

#[test]
fn distances_get_a_hint() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("d.csv"), "score,same\n0.1,1\n0.3,1\n0.2,0\n0.8,0\n0.9,0\n").unwrap();
    let table = run(folder.path(), "--scores d.csv!").unwrap();
    assert!(table.contains("hint: an AUC of 0.167 is far below 0.5"), "{table}");
    assert!(json(folder.path(), "--scores d.csv!")["hint"].as_str().unwrap().contains("negate distances"));
}

#[test]
fn failures_count_as_the_standard_says() {
    let folder = folder();
    let found = json(folder.path(), "c.npy! labels.npy! --far 0.1 --not-enrolled 2/100 --not-acquired 10/200");
    let failures = Failures { enrollments: 100, not_enrolled: 2, acquisitions: 200, not_acquired: 10 };
    let here = serde_json::from_value(found["threshold"]["here"].clone()).unwrap();
    let expected = serde_json::to_value(failures.rates(&here).unwrap()).unwrap();
    assert_eq!(found["transactions"], expected);
    // By hand, from the two rates.
    let (fmr, fnmr) = (here.false_accepts as f64 / 216.0, 1.0 - here.true_accepts as f64 / 60.0);
    let near = |value: &Value, expected: f64| assert!((value.as_f64().unwrap() - expected).abs() < 1e-12, "{value}");
    near(&found["transactions"]["gfar"], fmr * 0.95 * 0.98);
    near(&found["transactions"]["gfrr"], 0.02 + 0.98 * (0.05 + 0.95 * fnmr));
}

#[test]
fn a_threshold_is_chosen_saved_and_applied() {
    let folder = folder();
    let chosen = json(folder.path(), "c.npy! labels.npy! --threshold-for 0.05 --threshold-out t.json!");
    let saved = VerificationThreshold::load(folder.path().join("t.json")).unwrap();
    let on = saved.fitted_on().unwrap();
    assert!(on.data.contains("c.npy with ") && on.data.contains("labels.npy"), "{}", on.data);
    assert_eq!((on.classes, on.date.len()), (4, 10));
    assert!(on.tar.is_some() && on.far.is_some());
    assert_eq!(
        (&chosen["threshold"]["origin"], &chosen["threshold"]["value"]),
        (&"chosen".into(), &saved.value().into())
    );
    let applied = json(folder.path(), "fortran.npy! labels.npy! --threshold t.json!");
    assert_eq!(
        (&applied["threshold"]["origin"], &applied["threshold"]["value"]),
        (&"applied".into(), &saved.value().into())
    );
    assert_eq!(applied["threshold"]["here"]["false_accepts"], saved.fitted().false_accepts);
    assert_eq!(applied["by_class"]["threshold"], saved.value());
    let table = run(folder.path(), "fortran.npy! labels.npy! --threshold t.json!").unwrap();
    assert!(table.contains("It was fitted on ") && table.contains("(4 classes): FMR"), "{table}");
}

#[test]
fn figures_are_printed_though_no_threshold_is_saved() {
    let folder = folder();
    for (line, expected) in [
        ("--threshold-out missing/t.json!", "cannot write F/missing/t.json: No such file or directory (os error 2)"),
        ("--report missing/r.html!", "cannot write F/missing/r.html: No such file or directory (os error 2)"),
        (
            "--threshold-out t.json! --threshold-for 0",
            "no threshold in F/t.json: no threshold fits: more non-matching pairs than the target FAR allows share the \
             highest score",
        ),
    ] {
        fs::write(
            folder.path().join("same.npy"),
            npy("<f4", false, &format!("({ROWS}, 1)"), &bytes(&[1.0f32; ROWS], |value| value.to_le_bytes())),
        )
        .unwrap();
        let file = if line.contains("missing") { "c.npy!" } else { "same.npy!" };
        let (output, unsaved) = outcome(folder.path(), &format!("{file} labels.npy! --json {line}")).unwrap();
        let printed: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(printed["pairs"], 276);
        assert_eq!(unsaved.unwrap().replace(&folder.path().display().to_string(), "F"), expected);
        assert!(!folder.path().join("t.json").exists());
    }
}

#[test]
fn long_work_stops_when_told() {
    let folder = folder();
    with_ids(folder.path());
    fs::write(folder.path().join("list.txt"), "1 s0 s4\n0 s0 s1\n".repeat(20_000)).unwrap();
    for line in
        ["c.npy! labels.npy!", "c.npy! labels.npy! --bootstrap 50", "c.npy! --samples s.csv! --trials list.txt!"]
    {
        let args = arguments(folder.path(), line).unwrap();
        let stopped = run::run(&args, &Group::solo(), || true).map(|_| ()).unwrap_err();
        assert!(format!("{stopped:#}").contains("stopped by the caller after"), "{stopped:#}");
    }
}

#[test]
fn a_report_has_the_tables_and_the_curves() {
    let folder = folder();
    with_ids(folder.path());
    run(folder.path(), "c.npy! --samples s.csv! --cohort day --report r.html!").unwrap();
    let page = fs::read_to_string(folder.path().join("r.html")).unwrap();
    for part in [
        "<caption>Figures</caption>",
        "TAR against FAR of comparisons",
        "axes of normal deviates (ISO/IEC 19795-1)",
        "FAR and FRR with their intervals against the threshold",
        "<caption>Classes of the lowest TAR</caption>",
        "FNMR of each two cohorts",
        "k0",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("data:image/svg+xml").count(), 5);
}

#[test]
fn help_tells_what_the_program_does() {
    let about = args::Args::command().get_about().map(ToString::to_string).unwrap_or_default();
    assert!(about.starts_with("How well do these embeddings or scores verify?"), "{about}");
    let help = args::Args::command().render_long_help().to_string();
    for part in
        ["column `score`; `same` (0 or 1), or `first_class` and `second_class`", "columns `first`, `second` (ids)"]
    {
        assert!(help.contains(part), "{help}");
    }
}
