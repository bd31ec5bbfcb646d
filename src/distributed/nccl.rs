//! What NCCL's part of `c10d.cpp` needs where the crate is built. Of the build script, and tested as a part of the crate.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Of a libtorch with CUDA.
pub(super) const LIBRARY: &str = "libtorch_cuda.so";

/// Folders of headers, by the variables that name them.
pub(super) const VARIABLES: [&str; 3] = ["NCCL_INCLUDE_DIR", "CUDA_HOME", "CUDA_PATH"];

/// What libtorch's headers for NCCL include, and those include in turn: one file of each package of CUDA that has a part.
const HEADERS: [&str; 8] = [
    "nccl.h",
    "cuda_runtime_api.h",
    "crt/host_config.h",
    "nv/target",
    "cublas_v2.h",
    "cublasLt.h",
    "cusparse.h",
    "cusolverDn.h",
];

/// The folders that have the headers: those that variables name, libtorch's own, those of the packages that PyTorch's
/// wheels bring along, and the system's. Or the first file that is missing.
pub(super) fn folders(
    include: &Path,
    lib: Option<&Path>,
    variable: impl Fn(&str) -> Option<PathBuf>,
) -> Result<Vec<PathBuf>, &'static str> {
    if !lib.is_some_and(|lib| lib.join(LIBRARY).exists()) {
        return Err(LIBRARY);
    }
    let [nccl, home, path] = VARIABLES.map(variable);
    let cuda = [home, path].into_iter().flatten().map(|toolkit| toolkit.join("include"));
    let packages = fs::read_dir(include.join("../../nvidia")).into_iter().flatten().flatten();
    let mut packages: Vec<_> = packages.map(|package| package.path().join("include")).collect();
    packages.sort_unstable();
    let system = ["/usr/local/cuda/include", "/usr/local/include", "/usr/include"].map(PathBuf::from);
    let places: Vec<_> =
        nccl.into_iter().chain(cuda).chain([include.to_owned()]).chain(packages).chain(system).collect();
    let mut found = Vec::new();
    for header in HEADERS {
        let place = places.iter().find(|place| place.join(header).exists()).ok_or(header)?;
        if !found.contains(place) {
            found.push(place.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use tempfile::TempDir;

    use super::{HEADERS, LIBRARY, folders};

    fn put(folder: &Path, file: &str) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn headers_are_found_in_packages_and_toolkits_and_the_missing_one_is_named() {
        let site = TempDir::new().unwrap();
        let (include, lib) = (site.path().join("torch/include"), site.path().join("torch/lib"));
        let (nccl, toolkit) = (site.path().join("nvidia/nccl/include"), site.path().join("toolkit"));
        fs::create_dir_all(&include).unwrap();
        let found = |with_toolkit: bool| {
            let variable = |name: &str| (with_toolkit && name == "CUDA_HOME").then(|| toolkit.clone());
            folders(&include, Some(&lib), variable)
                .map(|found| found.into_iter().map(|folder| fs::canonicalize(folder).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(found(false), Err(LIBRARY));
        put(&lib, LIBRARY);
        if !Path::new("/usr/include/nccl.h").exists() {
            assert_eq!(found(false), Err("nccl.h"));
        }
        put(&nccl, "nccl.h");
        if !Path::new("/usr/local/cuda").exists() && !Path::new("/usr/include/cuda.h").exists() {
            assert_eq!(found(false), Err("cuda_runtime_api.h"));
        }
        HEADERS[1..].iter().for_each(|header| put(&toolkit.join("include"), header));
        let [nccl, toolkit] = [&nccl, &toolkit.join("include")].map(|folder| fs::canonicalize(folder).unwrap());
        assert_eq!(found(true), Ok(vec![nccl, toolkit]));
        assert_eq!(folders(&include, None, |_| None), Err(LIBRARY), "where torch-sys names no folder");
    }
}
