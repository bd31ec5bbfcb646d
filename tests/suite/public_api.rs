//! The public items of the crates, as recorded in `tests/public_api.txt`.
//!
//! A change of that file in a review is a change of the API: it wants a line in `CHANGELOG.md` and, if something
//! was removed or its signature changed, a new minor version. To record it:
//!
//! ```sh
//! SOFT_LMCCL_RECORD_API=1 cargo test --test suite public_api
//! ```

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Every `pub` item of a file with its signature and the attributes that users depend on, and the whole of public
/// enums and traits; without their docs.
fn items(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let (mut found, mut attributes) = (Vec::new(), String::new());
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        if start.starts_with("#[") {
            let mut attribute = start.trim_end().to_owned();
            while attribute.matches('[').count() > attribute.matches(']').count() {
                attribute += lines.next().expect("an attribute ends").trim();
            }
            if ["#[cfg(", "#[derive(", "#[non_exhaustive"].iter().any(|kept| attribute.starts_with(kept)) {
                attributes += &format!("{attribute} ");
            }
            continue;
        }
        let attributes = std::mem::take(&mut attributes);
        let is_impl = start.starts_with("impl") && start.contains(" for ");
        if !start.starts_with("pub ") && !is_impl {
            continue;
        }
        let whole = start.starts_with("pub enum") || start.starts_with("pub trait");
        let (mut item, mut depth) = (attributes, 0i32);
        let mut next = Some(line);
        while let Some(line) = next {
            let text = line.trim();
            depth += text.matches(['{', '(', '[']).count() as i32 - text.matches(['}', ')', ']']).count() as i32;
            let _ = write!(item, "{text} ");
            let body = text.ends_with('{') && !start.starts_with("pub use");
            // A body that is not recorded leaves one brace open.
            if (body && !whole && depth == 1) || (depth == 0 && text.ends_with([';', ',', '}', ')'])) {
                break;
            }
            next = lines.next();
        }
        found.push(item.trim_end().trim_end_matches(['{', ',', ';']).trim_end().to_owned());
    }
    found
}

#[test]
fn the_public_api_is_the_recorded_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut api = String::from("Public items by file; see tests/suite/public_api.rs.\n");
    for path in ["src", "crates/cect/src", "crates/files/src", "crates/metrics/src", "crates/report/src"]
        .iter()
        .flat_map(|of| sources(&root.join(of)))
    {
        let items = items(&fs::read_to_string(&path).unwrap());
        if !items.is_empty() {
            let _ = write!(api, "\n{}\n", path.strip_prefix(root).unwrap().display());
            items.iter().for_each(|item| api += &format!("    {item}\n"));
        }
    }
    let recorded = root.join("tests/public_api.txt");
    if std::env::var_os("SOFT_LMCCL_RECORD_API").is_some() {
        fs::write(&recorded, &api).unwrap();
    }
    let before = fs::read_to_string(&recorded).unwrap().replace("\r\n", "\n");
    let missing = |from: &str, of: &str| -> Vec<String> {
        from.lines().filter(|line| !of.lines().any(|other| other == *line)).map(str::to_owned).collect()
    };
    assert!(
        api == before,
        "the public API is not the recorded one\nno longer there: {:#?}\nnew: {:#?}",
        missing(&before, &api),
        missing(&api, &before)
    );
}
