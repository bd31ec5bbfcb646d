//! Scores, listed pairs, templates, cohorts, probes.

use super::*;

#[test]
fn scores_bring_their_own_truth() {
    let folder = folder();
    let write = |name: &str, content: Vec<u8>| fs::write(folder.path().join(name), content).unwrap();
    let scores = [0.9f64, 0.8, 0.7, 0.6, 0.5, 0.4];
    write("s.npy", npy("<f8", false, "(6,)", &bytes(&scores, |score| score.to_le_bytes())));
    write("b.npy", npy("|b1", false, "(6,)", &[1, 1, 0, 1, 0, 0]));
    write("i.npy", npy("<i8", false, "(6,)", &bytes(&[1i64, 1, 0, 1, 0, 0], |truth| truth.to_le_bytes())));
    write("s.csv", b"score,same\n0.9,1\n0.8,true\n0.7,0\n0.6,1\n0.5,false\n0.4,0\n".to_vec());
    for files in ["s.npy! --same b.npy!", "s.npy! --same i.npy!", "s.csv!"] {
        let found = json(folder.path(), &format!("--scores {files} --threshold-out t.json! --threshold-for eer"));
        assert_eq!(found["auc"], 8.0 / 9.0);
        assert_eq!((&found["embeddings"], &found["auc_interval"]), (&Value::Null, &Value::Null));
        assert!(found["intervals"].as_str().unwrap().starts_with("none: no classes are known"), "{found}");
        let threshold = VerificationThreshold::load(folder.path().join("t.json")).unwrap();
        assert_eq!(found["eer_threshold"], threshold.value());
    }
    write("wrong.npy", npy("<i8", false, "(6,)", &bytes(&[1i64, 1, 0, 2, 0, 0], |truth| truth.to_le_bytes())));
    let refused = run(folder.path(), "--scores s.npy! --same wrong.npy!").unwrap_err();
    assert!(refused.ends_with("wrong.npy: expected 0 or 1, got 2 at position 3"), "{refused}");
    for (content, expected) in [
        ("score\n1\n", "expected a column `same`, got `score`"),
        ("score,same\nx,1\n", "line 2, column `score`: expected a number, got `x`"),
        ("score,same\n1,maybe\n", "line 2, column `same`: expected 0, 1, true or false, got `maybe`"),
        ("score,same,first_class,second_class\n1,1,a,b\n", "line 2: `same` contradicts the classes `a` and `b`"),
        ("score,first_class\n1,a\n", "expected a column `second_class`, got `score`, `first_class`"),
    ] {
        write("bad.csv", content.as_bytes().to_vec());
        let refused = run(folder.path(), "--scores bad.csv!").unwrap_err();
        assert!(refused.ends_with(expected), "{refused}");
    }
}

/// With classes, scores of all pairs have the intervals that the embeddings have.
#[test]
fn scores_with_classes_have_intervals() {
    let folder = folder();
    let array = ndarray::Array2::from_shape_fn((ROWS, DIM), |(row, column)| value(row, column));
    let set = EmbeddingSet::new(array.view(), &labels()).unwrap();
    let pairs = set.pairs(PairProtocol::All).unwrap();
    let scores = set.pair_scores(PairProtocol::All).unwrap();
    let line = |(&(i, j), score): (&(usize, usize), &f64)| format!("{score:?},c{},c{}\n", i % 4, j % 4);
    let lines: String = pairs.iter().zip(scores.scores()).map(line).collect();
    fs::write(folder.path().join("s.csv"), format!("score,first_class,second_class\n{lines}")).unwrap();
    let found = json(folder.path(), "--scores s.csv! --far 0.1");
    let trials = pairs.iter().zip(scores.scores()).map(|(&(i, j), &s)| (i as u32 % 4, j as u32 % 4, s));
    let roc = scores.roc();
    let counts = ClassCounts::across_trials(&roc, trials).unwrap();
    let intervals = Intervals::new(&roc, &counts, 0.95).unwrap();
    assert_eq!(found["auc_interval"]["low"], intervals.auc().unwrap().interval.low);
    assert_eq!(found["tar_at_far"][0]["interval"]["high"], intervals.tar_at_far(0.1).unwrap().interval.high);
}

#[test]
fn listed_pairs_are_scored_and_oddities_said() {
    let folder = folder();
    with_ids(folder.path());
    let array = ndarray::Array2::from_shape_fn((ROWS, DIM), |(row, column)| value(row, column));
    let set = EmbeddingSet::new(array.view(), &labels()).unwrap();
    let all = set.pairs(PairProtocol::All).unwrap();
    let truth = |(i, j): &(usize, usize)| u8::from(i % 4 == j % 4);
    let write = |name: &str, line: &dyn Fn(&(usize, usize)) -> String, head: &str| {
        let lines: String = all.iter().map(line).collect();
        fs::write(folder.path().join(name), format!("{head}{lines}")).unwrap();
    };
    write("vox.txt", &|pair| format!("{} s{} s{}\n", truth(pair), pair.0, pair.1), "0 s0 gone\n1 s3 s3\n0 s1 s0\n");
    write("last.txt", &|pair| format!("s{} s{} {}\n", pair.0, pair.1, truth(pair)), "");
    write("list.csv", &|pair| format!("{},s{},s{}\n", truth(pair), pair.0, pair.1), "same,first,second\n");
    let whole = json(folder.path(), "c.npy! labels.npy!");
    for line in ["--trials last.txt! --trial-format truth-last", "--trials list.csv!"] {
        let found = json(folder.path(), &format!("c.npy! --samples s.csv! {line}"));
        for key in ["auc", "eer", "positives", "negatives", "min_cllr"] {
            assert_eq!(found[key], whole[key], "{key}");
        }
        assert!(found["auc_interval"].is_object() && found["trials"]["trials"] == 276, "{found}");
    }
    let odd = &json(folder.path(), "c.npy! --samples s.csv! --trials vox.txt!")["trials"];
    assert_eq!((&odd["trials"], &odd["unknown"]), (&279.into(), &1.into()));
    assert_eq!((&odd["self_pairs"], &odd["duplicates"]), (&1.into(), &1.into()));
    let table = run(folder.path(), "c.npy! --samples s.csv! --trials vox.txt!").unwrap();
    assert!(
        table.contains("1 with a sample that has no embedding (first `gone`), 1 of a sample with itself"),
        "{table}"
    );
    // Faces: the ids are made of a name and a number.
    let line = |row: usize| format!("P{}_{:04},{}\n", row % 4, row / 4 + 1, row % 4);
    let lines: String = (0..ROWS).map(line).collect();
    fs::write(folder.path().join("faces.csv"), format!("id,labels\n{lines}")).unwrap();
    fs::write(folder.path().join("pairs.txt"), "10\t1\nP0\t1\t2\nP0\t1\tP1\t3\n").unwrap();
    let found = json(folder.path(), "c.npy! --samples faces.csv! --trials pairs.txt! --trial-format lfw");
    assert_eq!((&found["positives"], &found["negatives"]), (&1.into(), &1.into()));
    let refused = run(folder.path(), "c.npy! --samples faces.csv! --trials pairs.txt!").unwrap_err();
    assert!(refused.ends_with("line 1: expected `1 first second` or `0 first second`, got `10\t1`"), "{refused}");
}

#[test]
fn templates_are_compared_as_one() {
    let folder = folder();
    with_ids(folder.path());
    let found = json(folder.path(), "c.npy! --samples s.csv! --template visit");
    assert_eq!((&found["embeddings"], &found["positives"]), (&12.into(), &12.into()));
    let raw = json(folder.path(), "c.npy! --samples s.csv! --template visit --pool raw-rows");
    assert_ne!(raw["min_dcf"]["point"]["threshold"], found["min_dcf"]["point"]["threshold"]);
    // The mean of two unit rows, by hand.
    let unit = |row: usize| {
        let values = [0, 1, 2].map(|column| f64::from(value(row, column)));
        let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
        values.map(|x| (x / norm) as f32)
    };
    let rows: Vec<f32> = (0..12)
        .flat_map(|t| {
            let (a, b) = (t / 4 * 8 + t % 4, t / 4 * 8 + t % 4 + 4);
            let (a, b) = (unit(a), unit(b));
            [0, 1, 2].map(|column| (a[column] + b[column]) / 2.0)
        })
        .collect();
    let labels: Vec<i64> = (0..12).map(|t| t % 4).collect();
    let set = EmbeddingSet::new(ndarray::ArrayView2::from_shape((12, 3), &rows).unwrap(), &labels).unwrap();
    let auc = set.pair_scores(PairProtocol::All).unwrap().roc().auc();
    assert!((found["auc"].as_f64().unwrap() - auc).abs() < 1e-9, "{found}");
    fs::write(folder.path().join("list.txt"), "1 t0 t4\n0 t0 t1\n0 t1 t2\n").unwrap();
    let listed = json(folder.path(), "c.npy! --samples s.csv! --template visit --trials list.txt!");
    assert_eq!((&listed["positives"], &listed["negatives"]), (&1.into(), &2.into()));
}

#[test]
fn cohorts_are_compared_at_one_threshold() {
    let folder = folder();
    with_ids(folder.path());
    let found = json(folder.path(), "c.npy! --samples s.csv! --cohort day --threshold-for 0.1");
    let array = ndarray::Array2::from_shape_fn((ROWS, DIM), |(row, column)| value(row, column));
    let set = EmbeddingSet::new(array.view(), &labels()).unwrap();
    let days: Vec<&str> = (0..ROWS).map(|row| ["mon", "tue"][row / 12]).collect();
    let threshold = found["threshold"]["value"].as_f64().unwrap();
    let expected = CohortMatrix::of(&set, &days, threshold, 0.95).unwrap();
    assert_eq!(found["cohorts"], serde_json::to_value(&expected).unwrap());
    let table = run(folder.path(), "c.npy! --samples s.csv! --cohort day --threshold-for 0.1").unwrap();
    assert!(table.contains("At one threshold for all") && table.contains("mon     tue"), "{table}");
}

#[test]
fn probes_are_searched_in_a_gallery() {
    let folder = TempDir::new().unwrap();
    // Classes e and f are not enrolled.
    let row = |row: usize| {
        let class = row % 6;
        format!("{},{},{},{}\n", ["a", "b", "c", "d", "e", "f"][class], class + 1, row * row % 7, (row * 5 + class) % 4)
    };
    let probes: String = (0..30).map(row).collect();
    let gallery: String = (30..54).filter(|row| row % 6 < 4).map(row).collect();
    fs::write(folder.path().join("p.csv"), format!("labels,x,y,z\n{probes}")).unwrap();
    fs::write(folder.path().join("g.csv"), format!("labels,x,y,z\n{gallery}")).unwrap();
    let found = json(folder.path(), "p.csv! --gallery g.csv! --far 0.2 --rank 2");
    assert_eq!(
        (&found["pairs"], &found["compared"]),
        (&(30 * 16).into(), &"each probe with each sample of the gallery".into())
    );
    let at = &found["identification"]["at"];
    assert_eq!(
        (&at["enrolled"], &at["rank"], &at["known"], &at["unknown"]),
        (&4.into(), &2.into(), &20.into(), &10.into())
    );
    // Counted anew: the classes by their order in the alphabet, each with the mean of its rows.
    let set = |text: &str| {
        let fields: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        let labels: Vec<i64> = fields.iter().map(|f| i64::from(f[0].as_bytes()[0] - b'a')).collect();
        let values: Vec<f32> = fields.iter().flat_map(|f| f[1..].iter().map(|x| x.parse::<f32>().unwrap())).collect();
        EmbeddingSet::new(ndarray::ArrayView2::from_shape((labels.len(), 3), &values).unwrap(), &labels).unwrap()
    };
    let (probes, gallery) = (set(&probes), set(&gallery));
    let threshold = at["threshold"].as_f64().unwrap();
    let enrolled = Gallery::enroll(&gallery, Prototype::Mean).unwrap().search(&probes).unwrap();
    let mut mistakes = (0, 0);
    for probe in enrolled.probes() {
        match probe.rank.zip(probe.own) {
            Some((rank, own)) => mistakes.0 += u64::from(rank > 2 || own < threshold),
            None => mistakes.1 += u64::from(probe.score >= threshold),
        }
    }
    assert_eq!((&at["misses"], &at["false_alarms"]), (&mistakes.0.into(), &mistakes.1.into()));
    let table = run(folder.path(), "p.csv! --gallery g.csv! --far 0.2 --rank 2").unwrap();
    assert!(
        table.contains("FNIR(N = 4, R = 2, T = ") && table.contains("other probes with a candidate from T on"),
        "{table}"
    );
    fs::write(folder.path().join("numbers.csv"), "labels,x,y,z\n0,1,2,3\n1,3,2,1\n").unwrap();
    let refused = run(folder.path(), "p.csv! --gallery numbers.csv!").unwrap_err();
    assert!(
        refused.ends_with("numbers.csv: expected classes to be names, as those of the probes, got numbers"),
        "{refused}"
    );
}

#[test]
fn scores_are_normalized_and_calibrated() {
    let folder = folder();
    let array = ndarray::Array2::from_shape_fn((ROWS, DIM), |(row, column)| value(row, column));
    let set = EmbeddingSet::new(array.view(), &labels()).unwrap();
    let others = ndarray::Array2::from_shape_fn((9, DIM), |(row, column)| ((row * 7 + column * 3) % 5) as f32 - 1.7);
    let values: Vec<f32> = others.iter().copied().collect();
    let cohort = npy("<f4", false, "(9, 3)", &bytes(&values, |value| value.to_le_bytes()));
    fs::write(folder.path().join("cohort.npy"), cohort).unwrap();
    let pairs = set.pairs(PairProtocol::All).unwrap();
    let cohort = CohortScores::of(&set, &EmbeddingSet::new(others.view(), &[0; 9]).unwrap(), 4).unwrap();
    let scores = set.pair_scores(PairProtocol::All).unwrap();
    let normalized = scores.as_norm(&pairs, &cohort).unwrap();
    let found = json(folder.path(), "c.npy! labels.npy! --as-norm cohort.npy! --top 4");
    assert_eq!(found["auc"], normalized.roc().auc());
    assert!(found["auc_interval"].is_object() && found["cllr"].is_null(), "{found}");

    let fitted = json(folder.path(), "c.npy! labels.npy! --calibrate logistic --calibration-out k.json! --prior 0.3");
    let calibration = Calibration::load(folder.path().join("k.json")).unwrap();
    assert_eq!(calibration, Calibration::logistic(&scores, 0.3).unwrap());
    let applied = json(folder.path(), "c.npy! labels.npy! --calibration k.json! --prior 0.3");
    let roc = scores.calibrated(&calibration).unwrap().roc();
    for found in [fitted, applied] {
        assert_eq!((&found["cllr"], &found["min_cllr"]), (&roc.cllr().into(), &roc.min_cllr().into()));
        assert!(found["actual_dcf"]["cost"].as_f64().unwrap() >= found["min_dcf"]["cost"].as_f64().unwrap());
    }
    let table = run(folder.path(), "c.npy! labels.npy! --calibration k.json!").unwrap();
    assert!(table.contains("cost of log-likelihood ratios in bits"), "{table}");
}
