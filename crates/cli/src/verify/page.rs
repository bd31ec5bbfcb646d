//! The report: tables and curves on one page.

use std::path::Path;

use anyhow::{Context, Result};
use soft_lmccl_report::{CohortRate, Page, RocSeries, Table, TableCell, cohort_table, det, roc, threshold_curves};

use crate::program::TERMS;

use super::blocks::Block;
use super::figures::Figures;
use super::scored::Scored;

/// Writes the page; pictures are in it.
///
/// # Errors
/// As drawing and writing.
pub fn write(path: &Path, blocks: &[Block], figures: &Figures, scored: &Scored) -> Result<()> {
    let mut page = Page::new("Verification", figures.data.clone());
    let pictures = tempfile::tempdir().context("cannot make a directory for pictures")?;
    let file = |name: &str| pictures.path().join(name);
    for Block { title, head, rows, remarks } in blocks {
        let section = page.section(*title);
        let cells = |row: &Vec<String>| row.iter().map(|cell| TableCell::from(cell.as_str())).collect();
        section.table(&Table {
            caption: (*title).to_owned(),
            head: head.iter().map(|heading| (*heading).to_owned()).collect(),
            rows: rows.iter().map(cells).collect(),
        });
        remarks.iter().for_each(|remark| {
            section.text(remark);
        });
        match (*title, &figures.choosing, &figures.cohorts) {
            ("Figures", ..) => {
                let series = [RocSeries::new("scores", &scored.roc)];
                roc(file("roc.svg"), "TAR against FAR", &series)?;
                section.picture(file("roc.svg"), "TAR against FAR of comparisons, FAR on a logarithmic axis.")?;
                det(file("det.svg"), "Detection error tradeoff", &series)?;
                section.picture(file("det.svg"), "FNMR against FMR on axes of normal deviates (ISO/IEC 19795-1).")?;
            }
            ("Choosing a threshold", Some(table), _) => {
                threshold_curves(file("thresholds.svg"), "Errors against the threshold", table)?;
                section.picture(file("thresholds.svg"), "FAR and FRR with their intervals against the threshold.")?;
            }
            ("Cohorts", _, Some(matrix)) => {
                for (rate, name) in [(CohortRate::Fnmr, "FNMR"), (CohortRate::Fmr, "FMR")] {
                    let picture = file(&format!("{name}.svg"));
                    cohort_table(&picture, &format!("{name} between cohorts"), matrix, rate)?;
                    section.picture(&picture, &format!("{name} of each two cohorts at one threshold."))?;
                }
            }
            _ => {}
        }
    }
    page.section("Terms").fold("Terms and symbols", TERMS);
    Ok(page.write(path)?)
}
