//! Trains on subtomograms in files of yours, some classes of which the network never sees, and verifies those.
//!
//! A table (.csv, .tsv or RELION's .star) names MRC files and their labels, columns `path` and `label`, or
//! `rlnImageName` and `rlnClassNumber`; paths start at the folder of the table. Labels that are named after it are trained on, all others verified.
//!
//! ```sh
//! cargo run --release --features cect --example own_files -- particles.csv ribosome membrane
//! cargo run --release --features cect --example own_files    # makes files of four classes first, to see that it works
//! ```
//!
//! The same with intervals, seeds, pictures and a report: `soft-lmccl study --subtomograms TABLE --known LABELS`.

use std::{
    env,
    fmt::Write as _,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use soft_lmccl::{
    cect::{
        AugmentConfig, ClassId, Dataset, FilesConfig, LabeledFiles, Map, OpenSetSplit, SimulatedDataset,
        SimulationConfig, catalogue,
    },
    loss::SoftLmcclConfig,
    metrics::EerMethod,
    model::{CompactNetConfig, compact_net},
    tch::{self, Device, Tensor, nn},
    train::{Augmented, Batch, FitConfig, Samples, Trainer, embed},
    verify::AllPairs,
};

/// Side of a subtomogram in voxels; larger ones are cropped around their center.
const SIDE: usize = 24;

fn main() -> Result<()> {
    let mut words = env::args().skip(1);
    let (table, known) = match words.next() {
        Some(table) => (PathBuf::from(table), words.collect()),
        None => made_up(Path::new("target/own_files"))?,
    };

    // Only the headers are read here; whatever is wrong with the table or a file is told before anything is trained.
    let files = LabeledFiles::open(&table, FilesConfig { side: Some(SIDE), ..Default::default() })?;
    let split = split(&files, &known)?;
    let names =
        |classes: &[ClassId]| classes.iter().map(|class| files.classes()[class.0 as usize].clone()).collect::<Vec<_>>();
    println!("trains on {}, verifies {}", names(split.known()).join(", "), names(split.unknown()).join(", "));

    // Volumes are read when a batch asks for them, and each pass sees each of them turned and shifted in another way.
    let samples = Samples::new(&files, split.known())?;
    let samples = Augmented::new(samples, AugmentConfig::default(), SIDE, 1)?;

    tch::manual_seed(1);
    let vs = nn::VarStore::new(Device::Cpu);
    let config = CompactNetConfig::default();
    let (classes, dim) = (split.num_known() as i64, config.embedding_dim);
    let net = compact_net(&(vs.root() / "net"), SIDE as i64, config)?;
    let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), classes, dim)?;

    // With `.checkpoint(path, steps)` and `.resume(true)` a run that was killed goes on where it was.
    let fit = FitConfig { epochs: 6, batch_size: 16, ..Default::default() };
    Trainer::new(fit)?.run(&net, &mut loss, &vs, &samples, |step| {
        println!("{step}");
        ControlFlow::Continue(())
    })?;

    // A batch of one file after another: nothing but the embeddings is kept.
    let unknown = files.indices(split.unknown());
    let batches = unknown.chunks(16).map(|indices| {
        let read = indices.iter().map(|&index| files.sample(index)).collect::<Result<Vec<_>, _>>()?;
        let labels: Vec<i64> = read.iter().map(|sample| i64::from(sample.class.0)).collect();
        Ok((Batch::of(&read)?.volumes, Tensor::from_slice(&labels)))
    });
    let pairs = AllPairs::default().count(&embed(&net, batches)?)?;
    println!("classes never trained on: AUC {:.3}, EER {:.3}", pairs.auc(), pairs.eer(EerMethod::Linear));
    Ok(())
}

/// The named classes of the table against all others.
fn split(files: &LabeledFiles, known: &[String]) -> Result<OpenSetSplit> {
    if let Some(missing) = known.iter().find(|name| !files.classes().contains(name)) {
        bail!("no label `{missing}` in the table; it has {}", files.classes().join(", "));
    }
    let classes = (0u32..).map(ClassId).zip(files.classes());
    let (known, unknown): (Vec<_>, Vec<_>) = classes.partition(|(_, name)| known.contains(name));
    let ids = |classes: Vec<(ClassId, &String)>| classes.into_iter().map(|(class, _)| class).collect();
    Ok(OpenSetSplit::new(ids(known), ids(unknown))?)
}

/// A table and files as a user has them, of four simulated classes, two of them to train on.
fn made_up(folder: &Path) -> Result<(PathBuf, Vec<String>)> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let templates: Vec<_> = catalogue::templates().into_iter().step_by(6).collect();
    let known = templates.iter().take(2).map(|template| template.name().to_owned()).collect();
    let config = SimulationConfig { side: SIDE, snr: 0.5, ..Default::default() };
    let dataset = SimulatedDataset::new(templates, config, 24, 1)?;
    let mut table = String::from("path,label\n");
    for index in 0..dataset.len() {
        let (sample, name) = (dataset.sample(index)?, format!("{index}.mrc"));
        // As microscopes show it: protein is dark.
        let dark = sample.volume.voxels().iter().map(|voxel| -voxel).collect();
        let volume = soft_lmccl::cect::Volume::new(SIDE, dark)?;
        Map::from_volume(&volume, config.voxel_size).save(folder.join(&name))?;
        writeln!(table, "{name},{}", dataset.templates()[sample.class.0 as usize].name())?;
    }
    let path = folder.join("particles.csv");
    fs::write(&path, table).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((path, known))
}
