//! What is read, and what is refused of it.

use std::fs;

use super::*;

/// The fixture of the metrics crate, in all forms.
#[test]
fn every_format_is_read() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let row = |row: usize| [0.0f32, 1.0, 2.0].map(|column| (row as f32 * 3.0 + column) / 4.0);
    let classes = [3i64, 3, 9, 9];
    fs::write(at("a.npz"), include_bytes!("../../../../metrics/tests/fixtures/arrays.npz")).unwrap();
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
