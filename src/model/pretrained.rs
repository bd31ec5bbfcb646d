//! The network that comes with the crate.

use tch::{Device, Tensor, nn, nn::ModuleT};

use super::{Embedder, Trained};
#[cfg(doc)]
use crate::Error;
use crate::{Result, train::checkpoint};

/// As `soft-lmccl pretrain` wrote it: half precision, the network alone.
const BYTES: &[u8] = include_bytes!("pretrained.safetensors");

/// A trained network: embeddings of subtomograms without training.
///
/// # Shapes
/// `[B, 1, 32, 32, 32]`, 10 Å a voxel, protein dark, each of zero mean and unit variance → `[B, 128]`.
#[derive(Debug)]
pub struct Pretrained {
    trained: Trained,
    classes: Vec<String>,
    net: Embedder,
    /// Holds what the network reads.
    _vs: nn::VarStore,
}

impl Pretrained {
    /// How the network is made, and what it wants to see.
    pub fn trained(&self) -> &Trained {
        &self.trained
    }

    /// The classes that it was trained on: the known ones of the catalogue, and invented ones.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }
}

impl ModuleT for Pretrained {
    /// # Panics
    /// With the sizes, unless `volumes` is `[B, 1, 32, 32, 32]`.
    fn forward_t(&self, volumes: &Tensor, train: bool) -> Tensor {
        self.net.forward_t(volumes, train)
    }
}

/// The network that comes with the crate, on `device`: trained by Soft LMCCL on simulated subtomograms of known and invented
/// particles, under noise and optics drawn at random. `docs/pretrained.md` says what it was tested on and what it is not
/// for; `soft-lmccl pretrain` trains it again.
///
/// Volumes of other sizes and voxels are brought to it by [`prepared`].
///
/// # Errors
/// [`Error::Torch`] for a device that libtorch does not have.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{model::pretrained, train::embed, tch::{Device, Kind, Tensor}};
///
/// let net = pretrained(Device::Cpu)?;
/// assert_eq!((net.trained().side, net.trained().voxel_size), (32, Some(10.0)));
/// let volumes = Tensor::randn([2, 1, 32, 32, 32], (Kind::Float, Device::Cpu));
/// let set = embed(&net, [Ok((volumes, Tensor::from_slice(&[0i64, 1])))])?;
/// assert_eq!((set.len(), set.dim()), (2, 128));
/// # Ok(()) }
/// ```
pub fn pretrained(device: Device) -> Result<Pretrained> {
    let mut vs = nn::VarStore::new(device);
    let make = |trained: &Trained, vs: &nn::VarStore| trained.init(vs);
    let (net, meta) = checkpoint::embedded("the network of the crate", BYTES, &mut vs, Trained::PATH, make)?;
    let checkpoint::Meta { config: trained, classes } = meta;
    vs.freeze();
    Ok(Pretrained { trained, classes, net, _vs: vs })
}

/// A volume as [`pretrained`] wants to see it: resampled to its voxels, cropped or padded with the mean to its side around
/// the center, standardized. `voxel_size` is that of `volume`, in Å; protein has to be dark.
///
/// # Errors
/// [`Error::Cect`] for a voxel size that is not positive, and for a volume without contrast.
///
/// # Examples
/// ```
/// use soft_lmccl::{cect::Volume, model::prepared};
///
/// let volume = Volume::new(40, (0..64_000).map(|voxel| (voxel % 97) as f32).collect())?;
/// let seen = prepared(&volume, 13.68)?;
/// assert_eq!(seen.side(), 32);
/// assert!((seen.statistics().std - 1.0).abs() < 1e-4);
/// # Ok::<(), soft_lmccl::Error>(())
/// ```
#[cfg(feature = "cect")]
pub fn prepared(volume: &crate::cect::Volume, voxel_size: f64) -> Result<crate::cect::Volume> {
    use crate::cect::{Map, extract};
    /// Those of the network that comes with the crate.
    const SIDE: usize = 32;
    const VOXEL_SIZE: f64 = 10.0;
    if (voxel_size - VOXEL_SIZE).abs() < 1e-6 && volume.side() == SIDE {
        return Ok(volume.standardized()?);
    }
    let center = [(volume.side() / 2) as f64; 3];
    let found = extract(&Map::from_volume(volume, voxel_size), center, SIDE, VOXEL_SIZE)?;
    Ok(found.volume.standardized()?)
}
