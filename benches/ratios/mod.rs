//! The figures of `cargo xtask bench --json`.

mod bare;
mod peak;
mod timing;
mod verification;

use serde_json::{Value, json};

/// Every part, in one object. Progress goes to stderr.
pub fn measure() -> Value {
    json!({ "verification": verification::measure() })
}
