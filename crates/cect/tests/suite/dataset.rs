//! Labeled subtomograms by index.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use soft_lmccl_cect::{ClassId, Dataset, Result, Sample, SimulatedDataset, SimulationConfig, Simulator, render};

use super::{lopsided, told};

fn config() -> SimulationConfig {
    SimulationConfig { side: 12, ..Default::default() }
}

fn dataset(per_class: usize) -> SimulatedDataset {
    let templates = ["a", "b", "c"].map(lopsided).to_vec();
    SimulatedDataset::new(templates, config(), per_class, 8).unwrap()
}

#[test]
fn classes_take_turns() {
    let dataset = dataset(4);
    assert_eq!(dataset.len(), 12);
    assert!(!dataset.is_empty());
    assert_eq!(dataset.classes(), ["a", "b", "c"]);
    for index in 0..12 {
        let class = ClassId(index as u32 % 3);
        assert_eq!(dataset.class(index), Some(class));
        assert_eq!(dataset.sample(index).unwrap().class, class);
    }
    assert_eq!(dataset.indices(&[ClassId(2), ClassId(0)]), [0, 2, 3, 5, 6, 8, 9, 11]);
    assert_eq!(dataset.indices(&[]), [0usize; 0]);
}

/// What a data set shows is what its simulator makes of the template as it is, of seed and index.
#[test]
fn samples_are_those_of_the_simulator() {
    let (dataset, simulator) = (dataset(2), Simulator::new(config()).unwrap());
    assert_eq!(dataset.templates(), ["a", "b", "c"].map(lopsided));
    assert_eq!(dataset.config(), &config());
    for index in 0..6 {
        let template = &dataset.templates()[index % 3];
        assert_eq!(dataset.parts(index).unwrap(), simulator.parts(template, 8, index as u64).unwrap());
        assert_eq!(dataset.sample(index).unwrap().volume, simulator.simulate(template, 8, index as u64).unwrap());
    }
    // Voxels that are not larger than the template's are no reason to average it.
    for voxel_size in [8.0, 10.0] {
        let config = SimulationConfig { voxel_size, ..config() };
        let dataset = SimulatedDataset::new(vec![lopsided("a")], config, 1, 8).unwrap();
        assert_eq!(dataset.templates(), [lopsided("a")]);
    }
}

#[test]
fn a_data_set_without_samples_is_empty() {
    struct Nothing;
    impl Dataset for Nothing {
        fn classes(&self) -> &[String] {
            &[]
        }
        fn len(&self) -> usize {
            0
        }
        fn class(&self, index: usize) -> Option<ClassId> {
            panic!("no sample {index}")
        }
        fn sample(&self, index: usize) -> Result<Sample> {
            panic!("no sample {index}")
        }
    }
    assert!(Nothing.is_empty());
}

#[test]
fn more_samples_keep_the_first_ones() {
    let (few, many) = (dataset(2), dataset(5));
    for index in 0..few.len() {
        assert_eq!(few.sample(index).unwrap(), many.sample(index).unwrap());
    }
}

#[test]
fn rendering_keeps_the_order_and_counts() {
    let dataset = dataset(4);
    let indices = [7, 3, 3, 11, 0];
    let (calls, last) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let samples = render(&dataset, &indices, |done| {
        calls.fetch_add(1, Ordering::Relaxed);
        last.fetch_max(done, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!((calls.into_inner(), last.into_inner()), (5, 5));
    for (sample, index) in samples.iter().zip(indices) {
        assert_eq!(*sample, dataset.sample(index).unwrap());
    }
    let message = told(&render(&dataset, &[0, 12], |_| {}).unwrap_err());
    assert_eq!(message, "invalid `index`: expected less than 12, got 12");
}

#[test]
fn impossible_data_sets_say_why() {
    for (names, per_class, message) in [
        (vec![], 1, "invalid `templates`: expected one class at least, got 0"),
        (vec!["a"], 0, "invalid `per_class`: expected one subtomogram at least, got 0"),
        (vec!["a", "b", "a"], 1, "invalid `templates`: expected a name of its own for each class, got a twice"),
    ] {
        let templates = names.into_iter().map(lopsided).collect();
        let error = SimulatedDataset::new(templates, config(), per_class, 0).unwrap_err();
        assert_eq!(told(&error), message);
    }
    let bad = SimulationConfig { snr: -1.0, ..config() };
    assert!(SimulatedDataset::new(vec![lopsided("a")], bad, 1, 0).is_err());
}

#[test]
fn data_sets_are_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&dataset(1));
    let boxed: Box<dyn Dataset> = Box::new(dataset(1));
    assert_eq!(render(boxed.as_ref(), &[0, 1], |_| {}).unwrap().len(), 2);
}

/// A data set that knows by itself where its classes are.
struct Indexed(Vec<String>);

impl Dataset for Indexed {
    fn classes(&self) -> &[String] {
        &self.0
    }

    fn len(&self) -> usize {
        usize::MAX
    }

    fn is_empty(&self) -> bool {
        true
    }

    fn class(&self, index: usize) -> Option<ClassId> {
        panic!("sample {index} was looked at")
    }

    fn indices(&self, _: &[ClassId]) -> Vec<usize> {
        vec![3, 1]
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        panic!("sample {index} was made")
    }
}

#[test]
fn pointers_ask_the_data_set_itself() {
    let set = || Indexed(Vec::new());
    let borrowed: &dyn Dataset = &set();
    let (boxed, counted): (Box<dyn Dataset>, Arc<dyn Dataset>) = (Box::new(set()), Arc::new(set()));
    fn asked(set: impl Dataset) -> (bool, Vec<usize>) {
        (set.is_empty(), set.indices(&[ClassId(0)]))
    }
    for found in [asked(borrowed), asked(boxed), asked(counted)] {
        assert_eq!(found, (true, vec![3, 1]));
    }
}
