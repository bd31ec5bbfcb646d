//! Losses and the center update, each beside the naive form that explains how ours is written.

use criterion::{BenchmarkId, Criterion, Throughput};
use soft_lmccl::{
    loss::{
        AdaFaceConfig, ArcFaceConfig, CenterLossConfig, CombinedMarginConfig, LmclConfig, Loss,
        NormalizedSoftmaxConfig, SoftLmcclConfig, SoftmaxHeadConfig, functional::cosine_similarity,
    },
    tch::{Device, Kind, Tensor, nn},
};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

struct Size {
    batch: i64,
    dim: i64,
    classes: i64,
}

const SIZES: [Size; 2] = [Size { batch: 128, dim: 512, classes: 17 }, Size { batch: 128, dim: 512, classes: 5_000 }];

impl Size {
    fn name(&self) -> String {
        format!("B={},D={},C={}", self.batch, self.dim, self.classes)
    }

    fn embeddings(&self) -> Tensor {
        Tensor::randn([self.batch, self.dim], FLOAT).set_requires_grad(true)
    }

    fn labels(&self) -> Tensor {
        Tensor::randint(self.classes, [self.batch], (Kind::Int64, Device::Cpu))
    }
}

fn step(loss: &dyn Loss, embeddings: &Tensor, labels: &Tensor) {
    let terms = loss.forward(embeddings, labels).expect("a valid batch");
    terms.total().backward();
}

/// Forward and backward of every loss, and the center update.
pub fn benches(c: &mut Criterion) {
    soft_lmccl::tch::manual_seed(0);
    for size in &SIZES {
        steps(c, size);
        naive(c, size);
        update(c, size);
    }
}

fn steps(c: &mut Criterion, size: &Size) {
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let (classes, dim) = (size.classes, size.dim);
    let losses: Vec<(&str, Box<dyn Loss>)> = vec![
        ("softmax", Box::new(SoftmaxHeadConfig::default().init(&(&root / "a"), classes, dim).expect("valid"))),
        (
            "normalized_softmax",
            Box::new(NormalizedSoftmaxConfig::default().init(&(&root / "b"), classes, dim).expect("valid")),
        ),
        ("lmcl", Box::new(LmclConfig::default().init(&(&root / "c"), classes, dim).expect("valid"))),
        ("arcface", Box::new(ArcFaceConfig::default().init(&(&root / "d"), classes, dim).expect("valid"))),
        (
            "combined_margin",
            Box::new(CombinedMarginConfig::default().init(&(&root / "g"), classes, dim).expect("valid")),
        ),
        ("adaface", Box::new(AdaFaceConfig::default().init(&(&root / "h"), classes, dim).expect("valid"))),
        ("center", Box::new(CenterLossConfig::default().init(&(&root / "e"), classes, dim).expect("valid"))),
        ("soft_lmccl", Box::new(SoftLmcclConfig::default().init(&(&root / "f"), classes, dim).expect("valid"))),
    ];
    let (embeddings, labels) = (size.embeddings(), size.labels());
    for (name, loss) in &losses {
        let mut group = c.benchmark_group(format!("loss/{name}"));
        group.throughput(Throughput::Elements(size.batch as u64));
        group.bench_function(BenchmarkId::new("forward", size.name()), |b| {
            b.iter(|| loss.forward(&embeddings, &labels).expect("a valid batch").total());
        });
        group.bench_function(BenchmarkId::new("step", size.name()), |b| {
            b.iter(|| step(loss.as_ref(), &embeddings, &labels));
        });
    }
}

/// The margin by a one-hot matrix, the center term by the whole distance matrix.
fn naive(c: &mut Criterion, size: &Size) {
    let weight = Tensor::randn([size.classes, size.dim], FLOAT).set_requires_grad(true);
    let centers = Tensor::randn([size.classes, size.dim], FLOAT);
    let (embeddings, labels) = (size.embeddings(), size.labels());
    let one_hot = || labels.one_hot(size.classes).to_kind(Kind::Float);
    c.benchmark_group("loss/lmcl").bench_function(BenchmarkId::new("step_naive_one_hot", size.name()), |b| {
        b.iter(|| {
            let logits = (cosine_similarity(&embeddings, &weight) - one_hot() * 0.35) * 64.0;
            logits.cross_entropy_for_logits(&labels).backward();
        });
    });
    c.benchmark_group("loss/center").bench_function(BenchmarkId::new("step_naive_matrix", size.name()), |b| {
        b.iter(|| {
            let lengths = |x: &Tensor| x.square().sum_dim_intlist([-1i64].as_slice(), true, Kind::Float);
            let distances = lengths(&embeddings) + lengths(&centers).tr() - embeddings.matmul(&centers.tr()) * 2.0;
            ((distances * one_hot()).sum(Kind::Float) * (0.5 / size.batch as f64)).backward();
        });
    });
}

fn update(c: &mut Criterion, size: &Size) {
    let vs = nn::VarStore::new(Device::Cpu);
    let mut center = CenterLossConfig::default().init(&vs.root(), size.classes, size.dim).expect("valid");
    let (embeddings, labels) = (size.embeddings(), size.labels());
    c.bench_function(&format!("centers/update/{}", size.name()), |b| {
        b.iter(|| center.update(&embeddings, &labels).expect("a valid batch"));
    });
}
