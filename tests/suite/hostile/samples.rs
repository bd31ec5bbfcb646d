//! Readers of embeddings, labels, tables of samples, scores and lists of trials.

use std::path::Path;

use ndarray::Array2;
use soft_lmccl::metrics::{
    EmbeddingSet, Pooling, Templates,
    files::{ArrayNames, EmbeddingTable, SampleTable, Samples, ScoredPairs, TrialFormat, TrialList},
};
use soft_lmccl::tch::Tensor;

use super::readers::Answer;

pub const NPY: &[&str] =
    &["'shape': (", "(4, 3)", "(18446744073709551615,)", "'descr': '<f8'", "'|O'", "'fortran_order': True"];
pub const CSV: &[&str] =
    &["labels", "id", "score", "same", "first", "second", "a_0001", "\"\"", "1", "\t", "nan", "template"];

fn values() -> Vec<f32> {
    (0..12).map(|at| (at * at % 7) as f32 - 2.5).collect()
}

/// What NumPy writes, version 1.0.
fn array(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

pub fn npy() -> Vec<Vec<u8>> {
    let single: Vec<u8> = values().iter().flat_map(|value| value.to_le_bytes()).collect();
    let double: Vec<u8> = values().iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect();
    vec![array("<f4", "(4, 3)", &single), array("<f8", "(4, 3)", &double)]
}

pub fn npz() -> Vec<Vec<u8>> {
    vec![include_bytes!("../../../crates/metrics/tests/fixtures/arrays.npz").to_vec()]
}

pub fn safetensors() -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seed.safetensors");
    let embeddings = Tensor::from_slice(&values()).view([4, 3]);
    let labels = Tensor::from_slice(&[0i64, 0, 1, 1]);
    Tensor::write_safetensors(&[("embeddings", embeddings), ("labels", labels)], &path).unwrap();
    vec![std::fs::read(&path).unwrap()]
}

pub fn csv() -> Vec<Vec<u8>> {
    vec![b"id,labels,x,y\na,ant,1,2.5\nb,bee,-3,1e-3\nc,ant,0,1\n".to_vec(), b"labels,x\n7,1\n4,2\n".to_vec()]
}

pub fn integers() -> Vec<Vec<u8>> {
    let labels: Vec<u8> = [3i64, 3, 9, 9].iter().flat_map(|label| label.to_le_bytes()).collect();
    vec![array("<i8", "(4,)", &labels), array("|u1", "(4,)", &[3, 3, 9, 9])]
}

pub fn table() -> Vec<Vec<u8>> {
    vec![b"template\tlabels\nt1\tant\nt1\tant\nt2\tbee\nt3\tbee\n".to_vec()]
}

pub fn scored() -> Vec<Vec<u8>> {
    vec![
        b"score,same\n0.9,1\n0.5,false\n0.25,0\n".to_vec(),
        b"score,first_class,second_class\n0.9,a,a\n0.4,a,b\n".to_vec(),
    ]
}

pub fn lfw() -> Vec<Vec<u8>> {
    vec![b"1\t2\na\t1\t2\na\t1\tb\t2\nb\t2\t1\n".to_vec()]
}

pub fn voxceleb() -> Vec<Vec<u8>> {
    vec![b"1 a_0001 a_0002\n0 a_0001 b_0002\n0 b_0001 a_0001\n1 c_9 a_0001\n".to_vec()]
}

pub fn listed() -> Vec<Vec<u8>> {
    vec![b"first,second,same\na_0001,a_0002,1\na_0001,b_0002,false\n".to_vec()]
}

/// More than one byte of a compressed file can stand for would be more than was read.
const MOST_PER_BYTE: u64 = 1032;

pub fn embeddings(path: &Path) -> Answer {
    let table = EmbeddingTable::open(path, &ArrayNames::default())?;
    let numbers = table.embeddings.len() as u64;
    assert!(numbers <= MOST_PER_BYTE * std::fs::metadata(path)?.len(), "{numbers} numbers");
    if let Ok(set) = table.set() {
        assert!(set.view().iter().all(|value| value.is_finite()));
    }
    Ok(())
}

fn four() -> Array2<f32> {
    Array2::from_shape_vec((4, 3), values()).unwrap()
}

pub fn labels(path: &Path) -> Answer {
    let directory = tempfile::tempdir()?;
    let rows = directory.path().join("e.npy");
    std::fs::write(&rows, &npy()[0])?;
    let table = EmbeddingTable::open(&rows, &ArrayNames::default())?.with_labels(path, &ArrayNames::default())?;
    assert!(table.labels.is_some());
    Ok(())
}

pub fn templates(path: &Path) -> Answer {
    let table = SampleTable::open(path)?;
    let (templates, (labels, _)) = (table.column("template")?, table.labels("labels")?);
    if let Ok(pooled) = Templates::pool(four().view(), templates, None, &labels, Pooling::UnitRows) {
        assert!(pooled.ids.len() <= templates.len() && pooled.embeddings.nrows() == pooled.ids.len());
    }
    Ok(())
}

pub fn scores(path: &Path) -> Answer {
    let found = ScoredPairs::open(path, None)?;
    assert!(found.pairs.scores().iter().all(|score| score.is_finite()));
    Ok(())
}

fn list(path: &Path, format: TrialFormat) -> Answer {
    let set = EmbeddingSet::new(four().view(), &[0, 0, 1, 1])?;
    let samples = Samples::new(set, ["a_0001", "a_0002", "b_0001", "b_0002"])?;
    let scored = TrialList::new(path, format).score(&samples)?;
    let (notes, counts) = (scored.notes, scored.histogram.counts());
    assert_eq!(counts.total() + notes.unknown + notes.self_pairs, notes.trials);
    Ok(())
}

pub fn lfw_list(path: &Path) -> Answer {
    list(path, TrialFormat::Lfw)
}

pub fn voxceleb_list(path: &Path) -> Answer {
    list(path, TrialFormat::VoxCeleb)
}

pub fn csv_list(path: &Path) -> Answer {
    list(path, TrialFormat::Csv)
}
