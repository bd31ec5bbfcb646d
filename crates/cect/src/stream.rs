//! One generator for all that is random here.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The random numbers of a sample.
pub(crate) fn stream(seed: u64, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    rng
}
