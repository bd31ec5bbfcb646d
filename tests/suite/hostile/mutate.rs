//! Spoils valid files, in the ways in which readers break.

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Larger files take time without showing more.
const LARGEST: usize = 1 << 16;

/// Numbers at which lengths, extents and counts go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    1 << 20,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 60,
    u64::MAX >> 1,
    u64::MAX,
];

/// Words at which parsers of text go wrong.
const WORDS: [&str; 22] = [
    "nan",
    "-inf",
    "1e999",
    "1e-999",
    "-0.0",
    "0",
    "-1",
    "9999999999999999999999",
    "18446744073709551616",
    "\"",
    "'",
    ";",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "é",
    "\u{feff}",
    "[[[[[[[[",
    "{",
    ",",
    " ",
];

/// An endless, seeded supply of broken files.
#[derive(Debug)]
pub struct Mutator {
    rng: ChaCha8Rng,
    tokens: &'static [&'static str],
}

impl Mutator {
    pub fn new(seed: u64, tokens: &'static [&'static str]) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), tokens }
    }

    /// One of `seeds`, changed in one to six places.
    pub fn mutant(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds.choose(&mut self.rng).unwrap().clone();
        for _ in 0..self.rng.random_range(1..=6) {
            self.change(&mut bytes, seeds);
            bytes.truncate(LARGEST);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let rng = &mut self.rng;
        let (start, end) = (rng.random_range(0..=bytes.len()), rng.random_range(0..=bytes.len()));
        let (start, end) = (start.min(end), start.max(end).min(start.min(end) + 64));
        match rng.random_range(0..9) {
            0 if start < bytes.len() => bytes[start] ^= 1 << rng.random_range(0..8),
            1 if start < bytes.len() => bytes[start] = rng.random(),
            // A number of 1, 2, 4 or 8 bytes in either order, aligned as headers are.
            2 | 3 => {
                let number = *NUMBERS.choose(rng).unwrap();
                let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
                let width = *[1, 2, 4, 8].choose(rng).unwrap();
                let at = start / width * width;
                if at + width <= bytes.len() {
                    let number = if rng.random() { &little[..width] } else { &big[8 - width..] };
                    bytes[at..at + width].copy_from_slice(number);
                }
            }
            4 => bytes.truncate(start),
            5 => drop(bytes.drain(start..end)),
            6 => {
                let copy = bytes[start..end].repeat(rng.random_range(1..4));
                bytes.splice(end..end, copy);
            }
            7 => {
                let other = seeds.choose(rng).unwrap();
                let from = rng.random_range(0..=other.len());
                let length = rng.random_range(0..=128.min(other.len() - from));
                bytes.splice(start..end, other[from..from + length].iter().copied());
            }
            _ => {
                let own = !self.tokens.is_empty() && rng.random();
                let word = if own { self.tokens.choose(rng) } else { WORDS.choose(rng) }.unwrap();
                let end = if rng.random() { start } else { end };
                bytes.splice(start..end, word.bytes());
            }
        }
    }
}
