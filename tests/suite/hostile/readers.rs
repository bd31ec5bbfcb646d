//! What reads files: a line of the table for each reader.

use std::{error::Error, path::Path};

use super::samples;

use soft_lmccl::metrics::{EmbeddingSet, Gallery, PairProtocol, Prototype, ThresholdRule, VerificationThreshold};

pub type Answer = Result<(), Box<dyn Error>>;

/// A reader and how to try it.
pub struct Reader {
    pub name: &'static str,
    pub extension: &'static str,
    /// Small valid files.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of its format.
    pub tokens: &'static [&'static str],
    pub read: fn(&Path) -> Answer,
    /// Readers of text in memory have no file to name.
    pub names_the_file: bool,
}

#[rustfmt::skip]
pub const READERS: &[Reader] = &[
    #[cfg(feature = "cect")]
    Reader { name: "mrc", extension: "mrc", seeds: cect::maps, tokens: &["MAP ", "DD\0\0"], read: cect::map, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "mrc-gz", extension: "mrc.gz", seeds: cect::packed_maps, tokens: &[], read: cect::map, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "em", extension: "em", seeds: cect::em, tokens: &[], read: cect::map, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "mrc-template", extension: "mrc", seeds: cect::particles, tokens: &[], read: cect::template, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "pdb", extension: "pdb", seeds: cect::pdb, tokens: cect::PDB, read: cect::structure, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "cif", extension: "cif", seeds: cect::cif, tokens: cect::CIF, read: cect::structure, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "assembly-pdb", extension: "pdb", seeds: cect::pdb, tokens: cect::PDB, read: cect::assembly, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "assembly-cif", extension: "cif", seeds: cect::cif, tokens: cect::CIF, read: cect::assembly, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "beads", extension: "tsv", seeds: cect::bead_tables, tokens: &["#", "1 2 3 4\n"], read: cect::beads, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "table-csv", extension: "csv", seeds: cect::csv, tokens: cect::TABLE, read: cect::table, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "table-tsv", extension: "tsv", seeds: cect::tsv, tokens: cect::TABLE, read: cect::table, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "table-star", extension: "star", seeds: cect::star, tokens: cect::TABLE, read: cect::table, names_the_file: true },
    #[cfg(feature = "cect")]
    Reader { name: "star-annotated", extension: "star", seeds: cect::star, tokens: cect::TABLE, read: cect::annotated, names_the_file: true },
    Reader { name: "embeddings-npy", extension: "npy", seeds: samples::npy, tokens: samples::NPY, read: samples::embeddings, names_the_file: true },
    Reader { name: "embeddings-npz", extension: "npz", seeds: samples::npz, tokens: samples::NPY, read: samples::embeddings, names_the_file: true },
    Reader { name: "embeddings-safetensors", extension: "safetensors", seeds: samples::safetensors, tokens: torch::HEADER, read: samples::embeddings, names_the_file: true },
    Reader { name: "embeddings-csv", extension: "csv", seeds: samples::csv, tokens: samples::CSV, read: samples::embeddings, names_the_file: true },
    Reader { name: "labels-npy", extension: "npy", seeds: samples::integers, tokens: samples::NPY, read: samples::labels, names_the_file: true },
    Reader { name: "samples", extension: "tsv", seeds: samples::table, tokens: samples::CSV, read: samples::templates, names_the_file: true },
    Reader { name: "scores-csv", extension: "csv", seeds: samples::scored, tokens: samples::CSV, read: samples::scores, names_the_file: false },
    Reader { name: "trials-lfw", extension: "txt", seeds: samples::lfw, tokens: samples::CSV, read: samples::lfw_list, names_the_file: false },
    Reader { name: "trials-voxceleb", extension: "txt", seeds: samples::voxceleb, tokens: samples::CSV, read: samples::voxceleb_list, names_the_file: false },
    Reader { name: "trials-csv", extension: "csv", seeds: samples::listed, tokens: samples::CSV, read: samples::csv_list, names_the_file: false },
    Reader { name: "threshold", extension: "json", seeds: thresholds, tokens: JSON, read: threshold, names_the_file: true },
    Reader { name: "gallery", extension: "json", seeds: galleries, tokens: JSON, read: gallery, names_the_file: true },
    Reader { name: "checkpoint", extension: "safetensors", seeds: torch::checkpoints, tokens: torch::HEADER, read: torch::weights, names_the_file: true },
    Reader { name: "checkpoint-part", extension: "safetensors", seeds: torch::in_parts, tokens: torch::HEADER, read: torch::part, names_the_file: true },
    Reader { name: "run", extension: "safetensors", seeds: torch::runs, tokens: torch::HEADER, read: torch::run, names_the_file: true },
    Reader { name: "config", extension: "json", seeds: torch::configs, tokens: JSON, read: torch::config, names_the_file: false },
];

const JSON: &[&str] = &["null", "true", "1e400", "-1", "{}", "[]", "\"\"", "\"threshold\":", "\"margin\":", "\"own\""];

fn thresholds() -> Vec<Vec<u8>> {
    let embeddings = ndarray::array![[1.0f32, 0.0], [0.9, 0.2], [0.0, 1.0], [0.1, 1.0], [0.5, 0.6]];
    let pairs = EmbeddingSet::new(embeddings.view(), &[0, 0, 1, 1, 1]).unwrap().pair_scores(PairProtocol::All).unwrap();
    let directory = tempfile::tempdir().unwrap();
    [ThresholdRule::EqualErrors, ThresholdRule::Accuracy, ThresholdRule::AtFar { target_far: 0.3 }]
        .into_iter()
        .map(|rule| {
            let path = directory.path().join("threshold.json");
            VerificationThreshold::fit(&pairs, rule).unwrap().save(&path).unwrap();
            std::fs::read(&path).unwrap()
        })
        .collect()
}

fn threshold(path: &Path) -> Answer {
    let threshold = VerificationThreshold::load(path)?;
    assert!(threshold.value().is_finite());
    threshold.verify(&[1.0, 0.0], &[0.5, 0.5])?;
    Ok(())
}

fn galleries() -> Vec<Vec<u8>> {
    let embeddings = ndarray::array![[1.0f32, 0.0], [0.9, 0.2], [0.0, 1.0], [0.1, 1.0]];
    let set = EmbeddingSet::new(embeddings.view(), &[3, 3, 1, 1]).unwrap();
    vec![serde_json::to_vec(&Gallery::enroll(&set, Prototype::Mean).unwrap()).unwrap()]
}

fn gallery(path: &Path) -> Answer {
    let gallery = Gallery::load(path)?;
    let set = EmbeddingSet::new(ndarray::Array2::ones((1, gallery.prototype(0).len())).view(), &[3])?;
    assert!(gallery.search(&set)?.probes()[0].score.is_finite());
    Ok(())
}

#[cfg(feature = "cect")]
mod cect {
    use std::{fs, path::Path};

    use soft_lmccl::cect::{
        Assembly, AssemblyChoice, Dataset, FilesConfig, LabeledFiles, Map, Structure, Template, Volume, annotate_star,
        read_beads,
    };

    use super::Answer;

    pub const PDB: &[&str] = &[
        "ATOM  ",
        "HETATM",
        "MODEL        1\n",
        "ENDMDL\n",
        "TER\n",
        "END\n",
        "REMARK 350 ",
        "BIOMT1   1",
        "APPLY THE FOLLOWING TO CHAINS:",
        "*****",
        "A",
        "Fe",
        "  ",
    ];
    pub const CIF: &[&str] = &[
        "loop_\n",
        "data_x\n",
        "_atom_site.Cartn_x\n",
        "_atom_site.id\n",
        "_pdbx_struct_oper_list.id\n",
        "\n;\n",
        "?",
        ".",
        "#",
        "(1-60)",
        "(1-9999)(1-9999)",
        "1,2,3",
        "save_\n",
        "ATOM",
        "P",
    ];

    pub const TABLE: &[&str] = &[
        "path",
        "label",
        "1aon.mrc.gz",
        "../1aon.mrc.gz",
        "1@stack.mrcs",
        "data_\n",
        "loop_\n",
        "_rlnImageName #1\n",
        "_rlnClassNumber #2\n",
        "\"\"",
        "\u{1f}",
        "ribosome",
    ];

    fn fixture(name: &str) -> Vec<u8> {
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/cect/tests/fixtures/structures").join(name))
            .unwrap()
    }

    pub fn pdb() -> Vec<Vec<u8>> {
        vec![fixture("trimer.pdb")]
    }

    pub fn cif() -> Vec<Vec<u8>> {
        vec![fixture("dimer.cif")]
    }

    pub fn bead_tables() -> Vec<Vec<u8>> {
        vec![b"# x y z electrons\n1.0 2.5 -3 60\n4 5 6 7e1 # a comment\n\n".to_vec(), b"0 0 0 1\n1 1 1 0\n".to_vec()]
    }

    /// Little-endian single precision as written here, big-endian bytes, and an extended header.
    pub fn em() -> Vec<Vec<u8>> {
        vec![fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/cect/tests/fixtures/em/ramp.em")).unwrap()]
    }

    pub fn maps() -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed.mrc");
        let volume = Volume::new(4, (0..64).map(|voxel| (voxel % 7) as f32).collect()).unwrap();
        Map::from_volume(&volume, 10.0).save(&path).unwrap();
        let single = fs::read(&path).unwrap();
        let mut extended = single.clone();
        extended[92..96].copy_from_slice(&8i32.to_le_bytes());
        extended.splice(1024..1024, [7; 8]);
        let mut bytes = single.clone();
        for word in bytes[..208].chunks_exact_mut(4) {
            word.reverse();
        }
        bytes[212] = 0x11;
        bytes[12..16].copy_from_slice(&0i32.to_be_bytes());
        bytes.truncate(1024 + 64);
        vec![single, extended, bytes]
    }

    /// Tables of maps that the crate brings.
    pub fn csv() -> Vec<Vec<u8>> {
        vec![
            b"label,path\nribosome,4v5d.mrc.gz\n\"chaper,onin\",1aon.mrc.gz\n".to_vec(),
            b"# a comment\npath,other,class\n1aon.mrc.gz,x,10\n1oel.mrc.gz,y,9\n".to_vec(),
        ]
    }

    pub fn tsv() -> Vec<Vec<u8>> {
        vec![b"label\tpath\nribosome\t4v5d.mrc.gz\nmembrane\t1aon.mrc.gz\n".to_vec()]
    }

    pub fn star() -> Vec<Vec<u8>> {
        let optics = "data_optics\n\nloop_\n_rlnOpticsGroup #1\n1\n\n";
        let particles =
            "data_particles\n\nloop_\n_rlnImageName #1\n_rlnClassNumber #2\n1aon.mrc.gz 2\n1oel.mrc.gz '1'\n";
        vec![[optics, particles].concat().into(), b"data_\n_rlnImageName 1aon.mrc.gz\n_rlnClassNumber 1\n".to_vec()]
    }

    pub fn table(path: &Path) -> Answer {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/cect/src/template/catalogue");
        let files = LabeledFiles::open(path, FilesConfig { root: Some(root), ..Default::default() })?;
        assert!(!files.classes().is_empty() && !files.is_empty());
        Ok(())
    }

    /// What is written of a file that was read reads as the same.
    pub fn annotated(path: &Path) -> Answer {
        let text = annotate_star(path, &[])?;
        let directory = tempfile::tempdir()?;
        let written = directory.path().join("written.star");
        fs::write(&written, &text)?;
        assert_eq!(annotate_star(&written, &[]).ok(), Some(text));
        Ok(())
    }

    /// A particle whose density fades before the border of its box.
    pub fn particles() -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed.mrc");
        let inside = |index: usize| (2..6).contains(&(index % 8));
        let voxel = |i: usize| f32::from(u8::from(inside(i) && inside(i / 8) && inside(i / 64)));
        Map::from_volume(&Volume::new(8, (0..512).map(voxel).collect()).unwrap(), 10.0).save(&path).unwrap();
        vec![fs::read(&path).unwrap()]
    }

    pub fn packed_maps() -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed.mrc.gz");
        Map::from_volume(&Volume::new(4, vec![1.0; 64]).unwrap(), 10.0).save(&path).unwrap();
        vec![fs::read(&path).unwrap()]
    }

    pub fn map(path: &Path) -> Answer {
        let map = Map::open(path)?;
        assert_eq!(map.voxels().len(), map.shape().iter().product::<usize>());
        assert!(map.voxels().iter().all(|voxel| voxel.is_finite()));
        Ok(())
    }

    pub fn assembly(path: &Path) -> Answer {
        Assembly::open(path)?;
        Ok(())
    }

    pub fn structure(path: &Path) -> Answer {
        let structure = Structure::open(path, AssemblyChoice::First)?;
        assert!(!structure.scatterers().is_empty());
        assert!(structure.scatterers().iter().all(|atom| atom.position.iter().all(|x| x.is_finite())));
        Ok(())
    }

    pub fn template(path: &Path) -> Answer {
        let template = Template::open(path)?;
        assert!(template.volume().voxels().iter().all(|voxel| voxel.is_finite()));
        Ok(())
    }

    pub fn beads(path: &Path) -> Answer {
        assert!(!read_beads(path)?.is_empty());
        Ok(())
    }
}

mod torch {
    use std::{cell::RefCell, fs, ops::ControlFlow, path::Path};

    use soft_lmccl::{
        loss::{Loss, LossTerms, SoftLmcclConfig},
        tch::{Device, Kind, Tensor, nn, nn::ModuleT},
        train::{AdamWConfig, FitConfig, InMemory, Progress, RunState, Sampler, Trainer, checkpoint},
    };

    use super::Answer;

    pub const HEADER: &[&str] = &[
        "\"dtype\":\"F32\"",
        "\"dtype\":\"I64\"",
        "\"shape\":[",
        "\"data_offsets\":[0,",
        "__metadata__",
        "\\\"format\\\":1",
        "@sampler.order",
        "@adamw.first.weight",
        "4611686018427387904",
        "\\\"",
        "}",
        "]",
    ];
    const LABELS: [i64; 4] = [0, 1, 0, 1];
    const FIT: FitConfig = FitConfig {
        epochs: 2,
        batch_size: 2,
        learning_rate: 1e-3,
        schedule: soft_lmccl::train::Schedule::Constant,
        weight_decay: 0.0,
        sampling: soft_lmccl::train::Sampling::Plain,
        patience: None,
        least_epochs: 0,
        clip_norm: None,
        accumulate: 1,
        seed: 3,
    };

    fn meta() -> checkpoint::Meta<SoftLmcclConfig> {
        checkpoint::Meta { config: SoftLmcclConfig::default(), classes: vec!["a".into(), "b".into()] }
    }

    fn store() -> (nn::VarStore, Tensor) {
        let vs = nn::VarStore::new(Device::Cpu);
        let weight = vs.root().ones("weight", &[2]);
        (vs, weight)
    }

    #[derive(Debug)]
    struct Scale(Tensor);

    impl ModuleT for Scale {
        fn forward_t(&self, x: &Tensor, _: bool) -> Tensor {
            x * &self.0
        }
    }

    #[derive(Debug)]
    struct Total;

    impl Loss for Total {
        fn forward(&self, embeddings: &Tensor, _: &Tensor) -> soft_lmccl::Result<LossTerms> {
            Ok(LossTerms::single("total", embeddings.sum(Kind::Float)))
        }

        fn check(&self, _: &Tensor, _: &Tensor) -> soft_lmccl::Result<()> {
            Ok(())
        }

        fn update(&mut self, _: &Tensor, _: &Tensor) -> soft_lmccl::Result<()> {
            Ok(())
        }
    }

    pub fn checkpoints() -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed.safetensors");
        checkpoint::save(&path, &store().0, &meta()).unwrap();
        vec![fs::read(&path).unwrap()]
    }

    /// Checkpoints of a run after one and after three steps.
    pub fn runs() -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed.safetensors");
        let volumes = Tensor::ones([4, 2], (Kind::Float, Device::Cpu));
        let data = InMemory::new(&volumes, &Tensor::from_slice(&LABELS)).unwrap();
        [1, 3]
            .into_iter()
            .map(|stop| {
                let (vs, weight) = store();
                let trainer = Trainer::new(FIT).unwrap().describe(&meta().config, &meta().classes).unwrap();
                trainer
                    .checkpoint(&path, 1)
                    .run(&Scale(weight), &mut Total, &vs, &data, |step| match step.step == stop {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    })
                    .unwrap();
                fs::read(&path).unwrap()
            })
            .collect()
    }

    thread_local! {
        /// Made once: what a reader refuses leaves it as it was.
        static STORE: RefCell<nn::VarStore> = RefCell::new(store().0);
    }

    pub fn weights(path: &Path) -> Answer {
        STORE.with_borrow_mut(|vs| checkpoint::load::<SoftLmcclConfig>(path, vs, &meta().classes))?;
        Ok(())
    }

    /// A store of two parts.
    fn two_parts() -> nn::VarStore {
        let vs = nn::VarStore::new(Device::Cpu);
        for part in ["net", "loss"] {
            let _ = (vs.root() / part).ones("weight", &[2]);
        }
        vs
    }

    pub fn in_parts() -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed.safetensors");
        checkpoint::save(&path, &two_parts(), &meta()).unwrap();
        vec![fs::read(&path).unwrap()]
    }

    pub fn part(path: &Path) -> Answer {
        checkpoint::describe::<SoftLmcclConfig>(path)?;
        let mut vs = two_parts();
        checkpoint::load_part(path, &mut vs, "net")?;
        assert_eq!(vs.variables()["loss.weight"], Tensor::ones([2], (Kind::Float, Device::Cpu)));
        Ok(())
    }

    pub fn run(path: &Path) -> Answer {
        STORE.with_borrow_mut(|vs| {
            let mut run = RunState {
                optimizer: AdamWConfig::default().build(vs)?,
                sampler: Sampler::new(&LABELS, FIT.sampling, FIT.batch_size, FIT.seed)?,
                progress: Progress { fit: FIT, step: 0, stale_epochs: 0, best: None, seconds: 0.0 },
            };
            checkpoint::load_run(path, vs, &meta(), &mut run)?;
            // What was accepted can be used.
            assert!(run.sampler.next_batch().iter().all(|&index| index < LABELS.len()));
            Ok(())
        })
    }

    pub fn configs() -> Vec<Vec<u8>> {
        vec![
            serde_json::to_vec(&SoftLmcclConfig::default()).unwrap(),
            serde_json::to_vec_pretty(&SoftLmcclConfig::as_printed()).unwrap(),
        ]
    }

    pub fn config(path: &Path) -> Answer {
        let config: SoftLmcclConfig = serde_json::from_slice(&fs::read(path)?)?;
        config.validate()?;
        Ok(())
    }
}
