//! Arguments that are unusual or wrong, for everything that takes them: the value that belongs to them or an error,
//! never a panic and never a number that only looks right.

#[cfg(feature = "cect")]
mod cect;
mod losses;

/// Numbers at which arithmetic goes wrong, as they stand in JSON.
const NUMBERS: [&str; 17] = [
    "0",
    "-0.0",
    "1",
    "-1",
    "0.5",
    "2",
    "7",
    "1e-320",
    "1e-45",
    "-1e-20",
    "1e-7",
    "1e7",
    "1e20",
    "1e308",
    "-1e308",
    "9007199254740993",
    "18446744073709551615",
];

/// Every configuration that differs from `config` in one number, which is one of [`NUMBERS`], as far as it can be read.
fn spoiled<C: serde::Serialize + serde::de::DeserializeOwned>(config: &C) -> Vec<(String, C)> {
    fn leaves(value: &serde_json::Value, path: String, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| leaves(value, format!("{path}/{name}"), found));
            }
            serde_json::Value::Number(_) => found.push(path),
            _ => {}
        }
    }
    let whole = serde_json::to_value(config).unwrap();
    let mut paths = Vec::new();
    leaves(&whole, String::new(), &mut paths);
    assert!(!paths.is_empty());
    let mut all = Vec::new();
    for path in paths {
        for number in NUMBERS {
            let mut changed = whole.clone();
            *changed.pointer_mut(&path).unwrap() = serde_json::from_str(number).unwrap();
            if let Ok(config) = serde_json::from_value(changed) {
                all.push((format!("{path} = {number}"), config));
            }
        }
    }
    all
}
