//! What there is to look at.

use std::path::Path;

use anyhow::Result;
use soft_lmccl::cect::{ClassId, Dataset, OpenSetSplit, SimulatedDataset};
use soft_lmccl_report::{EmbeddingPanel, RocSeries, SliceGroup, SliceRow, embedding_map, pca_2d, roc, slices};

use super::run::{Finished, SetPair};
use crate::program::named;

/// The central slice of each class' first subtomogram, clean and noisy.
///
/// # Errors
/// As simulating and drawing.
pub fn draw_slices(path: &Path, sets: SetPair<'_>, split: &OpenSetSplit) -> Result<()> {
    let groups = [("known: trained on", sets.train, split.known()), ("unknown: verified", sets.test, split.unknown())];
    let slabs: Vec<Vec<Slab>> = groups
        .iter()
        .map(|(_, set, classes)| classes.iter().map(|&class| Slab::of(set, class)).collect::<Result<_>>())
        .collect::<Result<_>>()?;
    let rows: Vec<Vec<SliceRow<'_>>> = slabs
        .iter()
        .map(|slabs| {
            slabs
                .iter()
                .map(|slab| SliceRow { label: &slab.name, clean: &slab.clean, noisy: &slab.noisy, side: slab.side })
                .collect()
        })
        .collect();
    let groups: Vec<_> =
        groups.iter().zip(&rows).map(|((title, _, _), rows)| SliceGroup { title, rows: rows.as_slice() }).collect();
    let config = sets.train.config();
    let subtitle = format!(
        "central slices of {0}³ voxels of {1} Å; left without noise, right at SNR {2}",
        config.side, config.voxel_size, config.snr
    );
    Ok(slices(path, "Subtomograms of each class", &subtitle, Some(config.voxel_size), &groups)?)
}

/// One slice of one subtomogram.
struct Slab {
    name: String,
    side: usize,
    clean: Vec<f32>,
    noisy: Vec<f32>,
}

impl Slab {
    fn of(set: &SimulatedDataset, class: ClassId) -> Result<Self> {
        let first = set.indices(&[class])[0];
        let parts = set.parts(first)?;
        let side = parts.signal.side();
        let middle =
            |volume: &soft_lmccl::cect::Volume| volume.slice(side / 2).map(<[f32]>::to_vec).unwrap_or_default();
        let (clean, noise) = (middle(&parts.signal), middle(&parts.noise));
        let noisy = clean.iter().zip(&noise).map(|(signal, noise)| signal + noise).collect();
        Ok(Self { name: set.templates()[class.0 as usize].name().to_owned(), side, clean, noisy })
    }
}

/// ROC curves and embeddings of the unknown classes, of the first seed.
///
/// # Errors
/// As drawing.
pub fn draw_results(out: &Path, finished: &[Finished], unknown_names: &[String]) -> Result<()> {
    let Some(first) = finished.first() else { return Ok(()) };
    let shown: Vec<_> = finished.iter().filter(|run| run.seed == first.seed).collect();
    let series: Vec<_> = shown.iter().map(|run| RocSeries::new(run.loss.to_string(), &run.curve)).collect();
    roc(out.join("roc.svg"), "Verification of classes that were never trained on", &series)?;

    let flat = shown.iter().map(|run| pca_2d(run.embeddings.view())).collect::<Result<Vec<_>, _>>()?;
    let titles: Vec<_> = shown.iter().map(|run| run.loss.to_string()).collect();
    let panels: Vec<_> = titles
        .iter()
        .zip(&flat)
        .zip(&shown)
        .map(|((title, points), run)| EmbeddingPanel {
            title,
            points: points.view(),
            labels: run.embeddings.labels(),
            axes: ["PCA 1", "PCA 2"],
        })
        .collect();
    let names: Vec<_> = unknown_names.iter().map(|name| named(name)).collect();
    Ok(embedding_map(out.join("embeddings.svg"), "Embeddings of the unknown classes", &names, &panels)?)
}
