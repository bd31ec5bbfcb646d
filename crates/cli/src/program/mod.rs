//! What the commands have in common: Ctrl-C, exit codes, errors, tables for a terminal, and in files beside this one
//! progress, locks and losses.

pub mod bar;
pub mod lock;
pub mod loss;
pub mod network;

use std::{
    fmt::{self, Display, Write as _},
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Error, Result, anyhow};
use soft_lmccl::cect::catalogue;
use soft_lmccl::distributed::{Group, GroupConfig};

/// Set by Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Exit code of what Ctrl-C ended.
const STOPPED: u8 = 130;

/// Whether to stop; long work asks between its steps.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Set when the command has ended, whatever is left to say of it.
static ENDED: AtomicBool = AtomicBool::new(false);

/// Held while files are written.
static WRITING: Mutex<()> = Mutex::new(());

/// Lets Ctrl-C end the program within a second, whatever it is computing: for work that is worth nothing until it is done.
/// Work that asks [`interrupted`] ends sooner and says how far it was.
pub fn end_soon_after_interrupt() {
    const OFTEN: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_millis(500);
    thread::spawn(|| {
        while !interrupted() {
            thread::sleep(OFTEN);
        }
        thread::sleep(PATIENCE);
        undisturbed(|| {
            if ENDED.load(Ordering::Relaxed) {
                return;
            }
            complain(format_args!("error: stopped"));
            std::process::exit(STOPPED.into());
        });
    });
}

/// Writes files; [`end_soon_after_interrupt`] waits for them.
pub fn undisturbed<T>(write: impl FnOnce() -> T) -> T {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    write()
}

/// Runs the program: Ctrl-C ends it after the current step, an error is one sentence and what caused it.
pub fn run(program: impl FnOnce() -> Result<()>) -> ExitCode {
    // Only the first handler counts, and this is the first.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // Asked twice: at once.
            std::process::exit(STOPPED.into());
        }
        complain(format_args!("\nstopping; once more to stop at once"));
    });
    let ended = program();
    ENDED.store(true, Ordering::Relaxed);
    if let Err(error) = &ended {
        if interrupted() {
            complain(format_args!("error: {error:#}"));
        } else {
            complain(format_args!("error: {error}"));
            for cause in error.chain().skip(1) {
                complain(format_args!("  because: {cause}"));
            }
        }
    }
    match ended {
        _ if interrupted() => ExitCode::from(STOPPED),
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What a small run, which only shows that everything works, says of itself.
pub const MEANINGLESS: &str = "a smoke run, to see that everything works: its figures mean nothing";

/// A class with the name of its complex, where it is one of the catalogue.
pub fn named(class: &str) -> String {
    let entry = catalogue::entries().iter().find(|entry| entry.id() == class);
    entry.map_or_else(|| class.to_owned(), |entry| format!("{class} {}", entry.name()))
}

/// What reports mean by their words.
pub const TERMS: &[(&str, &str)] = &[
    ("pair", "two samples; matching if both are of one class"),
    ("score", "the cosine of the two embeddings of a pair: higher means more alike"),
    ("TAR", "true accept rate: the share of matching pairs with a score at the threshold or above"),
    ("FAR", "false accept rate: the share of other pairs with such a score"),
    ("FRR", "false reject rate: 1 − TAR"),
    ("TAR at FAR", "the TAR at the lowest threshold whose FAR is not above the one named"),
    ("EER", "equal error rate: where FAR and FRR are the same"),
    ("AUC", "the area under TAR against FAR: how often a matching pair scores higher than another pair"),
    ("accuracy", "the share of pairs that a threshold decides rightly, chosen on other folds than it is used on"),
    ("known, unknown", "classes that a network was trained on, and classes that it never saw"),
    ("s, m, λ, α", "scale of the cosines, margin, weight of the center loss, rate of the centers"),
    ("±", "standard deviation"),
    ("[a, b]", "an interval that holds the true value with the level named, 95 % if none is"),
];

/// The ranks that a launcher started this program as, or one.
///
/// # Errors
/// As [`Group::from_env`].
pub fn ranks() -> soft_lmccl::Result<Group> {
    /// A rank that has done its share waits so long for the others, of which signs of life tell that they are at it.
    const LONGEST: Duration = Duration::from_secs(60 * 24 * 3600);
    Group::from_env_with(GroupConfig { timeout: LONGEST, ..Default::default() })
}

/// What was asked for wrongly, as the library says it of its own fields.
pub fn refused(field: &str, expected: impl Display, got: impl Display) -> Error {
    anyhow!("invalid `{field}`: expected {expected}, got {got}")
}

/// Makes a directory and those above it, if they are not there.
///
/// # Errors
/// As the system says.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Writes a whole file, or none.
///
/// # Errors
/// As the system says; what was at `path` is still there then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    soft_lmccl_files::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// A line about long work. Nobody need be listening: whatever it tells is in the program's files as well, and a pipe
/// that was closed must not end a training.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints what the program was called for; a reader that has seen enough is no failure.
///
/// # Errors
/// As the system says.
pub fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(error).context("cannot write to standard output"))
        }
        _ => Ok(()),
    }
}

/// A line about what is wrong; where nobody listens, the exit code tells.
pub fn complain(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Columns of equal width, for a terminal.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}
