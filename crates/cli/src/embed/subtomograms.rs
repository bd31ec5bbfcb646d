//! The user's subtomograms, as the network wants to see them.

use std::{collections::HashSet, path::Path};

use anyhow::{Result, anyhow};
use soft_lmccl::{
    cect::{Batch, ClassId, Contrast, Dataset, FilesConfig, LabeledFiles, Sample, render},
    metrics::EmbeddingSet,
    model::{Trained, prepared},
    tch::{Device, Tensor},
    train::embed,
};

use super::args::Args;
use crate::program::{bar::bar, interrupted, network::ShippedOr};

/// The class of all where there are no labels; nobody reads it.
const UNLABELED: &str = "unlabeled";

/// Voxels of sizes that differ by less than this share are of one size.
const SAME_SIZE: f64 = 0.02;

/// Whether a table may lack labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    Needed,
    Welcome,
}

/// The subtomograms of a table.
#[derive(Debug)]
pub struct Subtomograms {
    files: LabeledFiles,
    /// Edge in Å of the voxels that are resampled, if any are.
    resampled: Option<f64>,
}

impl Subtomograms {
    /// Reads the table and the headers of the files.
    ///
    /// # Errors
    /// As [`LabeledFiles::open`]; voxels of another size than the network was trained on, unless they are asked for.
    pub fn open(table: &Path, labels: Labels, args: &Args, trained: &Trained) -> Result<Self> {
        let config = FilesConfig {
            root: args.root.clone(),
            // Resampled first and cropped then, if the network is the one that takes any.
            side: args.network.as_ref().map(|_| trained.side),
            contrast: if args.bright { Contrast::BrightProtein } else { Contrast::DarkProtein },
            unlabeled: (labels == Labels::Welcome).then(|| UNLABELED.to_owned()),
            ..Default::default()
        };
        let files = LabeledFiles::open(table, config)?;
        let of_table = |problem| anyhow!("{}: {problem}", table.display());
        let wanted = trained.voxel_size.filter(|_| !args.any_voxel_size);
        let resampled = match (&args.network, wanted) {
            (Some(_), Some(wanted)) => require_size(files.voxel_size(), wanted).map(|()| None).map_err(of_table)?,
            (Some(_), None) => None,
            (None, None) => trained.voxel_size,
            (None, Some(_)) => {
                let unknown =
                    || "voxels of unknown size, to be resampled: write it into the files, or try --any-voxel-size";
                Some(files.voxel_size().ok_or_else(|| of_table(unknown().to_owned()))?)
            }
        };
        Ok(Self { files, resampled })
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// The names of the classes in the order of their numbers; none if there are no labels.
    pub fn classes(&self) -> &[String] {
        if self.files.has_labels() { self.files.classes() } else { &[] }
    }

    /// The file and, where there are labels, the class of each.
    pub fn rows(&self) -> impl Iterator<Item = (&Path, Option<&str>)> {
        (0..self.len()).map(|index| {
            let class = self.files.class(index).and_then(|class| self.classes().get(class.0 as usize));
            (self.files.path(index).expect("as many paths as subtomograms"), class.map(String::as_str))
        })
    }

    /// The first file that is also one of `other`.
    pub fn in_common(&self, other: &Self) -> Option<&Path> {
        let found = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let theirs: HashSet<_> = other.rows().map(|(path, _)| found(path)).collect();
        self.rows().map(|(path, _)| path).find(|path| theirs.contains(&found(path)))
    }

    /// The embedding of each, labeled by what `label` makes of its class; `None` if Ctrl-C came first.
    ///
    /// # Errors
    /// A file that cannot be read; an embedding without a direction.
    pub fn embed(
        &self,
        what: &str,
        label: impl Fn(ClassId) -> i64,
        network: &TrainedNetwork<'_>,
    ) -> Result<Option<EmbeddingSet>> {
        let bar = bar(what, self.len());
        let indices: Vec<usize> = (0..self.len()).collect();
        let batches = indices.chunks(network.batch).take_while(|_| !interrupted()).map(|indices| {
            let mut samples = render(&self.files, indices, |_| bar.inc(1))?;
            if let Some(voxel_size) = self.resampled {
                let seen = |sample: Sample| Ok(Sample { volume: prepared(&sample.volume, voxel_size)?, ..sample });
                samples = samples.into_iter().map(seen).collect::<soft_lmccl::Result<_>>()?;
            }
            let labels: Vec<i64> = samples.iter().map(|sample| label(sample.class)).collect();
            let volumes = Batch::of(&samples)?.volumes.f_to_device(network.device)?;
            Ok((volumes, Tensor::from_slice(&labels)))
        });
        let embeddings = embed(network.net, batches);
        bar.finish_and_clear();
        if interrupted() { Ok(None) } else { Ok(Some(embeddings?)) }
    }
}

/// Whether voxels are of the size that the network was trained on, in Angstrom.
fn require_size(found: Option<f64>, wanted: f64) -> Result<(), String> {
    let found = match found {
        Some(found) if (found / wanted - 1.0).abs() <= SAME_SIZE => return Ok(()),
        Some(found) => format!("voxels of {found:.2} Å"),
        None => "voxels of unknown size".to_owned(),
    };
    Err(format!(
        "{found}, but the network was trained on {wanted:.2} Å: rescale the subtomograms, or try --any-voxel-size"
    ))
}

/// A network and how it is asked.
#[derive(Debug, Clone, Copy)]
pub struct TrainedNetwork<'a> {
    pub net: &'a ShippedOr,
    pub device: Device,
    /// Subtomograms at a time.
    pub batch: usize,
}
