//! The figures of `cargo xtask bench --json`.

pub mod bare;
mod center;
mod compare;
mod cuda;
mod distributed;
mod loss;
mod peak;
mod pytorch;
mod sampled;
mod simulate;
mod timing;
mod train_step;
pub mod verification;

use serde_json::{Map, Value, json};

/// A part's name in the object, and what measures it.
type Part = (&'static str, fn() -> Value);

const PARTS: [Part; 9] = [
    (loss::NAME, loss::measure),
    (sampled::NAME, sampled::measure),
    ("compare", compare::measure),
    ("center", center::measure),
    ("simulate", simulate::measure),
    ("train_step", train_step::measure),
    (verification::NAME, verification::measure),
    ("cuda", cuda::measure),
    (distributed::NAME, distributed::measure),
];

/// The argument by which this program asks itself for the memory of one case of a part.
pub const PEAK: &str = "--peak";

/// Bytes beyond what is held before and after, as JSON; null where they cannot be told.
pub fn peak(part: &str, case: &str) -> Value {
    let case = serde_json::from_str(case).expect("this program wrote it");
    if part == distributed::NAME {
        return distributed::rank(&case);
    }
    json!(match part {
        loss::NAME => loss::peak(&case),
        sampled::NAME => sampled::peak(&case),
        verification::NAME => verification::peak(&case),
        _ => None,
    })
}

/// The parts asked for by name, every part if none is, in one object. Progress goes to stderr.
pub fn measure() -> Value {
    let asked: Vec<String> = std::env::args().collect();
    let named = |(name, _): &&Part| asked.iter().any(|argument| argument == name);
    let all = !PARTS.iter().any(|part| named(&part));
    let parts = PARTS.iter().filter(|part| all || named(part));
    Value::Object(parts.map(|(name, measure)| ((*name).to_owned(), measure())).collect::<Map<_, _>>())
}
