//! The mean over the turns that keep a missing wedge.

use tch::{Tensor, nn::ModuleT};

use crate::{Error, Result, error::require_defined};

/// The axes of `[B, 1, z, y, x]` that half turns about x, y and z flip.
const AXES: [[i64; 2]; 3] = [[2, 3], [2, 4], [3, 4]];

/// A network that embeds a subtomogram as the mean over its four half turns.
///
/// A half turn about a coordinate axis maps the missing wedge of a single tilt axis onto itself: the microscope could
/// have recorded all four. In training (`train = true`) only the volume itself goes through the network, so that the
/// network can be wrapped from the start.
///
/// # Formula
/// ```text
/// f̄(x) = ¼ · Σ f(h·x),  h in {1, half turns about x, y, z}
/// ```
///
/// # Shapes
/// `[B, 1, S, S, S]` → `[B, D]`, four times the work of the network inside.
///
/// # Panics
/// In `forward_t` for evaluation, unless the volumes are `[B, 1, S, S, S]`.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{model::{HalfTurnMean, NetworkConfig, half_turns}, train::embed};
/// use soft_lmccl::tch::{Device, Kind, Tensor, nn};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = HalfTurnMean(NetworkConfig::default().with_embedding_dim(16).init(&(vs.root() / "net"), 8)?);
/// let volume = Tensor::randn([1, 1, 8, 8, 8], (Kind::Float, Device::Cpu));
/// let turned = half_turns(&volume)?.swap_remove(2);
///
/// // A turned subtomogram has the same embedding.
/// let set = embed(&net, [Ok((Tensor::cat(&[volume, turned], 0), Tensor::from_slice(&[0i64, 0])))])?;
/// let [a, b] = [set.row(0), set.row(1)];
/// assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct HalfTurnMean<N>(pub N);

impl<N: ModuleT> ModuleT for HalfTurnMean<N> {
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        let Self(net) = self;
        let embeddings = net.forward_t(volumes, train);
        if train {
            return embeddings;
        }
        let turned = half_turns(volumes).expect("volumes are [B, 1, S, S, S]");
        let count = 1 + turned.len();
        turned.iter().fold(embeddings, |sum, volumes| sum + net.forward_t(volumes, false)) / count as f64
    }
}

/// Turns volumes by half turns about x, y and z through their centers, index `S / 2`. In an even box the first plane
/// has no counterpart: it stays where it is, as for a Fourier transform.
///
/// # Shapes
/// `[B, 1, S, S, S]` → three of `[B, 1, S, S, S]`, of any kind and on any device.
///
/// # Errors
/// [`Error::Tensor`] unless the volumes are cubes of that shape.
///
/// # Examples
/// See [`HalfTurnMean`].
pub fn half_turns(volumes: &Tensor) -> Result<Vec<Tensor>> {
    require_defined("volumes", volumes)?;
    let &[_, 1, side, y, x] = volumes.size().as_slice() else { return Err(no_cubes(volumes)) };
    if side != y || side != x {
        return Err(no_cubes(volumes));
    }
    AXES.iter()
        .map(|axes| {
            let flipped = volumes.f_flip(axes)?;
            Ok(if side % 2 == 0 { flipped.f_roll([1, 1], axes)? } else { flipped })
        })
        .collect()
}

fn no_cubes(volumes: &Tensor) -> Error {
    Error::Tensor { what: "volumes", expected: "[B, 1, S, S, S]".into(), got: format!("{:?}", volumes.size()) }
}
