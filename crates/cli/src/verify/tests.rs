//! Files in, one object or one sentence out.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};
use proptest::prelude::*;
use serde_json::Value;
use soft_lmccl::distributed::Group;
use soft_lmccl::metrics::files::{ArrayNames, EmbeddingTable, scores, truths};
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

/// The fixture of the metrics crate, in all forms.
#[test]
fn every_format_is_read() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let row = |row: usize| [0.0f32, 1.0, 2.0].map(|column| (row as f32 * 3.0 + column) / 4.0);
    let classes = [3i64, 3, 9, 9];
    fs::write(at("a.npz"), include_bytes!("../../../metrics/tests/fixtures/arrays.npz")).unwrap();
    let values: Vec<f32> = (0..4).flat_map(row).collect();
    let tensors = [("features", Tensor::from_slice(&values).view([4, 3])), ("classes", Tensor::from_slice(&classes))];
    Tensor::write_safetensors(&tensors, at("a.safetensors")).unwrap();
    let line = |(number, class): (usize, &i64)| {
        let [x, y, z] = row(number);
        format!("s{number},{x},{y},{z},{class}\n")
    };
    let lines: String = classes.iter().enumerate().map(line).collect();
    fs::write(at("a.csv"), format!("id,x,y,z,labels\n{lines}")).unwrap();
    fs::write(at("e.npy"), npy("<f4", false, "(4, 3)", &bytes(&values, |value| value.to_le_bytes()))).unwrap();
    fs::write(at("l.csv"), "labels,day\n3,1\n3,1\n9,2\n9,3\n").unwrap();
    let figures = |line: &str| {
        let mut found = json(folder.path(), line);
        let found = found.as_object_mut().unwrap();
        for key in ["data", "seconds", "threshold"] {
            found.remove(key);
        }
        found.clone()
    };
    let expected = figures("a.npz!");
    assert_eq!((&expected["pairs"], &expected["positives"]), (&6.into(), &2.into()));
    for line in [
        "a.safetensors! --array features --label classes",
        "a.csv!",
        "e.npy! l.csv!",
        "e.npy! --samples l.csv!",
        "e.npy! a.npz!",
    ] {
        assert_eq!(figures(line), expected, "{line}");
    }
    let refused = run(folder.path(), "a.safetensors!").unwrap_err();
    assert!(refused.ends_with("a.safetensors: expected an array called `embeddings`, got none"), "{refused}");
    let refused = run(folder.path(), "e.npy! --samples l.csv! --label species").unwrap_err();
    assert!(refused.ends_with("l.csv: expected a column `species`, got `labels`, `day`"), "{refused}");
    fs::write(at("short.csv"), "labels\n3\n").unwrap();
    let refused = run(folder.path(), "e.npy! --samples short.csv!").unwrap_err();
    assert!(refused.ends_with("short.csv: expected a row for each of 4 embeddings, got 1"), "{refused}");
}

#[test]
fn scores_bring_their_own_truth() {
    let folder = folder();
    let write = |name: &str, content: Vec<u8>| fs::write(folder.path().join(name), content).unwrap();
    let scores = [0.9f64, 0.8, 0.7, 0.6, 0.5, 0.4];
    write("s.npy", npy("<f8", false, "(6,)", &bytes(&scores, |score| score.to_le_bytes())));
    write("b.npy", npy("|b1", false, "(6,)", &[1, 1, 0, 1, 0, 0]));
    write("i.npy", npy("<i8", false, "(6,)", &bytes(&[1i64, 1, 0, 1, 0, 0], |truth| truth.to_le_bytes())));
    write("s.csv", b"score,same\n0.9,1\n0.8,true\n0.7,0\n0.6,1\n0.5,false\n0.4,0\n".to_vec());
    for files in ["s.npy! --same b.npy!", "s.npy! --same i.npy!", "s.csv!"] {
        let found = json(folder.path(), &format!("--scores {files} --threshold-out t.json! --threshold-for eer"));
        assert_eq!(found["auc"], 8.0 / 9.0);
        assert_eq!((&found["embeddings"], &found["auc_interval"]), (&Value::Null, &Value::Null));
        assert!(found["intervals"].as_str().unwrap().starts_with("none: no classes are known"), "{found}");
        let threshold = VerificationThreshold::load(folder.path().join("t.json")).unwrap();
        assert_eq!(found["eer_threshold"], threshold.value());
    }
    write("wrong.npy", npy("<i8", false, "(6,)", &bytes(&[1i64, 1, 0, 2, 0, 0], |truth| truth.to_le_bytes())));
    let refused = run(folder.path(), "--scores s.npy! --same wrong.npy!").unwrap_err();
    assert!(refused.ends_with("wrong.npy: expected 0 or 1, got 2 at position 3"), "{refused}");
    for (content, expected) in [
        ("score\n1\n", "expected a column `same`, got `score`"),
        ("score,same\nx,1\n", "line 2, column `score`: expected a number, got `x`"),
        ("score,same\n1,maybe\n", "line 2, column `same`: expected 0, 1, true or false, got `maybe`"),
        ("score,same,first_class,second_class\n1,1,a,b\n", "line 2: `same` contradicts the classes `a` and `b`"),
        ("score,first_class\n1,a\n", "expected a column `second_class`, got `score`, `first_class`"),
    ] {
        write("bad.csv", content.as_bytes().to_vec());
        let refused = run(folder.path(), "--scores bad.csv!").unwrap_err();
        assert!(refused.ends_with(expected), "{refused}");
    }
}

/// With classes, scores of all pairs have the intervals that the embeddings have.
#[test]
fn scores_with_classes_have_intervals() {
    let folder = folder();
    let array = ndarray::Array2::from_shape_fn((ROWS, DIM), |(row, column)| value(row, column));
    let set = EmbeddingSet::new(array.view(), &labels()).unwrap();
    let pairs = set.pairs(PairProtocol::All).unwrap();
    let scores = set.pair_scores(PairProtocol::All).unwrap();
    let line = |(&(i, j), score): (&(usize, usize), &f64)| format!("{score:?},c{},c{}\n", i % 4, j % 4);
    let lines: String = pairs.iter().zip(scores.scores()).map(line).collect();
    fs::write(folder.path().join("s.csv"), format!("score,first_class,second_class\n{lines}")).unwrap();
    let found = json(folder.path(), "--scores s.csv! --far 0.1");
    let trials = pairs.iter().zip(scores.scores()).map(|(&(i, j), &s)| (i as u32 % 4, j as u32 % 4, s));
    let roc = scores.roc();
    let counts = ClassCounts::across_trials(&roc, trials).unwrap();
    let intervals = Intervals::new(&roc, &counts, 0.95).unwrap();
    assert_eq!(found["auc_interval"]["low"], intervals.auc().unwrap().interval.low);
    assert_eq!(found["tar_at_far"][0]["interval"]["high"], intervals.tar_at_far(0.1).unwrap().interval.high);
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

/// A table of samples: ids, classes, templates of two, days.
fn with_ids(folder: &Path) {
    let line = |row: usize| format!("s{row},k{},t{},{}\n", row % 4, row / 8 * 4 + row % 4, ["mon", "tue"][row / 12]);
    let lines: String = (0..ROWS).map(line).collect();
    fs::write(folder.join("s.csv"), format!("id,labels,visit,day\n{lines}")).unwrap();
}

#[test]
fn listed_pairs_are_scored_and_oddities_said() {
    let folder = folder();
    with_ids(folder.path());
    let array = ndarray::Array2::from_shape_fn((ROWS, DIM), |(row, column)| value(row, column));
    let set = EmbeddingSet::new(array.view(), &labels()).unwrap();
    let all = set.pairs(PairProtocol::All).unwrap();
    let truth = |(i, j): &(usize, usize)| u8::from(i % 4 == j % 4);
    let write = |name: &str, line: &dyn Fn(&(usize, usize)) -> String, head: &str| {
        let lines: String = all.iter().map(line).collect();
        fs::write(folder.path().join(name), format!("{head}{lines}")).unwrap();
    };
    write("vox.txt", &|pair| format!("{} s{} s{}\n", truth(pair), pair.0, pair.1), "0 s0 gone\n1 s3 s3\n0 s1 s0\n");
    write("last.txt", &|pair| format!("s{} s{} {}\n", pair.0, pair.1, truth(pair)), "");
    write("list.csv", &|pair| format!("{},s{},s{}\n", truth(pair), pair.0, pair.1), "same,first,second\n");
    let whole = json(folder.path(), "c.npy! labels.npy!");
    for line in ["--trials last.txt! --trial-format truth-last", "--trials list.csv!"] {
        let found = json(folder.path(), &format!("c.npy! --samples s.csv! {line}"));
        for key in ["auc", "eer", "positives", "negatives", "min_cllr"] {
            assert_eq!(found[key], whole[key], "{key}");
        }
        assert!(found["auc_interval"].is_object() && found["trials"]["trials"] == 276, "{found}");
    }
    let odd = &json(folder.path(), "c.npy! --samples s.csv! --trials vox.txt!")["trials"];
    assert_eq!((&odd["trials"], &odd["unknown"]), (&279.into(), &1.into()));
    assert_eq!((&odd["self_pairs"], &odd["duplicates"]), (&1.into(), &1.into()));
    let table = run(folder.path(), "c.npy! --samples s.csv! --trials vox.txt!").unwrap();
    assert!(
        table.contains("1 with a sample that has no embedding (first `gone`), 1 of a sample with itself"),
        "{table}"
    );
    // Faces: the ids are made of a name and a number.
    let line = |row: usize| format!("P{}_{:04},{}\n", row % 4, row / 4 + 1, row % 4);
    let lines: String = (0..ROWS).map(line).collect();
    fs::write(folder.path().join("faces.csv"), format!("id,labels\n{lines}")).unwrap();
    fs::write(folder.path().join("pairs.txt"), "10\t1\nP0\t1\t2\nP0\t1\tP1\t3\n").unwrap();
    let found = json(folder.path(), "c.npy! --samples faces.csv! --trials pairs.txt! --trial-format lfw");
    assert_eq!((&found["positives"], &found["negatives"]), (&1.into(), &1.into()));
    let refused = run(folder.path(), "c.npy! --samples faces.csv! --trials pairs.txt!").unwrap_err();
    assert!(refused.ends_with("line 1: expected `1 first second` or `0 first second`, got `10\t1`"), "{refused}");
}

#[test]
fn templates_are_compared_as_one() {
    let folder = folder();
    with_ids(folder.path());
    let found = json(folder.path(), "c.npy! --samples s.csv! --template visit");
    assert_eq!((&found["embeddings"], &found["positives"]), (&12.into(), &12.into()));
    let raw = json(folder.path(), "c.npy! --samples s.csv! --template visit --pool raw-rows");
    assert_ne!(raw["min_dcf"]["point"]["threshold"], found["min_dcf"]["point"]["threshold"]);
    // The mean of two unit rows, by hand.
    let unit = |row: usize| {
        let values = [0, 1, 2].map(|column| f64::from(value(row, column)));
        let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
        values.map(|x| (x / norm) as f32)
    };
    let rows: Vec<f32> = (0..12)
        .flat_map(|t| {
            let (a, b) = (t / 4 * 8 + t % 4, t / 4 * 8 + t % 4 + 4);
            let (a, b) = (unit(a), unit(b));
            [0, 1, 2].map(|column| (a[column] + b[column]) / 2.0)
        })
        .collect();
    let labels: Vec<i64> = (0..12).map(|t| t % 4).collect();
    let set = EmbeddingSet::new(ndarray::ArrayView2::from_shape((12, 3), &rows).unwrap(), &labels).unwrap();
    let auc = set.pair_scores(PairProtocol::All).unwrap().roc().auc();
    assert!((found["auc"].as_f64().unwrap() - auc).abs() < 1e-9, "{found}");
    fs::write(folder.path().join("list.txt"), "1 t0 t4\n0 t0 t1\n0 t1 t2\n").unwrap();
    let listed = json(folder.path(), "c.npy! --samples s.csv! --template visit --trials list.txt!");
    assert_eq!((&listed["positives"], &listed["negatives"]), (&1.into(), &2.into()));
}

#[test]
fn cohorts_are_compared_at_one_threshold() {
    let folder = folder();
    with_ids(folder.path());
    let found = json(folder.path(), "c.npy! --samples s.csv! --cohort day --threshold-for 0.1");
    let array = ndarray::Array2::from_shape_fn((ROWS, DIM), |(row, column)| value(row, column));
    let set = EmbeddingSet::new(array.view(), &labels()).unwrap();
    let days: Vec<&str> = (0..ROWS).map(|row| ["mon", "tue"][row / 12]).collect();
    let threshold = found["threshold"]["value"].as_f64().unwrap();
    let expected = CohortMatrix::of(&set, &days, threshold, 0.95).unwrap();
    assert_eq!(found["cohorts"], serde_json::to_value(&expected).unwrap());
    let table = run(folder.path(), "c.npy! --samples s.csv! --cohort day --threshold-for 0.1").unwrap();
    assert!(table.contains("At one threshold for all") && table.contains("mon     tue"), "{table}");
}

#[test]
fn probes_are_searched_in_a_gallery() {
    let folder = TempDir::new().unwrap();
    // Classes e and f are not enrolled.
    let row = |row: usize| {
        let class = row % 6;
        format!("{},{},{},{}\n", ["a", "b", "c", "d", "e", "f"][class], class + 1, row * row % 7, (row * 5 + class) % 4)
    };
    let probes: String = (0..30).map(row).collect();
    let gallery: String = (30..54).filter(|row| row % 6 < 4).map(row).collect();
    fs::write(folder.path().join("p.csv"), format!("labels,x,y,z\n{probes}")).unwrap();
    fs::write(folder.path().join("g.csv"), format!("labels,x,y,z\n{gallery}")).unwrap();
    let found = json(folder.path(), "p.csv! --gallery g.csv! --far 0.2 --rank 2");
    assert_eq!(
        (&found["pairs"], &found["compared"]),
        (&(30 * 16).into(), &"each probe with each sample of the gallery".into())
    );
    let at = &found["identification"]["at"];
    assert_eq!(
        (&at["enrolled"], &at["rank"], &at["known"], &at["unknown"]),
        (&4.into(), &2.into(), &20.into(), &10.into())
    );
    // Counted anew: the classes by their order in the alphabet, each with the mean of its rows.
    let set = |text: &str| {
        let fields: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        let labels: Vec<i64> = fields.iter().map(|f| i64::from(f[0].as_bytes()[0] - b'a')).collect();
        let values: Vec<f32> = fields.iter().flat_map(|f| f[1..].iter().map(|x| x.parse::<f32>().unwrap())).collect();
        EmbeddingSet::new(ndarray::ArrayView2::from_shape((labels.len(), 3), &values).unwrap(), &labels).unwrap()
    };
    let (probes, gallery) = (set(&probes), set(&gallery));
    let threshold = at["threshold"].as_f64().unwrap();
    let enrolled = Gallery::enroll(&gallery, Prototype::Mean).unwrap().search(&probes).unwrap();
    let mut mistakes = (0, 0);
    for probe in enrolled.probes() {
        match probe.rank.zip(probe.own) {
            Some((rank, own)) => mistakes.0 += u64::from(rank > 2 || own < threshold),
            None => mistakes.1 += u64::from(probe.score >= threshold),
        }
    }
    assert_eq!((&at["misses"], &at["false_alarms"]), (&mistakes.0.into(), &mistakes.1.into()));
    let table = run(folder.path(), "p.csv! --gallery g.csv! --far 0.2 --rank 2").unwrap();
    assert!(
        table.contains("FNIR(N = 4, R = 2, T = ") && table.contains("other probes with a candidate from T on"),
        "{table}"
    );
    fs::write(folder.path().join("numbers.csv"), "labels,x,y,z\n0,1,2,3\n1,3,2,1\n").unwrap();
    let refused = run(folder.path(), "p.csv! --gallery numbers.csv!").unwrap_err();
    assert!(
        refused.ends_with("numbers.csv: expected classes to be names, as those of the probes, got numbers"),
        "{refused}"
    );
}

#[test]
fn scores_are_normalized_and_calibrated() {
    let folder = folder();
    let array = ndarray::Array2::from_shape_fn((ROWS, DIM), |(row, column)| value(row, column));
    let set = EmbeddingSet::new(array.view(), &labels()).unwrap();
    let others = ndarray::Array2::from_shape_fn((9, DIM), |(row, column)| ((row * 7 + column * 3) % 5) as f32 - 1.7);
    let values: Vec<f32> = others.iter().copied().collect();
    let cohort = npy("<f4", false, "(9, 3)", &bytes(&values, |value| value.to_le_bytes()));
    fs::write(folder.path().join("cohort.npy"), cohort).unwrap();
    let pairs = set.pairs(PairProtocol::All).unwrap();
    let cohort = CohortScores::of(&set, &EmbeddingSet::new(others.view(), &[0; 9]).unwrap(), 4).unwrap();
    let scores = set.pair_scores(PairProtocol::All).unwrap();
    let normalized = scores.as_norm(&pairs, &cohort).unwrap();
    let found = json(folder.path(), "c.npy! labels.npy! --as-norm cohort.npy! --top 4");
    assert_eq!(found["auc"], normalized.roc().auc());
    assert!(found["auc_interval"].is_object() && found["cllr"].is_null(), "{found}");

    let fitted = json(folder.path(), "c.npy! labels.npy! --calibrate logistic --calibration-out k.json! --prior 0.3");
    let calibration = Calibration::load(folder.path().join("k.json")).unwrap();
    assert_eq!(calibration, Calibration::logistic(&scores, 0.3).unwrap());
    let applied = json(folder.path(), "c.npy! labels.npy! --calibration k.json! --prior 0.3");
    let roc = scores.calibrated(&calibration).unwrap().roc();
    for found in [fitted, applied] {
        assert_eq!((&found["cllr"], &found["min_cllr"]), (&roc.cllr().into(), &roc.min_cllr().into()));
        assert!(found["actual_dcf"]["cost"].as_f64().unwrap() >= found["min_dcf"]["cost"].as_f64().unwrap());
    }
    let table = run(folder.path(), "c.npy! labels.npy! --calibration k.json!").unwrap();
    assert!(table.contains("cost of log-likelihood ratios in bits"), "{table}");
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

/// Headers whose text shows another shape than the one that they mean.
#[test]
fn no_header_hides_its_shape() {
    let folder = folder();
    let huge = "(2147483648, 8589934592)";
    for (header, expected) in [
        (
            format!("{{'xshape(1,)':0,'descr':'<f4','fortran_order':True,'shape':{huge}}}\n"),
            "shape (2147483648, 8589934592) needs more than the",
        ),
        (
            format!("{{\"'shape': (1,)\":0,'descr':'<f4','fortran_order':True,\n'shape':{huge}}}\n"),
            "its header names 2 shapes",
        ),
        (
            format!("{{\"'shape': (1,)\":0,'descr':'<f4','fortran_order':True,'sha\\x70e':{huge}}}\n"),
            "its header has a backslash",
        ),
        ("{'descr':'<f4','fortran_order':True}\n".to_owned(), "its header names 0 shapes"),
        ("{'descr':'<f4','fortran_order':True,'shape':5}\n".to_owned(), "its header names no shape"),
        (
            "{'descr':'<f4','fortran_order':True,'shape':(0, 1099511627776, 1099511627776)}\n".to_owned(),
            "shape (0, 1099511627776, 1099511627776) needs more than the",
        ),
    ] {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        file.extend(header.as_bytes());
        let path = folder.path().join("crafted.npy");
        fs::write(&path, file).unwrap();
        let refused = format!("{:#}", EmbeddingTable::open(&path, &ArrayNames::default()).unwrap_err());
        let problem = refused.strip_prefix(&format!("{}: ", path.display()));
        assert!(problem.is_some_and(|problem| problem.starts_with(expected)), "{refused}");
    }
}

#[test]
fn one_sentence_for_each_bad_file() {
    let folder = folder();
    let write = |name: &str, content: Vec<u8>| fs::write(folder.path().join(name), content).unwrap();
    let good = fs::read(folder.path().join("c.npy")).unwrap();
    let floats = |values: &[f32]| bytes(values, |value| value.to_le_bytes());
    let longs = |values: &[i64]| bytes(values, |value| value.to_le_bytes());
    let square = [1.0f32, 2.0, 3.0, 4.0];
    write("truncated.npy", good[..good.len() - 5].to_vec());
    write("text.npy", b"0.1 0.2 0.3".to_vec());
    write("empty.npy", Vec::new());
    write("longs.npy", npy("<i8", false, "(2, 2)", &[1; 32]));
    write("objects.npy", npy("|O", false, "(2,)", &[0; 150]));
    write("unsigned.npy", npy("<u8", false, "(2,)", &[255; 16]));
    write("huge.npy", npy("<f4", false, "(1152921504606846976, 1)", &[0; 8]));
    write("beyond.npy", npy("<f4", false, "(1152921504606846976, 1152921504606846976)", &[0; 8]));
    write("flat.npy", npy("<f4", false, "(4,)", &floats(&square)));
    write("nan.npy", npy("<f4", false, "(2, 2)", &floats(&[1.0, 2.0, f32::NAN, 4.0])));
    write("zero.npy", npy("<f4", false, "(2, 2)", &floats(&[1.0, 2.0, 0.0, 0.0])));
    write("square.npy", npy("<f4", false, "(2, 2)", &floats(&square)));
    write("none.npy", npy("<f4", false, "(0, 2)", &[]));
    write("vast.npy", npy("<f4", false, "(0, 18446744073709551615)", &[]));
    let doubles = |values: &[f64]| bytes(values, |value| value.to_le_bytes());
    write("large.npy", npy("<f8", true, "(2, 2)", &doubles(&[1.0, 2.0, 1e300, 4.0])));
    write("tiny.npy", npy("<f8", false, "(2, 2)", &doubles(&[1.0, 2.0, 1e-300, 0.0])));
    write("no_labels.npy", npy("<i8", false, "(0,)", &[]));
    write("two.npy", npy("<i8", false, "(2,)", &longs(&[3, 4])));
    write("alike.npy", npy("<i8", false, "(2,)", &longs(&[3, 3])));
    write("negative.npy", npy("<i8", false, "(2,)", &longs(&[3, -3])));
    write("words.npy", npy("<U1", false, "(2,)", &[65; 8]));
    for (embeddings, labels, expected) in [
        ("missing.npy", "two.npy", "cannot read F/missing.npy: No such file or directory (os error 2)"),
        ("truncated.npy", "labels.npy", "F/truncated.npy: shape [24, 3] of '<f4' takes 288 bytes, but there are 283"),
        ("text.npy", "two.npy", "F/text.npy: it is no .npy array"),
        ("empty.npy", "two.npy", "F/empty.npy: it is no .npy array"),
        ("longs.npy", "two.npy", "F/longs.npy: expected floating numbers, got '<i8'"),
        ("square.npy", "objects.npy", "F/objects.npy: expected numbers, got objects of Python ('|O')"),
        (
            "square.npy",
            "unsigned.npy",
            "F/unsigned.npy: expected labels up to 9223372036854775807, got 18446744073709551615",
        ),
        (
            "huge.npy",
            "two.npy",
            "F/huge.npy: shape (1152921504606846976, 1) needs more than the 136 bytes that there are",
        ),
        (
            "beyond.npy",
            "two.npy",
            "F/beyond.npy: shape (1152921504606846976, 1152921504606846976) needs more than the 136 bytes that there are",
        ),
        ("flat.npy", "two.npy", "F/flat.npy: expected 2 dimensions, [N, D], got shape [4]"),
        ("square.npy", "square.npy", "F/square.npy: expected 1 dimension, got shape [2, 2]"),
        ("square.npy", "words.npy", "F/words.npy: expected integers, got '<U1'"),
        ("square.npy", "labels.npy", "F/square.npy with F/labels.npy: 2 embeddings but 24 labels"),
        ("square.npy", "alike.npy", "F/square.npy with F/alike.npy: need matching and non-matching pairs, got 1 and 0"),
        (
            "square.npy",
            "negative.npy",
            "F/square.npy with F/negative.npy: label -3 of embedding 1 is outside 0..=4294967295",
        ),
        ("nan.npy", "two.npy", "F/nan.npy with F/two.npy: embedding 1 has NaN in column 0, not a finite number"),
        (
            "zero.npy",
            "two.npy",
            "F/zero.npy with F/two.npy: embedding 1 is zero in every column, so it has no cosine with any other",
        ),
        ("vast.npy", "no_labels.npy", "F/vast.npy: ShapeError/Overflow: arithmetic overflow"),
        ("large.npy", "two.npy", "F/large.npy: 1e300 does not fit single precision"),
        (
            "tiny.npy",
            "two.npy",
            "F/tiny.npy with F/two.npy: embedding 1 is zero in every column, so it has no cosine with any other",
        ),
        (
            "none.npy",
            "no_labels.npy",
            "F/none.npy with F/no_labels.npy: need at least one embedding of at least one dimension, got 0 of 2",
        ),
    ] {
        let found = run(folder.path(), &format!("{embeddings}! {labels}! --json")).unwrap_err();
        let found = found.replace(&folder.path().display().to_string(), "F");
        assert_eq!(found, expected);
    }
    for (line, expected) in [
        ("", "the following required arguments were not provided"),
        ("c.npy! labels.npy! --scores c.npy! --same c.npy!", "cannot be used with"),
        ("c.npy!", "c.npy: expected labels, got none"),
        (
            "c.npy! labels.npy! --cohort microscope",
            "expected --samples or a .csv of embeddings with a column `microscope`",
        ),
        (
            "c.npy! labels.npy! --trials list.txt!",
            "expected ids of the samples (--samples with a column `id`), got none",
        ),
        ("c.npy! labels.npy! --not-enrolled 7/5", "expected FAILED/ALL such as 2/100"),
        ("c.npy! labels.npy! --prior 1", "invalid `prior`: expected a share strictly between 0 and 1, got 1"),
        ("c.npy! labels.npy! --level 95", "invalid `level`: expected"),
        ("c.npy! labels.npy! --array values --label classes --threshold labels.npy!", "labels.npy"),
        ("c.npy! labels.npy! --far 1.5", "expected a rate from 0 to 1"),
        ("c.npy! labels.npy! --device cuda:99", "CUDA device 99 is asked for, but libtorch sees"),
        (
            "c.npy! labels.npy! --threshold-out t --threshold-for best",
            "expected a rate from 0 to 1, `eer` or `accuracy`",
        ),
    ] {
        let found = run(folder.path(), line).unwrap_err();
        assert!(found.contains(expected), "{found}");
    }
}

/// A valid file, spoiled: bytes replaced at some places, of which half are in its header, and perhaps its end cut off.
fn spoiled() -> impl Strategy<Value = Vec<u8>> {
    let matrix = bytes(&[0.5f32, -1.0, 0.25, 3.0, 1e-8, -0.0], |value| value.to_le_bytes());
    let vector = bytes(&[1i64, 0, 1], |value| value.to_le_bytes());
    let seeds = vec![
        npy("<f4", false, "(3, 2)", &matrix),
        npy("<f4", true, "(3, 2)", &matrix),
        npy("<i8", false, "(3,)", &vector),
        npy("|b1", false, "(24,)", &vector),
    ];
    let change = (
        any::<prop::sample::Index>(),
        prop_oneof![any::<u8>(), prop::sample::select(b"()',:0123456789fibO<>".to_vec())],
    );
    let changes = (prop::collection::vec(change.clone(), 1..6), prop::collection::vec(change, 0..3));
    (prop::sample::select(seeds), changes, prop::option::of(any::<prop::sample::Index>())).prop_map(
        |(mut file, (in_header, anywhere), end)| {
            let header = file.iter().position(|&byte| byte == b'\n').unwrap();
            in_header.into_iter().for_each(|(at, byte)| file[at.index(header)] = byte);
            anywhere.into_iter().for_each(|(at, byte)| {
                let length = file.len();
                file[at.index(length)] = byte;
            });
            if let Some(end) = end {
                file.truncate(end.index(file.len()));
            }
            file
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Neither panics nor takes memory that the file does not account for, and says which file it is about.
    #[test]
    fn no_file_breaks_a_reader(file in spoiled()) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("spoiled.npy");
        fs::write(&path, &file).unwrap();
        let read = [
            EmbeddingTable::open(&path, &ArrayNames::default()).map(|table| table.embeddings.len()),
            scores(&path).map(|scores| scores.len()),
            truths(&path).map(|truths| truths.len()),
        ];
        for answer in read {
            match answer {
                Ok(values) => prop_assert!(values <= file.len()),
                Err(error) => {
                    let message = format!("{error:#}");
                    prop_assert!(message.contains("spoiled.npy") && message.len() < 2000, "{}", message);
                }
            }
        }
    }
}

/// Whatever NumPy keeps numbers in that lose nothing here.
#[test]
fn every_width_is_read() {
    let folder = folder();
    let write = |name: &str, content: Vec<u8>| fs::write(folder.path().join(name), content).unwrap();
    let halves: Vec<u8> =
        (0..ROWS * DIM).flat_map(|at| half::f16::from_f32(value(at / DIM, at % DIM)).to_le_bytes()).collect();
    write("half.npy", npy("<f2", false, &format!("({ROWS}, {DIM})"), &halves));
    let figures = |embeddings: &str, labels: &str| {
        let found = json(folder.path(), &format!("{embeddings}! {labels}!"));
        ["auc", "eer", "best_accuracy", "positives"].map(|name| found[name].clone())
    };
    let expected = figures("c.npy", "labels.npy");
    // All of these numbers are halves.
    assert_eq!(figures("half.npy", "labels.npy"), expected);
    for (descr, width) in [("|i1", 1), ("<i2", 2), ("<i4", 4), ("|u1", 1), ("<u2", 2), ("<u4", 4), ("<u8", 8)] {
        let narrow: Vec<u8> = labels().iter().flat_map(|label| label.to_le_bytes()[..width].to_vec()).collect();
        write("narrow.npy", npy(descr, false, &format!("({ROWS},)"), &narrow));
        assert_eq!(figures("c.npy", "narrow.npy"), expected, "{descr}");
    }
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
