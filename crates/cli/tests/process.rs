//! The program as the system sees it: exit codes, and what Ctrl-C leaves.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ndarray::Array2;
use npyz::WriterBuilder;

fn npy<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) {
    let mut file = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut file);
    let mut writer = options.begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    fs::write(path, file).unwrap();
}

/// Embeddings and labels of ten classes.
fn write_samples(folder: &Path, rows: usize) {
    let value = |(row, column): (usize, usize)| ((row * 131 + column * 17 + row * column) % 251) as f32 - 99.5;
    let embeddings: Vec<f32> = Array2::from_shape_fn((rows, 16), value).into_iter().collect();
    let labels: Vec<i64> = (0..rows as i64).map(|row| row % 10).collect();
    npy(&folder.join("e.npy"), &[rows as u64, 16], &embeddings);
    npy(&folder.join("l.npy"), &[rows as u64], &labels);
}

fn verify(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soft-lmccl"));
    command.current_dir(folder).arg("verify").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(Output { stdout, stderr, .. }: &Output) -> (String, String) {
    [stdout, stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap()).into()
}

#[test]
fn exit_codes_tell_success_from_bad_input_and_bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    write_samples(folder.path(), 60);
    for (arguments, code) in [
        (&["e.npy", "l.npy"][..], 0),
        (&["e.npy", "absent.npy"], 1),
        (&["e.npy", "e.npy"], 1),
        (&["e.npy", "l.npy", "--far", "2"], 2),
        (&[], 2),
    ] {
        let output = verify(folder.path(), arguments).output().unwrap();
        let (out, err) = text(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert_eq!((out.is_empty(), err.is_empty()), (code != 0, code == 0), "{arguments:?}: {out} {err}");
    }
}

/// The count would take minutes.
#[cfg(unix)]
#[test]
fn interrupted_work_ends_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    write_samples(folder.path(), 200_000);
    let arguments = ["e.npy", "l.npy", "--report", "r.html", "--threshold-out", "t.json"];
    let process = verify(folder.path(), &arguments).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
    let output = process.wait_with_output().unwrap();
    let (out, err) = text(&output);
    assert_eq!((output.status.code(), &*out), (Some(130), ""), "{err}");
    let lines: Vec<&str> = err.trim().lines().collect();
    assert_eq!(lines.len(), 2, "{err}");
    assert!(lines[0].starts_with("stopping;") && lines[1].starts_with("error: "), "{err}");
    let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["e.npy", "l.npy"]);
}
