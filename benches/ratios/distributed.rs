//! Ranks on one machine: seconds and bytes of a step, and memory where classes are shared out.

use std::{
    collections::BTreeMap,
    env, fs,
    net::TcpListener,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};
use soft_lmccl::{
    distributed::Group,
    loss::{LmclConfig, Loss, SoftLmcclConfig},
    tch::{Device, Kind, Tensor, nn, set_num_threads},
    train::{AdamWConfig, backward_step_in},
};

pub const NAME: &str = "distributed";

const FEATURES: i64 = 512;
const HIDDEN: i64 = 1024;
const DIM: i64 = 128;
const STEPS: u32 = 30;

/// A step of Soft LMCCL on 1 and 2 ranks of one thread each, and the memory of a rank at a million classes.
pub fn measure() -> Value {
    if env::var_os("RANK").is_some() {
        eprintln!("{NAME}: starts ranks itself, and is one of several");
        return Value::Null;
    }
    let step = json!({ "what": "step", "batch": 256, "classes": 10_000 });
    let memory = json!({ "what": "memory", "batch": 32, "classes": 1_000_000 });
    let steps = [1, 2].map(|ranks| over(ranks, &step));
    let memory = [1, 2, 4].map(|ranks| over(ranks, &memory));
    let model = [8, 64, 256, 1024].map(model);
    json!({ "step": steps, "memory": memory, "model": model })
}

/// The least that a step of LMCL takes at 10^8 classes in single precision, by the formulas of the guide.
fn model(ranks: u32) -> Value {
    const CLASSES: f64 = 1e8;
    const DIM: f64 = 512.0;
    const OWN: f64 = 64.0;
    /// A ConnectX-7 for each GPU of a DGX H100, 400 Gbit/s (NVIDIA, DGX H100 user guide), in bytes.
    const LINK: f64 = 50e9;
    /// TF32 of an H100 SXM without sparsity (NVIDIA, H100 data sheet).
    const FLOPS: f64 = 494e12;
    let ranks = f64::from(ranks);
    let (batch, rows) = (OWN * ranks, CLASSES / ranks);
    // All but a rank's own part crosses its link: embeddings come in, gradients go out; sums go round twice.
    let others = (ranks - 1.0) / ranks;
    let (gathered, scattered, reduced) =
        (4.0 * DIM * batch * others, 4.0 * DIM * batch * others, 2.0 * 12.0 * batch * others);
    json!({
        "ranks": ranks, "batch": batch,
        // Rows, their gradients, and two moments of AdamW.
        "bytes_of_rows": 16.0 * rows * DIM,
        "bytes_of_all_cosines": 4.0 * batch * rows,
        "seconds_of_links": (gathered + scattered + reduced) / LINK,
        // One product forward and two backward.
        "seconds_of_products": 6.0 * batch * rows * DIM / FLOPS,
    })
}

/// What each of so many processes of this program says of one case.
fn over(ranks: usize, case: &Value) -> Value {
    eprintln!("{NAME}: {case} on {ranks}");
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = bound.expect("a port of this machine").port().to_string();
    let start = |rank: usize| {
        Command::new(env::current_exe().expect("this program"))
            .args([super::PEAK, NAME, &case.to_string()])
            .envs([("RANK", rank.to_string()), ("WORLD_SIZE", ranks.to_string()), ("MASTER_PORT", port.clone())])
            .envs([("MASTER_ADDR", "127.0.0.1"), ("OMP_NUM_THREADS", "1")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts")
    };
    let children: Vec<_> = (0..ranks).map(start).collect();
    let outputs = children.into_iter().map(|child| child.wait_with_output().expect("a process of this program"));
    let said = outputs.map(|output| serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
    json!({ "ranks": ranks, "of_each": said.collect::<Vec<Value>>() })
}

/// On a rank.
pub fn rank(case: &Value) -> Value {
    set_num_threads(1);
    let group = Group::from_env().expect("the ranks were started together");
    let number = |name: &str| case[name].as_i64().expect("this program wrote it");
    let (batch, classes) = (number("batch"), number("classes"));
    if case["what"] == "memory" { memory(&group, batch, classes) } else { step(&group, batch, classes) }
}

fn step(group: &Group, batch: i64, classes: i64) -> Value {
    let (single, cpu) = (Kind::Float, Device::Cpu);
    let vs = nn::VarStore::new(cpu);
    let net = nn::seq()
        .add(nn::linear(vs.root() / "net" / "first", FEATURES, HIDDEN, Default::default()))
        .add_fn(|x| x.relu())
        .add(nn::linear(vs.root() / "net" / "last", HIDDEN, DIM, Default::default()));
    let root = vs.root() / "loss";
    let mut loss = SoftLmcclConfig::default().init(&root, group.classes(classes), DIM).expect("valid");
    let mut optimizer = AdamWConfig::default().build(&vs).expect("the default configuration is valid");
    let own = batch / group.size() as i64;
    let (inputs, labels) =
        (Tensor::randn([own, FEATURES], (single, cpu)), Tensor::randint(classes, [own], (Kind::Int64, cpu)));
    let mut step = || {
        let embeddings = inputs.apply(&net);
        backward_step_in(group, &mut loss, &mut optimizer, &embeddings, &labels).expect("a valid batch");
    };
    step();
    let (before, sent, start) = (group.traffic(), loopback(), Instant::now());
    (0..STEPS).for_each(|_| step());
    let (seconds, after) = (start.elapsed().as_secs_f64(), group.traffic());
    let sent = loopback().zip(sent).map(|(after, before)| (after - before) / u64::from(STEPS));
    let handed = |(&name, &(calls, bytes)): (&&'static str, &(u64, u64))| {
        let (calls_before, bytes_before) = before.operations.get(name).copied().unwrap_or_default();
        (name, [calls - calls_before, bytes - bytes_before].map(|number| number / u64::from(STEPS)))
    };
    let handed: BTreeMap<_, _> = after.operations.iter().map(handed).collect();
    json!({
        "batch": batch, "classes": classes, "dim": DIM, "parameters": FEATURES * HIDDEN + HIDDEN + HIDDEN * DIM + DIM,
        "seconds_a_step": seconds / f64::from(STEPS),
        "share_of_communication": (after.seconds - before.seconds) / seconds,
        "calls_and_bytes_a_step": handed,
        "loopback_bytes_a_step_of_all_ranks": sent,
    })
}

fn memory(group: &Group, batch: i64, classes: i64) -> Value {
    let before = resident("VmRSS:");
    let vs = nn::VarStore::new(Device::Cpu);
    let net = nn::linear(vs.root() / "net", DIM, DIM, Default::default());
    let mut loss = LmclConfig::default().init(&(vs.root() / "loss"), group.classes(classes), DIM).expect("valid");
    let mut optimizer = AdamWConfig::default().build(&vs).expect("the default configuration is valid");
    let own = batch / group.size() as i64;
    let labels = Tensor::randint(classes, [own], (Kind::Int64, Device::Cpu));
    for _ in 0..2 {
        let embeddings = Tensor::randn([own, DIM], (Kind::Float, Device::Cpu)).apply(&net);
        backward_step_in(group, &mut loss, &mut optimizer, &embeddings, &labels).expect("a valid batch");
    }
    let held = loss.shards().first().map_or(classes, |shard| shard.rows().end - shard.rows().start);
    let grown = resident("VmHWM:").zip(before).map(|(peak, before)| peak - before);
    json!({ "classes": classes, "held": held, "dim": DIM, "batch": batch, "peak_bytes_beyond_libtorch": grown })
}

/// In bytes, where the system tells (Linux).
fn resident(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// Bytes that the kernel has sent over 127.0.0.1, of whatever program.
fn loopback() -> Option<u64> {
    let devices = fs::read_to_string("/proc/self/net/dev").ok()?;
    let line = devices.lines().find_map(|line| line.trim_start().strip_prefix("lo:"))?;
    line.split_whitespace().nth(8)?.parse().ok()
}
