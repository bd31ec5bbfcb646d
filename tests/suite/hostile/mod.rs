//! Files from anywhere: whatever is in them, a reader answers with a value or an error that names the file,
//! and neither panics nor takes memory that the file does not account for.
//!
//! A short run mutates valid files and those of `tests/corpus`. A long one is
//!
//! ```sh
//! SOFT_LMCCL_EXECUTIONS=1000000 cargo test --release --features cect --test suite hostile:: -- --nocapture
//! ```
//!
//! where the number is that of executions of each reader, `SOFT_LMCCL_SEED` names another course, and
//! `SOFT_LMCCL_READERS=trials` takes those readers alone that have this in their names. What breaks a
//! reader is left in `target/hostile`, to be mended and then moved to `tests/corpus/<reader>`.

mod corpus;
mod mutate;
mod readers;
mod samples;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mutate::Mutator;
use readers::{READERS, Reader};

/// Executions of each reader in a short run.
const EXECUTIONS: usize = 400;
/// The longest that a reader may take over some kilobytes, also in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What errors say fits on a screen.
const LONGEST_MESSAGE: usize = 2000;
/// What reading some kilobytes may add to the peak of this process' address space, other tests' threads and libtorch
/// included: far less than any header that lies asks for.
const MEMORY: u64 = 16 << 30;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn corpus(reader: &Reader) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(reader.name);
    let mut files: Vec<_> = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The most address space that this process has had, where the system tells.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kilobytes| kilobytes << 10)
}

/// Reads one file and judges the answer.
fn judge(reader: &Reader, path: &Path) -> Result<bool, String> {
    let started = Instant::now();
    let answer = catch_unwind(AssertUnwindSafe(|| (reader.read)(path))).map_err(|_| "it panics".to_owned())?;
    if started.elapsed() > PATIENCE {
        return Err(format!("it takes {:?}", started.elapsed()));
    }
    let Err(error) = answer else { return Ok(true) };
    let message = error.to_string();
    if message.len() > LONGEST_MESSAGE {
        return Err(format!("its error is {} bytes long", message.len()));
    }
    if reader.names_the_file && !message.contains(path.file_name().unwrap().to_str().unwrap()) {
        return Err(format!("its error does not name the file: {message}"));
    }
    Ok(false)
}

fn run(reader: &Reader) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("mutated.{}", reader.extension));
    let mut seeds = (reader.seeds)();
    for seed in &seeds {
        fs::write(&path, seed).unwrap();
        assert_eq!(judge(reader, &path), Ok(true), "{}: {:?}", reader.name, (reader.read)(&path));
    }
    seeds.extend(corpus(reader).iter().map(|path| fs::read(path).unwrap()));
    let mut mutator = Mutator::new(number("SOFT_LMCCL_SEED", 1) as u64, reader.tokens);
    let executions = number("SOFT_LMCCL_EXECUTIONS", EXECUTIONS);
    let (before, mut accepted) = (peak(), 0);
    for execution in 0..executions {
        let bytes = mutator.mutant(&seeds);
        fs::write(&path, &bytes).unwrap();
        match judge(reader, &path) {
            Ok(read) => accepted += usize::from(read),
            Err(problem) => {
                let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/hostile");
                fs::create_dir_all(&kept).unwrap();
                let kept = kept.join(format!("{}-{execution}.{}", reader.name, reader.extension));
                fs::write(&kept, &bytes).unwrap();
                panic!("{}: {problem}; the file is kept as {}", reader.name, kept.display());
            }
        }
    }
    let grown = peak() - before;
    println!("{}: {executions} executions, {accepted} read, peak of memory {} MiB higher", reader.name, grown >> 20);
    assert!(grown < MEMORY, "{}: {grown} bytes more", reader.name);
    assert!(executions < EXECUTIONS || accepted < executions, "{}: no mutation was refused", reader.name);
}

#[test]
fn no_file_breaks_a_reader() {
    let named = std::env::var("SOFT_LMCCL_READERS").unwrap_or_default();
    for reader in READERS.iter().filter(|reader| reader.name.contains(&named)) {
        run(reader);
    }
}

#[test]
fn every_file_of_the_corpus_is_refused() {
    for reader in READERS {
        for path in corpus(reader) {
            assert_eq!(judge(reader, &path), Ok(false), "{}", path.display());
        }
    }
}
