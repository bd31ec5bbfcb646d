//! Readers of files: what they read, what they refuse, and lists of trials against trials one by one.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod spoiled;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ndarray::{Array2, array};
use npyz::{Order, WriterBuilder};
use safetensors::tensor::{Dtype, TensorView};
use soft_lmccl_metrics::files::{
    ArrayNames, EmbeddingTable, SampleTable, Samples, ScoredPairs, TrialFormat, TrialList, scores, truths,
};
use soft_lmccl_metrics::{
    ClassCounts, EmbeddingSet, Error, Intervals, Pooling, ReportOptions, Templates, VerificationReport,
};

/// A file in a folder that goes with it.
struct Given {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn given(name: &str, bytes: impl AsRef<[u8]>) -> Given {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Given { path, _folder: folder }
}

fn npy<T: npyz::AutoSerialize + Copy>(shape: &[u64], values: &[T], order: Order) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer =
        npyz::WriteOptions::new().default_dtype().order(order).shape(shape).writer(&mut bytes).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    bytes
}

fn open(path: &Path) -> Result<EmbeddingTable, Error> {
    EmbeddingTable::open(path, &ArrayNames::default())
}

fn rows() -> Array2<f32> {
    Array2::from_shape_fn((4, 3), |(row, column)| (row * 3 + column) as f32 / 4.0)
}

#[test]
fn arrays_of_numpy_are_read_in_either_order_and_precision() {
    let values: Vec<f32> = rows().iter().copied().collect();
    let turned: Vec<f64> = rows().t().iter().map(|&value| f64::from(value)).collect();
    let half: Vec<half::f16> = values.iter().map(|&value| half::f16::from_f32(value)).collect();
    for bytes in [npy(&[4, 3], &values, Order::C), npy(&[4, 3], &turned, Order::Fortran), npy(&[4, 3], &half, Order::C)]
    {
        let file = given("e.npy", bytes);
        assert_eq!(open(&file.path).unwrap().embeddings, rows());
    }
    let labels = given("l.npy", npy(&[4], &[3u8, 3, 9, 9], Order::C));
    let embeddings = given("e.npy", npy(&[4, 3], &values, Order::C));
    let names = ArrayNames::default();
    let table = open(&embeddings.path).unwrap().with_labels(&labels.path, &names).unwrap();
    assert_eq!(table.labels, Some(vec![3, 3, 9, 9]));
    let given = given("s.npy", npy(&[2], &[0.5f64, -0.25], Order::C));
    assert_eq!(scores(&given.path).unwrap(), [0.5, -0.25]);
}

#[test]
fn truths_are_bool_or_zero_and_one() {
    for bytes in [npy(&[3], &[true, false, true], Order::C), npy(&[3], &[1i64, 0, 1], Order::C)] {
        assert_eq!(truths(&given("t.npy", bytes).path).unwrap(), [true, false, true]);
    }
    let file = given("t.npy", npy(&[2], &[1u8, 7], Order::C));
    let refused = truths(&file.path).unwrap_err().to_string();
    assert!(refused.ends_with("t.npy: expected 0 or 1, got 7 at position 1"), "{refused}");
}

/// Compressed, in Fortran order, with labels of another width, by `fixtures/arrays.py`.
#[test]
fn archives_of_numpy_are_read_by_name() {
    let file = given("a.npz", include_bytes!("../fixtures/arrays.npz"));
    let table = open(&file.path).unwrap();
    assert_eq!((table.embeddings, table.labels), (rows(), Some(vec![3, 3, 9, 9])));
    let other = ArrayNames { embeddings: "other".into(), labels: "none".into(), ..Default::default() };
    let table = EmbeddingTable::open(&file.path, &other).unwrap();
    assert_eq!((table.embeddings.dim(), &table.labels), ((2, 3), &None));
    assert!(table.set().unwrap_err().to_string().ends_with("a.npz: expected labels, got none"));
    let absent = ArrayNames { embeddings: "absent".into(), ..Default::default() };
    let refused = EmbeddingTable::open(&file.path, &absent).unwrap_err().to_string();
    assert!(refused.ends_with("a.npz: expected an array called `absent`, got none"), "{refused}");
}

fn safetensors(dtype: Dtype, values: &[u8], labels: &[i32]) -> Vec<u8> {
    let labels: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let tensors = HashMap::from([
        ("embeddings", TensorView::new(dtype, vec![4, 3], values).unwrap()),
        ("labels", TensorView::new(Dtype::I32, vec![labels.len() / 4], &labels).unwrap()),
    ]);
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn tensors_are_read_by_name() {
    let single: Vec<u8> = rows().iter().flat_map(|value| value.to_le_bytes()).collect();
    let brain: Vec<u8> = rows().iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect();
    let double: Vec<u8> = rows().iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect();
    for (dtype, values) in [(Dtype::F32, &single), (Dtype::BF16, &brain), (Dtype::F64, &double)] {
        let file = given("e.safetensors", safetensors(dtype, values, &[-1, 0, 1, 1]));
        let table = open(&file.path).unwrap();
        assert_eq!((table.embeddings, table.labels), (rows(), Some(vec![-1, 0, 1, 1])));
    }
    let wrong = given("e.safetensors", safetensors(Dtype::I32, &single, &[0, 0, 1, 1]));
    let refused = open(&wrong.path).unwrap_err().to_string();
    assert!(refused.ends_with("tensor `embeddings`: expected floating numbers, got I32"), "{refused}");
}

#[test]
fn tables_have_labels_that_are_numbers_or_names() {
    let file = given("e.csv", "x, labels ,y\n1,7,2\n3,4,-5e-1\n");
    let table = open(&file.path).unwrap();
    assert_eq!(table.embeddings, array![[1.0f32, 2.0], [3.0, -0.5]]);
    assert_eq!((table.labels, table.label_names, table.ids), (Some(vec![7, 4]), None, None));
    for (text, problem) in [
        ("x,y\n1,two\n", "line 2, column `y`: expected a number, got `two`"),
        ("x,y\n1,1e300\n", "line 2, column `y`: 1e300 does not fit single precision, got `1e300`"),
        ("x,y\n1\n", "found record with 1 fields, but the previous record has 2 fields"),
    ] {
        let file = given("e.csv", text);
        let refused = open(&file.path).unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
    }
    let empty = given("e.csv", "x,y\n");
    assert_eq!(open(&empty.path).unwrap().embeddings.dim(), (0, 2));
}

#[test]
fn refusals_name_the_file_and_what_is_wrong() {
    let values = [0.0f32; 6];
    let cut = npy(&[2, 3], &values, Order::C);
    // A shape of 2⁶⁶ numbers in a header of the same length.
    let (shape, claimed) = (b"(2, 3", b"(8589934592, 8589934592");
    let at = cut.windows(shape.len()).position(|bytes| bytes == shape).unwrap();
    let mut huge = cut.clone();
    huge.splice(at..at + shape.len(), *claimed);
    let end = huge.iter().position(|&byte| byte == b'\n').unwrap();
    huge.drain(end - (claimed.len() - shape.len())..end);
    for (name, bytes, problem) in [
        ("e.npy", cut[..cut.len() - 1].to_vec(), "takes 24 bytes, but there are 23"),
        ("e.npy", cut[..9].to_vec(), "it is no .npy array"),
        ("e.npy", cut[..20].to_vec(), "it ends within its header"),
        ("e.npy", huge, "needs more than the "),
        ("e.npy", npy(&[6], &values, Order::C), "expected 2 dimensions, [N, D], got shape [6]"),
        ("e.npy", npy(&[2, 3], &[0i64; 6], Order::C), "expected floating numbers, got '<i8'"),
        ("e.npy", npy(&[1, 1], &[1e200f64], Order::C), "1e200 does not fit single precision"),
        ("e.npz", vec![1, 2, 3], "it is no archive of arrays"),
        ("e.safetensors", vec![0; 5], "it is no safetensors file"),
        ("e.txt", vec![], "expected .npy, .npz, .safetensors or .csv, got an extension of `txt`"),
    ] {
        let file = given(name, bytes);
        let refused = open(&file.path).unwrap_err().to_string();
        assert!(refused.contains(problem) && refused.contains(name), "{problem}: {refused}");
    }
    assert!(open(Path::new("absent.npy")).unwrap_err().to_string().starts_with("cannot read absent.npy"));
}

/// Bytes changed one at a time never bring a panic, nor more than the file holds.
#[test]
fn broken_files_are_refused_or_read() {
    let values: Vec<f32> = rows().iter().copied().collect();
    let single: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let seeds = [
        ("e.npy", npy(&[4, 3], &values, Order::C)),
        ("e.npz", include_bytes!("../fixtures/arrays.npz").to_vec()),
        ("e.safetensors", safetensors(Dtype::F32, &single, &[0, 0, 1, 1])),
        ("e.csv", b"id,labels,x\na,1,2\nb,1,3\n".to_vec()),
    ];
    for (name, bytes) in seeds {
        let file = given(name, []);
        for at in 0..bytes.len() {
            for byte in [0xff, b'9', bytes[at] ^ 1] {
                let mut broken = bytes.clone();
                broken[at] = byte;
                std::fs::write(&file.path, broken).unwrap();
                if let Ok(table) = open(&file.path) {
                    assert!(table.embeddings.len() <= bytes.len());
                }
            }
        }
    }
}

fn samples() -> Samples {
    let embeddings = Array2::from_shape_fn((40, 4), |(row, column)| {
        let class = row % 10;
        ((class * (column + 2) % 7) as f32 - 2.5) + ((row * row + column * 5) % 9) as f32 / 4.0
    });
    let labels: Vec<i64> = (0..40).map(|row| row % 10).collect();
    let names = (0..40).map(|row| format!("p{}_{:04}", row % 10, row / 10 + 1));
    Samples::new(EmbeddingSet::new(embeddings.view(), &labels).unwrap(), names).unwrap()
}

/// Rows of a name such as `p3_0002`.
fn row(name: &str) -> usize {
    let (class, number) = name.trim_start_matches('p').split_once('_').unwrap();
    (number.parse::<usize>().unwrap() - 1) * 10 + class.parse::<usize>().unwrap()
}

fn pairs() -> Vec<(String, String, bool)> {
    let name = |row: usize| format!("p{}_{:04}", row % 10, row / 10 + 1);
    let all = (0..40).flat_map(|i| (0..i).map(move |j| (i, j)));
    all.filter(|(i, j)| (i * 7 + j * 3) % 4 == 0 || i % 10 == j % 10)
        .map(|(i, j)| (name(i), name(j), i % 10 == j % 10))
        .collect()
}

#[test]
fn every_format_says_the_same() {
    let samples = samples();
    let number = |name: &str| name[name.len() - 4..].parse::<u32>().unwrap();
    let person = |name: &str| name[..name.len() - 5].to_owned();
    let lines = |line: &dyn Fn(&(String, String, bool)) -> String| pairs().iter().map(line).collect::<String>();
    let lfw = "10\t300\n".to_owned()
        + &lines(&|(a, b, same)| match same {
            true => format!("{}\t{}\t{}\n", person(a), number(a), number(b)),
            false => format!("{}\t{}\t{}\t{}\n", person(a), number(a), person(b), number(b)),
        });
    let mut found = Vec::new();
    for (format, text) in [
        (TrialFormat::Lfw, lfw),
        (TrialFormat::VoxCeleb, lines(&|(a, b, same)| format!("{} {a} {b}\n", u8::from(*same)))),
        (TrialFormat::TruthLast, lines(&|(a, b, same)| format!("{a}\t{b}\t{}\r\n", u8::from(*same)))),
        (TrialFormat::Csv, "same,second,first\n".to_owned() + &lines(&|(a, b, same)| format!("{same},{b},{a}\n"))),
    ] {
        let file = given("trials", text);
        let scored = TrialList::new(&file.path, format).score(&samples).unwrap();
        assert_eq!((scored.notes.trials, scored.notes.contradictions), (pairs().len() as u64, 0));
        assert_eq!((scored.notes.unknown, scored.notes.self_pairs, scored.notes.duplicates), (0, 0, 0));
        found.push((scored.histogram.roc(), scored.classes.unwrap()));
    }
    let (roc, counts) = &found[0];
    assert!(found.iter().all(|other| other == &found[0]));
    // Scores and counts are those of the pairs one by one.
    let on_grid = |a: &str, b: &str| {
        (samples.set().cosine(row(a), row(b)) as f32 as f64 * f64::from(1u32 << 22)).round_ties_even()
            / f64::from(1u32 << 22)
    };
    for point in roc.points().iter().step_by(7) {
        let of_kind = |kind: bool| {
            let accepted =
                pairs().iter().filter(|(a, b, same)| *same == kind && on_grid(a, b) >= point.threshold).count();
            accepted as u64
        };
        assert_eq!((point.true_accepts, point.false_accepts), (of_kind(true), of_kind(false)));
    }
    let listed = pairs();
    let trials = listed.iter().map(|(a, b, _)| ((row(a) % 10) as u32, (row(b) % 10) as u32, on_grid(a, b)));
    assert_eq!(&ClassCounts::of_trials(trials, counts.cuts()).unwrap(), counts);
    let intervals = Intervals::new(roc, counts, 0.95).unwrap();
    assert!(intervals.auc().unwrap().interval.contains(roc.auc()));
}

#[test]
fn oddities_are_counted_and_said() {
    let samples = samples();
    let text = "p0_0001 p0_0002 1\np0_0002 p0_0001 1\np1_0001 p2_0001 0\nq9_0001 p1_0001 0\np1_0001 p1_0001 1\np3_0001 p4_0001 1\n";
    let file = given("trials", text);
    let scored = TrialList::new(&file.path, TrialFormat::TruthLast).score(&samples).unwrap();
    let notes = scored.notes;
    assert_eq!((notes.trials, notes.unknown, notes.self_pairs), (6, 1, 1));
    assert_eq!((notes.duplicates, notes.contradictions), (1, 1));
    assert_eq!(notes.first_unknown.as_deref(), Some("q9_0001"));
    assert_eq!((scored.histogram.counts().matching, scored.histogram.counts().non_matching), (3, 1));
    assert!(scored.classes.is_none());
    for (format, text, problem) in [
        (TrialFormat::VoxCeleb, "1 a b\n2 a b\n", "line 2: expected `1 first second` or `0 first second`, got `2 a b`"),
        (TrialFormat::VoxCeleb, "1 a\n", "line 1: expected"),
        (TrialFormat::Lfw, "Ann\t1\tx\n", "line 1: expected `name n m` or `name n other m`, got `Ann\t1\tx`"),
        (TrialFormat::Csv, "a,b\n", "line 1: expected a column `first`, got `a,b`"),
        (TrialFormat::Csv, "first,second,same\na,b\n", "line 2: expected values of `first`, `second` and `same`"),
        (TrialFormat::TruthLast, "a b 1 1\n", "line 1: expected"),
    ] {
        let file = given("trials", text);
        let refused = TrialList::new(&file.path, format).score(&samples).unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
    }
    let one_kind = given("trials", "1 p0_0001 p0_0002\n");
    let refused = TrialList::new(&one_kind.path, TrialFormat::VoxCeleb).score(&samples).unwrap_err();
    assert_eq!(refused.to_string(), "need matching and non-matching pairs, got 1 and 0");
    let binary = given("trials", b"1 a \xff\n");
    let refused = TrialList::new(&binary.path, TrialFormat::VoxCeleb).score(&samples).unwrap_err().to_string();
    assert!(refused.ends_with("line 1: it is no text"), "{refused}");
}

#[test]
fn long_lists_tell_and_stop() {
    let samples = samples();
    let text = "1 p0_0001 p0_0002\n0 p0_0001 p1_0002\n".repeat(20_000);
    let file = given("trials", &text);
    let list = TrialList::new(&file.path, TrialFormat::VoxCeleb);
    let mut told = Vec::new();
    let scored = list.score_with(&samples, |done, total| {
        told.push((done, total));
        ControlFlow::Continue(())
    });
    assert_eq!(scored.unwrap().notes.duplicates, 39_998);
    let total = 2 * text.len() as u64;
    assert!(told.len() > 4 && told.windows(2).all(|two| two[0].0 <= two[1].0), "{told:?}");
    assert_eq!(told.last(), Some(&(total, total)));
    let stopped = list.score_with(&samples, |_, _| ControlFlow::Break(())).unwrap_err().to_string();
    assert!(stopped.starts_with("stopped by the caller after ") && stopped.ends_with(" bytes"), "{stopped}");
}

#[test]
fn names_are_one_for_each_row() {
    let set = samples().set().clone();
    let short = Samples::new(set.clone(), ["a"]).unwrap_err().to_string();
    assert_eq!(short, "invalid `names`: expected 40 of them, one for each row, got 1");
    let twice = Samples::new(set, vec!["a"; 40]).unwrap_err().to_string();
    assert_eq!(twice, "invalid `names`: expected a name of its own for each row, got `a` for 0 and 1");
}

/// Frames of a video count as one picture.
#[test]
fn templates_average_media_first() {
    let rows = array![[3.0f32, 0.0], [1.0, 0.0], [0.0, 2.0], [4.0, 3.0]];
    let (templates, media) = (["b", "b", "b", "a"], ["v", "v", "p", "p"]);
    let labels = [5, 5, 5, 6];
    let raw = Templates::pool(rows.view(), &templates, Some(&media), &labels, Pooling::RawRows).unwrap();
    assert_eq!((raw.ids, raw.labels), (vec!["a".to_owned(), "b".to_owned()], vec![6, 5]));
    assert_eq!(raw.embeddings, array![[4.0f32, 3.0], [1.0, 1.0]]);
    let unit = Templates::pool(rows.view(), &templates, Some(&media), &labels, Pooling::UnitRows).unwrap();
    assert_eq!(unit.embeddings, array![[0.8f32, 0.6], [0.5, 0.5]]);
    let two = Templates::pool(rows.view(), &templates, None, &[5, 5, 7, 6], Pooling::RawRows).unwrap_err();
    assert_eq!(two.to_string(), "invalid `labels`: expected one class for template `b`, got 5 and 7");
    let short = Templates::pool(rows.view(), &templates[..3], None, &labels, Pooling::RawRows).unwrap_err();
    assert_eq!(short.to_string(), "4 embeddings but 3 labels");
}

#[test]
fn one_call_measures_a_file() {
    let set = samples().set().clone();
    let values: Vec<f32> = set.view().iter().copied().collect();
    let labels: Vec<i64> = set.labels().iter().map(|&label| i64::from(label)).collect();
    let embeddings = given("e.npy", npy(&[40, 4], &values, Order::C));
    let labels_file = given("l.npy", npy(&[40], &labels, Order::C));
    let options = ReportOptions { far_targets: vec![0.1], ..Default::default() };
    let report = VerificationReport::of_files(&embeddings.path, Some(&labels_file.path), &options).unwrap();
    let of_rows = VerificationReport::of_rows(set.view(), &labels, &options).unwrap();
    assert_eq!(report, of_rows);
    assert!(report.auc_interval.unwrap().contains(report.auc));
    let alone = VerificationReport::of_files(&embeddings.path, None, &options).unwrap_err().to_string();
    assert!(alone.ends_with("e.npy: expected labels, got none"), "{alone}");
}

#[test]
fn tables_of_samples_and_of_scores_say_what_is_wrong() {
    let refused = |name: &str, text: &str| {
        let file = given(name, text);
        let path = &file.path;
        match name.starts_with('s') {
            true => ScoredPairs::open(path, None).map(drop),
            false => SampleTable::open(path).and_then(|table| table.labels("class").map(drop)),
        }
        .map_err(|error| error.to_string().rsplit_once("/").unwrap().1.to_owned())
    };
    assert_eq!(refused("t.tsv", "class\tday\na\t1\n"), Ok(()));
    for (name, text, problem) in [
        ("t.csv", "day\n1\n", "t.csv: expected a column `class`, got `day`"),
        ("t.txt", "class\n1\n", "t.txt: expected .csv or .tsv, got an extension of `txt`"),
        ("s.csv", "score,same\n0.5,2\n", "s.csv: line 2, column `same`: expected 0, 1, true or false, got `2`"),
        ("s.npy", "", "s.npy: expected a second file that says which pairs match, got none"),
        ("s.txt", "", "s.txt: expected .npy, .npz, .csv or .tsv, got an extension of `txt`"),
    ] {
        assert_eq!(refused(name, text), Err(problem.to_owned()));
    }
    let ragged = refused("t.csv", "class,day\na\n").unwrap_err();
    assert!(ragged.starts_with("t.csv: CSV error: record 1"), "{ragged}");
    let absent = SampleTable::open("absent.csv").unwrap_err().to_string();
    assert_eq!(absent, "cannot read absent.csv");
    let pairs = ScoredPairs::open(&given("s.tsv", "score\tsame\n0.5\t1\n0.25\tfalse\n").path, None).unwrap();
    assert_eq!((pairs.pairs.scores(), pairs.pairs.same(), pairs.classes), (&[0.5, 0.25][..], &[true, false][..], None));
}

/// Counts by class say of every two classes what the pairs do.
#[test]
fn confusion_of_counts_is_that_of_the_pairs() {
    let set = samples().set().clone();
    let cut = 0.4;
    let confusion = ClassCounts::of(&set, &[cut]).unwrap().confusion(0);
    for pair in confusion.tar().into_iter().chain(confusion.most_confused()) {
        let of = |row: usize| set.labels()[row];
        let pairs = set.pairs(soft_lmccl_metrics::PairProtocol::All).unwrap();
        let of_two =
            pairs.into_iter().filter(|&(i, j)| (of(i).min(of(j)), of(i).max(of(j))) == (pair.first, pair.second));
        let scores: Vec<f64> = of_two.map(|(i, j)| set.cosine(i, j)).collect();
        assert_eq!(pair.pairs, scores.len() as u64);
        assert_eq!(pair.accepted, scores.iter().filter(|&&score| score >= cut).count() as u64);
    }
    let classes = confusion.tar().len();
    assert_eq!(confusion.most_confused().len(), classes * (classes - 1) / 2);
}
