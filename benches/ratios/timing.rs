//! Times taken in turns, so that what else the machine does falls on both sides of a ratio.

use std::thread;
use std::time::{Duration, Instant};

/// The best time of each arm over so many rounds, in seconds; every round runs each arm once.
pub fn in_turns<const N: usize>(rounds: usize, arms: [&mut dyn FnMut(); N]) -> [f64; N] {
    in_turns_apart(rounds, Duration::ZERO, arms)
}

/// As [`in_turns`], with a pause before each arm: threads of libtorch look out for more work for a while after
/// they have done some, on the cores that an arm with threads of its own would use.
pub fn in_turns_apart<const N: usize>(rounds: usize, pause: Duration, mut arms: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [Duration::MAX; N];
    for _ in 0..rounds {
        for (best, arm) in best.iter_mut().zip(&mut arms) {
            thread::sleep(pause);
            let start = Instant::now();
            arm();
            *best = start.elapsed().min(*best);
        }
    }
    best.map(|time| time.as_secs_f64())
}
