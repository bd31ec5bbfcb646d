//! What may go from thread to thread, and what a long life leaves behind.

use soft_lmccl::{
    metrics::{EmbeddingSet, Gallery, PairScores, RocCurve, ScoreHistogram, VerificationReport, VerificationThreshold},
    verify::AllPairs,
};

fn shared<T: Send + Sync>() {}

#[test]
fn metrics_are_shared_between_threads() {
    shared::<EmbeddingSet>();
    shared::<Gallery>();
    shared::<PairScores>();
    shared::<RocCurve>();
    shared::<ScoreHistogram>();
    shared::<VerificationReport>();
    shared::<VerificationThreshold>();
    shared::<AllPairs>();
    shared::<soft_lmccl::Error>();
}

#[cfg(feature = "cect")]
#[test]
fn data_sets_are_shared_between_threads() {
    use soft_lmccl::cect::{
        Dataset, Map, OpenSetSplit, Sample, SimulatedDataset, Simulator, Structure, Template, Volume,
    };
    shared::<Box<dyn Dataset>>();
    shared::<SimulatedDataset>();
    shared::<Simulator>();
    shared::<Template>();
    shared::<Structure>();
    shared::<Map>();
    shared::<Volume>();
    shared::<Sample>();
    shared::<OpenSetSplit>();
}

mod torch {
    use std::{fs, process::Command};

    use soft_lmccl::{
        loss::{
            ArcFace, CenterLoss, Guarded, Lmcl, Loss, NormalizedSoftmax, Scaled, SoftLmccl, SoftLmcclConfig,
            SoftmaxHead, Sum,
        },
        model::{CompactNet, CompactNetConfig, compact_net},
        tch::{Device, Kind, Tensor, nn, nn::ModuleT},
        train::{AdamW, AdamWConfig, Sampler, backward_step},
    };

    fn sent<T: Send>() {}

    #[test]
    fn losses_networks_and_optimizers_move_to_other_threads() {
        sent::<Box<dyn Loss>>();
        sent::<SoftLmccl>();
        sent::<Lmcl>();
        sent::<ArcFace>();
        sent::<CenterLoss>();
        sent::<SoftmaxHead>();
        sent::<NormalizedSoftmax>();
        sent::<Guarded<Sum<Lmcl, Scaled<CenterLoss>>>>();
        sent::<CompactNet>();
        sent::<AdamW>();
        sent::<Sampler>();
    }

    #[test]
    fn a_loss_trains_where_it_was_not_made() {
        let vs = nn::VarStore::new(Device::Cpu);
        let mut loss = SoftLmcclConfig::default().init(&vs.root(), 3, 2).unwrap();
        let before = loss.lmcl().prototypes().detach().copy();
        let (loss, vs) = std::thread::spawn(move || {
            let mut optimizer = AdamWConfig::default().build(&vs).unwrap();
            let embeddings = Tensor::from_slice2(&[[1.0f32, 2.0], [-1.0, 0.5]]);
            backward_step(&mut loss, &mut optimizer, &embeddings, &Tensor::from_slice(&[0i64, 2])).unwrap();
            (loss, vs)
        })
        .join()
        .unwrap();
        assert_ne!(loss.lmcl().prototypes().detach(), before);
        assert_eq!(&vs.variables()["lmcl.weight"], loss.lmcl().prototypes());
    }

    /// Steps of a short measurement; `SOFT_LMCCL_STEPS=10000` makes a long one.
    const STEPS: usize = 600;
    /// What allocators keep for later, in a process that has warmed up.
    const GROWTH: u64 = 4 << 20;

    fn resident() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// Trains a small network, a third of the steps to warm up, and tells the growth of memory from there.
    #[test]
    #[ignore = "measured in a process of its own by `training_keeps_its_size`"]
    fn steps() {
        let steps = std::env::var("SOFT_LMCCL_STEPS").map_or(STEPS, |text| text.parse().unwrap());
        let vs = nn::VarStore::new(Device::Cpu);
        let config = CompactNetConfig { channels: vec![4, 8], embedding_dim: 8, ..Default::default() };
        let net = compact_net(&(vs.root() / "net"), 8, config).unwrap();
        let mut loss = SoftLmcclConfig::default().init(&(vs.root() / "loss"), 10, 8).unwrap();
        let mut optimizer = AdamWConfig::default().build(&vs).unwrap();
        let volumes = Tensor::randn([16, 1, 8, 8, 8], (Kind::Float, Device::Cpu));
        let mut warm = 0;
        for step in 0..steps {
            if step == steps / 3 {
                warm = resident();
            }
            let labels = (Tensor::arange(16, (Kind::Int64, Device::Cpu)) + step as i64).remainder(10);
            backward_step(&mut loss, &mut optimizer, &net.forward_t(&volumes, true), &labels).unwrap();
        }
        println!("grown {}", resident().saturating_sub(warm));
    }

    #[test]
    fn training_keeps_its_size() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["threads::torch::steps", "--exact", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let grown: u64 = text.lines().find_map(|line| line.strip_prefix("grown ")).unwrap().parse().unwrap();
        println!("{grown} bytes");
        assert!(grown < GROWTH, "{grown} bytes");
    }
}
