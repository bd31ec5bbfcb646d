//! The mean over half turns.

use soft_lmccl::{
    cect::{HalfTurn, Volume},
    model::{HalfTurnMean, half_turns},
    tch::{Device, Kind, Tensor, nn, nn::ModuleT},
};

/// Asymmetric volumes.
fn volume(side: usize) -> (Volume, Tensor) {
    let voxels: Vec<f32> = (0..side * side * side).map(|voxel| (voxel * voxel % 37) as f32).collect();
    let tensor = Tensor::from_slice(&voxels).view([1, 1, side as i64, side as i64, side as i64]);
    (Volume::new(side, voxels).unwrap(), tensor)
}

#[test]
fn tensors_turn_as_volumes_do() {
    for side in [4, 5] {
        let (volume, tensor) = volume(side);
        let turned = half_turns(&tensor).unwrap();
        assert_eq!(turned.len(), 3);
        for (turned, half_turn) in turned.iter().zip([HalfTurn::X, HalfTurn::Y, HalfTurn::Z]) {
            let turned = Vec::<f32>::try_from(turned.flatten(0, -1)).unwrap();
            assert_eq!(turned, half_turn.of(&volume).voxels(), "{half_turn:?}");
        }
    }
}

/// The first eight voxels, times three in training.
#[derive(Debug)]
struct FirstVoxels;

impl ModuleT for FirstVoxels {
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        let first = volumes.flatten(1, -1).narrow(1, 0, 8);
        if train { first * 3.0 } else { first }
    }
}

#[test]
fn the_embedding_is_the_mean_of_four_and_in_training_that_of_the_volume() {
    let (volume, tensor) = volume(4);
    let both = Tensor::cat(&[&tensor, &(&tensor * 2.0)], 0);
    let net = HalfTurnMean(FirstVoxels);
    let mean: Vec<f32> = (0..8)
        .map(|voxel| HalfTurn::ALL.iter().map(|turn| turn.of(&volume).voxels()[voxel]).sum::<f32>() / 4.0)
        .collect();
    let embeddings = net.forward_t(&both, false);
    assert_eq!(Vec::<f32>::try_from(embeddings.get(0)).unwrap(), mean);
    assert_eq!(embeddings.get(1), embeddings.get(0) * 2.0);
    assert_eq!(net.forward_t(&both, true), FirstVoxels.forward_t(&both, true));
}

/// A sum in place would overwrite what the network's last layer keeps for its gradient.
#[test]
fn gradients_pass_through_the_mean() {
    let vs = nn::VarStore::new(Device::Cpu);
    let fc = nn::linear(vs.root(), 27, 3, Default::default());
    #[derive(Debug)]
    struct Squashed(nn::Linear);
    impl ModuleT for Squashed {
        fn forward_t(&self, volumes: &Tensor, _: bool) -> Tensor {
            volumes.flatten(1, -1).apply(&self.0).sigmoid()
        }
    }
    let (_, tensor) = volume(3);
    HalfTurnMean(Squashed(fc)).forward_t(&(tensor / 37.0), false).sum(Kind::Float).backward();
    let gradients =
        vs.trainable_variables().iter().map(|v| v.grad().abs().sum(Kind::Float).double_value(&[])).sum::<f64>();
    assert!(gradients > 0.0);
}

#[test]
fn what_are_no_cubes_is_refused() {
    for shape in [vec![2, 1, 4, 4], vec![2, 2, 4, 4, 4], vec![2, 1, 4, 4, 5], vec![2, 1, 5, 4, 4]] {
        let volumes = Tensor::zeros(shape.as_slice(), (Kind::Float, Device::Cpu));
        let message = half_turns(&volumes).unwrap_err().to_string();
        assert_eq!(message, format!("volumes: expected [B, 1, S, S, S], got {shape:?}"));
    }
    let message = half_turns(&Tensor::new()).unwrap_err().to_string();
    assert_eq!(message, "volumes: expected values, got an undefined tensor");
}
