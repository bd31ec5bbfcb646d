//! What a study writes: records for scripts, tables for people, pictures and a report for looking.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write as _,
};

use anyhow::Result;
use serde::Serialize;
use soft_lmccl::loss::SoftLmcclConfig;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    args::Args,
    data::Domains,
    evaluate::CLASSES_FOR_JACKKNIFE,
    plan::{Column, Domain, Roles, Stage, UNTRAINED},
    printed::{FIGURES, Figure},
    settings::{Settings, Simulator, Size},
    store::{Store, to_json},
    summary::{Cell, Clustering, Difference, Estimate, SPLITS_FOR_INTERVAL, cell, difference},
    train::Record,
    webpage,
};
use crate::program::{self, aligned, say};

/// `results.json`.
#[derive(Debug, Serialize)]
pub struct Results {
    pub command: String,
    pub date: String,
    pub machine: String,
    pub settings: Settings,
    pub runs: usize,
    /// Of all runs together, one after another.
    pub seconds: f64,
    /// Threads of libtorch in some run; empty if one does not tell.
    pub threads: BTreeSet<usize>,
    /// The paper's rows, over all splits.
    pub tables: Vec<Cell>,
    /// Soft LMCCL against every other row.
    pub claim: Vec<Difference>,
    /// One change at a time, on split 0.
    pub beyond: Vec<Cell>,
    /// On classes that are neither trained on nor unknown.
    pub validation: Vec<Cell>,
}

/// The row that the paper claims to be best.
const CLAIMED: &str = "soft-lmccl";

impl Results {
    pub fn of(records: &[Record], settings: &Settings) -> Self {
        let rows = super::plan::rows(settings.soft_lmccl);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let (validation, tested): (Vec<Record>, Vec<Record>) =
            records.iter().cloned().partition(|record| record.run.roles == Roles::Validation);
        let first_split: Vec<Record> =
            tested.iter().filter(|record| record.run.roles == Roles::Split(0)).cloned().collect();
        let over_columns = |records: &[Record], rows: &[&str]| -> Vec<Cell> {
            Column::ALL.iter().flat_map(|column| rows.iter().filter_map(|row| cell(records, *column, row))).collect()
        };
        // The row without a network stands in every table.
        let printed: Vec<&str> = names.iter().copied().filter(|name| *name != UNTRAINED).collect();
        let others = distinct_rows(&first_split, &printed, settings);
        let others = if others == [UNTRAINED] { Vec::new() } else { others };
        let seed_pairs = |column: &Column| {
            let column = *column;
            let others = names.iter().filter(|name| **name != CLAIMED);
            others.filter_map(|other| difference(&tested, column, CLAIMED, other)).collect::<Vec<_>>()
        };
        Self {
            command: std::env::args().collect::<Vec<_>>().join(" "),
            date: OffsetDateTime::now_utc()
                .replace_nanosecond(0)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH)
                .format(&Rfc3339)
                .unwrap_or_default(),
            machine: machine(),
            settings: settings.clone(),
            runs: records.len(),
            seconds: records.iter().map(|record| record.seconds).sum(),
            threads: records.iter().map(|record| record.threads).collect::<Option<_>>().unwrap_or_default(),
            tables: over_columns(&tested, &names),
            claim: Column::ALL.iter().flat_map(seed_pairs).collect(),
            beyond: over_columns(&first_split, &others),
            validation: over_columns(&validation, &distinct_rows(&validation, &[], settings))
                .into_iter()
                .map(unprinted)
                .collect(),
        }
    }

    /// Titles of the paper's rows and of those beyond, in the order of the study.
    pub fn titles(cells: &[Cell]) -> Vec<(&str, &str)> {
        let mut titles: Vec<(&str, &str)> = Vec::new();
        for cell in cells {
            if !titles.iter().any(|(row, _)| *row == cell.row) {
                titles.push((&cell.row, &cell.title));
            }
        }
        titles
    }

    /// The columns that there are figures in, in the paper's order.
    pub fn columns(cells: &[Cell]) -> Vec<String> {
        let named = Column::ALL.iter().map(Column::to_string);
        named.filter(|column| cells.iter().any(|cell| cell.column == *column)).collect()
    }
}

/// A cell without the paper's figures, which are of other classes than the validation ones.
fn unprinted(mut cell: Cell) -> Cell {
    cell.figures.iter_mut().flatten().for_each(|figure| figure.printed = None);
    cell
}

/// Names of the rows of some records, without those of `except`, in the order of the plan; what is in no plan comes last.
fn distinct_rows<'a>(records: &'a [Record], except: &[&str], settings: &Settings) -> Vec<&'a str> {
    let plan = super::plan::plan(&Stage::ALL, settings.soft_lmccl, &Domain::ALL);
    let place = |name: &str| plan.iter().position(|run| run.recipe.name == name).unwrap_or(plan.len());
    let names: HashSet<&str> = records.iter().map(|record| record.run.recipe.name.as_str()).collect();
    let mut rows: Vec<&str> = names.into_iter().filter(|name| !except.contains(name)).collect();
    rows.sort_by_key(|name| (place(name), *name));
    rows
}

/// Writes all that can be written of what is finished.
///
/// # Errors
/// As reading records, drawing and writing.
pub fn write(args: &Args, domains: &Domains, store: &Store) -> Result<()> {
    let records = store.all()?;
    if records.is_empty() {
        say(format_args!("no run is finished yet"));
        return Ok(());
    }
    let results = Results::of(&records, domains.settings());
    program::write(&args.out.join("results.json"), &to_json(&results))?;
    program::write(&args.out.join("results.md"), markdown(&results).as_bytes())?;
    webpage::write(&args.out, &records, &results, domains)?;
    say(format_args!("\n{}", aligned(&auc_table(&results))));
    say(format_args!("{} runs, {}", results.runs, args.out.join("report.html").display()));
    Ok(())
}

/// What the numbers depend on, in lines.
pub fn notes(results: &Results) -> Vec<String> {
    let Settings { per_class, side, fit, soft_lmccl, network, .. } = &results.settings;
    let SoftLmcclConfig { lmcl, center, center_weight, .. } = soft_lmccl;
    vec![
        format!(
            "{} runs, {:.0} minutes of work; {}; {}{}",
            results.runs,
            results.seconds / 60.0,
            results.machine,
            results.date,
            with_threads(&results.threads)
        ),
        format!(
            "{per_class} subtomograms of {side}³ voxels a class, for training as for testing{}",
            match results.settings.simulator {
                Simulator::Ours => "",
                Simulator::Aitom => "; S1 and S2 as the toolbox of the paper's authors makes them (AITom)",
            }
        ),
        format!(
            "network {} with {} dimensions; {} epochs{} of AdamW, one cycle up to {}, batches of {}",
            network.architecture(),
            network.embedding_dim(),
            fit.epochs,
            if results.settings.fresh { ", each of other subtomograms," } else { "" },
            fit.learning_rate,
            fit.batch_size
        ),
        format!(
            "s = {} and α = {} in all rows that have them; Soft LMCCL with m = {}, λ = {center_weight}",
            lmcl.scale, center.rate, lmcl.margin
        ),
        "AUC, EER and TAR over all pairs of subtomograms of unknown classes; accuracy over 10 folds of sampled pairs, \
         one matching to two"
            .to_owned(),
        format!(
            "± is the standard deviation over seeds; in brackets a 95 % interval: a jackknife over the unknown classes \
             where there are {CLASSES_FOR_JACKKNIFE} of them at least, else Student's t over runs; and, of \
             {SPLITS_FOR_INTERVAL} splits or more, Student's t over splits"
        ),
        "the paper's own figures stand beside ours; its data, network and training are not these".to_owned(),
    ]
}

/// What libtorch ran with, where every run tells.
fn with_threads(threads: &BTreeSet<usize>) -> String {
    let counts: Vec<String> = threads.iter().map(usize::to_string).collect();
    match counts.as_slice() {
        [] => String::new(),
        [count] if count == "1" => "; libtorch with 1 thread".to_owned(),
        counts => format!("; libtorch with {} threads", counts.join(" or ")),
    }
}

fn markdown(results: &Results) -> String {
    let mut text = String::from("# The paper's tables, and beyond\n\n");
    let _ = writeln!(text, "```sh\n{}\n```\n", results.command);
    if results.settings.size == Size::Smoke {
        let _ = writeln!(text, "* {}", program::MEANINGLESS);
    }
    for note in notes(results) {
        let _ = writeln!(text, "* {note}");
    }
    for figure in [Figure::Auc, Figure::Eer, Figure::Accuracy, Figure::TarAtMille, Figure::TarAtTenthMille] {
        let _ = writeln!(text, "\n## {}\n\n{}", figure.title(), markdown_table(&figure_table(&results.tables, figure)));
    }
    if !results.claim.is_empty() {
        let _ = writeln!(text, "\n## The claim\n\nAUC of Soft LMCCL minus that of the row, on the same samples.\n");
        let _ = writeln!(text, "{}", markdown_table(&claim_table(results)));
    }
    for (title, cells) in [("Beyond the paper", &results.beyond), ("Validation classes", &results.validation)] {
        if !cells.is_empty() {
            let _ = writeln!(text, "\n## {title}: AUC\n\n{}", markdown_table(&figure_table(cells, Figure::Auc)));
        }
    }
    let _ = writeln!(
        text,
        "\n## Few-shot enrolment of the unknown classes\n\n{}",
        markdown_table(&few_shot_table(results))
    );
    let paper_grid = paper_grid_table(results);
    if paper_grid.len() > 1 {
        let _ = writeln!(
            text,
            "\n## As the code of the paper's authors computes it\n\nNot a measurement, and for setting beside the paper's \
             tables only: thresholds on a fixed grid of squared distances, which small embeddings fall through.\n\n{}",
            markdown_table(&paper_grid)
        );
    }
    text
}

/// One figure: a row for each loss, a column for each test.
pub fn figure_table(cells: &[Cell], figure: Figure) -> Vec<Vec<String>> {
    let columns = Results::columns(cells);
    let mut table = vec![std::iter::once("Loss".to_owned()).chain(columns.iter().cloned()).collect::<Vec<_>>()];
    for (row, title) in Results::titles(cells) {
        let mut line = vec![title.to_owned()];
        for column in &columns {
            let cell = cells.iter().find(|cell| cell.row == row && cell.column == *column);
            line.push(cell.map_or_else(|| "–".to_owned(), |cell| plain(cell, figure).join(" ")));
        }
        table.push(line);
    }
    table
}

/// A cell in pieces: the figure, its interval, the paper's.
pub fn plain(cell: &Cell, figure: Figure) -> Vec<String> {
    let Some(figures) = &cell.figures else { return vec!["failed".to_owned()] };
    let index = Figure::ALL.iter().position(|other| *other == figure).unwrap_or_default();
    let Estimate { mean, sd, interval, over_splits, resolvable, printed } = figures[index];
    let show = |value: f64| figure.format(value);
    if !resolvable {
        return vec!["below resolution".to_owned()];
    }
    let mut parts = vec![match sd {
        Some(sd) => format!("{} ± {}", show(mean), show(sd)),
        None => show(mean),
    }];
    if let Some((low, high)) = interval {
        let over = if cell.clustering == Clustering::Runs { " over runs" } else { "" };
        parts.push(format!("[{}, {}]{over}", show(low), show(high)));
    }
    if let Some((low, high)) = over_splits {
        parts.push(format!("[{}, {}] over splits", show(low), show(high)));
    }
    if let Some(printed) = printed {
        parts.push(format!("paper {}", show(printed)));
    }
    parts
}

/// Soft LMCCL against every other row.
pub fn claim_table(results: &Results) -> Vec<Vec<String>> {
    let columns = Results::columns(&results.tables);
    let mut table = vec![std::iter::once("against".to_owned()).chain(columns.iter().cloned()).collect::<Vec<_>>()];
    for (row, title) in Results::titles(&results.tables).into_iter().filter(|(row, _)| *row != CLAIMED) {
        let mut line = vec![title.to_owned()];
        for column in &columns {
            let found = results.claim.iter().find(|claim| claim.other == row && claim.column == *column);
            line.push(found.map_or_else(|| "–".to_owned(), difference_text));
        }
        table.push(line);
    }
    table
}

fn difference_text(claim: &Difference) -> String {
    let interval = claim.interval.map_or_else(String::new, |(low, high)| format!(" [{low:+.3}, {high:+.3}]"));
    let splits =
        claim.over_splits.map_or_else(String::new, |(low, high)| format!(", over splits [{low:+.3}, {high:+.3}]"));
    format!("{:+.3}{interval} {}{splits}", claim.difference, claim.verdict())
}

/// Accuracy of the nearest enrolled class, and OSCR, by number of examples.
pub fn few_shot_table(results: &Results) -> Vec<Vec<String>> {
    let examples = &results.settings.few_shot;
    let mut head = vec!["Loss".to_owned(), "test".to_owned()];
    head.extend(examples.iter().map(|k| format!("accuracy, {k} enrolled")));
    head.extend(examples.iter().map(|k| format!("OSCR, {k} enrolled")));
    let mut table = vec![head];
    for cell in results.tables.iter().chain(&results.beyond).filter(|cell| !cell.few_shot.is_empty()) {
        let mut line = vec![cell.title.clone(), cell.column.clone()];
        line.extend(cell.few_shot.iter().map(|shot| format!("{:.3}", shot.accuracy)));
        line.extend(cell.few_shot.iter().map(|shot| format!("{:.3}", shot.oscr)));
        table.push(line);
    }
    table
}

/// Whether networks still use their space.
pub fn collapse_table(results: &Results) -> Vec<Vec<String>> {
    let head = ["Loss", "test", "norm", "cosine within classes", "between classes", "effective rank"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for cell in results.tables.iter().chain(&results.beyond) {
        if let Some([norm, within, between, rank]) = cell.collapse {
            let mut line = vec![cell.title.clone(), cell.column.clone()];
            line.extend([format!("{norm:.2}"), format!("{within:.3}"), format!("{between:.3}"), format!("{rank:.1}")]);
            table.push(line);
        }
    }
    table
}

/// The figures of the tables on the paper's grid.
fn paper_grid_table(results: &Results) -> Vec<Vec<String>> {
    let head = ["Loss", "test"].into_iter().chain(Figure::ALL.map(Figure::title));
    let mut table = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    for cell in &results.tables {
        if let Some(figures) = cell.paper_grid {
            let mut line = vec![cell.title.clone(), cell.column.clone()];
            line.extend(Figure::ALL.iter().zip(figures).map(|(figure, value)| figure.format(value)));
            table.push(line);
        }
    }
    table
}

fn auc_table(results: &Results) -> Vec<Vec<String>> {
    let columns = Results::columns(&results.tables);
    let mut table = vec![std::iter::once("AUC".to_owned()).chain(columns.iter().cloned()).collect::<Vec<_>>()];
    let index = FIGURES - 2;
    debug_assert_eq!(Figure::ALL[index], Figure::Auc);
    for (row, title) in Results::titles(&results.tables) {
        let mut line = vec![title.to_owned()];
        for column in &columns {
            let cell = results.tables.iter().find(|cell| cell.row == row && cell.column == *column);
            let mean = cell.and_then(|cell| cell.figures.as_ref()).map(|figures| figures[index].mean);
            line.push(mean.map_or_else(|| "–".to_owned(), |mean| format!("{mean:.3}")));
        }
        table.push(line);
    }
    table
}

fn markdown_table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if index == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    text
}

/// The processor, as far as the system tells.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    format!("{} cores{}", cores, model.map_or_else(String::new, |model| format!(" of {model}")))
}
