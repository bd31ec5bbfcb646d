//! Centers that nobody updates are told of, once.

use std::process::Command;

use soft_lmccl::{
    loss::{CenterLossConfig, CenterUpdate, Loss, SoftLmcclConfig},
    tch::{Device, Kind, Tensor, nn, no_grad_guard},
};

use super::waves;

const SCENARIO: &str = "SOFT_LMCCL_FORGETS";

/// Evaluates for training as the next test asks; in a process of its own, whose standard error that test reads.
#[test]
#[ignore = "started by `an_update_that_was_forgotten_is_told_once`"]
fn forgetful() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let vs = nn::VarStore::new(Device::Cpu);
    let center =
        |rule, name: &str| CenterLossConfig { rule, ..Default::default() }.init(&(vs.root() / name), 3, 2).unwrap();
    let mut loss: Box<dyn Loss> = match scenario.as_str() {
        "soft_lmccl" => Box::new(SoftLmcclConfig::default().init(&vs.root(), 3, 2).unwrap()),
        "gradient" => Box::new(center(CenterUpdate::Gradient, "a")),
        _ => Box::new(0.3 * center(CenterUpdate::Wen, "a")),
    };
    let embeddings = waves(&[3, 2], 0.1).set_requires_grad(scenario != "frozen");
    let labels = Tensor::arange(3, (Kind::Int64, Device::Cpu));
    let _frozen = (scenario == "no_grad").then(no_grad_guard);
    let (evaluations, updated_every) = match scenario.as_str() {
        "few" => (99, usize::MAX),
        "updated" => (1000, 50),
        _ => (1000, usize::MAX),
    };
    for evaluation in 1..=evaluations {
        let _ = loss.forward(&embeddings, &labels).unwrap();
        if evaluation % updated_every == 0 {
            loss.update(&embeddings, &labels).unwrap();
        }
    }
}

#[test]
fn an_update_that_was_forgotten_is_told_once() {
    for (scenario, times) in [
        ("forgotten", 1),
        ("soft_lmccl", 1),
        ("few", 0),
        ("updated", 0),
        ("no_grad", 0),
        ("frozen", 0),
        ("gradient", 0),
    ] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["train::forgotten::forgetful", "--exact", "--ignored", "--nocapture"])
            .env(SCENARIO, scenario)
            .output()
            .unwrap();
        assert!(output.status.success(), "{scenario}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            said.matches("evaluated 100 times with a gradient and never updated").count(),
            times,
            "{scenario}: {said}"
        );
    }
}
