//! What the errors of bad files say: the corpus is read by every reader's test, here is why each was refused.

use std::path::Path;

use super::readers::READERS;

/// Reader, file, part of the message.
const REASONS: &[(&str, &str, &str)] = &[
    #[cfg(feature = "cect")]
    ("mrc", "claims-2-to-60-voxels.mrc", "1048576 × 1048576 × 1048576 voxels are more than the"),
    #[cfg(feature = "cect")]
    ("mrc", "cut-short.mrc", "the header announces 1280 bytes but the file has 1100"),
    #[cfg(feature = "cect")]
    ("mrc", "extended-header-of-2-gib.mrc", "announces 2147484927 bytes but the file has 1280"),
    #[cfg(feature = "cect")]
    ("mrc", "negative-extended-header.mrc", "NSYMBT, the length of the extended header, is -1"),
    #[cfg(feature = "cect")]
    ("mrc", "nan.mrc", "voxel [0][1][2] is NaN, not a finite number"),
    #[cfg(feature = "cect")]
    ("mrc", "text.mrc", "30 bytes are no MRC file"),
    #[cfg(feature = "cect")]
    ("mrc-gz", "cut-short.mrc.gz", "the compressed data is damaged: incomplete deflate stream"),
    #[cfg(feature = "cect")]
    ("pdb", "coordinate-of-stars.pdb", "line 3"),
    #[cfg(feature = "cect")]
    ("cif", "billions-of-operators.cif", "makes more than 20000 operators"),
    #[cfg(feature = "cect")]
    ("cif", "open-quote.cif", "line"),
    #[cfg(feature = "cect")]
    ("beads", "infinite.tsv", "line 2: expected `x y z electrons`, got `1 2 inf 4`"),
    #[cfg(feature = "cect")]
    ("beads", "one-endless-line.tsv", "line 1: expected `x y z electrons`, got `xxxxxxxx"),
    #[cfg(feature = "cect")]
    ("beads", "more-electrons-than-numbers.tsv", "line 1: expected `x y z electrons`, got `0 0 0 1e308`"),
    #[cfg(feature = "cect")]
    ("beads", "far-away.tsv", "line 2: expected `x y z electrons`, got `1e300 0 0 1`"),
    ("threshold", "deep.json", "invalid type: sequence, expected f64 at line 1 column 1"),
    ("threshold", "counts-contradict.json", "`true_accepts` must be at most `matching` (4), got 9"),
    ("threshold", "more-pairs-than-are-counted.json", "`non_matching` must be at most 0 beside 18446744073709551615"),
    ("checkpoint", "header-of-2-to-60-bytes.safetensors", "not a safetensors file"),
    ("checkpoint", "shape-overflows.safetensors", "not a safetensors file"),
    ("checkpoint", "offsets-overlap.safetensors", "not a safetensors file"),
    ("checkpoint", "of-another-program.safetensors", "no `soft-lmccl` entry in its header"),
    ("run", "sample-twice.safetensors", ": the sampler's position is of other samples or labels"),
    ("config", "unknown-field.json", "unknown field `margn`"),
    ("config", "negative-margin.json", "invalid `margin`"),
];

#[test]
fn every_file_is_refused_for_its_reason() {
    let mut others = Vec::new();
    for &(name, file, reason) in REASONS {
        let reader = READERS.iter().find(|reader| reader.name == name).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name).join(file);
        let message = (reader.read)(&path).unwrap_err().to_string();
        if !message.contains(reason) {
            others.push(format!("{file}: {message}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}
