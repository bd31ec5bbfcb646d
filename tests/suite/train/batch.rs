//! From samples to tensors.

use soft_lmccl::{
    cect::{Batch, ClassId, OpenSetSplit, Sample, Volume},
    tch::{Device, Kind, Tensor},
};

fn sample(side: usize, class: u32, first: f32) -> Sample {
    let voxels = (0..side.pow(3)).map(|voxel| first + voxel as f32).collect();
    Sample { volume: Volume::new(side, voxels).unwrap(), class: ClassId(class) }
}

/// Classes 4 and 2 are known, in this order; 7 and 5 are not.
fn split() -> OpenSetSplit {
    OpenSetSplit::new(vec![ClassId(4), ClassId(2)], vec![ClassId(7), ClassId(5)]).unwrap()
}

#[test]
fn samples_become_standardized_volumes_with_labels_in_the_order_of_the_split() {
    let batch = Batch::known(&[sample(2, 2, 0.0), sample(2, 4, 9.0), sample(2, 2, -5.0)], &split()).unwrap();
    assert_eq!((batch.len(), batch.is_empty(), batch.volumes.size()), (3, false, vec![3, 1, 2, 2, 2]));
    assert_eq!(Vec::<i64>::try_from(&batch.labels).unwrap(), [1, 0, 1]);
    let moments = batch.volumes.flatten(1, -1);
    let mean = moments.mean_dim([1i64].as_slice(), false, Kind::Float);
    let variance = moments.var_dim([1i64].as_slice(), false, false);
    assert!(mean.abs().max().double_value(&[]) < 1e-6 && (variance - 1.0).abs().max().double_value(&[]) < 1e-5);
    assert!(batch.volumes.get(0).allclose(&batch.volumes.get(1), 1e-5, 1e-6, false), "an offset is taken away");
    let unknown = Batch::unknown(&[sample(2, 5, 0.0), sample(2, 7, 0.0)], &split()).unwrap();
    assert_eq!(Vec::<i64>::try_from(&unknown.labels).unwrap(), [1, 0]);
    // Without a split, of any class.
    let all = Batch::of(&[sample(2, 2, 0.0), sample(2, 9, 9.0)]).unwrap();
    assert_eq!(Vec::<i64>::try_from(&all.labels).unwrap(), [2, 9]);
    assert_eq!(all.volumes.get(0), batch.volumes.get(0));
}

#[test]
fn pieces_hold_every_sample_once() {
    let samples: Vec<_> = (0..5).map(|index| sample(2, 4 - 2 * (index % 2), index as f32 * 3.0)).collect();
    let batch = Batch::known(&samples, &split()).unwrap();
    for (size, lengths) in [(2, vec![2, 2, 1]), (5, vec![5]), (9, vec![5]), (0, vec![1; 5])] {
        let pieces: Vec<_> = batch.chunks(size, Device::Cpu).map(Result::unwrap).collect();
        assert_eq!(pieces.iter().map(|(volumes, _)| volumes.size()[0]).collect::<Vec<_>>(), lengths);
        let (volumes, labels): (Vec<Tensor>, Vec<Tensor>) = pieces.into_iter().unzip();
        assert_eq!(Tensor::cat(&volumes, 0), batch.volumes);
        assert_eq!(Tensor::cat(&labels, 0), batch.labels);
    }
}

#[test]
fn pieces_on_a_gpu_that_is_not_there_are_refused() {
    let batch = Batch::of(&[sample(2, 2, 0.0)]).unwrap();
    let absent = usize::try_from(soft_lmccl::tch::Cuda::device_count()).unwrap();
    let refused = batch.chunks(2, Device::Cuda(absent)).next().unwrap().unwrap_err().to_string();
    assert!(refused.starts_with(&format!("CUDA device {absent} is asked for, but libtorch sees")), "{refused}");
}

#[test]
fn what_is_no_batch_is_refused() {
    let flat = Sample { volume: Volume::new(2, vec![3.0; 8]).unwrap(), class: ClassId(4) };
    let refused = |samples: &[Sample]| Batch::known(samples, &split()).unwrap_err().to_string();
    assert_eq!(refused(&[]), "samples: expected at least one, got none");
    assert_eq!(refused(&[sample(2, 4, 0.0), sample(3, 4, 0.0)]), "samples: expected volumes of side 2, got side 3");
    assert_eq!(refused(&[sample(2, 7, 0.0)]), "samples: expected samples of known classes, got one of class 7");
    let error = Batch::unknown(&[sample(2, 4, 0.0)], &split()).unwrap_err().to_string();
    assert_eq!(error, "samples: expected samples of unknown classes, got one of class 4");
    assert!(Batch::known(std::slice::from_ref(&flat), &split()).is_err());
    assert!(Batch::of(&[flat]).is_err());
}
