//! Times taken in turns, so that what else the machine does falls on both sides of a ratio.

use std::time::{Duration, Instant};

/// The best time of each arm over so many rounds, in seconds; every round runs each arm once.
pub fn in_turns<const N: usize>(rounds: usize, mut arms: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [Duration::MAX; N];
    for _ in 0..rounds {
        for (best, arm) in best.iter_mut().zip(&mut arms) {
            let start = Instant::now();
            arm();
            *best = start.elapsed().min(*best);
        }
    }
    best.map(|time| time.as_secs_f64())
}
