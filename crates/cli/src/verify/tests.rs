//! Files in, one object or one sentence out.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};
use proptest::prelude::*;
use serde_json::Value;
use soft_lmccl::metrics::{EerMethod, EmbeddingSet, PairProtocol, VerificationThreshold};
use tempfile::TempDir;

use super::run::{self};
use super::{args, npy};

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
    let run::Outcome { output, unsaved } = run::run(&arguments(folder, line)?, || false).map_err(sentence)?;
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
    let pairs = EmbeddingSet::new(array.view(), &labels()).unwrap().pair_scores(PairProtocol::All).unwrap();
    let roc = pairs.roc();
    for file in ["c.npy!", "fortran.npy!"] {
        let found = json(folder.path(), &format!("--embeddings {file} --labels labels.npy! --far 0.25,1e-3"));
        let keys: Vec<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys.iter().copied().collect::<std::collections::BTreeSet<_>>(),
            [
                "embeddings",
                "dim",
                "pairs",
                "positives",
                "negatives",
                "auc",
                "eer",
                "eer_threshold",
                "best_accuracy",
                "tar_at_far",
                "seconds"
            ]
            .into()
        );
        assert_eq!((&found["embeddings"], &found["dim"]), (&ROWS.into(), &DIM.into()));
        assert_eq!(found["pairs"], 276);
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
    }
}

#[test]
fn scores_bring_their_own_truth() {
    let folder = folder();
    let write = |name: &str, content: Vec<u8>| fs::write(folder.path().join(name), content).unwrap();
    let scores = [0.9f64, 0.8, 0.7, 0.6, 0.5, 0.4];
    write("s.npy", npy("<f8", false, "(6,)", &bytes(&scores, |score| score.to_le_bytes())));
    write("b.npy", npy("|b1", false, "(6,)", &[1, 1, 0, 1, 0, 0]));
    write("i.npy", npy("<i8", false, "(6,)", &bytes(&[1i64, 1, 0, 1, 0, 0], |truth| truth.to_le_bytes())));
    for same in ["b.npy!", "i.npy!"] {
        let found =
            json(folder.path(), &format!("--scores s.npy! --same {same} --threshold-out t.json! --threshold-for eer"));
        assert_eq!(found["auc"], 8.0 / 9.0);
        assert_eq!(found["embeddings"], Value::Null);
        let threshold = VerificationThreshold::load(folder.path().join("t.json")).unwrap();
        assert_eq!(found["eer_threshold"], threshold.value());
    }
    write("wrong.npy", npy("<i8", false, "(6,)", &bytes(&[1i64, 1, 0, 2, 0, 0], |truth| truth.to_le_bytes())));
    let refused = run(folder.path(), "--scores s.npy! --same wrong.npy!").unwrap_err();
    assert!(refused.ends_with("wrong.npy: expected 0 or 1, got 2 at position 3"), "{refused}");
}

#[test]
fn people_get_a_table_with_intervals() {
    let folder = folder();
    let table = run(folder.path(), "--embeddings c.npy! --labels labels.npy! --far 1e-9 --bootstrap 50").unwrap();
    assert!(
        table.starts_with(
            "embeddings          24 of 3 dimensions\npairs               60 matching, 216 non-matching\nAUC "
        ),
        "{table}"
    );
    assert!(table.contains("TAR @ FAR 1e-9      below resolution  ("), "{table}");
    let found = json(folder.path(), "--embeddings c.npy! --labels labels.npy! --bootstrap 50");
    let (low, high) = (found["intervals"]["auc"][0].as_f64().unwrap(), found["intervals"]["auc"][1].as_f64().unwrap());
    assert!(low < high && (low..=high).contains(&found["auc"].as_f64().unwrap()), "{found}");
}

#[test]
fn figures_are_printed_though_no_threshold_is_saved() {
    let folder = folder();
    for (line, expected) in [
        ("--threshold-out missing/t.json!", "cannot write F/missing/t.json: No such file or directory (os error 2)"),
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
        let (output, unsaved) =
            outcome(folder.path(), &format!("--embeddings {file} --labels labels.npy! --json {line}")).unwrap();
        let printed: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(printed["pairs"], 276);
        assert_eq!(unsaved.unwrap().replace(&folder.path().display().to_string(), "F"), expected);
        assert!(!folder.path().join("t.json").exists());
    }
}

#[test]
fn a_bootstrap_stops_when_told_and_says_what_it_repeated() {
    let folder = folder();
    let args = arguments(folder.path(), "--embeddings c.npy! --labels labels.npy! --bootstrap 50").unwrap();
    // Pairs of one kind only in many draws: one class has two embeddings, the others one.
    let set = EmbeddingSet::new(ndarray::Array2::<f32>::eye(4).view(), &[0, 0, 1, 2]).unwrap();
    let stopped = run::intervals(&args, &set, 50, || true).unwrap_err();
    assert_eq!(stopped.to_string(), "stopped by the caller after 0 of 50 draws");
    let found = run::intervals(&args, &set, 50, || false).unwrap();
    assert!(found["redrawn"].as_u64().is_some_and(|redrawn| redrawn > 0), "{found}");
    let found = json(folder.path(), "--embeddings c.npy! --labels labels.npy! --bootstrap 50");
    assert!(found["intervals"].get("redrawn").is_none(), "{found}");
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
        let refused = format!("{:#}", npy::matrix(&path).unwrap_err());
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
        (
            "truncated.npy",
            "labels.npy",
            "F/truncated.npy: shape [24, 3] of '<f4' takes 288 bytes, but the file has 283",
        ),
        ("text.npy", "two.npy", "F/text.npy is no .npy file: it does not begin as one"),
        ("empty.npy", "two.npy", "F/empty.npy is no .npy file: failed to fill whole buffer"),
        ("longs.npy", "two.npy", "F/longs.npy: expected floating numbers, got '<i8'"),
        ("square.npy", "objects.npy", "F/objects.npy: expected numbers, got objects of Python ('|O')"),
        (
            "square.npy",
            "unsigned.npy",
            "F/unsigned.npy: 18446744073709551615: out of range integral type conversion attempted",
        ),
        ("huge.npy", "two.npy", "F/huge.npy: shape (1152921504606846976, 1) needs more than the 136 bytes of the file"),
        (
            "beyond.npy",
            "two.npy",
            "F/beyond.npy: shape (1152921504606846976, 1152921504606846976) needs more than the 136 bytes of the file",
        ),
        ("flat.npy", "two.npy", "F/flat.npy: expected an array of 2 dimensions, [N, D], got shape [4]"),
        ("square.npy", "square.npy", "F/square.npy: expected an array of 1 dimension, got shape [2, 2]"),
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
        ("tiny.npy", "two.npy", "F/tiny.npy: a row of at most 1e-300 does not fit single precision"),
        (
            "none.npy",
            "no_labels.npy",
            "F/none.npy with F/no_labels.npy: need at least one embedding of at least one dimension, got 0 of 2",
        ),
    ] {
        let found = run(folder.path(), &format!("--embeddings {embeddings}! --labels {labels}! --json")).unwrap_err();
        let found = found.replace(&folder.path().display().to_string(), "F");
        assert_eq!(found, expected);
    }
    for (line, expected) in [
        ("--embeddings c.npy!", "the following required arguments were not provided"),
        ("--scores c.npy! --same c.npy! --embeddings c.npy! --labels c.npy!", "cannot be used with"),
        ("--embeddings c.npy! --labels labels.npy! --far 1.5", "expected a rate from 0 to 1"),
        ("--embeddings c.npy! --labels labels.npy! --device cuda:99", "CUDA device 99 is asked for, but libtorch sees"),
        (
            "--embeddings c.npy! --labels labels.npy! --threshold-out t --threshold-for best",
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
            npy::matrix(&path).map(|matrix| (matrix.values.len(), matrix.rows * matrix.columns)),
            npy::scores(&path).map(|scores| (scores.len(), scores.len())),
            npy::labels(&path).map(|labels| (labels.len(), labels.len())),
            npy::truths(&path).map(|truths| (truths.len(), truths.len())),
        ];
        for answer in read {
            match answer {
                Ok((values, expected)) => {
                    prop_assert_eq!(values, expected);
                    prop_assert!(values <= file.len());
                }
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
        let found = json(folder.path(), &format!("--embeddings {embeddings}! --labels {labels}!"));
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
    assert!(about.starts_with("Exact verification figures"), "{about}");
}
