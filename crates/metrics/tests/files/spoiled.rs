//! Arrays of NumPy with headers that lie, and with bytes that were changed.

use npyz::Order;
use proptest::prelude::*;
use soft_lmccl_metrics::files::{scores, truths};

use super::{given, npy, open};

/// Headers whose text shows another shape than the one that they mean.
#[test]
fn no_header_hides_its_shape() {
    let huge = "(2147483648, 8589934592)";
    for (header, expected) in [
        (
            format!("{{'xshape(1,)':0,'descr':'<f4','fortran_order':True,'shape':{huge}}}\n"),
            "shape (2147483648, 8589934592) needs more than the",
        ),
        (
            format!("{{\"'shape': (1,)\":0,'descr':'<f4','fortran_order':True,\n'shape':{huge}}}\n"),
            "its header names 2 shapes",
        ),
        (
            format!("{{\"'shape': (1,)\":0,'descr':'<f4','fortran_order':True,'sha\\x70e':{huge}}}\n"),
            "its header has a backslash",
        ),
        ("{'descr':'<f4','fortran_order':True}\n".to_owned(), "its header names 0 shapes"),
        ("{'descr':'<f4','fortran_order':True,'shape':5}\n".to_owned(), "its header names no shape"),
        (
            "{'descr':'<f4','fortran_order':True,'shape':(0, 1099511627776, 1099511627776)}\n".to_owned(),
            "shape (0, 1099511627776, 1099511627776) needs more than the",
        ),
    ] {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        file.extend(header.as_bytes());
        let crafted = given("crafted.npy", file);
        let refused = open(&crafted.path).unwrap_err().to_string();
        let problem = refused.strip_prefix(&format!("{}: ", crafted.path.display()));
        assert!(problem.is_some_and(|problem| problem.starts_with(expected)), "{refused}");
    }
}

/// A valid file, spoiled: bytes replaced at some places, of which half are in its header, and perhaps its end cut off.
fn spoiled() -> impl Strategy<Value = Vec<u8>> {
    let matrix = [0.5f32, -1.0, 0.25, 3.0, 1e-8, -0.0];
    let seeds = vec![
        npy(&[3, 2], &matrix, Order::C),
        npy(&[3, 2], &matrix, Order::Fortran),
        npy(&[3], &[1i64, 0, 1], Order::C),
        npy(&[24], &[true, false, true].repeat(8), Order::C),
    ];
    let change = (
        any::<prop::sample::Index>(),
        prop_oneof![any::<u8>(), prop::sample::select(b"()',:0123456789fibO<>".to_vec())],
    );
    let changes = (prop::collection::vec(change.clone(), 1..6), prop::collection::vec(change, 0..3));
    (prop::sample::select(seeds), changes, prop::option::of(any::<prop::sample::Index>())).prop_map(
        |(mut file, (in_header, anywhere), end)| {
            let header = file.iter().position(|&byte| byte == b'\n').unwrap();
            in_header.into_iter().for_each(|(at, byte)| file[at.index(header)] = byte);
            anywhere.into_iter().for_each(|(at, byte)| {
                let length = file.len();
                file[at.index(length)] = byte;
            });
            if let Some(end) = end {
                file.truncate(end.index(file.len()));
            }
            file
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Neither panics nor takes memory that the file does not account for, and says which file it is about.
    #[test]
    fn no_file_breaks_a_reader(file in spoiled()) {
        let spoiled = given("spoiled.npy", &file);
        let read = [
            open(&spoiled.path).map(|table| table.embeddings.len()),
            scores(&spoiled.path).map(|scores| scores.len()),
            truths(&spoiled.path).map(|truths| truths.len()),
        ];
        for answer in read {
            match answer {
                Ok(values) => prop_assert!(values <= file.len()),
                Err(error) => {
                    let message = error.to_string();
                    prop_assert!(message.contains("spoiled.npy") && message.len() < 2000, "{}", message);
                }
            }
        }
    }
}
