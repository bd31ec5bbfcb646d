//! What is written: tables, calibration, report.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ndarray::Array2;
use serde::Serialize;
use soft_lmccl::{
    cect::{CandidateTable, Volume},
    metrics::EmbeddingSet,
};
use soft_lmccl_report::{EmbeddingPanel, Page, SliceGroup, SliceRow, embedding_map, pca_2d, slices};

use super::{args::Args, calibrate::Calibration};
use crate::program::{lock::LOCK, refused, write as write_file};

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Match,
    Doubtful,
    Rejected,
    /// Too much of its box lies outside the tomogram.
    Outside,
    /// Of another tomogram.
    NotAsked,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Doubtful => "doubtful",
            Self::Rejected => "rejected",
            Self::Outside => "outside",
            Self::NotAsked => "not_asked",
        }
    }
}

/// A candidate that was looked at, or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub verdict: Verdict,
    pub score: Option<f64>,
    pub nearest: Option<String>,
}

impl Judged {
    pub fn not_asked() -> Self {
        Self { verdict: Verdict::NotAsked, score: None, nearest: None }
    }
}

/// What pictures show.
pub struct Pictures<'a> {
    /// The rows that have an embedding.
    pub judged: &'a [usize],
    /// By row.
    pub boxes: &'a [Option<Volume>],
    /// Of the boxes, in Angstrom.
    pub voxel_size: f64,
    pub places: &'a [[f64; 3]],
    pub embeddings: &'a EmbeddingSet,
}

/// Boxes of a verdict that are shown.
const SHOWN: usize = 12;
/// Slices that the left picture is the mean of: 70 Å.
const THICK: usize = 7;

/// The files of `out`, whose tables have the extension of the one that was read.
fn names(args: &Args) -> [PathBuf; 6] {
    let text = args.candidates.to_string_lossy().to_ascii_lowercase();
    let kind =
        ["star", "tsv", "txt"].into_iter().find(|kind| text.trim_end_matches(".gz").ends_with(kind)).unwrap_or("csv");
    [
        &format!("candidates.{kind}"),
        &format!("matches.{kind}"),
        "calibration.json",
        "boxes.svg",
        "map.svg",
        "report.html",
    ]
    .map(|name: &str| args.out.join(name))
}

/// Whether what lies in `out` under these names is of this program and no input: it is going to be replaced.
///
/// # Errors
/// The first file that must not be.
pub fn require_own(out: &Path, args: &Args) -> Result<()> {
    let inputs = [Some(&args.candidates), Some(&args.enroll), args.background.as_ref(), Some(&args.tomogram)];
    let inputs: Vec<_> = inputs.into_iter().flatten().filter_map(|path| path.canonicalize().ok()).collect();
    let is_own = out.join(LOCK).exists();
    let kept = |path: &PathBuf| path.canonicalize().is_ok_and(|found| !is_own || inputs.contains(&found));
    match names(args).iter().find(|path| kept(path)) {
        None => Ok(()),
        Some(path) => {
            Err(refused("--out", "a directory of its own, since files of these names are replaced", path.display()))
        }
    }
}

/// # Errors
/// The system; drawing.
pub fn write(
    args: &Args,
    table: &CandidateTable,
    rows: &[Judged],
    calibration: &Calibration,
    sentences: &[String],
    pictures: &Pictures<'_>,
) -> Result<()> {
    let column = |value: &dyn Fn(&Judged) -> String| rows.iter().map(value).collect::<Vec<_>>();
    // A word in every line: readers of STAR files split at white space.
    let missing = || "-".to_owned();
    let columns = [
        ("softLmcclScore", column(&|row| row.score.map_or_else(missing, |score| format!("{score:.6}")))),
        ("softLmcclNearest", column(&|row| row.nearest.clone().unwrap_or_else(missing))),
        ("softLmcclVerdict", column(&|row| row.verdict.name().to_owned())),
    ];
    let [all, matches, calibration_json, boxes_svg, map_svg, report] = names(args);
    write_file(&all, table.annotated(&columns, |_| true)?.as_bytes())?;
    let is_match = |row: usize| rows[row].verdict == Verdict::Match;
    write_file(&matches, table.annotated(&columns, is_match)?.as_bytes())?;
    #[derive(Serialize)]
    struct Written<'a> {
        #[serde(flatten)]
        calibration: &'a Calibration,
        said: &'a [String],
    }
    let json = serde_json::to_string_pretty(&Written { calibration, said: sentences }).expect("plain data");
    write_file(&calibration_json, (json + "\n").as_bytes())?;
    draw_boxes(&boxes_svg, rows, pictures, calibration)?;
    draw_map(&map_svg, rows, pictures)?;
    let mut page = Page::new("Candidates", format!("{} candidates of {}", rows.len(), args.candidates.display()));
    let section = page.section("What was found");
    section.list(sentences);
    section.picture(&boxes_svg, "Left the mean of seven slices, right the middle one; protein dark.")?;
    section.picture(&map_svg, "Where candidates lie, from above, and how alike their embeddings are.")?;
    Ok(page.write(&report)?)
}

/// The best, the doubtful and the rejected: highest, nearest to the threshold, lowest.
fn draw_boxes(path: &Path, rows: &[Judged], pictures: &Pictures<'_>, calibration: &Calibration) -> Result<()> {
    let mut by_score: Vec<(usize, f64)> =
        pictures.judged.iter().filter_map(|&row| Some((row, rows[row].score?))).collect();
    by_score.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
    let of = |verdict| by_score.iter().copied().filter(move |(row, _)| rows[*row].verdict == verdict);
    let groups = [
        ("the best matches", of(Verdict::Match).take(SHOWN).collect::<Vec<_>>()),
        ("doubtful: the nearest to the threshold", of(Verdict::Doubtful).take(SHOWN).collect()),
        (
            "rejected: the least alike",
            by_score
                .iter()
                .rev()
                .copied()
                .filter(|(row, _)| rows[*row].verdict == Verdict::Rejected)
                .take(SHOWN)
                .collect(),
        ),
    ];
    let cells: Vec<Vec<Cell>> = groups
        .iter()
        .map(|(_, group)| {
            let cell = |&(row, score): &(usize, f64)| Cell::of(pictures.boxes[row].as_ref()?, row, score);
            group.iter().filter_map(cell).collect()
        })
        .collect();
    let slice_rows: Vec<Vec<SliceRow<'_>>> = cells
        .iter()
        .map(|cells| {
            cells
                .iter()
                .map(|cell| SliceRow { label: &cell.label, clean: &cell.mean, noisy: &cell.middle, side: cell.side })
                .collect()
        })
        .collect();
    let shown: Vec<_> = groups
        .iter()
        .zip(&slice_rows)
        .filter(|(_, rows)| !rows.is_empty())
        .map(|((title, _), rows)| SliceGroup { title, rows })
        .collect();
    let subtitle = format!("row of the table and score; accepted above {:.3}", calibration.threshold);
    Ok(slices(path, "Candidates", &subtitle, Some(pictures.voxel_size), &shown)?)
}

/// One box.
struct Cell {
    label: String,
    side: usize,
    mean: Vec<f32>,
    middle: Vec<f32>,
}

impl Cell {
    fn of(volume: &Volume, row: usize, score: f64) -> Option<Self> {
        let (side, middle) = (volume.side(), volume.side() / 2);
        let mut mean = vec![0.0; side * side];
        for z in middle.saturating_sub(THICK / 2)..(middle + THICK / 2 + 1).min(side) {
            for (sum, voxel) in mean.iter_mut().zip(volume.slice(z)?) {
                *sum += voxel;
            }
        }
        Some(Self { label: format!("{}: {score:.3}", row + 1), side, mean, middle: volume.slice(middle)?.to_vec() })
    }
}

fn draw_map(path: &Path, rows: &[Judged], pictures: &Pictures<'_>) -> Result<()> {
    const NAMES: [&str; 3] = ["match", "doubtful", "rejected"];
    let labels: Vec<u32> = pictures
        .judged
        .iter()
        .map(|&row| match rows[row].verdict {
            Verdict::Match => 0,
            Verdict::Doubtful => 1,
            _ => 2,
        })
        .collect();
    let seen: Vec<f32> = pictures
        .judged
        .iter()
        .flat_map(|&row| {
            let [_, y, x] = pictures.places[row];
            [x as f32, y as f32]
        })
        .collect();
    let from_above = Array2::from_shape_vec((labels.len(), 2), seen).expect("two numbers a place");
    let mut panels = vec![EmbeddingPanel {
        title: "places",
        points: from_above.view(),
        labels: &labels,
        axes: ["x in voxels", "y in voxels"],
    }];
    // One embedding has no directions to be drawn along.
    let flat = pca_2d(pictures.embeddings.view()).ok();
    if let Some(flat) = &flat {
        panels.push(EmbeddingPanel {
            title: "embeddings",
            points: flat.view(),
            labels: &labels,
            axes: ["PCA 1", "PCA 2"],
        });
    }
    Ok(embedding_map(path, "Candidates by verdict", &NAMES, &panels)?)
}
