//! Progress, told on stderr if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of so many steps, with a message at its end.
pub fn bar(what: &str, length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64).with_prefix(what.to_owned());
    bar.set_style(style("{prefix:>12} [{bar:32}] {pos}/{len} {eta:>4} {wide_msg}"));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// How every bar of these programs looks.
fn style(template: &str) -> ProgressStyle {
    // A template that indicatif cannot read leaves its own, which is a progress bar too.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
