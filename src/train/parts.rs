//! Parts of a checkpoint: the network, a head, the rows of some classes.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use tch::{Tensor, nn};

use super::{
    Origin, Weights,
    archive::{Archive, tensor_like},
    header::{Header, header},
    origin::compare_parts,
    weights::apply,
};
use crate::{Result, loss::Loss, params::is_under};

/// Reads one part of a store, such as a network without the heads that it was trained with, from any safetensors file.
///
/// What file and `vs` hold under the path `part` must match one to one in name, shape and kind. What lies elsewhere is left
/// alone, so that a trained network can embed, or go on with new heads on other classes. [`load_head`] and [`load_network`]
/// also compare which loss or network the part is of; here a [notice](crate::on_notice) says that nothing was compared.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io); [`Error::Checkpoint`](crate::Error::Checkpoint) listing every difference, or if `vs` has no variable under that path, with `vs`
/// unchanged.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{loss::SoftLmcclConfig, model::NetworkConfig, train::checkpoint, tch::{Device, nn}};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Recipe { network: NetworkConfig, side: i64 }
///
/// # let path = std::env::temp_dir().join(format!("soft-lmccl-part-{}.safetensors", std::process::id()));
/// // A network for 17 classes, with its heads and centers.
/// let vs = nn::VarStore::new(Device::Cpu);
/// let config = Recipe { network: NetworkConfig::default().with_embedding_dim(16), side: 8 };
/// let _net = config.network.init(&(vs.root() / "net"), config.side)?;
/// let _loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 17, 16)?;
/// let classes = (0..17).map(|class| class.to_string()).collect();
/// checkpoint::save(&path, &vs, &checkpoint::Meta { config, classes })?;
///
/// // The same network for two other classes.
/// let Recipe { network, side } = checkpoint::describe(&path)?.config;
/// let mut other = nn::VarStore::new(Device::Cpu);
/// let _net = network.init(&(other.root() / "net"), side)?;
/// let _loss = SoftLmcclConfig::default().init(&(other.root() / "loss"), 2, 16)?;
/// checkpoint::load_part(&path, &mut other, "net")?;
/// assert_eq!(other.variables()["net.fc.weight"], vs.variables()["net.fc.weight"]);
/// # std::fs::remove_file(&path).ok();
/// # Ok(()) }
/// ```
pub fn load_part(path: impl AsRef<Path>, vs: &mut nn::VarStore, part: &str) -> Result<()> {
    Weights::of(path.as_ref()).part(part).load(vs)
}

/// As [`load_part`], for the variables of `loss` under the path `part`: refuses rows of another loss, or rows that mean
/// something else, such as centers of embeddings of another length.
///
/// A file that does not say which loss it is of, such as PyTorch's or one of an earlier version, is read all the same, and
/// a [notice](crate::on_notice) says so.
///
/// # Errors
/// As [`load_part`].
///
/// # Examples
/// See [`save_of`](super::checkpoint::save_of).
pub fn load_head(path: impl AsRef<Path>, vs: &mut nn::VarStore, part: &str, loss: &(impl Loss + ?Sized)) -> Result<()> {
    Weights::of(path.as_ref()).part(part).expect(Origin::default().loss(loss)).load(vs)
}

/// As [`load_part`], for the network that `network` makes, such as a [`NetworkConfig`](crate::model::NetworkConfig): refuses
/// weights of one that was made otherwise.
///
/// A file that does not say how its network is made is read all the same, and a [notice](crate::on_notice) says so.
///
/// # Errors
/// As [`load_part`]; [`Error::Config`](crate::Error::Config) if `network` cannot be written as JSON.
///
/// # Examples
/// See [`save_of`](super::checkpoint::save_of).
pub fn load_network(path: impl AsRef<Path>, vs: &mut nn::VarStore, part: &str, network: &impl Serialize) -> Result<()> {
    Weights::of(path.as_ref()).part(part).expect(Origin::default().network(network)?).load(vs)
}

/// Takes over the rows of classes that the store has too, from a file of other classes: prototypes, biases and centers go
/// to the classes of their names, classes that the file does not have keep their first rows.
///
/// `classes` are those of the store, in the order of their labels. Variables under `part` whose rows are not classes
/// must be of the same shape. How many classes were found.
///
/// # Errors
/// As [`load_head`]; [`Error::Checkpoint`](crate::Error::Checkpoint) if the file and the store have no class in common.
///
/// # Examples
/// See [`save_of`](super::checkpoint::save_of).
pub fn load_classes(
    path: impl AsRef<Path>,
    vs: &mut nn::VarStore,
    part: &str,
    loss: &(impl Loss + ?Sized),
    classes: &[String],
) -> Result<usize> {
    let archive = Archive::read(path.as_ref())?;
    let header: Header<Value> = header(&archive)?;
    archive.refuse(&compare_parts(&header.origin, &Origin::default().loss(loss), &archive))?;
    let rows: Vec<(i64, i64)> = classes
        .iter()
        .zip(0..)
        .filter_map(|(class, to)| {
            header.classes.iter().zip(0..).find(|(known, _)| *known == class).map(|(_, from)| (from, to))
        })
        .collect();
    if rows.is_empty() {
        let problem = format!("its classes {:?} have none of {classes:?}", header.classes);
        return archive.refuse(&[problem]).map(|()| 0);
    }
    let (from, to): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
    let (from, to) = (Tensor::f_from_slice(&from)?, Tensor::f_from_slice(&to)?);
    let file = archive.tensors()?;
    let (mut values, mut problems) = (Vec::new(), Vec::new());
    for (name, variable) in vs.variables().into_iter().filter(|(name, _)| is_under(name, part)) {
        let size = variable.size();
        let mut stored_size = size.clone();
        if size.first() == Some(&(classes.len() as i64)) {
            stored_size[0] = header.classes.len() as i64;
        }
        match tensor_like(&file, &name, variable.kind(), &stored_size)? {
            Err(problem) => problems.push(problem),
            Ok(stored) if stored_size == size && header.classes == classes => values.push((variable, stored)),
            Ok(stored) if size.first() == Some(&(classes.len() as i64)) => {
                let rows = stored.f_index_select(0, &from)?.f_to_device(variable.device())?;
                let kept = variable.detach().f_index_copy(0, &to.f_to_device(variable.device())?, &rows)?;
                values.push((variable, kept));
            }
            Ok(stored) => values.push((variable, stored)),
        }
    }
    if values.is_empty() && problems.is_empty() {
        problems.push(format!("the store has nothing under `{part}`"));
    }
    archive.refuse(&problems)?;
    apply(values)?;
    Ok(rows.len())
}
