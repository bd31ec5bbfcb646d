//! The plan, tested as data.
#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::{collections::HashSet, sync::PoisonError};

use soft_lmccl::cect::catalogue;

use super::{
    classes,
    data::Domains,
    plan::{self, Column, Domain, Roles, Run, Stage},
    printed::printed,
    recipe::Objective,
    settings::{Settings, Simulator, Size},
    tests::{TORCH, base},
};

#[test]
fn the_tables_are_the_papers() {
    let titles: Vec<String> = plan::rows(base()).into_iter().map(|row| row.title).collect();
    assert_eq!(
        titles,
        [
            "radial profile, no network",
            "softmax",
            "center",
            "LMCL, m = 0.35",
            "LMCL, m = 0.5",
            "LMCL, m = 0.65",
            "LMCL, m = 0.7",
            "LMCL + 0.01 center",
            "LMCL + 0.1 center",
            "LMCL + 0.2 center",
            "LMCL + 0.5 center",
            "LMCL + center",
            "Soft LMCCL"
        ]
    );
    let columns: Vec<String> = Column::ALL.iter().map(Column::to_string).collect();
    assert_eq!(columns, ["S1", "S2", "R1", "S1→S2", "S2→S1", "S1→R1", "S2→R1"]);
}

/// As many subtomograms as before, each once; what has no passes to make fresh stays as it is.
#[test]
fn fresh_runs_see_as_much_once() {
    let runs = plan::plan(&[Stage::Tables, Stage::Ours], base(), &Domain::ALL);
    for run in runs {
        let fresh = run.clone().fresh(8);
        let passes = |run: &Run| run.recipe.supply.times * run.recipe.regime.epochs.unwrap_or(8);
        assert_eq!((passes(&fresh), fresh.id()), (passes(&run), run.id()));
        let stays = run.train == Domain::R1 || run.recipe.name == plan::UNTRAINED || run.recipe.supply.streamed;
        assert_eq!(fresh == run, stays, "{}", run.id());
        assert_eq!(fresh.clone().fresh(8), fresh);
        assert!(stays || (fresh.recipe.supply.streamed && fresh.recipe.regime.epochs == Some(1)));
    }
}

#[test]
fn one_network_serves_all_its_columns() {
    let runs = plan::plan(&[Stage::Tables], base(), &Domain::ALL);
    assert_eq!(runs.len(), 13 * 3 * 2);
    for column in Column::ALL {
        let serving = runs.iter().filter(|run| run.train == column.train && run.tests.contains(&column.test)).count();
        assert_eq!(serving, 13 * 2, "{column}");
    }
    assert!(runs.iter().all(|run| run.tests[0] == run.train));
    assert!(runs.iter().filter(|run| run.train == Domain::R1).all(|run| run.tests == [Domain::R1]));
    // Without data for R1 its columns are left out, not failed.
    let runs = plan::plan(&[Stage::Tables], base(), &[Domain::S1, Domain::S2]);
    assert_eq!(runs.len(), 13 * 2 * 2);
    assert!(runs.iter().all(|run| run.tests.len() == 2));
}

#[test]
fn losses_are_compared_over_seeds_and_splits() {
    let simulator = Simulator::Aitom;
    let domains = Domains::open(&Settings { simulator, ..Settings::of(Size::Smoke) }).unwrap();
    let runs = plan::plan(&[Stage::Losses], base(), &domains.available());
    let trained = runs.iter().filter(|run| run.recipe.objective != Objective::RadialProfile);
    assert_eq!((runs.len(), trained.count()), (250, 200));
    assert!(runs.iter().all(|run| run.tests.len() == 2 && run.tests[0] == run.train));
    // Whose simulator it was is part of what a record is of; without a word it is ours, as in older records.
    let fingerprint = |simulator| Settings { simulator, ..Settings::of(Size::Smoke) }.fingerprint(&runs[0]);
    assert_ne!(fingerprint(Simulator::Ours), fingerprint(simulator));
    let old = serde_json::to_string(&Settings::of(Size::Smoke)).unwrap();
    assert!(!old.contains("simulator"));
}

#[test]
fn stages_share_runs_and_keep_groups_together() {
    let all = plan::plan(&Stage::ALL, base(), &Domain::ALL);
    let ids: HashSet<String> = all.iter().map(Run::id).collect();
    assert_eq!(ids.len(), all.len());
    assert!(ids.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))), "{ids:?}");
    for stage in Stage::ALL {
        let one = plan::plan(&[stage], base(), &Domain::ALL);
        assert!(!one.is_empty() && one.iter().all(|run| all.contains(run)), "{stage}");
    }
    // The sweep of λ holds the row of the tables.
    let ablations = plan::plan(&[Stage::Ablations], base(), &Domain::ALL);
    assert!(ablations.iter().any(|run| run.id() == "S2-split0-seed1-soft-lmccl"));
    let group = |run: &Run| (run.roles, run.seed, run.train);
    let changes = all.windows(2).filter(|pair| group(&pair[0]) != group(&pair[1])).count();
    let groups: HashSet<_> = all.iter().map(group).collect();
    assert_eq!(changes + 1, groups.len(), "each group's data is rendered once");
}

#[test]
fn every_recipe_is_a_loss() {
    use soft_lmccl::tch::{Device, nn};
    let _alone = TORCH.lock().unwrap_or_else(PoisonError::into_inner);
    for run in plan::plan(&Stage::ALL, base(), &Domain::ALL) {
        if run.recipe.objective == Objective::RadialProfile {
            continue;
        }
        let vs = nn::VarStore::new(Device::Cpu);
        let classes = run.recipe.known.unwrap_or(11) as i64;
        run.recipe.objective.init(&vs.root(), classes, 8).unwrap_or_else(|error| panic!("{}: {error}", run.id()));
    }
}

#[test]
fn no_kin_of_an_unknown_class_is_known() {
    let id = |class: &soft_lmccl::cect::ClassId| catalogue::entries()[class.0 as usize].id();
    for index in 1..50 {
        let split = classes::roles(Roles::Split(index)).unwrap();
        assert_eq!((split.num_known(), split.unknown().len()), (17, 6), "split {index}");
        let unknown: Vec<_> = split.unknown().iter().map(id).collect();
        for kin in [&["1aon", "1oel"][..], &["4v5d", "1ffk", "4v4r-30S"], &["1auy", "1f2n"]] {
            let held_out = kin.iter().filter(|id| unknown.contains(id)).count();
            assert!(held_out == 0 || held_out == kin.len(), "split {index}: {unknown:?}");
        }
    }
    assert_ne!(classes::roles(Roles::Split(1)).unwrap(), classes::roles(Roles::Split(2)).unwrap());
    assert_eq!(classes::roles(Roles::Split(0)).unwrap(), catalogue::split());
}

#[test]
fn hyper_parameters_are_chosen_on_classes_of_their_own() {
    let (tables, validation) = (catalogue::split(), classes::roles(Roles::Validation).unwrap());
    assert_eq!((validation.num_known(), validation.unknown().len()), (17, 6));
    let of_tables = |class| tables.known().contains(class) || tables.unknown().contains(class);
    assert!(!validation.unknown().iter().any(of_tables));
    assert_eq!(validation.known(), tables.known());
}

#[test]
fn a_proteasome_is_known_with_its_double_or_not_at_all() {
    use soft_lmccl::cect::{ClassId, neuron};
    assert_eq!(classes::neuron(Roles::Split(0)).unwrap(), neuron::split());
    for index in 1..10 {
        let split = classes::neuron(Roles::Split(index)).unwrap();
        assert_eq!((split.num_known(), split.unknown().len()), (3, 3));
        assert_eq!(split.label(ClassId(0)).is_some(), split.label(ClassId(4)).is_some(), "split {index}");
    }
}

#[test]
fn printed_figures_belong_to_rows() {
    let s1 = Column::new(Domain::S1, Domain::S1);
    assert_eq!(printed(s1, "soft-lmccl"), Some([0.794, 0.54761, 0.13613, 0.862, 0.222]));
    assert_eq!(printed(Column::new(Domain::R1, Domain::R1), "softmax"), None);
    let rows = plan::rows(base());
    let of = |column: Column| rows.iter().filter(|row| printed(column, &row.name).is_some()).count();
    // Tables 1 and 2, the latter without its last row, and four columns of Table 4.
    assert_eq!(Column::ALL.map(of), [12, 11, 0, 4, 4, 4, 4]);
}
