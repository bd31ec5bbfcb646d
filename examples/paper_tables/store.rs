//! Finished runs on disk: one file each, whole or not there, never of two kinds in one study.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use soft_lmccl::{Error, Result};

use crate::{plan::Run, program::whole::Written, settings::Settings, train::Record};

/// The directory of a study.
#[derive(Debug, Clone)]
pub struct Store {
    runs: PathBuf,
    unfinished: PathBuf,
    /// Where trained networks are kept, if they are.
    networks: Option<PathBuf>,
    settings: Settings,
}

impl Store {
    /// Makes the directories of `out` if they are not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(out: &Path, settings: &Settings, keep_networks: bool) -> Result<Self> {
        let [runs, unfinished, networks] = ["runs", "unfinished", "networks"].map(|name| out.join(name));
        make_dir(&runs)?;
        make_dir(&unfinished)?;
        if keep_networks {
            make_dir(&networks)?;
        }
        Ok(Self { runs, unfinished, networks: keep_networks.then_some(networks), settings: settings.clone() })
    }

    /// Where a run keeps its checkpoint and its log until it is finished.
    pub fn sitting(&self, run: &Run) -> Sitting {
        let path = |directory: &Path, extension| directory.join(format!("{}.{extension}", run.id()));
        Sitting {
            checkpoint: path(&self.unfinished, "safetensors"),
            log: path(&self.unfinished, "csv"),
            network: self.networks.as_deref().map(|networks| path(networks, "safetensors")),
        }
    }

    /// Whether networks are to be kept and that of this run is not there.
    pub fn lacks_network(&self, run: &Run) -> bool {
        self.sitting(run).network.is_some_and(|path| !path.exists())
    }

    fn path(&self, run: &Run) -> PathBuf {
        self.runs.join(format!("{}.json", run.id()))
    }

    /// The record of a run, if it has been made.
    ///
    /// # Errors
    /// [`Error::Format`] if the file is not a record, or was made with other settings.
    pub fn load(&self, run: &Run) -> Result<Option<Record>> {
        let path = self.path(run);
        if !path.exists() {
            return Ok(None);
        }
        let record = self.read(&path)?;
        self.refuse_others(&path, &record, run)?;
        Ok(Some(record))
    }

    /// Every record there is, in the order of their names.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn all(&self) -> Result<Vec<Record>> {
        let failed = |source| Error::Io { action: "read", path: self.runs.clone(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.runs).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                paths.push(path);
            }
        }
        paths.sort();
        paths
            .iter()
            .map(|path| {
                let record = self.read(path)?;
                self.refuse_others(path, &record, &record.run)?;
                Ok(record)
            })
            .collect()
    }

    /// # Errors
    /// [`Error::Io`]; the run is then as if it had not been made.
    pub fn save(&self, record: &Record) -> Result<()> {
        Written::beside(&self.path(&record.run), &to_json(record))?.place()?;
        self.sitting(&record.run).remove()
    }

    fn read(&self, path: &Path) -> Result<Record> {
        let bytes = fs::read(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Format {
            path: path.to_owned(),
            problem: format!("not the record of a run ({error}); remove it to have the run made again"),
        })
    }

    fn refuse_others(&self, path: &Path, record: &Record, run: &Run) -> Result<()> {
        let expected = self.settings.fingerprint(run);
        if record.fingerprint == expected {
            return Ok(());
        }
        Err(Error::Format {
            path: path.to_owned(),
            problem: format!(
                "made with other settings (fingerprint {}, this study has {expected}); results of both in one table \
                 would mean nothing: name another --out, or remove the file to have the run made again",
                record.fingerprint
            ),
        })
    }
}

/// What a run that is not finished leaves, to go on from, and what is kept of one that is.
#[derive(Debug, Clone)]
pub struct Sitting {
    pub checkpoint: PathBuf,
    pub log: PathBuf,
    pub network: Option<PathBuf>,
}

impl Sitting {
    fn remove(&self) -> Result<()> {
        for path in [&self.checkpoint, &self.log] {
            match fs::remove_file(path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(Error::Io { action: "remove", path: path.clone(), source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// # Errors
/// [`Error::Io`].
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| Error::Io { action: "create", path: path.to_owned(), source })
}

/// JSON of plain data, with a newline at its end.
pub fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec(value).expect("records are plain data with string keys");
    json.push(b'\n');
    json
}
