//! The study as data: which networks are trained, on what, and where each is tested.
//!
//! Nothing here computes anything: the plan of a stage is a list of [`Run`]s, and two stages that ask
//! for the same run share it, because its identity is what it consists of.

use std::{collections::HashSet, fmt};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use soft_lmccl::{
    cect::AugmentConfig,
    loss::{
        ArcFaceConfig, CenterDistance, CenterLossConfig, CenterSpace, CenterUpdate, LmclConfig, Reduction,
        SoftLmcclConfig, SoftmaxBranch,
    },
    train::Sampling,
};

use super::recipe::{Objective, Recipe, Regime, Supply};
use crate::carryover::PROFILE;

/// The name of the row that needs no network.
pub const UNTRAINED: &str = "radial-profile";

/// A data set of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Domain {
    /// Simulated, SNR 0.03.
    S1,
    /// Simulated, SNR 0.05.
    S2,
    /// What stands for the subtomograms of a rat neuron.
    R1,
}

impl Domain {
    pub const ALL: [Self; 3] = [Self::S1, Self::S2, Self::R1];
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::S1 => "S1",
            Self::S2 => "S2",
            Self::R1 => "R1",
        })
    }
}

/// Where a network was trained and where it is tested: a column of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    pub train: Domain,
    pub test: Domain,
}

impl Column {
    /// The paper's Tables 1 to 4, in their order.
    pub const ALL: [Self; 7] = [
        Self::new(Domain::S1, Domain::S1),
        Self::new(Domain::S2, Domain::S2),
        Self::new(Domain::R1, Domain::R1),
        Self::new(Domain::S1, Domain::S2),
        Self::new(Domain::S2, Domain::S1),
        Self::new(Domain::S1, Domain::R1),
        Self::new(Domain::S2, Domain::R1),
    ];

    pub const fn new(train: Domain, test: Domain) -> Self {
        Self { train, test }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.train == self.test { write!(f, "{}", self.test) } else { write!(f, "{}→{}", self.train, self.test) }
    }
}

/// Which classes are known and which are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Roles {
    /// Known against unknown: 0 is the split of the main experiment, others are drawn.
    Split(u32),
    /// The known classes of split 0, and classes for choosing hyper-parameters that are neither among
    /// them nor among the unknown ones.
    Validation,
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split(index) => write!(f, "split{index}"),
            Self::Validation => f.write_str("validation"),
        }
    }
}

/// A part of the study that is worth running, and looking at, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The paper's rows and columns: two seeds of one split.
    Tables,
    /// Three further seeds of the tables.
    Seeds,
    /// Three further splits of the tables.
    Splits,
    /// Soft LMCCL against softmax, LMCL and LMCL + center: five seeds of five splits, on S1 and S2.
    Losses,
    /// λ, α, s and m of Soft LMCCL, on validation classes.
    Validation,
    /// What makes Soft LMCCL work: one change at a time.
    Ablations,
    /// How many known classes it takes.
    Known,
    /// The best recipe within the size.
    Ours,
}

impl Stage {
    pub const ALL: [Self; 8] = [
        Self::Tables,
        Self::Seeds,
        Self::Splits,
        Self::Losses,
        Self::Validation,
        Self::Ablations,
        Self::Known,
        Self::Ours,
    ];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tables => "tables",
            Self::Seeds => "seeds",
            Self::Splits => "splits",
            Self::Losses => "losses",
            Self::Validation => "validation",
            Self::Ablations => "ablations",
            Self::Known => "known",
            Self::Ours => "ours",
        })
    }
}

/// One network to be trained, and the sets that it is tested on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub train: Domain,
    pub roles: Roles,
    pub seed: u64,
    pub recipe: Recipe,
    /// The training set's own first.
    pub tests: Vec<Domain>,
}

impl Run {
    /// The name of its file: what it is, in words.
    pub fn id(&self) -> String {
        format!("{}-{}-seed{}-{}", self.train, self.roles, self.seed, self.recipe.name)
    }

    /// The same on subtomograms that are seen once, as many as so many passes see otherwise. Files of R1 are what they are.
    pub fn fresh(mut self, passes: usize) -> Self {
        let Recipe { objective, supply, regime, .. } = &mut self.recipe;
        if *objective != Objective::RadialProfile && !supply.streamed && self.train != Domain::R1 {
            supply.times *= regime.epochs.replace(1).unwrap_or(passes);
            supply.streamed = true;
        }
        self
    }
}

/// The runs of some stages, each once, those that share data next to each other.
///
/// `base` is Soft LMCCL as the tables train it; `available` are the domains that there is data of.
pub fn plan(stages: &[Stage], base: SoftLmcclConfig, available: &[Domain]) -> Vec<Run> {
    let mut runs: Vec<Run> = stages.iter().flat_map(|stage| stage_runs(*stage, base, available)).collect();
    let mut seen = HashSet::new();
    runs.retain(|run| seen.insert(run.id()));
    // Stable: within a group the rows keep their order. Groups of the first split and seed come first,
    // so that an interrupted study has whole columns.
    runs.sort_by_key(|run| (run.roles, run.seed, run.train));
    runs
}

fn stage_runs(stage: Stage, base: SoftLmcclConfig, available: &[Domain]) -> Vec<Run> {
    let (recipes, roles, seeds, domains) = match stage {
        Stage::Tables => (rows(base), vec![Roles::Split(0)], vec![1, 2], &Domain::ALL[..]),
        Stage::Seeds => (rows(base), vec![Roles::Split(0)], vec![3, 4, 5], &Domain::ALL[..]),
        Stage::Splits => (rows(base), (1..=3).map(Roles::Split).collect(), vec![1, 2], &Domain::ALL[..]),
        Stage::Losses => {
            let simulated = &[Domain::S1, Domain::S2][..];
            (compared(base), (0..5).map(Roles::Split).collect(), (1..=5).collect(), simulated)
        }
        Stage::Validation => (chosen_from(base), vec![Roles::Validation], vec![1, 2], &[Domain::S2][..]),
        Stage::Ablations => (ablations(base), vec![Roles::Split(0)], vec![1, 2], &[Domain::S2][..]),
        Stage::Known => (fewer_known(base), vec![Roles::Split(0)], vec![1, 2], &[Domain::S2][..]),
        Stage::Ours => (ours(base), vec![Roles::Split(0)], vec![1, 2], &[Domain::S1, Domain::S2][..]),
    };
    let mut runs = Vec::new();
    for &train in domains.iter().filter(|domain| available.contains(domain)) {
        for &roles in &roles {
            for &seed in &seeds {
                let tests = tests(train, roles, available);
                let run = |recipe: &Recipe| Run { train, roles, seed, recipe: recipe.clone(), tests: tests.clone() };
                runs.extend(recipes.iter().map(run));
            }
        }
    }
    runs
}

/// The columns of the tables that a network trained on `train` has figures for.
fn tests(train: Domain, roles: Roles, available: &[Domain]) -> Vec<Domain> {
    let has_classes = |test: Domain| roles != Roles::Validation || test != Domain::R1;
    let mut tests: Vec<_> = Column::ALL
        .iter()
        .filter(|column| column.train == train && available.contains(&column.test) && has_classes(column.test))
        .map(|column| column.test)
        .collect();
    tests.sort_by_key(|test| *test != train);
    tests
}

/// The rows of the paper's tables, in its order but for λ = 1, which it prints before the others, below the row that needs
/// no network: whoever is not ahead of it has learned nothing.
pub fn rows(base: SoftLmcclConfig) -> Vec<Recipe> {
    let SoftLmcclConfig { lmcl, center, .. } = base;
    let mut rows = vec![
        radial_profile(),
        Recipe::new("softmax", "softmax", Objective::Softmax),
        Recipe::new("center", "center", Objective::Center(center)),
    ];
    rows.extend([0.35, 0.5, 0.65, 0.7].map(|margin| {
        let lmcl = LmclConfig { margin, ..lmcl };
        Recipe::new(format!("lmcl-{margin}"), format!("LMCL, m = {margin}"), Objective::Lmcl(lmcl))
    }));
    rows.extend([0.01, 0.1, 0.2, 0.5, 1.0].map(|weight| {
        let title = if weight < 1.0 { format!("LMCL + {weight} center") } else { "LMCL + center".to_owned() };
        Recipe::new(format!("lmcl-center-{weight}"), title, Objective::LmclCenter { lmcl, center, weight })
    }));
    rows.push(Recipe::new("soft-lmccl", "Soft LMCCL", Objective::SoftLmccl(base)));
    rows
}

/// Soft LMCCL and what it is compared with first, of the paper's rows.
fn compared(base: SoftLmcclConfig) -> Vec<Recipe> {
    const NAMES: [&str; 5] = [UNTRAINED, "softmax", "lmcl-0.35", "lmcl-center-0.5", "soft-lmccl"];
    rows(base).into_iter().filter(|row| NAMES.contains(&row.name.as_str())).collect()
}

/// The row that needs no network.
fn radial_profile() -> Recipe {
    Recipe::new(UNTRAINED, PROFILE, Objective::RadialProfile)
}

/// Where the search for hyper-parameters starts: a scale that 17 classes need by CosFace's bound, with room, and a
/// weight at which the terms are about equal.
const SEARCHED_FROM: (f64, f64) = (30.0, 0.3);

/// What was chosen from on classes that no table is about: the defaults, and the row that is ours.
fn chosen_from(base: SoftLmcclConfig) -> Vec<Recipe> {
    let own = ours(base).into_iter().filter(|recipe| matches!(recipe.objective, Objective::SoftLmccl(_)));
    std::iter::once(radial_profile()).chain(search()).chain(own).collect()
}

/// What the defaults were chosen from: one hyper-parameter at a time, then the better ones together.
fn search() -> Vec<Recipe> {
    let (scale, center_weight) = SEARCHED_FROM;
    let lmcl = LmclConfig { scale, ..Default::default() };
    let start = SoftLmcclConfig { lmcl, center_weight, ..Default::default() };
    let mut recipes = sweep(start);
    // A table of these alone does not tell what "Soft LMCCL" and the values not named are.
    recipes[0].title = format!(
        "Soft LMCCL, s = {scale}, λ = {center_weight}, m = {}, α = {}: the others but for what they name",
        start.lmcl.margin, start.center.rate
    );
    for (scale, weight, margin) in [(16.0, 1.0, 0.35), (8.0, 1.0, 0.35), (16.0, 1.0, 0.1), (16.0, 3.0, 0.35)] {
        let lmcl = LmclConfig { scale, margin, ..start.lmcl };
        let config = SoftLmcclConfig { lmcl, center_weight: weight, ..start };
        let name = format!("soft-lmccl-s-{scale}-lambda-{weight}-m-{margin}");
        let title = format!("Soft LMCCL, s = {scale}, λ = {weight}, m = {margin}");
        recipes.push(Recipe::new(name, title, Objective::SoftLmccl(config)));
    }
    recipes
}

/// One hyper-parameter at a time, around `base`.
fn sweep(base: SoftLmcclConfig) -> Vec<Recipe> {
    let mut recipes = vec![Recipe::new("soft-lmccl", "Soft LMCCL", Objective::SoftLmccl(base))];
    let mut add = |symbol: &str, name: &str, value: f64, config: SoftLmcclConfig| {
        if config != base {
            let title = format!("Soft LMCCL, {symbol} = {value}");
            recipes.push(Recipe::new(format!("soft-lmccl-{name}-{value}"), title, Objective::SoftLmccl(config)));
        }
    };
    for value in [0.0, 0.01, 0.03, 0.1, 0.3, 1.0] {
        add("λ", "lambda", value, SoftLmcclConfig { center_weight: value, ..base });
    }
    for rate in [0.05, 0.2, 0.5, 0.9] {
        add("α", "alpha", rate, SoftLmcclConfig { center: CenterLossConfig { rate, ..base.center }, ..base });
    }
    for scale in [8.0, 16.0, 30.0, 64.0] {
        add("s", "s", scale, SoftLmcclConfig { lmcl: LmclConfig { scale, ..base.lmcl }, ..base });
    }
    for margin in [0.0, 0.1, 0.2, 0.35, 0.5] {
        add("m", "m", margin, SoftLmcclConfig { lmcl: LmclConfig { margin, ..base.lmcl }, ..base });
    }
    recipes
}

/// One ingredient at a time, beside the values of [`sweep`].
fn ablations(base: SoftLmcclConfig) -> Vec<Recipe> {
    let mut recipes = sweep(base);
    let center = |center| SoftLmcclConfig { center, ..base };
    let variants = [
        (
            "center-sum",
            "center summed over the batch",
            center(CenterLossConfig { reduction: Reduction::Sum, ..base.center }),
        ),
        (
            "center-unit-sphere",
            "centers on the unit sphere",
            center(CenterLossConfig { space: CenterSpace::UnitSphere, ..base.center }),
        ),
        (
            "center-euclidean",
            "center distance not squared",
            center(CenterLossConfig { distance: CenterDistance::Euclidean, ..base.center }),
        ),
        ("rule-ema", "centers by moving average", center(CenterLossConfig { rule: CenterUpdate::Ema, ..base.center })),
        (
            "rule-class-mean",
            "centers by class mean",
            center(CenterLossConfig { rule: CenterUpdate::ClassMean, ..base.center }),
        ),
        (
            "rule-gradient",
            "centers by the optimizer",
            center(CenterLossConfig { rule: CenterUpdate::Gradient, ..base.center }),
        ),
        (
            "shared-head",
            "softmax on the cosines of LMCL",
            SoftLmcclConfig { softmax: SoftmaxBranch::SharedCosine, ..base },
        ),
        ("no-softmax", "no softmax term", SoftLmcclConfig { softmax_weight: 0.0, ..base }),
        (
            "official-code",
            "the authors' code: summed center, λ = 1, α = 0.05",
            SoftLmcclConfig { lmcl: base.lmcl, ..SoftLmcclConfig::official_code() },
        ),
    ];
    recipes.extend(variants.map(|(name, what, config)| {
        Recipe::new(format!("soft-lmccl-{name}"), format!("Soft LMCCL, {what}"), Objective::SoftLmccl(config))
    }));
    let arcface = ArcFaceConfig { scale: base.lmcl.scale, ..Default::default() };
    recipes.push(Recipe::new(
        format!("arcface-{}", arcface.margin),
        format!("ArcFace, m = {} rad", arcface.margin),
        Objective::ArcFace(arcface),
    ));
    recipes.push(Recipe {
        sampling: Sampling::Balanced { samples_per_class: 4 },
        ..Recipe::new(
            "soft-lmccl-balanced",
            "Soft LMCCL, four samples of each class in a batch",
            Objective::SoftLmccl(base),
        )
    });
    let SoftLmcclConfig { center, center_weight: weight, .. } = base;
    recipes.push(Recipe::new(
        format!("softmax-center-{weight}"),
        format!("softmax + {weight} center"),
        Objective::SoftmaxCenter { center, weight },
    ));
    recipes
}

/// Soft LMCCL, LMCL and softmax on the first so many of the known classes.
fn fewer_known(base: SoftLmcclConfig) -> Vec<Recipe> {
    let compared = [
        Recipe::new("softmax", "softmax", Objective::Softmax),
        Recipe::new("lmcl-0.35", "LMCL, m = 0.35", Objective::Lmcl(LmclConfig { margin: 0.35, ..base.lmcl })),
        Recipe::new("soft-lmccl", "Soft LMCCL", Objective::SoftLmccl(base)),
    ];
    let with = |known: Option<usize>| compared.clone().map(|recipe| recipe.with_known(known));
    [Some(4), Some(8), Some(12), None].into_iter().flat_map(with).collect()
}

/// The rows that are ours: half as many known classes again, and embeddings that are means over the half turns. Four
/// times the subtomograms of each class, seen in other half turns and shifts in every pass; or as many in all, of four
/// times the classes, most of them invented; or so many that each is seen once.
fn ours(base: SoftLmcclConfig) -> Vec<Recipe> {
    let kept = Supply { times: 4, extra_classes: true, ..Default::default() };
    let invented = Supply { times: 1, invented: 78, ..kept };
    let passes =
        Regime { epochs: Some(6), augment: Some(AugmentConfig::default()), half_turns: true, ..Default::default() };
    let stream = Supply { times: 48, streamed: true, ..kept };
    let once = Regime { epochs: Some(1), half_turns: true, ..Default::default() };
    let ways = [
        ("ours", "four times the data, extra classes, half turns", kept, passes.clone()),
        ("ours-invented", "78 invented classes, extra classes, half turns", invented, passes),
        ("ours-stream", "48 times the data seen once, extra classes, half turns", stream, once),
    ];
    let objectives =
        [("softmax", "softmax", Objective::Softmax), ("soft-lmccl", "Soft LMCCL", Objective::SoftLmccl(base))];
    let recipe = |(way, what, supply, regime): &(&str, &str, Supply, Regime)| {
        objectives.map(|(name, title, objective)| Recipe {
            supply: *supply,
            regime: regime.clone(),
            ..Recipe::new(format!("{way}-{name}"), format!("ours: {title}, {what}"), objective)
        })
    };
    ways.iter().flat_map(recipe).collect()
}
