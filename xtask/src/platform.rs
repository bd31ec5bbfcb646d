//! Which wheels hold libtorch for this kind of machine, and which of their files are needed.

use std::env::consts::{ARCH, OS};

use anyhow::{Result, bail};

/// A kind of machine for which a CPU build of libtorch can be cut out of Python wheels.
///
/// The lists of libraries are what `libtorch_cpu` of each wheel is linked to (its `NEEDED` entries,
/// followed to the end). All that is CUDA stays out, because `torch-sys` links CUDA as soon as it
/// sees `libtorch_cuda.so`; two small CUDA libraries have to stay, since the Linux builds of
/// `libtorch_cpu.so` call them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// As used in the name of the cached folder.
    pub name: &'static str,
    /// Platform tags of the wheels, as pip wants them.
    pub tags: &'static [&'static str],
    /// Wheels needed beside that of torch.
    pub companions: &'static [&'static str],
    /// Files of `torch/lib` to keep.
    pub torch: &'static [&'static str],
    /// Files of `nvidia/cu13/lib` to keep.
    pub cuda: &'static [&'static str],
    /// A link to make, name and target: the wheel's own `libtorch.so` would pull in CUDA.
    pub alias: Option<(&'static str, &'static str)>,
}

const COMPANIONS: &[&str] = &["nvidia-cuda-runtime==13.0.*", "nvidia-cuda-cupti==13.0.*"];
const CUDA: &[&str] = &["libcudart.so.13", "libcupti.so.13"];
const ALIAS: Option<(&str, &str)> = Some(("libtorch.so", "libtorch_cpu.so"));

const LINUX_X86_64: Platform = Platform {
    name: "linux-x86_64",
    tags: &[
        "manylinux_2_28_x86_64",
        "manylinux_2_27_x86_64",
        "manylinux_2_26_x86_64",
        "manylinux_2_25_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
    ],
    companions: COMPANIONS,
    torch: &["libtorch_cpu.so", "libc10.so", "libgomp.so.1"],
    cuda: CUDA,
    alias: ALIAS,
};

const LINUX_AARCH64: Platform = Platform {
    name: "linux-aarch64",
    tags: &[
        "manylinux_2_28_aarch64",
        "manylinux_2_27_aarch64",
        "manylinux_2_26_aarch64",
        "manylinux_2_25_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
    ],
    companions: COMPANIONS,
    torch: &[
        "libtorch_cpu.so",
        "libc10.so",
        "libgomp.so.1",
        "libarm_compute.so",
        "libarm_compute_graph.so",
        "libnvpl_blas_core.so.0",
        "libnvpl_blas_lp64_gomp.so.0",
        "libnvpl_lapack_core.so.0",
        "libnvpl_lapack_lp64_gomp.so.0",
    ],
    cuda: CUDA,
    alias: ALIAS,
};

const MACOS_ARM64: Platform = Platform {
    name: "macos-arm64",
    tags: &["macosx_11_0_arm64"],
    companions: &[],
    torch: &["libtorch.dylib", "libtorch_cpu.dylib", "libc10.dylib", "libomp.dylib"],
    cuda: &[],
    alias: None,
};

impl Platform {
    /// The machine that this program was built for.
    ///
    /// # Errors
    /// As [`Platform::of`].
    pub fn host() -> Result<Self> {
        Self::of(OS, ARCH, cfg!(target_env = "musl"))
    }

    /// # Errors
    /// If there is no wheel for such a machine.
    pub fn of(os: &str, arch: &str, musl: bool) -> Result<Self> {
        match (os, arch, musl) {
            ("linux", "x86_64", false) => Ok(LINUX_X86_64),
            ("linux", "aarch64", false) => Ok(LINUX_AARCH64),
            ("macos", "aarch64", _) => Ok(MACOS_ARM64),
            _ => bail!(
                "there is no ready-made libtorch for {os} on {arch}{}: unpack or build \
                 one by hand and set LIBTORCH to its folder (the one with `include` and `lib`)",
                if musl { " with musl" } else { "" }
            ),
        }
    }

    /// Where an entry of a wheel goes in the libtorch folder; `None` if it is not needed.
    pub fn place(&self, entry: &str) -> Option<String> {
        if entry.ends_with('/') {
            return None;
        }
        if let Some(header) = entry.strip_prefix("torch/include/") {
            return Some(format!("include/{header}"));
        }
        let library = |folder: &str, wanted: &[&str]| {
            let name = entry.strip_prefix(folder)?;
            wanted.contains(&name).then(|| format!("lib/{name}"))
        };
        library("torch/lib/", self.torch).or_else(|| library("nvidia/cu13/lib/", self.cuda))
    }

    /// Every library that must be there in the end, in the libtorch folder.
    pub fn libraries(&self) -> impl Iterator<Item = String> {
        self.torch.iter().chain(self.cuda).map(|name| format!("lib/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines() {
        assert_eq!(Platform::of("linux", "x86_64", false).unwrap().name, "linux-x86_64");
        assert_eq!(Platform::of("linux", "aarch64", false).unwrap().name, "linux-aarch64");
        assert_eq!(Platform::of("macos", "aarch64", false).unwrap().name, "macos-arm64");
        for (os, arch, musl) in [("macos", "x86_64", false), ("windows", "x86_64", false), ("linux", "x86_64", true)] {
            let error = Platform::of(os, arch, musl).unwrap_err().to_string();
            assert!(error.contains(os) && error.contains("set LIBTORCH"), "{error}");
        }
    }

    #[test]
    fn what_is_kept_of_a_wheel() {
        let cases = [
            ("torch/include/torch/torch.h", Some("include/torch/torch.h")),
            ("torch/include/ATen/core/", None),
            ("torch/lib/libtorch_cpu.so", Some("lib/libtorch_cpu.so")),
            ("torch/lib/libgomp.so.1", Some("lib/libgomp.so.1")),
            ("torch/lib/libtorch.so", None),
            ("torch/lib/libtorch_cuda.so", None),
            ("torch/lib/sub/libc10.so", None),
            ("torch/version.py", None),
            ("nvidia/cu13/lib/libcudart.so.13", Some("lib/libcudart.so.13")),
            ("nvidia/cu13/lib/libnvperf_host.so", None),
            ("other/torch/lib/libc10.so", None),
        ];
        for (entry, expected) in cases {
            assert_eq!(LINUX_X86_64.place(entry).as_deref(), expected, "{entry}");
        }
        assert_eq!(MACOS_ARM64.place("nvidia/cu13/lib/libcudart.so.13"), None);
        let torch = MACOS_ARM64.place("torch/lib/libtorch.dylib");
        assert_eq!(torch.as_deref(), Some("lib/libtorch.dylib"));
    }
}
