//! Taking the needed files out of a wheel, and knowing later that they are all still there.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use zip::ZipArchive;

/// Written last into a libtorch folder: one line a file, size and path.
const CONTENTS: &str = "contents.txt";
/// From this size on a file is synced on its own; `contents.txt` guards the ten thousand headers.
const LARGE: u64 = 100_000;

/// One unpacked file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Relative to the libtorch folder, with `/`.
    pub path: String,
    /// In bytes.
    pub size: u64,
}

/// Unpacks what `place` gives a place to. The `zip` crate compares every file's checksum.
///
/// # Errors
/// If the archive is damaged, names a path outside of `into`, or cannot be written.
pub fn unpack(archive: &Path, place: impl Fn(&str) -> Option<String>, into: &Path) -> Result<Vec<Unpacked>> {
    let name = archive.file_name().unwrap_or_default().display().to_string();
    let damaged = || format!("the wheel {name} is damaged: run `cargo xtask libtorch` once more");
    let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    let mut zip = ZipArchive::new(io::BufReader::new(file)).with_context(damaged)?;
    let mut unpacked = Vec::new();
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).with_context(damaged)?;
        let entry_name = entry.name().with_context(damaged)?.into_owned();
        let Some(path) = place(&entry_name) else {
            continue;
        };
        if entry.enclosed_name().is_none() {
            bail!("the wheel {name} is damaged: it names the path {entry_name}");
        }
        let size = entry.size();
        let target = into.join(&path);
        let written = write(&mut entry, &target, size).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                anyhow::Error::new(error).context(damaged())
            }
            _ => anyhow::Error::new(error).context(format!("cannot write {}", target.display())),
        })?;
        if written != size {
            bail!("{}: {entry_name} has {written} bytes instead of {size}", damaged());
        }
        unpacked.push(Unpacked { path, size });
    }
    Ok(unpacked)
}

fn write(from: &mut impl io::Read, target: &Path, size: u64) -> io::Result<u64> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create(target)?;
    let written = io::copy(from, &mut file)?;
    if size >= LARGE {
        file.sync_all()?;
    }
    Ok(written)
}

/// Writes down what [`check_contents`] will expect.
///
/// # Errors
/// If it cannot be written.
pub fn write_contents(dir: &Path, files: &[Unpacked]) -> io::Result<()> {
    let mut text = String::new();
    for file in files {
        writeln!(text, "{} {}", file.size, file.path).map_err(io::Error::other)?;
    }
    let path = dir.join(CONTENTS);
    fs::write(&path, text)?;
    File::open(&path)?.sync_all()
}

/// Compares a folder that was provided with what was written down about it; a libtorch from
/// elsewhere has no such list and passes.
///
/// # Errors
/// The first file that is missing or cut short.
pub fn check_contents(dir: &Path) -> Result<()> {
    let list = dir.join(CONTENTS);
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", list.display()));
        }
    };
    for line in text.lines() {
        let expected = line.split_once(' ').and_then(|(size, path)| Some((size.parse().ok()?, path)));
        let Some((size, path)) = expected else { bail!("{} is damaged", list.display()) };
        let found = fs::metadata(dir.join(path)).map(|metadata| metadata.len());
        if found.as_ref().ok() != Some::<&u64>(&size) {
            bail!("{} is missing or damaged", dir.join(path).display());
        }
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use std::io::Write as _;

    use super::*;

    /// Writes a wheel with these entries.
    pub fn make(path: &Path, entries: &[(&str, &[u8])]) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        for (name, content) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap();
    }

    fn keep_a(entry: &str) -> Option<String> {
        entry.strip_prefix("a/").map(|rest| format!("kept/{rest}"))
    }

    #[test]
    fn unpacks_what_has_a_place_and_notices_what_goes_missing() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("x.whl");
        make(&wheel, &[("a/one", b"1"), ("b/two", b"22"), ("a/deep/three", b"333")]);
        let into = dir.path().join("into");
        let files = unpack(&wheel, keep_a, &into).unwrap();
        let expected =
            [("kept/one", 1), ("kept/deep/three", 3)].map(|(path, size)| Unpacked { path: path.to_owned(), size });
        assert_eq!(files, expected);
        assert!(!into.join("b").exists());

        check_contents(&into).unwrap();
        write_contents(&into, &files).unwrap();
        check_contents(&into).unwrap();
        fs::write(into.join("kept/one"), "").unwrap();
        let text = check_contents(&into).unwrap_err().to_string();
        assert!(text.ends_with("kept/one is missing or damaged"), "{text}");
    }

    #[test]
    fn a_damaged_wheel_is_called_so() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("x.whl");
        let noise: Vec<u8> = (0..50_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        make(&wheel, &[("a/one", &noise)]);
        let whole = fs::read(&wheel).unwrap();

        let truncated = &whole[..whole.len() / 2];
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x55;
        for bytes in [truncated, &flipped] {
            fs::write(&wheel, bytes).unwrap();
            let text = unpack(&wheel, keep_a, &dir.path().join("into")).unwrap_err().to_string();
            assert!(text.starts_with("the wheel x.whl is damaged: "), "{text}");
        }
    }

    #[test]
    fn a_wheel_cannot_write_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("x.whl");
        make(&wheel, &[("a/../../escaped", b"1")]);
        let text = unpack(&wheel, keep_a, &dir.path().join("into")).unwrap_err().to_string();
        assert!(text.contains("it names the path a/../../escaped"), "{text}");
        assert!(!dir.path().join("escaped").exists());
    }
}
