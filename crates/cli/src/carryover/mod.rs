//! What carries over: a trained network on data of other makers than its own, beside features that nobody learned.

mod figures;
mod sets;
mod table;
#[cfg(test)]
mod tests;

pub use figures::{PROFILE, profile_set, profiles};
pub use sets::SIDE;
pub use table::{Asked, table};
