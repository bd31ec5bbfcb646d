//! The network that comes with the crate.

use soft_lmccl::{
    cect::{Batch, ClassId, Dataset, Sample, SimulatedDataset, SimulationConfig, Volume, catalogue, render},
    metrics::PairProtocol,
    model::{half_turns, prepared, pretrained},
    tch::{Device, Kind, Tensor, nn::ModuleT, no_grad_guard},
    train::embed,
};

/// Subtomograms of unknown classes at S2.
fn samples(per_class: usize) -> Vec<Sample> {
    let entries = catalogue::entries();
    let unknown = catalogue::split();
    let templates = unknown.unknown().iter().map(|class| entries[class.0 as usize].template()).collect();
    let dataset = SimulatedDataset::new(templates, SimulationConfig::s2(), per_class, 77).unwrap();
    render(&dataset, &(0..dataset.len()).collect::<Vec<_>>(), |_| {}).unwrap()
}

#[test]
fn it_tells_unseen_classes_apart_better_than_their_profiles() {
    let samples = samples(12);
    let net = pretrained(Device::Cpu).unwrap();
    let batch = Batch::of(&samples).unwrap();
    let auc = |set: soft_lmccl::metrics::EmbeddingSet| set.pair_scores(PairProtocol::All).unwrap().roc().auc();
    let learned = auc(embed(&net, batch.chunks(32, Device::Cpu)).unwrap());
    let profiles: Vec<Vec<f32>> = samples.iter().map(|sample| sample.volume.radial_profile(2.0).unwrap()).collect();
    let values = ndarray::Array2::from_shape_vec((profiles.len(), 16), profiles.concat()).unwrap();
    let labels: Vec<i64> = samples.iter().map(|sample| i64::from(sample.class.0)).collect();
    let radial = auc(soft_lmccl::metrics::EmbeddingSet::new(values.view(), &labels).unwrap());
    assert!(learned > 0.85 && learned > radial + 0.08, "{learned} {radial}");
}

/// Nothing of the six unknown classes is in it, and what it says of itself is what it takes.
#[test]
fn its_classes_are_known_or_invented() {
    let net = pretrained(Device::Cpu).unwrap();
    let split = catalogue::extended_split();
    let known: Vec<&str> = split.known().iter().map(|class| catalogue::extended()[class.0 as usize].id()).collect();
    let (invented, others): (Vec<_>, Vec<_>) = net.classes().iter().partition(|name| name.starts_with("invented-"));
    assert_eq!(others, known);
    assert!(invented.len() > 100);
    assert_eq!((net.trained().side, net.trained().voxel_size, net.trained().half_turns), (32, Some(10.0), true));
}

/// An embedding is the mean over half turns, and a batch is its volumes.
#[test]
fn embeddings_are_of_each_volume_and_of_its_half_turns() {
    let _frozen = no_grad_guard();
    let net = pretrained(Device::Cpu).unwrap();
    let volumes = Batch::of(&samples(1)).unwrap().volumes;
    let all = net.forward_t(&volumes, false);
    assert_eq!((all.size(), all.kind()), (vec![6, 128], Kind::Float));
    let one = net.forward_t(&volumes.narrow(0, 4, 1), false);
    let turned = net.forward_t(&half_turns(&volumes).unwrap()[1], false);
    let apart = |a: &Tensor, b: &Tensor| f64::try_from((a - b).abs().max()).unwrap();
    assert!(apart(&all.narrow(0, 4, 1), &one) < 1e-3, "{}", apart(&all.narrow(0, 4, 1), &one));
    assert!(apart(&all, &turned) < 1e-3, "{}", apart(&all, &turned));
}

#[test]
fn volumes_of_any_size_are_brought_to_what_it_takes() {
    let volume = |side: usize| Volume::new(side, (0..side.pow(3)).map(|v| (v * 31 % 17) as f32).collect()).unwrap();
    for (side, voxel_size) in [(32, 10.0), (32, 6.0), (64, 5.0), (20, 13.68), (9, 20.0)] {
        let seen = prepared(&volume(side), voxel_size).unwrap();
        let statistics = seen.statistics();
        assert_eq!(seen.side(), 32);
        assert!(statistics.mean.abs() < 1e-4 && (statistics.std - 1.0).abs() < 1e-4, "{side} {voxel_size}");
    }
    // Padded with the mean: the corner of a small box has what a standardized mean is.
    let padded = prepared(&volume(20), 10.0).unwrap();
    assert!(padded.get(0, 0, 0).unwrap().abs() < 1e-4 && padded.get(16, 16, 16).unwrap().abs() > 1e-3);
    // A finer box of the same particle is seen as it is seen at 10 Å.
    let sample = &samples(1)[0];
    let fine = Volume::new(
        64,
        (0..64usize.pow(3))
            .map(|v| {
                let [z, y, x] = [v / 4096, v / 64 % 64, v % 64].map(|c| c / 2);
                sample.volume.get(z, y, x).unwrap()
            })
            .collect(),
    )
    .unwrap();
    let embeddings = [prepared(&sample.volume, 10.0), prepared(&fine, 5.0)]
        .map(|volume| Sample { volume: volume.unwrap(), class: ClassId(0) });
    let set = embed(&pretrained(Device::Cpu).unwrap(), Batch::of(&embeddings).unwrap().chunks(2, Device::Cpu)).unwrap();
    assert!(set.cosine(0, 1) > 0.8, "{}", set.cosine(0, 1));
    assert!(prepared(&volume(32), 0.0).is_err());
    assert!(prepared(&Volume::new(8, vec![1.0; 512]).unwrap(), 12.0).is_err());
}
