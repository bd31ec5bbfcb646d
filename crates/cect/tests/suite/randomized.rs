//! Simulations at random, and what they are made of: noise at low frequencies and flipped phases.

use approx::assert_relative_eq;
use soft_lmccl_cect::{
    Dataset, LowNoise, NoiseColor, RandomizationConfig, RandomizedDataset, SimulationConfig, Simulator, Volume,
    catalogue,
};

use super::{lopsided, spectrum, told};

fn variance(volume: &Volume) -> f64 {
    volume.statistics().std.powi(2)
}

/// What the noise has more with it than without lies where its formula says, has the strength that is asked for, and
/// leaves the signal and the other noise as they were.
#[test]
fn low_noise_comes_on_top() {
    let low = LowNoise { deviation: 0.5, length: 80.0 };
    let plain = SimulationConfig { side: 24, ..Default::default() };
    for noise in [NoiseColor::ThroughOptics, NoiseColor::Ice, NoiseColor::Aitom] {
        let config = SimulationConfig { noise, ..plain };
        let without = Simulator::new(config).unwrap();
        let with = Simulator::new(SimulationConfig { low_noise: Some(low), ..config }).unwrap();
        let (mut seen, mut expected, mut shares) = ([0.0; 2], [0.0; 2], Vec::new());
        for index in 0..24 {
            let [a, b] = [&without, &with].map(|simulator| simulator.parts(&lopsided("beads"), 5, index).unwrap());
            assert_eq!(a.signal, b.signal);
            let more = b.noise.voxels().iter().zip(a.noise.voxels()).map(|(b, a)| b - a).collect();
            let more = Volume::new(24, more).unwrap();
            shares.push((variance(&more) / variance(&a.noise)).sqrt());
            for (k, value) in spectrum(&more) {
                let f = k.iter().map(|c| c * c).sum::<f64>().sqrt() / 10.0;
                if f == 0.0 || !config.is_sampled(k) {
                    continue;
                }
                // Below and above the frequency of the formula's e-th part.
                let part = usize::from(f > 1.0 / low.length);
                seen[part] += value.norm_sqr();
                expected[part] += (-(low.length * f).powi(2)).exp();
            }
        }
        assert!(shares.iter().all(|share| (share - 0.5).abs() < 1e-3), "{shares:?}");
        // Some two thousand free numbers.
        assert_relative_eq!(seen[1] / seen[0], expected[1] / expected[0], max_relative = 0.1);
    }
}

/// A flipped phase turns the sign of what the CTF inverts, and nothing else.
#[test]
fn flipped_phases_are_those_that_were_inverted() {
    let plain = SimulationConfig { side: 24, envelope: 1.0, ..Default::default() };
    let flipped = SimulationConfig { phase_flip: true, ..plain };
    let signal = |config| spectrum(&Simulator::new(config).unwrap().parts(&lopsided("beads"), 2, 1).unwrap().signal);
    let (before, after) = (signal(plain), signal(flipped));
    let strongest = before.iter().map(|(_, value)| value.norm()).fold(0.0, f64::max);
    let mut turned = 0;
    for ((k, before), (_, after)) in before.into_iter().zip(after) {
        let transfer = plain.contrast_transfer(k.iter().map(|c| c * c).sum::<f64>().sqrt());
        let sign = if transfer > 0.0 { -1.0 } else { 1.0 };
        turned += usize::from(transfer > 0.0 && before.norm() > 1e-3 * strongest);
        assert!((after - sign * before).norm() < 1e-5 * strongest, "{k:?}");
    }
    assert!(turned > 100, "{turned}");
    assert!((0..=50).all(|k| flipped.contrast_transfer(f64::from(k) / 100.0) <= 0.0));
}

#[test]
fn every_draw_is_within_its_ranges_and_all_kinds_come() {
    let config = RandomizationConfig::default();
    let drawn = config.draw(400, 3).unwrap();
    let within = |value: f64, [least, most]: [f64; 2]| least - 1e-9 <= value && value <= most + 1e-9;
    for one in &drawn {
        one.validate().unwrap();
        let snr = if one.noise == NoiseColor::Aitom { config.aitom_snr } else { config.snr };
        assert!(within(one.snr, snr) && within(one.voxel_size, [9.7, 10.3]), "{one:?}");
        assert!(within(one.underfocus, config.underfocus) && within(one.envelope, config.envelope), "{one:?}");
        assert!(within(one.max_tilt, config.max_tilt) && within(one.max_shift, config.max_shift), "{one:?}");
        assert!(within(one.amplitude_contrast, config.amplitude_contrast), "{one:?}");
        if let Some(low) = one.low_noise {
            assert!(within(low.deviation, config.low_deviation) && within(low.length, config.low_length), "{one:?}");
        }
    }
    // Five standard errors of a share among 400.
    let share = |is: &dyn Fn(&SimulationConfig) -> bool| drawn.iter().filter(|one| is(one)).count() as f64 / 400.0;
    for (found, expected) in [
        (share(&|one| one.noise == NoiseColor::Aitom), config.aitom),
        (share(&|one| one.noise == NoiseColor::Ice), (1.0 - config.aitom) / 4.0),
        (share(&|one| one.low_noise.is_some()), config.low_noise),
        (share(&|one| one.phase_flip), config.phase_flip),
        (share(&|one| one.underfocus < 4.0), 0.25),
        // By the logarithm: half of it below the geometric mean.
        (share(&|one| one.envelope < (config.envelope[0] * config.envelope[1]).sqrt()), 0.5),
    ] {
        assert!((found - expected).abs() < 5.0 * (expected * (1.0 - expected) / 400.0).sqrt(), "{found} {expected}");
    }
    assert_eq!(config.draw(7, 3).unwrap(), drawn[..7]);
    assert_ne!(config.draw(7, 4).unwrap(), drawn[..7]);
}

#[test]
fn ranges_are_refused_before_anything_is_drawn() {
    let good = RandomizationConfig::default();
    for (config, message) in [
        (RandomizationConfig { aitom: f64::NAN, ..good }, "invalid `aitom`: expected 0 to 1, got NaN"),
        (RandomizationConfig { phase_flip: -0.1, ..good }, "invalid `phase_flip`: expected 0 to 1, got -0.1"),
        (RandomizationConfig { voxel_size: 0.3, ..good }, "invalid `voxel_size`: expected 0 to 0.2, got 0.3"),
        (
            RandomizationConfig { envelope: [0.5, 0.2], ..good },
            "invalid `envelope`: expected a range from the least to the most, got 0.5 to 0.2",
        ),
        (
            RandomizationConfig { snr: [0.0, 0.2], ..good },
            "invalid `snr`: expected a number above 0 and up to 1e6, got 0",
        ),
        (
            RandomizationConfig { low_length: [5.0, 20.0], ..good },
            "invalid `low_noise`: expected a length of 10 to 1000 Å, got 5",
        ),
        (RandomizationConfig { side: 300, ..good }, "invalid `side`: expected 8 to 128 voxels, got 300"),
    ] {
        assert_eq!(told(&config.draw(1, 1).unwrap_err()), message);
    }
    let low_noise = Some(LowNoise { deviation: 0.0, length: 80.0 });
    let message = told(&SimulationConfig { low_noise, ..Default::default() }.validate().unwrap_err());
    assert_eq!(message, "invalid `low_noise`: expected a deviation above 0 and up to 100, got 0");
    // A range of one number is one.
    let fixed = RandomizationConfig { underfocus: [5.0, 5.0], voxel_size: 0.0, ..good };
    assert!(
        fixed.draw(9, 1).unwrap().iter().all(|one| (one.underfocus - 5.0).abs() + (one.voxel_size - 10.0).abs() < 1e-9)
    );
}

#[test]
fn samples_depend_on_their_index_alone_and_none_comes_twice() {
    let config = RandomizationConfig { side: 16, ..Default::default() };
    let set = |simulations, per_class, seed| {
        let templates = catalogue::templates().split_off(20);
        RandomizedDataset::new(templates, config, simulations, per_class, seed).map_err(|error| told(&error))
    };
    let (few, many) = (set(5, 4, 1).unwrap(), set(5, 4000, 1).unwrap());
    assert_eq!((few.len(), many.len(), few.classes().len()), (12, 12_000, 3));
    for index in 0..12 {
        assert_eq!(few.sample(index).unwrap(), many.sample(index).unwrap());
        assert_eq!(few.sample(index).unwrap().class.0 as usize, index % 3);
    }
    assert_ne!(few.sample(0).unwrap(), few.sample(3).unwrap());
    assert_ne!(few.sample(0).unwrap(), set(5, 4, 2).unwrap().sample(0).unwrap());
    // Each of five simulations has made some of these: their spectra of noise differ, so variances at one SNR do.
    let one = set(1, 4000, 1).unwrap();
    let equal = (0..60).filter(|&index| one.sample(index).unwrap() == many.sample(index).unwrap()).count();
    assert!((3..30).contains(&equal), "{equal} of 60 by the first of five");
    assert_eq!(set(0, 4, 1).unwrap_err(), "invalid `simulations`: expected at least one, got 0");
    assert_eq!(set(5, 0, 1).unwrap_err(), "invalid `per_class`: expected one subtomogram at least, got 0");
    assert!(few.sample(12).is_err());
}

/// The other draws do not move, and each drawn simulation can be made.
#[test]
fn tilt_series_are_drawn_where_asked() {
    let none = RandomizationConfig { side: 8, ..Default::default() };
    let half = RandomizationConfig { tilt_images: 0.5, ..none };
    let (masked, mixed) = (none.draw(200, 1).unwrap(), half.draw(200, 1).unwrap());
    assert!(masked.iter().all(|config| config.tilt_images.is_none()));
    let drawn = mixed.iter().filter(|config| config.tilt_images.is_some()).count();
    // Seven standard deviations of 200 coins.
    assert!((50..150).contains(&drawn), "{drawn}");
    for (masked, mixed) in masked.iter().zip(&mixed) {
        mixed.validate().unwrap();
        assert_eq!((masked.underfocus, masked.max_shift), (mixed.underfocus, mixed.max_shift));
        assert_eq!(mixed.tilt_images.is_none(), masked == mixed);
    }
    let message = RandomizationConfig { tilt_images: -0.1, ..none }.validate().unwrap_err().to_string();
    assert_eq!(message, "invalid `tilt_images`: expected 0 to 1, got -0.1");
}
