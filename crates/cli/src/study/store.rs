//! Finished runs on disk: one file each, whole or not there, never of two kinds in one study.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};

use super::{plan::Run, settings::Settings, train::Record};
use crate::program::{self, make_dir};

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
    /// As the system says.
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
    /// The file is not a record, or was made with other settings.
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
        let failed = || format!("cannot read {}", self.runs.display());
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.runs).with_context(failed)? {
            let path = entry.with_context(failed)?.path();
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
    /// As the system says; the run is then as if it had not been made.
    pub fn save(&self, record: &Record) -> Result<()> {
        program::write(&self.path(&record.run), &to_json(record))?;
        self.sitting(&record.run).remove()
    }

    fn read(&self, path: &Path) -> Result<Record> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let path = path.display();
            anyhow!("{path}: not the record of a run ({error}); remove it to have the run made again")
        })
    }

    fn refuse_others(&self, path: &Path, record: &Record, run: &Run) -> Result<()> {
        let expected = self.settings.fingerprint(run);
        if record.fingerprint == expected {
            return Ok(());
        }
        bail!(
            "{}: made with other settings (fingerprint {}, this study has {expected}); results of both in one table would \
             mean nothing: name another --out, or remove the file to have the run made again",
            path.display(),
            record.fingerprint
        )
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
                    return Err(anyhow::Error::new(source).context(format!("cannot remove {}", path.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// JSON of plain data, with a newline at its end.
pub fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec(value).expect("records are plain data with string keys");
    json.push(b'\n');
    json
}
