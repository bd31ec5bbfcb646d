//! What the long examples have in common as programs: Ctrl-C, exit codes, tables for a terminal, and in files beside this
//! one devices, whole files, networks that one program trains and another uses.

pub mod device;
#[allow(dead_code, reason = "not every program draws")]
pub mod drawn;
pub mod lock;
pub mod trained;
pub mod whole;

use std::{
    error::Error as _,
    fmt::{self, Write as _},
    io::{self, Write as _},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use soft_lmccl::Result;

/// Set by Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether to stop; long work asks between its steps.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Runs the program: Ctrl-C ends it after the current step, an error is one sentence and what caused it.
pub fn run(program: impl FnOnce() -> Result<()>) -> ExitCode {
    // Only the first handler counts, and this is the first.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // Asked twice: at once.
            std::process::exit(130);
        }
        complain(format_args!("\nstopping after this step; once more to stop at once"));
    });
    match program() {
        Ok(()) if interrupted() => ExitCode::from(130),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("error: {error}"));
            let mut cause = error.source();
            while let Some(source) = cause {
                complain(format_args!("  because: {source}"));
                cause = source.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// A line about long work. Nobody need be listening: whatever it tells is in the program's files as well, and a pipe
/// that was closed must not end a training.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line about what is wrong; where nobody listens, the exit code tells.
fn complain(line: fmt::Arguments<'_>) {
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
