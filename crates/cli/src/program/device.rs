//! Devices as the command line names them.

use soft_lmccl::tch::{Cuda, Device};

/// `cpu`, `cuda` or `cuda:N`, if this libtorch sees it.
///
/// # Errors
/// One sentence, for the parser of the arguments.
pub fn parse(text: &str) -> Result<Device, String> {
    let number = match text {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => 0,
        other => other
            .strip_prefix("cuda:")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| "expected cpu, cuda or cuda:N".to_owned())?,
    };
    let found = usize::try_from(Cuda::device_count()).unwrap_or(0);
    if number < found {
        return Ok(Device::Cuda(number));
    }
    Err(format!("this libtorch sees {found} CUDA devices; `cargo xtask doctor` tells which libtorch is in use"))
}
