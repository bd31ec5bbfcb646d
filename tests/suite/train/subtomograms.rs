//! Data sets to train on.

use std::ops::ControlFlow;

use soft_lmccl::{
    cect::{
        AugmentConfig, Augmenter, Batch, ClassId, Dataset, OpenSetSplit, SimulatedDataset, SimulationConfig, Volume,
        catalogue, render,
    },
    loss::SoftLmcclConfig,
    model::{CompactNetConfig, compact_net},
    tch::{Device, Tensor, nn},
    train::{Augmented, FitConfig, InMemory, Samples, Sampling, Trainer, TrainingSet},
};

use super::waves;

const SIDE: usize = 16;

fn dataset() -> SimulatedDataset {
    let config = SimulationConfig { side: SIDE, ..Default::default() };
    SimulatedDataset::new(catalogue::templates().split_off(18), config, 4, 3).unwrap()
}

#[test]
fn samples_are_those_of_a_batch_of_known_classes() {
    let dataset = dataset();
    let known = vec![ClassId(3), ClassId(0), ClassId(2)];
    let data = Samples::new(&dataset, &known).unwrap();
    let split = OpenSetSplit::new(known.clone(), vec![ClassId(1), ClassId(4)]).unwrap();
    let held = Batch::known(&render(&dataset, &dataset.indices(&known), |_| {}).unwrap(), &split).unwrap();
    assert_eq!(data.labels(), Vec::<i64>::try_from(&held.labels).unwrap());
    let rows = [5usize, 0, 11];
    let wanted = held.volumes.index_select(0, &Tensor::from_slice(&rows.map(|row| row as i64)));
    assert_eq!(data.inputs(&rows, 9).unwrap(), wanted);
    // In a box as well, as where a program chooses what to train on.
    let boxed: Box<dyn TrainingSet + '_> = Box::new(data);
    assert_eq!((boxed.labels().len(), boxed.inputs(&rows, 0).unwrap()), (12, wanted));
}

#[test]
fn augmented_volumes_depend_on_seed_step_and_place() {
    let volumes = waves(&[5, 1, 6, 6, 6], 0.2);
    let labels = Tensor::from_slice(&[0i64, 1, 0, 1, 0]);
    let config = AugmentConfig { noise: 0.3, ..Default::default() };
    let data = |seed| Augmented::new(InMemory::new(&volumes, &labels).unwrap(), config, 6, seed).unwrap();
    let (rows, step) = ([3usize, 1, 4], 7usize);
    let changed = data(2).inputs(&rows, step).unwrap();
    let augmenter = Augmenter::new(config, 6).unwrap();
    for (place, &row) in rows.iter().enumerate() {
        let voxels = Vec::<f32>::try_from(volumes.get(row as i64).flatten(0, -1)).unwrap();
        let by_hand = augmenter.augment(&Volume::new(6, voxels).unwrap(), 2, (3 * step + place) as u64).unwrap();
        assert_eq!(Vec::<f32>::try_from(changed.get(place as i64).flatten(0, -1)).unwrap(), by_hand.voxels());
    }
    assert_ne!(data(3).inputs(&rows, step).unwrap(), changed);
    assert_eq!(data(2).labels(), [0, 1, 0, 1, 0]);
    let message = Augmented::new(InMemory::new(&volumes, &labels).unwrap(), config, 8, 1).unwrap();
    assert_eq!(
        message.inputs(&rows, 0).unwrap_err().to_string(),
        "volumes: expected [3, 1, 8, 8, 8], got [3, 1, 6, 6, 6]"
    );
}

#[test]
fn classes_that_cannot_be_trained_on_are_refused() {
    let dataset = dataset();
    for (classes, message) in [
        (vec![], "invalid `classes`: expected one or more, each once, got 0, of which 0 differ"),
        (
            vec![ClassId(1), ClassId(2), ClassId(1)],
            "invalid `classes`: expected one or more, each once, got 3, of which 2 differ",
        ),
        (
            vec![ClassId(1), ClassId(5)],
            "invalid `classes`: expected classes that have samples, got class 5 without one",
        ),
    ] {
        assert_eq!(Samples::new(&dataset, &classes).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_run_over_a_data_set_is_one_over_the_same_volumes_in_memory() {
    let dataset = dataset();
    let known = [ClassId(0), ClassId(2)];
    let data = Samples::new(&dataset, &known).unwrap();
    let volumes = data.inputs(&(0..8).collect::<Vec<_>>(), 0).unwrap();
    let in_memory = InMemory::new(&volumes, &Tensor::from_slice(data.labels())).unwrap();
    let run = |data: &dyn TrainingSet| {
        let vs = nn::VarStore::new(Device::Cpu);
        let config = CompactNetConfig { channels: vec![3], embedding_dim: 4, ..Default::default() };
        let net = compact_net(&(vs.root() / "net"), SIDE as i64, config).unwrap();
        let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 2, 4).unwrap();
        {
            let _frozen = soft_lmccl::tch::no_grad_guard();
            for mut variable in vs.trainable_variables() {
                variable.copy_(&(waves(&variable.size(), 0.7) * 0.3));
            }
        }
        let fit = FitConfig {
            epochs: 2,
            batch_size: 4,
            sampling: Sampling::Balanced { samples_per_class: 2 },
            ..Default::default()
        };
        let mut totals = Vec::new();
        let outcome = Trainer::new(fit).unwrap().run(&net, &mut loss, &vs, data, |step| {
            totals.push(step.loss.total);
            ControlFlow::Continue(())
        });
        assert_eq!(outcome.unwrap().steps, 4);
        totals
    };
    assert_eq!(run(&data), run(&in_memory));
}
