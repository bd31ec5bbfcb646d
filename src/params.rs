//! How variables enter a [`VarStore`](tch::nn::VarStore): a taken name is refused, heads and buffers
//! are at least single precision, and weight decay goes by parameter group.
//!
//! The paper's `L_reg` is weight decay on the network and on the softmax head. It leaves out the large-margin
//! prototypes (only their direction counts), the centers (no gradient) and the normalization layers. Every variable
//! therefore names its group; [`train::set_weight_decay`](crate::train::set_weight_decay) gives each group its value.

use std::ops::Range;

use tch::{Device, Kind, Tensor, nn, nn::Init};

use crate::{Error, Result, require_device};

/// The optimizer group of parameters under weight decay; `tch`'s default group.
pub const DECAY_GROUP: usize = 0;

/// The optimizer group of parameters without weight decay: prototypes, biases, normalization layers.
pub const NO_DECAY_GROUP: usize = 1;

/// Numbers of classes held elsewhere, which are drawn and forgotten.
const DRAWN_AT_A_TIME: i64 = 1 << 22;

/// Registers a trainable parameter.
pub(crate) fn trainable(path: &nn::Path<'_>, name: &str, dims: &[i64], init: Init) -> Result<Tensor> {
    require_device(path.device())?;
    let tensor = nn::f_init(init, dims, path.device(), at_least_single(path.kind()))?;
    register(path, name, tensor, true)
}

/// Registers trainable rows of the classes `held`, of `[classes, rows of a class, columns]`.
///
/// The rows have the numbers that they would have among the rows of all classes. On the CPU libtorch's generator then is
/// where it would be, so that processes of one seed that hold different classes go on alike.
pub(crate) fn rows(
    path: &nn::Path<'_>,
    name: &str,
    [classes, of_class, columns]: [i64; 3],
    held: Range<i64>,
    init: Init,
) -> Result<Tensor> {
    require_device(path.device())?;
    let (kind, device) = (at_least_single(path.kind()), path.device());
    let at_a_time = (DRAWN_AT_A_TIME / columns.max(1)).max(1);
    let pass_by = |rows: Range<i64>| -> Result<()> {
        let mut start = rows.start;
        while start < rows.end {
            let count = at_a_time.min(rows.end - start);
            let _elsewhere = nn::f_init(init, &[count, columns], device, kind)?;
            start += count;
        }
        Ok(())
    };
    pass_by(0..held.start * of_class)?;
    let drawn = nn::f_init(init, &[(held.end - held.start) * of_class, columns], device, kind)?;
    pass_by(held.end * of_class..classes * of_class)?;
    register(path, name, drawn, true)
}

/// Registers a buffer: saved with the weights, unknown to the optimizer.
pub(crate) fn buffer(path: &nn::Path<'_>, name: &str, dims: &[i64], kind: Kind) -> Result<Tensor> {
    require_device(path.device())?;
    let tensor = Tensor::f_zeros(dims, (kind, path.device()))?;
    register(path, name, tensor, false)
}

/// Registers a buffer that the host reads: beside the others' device until the store is moved as a whole.
pub(crate) fn host_buffer(path: &nn::Path<'_>, name: &str, dims: &[i64], kind: Kind) -> Result<Tensor> {
    register(path, name, Tensor::f_zeros(dims, (kind, Device::Cpu))?, false)
}

/// Registers a bias for each class, zero at first, without weight decay; `None` unless `wanted`.
pub(crate) fn bias(path: &nn::Path<'_>, wanted: bool, num_classes: i64) -> Result<Option<Tensor>> {
    let path = path.set_group(NO_DECAY_GROUP);
    wanted.then(|| trainable(&path, "bias", &[num_classes], Init::Const(0.0))).transpose()
}

/// The kind of floating buffers beside parameters of kind `kind`.
pub(crate) fn at_least_single(kind: Kind) -> Kind {
    if kind == Kind::Double { Kind::Double } else { Kind::Float }
}

/// Uniform initialization in `±√(6/(fan_in + fan_out))` (Glorot and Bengio, 2010, Eq. 16), as the
/// authors' code initializes its cosine prototypes.
pub(crate) fn glorot_uniform(fan_out: i64, fan_in: i64) -> Init {
    let bound = (6.0 / (fan_in as f64 + fan_out as f64)).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

/// Freezes what lies under `part`, such as `"net.block1"`: none of its parameters takes a gradient from now on, and the
/// batch normalization of this crate's networks keeps its running statistics there and normalizes with them.
///
/// Layers of `tch` do not know that they are frozen: [`Trainer::freeze`](crate::train::Trainer::freeze) puts their running
/// statistics back after each step.
///
/// # Errors
/// [`Error::Config`] if nothing lies under that path.
///
/// # Examples
/// ```
/// # fn main() -> soft_lmccl::Result<()> {
/// use soft_lmccl::{model::NetworkConfig, params, tch::{Device, Kind, Tensor, nn, nn::ModuleT}};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = NetworkConfig::default().init(&(vs.root() / "net"), 8)?;
/// params::freeze(&vs, "net.block1")?;
/// let mean = vs.variables()["net.block1.down.bn.running_mean"].copy();
/// let _ = net.forward_t(&Tensor::randn([4, 1, 8, 8, 8], (Kind::Float, Device::Cpu)), true);
/// assert_eq!(vs.variables()["net.block1.down.bn.running_mean"], mean);
/// # Ok(()) }
/// ```
pub fn freeze(vs: &nn::VarStore, part: &str) -> Result<()> {
    let mut found = false;
    for (name, variable) in vs.variables() {
        if is_under(&name, part) {
            found = true;
            let _ = variable.set_requires_grad(false);
        }
    }
    if found { Ok(()) } else { Err(Error::config("freeze", "a path with variables", format!("`{part}`"))) }
}

/// Whether a variable is `part` or lies under that path.
pub(crate) fn is_under(name: &str, part: &str) -> bool {
    name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn register(path: &nn::Path<'_>, name: &str, tensor: Tensor, trainable: bool) -> Result<Tensor> {
    // `Path::add` would call the newcomer `name__1` and two heads would share a checkpoint name.
    if path.get(name).is_some() {
        return Err(Error::NameTaken(path.path(name)));
    }
    Ok(path.add(name, tensor, trainable))
}
