//! `report.html` and its pictures.

use std::path::{Path, PathBuf};

use crate::program::{MEANINGLESS, TERMS, make_dir, named};
use anyhow::Result;
use ndarray::Array2;
use soft_lmccl_report::{
    EmbeddingPanel, LineAxes, LinePanel, Page, RocSeries, SliceGroup, SliceRow, Table, TableCell, det, embedding_map,
    heat_table, line_panels, roc, slices,
};

use super::{
    data::{Domains, Slab},
    evaluate::{BINS, CLASS_FAR, Evaluation},
    output::{Results, claim_table, collapse_table, few_shot_table, notes, plain},
    plan::{Column, Roles, Run},
    printed::Figure,
    recipe::Supply,
    settings::Size,
    summary::Cell,
    train::Record,
};

/// So many couples of classes are shown: those that are confused most.
const CONFUSED: usize = 3;

/// Draws the pictures into `out/pictures` and puts them into `out/report.html` with the tables.
///
/// # Errors
/// As drawing and writing.
pub fn write(out: &Path, records: &[Record], results: &Results, domains: &Domains) -> Result<()> {
    let pictures = out.join("pictures");
    make_dir(&pictures)?;
    let title = "Open-set verification of unseen macromolecules";
    let lead = match results.settings.size {
        Size::Smoke => MEANINGLESS,
        _ => "Soft LMCCL and its parts: the paper's tables, with seeds, splits and intervals.",
    };
    let mut page = Page::new(title, lead);
    page.section("How it was made").code(&results.command).list(&notes(results)).fold("Terms and symbols", TERMS);
    tables(&mut page, results);
    claim(&mut page, results);
    let album = Album { pictures, records: first_runs(records, results), domains };
    album.curves(&mut page)?;
    album.classes(&mut page)?;
    album.maps(&mut page)?;
    album.training(&mut page)?;
    beyond(&mut page, results);
    album.samples(&mut page)?;
    Ok(page.write(out.join("report.html"))?)
}

fn tables(page: &mut Page, results: &Results) {
    let section = page.section("Tables");
    section.text("Rows and columns of the paper; S1→S2 is trained on S1 and tested on S2.");
    if results.settings.size != Size::Smoke {
        section.text("The best of a column is bold.");
    }
    for figure in [Figure::Auc, Figure::Eer, Figure::Accuracy, Figure::TarAtMille, Figure::TarAtTenthMille] {
        section.table(&table(&results.tables, figure, results));
    }
}

fn claim(page: &mut Page, results: &Results) {
    if results.claim.is_empty() {
        return;
    }
    let section = page.section("The claim");
    section.text(
        "The paper claims that Soft LMCCL beats softmax, LMCL and LMCL + center in AUC on every test. Here is its AUC \
         minus that of each other row, on the same samples, with a 95 % interval over the unknown classes; \
         “better” and “worse” where that interval leaves out 0.",
    );
    section.table(&text_table("AUC of Soft LMCCL minus AUC of the row", claim_table(results)));
}

fn beyond(page: &mut Page, results: &Results) {
    let section = page.section("Beyond the paper");
    if !results.beyond.is_empty() {
        section.text("One change at a time, and rows that the paper does not have; split 0.");
        section.table(&table(&results.beyond, Figure::Auc, results));
    }
    if !results.validation.is_empty() {
        section.text("Hyper-parameters on classes that are neither trained on nor among the unknown ones.");
        section.table(&table(&results.validation, Figure::Auc, results));
    }
    section.text(
        "Few-shot enrolment: some examples of the unknown classes are enrolled, all others are probes. Accuracy with \
         all classes enrolled, OSCR with every other one.",
    );
    section.table(&text_table("Enrolled unknown classes", few_shot_table(results)));
    section
        .text("Collapse: a network whose classes all point one way has a high cosine between classes and a low rank.");
    section.table(&text_table("Raw embeddings of unknown classes", collapse_table(results)));
}

/// One figure of some cells, the best of each column set apart where the figures mean something.
fn table(cells: &[Cell], figure: Figure, results: &Results) -> Table {
    let columns = Results::columns(cells);
    let index = Figure::ALL.iter().position(|other| *other == figure).unwrap_or_default();
    let mean = |cell: &Cell| cell.figures.as_ref().filter(|f| f[index].resolvable).map(|figures| figures[index].mean);
    let best = |column: &String| {
        let means = cells.iter().filter(|cell| cell.column == *column).filter_map(mean);
        means.reduce(|a, b| if (figure == Figure::Eer) == (b < a) { b } else { a })
    };
    let best: Vec<Option<f64>> = columns.iter().map(best).collect();
    let rows = Results::titles(cells).into_iter().map(|(row, title)| {
        let mut line = vec![TableCell::from(title)];
        for (column, best) in columns.iter().zip(&best) {
            let cell = cells.iter().find(|cell| cell.row == row && cell.column == *column);
            line.push(cell.map_or_else(
                || "–".into(),
                |cell| {
                    let mut parts = plain(cell, figure).into_iter();
                    let first = TableCell::from(parts.next().unwrap_or_default());
                    let is_best = results.settings.size != Size::Smoke
                        && mean(cell).is_some_and(|mean| best.is_some_and(|best| mean.total_cmp(&best).is_eq()));
                    parts.fold(first, TableCell::with_note).strong_if(is_best)
                },
            ));
        }
        line
    });
    Table {
        caption: figure.title().to_owned(),
        rows: rows.collect(),
        head: std::iter::once("Loss".to_owned()).chain(columns).collect(),
    }
}

fn text_table(caption: &str, mut rows: Vec<Vec<String>>) -> Table {
    let head = if rows.is_empty() { Vec::new() } else { rows.remove(0) };
    let cells = |row: Vec<String>| row.into_iter().map(TableCell::from).collect();
    Table { caption: caption.to_owned(), head, rows: rows.into_iter().map(cells).collect() }
}

/// The first seed of split 0 of each of the paper's rows: what pictures show.
fn first_runs<'a>(records: &'a [Record], results: &Results) -> Vec<&'a Record> {
    let titles = Results::titles(&results.tables);
    let mut shown: Vec<&Record> = Vec::new();
    for (row, _) in titles {
        for domain in super::plan::Domain::ALL {
            let of_row = records.iter().filter(|r| r.run.recipe.name == row && r.run.train == domain);
            let first = of_row.filter(|r| r.run.roles == Roles::Split(0)).min_by_key(|r| r.run.seed);
            shown.extend(first);
        }
    }
    shown
}

struct Album<'a> {
    pictures: PathBuf,
    records: Vec<&'a Record>,
    domains: &'a Domains,
}

impl<'a> Album<'a> {
    fn path(&self, name: &str) -> PathBuf {
        self.pictures.join(format!("{}.svg", name.replace('→', "-to-")))
    }

    /// Each row's evaluation in a column.
    fn shown(&self, column: Column) -> Vec<(&'a str, &'a Record, &'a Evaluation)> {
        let trained = self.records.iter().filter(|record| record.run.train == column.train);
        trained
            .filter_map(|record| Some((record.run.recipe.title.as_str(), *record, record.evaluation(column.test)?)))
            .collect()
    }

    fn columns(&self) -> impl Iterator<Item = (Column, Vec<(&'a str, &'a Record, &'a Evaluation)>)> {
        Column::ALL.into_iter().map(|column| (column, self.shown(column))).filter(|(_, shown)| !shown.is_empty())
    }

    fn curves(&self, page: &mut Page) -> Result<()> {
        let section = page.section("Curves");
        section.text("The first seed of split 0. FAR is logarithmic: what a picker of rare particles lives by.");
        for (column, shown) in self.columns() {
            let series = |&(title, _, e): &(&str, &Record, &Evaluation)| RocSeries {
                name: title.to_owned(),
                points: e.curve.clone(),
                matching: e.pairs.0,
                non_matching: e.pairs.1,
            };
            let series: Vec<_> = shown.iter().map(series).collect();
            let path = self.path(&format!("roc-{column}"));
            roc(&path, &format!("Verification, {column}"), &series)?;
            section.picture(&path, &format!("TAR against FAR, {column}"))?;
            let path = self.path(&format!("det-{column}"));
            det(&path, &format!("Detection error tradeoff, {column}"), &series)?;
            section.picture(&path, &format!("FRR against FAR, {column}"))?;
            let panels: Vec<_> = shown.iter().map(|(title, _, e)| histogram_panel(title, e)).collect();
            let axes = LineAxes { x: "cosine", y: "share of pairs", logarithmic: false, filled: true };
            let path = self.path(&format!("scores-{column}"));
            line_panels(&path, &format!("Scores of pairs, {column}"), "all pairs of unknown classes", axes, &panels)?;
            section.picture(&path, &format!("Matching and non-matching pairs by cosine, {column}"))?;
        }
        Ok(())
    }

    fn classes(&self, page: &mut Page) -> Result<()> {
        let section = page.section("Classes");
        section.text(&format!(
            "Each unknown class at the threshold that accepts {} % of all non-matching pairs, and the classes that are \
             taken for one another.",
            100.0 * CLASS_FAR
        ));
        for (column, shown) in self.columns() {
            let rows: Vec<(String, Vec<f64>)> = shown
                .iter()
                .filter_map(|(title, _, e)| Some(((*title).to_owned(), e.by_class.as_ref()?.tar.clone())))
                .collect();
            let Some((_, _, first)) = shown.first().filter(|_| !rows.is_empty()) else { continue };
            let path = self.path(&format!("classes-{column}"));
            let subtitle = format!("share of matching pairs accepted at FAR {} %", 100.0 * CLASS_FAR);
            heat_table(&path, &format!("TAR of each class, {column}"), &subtitle, &first.classes, &rows)?;
            section.picture(&path, &format!("TAR of each unknown class, {column}"))?;
        }
        for (column, shown) in self.columns() {
            // The row that the paper is about.
            let Some((title, record, e)) = shown.iter().find(|(_, r, _)| r.run.recipe.name == "soft-lmccl") else {
                continue;
            };
            let Some(by_class) = &e.by_class else { continue };
            let Run { roles, seed, .. } = record.run;
            let source = self.domains.source(column.test, roles, seed, Supply::default())?;
            let mut groups: Vec<(String, Vec<(String, Slab)>)> = Vec::new();
            for pair in by_class.confused.iter().take(CONFUSED) {
                let names = [pair.classes.0, pair.classes.1].map(|class| e.classes[class as usize].clone());
                let group = format!(
                    "{} and {}: {:.1} % of pairs accepted; the two most alike, cosine {:.3}",
                    names[0],
                    names[1],
                    100.0 * pair.far,
                    pair.score
                );
                let slabs = [source.test_slab(pair.rows.0)?, source.test_slab(pair.rows.1)?];
                groups.push((group, names.into_iter().zip(slabs).collect()));
            }
            let path = self.path(&format!("confused-{column}"));
            draw_slabs(
                &path,
                &format!("Confused by {title}, {column}"),
                &source.describe(),
                source.voxel_size(),
                &groups,
            )?;
            section.picture(&path, &format!("Classes confused most, without noise and with it, {column}"))?;
        }
        Ok(())
    }

    fn maps(&self, page: &mut Page) -> Result<()> {
        let section = page.section("Embeddings");
        section.text(
            "Embeddings of unknown classes in the plane. PCA keeps distances as far as a plane can; t-SNE keeps \
             neighborhoods only: sizes of groups and distances between them mean nothing there.",
        );
        for (column, shown) in self.columns() {
            let maps: Vec<_> =
                shown.iter().filter_map(|(title, _, e)| Some((*title, e.map.as_ref()?, &e.classes))).collect();
            let Some((_, _, classes)) = maps.first() else { continue };
            let names: Vec<_> = classes.iter().map(|class| named(class)).collect();
            type Points = fn(&super::evaluate::Map) -> &[[f32; 2]];
            for (name, points) in [("PCA", (|map| &map.pca) as Points), ("t-SNE", |map| &map.tsne)] {
                let axes = [1, 2].map(|axis| format!("{name} {axis}"));
                let flat: Vec<Array2<f32>> = maps
                    .iter()
                    .map(|(_, map, _)| {
                        let points = points(map);
                        Array2::from_shape_fn((points.len(), 2), |(row, column)| points[row][column])
                    })
                    .collect();
                let panels: Vec<_> = maps
                    .iter()
                    .zip(&flat)
                    .map(|((title, map, _), points)| EmbeddingPanel {
                        title,
                        points: points.view(),
                        labels: &map.labels,
                        axes: [&axes[0], &axes[1]],
                    })
                    .collect();
                let path = self.path(&format!("{}-{column}", name.to_lowercase()));
                embedding_map(&path, &format!("{name} of the unknown classes, {column}"), &names, &panels)?;
                section.picture(&path, &format!("{name} of embeddings, {column}"))?;
            }
        }
        Ok(())
    }

    fn training(&self, page: &mut Page) -> Result<()> {
        let section = page.section("Training");
        section.text("The terms of each loss, before weighting, as means over some steps.");
        for domain in super::plan::Domain::ALL {
            let trained = self.records.iter().filter(|record| record.run.train == domain);
            let panels: Vec<_> = trained
                .filter(|record| !record.curve.points.is_empty())
                .map(|record| {
                    let terms = record.curve.terms.iter().enumerate().map(|(term, name)| {
                        let value = |(step, values): &(usize, Vec<f64>)| (*step as f64, values[term]);
                        (name.clone(), record.curve.points.iter().map(value).filter(|p| p.1.is_finite()).collect())
                    });
                    LinePanel { title: record.run.recipe.title.clone(), lines: terms.collect() }
                })
                .collect();
            if panels.is_empty() {
                continue;
            }
            let axes = LineAxes { x: "step", y: "loss", logarithmic: true, filled: false };
            let path = self.path(&format!("training-{domain}"));
            line_panels(&path, &format!("Training on {domain}"), "terms before weighting", axes, &panels)?;
            section.picture(&path, &format!("Loss against step, {domain}"))?;
        }
        Ok(())
    }

    fn samples(&self, page: &mut Page) -> Result<()> {
        let section = page.section("Subtomograms");
        for domain in super::plan::Domain::ALL {
            let Some(record) = self.records.iter().find(|record| record.run.train == domain) else { continue };
            let source = self.domains.source(domain, record.run.roles, record.run.seed, Supply::default())?;
            let [known, unknown] = source.first_slabs()?;
            let groups = [
                ("known: trained on".to_owned(), source.known().into_iter().zip(known).collect()),
                ("unknown: verified".to_owned(), source.unknown().into_iter().zip(unknown).collect()),
            ];
            let path = self.path(&format!("samples-{domain}"));
            draw_slabs(&path, &format!("Subtomograms of {domain}"), &source.describe(), source.voxel_size(), &groups)?;
            section.picture(&path, &format!("Central slices of each class, {domain}: without noise and with it"))?;
        }
        Ok(())
    }
}

fn draw_slabs(
    path: &Path,
    title: &str,
    subtitle: &str,
    voxel_size: Option<f64>,
    groups: &[(String, Vec<(String, Slab)>)],
) -> Result<()> {
    let rows: Vec<Vec<SliceRow<'_>>> = groups
        .iter()
        .map(|(_, slabs)| {
            slabs
                .iter()
                .map(|(name, slab)| SliceRow { label: name, clean: &slab.clean, noisy: &slab.noisy, side: slab.side })
                .collect()
        })
        .collect();
    let groups: Vec<_> =
        groups.iter().zip(&rows).map(|((title, _), rows)| SliceGroup { title, rows: rows.as_slice() }).collect();
    Ok(slices(path, title, subtitle, voxel_size, &groups)?)
}

/// Shares of the pairs of each kind by cosine, as steps through the middles of the bins.
fn histogram_panel(title: &str, evaluation: &Evaluation) -> LinePanel {
    let [matching, non_matching] = &evaluation.histogram;
    let line = |bins: &[u64]| {
        let total = bins.iter().sum::<u64>().max(1) as f64;
        let middle = |bin: usize| (bin as f64 + 0.5) / BINS as f64 * 2.0 - 1.0;
        bins.iter().enumerate().map(|(bin, count)| (middle(bin), *count as f64 / total)).collect()
    };
    LinePanel {
        title: title.to_owned(),
        lines: vec![("matching".to_owned(), line(matching)), ("non-matching".to_owned(), line(non_matching))],
    }
}
