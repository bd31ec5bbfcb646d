//! Rates by cohort against pairs counted one by one, and their intervals against those of the whole.

use approx::assert_relative_eq;
use soft_lmccl_metrics::{ClassCounts, CohortMatrix, Intervals, PairProtocol};

use super::{F64_REL, population};

#[test]
fn cells_count_the_pairs_of_their_cohorts() {
    let set = population(&[5, 7, 4, 6, 8, 3, 5], 3);
    let names = ["b", "a", "c"];
    let cohorts: Vec<&str> = (0..set.len()).map(|row| names[row * row % 3]).collect();
    let matrix = CohortMatrix::of(&set, &cohorts, 0.6, 0.9).unwrap();
    let (mut matching, mut non_matching) = (0, 0);
    for first in ["a", "b"] {
        for second in ["a", "b"] {
            let cell = matrix.cell(first, second).unwrap();
            let mut counts = [0; 4];
            for i in 0..set.len() {
                for j in (0..i).filter(|&j| {
                    let pair = [cohorts[i], cohorts[j]];
                    pair == [first, second] || pair == [second, first]
                }) {
                    let (same, accepted) = (set.labels()[i] == set.labels()[j], set.cosine(i, j) >= 0.6);
                    counts[if same { 0 } else { 2 }] += 1;
                    counts[if same { 1 } else { 3 }] += u64::from(same != accepted);
                }
            }
            let found = [cell.matching, cell.false_rejects, cell.non_matching, cell.false_accepts];
            assert_eq!(found, counts, "{first} {second}");
        }
    }
    for cell in &matrix.cells {
        matching += cell.matching;
        non_matching += cell.non_matching;
        for (rate, interval) in [(cell.fnmr(), cell.fnmr_interval), (cell.fmr(), cell.fmr_interval)] {
            assert!(interval.unwrap().contains(rate.unwrap()), "{cell:?}");
        }
    }
    assert_eq!((matching, non_matching), (set.pair_counts().matching, set.pair_counts().non_matching));
    // Squares leave 0 or 1 divided by 3: nobody is of the third cohort.
    assert_eq!((matrix.cohorts.len(), matrix.cells.len()), (2, 3));
    assert!(matrix.cell("a", "c").is_none());
    assert_eq!(matrix.to_string().lines().count(), 3 + 3);
}

#[test]
fn one_cohort_has_the_intervals_of_the_whole() {
    let set = population(&[5, 7, 4, 6, 8, 3, 5], 3);
    let matrix = CohortMatrix::of(&set, &vec!["all"; set.len()], 0.6, 0.9).unwrap();
    let (roc, counts) = (set.pair_scores(PairProtocol::All).unwrap().roc(), ClassCounts::of(&set, &[0.6]).unwrap());
    let intervals = Intervals::new(&roc, &counts, 0.9).unwrap();
    let [cell] = &matrix.cells[..] else { panic!("one cell") };
    let (fnmr, fmr) = (intervals.frr(0.6).unwrap().interval, intervals.far(0.6).unwrap().interval);
    for (found, expected) in [(cell.fnmr_interval.unwrap(), fnmr), (cell.fmr_interval.unwrap(), fmr)] {
        assert_relative_eq!(found.low, expected.low, max_relative = F64_REL);
        assert_relative_eq!(found.high, expected.high, max_relative = F64_REL);
    }
}

#[test]
fn cohorts_too_small_for_an_interval_have_none() {
    let set = population(&[3, 3, 3, 1], 3);
    let cohorts = ["x", "x", "x", "x", "x", "y", "y", "y", "y", "z"];
    let matrix = CohortMatrix::of(&set, &cohorts, 0.6, 0.9).unwrap();
    let alone = matrix.cell("y", "z").unwrap();
    assert_eq!((alone.matching, alone.fnmr(), alone.fnmr_interval, alone.fmr_interval), (0, None, None, None));
    assert!(alone.fmr().is_some());
    assert!(matrix.to_string().contains("| y | z | 0 | – | – | 4 |"), "{matrix}");
    for (refused, expected) in [
        (CohortMatrix::of(&set, &["x"; 9], 0.6, 0.9), "10 embeddings but 9 labels"),
        (CohortMatrix::of(&set, &cohorts, f64::NAN, 0.9), "invalid `cuts`: expected thresholds, got NaN"),
        (
            CohortMatrix::of(&set, &cohorts, 0.6, 1.0),
            "invalid `level`: expected a share strictly between 0 and 1, got 1",
        ),
    ] {
        assert_eq!(refused.unwrap_err().to_string(), expected);
    }
}
