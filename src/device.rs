//! Devices by their names, and whether they are there.

use tch::{Cuda, Device};

use crate::{Error, Result};

/// `cpu`, `cuda` (the first GPU) or `cuda:N`, if libtorch sees it: for the arguments of a program.
///
/// # Errors
/// [`Error::Config`] for another name; as [`require_device`].
///
/// # Examples
/// ```
/// use soft_lmccl::{device, tch::Device};
///
/// assert_eq!(device("cpu")?, Device::Cpu);
/// let message = device("gpu").unwrap_err().to_string();
/// assert_eq!(message, "invalid `device`: expected cpu, cuda or cuda:N, got gpu");
/// # Ok::<(), soft_lmccl::Error>(())
/// ```
pub fn device(name: &str) -> Result<Device> {
    let device = match name {
        "cpu" => Some(Device::Cpu),
        "cuda" => Some(Device::Cuda(0)),
        _ => name.strip_prefix("cuda:").and_then(|number| number.parse().ok()).map(Device::Cuda),
    };
    let device = device.ok_or_else(|| Error::config("device", "cpu, cuda or cuda:N", name))?;
    require_device(device).map(|()| device)
}

/// Refuses a GPU that libtorch does not see, in the same words wherever one can be asked for: heads, networks, batches and
/// runs ask this before they make a tensor there.
///
/// # Errors
/// [`Error::Device`].
pub fn require_device(device: Device) -> Result<()> {
    let Device::Cuda(asked) = device else { return Ok(()) };
    let found = usize::try_from(Cuda::device_count()).unwrap_or(0);
    if asked < found { Ok(()) } else { Err(Error::Device { asked, found }) }
}
