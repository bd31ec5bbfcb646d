//! Parameters counted by hand.

use soft_lmccl::{
    model::{Architecture, NetworkConfig, Rb3dConfig},
    params::{DECAY_GROUP, NO_DECAY_GROUP},
    tch::{Device, nn},
};

use super::small;

fn parameters(config: &NetworkConfig, side: i64) -> i64 {
    let vs = nn::VarStore::new(Device::Cpu);
    config.init(&vs.root(), side).unwrap();
    vs.trainable_variables().iter().map(|variable| variable.numel() as i64).sum()
}

/// A convolution with bias.
fn conv(from: i64, to: i64, kernel: i64) -> i64 {
    from * to * kernel.pow(3) + to
}

fn linear(from: i64, to: i64) -> i64 {
    from * to + to
}

/// Linear layer and batch normalization of the embedding.
fn head(from: i64, to: i64) -> i64 {
    linear(from, to) + 2 * to
}

#[test]
fn the_authors_network_has_theirs() {
    // Stages of 223,168 + 1,991,424 + 15,043,072 + 17,696,768, then 13,824 → 1024 and its normalization.
    let expected = 223_168 + 1_991_424 + 15_043_072 + 17_696_768 + 14_156_800 + 2_048;
    assert_eq!(expected, 49_113_280);
    assert_eq!(parameters(&Architecture::Sphere20.config(), 40), expected);
}

#[test]
fn dsrf3d_has_its_layers() {
    let groups = [(1, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)];
    let expected = groups.iter().map(|&(from, to)| conv(from, to, 3)).sum::<i64>()
        + linear(16_000, 1024)
        + linear(1024, 1024)
        + head(1024, 1024);
    assert_eq!(expected, 19_344_672);
    assert_eq!(parameters(&Architecture::Dsrf3dV2.config(), 40), expected);
}

#[test]
fn cb3d_has_its_layers() {
    let groups = [(1, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 512), (512, 512)];
    let expected = groups.iter().map(|&(from, to)| conv(from, to, 3)).sum::<i64>()
        // Depth 40, 40, 20, 10, 5, 2; height and width 40, 20, 10, 5, 2, with zeros 4, 2: 2 × 2 × 2.
        + linear(512 * 8, 4096)
        + linear(4096, 4096)
        + head(4096, 1024);
    assert_eq!(expected, 65_412_480);
    assert_eq!(parameters(&Architecture::Cb3d.config(), 40), expected);
}

#[test]
fn rb3d_has_its_layers() {
    // At 40³ it takes 1 GiB, so here the side is 12 and the hidden layers are of the usual size.
    let unit = conv(32, 16, 3) + conv(32, 16, 1) + conv(16, 32, 3) + conv(32, 16, 1);
    let expected = |side: i64| {
        conv(1, 32, 3) + 4 * unit + linear(32 * (side / 2).pow(3), 1024) + linear(1024, 1024) + head(1024, 1024)
    };
    assert_eq!(parameters(&NetworkConfig::Rb3d(Rb3dConfig::default()), 12), expected(12));
    assert_eq!(expected(40), 264_362_176);
}

#[test]
fn the_compact_network_has_its_layers() {
    // Two convolutions a block without bias, batch normalization and slopes behind each; 64 · 5³ → 128.
    let layer = |from: i64, to: i64| 27 * from * to + 3 * to;
    let channels = [(1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)];
    let expected = channels.iter().map(|&(from, to)| layer(from, to)).sum::<i64>() + 64 * 125 * 128 + 2 * 128;
    assert_eq!(parameters(&Architecture::Compact.config(), 40), expected);
    assert_eq!(expected, COMPACT);
}

const COMPACT: i64 = 1_239_632;

/// Weights and slopes decay; biases and normalization layers do not.
#[test]
fn every_variable_is_in_its_group() {
    for (config, side) in small() {
        let vs = nn::VarStore::new(Device::Cpu);
        config.init(&vs.root(), side).unwrap();
        let variables = vs.variables_.lock().unwrap();
        for (name, variable) in variables.named_variables.iter().filter(|(_, v)| v.requires_grad()) {
            let trainable = variables.trainable_variables.iter().find(|t| t.tensor.data_ptr() == variable.data_ptr());
            let decays = name.ends_with("slope") || (name.ends_with("weight") && variable.dim() > 1);
            let wanted = if decays { DECAY_GROUP } else { NO_DECAY_GROUP };
            assert_eq!(trainable.unwrap().group, wanted, "{name}");
        }
    }
}
