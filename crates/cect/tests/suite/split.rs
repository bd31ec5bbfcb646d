//! Known and unknown classes.

use proptest::prelude::*;
use soft_lmccl_cect::{ClassId, OpenSetSplit};

fn ids(numbers: &[u32]) -> Vec<ClassId> {
    numbers.iter().copied().map(ClassId).collect()
}

#[test]
fn impossible_splits_say_why() {
    for (known, unknown, message) in [
        (ids(&[]), ids(&[1]), "class split: there are no known classes"),
        (ids(&[1]), ids(&[]), "class split: there are no unknown classes"),
        (ids(&[3, 1, 3]), ids(&[2]), "class split: class 3 is known more than once"),
        (ids(&[1]), ids(&[5, 5]), "class split: class 5 is unknown more than once"),
        (ids(&[1, 2]), ids(&[3, 2]), "class split: class 2 is both known and unknown"),
    ] {
        let error = OpenSetSplit::new(known, unknown).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    for (classes, known) in [(6, 0), (6, 6), (6, 7), (0, 0)] {
        let message = OpenSetSplit::random(classes, known, 1).unwrap_err().to_string();
        let expected =
            format!("class split: {known} of {classes} classes cannot be known: both sets need one at least");
        assert_eq!(message, expected);
    }
}

#[test]
fn labels_follow_the_order_given() {
    let split = OpenSetSplit::new(ids(&[9, 2, 5]), ids(&[0])).unwrap();
    assert_eq!(split.label(ClassId(9)), Some(0));
    assert_eq!(split.label(ClassId(5)), Some(2));
    assert_eq!(split.label(ClassId(0)), None);
    assert_eq!(split.label(ClassId(77)), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_random_split_is_a_partition(classes in 2u32..40, part in 0.0f64..1.0, seed: u64) {
        let known = 1 + (part * f64::from(classes - 2)) as u32;
        let split = OpenSetSplit::random(classes, known, seed).unwrap();
        prop_assert_eq!(split.num_known(), known as usize);
        let mut all = [split.known(), split.unknown()].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..classes).map(ClassId).collect::<Vec<_>>());
        for (label, &class) in split.known().iter().enumerate() {
            prop_assert_eq!(split.label(class), Some(label as i64));
        }
        for &class in split.unknown() {
            prop_assert_eq!(split.label(class), None);
        }
    }
}

#[test]
fn seeds_give_different_splits() {
    let splits: Vec<_> = (0..20).map(|seed| OpenSetSplit::random(23, 17, seed).unwrap()).collect();
    assert!(splits.iter().any(|split| split != &splits[0]));
}
