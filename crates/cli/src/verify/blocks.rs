//! Figures as tables, for a terminal and for a page alike.

use soft_lmccl::metrics::{CohortMatrix, Interval, OperatingPoint, ThresholdRow};

use super::figures::{ByClass, Figures, Judged, Search};
use super::scored::Scored;
use crate::program::aligned;

/// A title, a table if there is one, and remarks below it.
pub struct Block {
    pub title: &'static str,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    pub remarks: Vec<String>,
}

/// So many classes, and so many pairs of classes, are worth a person's time.
const SHOWN: usize = 10;

/// All tables.
pub fn of(figures: &Figures, scored: &Scored) -> Vec<Block> {
    let mut blocks = vec![data(figures), rates(figures)];
    blocks.extend(figures.threshold.as_ref().map(|judged| threshold(figures, judged)));
    blocks.extend(choosing(figures));
    blocks.extend(figures.by_class.as_ref().map(|found| by_class(found, scored)));
    blocks.extend(figures.by_class.as_ref().filter(|found| !found.confused.is_empty()).map(|f| confused(f, scored)));
    blocks.extend(figures.cohorts.as_ref().map(cohorts));
    blocks.extend(figures.identification.as_ref().map(identification));
    blocks
}

/// For a terminal.
pub fn text(blocks: &[Block]) -> String {
    let mut text = String::new();
    for (number, Block { title, head, rows, remarks }) in blocks.iter().enumerate() {
        if number > 0 {
            text += &format!("\n{title}\n");
        }
        let head = head.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>();
        let head = if head.iter().all(String::is_empty) { vec![] } else { vec![head] };
        text += &aligned(&[head, rows.clone()].concat());
        remarks.iter().for_each(|remark| text += &format!("{remark}\n"));
    }
    text.trim_end().to_owned()
}

fn interval(interval: Option<Interval>) -> String {
    interval.map_or_else(|| "-".to_owned(), |Interval { low, high, .. }| format!("{low:.5} to {high:.5}"))
}

/// Rates of any size: one in a million and one half.
fn rate(rate: f64) -> String {
    if rate != 0.0 && rate < 1e-3 { format!("{rate:.3e}") } else { format!("{rate:.5}") }
}

/// Where a curve begins, nothing is accepted.
fn place(point: &OperatingPoint) -> String {
    if point.threshold.is_finite() { format!("at {:.5}", point.threshold) } else { "with nothing accepted".to_owned() }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn data(figures: &Figures) -> Block {
    let mut rows = vec![row(["data", &figures.data])];
    if let (Some(count), Some(dim)) = (figures.embeddings, figures.dim) {
        rows.push(row(["embeddings", &format!("{count} of {dim} dimensions")]));
    }
    if let Some(classes) = figures.classes {
        rows.push(row(["classes", &classes.to_string()]));
    }
    let pairs = format!("{} matching, {} non-matching ({})", figures.positives, figures.negatives, figures.compared);
    rows.push(row(["pairs", &pairs]));
    if let Some(notes) = &figures.trials {
        let unknown = notes.first_unknown.as_ref().map(|id| format!(" (first `{id}`)")).unwrap_or_default();
        let odd = format!(
            "{} trials; left out: {} with a sample that has no embedding{unknown}, {} of a sample with itself; counted: {} \
             repeated, {} that contradict the labels",
            notes.trials, notes.unknown, notes.self_pairs, notes.duplicates, notes.contradictions
        );
        rows.push(row(["list", &odd]));
    }
    let mut remarks: Vec<String> = figures.hint.iter().cloned().collect();
    remarks.extend(figures.no_threshold.as_ref().map(|reason| format!("no threshold was chosen: {reason}")));
    let level = format!("{} %, {}", 100.0 * figures.level, figures.intervals);
    rows.extend([row(["intervals", &level]), row(["seconds", &format!("{:.3}", figures.seconds)])]);
    Block { title: "Data", head: vec!["", ""], rows, remarks }
}

fn rates(figures: &Figures) -> Block {
    let Figures { standard, min_dcf, .. } = figures;
    let eer = match figures.eer_threshold {
        Some(threshold) => format!("{:.6} at {threshold:.5}", figures.eer),
        None => format!("{:.6}", figures.eer),
    };
    let mut rows = vec![
        row([
            "AUC",
            &format!("{:.6}", figures.auc),
            &interval(figures.auc_interval),
            "chance that a matching pair scores above a non-matching one; ties count one half",
        ]),
        row([
            "EER",
            &eer,
            &interval(figures.eer_interval),
            "FMR = FNMR, on the line between two points (ISO/IEC 19795-1)",
        ]),
    ];
    for at in &figures.tar_at_far {
        let value = match at.resolvable {
            true => format!("{} at {:.5}", rate(at.tar), at.threshold),
            false => "below resolution".to_owned(),
        };
        let name = format!("TAR @ FAR {:e}", at.target_far);
        let what = format!("1 - FNMR at the largest FMR <= {:e}: {} false matches", at.target_far, at.false_accepts);
        rows.push(row([&name, &value, &interval(at.interval), &what]));
    }
    // What is given by rates of one's own is not given again.
    let fixed = [("FMR100", &standard.fmr100), ("FMR1000", &standard.fmr1000), ("FMR10000", &standard.fmr10000)];
    for (name, at) in fixed {
        let value = if at.resolvable { rate(at.point.fnmr()) } else { "below resolution".to_owned() };
        rows.push(row([name, &value, "", &format!("lowest FNMR with FMR <= {:e} (FVC2000)", at.target_far)]));
    }
    let zero = |point: &OperatingPoint, value: f64| format!("{} {}", rate(value), place(point));
    let (zero_fmr, zero_fnmr) = (&standard.zero_fmr, &standard.zero_fnmr);
    rows.push(row(["ZeroFMR", &zero(zero_fmr, zero_fmr.fnmr()), "", "lowest FNMR without a false match (FVC2000)"]));
    rows.push(row([
        "ZeroFNMR",
        &zero(zero_fnmr, zero_fnmr.fmr()),
        "",
        "lowest FMR without a false non-match (FVC2000)",
    ]));
    rows.push(row([
        "best accuracy",
        &format!("{:.6}", figures.best_accuracy),
        "",
        "most pairs judged right, of this mixture",
    ]));
    let decidability = standard.decidability.map_or_else(|| "undefined".to_owned(), |d| format!("{d:.4}"));
    rows.push(row(["d'", &decidability, "", "distance of the means over the root mean variance (Daugman 2000)"]));
    let min_dcf_value = format!("{} {}", rate(min_dcf.cost), place(&min_dcf.point));
    rows.push(row(["minDCF", &min_dcf_value, "", "least expected cost of a trial (NIST SRE 2016), costs below"]));
    if let Some(actual) = figures.actual_dcf {
        rows.push(row(["actual DCF", &rate(actual.cost), "", "cost at the Bayes threshold of log-likelihood ratios"]));
    }
    if let Some(cllr) = figures.cllr {
        rows.push(row(["Cllr", &format!("{cllr:.5}"), "", "cost of log-likelihood ratios in bits (Brümmer 2006)"]));
    }
    rows.push(row([
        "minCllr",
        &format!("{:.5}", figures.min_cllr),
        "",
        "the same after the best monotone calibration",
    ]));
    Block { title: "Figures", head: vec!["figure", "value", "interval", "definition"], rows, remarks: Vec::new() }
}

fn threshold(figures: &Figures, judged: &Judged) -> Block {
    let Judged { value, here, .. } = judged;
    let what = match judged.origin {
        "applied" => "saved, applied to these pairs",
        _ => "chosen on these pairs, on which its rates are too good; judge it on others (--threshold)",
    };
    let mut rows = vec![
        row(["threshold", &format!("{value:.6}"), "", &format!("accept from this score on: {what}")]),
        row([
            "FMR",
            &rate(here.fmr()),
            &interval(judged.fmr_interval),
            "false match rate, of comparisons (ISO/IEC 19795-1)",
        ]),
        row(["FNMR", &rate(here.fnmr()), &interval(judged.fnmr_interval), "false non-match rate, of comparisons"]),
        row(["HTER", &rate(judged.hter), "", "(FMR + FNMR)/2"]),
    ];
    if let Some(rates) = &figures.transactions {
        for (name, value, what) in [
            ("FTE", rates.fte, "failure-to-enroll rate (ISO/IEC 19795-1)"),
            ("FTA", rates.fta, "failure-to-acquire rate"),
            ("FAR", rates.far, "of transactions: FMR·(1 - FTA)"),
            ("FRR", rates.frr, "of transactions: FTA + FNMR·(1 - FTA)"),
            ("GFAR", rates.gfar, "generalized: FAR·(1 - FTE)"),
            ("GFRR", rates.gfrr, "generalized: FTE + (1 - FTE)·FRR"),
        ] {
            rows.push(row([name, &rate(value), "", what]));
        }
    }
    let fitted = judged.fitted_on.iter().filter(|_| judged.origin == "applied").map(|on| {
        let fitted = judged.threshold.fitted();
        let (fmr, fnmr) = (rate(fitted.fmr()), rate(fitted.fnmr()));
        format!("It was fitted on {}, {} ({} classes): FMR {fmr}, FNMR {fnmr} there.", on.data, on.date, on.classes)
    });
    Block {
        title: "Threshold",
        head: vec!["figure", "value", "interval", "definition"],
        remarks: fitted.collect(),
        rows,
    }
}

fn choosing(figures: &Figures) -> Option<Block> {
    let table = figures.choosing.as_ref()?;
    let line = |ThresholdRow { cost, excess, tar, far }: &ThresholdRow| {
        let point = cost.point;
        let cells = [format!("{:.5}", point.threshold), rate(point.far()), interval(*far), rate(point.tar())];
        [cells.to_vec(), vec![interval(*tar), rate(cost.cost), rate(*excess)]].concat()
    };
    let (cost, best) = (table.cost, table.best());
    let remark = format!(
        "Cost of a trial: {} a miss, {} a false alarm, {} of the pairs matching; least {} {}.",
        cost.miss,
        cost.false_alarm,
        cost.prior,
        rate(best.cost),
        place(&best.point)
    );
    Some(Block {
        title: "Choosing a threshold",
        head: vec!["threshold", "FAR", "interval", "TAR", "interval", "cost", "more than least"],
        rows: table.rows.iter().map(line).collect(),
        remarks: vec![remark],
    })
}

fn by_class(found: &ByClass, scored: &Scored) -> Block {
    let lines = found.tar.iter().take(SHOWN);
    let lines = lines.map(|pair| row([&scored.class_name(pair.first), &rate(pair.rate()), &pair.pairs.to_string()]));
    let (shown, all) = (found.tar.len().min(SHOWN), found.tar.len());
    let remark =
        format!("At a score of {:.5}, the nearest at which classes are counted; {shown} of {all}.", found.threshold);
    Block {
        title: "Classes of the lowest TAR",
        head: vec!["class", "TAR", "pairs"],
        rows: lines.collect(),
        remarks: vec![remark],
    }
}

fn confused(found: &ByClass, scored: &Scored) -> Block {
    let line = |pair: &soft_lmccl::metrics::ClassPair| {
        let names = [pair.first, pair.second].map(|label| scored.class_name(label));
        row([&names[0], &names[1], &rate(pair.rate()), &pair.accepted.to_string(), &pair.pairs.to_string()])
    };
    Block {
        title: "Classes most confused",
        head: vec!["class", "and", "FAR", "accepted", "pairs"],
        rows: found.confused.iter().take(SHOWN).map(line).collect(),
        remarks: Vec::new(),
    }
}

fn cohorts(matrix: &CohortMatrix) -> Block {
    let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), rate);
    let line = |cell: &soft_lmccl::metrics::CohortCell| {
        let [a, b] = cell.cohorts.map(|cohort| matrix.cohorts[cohort].as_str());
        let (fnmr, fmr) = (optional(cell.fnmr()), optional(cell.fmr()));
        let (of_fnmr, of_fmr) = (interval(cell.fnmr_interval), interval(cell.fmr_interval));
        row([a, b, &cell.matching.to_string(), &fnmr, &of_fnmr, &cell.non_matching.to_string(), &fmr, &of_fmr])
    };
    Block {
        title: "Cohorts",
        head: vec!["cohort", "and", "matching", "FNMR", "interval", "non-matching", "FMR", "interval"],
        rows: matrix.cells.iter().map(line).collect(),
        remarks: vec![format!("At one threshold for all, {:.6} (ISO/IEC 19795-10).", matrix.threshold)],
    }
}

fn identification(search: &Search) -> Block {
    let Search { rank_1, auroc, dir_at_fpir, at } = search;
    let optional = |value: Option<f64>| value.map_or_else(|| "undefined".to_owned(), rate);
    let of =
        |estimate: &Option<soft_lmccl::metrics::ClassEstimate>| interval(estimate.as_ref().map(|found| found.interval));
    let share = |count: u64, all: u64| if all == 0 { "undefined".to_owned() } else { rate(count as f64 / all as f64) };
    let condition = format!("(N = {}, R = {}, T = {:.5})", at.enrolled, at.rank, at.threshold);
    let mut rows = vec![
        row([
            &format!("FNIR{condition}"),
            &share(at.misses, at.known),
            &of(&at.fnir),
            &format!(
                "{} of {} enrolled probes without their class among R from T on (ISO/IEC 19795-1)",
                at.misses, at.known
            ),
        ]),
        row([
            &format!("FPIR{condition}"),
            &share(at.false_alarms, at.unknown),
            &of(&at.fpir),
            &format!("{} of {} other probes with a candidate from T on", at.false_alarms, at.unknown),
        ]),
        row(["rank-1 rate", &optional(*rank_1), "", "enrolled probes nearest to their own class, no threshold"]),
        row(["AUROC", &optional(*auroc), "", "chance that an enrolled probe scores above another one"]),
    ];
    for point in dir_at_fpir {
        let value = if point.resolvable { rate(point.dir) } else { "below resolution".to_owned() };
        let what = "enrolled probes found at rank 1 from the threshold of that FPIR on (Phillips 2011)";
        rows.push(row([&format!("DIR @ FPIR {:e}", point.target_fpir), &value, "", what]));
    }
    Block {
        title: "Identification",
        head: vec!["figure", "value", "interval", "definition"],
        rows,
        remarks: Vec::new(),
    }
}
